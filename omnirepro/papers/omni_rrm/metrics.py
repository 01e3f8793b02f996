"""Each stage's metrics.json from its saved files.

Consumes a stage's folder; produces name -> {"value", "low", "high", "n", "seeds"}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap
from omnirepro.kit.report.tables import predictions, teachers
from omnirepro.kit.run.checks import existing
from omnirepro.papers.omni_rrm import label_quality

Metrics = dict[str, Any]


def share(correct: pd.Series, clusters: pd.Series | None = None) -> Interval:
    """Return a share with its interval; every row is its own cluster unless clusters are given."""
    return clustered_bootstrap(
        correct.to_numpy(float), (clusters if clusters is not None else correct.index).to_numpy()
    )


def gate_table(folder: Path) -> pd.DataFrame:
    """Return the gate's questions; where a file does not say what was asked, all are about facts."""
    table = pd.read_csv(existing(folder / "gate.csv"), keep_default_na=False)
    return table if "asked" in table else table.assign(asked="fact")


def balanced(table: pd.DataFrame) -> Interval:
    """Return balanced accuracy: right answers, where each expected answer counts the same."""
    weights = 1 / table.groupby("expected")["correct"].transform("size")
    return clustered_bootstrap(table["correct"], table.index, weights=weights)


def gate_metrics(folder: Path) -> dict[str, Interval]:
    """Return what the gate's questions were answered: facts, checks of responses and winners of given scores.

    gate, gate_<modality>: share of held-out single-fact questions answered correctly; gate_check and so on: balanced
    accuracy; gate_winner, gate_winner_equal: of all pairs of scores, and of equal ones. What was not asked is absent.
    """
    table = gate_table(folder)
    facts, checks, winners = (table[table["asked"] == kind] for kind in ("fact", "check", "winner"))
    found: dict[str, Interval] = {}
    for name, part, mean in (("gate", facts, _right), ("gate_check", checks, balanced)):
        if len(part):
            found[name] = mean(part)
            found |= {f"{name}_{modality}": mean(some) for modality, some in part.groupby("modality")}
    if len(winners):
        equal = winners["expected"] == "equal"
        found |= {"gate_winner": _right(winners), "gate_winner_equal": _right(winners[equal])}
    return found


def _right(table: pd.DataFrame) -> Interval:
    return share(table["correct"])


def gap_metrics(folder: Path) -> Metrics:
    """Return the strong generator's lead in points, the share of pairs it wins, and how often dimensions differ."""
    table = pd.read_csv(existing(folder / "candidates.csv"))
    wide = table.pivot(index="pair_id", columns="generator", values=["score", *DIMENSIONS])
    lead = (wide["score"]["strong"] - wide["score"]["weak"]).astype(float)
    found = {"strong_minus_weak": share(np.sign(lead)), "lead_points": share(lead), "strong_wins": share(lead > 0)}
    return found | {f"differs_{d}": share(wide[d]["strong"] != wide[d]["weak"]) for d in DIMENSIONS}


def rule_metrics(folder: Path) -> Metrics:
    """Return precision and coverage of every rule, the published rule's gains, and the teachers' agreement."""
    table, (first, second) = pd.read_csv(existing(folder / "rules.csv")), teachers(folder)
    rows = label_quality.precision(table, len(first)).set_index("rule")
    name = {rule: rule.replace(" ", "_").replace("-", "_") for rule in rows.index}
    found: Metrics = {
        f"precision_{name[r]}": rows.loc[r, ["low", "high", "n"]].to_dict() | {"value": rows.precision[r]}
        for r in rows.index
    }
    found |= {f"coverage_{name[r]}": rows.coverage[r] for r in rows.index}
    for control in ("none", "strong wins"):
        key = f"published_precision_minus_{name[control]}"
        found[key] = label_quality.precision_gain(table, "published", control)
    kappa = label_quality.agreement(first, second, {})
    found["kappa_verdict"] = float(kappa.set_index("dimension")["value"]["verdict"])
    return found | {"alpha_verdict": label_quality.alpha(first, second)}


def sft_metrics(folder: Path) -> Metrics:
    """Return the tuned judge's metrics on the test split and its paired gains over the base and the baselines."""
    table = predictions(folder)
    sft, base = (table[table["model"] == m] for m in ("sft", "base"))
    found = protocol.metrics(sft)
    found["sft_minus_longer_wins"] = found.pop("model_minus_longer_wins")
    found["sft_minus_always_a"] = found.pop("model_minus_always_a")
    if len(base):  # a run with a base run does not judge with the untuned model again
        found["sft_minus_base"] = protocol.compare(sft, base)
    found["tokens_per_judgement"] = float(sft["tokens"].mean())
    dev = predictions(folder, "dev")
    return found | {"dev_accuracy": protocol.metrics(dev[dev["model"] == "sft"])["accuracy"]}


def grpo_metrics(folder: Path, sft_folder: Path) -> Metrics:
    """Return the reinforced judge's metrics on the test split and its paired gains over SFT and base.

    Intervals resample training seeds, then scenes; the SFT judge that every seed starts from is one.
    """
    grpo, before = predictions(folder), predictions(sft_folder)
    sft, base = (_for_seeds(before[before["model"] == m], grpo["seed"].unique()) for m in ("sft", "base"))
    found = protocol.metrics(grpo)
    found = {k: v for k, v in found.items() if "_minus_" not in k and not k.startswith("minus_")}
    known = {name: rows for name, rows in (("sft", sft), ("base", base)) if len(rows)}
    found |= {f"grpo_minus_{name}": protocol.compare(grpo, rows) for name, rows in known.items()}
    for part, rows in grpo.groupby("task"):
        found[f"grpo_minus_sft_{part}"] = protocol.compare(rows, sft[sft["task"] == part])
    hard = {"hard": lambda t: t["margin"] <= protocol.HARD_MARGIN, "easy": lambda t: t["margin"] > protocol.HARD_MARGIN}
    for name, of in hard.items():
        if of(grpo).any():
            found[f"grpo_minus_sft_{name}"] = protocol.compare(grpo[of(grpo)], sft[of(sft)])
    if all(of(grpo).any() for of in hard.values()):
        found["hard_gain_minus_easy_gain"] = protocol.compare_strata(grpo, sft)
    return found | {"tokens_per_judgement": float(grpo["tokens"].mean())}


def _for_seeds(rows: pd.DataFrame, seeds: np.ndarray) -> pd.DataFrame:
    """Repeat one judge's rows as the partner of every training seed."""
    return pd.concat([rows.assign(seed=seed) for seed in seeds], ignore_index=True)
