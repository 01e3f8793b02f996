"""Probes of a reward: completions that no honest judge writes, and what each would earn under every preset.

Consumes gold labels in the displayed frame; produces a table that pits the probes (an always-A judge, a template,
endless output and so on) against honest judges. A probe that outearns an honest judge is where training may drift.
Omni-RRM has no such check.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from omnirepro import reward
from omnirepro.data import DIMENSIONS, Label, swap_verdict
from omnirepro.judge import rubric

Probe = Callable[[Label, str], str]

ACCURACIES = (0.6, 0.7, 0.8, 0.9)  # of the honest judges that probes are compared with
SLIPS = (0.0, 0.25)  # shares of their judgements whose scores contradict the verdict: sampling makes some
GOLD = "gold judgement"
MISTAKEN = "mistaken judgement"
GOLD_SLIP = "gold, scores against verdict"
MISTAKEN_SLIP = "mistaken, scores against verdict"
TEMPLATE = "\n".join(f"Part {i}: {rubric.TITLES[d]}: A and B." for i, d in enumerate(DIMENSIONS, 1))
ENDLESS = 2_000  # repetitions of one line: longer than any limit on completions


def _changed(label: Label, **changes: object) -> str:
    """Write the gold judgement with some of its fields changed."""
    return json.dumps(json.loads(rubric.render(label)) | changes, ensure_ascii=False)


def _mistaken(label: Label, prompt: str) -> str:
    """Write the gold judgement of the exchanged pair; a gold tie becomes a win of A by one point."""
    if label.verdict == "tie":
        a, b = _apart(label)
        return rubric.render(label.model_copy(update={"verdict": "A", "score_a": a, "score_b": b}))
    return rubric.render(label.swap())


def _scores(label: Label) -> tuple[int, int]:
    return round(label.score_a), round(label.score_b)


def _apart(label: Label) -> tuple[int, int]:
    """Return the scores that say A and are nearest to the gold's."""
    a, b = _scores(label)
    if a > b:
        return a, b
    if a:
        return a, a - 1
    return (b + 1, b) if b < 10 else (10, 9)


def _slipped(label: Label, mistaken: bool) -> str:
    """Write the gold verdict between scores that say otherwise, or a wrong verdict beside the gold's scores."""
    if mistaken:
        other = "A" if label.verdict == "tie" else swap_verdict(label.verdict)
        return _changed(label, better=other, final_verdict=f"<answer>[[{other}]]</answer>")
    a, b = _apart(label) if label.verdict == "tie" else _scores(label)[::-1]
    return _changed(label, score_A=a, score_B=b)


def _plain(verdict: str, a: int, b: int) -> str:
    """Write a judgement that read nothing: given verdict and scores around the template."""
    label = Label(pair_id="", verdict=verdict, score_a=a, score_b=b, rationale=TEMPLATE, provenance="probe")
    return rubric.render(label)


PROBES: dict[str, Probe] = {
    GOLD: lambda label, prompt: rubric.render(label),
    MISTAKEN: _mistaken,
    "always A, scores near gold": lambda label, prompt: _plain("A", *_apart(label)),
    "always A, 6:5": lambda label, prompt: _plain("A", 6, 5),
    "always A, 10:0": lambda label, prompt: _plain("A", 10, 0),
    "always B, 5:6": lambda label, prompt: _plain("B", 5, 6),
    "always tie, 6:6": lambda label, prompt: _plain("tie", 6, 6),
    "gold, template rationale": lambda label, prompt: _plain(label.verdict, *_scores(label)),
    "gold, empty rationale": lambda label, prompt: _changed(label, reasoning="<think> </think>"),
    GOLD_SLIP: lambda label, prompt: _slipped(label, mistaken=False),
    MISTAKEN_SLIP: lambda label, prompt: _slipped(label, mistaken=True),
    "gold, several verdicts": lambda label, prompt: _changed(label, final_verdict="<answer>[[A]] [[B]]</answer>"),
    "gold, fenced": lambda label, prompt: f"```json\n{rubric.render(label)}\n```",
    "copied input": lambda label, prompt: prompt,
    "empty": lambda label, prompt: "",
    "endless": lambda label, prompt: '{"reasoning": "<think>' + f"{TEMPLATE.splitlines()[0]} " * ENDLESS,
}


def probe_table(
    labels: Iterable[Label],
    presets: Mapping[str, Mapping[str, float]] = reward.PRESETS,
    prompts: Iterable[str] | None = None,
    accuracies: Iterable[float] = ACCURACIES,
    slips: Iterable[float] = SLIPS,
) -> pd.DataFrame:
    """Return (preset, probe, reward, rank, minus_gold, beats): what each probe earns on average over the labels.

    Beside the probes stand honest judges such as "honest, 70 % right, 25 % contradict": the gold judgement with that
    chance, else the mistaken one, and independently scores that contradict the verdict. `rank` is 1 for the most paid
    of a preset, equals share a rank; `beats` names the best paid honest judge that a probe outearns (empty: none).
    `prompts`, one a label, are for the copied input. Give labels in both displayed orders, or a constant verdict
    earns by the luck of one. Raises ValueError for no labels and for a label that contradicts itself.
    """
    labels = list(labels)
    if not labels:
        raise ValueError("no labels: the probes earn against gold labels, give at least one")
    texts = [""] * len(labels) if prompts is None else list(prompts)
    earned = {}  # the mean of every reward
    for name, probe in PROBES.items():
        rows = [reward.score(probe(label, prompt), label) for label, prompt in zip(labels, texts, strict=True)]
        earned[name] = pd.DataFrame(rows).drop(columns="total").mean()
    honest = []
    for accuracy, slip in itertools.product(accuracies, slips):
        right = (1 - slip) * earned[GOLD] + slip * earned[GOLD_SLIP]
        wrong = (1 - slip) * earned[MISTAKEN] + slip * earned[MISTAKEN_SLIP]
        name = f"honest, {100 * accuracy:.0f} % right" + (f", {100 * slip:.0f} % contradict" if slip else "")
        honest.append(name)
        earned[name] = accuracy * right + (1 - accuracy) * wrong
    tables = [_ranked(name, reward.weights_of(weights), earned, honest) for name, weights in presets.items()]
    return pd.concat(tables, ignore_index=True)


def _ranked(preset: str, weights: Mapping[str, float], earned: Mapping[str, pd.Series], honest: list[str]):
    """Total the mean rewards (the mean of sums is the sum of means) and compare them within one preset."""
    paid = {name: round(sum(w * mean[r] for r, w in weights.items()), 9) for name, mean in earned.items()}
    table = pd.DataFrame({"preset": preset, "probe": list(paid), "reward": list(paid.values())})
    table["rank"] = table["reward"].rank(ascending=False, method="min").astype(int)
    table["minus_gold"] = table["reward"] - paid[GOLD]
    beaten = [[h for h in honest if name in PROBES and paid[h] < paid[name]] for name in paid]
    table["beats"] = [max(names, key=paid.__getitem__, default="") for names in beaten]
    return table
