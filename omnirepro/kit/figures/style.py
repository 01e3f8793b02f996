"""What every figure shares: the theme, the decorator `figure_of`, and `save`.

One theme: the colour-blind safe palette of seaborn, with a marker or line style besides colour wherever two things
must be told apart. `save` alone writes, and only into the folder that its caller names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.container import Container
from matplotlib.figure import Figure
from PIL import Image

COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 3, 4, 5, 7)]  # less the two too pale for a line
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">")
STYLES = ("-", "--", ":", "-.")
DPI = 160


def theme() -> mpl.rc_context:
    """Return the one theme as a context: `with theme(): ...`; nothing outside it changes."""
    own = {
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "figure.titlesize": "medium",
        "font.family": "DejaVu Sans",
        "legend.title_fontsize": "medium",
        "legend.frameon": False,
        "svg.hashsalt": "omnirepro",
    }
    return mpl.rc_context(sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.95) | own)


def figure_of(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the theme, with one legend above all panels, and close the figure, so that a notebook shows it once.

    The drawn function takes a `title` besides its own arguments. Raises `ValueError` on a frame without rows.
    """

    @wraps(draw)
    def themed(data: pd.DataFrame, *args: object, title: str = "", **kwargs: object) -> Figure:
        if data.empty:
            raise ValueError(f"figure {draw.__name__}: the frame has no rows to draw")
        with theme():
            figure = draw(data, *args, **kwargs)
            known = {}
            for axes in figure.axes:
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                    known.setdefault(label, handle)
            if known:  # the title stands above the legend, and not upon it
                order = sorted(known, key=lambda label: not isinstance(known[label], Container))  # guides come last
                columns = min(len(known), 4)
                order = [label for i in range(columns) for label in order[i::columns]]  # to be read row by row
                handles = [known[label] for label in order]
                figure.legend(handles, order, loc="outside upper center", ncols=columns, title=title or None)
            elif title:
                figure.suptitle(title)
            figure.canvas.draw()  # fixes the layout while the theme is on
        plt.close(figure)
        return figure

    return themed


def save(figure: Figure, data: pd.DataFrame, folder: str | Path, name: str) -> list[Path]:
    """Write `name`.png (160 dpi, 256 colours), .svg and .csv (the plotted data, 6 decimals) into `folder`.

    Equal input gives equal bytes. Each file appears whole or not at all. Returns the three paths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
    parts = [path.with_name(f".{path.name}.part") for path in paths]
    parts[0].write_bytes(png(figure))
    with theme():  # the hash salt is read while the SVG is written; dates would change its bytes
        figure.savefig(parts[1], format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    parts[2].write_bytes(csv(data).encode())
    for part, path in zip(parts, paths, strict=True):
        os.replace(part, path)
    return paths


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG of 160 dpi and 256 colours."""
    with theme():
        figure.savefig(picture := BytesIO(), format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    few = Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(out := BytesIO(), format="png", optimize=True, dpi=(DPI, DPI))
    return out.getvalue()


def csv(data: pd.DataFrame) -> str:
    """Return the frame as CSV text: 6 decimals, no index, no negative zero, newline "\\n" on every system."""
    data = data.copy()
    for column in data.select_dtypes("float"):
        data[column] = data[column].round(6) + 0.0
    return data.to_csv(index=False, lineterminator="\n")
