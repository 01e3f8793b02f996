"""The steps of a search that several parts share: open a trace, ask a role, score, refine; each is one batch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from omnirepro.data import Pair, text_part
from omnirepro.judge.criteria import Answer, DisRM, Role, Task
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.search.trace import Trace, Trajectory

Asked = list[tuple[Trace, Task]]


def margin_quantile(disrm: ScalarJudge, pairs: Iterable[Pair], quantile: float) -> float:
    """Return the quantile, in logits, of |score_a - score_b| over (development) pairs, for `unsure_margin`.

    Raises ValueError where no pair has finite scores.
    """
    traces = [open_trace(pair, "AB") for pair in pairs]
    score_originals({"disrm": DisRM(disrm)}, traces)
    gaps = [g for g in map(gap, traces) if not math.isnan(g)]
    if not gaps:
        raise ValueError("no pair has two finite scores: there is no margin to take a quantile of")
    return float(np.quantile(gaps, quantile))


def open_trace(pair: Pair, order: str) -> Trace:
    """Begin a trace; no role sees labels, margins, sources or the world's notes."""
    shown = pair if order == "AB" else pair.swap()
    return Trace(pair, order, shown.model_copy(update=dict.fromkeys(("label", "margin", "source", "meta"))))


def ask(roles: dict[str, Role], name: str, asked: Asked) -> list[Answer]:
    """Put a batch of tasks to a role and book each answer on its trace."""
    answers = roles[name].answer([task for _, task in asked]) if asked else []
    for (trace, task), answer in zip(asked, answers, strict=True):
        trace.spend(name, task.kind, answer)
    return answers


def gap(trace: Trace) -> float:
    """Return |score A - score B| of the original responses, in logits; NaN where one is missing."""
    a, b = trace.scores["A"], trace.scores["B"]
    return math.nan if a is None or b is None else abs(a - b)


def score_originals(roles: dict[str, Role], traces: list[Trace]) -> None:
    """Have both original responses of every trace scored."""
    asked = [(trace, Task("score", trace.shown, side=side)) for trace in traces for side in "AB"]
    for (trace, task), answer in zip(asked, ask(roles, "disrm", asked), strict=True):
        trace.scores[task.side] = answer.value


def refine(roles: dict[str, Role], sides: list[tuple[Trace, Trajectory, str]]) -> None:
    """Refine one side of a trajectory after its critique, and score it; what holds media keeps its score."""
    asked = [(trace, _refinement(trace, tried, side)) for trace, tried, side in sides]
    fixed = [all(part.type == "text" for part in task.parts) for _, task in asked]
    for (trace, tried, side), text in zip(sides, fixed, strict=True):
        tried.scores[side] = None if text else trace.scores[side]
    sides = [side for side, text in zip(sides, fixed, strict=True) if text]
    answers = ask(roles, "policy", [task for task, text in zip(asked, fixed, strict=True) if text])
    scored = []
    for (trace, tried, side), answer in zip(sides, answers, strict=True):
        tried.refined[side] = answer.value if answer.status == "ok" else None
        if answer.status == "ok":
            response = (text_part(answer.value),)
            scored.append((tried, trace, Task("score", trace.shown, side=side, response=response)))
    answers = ask(roles, "disrm", [(trace, task) for _, trace, task in scored])
    for (tried, _, task), answer in zip(scored, answers, strict=True):
        tried.scores[task.side] = answer.value


def _refinement(trace: Trace, tried: Trajectory, side: str) -> Task:
    critique = tried.judged.critique_a if side == "A" else tried.judged.critique_b
    return Task("refine", trace.shown, side=side, notes=(critique,))
