"""The stage of GRM-Omni: teach the roles, synthesise criteria, train on what they improve, and measure (Sections 3, 4).

Consumes the backbone; produces `data`, the models `sft`, `dpo` and `plus`, two scalar models, every search
(`searches.jsonl`), the preferences, `predictions.jsonl`, and the tables of the experiments (`criteria.csv`,
`methods.csv`). One model is GenRM and policy, as in the paper's synthesis.

Departures: (1) pairs are the world's, made from templates; (2) only text responses are refined: a response that is a
medium keeps its score, so that its criteria are judged and never repaired; (3) criteria are drawn, all else is greedy;
(4) the scalar models are trained here, on the world's own preference: that of notebook 05 was trained to score under a
criterion, and has none to score by; (5) criteria are searched for pairs that no training has seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from omnirepro.data import Judgement, Pair, read_jsonl, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.judge.criteria import GenRM, forced, judge_by
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import Run
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load
from omnirepro.papers.grm_omni.experiments import experiments
from omnirepro.papers.grm_omni.model_pool import SCALARS, open_judge, open_scalar, train_scalar
from omnirepro.papers.grm_omni.role_examples import lessons
from omnirepro.papers.grm_omni.roles import SECTION, TRAININGS, train_roles
from omnirepro.search import CriteriaSearch, Trace
from omnirepro.search.selection import composed, label_of, select
from omnirepro.toyworld.criteria import TASKS
from omnirepro.toyworld.preferences import make_preferences
from omnirepro.train.dpo import train_dpo

SPLITS = ("train", "search", "dev", "test")


@dataclass
class Searched:
    """What a synthesis leaves: the policy's own judgement of each pair, and the search of those that were wrong."""

    outputs: dict[str, Judgement]
    traces: list[Trace]


def improve(run: Run, base: Path) -> None:
    """Run the whole stage: every model is tuned from the backbone `base`."""
    p = run.section(SECTION)
    wording = run.section("judge")["wording"]
    splits = make_data(run)
    how = {name: p[name] for name in ("thinking", "verdicts", "keep_right", "composed")}
    taught = lessons(
        splits["train"],
        p["sft_steps"] * p["sft_batch"],  # each is seen once
        run.seed,
        **how,
        count=p["top"],
        wording=wording,
        batch=p["sft_batch"],
    )
    tuned = train_roles(run.sub("sft", folder=""), base, taught, p.renamed(TRAININGS["sft"]), wording)
    refined = pairs_of(splits["train"], [*p["thinking"], *p["plus_tasks"]])
    scalars = {name: train_scalar(run, base, name, refined) for name in SCALARS}
    judges = {name: open_scalar(run, folder, name) for name, folder in scalars.items()}
    models = {"base": base, "sft": tuned}
    models["dpo"] = iterate(run, "dpo", tuned, pairs_of(splits["search"], p["thinking"]), judges["better"])
    if p["plus_steps"]:
        media = pairs_of(splits["search"], p["plus_tasks"])
        models["plus"] = iterate(run, "plus", models["dpo"], media, judges["better"])
    rows = compare(run, models, judges, splits["test"])
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))
    experiments(run, {m: models[m] for m in ("sft", "dpo")}, judges, splits)


def make_data(run: Run) -> dict[str, list[Pair]]:
    """Write the pairs of every split with their media to `data` and return them.

    "search" holds scenes of the training split, and pairs that no model is trained on before they are searched.
    """
    p = run.section(SECTION)

    def write(folder: Path) -> None:
        made: dict[str, list[Pair]] = {"train": [], "search": [], "dev": [], "test": []}
        for task in TASKS:
            thinks = task in p["thinking"]
            train = p["train_pairs_thinking"] if thinks else p["pairs"]
            search = p["search_pairs"] if thinks else p["plus_pairs"] if task in p["plus_tasks"] else 0
            pairs = make_preferences(folder, "train", train + search, run.seed, (task,))
            made["train"] += pairs[:train]
            made["search"] += pairs[train:]
            made["dev"] += make_preferences(folder, "dev", p["dev_pairs"] if thinks else 0, run.seed, (task,))
            number = p["rank_pairs"] if thinks else p["test_pairs"]
            made["test"] += make_preferences(folder, "test", number, run.seed, (task,))
        for split, some in made.items():
            write_jsonl(folder / f"pairs_{split}.jsonl", some)

    folder = run.write("data", write)
    return {split: read_jsonl(folder / f"pairs_{split}.jsonl", Pair) for split in SPLITS}


def pairs_of(pairs: list[Pair], tasks: list[str]) -> list[Pair]:
    """Return the pairs of some tasks."""
    return [p for p in pairs if p.task in tasks]


