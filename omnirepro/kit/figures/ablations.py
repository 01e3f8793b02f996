"""Pictures of ablations: effects by question, trained on against tested on, noise in the labels (notebook 07)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from omnirepro.kit.figures.style import COLOURS, MARKERS, bars, figure_of, heat, key, percent_axis


@figure_of
def forest(data: pd.DataFrame) -> Figure:
    """Draw effects with intervals (question, change, value, low, high): a row an arm below its question's heading.

    Filled where the interval leaves 0 out.
    """
    rows: list[tuple[str, dict | None]] = []
    for question, part in data.groupby("question", sort=False):
        rows += [(question, None), *((row["change"], row) for row in part.to_dict("records"))]
    figure, axes = plt.subplots(figsize=(9.5, 1.3 + 0.29 * len(rows)))
    for y, (_, row) in enumerate(rows):
        if row is not None:
            sure = row["low"] > 0 or row["high"] < 0
            look = {"color": COLOURS[0], "marker": MARKERS[0], "mfc": COLOURS[0] if sure else "white"}
            bars(axes, pd.DataFrame([row | {"y": y}]), "value", "y", horizontal=True, **look)
    axes.axvline(0, color="0.35", ls=":", lw=1.5)
    axes.set(yticks=range(len(rows)), yticklabels=[name for name, _ in rows], ylim=(len(rows) - 0.4, -0.6))
    for label, (_, row) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row is None else "normal")
    axes.tick_params(axis="y", labelsize="small")
    axes.grid(False, axis="y")
    percent_axis(axes, "x", "accuracy against the full recipe (points)")
    return figure


@figure_of
def trained_on(data: pd.DataFrame) -> Figure:
    """Draw accuracy by what a judge was trained on and tested on (trained, task, value): a heat map."""
    table = data.pivot(index="trained", columns="task", values="value")
    table = table.reindex(index=list(dict.fromkeys(data["trained"])), columns=list(dict.fromkeys(data["task"])))
    figure, axes = plt.subplots(figsize=(4.6 + 0.85 * table.shape[1], 1.6 + 0.42 * len(table)))
    words = [[f"{100 * x:.0f}" for x in row] for row in table.to_numpy()]
    heat(axes, table, words, "accuracy (%)", cmap="viridis", vmin=0.3, vmax=0.9)
    axes.set(xlabel="tested on", ylabel="trained on")
    return figure


@figure_of
def label_noise(data: pd.DataFrame) -> Figure:
    """Draw accuracy against the share of labels that each teacher mixes up (line, noise, value, low, high)."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for i, (line, part) in enumerate(data.groupby("line", sort=False)):
        part = part.sort_values("noise")
        beside = part.assign(noise=part["noise"] + 0.004 * (i - 0.5))  # intervals would cover each other
        axes.plot(beside["noise"], beside["value"], color=COLOURS[i], ls=("-", "--")[i % 2])
        bars(axes, beside, "noise", "value", color=COLOURS[i], marker=MARKERS[i], label=line)
    axes.axhline(0.5, color="0.35", ls=":", lw=1.5)
    percent_axis(axes, "x", "labels that each teacher mixes up (%)")
    percent_axis(axes, "y", "accuracy, both orders (% of pairs)")
    return key(figure, [axes])
