"""Raw rows of public data, streamed: from one file, every file of a folder, or a hub id. Nothing is interpreted here.

Reads JSON (one list, one object a line whatever the suffix, or one object that holds the rows), CSV and TSV, each also
packed, and parquet and arrow, so also what `save_to_disk` wrote. A list is decoded element by element, so that a file
of any size needs the memory of one row; an object that holds rows is read whole.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import IO, Any

from omnirepro.data import RowError, jsonl
from omnirepro.data.files import lies_at
from omnirepro.data.jsonl import UTF_16, lines_of, parse_json, too_long

SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
PACKED = (".gz", ".zst", ".bz2", ".lz4")
# What `datasets` writes beside rows: no rows, and no reason for a word.
BESIDE = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "cache-*.arrow")
NOT_ROWS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with: git lfs pull",
    b"PK\x03\x04": "a zip archive or a workbook; unpack it and name the folder, or save its sheet as .csv",
    b"\xfd7zXZ": "packed by xz; unpack it",
    b"SQLite format 3": "a data base; write its rows as .jsonl or .csv",
    b"\x80": "a pickle, which is not opened here; write its rows as .jsonl or .parquet",
    **dict.fromkeys(UTF_16, "UTF-16, not UTF-8 text; write the file again in that encoding"),
    b"<": "a web page or XML, not rows; download the file itself",
}
MESSAGE = {"role", "from"}  # a list of messages is part of one row
_CHUNK = 1 << 20
_SPACE = "\ufeff \t\r\n"
Numbered = Iterator[tuple[int, Any]]


@dataclass(frozen=True)
class Raw:
    """One row as released: its fields, where it stands, the folder its paths are relative to, and one for copies.

    `above` are further folders where its files may lie; `group` names the rows that it stood among.
    """

    fields: dict[str, Any]
    file: str
    number: int
    root: Path
    media: Path
    above: tuple[Path, ...] = ()
    group: str = ""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"

    def need(self, name: str, *kinds: type) -> Any:
        """Return a field. Raises `RowError` where it is missing or of no listed kind (default: text)."""
        if name not in self.fields:
            raise RowError(
                f"field {name} is missing; the row has: {', '.join(self.fields) or 'nothing'}; add the field"
            )
        if not isinstance(value := self.fields[name], kinds or (str,)):
            wanted = " or ".join(k.__name__ for k in kinds or (str,))
            raise RowError(f"field {name}: {wanted} expected, not {type(value).__name__}; correct the field")
        return value

    def choose(self, name: str, values: dict[Any, Any]) -> Any:
        """Return what a field's value stands for (`*`: any other). Raises `RowError` listing the known values."""
        value = self.need(name, object)
        if isinstance(value, str) and value not in values:  # a table of text holds numbers as their digits
            value = next((known for known in values if str(known) == value), value)
        if not isinstance(value, list | dict) and value in values:
            return values[value]
        if "*" in values:
            return values["*"]
        raise RowError(f"field {name}: {value!r:.80} is unknown; use one of {', '.join(map(str, values))}")

    def rest(self, *used: str, **renamed: str) -> dict[str, Any]:
        """Return the fields that are not `used` (names or patterns); `renamed` gives sided ones an _a or _b name."""
        kept = {k: v for k, v in self.fields.items() if not any(fnmatchcase(k, name) for name in used)}
        return {renamed.get(k, k): v for k, v in kept.items()}


def files_of(path: Path, split: str | None = None, config: str | None = None) -> list[Path]:
    """Return the data files of a path in order, hidden ones left out; of a folder those whose names hold split, config.

    Raises `RowError` where there is none.
    """
    if path.is_file():
        return [path]
    inside = [file for file in path.rglob("*") if file.name.removesuffix(_packing(file)).endswith(SUFFIXES)]
    found = [
        file
        for file in sorted(inside)
        if not any(name.startswith(".") for name in file.relative_to(path).parts)
        and not any(fnmatchcase(file.name, name) for name in BESIDE)
    ]
    if not found:
        why = f"a folder without {', '.join(SUFFIXES)}" if path.is_dir() else "no such file or folder"
        raise RowError(f"{path}: {why}; check the path")
    for wanted in filter(None, (config, split)):
        word = re.compile(rf"(^|[/_.-]){re.escape(wanted)}([/_.-]|$)")
        named = [file for file in found if word.search(file.relative_to(path).as_posix())]
        if not named:
            raise RowError(f"{path}: no file is named after {wanted}; it holds {', '.join(f.name for f in found[:5])}")
        found = named
    return found


