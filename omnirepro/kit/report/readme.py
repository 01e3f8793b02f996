"""Tables of docs/results.md and docs/scorecard.md that are written from the committed run's metrics, between markers.

Consumes metrics.json of results/blessed (and of its `seeds/`, where several were taken together, which then count) and
results/claims.yaml; produces Markdown. A row whose metrics the run does not have is left out.
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


class Shown:
    """A metric that a template writes: `{m[03 accuracy]:interval}`."""

    def __init__(self, metric: Mapping[str, Any]):
        self._metric = metric

    def __format__(self, how: str) -> str:
        """Write it as share (85.0 %), whole (85 %), interval (85.0 [83.7, 86.4]), gain (the same, signed), n, seeds."""
        if how == "n":
            return str(self._metric["n"])
        if how == "seeds":
            return _trainings(self._metric["seeds"])
        value, low, high = (_points(self._metric[side]) for side in ("value", "low", "high"))
        if how in ("share", "whole"):
            return f"{value:.{'1' if how == 'share' else '0'}f} %"
        value = round(value, 1) + 0.0  # no negative zero
        return f"{value:{'+' if how == 'gain' else ''}.1f} [{low:.1f}, {high:.1f}]"


class Reader:
    """Metrics by the stage's number and their name, such as `03 accuracy`; an absent one raises KeyError."""

    def __init__(self, metrics: Metrics):
        self._stages = {stage[:2]: found for stage, found in metrics.items()}

    def __getitem__(self, name: str) -> Shown:
        stage, _, key = name.partition(" ")
        return Shown(self._stages[stage][key])


def _points(value: float | None) -> float:
    return float("nan") if value is None else 100 * value


def _trainings(seeds: int | list[int]) -> str:
    if isinstance(seeds, list):
        return f"seeds {', '.join(map(str, seeds))}"
    return "one seed" if seeds == 1 else f"{SPELT.get(seeds, seeds)} seeds from one SFT judge"


SPELT = {2: "two", 3: "three", 4: "four", 5: "five"}
GATES = {"image": "image", "video": "video", "audio": "audio", "text": "text", "views3d": "solids"}
ROWS = (
    (
        "held-out single-fact questions answered by the backbone",
        ", ".join(f"{said} {{m[00 gate_{name}]:share}}" for name, said in GATES.items()),
    ),
    (
        "precision of training labels, every pair / published rule",
        "{m[02 precision_none]:share} / {m[02 precision_published]:share}, "
        "keeping {m[02 coverage_published]:whole} of the pairs",
    ),
    (
        "judgements that are valid under the strict parser: SFT, GRPO",
        "{m[03 valid_share]:share}, {m[04 valid_share]:share}",
    ),
    ("accuracy of the SFT judge, both orders, {m[03 accuracy]:n} test pairs", "{m[03 accuracy]:interval} %"),
    *(
        (
            f"&nbsp;&nbsp;{task}: accuracy; points above longer-wins",
            f"{{m[03 accuracy_{task}]:interval}} %; {{m[03 minus_longer_wins_{task}]:gain}}",
        )
        for task in ("image", "video", "audio", "text")
    ),
    (
        "hard pairs (true margin at most 2 of 10 points) / easy pairs",
        "{m[03 hard]:interval} % / {m[03 easy]:interval} %",
    ),
    ("points above always-A (its own base writes no valid comparison at all)", "{m[03 sft_minus_always_a]:gain}"),
    ("GRPO minus SFT, {m[04 grpo_minus_sft]:seeds}", "{m[04 grpo_minus_sft]:gain} points"),
    (
        "&nbsp;&nbsp;on hard / easy pairs; difference of the two",
        "{m[04 grpo_minus_sft_hard]:gain} / {m[04 grpo_minus_sft_easy]:gain}; {m[04 hard_gain_minus_easy_gain]:gain}",
    ),
    (
        "same verdict in both orders: SFT, GRPO; share of A as displayed: SFT, GRPO",
        "{m[03 consistency]:share}, {m[04 consistency]:share}; {m[03 always_a]:share}, {m[04 always_a]:share}",
    ),
    (
        "nine tasks, criteria in words, {m[05 overall_without_ties]:n} decided pairs: Bradley-Terry; R1; their base",
        "{m[05 overall_without_ties]:interval} %; {m[05 r1_without_ties]:interval} %; "
        "{m[05 base_without_ties]:interval} %",
    ),
    (
        "&nbsp;&nbsp;Bradley-Terry with criteria minus preferences alone; on criteria that it never saw minus others",
        "{m[05 full_minus_preference_only_without_ties]:gain} points; {m[05 bt_unseen_minus_seen]:gain}",
    ),
    (
        "criterion that the meta-reward ranks first minus a random one; minus the scalar model's first",
        "{m[06 ranked_first_minus_random_first]:gain} points; {m[06 ranked_first_minus_margin_first]:gain}",
    ),
    ("DPO on what criteria repair, minus SFT, over nine tasks", "{m[06 dpo_minus_sft]:gain} points"),
    (
        "right answers among 32: the judge's choice; its lead over a random one; over the vote",
        "{m[08 accuracy_grpo_judge_knock_out]:interval} %; {m[08 judge_minus_random]:gain} points; "
        "{m[08 judge_minus_self_consistency]:gain}",
    ),
)


def results_table(metrics: Metrics) -> str:
    """Return the main results as a Markdown table."""
    reader, lines = Reader(metrics), ["| measured on the embedded world | value |", "|---|---|"]
    for label, value in ROWS:
        try:
            lines.append(f"| {label} | {value} |".format(m=reader))
        except KeyError:
            continue
    return "\n".join(lines)


def headline(folder: Path) -> str:
    """Return the sentence above the table: which run it is, its seeds, its machine, and what the intervals cover."""
    made, trace = load_manifest(folder / "10_scorecard"), folder / "seeds" / "seeds.json"
    device = load_manifest(folder / "00_backbone").get("device", "cpu")
    seeds, intervals = "one seed", "95 % intervals clustered by scene"
    if trace.is_file():
        numbers = json.loads(trace.read_text(encoding="utf-8"))["seeds"]
        seeds, intervals = (
            f"means of the seeds {', '.join(map(str, numbers))}",
            "95 % intervals over training and scenes",
        )
    where = f"profile `{made.get('profile')}`, {seeds}, {device}"
    return f"Figures of the committed run `results/blessed` ({where}), {intervals}:"


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
