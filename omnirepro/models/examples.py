"""What keeps memory flat: rows that are encoded when they are read, media that are prepared when a batch is made, and
a memory that is bounded by bytes.

Consumes rows of any kind and a way to encode them; produces examples that hold ids and references to media.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from omnirepro.data import MediaError, Part

RECENT = 4096  # encoded rows that a training remembers: ids and references, about 30 KB each at 2,000 tokens
STRETCH = 1 << 30  # bytes of media that are worked on together where rows are sorted by their length


class Latest(OrderedDict):
    """The values used last, of at most `most` bytes together; the newest stays, however large it is."""

    def __init__(self, most: int = 0):
        super().__init__()
        self.most = most
        self.bytes = 0

    def keep(self, key: Any, value: Any) -> None:
        """Put a value, or one that was used again, at the end; let the oldest go while there are too many bytes."""
        if key not in self:
            self.bytes += bytes_of(value)
        self[key] = value
        self.move_to_end(key)
        while self.bytes > self.most and len(self) > 1:
            self.bytes -= bytes_of(self.popitem(last=False)[1])

    def clear(self) -> None:
        """Let all go."""
        super().clear()
        self.bytes = 0


def bytes_of(value: Any) -> int:
    """Return the bytes of a tensor or array, or of those in a mapping."""
    found = value.values() if isinstance(value, Mapping) else [value]
    return sum(getattr(one, "nbytes", 0) for one in found)


class Medium(Mapping):
    """The features of a media file in an example: numbers (tokens, grid) are held, arrays are read when asked for.

    `read(part)` gives all of them. Raises `MediaError` where the file is no longer what the example was made with.
    """

    def __init__(self, part: Part, features: Mapping[str, Any], read: Callable[[Part], Mapping[str, Any]]):
        self.part = part
        self.read = read
        self.names = tuple(features)
        self.held = {name: value for name, value in features.items() if not hasattr(value, "nbytes")}
        self.bytes = bytes_of(features)

    def __getitem__(self, name: str) -> Any:
        if name in self.held or name not in self.names:
            return self.held[name]
        found = self.read(self.part)
        if found["tokens"] != self.held["tokens"]:
            raise MediaError(f"{self.part.path}: it changed since its row was encoded; restore it, or begin anew")
        return found[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Encoded(Sequence):
    """Rows of which one is encoded when it is read; `remember` of them stay encoded, those used last."""

    def __init__(self, rows: Sequence, encode: Callable[[Any], Any], remember: int = 0):
        self.rows = rows
        self._encoded = lru_cache(remember)(lambda row: encode(rows[row]))

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        return self._encoded(range(len(self))[row])

    def __len__(self) -> int:
        return len(self.rows)


def stretches(examples: Sequence) -> Iterator[dict[int, Any]]:
    """Cut examples, by their numbers, into stretches whose media fit into memory together."""
    stretch: dict[int, Any] = {}
    sizes: dict[int, int] = {}
    total = 0
    for row, example in enumerate(examples):
        stretch[row] = example
        for medium in example.features:
            if id(medium) not in sizes:
                sizes[id(medium)] = getattr(medium, "bytes", 0)
                total += sizes[id(medium)]
        if total > STRETCH:
            yield stretch
            stretch = {}
            sizes = {}
            total = 0
    if stretch:
        yield stretch
