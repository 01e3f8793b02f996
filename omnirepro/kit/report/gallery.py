"""Pairs as a reader sees them: the picture, film or player inline, the question and both answers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from omnirepro.data import Pair, Part
from omnirepro.kit.run.display import Page, table

_SHAPES = {
    "image": '<img width="112" style="image-rendering:pixelated" src="data:image/{kind};base64,{data}">',
    "views3d": '<img width="168" src="data:image/{kind};base64,{data}">',
    "video": '<video width="112" autoplay loop muted controls src="data:video/{kind};base64,{data}"></video>',
    "audio": '<audio controls style="width:200px" src="data:audio/{kind};base64,{data}"></audio>',
}


EMBEDDED = 2_000_000  # bytes: a larger file is named, so that a page stays one that opens


def gallery(pairs: list[Pair], notes: Mapping[str, str] | None = None) -> Page:
    """Show pairs as a table of prompt, answer A, answer B and a note for each pair id."""
    head = ["prompt", "answer A", "answer B", *(["note"] if notes else [])]
    rows = []
    for pair in pairs:
        cells = [_html(side) for side in (pair.prompt, pair.response_a, pair.response_b)]
        rows.append([*cells, *([escape(notes.get(pair.id, ""))] if notes else [])])
    return table(head, rows)


def one_of_each(pairs: list[Pair]) -> list[Pair]:
    """Return the first pair of every task."""
    return list({p.task: p for p in reversed(pairs)}.values())[::-1]


def _html(parts: list[Part]) -> str:
    """Return the parts of one side as HTML, media embedded but for large ones."""
    shown = []
    for part in parts:
        if part.type == "text":
            shown.append(escape(part.text or "").strip())
            continue
        path = Path(part.path)
        if (size := path.stat().st_size) > EMBEDDED:
            shown.append(escape(f"[{part.type} {path.name}, {size / 1e6:.0f} MB]"))
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        shown.append(_SHAPES[part.type].format(kind=path.suffix[1:].replace("jpg", "jpeg"), data=data))
    return "<br>".join(shown)
