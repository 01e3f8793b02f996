"""The scorecard as the report shows it: a paper a part, its effects as a figure, a way back from every claim."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from omnirepro.kit import figures
from omnirepro.kit.report.links import command, rows_of
from omnirepro.kit.report.summary import read_scorecard
from omnirepro.kit.run import project_root
from omnirepro.kit.scorecard import PAPERS, Book, count, effects, load_claims

Metrics = Mapping[str, Mapping[str, Any]]


def card(place: str, metrics: Metrics, run: str, seeds: Sequence[str] = ()) -> dict[str, Any]:
    """Return the counts, the papers with their figure and claims, and the claims that were not run; {} without a card.

    `place` is the folder of the scorecard in results/, `run` what its numbers are computed again from, `seeds` the runs
    whose rows stand behind them where they are several.
    """
    head, *body = read_scorecard(place) or [[]]
    if not body:
        return {}
    book = load_claims(project_root() / "results" / "claims.yaml")
    table = pd.DataFrame(body, columns=head)
    rows = [_row(row, book, run, seeds) for row in table.to_dict("records")]
    decided = [row for row in rows if row["verdict"] != "not run"]
    measured = effects(metrics, book)
    papers = [
        {"name": name, "figure": _figure(measured[measured["paper"] == paper]), "claims": claims}
        for paper, name in (PAPERS | {"": ""}).items()
        if (claims := [row for row in decided if (row["paper"] if row["paper"] in PAPERS else "") == paper])
    ]
    absent = [row for row in rows if row["verdict"] == "not run"]
    return {"counts": count(table), "papers": papers, "absent": absent}


def _row(row: dict[str, str], book: Book, run: str, seeds: Sequence[str]) -> dict[str, Any]:
    """Add to a row what it is marked with, and how its number is computed again and from which rows."""
    remark = row.get("remark", "")
    mark = "built in" if remark.startswith("built in") else "repeated" if remark else ""
    claim = book.claims.get(row["claim"])
    found = {"mark": mark, "remark": remark, "command": "", "stage": "", "links": []}
    if claim and claim.tests and row["verdict"] != "not run":
        stage = claim.tests.stage
        found |= {"command": command(row["claim"], run), "stage": stage, "links": rows_of(stage, run, seeds)}
    return row | found


def _figure(table: pd.DataFrame) -> str:
    """Return the effects of a paper's claims as an embedded picture, empty where none was measured."""
    if table.empty:
        return ""
    title = "Claims that count: effect and 95 % interval" + (", a dot a seed" if table["each"].any() else "")
    figure = figures.points(table, "claim", "effect (points)", guide=0, title=title)
    return f"data:image/png;base64,{base64.b64encode(figures.png(figure)).decode()}"
