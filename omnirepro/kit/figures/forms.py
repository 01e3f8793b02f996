"""The forms that every figure is made of: curves, points with intervals, heat maps, bars, a histogram.

Each takes a tidy frame and the names of its columns; the order of what is drawn is that of the rows. A column that is
named but not there tells nothing apart. Intervals are drawn from the columns low and high, where they are there. Labels
carry the unit: values of an axis in (%) or (points) are fractions, drawn as per cent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from omnirepro.kit.figures.style import COLOURS, MARKERS, STYLES, figure_of

PER_CENT = FuncFormatter(lambda share, _: f"{100 * share:.4g}")
FEW = 30  # points of a line, above which they have no markers
COUNTS = (0, 1, 3, 10, 30, 100, 300)  # ticks of a scale of counts that begins at none
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue
GUIDE = {"color": "0.35", "ls": ":", "lw": 1.5}


@figure_of
def curves(
    data: pd.DataFrame,
    x: str,
    xlabel: str,
    ylabel: str = "",
    *,
    y: str = "value",
    line: str | None = None,
    panel: str | None = None,
    stroke: str | None = None,
    marker: str | None = None,
    mean: bool = False,
    band: bool = False,
    peak: bool = False,
    decay: bool = False,
    xscale: str = "linear",
    xguide: float | None = None,
    yguide: float | None = None,
    diagonal: bool = False,
    grey: Collection[str] = (),
    per_row: int = 5,
    least: float = 0.0,
    sharex: bool = True,
    sharey: bool = True,
) -> Figure:
    """Draw `y` over `x`: a colour and style a `line`, a panel a `panel`, which names its y axis without `ylabel`.

    `stroke` tells the parts of a line apart (seeds; with `mean` thin ones below their mean), `marker` its points.
    `band`: intervals as areas; `peak`: mark where each stroke is highest; `decay`: y from 0, or logarithmic where it
    spans more than a factor of 20; `xscale`: linear, log or counts; `grey`: lines that are no measurement. An axis of
    its own spans `least` at least, one of shares 20 points, so that small changes look small. A column `each`: see
    `points`.
    """
    height = 4.2 if len(_levels(data, panel)) <= per_row else 2.9
    figure, panels = _panels(data, panel, 4.1 if panel else 5.8, height, per_row, sharex=sharex, sharey=sharey)
    names = _levels(data, line)
    kinds = _levels(data, marker) if marker else []
    for number, (axes, title, part) in enumerate(panels):
        for i, name in enumerate(names):
            look = {"color": COLOURS[i % len(COLOURS)], "ls": STYLES[i % len(STYLES)]}
            look = {"color": "0.35", "ls": ":"} if name in grey else look
            some = _where(part, line, name).dropna(subset=y).sort_values(x, kind="stable")
            dots = MARKERS[i % len(MARKERS)] if data[x].nunique() <= FEW and not marker and not mean else None
            for j, of in enumerate(_levels(some, stroke)):
                one = _where(some, stroke, of)
                label = name if not j and not mean else None
                weight = {"lw": 0.7, "alpha": 0.5} if mean else {"lw": 1.8}
                axes.plot(one[x], one[y], marker=dots, ms=5, label=label, **look, **weight)
                if peak:
                    best = one.loc[one[y].idxmax()]
                    axes.plot(best[x], best[y], MARKERS[i], color=look["color"], ms=9)
                    axes.axvline(best[x], color=look["color"], ls=":", lw=1)
            if mean:
                axes.plot(some.groupby(x)[y].mean(), lw=2.2, label=name, **look)
            if band:
                axes.fill_between(some[x], some["low"], some["high"], color=look["color"], alpha=0.13, lw=0)
            elif "low" in some:
                off = i - (len(names) - 1) / 2  # intervals of two lines would cover each other
                apart = {"linear": some[x] + 0.01 * off * np.ptp(data[x]), "log": some[x] * 1.05**off}
                interval = {"color": look["color"], "alpha": 0.6}
                _intervals(axes, some.assign(**{x: apart.get(xscale, some[x])}), x, y, marker="", **interval)
            for at, told in zip(some[x], some.get("each", ()), strict=False):
                dots = [float(word) for word in str(told).split()]
                axes.plot([at] * len(dots), dots, "o", color=look["color"], ms=4, alpha=0.35, mew=0)
            for kind, symbol in zip(kinds, MARKERS, strict=False):
                dot = _where(some, marker, kind)
                axes.plot(dot[x], dot[y], symbol, color=look["color"], ms=7)
        if diagonal:
            axes.axline((0.5, 0.5), slope=1, label="equal", **GUIDE)
        if xguide is not None:
            axes.axvline(xguide, **GUIDE)
        if yguide is not None:
            axes.axhline(yguide, **GUIDE)
        if decay and data[y].max() > 20 * data[y].min() > 0:
            axes.set_yscale("log")  # a start at the vocabulary's entropy would hide all that is learnt
        elif decay:
            axes.set_ylim(bottom=0)
        if not sharey and (span := least or 0.2 * _in_percent(ylabel or title)):
            axes.set_ylim(widened(*axes.get_ylim(), span))
        _scale(axes, xscale, data[x])
        lowest = number + per_row >= len(panels)
        _label(axes.xaxis, xlabel if lowest else "")
        axes.tick_params(labelbottom=lowest or not sharex)
        if not ylabel and height > 4:  # there is room for it
            axes.set_title("")
            _label(axes.yaxis, title)
        else:
            _label(axes.yaxis, ylabel if axes.get_subplotspec().is_first_col() else "", unit=ylabel or title)
    for kind, symbol in zip(kinds, MARKERS, strict=False):
        panels[0][0].add_line(Line2D([], [], color="0.3", ls="", marker=symbol, label=kind))
    return figure


@figure_of
def points(
    data: pd.DataFrame,
    row: str,
    label: str = "",
    *,
    hue: str | None = None,
    panel: str | None = None,
    heading: str | None = None,
    rowlabel: str = "",
    upright: bool = False,
    span: bool = False,
    guide: float | None = None,
    guide_name: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw `value` with its interval for every `row`, a colour and marker a `hue`, a panel a `panel`.

    `upright` sets the rows side by side; `heading` groups them; `span` joins the values of a row. A dotted line stands
    at `guide`; points are hollow where it is 0 and their interval holds it. Without `label` panels name their values.
    A column `each` holds what every seed gave, as numbers with a blank between: dots beside their mean.
    """
    rows = [
        (head, name) for head in _levels(data, heading) for name in (None, *_levels(_where(data, heading, head), row))
    ]
    rows = rows if heading else rows[1:]
    hues = _levels(data, hue)
    reach = 0.14 * (len(hues) - 2) if span else 0.3 * (len(hues) > 1)  # two ends of a span need no room
    shifts = np.linspace(-reach, reach, len(hues))
    deep = 1.4 + len(rows) * (0.3 if len(hues) == 1 else 0.45)
    wide = max(4.8, len(rows) * (0.6 + 0.2 * len(hues)))
    size = (wide, 3.7) if upright else (3.6 if panel else 6.6, deep)
    figure, panels = _panels(data, panel, *size, sharey=True)
    for axes, title, part in panels:
        heads = part[heading] if heading else [None] * len(part)
        place = pd.Series([rows.index(key) for key in zip(heads, part[row], strict=True)], part.index, float)
        if span:
            ends = part.groupby(place)["value"].agg(["min", "max"])
            axes.hlines(ends.index, ends["min"], ends["max"], color="0.6", lw=2, zorder=1)
        for i, (name, shift) in enumerate(zip(hues, shifts, strict=True)):
            some = _where(part, hue, name).assign(_place=place + shift)
            for at, told in zip(some["_place"], some.get("each", ()), strict=False):
                dots = [float(word) for word in str(told).split()]
                beside = [at + 0.2 / len(hues)] * len(dots)
                across = (beside, dots) if upright else (dots, beside)
                axes.plot(*across, "o", color=COLOURS[i % len(COLOURS)], ms=4, alpha=0.6, mew=0)
            unsure = (some["low"] <= 0) & (some["high"] >= 0) if guide == 0 and "low" in some else [False] * len(some)
            for hollow in (False, True):
                look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
                shown = some[np.array(unsure, bool) == hollow]
                if len(shown):
                    look |= {"mfc": "white"} if hollow else {"label": name}
                    _intervals(axes, shown, *(("_place", "value") if upright else ("value", "_place")), upright, **look)
        if guide is not None:
            (axes.axhline if upright else axes.axvline)(guide, label=guide_name, **GUIDE)
        ends = (-0.5, len(rows) - 0.5)
        names = [head if name is None else name for head, name in rows]
        if upright:
            axes.set(xticks=range(len(rows)), xticklabels=names, xlabel=rowlabel, xlim=ends, ylim=limits)
        else:
            axes.set(yticks=range(len(rows)), yticklabels=names, ylim=ends[::-1], xlim=limits)
            axes.set_ylabel(rowlabel if axes.get_subplotspec().is_first_col() else "")
            for text, (_, name) in zip(axes.get_yticklabels(), rows, strict=False):
                text.set_fontweight("bold" if name is None else "normal")
        axes.grid(False, axis="x" if upright else "y")
        _label(axes.yaxis if upright else axes.xaxis, label or title)
        axes.set_title(title if label else "")
    return figure


