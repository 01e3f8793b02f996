"""The nouns of claims.yaml: published tables, claims with a sign, arithmetic checks, and the book of them all.

The head of results/claims.yaml explains the file's form; anything else in it is an error (`reading`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Form = float | str | dict[str, Any]
Paper = Literal["omni-rrm", "omni-reward", "grm-omni"]
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
    """Which metric of which stage decides a claim, and the sign that the claim expects of it."""

    stage: str
    metric: str
    direction: Literal["positive", "negative"]
    minus: str | None = None


class Claim(_Entry):
    """A comparison with a sign that a paper makes; without `tests` it cannot be run in the embedded world."""

    paper: Paper
    where: str
    statement: str
    kind: Literal["comparison", "implied", "absolute", "external"] = "comparison"
    published: Form | None = None
    unit: str = "points"
    tests: Tests | None = None

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
