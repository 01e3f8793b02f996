"""Intervals, paired tests and agreement.

Consumes plain arrays (one value a judged pair, its cluster, optionally its training seed); produces `Interval`,
`McNemar` and coefficients. No paper reports an interval: everything here is an addition to the published protocols.

* Percentile bootstrap over clusters (Efron 1979; Field & Welsh 2007, one-stage cluster scheme): pairs that share a
  prompt share its difficulty, so whole prompts are drawn.
* With seeds, seeds are drawn first and clusters second, once for all drawn seeds: every seed answers the same test
  prompts, and drawing prompts anew for each seed would average their difficulty away (crossed scheme, Owen 2007).
* The mean is a ratio of sums, since a resample of unequal clusters changes its own size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_CHUNK = 256  # resamples at once: bounds memory at _CHUNK x clusters


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval: `n` values, `seeds` training runs. One cluster gives no bounds (NaN)."""

    value: float
    low: float
    high: float
    n: int
    seeds: int = 1

    def as_metric(self) -> dict[str, float | int | None]:
        """Return the entry of metrics.json; NaN becomes null."""
        bounds = {k: None if math.isnan(v := getattr(self, k)) else v for k in ("value", "low", "high")}
        return bounds | {"n": self.n, "seeds": self.seeds}

    def as_row(self, count: bool = True) -> dict[str, float]:
        """Return the cells of a table's row: value, low and high, and n unless `count` is False."""
        cells = {"value": self.value, "low": self.low, "high": self.high}
        return cells | {"n": self.n} if count else cells

    def __format__(self, spec: str) -> str:
        """Format as per cent (default, or a spec ending in %), else as plain numbers: f"{i:+.1%}", f"{i:.3f}"."""
        spec = spec or ".1%"
        percent = spec.endswith("%")
        number = spec[:-1] + "f" if percent else spec
        value, low, high = (_number(x * 100 if percent else x, number) for x in (self.value, self.low, self.high))
        return f"{value}{' %' if percent else ''} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self, "")


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test: `only_a` items right for a alone, `only_b` for b alone, two-sided `pvalue`."""

    only_a: int
    only_b: int
    pvalue: float


UNKNOWN = Interval(math.nan, math.nan, math.nan, 0)  # of no items: a result that was not measured


def _number(value: float, spec: str) -> str:
    return "n/a" if math.isnan(value) else format(value, spec)


def clustered_bootstrap(
    values: Sequence[float],
    clusters: Sequence[Any],
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    seeds: Sequence[Any] | None = None,
    weights: Sequence[float] | None = None,
) -> Interval:
    """Return the mean of `values` with a percentile interval from `n` resamples of whole clusters.

    `values`, `clusters`, `seeds`, `weights`: one entry an item; `level` in (0, 1). `weights` >= 0 makes it a weighted
    mean (1 / task size gives the macro average). Where all items are equal the interval has no width: read it with
    its n. Raises `ValueError` on empty, mismatched, multi-dimensional or non-finite input.
    """
    values, clusters, weights = _checked(values, clusters, weights, n, level)
    seed_names, seed_codes = _codes(seeds, len(values), "seeds")
    sums = _table(values * weights, seed_codes, clusters)
    mass = _table(weights, seed_codes, clusters)
    draws = _resample(sums, mass, n, np.random.default_rng(seed))
    low, high = (math.nan, math.nan)
    if sums.shape[1] > 1:  # one cluster says nothing about the spread between clusters
        low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(float(sums.sum() / mass.sum()), low, high, len(values), len(seed_names))


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Any],
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    seeds: Sequence[Any] | None = None,
    weights: Sequence[float] | None = None,
) -> Interval:
    """Return mean(a) - mean(b) with its interval; `a[i]` and `b[i]` belong to one item. Raises as its sibling does."""
    a, b = _vector(a, "a"), _vector(b, "b")
    _same_length(a=a, b=b)
    return clustered_bootstrap(a - b, clusters, n, seed, level, seeds, weights)


def difference_of_means(
    a: Sequence[float],
    b: Sequence[float],
    clusters: tuple[Sequence[Any], Sequence[Any]],
    seeds: tuple[Sequence[Any], Sequence[Any]] | None = None,
) -> Interval:
    """Return mean(a) - mean(b) of different items, which may share clusters (and seeds), with its interval.

    Both means are linearised, so that a resample that holds more of one side does not pass for a difference; `n` is
    the number of all items. Raises as `clustered_bootstrap` does.
    """
    a, b = _vector(a, "a"), _vector(b, "b")
    total, gap = len(a) + len(b), a.mean() - b.mean()
    values = np.concatenate([(a - a.mean()) * total / len(a), (b.mean() - b) * total / len(b)])
    joined = None if seeds is None else np.concatenate([np.asarray(x) for x in seeds])
    return clustered_bootstrap(values + gap, np.concatenate([np.asarray(x) for x in clusters]), seeds=joined)


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """Test whether two judges of the same items are equally often right; no clusters, so items must be independent.

    Raises `ValueError` unless both hold only 0 and 1 and are equally long.
    """
    from scipy.stats import binomtest

    a, b = _vector(a, "a"), _vector(b, "b")
    _same_length(a=a, b=b)
    if not np.isin(np.concatenate([a, b]), (0, 1)).all():
        raise ValueError("mcnemar needs right/wrong (1/0) entries; use paired_bootstrap for part credit")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    pvalue = float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
    return McNemar(only_a, only_b, pvalue)


def cohen_kappa(a: Sequence[Any], b: Sequence[Any], weights: str | None = None) -> float:
    """Return Cohen's kappa over the items that both raters rated; NaN where both used one and the same category.

    None and NaN are missing. `weights`: None, "linear" or "quadratic" (numbers only). Raises `ValueError` without a
    common item.
    """
    from sklearn.metrics import cohen_kappa_score

    _same_length(a=a, b=b)
    both = [(x, y) for x, y in zip(a, b, strict=True) if not (_missing(x) or _missing(y))]
    if not both:
        raise ValueError("cohen_kappa: no item was rated by both raters")
    first, second = zip(*both, strict=True)
    return math.nan if len({*first, *second}) == 1 else float(cohen_kappa_score(first, second, weights=weights))


def krippendorff_alpha(ratings: Sequence[Sequence[Any]], level: str = "nominal") -> float:
    """Return Krippendorff's alpha of `ratings` (raters x items), None or NaN where a rater gave none.

    `level`: nominal (any values), ordinal, interval or ratio (numbers). NaN where only one value occurs. Raises
    `ValueError` where no item has two ratings, the raters differ in length, or words meet a level above nominal.
    """
    import krippendorff

    _same_length(**{f"rater {i}": r for i, r in enumerate(ratings)})
    given = [[None if _missing(x) else x for x in rater] for rater in ratings]
    pairable = [seen for item in zip(*given, strict=True) if len(seen := [x for x in item if x is not None]) > 1]
    if not pairable:
        raise ValueError("krippendorff_alpha: no item has two ratings")
    if len({x for item in pairable for x in item}) == 1:
        return math.nan
    if level == "nominal":
        code = {x: i for i, x in enumerate(sorted({x for r in given for x in r if x is not None}, key=repr))}
        given = [[x if x is None else code[x] for x in rater] for rater in given]
    elif any(isinstance(x, str) for rater in given for x in rater):
        raise ValueError(f"krippendorff_alpha: level {level!r} needs numbers; use level='nominal' for words")
    return float(krippendorff.alpha(np.array(given, dtype=float), level_of_measurement=level))


def _resample(sums: np.ndarray, mass: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` resampled ratios from (seeds, clusters) tables; a resample without mass is NaN."""
    seeds, clusters = sums.shape
    out = []
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        times = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size)  # seeds first,
        drawn = rng.integers(0, clusters, (size, clusters))  # then clusters, shared by the drawn seeds
        top = np.take_along_axis(times @ sums, drawn, 1).sum(1)
        bottom = np.take_along_axis(times @ mass, drawn, 1).sum(1)
        out.append(np.divide(top, bottom, out=np.full(size, np.nan), where=bottom > 0))
    return np.concatenate(out)