def read_rows(
    path: Path, root: Path, media: Path, above: Iterable[Path] = (), is_row: Callable[[dict], bool] = lambda row: True
) -> Iterator[Raw]:
    """Stream the rows of one file; one object that `is_row` does not know is looked through for the rows it holds.

    Raises `RowError` with file and row where it is not the data it should be.
    """
    for number, row, group in _grouped(_numbered(path), is_row):
        if not isinstance(row, dict):
            raise RowError(f"{path}:{number}: not an object but {type(row).__name__}; a row is one JSON object")
        yield Raw(row, str(path), number, root, media, tuple(above), group)


def hub_rows(name: str, config: str | None, split: str, media: Path) -> Iterator[Raw]:
    """Stream a split of a hub data set without decoding its media. Raises `RowError` where it cannot be reached."""
    from datasets import load_dataset

    try:
        rows: Iterable[dict[str, Any]] = load_dataset(lies_at(name), config, split=split, streaming=True).decode(False)
        for number, row in enumerate(rows, 1):
            yield Raw(dict(row), "/".join(filter(None, (name, config))) + f"[{split}]", number, media, media)
    except Exception as error:  # each layer below (files, hub, requests, formats) has errors of its own
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        remedy = "check name, config, split and network, or download it and give its folder"
        raise RowError(f"{name}: no such file, and the hub does not give it ({said}); {remedy}") from error


def _packing(path: Path) -> str:
    return path.suffix if path.suffix in PACKED else ""


def _numbered(path: Path) -> Numbered:
    """Read the values of one file with their line or row, by its suffix."""
    with path.open("rb") as file:
        head = file.read(64)
    for start, why in NOT_ROWS.items():
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(start):
            raise RowError(f"{path}: {why}")
    suffix = Path(path.name.removesuffix(_packing(path))).suffix
    if suffix in (".parquet", ".arrow", ".feather"):
        return _columnar(path, suffix)
    return _cells(path, "\t" if suffix == ".tsv" else ",;\t") if suffix in (".csv", ".tsv") else _json(path)


def _grouped(rows: Numbered, is_row: Callable[[dict], bool]) -> Iterator[tuple[int, Any, str]]:
    """Yield (number, row, group); a single object that is no row gives the rows below its keys."""
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first[1], dict) and not is_row(first[1]):
        try:
            second = next(rows, None)
        except RowError:
            yield *first, ""
            raise
        held = list(_held(first[1], is_row)) if second is None else []
        several = len({group for group, _ in held}) > 1
        for number, (group, row) in enumerate(held, 1):
            yield number, row, group if several else ""
        if held:
            return
        rows = chain(filter(None, [second]), rows)
    for number, row in chain([first], rows):
        yield number, row, ""


def _held(value: dict[str, Any], is_row: Callable[[dict], bool], name: str = "") -> Iterator[tuple[str, dict]]:
    """Yield (group, row) of what an object holds: lists of rows, rows by their ids, columns, or objects of these."""
    lists = [column for column in value.values() if isinstance(column, list)]
    if lists and len({len(column) for column in lists}) == 1 and len(lists) == len(value):
        rows = [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]
        if rows and is_row(rows[0]):
            yield from ((name, row) for row in rows)
            return
    for key, held in value.items():
        if isinstance(held, list) and held and all(isinstance(row, dict) and not MESSAGE & row.keys() for row in held):
            yield from ((f"{name}/{key}".lstrip("/"), row) for row in held)
        elif isinstance(held, dict) and is_row({"id": key} | held):
            yield name, {"id": key} | held
        elif isinstance(held, dict):
            yield from _held(held, is_row, f"{name}/{key}".lstrip("/"))


def _columnar(path: Path, suffix: str) -> Numbered:
    import pyarrow
    import pyarrow.parquet

    try:
        if suffix == ".parquet":
            batches = _parquet(path)
        else:
            batches = _arrow(pyarrow.memory_map(str(path)))
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
    except pyarrow.ArrowException as error:
        raise RowError(f"{path}: not a {suffix[1:]} file ({error}); copy or write it again") from None


