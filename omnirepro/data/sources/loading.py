"""`load`: a file, a folder, a hub id or a source's name to a stream of pairs.

Ties stay ties, groups stay groups, and nothing is dropped: a row that cannot be used is an error with its place and a
remedy, missing media are counted and named, and released rows that share an id are numbered with the released id kept.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import yaml
from pydantic import ValidationError

from omnirepro.data import MediaError, Pair, RowError
from omnirepro.data.files import home
from omnirepro.data.jsonl import check_part
from omnirepro.data.paths import is_url
from omnirepro.data.schema import first_wrong_field, refuse_repeat
from omnirepro.data.sources.rows import Raw, files_of, hub_rows, read_rows
from omnirepro.data.sources.source import Source

FORMATS = Path(__file__).with_name("formats.yaml")
SOURCES = {name: Source(name, **card) for name, card in yaml.safe_load(FORMATS.read_text(encoding="utf-8")).items()}
WRONG = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
Say = Callable[[str], None]
Placed = tuple[str, bool, Pair]  # place, whether the id is the row's own and so may stand once, pair


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
    say: Say = print,
    limit: int = 0,
    columns: dict[str, str] | None = None,
    task: str | None = None,
    check_media: bool = False,
) -> Iterator[Pair]:
    """Stream the pairs of a local file or folder, a hub id, or a source's name (its hub data, which needs a network).

    The format of each file is guessed from its first row and told through `say`; `source` settles it. `root` is the
    folder that the rows' paths are relative to (default: the file's, then those above it up to `path`), `media` where
    embedded media are copied to (default: OMNIREPRO_MEDIA or the user's cache). With `sides`, a seed, sides are
    exchanged by a coin that hangs on the pair. `split` and `config` choose among a folder's files by their names.
    `columns` gives released columns (`answer.text`: inside another) the names of a known format's fields, `task` names
    the task of all pairs, `limit` is the number of first pairs that are read (0: all). Warns of missing media at the
    end; with `check_media` these and changed ones are errors. Raises `RowError` naming file, row, field and remedy.
    """
    if source is not None and source not in SOURCES:
        raise RowError(f"{source}: no such source; use one of {', '.join(SOURCES)}")
    store = Path(media) if media else media_store()
    among = [SOURCES[source]] if source else list(SOURCES.values())
    top = Path(path)
    if top.exists():

        def is_row(row: dict) -> bool:
            try:
                return any(known.matches(mapped(row, columns)) for known in among)
            except (RowError, RecursionError):
                return False

        streams = read_files(top, root, store, split, config, is_row)
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
    pairs = _finished(_pairs(streams, among, columns, say), sides, task, check_media)
    return islice(pairs, limit or None)


def read_files(
    top: Path,
    root: str | Path | None,
    store: Path,
    split: str | None = None,
    config: str | None = None,
    is_row: Callable[[dict], bool] = lambda row: True,
) -> Iterator[Iterator[Raw]]:
    """Yield the rows of each file of a path; their media lie below `root`, or the file's folder and those above it."""
    for file in files_of(top, split, config):
        above = [folder.absolute() for folder in file.parent.parents if folder.is_relative_to(top)]
        yield read_rows(file, Path(root or file.parent).absolute(), store, above, is_row)


def detect(fields: dict, where: str = "row", among: Sequence[Source] = tuple(SOURCES.values())) -> Source:
    """Return the source whose rows have these fields. Raises `RowError` naming the nearest one and what it needs."""
    if found := [s for s in among if s.matches(fields)]:
        return max(found, key=lambda s: len(s.fields))
    nearest = max(among, key=lambda s: sum(f in fields for f in s.fields) / len(s.fields))
    lacking = [f for f in nearest.fields if f not in fields]
    needs = f"lacks {', '.join(lacking)}" if lacking else "has other kinds of values"
    raise RowError(
        f"{where}: the fields {', '.join(map(str, fields))[:200]} are of no known format; nearest is {nearest.name}, "
        f"for which the row {needs}; name the format (--source, source=), map its fields (--column, columns=), or "
        "write pairs: id, task, prompt, response_a, response_b, label"
    )


def missing_media(pairs: Iterable[Pair]) -> dict[str, int]:
    """Return how often each missing file is referred to."""
    paths = (p.path for pair in pairs for p in (*pair.prompt, *pair.response_a, *pair.response_b) if p.path)
    return dict(Counter(path for path in paths if not os.path.exists(path)))


def addresses(missing: Iterable[str]) -> str:
    """Say how many missing files are addresses, and what to do about them; empty where none is."""
    found = [path for path in missing if is_url(path)]
    return f"; {len(found)} are addresses, such as {found[0]}: save each as a file" if found else ""


def mapped(fields: dict, columns: dict[str, str] | None) -> dict:
    """Rename columns to the fields that they stand for. Raises `RowError` where one is missing."""
    if not columns:
        return fields
    taken = {}
    for column, name in columns.items():
        value = fields
        for key in [column] if column in fields else column.split("."):
            if not isinstance(value, dict) or key not in value:
                raise RowError(
                    f"columns: there is no {column} to take as {name}; the row has {', '.join(fields)}"[:300]
                )
            value = value[key]
        taken[name] = value
    rest = {k: v for k, v in fields.items() if k not in columns}
    return taken | {f"released_{k}" if k in taken else k: v for k, v in rest.items()}


def _recognised(
    streams: Iterable[Iterator[Raw]], among: Sequence[Source], columns: dict[str, str] | None, say: Say
) -> Iterator[tuple[Source, Iterator[Raw]]]:
    """Yield the rows of each file with their source; files of other things beside such are passed over with a word."""
    other: list[tuple[Raw, Iterator[Raw], RowError]] = []
    known = False
    for rows in streams:
        if (first := next(rows, None)) is None:
            continue
        try:
            taken = detect(mapped(first.fields, columns), first.where, among)
        except (RowError, RecursionError) as error:
            other.append((first, rows, error))
            continue
        known = True
        say(f"{first.file}: read as {taken.name}")
        yield taken, chain([first], rows)
    if not known and len(among) == 1:
        yield from ((among[0], chain([first], rows)) for first, rows, _ in other)
    elif other and not known:
        first, _, error = max(other, key=lambda one: os.path.getsize(one[0].file) if os.path.exists(one[0].file) else 0)
        said = str(error) if isinstance(error, RowError) else "nested too deeply; remove the row"
        raise RowError(said if said.startswith(first.where) else f"{first.where}: {said}")
    elif other:
        names = ", ".join(first.file for first, *_ in other[:3])
        say(f"passed over {len(other)} files without pairs of a known format, such as {names}")


def _pairs(
    streams: Iterable[Iterator[Raw]], among: Sequence[Source], columns: dict[str, str] | None, say: Say
) -> Iterator[Placed]:
    """Read every stream as its source; an error names row and source."""
    for taken, rows in _recognised(streams, among, columns, say):
        for raw in taken.gathered(renamed(rows, columns)):
            try:
                for pair in taken.read(raw):
                    yield raw.where, taken.distinct and "id" in raw.fields, pair
            except ValidationError as error:
                raise RowError(f"{raw.where}: {first_wrong_field(error)} (read as {taken.name})") from None
            except (RowError, MediaError) as error:
                raise RowError(f"{raw.where}: {error} (read as {taken.name})") from None
            except WRONG as error:
                why = f"{type(error).__name__} {error}"[:200]
                remedy = "correct it or name its format (--source, source=)"
                raise RowError(f"{raw.where}: not a row of {taken.name} ({why}); {remedy}") from None


def renamed(rows: Iterable[Raw], columns: dict[str, str] | None) -> Iterator[Raw]:
    """Yield rows with their columns `mapped`. Raises `RowError` that names the row."""
    for raw in rows:
        try:
            yield replace(raw, fields=mapped(raw.fields, columns)) if columns else raw
        except RowError as error:
            raise RowError(f"{raw.where}: {error}") from None


def _finished(pairs: Iterable[Placed], sides: int | None, task: str | None, check_media: bool) -> Iterator[Pair]:
    """Exchange sides by a coin, refuse own ids that stand twice, number released ones (`id#2`; that id is kept), warn
    of missing media."""
    seen: Counter[str] = Counter()
    own: dict[str, str] = {}
    missing: Counter[str] = Counter()
    for where, distinct, pair in pairs:
        if sides is not None and hashlib.sha256(f"{sides}/{pair.source}/{pair.id}".encode()).digest()[0] % 2:
            pair = pair.swap()
        if task:
            pair = pair.model_copy(update={"task": task})
        if distinct:
            refuse_repeat(pair.id, where, own)
        seen[pair.id] += 1
        if (times := seen[pair.id]) > 1:
            meta = {"released_id": pair.id} | (pair.meta or {})
            pair = pair.model_copy(update={"id": f"{pair.id}#{times}", "meta": meta})
        if check_media:
            _check(pair, where)
        else:
            missing.update(missing_media([pair]))
        yield pair
    if missing:
        example = next(iter(missing))
        warnings.warn(
            f"{len(missing)} media files are missing ({missing.total()} uses), such as {example}; "
            f"their pairs are kept: fetch the media or name their folder (--root, root=){addresses(missing)}",
            stacklevel=2,
        )


def _check(pair: Pair, where: str) -> None:
    try:
        for part in (*pair.prompt, *pair.response_a, *pair.response_b):
            check_part(part)
    except MediaError as error:
        raise RowError(f"{where}: {error}") from None
