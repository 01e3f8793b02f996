"""What a page is made of: frozen rows of any judges, joined with the pairs that they judge and with gold labels.

A row finds its pair by id. Notebook 09 puts a set's name before the id (`set:id`), and notebook 08 names a pair after
two candidates (`prompt#1-4`): both are found too. A pair whose responses have other lengths than the row recorded is
another pair of the same name, and is not taken.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omnirepro.data import Judgement, Label, Pair, RowError, open_rows, read_jsonl, stored, text_of
from omnirepro.data.sources import load
from omnirepro.kit.run.files import RunError, relative, results_root
from omnirepro.kit.run.manifest import load_manifest

SPLITS = ("train", "dev", "test")
PAIR_FILES = ("*/data/pairs_*.jsonl", "*/data/dev", "*/data/test", "*/candidates.jsonl", "*/candidates.jsonl.gz")
SAMPLE_FILES = ("*/sample/pairs.jsonl",)  # the few pairs that are kept of a run under version control
GOLD_FILES = ("*/labels_*.jsonl", "*/labels_*.jsonl.gz")


class Inputs(NamedTuple):
    """The files of a page: judgements, pairs (or candidates), gold labels."""

    rows: list[Path]
    pairs: list[Path]
    gold: list[Path]


@dataclass
class Judged:
    """Rows by the pair they judge, in the order of their files; a judge is (file, name, seed)."""

    rows: dict[str, list[tuple[tuple[str, str, int], Judgement]]]
    pairs: dict[str, Pair]  # by the id that the rows use; a pair that was not found is absent
    labels: dict[str, list[Label]]
    sets: dict[str, str]  # split or benchmark of a pair, where the rows' model names tell it
    notes: list[str]


def sources_of_run(run: str) -> Inputs:
    """Find the rows, pairs and gold labels of results/<run>; a run with a base also takes the base's pairs and labels.

    Raises `RunError` naming the folder and the remedy where there are no rows.
    """
    folder = results_root() / run
    rows = _glob([folder], ("*/predictions.jsonl", "*/predictions.jsonl.gz"))
    if not rows:
        raise RunError(f"no stage of {relative(folder)} holds predictions.jsonl; make them with: make reproduce")
    bases = {load_manifest(path.parent).get("base") for path in rows} - {None, run}
    folders = [folder, *(results_root() / base for base in sorted(bases))]
    pairs = _glob(folders, PAIR_FILES) or _glob(folders, SAMPLE_FILES)
    return Inputs(rows, pairs, _glob(folders, GOLD_FILES))


def _glob(folders: Iterable[Path], patterns: Iterable[str]) -> list[Path]:
    return [path for folder in folders for pattern in patterns for path in sorted(folder.glob(pattern))]


def read(files: Inputs) -> Judged:
    """Read all files and join them.

    What does not fit is kept and counted in `notes`. Raises `RowError` with file, place and remedy on a missing file,
    a row that cannot be read or stands twice, and where no row at all finds its pair.
    """
    if not files.pairs:
        raise RowError("no file of pairs was found; name one with --pairs, or make a run's pairs with: make run N=01")
    paths = list(dict.fromkeys(stored(path).absolute() for path in files.rows))
    judged = Judged({}, {}, {}, {}, [])
    for path, source in zip(paths, _names(paths), strict=True):
        seen = set()
        for row in read_jsonl(path, Judgement):
            name, split = _judge_and_set(row)
            if (key := (row.pair_id, row.order, name, row.seed)) in seen:
                raise RowError(
                    f"{path}: {row.pair_id} is judged twice by {name} in order {row.order}; keep one of the rows"
                )
            seen.add(key)
            judged.rows.setdefault(row.pair_id, []).append(((source, name, row.seed), row))
            judged.sets.setdefault(row.pair_id, split)
    if not judged.rows:
        raise RowError(f"{', '.join(map(str, paths))}: no judgement in it; judge some pairs first")
    _find_pairs(judged, files.pairs)
    by_id: dict[str, list[Label]] = {}
    for label in (label for path in files.gold for label in read_jsonl(stored(path), Label)):
        by_id.setdefault(label.pair_id, []).append(label)
    judged.labels = {name: found for name in judged.rows if (found := by_id.get(name) or by_id.get(_bare(name)))}
    return judged


def _names(paths: list[Path]) -> list[str]:
    """Name files by their folder (predictions.jsonl) or their stem, with as many folders as tells them apart."""
    parts = [p.parent.parts if p.name.startswith("predictions.") else (*p.parent.parts, p.stem) for p in paths]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _judge_and_set(row: Judgement) -> tuple[str, str]:
    """Divide the model name `judge/split` or `judge/benchmark`; a slash that belongs to a hub id stays."""
    judge, _, split = row.model.rpartition("/")
    return (judge, split) if judge and (split in SPLITS or row.pair_id.startswith(f"{split}:")) else (row.model, "")


def _bare(pair_id: str) -> str:
    return pair_id.partition(":")[2]


def _find_pairs(judged: Judged, paths: list[Path]) -> None:
    from omnirepro.search.candidates import Candidates
    from omnirepro.search.tournament import Match

    known: dict[str, Pair] = {}
    several: dict[str, Candidates] = {}
    for path in paths:
        if not path.exists():
            raise RowError(f"{path}: no such file or folder of pairs; check the path, or restore it")
        if path.is_file() and _holds_candidates(path):
            several |= {row.id: row for row in read_jsonl(path, Candidates)}
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing media are counted when the page is written
            for pair in load(path, say=lambda text: None):
                known.setdefault(pair.id, pair)
    lost: Counter[str] = Counter()
    for name, rows in judged.rows.items():
        pair = known.get(name) or known.get(_bare(name))
        prompt, _, sides = name.rpartition("#")
        if pair is None and prompt in several and sides.replace("-", "").isdigit():
            pair = several[prompt].pair(Match(prompt, *map(int, sides.split("-"))))
        lengths = {(row.length_a, row.length_b) for _, row in rows} - {(0, 0)}
        if pair and lengths <= {(len(text_of(pair.response_a)), len(text_of(pair.response_b)))}:
            judged.pairs[name] = pair
        else:
            lost.update(source for (source, *_), _ in rows)
    if not judged.pairs:
        raise RowError(f"no row judges a pair of {', '.join(map(str, paths))}; name the pairs that were judged")
    judged.notes += [
        f"{count:,} rows of {source} judge pairs that are in none of the files given: they are shown without prompt "
        "and responses. Name the file of these pairs with --pairs."
        for source, count in lost.items()
    ]


def _holds_candidates(path: Path) -> bool:
    with open_rows(path) as file:
        try:
            first = json.loads(next(file, b"{}"))
        except ValueError:  # whoever reads the pairs says what is wrong with the line
            return False
    return isinstance(first, dict) and "candidates" in first
