"""Pictures of Best-of-N (notebook 08): what was chosen, against the number of candidates, the calls, and the KL."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omnirepro.kit.figures.style import COLOURS, MARKERS, PER_CENT, bars, figure_of

STYLES = ("-", "--", ":", "-.")
AXES = {
    "n": "candidates N",
    "calls": "judgements a prompt (mean)",
    "kl": "KL of best-of-N from one sample, at most (nats)",
}


@figure_of
def chosen(data: pd.DataFrame, x: str = "n") -> Figure:
    """Draw lines with intervals (panel, line, `x`, value, low, high): a panel a `panel`, whose name is its y axis.

    `x` is one of n, calls, kl. A panel whose name ends in (%) holds shares. Points of one N stand side by side.
    """
    panels, lines = (list(dict.fromkeys(data[c])) for c in ("panel", "line"))
    figure, grid = plt.subplots(1, len(panels), figsize=(1.0 + 4.4 * len(panels), 4.6), squeeze=False, sharey=x == "kl")
    figure.get_layout_engine().set(wspace=0.06)
    for axes, panel in zip(grid.flat, panels, strict=True):
        for i, line in enumerate(lines):
            part = data[(data["panel"] == panel) & (data["line"] == line)].sort_values(x)
            apart = 2 ** (0.05 * (i - (len(lines) - 1) / 2)) if x == "n" else 1.0
            part = part.assign(at=part[x] * apart)
            look = {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i // len(COLOURS) + i % 2]}
            axes.plot(part["at"], part["value"], marker=MARKERS[i], ms=5, label=line, **look)
            bars(axes, part, "at", "value", color=look["color"], marker="", alpha=0.55)
        axes.set(xlabel=AXES[x], ylabel=panel)
        if panel.endswith("(%)"):
            axes.yaxis.set_major_formatter(PER_CENT)
        _scale(axes, data, x)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    return figure


def _scale(axes: Axes, data: pd.DataFrame, x: str) -> None:
    if x == "n":
        sizes = sorted(set(data["n"]))
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
        axes.set_xlim(sizes[0] / 1.4, sizes[-1] * 1.4)
    elif x == "calls":
        axes.set_xscale("symlog", linthresh=1)
        ticks = [t for t in (0, 1, 3, 10, 30, 100, 300) if t <= 1.3 * max(data["calls"].max(), 1)]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.set_xlim(left=-0.15, right=1.3 * max(float(np.max(data["calls"])), 1))
