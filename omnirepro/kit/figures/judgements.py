"""The forms of what `evaluate.protocol` measures, and of a training's loss."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from omnirepro.data import READ
from omnirepro.kit.figures.forms import bars, curves, points

loss = partial(
    curves, x="step", y="loss", line="split", xlabel="optimiser step", ylabel="loss (nats a token)", decay=True
)


def accuracy(
    data: pd.DataFrame, label: str = "accuracy, both orders (% of pairs)", chance: float | None = 0.5, **how: str
) -> Figure:
    """Draw accuracy with intervals (task, judge, value, low, high): a colour a judge, tasks side by side."""
    known = None if chance is None else f"chance ({chance:.0%})"
    how = {"rowlabel": "task"} | how
    return points(data, "task", label, hue="judge", upright=True, guide=chance, guide_name=known, **how)


def position(data: pd.DataFrame, **how: str) -> Figure:
    """Draw what the order of display does (judge, measure, value, low, high), as `protocol.position` measures it."""
    ordered = data["measure"].str.startswith("accuracy")
    panel = ordered.map({True: "accuracy in one order (%)", False: "share of judgements or pairs (%)"})
    data = data.assign(panel=panel).sort_values("panel", kind="stable")
    return points(data, "judge", hue="measure", panel="panel", guide=0.5, limits=(-0.02, 1.02), **how)


def policy_range(data: pd.DataFrame, **how: str) -> Figure:
    """Draw what the reading of failures and ties does to one number (policy, aggregation, value, judge?).

    Over pairs (micro) and over tasks (macro) where these differ by half a point. Where every verdict failed, dropping
    leaves nothing.
    """
    parts = [data.head(0)]
    for judge, rows in data.assign(judge=data.get("judge", "")).groupby("judge", sort=False):
        wide = rows.pivot(index="policy", columns="aggregation", values="value")
        alike = len(wide.columns) < 2 or np.allclose(wide["micro"], wide["macro"], atol=0.005, equal_nan=True)
        kept = rows[rows["aggregation"] == rows["aggregation"].iloc[0]] if alike else rows
        name = judge if alike and judge else (f"{judge}, " if judge else "") + kept["aggregation"]
        lost = "" if "drop" in set(rows["policy"]) else " (drop: no pair is left)"
        parts.append(kept.assign(line=name + lost))
    return points(pd.concat(parts), "line", "accuracy under each policy (%)", hue="policy", span=True, **how)


def statuses(data: pd.DataFrame, **how: str) -> Figure:
    """Draw how judgements fail (judge, status, share): bars of every failure; the legend says how many are valid."""
    valid = data[data["status"].isin(READ)].groupby("judge")["share"].sum()
    names = {judge: f"{judge} ({valid.get(judge, 0.0):.1%} valid)" for judge in dict.fromkeys(data["judge"])}
    table = data.pivot(index="status", columns="judge", values="share").fillna(0.0).rename(columns=names)
    table = table.drop(index=list(READ), errors="ignore")
    table = table.loc[table.max(axis=1).sort_values(ascending=False).index, list(names.values())]
    if table.empty and names:
        table.loc["every judgement was parsed"] = 0.0
    shown = table.rename_axis(index="status", columns="judge").stack().rename("share").reset_index()
    return bars(shown, "status", "judge", "share of judgements (%)", **how)
