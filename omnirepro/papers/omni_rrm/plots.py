"""The tables behind the figures of notebooks 00 to 04, from a stage's saved files (Omni-RRM)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import DIMENSIONS, stored
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap
from omnirepro.kit import figures
from omnirepro.kit.report.tables import predictions, teachers
from omnirepro.papers.omni_rrm import label_quality
from omnirepro.papers.omni_rrm.metrics import balanced, gate_table, share
from omnirepro.reward import REWARDS

Plot = tuple[Callable[[Path], pd.DataFrame], Callable[[pd.DataFrame], Any]]


def losses(folder: Path) -> pd.DataFrame:
    """Return the loss, smoothed over 20 steps where every step was logged."""
    table = pd.read_csv(folder / "loss.csv")
    if "phase" not in table:
        return table
    smooth = table.groupby("phase")["loss"].transform(lambda x: x.rolling(20, min_periods=1).mean())
    return table.assign(loss=smooth).rename(columns={"phase": "split"})


def gate(folder: Path) -> pd.DataFrame:
    """Return what the gate's questions were answered (task, judge, value, low, high), a judge a kind of question.

    Facts by modality, checks of responses by modality (balanced accuracy), and winners of equal and of other scores.
    Each kind says what chance gives: for facts, the commonest answer to each attribute.
    """
    if "asked" not in pd.read_csv(folder / "gate.csv", nrows=0):
        return _gate_rows(gate_table(folder), "backbone", lambda part: share(part["correct"]))
    table = gate_table(folder)
    facts, checks, winners = (table[table["asked"] == kind] for kind in ("fact", "check", "winner"))
    common = facts.groupby(["modality", "attribute"])["expected"].agg(lambda x: x.value_counts().iloc[0]).sum()
    kinds = [
        (facts, f"fact, one word (commonest answer: {common / max(len(facts), 1):.0%})", lambda p: share(p["correct"])),
        (checks, "check of a response (chance: 50%)", balanced),
        (
            winners.assign(modality=["equal scores" if e == "equal" else "other scores" for e in winners["expected"]]),
            "winner of two scores (chance: 33%)",
            lambda p: share(p["correct"]),
        ),
    ]
    return pd.concat([_gate_rows(part, name, mean) for part, name, mean in kinds if len(part)])


def _gate_rows(table: pd.DataFrame, judge: str, mean: Callable[[pd.DataFrame], Interval]) -> pd.DataFrame:
    found = {task: mean(part) for task, part in table.groupby("modality", sort=False)}
    rows = [(task, judge, known.value, known.low, known.high) for task, known in found.items()]
    return pd.DataFrame(rows, columns=["task", "judge", "value", "low", "high"])


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_csv(stored(folder / "candidates.csv"))[["score", "generator", "task"]]


def gaps(folder: Path) -> pd.DataFrame:
    """Return how often each generator passes each dimension, by modality."""
    table = pd.read_csv(stored(folder / "candidates.csv"))
    rates = table.groupby(["task", "generator"])[list(DIMENSIONS)].mean().stack().unstack("generator").reset_index()
    rates.columns = ["task", "dimension", "rate_strong", "rate_weak"]
    return rates


def rules(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(stored(folder / "rules.csv"))
    return label_quality.precision(table, int((table["rule"] == "strong wins").sum()))  # it labels every pair


def confusion(folder: Path) -> pd.DataFrame:
    pairs = pd.DataFrame(
        [(a.verdict, b.verdict) for a, b in zip(*teachers(folder), strict=True)], columns=["first", "second"]
    )
    return pairs.value_counts().rename("n").reset_index()


def kappa(folder: Path) -> pd.DataFrame:
    first, second = teachers(folder)
    tasks = pd.read_csv(stored(folder / "rules.csv")).drop_duplicates("pair_id").set_index("pair_id")["task"].to_dict()
    return label_quality.agreement(first, second, tasks)


def accuracies(folder: Path) -> pd.DataFrame:
    """Return swap-corrected accuracy by modality for every judge of the test split, with the baselines."""
    table, parts = predictions(folder), []
    for model, rows in table.groupby("model", sort=False):
        parts.append(protocol.summarize(rows).assign(judge=model))
    for name in ("longer-wins", "always-A"):
        parts.append(protocol.summarize(rows, earned=protocol.baseline(rows, name)).assign(judge=name))
    return pd.concat(parts, ignore_index=True)


def strata(folder: Path) -> pd.DataFrame:
    """Return accuracy on hard and easy pairs for every judge of the test split."""
    parts = [
        protocol.summarize(rows, "stratum").assign(judge=m)
        for m, rows in predictions(folder).groupby("model", sort=False)
    ]
    return pd.concat(parts, ignore_index=True).rename(columns={"stratum": "task"})


def policies(folder: Path) -> pd.DataFrame:
    parts = [
        protocol.policy_range(rows).assign(judge=m) for m, rows in predictions(folder).groupby("model", sort=False)
    ]
    return pd.concat(parts, ignore_index=True)


COURSE = {
    "accuracy": "accuracy of the samples",
    "reward": "reward (own scale)",
    "always_a": "share of A as displayed",
    "swap_consistency": "same verdict in both orders",
    "rationale_agrees": "verdict follows the rationale",
    "valid": "valid judgements",
    "kl": "KL to the SFT judge (nats a token)",
    "entropy": "entropy (nats a token)",
    "dead_groups": "groups without spread",
}


def course(folder: Path, columns: dict[str, str] | None = None) -> pd.DataFrame:
    """Return (step, arm, seed, measure, value) of every training of the stage, smoothed over five steps."""
    arms = [("recipe", path) for path in sorted([folder / "watch.csv", *folder.glob("seed-*/watch.csv")])]
    arms += [("published, no KL", path) for path in folder.glob("contrast/watch.csv")]
    parts = []
    for arm, path in arms:
        table = pd.read_csv(path)
        named = {k: v for k, v in (columns or COURSE).items() if k in table}
        smooth = table[list(named)].rolling(5, min_periods=1).mean().rename(columns=named).assign(step=table["step"])
        parts.append(smooth.melt("step", var_name="measure").assign(arm=arm, seed=str(path.parent.name)))
    return pd.concat(parts, ignore_index=True).astype({"value": float})


def rewards(folder: Path) -> pd.DataFrame:
    """Return `course` of every reward, also of those that a training is not paid for."""
    return course(folder, {f"reward_{name}": f"{name} reward" for name in REWARDS})


def gains(folder: Path) -> pd.DataFrame:
    """Return accuracy before and after reinforcement (judge, task, value, low, high): by difficulty and by modality."""
    after = protocol.pairs(predictions(folder))
    table = pd.concat([pd.read_csv(folder / "before.csv").query("model == 'sft/test'"), after])
    rows = []
    for by in ("stratum", "task"):
        for (group, model), part in table.groupby([by, "model"]):
            found = clustered_bootstrap(part["credit"], part["cluster"], seeds=part["seed"])
            judge = "GRPO" if model == "grpo" else "SFT"
            rows.append({"task": group, "judge": judge, "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(rows).sort_values("judge", ascending=False, kind="stable")


def dead(folder: Path) -> pd.DataFrame:
    """Return the share of dead groups (kind, name, group, share) under each preset, and by the formula."""
    table = pd.read_csv(folder / "preflight.csv").query("kind != 'reward'")
    long = table.melt(["kind", "name"], [c for c in table if c.startswith("dead_")], "group", "share")
    return long.assign(group=long["group"].str.removeprefix("dead_").astype(int)).dropna(subset="share")


def paid(folder: Path) -> pd.DataFrame:
    """Return what each probe earns as a share of the gold judgement's reward (probe, preset, share)."""
    table = pd.read_csv(folder / "probes.csv")
    return table.assign(share=table["reward"] / (table["reward"] - table["minus_gold"]))


