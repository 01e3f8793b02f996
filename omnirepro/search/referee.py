"""The choice of the best of N: its rows, and a judge as the referee of matches, asked each match once, as displayed.

Consumes rows of candidates and any judge (rubric, verdict, scalar, endpoint); produces judgements, scores, and rows of
what was chosen with its reasons. A row of candidates holds: id, prompt [parts], candidates [[parts], ...], task?,
criterion?, cluster?
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from omnirepro.data import READ, Judgement, Pair, Part, Prompt, Response, Row, read_jsonl
from omnirepro.judge import rubric, verdict
from omnirepro.search.tournament import WAYS, Match, forms_of, frozen, highest, knock_out, round_robin

Parts = Annotated[list[Part], Field(min_length=1)]


class Candidates(Row):
    """A prompt with the answers to choose from, in the order in which they were made; parts may be text or media.

    `gold` and `choices` are the prompt's, where they are known; no judge is shown the first.
    """

    id: str
    prompt: Parts
    candidates: list[Parts] = Field(min_length=1)
    task: str = ""
    criterion: str | None = None
    cluster: str | None = None
    gold: list[str] | None = None
    choices: list[str] | None = None

    def forms(self) -> list[int]:
        """Return for each candidate the number of the first one of equal content."""
        return forms_of([tuple((p.type, p.fingerprint()) for p in parts) for parts in self.candidates])

    def pair(self, match: Match) -> Pair:
        """Return two candidates as a pair in the displayed frame, named after their match."""
        sides = {"response_a": self.candidates[match.first], "response_b": self.candidates[match.second]}
        about = {"criterion": self.criterion, "cluster": self.cluster or self.id}
        return Pair(id=match.id, task=self.task, prompt=self.prompt, **sides, **about)

    def answered(self, form: int) -> tuple[Prompt, Response]:
        """Return the prompt and one candidate, to be scored alone."""
        prompt = Prompt(id=self.id, task=self.task, parts=self.prompt, criterion=self.criterion, cluster=self.cluster)
        return prompt, Response(prompt_id=self.id, parts=self.candidates[form])


def read_candidates(path: str | Path) -> list[Candidates]:
    """Read a file of candidates and check its media; a wrong or repeated row raises `RowError` with file and line."""
    return read_jsonl(path, Candidates, check_media=True, unique=True)


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
    rank and strength. `ties` are the distinct candidates that the judge told not apart, the earliest of which has the
    better rank: those of one strength, or in a knock-out those of a drawn match.
    """

    id: str
    how: str
    model: str
    best: int
    ranks: list[int]
    strengths: list[float | None] | None = None
    ties: list[list[int]] = []
    calls: int
    failed: int
    comparisons: list[Compared] = []


Ask = Callable[[list[Pair]], list[Judgement]]
MANY = 256  # judgements at a time whose progress is worth a line; the rounds of a knock-out are fewer


def asking(judge: Any, progress: Callable | None) -> Ask:
    """Let a judge judge pairs as they are displayed."""
    return lambda pairs: judge.judge(pairs, "AB", progress=progress if len(pairs) > MANY else None)


@dataclass
class Referee:
    """Says who wins matches (an `search.tournament.Compare`); `ask` judges pairs in the order AB, none of them twice.

    `known` maps a prompt's id to its candidates; `judged` maps a match's id to its row.
    """

    known: Mapping[str, Candidates]
    ask: Ask
    judged: dict[str, Judgement] = field(default_factory=dict)

    def __call__(self, matches: list[Match]) -> list[str | None]:
        fresh = {m.id: m for m in matches if m.id not in self.judged}
        pairs = [self.known[m.prompt].pair(m) for m in fresh.values()]
        self.judged |= {row.pair_id: row for row in (self.ask(pairs) if pairs else [])}
        return frozen(self.judged[m.id] for m in matches)(matches)


