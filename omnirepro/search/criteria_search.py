"""The search loop: k criteria, doubt, n more, refinement, scores, ranking, one judgement (GRM-Omni, Section 3.2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from omnirepro.data import Judgement, Pair, Verdict, swap_verdict, text_part
from omnirepro.judge import criteria
from omnirepro.judge.criteria import Answer, DisRM, GenRM, Policy, Role, Task, unlabelled
from omnirepro.judge.generative import ORDERS, Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.reward.meta import REFINED, SCORED, VARIANTS, rank
from omnirepro.search.trace import Budget, Trace, Trajectory, values

EXTEND = ("doubt", "always", "never")
COMPOSE = ("merge", "vote")
Asked = list[tuple[Trace, Task]]


@dataclass
class CriteriaSearch:
    """Spend more compute on each pair: `judge.judge(pairs, scaling=CriteriaSearch(k=3, n=7, top=3, disrm=scalar))`.

    k, n: criteria at first and by extension, `per_call` at most asked of one call; top: how many are composed, by the
    model ("merge": one call) or without one ("vote"). The judge is the GenRM (asked for the `form` of its judgements);
    `policy` defaults to its model; `disrm` scores. `gold` (training only) maps a pair to its label: then a wrong first
    judgement is extended. Without it `doubt` decides. `extend` "always" or "never" overrules both.
    """

    k: int = 3
    n: int = 7
    top: int = 3
    disrm: ScalarJudge | DisRM | None = None
    policy: Policy | None = None
    variant: str = "published"
    extend: str = "doubt"
    gold: Callable[[Pair], Verdict | None] | None = None
    unsure_margin: float | None = None
    per_call: int = 10
    compose: str = "merge"
    form: str = "criterion"
    orders: str = "both"

    def __post_init__(self) -> None:
        """Raise ValueError on settings that cannot work."""
        chosen = {"variant": VARIANTS, "extend": EXTEND, "compose": COMPOSE, "orders": ORDERS}
        for name, known in chosen.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}: {value!r} is none of {', '.join(known)}")
        if min(self.k, self.top, self.per_call) < 1 or self.n < 0:
            raise ValueError("k, top and per_call are at least 1, n at least 0")
        ranked = self.extend != "never" and self.variant in SCORED
        if self.disrm is None and (ranked or self._reads_margin):
            raise ValueError(
                f"{self.variant!r} ranks by a scalar model: give disrm=load_judge(<folder of 05_bradley_terry>), or "
                'rank without one by variant="random"'
            )

    def run(self, judge: Judge, pairs: list[Pair]) -> list[Judgement]:
        """Judge every pair in the orders set; one row of kind "criterion" a pair and order, its cost in `decoding`."""
        names = ("k", "n", "top", "variant", "extend", "unsure_margin", "per_call", "compose", "form")
        settings = {name: getattr(self, name) for name in names} | {"trained": self.gold is not None}
        decoding = {"search": settings, "budget": asdict(self.budget(judge))} | asdict(judge.decoding)
        return [trace.row(judge.name, decoding, judge.seed) for trace in self.explore(judge, pairs)]

    def explore(
        self, judge: Judge, pairs: Iterable[Pair], begun: Mapping[str, Sequence[str]] | None = None
    ) -> list[Trace]:
        """Search every pair in the orders set and return the whole traces, pair by pair; a step is one batch.

        `begun` holds the first criteria of traces by their `key`; where there are none, `k` are written. Raises
        TypeError where the judge does not generate.
        """
        roles = self._roles(judge)
        traces = [Trace(p, order, unlabelled(p, order)) for p in pairs for order in ORDERS[self.orders]]
        first = {trace.key: criteria.distinct((begun or {}).get(trace.key, ())) for trace in traces}
        self._judge(roles, [(trace, Trajectory(c, 0)) for trace in traces for c in first[trace.key]])
        self._write(roles, [trace for trace in traces if not first[trace.key]], self.k, 0)
        if self._reads_margin:
            score_originals(roles, traces)
        for trace in traces:
            trace.first = criteria.vote([t.criterion for t in trace.tried], [t.judged for t in trace.tried])
            trace.doubt = self.doubt(trace)
        doubted = [trace for trace in traces if trace.doubt]
        self._write(roles, doubted, self.n, 1)
        self._rank(roles, doubted, judge.seed)
        self._compose(roles, traces)
        return traces

    def doubt(self, trace: Trace) -> str | None:
        """Return why a first judgement is extended, or None where it stands.

        "wrong": a gold label is given, and differs. Without one: "no_judgement": no initial criterion gave a valid
        judgement; "failed": one of them did not; "disagree": they name different sides; "close": the scalar model's
        scores differ by at most `unsure_margin` logits (a quantile, by `margin_quantile`), or one is missing.
        """
        if self.extend != "doubt":
            return "always" if self.extend == "always" else None
        if (label := self.gold and self.gold(trace.pair)) is not None:
            label = label if trace.order == "AB" else swap_verdict(label)
            return None if trace.first.said == label else "wrong"
        said = [t.said for t in trace.tried]
        if None in said or not said:
            return "failed" if any(said) else "no_judgement"
        if len(set(said)) > 1:
            return "disagree"
        return "close" if self._reads_margin and not gap(trace) > self.unsure_margin else None

    def budget(self, judge: Judge) -> Budget:
        """Return the most that one pair in one displayed order can cost; both orders cost twice that."""
        more = self.extend != "never"
        total = self.k + self.n * more
        writes = math.ceil(self.k / self.per_call) + math.ceil(self.n / self.per_call) * more
        refined = 2 * total * (more and self.variant in REFINED)
        originals = 2 * (self._reads_margin or (more and self.variant in SCORED))
        genrm = writes + total + (more and self.compose == "merge")
        calls = {"genrm": genrm, "policy": refined, "disrm": originals + refined}
        return Budget(calls, {name: calls[name] * role.limit for name, role in self._roles(judge).items()})

    @property
    def _reads_margin(self) -> bool:
        return self.unsure_margin is not None and self.extend == "doubt" and self.gold is None

    def _roles(self, judge: Judge) -> dict[str, Role]:
        if not hasattr(judge, "chat"):
            raise TypeError(f"{judge.name} gives scores and writes nothing: the search needs a generative judge")
        roles = {"genrm": GenRM.of(judge, self.form), "policy": self.policy or Policy.of(judge)}
        if self.disrm is None:
            return roles
        return roles | {"disrm": self.disrm if isinstance(self.disrm, DisRM) else DisRM(self.disrm)}

    def _write(self, roles: dict[str, Role], traces: list[Trace], total: int, first_round: int) -> None:
        """Have `total` criteria written, at most `per_call` a call, none known yet; judge under each."""
        for number, at in enumerate(range(0, total, self.per_call)):
            count = min(self.per_call, total - at)
            fresh = []
            known = {id(t): tuple(x.criterion for x in t.tried) for t in traces}
            asked = [(t, Task("write", t.shown, known[id(t)], count)) for t in traces]
            for (trace, _), answer in zip(asked, ask(roles, "genrm", asked), strict=True):
                new = [
                    Trajectory(c, first_round and number + 1) for c in criteria.distinct(answer.value, known[id(trace)])
                ]
                trace.failures += Counter({"write:duplicate": len(answer.value) - len(new)})  # + drops zeros
                fresh += [(trace, tried) for tried in new]
            self._judge(roles, fresh)

    def _judge(self, roles: dict[str, Role], fresh: list[tuple[Trace, Trajectory]]) -> None:
        """Judge each trace's pair under its new criteria, one at a time, and keep them with what was said."""
        asked = [(trace, Task("judge", trace.shown, (tried.criterion,))) for trace, tried in fresh]
        for (trace, tried), answer in zip(fresh, ask(roles, "genrm", asked), strict=True):
            tried.judged = answer.value
            tried.raw = answer.raw
            trace.tried.append(tried)

    def _rank(self, roles: dict[str, Role], traces: list[Trace], seed: int) -> None:
        """Refine and score what the variant reads, then rank; a judge's tie is worth 0 without refinement."""
        if self.variant in SCORED:
            score_originals(roles, [t for t in traces if not t.scores])
        if self.variant in REFINED:
            refine(roles, [(t, x, s) for t in traces for x in t.tried if x.said in ("A", "B") for s in "AB"])
        for trace in traces:
            worth = values(trace, self.variant, seed)
            for tried, value in zip(trace.tried, worth, strict=True):
                tried.meta = value
            trace.ranking = rank(worth)

    def _compose(self, roles: dict[str, Role], traces: list[Trace]) -> None:
        """Make one judgement of each trace: of all initial ones where there is no doubt, else of the `top` best."""
        merging = []
        for trace in traces:
            order = trace.ranking if trace.doubt else range(len(trace.tried))
            best = [trace.tried[i] for i in order if trace.tried[i].said][: self.top if trace.doubt else None]
            trace.merged = tuple(t.criterion for t in best)
            if best and trace.doubt and self.compose == "merge":
                notes = tuple(criteria.note(t.judged) for t in best)
                merging.append((trace, Task("merge", trace.shown, trace.merged, notes=notes)))
            else:
                trace.judged = criteria.vote(trace.merged, [t.judged for t in best])
                trace.raw = criteria.render_direct(trace.merged, trace.judged) if best else ""
        for (trace, _), answer in zip(merging, ask(roles, "genrm", merging), strict=True):
            trace.judged = answer.value[1]
            trace.raw = answer.raw


