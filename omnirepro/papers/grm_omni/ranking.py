"""How good criteria are in the order that something gives them (GRM-Omni, Figures 4, 6, 10, 11 and 12).

Consumes a table with a row a criterion (pair_id, cluster, points, place as written, said, gold, correct, and a column a
variant of the meta-reward); produces accuracies by rank, by number of votes and by number of criteria, with intervals
clustered by prompt, and paired differences. Orders: "original", "expected" (a random one, averaged over all draws), or
a variant's column.

Departure: no published curve has an interval, and none shows what a random order gives.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.evaluate.statistics import (
    UNKNOWN,
    Interval,
    clustered_bootstrap,
    difference_of_means,
    majority,
    paired_bootstrap,
)
from omnirepro.papers.comparisons import difference, mean

ORIGINAL = "original"
EXPECTED = "expected"


def ordered(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Return the rows pair by pair in an order, best first, with `rank` from 1; what failed comes last."""
    keys = ["pair_id", "place"] if order == ORIGINAL else ["pair_id", "_worth", "place"]
    worth = 0.0 if order == ORIGINAL else -table[order]
    found = table.assign(_worth=worth).sort_values(keys, na_position="last", kind="stable", ignore_index=True)
    return found.assign(rank=found.groupby("pair_id").cumcount() + 1).drop(columns="_worth")


def by_rank(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Return (rank, value, low, high, n): how often the criterion at a rank judges rightly.

    A rank that fewer than half of the pairs have is left out: those few are pairs of another kind.
    """
    groups = ordered(table, order).groupby("rank")
    filled = [(rank, part) for rank, part in groups if 2 * len(part) >= table["pair_id"].nunique()]
    return pd.DataFrame([{"rank": rank} | mean(part, "correct").as_row() for rank, part in filled])


def first(table: pd.DataFrame, order: str = ORIGINAL, last: bool = False) -> pd.DataFrame:
    """Return a row a pair: whether its first (or last) criterion judges rightly; the mean over all under "expected"."""
    if order == EXPECTED:
        groups = table.groupby("pair_id")
        return groups.agg(correct=("correct", "mean"), cluster=("cluster", "first"), points=("points", "first"))
    found = ordered(table[table["said"].notna()] if last else table, order).groupby("pair_id")
    return (found.tail(1) if last else found.head(1)).set_index("pair_id")[["correct", "cluster", "points"]]


def votes(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Return a row a pair and number `k`: whether the majority over its first k criteria, or all it has, is right."""
    if table.empty:
        return pd.DataFrame(columns=["pair_id", "cluster", "points", "k", "correct"])
    rows = []
    most = int(table.groupby("pair_id").size().max())
    for pair, part in ordered(table, order).groupby("pair_id"):
        said = part["said"].tolist()
        about = {"pair_id": pair, "cluster": part["cluster"].iloc[0], "points": part["points"].iloc[0]}
        for k in range(1, most + 1):
            decided = [verdict for verdict in said[:k] if verdict != "tie"]  # a tie abstains where anyone decides
            voted = majority(decided) or majority(said[:k])
            rows.append(about | {"k": k, "correct": int(voted == part["gold"].iloc[0])})
    return pd.DataFrame(rows)


def best_of(table: pd.DataFrame, order: str) -> pd.DataFrame:
    """Return a row a pair and number `k`: whether the best ranked of the first k criteria as written is right."""
    parts = [first(table[:0], order).reset_index().assign(k=0)] if table.empty else []
    for k in range(1, int(table["place"].max()) + 2) if len(table) else ():
        parts.append(first(table[table["place"] < k], order).reset_index().assign(k=k))
    return pd.concat(parts, ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return (k, value, low, high, n): the share of right pairs at each number of criteria."""
    return pd.DataFrame([{"k": k} | mean(part, "correct").as_row() for k, part in rows.groupby("k")])


def ranges(table: pd.DataFrame) -> pd.DataFrame:
    """Return (rank, mean, low, high, n): the meta-reward's mean, smallest and largest value at each rank."""
    found = ordered(table, "published").dropna(subset="published").groupby("rank")["published"]
    return found.agg(mean="mean", low="min", high="max", n="size").reset_index()


def gain(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    """Return the accuracy of a minus that of b over the pairs that both hold, paired, clustered by prompt.

    Unknown where they share none.
    """
    return difference(a.reset_index(), b.reset_index(), "correct")


def gain_of_gains(a: pd.DataFrame, b: pd.DataFrame, c: pd.DataFrame, d: pd.DataFrame) -> Interval:
    """Return (a - b) - (c - d), paired by pair; unknown where the four share none."""
    both = pd.concat([t["correct"].rename(i) for i, t in enumerate((a, b, c, d))], axis=1).dropna()
    if both.empty:
        return UNKNOWN
    return paired_bootstrap(both[0] - both[1], both[2] - both[3], a.loc[both.index, "cluster"])


def hard_minus_easy(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    """Return how much larger the gain of a over b is on hard pairs (at most 2 points) than on easy ones.

    Unknown where there are no pairs of one kind.
    """
    both = a.join(b["correct"].rename("correct_b"), how="inner").dropna(subset="correct_b")
    both = both.assign(gain=both["correct"] - both["correct_b"])
    hard = both[both["points"] <= HARD_MARGIN]
    easy = both[both["points"] > HARD_MARGIN]
    if hard.empty or easy.empty:
        return UNKNOWN
    return difference_of_means(hard["gain"], easy["gain"], (hard["cluster"], easy["cluster"]))


def faults(table: pd.DataFrame) -> pd.DataFrame:
    """Return (fault, share, n): what is wrong with the wrong judgements; no rows where none is wrong."""
    wrong = table[table["fault"].astype(object).fillna("") != ""]
    counts = wrong["fault"].value_counts()
    return pd.DataFrame(
        {"fault": counts.index, "share": (counts / max(len(wrong), 1)).to_numpy(), "n": counts.to_numpy()}
    )


def fault_gap(table: pd.DataFrame, one: str, other: str) -> Interval | None:
    """Return by how much one fault's share of the wrong judgements exceeds another's; None where none is wrong."""
    wrong = table[table["fault"].astype(object).fillna("") != ""]
    if wrong.empty:
        return None
    gap = np.select([wrong["fault"] == one, wrong["fault"] == other], [1.0, -1.0], 0.0)
    return clustered_bootstrap(gap, wrong["cluster"].to_numpy())
