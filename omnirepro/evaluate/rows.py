"""The judgement table and the credit of each judgement.

Consumes `Judgement` rows (objects, mappings, or a DataFrame of them); produces one table in canonical order and, for
each row, credit in [0, 1] under a chosen policy, or that of a baseline. A judgement is identified by pair, displayed
order, model and seed; nothing depends on the order of the rows.

What a failed or tied verdict earns differs from benchmark to benchmark of the papers (dropped, wrong, half a point, a
coin), so it is an argument here and never a property of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import READ, Judgement, swap_verdict

POLICIES = ("drop", "wrong", "half", "coin")
BASELINES = ("random", "always-A", "longer-wins")
KEY = ["pair_id", "order", "model", "seed"]
NEEDED = ("pair_id", "task", "cluster", "order", "model", "status", "verdict", "label")
OPTIONAL = {"seed": 0, "margin": np.nan, "length_a": 0, "length_b": 0}

Rows = Iterable[Judgement | Mapping[str, Any]] | pd.DataFrame


def frame(rows: Rows) -> pd.DataFrame:
    """Return one row a judgement in canonical order, with `valid` (parsed) and `shown` (verdict as displayed).

    Raises `ValueError` on no rows, missing columns, duplicates, or a pair whose facts differ between its rows.
    """
    if not isinstance(rows, pd.DataFrame):
        rows = pd.DataFrame([row.model_dump() if isinstance(row, Judgement) else row for row in rows])
    data = rows.copy()
    if data.empty:
        raise ValueError("no judgement rows: judge at least one pair first")
    if missing := [c for c in NEEDED if c not in data]:
        raise ValueError(f"judgement rows lack {', '.join(missing)}")
    data = data.assign(**{name: default for name, default in OPTIONAL.items() if name not in data})
    for column in ("verdict", "label"):
        data[column] = data[column].astype(object).where(data[column].notna(), None)
    data["margin"] = data["margin"].astype(float)
    _check(data)
    data["valid"] = data["status"].isin(READ)
    shown = [v if o == "AB" else swap_verdict(v) for v, o in zip(data["verdict"], data["order"], strict=True)]
    data["shown"] = pd.Series(shown, index=data.index, dtype=object).where(data["valid"], None)
    return data.sort_values(KEY, ignore_index=True)


def credit(rows: Rows, policy: str = "wrong", tie_policy: str | None = None, seed: int = 0) -> pd.Series:
    """Return the credit of each judgement in [0, 1], indexed as `frame(rows)`; NaN where the policy drops it.

    A verdict equal to the gold label earns 1, another decided verdict 0, and a decided verdict on a gold tie 0.
    `policy` rules failed judgements and `tie_policy` (default: the same) tied verdicts on decided pairs: drop |
    wrong | half | coin. The coin hangs on the judgement itself, not on its place. Raises `ValueError` on rows
    without a gold label.
    """
    data = frame(rows)
    if data["label"].isna().any():
        raise ValueError(f"{int(data['label'].isna().sum())} rows have no gold label; keep only labelled pairs")
    earned = (data["verdict"] == data["label"]).astype(float)
    failed = ~data["valid"]
    tied = ~failed & (data["verdict"] == "tie") & (data["label"] != "tie")
    earned = earned.mask(failed, _by_policy(data, policy, seed))
    return earned.mask(tied, _by_policy(data, tie_policy or policy, seed)).rename("credit")


def with_ties(rows: Rows, policy: str = "wrong") -> pd.Series:
    """Return three-way credit: A, B and tie are classes, so a tied verdict on a decided pair is simply wrong."""
    return credit(rows, policy, tie_policy="wrong")


def without_ties(rows: Rows, policy: str = "wrong", tie_policy: str | None = None) -> pd.Series:
    """Return two-way credit: pairs that are gold ties are left out (NaN), tied verdicts follow the policy."""
    earned = credit(rows, policy, tie_policy)
    return earned.mask(frame(rows)["label"] == "tie")


def baseline(rows: Rows, name: str) -> pd.Series:
    """Return the expected credit of a judge that looks at nothing, indexed as `frame(rows)`; it never says tie.

    random: half of every decided pair; always-A: the side displayed first; longer-wins: the longer response, half
    where lengths are equal. A gold tie earns 0.
    """
    data = frame(rows)
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; one of {', '.join(BASELINES)}")
    first = data["order"].map({"AB": "A", "BA": "B"})
    lengths = np.sign(data["length_a"] - data["length_b"])
    said = {"random": None, "always-A": first, "longer-wins": lengths.map({1: "A", -1: "B", 0: None})}[name]
    said = pd.Series(said, index=data.index, dtype=object)
    earned = (said == data["label"]).astype(float).mask(said.isna(), 0.5)
    return earned.mask(data["label"] == "tie", 0.0).rename("credit")


def _by_policy(data: pd.DataFrame, policy: str, seed: int) -> Any:
    """Return what a policy pays: a number, or a coin a judgement.

    A judgement's gold side as displayed tells the orders apart and survives a swap of the frame.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; one of {', '.join(POLICIES)}")
    if policy != "coin":
        return {"drop": np.nan, "wrong": 0.0, "half": 0.5}[policy]
    gold = [g if o == "AB" else swap_verdict(g) for g, o in zip(data["label"], data["order"], strict=True)]
    names = zip(data["pair_id"], data["model"], data["seed"], gold, strict=True)
    flips = [hashlib.sha256(repr((seed, *map(str, name))).encode()).digest()[0] % 2 for name in names]
    return pd.Series(flips, index=data.index, dtype=float)


def _check(data: pd.DataFrame) -> None:
    if bad := set(data["order"]) - {"AB", "BA"}:
        raise ValueError(f"order must be AB or BA, not {sorted(map(str, bad))}")
    for column in ("verdict", "label"):
        if bad := set(data[column].dropna()) - {"A", "B", "tie"}:
            raise ValueError(f"{column} must be A, B or tie, not {sorted(map(str, bad))}")
    if len(empty := data[data["status"].isin(READ) & data["verdict"].isna()]):
        raise ValueError(f"{len(empty)} rows have status ok but no verdict, such as pair {empty['pair_id'].iloc[0]}")
    if len(twice := data[data.duplicated(KEY)]):
        raise ValueError(f"{len(twice)} judgements occur twice, such as {twice[KEY].iloc[0].to_dict()}")
    facts = data.groupby("pair_id")[["label", "task", "cluster"]].nunique(dropna=False)
    if (facts > 1).any(axis=None):
        wrong = facts[(facts > 1).any(axis=1)].index[0]
        raise ValueError(f"rows of pair {wrong} differ in label, task or cluster: they come from different data")
