"""What a page is made of: frozen rows of any judges, joined with the pairs that they judge and with gold labels.

A row finds its pair by id. Notebook 09 puts a set's name before the id (`set:id`), since ids of released sets collide,
and notebook 08 names a pair after two candidates (`prompt#1-4`): both are found too. A pair whose responses have other
lengths than the row recorded is another pair of the same name, and of several that are left none is taken.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omnirepro.data import Judgement, Label, Pair, RowError, read_jsonl, stored, text_of
from omnirepro.data.sources import load
from omnirepro.kit.run.files import RunError, relative, results_root
from omnirepro.kit.run.manifest import load_manifest

SPLITS = ("train", "dev", "test")
PAIR_FILES = ("*/data/pairs_*.jsonl", "*/sample/pairs.jsonl", "*/data/dev", "*/data/test", "*/candidates.jsonl*")


class Inputs(NamedTuple):
    """The files of a page: judgements, pairs (public files and folders too, candidates.jsonl), gold labels."""

    rows: list[Path]
    pairs: list[Path]
    gold: list[Path]


class Said(NamedTuple):
    """One judgement with the file, the judge's name, and the split or benchmark that its model name holds."""

    file: str
    judge: str
    split: str
    row: Judgement


@dataclass
class Judged:
    """Judgements by the id of their pair, in the order of the files; what was found of each pair, and what to say."""

    rows: dict[str, list[Said]]
    pairs: dict[str, Pair]
    labels: dict[str, list[Label]]
    notes: list[str]


def sources_of_run(run: str) -> Inputs:
    """Find the rows, pairs and gold labels of results/<run>; a run with a base also takes the base's pairs and labels.

    Raises `RunError` naming the folder and the remedy where there are no rows.
    """
    folder = results_root() / run
    rows = sorted(folder.glob("*/predictions.jsonl*"))
    if not rows:
        raise RunError(f"no stage of {relative(folder)} holds predictions.jsonl; make them with: make reproduce")
    bases = {load_manifest(path.parent).get("base") for path in rows} - {None, run}
    folders = [folder, *(results_root() / base for base in sorted(bases))]
    pairs = [path for each in folders for pattern in PAIR_FILES for path in sorted(each.glob(pattern))]
    return Inputs(rows, pairs, [path for each in folders for path in sorted(each.glob("*/labels_*.jsonl*"))])


def read(files: Inputs) -> Judged:
    """Read all files and join them.

    Rows whose pair is in no file are kept and counted in `notes`. Raises `RowError` with file, place and remedy on a
    missing file, a row that cannot be read or stands twice, and where no row at all finds its pair.
    """
    if not files.pairs:
        raise RowError("no file of pairs was found; name one with --pairs, or make a run's pairs with: make run N=01")
    rows = _rows([_packed_or_not(path).absolute() for path in files.rows])
    pairs, ambiguous = _pairs(rows, files.pairs)
    judged = Judged(rows, pairs, {}, [])
    for label in (label for path in files.gold for label in read_jsonl(_packed_or_not(path), Label)):
        judged.labels.setdefault(label.pair_id, []).append(label)
    known = {name: name if name in judged.labels else _bare(name) for name in rows}
    judged.labels = {name: judged.labels[key] for name, key in known.items() if key in judged.labels.keys() - ambiguous}
    lost = Counter(said.file for name, found in rows.items() if name not in judged.pairs for said in found)
    judged.notes = [
        f"{count:,} rows of {file} judge pairs that are in none of the files given: they are shown without prompt and "
        "responses. Name the file of these pairs with --pairs."
        for file, count in lost.items()
    ]
    return judged


def _packed_or_not(path: Path) -> Path:
    return found if (found := stored(path)).is_file() else path


def _bare(pair_id: str) -> str:
    return pair_id.partition(":")[2]


def _rows(paths: list[Path]) -> dict[str, list[Said]]:
    """Read judgements by pair. A model `judge/split` or `judge/set` is divided; the slash of a hub id stays."""
    root = os.path.commonpath([path.parent.parent for path in paths])
    rows: dict[str, list[Said]] = {}
    for path in dict.fromkeys(paths):
        file = path.relative_to(root).as_posix().split(".jsonl")[0].removesuffix("/predictions")
        seen = set()
        for row in read_jsonl(path, Judgement):
            judge, _, split = row.model.rpartition("/")
            if not judge or not (split in SPLITS or row.pair_id.startswith(f"{split}:")):
                judge = row.model
                split = ""
            if (key := (row.pair_id, row.order, judge, row.seed)) in seen:
                raise RowError(f"{path}: {row.pair_id} is judged twice by {judge}, order {row.order}; keep one row")
            seen.add(key)
            rows.setdefault(row.pair_id, []).append(Said(file, judge, split, row))
    if not rows:
        raise RowError(f"{', '.join(map(str, paths))}: no judgement in it; judge some pairs first")
    return rows


def _pairs(rows: dict[str, list[Said]], paths: list[Path]) -> tuple[dict[str, Pair], set[str]]:
    """Read pairs; return those that were judged, by the id of their rows, and the ids that different pairs share."""
    from omnirepro.search.referee import Candidates
    from omnirepro.search.tournament import Match

    known: dict[str, dict[tuple, Pair]] = {}  # the pairs of an id, with or without their set, by content
    prompts: dict[str, Candidates] = {}
    for path in paths:
        if not path.exists():
            raise RowError(f"{path}: no such file or folder of pairs; check the path, or restore it")
        if path.name.startswith("candidates."):
            prompts |= {row.id: row for row in read_jsonl(path, Candidates)}
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing media are counted when the page is written
            for pair in load(path, say=lambda text: None):
                parts = (*pair.prompt, *pair.response_a, *pair.response_b)
                content = tuple(part.text or part.sha256 or Path(part.path).name for part in parts)
                for name in (pair.id, f"{(pair.source or path.stem).lower()}:{pair.id}"):
                    known.setdefault(name, {}).setdefault(content, pair)
    found = {}
    for name, judgements in rows.items():
        pairs = list((known.get(name) or known.get(_bare(name)) or {}).values())
        match = re.fullmatch(r"(.+)#(\d+)-(\d+)", name)
        prompt = prompts.get(match[1]) if match and not pairs else None
        if prompt and max(int(match[2]), int(match[3])) < len(prompt.candidates):
            pairs = [prompt.pair(Match(prompt.id, int(match[2]), int(match[3])))]
        recorded = {(said.row.length_a, said.row.length_b) for said in judgements} - {(0, 0)}
        alike = [p for p in pairs if recorded <= {(len(text_of(p.response_a)), len(text_of(p.response_b)))}]
        if len(alike) == 1:
            found[name] = alike[0]
    if not found:
        raise RowError(f"no row judges a pair of {', '.join(map(str, paths))}; name the pairs that were judged")
    return found, {name for name, pairs in known.items() if len(pairs) > 1}
