"""The page: judged pairs as compact columns, media within a budget, and one HTML file around both.

Columns hold numbers; texts stand once in a table of strings, so that rationales and answers that repeat cost nothing.
Media follow behind the script, each in a block of its own, so that the list is there before they are read.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import math
import mimetypes
import os
import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from omnirepro.data import DIMENSIONS, Judgement, Part
from omnirepro.judge import rubric
from omnirepro.kit.explorer.inputs import Judged
from omnirepro.kit.run.files import RunError, atomic_write

TYPES = ("text", "image", "video", "audio", "views3d")
ROLES = ("user", "assistant", "system")
SIDE = 512  # px: longest side of an embedded picture
SMALL = 64_000  # bytes up to which a picture is embedded as it is
DEFAULT_TYPES = {"image": "image/png", "views3d": "image/png", "video": "video/mp4", "audio": "audio/wav"}


def page_file(out: str | Path) -> Path:
    """Return where a page is to lie. Raises `RunError` where it is no file that ends in .html, or cannot be written."""
    path = Path(out).absolute()
    if path.suffix not in (".html", ".htm") or path.is_dir():
        raise RunError(f"{path}: a page is a file that ends in .html; name another one with --out")
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RunError(f"{path}: {folder} cannot be written to; name another place with --out")
    return path


def write_page(judged: Judged, out: str | Path, title: str, media_mb: float = 40.0) -> list[str]:
    """Write the page and return what has to be said of it, a sentence each.

    At most `media_mb` megabytes of media are embedded, small files first; the rest is linked relative to the page, and
    what is missing is left out and counted. Raises `RunError` as `page_file` does.
    """
    out = page_file(out)
    parts = [p for pair in judged.pairs.values() for p in (*pair.prompt, *pair.response_a, *pair.response_b)]
    kinds = {part.path: part.type for part in parts if part.path and part.type != "text"}
    media, blocks, said = _embedded(kinds, out.parent, int(media_mb * 1_000_000))
    data = _columns(judged, {path: number for number, path in enumerate(kinds)})
    counted = f"{len(judged.rows):,} pairs, {len(data['rows']['pair']):,} judgements of {len(data['judges'])} judges."
    notes = [counted, *said, *judged.notes]
    data |= {"title": title, "media": media, "notes": notes, "dimensions": DIMENSIONS, "types": TYPES, "roles": ROLES}
    atomic_write(out, _html(title, data, blocks).encode())
    return notes


def _columns(judged: Judged, media: dict[str, int]) -> dict[str, Any]:
    """Return strings, judges, and the columns of pairs and rows; the rows of a pair lie together, judge by judge."""
    strings: dict[str, int] = {}

    def text(value: str | None) -> int | None:
        return None if value is None else strings.setdefault(value, len(strings))

    def content(parts: list[Part] | None) -> list[list[int]] | None:
        return parts and [
            [
                TYPES.index(part.type),
                text(part.text or "") if part.type == "text" else media[part.path],
                ROLES.index(part.role),
                part.turn,
            ]
            for part in parts
        ]

    judges: dict[tuple[str, str, int], int] = {}
    pairs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name, found in judged.rows.items():
        pair, first = judged.pairs.get(name), found[0][1]
        criterion = (pair and pair.criterion) or first.criterion
        about = {"cluster": first.cluster, "source": pair.source} | (pair.meta or {}) if pair else {}
        one = {"id": text(name), "task": text(first.task), "set": text(judged.sets[name]), "criterion": text(criterion)}
        one |= {side: content(getattr(pair, side, None)) for side in ("prompt", "response_a", "response_b")}
        for fact in ("label", "margin"):  # those that the rows were scored by
            one[fact] = next((v for _, r in found if (v := getattr(r, fact)) is not None), getattr(pair, fact, None))
        one["margin"] = _number(one["margin"])
        labels = judged.labels.get(name, ())
        one["gold"] = [
            json.loads(label.model_dump_json(exclude={"pair_id"}, exclude_defaults=True)) for label in labels
        ]
        one["about"] = text(json.dumps(about, ensure_ascii=False)) if about else None
        for judge, row in found:
            said = {"pair": len(pairs), "judge": judges.setdefault(judge, len(judges)), "order": row.order}
            said |= {"status": text(row.status), "verdict": row.verdict, "tokens": row.tokens, "raw": text(row.raw)}
            said |= {"score_a": _number(row.score_a), "score_b": _number(row.score_b), "marks": text(_marks(row))}
            rows.append(said | {"criterion": text(row.criterion) if row.criterion != criterion else None})
        pairs.append(one)
    rows.sort(key=lambda row: (row["pair"], row["judge"], row["order"]))
    columns = {"pairs": _transposed(pairs), "rows": _transposed(rows)}
    return columns | {"judges": [list(judge) for judge in judges], "strings": list(strings)}


def _transposed(table: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in table] for name in table[0]}


def _number(score: float | None) -> float | str | None:
    """Round a score for the page; what JSON has no number for is text."""
    return score if score is None else round(score, 4) if math.isfinite(score) else str(score)


def _marks(row: Judgement) -> str | None:
    """Write the marks of a rationale in the pair's own frame, a letter a dimension: `11011/1-111` (-: not marked)."""
    if row.kind != "rubric" or not any(found := rubric.parse(row.raw).marks.values()):
        return None
    sides = ["".join("01-"[side.get(d, 2)] for d in DIMENSIONS) for side in found]
    return "/".join(sides if row.order == "AB" else sides[::-1])


