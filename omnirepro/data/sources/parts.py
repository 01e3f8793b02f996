"""Released values to parts: conversations, and media that are a path, embedded bytes or an array.

Embedded media are copied to files named by their content (a judge takes paths, and the released name could tell the
better side); where a path is looked for stands in `data.paths`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError, text_part
from omnirepro.data.files import RunError, atomic_write
from omnirepro.data.paths import locate
from omnirepro.data.sources.rows import Raw

_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"GIF8", "gif"), (b"RIFF", "wav"), (b"fLaC", "flac"))
_SUFFIX = {"image": "img", "views3d": "img", "video": "mp4", "audio": "mp3"}
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "tool", "observation", "function"), "user"),
    **dict.fromkeys(("assistant", "gpt", "function_call"), "assistant"),
}
_TOOLS = {"tool": "tool result", "observation": "tool result", "function": "tool result", "function_call": "tool call"}
_COLUMNS = {"image": ("images", "image"), "video": ("videos", "video"), "audio": ("audios", "audio")}
MARKS = re.compile(r"<(image|video|audio)>")


class Shown:
    """The media of a row, put where its texts have `<image>`, `<video>`, `<audio>` or an empty piece of that type."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.left: dict[str, list[Part]] = {}
        for kind, names in _COLUMNS.items():
            held = next((raw.fields[name] for name in names if raw.fields.get(name)), [])
            self.left[kind] = media(kind, held, raw) if held else []
        self.marked = {kind for kind, parts in self.left.items() if parts}
        self.placed: set[str] = set()

    def text(self, text: str) -> list[Part]:
        """Return the parts of a text: marks are media where the row has such, else they are letters."""
        parts: list[Part] = []
        at = 0
        for mark in MARKS.finditer(text):
            if mark[1] in self.marked:
                parts += [*_worded(text[at : mark.start()]), self.next(mark[1])]
                at = mark.end()
        return [*parts, *_worded(text[at:])] or [text_part(text)]

    def next(self, kind: str) -> Part:
        """Return the next medium of a kind. Raises `RowError` where the row names fewer than its texts show."""
        if not self.left.get(kind):
            raise RowError(f"field {kind}s: fewer files than the texts show; restore the list or take a mark out")
        self.placed.add(kind)
        return self.left[kind].pop(0)

    def rest(self) -> list[Part]:
        """Return the media that no text shows. Raises `RowError` where the texts show some of a kind and not all."""
        for kind in self.placed:
            if self.left[kind]:
                raise RowError(
                    f"field {kind}s: {len(self.left[kind])} files more than the texts show; mark their places"
                )
        return [part for parts in self.left.values() for part in parts]


def _worded(text: str) -> list[Part]:
    return [text_part(text)] if text.strip() else []


def conversation(messages: Any, shown: Shown | None = None) -> list[Part]:
    """Return the parts of a chat; a turn begins with a user's message, and tools speak in words that name them.

    Messages have role and content or from and value; content is a text or a list of pieces. Raises `RowError` on an
    unknown role or content.
    """
    if isinstance(messages, dict) and all(isinstance(column, list) for column in messages.values()):
        messages = [dict(zip(messages, cells, strict=True)) for cells in zip(*messages.values(), strict=True)]
    parts: list[Part] = []
    turn = -1
    for message in messages if isinstance(messages, list) else [messages]:
        name = (message.get("role") or message.get("from")) if isinstance(message, dict) else None
        if not isinstance(name, str) or name not in _ROLES:
            raise RowError(f"a message needs role ({', '.join(_ROLES)}) and a text in content, not {message!r:.80}")
        turn += _ROLES[name] == "user"
        speaker = {"role": _ROLES[name], "turn": max(turn, 0)}
        if parts and {"role": parts[-1].role, "turn": parts[-1].turn} == speaker:  # a second message of one turn
            parts.append(text_part("\n", **speaker))
        parts += [part.model_copy(update=speaker) for part in _said(message, name, shown)]
    return parts


def _said(message: dict[str, Any], name: str, shown: Shown | None) -> list[Part]:
    """Return what one message says, without speaker: its pieces in their order, then the tools that it calls."""
    content = message.get("content", message.get("value"))
    if name in _TOOLS:
        said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        called = f" of {message['name']}" if message.get("name") else ""
        return [text_part(f"[{_TOOLS[name]}{called}] {said}")]
    calls = [f"[tool call] {json.dumps(call, ensure_ascii=False)}" for call in message.get("tool_calls") or ()]
    pieces = content if isinstance(content, list) else [] if calls and not content else [content]
    parts: list[Part] = []
    for piece in pieces:
        parts += _piece({"type": "text", "text": piece} if isinstance(piece, str) else piece, shown)
    if not pieces and not calls:
        raise RowError(f"a message of {name} says nothing; remove the row")
    return [*parts, *(text_part("\n" * bool(parts) + call) for call in calls)]


