"""The figures of notebook 05, from the stage's saved rows alone (Omni-Reward)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.evaluate import calibration, ties
from omnirepro.evaluate.protocol import position
from omnirepro.kit import figures
from omnirepro.papers.comparisons import mean
from omnirepro.papers.omni_reward import free_form
from omnirepro.papers.omni_reward.metrics import shift, turns
from omnirepro.papers.omni_reward.tables import NAMES, by_task, rows_of
from omnirepro.toyworld.training_pairs import SELECTIONS

PROTOCOLS = {True: "with ties (three-way)", False: "without ties (two-way)"}


def tasks(folder: Path) -> pd.DataFrame:
    """Return accuracy by task and overall (protocol, model, task, value, low, high, n) of the stage's models.

    Of pairs from elsewhere also by the media that they hold, as "(image)".

    Beside them the Bradley-Terry model under the paper's protocol: each task's threshold is fitted on its own test.
    """
    rows = rows_of(folder)
    out = []
    for counted, protocol in PROTOCOLS.items():
        tables = {name: rows.credits(model, counted) for model, name in NAMES.items() if model in rows}
        if counted and "bt" in rows:
            oracle = ties.decide(rows("bt"), ties.fit(rows("bt")))
            tables["BT, oracle threshold"] = free_form.credits(oracle, True)
        for name, table in tables.items():
            cells = {task: mean(part).as_row() for task, part in by_task(table).items()}
            overall = sum(cell["value"] for cell in cells.values()) / len(cells)
            cells |= {f"({kind})": mean(part).as_row() for kind, part in rows.by_modality(table).items()}
            cells["Overall"] = {"value": overall}
            out += [{"protocol": protocol, "model": name, "task": task} | cell for task, cell in cells.items()]
    return pd.DataFrame(out)


def threshold(folder: Path) -> pd.DataFrame:
    """Return three-way accuracy by threshold (split, seed, threshold, accuracy, ties) on both splits."""
    rows = rows_of(folder)
    if "bt" not in rows:
        return pd.DataFrame()
    return ties.curve({"development": rows("bt", "dev"), "test (its best is the oracle)": rows("bt")})


def reliability(folder: Path) -> pd.DataFrame:
    """Return (model, confidence, value, low, high, n): the margin of Bradley-Terry, the tag's probability of R1."""
    rows = rows_of(folder)
    parts = [
        calibration.reliability(calibration.confidences(rows.forced(m))).assign(model=NAMES[m]) for m in rows.trained
    ]
    return pd.concat(parts, ignore_index=True)


def scaling(folder: Path) -> pd.DataFrame:
    """Return (model, share, value, low, high, n): R1 by the share of the data that it was trained on."""
    rows = rows_of(folder)
    shares = pd.read_csv(folder / "shares.csv")["share"]
    asked = [("R1", share, f"r1-{share:g}" if at else "r1") for at, share in enumerate(shares)]
    asked += [("Bradley-Terry, all data", 1.0, "bt")] if "bt" in rows else []
    found = [{"model": n, "share": share} | mean(rows.credits(model, True)).as_row() for n, share, model in asked]
    return pd.DataFrame(found)


def conflict(folder: Path) -> pd.DataFrame:
    """Return (model, group, value, low, high, n) where a criterion agrees with the model's own preference, or not."""
    rows = rows_of(folder)
    found = [
        {"model": NAMES.get(model, f"BT, {model}"), "group": group} | mean(part).as_row()
        for model in ("bt", "r1", *SELECTIONS)
        if f"{model}-bare" in rows
        for group, part in shift(rows, model).groupby("group")
    ]
    return pd.DataFrame(found)


def transfer(folder: Path) -> pd.DataFrame:
    """Return (selection, task, value, low, high, n): accuracy without ties less that of training on all data."""
    rows = rows_of(folder)
    full = by_task(rows.credits("bt", False)) if "bt" in rows else {}
    found = [
        {"selection": name, "task": task} | free_form.gain(part, full[task]).as_row()
        for name in SELECTIONS
        if name != "full" and name in rows
        for task, part in by_task(rows.credits(name, False)).items()
    ]
    return pd.DataFrame(found)


