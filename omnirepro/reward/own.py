"""Rewards of the kit's own: verdict, consistency, closeness, and whether the verdict agrees with rationale and swap.

Consumes raw text and gold labels; produces numbers. Text is read by the strict parser, as evaluation reads it, so what
these rewards pay for is what evaluation counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from omnirepro.judge import rubric, verdict
from omnirepro.reward.published import TOP_SCORE, UNPARSABLE, Gold, closeness, truth_of

Marks = Mapping[str, Mapping[str, bool]]


def verdict_reward(text: str, gold: Gold, format: str = "rationale-first") -> float:
    """Return +1 for the gold verdict, -1 for another one and for none, the text being read in its `format`.

    A verdict that its scores contradict is legible and counts; `consistency_reward` is what punishes it.
    """
    return 1.0 if verdict.parse(text, format).verdict == truth_of(gold)[0] else -1.0


def consistency_reward(text: str, gold: Gold | None = None, format: str = "rationale-first") -> float:
    """Return 0 for a judgement that the strict parser accepts, -1 for one that breaks any rule; gold is not read."""
    return 0.0 if verdict.parse(text, format).status == "ok" else -1.0


def closeness_reward(text: str, gold: Gold, format: str = "rationale-first") -> float:
    """Return the closeness of the scores to the gold's in [-1, 1] (the term of R_pref); -1 where none are legible."""
    found = verdict.parse(text, format)
    if found.score_a is None or found.score_b is None:
        return UNPARSABLE
    return closeness((found.score_a, found.score_b), truth_of(gold)[1:])


def rationale_reward(text: str, gold: Gold | None = None, weights: Mapping[str, float] | None = None) -> float:
    """Return +1 where the verdict is the winner that its rationale's marks imply, -1 where not, 0 where none is.

    UniSRM pays for consistent reasoning too (arXiv:2605.23261); here a rule reads it. Gold is not read; `weights` as in
    `implied_winner`.
    """
    found = rubric.parse(text)
    winner = implied_winner(found.marks, weights)
    if winner is None or found.verdict is None:
        return 0.0
    return 1.0 if winner == found.verdict else -1.0


def swap_reward(
    text: str, gold: Gold | None = None, format: str = "rationale-first", other: str | None = None
) -> float:
    """Return +1 where the verdict is `other`, -1 where it is another one or none; 0 where there is no `other`.

    `other`: the majority's verdict of the same judge on the pair with its responses exchanged, as seen from here. Gold
    is not read. After the counterfactual consistency of MJ1 (arXiv:2603.07990), which pays against position bias.
    """
    if other is None:
        return 0.0
    return 1.0 if verdict.parse(text, format).verdict == other else -1.0


def implied_winner(marks: Marks, weights: Mapping[str, float] | None = None) -> str | None:
    """Return the verdict that a rationale's marks imply; None where they do not decide.

    Marks decide only where both sides are marked on the same dimensions. With `weights` (points that a poor dimension
    costs), the side with more of 10 points left wins. Without, a side wins where it is good wherever the other is, and
    more: counting would assume that all dimensions weigh the same.
    """
    a = marks["A"]
    b = marks["B"]
    if not a or set(a) != set(b):
        return None
    if weights is not None:
        points = [max(0, TOP_SCORE - sum(weights[d] for d, good in m.items() if not good)) for m in (a, b)]
        return rubric.ranking(*points)
    ahead = any(a[d] and not b[d] for d in a)
    behind = any(b[d] and not a[d] for d in a)
    return None if ahead and behind else rubric.ranking(ahead, behind)