def _table(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    shape = rows.max() + 1, columns.max() + 1
    return np.bincount(rows * shape[1] + columns, values, shape[0] * shape[1]).reshape(shape)


def _checked(values: Any, clusters: Any, weights: Any, n: int, level: float) -> tuple[np.ndarray, ...]:
    values = _vector(values, "values")
    weights = np.ones(len(values)) if weights is None else _vector(weights, "weights")
    _same_length(values=values, weights=weights)
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"n must be at least 1 and level between 0 and 1, not n={n}, level={level}")
    if (weights < 0).any() or not weights.any():
        raise ValueError("weights must not be negative and not all zero")
    return values, _codes(clusters, len(values), "clusters")[1], weights


def _codes(names: Any, length: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    names = np.zeros(length) if names is None else np.asarray(names)
    if names.shape != (length,):
        raise ValueError(f"{what} must have one entry a value: {length} values, {what} of shape {names.shape}")
    if any(_missing(x) for x in names.tolist()):
        raise ValueError(f"{what} has a missing entry; every value needs one")
    return np.unique(names, return_inverse=True)


def _vector(values: Any, what: str) -> np.ndarray:
    out = np.asarray(values, dtype=float)
    if out.ndim != 1 or not out.size:
        raise ValueError(f"{what} must be a non-empty vector, not of shape {out.shape}")
    if not np.isfinite(out).all():
        raise ValueError(
            f"{what} has {int((~np.isfinite(out)).sum())} missing or infinite entries; decide on them first"
        )
    return out


def _same_length(**vectors: Any) -> None:
    lengths = {name: len(vector) for name, vector in vectors.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"lengths differ: {lengths}")


def _missing(value: Any) -> bool:
    return value is None or value != value


def majority(said: list) -> str | None:
    """Return the commonest verdict, of equally common ones the earliest; None where nothing valid was said."""
    valid = [s for s in said if isinstance(s, str)]
    return Counter(valid).most_common(1)[0][0] if valid else None
