"""Pairs as a reader sees them, picture, film or player inline, and as a model that is trained on them reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

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


def loss_page(processor: Any, example: Any) -> Page:
    """Show an encoded conversation run by run: its text, its number of tokens, and whether loss is taken on them.

    A medium's placeholders are one run. `processor` and `example`: those of `models.processing`.
    """
    media = set(processor.placeholder_ids.values())

    def alike(at: tuple[int, int]) -> tuple[int | None, bool]:
        token, label = at
        return token if token in media else None, label != -100

    rows = []
    for (placeholder, learned), run in groupby(zip(example.ids, example.labels, strict=True), alike):
        ids = [token for token, _ in run]
        text = processor.tokenizer.decode(ids if placeholder is None else ids[:1])
        told = f'<span style="white-space:pre-wrap">{escape(text)}</span>'
        rows.append([str(len(ids)), "yes" if learned else "", told])
    return table(["tokens", "loss", "text"], rows)


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
