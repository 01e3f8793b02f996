"""Raw rows of public data, streamed: from one file, every file of a folder, or a hub id. Nothing is interpreted here.

Reads JSON (one list, or one object a line whatever the suffix), the same gzipped, and parquet. A list is decoded
element by element, so that a file of any size needs the memory of one row.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from omnirepro.data import RowError

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".parquet")
_CHUNK = 1 << 20
_SPACE = "\ufeff \t\r\n"


@dataclass(frozen=True)
class Raw:
    """One row as released: its fields, where it stands, the folder its paths are relative to, and one for copies."""

    fields: dict[str, Any]
    file: str
    number: int
    root: Path
    media: Path

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"

    def need(self, name: str, *kinds: type) -> Any:
        """Return a field. Raises `RowError` where it is missing or of no listed kind (default: text)."""
        if name not in self.fields:
            raise RowError(f"field {name} is missing; the row has: {', '.join(self.fields) or 'nothing'}")
        if not isinstance(value := self.fields[name], kinds or (str,)):
            wanted = " or ".join(k.__name__ for k in kinds or (str,))
            raise RowError(f"field {name}: {wanted} expected, not {type(value).__name__}; download the file again")
        return value

    def choose(self, name: str, values: dict[Any, Any]) -> Any:
        """Return what a field's value stands for (`*`: any other). Raises `RowError` listing the known values."""
        value = self.need(name, object)
        if not isinstance(value, list | dict) and value in values:
            return values[value]
        if "*" in values:
            return values["*"]
        raise RowError(f"field {name}: {value!r} is unknown; use one of {', '.join(map(str, values))}")

    def rest(self, *used: str, **renamed: str) -> dict[str, Any]:
        """Return the fields that are not `used` (names or patterns); `renamed` gives sided ones an _a or _b name."""
        kept = {k: v for k, v in self.fields.items() if not any(fnmatchcase(k, name) for name in used)}
        return {renamed.get(k, k): v for k, v in kept.items()}


def files_of(path: Path) -> list[Path]:
    """Return the data files of a path in order, hidden ones left out. Raises `RowError` where there is none."""
    if path.is_file():
        return [path]
    found = [
        file
        for file in path.rglob("*")
        if file.name.endswith(SUFFIXES) and not any(name.startswith(".") for name in file.relative_to(path).parts)
    ]
    if not found:
        why = f"a folder without {', '.join(SUFFIXES)}" if path.is_dir() else "no such file or folder"
        raise RowError(f"{path}: {why}; check the path")
    return sorted(found)


def read_rows(path: Path, root: Path, media: Path) -> Iterator[Raw]:
    """Stream the rows of one file. Raises `RowError` with file and row where it is not the data it should be."""
    rows = _parquet(path) if path.name.endswith(".parquet") else _json(path)
    for number, row in rows:
        if not isinstance(row, dict):
            raise RowError(f"{path}:{number}: not an object but {type(row).__name__}; a row is one JSON object")
        yield Raw(row, str(path), number, root, media)


def hub_rows(name: str, config: str | None, split: str, media: Path) -> Iterator[Raw]:
    """Stream a split of a hub data set without decoding its media (needs the network)."""
    from datasets import load_dataset

    rows: Iterable[dict[str, Any]] = load_dataset(name, config, split=split, streaming=True).decode(False)
    for number, row in enumerate(rows, 1):
        yield Raw(dict(row), "/".join(filter(None, (name, config))) + f"[{split}]", number, media, media)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=32)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except pyarrow.ArrowException as error:
        raise RowError(f"{path}: not a parquet file ({error}); download it again") from None


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            listed = file.read(_CHUNK).lstrip(_SPACE).startswith("[")
            file.seek(0)
            if listed:
                yield from _items(file, path)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (json.JSONDecodeError, RecursionError) as error:
                        said = f"not one JSON object ({error}); download the file again"
                        raise RowError(f"{path}:{number}: {said}") from None
    except UnicodeDecodeError:
        raise RowError(f"{path}: not UTF-8 text; write the file again in that encoding") from None
    except (OSError, EOFError) as error:
        raise RowError(f"{path}: cannot be read ({error}); download the file again") from None


def _items(file: IO[str], path: Path) -> Iterator[tuple[int, Any]]:
    """Decode the elements of one JSON list, reading on only when the next one is not complete yet."""
    decoder = json.JSONDecoder()
    text = file.read(_CHUNK).lstrip(_SPACE)[1:]
    number = 1
    ended = False
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]"):
            return
        try:
            item, end = decoder.raw_decode(text)
        except (json.JSONDecodeError, RecursionError) as error:
            if ended:
                raise RowError(f"{path}:{number}: the list breaks off or is not JSON ({error}); get it again") from None
            more = file.read(max(_CHUNK, len(text)))  # grow geometrically: one huge row stays linear
            text += more
            ended = not more
        else:
            yield number, item
            text = text[end:]
            number += 1
