"""Each stage's metrics.json from its saved files.

Consumes a stage's folder; produces name -> {"value", "low", "high", "n", "seeds"}.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS, Label, Pair, read_jsonl, stored, text_of
from omnirepro.evaluate import calibration, protocol
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap, krippendorff_alpha
from omnirepro.kit.report.tables import choices, judgements, predictions, teachers
from omnirepro.kit.run.checks import existing
from omnirepro.papers.comparisons import Metrics, compare, for_seeds
from omnirepro.papers.omni_rrm import label_quality
from omnirepro.papers.omni_rrm.synthesis import Origin

NAMED = {"base, forced choice": "base_forced", "sft, choice": "sft_choice", "grpo, choice": "grpo_choice"}
BASES = {"base": "base", "base_shown": "base, shown examples"}
CHOSEN = [("sft_minus_base_forced", "sft", "base_forced"), ("sft_choice_minus_sft", "sft_choice", "sft"),
          ("grpo_choice_minus_grpo", "grpo_choice", "grpo")]  # fmt: skip


def share(correct: pd.Series) -> Interval:
    """Return a share with its interval; every row is its own cluster."""
    return clustered_bootstrap(correct, correct.index)


def gate_table(folder: Path) -> pd.DataFrame:
    """Return the gate's questions; where a file does not say what was asked, all are about facts."""
    table = pd.read_csv(existing(folder / "gate.csv"), keep_default_na=False)
    return table if "asked" in table else table.assign(asked="fact")


def answered(table: pd.DataFrame) -> Interval:
    """Return the share of right answers; among checks of responses, each expected answer counts the same."""
    weights = 1 / table.groupby("expected")["correct"].transform("size") if "check" in set(table["asked"]) else None
    return clustered_bootstrap(table["correct"], table.index, weights=weights)


def gate_metrics(folder: Path) -> dict[str, Interval]:
    """Return what the gate's questions were answered: facts, checks of responses and winners of given scores.

    gate, gate_<modality>: share of held-out single-fact questions answered correctly; gate_check and so on: balanced
    accuracy; gate_winner, gate_winner_equal: of all pairs of scores, and of equal ones. What was not asked is absent.
    """
    table = gate_table(folder)
    found: dict[str, Interval] = {}
    for kind, name in (("fact", "gate"), ("check", "gate_check"), ("winner", "gate_winner")):
        part = table[table["asked"] == kind]
        groups = part.groupby("modality") if kind != "winner" else [("equal", part[part["expected"] == "equal"])]
        if len(part):
            found[name] = answered(part)
            found |= {f"{name}_{of}": answered(some) for of, some in groups}
    return found


def gap_metrics(folder: Path) -> Metrics:
    """Return the strong generator's lead in points, the share of pairs it wins, and how often dimensions differ.

    Without truth: how often its answer is the longer one, and by how many characters.
    """
    if not stored(folder / "candidates.csv").is_file():
        return length_metrics(folder / "data")
    table = pd.read_csv(stored(folder / "candidates.csv"))
    wide = table.pivot(index="pair_id", columns="generator", values=["score", *DIMENSIONS])
    lead = (wide["score"]["strong"] - wide["score"]["weak"]).astype(float)
    found = {"strong_minus_weak": share(np.sign(lead)), "lead_points": share(lead), "strong_wins": share(lead > 0)}
    return found | {f"differs_{d}": share(wide[d]["strong"] != wide[d]["weak"]) for d in DIMENSIONS}


def length_metrics(data: Path) -> Metrics:
    """Return how the strong generator's answers to training prompts compare in length; nothing where none wrote any."""
    strong = {o.pair_id: o.strong for o in read_jsonl(data / "origins_train.jsonl", Origin)}
    gaps = []
    for pair in (pair for pair in read_jsonl(data / "pairs_train.jsonl", Pair) if pair.id in strong):
        gap = len(text_of(pair.response_a)) - len(text_of(pair.response_b))
        gaps.append(gap if strong[pair.id] == "A" else -gap)
    table = pd.Series(gaps, dtype=float)
    return {"strong_longer": share(table > 0), "strong_minus_weak_characters": share(table)} if gaps else {}


def rule_metrics(folder: Path) -> Metrics:
    """Return coverage of every rule, the teachers' agreement, and, where the truth is known, precision and its gains.

    Where all labels were given there is no teacher, and only their number.
    """
    opinions = teachers(folder)
    if not opinions:
        return {"given_labels": sum(len(read_jsonl(folder / f"labels_{part}.jsonl", Label)) for part in ("sft", "rl"))}
    table = pd.read_csv(existing(folder / "rules.csv"))
    rows = label_quality.precision(table, len(opinions[0])).rename(columns={"precision": "value"})
    names = rows["rule"].str.replace(r"[ -]", "_", regex=True)
    cells = rows[["value", "low", "high", "n"]].astype(float).to_dict("records")
    precise = zip("precision_" + names, cells, strict=True)
    found: Metrics = {name: cell for name, cell in precise if cell["n"]}
    found |= dict(zip("coverage_" + names, rows["coverage"], strict=True))
    for control, name in (("none", "none"), ("strong wins", "strong_wins")) if table["correct"].notna().any() else ():
        found[f"published_precision_minus_{name}"] = label_quality.precision_gain(table, "published", control)
    unread = [label for labels in opinions for label in labels if label.confidence == 0.0]
    if unread:
        found["unreadable_share"] = len(unread) / sum(map(len, opinions))
    if len(opinions) > 1:
        kappa = label_quality.agreement(*opinions[:2], {})
        found["kappa_verdict"] = float(kappa.set_index("dimension")["value"]["verdict"])
        verdicts = [[label.verdict for label in labels] for labels in opinions]
        found["alpha_verdict"] = krippendorff_alpha(verdicts)
    return found


