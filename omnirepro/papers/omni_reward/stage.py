"""The stage of Omni-Reward: pairs under criteria, Bradley-Terry models, R1, and every judgement frozen as rows.

Consumes the backbone, and labelled pairs where the parameters name data sets; else the nine tasks of the embedded
world. Produces `data` (the three splits and the training pairs; the world's in the format of Omni-RewardBench),
`primed`, the first seed's `scorer` and `r1/adapter`, `predictions.jsonl`, and tables of losses, test pairs and, of the
world, proposals. Rows are named model and split; the seed is in the row. Nothing is decided here: that is the readers'
own.

Pairs from elsewhere keep the criteria that stand in them: no writer and no verifier is asked, and no level is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import Judgement, Pair, read_jsonl, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.sources.omni_rewardbench import read_bench, write_bench
from omnirepro.evaluate.ties import fit
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.rows import judge_split
from omnirepro.judge.scalar import ScalarJudge, load_scalar_judge
from omnirepro.judge.verdict import LEVEL_STARTS, Pointwise, forced
from omnirepro.kit.run import ParameterError, Run, require
from omnirepro.kit.run.files import remove
from omnirepro.kit.run.training import Training
from omnirepro.models.generation import Decoding
from omnirepro.models.loading import point_to
from omnirepro.models.processing import keep_settings
from omnirepro.papers.omni_reward.r1 import share_of, tune_judge, unchanged
from omnirepro.papers.omni_rrm.supply import cards_of, held_out, read_given
from omnirepro.toyworld.bench import make_bench
from omnirepro.toyworld.criteria import TEXT_TASKS, stratum, tasks_of
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.instruction import correctness, propose_criteria, world_verifiers, world_writer
from omnirepro.toyworld.pretraining.vocabulary import pretrain_vocabulary
from omnirepro.toyworld.training_pairs import BY_TRUTH, SELECTIONS, bare, preference
from omnirepro.toyworld.turns import two_turns
from omnirepro.train.bradley_terry import make_scorer, train_bradley_terry
from omnirepro.train.curriculum import labels_of
from omnirepro.train.grpo import train_grpo

SPLITS = ("train", "dev", "test")
NAMED = {"pairs": "bradley_terry.data", "test": "bradley_terry.bench"}  # use of a data set -> parameter
FACTS = ("criterion", "family")
SHIFTED = ("full", "agreeing", "countered")  # models whose own preferences are asked for
CHANGES = {"davidson": {"ties": "davidson"}}  # of models that differ in more than their data
Rows = list[Judgement]


@dataclass(frozen=True)
class Data:
    """The splits, the labelled pairs that models are trained on, and the world's scale of levels, where it is one."""

    splits: dict[str, list[Pair]]
    labelled: list[Pair]
    scale: Scale | None


def build(run: Run, base: Path) -> None:
    """Make the data, train every model that the parameters name, and judge with each; writes all files of the stage.

    Raises `ParameterError` for test pairs without training pairs and where no model is to be trained, ValueError where
    a weak judge is asked for and nothing is primed that could stop early.
    """
    p = run.section("bradley_terry")
    world = not p["data"]
    primes = p["prime_steps"]
    weak = p["weak_judge"]
    if world and p["bench"]:
        raise ParameterError("bradley_terry.bench is given, and bradley_terry.data names nothing to train on")
    if not p["scalar_models"] and not p["r1_shares"]:
        raise ParameterError("bradley_terry.scalar_models is false and r1_shares is empty: no model is to be trained")
    if world and weak and not (primes and p["tuned_steps"]):
        needs = "prime_steps, since its priming stops early, and tuned_steps"
        raise ValueError(f"bradley_terry.weak_judge needs {needs}")
    data = make_data(run)
    if world:
        primed = pretrain_vocabulary(run, base, data.splits["train"])
    else:
        primed = run.write("primed", lambda folder: point_to(str(base), folder))
        if primes or weak:
            print("pairs from elsewhere: nothing is primed, and there is no weak judge", flush=True)
    rows = base_rows(run, primed, data)
    named = ("full", *p["arms"]) if p["scalar_models"] else ()
    arms = {name: pairs for name in named if (pairs := selected(name, data))}
    for i, seed in enumerate(p["seeds"]):
        for name, pairs in arms.items():
            rows += scalar_rows(run, primed, name, seed, data, pairs, kept=name == "full" and not i)
        for share in p["r1_shares"]:
            rows += r1_rows(run, primed, share, seed, data, kept=not i and share == p["r1_shares"][0])
        if world and weak:
            rows += weak_rows(run, seed, data)
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


