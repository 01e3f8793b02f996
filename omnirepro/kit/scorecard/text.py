"""The scorecard as Markdown for docs/scorecard.md. Pure: frames in, text out."""

from __future__ import annotations

import pandas as pd

from omnirepro.kit.scorecard.verdicts import VERDICTS

PAPERS = {"omni-rrm": "Omni-RRM", "omni-reward": "Omni-Reward", "grm-omni": "GRM-Omni"}
RULE = (
    "A claim is a comparison with a sign. Turned so that the claimed direction is positive, an effect whose 95 % "
    "interval lies above 0 supports the claim, one below 0 contradicts it, one that holds 0 (or has no interval) is "
    "inconclusive. "
    "An absolute number, a comparison with somebody's checkpoint and a stage without a result are not run. "
    "The embedded world tests the direction of a claim, never its size."
)


def to_markdown(table: pd.DataFrame, checked: pd.DataFrame, title: str = "Scorecard", note: str = "") -> str:
    """Return a Markdown page: rule, counts, claims a paper, and the checks that differ beside those that agree."""
    lines = [f"# {title}", "", *([note, ""] if note else []), RULE, "", f"In all: {count(table)}.", ""]
    for paper, name in PAPERS.items():
        part = table[table["paper"] == paper]
        lines += [f"## {name}", "", f"{count(part)}.", "", *_markdown(part.drop(columns="paper")), ""]
    lines += ["## The papers' own arithmetic", "", f"{count_checks(checked)} (published numbers alone).", ""]
    for outcome in ("differs", "agrees"):
        part = checked[checked["outcome"] == outcome].drop(columns=["outcome", "listed"])
        lines += [f"### What {outcome}", "", *_markdown(part), ""]
    return "\n".join(lines)


def count(table: pd.DataFrame) -> str:
    """Return how many claims have each verdict, in words."""
    counts = table["verdict"].value_counts()
    return ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)


def count_checks(checked: pd.DataFrame) -> str:
    """Return how many checks agree and differ, in words."""
    counts = checked["outcome"].value_counts()
    return f"{counts.get('agrees', 0)} of {len(checked)} checks agree, {counts.get('differs', 0)} differ"


def _markdown(table: pd.DataFrame) -> list[str]:
    head = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    rows = (" | ".join(_cell(value).replace("|", "\\|") for value in row) for row in table.itertuples(index=False))
    return [*head, *(f"| {row} |" for row in rows)]


def _cell(value: object) -> str:
    if pd.isna(value):
        return ""
    return f"{round(value, 3):g}" if isinstance(value, float) else str(value)
