"""The scorecard stage: gathers every finished stage's metrics and writes claims, checks and missed checks as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from omnirepro.kit import scorecard
from omnirepro.kit.run import DEPENDS, Run
from omnirepro.kit.run.checks import missed, percent


def write_scorecard(run: Run, book: scorecard.Book) -> None:
    """Decide every claim from the metrics that this run has, recompute every published average, carry missed checks on.

    A fork's checks are its own: they stay with it.
    """
    metrics = {}
    for stage in DEPENDS["10_scorecard"]:
        if path := run.input(stage, "metrics.json", optional=True):
            metrics[stage] = json.loads(path.read_text(encoding="utf-8"))
    run.write("tables/scorecard.csv", scorecard.build(metrics, book).to_csv(index=False))
    run.write("tables/checks.csv", scorecard.checks(book).to_csv(index=False))
    run.write("tables/missed.csv", missed_checks(metrics).to_csv(index=False))
    run.write("verdicts.json", scorecard.verdicts(metrics, book))


def missed_checks(metrics: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a missed check of stage -> metrics: stage, check, value, bound; no rows where all were passed."""
    rows = [
        (
            stage,
            name,
            percent(entry["value"]),
            f"{'at most' if entry['at_most'] else 'at least'} {percent(entry['bound'])}",
        )
        for stage, name, entry in missed(metrics)
    ]
    return pd.DataFrame(rows, columns=["stage", "check", "value", "bound"])