def iterate(run: Run, name: str, model: Path, pairs: list[Pair], scalar: ScalarJudge) -> Path:
    """Make one iteration: synthesise with the model itself, select, and tune it; returns the tuned folder.

    Writes `<name>-preferences.jsonl` and `<name>-searches.jsonl`. Where nothing is selected the model stays as it is.
    """
    p = run.section(SECTION)
    found = synthesise(run, open_judge(run, model, name), pairs, scalar)
    texts = [found.outputs[key_of(trace)].raw for trace in found.traces]
    rows = select(found.traces, texts, p["rule"], p["variant"], p["top"], p["spread_quantile"], run.seed)
    outcomes = [outcome(trace, p["variant"], p["top"]) for trace in found.traces]
    for kind, kept in (("preferences", [row.record() for row in rows]), ("searches", outcomes)):
        run.write(f"{name}-{kind}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    print(f"{name}: {len(found.outputs)} judgements, {len(found.traces)} wrong, {len(rows)} preferences", flush=True)
    if not rows:
        return model
    own = p.renamed(TRAININGS[name])
    return train_dpo(run.sub(name, folder=""), model, rows, own, run.section("judge")["wording"])


def synthesise(run: Run, judge: Judge, pairs: list[Pair], scalar: ScalarJudge) -> Searched:
    """Judge pairs directly, and search criteria where that was wrong; no role sees a label or the world's truth."""
    p = run.section(SECTION)
    report = progress(f"{judge.name}, direct judgements")
    rows = judge_by(GenRM.of(judge), pairs, "direct", p["top"], p["orders"], report)
    outputs = {f"{row.pair_id} {row.order}": row for row in rows}
    wrong = {key: row.pair_id for key, row in outputs.items() if row.said != row.label}
    how = {name: p[name] for name in ("k", "n", "top", "variant", "per_call", "orders")}
    search = CriteriaSearch(**how, disrm=scalar, extend="always", compose="vote")
    searched = set(wrong.values())
    traces = search.explore(judge, [pair for pair in pairs if pair.id in searched])
    return Searched(outputs, [trace for trace in traces if key_of(trace) in wrong])


def key_of(trace: Trace) -> str:
    """Name a trace by its pair and displayed order."""
    return f"{trace.pair.id} {trace.order}"


def outcome(trace: Trace, variant: str, top: int) -> dict:
    """Return what is kept of a search: every criterion tried with its judgement, and the composed verdict."""
    criteria, judged = composed(trace, variant, top)
    return {
        "pair_id": trace.pair.id,
        "order": trace.order,
        "gold": label_of(trace),
        "tried": [{"criterion": t.criterion, "said": t.said, "meta": round(t.meta, 4)} for t in trace.tried],
        "composed": list(criteria),
        "verdict": judged.verdict,
        "calls": dict(trace.calls),
        "tokens": dict(trace.tokens),
    }


def compare(run: Run, models: dict[str, Path], scalars: dict[str, ScalarJudge], pairs: list[Pair]) -> list[Judgement]:
    """Judge the test pairs with every model in both orders; rows are named model (and mode) and split.

    A tuned model is asked as it was taught: with criteria on the tasks `thinking`, the verdict alone elsewhere
    ("sft/test"); beside it with criteria where words answer a medium ("sft, thinking/test"). The base, which writes no
    comparison that can be read, is also made to choose between both verdicts.
    """
    p = run.section(SECTION)
    switched = {task: "direct" if task in p["thinking"] else "verdict" for task in TASKS}
    rows = base_rows(run, models["base"], pairs)
    for name in (m for m in models if m != "base"):
        judge = open_judge(run, models[name], f"{name}/test")
        rows += judge_by(GenRM.of(judge), pairs, switched, p["top"], progress=progress(f"{name}, test"))
        judge = open_judge(run, models[name], f"{name}, thinking/test")
        media = pairs_of(pairs, p["plus_tasks"])
        rows += judge_by(GenRM.of(judge), media, "direct", p["top"], progress=progress(f"{name}, thinking on media"))
    for name, scalar in scalars.items():
        scalar.name = f"scalar, {name}/test"
        rows += scalar.judge(pairs)
    return rows


def base_rows(run: Run, base: Path, pairs: list[Pair]) -> list[Judgement]:
    """Judge with the base, in words ("base, in words/test") and by the likelier verdict ("base/test")."""
    asked = run.section("judge")
    chat = LocalModel(*load(base, run.device, run.dtype), "base, in words/test", asked["batch_size"])
    judge = Judge(chat, asked["format"], asked["wording"], Decoding(asked["max_new_tokens"]), run.seed)
    rows = judge.judge(pairs, progress=progress("base"))
    return rows + forced(chat, "base/test", pairs, asked["wording"])