def make_data(run: Run) -> Data:
    """Write the pairs of every split below `data`, and what is known of those of the test, and read them back."""
    p = run.section("bradley_terry")
    folder = run.write("data", partial(write_given if p["data"] else write_world, run))
    splits = splits_in(folder)
    run.write("shares.csv", pd.DataFrame({"share": p["r1_shares"]}).to_csv(index=False))
    if p["data"]:
        run.write("pairs.csv", facts_of_given(splits).to_csv(index=False))
        return Data(splits, splits["train"], None)
    run.write("proposals.csv", (folder / "proposals.csv").read_text(encoding="utf-8"))
    facts = [
        {"pair_id": q.id, "preference": preference(q), "stratum": stratum(q.criterion)} | {k: q.meta[k] for k in FACTS}
        for q in splits["test"]
    ]
    run.write("pairs.csv", pd.DataFrame(facts).to_csv(index=False))
    return Data(splits, read_jsonl(folder / "labelled.jsonl", Pair), Scale.of(splits["train"]))


def write_world(run: Run, folder: Path) -> None:
    """Write the embedded world's bench and training pairs, with what the verifiers voted on."""
    p = run.section("bradley_terry")
    tasks = tasks_of(run.section("world")["modalities"])
    sizes = {split: p[f"{split}_pairs"] for split in SPLITS}
    made = {split: make_bench(folder / split, split, n, run.seed, tasks) for split, n in sizes.items()}
    for split, pairs in made.items():
        write_bench(folder / split, pairs)
    outcome = propose_criteria(made["train"], world_writer(run.seed), world_verifiers(run.seed))
    write_jsonl(folder / "labelled.jsonl", [*bare(made["train"]), *outcome.kept])
    pd.DataFrame(correctness(outcome)).to_csv(folder / "proposals.csv", index=False)


def write_given(run: Run, folder: Path) -> None:
    """Write the pairs of the data sets named, divided by content; their media stay where they lie.

    Raises `RunError` where a split is left without pairs.
    """
    given = read_given(run, cards_of(run, NAMED), NAMED, sides=run.seed)
    split = held_out(run, given)
    for name in SPLITS:
        pairs = [pair for use in NAMED for pair in given.of_split(use, split, name)]
        todo = f"give bradley_terry.data more rows, or raise data.{name}_share"
        require(pairs, f"no {name} pair is left of {len(given.groups)} ({len(given.dropped)} left out): {todo}")
        write_jsonl(folder / f"pairs_{name}.jsonl", pairs)
    given.write_tables(folder)


def judge_in(folder: Path) -> Path:
    """Return what `load_judge` opens of a finished stage: its scorer, or R1 where no scalar model was trained."""
    return next((path for name in ("scorer", "r1") if (path := folder / name).is_dir()), folder)


def splits_in(folder: Path, world: Callable[[Path], list[Pair]] = read_bench) -> dict[str, list[Pair]]:
    """Return the pairs of every split of the folder `data`, whoever supplied them; `world` reads one of its bench."""
    if (folder / f"pairs_{SPLITS[0]}.jsonl").is_file():
        return {split: read_jsonl(folder / f"pairs_{split}.jsonl", Pair) for split in SPLITS}
    return {split: world(folder / split) for split in SPLITS}


def facts_of_given(splits: dict[str, list[Pair]]) -> pd.DataFrame:
    """Return what is known of each test pair from elsewhere: its criterion, whether training has it, and its parts."""
    seen = {None, *(pair.criterion for pair in splits["train"])}
    known = (("seen" if q.criterion in seen else "unseen", q) for q in splits["test"])
    rows = [(q.id, q.criterion, stratum, q.modality, q.shape) for stratum, q in known]
    return pd.DataFrame(rows, columns=["pair_id", "criterion", "stratum", "modality", "shape"])


