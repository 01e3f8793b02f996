"""The stage of GRM-Omni: teach the roles, synthesise criteria, train on what they improve, and measure (Sections 3, 4).

Consumes the backbone, and labelled pairs and models where the parameters name some; produces `data`, the models `sft`,
`dpo` and `plus`, scalar models, every search (`searches.jsonl`), the preferences, `predictions.jsonl`, and the tables
of the experiments (`criteria.csv`, `methods.csv`). One model is GenRM and policy, as in the paper's synthesis, unless
`policy` names another.

SFT is taught what the world's truth makes of its own pairs, or what a search finds in them: of pairs from elsewhere,
and wherever `genrm` names who writes. A pair from elsewhere has the task that its parts make (`Pair.shape`).

Departures: (1) the world's pairs are made from templates; (2) only text responses are refined: a response that is a
medium keeps its score, so that its criteria are judged and never repaired; (3) criteria are drawn, and the judgements
that are improved with theirs, all else is greedy;
(4) the scalar models are trained here, on the world's own preference: that of notebook 05 was trained to score under a
criterion, and has none to score by; (5) criteria are searched for pairs that no training has seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from omnirepro.data import Judgement, Pair, read_jsonl, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.splits import divided
from omnirepro.judge.criteria import GenRM, Policy, forced, judge_by, parse_direct
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import ParameterError, Run, require
from omnirepro.kit.run.parameters import Section
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load
from omnirepro.models.opening import served
from omnirepro.papers.grm_omni.experiments import experiments
from omnirepro.papers.grm_omni.found_examples import examples_of, found_lessons
from omnirepro.papers.grm_omni.model_pool import open_judge, open_scalar, train_scalar
from omnirepro.papers.grm_omni.role_examples import lessons
from omnirepro.papers.grm_omni.roles import SECTION, TRAININGS, train_roles
from omnirepro.papers.omni_rrm.supply import cards_of, read_given
from omnirepro.search import CriteriaSearch, Trace
from omnirepro.search.selection import composed, label_of, select
from omnirepro.toyworld.criteria import tasks_of
from omnirepro.toyworld.preferences import make_preferences
from omnirepro.train.dpo import train_dpo

SPLITS = ("train", "search", "dev", "test")
NAMED = {"pairs": f"{SECTION}.data"}  # use of a data set -> parameter


@dataclass
class Searched:
    """What a synthesis leaves: the policy's own judgement of each pair, and the search of those that were wrong."""

    outputs: dict[str, Judgement]
    traces: list[Trace]


def improve(run: Run, base: Path) -> None:
    """Run the whole stage: every model is tuned from the backbone `base`, unless the parameters name a ready judge."""
    p = run.section(SECTION)
    refuse_to_train_servers(p)
    splits = make_data(run)
    refined = pairs_of(splits["train"], [*p["thinking"], *p["plus_tasks"]])
    judges = {name: open_scalar(run, spec, name) for name, spec in scalars_of(run, base, refined).items()}
    policy = Policy.of(open_judge(run, p["policy"], "policy")) if p["policy"] else None
    models: dict[str, Path | str] = {"base": base, "sft": p["genrm"] or base}
    if p["sft_steps"]:
        wording = run.section("judge")["wording"]
        taught = lessons_of(run, base, splits["train"], judges["better"], policy)
        models["sft"] = train_roles(run.sub("sft", folder=""), base, taught, p.renamed(TRAININGS["sft"]), wording)
    how = {"scalar": judges["better"], "policy": policy}
    models["dpo"] = iterate(run, "dpo", models["sft"], pairs_of(splits["search"], p["thinking"]), **how)
    if p["plus_steps"]:
        media = pairs_of(splits["search"], p["plus_tasks"])
        models["plus"] = iterate(run, "plus", models["dpo"], media, **how)
    rows = compare(run, models, judges, splits["test"])
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))
    experiments(run, {m: models[m] for m in ("sft", "dpo")}, judges, splits, policy)


def refuse_to_train_servers(p: Section) -> None:
    """Raise `ParameterError` before any work where a server would have to be trained, or to give scores."""
    if not p["sft_steps"] and served(p["genrm"]) and (p["dpo_steps"] or p["plus_steps"]):
        raise ParameterError(
            f"{SECTION}.genrm is a server, which can be asked and not trained: set dpo_steps and plus_steps to 0, or "
            "let the run's backbone learn from it by sft_steps"
        )
    disrm = p["disrm"]
    if any(map(served, disrm.values() if isinstance(disrm, dict) else [disrm])):
        raise ParameterError(f"{SECTION}.disrm is a server: name a scorer's folder, or a classifier's folder or hub id")


def scalars_of(run: Run, base: Path, pairs: list[Pair]) -> dict[str, Path | str | dict[str, Path | str]]:
    """Return the scalar models by name: the better one as `disrm` names it, in whole or a modality, else trained."""
    disrm = run.section(SECTION)["disrm"]
    named = disrm if isinstance(disrm, dict) else {"any": disrm}
    if "" in named.values():
        trained = train_scalar(run, base, "better", pairs)
        named = {kind: spec or trained for kind, spec in named.items()}
    better = named if isinstance(disrm, dict) else named["any"]
    return {"better": better, "worse": train_scalar(run, base, "worse", pairs)}