def asked(folder: Path) -> pd.DataFrame:
    """Return (task, judge, value, low, high, n): one judge asked in three ways, under both protocols."""
    rows = rows_of(folder)
    ways = {"": "pairs, with reasons", "-direct": "pairs, verdict alone", "-level": "one at a time"}
    found = [
        {"task": protocol, "judge": way} | mean(free_form.credits(rows(rows.asked + end), counted)).as_row()
        for counted, protocol in PROTOCOLS.items()
        for end, way in ways.items()
        if rows.asked + end in rows
    ]
    return pd.DataFrame(found)


def generality(folder: Path) -> pd.DataFrame:
    """Return (task, judge, value, low, high, n): criteria by stratum, and the end of a longer conversation."""
    rows = rows_of(folder)
    parts = []
    for model in [model for model in ("base", "base-pairs", *rows.trained) if model in rows]:
        strata = rows.by_stratum(rows.credits(model, False))
        parts += [(f"criteria: {stratum}", model, part) for stratum, part in strata.items()]
        if model == "bt" and "bt-turns" in rows:
            longer, short = turns(rows)
            parts += [("one turn", model, short), ("two turns", model, longer)]
    found = [{"task": t, "judge": NAMES[m]} | mean(part).as_row() for t, m, part in parts]
    return pd.DataFrame(found)


def orders(folder: Path) -> pd.DataFrame:
    """Return what the order of display does to R1 and its base (judge, measure, value, low, high, n)."""
    rows = rows_of(folder)
    found = [rows(m).assign(model=NAMES[m]) for m in ("base-pairs", "r1") if m in rows]
    return position(pd.concat(found)) if found else pd.DataFrame()


def losses(folder: Path) -> pd.DataFrame:
    """Return the loss (step, loss, split) of priming, smoothed, and of the first Bradley-Terry training, if any."""
    tables = []
    if (folder / "primer.csv").is_file():
        primer = pd.read_csv(folder / "primer.csv").assign(split="priming (nats a token)")
        tables.append(primer.assign(loss=primer["loss"].rolling(20, min_periods=1).mean()))
    if (folder / "loss.csv").is_file():
        bt = pd.read_csv(folder / "loss.csv")[["step", "loss"]]
        tables.append(bt.assign(split="Bradley-Terry (nats a pair)"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


REWARD_PLOTS = {
    "loss": (losses, partial(figures.loss, title="Loss of priming and of Bradley-Terry")),
    "tasks": (tasks, partial(figures.heat, row="model", column="task", panel="protocol", label="accuracy (%)",
                             columnlabel="task", cmap="viridis", vmin=0.2, vmax=0.9, title="Accuracy by task")),
    "threshold": (threshold, partial(figures.curves, x="threshold", y="accuracy", line="split", stroke="seed",
                                     xlabel="threshold: largest difference of scores that is a tie (logits)",
                                     ylabel="three-way accuracy (%)", peak=True,
                                     title="Accuracy by the threshold of ties, and where it is best")),
    "reliability": (reliability, partial(figures.curves, x="confidence", line="model", diagonal=True,
                                         xlabel="confidence in the preferred response (%)",
                                         ylabel="how often it is the right one (%)", title="Confidence and accuracy")),
    "orders": (orders, partial(figures.position, title="What the order of display does to R1")),
    "scaling": (scaling, partial(figures.curves, x="share", line="model", xscale="log",
                                 xlabel="share of the training pairs (%)", ylabel="three-way accuracy (%)",
                                 title="Accuracy by the amount of training data")),
    "conflict": (conflict, partial(figures.points, row="model", hue="group", label="accuracy without ties (%)",
                                   rowlabel="model", upright=True, guide=0.5,
                                   title="Criteria for and against the model's own preference")),
    "transfer": (transfer, partial(figures.heat, row="selection", column="task", label="against all data (points)",
                                   words="+.0f", rowlabel="trained on", columnlabel="test task", cmap="vlag_r",
                                   center=0, vmin=-0.3, vmax=0.3, title="What training on a selection changes")),
    "asked": (asked, partial(figures.accuracy, label="accuracy of one judge (% of pairs)", chance=None,
                             rowlabel="protocol", title="One judge, asked in three ways")),
    "generality": (generality, partial(figures.accuracy, label="accuracy without ties (%)",
                                       rowlabel="test pairs (turns: text responses)",
                                       title="Unseen criteria and longer conversations")),
}  # fmt: skip
