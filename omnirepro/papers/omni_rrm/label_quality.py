"""How good labels are, where the truth is known: precision against coverage, and agreement of the teachers.

Consumes the labelling stage's tables; produces data frames and intervals. No model is touched.
"""

from __future__ import annotations

import pandas as pd

from omnirepro.data import DIMENSIONS, Label
from omnirepro.evaluate.statistics import UNKNOWN, Interval, cohen_kappa, difference_of_means
from omnirepro.papers.comparisons import mean


def precision(table: pd.DataFrame, total: int) -> pd.DataFrame:
    """Summarise `correctness` by rule: coverage of `total` pairs and precision with its clustered interval.

    Precision is that of the pairs whose truth is known (`correct` is a number); NaN where it is of none.
    """
    rows = []
    for rule, group in table.groupby("rule", sort=False):
        known = group.dropna(subset="correct")
        found = mean(known, "correct") if len(known) else UNKNOWN
        shares = {"rule": rule, "coverage": len(group) / total, "precision": found.value}
        rows.append(shares | {"low": found.low, "high": found.high, "n": found.n})
    return pd.DataFrame(rows)


def precision_gain(table: pd.DataFrame, rule: str, control: str) -> Interval:
    """Return the precision of what a rule keeps minus that of what a control keeps; unknown where one keeps nothing."""
    ours, other = (table[(table.rule == name) & table["correct"].notna()] for name in (rule, control))
    if ours.empty or other.empty:
        return UNKNOWN
    return difference_of_means(ours["correct"], other["correct"], (ours["cluster"], other["cluster"]))


def agreement(first: list[Label], second: list[Label], tasks: dict[str, str]) -> pd.DataFrame:
    """Tabulate Cohen's kappa of the teachers by task: on the verdict, and on each dimension over both candidates.

    Columns: task, dimension, value. `tasks` maps pair ids to tasks; "all" pools them.
    """
    rows = []
    for task in ("all", *dict.fromkeys(tasks.values())):
        both = [(a, b) for a, b in zip(first, second, strict=True) if task in ("all", tasks.get(a.pair_id))]
        rows.append((task, "verdict", cohen_kappa([a.verdict for a, _ in both], [b.verdict for _, b in both])))
        sides = [x for a, b in both for x in ((a.marks_a, b.marks_a), (a.marks_b, b.marks_b))]
        for d in DIMENSIONS:
            marked = [(ours[d], theirs[d]) for ours, theirs in sides if d in (ours or {}) and d in (theirs or {})]
            if marked:  # a teacher whose reasons are free text marks no dimension
                rows.append((task, d, cohen_kappa([ours for ours, _ in marked], [theirs for _, theirs in marked])))
    return pd.DataFrame(rows, columns=["task", "dimension", "value"])
