"""How many notebooks a batch still runs, and about how long: said before hours of work begin.

Seconds are those of earlier runs' manifests (this run's own, another seed's of the profile, or the committed run's
where it has the profile), else the minutes that a notebook's first cell states too. They were measured with whatever
else the machine did then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from omnirepro.kit.run.arms import Fork, to_run
from omnirepro.kit.run.files import project_root, results_root
from omnirepro.kit.run.manifest import load_manifest, stale_parameter
from omnirepro.kit.run.parameters import Params, load_params
from omnirepro.kit.run.stages import MINUTES, run_name

START = 10  # seconds to start a notebook and to draw its figures


def usable_cores() -> int:
    """Return the cores that this process may use: fewer than the machine's in a container or under `taskset`."""
    from joblib import cpu_count

    return cpu_count()


def stages_of(params: Params) -> list[str]:
    """Return the stages that a profile runs and whose notebooks are there, in their order."""
    notebooks = project_root() / "notebooks"
    return [stage for stage in params.notebooks if (notebooks / f"{stage}.ipynb").is_file()]


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

    A notebook that was run on one core shares the machine, as arms do; any other one uses every core. Notebooks whose
    time neither an earlier run nor `MINUTES` gives are named.
    """
    runs = {run_name(profile, seed): seed for seed in seeds}
    stages = stages_of(load_params(profile))

    def waits(run: str, stage: str, params: Params) -> bool:
        manifest = load_manifest(results_root() / run / stage)
        return not manifest or bool(stale_parameter(manifest, params))

    times: list[tuple[str, float | None]] = []
    for run in runs:
        params = load_params(profile, run)
        waiting = [stage for stage in stages if waits(run, stage, params)]
        times += [(stage, expected(stage, profile, runs, cores)) for stage in waiting]
    notebooks = len(times)
    for run, seed in runs.items() if "07_ablations" in stages else ():
        for fork in to_run(profile, run, seed, every=False):
            for stage in (stage for stage in fork.arm.stages if waits(fork.name, stage, fork.params(profile))):
                times.append((stage, expected(stage, profile, runs, cores, fork)))
    unknown = sorted({stage for stage, seconds in times if seconds is None})
    head = f"{profile}, seeds {', '.join(map(str, seeds))}: {notebooks} notebooks and {len(times) - notebooks} of arms"
    without = f", without {', '.join(unknown)} (no time known)" if unknown else ""
    if times and all(seconds is None for _, seconds in times):
        return f"{head} to run; no time is known of any"
    total = spoken(sum(seconds for _, seconds in times if seconds))
    return f"{head} to run; about {total} on {cores} cores{without}, judged by earlier runs and by stated minutes"


def spoken(seconds: float) -> str:
    """Write a duration in minutes, or in hours from two on."""
    minutes = f"{seconds / 60:.0f}"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return "1 minute" if minutes == "1" else f"{minutes} minutes"


def expected(stage: str, profile: str, runs: Iterable[str], cores: int = 1, fork: Fork | None = None) -> float | None:
    """Return about how many seconds a notebook takes of the machine's `cores`, a fork's by its share of the steps.

    Judged by the manifests of `runs`, or of the committed run, else by `MINUTES`; None where neither tells.
    """
    found = (load_manifest(results_root() / run / stage) for run in (*runs, "blessed"))
    manifest = next((manifest for manifest in found if manifest.get("profile") == profile), {})
    if not manifest:
        minutes = MINUTES[stage].get(profile)
        return minutes and 60 * minutes / (cores if fork else 1)
    if fork:
        return fork_seconds(fork, stage, profile, manifest) / cores
    return (manifest["seconds"] + START) / (cores if manifest.get("device") == "cpu, 1 thread" else 1)


def fork_seconds(fork: Fork, stage: str, profile: str, manifest: dict[str, Any]) -> float:
    """Return a fork's seconds: those of `manifest`, of the stage in a run without arms, by the share of its steps."""
    made = manifest["params"]
    steps = {"03_sft": made.get("sft.steps"), "04_grpo": made.get("grpo.steps")}.get(stage)
    if not steps:
        return manifest["seconds"] + START
    if stage == "04_grpo":
        steps = steps * len(made["grpo.seeds"]) + made["grpo.contrast_steps"]
    return manifest["seconds"] * fork.params(profile).peek(f"{stage[3:]}.steps") / steps + START
