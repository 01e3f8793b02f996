"""What a notebook shows of its stage: checks, tables, metrics and figures of every paper, by name."""

# ruff: noqa: F401, I001 (the names are for notebooks, whose cells hold few lines)
from omnirepro.papers.ablations.effects import ablation_metrics, absent, effects_shown, gather
from omnirepro.papers.benchmarks.report import benchmark_metrics, official_table, published
from omnirepro.papers.best_of_n.report import choice_metrics, choice_table
from omnirepro.papers.checks import backbone_checks, benchmark_checks, choice_checks, grpo_checks, leads_within
from omnirepro.papers.checks import meta_checks, omni_checks, require_every_pair, require_shares, require_verdicts
from omnirepro.papers.checks import differences, sft_checks, synthesis_checks
from omnirepro.papers.grm_omni.metrics import meta_metrics
from omnirepro.papers.grm_omni.plots import best_criteria
from omnirepro.papers.omni_reward.metrics import omni_metrics
from omnirepro.papers.omni_rrm.followed import follow
from omnirepro.papers.omni_rrm.metrics import gain_parts, gap_metrics, gate_metrics, grpo_metrics
from omnirepro.papers.omni_rrm.metrics import rule_metrics, sft_metrics
from omnirepro.papers.plots import plot