@figure_of
def heat(
    data: pd.DataFrame,
    row: str,
    column: str,
    label: str,
    *,
    value: str = "value",
    words: str = ".0f",
    panel: str | None = None,
    rowlabel: str = "",
    columnlabel: str = "",
    **look: Any,
) -> Figure:
    """Draw a heat map of `value`, rows and columns in the order of the data: a map a `panel`, below one another.

    `words` is the format of what is written into a cell, or the column that holds it. An empty cell is unknown.
    """
    scale = 100 if _in_percent(label) else 1
    columns = _levels(data, column)
    rows = max(_where(data, panel, name)[row].nunique() for name in _levels(data, panel))
    wide, deep = (1.0, 0.8) if words in data else (0.8, 0.36)  # inches of a cell
    names = 0.08 * data[row].astype(str).str.len().max()
    figure, panels = _panels(data, panel, 1.6 + names + wide * len(columns), 0.8 + deep * rows, per_row=1)
    digits = int(words[-2]) if words not in data else 0
    for axes, _, part in panels:
        table = part.pivot(index=row, columns=column, values=value).reindex(index=_levels(part, row), columns=columns)
        if words in data:
            cells = part.pivot(index=row, columns=column, values=words).reindex_like(table).to_numpy()
        else:
            rounded = (scale * table.astype(float)).round(digits) + 0.0  # no negative zero
            cells = rounded.map(lambda x: "" if np.isnan(x) else f"{x:{words}}").to_numpy()
        bar = {"label": label} | ({"format": PER_CENT} if scale == 100 else {})
        sns.heatmap(table.astype(float), annot=cells, fmt="", ax=axes, linewidths=1, cbar_kws=bar, **look)
        mesh = axes.collections[0]
        shown = mesh.get_facecolors()[~np.ma.getmaskarray(mesh.get_array()).ravel()]
        for text, colour in zip(axes.texts, shown, strict=True):
            text.set_color("0.1" if luminance(colour) > 0.18 else "white")  # whichever stands out more
        axes.grid(False)
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel=columnlabel, ylabel=rowlabel)
    return figure