def selected(name: str, data: Data) -> list[Pair]:
    """Return the pairs of a selection; of pairs from elsewhere none, with a word, where it cannot be made of them."""
    if data.scale is None and name in BY_TRUTH:
        print(f"{name}: left out, no preference of the pairs' own is known", flush=True)
        return []
    pairs = SELECTIONS[name](data.labelled)
    alike = name not in ("full", *CHANGES) and pairs == data.labelled
    if data.scale is None and (alike or not any(pair.label != "tie" for pair in pairs)):
        print(f"{name}: left out, it is {'all' if alike else 'none'} of the training pairs", flush=True)
        return []
    return pairs


def base_rows(run: Run, primed: Path, data: Data) -> Rows:
    """Judge with the base, one response at a time: as the Bradley-Terry model at its first step, where it was primed.

    Any other base by the expected level of each response.
    """
    splits = {f"base/{s}": data.splits[s] for s in ("dev", "test")}
    if not (levels := levels_of(run)):
        judge = open_judge(run, primed, "level", run.seed)
        return [row for name, some in splits.items() for row in judged(judge, name, some, Pointwise(expected=True))]
    asked = run.section("judge")
    scorer = make_scorer(run, run.section("bradley_terry"), primed, levels).eval()
    judge = ScalarJudge(scorer, "base", batch_size=asked["batch_size"], seed=run.seed, wording=asked["wording"])
    return [row for name, some in splits.items() for row in judge_split(judge, name, some, run.checkpoint_dir)]


def levels_of(run: Run) -> tuple[str, ...]:
    """Return the answers by which the base names a level: those of the priming, where there was one."""
    p = run.section("bradley_terry")
    return LEVEL_STARTS if p["prime_steps"] and not p["data"] else ()


def scalar_rows(run: Run, base: Path, name: str, seed: int, data: Data, pairs: list[Pair], kept: bool) -> Rows:
    """Train a Bradley-Terry model on a selection of the data and score; only the `scorer` that is `kept` stays.

    The full model also scores the test without its criteria and, of the world, as the end of longer conversations.
    """
    asked = run.section("judge")
    sub = run.sub(f"{name}-{seed}", seed, "" if kept else None, bradley_terry=CHANGES.get(name, {}))
    file = sub.checkpoint_dir / "rows.jsonl"
    if not kept and file.is_file():  # the kept model is trained to its end again, from its last checkpoint
        return read_jsonl(file, Judgement)
    how = (sub.section("bradley_terry"), asked["wording"], levels_of(run))
    folder = train_bradley_terry(sub, base, pairs, labels_of(pairs), *how)
    judge = load_scalar_judge(folder, asked["batch_size"], run.device, run.dtype, seed=seed)
    model = "bt" if name == "full" else name
    test = data.splits["test"]
    splits = {f"{model}/dev": data.splits["dev"], f"{model}/test": test}
    if name in SHIFTED:
        splits[f"{model}-bare/test"] = without_criterion(test)
    if name == "full" and data.scale:
        splits["bt-turns/test"] = [two_turns(p, run.seed) for p in test if p.task in TEXT_TASKS]
    asked_of = ((called, some) for called, some in splits.items() if some)
    rows = [row for called, some in asked_of for row in judge_split(judge, called, some, sub.checkpoint_dir)]
    if kept:
        threshold = fit([r for r in rows if r.model == "bt/dev"], by_task=False).iloc[0]
        keep_settings(folder, threshold=float(threshold))
    else:
        remove(folder)
    write_jsonl(file, rows)
    return rows


