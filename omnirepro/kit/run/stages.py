"""The order of the notebooks: which stages each one builds on, and which parameter sections it may read.

One table serves the batch (Snakefile), the manifests and the parameter table that every notebook shows. A stage
that reads a section or an input which is not listed here is refused, because the batch could not know about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omnirepro.data.files import YAML

DEPENDS: dict[str, tuple[str, ...]] = {
    "00_backbone": (),
    "01_synthesis": ("00_backbone",),
    "02_reconciliation": ("00_backbone", "01_synthesis"),
    "03_sft": ("00_backbone", "01_synthesis", "02_reconciliation"),
    "04_grpo": ("00_backbone", "01_synthesis", "02_reconciliation", "03_sft"),
    "05_bradley_terry": ("00_backbone",),
    "06_meta_reward_dpo": ("00_backbone",),
    "07_ablations": ("00_backbone", "01_synthesis", "02_reconciliation", "03_sft", "04_grpo"),
    "08_best_of_n": ("00_backbone", "01_synthesis", "03_sft", "04_grpo", "05_bradley_terry", "06_meta_reward_dpo"),
    "09_benchmarks": ("00_backbone", "01_synthesis", "03_sft", "04_grpo", "05_bradley_terry", "06_meta_reward_dpo"),
}
DEPENDS["10_scorecard"] = tuple(DEPENDS)
STAGES = tuple(DEPENDS)
MINUTES: dict[str, dict[str, float]] = {  # on two CPU cores, by profile, as every notebook's first cell says
    "00_backbone": {"smoke": 0.3, "tiny": 10, "study": 12},
    "01_synthesis": {"smoke": 0.2, "tiny": 0.8, "study": 1.5},
    "02_reconciliation": {"smoke": 0.1, "tiny": 0.1, "study": 0.1},
    "03_sft": {"smoke": 0.3, "tiny": 2.2, "study": 4},
    "04_grpo": {"smoke": 0.5, "tiny": 7, "study": 10},
    "05_bradley_terry": {"smoke": 0.5, "tiny": 7, "study": 20},
    "06_meta_reward_dpo": {"smoke": 0.5, "tiny": 6, "study": 20},
    "07_ablations": {"smoke": 0.1, "tiny": 0.1, "study": 0.3},
    "08_best_of_n": {"smoke": 0.5, "tiny": 1.1, "study": 6},
    "09_benchmarks": {"smoke": 0.3, "tiny": 0.6, "study": 0.8},
    "10_scorecard": {"smoke": 0.2, "tiny": 0.2, "study": 0.2},
}
SHARED = ("profile", "data", "world", "judge", "media", "endpoints", "device")
# With the section `device`: how a result is computed, not which one.
HOW = (
    *("judge.batch_size", "media.workers", "media.cache_gb"),
    *(f"endpoints.{name}" for name in ("concurrency", "retries", "timeout", "cache", "budget")),
)


def section_of(stage: str) -> str:
    """Return the name of a stage's own parameter section: `03_sft` has the section `sft`."""
    return stage.split("_", 1)[1]


READS: dict[str, tuple[str, ...]] = {stage: (section_of(stage), *SHARED) for stage in STAGES}
READS["05_bradley_terry"] += ("backbone", "sft", "grpo")
READS["06_meta_reward_dpo"] += ("bradley_terry",)
READS["08_best_of_n"] += ("meta_reward_dpo",)
READS["09_benchmarks"] += ("meta_reward_dpo",)
READS["07_ablations"] += ("sft", "grpo")


def upstream(stage: str) -> set[str]:
    """Return every stage that `stage` builds on, directly or through another one."""
    direct = DEPENDS.get(stage, ())
    return set(direct).union(*(upstream(name) for name in direct))


def own_generators(params: Any) -> dict[str, str]:
    """Return which models of 00 answer in 01, by side; none where another is named, or no prompt is to be answered."""
    pairs_alone = not params.peek("data.prompts") and (params.peek("data.pairs") or params.peek("data.test"))
    models = {} if pairs_alone else {"strong": "generator", "weak": "weak"}
    return {side: model for side, model in models.items() if not params.peek(f"synthesis.{side}")}


def prerequisites(stage: str, params: Any) -> tuple[str, ...]:
    """Return the stages that a batch runs before one: those of `DEPENDS`, but 00 only where its models are asked."""
    free = stage in ("01_synthesis", "02_reconciliation") and not own_generators(params)
    return tuple(name for name in DEPENDS[stage] if not (free and name == "00_backbone"))


def says_how(key: str) -> bool:
    """Whether a parameter says how a result is computed, so that it does not make an upstream result another one."""
    return key.startswith("device.") or key in HOW


def run_name(profile: str, seed: int = 0) -> str:
    """Return the default name of a run: the profile (of a path, its file's name), with `-s<seed>` but for seed 0."""
    name = Path(profile).stem if Path(profile).suffix in YAML else profile
    return name if seed == 0 else f"{name}-s{seed}"
