"""Ties of scalar judges: the difference of scores that counts as none, and what fitting it in-sample is worth.

Consumes frozen rows with score_a and score_b; produces thresholds, decided rows for `protocol`, and tidy tables. A tie
is said where |score_a - score_b| <= threshold (Omni-Reward's `metric.py`; Deutsch et al. 2023, "Ties Matter").

Departures: (1) the threshold is fitted on the development split; the published protocol takes, for each task, the one
that is best on the test split itself, which is shown beside it as the in-sample oracle with the optimism it brings;
(2) it lies midway between two observed differences, where the published sweep takes the differences themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.evaluate.protocol import aggregates, one_model
from omnirepro.evaluate.rows import Rows, frame, with_ties, without_ties
from omnirepro.evaluate.statistics import Interval

GOLD = {"A": 1, "B": -1, "tie": 0}
DRAWS = 1000


def fit(rows: Rows, by_task: bool = True) -> pd.Series:
    """Return the threshold with the best three-way accuracy on `rows`, a (seed, task), or a seed.

    Of equally good ones the smallest; 0 where no row is a gold tie. Seeds are fitted apart: each trained model has its
    own scale. Raises ValueError on rows without scores or label, or of several models.
    """
    by = ["seed", "task"] if by_task else ["seed"]
    best = {}
    for key, part in gaps(rows).groupby(by):
        cuts = _candidates(part["gap"])
        best[key] = float(cuts[_hits(part, cuts).mean(0).argmax()])
    return pd.Series(best.values(), pd.MultiIndex.from_tuples(best, names=by), dtype=float, name="threshold")


def decide(rows: Rows, thresholds: pd.Series | float) -> pd.DataFrame:
    """Return the rows with verdicts drawn anew from their scores; `thresholds` >= 0 is a number or what `fit` gave.

    Raises ValueError where a row's seed or task has no threshold.
    """
    data = gaps(rows)
    limits = np.full(len(data), thresholds) if np.isscalar(thresholds) else _limits(data, thresholds)
    if (limits < 0).any():
        raise ValueError("a tie threshold must not be negative; 0 says tie for equal scores alone")
    data["verdict"] = np.select([data["gap"].abs() <= limits, data["gap"] > 0], ["tie", "A"], "B")
    return data.drop(columns=["gap", "valid", "shown"])


def table(dev: Rows, test: Rows, by_task: bool = True) -> pd.DataFrame:
    """Return (measure, task, value, low, high, n) of `test`: each task, "micro", and "macro", the paper's Overall.

    with_ties: three-way accuracy at the threshold fitted on `dev`; oracle: at the best one of `test`, task by task
    (paper protocol); optimism: oracle minus with_ties; without_ties: two-way, gold ties left out, equal scores wrong.
    """
    fitted, oracle, plain = (decide(test, t) for t in (fit(dev, by_task), fit(test), 0.0))
    tables = {
        "with_ties": aggregates(fitted, with_ties(fitted)),
        "oracle": aggregates(oracle, with_ties(oracle)),
        "optimism": optimism(dev, test, by_task),
        "without_ties": aggregates(plain, without_ties(plain)),
    }
    return pd.concat([t.assign(measure=m) for m, t in tables.items()], ignore_index=True)[
        ["measure", "task", "value", "low", "high", "n"]
    ]


def metrics(dev: Rows, test: Rows, by_task: bool = True) -> dict[str, dict[str, Any]]:
    """Return `table` as entries of metrics.json: <task>_<measure>; the mean over tasks is overall_<measure>."""
    found = table(dev, test, by_task)
    seeds = int(frame(test)["seed"].nunique())
    names = found["task"].replace({"macro": "overall"}) + "_" + found["measure"]
    cells = found[["value", "low", "high", "n"]].astype(object).to_dict("records")
    return {name: cell | {"seeds": seeds} for name, cell in zip(names, cells, strict=True)}


def optimism(dev: Rows, test: Rows, by_task: bool = True, seed: int = 0) -> pd.DataFrame:
    """Return (task, value, low, high, n): how far the in-sample oracle overstates accuracy with ties, never below 0.

    In each resample of the test prompts the oracle is fitted again, as it would have been on those prompts, while the
    threshold from `dev` stays: with both held fixed the interval misses the expected optimism too often.
    """
    data = gaps(test)
    limits = _limits(data, fit(dev, by_task))
    times = resamples(data, seed)
    gains: dict[str, np.ndarray] = {}
    mass: dict[str, np.ndarray] = {}
    for (_, task), at in data.groupby(["seed", "task"]).indices.items():
        part = data.iloc[at]
        w = times[:, at]
        honest = (_said(part["gap"], limits[at][:, None]) == _gold(part)).ravel()
        gain = (w @ _hits(part, _candidates(part["gap"]))).max(1) - w @ honest
        gains[task] = gains.get(task, 0) + gain
        mass[task] = mass.get(task, 0) + w.sum(1)
    draws = {task: ratio(gains[task], mass[task]) for task in sorted(gains)}
    macro = np.nanmean([*draws.values()], axis=0)
    draws |= {"micro": ratio(sum(gains.values()), sum(mass.values())), "macro": macro}
    sizes = data.drop_duplicates(["pair_id", "seed"])["task"].value_counts()
    return pd.DataFrame(
        [{"task": t} | percentiles(d, int(sizes.get(t, sizes.sum()))).as_row() for t, d in draws.items()]
    )


def curve(splits: Mapping[str, Rows], points: int = 200) -> pd.DataFrame:
    """Return (split, seed, threshold, accuracy, ties): three-way accuracy and share of tied verdicts by threshold.

    At most about `points` thresholds a split and seed, every one that matters where there are fewer; the threshold of
    the highest accuracy is among them. Tasks are pooled.
    """
    out = []
    for split, rows in splits.items():
        for seed, part in gaps(rows).groupby("seed"):
            cuts = _candidates(part["gap"])
            accuracy = _hits(part, cuts).mean(0)
            said = (part["gap"].abs().to_numpy()[:, None] <= cuts).mean(0)
            keep = np.union1d(np.linspace(0, len(cuts) - 1, min(points, len(cuts))).astype(int), accuracy.argmax())
            columns = {"threshold": cuts[keep], "accuracy": accuracy[keep], "ties": said[keep]}
            out.append(pd.DataFrame({"split": split, "seed": seed} | columns))
    return pd.concat(out, ignore_index=True)


def gaps(rows: Rows) -> pd.DataFrame:
    """Return `frame(rows)` with the column gap, score_a - score_b."""
    data = one_model(frame(rows))
    if "score_a" not in data or (bare := data[["score_a", "score_b"]].isna().any(axis=1)).any():
        count = int(bare.sum()) if "score_a" in data else len(data)
        raise ValueError(f"{count} of {len(data)} rows have no scores: a tie threshold needs them; see `statuses`")
    return data.assign(gap=data["score_a"].astype(float) - data["score_b"].astype(float))


def _gold(data: pd.DataFrame) -> np.ndarray:
    if data["label"].isna().any():
        raise ValueError(f"{int(data['label'].isna().sum())} rows have no gold label; keep only labelled pairs")
    return data["label"].map(GOLD).to_numpy()[:, None]


def _said(gaps: pd.Series, thresholds: np.ndarray) -> np.ndarray:
    gaps = gaps.to_numpy()[:, None]
    return np.where(np.abs(gaps) <= thresholds, 0, np.sign(gaps))


def _hits(data: pd.DataFrame, thresholds: np.ndarray) -> np.ndarray:
    """Say which rows each threshold decides as the gold label does: (rows, thresholds), 0 or 1."""
    return (_said(data["gap"], thresholds) == _gold(data)).astype(float)


def _candidates(gaps: Iterable[float]) -> np.ndarray:
    """List 0, the middles between neighbouring sizes, and the largest size: every split that a threshold can make."""
    sizes = np.unique(np.abs(np.asarray(gaps, float)))
    return np.unique(np.concatenate([[0.0], (sizes[1:] + sizes[:-1]) / 2, sizes[-1:]]))


def _limits(data: pd.DataFrame, thresholds: pd.Series) -> np.ndarray:
    names = list(thresholds.index.names)
    known = data[names].merge(thresholds.rename("limit").reset_index(), on=names, how="left")["limit"]
    if known.isna().any():
        missing = data[names][known.isna().to_numpy()].iloc[0].to_dict()
        raise ValueError(f"no threshold was fitted for {missing}; the development split must hold it too")
    return known.to_numpy()


def resamples(data: pd.DataFrame, seed: int) -> np.ndarray:
    """Return how often each row occurs: first once each, then in DRAWS resamples of seeds and clusters (crossed)."""
    rng = np.random.default_rng(seed)
    times = np.ones((DRAWS + 1, len(data)))
    for column in ("seed", "cluster"):
        codes = pd.factorize(data[column])[0]
        size = codes.max() + 1
        times[1:] *= rng.multinomial(size, np.full(size, 1 / size), DRAWS)[:, codes]
    return times


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide, with NaN for a resample that holds nothing."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def percentiles(draws: np.ndarray, n: int, seeds: int = 1) -> Interval:
    """Return the estimate, which stands first, with its 95 % percentile interval."""
    low, high = np.nanquantile(draws[1:], [0.025, 0.975]).tolist()
    return Interval(float(draws[0]), low, high, n, seeds)
