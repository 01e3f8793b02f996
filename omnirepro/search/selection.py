"""From searches to preference pairs for DPO: which judgement is chosen, which rejected, and when neither is used.

Consumes traces whose search was always extended, with the policy's own direct judgement; produces rows of prompt,
chosen and rejected text. Only here, and nowhere in the search, is a gold label read: it filters.

Rules (`RULES`):
- paper: the policy's judgement is wrong, that of the `top` criteria by meta-reward is right (Section 3.3); the second
  is chosen, the first rejected.
- shared: the policy's judgement is wrong, that of the very same criteria, each judged alone, is right; chosen and
  rejected begin alike and part in the critiques and the verdict, so that no first word tells which is preferred.
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
from omnirepro.judge.criteria import (
    CriterionJudgement,
    Task,
    parse_direct,
    render_criteria,
    render_direct,
    render_judgement,
    vote,
)
from omnirepro.reward.meta import rank
from omnirepro.search.trace import Trace, rerank, values

RULES = ("paper", "shared", "code", "code-unsorted")


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
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; one of {', '.join(RULES)}")
    found = []
    if rule in ("paper", "shared"):
        for trace, text in zip(traces, outputs, strict=True):
            found += _improved(trace, text, rule, variant, top, seed)
        return found
    worth = [(trace, values(trace, variant, seed)) for trace, _ in zip(traces, outputs, strict=True)]
    spreads = []  # the largest less the smallest meta-reward, or the first less the last as written
    for _, each in worth:
        known = [v for v in each if not math.isnan(v)]
        known = sorted(known, reverse=True) if rule == "code" else known
        spreads.append(known[0] - known[-1] if len(known) > 1 else math.nan)
    known = [s for s in spreads if not math.isnan(s)]
    least = float(np.quantile(known, spread_quantile)) if known else math.inf
    for (trace, each), spread in zip(worth, spreads, strict=True):
        found += _code(trace, rank(each)) if spread >= least else []
    return found


def composed(trace: Trace, variant: str, top: int = 3, seed: int = 0) -> tuple[tuple[str, ...], CriterionJudgement]:
    """Return the best `top` criteria that judged validly, and their vote: the improved judgement."""
    best = [trace.tried[i] for i in rerank(trace, variant, seed) if trace.tried[i].said][:top]
    criteria = tuple(t.criterion for t in best)
    return criteria, vote(criteria, [t.judged for t in best])


def label_of(trace: Trace) -> str | None:
    """Return the gold label in the displayed frame."""
    return trace.pair.label if trace.order == "AB" else swap_verdict(trace.pair.label)


def _improved(trace: Trace, text: str, rule: str, variant: str, top: int, seed: int) -> list[Preference]:
    """Prefer the improved judgement to the policy's own `text`, where it is right and can be written."""
    if rule == "paper":
        criteria, judged = composed(trace, variant, top, seed)
        fits = len(criteria) == top
    else:
        own = [tried for tried in trace.tried if tried.round == 0]
        criteria = tuple(tried.criterion for tried in own)
        judged = vote(criteria, [tried.judged for tried in own])
        fits = len(own) == top and criteria == parse_direct(text, top)[0]
    if not fits or judged.verdict != label_of(trace):
        return []
    try:
        written = render_direct(criteria, judged)
    except ValueError:  # a critique that itself holds a tag cannot be written
        return []
    task = Task("direct", trace.shown, count=len(criteria))
    return [Preference(task, written, text, trace.pair.id, trace.order)] if written != text else []


def _code(trace: Trace, order: list[int]) -> list[Preference]:
    gold = label_of(trace)
    where = (trace.pair.id, trace.order)
    valid = [i for i in order if trace.tried[i].said]
    best = trace.tried[valid[0]]
    worst = trace.tried[valid[-1]]
    rows = []
    if best.said == gold and worst.said not in (gold, None):
        task = Task("judge", trace.shown, (best.criterion,))
        rows.append(Preference(task, render_judgement(best.judged), render_judgement(worst.judged), *where))
    ranked, unranked = ([trace.tried[i].criterion for i in some] for some in (valid, sorted(valid)))
    if ranked != unranked and best.said == gold:
        task = Task("write", trace.shown, count=len(valid))
        rows.append(Preference(task, render_criteria(ranked), render_criteria(unranked), *where))
    return rows
