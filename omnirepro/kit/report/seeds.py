"""Several seeds of a profile as one result: results/<profile>-seeds/, made of the runs' metrics and nothing else.

Consumes every finished stage's metrics.json of the runs; produces `<stage>/metrics.json`, the scorecard decided from
them by the same rule as a single run's, the missed checks, `seeds.json` (what was combined, by which method) and
`report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omnirepro.kit import scorecard
from omnirepro.kit.report.claims import card
from omnirepro.kit.report.links import rows_of
from omnirepro.kit.report.pages import embedded, report_file, write_page
from omnirepro.kit.report.summary import card_text
from omnirepro.kit.run import DEPENDS, RunError, atomic_write, project_root, results_root, run_name
from omnirepro.kit.run.checks import told, without_checks
from omnirepro.kit.run.display import metric_cells
from omnirepro.kit.run.files import digest, relative, remove
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.kit.run.stages import says_how
from omnirepro.kit.scorecard.stage import tables


def combined_name(profile: str) -> str:
    """Return the name of the folder that holds the seeds of a profile together."""
    return f"{profile}-seeds"


def combine_seeds(profile: str, seeds: Sequence[int], draw: Callable[[str, list[Path], Path], Any]) -> str:
    """Combine the runs of a profile's seeds and return the name of the folder written.

    `draw` is given a stage, its folders in the runs and the folder for its figures of all seeds. Raises `RunError`
    where a seed has no finished stage, or a stage was made with other parameters than in another seed, so that the
    seeds would not be repetitions of one experiment.
    """
    manifests: dict[int, dict[str, dict[str, Any]]] = {}
    for seed in seeds:
        folder = results_root() / run_name(profile, seed)
        found = {stage: load_manifest(folder / stage) for stage in DEPENDS["10_scorecard"]}
        finished = {s: m for s, m in found.items() if m and (folder / s / "metrics.json").is_file()}
        manifests[seed] = finished
    _refuse_different(profile, manifests)
    root = results_root()
    read = {seed: scorecard.read_metrics(root / run_name(profile, seed)) for seed in seeds}
    metrics = scorecard.aggregate({seed: {s: read[seed][s] for s in found} for seed, found in manifests.items()})
    folder = root / combined_name(profile)
    book = scorecard.load_claims(project_root() / "results" / "claims.yaml")
    remove(folder)
    for stage, found in metrics.items():
        atomic_write(folder / stage / "metrics.json", found)
    for name, text in tables(metrics, book).items():
        atomic_write(folder / "10_scorecard" / name, text)
    atomic_write(folder / "10_scorecard/metrics.json", scorecard.verdicts(metrics, book))
    files = [root / run_name(profile, seed) / s / "metrics.json" for seed, found in manifests.items() for s in found]
    inputs = {path.relative_to(root).as_posix(): digest(path) for path in files}
    trace = {"profile": profile, "seeds": list(seeds), "method": scorecard.METHOD, "inputs": inputs}
    atomic_write(folder / "seeds.json", trace)
    runs = [run_name(profile, seed) for seed in seeds]
    stages = []
    for stage, found in metrics.items():
        draw(stage, [root / name / stage for name in runs], folder / stage)
        each = {name: ", ".join(f"{x:.3f}" for x in m["by_seed"].values()) for name, m in found.items()}
        rows = [(name, *metric_cells(m), each[name]) for name, m in without_checks(found).items()]
        drawn = [embedded(path) for path in sorted((folder / stage / "figures").glob("*.png"))]
        stages.append({"name": stage, "rows": rows, "figures": drawn, "links": rows_of(stage, folder.name, runs)})
    write_page(
        folder.name,
        f"Profile {profile}, seeds {', '.join(map(str, seeds))}",
        metrics,
        lead=[scorecard.METHOD, "Figures: a dot a seed, their mean, and its interval."],
        runs=runs,
        tables=stages,
        card=card(folder.name, metrics, folder.name, runs),
    )
    return folder.name


def _refuse_different(profile: str, manifests: dict[int, dict[str, dict[str, Any]]]) -> None:
    """Raise `RunError` where a seed has no stage, or a stage of it was made with another seed or other parameters."""
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for seed, stages in manifests.items():
        if not stages:
            wanted = f'PROFILE={profile} SEEDS="{" ".join(map(str, manifests))}"'
            raise RunError(f"no finished notebook of seed {seed}; make some with: make reproduce {wanted}")
        for stage, manifest in stages.items():
            if manifest["seed"] != seed:
                raise RunError(f"{manifest['run']}/{stage} was made with seed {manifest['seed']}, not {seed}")
            own = manifest["params"]
            other, params = first.setdefault(stage, (seed, own))
            for key in sorted(params.keys() & own.keys()):
                if params[key] != own[key] and not says_how(key):
                    values = f"{json.dumps(own[key])}, that of seed {other} with {json.dumps(params[key])}"
                    raise RunError(f"{stage} of seed {seed} was made with {key} = {values}: run one of them again")


def combined_summary(profile: str) -> str:
    """Return the text for a profile's seeds taken together: scorecard, method, missed checks, where the report lies."""
    name = combined_name(profile)
    trace = json.loads((results_root() / name / "seeds.json").read_text(encoding="utf-8"))
    head = f"Profile {profile}, seeds {', '.join(map(str, trace['seeds']))} together. {scorecard.METHOD}"
    place = f"report  {relative(report_file(name))}"
    checks = told(scorecard.read_metrics(results_root() / name))
    return "\n".join([head, "", card_text(name), "", place, *checks])
