"""Executed notebooks: making them, cleaning them, and the HTML report of a run. The last stage of all."""

from omnirepro.report.ablations import ablation_metrics, absent, effects_shown, gather
from omnirepro.report.benchmarks import benchmark_metrics, benchmarks_judged, official_table, published
from omnirepro.report.best_of_n import choice_metrics, choice_table
from omnirepro.report.card import write_scorecard
from omnirepro.report.checks import (
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
from omnirepro.report.execution import execute, find_notebook, tidy_notebook
from omnirepro.report.gallery import gallery, one_of_each
from omnirepro.report.meta_metrics import meta_metrics
from omnirepro.report.meta_reward import best_criteria
from omnirepro.report.metrics import gap_metrics, gate_metrics, grpo_metrics, rule_metrics, sft_metrics
from omnirepro.report.omni_metrics import omni_metrics
from omnirepro.report.pages import build
from omnirepro.report.plots import plot, redraw
from omnirepro.report.readme import write_tables
from omnirepro.report.seeds import combine_seeds, combined_summary
from omnirepro.report.summary import summary
from omnirepro.report.tables import notes, reasons

__all__ = [
    "ablation_metrics",
    "absent",
    "backbone_checks",
    "benchmark_checks",
    "benchmark_metrics",
    "benchmarks_judged",
    "best_criteria",
    "build",
    "effects_shown",
    "choice_checks",
    "choice_metrics",
    "choice_table",
    "combine_seeds",
    "combined_summary",
    "execute",
    "find_notebook",
    "gallery",
    "gather",
    "gap_metrics",
    "gate_metrics",
    "grpo_checks",
    "grpo_metrics",
    "leads_within",
    "meta_checks",
    "meta_metrics",
    "notes",
    "omni_checks",
    "omni_metrics",
    "official_table",
    "one_of_each",
    "plot",
    "published",
    "reasons",
    "redraw",
    "require_every_pair",
    "require_shares",
    "require_verdicts",
    "rule_metrics",
    "sft_checks",
    "sft_metrics",
    "summary",
    "synthesis_checks",
    "tidy_notebook",
    "write_scorecard",
    "write_tables",
]
