"""The rows of Best-of-N: what is chosen from, and what was chosen with its reasons.

A row of candidates holds: id, prompt [parts], candidates [[parts], ...], task?, criterion?, cluster?
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from omnirepro.data import Pair, Part, Prompt, Response, Row, RowError, read_jsonl
from omnirepro.search.tournament import Match, forms_of

Parts = Annotated[list[Part], Field(min_length=1)]


class Candidates(Row):
    """A prompt with the answers to choose from, in the order in which they were made; parts may be text or media."""

    id: str
    prompt: Parts
    candidates: list[Parts] = Field(min_length=1)
    task: str = ""
    criterion: str | None = None
    cluster: str | None = None

    def forms(self) -> list[int]:
        """Return for each candidate the number of the first one of equal content."""
        return forms_of([tuple((p.type, p.fingerprint()) for p in parts) for parts in self.candidates])

    def pair(self, match: Match) -> Pair:
        """Return two candidates as a pair in the displayed frame, named after their match."""
        return Pair(
            id=match.id, task=self.task, prompt=self.prompt, response_a=self.candidates[match.first],
            response_b=self.candidates[match.second], criterion=self.criterion, cluster=self.cluster or self.id,
        )  # fmt: skip

    def answered(self, form: int) -> tuple[Prompt, Response]:
        """Return the prompt and one candidate, to be scored alone."""
        prompt = Prompt(id=self.id, task=self.task, parts=self.prompt, criterion=self.criterion, cluster=self.cluster)
        return prompt, Response(prompt_id=self.id, parts=self.candidates[form])


def read_candidates(path: str | Path) -> list[Candidates]:
    """Read a file of candidates and check its media; a wrong or repeated row raises `RowError` with file and line."""
    rows, seen = read_jsonl(path, Candidates, check_media=True), set()
    if twice := [row.id for row in rows if row.id in seen or seen.add(row.id)]:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        found = [i for i, line in enumerate(lines, 1) if line.strip() and json.loads(line)["id"] == twice[0]]
        raise RowError(f"{path}:{found[1]}: the id {twice[0]!r} stands twice; give every row its own")
    return rows


class Compared(Row):
    """One comparison: the candidates shown as A and B (numbers from 0), who won, and the judge's own reasons."""

    a: int
    b: int
    verdict: str | None
    status: str
    reason: str = ""


class Chosen(Row):
    """What was chosen of one row: `best` (from 0), each candidate's rank (1 is best) and strength, and the reasons.

    Strengths are log-odds (round robin) or the judge's scores (scalar); a knock-out has none. Equal candidates share
    rank and strength.
    """

    id: str
    how: str
    model: str
    best: int
    ranks: list[int]
    strengths: list[float | None] | None = None
    calls: int
    failed: int
    comparisons: list[Compared] = []