def r1_rows(run: Run, base: Path, share: float, seed: int, data: Data, kept: bool) -> Rows:
    """Reinforce the base on a share of the data, and judge the test with it.

    At the first share R1 is also asked without a criterion, the base as R1 is, and a judge that was tuned on the same
    pairs (the base itself, where `tuned_steps` is 0) in other ways too.
    """
    p = run.section("bradley_terry")
    test = data.splits["test"]
    pairs = share_of(data.labelled, share, seed)
    first = share == p["r1_shares"][0]
    start = unchanged(tuning(run, f"start-{share:g}-{seed}", seed), base)
    # Samples at temperature 1 (EasyR1's default): a base that is sure of its levels tries no others at a lower one.
    changes = {"steps": p["r1_steps"], "preset": "verdict", "hard_only": False, "temperature": 1.0, "top_p": 1.0}
    asked = {"format": "verdict", "max_new_tokens": p["verdict_tokens"]}
    r1 = run.sub("r1" if kept else f"r1-{share:g}-{seed}", seed, grpo=changes, judge=asked)
    adapter = train_grpo(r1, start, pairs, labels_of(pairs), r1.section("grpo"), r1.section("judge"))
    if not first:
        return generated(run, adapter, f"r1-{share:g}", seed, test)
    rows = generated(run, adapter, "r1", seed, test)
    if bare_test := without_criterion(test):
        rows += judged(open_judge(run, adapter, "verdict", seed), "r1-bare/test", bare_test)
    if not p["tuned_steps"]:
        return rows + verdict_rows(run, base, "base-pairs", seed, data)
    tuned = tune_judge(tuning(run, f"tuned-{share:g}-{seed}", seed), base, pairs, data.scale)
    return rows + generated(run, base, "base-pairs", seed, test) + verdict_rows(run, tuned, "tuned", seed, data)


def weak_rows(run: Run, seed: int, data: Data) -> Rows:
    """Tune a judge on a backbone that was primed for a shorter time, and ask it with and without reasons."""
    pairs = share_of(data.labelled, run.section("bradley_terry")["r1_shares"][0], seed)
    adapter = tune_judge(tuning(run, f"weak-{seed}", seed), run.path("primed-weak"), pairs, data.scale)
    return verdict_rows(run, adapter, "weak", seed, data, levels=False)


def tuning(run: Run, name: str, seed: int) -> Training:
    """Return the handle of a supervised tuning on verdicts."""
    p = run.section("bradley_terry")
    changes = {"steps": p["tuned_steps"], "save_every": p["save_every"]}
    return run.sub(name, seed, sft=changes, judge={"format": "verdict"})


def verdict_rows(run: Run, folder: Path, name: str, seed: int, data: Data, levels: bool = True) -> Rows:
    """Judge the test with reasons, without them and, with `levels`, one response at a time."""
    test = data.splits["test"]
    rows = generated(run, folder, name, seed, test)
    rows += judged(open_judge(run, folder, "verdict-direct", seed), f"{name}-direct/test", test)
    if levels:
        rows += judged(open_judge(run, folder, "level", seed), f"{name}-level/test", test, Pointwise())
    return rows


def generated(run: Run, folder: Path, name: str, seed: int, pairs: list[Pair]) -> Rows:
    """Judge in words, and then by the probabilities of the tags after the same words (rows `<name>-forced`)."""
    judge = open_judge(run, folder, "verdict", seed)
    rows = judged(judge, f"{name}/test", pairs)
    return rows + [r.model_copy(update={"model": f"{name}-forced/test"}) for r in forced(judge, pairs, rows)]


def judged(judge: Judge, name: str, pairs: list[Pair], scaling: Any = None) -> Rows:
    """Judge pairs under a name of model and split, in both orders or as `scaling` has it."""
    judge.chat.name = name
    return judge.judge(pairs, scaling=scaling, progress=progress(f"{name}, judging"))


def open_judge(run: Run, folder: Path, format: str, seed: int) -> Judge:
    """Load a generative judge for one format of free-form judgements."""
    asked = run.section("judge")
    decoding = Decoding(run.section("bradley_terry")["verdict_tokens"])
    how = {"format": format, "wording": asked["wording"], "decoding": decoding, "seed": seed}
    return load_judge(folder, asked["batch_size"], run.device, run.dtype, **how)


def without_criterion(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs that have a criterion, without it."""
    return [p.model_copy(update={"criterion": None}) for p in pairs if p.criterion]