def _piece(piece: Any, shown: Shown | None) -> list[Part]:
    """Return the parts of one piece of a message: a text, or a medium that it names or that is the row's next."""
    if not isinstance(piece, dict) or not isinstance(piece.get("type"), str):
        raise RowError(f"a message needs role ({', '.join(_ROLES)}) and a text in content, not {piece!r:.80}")
    if isinstance(text := piece.get("text"), str) and piece["type"] in ("text", "input_text", "output_text"):
        return shown.text(text) if shown else [text_part(text)]
    kind = next((kind for kind in _COLUMNS if kind in piece["type"]), "")
    if not kind or shown is None:
        raise RowError(f"a piece of type {piece['type']} in a message is not read; write text, image, video or audio")
    keys = (piece["type"], kind, "path", "url")
    value = next((piece[key] for key in keys if piece.get(key)), None)
    if isinstance(value, dict) and "url" in value:
        value = value["url"]
    return media(kind, value, shown.raw) if value else [shown.next(kind)]


def parted(a: list[Part], b: list[Part]) -> dict[str, Any]:
    """Split two dialogues into their common prompt and two responses. Raises `RowError` where nothing is common."""
    same = len([*takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))])
    same = min(same, len(a) - 1, len(b) - 1)
    while same > 0 and not (a[same].role == b[same].role == "assistant"):
        same -= 1
    if same <= 0:
        raise RowError("field chosen and rejected: no common prompt before an assistant's message; remove the row")
    sides = tuple([text_part(x[-1].text or "")] if len(x) == same + 1 else x[same:] for x in (a, b))
    return {"prompt": a[:same], "sides": sides}


def media(kind: str, values: Any, raw: Raw) -> list[Part]:
    """Return the parts of one medium or a list. Raises `RowError` where one is neither path, bytes nor samples."""
    parts = []
    for value in values if isinstance(values, list) else [values]:
        held = value if isinstance(value, dict) else {"path": value}
        data = held.get("bytes")
        if not data and held.get("array") is not None:
            import numpy as np
            from scipy.io import wavfile

            file = io.BytesIO()  # without a time of writing, so that equal samples make equal files
            wavfile.write(file, int(held["sampling_rate"]), np.asarray(held["array"], dtype=np.float32).T)
            data = file.getvalue()
        path = held.get("path")
        if data:
            parts.append(_stored(kind, data, raw.media))
        elif isinstance(path, str) and path:
            parts.append(Part(type=kind, path=locate(path, raw.root, *raw.above)))
        else:
            found = type(value).__name__
            raise RowError(f"{kind}: neither path, bytes nor samples but {found}; download the media as well")
    return parts


def _stored(kind: str, data: bytes, folder: Path) -> Part:
    """Return the part of a file that holds embedded bytes, named by their content and, where known, their format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        suffix = "webp"
    else:
        suffix = next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), _SUFFIX[kind])
    digest = hashlib.sha256(data).hexdigest()
    path = folder / digest[:2] / f"{digest[:24]}.{suffix}"
    if not path.is_file():
        try:
            atomic_write(path, data, shared=True)
        except OSError as error:
            why = f"embedded media cannot be kept there ({error.strerror})"
            raise RunError(f"{folder}: {why}; name a folder with OMNIREPRO_MEDIA") from None
    return Part(type=kind, path=os.path.abspath(path), sha256=digest)


def cluster(*values: Any) -> str:
    """Return a short name of what is shared by pairs that are not independent: their prompt, picture or question."""
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, default=str).encode()).hexdigest()[:12]


def shared(parts: Iterable[Part]) -> str:
    """Return the cluster of a prompt: its texts and the content or path of its media."""
    return cluster([p.text if p.type == "text" else p.sha256 or p.path for p in parts])


def group(pair: Pair) -> str:
    """Return the cluster of a pair; unlike `cluster_id`, also where the prompt's media are missing."""
    return pair.cluster or shared(pair.prompt)


def sample_clusters(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Return about `limit` pairs (0: all) in their order: whole clusters, drawn by the hash of their names."""
    counts = Counter(map(group, pairs))
    kept: set[str] = set()
    total = 0
    for name in sorted(counts, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if limit and total >= limit:
            break
        kept.add(name)
        total += counts[name]
    return [pair for pair in pairs if group(pair) in kept]
