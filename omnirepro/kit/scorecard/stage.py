"""The scorecard stage: gathers every finished stage's metrics and writes claims, checks and missed checks as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from omnirepro.kit import scorecard
from omnirepro.kit.run import DEPENDS, Run
from omnirepro.kit.run.checks import missed, percent

Metrics = Mapping[str, Mapping[str, Any]]


def write_scorecard(run: Run, book: scorecard.Book) -> None:
    """Decide every claim from the metrics that this run has, recompute every published average, carry missed checks on.

    A fork's checks are its own: they stay with it.
    """
    metrics = {}
    for stage in DEPENDS["10_scorecard"]:
        if path := run.input(stage, "metrics.json", optional=True):
            metrics[stage] = json.loads(path.read_text(encoding="utf-8"))
    for name, text in tables(metrics, book).items():
        run.write(name, text)
    run.write("verdicts.json", scorecard.verdicts(metrics, book))


def tables(metrics: Metrics, book: scorecard.Book) -> dict[str, str]:
    """Return name -> CSV text of a scorecard's tables: claims, the papers' arithmetic, missed checks, known effects."""
    frames = {
        "scorecard": scorecard.build(metrics, book),
        "checks": scorecard.checks(book),
        "missed": missed_checks(metrics),
        "agreement": scorecard.agreement(metrics, book),
    }
    return {f"tables/{name}.csv": frame.to_csv(index=False) for name, frame in frames.items()}


def missed_checks(metrics: Metrics) -> pd.DataFrame:
    """Return one row a missed check of stage -> metrics: stage, check, value, bound; no rows where all were passed."""
    words = {True: "at most", False: "at least"}
    rows = [
        (stage, name, percent(entry["value"]), f"{words[entry['at_most']]} {percent(entry['bound'])}")
        for stage, name, entry in missed(metrics)
    ]
    return pd.DataFrame(rows, columns=["stage", "check", "value", "bound"])
