"""The score that a benchmark's own authors report, from frozen rows and what `sources` keeps of the official groups.

Consumes judgement rows of one judge and a table of facts a pair (pair_id, section, weight, all_of; see
`data.sources.source`); produces one `Interval`. Every published rule here is a mean of means: over the pairs of a
group, over the groups of a section, over sections. That is a weighted mean of the pairs: one clustered bootstrap
serves all.

Departure: benchmarks judge one order and say what a failed verdict earns; here both orders are judged, and `policy`
is the caller's. Multimodal RewardBench 2 judges both orders and has a rule of its own, which stands where none is
given. Best-of-N lists count where the best response beats every loser, in each order; of RewardBench 2 a list whose
best shares the highest score with others counts by its share, and a judge without scores of single responses is asked
of the subset Ties for its accuracies alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import Pair
from omnirepro.evaluate.protocol import pairs
from omnirepro.evaluate.rows import Rows, credit, frame
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap

# Levels whose groups count alike; a source that is not named is scored by pairs (micro).
LEVELS = {
    "rewardbench": ("section",), "rmb-pairwise": ("section",), "rmb-best-of-n": ("section",),
    "rewardbench-2": ("section",), "rm-bench": ("section", "task"),
    "llmbar": ("section", "task"), "vl-rewardbench": ("task",), "omni-rewardbench": ("task",),
}  # fmt: skip
BOTH_ORDERS = ("judgebench",)  # a pair counts where both orders together favour the gold
# Each judgement counts by itself; what cannot be read leaves the denominator, order by order, and a tie is wrong.
EACH_ORDER = ("mmrb2", "mmrb2-hub")
# Parts of a benchmark that have a score of their own: the end of a task's name.
PARTS = {"rm-bench": ("easy", "normal", "hard"), "editreward-bench": ("2pair", "3pair", "4pair")}


def facts_of(name: str, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return what official scores need to know: set, source, pair_id, section, weight, all_of."""
    columns = ("set", "source", "pair_id", "section", "weight", "all_of")
    rows = [(name, p.source, p.id, *((p.meta or {}).get(k) for k in columns[3:])) for p in pairs]
    return pd.DataFrame(rows, columns=columns)


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
    if source in EACH_ORDER:
        policy = {"policy": "drop", "tie_policy": "wrong"} | policy
        table = data.assign(credit=credit(data, **policy)).merge(known, on="pair_id")
    elif known["all_of"].notna().any():
        data = data.assign(credit=credit(data, **policy)).merge(known, on="pair_id")
        data["unit"] = data["all_of"].where(data["all_of"].notna(), data["pair_id"])
        about = dict.fromkeys(("section", "weight", "task", "cluster"), "first")
        if source == "rewardbench-2":
            whole = _lists(data, about)
        else:
            all_right = {"credit": lambda credits: float(np.min(credits) == 1)} | about
            whole = data.groupby(["unit", "order", "seed"], as_index=False).agg(all_right)
        table = whole.groupby(["unit", "seed"], as_index=False).agg({"credit": "mean"} | about)
    else:
        table = pairs(data, **policy).merge(known, on="pair_id")
        if source in BOTH_ORDERS:
            table["credit"] = (table["credit"] > 0.5).astype(float)
    filled = {"section": table["section"].astype(object).fillna("all"), "weight": table["weight"].fillna(1.0)}
    return table.assign(**filled).dropna(subset="credit")


def _lists(data: pd.DataFrame, about: dict[str, str]) -> pd.DataFrame:
    """Return one row a list of RewardBench 2 in each order: 1/k where k responses share the highest score with the
    right one, 0 where one has a higher; a question of Ties is one row, see `_ties`."""
    data = data.assign(won=data["verdict"] == data["label"], tied=data["verdict"] == "tie")
    data["unit"] = data["unit"].where(data["section"] != "Ties", data["cluster"])
    found = []
    for (unit, order, seed), rows in data.groupby(["unit", "order", "seed"]):
        if rows["section"].iloc[0] == "Ties":
            credit = _ties(rows)
        else:
            credit = 1 / (1 + rows["tied"].sum()) if (rows["won"] | rows["tied"]).all() else 0.0
        known = {"unit": unit, "order": order, "seed": seed, "credit": credit}
        found.append(known | rows.iloc[0][list(about)].to_dict())
    return pd.DataFrame(found)


def _ties(rows: pd.DataFrame) -> float:
    """Score a question that was asked with one right answer (`ref:`) and with several (`tied:`).

    0.3 for each where all right answers are above all wrong ones; 0.2 where the gap between them (of `tied`, and once
    more the smaller one of both) is wider than the spread of the right ones; 0.01 tanh(smaller gap / spread - 1).
    """
    kinds = rows["all_of"].str.startswith("tied:")
    right = {kind: bool(some["won"].all()) for kind, some in rows.groupby(kinds)}
    if not (rows["kind"] == "scalar").all() or len(right) < 2:
        return float(np.mean(list(right.values())))
    signed = rows.assign(good=rows["score_a"].where(rows["label"] == "A", rows["score_b"]))
    signed["bad"] = rows["score_b"].where(rows["label"] == "A", rows["score_a"])
    gaps = {kind: some["good"].min() - some["bad"].max() for kind, some in signed.groupby(kinds)}
    spread = np.ptp(signed.loc[kinds, "good"])
    smaller = min(gaps.values())
    close = np.tanh(smaller / spread - 1) if spread else float(smaller > 0)
    accuracy = 0.3 * (right[True] + right[False])
    return float(accuracy + 0.2 * (gaps[True] > spread) + 0.2 * (smaller > spread) + 0.01 * close)
