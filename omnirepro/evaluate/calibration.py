"""Calibration: whether a judge that says "90 % sure" is right nine times in ten.

Consumes frozen scalar rows, those of a generative judge that is read by its verdict's probabilities, or any table of
confidence and correctness; produces the reliability table, the expected calibration error and the temperature that
mends it (Guo et al. 2017), fitted on the development split. Under the Bradley-Terry model the probability
that A is preferred is sigmoid(score_a - score_b); gold ties are left out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from omnirepro.evaluate.rows import Rows, frame
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap
from omnirepro.evaluate.ties import GOLD, gaps, percentiles, ratio, resamples


def confidences(rows: Rows, temperature: float = 1.0) -> pd.DataFrame:
    """Return a row a decided pair and seed: `confidence` sigmoid(|margin|) in its verdict, `right` (0.5 where equal).

    The margin is score_a - score_b in logits, averaged over the displayed orders and divided by the temperature.
    """
    data = gaps(rows)
    both = data[data["label"] != "tie"].groupby(["pair_id", "seed"])
    out = both[["cluster", "task", "label"]].first().assign(gap=both["gap"].mean() / temperature).reset_index()
    out["confidence"] = 1 / (1 + np.exp(-out["gap"].abs()))
    return out.assign(right=(np.sign(out["gap"]) * out["label"].map(GOLD) + 1) / 2)


def fit_temperature(rows: Rows) -> float:
    """Return the temperature under which the margins of decided pairs make their labels likeliest; 1 without any.

    Rows without scores, of failed judgements, are left out. It is looked for between 1/32 and 32: margins that are all
    right, or all wrong, have none.
    """
    data, _ = before_and_after(rows, 1.0)
    if data.empty:
        return 1.0
    margins = (data["gap"] * data["label"].map(GOLD)).to_numpy()
    tried = np.geomspace(1 / 32, 32, 1001)
    losses = np.logaddexp(0, -margins / tried[:, None]).mean(1)  # -log sigmoid(margin / T)
    return float(tried[losses.argmin()])


def before_and_after(rows: Rows, temperature: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `confidences` as they stand and at a temperature; rows of failed judgements have no scores and no part."""
    data = frame(rows)
    scored = data.dropna(subset=["score_a", "score_b"])
    if scored.empty:
        return (pd.DataFrame(columns=["confidence", "right", "cluster", "seed"]),) * 2
    return confidences(scored), confidences(scored, temperature)


def reliability(data: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Return (bin_low, bin_high, confidence, value, low, high, n): accuracy in bins of equal width of confidence.

    `data` has the columns confidence in [0.5, 1], right, cluster and seed (see `confidences`); empty bins are absent.
    """
    out = []
    for number, part in data.groupby(_bin(data["confidence"], bins)):
        found = clustered_bootstrap(part["right"], part["cluster"], seeds=part["seed"])
        edges = {"bin_low": 0.5 + number / bins / 2, "bin_high": 0.5 + (number + 1) / bins / 2}
        out.append(edges | {"confidence": part["confidence"].mean()} | found.as_row())
    return pd.DataFrame(out)


def ece(data: pd.DataFrame, bins: int = 10, seed: int = 0) -> Interval:
    """Return the expected calibration error, sum over bins of n_b / n * |accuracy_b - confidence_b|, of `data`.

    Its interval leans upwards, since noise in small bins counts as error; compare models at equal n. Columns as in
    `reliability`.
    """
    bins_of = pd.get_dummies(_bin(data["confidence"], bins)).to_numpy(float)
    off = bins_of * (data["right"] - data["confidence"]).to_numpy()[:, None]
    times = resamples(data, seed)
    return percentiles(ratio(np.abs(times @ off).sum(1), times.sum(1)), len(data), data["seed"].nunique())


def _bin(confidence: pd.Series, bins: int) -> pd.Series:
    """Number the bins of equal width over [0.5, 1]. Raises ValueError on a confidence outside."""
    if not confidence.between(0.5, 1).all():
        raise ValueError(
            "a confidence in one of two sides lies between 0.5 and 1; give that of the side that was named"
        )
    return ((confidence - 0.5) * 2 * bins).astype(int).clip(upper=bins - 1)
