"""Released values to parts: conversations, and media that are a path, embedded bytes or an array.

Embedded media are copied to files named by their content (a judge takes paths, and the released name could tell the
better side); a path is looked for below the data's folder, also without its first folders, because releases carry the
paths of the machine that wrote them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError, text_part
from omnirepro.data.files import atomic_write
from omnirepro.data.sources.rows import Raw

_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"GIF8", "gif"), (b"RIFF", "wav"), (b"fLaC", "flac"))
_SUFFIX = {"image": "img", "views3d": "img", "video": "mp4", "audio": "mp3"}
_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def conversation(messages: Sequence[Any]) -> list[Part]:
    """Return the parts of a chat; a turn begins with a user's message. Raises `RowError` on an unknown role."""
    parts: list[Part] = []
    turn = -1
    for message in messages:
        known = isinstance(message, dict) and message.get("role") in _ROLES
        if not known or not isinstance(message.get("content"), str):
            raise RowError(f"a message needs role ({', '.join(_ROLES)}) and a text in content, not {message!r:.80}")
        role = _ROLES[message["role"]]
        turn += role == "user"
        parts.append(text_part(message["content"], role, max(turn, 0)))
    return parts


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
            parts.append(Part(type=kind, path=locate(path, raw.root)))
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
        atomic_write(path, data, shared=True)
    return Part(type=kind, path=os.path.abspath(path), sha256=digest)


def locate(path: str, root: Path) -> str:
    """Return where a released path lies: the longest tail of it that exists below `root`, else as if under it."""
    names = [name for name in path.split("://")[-1].replace("\\", "/").split("/") if name not in ("", ".")]
    if path.startswith("/") and Path(path).exists():
        return path
    tails = (Path(root, *names[i:]) for i in range(len(names)))
    return os.path.abspath(next((tail for tail in tails if tail.exists()), Path(root, *names)))


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
