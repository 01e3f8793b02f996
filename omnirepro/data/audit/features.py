"""What a judge that understands nothing could look at: one number a side, or the names of a side's files.

A feature is read from the responses alone, so that exchanging the sides exchanges its values. Media are opened for
their headers only; a file that is missing or broken has no value, and its pair is left out of that feature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from omnirepro.data import Part

Feature = Callable[[Sequence[Part]], float | None]
_WORDS = re.compile(r"[^\W_]+")


def length(parts: Sequence[Part]) -> float | None:
    """Count the characters of the texts; None where there is no text."""
    texts = [p.text or "" for p in parts if p.type == "text"]
    return float(sum(map(len, texts))) if texts else None


def size(parts: Sequence[Part]) -> float | None:
    """Sum the bytes of the media."""
    try:
        return _summed(parts, lambda path, kind: float(Path(path).stat().st_size))
    except OSError:
        return None


def pixels(parts: Sequence[Part]) -> float | None:
    """Sum the pixels of pictures and of a film's frame."""
    return _summed(parts, lambda path, kind: _measures(path, kind)[0])


def frames(parts: Sequence[Part]) -> float | None:
    """Count frames: one a picture, those of a film, samples of a sound."""
    return _summed(parts, lambda path, kind: _measures(path, kind)[1])


def names(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the words of a side's file and folder names, the last two folders of each path."""
    paths = [Path(p.path) for p in parts if p.type != "text" and p.path]
    return tuple(sorted({w.lower() for p in paths for name in p.parts[-3:] for w in _WORDS.findall(name)}))


FEATURES: dict[str, tuple[str, Feature]] = {
    "length": ("the longer response", length),
    "media size": ("the larger file", size),
    "media pixels": ("the side with more pixels", pixels),
    "frame count": ("the side with more frames", frames),
}


def _summed(parts: Sequence[Part], measure: Callable[[str, str], float | None]) -> float | None:
    values = [measure(p.path, p.type) for p in parts if p.type != "text" and p.path]
    return None if not values or None in values else float(sum(v for v in values if v is not None))


@lru_cache(maxsize=65536)
def _measures(path: str, kind: str) -> tuple[float | None, float | None]:
    """Return pixels a frame and frames (samples of a sound); (None, None) where the file cannot be read."""
    try:
        if kind == "audio":
            import soundfile

            return None, float(soundfile.info(path).frames)
        if kind == "video":
            import av

            with av.open(path) as container:
                stream = container.streams.video[0]
                count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
                return float(stream.width * stream.height), float(count)
        from PIL import Image

        with Image.open(path) as image:
            return float(image.width * image.height), float(getattr(image, "n_frames", 1))
    except (OSError, RuntimeError, ValueError, IndexError, SyntaxError):  # a broken file is some subclass of these
        return None, None
