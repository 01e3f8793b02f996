"""Pictures of the data: responses, their defects, teachers and the labels that survive (notebooks 01 and 02)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from omnirepro.kit.figures.style import COLOURS, MARKERS, bars, figure_of, heat, key, panels_of, percent_axis, spread


@figure_of
def scores(data: pd.DataFrame) -> Figure:
    """Draw how overall scores spread, strong against weak (score 0-10, generator, task): a panel a task."""
    figure, panels = panels_of(data["task"], height=2.9)
    names, edges, top = sorted(data["generator"].unique()), np.arange(-0.5, 11), 0.0
    for axes, (task, part) in zip(panels, data.groupby("task"), strict=False):
        for name, line, colour in zip(names, ("-", "--", ":"), COLOURS, strict=False):
            values = part.loc[part["generator"] == name, "score"]
            share = np.histogram(values, edges)[0] / max(len(values), 1)
            axes.stairs(share, edges, color=colour, lw=2, ls=line, label=name)
            axes.stairs(share, edges, color=colour, alpha=0.2, fill=True)
            top = max(top, share.max())
        axes.set(title=task, xlabel="overall score (points)", xticks=range(0, 11, 2))
        percent_axis(axes, "y", "share of responses (%)")
    panels[0].set_ylim(0, top * 1.08)
    return key(figure, panels)


@figure_of
def gap(data: pd.DataFrame) -> Figure:
    """Draw how often strong and weak pass each dimension (dimension, task, rate_strong, rate_weak): a panel a task."""
    figure, panels = panels_of(data["task"], height=2.7)
    dimensions = list(dict.fromkeys(data["dimension"]))
    for axes, (task, part) in zip(panels, data.groupby("task"), strict=False):
        part = part.set_index("dimension").reindex(dimensions)
        rows = np.arange(len(dimensions))
        axes.hlines(rows, part["rate_weak"], part["rate_strong"], color="0.6", lw=2, zorder=1)
        for side, marker, size in (("strong", "o", 75), ("weak", "s", 35)):
            axes.scatter(part[f"rate_{side}"], rows, marker=marker, s=size, label=side, zorder=2)
        axes.set(title=task, yticks=rows, yticklabels=dimensions, xlim=(-0.04, 1.04), ylim=(len(rows) - 0.5, -0.5))
        percent_axis(axes, "x", "responses that pass (%)")
    return key(figure, panels)


@figure_of
def reconciliation(data: pd.DataFrame) -> Figure:
    """Draw label precision against coverage (rule, coverage, precision, low, high), one named point a rule."""
    figure, axes = plt.subplots(figsize=(8.2, 4.6))
    data = data.sort_values("precision", ignore_index=True)
    lows, highs = data["low"].fillna(data["precision"]), data["high"].fillna(data["precision"])
    bottom, top = lows.min() - 0.02, min(highs.max(), 1) + 0.02
    heights = spread(data["precision"].to_numpy(), (top - bottom) * 0.065, bottom, top)
    for i, row in data.iterrows():
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        bars(axes, data.loc[[i]], "coverage", "precision", color=colour, marker=marker)
        axes.plot([row["coverage"], 1.05], [row["precision"], heights[i]], color=colour, lw=0.8, alpha=0.5)
        axes.text(1.06, heights[i], row["rule"], color="0.15", va="center", fontsize="small", clip_on=False)
    axes.set(xlim=(min(data["coverage"].min() - 0.05, 0.95), 1.05), ylim=(bottom, top))
    percent_axis(axes, "x", "coverage: pairs that keep a label (%)")
    percent_axis(axes, "y", "precision: kept labels that are true (%)")
    return figure


@figure_of
def agreement(data: pd.DataFrame, names: Sequence[str] = ("first teacher", "second teacher")) -> Figure:
    """Draw how often two teachers say what (first, second, n): counts with their share of all pairs."""
    table = data.pivot_table(index="first", columns="second", values="n", aggfunc="sum", fill_value=0)
    kinds = [k for k in ("A", "tie", "B") if k in {*table.index, *table.columns}]
    table = table.reindex(index=kinds, columns=kinds, fill_value=0)
    share = table / table.to_numpy().sum()
    words = [
        [f"{int(n)}\n{p:.1%}" for n, p in zip(*row, strict=True)]
        for row in zip(table.values, share.values, strict=True)
    ]
    figure, axes = plt.subplots(figsize=(5.2, 4.3))
    heat(axes, share, words, "share of pairs (%)", vmin=0, cmap="Blues")
    axes.set(xlabel=f"verdict of the {names[1]}", ylabel=f"verdict of the {names[0]}")
    return figure


@figure_of
def kappa(data: pd.DataFrame) -> Figure:
    """Draw agreement (dimension, task, value from -1 to 1) as a heat map; an empty cell is undefined."""
    table = data.pivot(index="dimension", columns="task", values="value")
    table = table.reindex(list(dict.fromkeys(data["dimension"])))
    figure, axes = plt.subplots(figsize=(2.6 + 1.1 * table.shape[1], 1.5 + 0.5 * table.shape[0]))
    words = [["" if np.isnan(x) else f"{round(x, 2) + 0.0:.2f}" for x in row] for row in table.to_numpy(float)]
    heat(axes, table, words, "agreement beyond chance", vmin=-1, vmax=1, cmap="RdBu", percent=False)
    axes.set(xlabel="task", ylabel="")
    return figure
