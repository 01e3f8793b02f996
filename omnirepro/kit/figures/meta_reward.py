"""Pictures of criteria: the meta-reward's jump, accuracy by rank and number, its range, faults, cost (notebook 06)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from omnirepro.kit.figures.style import COLOURS, MARKERS, bars, figure_of, key, percent_axis

STYLES = ("-", "--", ":", "-.")


@figure_of
def jump(data: pd.DataFrame) -> Figure:
    """Draw the meta-reward while only the rejected response's refined score moves (`reward.meta.discontinuity`)."""
    figure, axes = plt.subplots(figsize=(7.4, 4.3))
    for i, (variant, part) in enumerate(data.groupby("variant", sort=False)):
        for consistent, side in part.groupby("consistent"):
            side = side.sort_values("refined_margin")
            look = {"color": COLOURS[i], "ls": STYLES[i % len(STYLES)], "label": variant if consistent else None}
            axes.plot(side["refined_margin"], side["s_meta"], lw=2.2, **look)
    axes.axvline(0, color="0.35", lw=1)
    axes.set(
        xlabel="refined margin: preferred less rejected response (logits)\nleft of 0 the verdict is contradicted",
        ylabel="meta-reward (logits)",
    )
    return key(figure, [axes])


@figure_of
def curves(data: pd.DataFrame, x: str = "rank", what: str = "accuracy (% of pairs)") -> Figure:
    """Draw accuracies with intervals over a count (panel, line, `x`, value, low, high): a panel a `panel`."""
    panels, lines = (list(dict.fromkeys(data[c])) for c in ("panel", "line"))
    figure, grid = plt.subplots(
        1, len(panels), figsize=(1.4 + 4.1 * len(panels), 4.2), sharey=True, squeeze=False, sharex=True
    )
    for axes, panel in zip(grid.flat, panels, strict=True):
        for i, line in enumerate(lines):
            part = data[(data["panel"] == panel) & (data["line"] == line)].sort_values(x)
            look = {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i % len(STYLES)]}
            axes.plot(part[x], part["value"], marker=MARKERS[i], ms=5, label=line, **look)
            axes.fill_between(part[x], part["low"], part["high"], color=look["color"], alpha=0.13, lw=0)
        axes.set(title=panel, xlabel=_NAMES.get(x, x))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        percent_axis(axes, "y", what)
    return key(figure, list(grid.flat))


_NAMES = {"rank": "rank of the criterion (1: best)", "k": "number of criteria"}


@figure_of
def ranges(data: pd.DataFrame) -> Figure:
    """Draw mean, smallest and largest meta-reward at each rank (panel, rank, mean, low, high): a panel a `panel`."""
    panels = list(dict.fromkeys(data["panel"]))
    figure, grid = plt.subplots(1, len(panels), figsize=(1.4 + 4.1 * len(panels), 4.0), squeeze=False, sharex=True)
    for axes, (i, panel) in zip(grid.flat, enumerate(panels), strict=True):
        part = data[data["panel"] == panel]
        axes.fill_between(part["rank"], part["low"], part["high"], color=COLOURS[i], alpha=0.2, lw=0, label="range")
        axes.plot(part["rank"], part["mean"], color=COLOURS[i], marker=MARKERS[i], label="mean")
        axes.axhline(0, color="0.35", lw=1)
        axes.set(title=panel, xlabel=_NAMES["rank"], ylabel="meta-reward (own logits)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@figure_of
def effects(data: pd.DataFrame, what: str = "gain over a random order (points)") -> Figure:
    """Draw differences with intervals (name, group, value, low, high): a row a name, a colour a group."""
    names, groups = (list(dict.fromkeys(data[c])) for c in ("name", "group"))
    figure, axes = plt.subplots(figsize=(8.2, 1.6 + 0.24 * len(names) * max(2, len(groups))))
    shifts = np.linspace(-0.22, 0.22, len(groups)) if len(groups) > 1 else [0.0]
    for i, (group, shift) in enumerate(zip(groups, shifts, strict=True)):
        part = data[data["group"] == group]
        place = part.assign(y=[names.index(n) + shift for n in part["name"]])
        bars(axes, place, "value", "y", horizontal=True, color=COLOURS[i], marker=MARKERS[i], label=group)
    axes.axvline(0, color="0.35", ls=":", lw=1.5)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    percent_axis(axes, "x", what)
    return key(figure, [axes])


@figure_of
def faults(data: pd.DataFrame) -> Figure:
    """Draw what is wrong with wrong judgements (judge, fault, share, n): a bar a judge, shares of its failures."""
    judges, kinds = (list(dict.fromkeys(data[c])) for c in ("judge", "fault"))
    figure, axes = plt.subplots(figsize=(8.6, 1.5 + 0.62 * len(judges)))
    left = np.zeros(len(judges))
    for i, kind in enumerate(kinds):
        part = data[data["fault"] == kind].set_index("judge")["share"].reindex(judges, fill_value=0.0)
        drawn = axes.barh(range(len(judges)), part, 0.62, left=left, color=COLOURS[i], label=kind)
        words = [f"{100 * x:.0f}" if x >= 0.04 else "" for x in part]
        axes.bar_label(drawn, words, label_type="center", color="white", fontsize="small")
        left += part.to_numpy()
    counts = data.groupby("judge")["n"].sum()
    axes.set(yticks=range(len(judges)), yticklabels=[f"{j} ({counts[j]} wrong)" for j in judges], xlim=(0, 1))
    axes.set_ylim(len(judges) - 0.5, -0.5)
    axes.grid(False, axis="y")
    percent_axis(axes, "x", "share of the wrong judgements (%)")
    return key(figure, [axes])


@figure_of
def cost(data: pd.DataFrame) -> Figure:
    """Draw accuracy against tokens a pair (model, method, tokens, value, low, high): a marker a method."""
    models, methods = (list(dict.fromkeys(data[c])) for c in ("model", "method"))
    figure, axes = plt.subplots(figsize=(8.8, 4.4))
    data = data.assign(tokens=data["tokens"].clip(lower=1).astype(float)).sort_values("tokens")
    for m, model in enumerate(models):
        part = data[data["model"] == model]
        axes.plot(part["tokens"], part["value"], color=COLOURS[m], lw=1, alpha=0.6)
        for method, row in part.groupby("method"):
            look = {"color": COLOURS[m], "marker": MARKERS[methods.index(method)]}
            bars(axes, row, "tokens", "value", **look)
    keys = [Line2D([], [], color=COLOURS[m], label=model) for m, model in enumerate(models)]
    keys += [Line2D([], [], color="0.3", ls="", marker=MARKERS[i], label=name) for i, name in enumerate(methods)]
    axes.set_xscale("log")
    axes.set(xlabel="tokens generated a pair, by all roles (none: drawn at 1)")
    percent_axis(axes, "y", "accuracy (% of pairs)")
    figure.legend(handles=keys, loc="outside right center", fontsize="small")
    return figure
