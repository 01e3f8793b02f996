"""Released values to parts: texts, conversations, and media that are a path, embedded bytes or an array.

Embedded media are copied to files named by their content (a judge takes paths, and the released name could tell the
better side); a path is looked for below the data's folder, also without its first folders, because releases carry the
paths of the machine that wrote them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.rows import Raw

Medium = Literal["image", "video", "audio", "views3d"]
_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"GIF8", "gif"), (b"RIFF", "wav"), (b"fLaC", "flac"))


def text(value: str, role: str = "user", turn: int = 0) -> Part:
    return Part(type="text", text=value, role=role, turn=turn)


def answer(value: str) -> list[Part]:
    """Return a response of one text."""
    return [text(value)]


def conversation(messages: Sequence[Any], role: str = "role", content: str = "content") -> list[Part]:
    """Return the parts of a chat; a turn begins with a user's message. Raises `RowError` on an unknown role."""
    roles = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
    parts, turn = [], -1
    for message in messages:
        if not isinstance(message, dict) or message.get(role) not in roles or not isinstance(message.get(content), str):
            raise RowError(f"a message needs {role} ({', '.join(roles)}) and a text in {content}, not {message!r:.80}")
        who = roles[message[role]]
        turn += who == "user"
        parts.append(text(message[content], who, max(turn, 0)))
    return parts


def medium(kind: Medium, value: Any, raw: Raw) -> Part:
    """Return the part of one medium. Raises `RowError` where the value is neither path, bytes nor samples."""
    if isinstance(value, dict) and value.get("bytes"):
        return _stored(kind, value["bytes"], raw.media)
    if isinstance(value, dict) and value.get("array") is not None:
        return _stored(kind, _wave(value["array"], int(value["sampling_rate"])), raw.media)
    path = value.get("path") if isinstance(value, dict) else value
    if isinstance(path, str) and path:
        return Part(type=kind, path=locate(path, raw.root))
    raise RowError(f"{kind}: neither path, bytes nor samples but {type(value).__name__}; download the media as well")


def media(kind: Medium, values: Any, raw: Raw) -> list[Part]:
    """Return the parts of one medium or a list of them."""
    return [medium(kind, value, raw) for value in (values if isinstance(values, list) else [values])]


def released(**values: Any) -> dict[str, str]:
    """Return the released names of embedded media: what the copies, named by content, no longer say."""
    return {k: v["path"] for k, v in values.items() if isinstance(v, dict) and v.get("path")}


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


def _stored(kind: Medium, data: bytes, folder: Path) -> Part:
    digest = hashlib.sha256(data).hexdigest()
    path = folder / digest[:2] / f"{digest[:24]}.{_suffix(kind, data)}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)
    return Part(type=kind, path=os.path.abspath(path), sha256=digest)


def _suffix(kind: Medium, data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    known = next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), None)
    return known or {"image": "img", "views3d": "img", "video": "mp4", "audio": "mp3"}[kind]


def _wave(samples: Any, rate: int) -> bytes:
    import numpy as np
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.asarray(samples, dtype=np.float32).T, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()
