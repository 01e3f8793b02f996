"""The rule that turns a metric's interval into a verdict on a claim; nothing is decided by hand.

THE RULE. Turn the effect so that the claim's direction is positive. Its 95 % interval [low, high] wholly above 0:
supported. Wholly below 0: contradicted. It holds 0 and lies within the claim's margin, [-m, m]: bounded, there is no
effect that would matter. It holds 0 and reaches further, or there is no interval: inconclusive; so is one without width
at 0, which a few equal items give. No such metric, or a claim without a test (an absolute number, a comparison with
somebody's checkpoint): not run.

The margin stands in claims.yaml before anything is run: a quarter of the published effect where one is published, 2
points elsewhere, or the claim's own. Where a claim subtracts two metrics, they are subtracted seed by seed; for one
seed their pairing is lost, and the interval is the widest that both allow: [low - high', high - low'].

Many claims at once: `q` is a claim's p value (Student's, over seeds; the normal one for a single seed) as adjusted by
Benjamini and Hochberg over the claims that count. A claim that is built in, or repeats another one's contrast, has a
verdict and does not count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.kit.scorecard.claims import Book, Check, Claim, Tests, compute, expand
from omnirepro.kit.scorecard.seeds import combine

VERDICTS = ("supported", "contradicted", "bounded", "inconclusive", "not run")
COLUMNS = ["claim", "paper", "statement", "published", "ours", "n", "seeds", "verdict", "q", "remark"]
AGREEMENT_COLUMNS = ["effect", "source", "claim", "elsewhere", "ours", "verdict", "agrees"]
CHECK_COLUMNS = ["check", "paper", "where", "statement", "computed", "printed", "outcome", "listed"]
FIELDS = ("value", "low", "high", "n", "seeds")
MARGIN = 0.02  # two points: the least effect that matters where no effect is published
SLACK = 1e-9  # floating point only: a difference of exactly the tolerance agrees

Metric = Mapping[str, Any]
Metrics = Mapping[str, Mapping[str, Metric | float]]


def read_metrics(*runs: str | Path) -> dict[str, dict[str, Any]]:
    """Return stage -> metrics.json of the folders of one or more runs; a later run wins over its base."""
    found = {file.parent.name: file for run in runs for file in sorted(Path(run).glob("*/metrics.json"))}
    return {stage: json.loads(file.read_text(encoding="utf-8")) for stage, file in found.items()}


def margin_of(claim: Claim, book: Book) -> float:
    """Return the least effect of a claim that matters, in its metric's unit: shares for points."""
    if claim.tests and claim.tests.margin:
        return claim.tests.margin
    if claim.published is None:
        return MARGIN
    return abs(compute(claim.published, book)) / 4 / (100 if claim.unit == "points" else 1)


def decide(metric: Metric | None, direction: str, margin: float = MARGIN) -> str:
    """Return the verdict on an effect by the rule above; `metric` has value, low and high."""
    if metric is None or _number(metric.get("value")) is None:
        return "not run"
    low, high = (_number(metric.get(side)) for side in ("low", "high"))
    if low is None or high is None:
        return "inconclusive"
    if low > high:
        raise ValueError(f"an interval from {low} to {high} is upside down")
    if direction == "negative":
        low, high = sorted((-low, -high))
    if low > 0 or high < 0:
        return "supported" if low > 0 else "contradicted"
    return "bounded" if low < high and max(-low, high) < margin else "inconclusive"


def measured(tests: Tests | None, metrics: Metrics) -> dict[str, Any] | None:
    """Return the metric that a claim names (less its `minus`), or None where a part of it was not run."""
    found = []
    for name in [tests.metric, *filter(None, [tests.minus])] if tests else []:
        metric = metrics.get(tests.stage, {}).get(name)
        metric = metric if isinstance(metric, Mapping) else {"value": metric}
        if _number(metric.get("value")) is None:
            return None
        found.append({field: metric.get(field) for field in (*FIELDS, "by_seed")})
    if len(found) < 2:
        return found[0] if found else None
    a, b = found
    about = {"n": None if a["n"] is None or b["n"] is None else min(a["n"], b["n"]), "seeds": a["seeds"]}
    paired = {seed: value - b["by_seed"][seed] for seed, value in (a["by_seed"] or {}).items() if seed in b["by_seed"]}
    if len(paired) > 1:
        return combine({seed: {"value": value} for seed, value in paired.items()}) | about
    widest = {"low": None, "high": None}
    if all(_number(metric[side]) is not None for metric in found for side in ("low", "high")):
        widest = {"low": a["low"] - b["high"], "high": a["high"] - b["low"]}
    return {"value": a["value"] - b["value"]} | widest | about


def effects(metrics: Metrics, book: Book) -> pd.DataFrame:
    """Return (claim, paper, value, low, high, each) of the measured claims in points that count, `each` by seed."""
    rows = []
    for name, claim in book.claims.items():
        metric = measured(claim.tests, metrics)
        if metric and counts(claim) and claim.unit == "points":
            each = " ".join(f"{x:.6f}" for x in (metric.get("by_seed") or {}).values())
            rows.append((name, claim.paper, *(metric[side] for side in ("value", "low", "high")), each))
    columns = ["claim", "paper", "value", "low", "high", "each"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("value", "low", "high"), float))


