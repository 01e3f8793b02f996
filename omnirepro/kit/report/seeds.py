"""Several seeds of a profile as one result: results/<profile>-seeds/, made of the runs' metrics and nothing else.

Consumes every finished stage's metrics.json of the runs; produces `<stage>/metrics.json`, the scorecard decided from
them by the same rule as a single run's, the missed checks, `seeds.json` (what was combined, by which method) and
`report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from omnirepro.kit import scorecard
from omnirepro.kit.report.pages import checks_section, page, report_file, scorecard_section, table
from omnirepro.kit.run import DEPENDS, RunError, atomic_write, project_root, results_root, run_name
from omnirepro.kit.run.checks import told, without_checks
from omnirepro.kit.run.display import metric_cells
from omnirepro.kit.run.files import digest, relative, remove
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.kit.run.stages import says_how
from omnirepro.kit.scorecard.stage import missed_checks


def combined_name(profile: str) -> str:
    """Return the name of the folder that holds the seeds of a profile together."""
    return f"{profile}-seeds"


def combine_seeds(profile: str, seeds: Sequence[int]) -> str:
    """Combine the runs of a profile's seeds and return the name of the folder written.

    Raises `RunError` where a seed has no finished stage, or a stage was made with other parameters than in another
    seed, so that the seeds would not be repetitions of one experiment.
    """
    manifests = {seed: _finished(run_name(profile, seed)) for seed in seeds}
    for seed, found in manifests.items():
        if not found:
            raise RunError(f"no finished notebook of seed {seed}; make some with: make reproduce PROFILE={profile} "
                           f'SEEDS="{" ".join(map(str, seeds))}"')  # fmt: skip
    _refuse_different(manifests)
    runs = {seed: {s: _metrics(profile, seed, s) for s in found} for seed, found in manifests.items()}
    metrics, folder = scorecard.aggregate(runs), results_root() / combined_name(profile)
    book = scorecard.load_claims(project_root() / "results" / "claims.yaml")
    remove(folder)
    for stage, found in metrics.items():
        atomic_write(folder / stage / "metrics.json", found)
    card, verdicts = scorecard.build(metrics, book), scorecard.verdicts(metrics, book)
    atomic_write(folder / "10_scorecard/tables/scorecard.csv", card.to_csv(index=False))
    atomic_write(folder / "10_scorecard/tables/checks.csv", scorecard.checks(book).to_csv(index=False))
    atomic_write(folder / "10_scorecard/tables/missed.csv", missed_checks(metrics).to_csv(index=False))
    atomic_write(folder / "10_scorecard/metrics.json", verdicts)
    atomic_write(folder / "seeds.json", _trace(profile, manifests))
    atomic_write(report_file(folder.name), _page(profile, seeds, metrics))
    return folder.name


def _finished(run: str) -> dict[str, dict[str, Any]]:
    """Return stage -> manifest of the finished stages that a claim can be about."""
    folder = results_root() / run
    found = {stage: load_manifest(folder / stage) for stage in DEPENDS["10_scorecard"]}
    return {s: manifest for s, manifest in found.items() if manifest and (folder / s / "metrics.json").is_file()}


def _metrics(profile: str, seed: int, stage: str) -> dict[str, Any]:
    path = results_root() / run_name(profile, seed) / stage / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _refuse_different(manifests: dict[int, dict[str, dict[str, Any]]]) -> None:
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for seed, stages in manifests.items():
        for stage, manifest in stages.items():
            if manifest["seed"] != seed:
                raise RunError(f"{manifest['run']}/{stage} was made with seed {manifest['seed']}, not {seed}")
            other, params = first.setdefault(stage, (seed, manifest["params"]))
            for key in sorted({*params} & {*manifest["params"]}):
                if params[key] != manifest["params"][key] and not says_how(key):
                    values = (
                        f"{json.dumps(manifest['params'][key])}, that of seed {other} with {json.dumps(params[key])}"
                    )
                    raise RunError(f"{stage} of seed {seed} was made with {key} = {values}: run one of them again")


def _trace(profile: str, manifests: dict[int, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    root = results_root()
    files = [root / run_name(profile, seed) / s / "metrics.json" for seed, found in manifests.items() for s in found]
    inputs = {path.relative_to(root).as_posix(): digest(path) for path in files}
    return {"profile": profile, "seeds": list(manifests), "method": scorecard.METHOD, "inputs": inputs}


def _page(profile: str, seeds: Sequence[int], metrics: dict[str, dict[str, Any]]) -> str:
    names = [run_name(profile, seed) for seed in seeds]
    links = ", ".join(f'<a href="../{name}/report.html">{name}</a>' for name in names)
    body = f'<h1 id="top">Profile {escape(profile)}, seeds {", ".join(map(str, seeds))}</h1>'
    body += f'<p>{escape(scorecard.METHOD)}</p><p class="quiet">The runs themselves: {links}</p>'
    body += scorecard_section(combined_name(profile)) + checks_section(metrics) + '<h2 id="metrics">Metrics</h2>'
    head = ("metric", "mean", "interval", "n", "seeds", "each seed")
    for stage, found in metrics.items():
        known = without_checks(found)
        rows = [(escape(name), *metric_cells(m), _each(m["by_seed"])) for name, m in known.items()]
        title = f"<summary>{stage}: {len(rows)} metrics</summary>"
        body += f'<details id="{stage}">{title}<div class="wide">{table(head, rows)}</div></details>'
    return page(f"Profile {profile}, {len(seeds)} seeds", body)


def _each(values: dict[str, float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values.values())


def combined_summary(profile: str) -> str:
    """Return the text for a profile's seeds taken together: scorecard, method, missed checks, where the report lies."""
    from omnirepro.kit.report.summary import columns, read_scorecard

    name = combined_name(profile)
    trace = json.loads((results_root() / name / "seeds.json").read_text(encoding="utf-8"))
    head = f"Profile {profile}, seeds {', '.join(map(str, trace['seeds']))} together. {scorecard.METHOD}"
    place = f"report  {relative(Path(report_file(name)))}"
    checks = told(scorecard.read_metrics(results_root() / name))
    return "\n".join([head, "", columns(read_scorecard(name)), "", place, *checks])
