"""The figures of notebook 05, from the stage's saved rows alone (Omni-Reward)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro.evaluate import calibration, ties
from omnirepro.evaluate.protocol import position
from omnirepro.evaluate.statistics import Interval
from omnirepro.kit import figures
from omnirepro.papers.omni_reward import free_form
from omnirepro.papers.omni_reward.metrics import shift
from omnirepro.papers.omni_reward.tables import NAMES, Rows, by_task, rows_of
from omnirepro.toyworld.training_pairs import SELECTIONS

PROTOCOLS = {True: "with ties (three-way)", False: "without ties (two-way)"}


def _cells(found: Interval) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def tasks(folder: Path) -> pd.DataFrame:
    """Return accuracy by task and overall (protocol, model, task, value, low, high, n) of the stage's models."""
    rows, out = rows_of(folder), []
    for counted, protocol in PROTOCOLS.items():
        for model, name in NAMES.items():
            parts = by_task(rows.credits(model, counted))
            cells = {task: _cells(free_form.mean(part)) for task, part in parts.items()}
            cells["Overall"] = {"value": sum(c["value"] for c in cells.values()) / len(cells)}
            out += [{"protocol": protocol, "model": name, "task": task} | found for task, found in cells.items()]
        out += _oracle(rows, protocol) if counted else []
    return pd.DataFrame(out)


def _oracle(rows: Rows, protocol: str) -> list[dict]:
    """Return the Bradley-Terry model under the paper's protocol: each task's threshold is fitted on its own test."""
    test = rows("bt")
    parts = by_task(free_form.credits(ties.decide(test, ties.fit(test)), True))
    cells = {task: _cells(free_form.mean(part)) for task, part in parts.items()}
    cells["Overall"] = {"value": sum(c["value"] for c in cells.values()) / len(cells)}
    return [{"protocol": protocol, "model": "BT, oracle threshold", "task": t} | found for t, found in cells.items()]


def threshold(folder: Path) -> pd.DataFrame:
    """Return three-way accuracy by threshold (split, seed, threshold, accuracy, ties) on both splits."""
    rows = rows_of(folder)
    return ties.curve({"development": rows("bt", "dev"), "test (its best is the oracle)": rows("bt")})


def reliability(folder: Path) -> pd.DataFrame:
    """Return (model, confidence, value, low, high, n): the margin of Bradley-Terry, the tag's probability of R1."""
    rows = rows_of(folder)
    parts = [
        calibration.reliability(calibration.confidences(rows.forced(m))).assign(model=NAMES[m]) for m in ("bt", "r1")
    ]
    return pd.concat(parts, ignore_index=True)


def scaling(folder: Path) -> pd.DataFrame:
    """Return (model, share, value, low, high, n): R1 by the share of the data that it was trained on."""
    rows, shares = rows_of(folder), pd.read_csv(folder / "shares.csv")
    models = {"r1": shares["share"].iloc[0]} | {f"r1-{s:g}": s for s in shares["share"].iloc[1:]}
    found = [{"model": "R1", "share": s} | _cells(free_form.mean(rows.credits(m, True))) for m, s in models.items()]
    full = _cells(free_form.mean(rows.credits("bt", True)))
    return pd.DataFrame([*found, {"model": "Bradley-Terry, all data", "share": 1.0} | full])


def conflict(folder: Path) -> pd.DataFrame:
    """Return (model, group, value, low, high, n) where a criterion agrees with the model's own preference, or not."""
    rows, out = rows_of(folder), []
    for model in [m for m in ("bt", "r1", *SELECTIONS) if f"{m}-bare" in rows]:
        for group, part in shift(rows, model).groupby("group"):
            out.append({"model": NAMES.get(model, f"BT, {model}"), "group": group} | _cells(free_form.mean(part)))
    return pd.DataFrame(out)


def transfer(folder: Path) -> pd.DataFrame:
    """Return (selection, task, value, low, high, n): accuracy without ties less that of training on all data."""
    rows, out = rows_of(folder), []
    full = by_task(rows.credits("bt", False))
    for name in [n for n in SELECTIONS if n != "full" and n in rows]:
        for task, part in by_task(rows.credits(name, False)).items():
            out.append({"selection": name, "task": task} | _cells(free_form.gain(part, full[task])))
    return pd.DataFrame(out)


def asked(folder: Path) -> pd.DataFrame:
    """Return (task, judge, value, low, high, n): one judge asked in three ways, under both protocols."""
    rows, out = rows_of(folder), []
    ways = {"warm": "pairs, with reasons", "warm-direct": "pairs, verdict alone", "warm-level": "one at a time"}
    for counted, protocol in PROTOCOLS.items():
        for model, way in ways.items():
            table = free_form.credits(rows(model), counted)
            out.append({"task": protocol, "judge": way} | _cells(free_form.mean(table)))
    return pd.DataFrame(out)


def generality(folder: Path) -> pd.DataFrame:
    """Return (task, judge, value, low, high, n): seen and unseen criteria, and the end of a longer conversation."""
    rows, out = rows_of(folder), []
    for model in ("bt", "r1"):
        table = rows.credits(model, False)
        unseen = rows.where(table, "unseen").astype(bool)
        parts = {"seen criteria": table[~unseen], "unseen criteria": table[unseen]}
        if model == "bt":
            longer = free_form.credits(free_form.two_way(rows("bt-turns")), False)
            short = table[table["pair_id"].isin(longer["pair_id"])]
            parts |= {"one turn": short, "two turns": longer}
        out += [{"task": t, "judge": NAMES[model]} | _cells(free_form.mean(p)) for t, p in parts.items() if len(p)]
    return pd.DataFrame(out)


def orders(folder: Path) -> pd.DataFrame:
    """Return what the order of display does to R1, before and after reinforcement (judge, measure, value, ...)."""
    rows = rows_of(folder)
    return position(pd.concat([rows(m).assign(model=NAMES[m]) for m in ("warm", "r1")]))


def losses(folder: Path) -> pd.DataFrame:
    """Return the loss (step, loss, split) of priming, smoothed, and of the first Bradley-Terry training."""
    bt = pd.read_csv(folder / "loss.csv")[["step", "loss"]].assign(split="Bradley-Terry (nats a pair)")
    if not (folder / "primer.csv").is_file():
        return bt
    primer = pd.read_csv(folder / "primer.csv").assign(split="priming (nats a token)")
    return pd.concat([primer.assign(loss=primer["loss"].rolling(20, min_periods=1).mean()), bt], ignore_index=True)


REWARD_PLOTS = {
    "loss": (losses, figures.loss_curve),
    "tasks": (tasks, figures.task_heat),
    "threshold": (threshold, figures.tie_threshold),
    "reliability": (reliability, figures.reliability),
    "orders": (orders, figures.position),
    "scaling": (scaling, figures.scaling),
    "conflict": (conflict, figures.shift),
    "transfer": (transfer, figures.transfer),
    "asked": (asked, lambda df: figures.accuracy(df, None, "accuracy of one judge (% of pairs)", "protocol")),
    "generality": (
        generality,
        lambda df: figures.accuracy(df, 0.5, "accuracy without ties (%)", "test pairs (turns: text responses)"),
    ),
}