def sft_metrics(folder: Path) -> Metrics:
    """Return the tuned judge's metrics on the test split and its paired gains over the base and the baselines."""
    judged = dict(list(predictions(folder).groupby("model")))
    found: Metrics = protocol.metrics(judged["sft"])
    for baseline in ("longer_wins", "always_a"):
        found[f"sft_minus_{baseline}"] = found.pop(f"model_minus_{baseline}")
    # A run with a base run does not judge with the untuned model again.
    bases = [(f"sft_minus_{name}", "sft", model) for name, model in BASES.items()]
    found |= compare(bases, judged.get, protocol.compare)
    found |= {f"valid_{name}": protocol.metrics(judged[m])["valid_share"] for name, m in BASES.items() if m in judged}
    found["tokens_per_judgement"] = float(judged["sft"]["tokens"].mean())
    if any(row.model == "sft/dev" for row in judgements(folder)):
        dev = predictions(folder, "dev")
        found["dev_accuracy"] = protocol.metrics(dev[dev["model"] == "sft"])["accuracy"]
    return found | choice_metrics(folder, judged["sft"])


def choice_metrics(folder: Path, written: pd.DataFrame, name: str = "sft") -> Metrics:
    """Return what reading verdicts by their probabilities changes; nothing where no stage did.

    `written`: what the judge `name` wrote. accuracy_<judge>; sft_minus_base_forced: the tuned judge as it writes over
    the base that is made to choose; ece_ and ece_calibrated_<judge>, the latter at temperature_<judge>, fitted on the
    development split.
    """
    table = choices(folder)
    dev = choices(folder, "dev")
    if table is None or dev is None:
        return {}
    chosen = {NAMED[model]: rows for model, rows in table.groupby("model")}
    known = chosen | {name: written}
    found = compare(CHOSEN, known.get, protocol.compare)
    for model, rows in dev.groupby("model"):
        judge = NAMED[model]
        found[f"accuracy_{judge}"] = protocol.metrics(chosen[judge])["accuracy"]
        temperature = calibration.fit_temperature(rows)
        said, mended = calibration.before_and_after(chosen[judge], temperature)
        if said.empty:
            continue
        found |= {f"temperature_{judge}": temperature, f"ece_{judge}": calibration.ece(said)}
        found[f"ece_calibrated_{judge}"] = calibration.ece(mended)
    return found


def grpo_metrics(folder: Path, sft_folder: Path) -> Metrics:
    """Return the reinforced judge's metrics on the test split and its paired gains over SFT and base.

    Intervals resample training seeds, then scenes; the SFT judge that every seed starts from is one.
    """
    grpo = predictions(folder)
    before = for_seeds(predictions(sft_folder), grpo["seed"].unique())
    judged = dict(list(before.groupby("model"))) | {"grpo": grpo}
    found: Metrics = protocol.metrics(grpo)
    found = {k: v for k, v in found.items() if "_minus_" not in k and not k.startswith("minus_")}

    def rows(model: str, part: str = "") -> pd.DataFrame | None:
        table = judged.get(model)
        if part not in ("hard", "easy"):
            return table[table["task"] == part] if part else table
        hard = table["margin"] <= protocol.HARD_MARGIN
        return table[hard if part == "hard" else table["margin"] > protocol.HARD_MARGIN]

    table = [(f"grpo_minus_{name}", "grpo", name) for name in ("sft", "base")]
    parts = (*sorted(set(grpo["task"])), "hard", "easy")
    table += [(f"grpo_minus_sft_{part}", ("grpo", part), ("sft", part)) for part in parts]
    found |= compare(table, rows, protocol.compare)
    for policy in ("half", "drop"):
        found[f"grpo_minus_sft_{policy}"] = protocol.compare(grpo, judged["sft"], policy=policy)
    if {"grpo_minus_sft_hard", "grpo_minus_sft_easy"} <= found.keys():
        found["hard_gain_minus_easy_gain"] = protocol.compare_strata(grpo, judged["sft"])
    found["tokens_per_judgement"] = float(grpo["tokens"].mean())
    return found | choice_metrics(folder, grpo, "grpo")


def gain_parts(folder: Path, sft_folder: Path) -> pd.DataFrame:
    """Return what reinforcement's gain over SFT consists of; see `protocol.movements`."""
    grpo = predictions(folder)
    before = for_seeds(predictions(sft_folder).query("model == 'sft'"), grpo["seed"].unique())
    return protocol.movements(grpo, before)
