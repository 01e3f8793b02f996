"""The figures of notebook 07, from `arms.csv` and `pairs.csv`.

A table that no arm fills raises FileNotFoundError, so that its figure is left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.kit import figures
from omnirepro.papers.ablations.effects import effects, read
from omnirepro.papers.comparisons import mean

MODALITIES = ("image", "video", "audio", "text")


def shown_effects(folder: Path) -> pd.DataFrame:
    """Return the effects that there are (question, change, value, low, high, steps, seeds)."""
    table = effects(folder).dropna(subset="value")
    return _some(table[["question", "change", "value", "low", "high", "steps", "seeds"]])


def transfer(folder: Path) -> pd.DataFrame:
    """Return accuracy by what a judge was trained on and tested on (trained, task, value, low, high)."""
    arms, pairs = read(folder)
    known = _some(arms[arms["question"] == "modalities"])
    alone = known["modalities"].str.count(r"\+").sort_values(kind="stable").index
    trained = {"untuned": "nothing", "full": "all"} | {arm: known.loc[arm, "modalities"] for arm in alone}
    return by_task(pairs, trained, "trained").drop(columns="arm")


def noise(folder: Path) -> pd.DataFrame:
    """Return accuracy by the share of labels mixed up (line, noise, value, low, high), with and without the filter."""
    arms, pairs = read(folder)
    noisy = _some(arms[arms["question"] == "label noise"])
    clean = arms[arms.index.isin(["full", "no-filter"])]
    line = {"published": "both teachers must agree", "none": "no filter"}
    rows = [
        {"line": line[told["rule"]], "noise": float(told["flip"])}
        | mean(pairs[pairs["arm"] == arm]).as_row(count=False)
        for arm, told in pd.concat([clean, noisy]).iterrows()
    ]
    return pd.DataFrame(rows).sort_values(["line", "noise"]).reset_index(drop=True)


def forgetting(folder: Path) -> pd.DataFrame:
    """Return accuracy by modality (judge, task, value, low, high): taught mixed, and one after another."""
    arms, pairs = read(folder)
    known = _some(arms[arms["curriculum"] == "sequential"])
    ends = {arm: told["modalities"].split("+") for arm, told in known.iterrows()}
    names = {"full": "mixed"} | {arm: f"{order[0]} first, {order[-1]} last" for arm, order in ends.items()}
    table = by_task(pairs, names, "judge").drop(columns="arm")
    return table.sort_values("task", key=lambda c: c.map(MODALITIES.index), kind="stable")


def by_task(pairs: pd.DataFrame, named: dict[str, str], column: str) -> pd.DataFrame:
    """Return accuracy by arm and modality (arm, `column`, task, value, low, high), arms named and in this order."""
    parts = pairs[pairs["arm"].isin(list(named))].groupby(["arm", "task"], sort=False)
    rows = [{"arm": arm, column: named[arm], "task": t} | mean(part).as_row(count=False) for (arm, t), part in parts]
    order = [*named, *MODALITIES]
    return pd.DataFrame(rows).sort_values(["arm", "task"], key=lambda c: c.map(order.index), kind="stable")


def _some(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise FileNotFoundError("no arm of this figure was run")
    return table


ABLATION_PLOTS = {
    "effects": (shown_effects, partial(figures.points, row="change", heading="question", guide=0,
                                       label="accuracy against the full recipe (points)",
                                       title="What each change of the recipe does")),
    "transfer": (transfer, partial(figures.heat, row="trained", column="task", label="accuracy (%)",
                                   rowlabel="trained on", columnlabel="tested on", cmap="viridis", vmin=0.3, vmax=0.9,
                                   title="Transfer between modalities")),
    "noise": (noise, partial(figures.curves, x="noise", line="line", yguide=0.5,
                             xlabel="labels that each teacher mixes up (%)",
                             ylabel="accuracy, both orders (% of pairs)", title="Noise in the labels")),
    "forgetting": (forgetting, partial(figures.accuracy, title="Modalities taught together, and one after another")),
}  # fmt: skip
