"""The score that a benchmark's own authors report, from frozen rows and what `sources` keeps of the official groups.

Consumes judgement rows of one judge and a table of facts a pair (pair_id, section, weight, all_of; see
`data.sources.source`); produces one `Interval`. Every published rule here is a mean of means: over the pairs of a
group, over the groups of a section, over sections. That is a weighted mean of the pairs: one clustered bootstrap
serves all.

Departure: benchmarks judge one order and say what a failed verdict earns; here both orders are judged, and `policy` is
the caller's. Best-of-N lists count where the best response beats every loser, in each order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from omnirepro.evaluate.protocol import pairs
from omnirepro.evaluate.rows import Rows, credit, frame
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap

# Levels whose groups count alike; a source that is not named is scored by pairs (micro).
LEVELS = {
    "rewardbench": ("section",), "rmb-pairwise": ("section",), "rmb-best-of-n": ("section",),
    "llmbar": ("section", "task"), "vl-rewardbench": ("task",), "omni-rewardbench": ("task",),
}  # fmt: skip
BOTH_ORDERS = ("judgebench",)  # a pair counts where both orders together favour the gold


def official(rows: Rows, facts: pd.DataFrame, source: str, **policy: Any) -> Interval:
    """Return the headline number of `source` with its interval. Raises ValueError where a pair has no facts."""
    data = frame(rows)
    if lacking := set(data["pair_id"]) - set(facts["pair_id"]):
        raise ValueError(f"no facts for {len(lacking)} judged pairs, such as {min(lacking)}")
    table = _units(data, facts, source, policy)
    levels = [table[level] for level in LEVELS.get(source, ())]
    weights = table["weight"].astype(float)
    for depth in range(len(levels), 0, -1):  # each group of a level sums to one share of the level above
        weights = weights / weights.groupby(levels[:depth]).transform("sum")
    return clustered_bootstrap(table["credit"], table["cluster"], seeds=table["seed"], weights=weights)


def _units(data: pd.DataFrame, facts: pd.DataFrame, source: str, policy: dict[str, Any]) -> pd.DataFrame:
    """Return one row a case that is counted: a pair, or a best-of-N list."""
    known = facts[["pair_id", "section", "weight", "all_of"]]
    if known["all_of"].notna().any():
        data = data.assign(credit=credit(data, **policy)).merge(known, on="pair_id")
        data["unit"] = data["all_of"].where(data["all_of"].notna(), data["pair_id"])
        about = dict.fromkeys(("section", "weight", "task", "cluster"), "first")
        all_right = {"credit": lambda credits: float(np.min(credits) == 1)} | about
        whole = data.groupby(["unit", "order", "seed"], as_index=False).agg(all_right)
        table = whole.groupby(["unit", "seed"], as_index=False).agg({"credit": "mean"} | about)
    else:
        table = pairs(data, **policy).merge(known, on="pair_id")
        if source in BOTH_ORDERS:
            table["credit"] = (table["credit"] > 0.5).astype(float)
    filled = {"section": table["section"].astype(object).fillna("all"), "weight": table["weight"].fillna(1.0)}
    return table.assign(**filled).dropna(subset="credit")
