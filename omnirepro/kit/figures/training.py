"""Pictures of reinforcement: its course, what its rewards pay for, and where groups teach nothing (notebook 04)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from omnirepro.kit.figures.style import COLOURS, MARKERS, figure_of, heat, key, percent_axis

STYLES = ("-", "--", ":", "-.")


@figure_of
def course(data: pd.DataFrame) -> Figure:
    """Draw the course of training (step, arm, seed, measure, value): a panel a measure, a colour an arm.

    Seeds are thin lines, their mean a thick one. Every measure has its own scale.
    """
    measures, arms = (list(dict.fromkeys(data[c])) for c in ("measure", "arm"))
    deep = -(-len(measures) // 3)
    figure, grid = plt.subplots(deep, min(3, len(measures)), figsize=(11, 0.8 + 2.7 * deep), sharex=True, squeeze=False)
    for unused in grid.flat[len(measures) :]:
        unused.set_visible(False)
    for axes, measure in zip(grid.flat, measures, strict=False):
        for i, arm in enumerate(arms):
            part = data[(data["measure"] == measure) & (data["arm"] == arm)].dropna(subset="value")
            look = {"color": COLOURS[i], "ls": STYLES[i % len(STYLES)]}
            for _, line in part.groupby("seed"):
                axes.plot(line["step"], line["value"], lw=0.7, alpha=0.5, **look)
            axes.plot(part.groupby("step")["value"].mean(), lw=2.2, label=arm, **look)
        axes.set(title=measure, xlabel="optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(arms), 4))
    return figure


@figure_of
def dead_groups(data: pd.DataFrame) -> Figure:
    """Draw the share of groups without spread against the group's size (name, group, share): a line a reward."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for i, (name, part) in enumerate(data.groupby("name", sort=False)):
        formula = part["kind"].iloc[0] == "formula"
        look = {"color": "0.3", "ls": ":"} if formula else {"color": COLOURS[i % len(COLOURS)]}
        axes.plot(part["group"], part["share"], marker=MARKERS[i], label=name, **look)
    axes.set_xscale("log", base=2)
    sizes = sorted(set(data["group"]))
    axes.set(xlabel="completions in a group", xticks=sizes, xticklabels=sizes, ylim=(-0.02, 1.02))
    percent_axis(axes, "y", "groups without any spread (%)")
    return key(figure, [axes])


@figure_of
def probes(data: pd.DataFrame) -> Figure:
    """Draw what each probe earns as a share of what the gold judgement earns (probe, preset, share): a heat map."""
    table = data.pivot(index="probe", columns="preset", values="share")
    table = table.reindex(index=list(dict.fromkeys(data["probe"])), columns=list(dict.fromkeys(data["preset"])))
    figure, axes = plt.subplots(figsize=(3.6 + 1.2 * table.shape[1], 1.2 + 0.34 * len(table)))
    words = [[f"{round(x, 2) + 0.0:.2f}" for x in row] for row in table.to_numpy()]
    heat(
        axes,
        table,
        words,
        "reward, as a share of the gold judgement's",
        False,
        cmap="vlag",
        center=0,
        vmin=-1.2,
        vmax=1.2,
    )
    axes.set(xlabel="reward preset", ylabel="")
    return figure
