"""How many notebooks a batch still runs, and about how long: said before hours of work begin.

Seconds are those of earlier runs' manifests (this run's own, another seed's of the profile, or the committed run's
where it has the profile), else the minutes that a notebook states in its first cell. They were measured with whatever
else the machine did then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from omnirepro.kit.run.arms import Fork, to_run
from omnirepro.kit.run.files import project_root, results_root
from omnirepro.kit.run.manifest import load_manifest, stale_parameter
from omnirepro.kit.run.parameters import Params, load_params
from omnirepro.kit.run.stages import STAGES, run_name

START = 10  # seconds to start a notebook and to draw its figures


def estimate(profile: str, run: str, seed: int = 0, cores: int = 1) -> str:
    """Say how many notebooks `make ablations` still runs, and the minutes, from the seconds of the base run's own."""
    forks = to_run(profile, run, seed)
    waiting = [(f, s) for f in forks for s in f.arm.stages if not load_manifest(results_root() / f.name / s)]
    head = f"{run}: {len(forks)} arms and seeds, {len(waiting)} notebooks to run"
    own = {stage: load_manifest(results_root() / run / stage) for stage in sorted({stage for _, stage in waiting})}
    if absent := [stage for stage, manifest in own.items() if not manifest]:
        return f"{head}; no estimate before {', '.join(absent)} of the run itself has ended"
    seconds = sum(fork_seconds(fork, stage, profile, own[stage]) for fork, stage in waiting)
    return f"{head}; about {seconds / cores / 60:.0f} minutes on {cores} cores, judged by the run's own notebooks"


def study_estimate(profile: str, seeds: Sequence[int], cores: int = 1) -> str:
    """Say how many notebooks and arms of a profile's seeds are still to be run, and about how long that takes.

    A notebook that was run on one core shares the machine, as arms do; any other one uses every core. Notebooks that
    neither an earlier run nor their own first cell gives a time for are named.
    """
    runs = {run_name(profile, seed): seed for seed in seeds}
    there = [path.stem for path in (project_root() / "notebooks").glob("*.ipynb")]
    stages = [stage for stage in STAGES if stage in there]
    own = [(run, stage) for run in runs for stage in stages if _waits(run, stage, load_params(profile, run))]
    with_arms = runs.items() if "07_ablations" in stages else ()
    forks = [fork for run, seed in with_arms for fork in to_run(profile, run, seed, every=False)]
    arms = [(f, s) for f in forks for s in f.arm.stages if _waits(f.name, s, f.params(profile))]
    known = {stage: _measured(stage, profile, runs) for stage in stages}
    seconds = [_stage_seconds(stage, profile, known[stage], cores) for _, stage in own]
    seconds += [_arm_seconds(fork, stage, profile, known[stage], cores) for fork, stage in arms]
    unknown = sorted({s for (_, s), found in zip([*own, *arms], seconds, strict=True) if found is None})
    head = f"{profile}, seeds {', '.join(map(str, seeds))}: {len(own)} notebooks and {len(arms)} of arms to run"
    without = f", without {', '.join(unknown)} (no time known)" if unknown else ""
    time = f"{_spoken(sum(filter(None, seconds)))} on {cores} cores{without}"
    return f"{head}; about {time}, judged by earlier runs and by what notebooks state"


def fork_seconds(fork: Fork, stage: str, profile: str, manifest: dict[str, Any]) -> float:
    """Return a fork's seconds: those of `manifest`, of the stage in a run without arms, by the share of its steps."""
    params, made = fork.params(profile), manifest["params"]
    steps = {"03_sft": made.get("sft.steps"), "04_grpo": made.get("grpo.steps")}.get(stage)
    if not steps:
        return manifest["seconds"] + START
    if stage == "04_grpo":
        steps = steps * len(made["grpo.seeds"]) + made["grpo.contrast_steps"]
    return manifest["seconds"] * params.peek(f"{stage[3:]}.steps") / steps + START


def _waits(run: str, stage: str, params: Params) -> bool:
    manifest = load_manifest(results_root() / run / stage)
    return not manifest or bool(stale_parameter(manifest, params))


def _measured(stage: str, profile: str, runs: Sequence[str] | dict[str, int]) -> dict[str, Any]:
    """Return the manifest of a stage in the first run of the profile that has one; empty where none has."""
    found = (load_manifest(results_root() / run / stage) for run in (*runs, "blessed"))
    return next((manifest for manifest in found if manifest.get("profile") == profile), {})


def _stage_seconds(stage: str, profile: str, manifest: dict[str, Any], cores: int) -> float | None:
    beside = cores if manifest.get("device") == "cpu, 1 thread" else 1
    return (manifest["seconds"] + START) / beside if manifest else _stated(stage, profile)


def _arm_seconds(fork: Fork, stage: str, profile: str, manifest: dict[str, Any], cores: int) -> float | None:
    whole = fork_seconds(fork, stage, profile, manifest) if manifest else _stated(stage, profile)
    return None if whole is None else whole / cores


def _stated(stage: str, profile: str) -> float | None:
    """Return the seconds that a notebook states for a profile in its first cell: `tiny 0.9` or one number for all."""
    notebook = json.loads((project_root() / "notebooks" / f"{stage}.ipynb").read_text(encoding="utf-8"))
    text = "".join(notebook["cells"][0]["source"])
    found = re.search(rf"\b{re.escape(profile)} ([\d.]+)", text) or re.search(r"\| ([\d.]+) \|", text)
    return 60 * float(found[1]) if found else None


def _spoken(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"
