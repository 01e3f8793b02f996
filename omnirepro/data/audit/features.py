"""What a judge that understands nothing could look at: one number a side, or the names of a side's files.

A feature is read from the responses alone, so that exchanging the sides exchanges its values. Media are opened for
their headers only; a file that is missing or broken has no value, and its pair is left out of that feature.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from omnirepro.data import Part

Feature = Callable[[Sequence[Part]], float | None]
_WORDS = re.compile(r"[^\W_]+")


def length(parts: Sequence[Part]) -> float | None:
    """Count the characters of the texts; None where there is no text."""
    texts = [p.text or "" for p in parts if p.type == "text"]
    return float(sum(map(len, texts))) if texts else None


def names(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the words of a side's file and folder names, the last two folders of each path."""
    paths = [Path(p.path) for p in parts if p.type != "text" and p.path]
    return tuple(sorted({w.lower() for p in paths for name in p.parts[-3:] for w in _WORDS.findall(name)}))


@lru_cache(maxsize=65536)
def _measures(path: str, kind: str) -> tuple[float | None, float | None, float | None]:
    """Return bytes, pixels a frame and frames (samples of a sound) of a file; None for what cannot be read."""
    size = None
    try:
        size = float(Path(path).stat().st_size)
        if kind == "audio":
            import soundfile

            return size, None, float(soundfile.info(path).frames)
        if kind == "video":
            import av

            with av.open(path) as container:
                stream = container.streams.video[0]
                count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
                return size, float(stream.width * stream.height), float(count)
        from PIL import Image

        with Image.open(path) as image:
            return size, float(image.width * image.height), float(getattr(image, "n_frames", 1))
    except (OSError, RuntimeError, ValueError, IndexError, SyntaxError):  # a broken file is some subclass of these
        return size, None, None


def summed(which: int, parts: Sequence[Part]) -> float | None:
    """Sum one measure of the media: 0 bytes, 1 pixels of pictures and of a film's frame, 2 frames or samples."""
    values = [_measures(p.path, p.type)[which] for p in parts if p.type != "text" and p.path]
    return None if not values or None in values else float(sum(v for v in values if v is not None))


FEATURES: dict[str, tuple[str, Feature]] = {
    "length": ("the longer response", length),
    "media size": ("the larger file", partial(summed, 0)),
    "media pixels": ("the side with more pixels", partial(summed, 1)),
    "frame count": ("the side with more frames", partial(summed, 2)),
}
