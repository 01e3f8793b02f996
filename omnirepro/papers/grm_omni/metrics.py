"""metrics.json of notebook 06 (GRM-Omni): every claim of the scorecard, and what stands beside it.

Consumes the stage's folder; produces name -> interval. A metric that has no rows (no ++, no hard pair) is absent.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from omnirepro.data import stored
from omnirepro.evaluate import protocol
from omnirepro.kit.report.tables import predictions
from omnirepro.papers.comparisons import Metrics, compare, mean
from omnirepro.papers.grm_omni import ranking
from omnirepro.papers.grm_omni.experiments import ALONE, ALWAYS, DIRECT, IN_DOUBT
from omnirepro.papers.grm_omni.plots import BETTER, FINAL, MODELS, RANKER, WORSE, criteria, methods
from omnirepro.papers.grm_omni.ranking import EXPECTED, ORIGINAL
from omnirepro.reward.meta import VARIANTS


def meta_metrics(folder: Path) -> Metrics:
    """Return the metrics of the stage: judges, ranking, numbers of criteria, faults and ways to judge."""
    found = judges(folder)
    if stored(folder / "criteria.csv").is_file():  # a criterion that can be read was written
        found |= orders(folder) | counts(folder)
    if (folder / "methods.csv").is_file():  # there were pairs to think about
        found |= ways(folder)
    return {name: value for name, value in found.items() if value is not None}


def judges(folder: Path) -> Metrics:
    """Return accuracies of base, SFT, DPO, ++ and scalar models, and their paired gains, overall, on media, on text.

    "text" is what DPO trains: judging with criteria, greedily, and as the mean credit of drawn judgements ("sampled").
    """
    of = dict(list(predictions(folder).groupby("model")))
    # Words about media; all media: what was taught its verdict alone.
    thought = set(of[f"{RANKER}, thinking"]["task"]) if f"{RANKER}, thinking" in of else set()
    media = set(of[RANKER].loc[of[RANKER]["kind"] == "verdict", "task"])

    def rows(model: str, part: str = "") -> pd.DataFrame | None:
        table = of.get(model)
        if not part or table is None or table.empty:
            return table
        kept = table["task"].isin(thought if part == "thought" else media)
        return table[~kept if part == "text" else kept]

    parts = {"": "", "_media": "media", "_text": "text"}
    found: Metrics = {}
    for model in (m for m in (*MODELS, f"scalar, {BETTER}", f"scalar, {WORSE}") if m in of):
        name = model.replace(", ", "_")
        for suffix, part in parts.items():
            some = rows(model, part)
            found[f"accuracy_{name}{suffix}"] = mean(protocol.pairs(some).drop(columns="seed")) if len(some) else None
        found[f"valid_share_{name}"] = _valid(of[model])
    found["valid_share_base_in_words"] = _valid(of["base, in words"])
    found["sft_minus_longer_wins"] = protocol.metrics(of["sft"])["model_minus_longer_wins"]
    for a, b in (("sft", "base"), ("dpo", "sft")):
        table = [(f"{a}_minus_{b}{end}", (a, part), (b, part)) for end, part in parts.items()]
        found |= compare(table, rows, protocol.compare)
    heard = above_chance(rows("sft", "media"), rows("dpo", "media"))
    found["media_tasks_above_chance"] = float(len(heard))
    sides = (of[model][of[model]["task"].isin(heard)] for model in ("dpo", "sft"))
    found["dpo_minus_sft_media_above_chance"] = protocol.compare(*sides) if heard else None
    drawn = {model: expected(of[f"{model}, sampled"]) for model in MODELS if f"{model}, sampled" in of}
    found |= {f"accuracy_{model}_text_sampled": mean(table) for model, table in drawn.items()}
    found |= compare([("dpo_minus_sft_text_sampled", "dpo", "sft")], drawn.get)
    for model, suffix in (("sft", "_sft"), ("dpo", "")) if thought else ():
        thinking = of[f"{model}, thinking"]
        found[f"thinking_minus_direct_media{suffix}"] = protocol.compare(thinking, rows(model, "thought"))
        found[f"valid_share_{model}_thinking_media"] = _valid(thinking)
    table = [("dpo_minus_sft_media_thinking", "dpo, thinking", "sft, thinking")]
    table += [("plusplus_minus_dpo", "plus, thinking", "dpo, thinking")]
    table += [(f"plusplus_minus_dpo_as_taught{end}", ("plus", p), ("dpo", p)) for end, p in parts.items()]
    return found | compare(table, rows, protocol.compare)


def above_chance(*judges: pd.DataFrame) -> set[str]:
    """Return the tasks on which judges together are right more often than by chance.

    All are asked alike, so that the choice favours none of them.
    """
    both = pd.concat([protocol.pairs(rows) for rows in judges if len(rows)] or [pd.DataFrame(columns=["task"])])
    return {task for task, part in both.groupby("task") if mean(part.drop(columns="seed")).low > 0.5}


def expected(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row a pair: the credit of a drawn judgement, as the mean over both orders and all draws."""
    return (
        protocol.pairs(rows)
        .groupby("pair_id", as_index=False)
        .agg(credit=("credit", "mean"), cluster=("cluster", "first"))
    )


