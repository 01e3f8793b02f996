"""Tables, figures and metrics of notebook 06, from the stage's saved files alone (GRM-Omni, Section 4).

Consumes a stage's folder; produces tidy frames for `kit.figures.meta_reward`, and name -> interval for metrics.json.
Claims about ranking are tested with the SFT model as GenRM, claims about judging with the DPO model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import stored
from omnirepro.evaluate import protocol
from omnirepro.kit import figures
from omnirepro.kit.report.tables import predictions
from omnirepro.papers.grm_omni import ranking
from omnirepro.reward.meta import VARIANTS, discontinuity

RANKER, FINAL, BETTER, WORSE = "sft", "dpo", "better", "worse"
MODELS = {"base": "base", "sft": "SFT", "dpo": "DPO", "plus": "++"}
ORDERS = {"ranked by meta-reward": "published", "as written": ranking.ORIGINAL, "random order": "random"}
FAULTS = ("biased criterion", "perception error", "misapplied criterion", "other")


def criteria(folder: Path, model: str = RANKER, scalar: str = BETTER) -> pd.DataFrame:
    """Return the criteria that a model wrote and judged by, with the worth that a scalar model gives them."""
    table = pd.read_csv(stored(folder / "criteria.csv"))
    return table[(table["model"] == model) & (table["scalar"] == scalar)]


def methods(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "methods.csv")


def ranks(folder: Path) -> pd.DataFrame:
    """Return accuracy by rank for both scalar models, in every order (Figure 4)."""
    parts = [
        ranking.by_rank(criteria(folder, RANKER, scalar), order).assign(line=line, panel=f"{scalar} scalar model")
        for scalar in (BETTER, WORSE)
        for line, order in ORDERS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def makers(folder: Path) -> pd.DataFrame:
    """Return accuracy by rank with SFT and with DPO as GenRM (Figure 6)."""
    parts = [
        ranking.by_rank(criteria(folder, model), order).assign(line=MODELS[model], panel=line)
        for line, order in list(ORDERS.items())[:2]
        for model in (RANKER, FINAL)
    ]
    return pd.concat(parts, ignore_index=True)


def numbers(folder: Path) -> pd.DataFrame:
    """Return accuracy of the best ranked of the first k criteria, by difficulty, beside a random pick (Figure 10)."""
    table, parts = criteria(folder), []
    lines = {"best by meta-reward": "published", "random pick": ranking.EXPECTED, "best by scalar margin": "margin"}
    for panel, rows in _strata(table).items():
        for line, order in lines.items():
            parts.append(ranking.summarise(ranking.best_of(rows, order)).assign(line=line, panel=panel))
    return pd.concat(parts, ignore_index=True)


def _strata(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    hard = table["points"] <= protocol.HARD_MARGIN
    parts = {"all pairs": table, "hard (at most 2 points)": table[hard], "easy": table[~hard]}
    return {name: part for name, part in parts.items() if len(part) or name == "all pairs"}


def voting(folder: Path) -> pd.DataFrame:
    """Return accuracy of the majority over the first k criteria, ranked and not (Figure 11)."""
    parts = [
        ranking.summarise(ranking.votes(criteria(folder, model), order)).assign(line=line, panel=MODELS[model])
        for model in (RANKER, FINAL)
        for line, order in ORDERS.items()
    ]
    return pd.concat(parts, ignore_index=True)


def worth(folder: Path) -> pd.DataFrame:
    """Return mean and range of the meta-reward by rank, for both scalar models (Figure 12)."""
    parts = [ranking.ranges(criteria(folder, RANKER, s)).assign(panel=f"{s} scalar model") for s in (BETTER, WORSE)]
    return pd.concat(parts, ignore_index=True)


def variants(folder: Path) -> pd.DataFrame:
    """Return by how much the first criterion under each variant beats one drawn at random, for both scalar models.

    What could not be measured has no row.
    """
    rows = []
    for scalar in (BETTER, WORSE):
        table = criteria(folder, RANKER, scalar)
        for order in (*VARIANTS, ranking.ORIGINAL):
            found = ranking.gain(ranking.first(table, order), ranking.first(table, ranking.EXPECTED))
            name = {"margin": "scalar margin only", ranking.ORIGINAL: "as written"}.get(order, order.replace("_", " "))
            rows.append({"name": name, "group": f"{scalar} scalar model"} | _bounds(found))
    return pd.DataFrame(rows).dropna(subset="value")


def wrongs(folder: Path) -> pd.DataFrame:
    """Return the faults of wrong judgements, for all criteria and for those ranked first (Section 4.5)."""
    parts = []
    for model in (RANKER, FINAL):
        table = criteria(folder, model)
        top = ranking.ordered(table, "published").query("rank == 1")
        for what, rows in (("all criteria", table), ("ranked first", top)):
            found = ranking.faults(rows).set_index("fault").reindex(FAULTS, fill_value=0).reset_index()
            parts.append(found.assign(judge=f"{MODELS[model]}, {what}"))
    return pd.concat(parts, ignore_index=True)


def costs(folder: Path) -> pd.DataFrame:
    """Return accuracy and mean cost of every way to judge."""
    rows = []
    for (model, method), part in methods(folder).groupby(["model", "method"], sort=False):
        spent = {name: part[name].mean() for name in ("judge_calls", "calls", "tokens")}
        name = MODELS.get(model, model)
        rows.append({"model": name, "method": method} | spent | ranking.cells(part["correct"], part["cluster"]))
    return pd.DataFrame(rows)


def tasks(folder: Path) -> pd.DataFrame:
    """Return accuracy by task for base, SFT, DPO and ++ as each was taught, and the scalar model (Tables 1 to 3)."""
    table = predictions(folder)
    names = MODELS | {f"scalar, {BETTER}": "scalar model"}
    parts = [
        protocol.summarize(table[table["model"] == model]).assign(judge=name)
        for model, name in names.items()
        if (table["model"] == model).any()
    ]
    return pd.concat(parts, ignore_index=True)


def thinking(folder: Path) -> pd.DataFrame:
    """Return accuracy on media with the verdict alone and with criteria written out, which only text taught."""
    table, parts = predictions(folder), []
    media = set(table.loc[table["model"] == f"{RANKER}, thinking", "task"])
    for model in (m for m in MODELS if m != "base"):
        for suffix, what in (("", "verdict alone"), (", thinking", "criteria written")):
            rows = table[(table["model"] == model + suffix) & table["task"].isin(media)]
            if len(rows):
                parts.append(protocol.summarize(rows).assign(judge=f"{MODELS[model]}, {what}"))
    return pd.concat(parts, ignore_index=True)


def course(folder: Path) -> pd.DataFrame:
    """Return the course of both DPO trainings (step, arm, seed, measure, value)."""
    names = {"loss": "loss (nats)", "accuracy": "share ranked rightly", "margin": "margin of rewards (nats)"}
    parts = []
    for model in ("dpo", "plus"):
        if (path := folder / f"{model}-loss.csv").is_file():
            table = pd.read_csv(path).set_index("step")[list(names)].rolling(3, min_periods=1).mean().reset_index()
            parts.append(
                table.rename(columns=names).melt("step", var_name="measure").assign(arm=MODELS[model], seed="")
            )
    if not parts:
        raise FileNotFoundError("no preference was selected: there was no DPO")
    return pd.concat(parts, ignore_index=True)


def best_criteria(folder: Path, most: int = 12) -> pd.DataFrame:
    """Return the criteria that are ranked first most often: how often, how right, and what they are (Figure 8)."""
    top = ranking.ordered(criteria(folder), "published").query("rank == 1")
    found = top.groupby("criterion").agg(
        pairs=("correct", "size"), right=("correct", "mean"), bearing=("bearing", "first")
    )
    return found.sort_values(["pairs", "right"], ascending=False).head(most).reset_index()


def _bounds(found: Any) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("value", "low", "high")}


Plot = tuple[Callable[[Path], pd.DataFrame], Callable[[pd.DataFrame], Any]]
META_PLOTS: dict[str, Plot] = {
    "jump": (lambda folder: discontinuity(), figures.jump),
    "tasks": (tasks, figures.accuracy),
    "thinking": (thinking, figures.accuracy),
    "ranks": (ranks, figures.curves),
    "makers": (makers, figures.curves),
    "numbers": (numbers, lambda df: figures.curves(df, "k")),
    "voting": (voting, lambda df: figures.curves(df, "k")),
    "worth": (worth, figures.ranges),
    "variants": (variants, figures.effects),
    "faults": (wrongs, figures.faults),
    "cost": (costs, figures.cost),
    "course": (course, figures.course),
}
