"""claims.yaml: published tables, claims with a sign, arithmetic checks, and the book of them all.

The head of results/claims.yaml explains the file's form; anything else in it is an error. A form (number, reference or
operation) is arithmetic on published numbers; every reference is resolved when the file is read.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Form = float | str | dict[str, Any]
Paper = Literal["omni-rrm", "omni-reward", "grm-omni", "known-world"]  # the last one: claims of this project's own
Outcome = Literal["agrees", "differs"]


class ClaimsError(ValueError):
    """claims.yaml cannot be used; the message names the entry, its field and the remedy."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Table(_Entry):
    """One published table: `columns` and `rows`, or single `values`."""

    paper: Paper
    version: str
    where: str
    metric: str
    unit: str
    mark: Literal["S", "P", "R", "C", "3P", "D"]
    aggregation: str | dict[str, str] = "unknown"
    n: int | dict[str, int] | None = None
    rows_are: str = "model"
    note: str = ""
    columns: list[str] = []
    rows: dict[str, list[float | None]] = {}
    values: dict[str, float] = {}

    @model_validator(mode="after")
    def _is_rectangular(self) -> Table:
        if bool(self.rows) == bool(self.values) or bool(self.rows) != bool(self.columns):
            raise ValueError("give either 'columns' and 'rows', or 'values'")
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column stands twice in 'columns'")
        for name, row in self.rows.items():
            if len(row) != len(self.columns):
                raise ValueError(f"row {name} of 'rows' has {len(row)} cells for {len(self.columns)} columns")
        return self

    def cells(self) -> dict[str, float]:
        """Return row/column -> value of the cells that hold one."""
        pairs = {f"{r}/{c}": v for r, row in self.rows.items() for c, v in zip(self.columns, row, strict=True)}
        return {name: v for name, v in (pairs | self.values).items() if v is not None}


class Tests(_Entry):
    """Which metric of which stage decides a claim, the sign expected of it, and below which size there is no effect."""

    stage: str
    metric: str
    direction: Literal["positive", "negative"]
    minus: str | None = None
    margin: float | None = Field(default=None, gt=0)


class Claim(_Entry):
    """A comparison with a sign that a paper makes; without `tests` it cannot be run in the embedded world.

    `built_in` says why the embedded world cannot but confirm it; `repeats` names the claim whose contrast it is again.
    """

    paper: Paper
    where: str
    statement: str
    kind: Literal["comparison", "implied", "absolute", "external"] = "comparison"
    published: Form | None = None
    unit: str = "points"
    tests: Tests | None = None
    built_in: str = ""
    repeats: str = ""

    @model_validator(mode="after")
    def _is_testable(self) -> Claim:
        if (self.tests is None) != (self.kind in ("absolute", "external")):
            raise ValueError("'tests' belongs to every comparison and to no absolute number or external model")
        return self


class Each(_Entry):
    """Recompute one column of a table in every row that has it: the mean of the columns `a..b`."""

    table: str
    mean: str
    column: str
    skip: list[str] = []


class Check(_Entry):
    """Arithmetic on published numbers, and the outcome that is on record."""

    paper: Paper
    where: str
    statement: str
    compute: Form | None = None
    each: Each | None = None
    printed: Form | None = None
    at_least: Form | None = None
    tolerance: float = Field(default=0.0, ge=0)
    expect: Outcome = "agrees"
    differs: list[str] = []

    @model_validator(mode="after")
    def _has_one_question(self) -> Check:
        given = (self.compute is not None, self.each is not None, self.printed is not None, self.at_least is not None)
        if given not in ((True, False, True, False), (True, False, False, True), (False, True, False, False)):
            raise ValueError("give 'compute' with 'printed' or 'at_least', or 'each' alone")
        return self


@dataclass(frozen=True)
class Book:
    """claims.yaml, read: numbers by id, and tables, claims and checks by id in the file's order."""

    numbers: dict[str, float]
    tables: dict[str, Table]
    claims: dict[str, Claim]
    checks: dict[str, Check]


# ---- arithmetic

OPERATIONS: dict[str, Callable[[list[float]], float]] = {
    "mean": fmean,
    "sum": math.fsum,
    "product": math.prod,
    "min": min,
    "max": max,
    "difference": lambda pair: pair[0] - pair[1],
    "ratio": lambda pair: pair[0] / pair[1],
    "percent": lambda pair: 100 * pair[0] / pair[1],
}
PAIRWISE = ("difference", "ratio", "percent")


def compute(form: Form, book: Book) -> float:
    """Evaluate a form: a number, a reference, or one operation on forms. Raises `ClaimsError` where it cannot."""
    if isinstance(form, Mapping):
        if len(form) != 1 or next(iter(form)) not in OPERATIONS:
            raise ClaimsError(f"{dict(form)} is not one of the operations {', '.join(OPERATIONS)}")
        ((name, forms),) = form.items()
        values = []
        for part in forms if isinstance(forms, list) else [forms]:
            spans = isinstance(part, str) and ".." in part
            values += expand(part, book) if spans else [compute(part, book)]
        if not values or (name in PAIRWISE and len(values) != 2):
            raise ClaimsError(f"{name} got {len(values)} values; {', '.join(PAIRWISE)} take two, others one or more")
        return float(OPERATIONS[name](values))
    if isinstance(form, str) and form not in book.numbers:
        raise ClaimsError(f"no number {form!r}{_nearest(form, book.numbers)}")
    return float(book.numbers[form] if isinstance(form, str) else form)


def expand(reference: str, book: Book) -> list[float]:
    """Return the values that a row holds from one column to another: `table/row/a..b`, both ends included."""
    table, _, rest = reference.partition("/")
    row, _, span = rest.rpartition("/")
    first, _, last = span.partition("..")
    columns = book.tables[table].columns if table in book.tables else []
    if row not in getattr(book.tables.get(table), "rows", {}) or not {first, last} <= set(columns):
        raise ClaimsError(f"no row with such columns: {reference!r}{_nearest(reference, book.numbers)}")
    names = (f"{table}/{row}/{c}" for c in columns[columns.index(first) : columns.index(last) + 1])
    return [book.numbers[name] for name in names if name in book.numbers]


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, cutoff=0.0)
    return f"; the nearest is {close[0]!r}" if close else ""


# ---- reading

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
    if (repeats := getattr(entry, "repeats", "")) and (repeats == name or repeats not in book.claims):
        raise ClaimsError(f"claim {name}, field repeats: no other claim {repeats!r}{_nearest(repeats, book.claims)}")
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