def _embedded(kinds: dict[str, str], folder: Path, budget: int) -> tuple[list[list[Any]], str, list[str]]:
    """Return an entry a file, [how, MIME type, address, reduced]; the embedded files as blocks; and what to say."""
    sizes = {path: os.path.getsize(path) if os.path.isfile(path) else -1 for path in kinds}
    number = {path: i for i, path in enumerate(kinds)}
    entries: list[list[Any]] = [[] for _ in kinds]
    blocks: list[str] = []
    spent, full = 0, False
    for path in sorted(kinds, key=lambda path: (sizes[path], path)):
        address = quote(Path(os.path.relpath(path, folder)).as_posix())
        if sizes[path] < 0:
            entries[number[path]] = ["missing", "", address, False]
            continue
        content, mime, reduced = (b"", "", False) if full else _content(path, kinds[path])
        block = base64.b64encode(content).decode()
        full = full or spent + len(block) > budget
        entries[number[path]] = ["linked" if full else "embedded", mime, address, reduced and not full]
        if not full:
            spent += len(block)
            blocks.append(f'<script type="text/plain" id="m{number[path]}">{block}</script>')
    count = Counter(entry[0] for entry in entries)
    said = [f"{count['embedded']:,} media files are embedded ({spent / 1e6:.1f} MB)."] if kinds else []
    if count["linked"]:
        said.append(
            f"{count['linked']:,} media files lie beyond the budget of {budget / 1e6:g} MB and are linked: they show "
            "only while page and files stay where they are. Raise the budget with --media-mb."
        )
    if lost := [path for path in kinds if sizes[path] < 0]:
        said.append(f"{len(lost):,} media files are missing and left out, such as {lost[0]}: restore them.")
    return entries, "\n".join(blocks), said


def _content(path: str, kind: str) -> tuple[bytes, str, bool]:
    """Return a file's bytes and MIME type; a large picture is reduced to 512 pixels (True)."""
    content, guessed = Path(path).read_bytes(), mimetypes.guess_type(path)[0] or ""
    mime = guessed if guessed.split("/")[0] == DEFAULT_TYPES[kind].split("/")[0] else DEFAULT_TYPES[kind]
    if kind in ("image", "views3d") and len(content) > SMALL:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB").save(small := io.BytesIO(), "webp", quality=80)
            return small.getvalue(), "image/webp", True
    return content, mime, False


def _html(title: str, data: dict[str, Any], blocks: str) -> str:
    """Fill page.html. Its policy allows the page's own script and style alone, whatever a text in it may hold."""
    here = Path(__file__).parent
    values = {name: (here / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    own = {name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in values.items()}
    values["policy"] = (
        f"default-src 'none'; script-src 'sha256-{own['js']}'; style-src 'sha256-{own['css']}'; "
        "img-src data: file: 'self'; media-src data: file: 'self'"
    )
    coded = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    values |= {"title": escape(title), "data": coded.replace("<", "\\u003c"), "media": blocks}
    page = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], page)
