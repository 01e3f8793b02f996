"""What every figure shares: the theme, the decorator, axes of shares, points with intervals, and `save`.

One theme: the colour-blind safe palette of seaborn, with a marker or line style besides colour wherever two things
must be told apart. `save` alone writes, and only into the folder that its caller names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from PIL import Image

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">")
COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 3, 4, 5, 7)]  # less the two too pale for a line
DPI = 160
PER_CENT = FuncFormatter(lambda share, _: f"{100 * share:.4g}")


def theme() -> mpl.rc_context:
    """Return the one theme as a context: `with theme(): ...`; nothing outside it changes."""
    rc = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.95)
    colours = mpl.cycler(color=COLOURS)
    frameless = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    words = {"font.family": "DejaVu Sans", "axes.titlesize": "medium", "figure.constrained_layout.use": True}
    return mpl.rc_context(rc | frameless | words | {"axes.prop_cycle": colours, "svg.hashsalt": "omnirepro"})


def save(figure: Figure, data: pd.DataFrame, folder: str | Path, name: str) -> list[Path]:
    """Write `name`.png (160 dpi, 256 colours), .svg and .csv (the plotted data, 6 decimals) into `folder`.

    Equal input gives equal bytes. Each file appears whole or not at all. Returns the three paths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    with theme():  # the hash salt is read while the SVG is written; dates would change its bytes
        figure.savefig(picture := BytesIO(), format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
        figure.savefig(parts[1], format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    few = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(parts[0], format="png", optimize=True, dpi=(DPI, DPI))
    parts[2].write_bytes(csv(data).encode())
    for part, path in zip(parts, paths, strict=True):
        os.replace(part, path)
    return paths


def csv(data: pd.DataFrame) -> str:
    """Return the frame as CSV text: 6 decimals, no index, no negative zero, newline "\\n" on every system."""
    data = data.copy()
    for column in data.select_dtypes("float"):
        data[column] = data[column].round(6) + 0.0
    return data.to_csv(index=False, lineterminator="\n")


def figure_of(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the theme, and close the figure for pyplot, so that a notebook shows it once."""

    @wraps(draw)
    def themed(data: pd.DataFrame, *args: object, **kwargs: object) -> Figure:
        if data.empty:
            raise ValueError(f"figure {draw.__name__}: the frame has no rows to draw")
        with theme():
            figure = draw(data, *args, **kwargs)
            figure.canvas.draw()  # fixes the layout while the theme is on
        plt.close(figure)
        return figure

    return themed


def panels_of(values: pd.Series, height: float) -> tuple[Figure, list[Axes]]:
    """Return one panel a distinct value, at most five in a row, with one y axis."""
    count = values.nunique()
    wide, deep = min(count, 5), -(-count // 5)
    size = 1.2 + 2.9 * wide, 0.5 + height * deep
    figure, grid = plt.subplots(deep, wide, figsize=size, sharey=True, squeeze=False)
    for unused in grid.flat[count:]:
        unused.set_visible(False)
    return figure, list(grid.flat[:count])


def key(figure: Figure, panels: Sequence[Axes]) -> Figure:
    """Put one legend above all panels and keep outer labels only."""
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))
    for axes in panels:
        if axes.get_subplotspec().colspan.start:
            axes.set_ylabel("")
    return figure


def bars(axes: Axes, data: pd.DataFrame, x: str, y: str, horizontal: bool = False, **look: object) -> None:
    """Draw points with intervals from columns low and high around the measured coordinate."""
    centre = data[x if horizontal else y]
    reach = np.stack([centre - data["low"].fillna(centre), data["high"].fillna(centre) - centre]).clip(0)
    style = {"ls": "", "ms": 7, "capsize": 3, "elinewidth": 1.6, "zorder": 3}
    axes.errorbar(data[x], data[y], **{"xerr" if horizontal else "yerr": reach}, **style, **look)


def heat(axes: Axes, table: pd.DataFrame, words: list, label: str, percent: bool = True, **look: object) -> None:
    bar = {"label": label} | ({"format": PER_CENT} if percent else {})
    sns.heatmap(table.astype(float), annot=np.array(words), fmt="", ax=axes, linewidths=1, cbar_kws=bar, **look)
    axes.grid(False)
    axes.tick_params(axis="y", rotation=0)


def percent_axis(axes: Axes, which: str, label: str) -> None:
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(PER_CENT)
    axis.set_label_text(label)


def spread(values: np.ndarray, least: float, bottom: float, top: float) -> np.ndarray:
    """Return ascending label heights at least `least` apart (less where they cannot fit), near ascending `values`."""
    least = min(least, (top - bottom) / max(len(values), 1))
    steps = least * np.arange(len(values))
    up = np.maximum.accumulate(values - steps) + steps  # push up where too near,
    return np.minimum(up, top - least / 2 - steps[::-1])  # then back under the top, spacing kept
