"""The figures of notebooks 00 to 04: their tables from a stage's saved files, and their forms (Omni-RRM)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS, Label, stored
from omnirepro.evaluate import calibration, protocol
from omnirepro.kit import figures
from omnirepro.kit.report.tables import by_judge, choices, predictions, teachers
from omnirepro.papers.comparisons import difference
from omnirepro.papers.omni_rrm import label_quality
from omnirepro.papers.omni_rrm.metrics import answered, gate_table
from omnirepro.reward import REWARDS

Plot = tuple[Callable[[Path], pd.DataFrame], Callable[[pd.DataFrame], Any]]


def losses(folder: Path) -> pd.DataFrame:
    """Return the loss, smoothed over 20 steps where every step was logged, and a phase a panel."""
    table = pd.read_csv(folder / "loss.csv")
    if "phase" not in table:
        return table
    smooth = table.groupby("phase")["loss"].transform(lambda x: x.rolling(20, min_periods=1).mean())
    return table.assign(loss=smooth)


def gate(folder: Path) -> pd.DataFrame:
    """Return what the gate's questions were answered (task, judge, value, low, high), a judge a kind of question.

    Facts by modality, checks of responses by modality (balanced accuracy), and winners of equal and of other scores.
    Each kind says what chance gives: for facts, the commonest answer to each attribute.
    """
    table = gate_table(folder)
    facts = table[table["asked"] == "fact"]
    common = facts.groupby(["modality", "attribute"])["expected"].agg(lambda x: x.value_counts().iloc[0]).sum()
    names = {
        "fact": f"fact, one word (commonest answer: {common / max(len(facts), 1):.0%})",
        "check": "check of a response (chance: 50%)",
        "winner": "winner of two scores (chance: 33%)",
    }
    if "asked" not in pd.read_csv(folder / "gate.csv", nrows=0):
        names = {"fact": "backbone"}
    equal = np.where(table["expected"] == "equal", "equal scores", "other scores")
    table = table.assign(modality=table["modality"].where(table["asked"] != "winner", equal))
    rows = [
        {"task": task, "judge": name} | answered(part).as_row(count=False)
        for kind, name in names.items()
        for task, part in table[table["asked"] == kind].groupby("modality", sort=False)
    ]
    return pd.DataFrame(rows)


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_csv(stored(folder / "candidates.csv"))[["score", "generator", "task"]]


def gaps(folder: Path) -> pd.DataFrame:
    """Return how often each generator passes each dimension, by modality."""
    table = pd.read_csv(stored(folder / "candidates.csv"))
    rates = table.groupby(["task", "generator"])[list(DIMENSIONS)].mean().stack().unstack("generator").reset_index()
    rates.columns = ["task", "dimension", "rate_strong", "rate_weak"]
    return rates


def draw_gaps(data: pd.DataFrame, **how: str) -> Any:
    """Draw how often strong and weak pass each dimension (dimension, task, rate_strong, rate_weak)."""
    sides = data.rename(columns={"rate_strong": "strong", "rate_weak": "weak"})
    long = sides.melt(["task", "dimension"], ["strong", "weak"], "generator")
    wanted = {"hue": "generator", "panel": "task", "span": True, "limits": (-0.04, 1.04)}
    return figures.points(long, "dimension", "responses that pass (%)", **wanted, **how)


def rules(folder: Path) -> pd.DataFrame:
    """Return (rule, coverage, precision, low, high, n), less those of which no truth is known, the purest first."""
    table = pd.read_csv(stored(folder / "rules.csv"))
    total = len(next(iter(teachers(folder)), []))
    if not total:
        return table
    found = label_quality.precision(table, total).dropna(subset="precision")
    return found.sort_values(["precision", "coverage"], ascending=False, kind="stable")


def draw_rules(data: pd.DataFrame, **how: str) -> Any:
    """Draw precision and coverage of each rule (rule, coverage, precision, low, high), a panel each."""
    panels = {
        "coverage": "coverage: pairs that keep a label (%)",
        "precision": "precision: kept labels that are true (%)",
    }
    parts = [data.assign(panel=label, value=data[name]) for name, label in panels.items()]
    parts[0] = parts[0].assign(low=float("nan"), high=float("nan"))
    return figures.points(pd.concat(parts), "rule", panel="panel", rowlabel="rule", **how)


def two_teachers(folder: Path) -> list[list[Label]]:
    """Return the labels of the first two teachers. Raises FileNotFoundError where there are fewer."""
    if len(found := teachers(folder)) < 2:
        raise FileNotFoundError("fewer than two teachers labelled")
    return found[:2]


def confusion(folder: Path) -> pd.DataFrame:
    verdicts = [(a.verdict, b.verdict) for a, b in zip(*two_teachers(folder), strict=True)]
    return pd.DataFrame(verdicts, columns=["first", "second"]).value_counts().rename("n").reset_index()


def draw_confusion(data: pd.DataFrame, **how: str) -> Any:
    """Draw how often two teachers say what (first, second, n): counts with their share of all pairs."""
    kinds = [k for k in ("A", "tie", "B") if k in {*data["first"], *data["second"]}]
    cells = pd.MultiIndex.from_product([kinds, kinds], names=["first", "second"])
    table = data.groupby(["first", "second"])["n"].sum().reindex(cells, fill_value=0).reset_index()
    share = table["n"] / table["n"].sum()
    words = [f"{n}\n{p:.1%}" for n, p in zip(table["n"], share, strict=True)]
    labels = {"rowlabel": "verdict of the first teacher", "columnlabel": "verdict of the second teacher"}
    table = table.assign(value=share, words=words)
    look = {"vmin": 0, "cmap": "Blues", "square": True}
    return figures.heat(table, "first", "second", "share of pairs (%)", words="words", **labels, **look, **how)


def kappa(folder: Path) -> pd.DataFrame:
    first, second = two_teachers(folder)
    tasks = pd.read_csv(stored(folder / "rules.csv")).drop_duplicates("pair_id").set_index("pair_id")["task"].to_dict()
    return label_quality.agreement(first, second, tasks)


def accuracies(folder: Path) -> pd.DataFrame:
    """Return swap-corrected accuracy by modality for every judge of the test split, with the baselines."""
    table = predictions(folder)
    any_judge = table[table["model"] == table["model"].iloc[-1]]
    if (chosen := choices(folder)) is not None:  # a judge of which nothing can be read stands there by its choice alone
        readable = table.groupby("model")["valid"].transform("any")
        table = pd.concat([table[readable], chosen], ignore_index=True)
    parts = [by_judge(table, protocol.summarize)]
    for name in ("longer-wins", "always-A"):
        parts.append(protocol.summarize(any_judge, earned=protocol.baseline(any_judge, name)).assign(judge=name))
    return pd.concat(parts, ignore_index=True)


def strata(folder: Path) -> pd.DataFrame:
    """Return accuracy on hard and easy pairs for every judge of the test split."""
    table = by_judge(predictions(folder), lambda rows: protocol.summarize(rows, "stratum"))
    return table.rename(columns={"stratum": "task"})


def reliability(folder: Path) -> pd.DataFrame:
    """Return (model, confidence, value, low, high, n) of each judge that was read by its verdict's probabilities.

    Beside it the same at the temperature that was fitted on the development split.
    """
    chosen = choices(folder)
    dev = choices(folder, "dev")
    if chosen is None or dev is None:
        raise FileNotFoundError("no judge was read by the probabilities of its verdicts")
    parts = []
    for model, rows in chosen.groupby("model", sort=False):
        fitted = calibration.fit_temperature(dev[dev["model"] == model])
        both = calibration.before_and_after(rows, fitted)
        for name, said in zip((model, f"{model}, calibrated"), both, strict=True):
            parts.append(calibration.reliability(said).assign(model=name))
    return pd.concat(parts, ignore_index=True)


def policies(folder: Path) -> pd.DataFrame:
    return by_judge(predictions(folder), protocol.policy_range)


def position(folder: Path) -> pd.DataFrame:
    return protocol.position(predictions(folder))


COURSE = {
    "accuracy": "accuracy of the samples (%)",
    "reward": "reward (own scale)",
    "always_a": "A as displayed (%)",
    "swap_consistency": "same verdict in both orders (%)",
    "rationale_agrees": "verdict follows the rationale (%)",
    "valid": "valid judgements (%)",
    "kl": "KL to the SFT judge (nats a token)",
    "entropy": "entropy (nats a token)",
    "dead_groups": "groups without spread (%)",
}


def course(folder: Path, columns: dict[str, str] = COURSE) -> pd.DataFrame:
    """Return (step, arm, seed, measure, value) of every training of the stage, smoothed over five steps."""
    arms = [("recipe", path) for path in sorted([folder / "watch.csv", *folder.glob("seed-*/watch.csv")])]
    arms += [("published, no KL", path) for path in folder.glob("contrast/watch.csv")]
    parts = []
    for arm, path in arms:
        table = pd.read_csv(path)
        named = {k: v for k, v in columns.items() if k in table}
        smooth = table[list(named)].rolling(5, min_periods=1).mean().rename(columns=named).assign(step=table["step"])
        parts.append(smooth.melt("step", var_name="measure").assign(arm=arm, seed=str(path.parent.name)))
    return pd.concat(parts, ignore_index=True).astype({"value": float})


def rewards(folder: Path) -> pd.DataFrame:
    """Return `course` of every reward, also of those that a training is not paid for; `verdict` repeats accuracy."""
    return course(folder, {f"reward_{name}": f"{name} reward" for name in REWARDS if name != "verdict"})


def gains(folder: Path) -> pd.DataFrame:
    """Return what reinforcement adds to accuracy (task, value, low, high, each): in all, by difficulty, by modality.

    Pair by pair against the SFT judge; `each` is what every training seed adds.
    """
    before = pd.read_csv(folder / "before.csv").query("model == 'sft/test'")
    after = protocol.pairs(predictions(folder))
    kinds = {"all": after.assign(of="all")} | {by: after.assign(of=after[by]) for by in ("stratum", "task")}
    parts = [("all pairs" if by == "all" else of, part) for by, t in kinds.items() for of, part in t.groupby("of")]
    rows = []
    for name, part in parts:
        each = [f"{difference(one, before).value:.6f}" for _, one in part.groupby("seed")]
        rows.append({"task": name} | difference(part, before).as_row(count=False) | {"each": " ".join(each)})
    return pd.DataFrame(rows)


def dead(folder: Path) -> pd.DataFrame:
    """Return the share of dead groups (kind, name, group, share) under each preset, and by the formula.

    Presets whose shares are within two points of each other's at every size are one line.
    """
    table = pd.read_csv(folder / "preflight.csv").query("kind != 'reward'")
    shares = table.set_index(["kind", "name"]).filter(like="dead_").astype(float)
    alike: dict[tuple[str, str], list[str]] = {}
    for (kind, name), row in shares.iterrows():
        near = (key for key in alike if key[0] == kind and np.allclose(shares.loc[key], row, atol=0.02, equal_nan=True))
        alike.setdefault(next(near, (kind, name)), []).append(name)
    lines = shares.loc[list(alike)].reset_index().assign(name=[", ".join(names) for names in alike.values()])
    long = lines.melt(["kind", "name"], var_name="group", value_name="share")
    return long.assign(group=long["group"].str.removeprefix("dead_").astype(int)).dropna(subset="share")


def paid(folder: Path) -> pd.DataFrame:
    """Return what each probe earns as a share of the gold judgement's reward (probe, preset, share)."""
    table = pd.read_csv(folder / "probes.csv")
    return table.assign(share=table["reward"] / (table["reward"] - table["minus_gold"]))