def _parquet(path: Path) -> Iterator[Any]:
    """Yield small batches of a parquet file. Raises `RowError` where its rows are longer than `LONGEST` on average."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    if any(group.total_byte_size > jsonl.LONGEST * group.num_rows for group in groups):
        raise too_long(f"{path}:1")
    yield from file.iter_batches(batch_size=32)


def _arrow(source: Any) -> Iterator[Any]:
    """Yield small batches of an arrow file in either of its forms."""
    from pyarrow import ipc

    if source.read(6) == b"ARROW1":
        reader = ipc.open_file(source)
        whole = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        source.seek(0)
        whole = iter(ipc.open_stream(source))
    for batch in whole:
        yield from (batch.slice(at, 32) for at in range(0, batch.num_rows, 32))


@contextmanager
def _text(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a file as text, unpacked by its suffix, without byte order mark; what breaks while it is read is told."""
    import pyarrow

    try:
        with pyarrow.input_stream(str(path), compression="detect") as packed:
            yield io.TextIOWrapper(packed, encoding="utf-8-sig", newline=newline)
    except UnicodeDecodeError:
        raise RowError(f"{path}: not UTF-8 text; write the file again in that encoding") from None
    except (OSError, EOFError) as error:
        raise RowError(f"{path}: cannot be read ({error}); copy or write the file again") from None


def _cells(path: Path, marks: str) -> Numbered:
    """Read a table of text; of `marks`, its first line has the one between cells most often. Empty cells are absent."""
    csv.field_size_limit(jsonl.LONGEST)
    with _text(path, newline="") as file:
        lines = lines_of(file, path)
        head = next(lines, "")
        reader = csv.reader(chain([head], lines), delimiter=max(marks, key=head.count), strict=True)
        number = 1
        try:
            names = [name.strip() for name in next(reader, [])]
            if len(set(names)) < len(names):
                raise RowError(f"{path}:1: two columns of one name among {', '.join(names)}; rename one")
            for cells in reader:
                number += 1
                if cells and len(cells) != len(names):
                    why = f"{len(cells)} cells under {len(names)} columns; quote cells that hold the mark between them"
                    raise RowError(f"{path}:{number}: {why}")
                if cells:
                    yield number, {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        except csv.Error as error:
            raise RowError(f"{path}:{number}: no row of a table ({error}); write the file again") from None


def _json(path: Path) -> Numbered:
    with _text(path) as file:
        head = file.read(_CHUNK)
        if "\0" in head:
            raise RowError(f"{path}: UTF-16 or binary, not UTF-8 text; write the file again in that encoding")
        start = head.lstrip(_SPACE)
        if start.startswith("[") or _is_broken(start):
            yield from _values(file, start, path)
            return
        *lines, last = head.split("\n")
        rest = lines_of(file, path, len(lines) + 1)
        for number, line in enumerate(chain(lines, [last + next(rest, "")], rest), 1):
            if line.strip(_SPACE):
                yield number, _parsed(line.strip(_SPACE), f"{path}:{number}")


def _is_broken(start: str) -> bool:
    """Tell whether the first line ends before its value does: an object that is printed over several lines."""
    line, ended, _ = start.partition("\n")
    try:
        return bool(ended) and parse_json(line) is None
    except (RecursionError, ValueError):
        return True


def _parsed(line: str, where: str) -> Any:
    try:
        return parse_json(line)
    except (RecursionError, ValueError) as error:
        remedy = "write the line again whole or remove it"
        raise RowError(f"{where}: not one JSON object ({str(error)[:120]}); {remedy}") from None


def _values(file: IO[str], text: str, path: Path) -> Numbered:
    """Decode the elements of one JSON list, or objects one after another; read on only when the next is incomplete."""
    decoder = json.JSONDecoder()
    listed = text.startswith("[")
    text = text[listed:]
    number = 1
    ended = False
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("]") and listed or ended and not text and not listed:
            return
        try:
            item, end = decoder.raw_decode(text)
            if "\\ud" in text[:end].lower():
                parse_json(text[:end])
        except (RecursionError, ValueError) as error:
            if ended:
                broken = "the list breaks off or is not JSON" if listed else "not one JSON object"
                raise RowError(f"{path}:{number}: {broken} ({str(error)[:120]}); write the file again whole") from None
            if len(text) > jsonl.LONGEST:
                raise too_long(f"{path}:{number}") from None
            more = file.read(max(_CHUNK, len(text)))  # grow geometrically: one huge row stays linear
            text += more
            ended = not more
        else:
            yield number, item
            text = text[end:]
            number += 1
