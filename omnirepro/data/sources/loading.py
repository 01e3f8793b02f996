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

import yaml
from pydantic import ValidationError

from omnirepro.data import MediaError, Pair, RowError
from omnirepro.data.files import home
from omnirepro.data.schema import first_wrong_field
from omnirepro.data.sources.rows import Raw, files_of, hub_rows, read_rows
from omnirepro.data.sources.source import Source

FORMATS = Path(__file__).with_name("formats.yaml")
SOURCES = {name: Source(name, **card) for name, card in yaml.safe_load(FORMATS.read_text(encoding="utf-8")).items()}


def media_store() -> Path:
    """Return the folder for media that rows hold as bytes: OMNIREPRO_MEDIA, or one in the cache of the home folder."""
    return Path(os.environ.get("OMNIREPRO_MEDIA") or home() / ".cache" / "omnirepro" / "media")


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
    store = Path(media) if media else media_store()
    if Path(path).exists():
        streams = (read_rows(file, Path(root or file.parent).absolute(), store) for file in files_of(Path(path)))
    else:
        known = SOURCES.get(str(path)) or SOURCES.get(source or "")
        hub = known.hub if known and str(path) in SOURCES else str(path)
        if not hub or hub.count("/") != 1 or hub.startswith((".", "/")):
            wanted = "no such file or folder, source with a hub id, or hub id (owner/name)"
            raise RowError(f"{path}: {wanted}; check the path")
        if known:
            config = config or known.config
            split = split or known.split
        streams = iter([hub_rows(hub, config, split or "train", store)])
    return _finished(_pairs(streams, source, say), sides)


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


def _pairs(streams: Iterable[Iterator[Raw]], source: str | None, say: Callable[[str], None]) -> Iterator[Pair]:
    """Read every stream as its source; an error names row and source."""
    for rows in streams:
        if (first := next(rows, None)) is None:
            continue
        taken = SOURCES[source] if source else detect(first.fields, first.where)
        say(f"{first.file}: read as {taken.name}")
        for raw in chain([first], rows):
            try:
                yield from taken.read(raw)
            except ValidationError as error:
                raise RowError(f"{raw.where}: {first_wrong_field(error)}; as {taken.name}, remove the row") from None
            except (RowError, MediaError) as error:
                raise RowError(f"{raw.where}: {error} (read as {taken.name})") from None
            except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
                why = f"{type(error).__name__} {error}"
                raise RowError(
                    f"{raw.where}: not a row of {taken.name} ({why}); get it again or name source="
                ) from None


def _finished(pairs: Iterable[Pair], sides: int | None) -> Iterator[Pair]:
    """Exchange sides by a coin, number pairs that share an id (`id#2`; that id is kept), warn of missing media."""
    seen: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for pair in pairs:
        if sides is not None and hashlib.sha256(f"{sides}/{pair.source}/{pair.id}".encode()).digest()[0] % 2:
            pair = pair.swap()
        seen[pair.id] += 1
        if (times := seen[pair.id]) > 1:
            meta = {"released_id": pair.id} | (pair.meta or {})
            pair = pair.model_copy(update={"id": f"{pair.id}#{times}", "meta": meta})
        missing.update(missing_media([pair]))
        yield pair
    if missing:
        example = next(iter(missing))
        warnings.warn(
            f"{len(missing)} media files are missing ({missing.total()} uses), such as {example}; "
            "their pairs are kept: fetch the media or give root=",
            stacklevel=2,
        )
