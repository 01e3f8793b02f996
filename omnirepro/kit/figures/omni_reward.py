"""Pictures of Omni-Reward (notebook 05): tasks by model, tie thresholds, reliability, scaling, criteria in conflict."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from omnirepro.kit.figures.style import COLOURS, MARKERS, bars, figure_of, heat, key, percent_axis


@figure_of
def task_heat(data: pd.DataFrame) -> Figure:
    """Draw accuracy by task and model (protocol, model, task, value), tasks in the order given: a panel a protocol."""
    protocols, models, tasks = (list(dict.fromkeys(data[c])) for c in ("protocol", "model", "task"))
    figure, panels = plt.subplots(len(protocols), 1, figsize=(3.2 + 0.78 * len(tasks), 1.1 + 0.75 * len(data) / 14))
    for axes, protocol in zip(panels if len(protocols) > 1 else [panels], protocols, strict=True):
        part = data[data["protocol"] == protocol].pivot(index="model", columns="task", values="value")
        part = part.reindex(index=[m for m in models if m in part.index], columns=tasks)
        words = [["" if pd.isna(x) else f"{100 * x:.0f}" for x in row] for row in part.to_numpy()]
        heat(axes, part, words, "accuracy (%)", cmap="viridis", vmin=0.2, vmax=0.9)
        axes.set(xlabel="task" if protocol == protocols[-1] else "", ylabel="", title=protocol)
    panels[-1].set_xlabel("task") if len(protocols) > 1 else panels.set_xlabel("task")
    return figure


@figure_of
def tie_threshold(data: pd.DataFrame) -> Figure:
    """Draw three-way accuracy against the threshold of ties (split, seed, threshold, accuracy); its best is marked.

    The dotted lines are the thresholds that each split would choose for itself.
    """
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for i, (split, part) in enumerate(data.groupby("split", sort=False)):
        for j, (_, line) in enumerate(part.groupby("seed")):
            line, label = line.sort_values("threshold"), split if not j else None
            best = line.loc[line["accuracy"].idxmax()]
            axes.plot(line["threshold"], line["accuracy"], color=COLOURS[i], ls=("-", "--")[i % 2], label=label)
            axes.plot(best["threshold"], best["accuracy"], MARKERS[i], color=COLOURS[i], ms=9)
            axes.axvline(best["threshold"], color=COLOURS[i], ls=":", lw=1)
    axes.set_xlabel("threshold: largest difference of scores that is a tie (logits)")
    percent_axis(axes, "y", "three-way accuracy (%)")
    return key(figure, [axes])


@figure_of
def reliability(data: pd.DataFrame) -> Figure:
    """Draw accuracy against confidence (model, confidence, value, low, high, n): a line a model, with intervals."""
    figure, axes = plt.subplots(figsize=(5.6, 5.0))
    axes.plot([0.5, 1], [0.5, 1], color="0.35", ls=":", label="calibrated")
    for i, (model, part) in enumerate(data.groupby("model", sort=False)):
        axes.plot(part["confidence"], part["value"], color=COLOURS[i], lw=1)
        bars(axes, part, "confidence", "value", color=COLOURS[i], marker=MARKERS[i], label=model)
    axes.set(xlim=(0.48, 1.02), ylim=(-0.02, 1.04))
    percent_axis(axes, "x", "confidence in the preferred response (%)")
    percent_axis(axes, "y", "how often it is the right one (%)")
    return key(figure, [axes])


@figure_of
def scaling(data: pd.DataFrame) -> Figure:
    """Draw accuracy against the share of the data (model, share, value, low, high): points with intervals."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for i, (model, part) in enumerate(data.groupby("model", sort=False)):
        part = part.sort_values("share")
        axes.plot(part["share"], part["value"], color=COLOURS[i], lw=1)
        bars(axes, part, "share", "value", color=COLOURS[i], marker=MARKERS[i], label=model)
    axes.set_xscale("log")
    shares = sorted(set(data["share"]))
    axes.set_xticks(shares, [f"{100 * s:g}" for s in shares])
    axes.minorticks_off()
    axes.set_xlabel("share of the training pairs (%)")
    percent_axis(axes, "y", "three-way accuracy (%)")
    return key(figure, [axes])


@figure_of
def shift(data: pd.DataFrame) -> Figure:
    """Draw accuracy where the criterion agrees with a model's own preference and where not (model, group, value...)."""
    models, groups = (list(dict.fromkeys(data[c])) for c in ("model", "group"))
    figure, axes = plt.subplots(figsize=(2.6 + 1.5 * len(models), 4.2))
    width = 0.8 / len(groups)
    for i, group in enumerate(groups):
        part = data[data["group"] == group]
        x = [models.index(m) + width * (i - (len(groups) - 1) / 2) for m in part["model"]]
        axes.bar(x, part["value"], width * 0.92, color=COLOURS[i], hatch=("", "//")[i % 2], alpha=0.75, label=group)
        bars(axes, part.assign(x=x), "x", "value", color="0.15", marker="")
    axes.axhline(0.5, color="0.35", ls=":", lw=1.5)
    axes.set(xticks=range(len(models)), xticklabels=models, xlabel="model", ylim=(0, 1))
    axes.grid(False, axis="x")
    percent_axis(axes, "y", "accuracy without ties (%)")
    return key(figure, [axes])


@figure_of
def transfer(data: pd.DataFrame) -> Figure:
    """Draw what training on a selection loses or gains against all data (selection, task, value): a heat map."""
    table = data.pivot(index="selection", columns="task", values="value")
    table = table.reindex(index=list(dict.fromkeys(data["selection"])), columns=list(dict.fromkeys(data["task"])))
    figure, axes = plt.subplots(figsize=(3.4 + 0.78 * table.shape[1], 2.4 + 0.36 * len(table)))
    words = [[f"{100 * x:+.0f}" for x in row] for row in table.to_numpy()]
    heat(axes, table, words, "points against all", cmap="vlag_r", center=0, vmin=-0.3, vmax=0.3)
    axes.set(xlabel="test task", ylabel="trained on")
    return figure
