"""Tables of docs/results.md and docs/scorecard.md that are written from the committed run's metrics, between markers.

Consumes metrics.json of results/blessed (and of its `seeds/`, where several were taken together, which then count) and
results/claims.yaml; produces Markdown. A row of `results.md.j2` whose metrics the run does not have is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnirepro.kit import scorecard
from omnirepro.kit.run import atomic_write, project_root
from omnirepro.kit.run.manifest import load_manifest

Metrics = Mapping[str, Mapping[str, Mapping[str, Any]]]
SPELT = {2: "two", 3: "three", 4: "four", 5: "five"}


def percent(share: float | None) -> float:
    """Return a share in per cent; nan where nothing was measured."""
    return float("nan") if share is None else 100 * share


def points(metric: Mapping[str, Any], sign: str = "") -> str:
    """Write a share with its interval: 85.0 [83.7, 86.4], or +2.8 [-0.2, 3.4] with the sign "+"."""
    sides = (metric[side] for side in ("value", "low", "high"))
    value, low, high = map(percent, sides)
    return f"{round(value, 1) + 0.0:{sign}.1f} [{low:.1f}, {high:.1f}]"  # no negative zero


def trainings(metric: Mapping[str, Any]) -> str:
    """Say how many trainings a metric covers."""
    seeds = metric["seeds"]
    if isinstance(seeds, list):
        return f"seeds {', '.join(map(str, seeds))}"
    return "one seed" if seeds == 1 else f"{SPELT.get(seeds, seeds)} seeds from one SFT judge"


FORMATS = {
    "share": lambda metric: f"{percent(metric['value']):.1f} %",
    "whole": lambda metric: f"{percent(metric['value']):.0f} %",
    "interval": points,
    "gain": lambda metric: points(metric, "+"),
    "n": lambda metric: str(metric["n"]),
    "seeds": trainings,
}


def results_table(metrics: Metrics) -> str:
    """Return the main results as a Markdown table; a metric's name begins with the number of its stage."""
    import jinja2

    known = {f"{stage[:2]} {name}": metric for stage, found in metrics.items() for name, metric in found.items()}
    rows = jinja2.Environment()  # Markdown, nothing to escape
    rows.filters |= {how: lambda name, form=form: form(known[name]) for how, form in FORMATS.items()}
    lines = []
    for row in (Path(__file__).parent / "results.md.j2").read_text(encoding="utf-8").splitlines():
        try:
            lines.append(rows.from_string(row).render())
        except KeyError:
            continue
    return "\n".join(lines)


def headline(folder: Path) -> str:
    """Return the sentence above the table: which run it is, its seeds, its machine, and what the intervals cover."""
    trace = folder / "seeds" / "seeds.json"
    seeds = "one seed"
    intervals = "95 % intervals clustered by scene"
    if trace.is_file():
        numbers = json.loads(trace.read_text(encoding="utf-8"))["seeds"]
        seeds = f"means of the seeds {', '.join(map(str, numbers))}"
        intervals = "95 % intervals over training and scenes"
    profile = load_manifest(folder / "10_scorecard").get("profile")
    where = f"profile `{profile}`, {seeds}, {load_manifest(folder / '00_backbone').get('device', 'cpu')}"
    return f"Figures of the committed run `results/blessed` ({where}), {intervals}:"


def claims_table(metrics: Metrics, folder: Path) -> str:
    """Return every claim with its verdict and every check of the papers' arithmetic, as Markdown below one heading."""
    book = scorecard.load_claims(project_root() / "results" / "claims.yaml")
    made = load_manifest(folder / "10_scorecard")
    note = f"Decided from the metrics of `{folder.name}` (profile `{made.get('profile')}`)."
    if (folder / "seeds" / "seeds.json").is_file():
        note += f" {scorecard.METHOD}"
    tables = (scorecard.build(metrics, book), scorecard.checks(book), scorecard.agreement(metrics, book))
    page = scorecard.to_markdown(*tables, "Scorecard", note)
    return re.sub(r"^#", "##", page, flags=re.M).strip()


def filled(text: str, marker: str, content: str) -> str:
    """Return `text` with what stands between `<!-- marker: begin -->` and `<!-- marker: end -->` replaced.

    Raises ValueError where the markers are not there, once each and in this order.
    """
    begin = f"<!-- {marker}: begin -->"
    end = f"<!-- {marker}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the markers {begin} and {end} must stand in the text, once each and in this order")
    return f"{text.split(begin)[0]}{begin}\n{content}\n{end}{text.split(end)[1]}"


def tables() -> dict[Path, str]:
    """Return the two files with their tables as the committed run has them now."""
    root = project_root()
    folder = root / "results" / "blessed"
    metrics = scorecard.read_metrics(folder, folder / "seeds")
    content = {
        "docs/results.md": ("results", f"{headline(folder)}\n\n{results_table(metrics)}"),
        "docs/scorecard.md": ("scorecard", claims_table(metrics, folder)),
    }
    return {root / name: filled((root / name).read_text("utf-8"), *what) for name, what in content.items()}


def write_tables() -> list[str]:
    """Write both files and return their names."""
    found = tables()
    for path, text in found.items():
        atomic_write(path, text)
    return [path.relative_to(project_root()).as_posix() for path in found]