@figure_of
def bars(data: pd.DataFrame, row: str, hue: str, label: str, *, stacked: bool = False) -> Figure:
    """Draw `share` as bars, a colour a `hue`, one below the other or `stacked`, with their per cent."""
    rows = _levels(data, row)
    hues = _levels(data, hue)
    table = data.pivot(index=row, columns=hue, values="share").reindex(index=rows, columns=hues).fillna(0.0)
    height = 0.62 if stacked else 0.8 / len(hues)
    figure, ((axes, _, _),) = _panels(
        data, None, 6.3, 1.3 + len(rows) * (0.62 if stacked else 0.28 * max(2, len(hues)))
    )
    left = np.zeros(len(rows))
    for i, name in enumerate(hues):
        share = table[name].to_numpy()
        place = np.arange(len(rows)) + (0 if stacked else height * (i - (len(hues) - 1) / 2))
        look = {"left": left, "color": COLOURS[i % len(COLOURS)], "label": name}
        drawn = axes.barh(place, share, height if stacked else 0.9 * height, **look)
        if stacked:
            inside = {"label_type": "center", "color": "white", "fontsize": "small"}
            axes.bar_label(drawn, [f"{100 * x:.0f}" if x >= 0.04 else "" for x in share], **inside)
            left = left + share
        else:
            axes.bar_label(drawn, [f"{x:.1%}" if x else "" for x in share], padding=3, fontsize="small")
    axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlim(0, 1 if stacked else max(table.to_numpy().max(), 0.01) * 1.15)
    axes.grid(False, axis="y")
    _label(axes.xaxis, label)
    return figure


