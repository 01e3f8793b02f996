"""Reconciliation: what two teachers, or more, agree on becomes a label (Omni-RRM, Section 3.3).

Consumes a list of labels a teacher, all for the same pairs; produces kept labels, dropped ones with a reason, and
conserves counts. Rules by name, the first as in the project's release (default), the others from the digest and as
controls:

    published   all verdicts equal and not a tie, each consistent with its scores
    with-ties   as published, but agreed ties are kept
    merge       verdicts equal and not a tie; contradicting scores are allowed and averaged
    strict      as published, and all marks of both sides equal
    floor       as published, and at least one candidate scores 3 or more
    first       the first teacher alone, ties dropped
    none        every pair that all could judge, by the mean of their scores
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from omnirepro.data import Label
from omnirepro.judge.rubric import ranking

QUALITY_FLOOR = 3.0
# Statuses of judgements that a teacher did not give, or not to their end; all others could not be read.
UNGIVEN = {"refused": "refused", "filtered": "filtered", "cut": "cut", "too_long": "asked by too long a prompt"}


@dataclass(frozen=True)
class Dropped:
    """A pair that a rule did not keep, with the reason and its labels."""

    pair_id: str
    reason: str
    labels: tuple[Label, ...]


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


def reconcile(labels_a: list[Label], labels_b: list[Label], rule: str = "published", *more: list[Label]) -> Reconciled:
    """Apply a rule to two teachers' labels, or to `more`. Raises ValueError for an unknown rule or unmatched pairs."""
    if rule not in RULES:
        raise ValueError(f"unknown reconciliation rule {rule!r}; known: {', '.join(RULES)}")
    others = [{label.pair_id: label for label in labels} for labels in (labels_b, *more)]
    ids = [label.pair_id for label in labels_a]
    counts = {len(labels) for labels in (labels_a, labels_b, *more)}
    if len(set(ids)) != len(ids) or counts != {len(ids)} or any(set(ids) != set(other) for other in others):
        raise ValueError(
            "both teachers must label the same pairs, each once: label the missing pairs or drop the extra ones"
        )
    kept = []
    dropped = []
    for a in labels_a:
        labels = (a, *(other[a.pair_id] for other in others))
        asked = labels[:1] if rule == "first" else labels
        statuses = [label.provenance.rpartition(":")[2] for label in asked if label.confidence == 0.0]
        why = f"a teacher's judgement was {UNGIVEN.get(statuses[0], 'unreadable')}" if statuses else None
        reason = why or RULES[rule](*labels)
        if reason is None and (merged := merge(labels, rule)) is not None:
            kept.append(merged)
        else:
            dropped.append(Dropped(a.pair_id, reason or "averaged scores contradict the verdict", labels))
    assert len(kept) + len(dropped) == len(labels_a), "reconciliation must conserve the number of pairs"
    return Reconciled(rule, kept, dropped)


def merge(labels: Sequence[Label], rule: str) -> Label | None:
    """Merge labels: scores averaged, all else of the one nearest to them; None if scores then contradict."""
    a = labels[0]
    if rule == "first":
        return a
    mean_a = sum(label.score_a for label in labels) / len(labels)
    mean_b = sum(label.score_b for label in labels) / len(labels)
    verdict = ranking(mean_a, mean_b) if rule == "none" else a.verdict
    score_a, score_b = _whole(mean_a, mean_b, verdict)
    if ranking(score_a, score_b) != verdict:
        return None
    closer = min(labels, key=lambda x: abs(x.score_a - score_a) + abs(x.score_b - score_b))
    return closer.model_copy(
        update={
            "verdict": verdict,
            "score_a": score_a,
            "score_b": score_b,
            "provenance": f"{rule}({', '.join(label.provenance for label in labels)})",
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


def _agree(*labels: Label) -> str | None:
    return None if len({label.verdict for label in labels}) == 1 else "verdicts conflict"


def _tie(label: Label) -> str | None:
    return "tie" if label.verdict == "tie" else None


def _consistent(*labels: Label) -> str | None:
    same = all(ranking(label.score_a, label.score_b) == label.verdict for label in labels)
    return None if same else "scores contradict the verdict"


def _published(*labels: Label) -> str | None:
    return _agree(*labels) or _tie(labels[0]) or _consistent(*labels)


def _strict(*labels: Label) -> str | None:
    same = all((x.marks_a, x.marks_b) == (labels[0].marks_a, labels[0].marks_b) for x in labels)
    return _published(*labels) or (None if same else "justifications differ")


def _floor(*labels: Label) -> str | None:
    best = max(sum(x.score_a for x in labels), sum(x.score_b for x in labels)) / len(labels)
    return _published(*labels) or (None if best >= QUALITY_FLOOR else "both candidates below the quality floor")


RULES: dict[str, Callable[..., str | None]] = {
    "published": _published,
    "with-ties": lambda *labels: _agree(*labels) or _consistent(*labels),
    "merge": lambda *labels: _agree(*labels) or _tie(labels[0]),
    "strict": _strict,
    "floor": _floor,
    "first": lambda *labels: _tie(labels[0]) or _consistent(labels[0]),
    "none": lambda *labels: None,
}
