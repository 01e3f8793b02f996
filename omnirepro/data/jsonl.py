"""Rows as JSON Lines: one object a line, media as paths relative to the file's own folder.

Nothing is dropped silently: a malformed row raises `RowError`, which names file, line, field and remedy.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, AnyStr, BinaryIO, TypeVar

from pydantic import ValidationError

from omnirepro.data.files import atomic_write
from omnirepro.data.paths import is_url, locate
from omnirepro.data.schema import MediaError, Part, Row, RowError, first_wrong_field, refuse_repeat, sha256_file

R = TypeVar("R", bound=Row)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LONGEST = 1 << 28  # bytes or letters of one row or text; a packed file of a megabyte can unpack to one of gigabytes


def read_jsonl(path: str | Path, kind: type[R], check_media: bool = False, unique: bool = False) -> list[R]:
    """Read rows of one kind; every path comes back absolute.

    Raises `RowError` with file, line, field and remedy; with `check_media`, also where a file is missing or its sha256
    differs from the row's; with `unique`, where two rows have one id.
    """
    return list(iter_jsonl(path, kind, check_media, unique))


def stored(path: Path) -> Path:
    """Return the path of a run's rows: packed (.gz) where the run was put under version control."""
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def open_rows(path: Path) -> BinaryIO:
    """Open a file of rows; a name that ends in .gz is unpacked."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def iter_jsonl(path: str | Path, kind: type[R], check_media: bool = False, unique: bool = False) -> Iterator[R]:
    """Stream `read_jsonl`, one row at a time; a name that ends in .gz is unpacked."""
    path = Path(path)
    if not path.is_file():
        raise RowError(f"{path}: no such file; check the path")
    seen: dict[str, str] = {}
    try:
        with open_rows(path) as file:
            for number, line in enumerate(lines_of(file, path), 1):
                if line.strip():
                    row = _parse_row(line, kind, path, number, check_media)
                    if unique:
                        refuse_repeat(row.id, f"{path}:{number}", seen)
                    yield row
    except (EOFError, OSError, zlib.error) as error:
        raise RowError(f"{path}: cannot be read ({error}); copy or write the file again") from None


def lines_of(file: IO[AnyStr], path: Path, first: int = 1) -> Iterator[AnyStr]:
    """Yield the lines of an open file from number `first` on. Raises `RowError` before one of more than `LONGEST`."""
    for number in count(first):
        line = file.readline(LONGEST + 1)
        if not line:
            return
        if len(line) > LONGEST:
            raise too_long(f"{path}:{number}")
        yield line


def too_long(where: str) -> RowError:
    """Return the error of a row that is not read to its end."""
    remedy = "write one row a line and media as files, or remove the row"
    return RowError(f"{where}: a row of more than {LONGEST:,} bytes; {remedy}")


def parse_json(text: str) -> Any:
    """Decode one JSON value. Raises ValueError also for half a character (a lone surrogate), which no file can hold."""
    value = json.loads(text)
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _parse_row(line: bytes, kind: type[R], path: Path, number: int, check_media: bool) -> R:
    where = f"{path}:{number}"
    if line.startswith(UTF_16) or b"\0" in line:
        raise RowError(f"{where}: UTF-16 or binary, not UTF-8 text; write the file again in that encoding")
    try:
        row = kind.model_validate(parse_json(line.decode("utf-8-sig")))
        for part in _parts(lambda name: getattr(row, name, None)):
            settle(part, path.parent)
            if check_media:
                check_part(part)
    except UnicodeDecodeError:
        raise RowError(f"{where}: not UTF-8 text; write the line again in that encoding") from None
    except UnicodeEncodeError:
        raise RowError(f"{where}: holds half a character (a lone surrogate); write the text again whole") from None
    except ValidationError as error:
        raise RowError(f"{where}: {first_wrong_field(error, kind)}") from None
    except MediaError as error:
        raise RowError(f"{where}: {error}") from None
    except (ArithmeticError, RecursionError, ValueError) as error:
        reason = getattr(error, "msg", "nested too deeply" if isinstance(error, RecursionError) else error)
        raise RowError(f"{where}: not one JSON object ({reason}); remove the line or write it again whole") from None
    return row


def settle(part: Part, *roots: str | Path) -> None:
    """Give a part its absolute path (`locate`) and, where a file holds its text, that.

    Data of others must not show a model what else lies on a machine: a text lies below one of `roots`, links followed.
    Raises `MediaError` where it does not, is too long or cannot be read.
    """
    if part.path is None:
        return
    part.path = locate(part.path, *roots)
    if part.type != "text" or part.text is not None:
        return
    path = Path(part.path)
    sha256_file(path)
    if not any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots):
        raise MediaError(f"{path}: a text outside of {roots[0]}; copy the file there, or write its words into the row")
    if path.stat().st_size > LONGEST:
        raise MediaError(f"{path}: a text of more than {LONGEST:,} bytes; shorten it or remove the row")
    try:
        part.text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise MediaError(f"{path}: not UTF-8 text; write the file again in that encoding") from None


def check_part(part: Part) -> None:
    """Raise `MediaError` where a part's file is missing or its sha256 differs from the row's."""
    if part.path and (digest := sha256_file(part.path)) != (part.sha256 or digest):
        raise MediaError(f"{part.path}: its content changed since the row was written; restore it or drop 'sha256'")


def write_jsonl(path: str | Path, rows: Iterable[Row]) -> Path:
    """Write rows atomically, with paths relative to the file's folder."""
    path = Path(path)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                data = row.model_dump(exclude_defaults=True)
                for part in _parts(data.get):
                    if part.get("path") and not is_url(part["path"]):
                        part["path"] = os.path.relpath(part["path"], path.parent)
                file.write(json.dumps(data, ensure_ascii=False) + "\n")

    return atomic_write(path, write)


def _parts(field: Callable[[str], Any]) -> Iterator[Any]:
    for name in ("parts", "prompt", "response", "response_a", "response_b"):
        value = field(name)
        yield from value if isinstance(value, list) else ()
    for parts in field("candidates") or ():
        yield from parts
