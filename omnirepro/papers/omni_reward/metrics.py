"""metrics.json of notebook 05 (Omni-Reward): every claim of the scorecard, and what stands beside it.

Consumes the stage's saved rows; produces name -> interval. What was not trained at this profile, or has no truth in
pairs from elsewhere (proposals, longer conversations), has no entry.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro.evaluate import calibration, protocol, ties
from omnirepro.evaluate.statistics import UNKNOWN
from omnirepro.papers.comparisons import Metrics, compare, mean
from omnirepro.papers.omni_reward import free_form
from omnirepro.papers.omni_reward.tables import NAMES, Rows, rows_of
from omnirepro.toyworld.training_pairs import SELECTIONS


def omni_metrics(folder: Path) -> Metrics:
    """Return the metrics of the Bradley-Terry model by task, then of every comparison whose models were trained.

    The model itself has none where it was not.

    Of pairs from elsewhere also by modality, <model>_<modality>_with_ties and so on.
    """
    rows = rows_of(folder)
    found: Metrics = ties.metrics(rows("bt", "dev"), rows("bt"), by_task=False) if "bt" in rows else {}
    found |= against_base(rows) | selections(rows) | of_criteria(rows) | asked_otherwise(rows)
    found |= {f"ece_{name}": calibration.ece(calibration.confidences(rows.forced(name))) for name in rows.trained}
    return found | proposals(folder)


def against_base(rows: Rows) -> Metrics:
    """Compare the base, the Bradley-Terry model and R1, with and without ties; validity and tie rate of R1.

    Each with the base as it is asked itself: a response at a time, or in pairs and in words.
    """
    found: Metrics = {}
    there = {model for model in NAMES if model in rows}
    for end, counted in (("with_ties", True), ("without_ties", False)):
        found |= {f"{key(model)}_{end}": mean(rows.credits(model, counted)) for model in there - {"bt"}}
        sides = (("bt", "base"), ("r1", "base-pairs"), ("r1", "tuned"), ("bt", "r1"))
        table = [(f"{a}_minus_{key(b)}_{end}", (a, counted), (b, counted)) for a, b in sides if {a, b} <= there]
        found |= compare(table, rows.credits, free_form.gain)
        for model in [model for model in ("bt", "base", "r1") if model in rows]:
            parts = rows.by_modality(rows.credits(model, counted))
            found |= {f"{model}_{modality}_{end}": mean(part) for modality, part in parts.items()}
    if "r1" not in rows:
        return found
    judged = protocol.metrics(rows("r1"))
    found |= {f"r1_{k}": judged[k] for k in ("valid_share", "tie_rate", "consistency", "always_a") if k in judged}
    return found | ({"bt_minus_r1": found["bt_minus_r1_with_ties"]} if "bt_minus_r1_with_ties" in found else {})


def key(name: str) -> str:
    """Return a model or a stratum as a part of a metric's name."""
    return name.replace("-", "_").replace(" ", "_")


def selections(rows: Rows) -> Metrics:
    """Compare training on everything with training on each selection, on all tasks and, for families, on its own."""
    table = [
        (f"full_minus_{key(name)}{end}", ("bt", counted), (name, counted))
        for name in SELECTIONS
        if name != "full" and name in rows
        for counted, end in ((True, ""), (False, "_without_ties"))
    ]
    return compare(table, rows.credits, free_form.gain)


def of_criteria(rows: Rows) -> Metrics:
    """Return what criteria do: unseen ones by stratum, those against a judge's own preference, longer conversations."""
    found: Metrics = {}
    if "bt" in rows:
        three = rows.credits("bt", True)
        words = rows.shapes(three).str.endswith("2T")
        found["text_responses_minus_media_responses"] = free_form.gap(three, words)
    parts = {
        model: rows.by_stratum(rows.credits(model, False))
        for model in ("base", "base-pairs", *rows.trained)
        if model in rows
    }
    for model, table in parts.items():
        found |= {f"{key(model)}_on_{key(stratum)}": mean(part) for stratum, part in table.items()}
    if {"bt", "base"} <= set(parts):
        for stratum, part in parts["bt"].items():
            found[f"bt_minus_base_on_{key(stratum)}"] = free_form.gain(part, parts["base"][stratum])
    for model in [m for m in ("bt", "r1", *SELECTIONS) if f"{m}-bare" in rows]:
        table = shift(rows, model)
        if table["group"].nunique() == 2:
            name = "" if model == "bt" else f"{model}_"
            found[f"{name}shifted_minus_invariant"] = free_form.gap(table, table["group"] == "shifted")
    return found | ({"two_turns_minus_one": free_form.gain(*turns(rows))} if "bt-turns" in rows else {})


def turns(rows: Rows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the credits of the Bradley-Terry model at the end of conversations of two turns, and of one."""
    longer = free_form.credits(free_form.two_way(rows("bt-turns")), False)
    short = rows.credits("bt", False)
    return longer, short[short["pair_id"].isin(longer["pair_id"])]


def shift(rows: Rows, model: str) -> pd.DataFrame:
    """Return `free_form.conflict` of a model; scalar models prefer the larger score, however little larger."""
    bare = rows(f"{model}-bare")
    return free_form.conflict(rows.forced(model), free_form.two_way(bare) if model in rows.scalar else bare)


def asked_otherwise(rows: Rows) -> Metrics:
    """Compare ways of asking one and the same judge, which was tuned alike for all of them."""
    judge = rows.asked
    if f"{judge}-level" not in rows:
        return {}
    alone = rows(f"{judge}-level")
    single = free_form.credits(alone, False)
    found: Metrics = {
        "pairwise_minus_pointwise": free_form.ways(rows(judge), alone),
        "pointwise_equal": mean(free_form.equal_scores(alone)),
        "pointwise_if_equal_were_a_coin": free_form.gain(free_form.halved(alone), single),
        "pairwise_minus_pointwise_without_ties": free_form.gain(free_form.credits(rows(judge), False), single),
    }
    gains = {m: cot(rows, m) for m in (judge, "weak") if f"{m}-direct" in rows}
    found |= {f"cot_minus_direct{'_weak' * (m == 'weak')}": mean(table) for m, table in gains.items()}
    return found | compare([("cot_gain_weak_minus_strong", "weak", judge)], gains.get, free_form.gain)


def cot(rows: Rows, model: str) -> pd.DataFrame:
    """Return what reasons before the verdict are worth on each pair, with ties."""
    a, b = (free_form.credits(rows(name), True) for name in (model, f"{model}-direct"))
    both = a.merge(b[[*free_form.KEY, "credit"]], on=free_form.KEY, suffixes=("", "_b"), validate="one_to_one")
    return both.assign(credit=both["credit"] - both["credit_b"]).drop(columns="credit_b")


def proposals(folder: Path) -> Metrics:
    """Return the precision of what the writer proposed and of what all verifiers kept, and the share that was kept.

    Nothing where criteria came with the pairs.
    """
    if not (folder / "proposals.csv").is_file():
        return {}
    table = pd.read_csv(folder / "proposals.csv")
    kept = table[table["kept"]]
    named = {"precision_proposed": (table, "correct"), "precision_kept": (kept, "correct"), "kept": (table, "kept")}
    return {name: mean(some, what) if len(some) else UNKNOWN for name, (some, what) in named.items()}
