"""Pictures of judges: training, accuracy, orders, policies and failures (notebooks 03 and later)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from omnirepro.kit.figures.style import COLOURS, MARKERS, bars, figure_of, key, percent_axis


@figure_of
def loss_curve(data: pd.DataFrame) -> Figure:
    """Draw the loss over training (step, loss in nats a token, split?): a line a split."""
    figure, axes = plt.subplots(figsize=(7, 3.8))
    data = data if "split" in data else data.assign(split="train")
    for i, (split, part) in enumerate(data.dropna(subset="loss").groupby("split", sort=False)):
        part, few = part.sort_values("step"), len(part) <= 30
        axes.plot(
            part["step"], part["loss"], marker=MARKERS[i] if few else None, ms=5, label=split, ls=("-", "--")[i % 2]
        )
    axes.set(xlabel="optimiser step", ylabel="loss (nats a token)")
    if data["loss"].max() > 20 * data["loss"].min() > 0:
        axes.set_yscale("log")  # a start at the vocabulary's entropy would hide all that is learnt
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return key(figure, [axes])


@figure_of
def accuracy(
    data: pd.DataFrame, chance: float | None = 0.5, what: str = "accuracy, both orders (% of pairs)", by: str = "task"
) -> Figure:
    """Draw accuracy with intervals (task, judge, value, low, high): a colour a judge, tasks side by side.

    `what` labels the values and `by` the groups; without `chance` no line is drawn.
    """
    tasks, judges = (list(dict.fromkeys(data[c])) for c in ("task", "judge"))
    figure, axes = plt.subplots(figsize=(max(6.0, 1.2 + len(tasks) * (0.6 + 0.2 * len(judges))), 4.4))
    shifts = np.linspace(-0.3, 0.3, len(judges)) if len(judges) > 1 else [0]
    for i, (judge, shift) in enumerate(zip(judges, shifts, strict=True)):
        part = data[data["judge"] == judge]
        place = part.assign(x=[tasks.index(t) + shift for t in part["task"]])
        bars(axes, place, "x", "value", color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], label=judge)
    if chance is not None:
        axes.axhline(chance, color="0.35", ls=":", lw=1.5, label=f"chance ({chance:.0%})")
    axes.set(xticks=range(len(tasks)), xticklabels=tasks, xlabel=by, xlim=(-0.5, len(tasks) - 0.5))
    axes.grid(False, axis="x")
    percent_axis(axes, "y", what)
    return key(figure, [axes])


@figure_of
def position(data: pd.DataFrame) -> Figure:
    """Draw what the order of display does (judge, measure, value, low, high), as `protocol.position` measures it."""
    judges = list(dict.fromkeys(data["judge"]))
    figure, panels = plt.subplots(1, 2, figsize=(10, 1.9 + 0.45 * len(judges)), sharey=True)
    left = data["measure"].str.startswith("accuracy")
    for axes, part, colour in ((panels[0], data[left], 0), (panels[1], data[~left], 2)):
        for i, (measure, rows) in enumerate(part.groupby("measure")):
            place = rows.assign(y=[judges.index(j) + 0.24 * (i - 0.5) for j in rows["judge"]])
            look = {"color": f"C{colour + i}", "marker": MARKERS[colour + i], "label": measure}
            bars(axes, place, "value", "y", horizontal=True, **look)
        axes.axvline(0.5, color="0.35", ls=":", lw=1.5)
        axes.set(yticks=range(len(judges)), yticklabels=judges, ylim=(len(judges) - 0.5, -0.5), xlim=(-0.02, 1.02))
        if len(part):
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    percent_axis(panels[0], "x", "accuracy in one order (%)")
    percent_axis(panels[1], "x", "share of judgements or pairs (%)")
    return figure


@figure_of
def policy_range(data: pd.DataFrame) -> Figure:
    """Draw what the reading of failures and ties does to one number (policy, aggregation, value, judge?)."""
    lines = data["aggregation"] if "judge" not in data else data["judge"] + ", " + data["aggregation"]
    names, policies = list(dict.fromkeys(lines)), list(dict.fromkeys(data["policy"]))
    figure, axes = plt.subplots(figsize=(7.5, 1.8 + 0.42 * len(names)))
    for i, name in enumerate(names):
        values = data.loc[lines == name, "value"]
        axes.hlines(i, values.min(), values.max(), color="0.6", lw=2, zorder=1)
    for i, policy in enumerate(policies):
        at = data["policy"] == policy
        rows = [names.index(n) + 0.1 * (i - (len(policies) - 1) / 2) for n in lines[at]]
        axes.scatter(data.loc[at, "value"], rows, marker=MARKERS[i], s=60, label=policy, zorder=2)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    percent_axis(axes, "x", "accuracy under each policy (%)")
    return key(figure, [axes])


@figure_of
def statuses(data: pd.DataFrame) -> Figure:
    """Draw how judgements fail (judge, status, share): bars of every failure; the legend says how many are valid."""
    judges = list(dict.fromkeys(data["judge"]))
    valid = {j: data.loc[(data["judge"] == j) & (data["status"] == "ok"), "share"].sum() for j in judges}
    failed = data[data["status"] != "ok"].pivot(index="status", columns="judge", values="share").fillna(0)
    failed = failed.reindex(columns=judges, fill_value=0).loc[lambda f: f.max(axis=1).sort_values().index]
    figure, axes = plt.subplots(figsize=(7.5, 1.8 + 0.28 * max(1, len(failed)) * max(2, len(judges))))
    height = 0.8 / len(judges)
    for i, judge in enumerate(judges):
        rows = np.arange(len(failed)) + height * ((len(judges) - 1) / 2 - i)
        look = {"color": COLOURS[i % len(COLOURS)], "label": f"{judge} ({valid[judge]:.1%} valid)"}
        drawn = axes.barh(rows, failed[judge], height * 0.9, **look)
        axes.bar_label(drawn, [f"{x:.1%}" if x else "" for x in failed[judge]], padding=3, fontsize="small")
    axes.set(yticks=range(len(failed)), yticklabels=failed.index, xlim=(0, max(1 - min(valid.values()), 0.01) * 1.15))
    if failed.empty:
        axes.text(0.5, 0.5, "every judgement was parsed", ha="center", va="center", transform=axes.transAxes)
    axes.grid(False, axis="y")
    percent_axis(axes, "x", "share of judgements (%)")
    return key(figure, [axes])
