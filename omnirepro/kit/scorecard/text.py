"""The scorecard as Markdown for docs/scorecard.md. Pure: frames in, text out."""

from __future__ import annotations

import pandas as pd

from omnirepro.kit.scorecard.verdicts import VERDICTS

PAPERS = {
    "omni-rrm": "Omni-RRM",
    "omni-reward": "Omni-Reward",
    "grm-omni": "GRM-Omni",
    "known-world": "What a known world shows",
}
RULE = (
    "A claim is a comparison with a sign. Turned so that the claimed direction is positive, an effect whose 95 % "
    "interval lies above 0 supports the claim, one below 0 contradicts it; one that holds 0 is bounded where the "
    "interval lies within the margin declared beforehand (a quarter of the published effect, or 2 points), and "
    "inconclusive elsewhere. An absolute number, a comparison with somebody's checkpoint and a stage without a result "
    "are not run. What is built into the embedded world, and what repeats another claim's contrast, is marked and not "
    "counted. q: the p value adjusted for the number of claims (Benjamini-Hochberg). "
    "The embedded world tests the direction of a claim, never its size."
)


def to_markdown(table: pd.DataFrame, checked: pd.DataFrame, title: str = "Scorecard", note: str = "") -> str:
    """Return a Markdown page: rule, counts, claims a paper, and the checks that differ beside those that agree."""
    lines = [f"# {title}", "", *([note, ""] if note else []), RULE, "", f"In all: {count(table)}.", ""]
    for paper, name in PAPERS.items():
        part = table[table["paper"] == paper]
        lines += [f"## {name}", "", f"{count(part)}.", "", *_markdown(part.drop(columns="paper")), ""]
    counts = checked["outcome"].value_counts()
    agreed = f"{counts.get('agrees', 0)} of {len(checked)} checks agree, {counts.get('differs', 0)} differ"
    lines += ["## The papers' own arithmetic", "", f"{agreed} (published numbers alone).", ""]
    for outcome in ("differs", "agrees"):
        part = checked[checked["outcome"] == outcome].drop(columns=["outcome", "listed"])
        lines += [f"### What {outcome}", "", *_markdown(part), ""]
    return "\n".join(lines)


def count(table: pd.DataFrame) -> str:
    """Return how many claims have each verdict, in words; marked ones stand apart."""
    marked = (table["remark"] if "remark" in table else pd.Series("", table.index)) != ""  # none before there were any
    counts = table.loc[~marked, "verdict"].value_counts()
    words = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    return words + (f"; {marked.sum()} built in or repeated, not counted" if marked.any() else "")


def _markdown(table: pd.DataFrame) -> list[str]:
    def written(value: object) -> str:
        if pd.isna(value):
            return ""
        text = f"{round(value, 3):g}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|")

    head = [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return [*head, *(f"| {' | '.join(map(written, row))} |" for row in table.itertuples(index=False))]
