"""Metrics of several runs of one profile, one a seed, as one metric with an interval that covers prompts and training.

THE METHOD. A seed repeats everything: it draws scenes, labels and a base anew, and trains again. The k values are
therefore independent, and the value is their mean with Student's interval,

    value +- t * s / sqrt(k)

with s the standard deviation of the k values and t the 97.5 % quantile of Student's distribution with k - 1 degrees of
freedom. It narrows with every seed. Differences are formed within a seed, on the same prompts, before seeds are taken
together. Three remarks:

* s holds the seeds' own uncertainty (their prompts) already: nothing is added for it. That seeds meet some scenes of
  the small world again is chance, since each draws its own. But few seeds can agree by luck: the half-width is never
  less than what prompts alone give a mean of k, sqrt(mean(h_i^2) / k), with h_i the seeds' own half-widths.
* Prompts that are the same for every seed (a released test set, in 09) are another matter: s does not hold what other
  prompts would have given, and the mean square of the seeds' own half-widths is added, once, in quadrature.
* An interval of shares ends at 0 and 1.

A metric that one seed alone has keeps that seed's interval, which covers prompts only: its `seeds` say so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from omnirepro.kit.run.checks import is_check

METHOD = (
    "Mean over seeds, each with its own scenes, labels, base and trainings. The 95 % interval is Student's over the "
    "seeds' values (differences are formed within a seed first); one seed alone covers prompts only."
)
COMMON = ("09_benchmarks",)  # stages whose prompts may be the same for every seed
SIGNED = re.compile("minus|gain|optimism|doubling")  # names of metrics that can be below 0, whatever the seeds show

Metric = Mapping[str, Any]


def aggregate(runs: Mapping[int, Mapping[str, Mapping[str, Metric]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return stage -> metric -> value, low, high, n (in all), seeds (a list), by_seed and prompts, of seed -> stage.

    `prompts`: the root mean square of the seeds' own half-widths below and above. A metric without a
    value in a seed is left out of it; one without a value anywhere is absent. Checks: `together`.
    """
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for stage in sorted({stage for run in runs.values() for stage in run}):
        names = {name: None for run in runs.values() for name in run.get(stage, {})}
        out[stage] = {}
        for name in names:
            by_seed = {seed: run.get(stage, {}).get(name) for seed, run in runs.items()}
            asked = any(is_check(name, entry) for entry in by_seed.values())
            found = together(by_seed) if asked else combine(by_seed, stage in COMMON, SIGNED.search(name) is None)
            if found:
                out[stage][name] = found
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


def combine(by_seed: Mapping[int, Metric | None], common: bool = False, share: bool = False) -> dict[str, Any] | None:
    """Return one metric of the seeds' metrics by the method above; None where no seed has a value.

    `common`: the prompts are the same for every seed. `share`: where all that the seeds measured lies within 0 and 1,
    so does the interval.
    """
    known = {seed: m for seed, m in by_seed.items() if m and _number(m.get("value")) is not None}
    if not known:
        return None
    values = [float(metric["value"]) for metric in known.values()]
    counts = [metric.get("n") for metric in known.values()]
    bounds = {side: [_number(metric.get(side)) for metric in known.values()] for side in ("low", "high")}
    value = fmean(values)
    sides = {side: half_width(values, some, common) for side, some in bounds.items()}
    low = None if sides["low"] is None else value - sides["low"]
    high = None if sides["high"] is None else value + sides["high"]
    measured = [x for x in (*values, *bounds["low"], *bounds["high"]) if x is not None]
    if share and min(measured) >= 0 and max(measured) <= 1:
        low = None if low is None else max(low, 0.0)
        high = None if high is None else min(high, 1.0)
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": None if None in counts else sum(counts),
        "seeds": list(known),
        "by_seed": {str(seed): v for seed, v in zip(known, values, strict=True)},
        "prompts": [root_mean_square(values, some) for some in bounds.values()],
    }


def again(metric: Metric, stage: str, name: str) -> dict[str, Any]:
    """Combine the seeds' values that a combined metric keeps once more, as `aggregate` did."""
    seeds = {}
    for seed, value in metric["by_seed"].items():
        low, high = (
            None if h is None else value + sign * h for sign, h in zip((-1, 1), metric["prompts"], strict=True)
        )
        seeds[seed] = {"value": value, "low": low, "high": high}
    return combine(seeds, stage in COMMON, SIGNED.search(name) is None)


def root_mean_square(values: Sequence[float], bounds: Sequence[float | None]) -> float | None:
    """Return the root mean square of the seeds' own half-widths on one side; None where no seed has a bound."""
    reaches = [0.0 if bound is None else abs(v - bound) for v, bound in zip(values, bounds, strict=True)]
    return None if all(bound is None for bound in bounds) else math.sqrt(fmean(reach**2 for reach in reaches))


def half_width(values: Sequence[float], bounds: Sequence[float | None], common: bool = False) -> float | None:
    """Return how far the interval reaches on the side of `bounds`, the seeds' own; None for one seed without one."""
    from scipy.stats import t

    prompts = root_mean_square(values, bounds)
    k = len(values)
    if k == 1:
        return prompts
    student = float(t.ppf(0.975, k - 1)) * stdev(values) / math.sqrt(k)  # t s / sqrt(k)
    return math.hypot(student, prompts or 0.0) if common else max(student, (prompts or 0.0) / math.sqrt(k))


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if usable else None
