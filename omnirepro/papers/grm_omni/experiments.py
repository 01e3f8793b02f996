"""The experiments on criteria (GRM-Omni, Figures 4, 6, 8, 10 to 12, Section 4.5), each judge with each scalar model.

Consumes tuned judges, scalar models and test pairs; produces `criteria.csv`, a row a criterion with its judgement, its
meta-reward under every variant and the fault of a wrong one, and `methods.csv`, a row a pair and way to judge, with
its cost. Every figure and number of the notebook is computed from these two tables. Here, after all roles have
answered, the world's truth is read: it names faults, and decides nothing.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro.data import Pair, swap_verdict
from omnirepro.data.progress import progress
from omnirepro.judge.criteria import GenRM, judge_by
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import Run, require
from omnirepro.papers.grm_omni.model_pool import open_judge
from omnirepro.papers.grm_omni.role_examples import true_notes
from omnirepro.papers.grm_omni.roles import SECTION
from omnirepro.reward.meta import VARIANTS
from omnirepro.search import CriteriaSearch, Trace, Trajectory, margin_quantile
from omnirepro.search.selection import label_of
from omnirepro.search.trace import values
from omnirepro.toyworld.criteria.composed import POOL_BY_PHRASE, bearing, truth_under
from omnirepro.toyworld.facts import facts_of

FAULTS = ("biased criterion", "perception error", "misapplied criterion", "other")


def experiments(run: Run, models: dict[str, Path], scalars: dict[str, ScalarJudge], splits: dict[str, list]) -> None:
    """Search every ranking pair with every judge and scalar model; write `criteria.csv` and `methods.csv`.

    Raises `RunError` where no judge wrote a criterion that can be read: then there is nothing to rank.
    """
    p = run.section(SECTION)
    pairs = [q for q in splits["test"] if q.task in p["thinking"]][: p["rank_pairs"]]
    dev = [q for q in splits["dev"] if q.task in p["thinking"]]
    unsure = margin_quantile(scalars["better"], dev, p["unsure_quantile"])
    tables, methods = [], [_scalar_rows(scalar, name, pairs) for name, scalar in scalars.items()]
    for model, folder in models.items():
        judge = open_judge(run, folder, model)
        for name, scalar in scalars.items():
            traces = _search(run, scalar, "always").explore(judge, pairs)
            tables.append(pd.concat([criterion_rows(t) for t in traces]).assign(model=model, scalar=name))
        methods += _methods(run, judge, pairs, scalars["better"], unsure)
    table = pd.concat(tables, ignore_index=True)
    todo = f"see sft-loss.csv, raise {SECTION}.sft_steps and run notebook 06 again, or train another backbone (00)"
    require(len(table), f"no judge wrote a criterion that can be read, so that there is nothing to rank: {todo}")
    run.write("criteria.csv", table.round(5).to_csv(index=False))
    run.write("methods.csv", pd.concat(methods, ignore_index=True).to_csv(index=False))


def _search(run: Run, scalar: ScalarJudge | None, extend: str, **changes) -> CriteriaSearch:
    p = run.section(SECTION)
    known = {"k": p["k"], "n": p["rank_criteria"] - p["k"], "top": p["top"], "per_call": p["per_call"]}
    return CriteriaSearch(
        **known
        | {"disrm": scalar, "variant": p["variant"], "extend": extend, "compose": "vote", "orders": "AB"}
        | changes
    )


def criterion_rows(trace: Trace) -> pd.DataFrame:
    """Return a row a criterion of one search, at its place as written: what was said, its worth, its fault."""
    worth = {variant: values(trace, variant) for variant in VARIANTS}
    gold, scored = label_of(trace), trace.scores
    rows = [
        {
            "pair_id": trace.pair.id, "order": trace.order, "cluster": trace.pair.cluster_id,
            "points": trace.pair.margin, "place": i, "criterion": tried.criterion, "said": tried.said, "gold": gold,
            "correct": int(tried.said == gold), "fault": fault(trace, tried, gold),
            "bearing": _bearing(tried.criterion), "score_a": scored.get("A"), "score_b": scored.get("B"),
            "refined_a": tried.scores.get("A"), "refined_b": tried.scores.get("B"),
        }
        | {variant: worth[variant][i] for variant in VARIANTS}
        for i, tried in enumerate(trace.tried)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def fault(trace: Trace, tried: Trajectory, gold: str) -> str:
    """Name what is wrong with a judgement under one criterion, from the world's truth; empty where it is right.

    biased criterion: the judge follows a criterion that does not favour the better response; perception error: a
    critique states what is not so; misapplied criterion: its critiques are true, its verdict does not follow; other:
    nothing valid was said, or the words are no criterion of the world.
    """
    if tried.said == gold:
        return ""
    truth = truth_under(trace.pair, tried.criterion)
    if tried.said is None or truth is None:
        return "other"
    truth = truth if trace.order == "AB" else swap_verdict(truth)
    if tried.said == truth:
        return "biased criterion"
    a, b = facts_of(trace.pair)[:: 1 if trace.order == "AB" else -1]
    known = POOL_BY_PHRASE[tried.criterion]
    seen = true_notes(known, a, b) == (tried.judged.critique_a, tried.judged.critique_b)
    return "misapplied criterion" if seen else "perception error"


def _bearing(criterion: str) -> str:
    return bearing(POOL_BY_PHRASE[criterion]) if criterion in POOL_BY_PHRASE else "unknown"


def _methods(run: Run, judge: Judge, pairs: list[Pair], scalar: ScalarJudge, unsure: float) -> list[pd.DataFrame]:
    """Judge the pairs in every way, from one criterion to the whole search, and count what each costs."""
    p = run.section(SECTION)
    direct = judge_by(GenRM.of(judge), pairs, "direct", p["top"], "AB", progress(f"{judge.name}, direct"))
    rows = [(r.pair_id, r.cluster, r.margin, int(r.verdict == r.label), 1, 1, r.tokens) for r in direct]
    tables = [_table(rows, judge.name, "direct judgement")]
    ways = {
        "one criterion": _search(run, None, "never", k=1),
        f"vote over {p['k']} criteria": _search(run, None, "never"),
        "search where in doubt": _search(run, scalar, "doubt", unsure_margin=unsure),
        "search always": _search(run, scalar, "always"),
    }
    for name, search in ways.items():
        traces = search.explore(judge, pairs)
        rows = [
            (t.pair.id, t.pair.cluster_id, t.pair.margin, int(t.judged is not None and t.judged.said == label_of(t)),
             t.calls["genrm"], sum(t.calls.values()), sum(t.tokens.values()))
            for t in traces
        ]  # fmt: skip
        tables.append(_table(rows, judge.name, name))
    return tables


def _scalar_rows(scalar: ScalarJudge, name: str, pairs: list[Pair]) -> pd.DataFrame:
    scored = scalar.judge(pairs, orders="AB")
    rows = [(r.pair_id, r.cluster, r.margin, int(r.verdict == r.label), 0, 2, 0) for r in scored]
    return _table(rows, f"scalar, {name}", "scalar model alone")


def _table(rows: list[tuple], model: str, method: str) -> pd.DataFrame:
    names = ["pair_id", "cluster", "margin", "correct", "judge_calls", "calls", "tokens"]
    return pd.DataFrame(rows, columns=names).assign(model=model, method=method)
