"""Metrics of several runs of one profile, one a seed, as one metric with an interval that covers prompts and training.

THE METHOD. The value is the mean over the k seeds. Each seed's own interval covers its prompts alone; the spread of the
values between seeds shows what training (and drawing the data anew) adds. The half-width, on either side, is

    h = sqrt((t * s / sqrt(k))^2 + mean(h_i^2))

with s the standard deviation of the k values, t the 97.5 % quantile of Student's distribution with k - 1 degrees of
freedom, and h_i the distance from seed i's value to its own bound on that side. Three reasons for this form:

* Resampling three seeds would understate their spread (by a factor of sqrt(2/3), and more in the tails); t does not.
* The prompts' part is not divided by k: seeds draw their own scenes, but a small world repeats some (a quarter of the
  test scenes of one seed are another's), and other data may be the same for every seed. Where prompts differ, s holds
  their part too, so that it is counted twice: the interval then is too wide, never too narrow.
* Two seeds give t = 12.7: an interval that says how little two trainings tell.

A metric that one seed alone has keeps that seed's interval, which covers prompts only: its `seeds` say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from omnirepro.kit.run.checks import is_check

METHOD = (
    "Mean over seeds. The 95 % interval adds, in quadrature, a Student-t interval over the seeds' values and the mean "
    "square of the seeds' own intervals, so that it covers training and prompts; one seed alone covers prompts only."
)

Metric = Mapping[str, Any]


def aggregate(runs: Mapping[int, Mapping[str, Mapping[str, Metric]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return stage -> metric -> value, low, high, n (in all), seeds (a list) and by_seed, of seed -> stage -> metrics.

    A metric without a value in a seed is left out of it; one without a value anywhere is absent. Checks: `together`.
    """
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for stage in sorted({stage for run in runs.values() for stage in run}):
        names = {name: None for run in runs.values() for name in run.get(stage, {})}
        out[stage] = {}
        for name in names:
            by_seed = {seed: run.get(stage, {}).get(name) for seed, run in runs.items()}
            asked = any(is_check(name, entry) for entry in by_seed.values())
            if metric := (together if asked else combine)(by_seed):
                out[stage][name] = metric
    return out


def together(by_seed: Mapping[int, Metric | None]) -> dict[str, Any]:
    """Return one check of the seeds' checks: passed where every seed that has it passes, and in how many (passed_in).

    Its value is the mean of those that were measured, without interval: nothing is decided by it.
    """
    asked = {seed: entry for seed, entry in by_seed.items() if entry}
    shown = {str(seed): float(m["value"]) for seed, m in asked.items() if _number(m["value"]) is not None}
    first = next(iter(asked.values()))
    passed = sum(entry["passed"] for entry in asked.values())
    found = dict.fromkeys(("value", "low", "high", "n")) | {"seeds": list(asked), "by_seed": shown}
    found |= {"value": fmean(shown.values()) if shown else None, "bound": first["bound"], "at_most": first["at_most"]}
    return found | {"passed": passed == len(asked), "passed_in": passed}


def combine(by_seed: Mapping[int, Metric | None]) -> dict[str, Any] | None:
    """Return one metric of the seeds' metrics by the method above; None where no seed has a value."""
    known = {seed: m for seed, m in by_seed.items() if m and _number(m.get("value")) is not None}
    if not known:
        return None
    values = [float(metric["value"]) for metric in known.values()]
    counts = [metric.get("n") for metric in known.values()]
    bounds = [[_number(metric.get(side)) for metric in known.values()] for side in ("low", "high")]
    sides = [
        half_width(values, [None if bound is None else abs(v - bound) for v, bound in zip(values, some, strict=True)])
        for some in bounds
    ]
    value = fmean(values)
    return {
        "value": value,
        "low": None if None in sides else value - sides[0],
        "high": None if None in sides else value + sides[1],
        "n": None if None in counts else sum(counts),
        "seeds": list(known),
        "by_seed": {str(seed): v for seed, v in zip(known, values, strict=True)},
    }


def half_width(values: Sequence[float], reaches: Sequence[float | None]) -> float | None:
    """Return h of the method from the seeds' values and h_i; None where neither several seeds nor an h_i is there.

    A missing h_i (a metric without interval) counts as 0 where there are several seeds.
    """
    from scipy.stats import t

    k = len(values)
    if k == 1:
        return reaches[0]
    between = float(t.ppf(0.975, k - 1)) * stdev(values) / math.sqrt(k)
    return math.hypot(between, math.sqrt(fmean((h or 0.0) ** 2 for h in reaches)))  # h = sqrt(between^2 + mean h_i^2)


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if usable else None
