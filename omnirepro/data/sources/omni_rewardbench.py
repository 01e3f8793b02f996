"""Omni-RewardBench in its released form: read to pairs and written from them without loss (Omni-Reward, Section 2).

A folder holds one JSON list a task, `<task>_preferences.json`, and the media under `media_data`. A row has `prompt`,
`response1`, `response2` (text, or a path), `criteria`, `criteria_preference` ("response1" | "response2" | "tie"), `id`,
and `image`, `video` or `audio` (or the same with `_path`) where the prompt has a medium. Any other column, such as
`model1`, is kept in the pair's `meta`; those of one response are named `_a` and `_b` there, so that they follow a swap.

What the released columns cannot say of a pair of the kit (cluster, source, margin, meta, sha256) goes into one more,
`omnirepro`; rows that were read from the release are written without it. Rows come back equal as JSON values; the
order of columns and the layout of the file may differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError, text_part
from omnirepro.data.files import atomic_write
from omnirepro.data.sources.loading import load
from omnirepro.data.sources.parts import cluster, media
from omnirepro.data.sources.rows import Raw

SOURCE = "Omni-RewardBench"
KIT = "omnirepro"
KIT_FIELDS = ("source", "cluster", "margin", "meta", "sha256")
MEDIA = "media_data"
LAYOUT = {
    "T2T": ("text_to_text", None, "text"),
    "TI2T": ("text_image_to_text", "image", "text"),
    "TV2T": ("text_video_to_text", "video", "text"),
    "TA2T": ("text_audio_to_text", "audio", "text"),
    "T2I": ("text_to_image", None, "image"),
    "T2V": ("text_to_video", None, "video"),
    "T2A": ("text_to_audio", None, "audio"),
    "T23D": ("text_to_3D", None, "views3d"),
    "TI2I": ("text_image_to_image", "image", "image"),
}
FIELDS = ("prompt", "response1", "response2", "criteria", "criteria_preference", "id")
LABELS = {"response1": "A", "response2": "B", "tie": "tie"}
_SIDED = {
    "model1": "model_a",
    "model2": "model_b",
    "response1_path": "response_path_a",
    "response2_path": "response_path_b",
}


def read_bench(folder: str | Path, tasks: Iterable[str] = tuple(LAYOUT)) -> list[Pair]:
    """Read every task's file that the folder holds; media paths come back absolute.

    Raises `RowError` where there is no file at all, or with file, row, field and remedy where a row cannot be used.
    """
    paths = [Path(folder) / f"{LAYOUT[task][0]}_preferences.json" for task in tasks]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise RowError(f"{folder}: no <task>_preferences.json; give the folder that holds the task files")
    read = {path: list(load(path, "omni-rewardbench", say=lambda line: None)) for path in found}
    for path, pairs in read.items():
        if not pairs:
            raise RowError(f"{path}: no rows; download the file again")
    return [pair for pairs in read.values() for pair in pairs]


def write_bench(folder: str | Path, pairs: Iterable[Pair]) -> list[Path]:
    """Write one file a task; media stay where they are and are named relative to `folder`/media_data.

    Raises `RowError` for a pair that the format cannot hold: several turns or media, no criterion or no label.
    """
    folder = Path(folder)
    rows: dict[str, list[str]] = {}
    for pair in pairs:
        rows.setdefault(pair.task, []).append(json.dumps(to_row(pair, folder / MEDIA), ensure_ascii=False))
    return [
        atomic_write(folder / f"{LAYOUT[task][0]}_preferences.json", "[\n" + ",\n".join(rows[task]) + "\n]\n")
        for task in LAYOUT
        if task in rows
    ]


def bench(raw: Raw) -> Iterator[dict[str, Any]]:
    """Read a row whose task is named by its file, folder or hub configuration; embedded media become files."""
    named = {task: raw.file.rfind(name) for task, (name, *_) in LAYOUT.items()}
    task = max(named, key=lambda t: named[t])
    if named[task] < 0:
        raise RowError(f"no task in the name of {raw.file}; keep <task>_preferences.json, or give config=text_to_image")
    _, asked, answered = LAYOUT[task]
    column = next((c for c in (asked, f"{asked}_path") if asked and isinstance(raw.fields.get(c), str | dict)), "")
    if asked and not column:
        raise RowError(f"field {asked}: no path; name the file below {MEDIA}")
    below = replace(raw, root=raw.root / MEDIA)

    def parts(kind: str, name: str) -> list[Part]:
        return [text_part(raw.need(name))] if kind == "text" else media(kind, raw.need(name, dict, str), below)

    prompt = [*(parts(asked, column) if asked else []), *parts("text", "prompt")]
    sides = (parts(answered, "response1"), parts(answered, "response2"))
    extra = {k: v for k, v in raw.fields.items() if k not in (*FIELDS, KIT, column)}
    kit = raw.fields.get(KIT)
    if kit is None:
        shown = prompt[0].sha256 if isinstance(raw.fields.get(column), dict) else raw.fields.get(column)
        meta = {_SIDED.get(k, k): v for k, v in extra.items()}
        if column and column != asked:
            meta["media_column"] = column
        if not isinstance(raw.need("id", str, int), str):
            meta["released_id"] = raw.fields["id"]
        kit = {"source": SOURCE, "cluster": cluster(task, raw.need("prompt"), shown), "meta": meta}
    elif extra:
        raise RowError(f"field {next(iter(extra))}: unknown beside {KIT}; put it into its 'meta'")
    if odd := kit.keys() - KIT_FIELDS:
        raise RowError(f"field {KIT}: {min(odd)} is unknown; it holds {', '.join(KIT_FIELDS)}")
    files = (part for side in (prompt, *sides) for part in side if part.path)
    for part, digest in zip(files, kit.get("sha256", ()), strict=False):
        part.sha256 = digest
    kept = {name: kit.get(name) for name in KIT_FIELDS if name != "sha256"}
    criterion = raw.need("criteria", str, type(None))
    yield {"task": task, "prompt": prompt, "sides": sides, "criterion": criterion, **kept}


def to_row(pair: Pair, media: Path) -> dict[str, Any]:
    """Write one pair as a released row. Raises `RowError` for a pair that the format cannot hold."""
    if pair.task not in LAYOUT:
        raise RowError(f"{pair.id}: {pair.task!r} is no task of the benchmark; use one of {', '.join(LAYOUT)}")
    _, asked, answered = LAYOUT[pair.task]
    shape = [*filter(None, [asked]), "text", answered, answered]
    parts = [*pair.prompt, *pair.response_a, *pair.response_b]
    plain = all(p.role == "user" and p.turn == 0 and not (p.type == "text" and p.path) for p in parts)
    single = len(pair.response_a) == len(pair.response_b) == 1
    if not plain or not single or [p.type for p in parts] != shape:
        asks = ", ".join(shape[:-2])
        raise RowError(f"{pair.id}: a {pair.task} row holds one turn of {asks} and {answered} responses")
    if pair.label is None or pair.criterion is None:
        raise RowError(f"{pair.id}: the released format needs a criterion and a label; add them or leave the pair out")
    released = pair.source == SOURCE
    meta = dict(pair.meta or {}) if released else {}
    column = meta.pop("media_column", asked)
    values = [p.text if p.type == "text" else Path(os.path.relpath(p.path, media)).as_posix() for p in parts]
    row = dict(zip([*filter(None, [column]), "prompt", "response1", "response2"], values, strict=True))
    preference = next(name for name, label in LABELS.items() if label == pair.label)
    row |= {"criteria": pair.criterion, "criteria_preference": preference, "id": meta.pop("released_id", pair.id)}
    if released:
        plain_names = {sided: name for name, sided in _SIDED.items()}
        return row | {plain_names.get(k, k): v for k, v in meta.items()}
    kit = {k: v for k in ("cluster", "source", "margin", "meta") if (v := getattr(pair, k)) is not None}
    digests = [p.sha256 for p in parts if p.path]
    return row | {KIT: kit | ({"sha256": digests} if any(digests) else {})}
