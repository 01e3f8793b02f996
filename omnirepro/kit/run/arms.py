"""Ablations as runs: which arms there are, what each changes, and the forks of a run that the batch makes of them.

An arm is a file of params/runs/: papermill parameters, and a first line `# question: what changed`. Its fork of a run
is the run `<run>+<arm>` (`-s<seed>` for a further training seed) with that run as its base, so that only the stages
whose parameters differ are run again. Data and test pairs are the base run's for every seed, so that arms are compared
on the same pairs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnirepro.kit.run.files import RunError, project_root
from omnirepro.kit.run.handle import Run
from omnirepro.kit.run.parameters import Params, flatten, load_params
from omnirepro.kit.run.reading import ParameterError, nearest, read_run_file

STAGES_OF = {
    "reconciliation": ("02_reconciliation", "03_sft"),
    "sft": ("03_sft",),
    "judge": ("03_sft",),
    "grpo": ("04_grpo",),
}
# What every arm of GRPO leaves out: the contrast, and most of the look at the reward before training.
PLAIN = {"grpo.contrast_steps": 0, "grpo.preflight_prompts": 4}
REFERENCES = {"03_sft": "full", "04_grpo": "grpo"}  # the full recipe at the step counts of the arms


@dataclass(frozen=True)
class Arm:
    """One ablation: the question it belongs to, what it changes in words, and the keys that say so."""

    name: str
    question: str
    change: str
    keys: dict[str, Any]

    @property
    def stages(self) -> tuple[str, ...]:
        """The notebooks that it runs again; those of the last one are compared."""
        found = {stage for key in self.keys for stage in STAGES_OF[key.split(".")[0]]}
        return tuple(sorted(found)) or ("03_sft",)

    @property
    def reference(self) -> str:
        """The arm that it is compared with."""
        return REFERENCES[self.stages[-1]]


@dataclass(frozen=True)
class Fork:
    """An arm at one training seed, on top of a base run. `index` counts the seeds from the base run's own."""

    arm: Arm
    base: str
    base_seed: int
    index: int
    overrides: dict[str, Any]

    @property
    def name(self) -> str:
        seed = f"-s{self.base_seed + self.index}" if self.index else ""
        return f"{self.base}+{self.arm.name}{seed}"

    def seed(self, stage: str) -> int:
        """Return the seed of a stage: labels are made with the base run's, whatever the training seed."""
        return self.base_seed + (self.index if stage >= "03" else 0)

    def params(self, profile: str) -> Params:
        """Return the parameters in force."""
        return load_params(profile, self.name, self.overrides)

    def says_nothing(self, params: Params) -> bool:
        """Whether it is the base run itself, whose parameters are given."""
        return not self.index and all(params.peek(k) == v for k, v in (self.arm.keys | self.overrides).items())

    def open(self, profile: str, stage: str) -> Run:
        """Return a handle on one of its stages, for reading."""
        return Run(stage, self.name, self.params(profile), self.base, self.seed(stage))


def read_arm(path: Path) -> Arm:
    """Read a file of params/runs/; raises `ParameterError` where its first line or a section is not an arm's."""
    lines = path.read_text(encoding="utf-8").splitlines() or [""]
    question, colon, change = lines[0].removeprefix("# ").partition(": ")
    keys = flatten(read_run_file(path).get("overrides") or {})
    if not (lines[0].startswith("# ") and colon):
        raise ParameterError(f"runs/{path.name}: the first line must be '# question: what changed'")
    for key in keys:
        if key.split(".")[0] not in STAGES_OF:
            raise ParameterError(f"runs/{path.name}: {key} is of no section that an ablation changes")
    return Arm(path.stem, question, change, keys)


def known_arms() -> dict[str, Arm]:
    """Return every arm of params/runs/ by name, in the order of the names, numbers by their size."""
    paths = (project_root() / "params" / "runs").glob("*.yaml")
    ordered = sorted(paths, key=lambda path: [x.zfill(3) if x.isdigit() else x for x in re.split(r"(\d+)", path.stem)])
    return {path.stem: read_arm(path) for path in ordered}


def forks_of(params: Params, run: str, seed: int = 0, every: bool = True) -> list[Fork]:
    """Return the forks of a run: every arm over `ablations.seeds`, or the section's own few arms with one seed.

    `params` are the run's. Raises `ParameterError` where the section names an arm that is not there.
    """
    arms = known_arms()
    names = params["ablations.arms"]
    for name in names:
        if name not in arms:
            raise ParameterError(f"ablations.arms: no arm {name!r}; the nearest is {nearest(name, arms)}")
    chosen = list(arms.values()) if every else [arms[name] for name in names]
    seeds = params["ablations.seeds"] if every else 1
    return [_fork(arm, params, run, seed, index) for arm in chosen for index in range(seeds)]


def _fork(arm: Arm, params: Params, run: str, seed: int, index: int) -> Fork:
    counts: dict[str, Any] = {}
    if "03_sft" in arm.stages and (steps := params["ablations.sft_steps"]):
        counts["sft.steps"] = steps
    if "04_grpo" in arm.stages:
        counts["grpo.steps"] = params["ablations.grpo_steps"] or params["grpo.steps"]
        counts |= PLAIN | {"grpo.seeds": [params["grpo.seeds"][0] + index]}
    return Fork(arm, run, seed, index, {key: value for key, value in counts.items() if key not in arm.keys})


def to_run(profile: str, run: str, seed: int = 0, every: bool = True) -> list[Fork]:
    """Return `forks_of` less those that say nothing else than the run itself, whose result is there already."""
    own = load_params(profile, run)
    forks = forks_of(own, run, seed, every)
    return [fork for fork in forks if not fork.says_nothing(own)]


def rows_of(run: Run, fork: Fork, name: str = "predictions.jsonl", stage: str = "") -> Path | None:
    """Return a file of a fork's stage (default: its last), recorded as an input; None where it is not up to date.

    A fork that says nothing else than its base has the base's rows.
    """
    stage = stage or fork.arm.stages[-1]
    if fork.says_nothing(run.params):
        return run.input(stage, name)
    try:
        opened = fork.open(run.params.profile, stage)
        own = opened.skipped and opened.dir.parent.name == fork.name
    except RunError:  # an upstream stage of the fork was not run, or with other parameters
        own = False
    path = opened.path(name) if own else None
    run.note(f"{fork.name}/{stage}/{name}", path)
    return path