def margin_quantile(disrm: ScalarJudge, pairs: Iterable[Pair], quantile: float) -> float:
    """Return the quantile, in logits, of |score_a - score_b| over (development) pairs, for `unsure_margin`.

    Raises ValueError where no pair has finite scores.
    """
    traces = [Trace(pair, "AB", unlabelled(pair, "AB")) for pair in pairs]
    score_originals({"disrm": DisRM(disrm)}, traces)
    gaps = [g for g in map(gap, traces) if not math.isnan(g)]
    if not gaps:
        raise ValueError("no pair has two finite scores: there is no margin to take a quantile of")
    return float(np.quantile(gaps, quantile))


def ask(roles: dict[str, Role], name: str, asked: Asked) -> list[Answer]:
    """Put a batch of tasks to a role and book each answer on its trace."""
    answers = roles[name].answer([task for _, task in asked]) if asked else []
    for (trace, task), answer in zip(asked, answers, strict=True):
        trace.spend(name, task.kind, answer)
    return answers


def gap(trace: Trace) -> float:
    """Return |score A - score B| of the original responses, in logits; NaN where one is missing."""
    both = [trace.scores["A"], trace.scores["B"]]
    return math.nan if None in both else abs(both[0] - both[1])


def score_originals(roles: dict[str, Role], traces: list[Trace]) -> None:
    """Have both original responses of every trace scored."""
    asked = [(trace, Task("score", trace.shown, side=side)) for trace in traces for side in "AB"]
    for (trace, task), answer in zip(asked, ask(roles, "disrm", asked), strict=True):
        trace.scores[task.side] = answer.value


def refine(roles: dict[str, Role], sides: list[tuple[Trace, Trajectory, str]]) -> None:
    """Refine one side of a trajectory after its critique, and score it; what holds media keeps its score."""
    asked = []
    written = []
    for trace, tried, side in sides:
        critique = tried.judged.critique_a if side == "A" else tried.judged.critique_b
        task = Task("refine", trace.shown, side=side, notes=(critique,))
        if all(part.type == "text" for part in task.parts):
            asked.append((trace, task))
            written.append(tried)
        else:
            tried.scores[side] = trace.scores[side]
    scored = []
    for (trace, task), tried, answer in zip(asked, written, ask(roles, "policy", asked), strict=True):
        tried.scores[task.side] = None
        tried.refined[task.side] = None
        if answer.status == "ok":
            tried.refined[task.side] = answer.value
            response = (text_part(answer.value),)
            scored.append((tried, (trace, Task("score", trace.shown, side=task.side, response=response))))
    for (tried, (_, task)), answer in zip(scored, ask(roles, "disrm", [one for _, one in scored]), strict=True):
        tried.scores[task.side] = answer.value
