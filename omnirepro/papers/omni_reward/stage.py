"""The stage of Omni-Reward: data of nine tasks, Bradley-Terry models, R1, and every judgement frozen as rows.

Consumes the backbone; produces `data` (the three splits in the format of Omni-RewardBench, and the training pairs),
`primed`, the first seed's `scorer` and `r1/adapter`, `predictions.jsonl`, and tables of losses, proposals and test
pairs. Rows are named model and split; the seed is in the row. Nothing is decided here: that is the readers' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import Judgement, Pair, read_jsonl, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.sources.omni_rewardbench import read_bench, write_bench
from omnirepro.evaluate.ties import fit
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.rows import judge_split
from omnirepro.judge.scalar import load_scalar_judge
from omnirepro.judge.verdict import Pointwise, forced
from omnirepro.kit.run import Run
from omnirepro.kit.run.files import remove
from omnirepro.kit.run.training import Training
from omnirepro.models.generation import Decoding
from omnirepro.models.processing import keep_settings
from omnirepro.papers.omni_reward.r1 import share_of, warm_up
from omnirepro.toyworld.bench import make_bench
from omnirepro.toyworld.criteria import TEXT_TASKS
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.instruction import correctness, propose_criteria, world_verifiers, world_writer
from omnirepro.toyworld.pretraining.vocabulary import pretrain_vocabulary
from omnirepro.toyworld.training_pairs import SELECTIONS, bare, preference
from omnirepro.toyworld.turns import two_turns
from omnirepro.train.bradley_terry import train_bradley_terry
from omnirepro.train.curriculum import labels_of
from omnirepro.train.grpo import train_grpo

SPLITS = ("train", "dev", "test")
FACTS = ("criterion", "family", "unseen")
SHIFTED = ("full", "agreeing", "countered")  # models whose own preferences are asked for
CHANGES = {"davidson": {"ties": "davidson"}}  # of models that differ in more than their data
Rows = list[Judgement]


@dataclass(frozen=True)
class Data:
    """The bench's splits, the labelled pairs that models are trained on, and the scale of levels."""

    splits: dict[str, list[Pair]]
    labelled: list[Pair]
    scale: Scale


def build(run: Run, base: Path) -> None:
    """Make the data, train every model that the parameters name, and judge with each; writes all files of the stage.

    Raises ValueError where a weak judge is asked for and nothing is primed that could stop early.
    """
    p = run.section("bradley_terry")
    if p["weak_judge"] and not p["prime_steps"]:
        raise ValueError(
            "bradley_terry.weak_judge needs prime_steps: the weak judge is one whose priming stopped early"
        )
    data = make_data(run)
    primed = pretrain_vocabulary(run, base, data.splits["train"])
    rows = base_rows(run, primed, data)
    for i, seed in enumerate(p["seeds"]):
        for name in ("full", *p["arms"]):
            rows += scalar_rows(run, primed, name, seed, data, kept=name == "full" and not i)
        for share in p["r1_shares"]:
            rows += r1_rows(run, primed, share, seed, data, kept=not i and share == p["r1_shares"][0])
        if p["weak_judge"]:
            rows += weak_rows(run, seed, data)
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


def make_data(run: Run) -> Data:
    """Write the bench and the training pairs below `data`, with what the verifiers voted on, and read them back."""
    p = run.section("bradley_terry")
    sizes = {split: p[f"{split}_pairs"] for split in SPLITS}

    def write(folder: Path) -> None:
        made = {split: make_bench(folder / split, split, n, run.seed) for split, n in sizes.items()}
        for split, pairs in made.items():
            write_bench(folder / split, pairs)
        outcome = propose_criteria(made["train"], world_writer(run.seed), world_verifiers(run.seed))
        labelled = [*bare(made["train"]), *outcome.kept]
        write_jsonl(folder / "labelled.jsonl", labelled)
        pd.DataFrame(correctness(outcome)).to_csv(folder / "proposals.csv", index=False)

    folder = run.write("data", write)
    run.write("proposals.csv", (folder / "proposals.csv").read_text(encoding="utf-8"))
    splits = {split: read_bench(folder / split) for split in SPLITS}
    facts = [{"pair_id": q.id, "preference": preference(q)} | {k: q.meta[k] for k in FACTS} for q in splits["test"]]
    run.write("pairs.csv", pd.DataFrame(facts).to_csv(index=False))
    run.write("shares.csv", pd.DataFrame({"share": p["r1_shares"]}).to_csv(index=False))
    return Data(splits, read_jsonl(folder / "labelled.jsonl", Pair), Scale.of(splits["train"]))


def base_rows(run: Run, primed: Path, data: Data) -> Rows:
    """Judge with the primed base, which compares nothing: the expected level of each response alone."""
    judge = open_judge(run, primed, "level", run.seed)
    how = Pointwise(expected=True)
    return [row for s in ("dev", "test") for row in judged(judge, f"base/{s}", data.splits[s], how)]


