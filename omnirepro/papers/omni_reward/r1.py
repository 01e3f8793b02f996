"""The R1 model: a generative judge of free-form criteria, reinforced for its verdict (Omni-Reward, Section 3.3).

Consumes labelled pairs, a small share of all; produces LoRA adapters: `start`, which changes nothing, and `r1`, which
GRPO took on from there with +1 for the right one of A, B and tie and -1 for any other text. The base writes verdicts
already, an instruct model as it is, the embedded one in the layout in which it was primed. `tuned`, of the same pairs
by supervision, is the judge that is asked in other ways.

Departures: (1) LoRA, where the paper tunes the whole language model; (2) both orders of a pair stand in a batch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnirepro.data import Pair, text_part
from omnirepro.judge import verdict
from omnirepro.judge.generative import Judge, save_settings
from omnirepro.kit.run.training import Training
from omnirepro.models.device import seed_all
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load, save_adapter
from omnirepro.toyworld.criteria import BY_PHRASE
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.facts import facts_of
from omnirepro.train.common import lora
from omnirepro.train.sft import tune


def share_of(pairs: list[Pair], share: float, seed: int) -> list[Pair]:
    """Draw a share of the labelled pairs, tasks and ties as they come; a larger share holds every smaller one."""
    order = np.random.default_rng([seed, 3]).permutation(len(pairs))
    return [pairs[i] for i in order[: max(1, round(share * len(pairs)))]]


def tune_judge(run: Training, base: Path, pairs: list[Pair], scale: Scale | None) -> Path:
    """Tune `base` to judge pairs with and without reasons and responses alone; returns the folder `adapter`."""
    asked = run.section("judge")
    chats = [turns for pair in pairs for turns in lessons(pair, scale, asked["wording"])]
    return tune(run, base, chats, run.section("sft"), asked)


def unchanged(run: Training, base: Path) -> Path:
    """Write an `adapter` that leaves `base` as it is: reinforcement goes on from it."""
    from peft import get_peft_model

    asked = run.section("judge")
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype)
    model = get_peft_model(model, lora(run.section("sft")))
    chat = LocalModel(model, processor, run.name)
    judge = Judge(chat, asked["format"], asked["wording"], Decoding(asked["max_new_tokens"]))
    return run.write("adapter", lambda folder: (save_adapter(model, folder, base), save_settings(judge, folder)))


def lessons(pair: Pair, scale: Scale | None, wording: str = "brief") -> list[list[dict]]:
    """Return a pair's chats in both orders: reasons with verdict, verdict alone, and the level of the first response.

    The reasons bear out the pair's label, be it right or wrong: it is all that a labeller gives. Without a scale no
    level is known: both forms are taught the verdict alone.
    """
    chats = []
    for shown in (pair, pair.swap()):
        direct = verdict.target(shown.label)
        answers = {"verdict": direct, "verdict-direct": direct}
        if scale:
            levels = verdict.defend(shown.label, _levels(shown, scale))
            answers |= {"verdict": verdict.target(shown.label, levels), "level": f"[[{levels[0]}]]"}
        for format, text in answers.items():
            answer = {"role": "assistant", "parts": [text_part(text)]}
            chats.append([*verdict.messages(shown, wording, format), answer])
    return chats


def _levels(pair: Pair, scale: Scale) -> tuple[int, int]:
    if pair.criterion is None:
        a, b = (1 + round(0.4 * pair.meta[f"score_{side}"]) for side in "ab")
        return a, b
    criterion = BY_PHRASE[pair.criterion]
    a, b = (scale.level(pair.task, criterion, facts) for facts in facts_of(pair))
    return a, b