RUBRIC_PLOTS: dict[str, dict[str, Plot]] = {
    "00_backbone": {
        "loss": (losses, figures.loss_curve),
        "gate": (gate, lambda df: figures.accuracy(df, None, "questions answered correctly (%)", "asked about")),
    },
    "01_synthesis": {"scores": (scores, figures.scores), "gap": (gaps, figures.gap)},
    "02_reconciliation": {
        "rules": (rules, figures.reconciliation),
        "agreement": (confusion, figures.agreement),
        "kappa": (kappa, figures.kappa),
    },
    "03_sft": {
        "loss": (losses, figures.loss_curve),
        "accuracy": (accuracies, figures.accuracy),
        "strata": (strata, lambda df: figures.accuracy(df, by="difficulty by true margin (hard: at most 2 points)")),
        "position": (lambda f: protocol.position(predictions(f)), figures.position),
        "policies": (policies, figures.policy_range),
        "statuses": (lambda f: protocol.statuses(predictions(f)), figures.statuses),
    },
    "04_grpo": {
        "probes": (paid, figures.probes),
        "dead": (dead, figures.dead_groups),
        "course": (course, figures.course),
        "rewards": (rewards, figures.course),
        "gains": (gains, lambda df: figures.accuracy(df, by="difficulty by true margin, and modality")),
        "position": (lambda f: protocol.position(predictions(f)), figures.position),
    },
}
