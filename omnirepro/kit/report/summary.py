"""What `python -m omnirepro report` prints: scorecard, where figures and report lie, and at the end missed checks."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

from omnirepro.kit import scorecard
from omnirepro.kit.run import STAGES, RunError, results_root
from omnirepro.kit.run.checks import told
from omnirepro.kit.run.files import relative
from omnirepro.kit.run.manifest import load_manifest


def scorecard_file(run: str) -> Path:
    """Return where the scorecard's table of a run lies, whether or not it has been made."""
    return results_root() / run / "10_scorecard" / "tables" / "scorecard.csv"


def read_scorecard(run: str) -> list[list[str]]:
    """Return the scorecard's rows, the head first; empty where it has not been made."""
    path = scorecard_file(run)
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def metrics_of(run: str) -> dict[str, dict[str, Any]]:
    """Return stage -> metrics of a run's finished stages, those that its scorecard took from a base among them."""
    folder = results_root() / run
    base = load_manifest(folder / "10_scorecard").get("base")
    return scorecard.read_metrics(*([results_root() / base] if base else []), folder)


def summary(run: str) -> str:
    """Return the text for a run: scorecard, figures, report, missed checks. Raises `RunError` where there is no run."""
    folder = results_root() / run
    if not folder.is_dir():
        raise RunError(f"there is no run {run!r} in {relative(results_root())}")
    card = card_text(run) or f"No scorecard yet: {relative(scorecard_file(run))} has not been made."
    figures = sorted(path for stage in STAGES for path in (folder / stage / "figures").glob("*.png"))
    lines = [card, "", *(f"figure  {relative(path)}" for path in figures)]
    report = f"report  {relative(folder / 'report.html')}"
    return "\n".join([*lines, report, *told(metrics_of(run))])


def card_text(run: str) -> str:
    """Return the scorecard as it fits a terminal: papers stand in the claims' names, and a remark becomes a *."""
    head, *body = read_scorecard(run) or [[]]
    if not body:
        return ""
    rows = [dict(zip(head, row, strict=True)) for row in body]
    marked = [row | {"verdict": f"{row['verdict']} *" if row.get("remark") else row["verdict"]} for row in rows]
    shown = [name for name in head if name not in ("paper", "remark")]
    text = columns([shown, *([row[name] for name in shown] for row in marked)])
    return text + ("\n* built in or repeated, not counted" if any(row.get("remark") for row in rows) else "")


def columns(rows: list[list[str]]) -> str:
    """Lay rows out as wrapped columns that fit the terminal: the widest ones are narrowed, a character at a time."""
    from tabulate import tabulate

    head, *body = rows
    room = [max(1, *(len(row[i]) for row in rows)) for i in range(len(head))]
    width = max(60, shutil.get_terminal_size((120, 24)).columns) - 2 * (len(head) - 1)
    while sum(room) > width and max(room) > 8:
        room[room.index(max(room))] -= 1
    return tabulate(body, head, "simple", maxcolwidths=room, maxheadercolwidths=room, disable_numparse=True)