@figure_of
def histogram(data: pd.DataFrame, value: str, hue: str, panel: str, xlabel: str, edges: Sequence[float]) -> Figure:
    """Draw how `value` spreads between the `edges` of its bins, as shares of each `hue`: a panel a `panel`."""
    figure, panels = _panels(data, panel, 2.9, 2.4, sharey=True)
    names = sorted(_levels(data, hue))
    for axes, _, part in panels:
        for i, name in enumerate(names):
            values = part.loc[part[hue] == name, value]
            share = np.histogram(values, edges)[0] / max(len(values), 1)
            axes.stairs(share, edges, color=COLOURS[i], lw=2, ls=STYLES[i], label=name)
            axes.stairs(share, edges, color=COLOURS[i], alpha=0.2, fill=True)
        _label(axes.xaxis, xlabel)
        _label(axes.yaxis, "share (%)" if axes is panels[0][0] else "", unit="(%)")
    return figure


# ---- what the forms share


def _levels(data: pd.DataFrame, column: str | None) -> list[Any]:
    """Return the distinct values of a column in their order; one None where it is not there."""
    return list(dict.fromkeys(data[column])) if column in data else [None]


def _where(data: pd.DataFrame, column: str | None, level: Any) -> pd.DataFrame:
    return data[data[column] == level] if column in data else data


def _panels(
    data: pd.DataFrame, column: str | None, width: float, height: float, per_row: int = 5, **share: bool
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """Return the figure, and axes, title and rows of each panel; `width` and `height` are inches of one."""
    names = _levels(data, column)
    wide = min(len(names), per_row)
    deep = -(-len(names) // wide)
    figure, grid = plt.subplots(deep, wide, figsize=(1.2 + width * wide, 0.5 + height * deep), squeeze=False, **share)
    for unused in grid.flat[len(names) :]:
        unused.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(name or "")
    return figure, [(axes, n or "", _where(data, column, n)) for axes, n in zip(grid.flat, names, strict=False)]


def _intervals(axes: Axes, data: pd.DataFrame, x: str, y: str, upright: bool = True, **look: Any) -> None:
    """Draw points, with an interval where low and high are known, around y (or around x, unless `upright`)."""
    reach = None
    if "low" in data:
        centre = data[y if upright else x]
        reach = np.stack([centre - data["low"].fillna(centre), data["high"].fillna(centre) - centre]).clip(0)
    style = {"ls": "", "ms": 7, "capsize": 3, "elinewidth": 1.6, "zorder": 3}
    axes.errorbar(data[x], data[y], **{"yerr" if upright else "xerr": reach}, **style, **look)


def luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2)."""
    channels = np.asarray(colour[:3])
    return float(np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ LUMINANCE)


def widened(low: float, high: float, least: float) -> tuple[float, float]:
    """Return the ends of an axis at least so far apart, beyond 0 and 1 by a margin only where they were before."""
    short = max(least - (high - low), 0) / 2
    up = max(min(low, -0.02) - (low - short), 0) - max(high + short - max(high, 1.02), 0)
    return low - short + up, high + short + up


def _in_percent(label: str) -> bool:
    return "(%" in label or "(points)" in label


def _label(axis: Axis, label: str, unit: str = "") -> None:
    """Name an axis; its ticks are per cent where its label (or the `unit` of one that is not shown) says so."""
    axis.set_label_text(label)
    if _in_percent(unit or label):
        axis.set_major_formatter(PER_CENT)


def _scale(axes: Axes, scale: str, values: pd.Series) -> None:
    """Set the scale of x: ticks at whole steps, at the few values of a logarithmic one, at round counts."""
    if scale == "linear" and pd.api.types.is_integer_dtype(values):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if scale == "log":
        axes.set_xscale("log")
        if len(few := sorted(set(values))) <= 8:
            axes.set_xticks(few, [f"{value:g}" for value in few])
            axes.minorticks_off()
    if scale == "counts":
        most = max(float(values.max()), 1)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(ticks := [t for t in COUNTS if t <= 1.3 * most], [str(t) for t in ticks])
        axes.minorticks_off()
        axes.set_xlim(left=-0.15, right=1.3 * most)
