"""Leaks: what one feature that has nothing to do with quality scores on a set of labelled pairs.

Consumes pairs; produces one `Finding` a predictor. Chance is one half, since gold ties are left out and a rule treats
both sides alike; only a label drawn anew for each row agrees with the row before more often, if labels are unbalanced.

* `constant A`, and `as the row before` (a sorted or alternating file);
* the sign rule of each number (the longer response, ...), half credit where both are equal;
* a fitted threshold: one side of a difference |a - b| below it, maybe the other above, chosen on the other folds;
* `file name`: words of the responses' paths that won before, learned on the other folds;
* `system`: which system wrote an answer (`meta.model_a`, `meta.model_b`), learned in the same way.

Folds are whole clusters, so that no prompt is in both; intervals are clustered too and Bonferroni's correction is
applied before a finding is called a leak. The interval's function is an argument: this stage is upstream of it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from omnirepro.data import Pair
from omnirepro.data.audit.features import FEATURES, names
from omnirepro.data.sources.parts import group

FOLDS = 5
CLUSTERS = 10
THRESHOLDS = 20
Bootstrap = Callable[..., Any]  # (values, clusters, level=) -> value, low, high, n


@dataclass(frozen=True)
class Finding:
    """Accuracy of one predictor with its 95 % interval, and on the `differ` pairs where it prefers a side.

    `leak`: the corrected interval leaves `chance` out, and there are clusters enough to tell.
    """

    feature: str
    rule: str
    interval: Any
    where: float
    differ: int
    chance: float
    leak: bool
    clusters: int

    @property
    def sentence(self) -> str:
        """Say in words what a judge could earn without looking at the content."""
        value = self.interval.value
        side = "above" if value > self.chance else "below"
        partly = f" ({self.where * 100:.1f} % of the {self.differ} where sides differ)"
        return (
            f"{self.rule} scores {value * 100:.1f} % of {self.interval.n} decided pairs"
            f"{partly if self.differ < self.interval.n else ''}, {side} the {self.chance * 100:.0f} % of chance"
            f"{_ADVICE.get(self.feature, '')}"
        )


_ADVICE = {
    "constant label": ": exchange sides (sides=SEED) or judge both orders",
    "position": ": shuffle the rows",
    "length": ": report longer-wins beside every judge",
    "file name": ": never show a path to a judge",
    "system": ": report it beside every judge, which may know the systems by their manner",
}


def audit(pairs: Sequence[Pair], bootstrap: Bootstrap) -> list[Finding]:
    """Score every one-feature predictor that applies; `bootstrap` is `clustered_bootstrap`. Empty without labels."""
    decided = [p for p in pairs if p.label in ("A", "B")]
    if not decided:
        return []
    gold = np.array([1.0 if p.label == "A" else -1.0 for p in decided])
    groups = np.array([group(p) for p in decided])
    first = (gold > 0).astype(float)
    before = np.append(np.nan, (gold[1:] == gold[:-1]).astype(float))  # the first row has none to repeat
    tests = [("constant label", "constant A", first), ("position", "as the row before", before)]
    for feature, (rule, measure) in FEATURES.items():
        sides = [(measure(p.response_a), measure(p.response_b)) for p in decided]
        delta = np.array([math.nan if a is None or b is None else a - b for a, b in sides])
        if (np.abs(delta) > 0).any():
            tests += [
                (feature, rule, (1 + np.sign(delta) * gold) / 2),
                (feature, f"{rule}, fitted threshold", _fitted(delta, gold, groups)),
            ]
    words = [(set(names(p.response_a)), set(names(p.response_b))) for p in decided]
    for feature, rule, named in (
        ("file name", "words of the path that won elsewhere", words),
        ("system", "the system that won elsewhere", list(map(systems, decided))),
    ):
        if any(a != b for a, b in named):
            tests.append((feature, rule, _named(named, gold, groups)))
    findings = []
    for feature, rule, credit in tests:
        known = np.isfinite(credit)
        if not known.any():
            continue
        values = credit[known]
        clusters = groups[known]
        count = len(set(clusters))
        sided = values[values != 0.5]
        chance = float(first.mean() ** 2 + (1 - first.mean()) ** 2) if feature == "position" else 0.5
        strict = bootstrap(values, clusters, level=1 - 0.05 / len(tests))
        leak = count >= CLUSTERS and not strict.low - 1e-9 <= chance <= strict.high + 1e-9
        where = float(sided.mean()) if sided.size else 0.5
        interval = bootstrap(values, clusters)
        findings.append(Finding(feature, rule, interval, where, len(sided), chance, leak, count))
    return findings


def _fitted(delta: np.ndarray, gold: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Credit for a threshold in one number's difference that was fitted on the other folds."""
    signed = np.sign(delta) * gold  # +1: the larger is better
    credit = np.full(len(delta), np.nan)
    for train, test in _folds(groups, np.isfinite(delta)):
        cut, below, above = _threshold(np.abs(delta[train]), signed[train])
        side = np.where(np.abs(delta[test]) <= cut, below, above)
        credit[test] = (1 + side * signed[test]) / 2
    return credit


def _threshold(size: np.ndarray, signed: np.ndarray) -> tuple[float, float, float]:
    """Return the cut in |difference| and the better direction at or below and above it, right most often."""
    cuts = np.unique(np.quantile(size, np.linspace(0, 1, THRESHOLDS + 1)))
    low = np.array([signed[size <= c].sum() for c in cuts])
    best = int(np.argmax(np.abs(low) + np.abs(signed.sum() - low)))
    return float(cuts[best]), float(np.sign(low[best])), float(np.sign(signed.sum() - low[best]))


def systems(pair: Pair) -> tuple[set[str], set[str]]:
    """Return which system wrote each side, where the pair's `meta` says it."""
    wrote = [(pair.meta or {}).get(name) for name in ("model_a", "model_b")]
    return ({str(wrote[0])}, {str(wrote[1])}) if None not in wrote else (set(), set())


def _named(sides: Sequence[tuple[set[str], set[str]]], gold: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Credit for preferring the side whose words won more often in the other folds."""
    credit = np.full(len(sides), np.nan)
    for train, test in _folds(groups, np.array([a != b for a, b in sides])):
        score: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for i in np.flatnonzero(train):
            a, b = sides[i]
            for words, sign in ((a - b, gold[i]), (b - a, -gold[i])):
                score.update({w: sign for w in words})
                seen.update(words)
        for i in np.flatnonzero(test):
            strength = [sum(score[w] / (seen[w] + 2) for w in words) / max(len(words), 1) for words in sides[i]]
            credit[i] = (1 + np.sign(strength[0] - strength[1]) * gold[i]) / 2
    return credit


def _folds(groups: np.ndarray, usable: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, test) masks of whole clusters; a cluster's fold hangs on its name alone."""
    fold = np.array([hashlib.sha256(str(g).encode()).digest()[0] % FOLDS for g in groups])
    return [(usable & (fold != k), usable & (fold == k)) for k in range(FOLDS) if (usable & (fold != k)).any()]
