"""Watch over GRPO: what one step's completions say beyond their reward, and a loud sentence where a run collapses.

Consumes the completions of a step as rows, and the history of steps; produces statistics and, on collapse, a warning.
The reward alone does not show a collapse: a judge that drifts to one position can be paid better and better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
import pandas as pd

from omnirepro import reward
from omnirepro.data import swap_verdict
from omnirepro.judge import verdict

COLUMNS = ("prompt", "order", "text", "gold", "total", "finished")
EXTRAS = ("entropy", "kl")  # where the trainer gives them

WINDOW = 10  # steps that are averaged: one step of some 16 pairs moves accuracy by 10 points by chance
ALWAYS_A = (0.2, 0.8)  # in both orders an unbiased judge says A as often as B; .2 is far outside of sampling noise
VALID = 0.9  # of its own start: how many samples are valid depends on the temperature
ENTROPY = 0.1  # of its own start: absolute entropy depends on the vocabulary and on how fixed the format is
DEAD = 0.95  # then one group in twenty teaches, and its noise is the whole gradient
FALL = 0.05  # of accuracy: smaller ones are no collapse, whatever their significance
ERRORS = 3  # standard errors of the difference of two windows: the check is made at every step


def watch(rows: pd.DataFrame, format: str = "rationale-first", weights: Mapping[str, float] | None = None) -> dict:
    """Return the statistics of one step's completions; shares in [0, 1], NaN where nothing counts.

    Columns: prompt (the pair's id), order ("AB" | "BA"), text, gold (verdict as displayed), total (reward), finished
    (whether it ended before the limit); those named as rewards, and entropy and kl, are averaged where present.

    accuracy: valid and right. valid: accepted by the strict parser. always_a, tie_rate: of the valid verdicts as
    displayed. margin: mean |score_A - score_B|. swap_consistency: of the pairs with a majority verdict in both
    orders, how many say the same of the pair. rationale_agrees: of the valid whose rationale implies a winner
    (`weights` as in `reward.implied_winner`), how many name it. clipped: unfinished. dead_groups: groups (pair and
    order) whose totals are all the same. reward and reward_<name>: means. Raises ValueError on missing columns or no
    rows.
    """
    if missing := set(COLUMNS) - set(rows.columns):
        raise ValueError(f"rows lack the column {min(missing)}")
    if rows.empty:
        raise ValueError("no rows: a step has at least one completion")
    found = [verdict.parse(text, format) for text in rows["text"]]
    data = rows.assign(
        valid=[f.status == "ok" for f in found],
        said=pd.Series([f.verdict for f in found], rows.index, dtype=object),
        margin=[abs(f.score_a - f.score_b) if f.score_a is not None else np.nan for f in found],
        implied=pd.Series([reward.implied_winner(f.marks, weights) for f in found], rows.index, dtype=object),
    )
    valid = data[data["valid"]]
    implied = valid.dropna(subset="implied")
    out = {
        "accuracy": (data["valid"] & (data["said"] == data["gold"])).mean(),
        "valid": data["valid"].mean(),
        "always_a": (valid["said"] == "A").mean(),
        "tie_rate": (valid["said"] == "tie").mean(),
        "margin": valid["margin"].mean(),
        "swap_consistency": swap_consistency(valid),
        "rationale_agrees": (implied["implied"] == implied["said"]).mean(),
        "clipped": 1 - data["finished"].astype(float).mean(),
        "dead_groups": (data["total"].round(9).groupby([data["prompt"], data["order"]]).nunique() == 1).mean(),
        "reward": data["total"].mean(),
    }
    out |= {f"reward_{name}": data[name].mean() for name in reward.REWARDS if name in data}
    out |= {name: data[name].mean() for name in EXTRAS if name in data}
    return {name: float(value) for name, value in out.items()}


def swap_consistency(valid: pd.DataFrame) -> float:
    """Return the share of pairs whose two orders have the same majority verdict in the pair's own frame.

    Columns: prompt, order, said (as displayed). Pairs without a clear majority in either order are left out.
    """
    own = [v if o == "AB" else swap_verdict(v) for v, o in zip(valid["said"], valid["order"], strict=True)]
    modes = (
        pd.Series(own, valid.index, dtype=object)
        .groupby([valid["prompt"], valid["order"]])
        .agg(lambda verdicts: modes[0] if len(modes := verdicts.mode()) == 1 else None)
    )
    both = modes.dropna().groupby(level=0).agg(["size", "nunique"]) if len(modes) else pd.DataFrame({"size": []})
    both = both[both["size"] == 2]
    return float((both["nunique"] == 1).mean()) if len(both) else np.nan


def collapse(history: Sequence[Mapping[str, float]], window: int = WINDOW) -> str | None:
    """Return a loud sentence that names every sign of collapse in the last `window` steps, or None.

    `history` holds what `watch` returned, one mapping a step, oldest first. Nothing is said before `window` steps;
    validity, accuracy, reward and entropy are compared with the first `window` steps.
    """
    if len(history) < window:
        return None
    first = history[:window]
    last = history[-window:]
    signs = []
    always = _mean(last, "always_a")
    if always < ALWAYS_A[0] or always > ALWAYS_A[1]:
        signs.append(f"{always:.0%} of the displayed verdicts are A (healthy: {ALWAYS_A[0]:.0%} to {ALWAYS_A[1]:.0%})")
    started = _mean(first, "valid")
    valid = _mean(last, "valid")
    if valid < VALID * started:
        signs.append(f"valid judgements fell {started:.0%} -> {valid:.0%}")
    dead = _mean(last, "dead_groups")
    if dead > DEAD:
        signs.append(f"{dead:.0%} of the groups are dead, so that nothing is learnt (healthy: {DEAD:.0%} or less)")
    if len(history) >= 2 * window:
        signs += _trends(first, last)
    if not signs:
        return None
    return f"COLLAPSE at step {len(history)}, over the last {window} steps: {'; '.join(signs)}."


def _trends(first: Sequence[Mapping[str, float]], last: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the signs that lie in what changed between two windows."""
    signs = []
    start = _mean(first, "entropy")
    end = _mean(last, "entropy")
    if end < ENTROPY * start:
        signs.append(f"entropy vanished, {start:.3g} -> {end:.3g}")
    right = [_mean(steps, "accuracy") for steps in (first, last)]
    paid = [_mean(steps, "reward") for steps in (first, last)]
    # the standard error of the difference of the two windows' means, from the spread of their steps
    known = [k for k in (_known(first, "accuracy"), _known(last, "accuracy")) if len(k) > 1]
    error = sum(stdev(k) ** 2 / len(k) for k in known) ** 0.5
    if right[0] - right[1] > max(FALL, ERRORS * error) and paid[1] > paid[0]:
        parts = [n for n in last[-1] if n.startswith("reward_") and _mean(last, n) > _mean(first, n)]
        named = f" (risen: {', '.join(n.removeprefix('reward_') for n in parts)})" if parts else ""
        signs.append(
            f"accuracy fell {right[0]:.2f} -> {right[1]:.2f} while reward rose {paid[0]:.2f} -> {paid[1]:.2f}{named}"
        )
    return signs


def _known(steps: Sequence[Mapping[str, float]], name: str) -> list[float]:
    return [step[name] for step in steps if name in step and not np.isnan(step[name])]


def _mean(steps: Sequence[Mapping[str, float]], name: str) -> float:
    """Return the mean over the steps that know a value; NaN, which no threshold catches, where none does."""
    known = _known(steps, name)
    return fmean(known) if known else np.nan
