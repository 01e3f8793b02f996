"""The figures of notebook 07, from `arms.csv` and `pairs.csv`.

A table that no arm fills raises FileNotFoundError, so that its figure is left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.data import stored
from omnirepro.evaluate.statistics import Interval
from omnirepro.kit import figures
from omnirepro.papers.ablations.effects import BIASED, bend, effect, effects, known_metrics, read
from omnirepro.papers.comparisons import mean

GRPO = "SFT, then GRPO"
JUDGE = "judge: accuracy gained (points)"
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
    """Return accuracy by the share of labels mixed up (line, noise, value, low, high): filtered or not, reinforced."""
    arms, pairs = read(folder)
    noisy = _some(arms[arms["question"] == "label noise"])
    clean = arms[arms.index.isin(["full", "no-filter", "grpo"])]
    line = {"published": "both teachers must agree", "none": "no filter"}
    rows = [
        {"line": "both agree, then GRPO" if reinforced(arm, told) else line[told["rule"]], "noise": float(told["flip"])}
        | mean(pairs[pairs["arm"] == arm]).as_row(count=False)
        for arm, told in pd.concat([clean, noisy]).iterrows()
    ]
    return pd.DataFrame(rows).sort_values(["line", "noise"]).reset_index(drop=True)


def reinforced(arm: str, told: pd.Series) -> bool:
    """Whether an arm ends with reinforcement."""
    return "grpo" in (arm, told["reference"])


def shared(folder: Path) -> pd.DataFrame:
    """Return what reconciliation gains by the share of shared errors (panel, shared, value, low, high).

    In the precision of labels, and in the accuracy of the judge that is taught them.
    """
    arms, pairs = read(folder)
    filtered = _some(arms[(arms["question"] == "shared errors") & (arms["rule"] == "published")])
    labels = known_table(folder, "label_filter_gain")
    rows = []
    for arm, told in pd.concat([arms[arms.index == "full"], filtered]).iterrows():
        other = "no-filter" if arm == "full" else f"{arm}-no-filter"
        parts = {"labels: precision gained (points)": labels.get(arm), JUDGE: effect(pairs, arm, other)}
        about = {"shared": float(told["shared"])}
        rows += [{"panel": panel} | about | value.as_row(count=False) for panel, value in parts.items() if value]
    return pd.DataFrame(rows).sort_values(["panel", "shared"])


def length_bias(folder: Path) -> pd.DataFrame:
    """Return how far labels and judges bend to the longer answer (line, verbosity, value, low, high)."""
    arms, pairs = read(folder)
    biased = _some(arms[arms["question"] == BIASED])
    labels = known_table(folder, "label_longer")
    rows = []
    for arm, told in pd.concat([arms[arms.index.isin(["full", "grpo"])], biased]).iterrows():
        about = {"verbosity": float(told["verbosity"])}
        lines = {GRPO if reinforced(arm, told) else "SFT": bend(pairs, arm)}
        lines |= {"labels": labels[arm]} if arm in labels and not reinforced(arm, told) else {}
        rows += [{"line": line} | about | value.as_row(count=False) for line, value in lines.items()]
    return pd.DataFrame(rows).sort_values(["line", "verbosity"])


def hacking(folder: Path) -> pd.DataFrame:
    """Return (panel, line, step, value): how many samples name their label, and how many the truth, over five steps."""
    path = stored(folder / "samples.csv")
    table = _some(pd.read_csv(path) if path.is_file() else pd.DataFrame())
    arms = read(folder)[0]
    smooth = table.groupby("arm")[["label", "truth"]].transform(lambda x: x.rolling(5, min_periods=1).mean())
    named = smooth.rename(columns={"label": "the label (what is paid)", "truth": "the truth"})
    named = named.assign(step=table["step"], panel=table["arm"].map(arms["change"]).fillna("the recipe"))
    return named.melt(["panel", "step"], var_name="line")


def ladder(folder: Path) -> pd.DataFrame:
    """Return accuracy by the share of the labels that is taught (line, share, value, low, high)."""
    arms, pairs = read(folder)
    fewer = arms[pd.to_numeric(arms["share"]) < 1] if "share" in arms else arms[:0]
    some = pd.concat([arms[arms.index.isin(["full", "no-rationale"])], _some(fewer)])
    line = {"verdict-direct": "verdict alone"}
    rows = [
        {"line": line.get(told["format"], "with rationale"), "share": float(told["share"])}
        | mean(pairs[pairs["arm"] == arm]).as_row(count=False)
        for arm, told in some.iterrows()
    ]
    return pd.DataFrame(rows).sort_values(["line", "share"])


def known_table(folder: Path, measure: str) -> dict[str, Interval]:
    """Return arm -> one measure of `known.csv`."""
    found = known_metrics(folder)
    arms = read(folder)[0].index
    named = {arm: f"{measure}_{arm}".replace("-", "_") for arm in arms}
    return {arm: found[name] for arm, name in named.items() if name in found}


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
    "shared": (shared, partial(figures.curves, x="shared", panel="panel", yguide=0, sharey=False,
                               xlabel="pairs on which the teachers err together (%)",
                               title="What reconciliation gains when errors are shared")),
    "length_bias": (length_bias, partial(figures.curves, x="verbosity", line="line", yguide=0,
                                         xlabel="chance that the longer answer gets a point",
                                         ylabel="verdicts bent to the longer answer (% of pairs)",
                                         title="A length bias planted in the labels")),
    "hacking": (hacking, partial(figures.curves, x="step", line="line", panel="panel", xlabel="step", per_row=3,
                                 ylabel="samples that agree (%)", title="What is paid, and the truth")),
    "ladder": (ladder, partial(figures.curves, x="share", line="line", xscale="log",
                               xlabel="labels taught (share of all)",
                               ylabel="accuracy, both orders (% of pairs)", title="What a rationale is worth")),
    "forgetting": (forgetting, partial(figures.accuracy, title="Modalities taught together, and one after another")),
}  # fmt: skip
