"""From frozen judgement rows to accuracies, under every reading of ties, failures and orders.

Consumes judgement rows (see `rows`); produces tidy DataFrames and metrics. Everything is computed from the rows alone
and no function depends on their order, so any policy can be chosen after the fact.

Departures from the papers: (1) both orders are judged and a pair earns the mean of its two credits, where the papers
judge one order; (2) an unparsable or tied verdict on a decided pair counts as wrong by default, where the papers drop,
flip a coin or fail it by benchmark: `policy_range` shows them all; (3) every accuracy has an interval clustered by
prompt and stands beside baselines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import Judgement, commonest
from omnirepro.evaluate.rows import (  # noqa: F401 (one import serves a notebook: rows and what is made of them)
    BASELINES,
    POLICIES,
    Rows,
    baseline,
    credit,
    frame,
    with_ties,
    without_ties,
)
from omnirepro.evaluate.statistics import UNKNOWN, Interval, clustered_bootstrap, difference_of_means, paired_bootstrap

HARD_MARGIN = 2  # points of the 0-10 scale: a pair at most this far apart is hard
CASE = ["pair_id", "model", "seed"]  # one case is judged in two orders


def pairs(rows: Rows, earned: pd.Series | None = None, **policy: Any) -> pd.DataFrame:
    """Return one row a (pair, model, seed): `credit` is the mean over both orders, the swap-corrected accuracy.

    Also `both` (right in both orders), `agree` (same verdict in both; NaN where one failed) and `stratum` (hard |
    easy by gold margin). `earned` defaults to `credit(rows, **policy)`; pairs that it drops in both orders are left
    out. Raises `ValueError` where a pair was judged in one order only.
    """
    data = frame(rows)
    data["credit"] = credit(data, **policy) if earned is None else earned
    single = data.groupby(CASE)["order"].transform("size") != 2
    if single.any():
        names = ", ".join(data.loc[single, "pair_id"].astype(str).unique()[:3])
        raise ValueError(f"pairs judged in one order only (such as {names}); judge both, or read `by_order`")
    data["said"] = data["verdict"].where(data["valid"])
    data["right"] = (data["credit"] == 1).astype(float)
    groups = data.groupby(CASE)
    out = groups[["task", "cluster", "label", "margin"]].first()
    out["credit"] = groups["credit"].mean()
    out["both"] = groups["right"].min()
    same = groups["said"].nunique() == 1
    out["agree"] = same.astype(float).where(groups["valid"].all())
    out["stratum"] = np.select([out["margin"] <= HARD_MARGIN, out["margin"] > HARD_MARGIN], ["hard", "easy"], "unknown")
    return out[out["credit"].notna()].reset_index()


def position(rows: Rows) -> pd.DataFrame:
    """Return (judge, measure, value, low, high, n): accuracy in each order, consistency, share of A as displayed."""
    data = frame(rows)
    data["credit"] = credit(data)
    data["first"] = (data["shown"] == "A").astype(float)
    out = []
    for model, part in data.groupby("model"):
        found = {f"accuracy {order}": _interval(shown) for order, shown in part.groupby("order")}
        if (valid := part[part["valid"]]).size:
            found["always A"] = _interval(valid, "first")
        if (agree := pairs(part).dropna(subset="agree")).size:
            found["consistency"] = _interval(agree, "agree")
        out += [{"judge": model, "measure": what} | interval.as_row() for what, interval in found.items()]
    return pd.DataFrame(out)


def by_order(rows: Rows, policy: str = "wrong") -> pd.DataFrame:
    """Return (order, value, low, high, n): accuracy in each displayed order, without any correction."""
    data = frame(rows)
    data = data.assign(credit=credit(data, policy)).dropna(subset="credit")
    return pd.DataFrame([{"order": order} | _interval(part).as_row() for order, part in data.groupby("order")])


def statuses(rows: Rows) -> pd.DataFrame:
    """Return (judge, status, n, share): how judgements ended; all but those of `data.READ` are parse failures."""
    data = frame(rows).rename(columns={"model": "judge"})
    counts = data.groupby(["judge", "status"]).size().rename("n").reset_index()
    return counts.assign(share=counts["n"] / counts.groupby("judge")["n"].transform("sum"))


def summarize(rows: Rows, by: str | list[str] = "task", earned: pd.Series | None = None, **policy: Any) -> pd.DataFrame:
    """Return (*by, value, low, high, n): swap-corrected accuracy, one row a group.

    `by` names columns of `pairs`; "stratum" and "model" are among them. Raises `ValueError` where models would mix.
    """
    by = [by] if isinstance(by, str) else list(by)
    groups = one_model(pairs(rows, earned, **policy), by).groupby(by)
    return pd.DataFrame([dict(zip(by, key, strict=True)) | _interval(part).as_row() for key, part in groups])


def aggregates(rows: Rows, earned: pd.Series | None = None, **policy: Any) -> pd.DataFrame:
    """Return `summarize` by task plus the rows "micro" (every pair counts the same) and "macro" (every task does)."""
    table = pairs(rows, earned, **policy)
    ends = [{"task": name} | _average(table, name).as_row() for name in ("micro", "macro")]
    return pd.concat([summarize(rows, "task", earned, **policy), pd.DataFrame(ends)], ignore_index=True)


def policy_range(rows: Rows) -> pd.DataFrame:
    """Return (policy, aggregation, value, low, high, n): the same rows under every policy and aggregation."""
    out = []
    for policy in POLICIES:
        table = pairs(rows, policy=policy)
        for how in ("micro", "macro") if len(table) else ():
            out.append({"policy": policy, "aggregation": how} | _average(table, how).as_row())
    return pd.DataFrame(out)


def by_samples(rows: list[Judgement], **policy: Any) -> pd.DataFrame:
    """Return (samples, value, low, high, n, gain, gain_low, gain_high): accuracy if each judgement's first 1, 2, 4, ...
    samples had been all, and what that gains over the first one alone, paired.

    `rows` are one judge's that drew several samples, whose verdicts `decoding` keeps as `votes`.
    """
    most = max(len(row.decoding["votes"]) for row in rows)
    out: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    for count in sorted({most, *(1 << power for power in range(most.bit_length()))}):
        said = [commonest(row.decoding["votes"][:count]) for row in rows]
        some = [row.model_copy(update={"verdict": one}) for row, one in zip(rows, said, strict=True)]
        tables.append(pairs(some, **policy))
        gain = _difference(tables[-1], tables[0])
        gained = {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
        out.append({"samples": count} | _average(tables[-1], "micro").as_row() | gained)
    return pd.DataFrame(out)


def metrics(rows: Rows, **policy: Any) -> dict[str, dict[str, Any]]:
    """Return the entries of metrics.json of one model.

    accuracy, accuracy_macro, accuracy_<task>, accuracy_AB, accuracy_BA, both_orders, consistency, always_a,
    valid_share, tie_rate, hard, easy, model_minus_longer_wins, model_minus_always_a, and the last two a task as
    minus_longer_wins_<task>, minus_always_a_<task>. What has no rows (a stratum, say) is absent.
    """
    data = one_model(frame(rows))
    table = pairs(rows, **policy)
    if table.empty:
        raise ValueError("the policy drops every judgement: there is no accuracy to report; read `statuses`")
    scored = data.assign(credit=credit(data, **policy)).dropna(subset="credit")
    out = {"accuracy": _average(table, "micro"), "accuracy_macro": _average(table, "macro")}
    out |= {f"accuracy_{task}": _interval(part) for task, part in table.groupby("task")}
    out |= {stratum: _interval(part) for stratum, part in table.groupby("stratum") if stratum != "unknown"}
    out |= {f"accuracy_{o}": _interval(g) for o, g in scored.groupby("order")}
    out |= {"both_orders": _interval(table, "both"), "valid_share": _interval(data, "valid")}
    if len(agree := table.dropna(subset="agree")):
        out["consistency"] = _interval(agree, "agree")
    if len(valid := data[data["valid"]]):
        out["always_a"] = _interval(valid.assign(first=valid["shown"] == "A"), "first")
        out["tie_rate"] = _interval(valid.assign(tied=valid["verdict"] == "tie"), "tied")
    for name in ("longer-wins", "always-A"):
        other = pairs(rows, baseline(data, name))
        short = name.replace("-", "_").lower()
        out[f"model_minus_{short}"] = _difference(table, other)
        out |= {f"minus_{short}_{task}": _difference(part, other) for task, part in table.groupby("task")}
    return {name: interval.as_metric() for name, interval in out.items()}


def compare(rows_a: Rows, rows_b: Rows, **policy: Any) -> Interval:
    """Return the swap-corrected accuracy of a minus that of b, paired by pair and clustered by prompt.

    Where both sides hold the same seeds they are paired seed by seed. Raises `ValueError` where the judged pairs,
    their labels or the seeds differ; a pair that the policy drops on one side is dropped on both.
    """
    a = one_model(frame(rows_a))
    b = one_model(frame(rows_b))
    if only := set(a["pair_id"]) ^ set(b["pair_id"]):
        raise ValueError(f"the judges saw different pairs: {len(only)} on one side only, such as {min(map(str, only))}")
    if (a.groupby("pair_id")["label"].first() != b.groupby("pair_id")["label"].first()).any():
        raise ValueError("the judges' rows disagree on gold labels: they come from different versions of the data")
    return _difference(pairs(a, **policy), pairs(b, **policy))


def compare_strata(rows_a: Rows, rows_b: Rows) -> Interval:
    """Return how much larger the gain of a over b is on hard pairs than on easy ones; seeds as in `compare`."""
    both = pairs(rows_a).merge(
        pairs(rows_b)[["pair_id", "seed", "credit"]], on=["pair_id", "seed"], suffixes=("", "_b")
    )
    hard, easy = (both[both["stratum"] == name] for name in ("hard", "easy"))
    gains = [part["credit"] - part["credit_b"] for part in (hard, easy)]
    return difference_of_means(*gains, (hard["cluster"], easy["cluster"]), (hard["seed"], easy["seed"]))


def movements(rows_a: Rows, rows_b: Rows) -> pd.DataFrame:
    """Return what the difference of a to b consists of: (before, after, n, value, low, high), one row a change.

    `before` is what b's judgement of a pair in one order was (right | wrong | tie | failed), `after` what a's is, `n`
    how many judgements changed so. `value` is what they add to the accuracy of a minus that of b, ties and failures
    being wrong; the column sums to it. Intervals are clustered by prompt. Judgements on gold ties are left out.
    """
    a = _outcomes(rows_a)
    b = _outcomes(rows_b)
    on = _shared_key(a, b)
    both = a.merge(b[[*on, "order", "outcome"]], on=[*on, "order"], suffixes=("", "_b"), validate="one_to_one")
    rows = []
    for (was, now), part in both[both["outcome"] != both["outcome_b"]].groupby(["outcome_b", "outcome"]):
        worth = (now == "right") - (was == "right")
        moved = both.index.isin(part.index).astype(float) * worth
        value = _interval(both.assign(moved=moved), "moved")
        rows.append({"before": was, "after": now} | value.as_row() | {"n": len(part)})
    return pd.DataFrame(rows, columns=["before", "after", "n", "value", "low", "high"])


def _outcomes(rows: Rows) -> pd.DataFrame:
    data = one_model(frame(rows)).query("label != 'tie'")
    said = data["verdict"].mask(data["verdict"] == data["label"], "right").mask(data["verdict"] == "tie", "tie")
    return data.assign(outcome=said.where(said.isin(["right", "tie"]), "wrong").where(data["valid"], "failed"))


def _difference(a: pd.DataFrame, b: pd.DataFrame) -> Interval:
    on = _shared_key(a, b)
    both = a.merge(b[[*on, "credit"]], on=on, suffixes=("", "_b"), validate="one_to_one")
    if both.empty:  # the policy drops all that one side said
        return UNKNOWN
    return paired_bootstrap(both["credit"], both["credit_b"], both["cluster"], seeds=both["seed"])


def _shared_key(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    on = ["pair_id", "seed"] if set(a["seed"]) == set(b["seed"]) else ["pair_id"]
    if on == ["pair_id"] and max(a["seed"].nunique(), b["seed"].nunique()) > 1:
        raise ValueError("seeds differ between the sides; give both the same seeds, or one seed each")
    return on


def _average(table: pd.DataFrame, how: str) -> Interval:
    weights = 1 / table.groupby("task")["credit"].transform("size") if how == "macro" else None
    return clustered_bootstrap(table["credit"], table["cluster"], seeds=table["seed"], weights=weights)


def _interval(data: pd.DataFrame, column: str = "credit") -> Interval:
    data = data.dropna(subset=column)
    return clustered_bootstrap(data[column].astype(float), data["cluster"], seeds=data["seed"])


def one_model(data: pd.DataFrame, by: list[str] | tuple = ()) -> pd.DataFrame:
    """Return the rows as they are. Raises ValueError where those of several models would mix."""
    if "model" not in by and data["model"].nunique() > 1:
        raise ValueError(
            f"rows of several models ({', '.join(sorted(set(data['model'])))}): select one, or group by it"
        )
    return data
