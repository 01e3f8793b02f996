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
from omnirepro.judge.criteria import GenRM, Policy, judge_by
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
from omnirepro.toyworld.facts import facts_of, has_facts

# The ways to judge, as `methods.csv` names them.
ALONE = "scalar model alone"
DIRECT = "direct judgement"
IN_DOUBT = "search where in doubt"
ALWAYS = "search always"
FAULTS = ("biased criterion", "perception error", "misapplied criterion", "other")


def experiments(
    run: Run,
    models: dict[str, Path | str],
    scalars: dict[str, ScalarJudge],
    splits: dict[str, list],
    policy: Policy | None = None,
) -> None:
    """Search every ranking pair with every judge and scalar model; write `criteria.csv` and `methods.csv`.

    Raises `RunError` where no judge wrote a criterion that can be read: then there is nothing to rank. Of pairs from
    elsewhere that is said, and no table written.
    """
    p = run.section(SECTION)
    pairs = [q for q in splits["test"] if q.task in p["thinking"]][: p["rank_pairs"]]
    dev = [q for q in splits["dev"] if q.task in p["thinking"]]
    if not pairs or not dev:
        print(f"no pair of {', '.join(p['thinking'])} to rank criteria on: there are no experiments", flush=True)
        return
    unsure = margin_quantile(scalars["better"], dev, p["unsure_quantile"])
    tables = []
    methods = [scalar_rows(scalar, name, pairs) for name, scalar in scalars.items()]
    for model, folder in models.items():
        judge = open_judge(run, folder, model)
        for name, scalar in scalars.items():
            traces = _search(run, scalar, "always", policy=policy).explore(judge, pairs)
            tables.append(pd.concat([criterion_rows(t) for t in traces]).assign(model=model, scalar=name))
        methods += _methods(run, judge, pairs, scalars["better"], unsure, policy)
    run.write("methods.csv", pd.concat(methods, ignore_index=True).to_csv(index=False))
    table = pd.concat(tables, ignore_index=True)
    todo = f"see sft-loss.csv, raise {SECTION}.sft_steps and run notebook 06 again, or train another backbone (00)"
    nothing = "no judge wrote a criterion that can be read, so that there is nothing to rank"
    require(len(table) or not has_facts(pairs[0]), f"{nothing}: {todo}")
    if len(table):
        run.write("criteria.csv", table.round(5).to_csv(index=False))
    else:
        print(nothing, flush=True)


def _search(run: Run, scalar: ScalarJudge | None, extend: str, **changes) -> CriteriaSearch:
    p = run.section(SECTION)
    how = {name: p[name] for name in ("k", "top", "per_call", "variant")} | {"n": p["rank_criteria"] - p["k"]}
    return CriteriaSearch(**how | {"disrm": scalar, "extend": extend, "compose": "vote", "orders": "AB"} | changes)


def criterion_rows(trace: Trace) -> pd.DataFrame:
    """Return a row a criterion of one search, at its place as written: what was said, its s_meta, its fault."""
    worth = {variant: values(trace, variant) for variant in VARIANTS}
    gold = label_of(trace)
    pair = trace.pair
    known = {"pair_id": pair.id, "order": trace.order, "cluster": pair.cluster_id, "points": pair.margin}
    rows = []
    for i, tried in enumerate(trace.tried):
        row = known | {"place": i, "criterion": tried.criterion, "said": tried.said, "gold": gold}
        row |= {"correct": int(tried.said == gold), "fault": fault(trace, tried, gold)}
        found = POOL_BY_PHRASE.get(tried.criterion)
        row |= {"bearing": bearing(found) if found else "unknown"}
        row |= {f"score_{side.lower()}": trace.scores.get(side) for side in "AB"}
        row |= {f"refined_{side.lower()}": tried.scores.get(side) for side in "AB"}
        rows.append(row | {variant: worth[variant][i] for variant in VARIANTS})
    return pd.DataFrame(rows)


def fault(trace: Trace, tried: Trajectory, gold: str) -> str:
    """Name what is wrong with a judgement under one criterion, from the world's truth; empty where it is right, and
    where no truth is known.

    biased criterion: the judge follows a criterion that does not favour the better response; perception error: a
    critique states what is not so; misapplied criterion: its critiques are true, its verdict does not follow; other:
    nothing valid was said, or the words are no criterion of the world.
    """
    if tried.said == gold or not has_facts(trace.pair):
        return ""
    truth = truth_under(trace.pair, tried.criterion)
    if tried.said is None or truth is None:
        return "other"
    truth = truth if trace.order == "AB" else swap_verdict(truth)
    if tried.said == truth:
        return "biased criterion"
    a, b = facts_of(trace.pair) if trace.order == "AB" else reversed(facts_of(trace.pair))
    seen = true_notes(POOL_BY_PHRASE[tried.criterion], a, b) == (tried.judged.critique_a, tried.judged.critique_b)
    return "misapplied criterion" if seen else "perception error"


def _methods(
    run: Run, judge: Judge, pairs: list[Pair], scalar: ScalarJudge, unsure: float, policy: Policy | None
) -> list[pd.DataFrame]:
    """Judge the pairs in every way, from one criterion to the whole search, and count what each costs."""
    p = run.section(SECTION)
    direct = judge_by(GenRM.of(judge), pairs, "direct", p["top"], "AB", progress(f"{judge.name}, direct"))
    rows = [(r.pair_id, r.cluster, r.margin, int(r.verdict == r.label), 1, 1, r.tokens) for r in direct]
    tables = [method_rows(rows, judge.name, DIRECT)]
    ways = {
        "one criterion": _search(run, None, "never", k=1),
        f"vote over {p['k']} criteria": _search(run, None, "never"),
        IN_DOUBT: _search(run, scalar, "doubt", unsure_margin=unsure, policy=policy),
        ALWAYS: _search(run, scalar, "always", policy=policy),
    }
    for name, search in ways.items():
        rows = []
        for trace in search.explore(judge, pairs):
            pair = trace.pair
            correct = int(trace.judged is not None and trace.judged.said == label_of(trace))
            cost = (trace.calls["genrm"], sum(trace.calls.values()), sum(trace.tokens.values()))
            rows.append((pair.id, pair.cluster_id, pair.margin, correct, *cost))
        tables.append(method_rows(rows, judge.name, name))
    return tables


def scalar_rows(scalar: ScalarJudge, name: str, pairs: list[Pair]) -> pd.DataFrame:
    """Judge the pairs with a scalar model alone, at the cost of its two scores."""
    scored = scalar.judge(pairs, orders="AB")
    rows = [(r.pair_id, r.cluster, r.margin, int(r.verdict == r.label), 0, 2, 0) for r in scored]
    return method_rows(rows, f"scalar, {name}", ALONE)


def method_rows(rows: list[tuple], model: str, method: str) -> pd.DataFrame:
    """Tabulate pairs judged in one way: pair, correctness, calls of the judge, all calls, tokens."""
    names = ["pair_id", "cluster", "margin", "correct", "judge_calls", "calls", "tokens"]
    return pd.DataFrame(rows, columns=names).assign(model=model, method=method)