def scalar_rows(run: Run, base: Path, name: str, seed: int, data: Data, kept: bool) -> Rows:
    """Train a Bradley-Terry model on a selection of the data and score; only the `scorer` that is `kept` stays.

    The full model also scores the test without its criteria, and as the end of longer conversations.
    """
    asked = run.section("judge")
    sub = run.sub(f"{name}-{seed}", seed, "" if kept else None, bradley_terry=CHANGES.get(name, {}))
    file = sub.checkpoint_dir / "rows.jsonl"
    if not kept and file.is_file():  # the kept model is trained to its end again, from its last checkpoint
        return read_jsonl(file, Judgement)
    pairs = SELECTIONS[name](data.labelled)
    folder = train_bradley_terry(sub, base, pairs, labels_of(pairs), sub.section("bradley_terry"), asked["wording"])
    judge = load_scalar_judge(folder, asked["batch_size"], run.device, run.dtype, seed=seed)
    model = "bt" if name == "full" else name
    test = data.splits["test"]
    splits = {f"{model}/dev": data.splits["dev"], f"{model}/test": test}
    if name in SHIFTED:
        splits[f"{model}-bare/test"] = without_criterion(test)
    if name == "full":
        splits["bt-turns/test"] = [two_turns(p, run.seed) for p in test if p.task in TEXT_TASKS]
    rows = [row for called, some in splits.items() for row in judge_split(judge, called, some, sub.checkpoint_dir)]
    if kept:
        threshold = fit([r for r in rows if r.model == "bt/dev"], by_task=False).iloc[0]
        keep_settings(folder, threshold=float(threshold))
    else:
        remove(folder)
    write_jsonl(file, rows)
    return rows


def r1_rows(run: Run, base: Path, share: float, seed: int, data: Data, kept: bool) -> Rows:
    """Tune and reinforce a generative judge on a share of the data, and judge the test with it.

    At the first share the tuned judge is also asked without reasons and for each response alone, and R1 without a
    criterion.
    """
    p = run.section("bradley_terry")
    test = data.splits["test"]
    pairs = share_of(data.labelled, share, seed)
    first = share == p["r1_shares"][0]
    warm = warm_sub(run, f"warm-{share:g}-{seed}", seed)
    adapter = warm_up(warm, base, pairs, data.scale)
    changes = {"steps": p["r1_steps"], "preset": "verdict", "hard_only": False}
    asked = {"format": "verdict", "max_new_tokens": p["verdict_tokens"]}
    r1 = run.sub("r1" if kept else f"r1-{share:g}-{seed}", seed, grpo=changes, judge=asked)
    tuned = train_grpo(r1, adapter, pairs, labels_of(pairs), r1.section("grpo"), r1.section("judge"))
    rows = verdict_rows(run, adapter, "warm", seed, data) if first else []
    rows += generated(run, tuned, "r1" if first else f"r1-{share:g}", seed, test)
    if first:
        rows += judged(open_judge(run, tuned, "verdict", seed), "r1-bare/test", without_criterion(test))
    return rows


def weak_rows(run: Run, seed: int, data: Data) -> Rows:
    """Tune a judge on a backbone that was primed for a shorter time, and ask it with and without reasons."""
    pairs = share_of(data.labelled, run.section("bradley_terry")["r1_shares"][0], seed)
    adapter = warm_up(warm_sub(run, f"weak-{seed}", seed), run.path("primed-weak"), pairs, data.scale)
    return verdict_rows(run, adapter, "weak", seed, data, levels=False)


def warm_sub(run: Run, name: str, seed: int) -> Training:
    """Return the handle of a supervised tuning that R1 starts from."""
    p = run.section("bradley_terry")
    changes = {"steps": p["warm_steps"], "save_every": p["save_every"]}
    return run.sub(name, seed, sft=changes, judge={"format": "verdict"})


def verdict_rows(run: Run, adapter: Path, name: str, seed: int, data: Data, levels: bool = True) -> Rows:
    """Judge the test with reasons, without them and, with `levels`, one response at a time."""
    test = data.splits["test"]
    rows = generated(run, adapter, name, seed, test)
    rows += judged(open_judge(run, adapter, "verdict-direct", seed), f"{name}-direct/test", test)
    if levels:
        rows += judged(open_judge(run, adapter, "level", seed), f"{name}-level/test", test, Pointwise())
    return rows


def generated(run: Run, adapter: Path, name: str, seed: int, pairs: list[Pair]) -> Rows:
    """Judge in words, and then by the probabilities of the tags after the same words (rows `<name>-forced`)."""
    judge = open_judge(run, adapter, "verdict", seed)
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
    """Return the pairs without their criteria."""
    return [p.model_copy(update={"criterion": None}) for p in pairs]
