"""The scorecard stage: gathers every finished stage's metrics and writes claims and checks as tables."""

from __future__ import annotations

import json

from omnirepro import scorecard
from omnirepro.run import DEPENDS, Run


def write_scorecard(run: Run, book: scorecard.Book) -> None:
    """Decide every claim from the metrics that this run has, and recompute every published average."""
    metrics = {}
    for stage in DEPENDS["10_scorecard"]:
        if path := run.input(stage, "metrics.json", optional=True):
            metrics[stage] = json.loads(path.read_text(encoding="utf-8"))
    run.write("tables/scorecard.csv", scorecard.build(metrics, book).to_csv(index=False))
    run.write("tables/checks.csv", scorecard.checks(book).to_csv(index=False))
    run.write("verdicts.json", scorecard.verdicts(metrics, book))
