"""Pre-flight of a reward: what sampled completions say about it before any training.

Consumes sampled completions and gold labels in the displayed frame; produces one row a reward and preset: how far it
spreads within groups, which GRPO learns from (Omni-RRM, Section 4.2), and how far it follows correctness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import comb

import numpy as np
import pandas as pd

from omnirepro import reward
from omnirepro.data import Label
from omnirepro.reward.probes import PROBES, probe_table  # noqa: F401 (one import serves the pre-flight)

SIZES = (2, 4, 8, 16)  # group sizes: the published 2, and those that a group-normalised advantage needs
SMALL = 1e-4  # TRL adds it to a divisor


def preflight_table(
    completions: pd.DataFrame,
    labels: Mapping[str, Label],
    presets: Mapping[str, Mapping[str, float]] = reward.PRESETS,
    sizes: Iterable[int] = SIZES,
    format: str = "rationale-first",
) -> pd.DataFrame:
    """Return (kind, name, mean, sd, correlation, dead_2, dead_4, ...): one row a reward and a preset's total.

    `completions` has the columns prompt (a key of `labels`, whose label is as displayed), text and correct (0 or 1);
    the completions of one prompt are a group. dead_G is the share of dead groups of G completions (`dead_share`), NaN
    where no prompt has that many. `correlation` is Pearson's with `correct`, NaN without spread. The last row, kind
    "formula", holds the accuracy and what `expected_dead` gives. Raises ValueError on missing columns, no rows, or a
    prompt without label.
    """
    if missing := {"prompt", "text", "correct"} - set(completions.columns):
        raise ValueError(f"completions lack the column {min(missing)}")
    if completions.empty:
        raise ValueError("no completions: sample some for the pre-flight first")
    prompt = completions["prompt"]
    if unknown := set(prompt) - set(labels):
        raise ValueError(f"no label for prompt {min(map(str, unknown))}")
    sizes = list(sizes)
    correct = completions["correct"].astype(float)
    scored = [reward.score(text, labels[p], format=format) for p, text in zip(prompt, completions["text"], strict=True)]
    parts = pd.DataFrame(scored, index=completions.index)
    columns = {("reward", r): parts[r] for r in reward.REWARDS}
    columns |= {("preset", p): sum(w * parts[r] for r, w in reward.weights_of(ws).items()) for p, ws in presets.items()}
    rows = []
    for (kind, name), values in columns.items():
        spread = values.std(ddof=0) > 1e-9 and correct.std(ddof=0) > 0
        row = {"kind": kind, "name": name, "mean": values.mean(), "sd": values.std(ddof=0)}
        row["correlation"] = values.corr(correct) if spread else np.nan
        rows.append(row | {f"dead_{g}": dead_share(values, prompt, g) for g in sizes})
    formula = {"kind": "formula", "name": "p^G + (1-p)^G", "mean": correct.mean(), "sd": correct.std(ddof=0)}
    rows.append(formula | {f"dead_{g}": expected_dead(correct, prompt, g) for g in sizes})
    return pd.DataFrame(rows)


def dead_share(values: pd.Series, groups: pd.Series, size: int) -> float:
    """Return the share of groups of `size` completions whose values are all the same: no advantage, no gradient.

    It is exact: the mean over prompts of the chance that `size` of its completions, drawn without replacement, have
    one value. Prompts with fewer completions are left out; NaN where none remains.
    """
    shares = []
    for _, group in values.round(9).groupby(groups):
        if len(group) >= size:
            shares.append(sum(comb(n, size) for n in group.value_counts()) / comb(len(group), size))
    return float(np.mean(shares)) if shares else np.nan


def expected_dead(correct: pd.Series, groups: pd.Series, size: int) -> float:
    """Return p^G + (1-p)^G averaged over the prompts, p being each prompt's own accuracy among its completions.

    It is what a right-or-wrong reward gives where each completion of a prompt is an independent draw.
    """
    p = correct.astype(float).groupby(groups).mean()
    return float((p**size + (1 - p) ** size).mean())


def advantages(rewards: Sequence[Sequence[float]], scale_rewards: str = "group") -> np.ndarray:
    """Return GRPO's advantages of rewards (prompts, completions), as TRL computes them.

    A reward less its group's mean is divided by the sample deviation of the "group" or the whole "batch", or not at
    all ("none"); another scale raises ValueError.
    """
    values = np.asarray(rewards, float)
    own = values.std(axis=1, ddof=1, keepdims=True) + SMALL
    spreads = {"group": own, "batch": values.std(ddof=1) + SMALL, "none": 1.0}
    if scale_rewards not in spreads:
        raise ValueError(f"scale_rewards {scale_rewards!r} is none of {[*spreads]}")
    return (values - values.mean(axis=1, keepdims=True)) / spreads[scale_rewards]
