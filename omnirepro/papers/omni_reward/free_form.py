"""What a criterion changes: conflicts with a judge's own preference, ways of asking, and groups of test pairs.

Consumes frozen rows of one judge, asked with and without the criterion, in pairs and one response at a time; produces
intervals (Omni-Reward, Appendix I.2, Table 11). Two protocols throughout: with ties (three-way, `rows.with_ties`) and
without (`rows.without_ties`: gold ties left out, a tied or equal verdict wrong).
"""

from __future__ import annotations

import pandas as pd

from omnirepro.evaluate import ties
from omnirepro.evaluate.protocol import pairs
from omnirepro.evaluate.rows import Rows, frame, with_ties, without_ties
from omnirepro.evaluate.statistics import UNKNOWN, Interval, difference_of_means, paired_bootstrap
from omnirepro.papers.comparisons import difference

KEY = ["pair_id", "seed"]


def credits(rows: Rows, ties_count: bool) -> pd.DataFrame:
    """Return `protocol.pairs` with the credit of one of the two protocols."""
    return pairs(rows, with_ties(rows) if ties_count else without_ties(rows))


def two_way(rows: Rows) -> pd.DataFrame:
    """Return rows with scores decided for the larger one, however small the difference; equal ones stay ties."""
    return ties.decide(rows, 0.0)


def gain(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    """Return the mean credit of a minus that of b on the same pairs; one seed of b serves every seed of a.

    Raises ValueError where the pairs differ, or several seeds that are not the same.
    """
    found = difference(a, b)
    if found.n != len(a) or set(a["pair_id"]) != set(b["pair_id"]):
        raise ValueError(f"the two sides hold different pairs or seeds: {len(a)} and {len(b)} rows, {found.n} shared")
    return found


def gap(table: pd.DataFrame, inside: pd.Series) -> Interval:
    """Return the mean credit of the rows inside a group minus that of the others; unknown where one side is empty."""
    a = table[inside]
    b = table[~inside]
    if a.empty or b.empty:
        return UNKNOWN
    return difference_of_means(a["credit"], b["credit"], (a["cluster"], b["cluster"]), (a["seed"], b["seed"]))


def own_preference(bare: Rows) -> pd.Series:
    """Return a judge's verdict where no criterion is given, a (pair, seed): decided alike in both orders, else none."""
    data = frame(bare)
    said = data[data["valid"] & (data["verdict"] != "tie")].groupby(KEY)["verdict"].agg(["nunique", "first", "size"])
    return said.loc[(said["nunique"] == 1) & (said["size"] == 2), "first"].rename("own")


def conflict(rows: Rows, bare: Rows) -> pd.DataFrame:
    """Return the decided pairs on which the judge has a preference of its own, with `group` invariant or shifted.

    invariant: the criterion's label is that preference; shifted: it is the opposite. Credit is without ties.
    """
    table = credits(rows, False).join(own_preference(bare), on=KEY).dropna(subset="own")
    return table.assign(group=["invariant" if s else "shifted" for s in table["own"] == table["label"]])


def ways(pairwise: Rows, pointwise: Rows) -> Interval:
    """Return how much better pairs are judged than single responses: the mean of both protocols, as in Table 11."""
    parts = []
    for counted in (True, False):
        other = credits(pointwise, counted)[[*KEY, "credit"]]
        both = credits(pairwise, counted).merge(other, on=KEY, suffixes=("", "_b"), validate="one_to_one")
        parts.append(both.assign(weight=1 / len(both)))
    table = pd.concat(parts)
    return paired_bootstrap(
        table["credit"], table["credit_b"], table["cluster"], seeds=table["seed"], weights=table["weight"]
    )


def equal_scores(pointwise: Rows) -> pd.DataFrame:
    """Return a row a decided pair: `credit` is 1 where both responses got one and the same score."""
    table = credits(pointwise, False)
    scores = frame(pointwise).groupby(KEY)[["score_a", "score_b"]].first()
    same = (scores["score_a"] == scores["score_b"]).astype(float).rename("credit")
    return table.drop(columns="credit").join(same, on=KEY)


def halved(pointwise: Rows) -> pd.DataFrame:
    """Return credit without ties in which equal scores earn half a point, as a coin would."""
    return pairs(pointwise, without_ties(pointwise, tie_policy="half"))
