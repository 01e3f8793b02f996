"""What a judge will need of its backbone, asked before anything is tuned.

Consumes a backbone and held-out scenes; produces its answers (gate.csv) and the figures that must reach a bound: facts,
checks of a response's accuracy, winners of two given scores. One-word questions alone do not tell bases apart: all
answer 99 %, and their judges differ by ten points.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omnirepro.data import Part
from omnirepro.judge import rubric
from omnirepro.toyworld.language import facts, questions
from omnirepro.toyworld.nouns import pick
from omnirepro.toyworld.pretraining import skills
from omnirepro.toyworld.scenes import Scene

WINNER = '"better": "'  # what stands before the winner in a judgement
WINNERS = {"A": "A", "B": "B", "tie": "equal"}


def gate(model, processor, pool: dict[str, list[tuple[Scene, Part]]], seed: int) -> pd.DataFrame:
    """Ask the backbone what a judge will need of it; one row a question.

    Returns the columns asked, modality, attribute, expected, said, correct. `asked` is "fact" (a held-out question, one
    word), "check" (is a response to it accurate: every second one is not) or "winner" (of two given scores, all pairs
    of them). A model that reads no media is asked about text alone.
    """
    from omnirepro.models.generation import Decoding, LocalModel

    chat = LocalModel(model, processor, "backbone")
    rng = np.random.default_rng([seed, 99])
    rows = []
    chats = []
    shown = [(modality, *one) for modality in (pool if processor.omni else ("text",)) for one in pool[modality]]
    for number, (modality, scene, part) in enumerate(shown):
        question = pick(rng, questions(scene))
        check, accurate = skills.ask_check(scene, question, number % 2 == 0, rng)
        rows.append(("fact", modality, question.attribute, facts(scene, question.target)[question.attribute]))
        rows.append(("check", modality, question.attribute, "good" if accurate else "poor"))
        chats += [skills.ask(part, question.text + skills.SHORT), skills.ask(part, check)]
    said = [made.text.strip() for made in chat.complete(chats, Decoding(max_new_tokens=48))]
    said = [text.split()[-1] if row[0] == "check" and text else text for row, text in zip(rows, said, strict=True)]
    tokens = [processor.tokenizer(word, add_special_tokens=False)["input_ids"] for word in WINNERS.values()]
    if all(len(ids) == 1 for ids in tokens):  # its probability can be read off one step; released models differ
        scores = [(a, b) for a in range(11) for b in range(11)]
        begun = [rubric.notation("seen: ", a, b).partition(WINNER)[0] + WINNER for a, b in scores]
        chances = chat.choose([skills.ask(None, skills.SCORES + ".")] * len(scores), begun, list(WINNERS.values()))
        rows += [("winner", "scores", f"{a} and {b}", WINNERS[rubric.ranking(a, b)]) for a, b in scores]
        said += [list(WINNERS.values())[int(np.argmax(row))] for row in chances]
    table = pd.DataFrame(rows, columns=["asked", "modality", "attribute", "expected"]).assign(said=said)
    return table.assign(correct=(table["said"] == table["expected"]).astype(int))


def gate_shares(asked: pd.DataFrame) -> pd.Series:
    """Return the gate's figures by name: facts, balanced accuracy of checks, winners of equal scores and of others."""
    facts_, checks, winners = (asked[asked["asked"] == name] for name in ("fact", "check", "winner"))
    balanced = checks.groupby(["modality", "expected"])["correct"].mean().groupby("modality").mean()
    equal = winners.groupby(winners["expected"] == "equal")["correct"].mean().rename({True: "equal", False: "apart"})
    parts = {"fact": facts_.groupby("modality")["correct"].mean(), "check": balanced, "winner": equal}
    shares = pd.concat(parts)
    return shares.set_axis([f"{name} {of}" for name, of in shares.index])


def bounds_of(p) -> dict[str, float]:
    """Return the least share of each kind of question, from the section `backbone`."""
    return {"fact": p["gate"], "check": p["gate_check"], "winner": p["gate"]}


def below(asked: pd.DataFrame, p) -> list[str]:
    """Return which of the gate's figures, those of solids apart, lie below its bounds, with figure and bound."""
    bounds = bounds_of(p)
    missed = []
    for name, share in gate_shares(asked).items():
        bound = bounds[name.split()[0]]
        if "views3d" not in name and share < bound:
            missed.append(f"{name} {share:.1%} (bound {bound:.0%})")
    return missed