over_steps = partial(figures.curves, x="step", xlabel="optimiser step", line="arm", panel="measure", sharey=False)
training = partial(over_steps, stroke="seed", mean=True, per_row=3)

SURE = {"x": "confidence", "xlabel": "confidence in the verdict (%)", "ylabel": "right verdicts (%)", "diagonal": True}
RELIABILITY = partial(figures.curves, line="model", title="Are confident verdicts right more often?", **SURE)

RUBRIC_PLOTS: dict[str, dict[str, Plot]] = {
    "00_backbone": {
        "loss": (losses, partial(figures.loss, line=None, panel="phase", sharex=False,
                                 title="Loss of each phase of pre-training (mean of 20 steps)")),
        "gate": (gate, partial(figures.accuracy, label="questions answered correctly (%)", chance=None,
                               rowlabel="asked about", limits=(-0.02, 1.04),
                               title="What the backbone perceives and can do")),
    },
    "01_synthesis": {
        "scores": (scores, partial(figures.histogram, value="score", hue="generator", panel="task",
                                   xlabel="overall score (0-10)", edges=np.arange(-0.5, 11),
                                   title="Scores of the strong and of the weak generator")),
        "gap": (gaps, partial(draw_gaps, title="How often each generator passes each dimension")),
    },
    "02_reconciliation": {
        "rules": (rules, partial(draw_rules, title="Coverage and precision of each rule of reconciliation")),
        "agreement": (confusion, partial(draw_confusion, title="Verdicts of the two teachers")),
        "kappa": (kappa, partial(figures.heat, row="dimension", column="task", label="agreement beyond chance",
                                 words=".2f", columnlabel="modality", vmin=0, vmax=1, cmap="Blues",
                                 title="Agreement of the teachers (Cohen's kappa)")),
    },
    "03_sft": {
        "loss": (losses, partial(figures.loss, title="Loss of supervised fine-tuning")),
        "accuracy": (accuracies, partial(figures.accuracy, rowlabel="modality",
                                         title="Accuracy on held-out pairs, by modality")),
        "strata": (strata, partial(figures.accuracy, rowlabel="difficulty by true margin (hard: at most 2 points)",
                                   title="Accuracy on easy and on hard pairs")),
        "position": (position, partial(figures.position, title="What the order of display does")),
        "reliability": (reliability, RELIABILITY),
        "policies": (policies, partial(figures.policy_range, title="Accuracy under each reading of failures and ties")),
        "statuses": (lambda folder: protocol.statuses(predictions(folder)),
                     partial(figures.statuses, title="How judgements fail")),
    },
    "04_grpo": {
        "probes": (paid, partial(figures.heat, row="probe", column="preset", value="share", words=".2f",
                                 label="reward, as a share of the gold judgement's", columnlabel="reward preset",
                                 cmap="vlag", center=0, vmin=-1.2, vmax=1.2, title="What each reward pays for")),
        "dead": (dead, partial(figures.curves, x="group", y="share", line="name", xscale="log",
                               xlabel="completions in a group", ylabel="groups without any spread (%)",
                               grey=("p^G + (1-p)^G",),
                               title="Groups that teach nothing, by their size")),
        "course": (course, partial(training, title="Training curves of GRPO (mean of five steps)")),
        "rewards": (rewards, partial(training, least=0.2,
                                      title="Rewards over training, paid or not (mean of five steps)")),
        "gains": (gains, partial(figures.points, row="task", guide=0, label="accuracy, GRPO less SFT (points)",
                                 rowlabel="difficulty and modality", title="What GRPO adds to the SFT judge")),
        "position": (position, partial(figures.position, title="What the order of display does after GRPO")),
        "reliability": (reliability, RELIABILITY),
    },
}  # fmt: skip
