"""What a search leaves behind for one pair and displayed order: trajectories, scores, the outcome, and its cost."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from omnirepro.data import READ, Judgement, Order, Pair
from omnirepro.judge.criteria import Answer, CriterionJudgement
from omnirepro.reward.meta import meta_rewards, rank


@dataclass(frozen=True)
class Budget:
    """Upper bounds for one pair in one displayed order: calls a role, and tokens generated a role."""

    calls: dict[str, int]
    tokens: dict[str, int]

    @property
    def judge_calls(self) -> int:
        return self.calls["genrm"]


@dataclass
class Trajectory:
    """One criterion's way: tau = (c, j, refined A, refined B, their scores), as displayed (GRM-Omni, Section 2).

    `round` is 0 for an initial criterion, else the number of the extension. What failed or was not asked is None.
    """

    criterion: str
    round: int
    judged: CriterionJudgement | None = None
    raw: str = ""
    refined: dict[str, str | None] = field(default_factory=dict)
    scores: dict[str, float | None] = field(default_factory=dict)
    meta: float = math.nan

    @property
    def said(self) -> str | None:
        return self.judged.said if self.judged else None


@dataclass
class Trace:
    """One search. `shown` is the pair as displayed, without its label; everything but `row` is in that frame."""

    pair: Pair
    order: Order
    shown: Pair
    tried: list[Trajectory] = field(default_factory=list)
    first: CriterionJudgement | None = None
    doubt: str | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    ranking: list[int] = field(default_factory=list)
    merged: tuple[str, ...] = ()
    judged: CriterionJudgement | None = None
    raw: str = ""
    failures: Counter = field(default_factory=Counter)
    calls: Counter = field(default_factory=Counter)
    tokens: Counter = field(default_factory=Counter)

    def spend(self, role: str, kind: str, answer: Answer) -> None:
        """Book one answer, and its failure where it is one."""
        self.calls[role] += 1
        self.tokens[role] += answer.tokens
        if answer.status not in READ:
            self.failures[f"{kind}:{answer.status}"] += 1

    @property
    def key(self) -> str:
        """Name the trace by its pair and displayed order."""
        return f"{self.pair.id} {self.order}"

    @property
    def status(self) -> str:
        """ "ok", the rule that the last judgement broke, or "no_criteria" where none could be read."""
        return self.judged.status if self.judged and self.tried else "no_criteria"

    def row(self, model: str, decoding: dict, seed: int) -> Judgement:
        """Freeze the outcome as a judgement in the pair's own frame; the cost stands in `decoding`."""
        judged = self.judged or CriterionJudgement("no_criteria")
        spent = {
            "doubt": self.doubt,
            "criteria": len(self.tried),
            "calls": dict(self.calls),
            "generated": dict(self.tokens),
            "failures": dict(self.failures),
        }
        made = {"raw": self.raw, "tokens": sum(self.tokens.values()), "decoding": decoding | spent, "seed": seed}
        about = {"model": model, "kind": "criterion", "status": self.status}
        return Judgement.of(self.pair, self.order, judged, **about, **made)


def rerank(trace: Trace, variant: str, seed: int = 0) -> list[int]:
    """Return the trajectories' indices, best first, under a variant of the meta-reward; what failed comes last.

    Reads the trace alone, so that one search serves every variant that needs no more than it computed. The draws of
    "random" hang on pair, order and seed.
    """
    return rank(values(trace, variant, seed))


def values(trace: Trace, variant: str, seed: int = 0) -> list[float]:
    """Return each trajectory's meta-reward, in logits of the scalar model; NaN at the index of one that failed."""
    verdicts = [t.said for t in trace.tried]
    refined = [(t.scores.get("A"), t.scores.get("B")) for t in trace.tried]
    both = trace.scores.get("A"), trace.scores.get("B")
    return meta_rewards(verdicts, both, refined, variant, f"{trace.pair.id}/{trace.order}/{seed}")
