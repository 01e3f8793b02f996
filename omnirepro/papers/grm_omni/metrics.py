"""metrics.json of notebook 06 (GRM-Omni): every claim of the scorecard, and what stands beside it.

Consumes the stage's folder; produces name -> interval. A metric that has no rows (no ++, no hard pair) is absent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import Interval
from omnirepro.kit.report.tables import predictions
from omnirepro.papers.grm_omni import ranking
from omnirepro.papers.grm_omni.experiments import ALONE, ALWAYS, DIRECT, IN_DOUBT
from omnirepro.papers.grm_omni.plots import BETTER, FINAL, MODELS, RANKER, WORSE, criteria, methods
from omnirepro.reward.meta import VARIANTS

Metrics = dict[str, Any]


def meta_metrics(folder: Path) -> Metrics:
    """Return the metrics of the stage: judges, ranking, numbers of criteria, faults and ways to judge."""
    found = judges(folder) | orders(folder) | counts(folder) | ways(folder)
    return {name: value for name, value in found.items() if value is not None}


def judges(folder: Path) -> Metrics:
    """Return accuracies of base, SFT, DPO, ++ and scalar models, and their paired gains, overall and on media."""
    table = predictions(folder)
    of = {model: part for model, part in table.groupby("model")}
    thought = set(of[f"{RANKER}, thinking"]["task"])  # words about media; all media: what was taught its verdict alone
    media = set(of[RANKER].loc[of[RANKER]["kind"] == "verdict", "task"])
    found: Metrics = {}
    for model in (m for m in (*MODELS, f"scalar, {BETTER}", f"scalar, {WORSE}") if m in of):
        rows, name = of[model], model.replace(", ", "_")
        found[f"accuracy_{name}"] = _accuracy(rows)
        found[f"accuracy_{name}_media"] = _accuracy(rows[rows["task"].isin(media)])
        found[f"accuracy_{name}_text"] = _accuracy(rows[~rows["task"].isin(media)])
        found[f"valid_share_{name}"] = _valid(rows)
    found["valid_share_base_in_words"] = _valid(of["base, in words"])
    found["sft_minus_longer_wins"] = protocol.metrics(of["sft"])["model_minus_longer_wins"]
    for a, b in (("sft", "base"), ("dpo", "sft")):
        found |= _gains(f"{a}_minus_{b}", of[a], of[b], media)
    for model in ("sft", "dpo"):
        direct = of[model][of[model]["task"].isin(thought)]
        name = "thinking_minus_direct_media" + ("" if model == FINAL else f"_{model}")
        found[name] = protocol.compare(of[f"{model}, thinking"], direct)
        found[f"valid_share_{model}_thinking_media"] = _valid(of[f"{model}, thinking"])
    found["dpo_minus_sft_media_thinking"] = protocol.compare(of["dpo, thinking"], of["sft, thinking"])
    if "plus" in of:
        found["plusplus_minus_dpo"] = protocol.compare(of["plus, thinking"], of["dpo, thinking"])
        found |= _gains("plusplus_minus_dpo_as_taught", of["plus"], of["dpo"], media)
    return found


def orders(folder: Path) -> Metrics:
    """Return what ranking by the meta-reward is worth, beside the order as written and a random one (Figures 4, 6)."""
    table, worse, final = (criteria(folder, m, s) for m, s in ((RANKER, BETTER), (RANKER, WORSE), (FINAL, BETTER)))
    first, last = ranking.first(table, "published"), ranking.first(table, "published", last=True)
    chance = ranking.first(table, ranking.EXPECTED)
    found: Metrics = {
        "ranked_first_minus_original_first": ranking.gain(first, ranking.first(table)),
        "ranked_first_minus_ranked_last": ranking.gain(first, last),
        "ranked_first_minus_random_first": ranking.gain(first, chance),
        "ranked_first_better_disrm_minus_worse_disrm": ranking.gain(first, ranking.first(worse, "published")),
        "ranked_first_minus_margin_first": ranking.gain(first, ranking.first(table, "margin")),
    }
    ends = ranking.first(final, "published"), ranking.first(final, "published", last=True)
    found["ranked_last_dpo_minus_sft"] = ranking.gain(ends[1], last)
    found["ranked_first_minus_random_first_dpo"] = ranking.gain(ends[0], ranking.first(final, ranking.EXPECTED))
    for variant in (v for v in VARIANTS if v != "random"):
        found[f"first_by_{variant}_minus_random"] = ranking.gain(ranking.first(table, variant), chance)
    gap = ranking.fault_gap(table, "biased criterion", "perception error")
    return found | {"biased_criteria_minus_perception_errors": gap}


def counts(folder: Path) -> Metrics:
    """Return what more criteria and votes are worth (Figures 10 and 11)."""
    table = criteria(folder)
    one, most = ranking.first(table), ranking.first(table, "published")
    found: Metrics = {"most_minus_one_criterion": ranking.gain(most, one)}
    hard = most["points"] <= protocol.HARD_MARGIN
    if hard.any():
        found["most_minus_one_criterion_hard"] = ranking.gain(most[hard], one)
    if hard.any() and not hard.all():
        found["criteria_gain_hard_minus_easy"] = ranking.hard_minus_easy(most, one)
    all_, ranked = (_whole_vote(table, order) for order in (ranking.ORIGINAL, "published"))
    found["vote_minus_single_unranked"] = ranking.gain(all_["last"], all_["first"])
    found["vote_minus_single_ranked"] = ranking.gain(ranked["last"], ranked["first"])
    found["vote_gain_unranked_minus_ranked"] = ranking.gain_of_gains(
        all_["last"], all_["first"], ranked["last"], ranked["first"]
    )
    return found


def ways(folder: Path) -> Metrics:
    """Return the search's gains over one judgement and over the scalar model, and what each way costs."""
    table = methods(folder).set_index("pair_id")
    of = {key: part for key, part in table.groupby(["model", "method"])}
    scalar = of[f"scalar, {BETTER}", ALONE]
    found: Metrics = {}
    for model, suffix in ((FINAL, ""), (RANKER, f"_{RANKER}")):
        search, single = of[model, IN_DOUBT], of[model, DIRECT]
        found[f"search_minus_disrm{suffix}"] = ranking.gain(search, scalar)
        found[f"search_minus_single{suffix}"] = ranking.gain(search, single)
        found[f"search_always_minus_disrm{suffix}"] = ranking.gain(of[model, ALWAYS], scalar)
        found[f"judge_calls_search{suffix}"] = float(search["judge_calls"].mean())
        found[f"tokens_search{suffix}"] = float(search["tokens"].mean())
        found[f"tokens_single{suffix}"] = float(single["tokens"].mean())
    return found


def _whole_vote(table: pd.DataFrame, order: str) -> dict[str, pd.DataFrame]:
    groups = ranking.votes(table, order).sort_values("k").groupby("pair_id")
    return {"first": groups.head(1).set_index("pair_id"), "last": groups.tail(1).set_index("pair_id")}


def _accuracy(rows: pd.DataFrame) -> Interval | None:
    if rows.empty:
        return None
    pairs = protocol.pairs(rows)
    found = ranking.cells(pairs["credit"], pairs["cluster"])
    return Interval(**found)


def _valid(rows: pd.DataFrame) -> float:
    return float(rows["valid"].mean())


def _gains(name: str, a: pd.DataFrame, b: pd.DataFrame, media: set[str]) -> Metrics:
    parts = {"": slice(None), "_media": True, "_text": False}
    found: Metrics = {}
    for suffix, kept in parts.items():
        x, y = (t if kept == slice(None) else t[t["task"].isin(media) == kept] for t in (a, b))
        found[name + suffix] = protocol.compare(x, y)
    return found