def orders(folder: Path) -> Metrics:
    """Return what ranking by the meta-reward is worth, beside the order as written and a random one (Figures 4, 6)."""

    @cache
    def first(order: str, model: str = RANKER, scalar: str = BETTER, last: bool = False) -> pd.DataFrame:
        return ranking.first(criteria(folder, model, scalar), order, last)

    best = ("published",)
    table = [
        ("ranked_first_minus_original_first", best, (ORIGINAL,)),
        ("ranked_first_minus_ranked_last", best, ("published", RANKER, BETTER, True)),
        ("ranked_first_minus_random_first", best, (EXPECTED,)),
        ("ranked_first_better_disrm_minus_worse_disrm", best, ("published", RANKER, WORSE)),
        ("ranked_first_minus_margin_first", best, ("margin",)),
        ("ranked_last_dpo_minus_sft", ("published", FINAL, BETTER, True), ("published", RANKER, BETTER, True)),
        ("ranked_first_minus_random_first_dpo", ("published", FINAL), (EXPECTED, FINAL)),
        *((f"first_by_{variant}_minus_random", (variant,), (EXPECTED,)) for variant in VARIANTS if variant != "random"),
    ]
    gap = ranking.fault_gap(criteria(folder), "biased criterion", "perception error")
    found = {name: ranking.gain(first(*a), first(*b)) for name, a, b in table}
    return found | {"biased_criteria_minus_perception_errors": gap}


def counts(folder: Path) -> Metrics:
    """Return what more criteria and votes are worth (Figures 10 and 11)."""
    table = criteria(folder)
    one = ranking.first(table)
    most = ranking.first(table, "published")
    found: Metrics = {"most_minus_one_criterion": ranking.gain(most, one)}
    hard = most["points"] <= protocol.HARD_MARGIN
    if hard.any():
        found["most_minus_one_criterion_hard"] = ranking.gain(most[hard], one)
    if hard.any() and not hard.all():
        found["criteria_gain_hard_minus_easy"] = ranking.hard_minus_easy(most, one)
    ends = []
    for name, order in (("unranked", ORIGINAL), ("ranked", "published")):
        groups = ranking.votes(table, order).sort_values("k").groupby("pair_id")
        first, last = (part.set_index("pair_id") for part in (groups.head(1), groups.tail(1)))
        found[f"vote_minus_single_{name}"] = ranking.gain(last, first)
        ends += [last, first]
    return found | {"vote_gain_unranked_minus_ranked": ranking.gain_of_gains(*ends)}


def ways(folder: Path) -> Metrics:
    """Return the search's gains over one judgement and over the scalar model, and what each way costs."""
    table = methods(folder).set_index("pair_id")
    of = dict(list(table.groupby(["model", "method"])))
    scalar = of[f"scalar, {BETTER}", ALONE]
    found: Metrics = {}
    for model, suffix in ((FINAL, ""), (RANKER, f"_{RANKER}")):
        search = of[model, IN_DOUBT]
        single = of[model, DIRECT]
        found[f"search_minus_disrm{suffix}"] = ranking.gain(search, scalar)
        found[f"search_minus_single{suffix}"] = ranking.gain(search, single)
        found[f"search_always_minus_disrm{suffix}"] = ranking.gain(of[model, ALWAYS], scalar)
        found[f"judge_calls_search{suffix}"] = float(search["judge_calls"].mean())
        found[f"tokens_search{suffix}"] = float(search["tokens"].mean())
        found[f"tokens_single{suffix}"] = float(single["tokens"].mean())
    return found


def _valid(rows: pd.DataFrame) -> float:
    return float(rows["valid"].mean())
