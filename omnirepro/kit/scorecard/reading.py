"""Read claims.yaml into a `Book` in which every reference has been resolved; errors name entry and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from omnirepro.kit.scorecard.claims import Book, Check, Claim, ClaimsError, Table
from omnirepro.kit.scorecard.forms import compute

Entry = TypeVar("Entry", bound=BaseModel)


def load_claims(path: str | Path) -> Book:
    """Read claims.yaml and resolve every reference in it. Raises `ClaimsError` with entry and field."""
    raw = _read(Path(path))
    tables = {name: _entry(Table, "table", name, value) for name, value in raw["numbers"].items()}
    numbers = {f"{name}/{cell}": v for name, table in tables.items() for cell, v in table.cells().items()}
    claims = {name: _entry(Claim, "claim", name, value) for name, value in raw["claims"].items()}
    checks = {name: _entry(Check, "check", name, value) for name, value in raw["checks"].items()}
    book = Book(numbers, tables, claims, checks)
    for kind, entries in (("claim", claims), ("check", checks)):
        for name, entry in entries.items():
            _resolve(book, kind, name, entry)
    return book


def _resolve(book: Book, kind: str, name: str, entry: Claim | Check) -> None:
    """Raise `ClaimsError` where a number, a column or a row that an entry names is not there."""
    for field in ("published", "compute", "printed", "at_least"):
        try:
            if (form := getattr(entry, field, None)) is not None:
                compute(form, book)
        except (ClaimsError, ZeroDivisionError) as error:
            raise ClaimsError(f"{kind} {name}, field {field}: {error}") from None
    if not (each := getattr(entry, "each", None)):
        return
    table = book.tables.get(each.table)
    if table is None or not {each.column, *each.mean.split("..")} <= set(table.columns):
        columns = f"{each.mean} and {each.column}"
        raise ClaimsError(f"check {name}, field each: no table {each.table!r} with columns {columns}")
    for field, names in (("each.skip", each.skip), ("differs", entry.differs)):
        if unknown := set(names) - set(table.rows):
            raise ClaimsError(f"check {name}, field {field}: no row {min(unknown)!r} in table {each.table!r}")


def _entry(kind: type[Entry], what: str, name: str, value: Any) -> Entry:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "whole entry"
        raise ClaimsError(f"{what} {name}, field {field}: {first['msg']}") from None


class _Loader(yaml.SafeLoader):
    """YAML in which a repeated key is an error, because it would hide a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ClaimsError(f"line {node.start_mark.line + 1}: the key {key!r} stands more than once")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a SafeLoader)
    except (OSError, yaml.YAMLError, ClaimsError) as error:
        raise ClaimsError(f"{path.name}: {error}") from None
    parts = ("numbers", "claims", "checks")
    if not isinstance(raw, dict) or set(raw) != set(parts) or not all(isinstance(raw[part], dict) for part in parts):
        raise ClaimsError(f"{path.name}: must hold the three mappings {', '.join(parts)}")
    return raw
