"""Tables, figures and metrics of notebook 06, from the stage's saved files alone (GRM-Omni, Section 4).

Consumes a stage's folder; produces tidy frames for the forms of `kit.figures`, and name -> interval for metrics.json.
Claims about ranking are tested with the SFT model as GenRM, claims about judging with the DPO model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.data import stored
from omnirepro.evaluate import protocol
from omnirepro.kit import figures
from omnirepro.kit.report.tables import predictions
from omnirepro.papers.comparisons import mean
from omnirepro.papers.grm_omni import ranking
from omnirepro.reward.meta import VARIANTS, discontinuity

RANKER = "sft"
FINAL = "dpo"
BETTER = "better"
WORSE = "worse"
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
    table = criteria(folder)
    hard = table["points"] <= protocol.HARD_MARGIN
    strata = {"all pairs": table, "hard (at most 2 points)": table[hard], "easy": table[~hard]}
    lines = {"best by meta-reward": "published", "random pick": ranking.EXPECTED, "best by scalar margin": "margin"}
    parts = [
        ranking.summarise(ranking.best_of(rows, order)).assign(line=line, panel=panel)
        for panel, rows in strata.items()
        if len(rows) or panel == "all pairs"
        for line, order in lines.items()
    ]
    return pd.concat(parts, ignore_index=True)


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
            rows.append({"name": name, "group": f"{scalar} scalar model"} | found.as_row(count=False))
    return pd.DataFrame(rows).dropna(subset="value")


def wrongs(folder: Path) -> pd.DataFrame:
    """Return the faults of wrong judgements, for all criteria and for those ranked first (Section 4.5)."""
    parts = []
    for model in (RANKER, FINAL):
        table = criteria(folder, model)
        if (table["correct"] == 0).any() and table["fault"].isna().all():
            return table[:0]  # no truth says what is wrong
        top = ranking.ordered(table, "published").query("rank == 1")
        for what, rows in (("all criteria", table), ("ranked first", top)):
            found = ranking.faults(rows).set_index("fault").reindex(FAULTS, fill_value=0).reset_index()
            parts.append(found.assign(judge=f"{MODELS[model]}, {what}"))
    return pd.concat(parts, ignore_index=True)


def draw_wrongs(data: pd.DataFrame, **how: str):
    """Draw what is wrong with wrong judgements (judge, fault, share, n): a bar a judge, shares of its failures."""
    judges = data["judge"] + " (" + data.groupby("judge")["n"].transform("sum").astype(str) + " wrong)"
    shown = data.assign(judge=judges)
    return figures.bars(shown, "judge", "fault", "share of the wrong judgements (%)", stacked=True, **how)


def costs(folder: Path) -> pd.DataFrame:
    """Return accuracy and mean cost of every way to judge."""
    rows = []
    for (model, method), part in methods(folder).groupby(["model", "method"], sort=False):
        spent = {name: part[name].mean() for name in ("judge_calls", "calls", "tokens")}
        rows.append({"model": MODELS.get(model, model), "method": method} | spent | mean(part, "correct").as_row())
    return pd.DataFrame(rows)


def draw_costs(data: pd.DataFrame, **how: str):
    """Draw accuracy against tokens a pair (model, method, tokens, value, low, high): a marker a method."""
    shown = data.assign(tokens=data["tokens"].clip(lower=1).astype(float))
    labels = ("tokens generated a pair, by all roles (none: drawn at 1)", "accuracy (% of pairs)")
    return figures.curves(shown, "tokens", *labels, line="model", marker="method", xscale="log", **how)


def tasks(folder: Path) -> pd.DataFrame:
    """Return accuracy by task for base, SFT, DPO and ++ as each was taught, and the scalar model (Tables 1 to 3)."""
    table = predictions(folder)
    names = MODELS | {f"scalar, {BETTER}": "scalar model"}
    return _accuracies({name: table[table["model"] == model] for model, name in names.items()})


def thinking(folder: Path) -> pd.DataFrame:
    """Return accuracy on media with the verdict alone and with criteria written out, which only text taught."""
    table = predictions(folder)
    media = set(table.loc[table["model"] == f"{RANKER}, thinking", "task"])
    named = {
        f"{MODELS[model]}, {what}": table[(table["model"] == model + suffix) & table["task"].isin(media)]
        for model in (m for m in MODELS if m != "base")
        for suffix, what in (("", "verdict alone"), (", thinking", "criteria written"))
    }
    return _accuracies(named)


def _accuracies(named: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [protocol.summarize(rows).assign(judge=name) for name, rows in named.items() if len(rows)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def course(folder: Path) -> pd.DataFrame:
    """Return the course of both DPO trainings (step, arm, seed, measure, value)."""
    names = {"loss": "loss (nats)", "accuracy": "share ranked rightly", "margin": "margin of rewards (nats)"}
    parts = []
    for model in ("dpo", "plus"):
        if (path := folder / f"{model}-loss.csv").is_file():
            table = pd.read_csv(path).set_index("step")[list(names)].rolling(3, min_periods=1).mean().reset_index()
            long = table.rename(columns=names).melt("step", var_name="measure")
            parts.append(long.assign(arm=MODELS[model], seed=""))
    if not parts:
        raise FileNotFoundError("no preference was selected: there was no DPO")
    return pd.concat(parts, ignore_index=True)


def best_criteria(folder: Path, most: int = 12) -> pd.DataFrame:
    """Return the criteria that are ranked first most often: how often, how right, and what they are (Figure 8)."""
    if not stored(folder / "criteria.csv").is_file():
        return pd.DataFrame(index=pd.Index(["no criterion that can be read was written"]))
    top = ranking.ordered(criteria(folder), "published").query("rank == 1")
    columns = {"pairs": ("correct", "size"), "right": ("correct", "mean"), "bearing": ("bearing", "first")}
    found = top.groupby("criterion").agg(**columns)
    return found.sort_values(["pairs", "right"], ascending=False).head(most).reset_index()


in_panels = partial(figures.curves, line="line", panel="panel", band=True, ylabel="accuracy (% of pairs)")
by_rank = partial(in_panels, x="rank", xlabel="rank of the criterion (1: best)")
by_number = partial(in_panels, x="k", xlabel="number of criteria")

META_PLOTS = {
    "jump": (lambda folder: discontinuity(), partial(
        figures.curves, x="refined_margin", y="s_meta", line="variant", stroke="consistent", xguide=0,
        xlabel="refined margin: preferred less rejected response (logits)\nleft of 0 the verdict is contradicted",
        ylabel="meta-reward (logits)", title="The meta-reward jumps where the verdict changes")),
    "tasks": (tasks, partial(figures.accuracy, title="Accuracy by task, each judge as it was taught")),
    "thinking": (thinking, partial(figures.accuracy, title="Media: verdict alone, and criteria written out")),
    "ranks": (ranks, partial(by_rank, title="Accuracy of the criterion at each rank")),
    "makers": (makers, partial(by_rank, title="Accuracy by rank, before and after DPO")),
    "numbers": (numbers, partial(by_number, title="Accuracy of the best of the first k criteria")),
    "voting": (voting, partial(by_number, title="Accuracy of a vote over the first k criteria")),
    "worth": (worth, partial(by_rank, y="mean", ylabel="meta-reward: mean and range (own logits)", yguide=0,
                             sharey=False, title="Meta-reward by rank")),
    "variants": (variants, partial(figures.points, row="name", hue="group", label="gain over a random order (points)",
                                   guide=0, title="The first criterion under each variant of the meta-reward")),
    "faults": (wrongs, partial(draw_wrongs, title="What is wrong with wrong judgements")),
    "cost": (costs, partial(draw_costs, title="Accuracy and cost of every way to judge")),
    "course": (course, partial(figures.curves, x="step", xlabel="optimiser step", line="arm", panel="measure",
                               sharey=False, title="Training curves of DPO")),
}  # fmt: skip