def own_scores(judge: Any, referee: Referee, progress: Callable | None = None) -> dict[str, dict[int, float]]:
    """Return prompt -> distinct candidate -> the judge's own score of it; NaN where none could be read.

    A scalar model's score, a verdict judge's level, or what a rubric judge gives a candidate that is shown beside
    itself (0-10, the mean of both sides): the one rubric judgement that hangs on no other candidate.
    """
    each = [(name, form) for name, row in referee.known.items() for form in sorted(set(row.forms()))]
    if getattr(judge, "format", None) in rubric.FORMATS:
        matches = [Match(name, form, form) for name, form in each]
        referee(matches)
        sides = [(referee.judged[m.id].score_a, referee.judged[m.id].score_b) for m in matches]
        known = [[x for x in both if x is not None] for both in sides]
        found = [sum(x) / len(x) if x else math.nan for x in known]
    else:
        asked = [referee.known[name].answered(form) for name, form in each]
        found = judge.score([p for p, _ in asked], [r for _, r in asked], progress)
    scores: dict[str, dict[int, float]] = {name: {} for name in referee.known}
    for (name, form), score in zip(each, found, strict=True):
        scores[name][form] = score
    return scores


def choose(
    judge: Any,
    rows: list[Candidates],
    how: str = "knockout",
    incumbent: str = "random",
    seed: int = 0,
    progress: Callable | None = None,
) -> list[Chosen]:
    """Choose the best candidate of every row and rank the others; `how` is one of `search.tournament.WAYS`.

    Raises ValueError on an unknown `how`, and where two rows have one id.
    """
    if how not in WAYS:
        raise ValueError(f"how {how!r} is none of {', '.join(WAYS)}")
    known = {row.id: row for row in rows}
    if len(known) < len(rows):
        raise ValueError(f"{len(rows) - len(known)} rows of candidates repeat an id; every row needs its own")
    forms = {name: row.forms() for name, row in known.items()}
    referee = Referee(known, asking(judge, progress))
    if how == "knockout":
        ladders = knock_out(forms, referee, incumbent, seed)
        orders = {name: [ladder.leads[-1], *reversed(ladder.lost)] for name, ladder in ladders.items()}
        strengths = dict.fromkeys(known)
    else:
        strengths = round_robin(forms, referee) if how == "round-robin" else own_scores(judge, referee, progress)
        orders = {name: _falling(found) for name, found in strengths.items()}
    compared: dict[str, list[Compared]] = {name: [] for name in known}
    for row in referee.judged.values():
        name, _, sides = row.pair_id.rpartition("#")
        a, b = map(int, sides.split("-"))
        found = verdict.read(row.raw, judge.format).reasoning if hasattr(judge, "format") else ""
        reason = found.replace("<think>", "").replace("</think>", "").strip() or row.raw
        compared[name].append(Compared(a=a, b=b, verdict=row.verdict, status=row.status, reason=reason))
    chosen = []
    for name in known:
        said = compared[name]
        worth = strengths[name]
        finite = worth and {form: x if math.isfinite(x) else None for form, x in worth.items()}
        alone = how == "scalar" and not said  # scores that are no judgements: one a distinct candidate
        chosen.append(
            Chosen(
                id=name,
                how=how,
                model=judge.name,
                best=orders[name][0],
                ranks=[1 + orders[name].index(form) for form in forms[name]],
                strengths=finite and [finite[form] for form in forms[name]],
                ties=_ties(finite, said),
                calls=len(worth) if alone else len(said),
                failed=sum(x is None for x in finite.values()) if alone else sum(c.status not in READ for c in said),
                comparisons=said,
            )
        )
    return chosen


def _ties(strengths: Mapping[int, float | None] | None, said: list[Compared]) -> list[list[int]]:
    """Return the candidates of each strength that several have, best first; equal as `highest` takes them.

    Without strengths those of each match that was a tie.
    """
    if strengths is None:
        return [sorted((one.a, one.b)) for one in said if one.status in READ and one.verdict == "tie"]
    shared: defaultdict[float, list[int]] = defaultdict(list)
    for form, strength in sorted(strengths.items()):
        if strength is not None:
            shared[round(strength, 9)].append(form)
    return [shared[strength] for strength in sorted(shared, reverse=True) if len(shared[strength]) > 1]


def _falling(strengths: dict[int, float]) -> list[int]:
    """Return candidates from the best to the worst, as `highest` would choose them in turn."""
    left = dict(strengths)
    order = []
    while left:
        order.append(highest(left))
        del left[order[-1]]
    return order
