"""Arithmetic on published numbers: a form (number, reference or operation) and a book in, a number out."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from omnirepro.kit.scorecard.claims import Book, ClaimsError, Form

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
        values = [v for part in (forms if isinstance(forms, list) else [forms]) for v in _values(part, book)]
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


def _values(form: Form, book: Book) -> list[float]:
    return expand(form, book) if isinstance(form, str) and ".." in form else [compute(form, book)]


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, cutoff=0.0)
    return f"; the nearest is {close[0]!r}" if close else ""
