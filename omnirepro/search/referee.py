"""A judge as the referee of matches: it is asked each match once, as displayed, and every judgement is kept.

Consumes rows of candidates and any judge (rubric, verdict, scalar, endpoint); produces judgements, scores, choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from omnirepro.data import Judgement, Pair
from omnirepro.judge import rubric, verdict
from omnirepro.search.candidates import Candidates, Chosen, Compared
from omnirepro.search.tournament import WAYS, Match, frozen, highest, knock_out, round_robin

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
        found = [_beside_itself(referee.judged[m.id]) for m in matches]
    else:
        asked = [referee.known[name].answered(form) for name, form in each]
        found = judge.score([p for p, _ in asked], [r for _, r in asked], progress)
    scores: dict[str, dict[int, float]] = {name: {} for name in referee.known}
    for (name, form), score in zip(each, found, strict=True):
        scores[name][form] = score
    return scores


def _beside_itself(row: Judgement) -> float:
    known = [x for x in (row.score_a, row.score_b) if x is not None]
    return sum(known) / len(known) if known else math.nan


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
    said = _reasons(judge, referee)
    return [
        _chosen(row.id, how, judge.name, forms[row.id], orders[row.id], strengths[row.id], said[row.id]) for row in rows
    ]


def _falling(strengths: dict[int, float]) -> list[int]:
    """Return candidates from the best to the worst, as `highest` would choose them in turn."""
    left, order = dict(strengths), []
    while left:
        order.append(highest(left))
        del left[order[-1]]
    return order


def _chosen(
    name: str, how: str, model: str, forms: list[int], order: list[int], strengths: Any, said: list[Compared]
) -> Chosen:
    found = strengths and [strengths[f] if math.isfinite(strengths[f]) else None for f in forms]
    alone = how == "scalar" and not said  # scores that are no judgements: one a distinct candidate
    return Chosen(
        id=name, how=how, model=model, best=order[0], ranks=[1 + order.index(f) for f in forms], strengths=found,
        calls=len(strengths) if alone else len(said), comparisons=said,
        failed=sum(not math.isfinite(x) for x in strengths.values()) if alone else sum(c.status != "ok" for c in said),
    )  # fmt: skip


def _reasons(judge: Any, referee: Referee) -> dict[str, list[Compared]]:
    """Return each prompt's comparisons, in the order in which they were made."""
    said: dict[str, list[Compared]] = {name: [] for name in referee.known}
    for row in referee.judged.values():
        said[row.pair_id.rpartition("#")[0]].append(_compared(judge, row))
    return said


def _compared(judge: Any, row: Judgement) -> Compared:
    a, b = row.pair_id.rpartition("#")[2].split("-")
    found = verdict.parse(row.raw, judge.format).reasoning if hasattr(judge, "format") else ""
    reason = found.replace("<think>", "").replace("</think>", "").strip() or row.raw
    return Compared(a=int(a), b=int(b), verdict=row.verdict, status=row.status, reason=reason)
