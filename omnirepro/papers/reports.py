"""What a notebook shows of its stage: checks, tables, metrics and figures of every paper, by name."""

from omnirepro.papers.ablations.effects import ablation_metrics, absent, effects_shown, gather
from omnirepro.papers.benchmarks.report import benchmark_metrics, benchmarks_judged, official_table, published
from omnirepro.papers.best_of_n.report import choice_metrics, choice_table
from omnirepro.papers.checks import (
    backbone_checks,
    benchmark_checks,
    choice_checks,
    grpo_checks,
    leads_within,
    meta_checks,
    omni_checks,
    require_every_pair,
    require_shares,
    require_verdicts,
    sft_checks,
    synthesis_checks,
)
from omnirepro.papers.grm_omni.metrics import meta_metrics
from omnirepro.papers.grm_omni.plots import best_criteria
from omnirepro.papers.omni_reward.metrics import omni_metrics
from omnirepro.papers.omni_rrm.metrics import gap_metrics, gate_metrics, grpo_metrics, rule_metrics, sft_metrics
from omnirepro.papers.plots import plot, redraw

__all__ = [
    "ablation_metrics",
    "absent",
    "backbone_checks",
    "benchmark_checks",
    "benchmark_metrics",
    "benchmarks_judged",
    "best_criteria",
    "choice_checks",
    "choice_metrics",
    "choice_table",
    "effects_shown",
    "gap_metrics",
    "gate_metrics",
    "gather",
    "grpo_checks",
    "grpo_metrics",
    "leads_within",
    "meta_checks",
    "meta_metrics",
    "official_table",
    "omni_checks",
    "omni_metrics",
    "plot",
    "published",
    "redraw",
    "require_every_pair",
    "require_shares",
    "require_verdicts",
    "rule_metrics",
    "sft_checks",
    "sft_metrics",
    "synthesis_checks",
]
