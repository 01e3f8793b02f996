"""Long row-by-row work that survives a kill: finished chunks lie on disk and are not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from omnirepro.data import Row
from omnirepro.data.files import atomic_write

R = TypeVar("R", bound=Row)


def in_chunks(
    folder: Path,
    name: str,
    items: Sequence[Any],
    work: Callable[[Sequence[Any], int], list[R]],
    kind: type[R],
    size: int = 512,
) -> list[R]:
    """Return `work(chunk, offset)` over all chunks of `items`, joined; finished chunks are read from `folder`.

    A chunk file is written under a temporary name and renamed, so that a killed process loses one chunk at most.
    """
    out: list[R] = []
    for at in range(0, len(items), size):
        path = Path(folder) / f"{quote(name, safe=' ')}-{at:07d}.jsonl"  # one file a name, whatever signs it has
        if not path.exists():
            rows = work(items[at : at + size], at)
            atomic_write(path, "".join(r.model_dump_json() + "\n" for r in rows))
        with path.open(encoding="utf-8", newline="\n") as file:  # a text may hold other ends of line
            out += [kind.model_validate_json(line) for line in file]
    return out
