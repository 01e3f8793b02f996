"""The page: judged pairs, their judgements as columns, media within a budget, and one HTML file around all of it.

A text that stands in many rows is written once. Media follow behind the script, each in a block of its own, so that
the list is there before they are read.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import mimetypes
import os
import re
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from pydantic import ConfigDict, TypeAdapter

from omnirepro.data import DIMENSIONS, Judgement
from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.judge import rubric
from omnirepro.kit.explorer.inputs import Judged
from omnirepro.kit.run.files import RunError, atomic_write

SIDE = 512  # px: longest side of an embedded picture
SMALL = 64_000  # bytes up to which a picture is embedded as it is
DEFAULT_TYPES = {"image": "image/png", "views3d": "image/png", "video": "video/mp4", "audio": "audio/wav"}
FACTS = ("order", "status", "verdict", "score_a", "score_b", "tokens", "raw", "criterion")  # of a row, as they are


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
    data = _data(judged, {path: number for number, path in enumerate(kinds)})
    counted = f"{len(judged.rows):,} pairs, {len(data['rows']['pair']):,} judgements of {len(data['judges'])} judges."
    notes = [counted, *said, *judged.notes]
    data |= {"media": media, "notes": notes, "dimensions": DIMENSIONS, "hard": HARD_MARGIN}
    atomic_write(out, _html(title, data, blocks).encode())
    return notes


def _data(judged: Judged, media: dict[str, int]) -> dict[str, Any]:
    """Return pairs, judges, and the columns of the rows: those of a pair lie together, judge by judge."""
    judges: dict[tuple[str, str, int], int] = {}
    pairs: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    for name, found in judged.rows.items():
        pair = judged.pairs.get(name)
        one = pair.model_dump(exclude_defaults=True) if pair else {"criterion": found[0].row.criterion}
        one |= {"id": name, "task": found[0].row.task, "set": found[0].split, "gold": judged.labels.get(name, [])}
        for part in (part for side in ("prompt", "response_a", "response_b") for part in one.get(side, ())):
            part["path"] = media.get(part.get("path"))
            part.pop("sha256", None)
        for fact in ("label", "margin"):  # those that the rows were scored by
            one[fact] = next((v for s in found if (v := getattr(s.row, fact)) is not None), one.get(fact))
        for said in found:
            judge = judges.setdefault((said.file, said.judge, said.row.seed), len(judges))
            facts = [getattr(said.row, fact) for fact in FACTS]
            rows.append((len(pairs), judge, *facts, _marks(said.row)))
        pairs.append(one)
    rows.sort(key=lambda row: row[:3])
    columns = zip(("pair", "judge", *FACTS, "marks"), zip(*rows, strict=True), strict=True)
    return {"pairs": pairs, "rows": {name: _column(values) for name, values in columns}, "judges": list(judges)}


def _column(values: tuple) -> Any:
    """Return the values of a column; of texts each one once, with its number wherever it stands."""
    if not any(isinstance(value, str) for value in values):
        return values
    table: dict[str | None, int] = {}
    codes = [table.setdefault(value, len(table)) for value in values]
    return {"values": list(table), "codes": codes}


def _marks(row: Judgement) -> str | None:
    """Write the marks of a rationale in the pair's own frame, a sign a dimension: `11011/1-111` (-: not marked)."""
    if row.kind != "rubric" or not any(found := rubric.parse(row.raw).marks.values()):
        return None
    sides = ["".join("01-"[side.get(d, 2)] for d in DIMENSIONS) for side in found]
    return "/".join(sides if row.order == "AB" else sides[::-1])


def _embedded(kinds: dict[str, str], folder: Path, budget: int) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Return an entry a file (how it is shown, its address), the embedded files as blocks, and what is to be said."""
    sizes = {path: os.path.getsize(path) if os.path.isfile(path) else -1 for path in kinds}
    entries = {path: {"href": quote(Path(os.path.relpath(path, folder)).as_posix())} for path in kinds}
    numbers = {path: number for number, path in enumerate(kinds)}
    blocks: list[str] = []
    left = budget
    for path in sorted(kinds, key=lambda path: (sizes[path], path)):
        entry = entries[path]
        entry["how"] = "missing" if sizes[path] < 0 else "linked"
        if sizes[path] < 0 or left < 0:
            continue
        content, mime, reduced = _content(path, kinds[path])
        block = base64.b64encode(content).decode()
        left -= len(block)
        if left >= 0:
            entry |= {"how": "embedded", "mime": mime, "reduced": reduced}
            blocks.append(f'<script type="text/plain" id="m{numbers[path]}">{block}</script>')
    count = Counter(entry["how"] for entry in entries.values())
    lost = min(sizes, key=sizes.get, default="")
    said = {
        "embedded": f"media files are embedded ({sum(map(len, blocks)) / 1e6:.1f} MB).",
        "linked": f"media files lie beyond the budget of {budget / 1e6:g} MB and are linked: they show only while page "
        "and files stay where they are. Raise the budget with --media-mb.",
        "missing": f"media files are missing and left out, such as {lost}: restore it.",
    }
    return list(entries.values()), blocks, [f"{count[how]:,} {words}" for how, words in said.items() if count[how]]


def _content(path: str, kind: str) -> tuple[bytes, str, bool]:
    """Return a file's bytes and MIME type; a large picture is reduced to 512 pixels (True)."""
    content = Path(path).read_bytes()
    guessed = mimetypes.guess_type(path)[0] or ""
    mime = guessed if guessed.split("/")[0] == DEFAULT_TYPES[kind].split("/")[0] else DEFAULT_TYPES[kind]
    if kind in ("image", "views3d") and len(content) > SMALL:
        with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
            image.thumbnail((SIDE, SIDE))
            image.convert("RGB").save(small := io.BytesIO(), "webp", quality=80)
            return small.getvalue(), "image/webp", True
    return content, mime, False


def _html(title: str, data: dict[str, Any], blocks: list[str]) -> str:
    """Fill page.html. Its policy allows the page's own script and style alone, whatever a text in it may hold."""
    here = Path(__file__).parent
    values = {name: (here / f"page.{name}").read_text(encoding="utf-8") for name in ("css", "js")}
    own = {name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for name, text in values.items()}
    values["policy"] = (
        f"default-src 'none'; script-src 'sha256-{own['js']}'; style-src 'sha256-{own['css']}'; "
        "img-src data: file: 'self'; media-src data: file: 'self'"
    )
    coded = TypeAdapter(dict, config=ConfigDict(ser_json_inf_nan="strings")).dump_json(data, exclude_none=True).decode()
    values |= {"title": escape(title), "data": coded.replace("<", "\\u003c"), "media": "\n".join(blocks)}
    page = (here / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], page)
