"""Means and paired differences of the papers' metrics: tables of items in, intervals out.

A table has a row an item (a pair, a prompt), with its `cluster` and, where judges were trained on several seeds, its
`seed`; intervals resample clusters, and seeds first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from omnirepro.evaluate.statistics import UNKNOWN, Interval, clustered_bootstrap, paired_bootstrap

Metrics = dict[str, Any]
Side = tuple | str


def mean(table: pd.DataFrame, what: str = "credit") -> Interval:
    """Return the mean of a column."""
    return clustered_bootstrap(table[what], table["cluster"], seeds=table.get("seed"))


def difference(a: pd.DataFrame, b: pd.DataFrame, what: str = "credit", on: str = "pair_id") -> Interval:
    """Return the mean of `what` in a less that in b over the items that both hold; unknown where they share none.

    Items are paired by `on` and by seed; a side of one seed stands beside each seed of the other.
    """
    keys = [on]
    if "seed" in a and "seed" in b:
        keys.append("seed")
        if a["seed"].nunique() == 1 < b["seed"].nunique():
            a = for_seeds(a, sorted(set(b["seed"])))
        elif b["seed"].nunique() == 1:
            b = for_seeds(b, sorted(set(a["seed"])))
    both = a.merge(b[[*keys, what]], on=keys, suffixes=("", "_b"), validate="one_to_one")
    both = both.dropna(subset=[what, f"{what}_b"])
    if both.empty:
        return UNKNOWN
    return paired_bootstrap(both[what], both[f"{what}_b"], both["cluster"], seeds=both.get("seed"))


def for_seeds(table: pd.DataFrame, seeds: Iterable[Any]) -> pd.DataFrame:
    """Repeat a judge of one seed as the partner of each of `seeds`."""
    return pd.concat([table.assign(seed=seed) for seed in seeds], ignore_index=True)


def compare(
    comparisons: Iterable[tuple[str, Side, Side]],
    side: Callable[..., pd.DataFrame | None],
    gain: Callable[[pd.DataFrame, pd.DataFrame], Interval] = difference,
) -> Metrics:
    """Return name -> gain of a over b for every comparison (name, a, b), whose sides' rows `side` finds.

    A comparison of which one side is not there (no rows, or None) has no metric.
    """
    found: Metrics = {}
    for name, *keys in comparisons:
        a, b = (side(*key) if isinstance(key, tuple) else side(key) for key in keys)
        if a is not None and b is not None and len(a) and len(b):
            found[name] = gain(a, b)
    return found
