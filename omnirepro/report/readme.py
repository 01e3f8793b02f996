"""Tables of README.md and results/README.md that are written from the committed run's metrics, between two markers.

Consumes metrics.json of results/blessed (and of its `seeds/`, where several were taken together, which then count) and
results/claims.yaml; produces Markdown. A row whose metrics the run does not have is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnirepro import scorecard
from omnirepro.run import atomic_write, project_root
from omnirepro.run.manifest import load_manifest

Metrics = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Reader:
    """Metrics in words; a name is `03 accuracy`: the stage's number and the metric. Absent ones raise KeyError."""

    def __init__(self, metrics: Metrics):
        self._stages = {stage[:2]: found for stage, found in metrics.items()}

    def metric(self, name: str) -> Mapping[str, Any]:
        """Return a metric, or raise KeyError."""
        stage, _, key = name.partition(" ")
        return self._stages[stage][key]

    def share(self, name: str, digits: int = 1) -> str:
        """Return a value as per cent: `99.6 %`."""
        return f"{100 * self.metric(name)['value']:.{digits}f} %"

    def interval(self, name: str, sign: bool = False) -> str:
        """Return a value with its interval, in points: `85.0 [83.7, 86.4]`, with a sign before the value if asked."""
        value, low, high = (100 * self.metric(name)[side] for side in ("value", "low", "high"))
        return f"{value:{'+' if sign else ''}.1f} [{low:.1f}, {high:.1f}]"

    def trainings(self, name: str) -> str:
        """Return how many trainings a metric comes from: `three seeds from one SFT judge`, `seeds 0, 1, 2`."""
        seeds = self.metric(name)["seeds"]
        if isinstance(seeds, list):
            return f"seeds {', '.join(map(str, seeds))}"
        return "one seed" if seeds == 1 else f"{_spelt(seeds)} seeds from one SFT judge"


def _spelt(number: int) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five"}.get(number, str(number))


GATES = {"image": "image", "video": "video", "audio": "audio", "text": "text", "views3d": "solids"}
ROWS: tuple[tuple[Callable[[Reader], str], Callable[[Reader], str]], ...] = (
    (
        lambda m: "held-out single-fact questions answered by the backbone",
        lambda m: ", ".join(f"{said} {m.share(f'00 gate_{name}')}" for name, said in GATES.items()),
    ),
    (
        lambda m: "precision of training labels, every pair / published rule",
        lambda m: f"{m.share('02 precision_none')} / {m.share('02 precision_published')}, "
        f"keeping {m.share('02 coverage_published', 0)} of the pairs",
    ),
    (
        lambda m: "judgements that are valid under the strict parser: SFT, GRPO",
        lambda m: f"{m.share('03 valid_share')}, {m.share('04 valid_share')}",
    ),
    (
        lambda m: f"accuracy of the SFT judge, both orders, {m.metric('03 accuracy')['n']} test pairs",
        lambda m: f"{m.interval('03 accuracy')} %",
    ),
    *(
        (
            lambda m, task=task: f"&nbsp;&nbsp;{task}: accuracy; points above longer-wins",
            lambda m, task=task: f"{m.interval(f'03 accuracy_{task}')} %; "
            f"{m.interval(f'03 minus_longer_wins_{task}', True)}",
        )
        for task in ("image", "video", "audio", "text")
    ),
    (
        lambda m: "hard pairs (true margin at most 2 of 10 points) / easy pairs",
        lambda m: f"{m.interval('03 hard')} % / {m.interval('03 easy')} %",
    ),
    (
        lambda m: "points above always-A (its own base writes no valid comparison at all)",
        lambda m: m.interval("03 sft_minus_always_a", True),
    ),
    (
        lambda m: f"GRPO minus SFT, {m.trainings('04 grpo_minus_sft')}",
        lambda m: f"{m.interval('04 grpo_minus_sft', True)} points",
    ),
    (
        lambda m: "&nbsp;&nbsp;on hard / easy pairs; difference of the two",
        lambda m: f"{m.interval('04 grpo_minus_sft_hard', True)} / {m.interval('04 grpo_minus_sft_easy', True)}; "
        f"{m.interval('04 hard_gain_minus_easy_gain', True)}",
    ),
    (
        lambda m: "same verdict in both orders: SFT, GRPO; share of A as displayed: SFT, GRPO",
        lambda m: f"{m.share('03 consistency')}, {m.share('04 consistency')}; "
        f"{m.share('03 always_a')}, {m.share('04 always_a')}",
    ),
)


def results_table(metrics: Metrics) -> str:
    """Return the main results as a Markdown table."""
    reader, lines = Reader(metrics), ["| measured on the embedded world | value |", "|---|---|"]
    for label, value in ROWS:
        try:
            lines.append(f"| {label(reader)} | {value(reader)} |")
        except KeyError:
            continue
    return "\n".join(lines)


def claims_table(metrics: Metrics, folder: Path) -> str:
    """Return every claim with its verdict and every check of the papers' arithmetic, as Markdown below one heading."""
    book = scorecard.load_claims(project_root() / "results" / "claims.yaml")
    made = load_manifest(folder / "10_scorecard")
    note = f"Decided from the metrics of `{folder.name}` (profile `{made.get('profile')}`)."
    if (folder / "seeds" / "seeds.json").is_file():
        note += f" {scorecard.METHOD}"
    page = scorecard.to_markdown(scorecard.build(metrics, book), scorecard.checks(book), "Scorecard", note)
    return re.sub(r"^#", "##", page, flags=re.M).strip()


def filled(text: str, marker: str, content: str) -> str:
    """Return `text` with what stands between `<!-- marker: begin -->` and `<!-- marker: end -->` replaced.

    Raises ValueError where the markers are not there, once each and in this order.
    """
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the markers {begin} and {end} must stand in the text, once each and in this order")
    head, tail = text.split(begin)[0], text.split(end)[1]
    return f"{head}{begin}\n{content}\n{end}{tail}"


def tables() -> dict[Path, str]:
    """Return the two files with their tables as the committed run has them now."""
    root = project_root()
    folder = root / "results" / "blessed"
    metrics = scorecard.read_metrics(folder, folder / "seeds")
    content = {"README.md": ("results", results_table(metrics))}
    content["results/README.md"] = ("scorecard", claims_table(metrics, folder))
    return {root / name: filled((root / name).read_text("utf-8"), *what) for name, what in content.items()}


def write_tables() -> list[str]:
    """Write both files and return their names."""
    found = tables()
    for path, text in found.items():
        atomic_write(path, text)
    return [path.relative_to(project_root()).as_posix() for path in found]
