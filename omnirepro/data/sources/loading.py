"""`load`: a file, a folder, a hub id or a source's name to a stream of pairs.

Ties stay ties, groups stay groups, and nothing is dropped: a row that cannot be used is an error with its place and a
remedy, missing media are counted and named, and rows that share an id are numbered with the released id kept.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from omnirepro.data import MediaError, Pair, RowError
from omnirepro.data.sources import (
    conversations,
    generation,
    instruction,
    judged,
    omni_rrm,
    own,
    ranked,
    rewardbench,
    rmb,
    vision,
)
from omnirepro.data.sources.rows import Raw, files_of, hub_rows, read_rows
from omnirepro.data.sources.source import Source

_FAMILIES = (own, ranked, rewardbench, rmb, instruction, vision, generation, omni_rrm, judged, conversations)
SOURCES: dict[str, Source] = {source.name: source for family in _FAMILIES for source in family.SOURCES}


def load(
    path: str | Path,
    source: str | None = None,
    root: str | Path | None = None,
    media: str | Path | None = None,
    sides: int | None = None,
    split: str | None = None,
    config: str | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Pair]:
    """Stream the pairs of a local file or folder, a hub id, or a source's name (its hub data, which needs a network).

    The format of each file is guessed from its first row and told through `say`; `source` settles it. `root` is the
    folder that the rows' paths are relative to (default: the file's), `media` where embedded media are copied to
    (default: OMNIREPRO_MEDIA or the user's cache). With `sides`, a seed, sides are exchanged by a coin that hangs on
    the pair. Warns of missing media at the end. Raises `RowError` naming file, row, field and remedy.
    """
    if source is not None and source not in SOURCES:
        raise RowError(f"{source}: no such source; use one of {', '.join(SOURCES)}")
    store = Path(media or os.environ.get("OMNIREPRO_MEDIA") or Path.home() / ".cache" / "omnirepro" / "media")
    streams = _local(Path(path), root, store) if Path(path).exists() else _hub(str(path), source, split, config, store)
    return _watched(_numbered(_exchanged(_pairs(streams, source, say), sides)))


def detect(fields: dict, where: str = "row") -> Source:
    """Return the source whose rows have these fields. Raises `RowError` naming the nearest one and what it needs."""
    if found := [s for s in SOURCES.values() if s.matches(fields)]:
        return max(found, key=lambda s: len(s.fields))
    nearest = max(SOURCES.values(), key=lambda s: sum(f in fields for f in s.fields) / len(s.fields))
    lacking = [f for f in nearest.fields if f not in fields]
    needs = f"lacks {', '.join(lacking)}" if lacking else "has other kinds of values"
    raise RowError(
        f"{where}: the fields {', '.join(fields)} are of no known format; nearest is {nearest.name}, for which the row "
        f"{needs}; name the format with source=, or write pairs: id, task, prompt, response_a, response_b, label"
    )


def missing_media(pairs: Iterable[Pair]) -> dict[str, int]:
    """Return how often each missing file is referred to."""
    paths = (p.path for pair in pairs for p in (*pair.prompt, *pair.response_a, *pair.response_b) if p.path)
    return dict(Counter(path for path in paths if not Path(path).exists()))


def _local(path: Path, root: str | Path | None, media: Path) -> Iterator[Iterator[Raw]]:
    for file in files_of(path):
        yield read_rows(file, Path(root or file.parent).absolute(), media)


def _hub(name: str, source: str | None, split: str | None, config: str | None, media: Path) -> Iterator[Iterator[Raw]]:
    known = SOURCES.get(name) or SOURCES.get(source or "")
    hub = known.hub if name in SOURCES and known else name
    if not hub or hub.count("/") != 1 or hub.startswith((".", "/")):
        raise RowError(f"{name}: no such file or folder, source with a hub id, or hub id (owner/name); check the path")
    config, split = config or (known.config if known else None), split or (known.split if known else "train")
    yield hub_rows(hub, config, split, media)


def _pairs(streams: Iterable[Iterator[Raw]], source: str | None, say: Callable[[str], None]) -> Iterator[Pair]:
    for rows in streams:
        if (first := next(rows, None)) is None:
            continue
        taken = SOURCES[source] if source else detect(first.fields, first.where)
        say(f"{first.file}: read as {taken.name}")
        for raw in chain([first], rows):
            yield from _read(taken, raw)


def _read(source: Source, raw: Raw) -> Iterator[Pair]:
    try:
        yield from source.read(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RowError(f"{raw.where}: field {field}: {first['msg']}; as {source.name}, remove the row") from None
    except (RowError, MediaError) as error:
        raise RowError(f"{raw.where}: {error} (read as {source.name})") from None
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        why = f"{type(error).__name__} {error}"
        raise RowError(f"{raw.where}: not a row of {source.name} ({why}); get it again or name source=") from None


def _exchanged(pairs: Iterator[Pair], seed: int | None) -> Iterator[Pair]:
    for pair in pairs:
        coin = hashlib.sha256(f"{seed}/{pair.source}/{pair.id}".encode()).digest()[0] % 2
        yield pair.swap() if seed is not None and coin else pair


def _numbered(pairs: Iterator[Pair]) -> Iterator[Pair]:
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair.id] += 1
        if (times := seen[pair.id]) > 1:
            meta = (pair.meta or {}) | {"released_id": pair.id}
            pair = pair.model_copy(update={"id": f"{pair.id}#{times}", "meta": meta})
        yield pair


def _watched(pairs: Iterator[Pair]) -> Iterator[Pair]:
    missing: Counter[str] = Counter()
    for pair in pairs:
        missing.update(missing_media([pair]))
        yield pair
    if missing:
        example = next(iter(missing))
        warnings.warn(
            f"{len(missing)} media files are missing ({missing.total()} uses), such as {example}; "
            "their pairs are kept: fetch the media or give root=",
            stacklevel=2,
        )
