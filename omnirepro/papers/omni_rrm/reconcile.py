"""Reconciliation: what two teachers agree on becomes a label (Omni-RRM, Section 3.3).

Consumes two lists of labels for the same pairs; produces kept labels, dropped ones with a reason, and conserves
counts. Rules by name, the first as in the project's release (default), the others from the paper's digest and as
controls:

    published   both verdicts equal and not a tie, each consistent with its scores
    with-ties   as published, but agreed ties are kept
    merge       verdicts equal and not a tie; contradicting scores are allowed and averaged
    strict      as published, and all marks of both sides equal
    floor       as published, and at least one candidate scores 3 or more
    first       the first teacher alone, ties dropped
    none        every pair that both could judge, by the mean of both scores
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from omnirepro.data import Label
from omnirepro.judge.rubric import ranking

QUALITY_FLOOR = 3.0


@dataclass(frozen=True)
class Dropped:
    """A pair that a rule did not keep, with the reason and both labels."""

    pair_id: str
    reason: str
    labels: tuple[Label, Label]


@dataclass(frozen=True)
class Reconciled:
    """The outcome of one rule; `kept` and `dropped` partition the input."""

    rule: str
    kept: list[Label]
    dropped: list[Dropped]

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(d.reason for d in self.dropped))

    @property
    def coverage(self) -> float:
        """Share of the pairs that are kept."""
        return len(self.kept) / max(1, len(self.kept) + len(self.dropped))


def reconcile(labels_a: list[Label], labels_b: list[Label], rule: str = "published") -> Reconciled:
    """Apply a rule to two teachers' labels. Raises ValueError for an unknown rule or unmatched pairs."""
    if rule not in RULES:
        raise ValueError(f"unknown reconciliation rule {rule!r}; known: {', '.join(RULES)}")
    other = {label.pair_id: label for label in labels_b}
    ids = [label.pair_id for label in labels_a]
    if len(set(ids)) != len(ids) or set(ids) != set(other) or len(labels_b) != len(ids):
        raise ValueError(
            "both teachers must label the same pairs, each once: label the missing pairs or drop the extra ones"
        )
    kept = []
    dropped = []
    for a in labels_a:
        b = other[a.pair_id]
        asked = (a,) if rule == "first" else (a, b)
        legible = all(label.confidence != 0.0 for label in asked)
        reason = RULES[rule](a, b) if legible else "a teacher's judgement was unreadable"
        if reason is None and (merged := merge(a, b, rule)) is not None:
            kept.append(merged)
        else:
            dropped.append(Dropped(a.pair_id, reason or "averaged scores contradict the verdict", (a, b)))
    assert len(kept) + len(dropped) == len(labels_a), "reconciliation must conserve the number of pairs"
    return Reconciled(rule, kept, dropped)


def merge(a: Label, b: Label, rule: str) -> Label | None:
    """Merge two labels: scores averaged, marks of the first where they differ; None if scores then contradict."""
    if rule == "first":
        return a
    mean_a = (a.score_a + b.score_a) / 2
    mean_b = (a.score_b + b.score_b) / 2
    verdict = ranking(mean_a, mean_b) if rule == "none" else a.verdict
    score_a, score_b = _whole(mean_a, mean_b, verdict)
    if ranking(score_a, score_b) != verdict:
        return None
    closer = min((a, b), key=lambda x: abs(x.score_a - score_a) + abs(x.score_b - score_b))
    return closer.model_copy(
        update={
            "verdict": verdict,
            "score_a": score_a,
            "score_b": score_b,
            "provenance": f"{rule}({a.provenance}, {b.provenance})",
        }
    )


def divide(labels: list[Label], rl_share: float) -> tuple[list[Label], list[Label]]:
    """Divide kept labels between supervised fine-tuning and reinforcement, by a hash of the pair's id.

    Omni-Preference does the same (24.3K and 16.7K rows): reinforcement needs pairs whose judgement was not shown.
    """
    later = {x.pair_id for x in labels if int(sha256(x.pair_id.encode()).hexdigest()[:8], 16) % 1000 < 1000 * rl_share}
    return [x for x in labels if x.pair_id not in later], [x for x in labels if x.pair_id in later]


def _whole(score_a: float, score_b: float, verdict: str) -> tuple[int, int]:
    """Round mean scores to integers away from each other, so that rounding cannot make a tie of a preference."""
    rounded = [math.ceil(score - 0.5) for score in (score_a, score_b)]
    if verdict == "A":
        rounded[0] = math.floor(score_a + 0.5)
    elif verdict == "B":
        rounded[1] = math.floor(score_b + 0.5)
    return tuple(rounded)


def _published(a: Label, b: Label) -> str | None:
    return _agree(a, b) or _tie(a) or _consistent(a) or _consistent(b)


def _agree(a: Label, b: Label) -> str | None:
    return None if a.verdict == b.verdict else "verdicts conflict"


def _tie(a: Label) -> str | None:
    return "tie" if a.verdict == "tie" else None


def _consistent(label: Label) -> str | None:
    return None if ranking(label.score_a, label.score_b) == label.verdict else "scores contradict the verdict"


def _strict(a: Label, b: Label) -> str | None:
    same = a.marks_a == b.marks_a and a.marks_b == b.marks_b
    return _published(a, b) or (None if same else "justifications differ")


def _floor(a: Label, b: Label) -> str | None:
    best = max(a.score_a + b.score_a, a.score_b + b.score_b) / 2
    return _published(a, b) or (None if best >= QUALITY_FLOOR else "both candidates below the quality floor")


RULES: dict[str, Callable[[Label, Label], str | None]] = {
    "published": _published,
    "with-ties": lambda a, b: _agree(a, b) or _consistent(a) or _consistent(b),
    "merge": lambda a, b: _agree(a, b) or _tie(a),
    "strict": _strict,
    "floor": _floor,
    "first": lambda a, b: _tie(a) or _consistent(a),
    "none": lambda a, b: None,
}
