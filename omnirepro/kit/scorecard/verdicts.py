"""The rule that turns a metric's interval into a verdict on a claim; nothing is decided by hand.

THE RULE. Turn the effect so that the claim's direction is positive. Its interval [low, high] wholly above 0:
supported. Wholly below 0: contradicted. It holds 0, or there is no interval: inconclusive. No such metric, or a claim
without a test (an absolute number, a comparison with somebody's checkpoint): not run.

The embedded world tests the direction of a claim, never its size. Where a claim subtracts two metrics, their pairing
is lost and the interval is the widest that both allow: [low - high', high - low'].
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.kit.scorecard.claims import Book, Check, Claim, Tests
from omnirepro.kit.scorecard.forms import compute, expand

VERDICTS = ("supported", "contradicted", "inconclusive", "not run")
COLUMNS = ["claim", "paper", "statement", "published", "ours", "n", "seeds", "verdict"]
CHECK_COLUMNS = ["check", "paper", "where", "statement", "computed", "printed", "outcome", "listed"]
FIELDS = ("value", "low", "high", "n", "seeds")
SLACK = 1e-9  # floating point only: a difference of exactly the tolerance agrees

Metric = Mapping[str, Any]
Metrics = Mapping[str, Mapping[str, Metric | float]]


def read_metrics(*runs: str | Path) -> dict[str, dict[str, Any]]:
    """Return stage -> metrics.json of the folders of one or more runs; a later run wins over its base."""
    found = {file.parent.name: file for run in runs for file in sorted(Path(run).glob("*/metrics.json"))}
    return {stage: json.loads(file.read_text(encoding="utf-8")) for stage, file in found.items()}


def decide(metric: Metric | None, direction: str) -> str:
    """Return the verdict on an effect by the rule above; `metric` has value, low and high."""
    if metric is None or _number(metric.get("value")) is None:
        return "not run"
    low, high = _number(metric.get("low")), _number(metric.get("high"))
    if low is None or high is None:
        return "inconclusive"
    if low > high:
        raise ValueError(f"an interval from {low} to {high} is upside down")
    low, high = (low, high) if direction == "positive" else (-high, -low)
    return "supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"


def measured(tests: Tests | None, metrics: Metrics) -> dict[str, Any] | None:
    """Return the metric that a claim names (less its `minus`), or None where a part of it was not run."""
    if tests is None:
        return None
    a = _metric(metrics, tests.stage, tests.metric)
    if tests.minus is None or a is None:
        return a
    b = _metric(metrics, tests.stage, tests.minus)
    return None if b is None else _subtract(a, b)


def verdicts(run: str | Path | Metrics, book: Book) -> dict[str, dict[str, Any]]:
    """Return claim id -> value, low, high, n, seeds (as measured, not turned) and verdict, for 10_scorecard."""
    metrics = run if isinstance(run, Mapping) else read_metrics(run)
    return {name: _verdict(claim, metrics) for name, claim in book.claims.items()}


def build(run: str | Path | Metrics, book: Book) -> pd.DataFrame:
    """Return one row a claim, in the file's order: claim, paper, statement, published, ours, n, seeds, verdict.

    `run` is a run's folder or stage -> metrics. Raises `ValueError` where an interval is upside down.
    """
    found = verdicts(run, book)
    rows = [_row(name, claim, found[name], book) for name, claim in book.claims.items()]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "seeds": "Int64"})


def checks(book: Book) -> pd.DataFrame:
    """Return one row a check (and row of a checked table): computed, printed, outcome, and the outcome on record."""
    return pd.DataFrame(
        [row for name, check in book.checks.items() for row in _check(name, check, book)], columns=CHECK_COLUMNS
    )


def _verdict(claim: Claim, metrics: Metrics) -> dict[str, Any]:
    metric = measured(claim.tests, metrics)
    verdict = decide(metric, claim.tests.direction) if claim.tests else "not run"
    return {field: (metric or {}).get(field) for field in FIELDS} | {"verdict": verdict}


def _row(name: str, claim: Claim, found: Metric, book: Book) -> list[Any]:
    seeds = len(found["seeds"]) if isinstance(found["seeds"], list | tuple) else found["seeds"]
    published, ours = _published(claim, book), _ours(found, claim)
    return [name, claim.paper, claim.statement, published, ours, found["n"], seeds, found["verdict"]]


def _published(claim: Claim, book: Book) -> str:
    if claim.published is None:
        sign = "> 0" if claim.tests and claim.tests.direction == "positive" else "< 0"
        return f"implied {sign}" if claim.kind == "implied" else sign
    value = compute(claim.published, book)
    number = f"{value:+.1f}" if claim.kind != "absolute" else f"{value:.1f}"
    return number.removesuffix(".0") + " " + {"points": "pt"}.get(claim.unit, claim.unit)


def _ours(found: Metric, claim: Claim) -> str:
    if claim.tests is None:
        return claim.kind
    scale = 100 if claim.unit == "points" else 1
    value, low, high = (_number(found[field]) for field in ("value", "low", "high"))
    if value is None:
        return ""
    interval = f" [{scale * low:+.1f}, {scale * high:+.1f}]" if low is not None and high is not None else ""
    return f"{scale * value:+.1f}{interval}"


def _metric(metrics: Metrics, stage: str, name: str) -> dict[str, Any] | None:
    found = metrics.get(stage, {}).get(name)
    if found is None:
        return None
    found = found if isinstance(found, Mapping) else {"value": found}
    return None if _number(found.get("value")) is None else {field: found.get(field) for field in FIELDS}


def _subtract(a: Metric, b: Metric) -> dict[str, Any]:
    bounds = [_number(m[side]) for m in (a, b) for side in ("low", "high")]
    low, high = (None, None) if None in bounds else (a["low"] - b["high"], a["high"] - b["low"])
    n = None if a["n"] is None or b["n"] is None else min(a["n"], b["n"])
    return {"value": a["value"] - b["value"], "low": low, "high": high, "n": n, "seeds": a["seeds"]}


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _check(name: str, check: Check, book: Book) -> Iterator[list[Any]]:
    if check.each is None:
        wanted = check.printed if check.printed is not None else check.at_least
        computed, printed = compute(check.compute, book), compute(wanted, book)
        yield _check_row(name, check, computed, printed, check.expect)
        return
    for row in book.tables[check.each.table].rows:
        parts = expand(f"{check.each.table}/{row}/{check.each.mean}", book)
        printed = book.numbers.get(f"{check.each.table}/{row}/{check.each.column}")
        if row not in check.each.skip and len(parts) > 1 and printed is not None:
            listed = "differs" if row in check.differs else check.expect
            yield _check_row(f"{name}/{row}", check, sum(parts) / len(parts), printed, listed)


def _check_row(name: str, check: Check, computed: float, printed: float, listed: str) -> list[Any]:
    short = printed - computed if check.at_least is not None else abs(computed - printed)
    outcome = "agrees" if short <= check.tolerance + SLACK else "differs"
    return [name, check.paper, check.where, check.statement, computed, printed, outcome, listed]
