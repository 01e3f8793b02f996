"""From searches to preference pairs for DPO: which judgement is chosen, which rejected, and when neither is used.

Consumes traces whose search was always extended, with the policy's own direct judgement; produces rows of prompt,
chosen and rejected text. Only here, and nowhere in the search, is a gold label read: it filters.

Rules (`RULES`):
- paper: the policy's judgement is wrong, that of the `top` criteria by meta-reward is right (Section 3.3); the second
  is chosen, the first rejected.
- code: as the authors' code intends: the best criterion judges rightly (chosen), the worst wrongly (rejected), and
  their meta-rewards lie at least a threshold apart; beside it a pair of criteria lists, ranked against original order.
- code-unsorted: the same with the spread taken between first and last as written, which is what the code computes.

Departure: the published thresholds (5, 20) are on another scalar model's scale; here they are quantiles of the spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from omnirepro.data import swap_verdict
from omnirepro.judge.criteria import CriterionJudgement, Task, render_criteria, render_direct, render_judgement, vote
from omnirepro.search.trace import Trace, rerank, values

RULES = ("paper", "code", "code-unsorted")


@dataclass(frozen=True)
class Preference:
    """A row for DPO: the task that was asked, and two answers to it; `pair_id` and `order` say where it is from."""

    task: Task
    chosen: str
    rejected: str
    pair_id: str
    order: str

    def record(self) -> dict[str, str]:
        return {k: v for k, v in asdict(self).items() if k != "task"} | {"kind": self.task.kind}


def select(
    traces: Iterable[Trace],
    outputs: Iterable[str],
    rule: str = "paper",
    variant: str = "published",
    top: int = 3,
    spread_quantile: float = 0.25,
    seed: int = 0,
) -> list[Preference]:
    """Return the preferences that a rule makes; `outputs` holds the policy's own direct judgement a trace, as text.

    `spread_quantile` in [0, 1]: under the rules of the code, the share of the smallest spreads that is left out. Raises
    ValueError on an unknown rule.
    """  # fmt: skip
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; one of {', '.join(RULES)}")
    both = list(zip(traces, outputs, strict=True))
    if rule == "paper":
        return [row for trace, text in both for row in _paper(trace, text, variant, top, seed)]
    spreads = [_spread(trace, variant, seed, rule == "code") for trace, _ in both]
    known = [s for s in spreads if not math.isnan(s)]
    least = float(np.quantile(known, spread_quantile)) if known else math.inf
    wide = [trace for (trace, _), spread in zip(both, spreads, strict=True) if spread >= least]
    return [row for trace in wide for row in _code(trace, variant, seed)]


def composed(trace: Trace, variant: str, top: int = 3, seed: int = 0) -> tuple[tuple[str, ...], CriterionJudgement]:
    """Return the best `top` criteria that judged validly, and their vote: the improved judgement."""
    best = [trace.tried[i] for i in rerank(trace, variant, seed) if trace.tried[i].said][:top]
    criteria = tuple(t.criterion for t in best)
    return criteria, vote(criteria, [t.judged for t in best])


def label_of(trace: Trace) -> str | None:
    """Return the gold label in the displayed frame."""
    return trace.pair.label if trace.order == "AB" else swap_verdict(trace.pair.label)


def _paper(trace: Trace, text: str, variant: str, top: int, seed: int) -> list[Preference]:
    criteria, judged = composed(trace, variant, top, seed)
    if len(criteria) < top or judged.verdict != label_of(trace) or not (written := _written(criteria, judged)):
        return []
    return [_row(trace, Task("direct", trace.shown, count=top), written, text)] if written != text else []


def _code(trace: Trace, variant: str, seed: int) -> list[Preference]:
    order, gold = rerank(trace, variant, seed), label_of(trace)
    valid = [i for i in order if trace.tried[i].said]
    best, worst = trace.tried[valid[0]], trace.tried[valid[-1]]
    rows = []
    if best.said == gold and worst.said not in (gold, None):
        task = Task("judge", trace.shown, (best.criterion,))
        rows.append(_row(trace, task, render_judgement(best.judged), render_judgement(worst.judged)))
    ranked, unranked = ([trace.tried[i].criterion for i in some] for some in (valid, sorted(valid)))
    if ranked != unranked and best.said == gold:
        task = Task("write", trace.shown, count=len(valid))
        rows.append(_row(trace, task, render_criteria(ranked), render_criteria(unranked)))
    return rows


def _spread(trace: Trace, variant: str, seed: int, sort: bool) -> float:
    """Return the largest less the smallest meta-reward, or the first less the last as written."""
    found = [v for v in values(trace, variant, seed) if not math.isnan(v)]
    found = sorted(found, reverse=True) if sort else found
    return found[0] - found[-1] if len(found) > 1 else math.nan


def _written(criteria: tuple[str, ...], judged: CriterionJudgement) -> str:
    try:
        return render_direct(criteria, judged)
    except ValueError:  # a critique that itself holds a tag cannot be written
        return ""


def _row(trace: Trace, task: Task, chosen: str, rejected: str) -> Preference:
    return Preference(task, chosen, rejected, trace.pair.id, trace.order)
