"""The kit's own pairs, and its flat relatives: texts as plain strings, media in one list.

Flat rows are those of derived sets such as a codec listening test or checked answers to picture problems: `prompt`,
`response_a`, `response_b` (text or one medium), `label`, `media` of the prompt, `meta`. Pairs about one medium are one
cluster, by which intervals are drawn. A listening test's signed mean difference (0-100) is stored by side, so that a
swap keeps it right, and its size, a tenth of it, is the margin in points of the 0-10 scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnirepro.data import Pair, text_part
from omnirepro.data.jsonl import settle
from omnirepro.data.sources.generic import preferred
from omnirepro.data.sources.parts import cluster, media
from omnirepro.data.sources.rows import Raw


def own(raw: Raw) -> Iterator[Pair]:
    """Read a pair as `write_jsonl` writes it."""
    fields = _filled(raw.fields)
    label, soft = preferred(fields.get("label"))
    pair = Pair.model_validate(fields | {"label": label})
    pair.meta = soft | (pair.meta or {}) or None
    for part in (*pair.prompt, *pair.response_a, *pair.response_b):
        settle(part, raw.root, *raw.above)
    yield pair


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are filled, also of parts: a table has null where another row says something."""
    filled = {name: value for name, value in fields.items() if value is not None}
    for name in ("prompt", "response_a", "response_b"):
        if isinstance(parts := filled.get(name), list):
            filled[name] = [_filled(part) if isinstance(part, dict) else part for part in parts]
    return filled


def flat(raw: Raw) -> Iterator[dict[str, Any]]:
    """Read texts as plain strings and the prompt's media as one list; see the module."""
    shown = raw.need("media", list)
    meta = raw.need("meta", dict) | {"media_roles": [medium.get("role") for medium in shown]}
    difference = meta.pop("mean_diff", None)
    if difference is not None:
        meta |= {"mean_diff_a": difference, "mean_diff_b": -difference}
    sides = [raw.need(name, str, dict) for name in ("response_a", "response_b")]
    yield {
        "task": raw.need("task"),
        "prompt": [*(p for m in shown for p in media(m["type"], m["path"], raw)), text_part(raw.need("prompt"))],
        "sides": [[text_part(s)] if isinstance(s, str) else media(s["type"], s["path"], raw) for s in sides],
        "margin": None if difference is None else abs(difference) / 10,
        "source": raw.need("source"),
        "cluster": cluster([medium["path"] for medium in shown] or raw.fields["prompt"]),
        "meta": meta,
    }
