"""Each stage's metrics.json from its saved files.

Consumes a stage's folder; produces name -> {"value", "low", "high", "n", "seeds"}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.evaluate import labels as label_quality
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap
from omnirepro.report.tables import predictions, teachers
from omnirepro.schema import DIMENSIONS

Metrics = dict[str, Any]


def share(correct: pd.Series, clusters: pd.Series | None = None) -> Interval:
    """Return a share with its interval; every row is its own cluster unless clusters are given."""
    return clustered_bootstrap(
        correct.to_numpy(float), (clusters if clusters is not None else correct.index).to_numpy()
    )


def gate_metrics(folder: Path) -> dict[str, Interval]:
    """Return the share of held-out single-fact questions answered correctly, overall and a modality."""
    table = pd.read_csv(folder / "gate.csv")
    return {"gate": share(table["correct"])} | {f"gate_{m}": share(g["correct"]) for m, g in table.groupby("modality")}


def gap_metrics(folder: Path) -> Metrics:
    """Return the strong generator's lead in points, the share of pairs it wins, and how often dimensions differ."""
    table = pd.read_csv(folder / "candidates.csv")
    wide = table.pivot(index="pair_id", columns="generator", values=["score", *DIMENSIONS])
    lead = (wide["score"]["strong"] - wide["score"]["weak"]).astype(float)
    found = {"strong_minus_weak": share(np.sign(lead)), "lead_points": share(lead), "strong_wins": share(lead > 0)}
    return found | {f"differs_{d}": share(wide[d]["strong"] != wide[d]["weak"]) for d in DIMENSIONS}


def rule_metrics(folder: Path) -> Metrics:
    """Return precision and coverage of every rule, the published rule's gains, and the teachers' agreement."""
    table, (first, second) = pd.read_csv(folder / "rules.csv"), teachers(folder)
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
    found["sft_minus_base"] = protocol.compare(sft, base)
    found["tokens_per_judgement"] = float(sft["tokens"].mean())
    dev = predictions(folder, "dev")
    return found | {"dev_accuracy": protocol.metrics(dev[dev["model"] == "sft"])["accuracy"]}