def p_value(metric: Metric) -> float | None:
    """Return the two-sided p value of no effect: Student's over seeds, for one seed from its interval as if normal.

    None where there is no interval, or one without width.
    """
    from scipy.stats import norm, t

    value, low, high = (_number(metric.get(field)) for field in ("value", "low", "high"))
    if low is None or high is None or low == high:
        return None
    k = len(metric.get("by_seed") or ())
    wide = t.ppf(0.975, k - 1) if k > 1 else norm.ppf(0.975)
    error = (high - low) / 2 / wide
    return float(2 * (t.sf(abs(value) / error, k - 1) if k > 1 else norm.sf(abs(value) / error)))


def verdicts(run: str | Path | Metrics, book: Book) -> dict[str, dict[str, Any]]:
    """Return claim id -> value, low, high, n, seeds (as measured, not turned), verdict and q, for 10_scorecard."""
    from scipy.stats import false_discovery_control

    metrics = run if isinstance(run, Mapping) else read_metrics(run)
    found = {}
    chances = {}
    for name, claim in book.claims.items():
        metric = measured(claim.tests, metrics)
        verdict = decide(metric, claim.tests.direction, margin_of(claim, book)) if claim.tests else "not run"
        found[name] = {field: (metric or {}).get(field) for field in FIELDS} | {"verdict": verdict, "q": None}
        if metric and counts(claim) and (p := p_value(metric)) is not None:
            chances[name] = p
    if chances:
        for name, q in zip(chances, false_discovery_control(list(chances.values())), strict=True):
            found[name]["q"] = float(q)
    return found


def counts(claim: Claim) -> bool:
    """Say whether a claim's verdict is evidence of its own: neither built in nor another claim's contrast again."""
    return not claim.built_in and not claim.repeats


def build(run: str | Path | Metrics, book: Book) -> pd.DataFrame:
    """Return one row a claim, in the file's order, with the columns `COLUMNS`.

    `run` is a run's folder or stage -> metrics. Raises `ValueError` where an interval is upside down.
    """
    rows = []
    for name, found in verdicts(run, book).items():
        claim = book.claims[name]
        seeds = len(found["seeds"]) if isinstance(found["seeds"], list | tuple) else found["seeds"]
        shown = (_published(claim, book), _ours(found, claim))
        remark = f"built in: {claim.built_in}" if claim.built_in else f"again {claim.repeats}" if claim.repeats else ""
        about = [name, claim.paper, claim.statement]
        rows.append([*about, *shown, found["n"], seeds, found["verdict"], found["q"] and round(found["q"], 4), remark])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "seeds": "Int64"})


def agreement(run: str | Path | Metrics, book: Book) -> pd.DataFrame:
    """Return one row an effect whose sign is known elsewhere: source, the claim that measures it here, ours, verdict.

    agrees: yes | no | no effect (bounded here) | not told. How often the embedded world agrees says how far its signs
    can be trusted where nobody knows them.
    """
    told = {"supported": "yes", "contradicted": "yes", "bounded": "no effect"}
    opposite = {"supported", "contradicted"}
    found = verdicts(run, book)
    rows = []
    for effect in book.effects.values():
        own = found[effect.claim]
        said = "no" if {own["verdict"], effect.elsewhere} == opposite else told.get(own["verdict"], "not told")
        ours = _ours(own, book.claims[effect.claim])
        rows.append((effect.effect, effect.source, effect.claim, effect.elsewhere, ours, own["verdict"], said))
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


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


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def checks(book: Book) -> pd.DataFrame:
    """Return one row a check (and row of a checked table): computed, printed, outcome, and the outcome on record."""
    rows = []
    for name, check in book.checks.items():
        for end, computed, printed, listed in _asked(check, book):
            short = printed - computed if check.at_least is not None else abs(computed - printed)
            outcome = "agrees" if short <= check.tolerance + SLACK else "differs"
            about = [name + end, check.paper, check.where, check.statement]
            rows.append([*about, computed, printed, outcome, listed])
    return pd.DataFrame(rows, columns=CHECK_COLUMNS)


def _asked(check: Check, book: Book) -> Iterator[tuple[str, float, float, str]]:
    """Yield the end of the name, the computed and the printed number, and the outcome on record."""
    if check.each is None:
        wanted = check.printed if check.printed is not None else check.at_least
        yield "", compute(check.compute, book), compute(wanted, book), check.expect
        return
    for row in book.tables[check.each.table].rows:
        parts = expand(f"{check.each.table}/{row}/{check.each.mean}", book)
        printed = book.numbers.get(f"{check.each.table}/{row}/{check.each.column}")
        if row not in check.each.skip and len(parts) > 1 and printed is not None:
            yield f"/{row}", sum(parts) / len(parts), printed, "differs" if row in check.differs else check.expect