def lessons_of(
    run: Run, base: Path, pairs: list[Pair], scalar: ScalarJudge, policy: Policy | None
) -> list[list[list[dict]]]:
    """Return what SFT is taught: the world's own lessons, or what a GenRM finds in searches of the pairs.

    As many pairs are searched as conversations are taught, drawn by the seed; writes `sft-searches.jsonl` of them.
    """
    p = run.section(SECTION)
    number = p["sft_steps"] * p["sft_batch"]  # of the world's lessons each is seen once
    wording = run.section("judge")["wording"]
    if not p["data"] and not p["genrm"]:
        how = {name: p[name] for name in ("thinking", "verdicts", "keep_right", "composed")}
        return lessons(pairs, number, run.seed, **how, count=p["top"], wording=wording, batch=p["sft_batch"])
    judge = open_judge(run, p["genrm"] or base, "genrm")
    known = pairs_of(pairs, p["thinking"])
    drawn = np.random.default_rng([run.seed, 9]).permutation(len(known))[:number]
    traces = searched(run, scalar, policy).explore(judge, [known[i] for i in drawn])
    keep_searches(run, "sft", traces)
    how = {"variant": p["variant"], "top": p["top"], "least": p["sft_least_meta"], "seed": run.seed}
    found = [list(examples_of(trace, **how)) for trace in traces]
    examples = [example for some in found for example in some]
    media = [pair for pair in pairs if pair.task not in p["thinking"]]
    print(f"sft: {len(traces)} searches, {sum(map(bool, found))} right, {len(examples)} conversations", flush=True)
    return found_lessons(examples, media or ([] if examples else pairs), number, p["verdicts"], wording, run.seed)


def make_data(run: Run) -> dict[str, list[Pair]]:
    """Write the pairs of every split to `data`, the world's with their media, and return them.

    "search" holds pairs that no model is trained on before they are searched: the world's are of training scenes.
    """
    write = write_given if run.section(SECTION)["data"] else write_world
    folder = run.write("data", partial(write, run))
    return {split: read_jsonl(folder / f"pairs_{split}.jsonl", Pair) for split in SPLITS}


def write_world(run: Run, folder: Path) -> None:
    """Write the embedded world's pairs, as many of each task as the parameters say."""
    p = run.section(SECTION)
    made: dict[str, list[Pair]] = {"train": [], "search": [], "dev": [], "test": []}
    for task in tasks_of(run.section("world")["modalities"]):
        thinks = task in p["thinking"]
        train, search = sizes(p, task)
        pairs = make_preferences(folder, "train", train + search, run.seed, (task,))
        made["train"] += pairs[:train]
        made["search"] += pairs[train:]
        made["dev"] += make_preferences(folder, "dev", p["dev_pairs"] if thinks else 0, run.seed, (task,))
        number = p["test_pairs_thinking"] if thinks else p["test_pairs"]
        made["test"] += make_preferences(folder, "test", number, run.seed, (task,))
    for split, some in made.items():
        write_jsonl(folder / f"pairs_{split}.jsonl", some)


def sizes(p: Section, task: str) -> tuple[int, int]:
    """Return how many pairs of a task are trained on, and how many are searched."""
    thinks = task in p["thinking"]
    train = p["train_pairs_thinking"] if thinks else p["pairs"]
    return train, p["search_pairs"] if thinks else p["plus_pairs"] if task in p["plus_tasks"] else 0


def write_given(run: Run, folder: Path) -> None:
    """Write the pairs of the data sets named, those of every task divided by content; media stay where they lie.

    Raises `RunError` where a split is left without pairs.
    """
    p = run.section(SECTION)
    given = read_given(run, cards_of(run, NAMED), NAMED, sides=run.seed)
    split: dict[str, str] = {}
    for task in dict.fromkeys([*p["thinking"], *(pair.shape for pair in given.rows["pairs"])]):
        groups = [given.groups[pair.id] for pair in given.rows["pairs"] if pair.shape == task]
        train, search = sizes(p, task)
        held = {"test": run.section("data")["test_share"]}
        held["dev"] = run.section("data")["dev_share"] if task in p["thinking"] else 0.0
        shares = held | {"search": (1 - sum(held.values())) * search / max(1, train + search)}
        split |= divided([group for group in groups if group not in split], shares)
    for name in SPLITS:
        pairs = [
            pair.model_copy(update={"task": pair.shape, "meta": (pair.meta or {}) | {"task": pair.task}})
            for pair in given.of_split("pairs", split, name)
        ]
        todo = f"give {SECTION}.data more rows, or other shares to the section data"
        lost = f"no {name} pair is left of {len(given.groups)} ({len(given.dropped)} left out)"
        require(pairs or name in ("search", "dev"), f"{lost}: {todo}")
        write_jsonl(folder / f"pairs_{name}.jsonl", pairs)
    given.write_tables(folder)


def pairs_of(pairs: list[Pair], tasks: list[str]) -> list[Pair]:
    """Return the pairs of some tasks."""
    return [p for p in pairs if p.task in tasks]


