"""The tables behind the figures of notebook 07, from `arms.csv` and `pairs.csv`.

A table that no arm fills raises FileNotFoundError, so that its figure is left out.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro.kit import figures
from omnirepro.papers.ablations.effects import accuracy_of, effects, read

MODALITIES = ("image", "video", "audio", "text")


def shown_effects(folder: Path) -> pd.DataFrame:
    """Return the effects that there are (question, change, value, low, high, steps, seeds)."""
    table = effects(folder).dropna(subset="value")
    return _some(table[["question", "change", "value", "low", "high", "steps", "seeds"]])


def transfer(folder: Path) -> pd.DataFrame:
    """Return accuracy by what a judge was trained on and tested on (trained, task, value, low, high)."""
    arms, pairs = read(folder)
    known = arms[arms["question"] == "modalities"]
    _some(known)
    alone = known["modalities"].str.count(r"\+").sort_values(kind="stable").index
    trained = {"untuned": "nothing", "full": "all"} | {arm: known.loc[arm, "modalities"] for arm in alone}
    parts = pairs[pairs["arm"].isin(list(trained))].groupby(["arm", "task"], sort=False)
    rows = [{"arm": arm, "trained": trained[arm], "task": task} | accuracy_of(part) for (arm, task), part in parts]
    order = [*trained, *MODALITIES]
    table = pd.DataFrame(rows).sort_values(["arm", "task"], key=lambda c: c.map(order.index), kind="stable")
    return table.drop(columns="arm")


def noise(folder: Path) -> pd.DataFrame:
    """Return accuracy by the share of labels mixed up (line, noise, value, low, high), with and without the filter."""
    arms, pairs = read(folder)
    clean = arms.index.isin(["full", "no-filter"]) & (arms["question"] != "label noise").any()
    known = arms[(arms["question"] == "label noise") | clean]
    _some(known[known["question"] == "label noise"])
    line = {"published": "both teachers must agree", "none": "no filter"}
    rows = [
        {"line": line[told["rule"]], "noise": float(told["flip"])} | accuracy_of(pairs[pairs["arm"] == arm])
        for arm, told in known.iterrows()
    ]
    return pd.DataFrame(rows).sort_values(["line", "noise"]).reset_index(drop=True)


def forgetting(folder: Path) -> pd.DataFrame:
    """Return accuracy by modality (judge, task, value, low, high): taught mixed, and one after another."""
    arms, pairs = read(folder)
    known = _some(arms[arms["curriculum"] == "sequential"])
    ends = {arm: told["modalities"].split("+") for arm, told in known.iterrows()}
    names = {"full": "mixed"} | {arm: f"{order[0]} first, {order[-1]} last" for arm, order in ends.items()}
    parts = pairs[pairs["arm"].isin(list(names))].groupby(["arm", "task"], sort=False)
    rows = [{"judge": names[arm], "task": task} | accuracy_of(part) for (arm, task), part in parts]
    return pd.DataFrame(rows).sort_values("task", key=lambda c: c.map(MODALITIES.index), kind="stable")


def _some(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise FileNotFoundError("no arm of this figure was run")
    return table


ABLATION_PLOTS = {
    "effects": (shown_effects, figures.forest),
    "transfer": (transfer, figures.trained_on),
    "noise": (noise, figures.label_noise),
    "forgetting": (forgetting, figures.accuracy),
}
