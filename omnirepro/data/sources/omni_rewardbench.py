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

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError

SOURCE, KIT, MEDIA = "Omni-RewardBench", "omnirepro", "media_data"
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
_PREFERENCES = {label: name for name, label in LABELS.items()}
_SIDED = {
    "model1": "model_a", "model2": "model_b", "response1_path": "response_path_a", "response2_path": "response_path_b",
}  # fmt: skip
_PLAIN = {name: key for key, name in _SIDED.items()}


def read_bench(folder: str | Path, tasks: Iterable[str] = tuple(LAYOUT)) -> list[Pair]:
    """Read every task's file that the folder holds; media paths come back absolute.

    Raises `RowError` where there is no file at all, or with file, row, field and remedy where a row cannot be used.
    """
    folder = Path(folder)
    found = {t: p for t in tasks if (p := folder / f"{LAYOUT[t][0]}_preferences.json").is_file()}
    if not found:
        raise RowError(f"{folder}: no <task>_preferences.json; give the folder that holds the task files")
    return [pair for task, path in found.items() for pair in _read_task(path, task, folder / MEDIA)]


def write_bench(folder: str | Path, pairs: Iterable[Pair]) -> list[Path]:
    """Write one file a task; media stay where they are and are named relative to `folder`/media_data.

    Raises `RowError` for a pair that the format cannot hold: several turns or media, no criterion or no label.
    """
    folder, rows = Path(folder), {}
    for pair in pairs:
        rows.setdefault(pair.task, []).append(to_row(pair, folder / MEDIA))
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"{LAYOUT[task][0]}_preferences.json", rows[task]) for task in LAYOUT if task in rows]


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    temporary = path.with_name(f".{path.name}.part")
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return temporary.replace(path)


def _read_task(path: Path, task: str, media: Path) -> list[Pair]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RowError(f"{path}: not JSON ({error}); download the file again") from None
    if not isinstance(rows, list):
        raise RowError(f"{path}: not a list of rows; download the file again")
    pairs, seen = [], Counter()
    for number, row in enumerate(rows, 1):
        try:
            pair = from_row(row, task, media)
        except (RowError, TypeError, ValueError) as error:
            raise RowError(f"{path}: row {number}: {error}") from None
        seen[pair.id] += 1
        pairs.append(_renamed(pair, row["id"], seen[pair.id]))
    return pairs


def _renamed(pair: Pair, released: Any, times: int) -> Pair:
    """Number the rows that share an id, as those of one pair under several criteria may; keep the released id."""
    name = pair.id if times == 1 else f"{pair.id}#{times}"
    meta = pair.meta if name == released else (pair.meta or {}) | {"released_id": released}
    return pair.model_copy(update={"id": name, "meta": meta})


def from_row(row: dict[str, Any], task: str, media: Path) -> Pair:
    """Make the pair of one released row. Raises `RowError` naming field and remedy."""
    _, asked, answered = LAYOUT[task]
    if missing := [f for f in FIELDS if f not in row]:
        raise RowError(f"field {missing[0]} is missing; a row has: {', '.join(FIELDS)}")
    if row["criteria_preference"] not in LABELS:
        raise RowError(f"field criteria_preference: {row['criteria_preference']!r}; use one of {', '.join(LABELS)}")
    column = next((c for c in (asked, f"{asked}_path") if asked and isinstance(row.get(c), str)), None)
    if asked and not column:
        raise RowError(f"field {asked}: no path; name the file below {MEDIA}")
    extra = {k: v for k, v in row.items() if k not in (*FIELDS, column)}
    kit = extra.pop(KIT, None)
    if kit is not None and extra:
        raise RowError(f"field {next(iter(extra))}: unknown beside {KIT}; put it into its 'meta'")
    kit = kit and dict(kit)
    digests = iter(kit.pop("sha256", []) if kit else [])
    rest = {_SIDED.get(k, k): v for k, v in extra.items()} | ({"media_column": column} if column != asked else {})
    kit = {"source": SOURCE, "cluster": _cluster(task, row, column), "meta": rest or None} if kit is None else kit
    return Pair(
        id=str(row["id"]), task=task,
        prompt=[_part(kind, row[c], media, digests) for kind, c in ((asked, column), ("text", "prompt")) if kind],
        response_a=[_part(answered, row["response1"], media, digests)],
        response_b=[_part(answered, row["response2"], media, digests)],
        criterion=row["criteria"], label=LABELS[row["criteria_preference"]],
        **kit,
    )  # fmt: skip


def _part(kind: str, value: str, media: Path, digests: Iterator[str | None]) -> Part:
    if kind == "text":
        return Part(type="text", text=value)
    return Part(type=kind, path=os.path.abspath(media / value), sha256=next(digests, None))


def _cluster(task: str, row: dict[str, Any], column: str | None) -> str:
    """Group the rows that share a prompt: criteria and responses to it are not independent."""
    return hashlib.sha256(json.dumps([task, row["prompt"], row.get(column or "")]).encode()).hexdigest()[:12]


def to_row(pair: Pair, media: Path) -> dict[str, Any]:
    """Write one pair as a released row. Raises `RowError` for a pair that the format cannot hold."""
    if pair.task not in LAYOUT:
        raise RowError(f"{pair.id}: {pair.task!r} is no task of the benchmark; use one of {', '.join(LAYOUT)}")
    _, asked, answered = LAYOUT[pair.task]
    shape = ([*([asked] if asked else []), "text"], [answered], [answered])
    parts = (pair.prompt, pair.response_a, pair.response_b)
    plain = all(p.role == "user" and p.turn == 0 and not (p.type == "text" and p.path) for side in parts for p in side)
    if not plain or tuple([p.type for p in side] for side in parts) != shape:
        raise RowError(f"{pair.id}: a {pair.task} row holds one turn of {', '.join(shape[0])} and {answered} responses")
    if pair.label is None or pair.criterion is None:
        raise RowError(f"{pair.id}: the released format needs a criterion and a label; add them or leave the pair out")
    meta = dict(pair.meta or {}) if pair.source == SOURCE else {}
    column, released = meta.pop("media_column", asked), meta.pop("released_id", pair.id)
    values = [p.text if p.type == "text" else _relative(p.path, media) for side in parts for p in side]
    row = dict(zip([*([column] if asked else []), "prompt", "response1", "response2"], values, strict=True))
    row |= {"criteria": pair.criterion, "criteria_preference": _PREFERENCES[pair.label], "id": released}
    row |= {_PLAIN.get(k, k): v for k, v in meta.items()}
    return row if pair.source == SOURCE else row | _kit(pair, [p for side in parts for p in side if p.path])


def _kit(pair: Pair, files: list[Part]) -> dict[str, Any]:
    kept = {k: getattr(pair, k) for k in ("cluster", "source", "margin", "meta") if getattr(pair, k) is not None}
    return {KIT: kept | ({"sha256": [p.sha256 for p in files]} if any(p.sha256 for p in files) else {})}


def _relative(path: str | None, media: Path) -> str:
    return Path(os.path.relpath(path, media)).as_posix()