def iterate(
    run: Run, name: str, model: Path | str, pairs: list[Pair], scalar: ScalarJudge, policy: Policy | None
) -> Path | str:
    """Make one iteration: synthesise with the model itself, select, and tune it; returns the tuned folder.

    Writes `<name>-preferences.jsonl` and `<name>-searches.jsonl`. Where nothing is selected, or no step is to be made,
    the model stays as it is.
    """
    p = run.section(SECTION)
    own = p.renamed(TRAININGS[name])
    dict(own)  # what a training would read counts as read, also where it has nothing to train on
    if not own["steps"] or not pairs:
        print(f"{name}: left out, {'no pair' if own['steps'] else 'no step'} is given to it", flush=True)
        return model
    found = synthesise(run, open_judge(run, model, name), pairs, scalar, policy)
    texts = [found.outputs[trace.key].raw for trace in found.traces]
    rows = select(found.traces, texts, p["rule"], p["variant"], p["top"], p["spread_quantile"], run.seed)
    run.write(f"{name}-preferences.jsonl", lines(row.record() for row in rows))
    keep_searches(run, name, found.traces)
    print(f"{name}: {len(found.outputs)} judgements, {len(found.traces)} wrong, {len(rows)} preferences", flush=True)
    if not rows:
        return model
    return train_dpo(run.sub(name, folder=""), model, rows, own, run.section("judge")["wording"])


def lines(rows: Iterable[dict]) -> str:
    """Write rows as lines of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def keep_searches(run: Run, name: str, traces: list[Trace]) -> None:
    """Write what is kept of searches to `<name>-searches.jsonl`."""
    p = run.section(SECTION)
    run.write(f"{name}-searches.jsonl", lines(outcome(trace, p["variant"], p["top"]) for trace in traces))


def searched(run: Run, scalar: ScalarJudge, policy: Policy | None) -> CriteriaSearch:
    """Return the search that training data are made with: always extended, merged by a vote."""
    p = run.section(SECTION)
    how = {name: p[name] for name in ("k", "n", "top", "variant", "per_call", "orders")}
    return CriteriaSearch(**how, disrm=scalar, policy=policy, extend="always", compose="vote")


def synthesise(
    run: Run, judge: Judge, pairs: list[Pair], scalar: ScalarJudge, policy: Policy | None = None
) -> Searched:
    """Judge pairs directly, and search criteria where that was wrong; no role sees a label or the world's truth.

    A direct judgement is drawn as criteria are written, and the search goes on from its criteria.
    """
    p = run.section(SECTION)
    report = progress(f"{judge.name}, direct judgements")
    rows = judge_by(drawn(judge), pairs, "direct", p["top"], p["orders"], report)
    outputs = {f"{row.pair_id} {row.order}": row for row in rows}
    wrong = {key: row.pair_id for key, row in outputs.items() if row.said != row.label}
    begun = {key: parse_direct(outputs[key].raw, p["top"])[0] for key in wrong}
    asked = set(wrong.values())
    traces = searched(run, scalar, policy).explore(judge, [pair for pair in pairs if pair.id in asked], begun)
    return Searched(outputs, [trace for trace in traces if trace.key in wrong])


def drawn(judge: Judge, sample: int = 0) -> GenRM:
    """Return a judge's role whose direct judgements are drawn, at the temperature at which it writes criteria."""
    return replace(GenRM.of(judge), drawn=("write", "direct"), seed=judge.seed + sample)


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


def compare(
    run: Run, models: dict[str, Path | str], scalars: dict[str, ScalarJudge], pairs: list[Pair]
) -> list[Judgement]:
    """Judge the test pairs with every model in both orders; rows are named model (and mode) and split.

    A tuned model is asked as it was taught: with criteria on the tasks `thinking`, the verdict alone elsewhere
    ("sft/test"); beside it with criteria where words answer a medium ("sft, thinking/test"), and on the former by
    `test_samples` drawn judgements, a seed each ("sft, sampled/test"). The base, which writes no comparison that can be
    read, is also made to choose between both verdicts.
    """
    p = run.section(SECTION)
    thought = pairs_of(pairs, p["thinking"])
    switched = {pair.id: "direct" if pair.task in p["thinking"] else "verdict" for pair in pairs}
    rows = base_rows(run, models["base"], pairs)
    for name in (m for m in models if m != "base"):
        judge = open_judge(run, models[name], f"{name}/test")
        rows += judge_by(GenRM.of(judge), pairs, switched, p["top"], progress=progress(f"{name}, test"))
        judge = open_judge(run, models[name], f"{name}, thinking/test")
        media = pairs_of(pairs, p["plus_tasks"])
        rows += judge_by(GenRM.of(judge), media, "direct", p["top"], progress=progress(f"{name}, thinking on media"))
        judge = open_judge(run, models[name], f"{name}, sampled/test")
        for sample in range(p["test_samples"]):
            report = progress(f"{name}, test, sample {sample + 1}")
            rows += judge_by(drawn(judge, sample), thought, "direct", p["top"], progress=report)
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
