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
from omnirepro.judge.scalar import keep_settings, load_scalar_judge
from omnirepro.judge.verdict import Pointwise, forced
from omnirepro.kit.run import Run
from omnirepro.kit.run.files import remove
from omnirepro.models.generation import Decoding
from omnirepro.papers.omni_reward.r1 import reinforce_verdicts, share_of, warm_up
from omnirepro.papers.omni_rrm import reinforcement
from omnirepro.toyworld.bench import make_bench
from omnirepro.toyworld.criteria import TEXT_TASKS
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.instruction import correctness, propose_criteria, world_verifiers, world_writer
from omnirepro.toyworld.pretraining.vocabulary import pretrain_vocabulary
from omnirepro.toyworld.training_pairs import SELECTIONS, bare, preference
from omnirepro.toyworld.turns import two_turns
from omnirepro.train.bradley_terry import train_bradley_terry
from omnirepro.train.curriculum import labels_of
from omnirepro.train.sft import judge_split

SPLITS = ("train", "dev", "test")
FACTS = ("criterion", "family", "unseen")
SHIFTED = ("full", "agreeing", "countered")  # models whose own preferences are asked for
CHANGES = {"davidson": {"bradley_terry": {"ties": "davidson"}}}  # of models that differ in more than their data
Rows = list[Judgement]


@dataclass(frozen=True)
class Data:
    """The bench's splits, the labelled pairs that models are trained on, and the scale of levels."""

    splits: dict[str, list[Pair]]
    labelled: list[Pair]
    scale: Scale


class Arm(reinforcement.Arm):
    """One training within the stage; `changes` maps sections to what is different in them."""

    def section(self, name: str) -> dict[str, Any]:
        return dict(self.run.section(name)) | self.changes.get(name, {})

    def discard(self, name: str) -> None:
        """Remove a file or folder of this training that no later work needs."""
        remove(self.path(name))


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
            called = "" if name == "full" and not i else f"{name}-{seed}"
            rows += scalar_rows(Arm(run, called, seed, CHANGES.get(name, {})), primed, name, data)
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
    judge, how = open_judge(run, primed, "level"), Pointwise(expected=True)
    return [row for s in ("dev", "test") for row in judged(run, judge, f"base/{s}", data.splits[s], how)]


def scalar_rows(arm: Arm, base: Path, name: str, data: Data) -> Rows:
    """Train a Bradley-Terry model on a selection of the data and score; only the first seed's `scorer` is kept.

    The full model also scores the test without its criteria, and as the end of longer conversations.
    """
    file = arm.checkpoint_dir / "rows.jsonl"
    if arm.name and file.is_file():  # the kept model is trained to its end again, from its last checkpoint
        return read_jsonl(file, Judgement)
    pairs = SELECTIONS[name](data.labelled)
    folder = train_bradley_terry(arm, base, pairs, labels_of(pairs))
    judge = load_scalar_judge(folder, arm.section("judge")["batch_size"], arm.device, arm.dtype, seed=arm.seed)
    model, test = "bt" if name == "full" else name, data.splits["test"]
    asked = {f"{model}/dev": data.splits["dev"], f"{model}/test": test}
    asked |= {f"{model}-bare/test": without_criterion(test)} if name in SHIFTED else {}
    asked |= {"bt-turns/test": longer(test, arm.run.seed)} if name == "full" else {}
    rows: Rows = []
    for called, some in asked.items():
        judge.name = called
        rows += judge_split(arm, judge, some)
    if arm.name:
        arm.discard("scorer")
    else:
        threshold = fit([r for r in rows if r.model == "bt/dev"], by_task=False).iloc[0]
        keep_settings(folder, threshold=float(threshold))
    write_jsonl(file, rows)
    return rows


def r1_rows(run: Run, base: Path, share: float, seed: int, data: Data, kept: bool) -> Rows:
    """Tune and reinforce a generative judge on a share of the data, and judge the test with it.

    At the first share the tuned judge is also asked without reasons and for each response alone, and R1 without a
    criterion.
    """
    p = run.section("bradley_terry")
    pairs, first = share_of(data.labelled, share, seed), share == p["r1_shares"][0]
    warm = Arm(run, f"warm-{share:g}-{seed}", seed, warm_changes(run))
    adapter = warm_up(warm, base, pairs, data.scale)
    r1 = Arm(run, "r1" if kept else f"r1-{share:g}-{seed}", seed, r1_changes(run))
    tuned = reinforce_verdicts(r1, adapter, pairs)
    rows = verdict_rows(warm, adapter, "warm", data) if first else []
    rows += generated(r1, tuned, "r1" if first else f"r1-{share:g}", data.splits["test"])
    if first:
        judge = open_judge(r1, tuned, "verdict")
        rows += judged(r1, judge, "r1-bare/test", without_criterion(data.splits["test"]))
    return rows


def weak_rows(run: Run, seed: int, data: Data) -> Rows:
    """Tune a judge on a backbone that was primed for a shorter time, and ask it with and without reasons."""
    pairs = share_of(data.labelled, run.section("bradley_terry")["r1_shares"][0], seed)
    arm = Arm(run, f"weak-{seed}", seed, warm_changes(run))
    adapter = warm_up(arm, run.path("primed-weak"), pairs, data.scale)
    return verdict_rows(arm, adapter, "weak", data, levels=False)


def verdict_rows(arm: Arm, adapter: Path, name: str, data: Data, levels: bool = True) -> Rows:
    """Judge the test with reasons, without them and, with `levels`, one response at a time."""
    test = data.splits["test"]
    rows = generated(arm, adapter, name, test)
    rows += judged(arm, open_judge(arm, adapter, "verdict-direct"), f"{name}-direct/test", test)
    if levels:
        rows += judged(arm, open_judge(arm, adapter, "level"), f"{name}-level/test", test, Pointwise())
    return rows


def generated(arm: Any, adapter: Path, name: str, pairs: list[Pair]) -> Rows:
    """Judge in words, and then by the probabilities of the tags after the same words (rows `<name>-forced`)."""
    judge = open_judge(arm, adapter, "verdict")
    rows = judged(arm, judge, f"{name}/test", pairs)
    return rows + [r.model_copy(update={"model": f"{name}-forced/test"}) for r in forced(judge, pairs, rows)]


def judged(arm: Any, judge: Judge, name: str, pairs: list[Pair], scaling: Any = None) -> Rows:
    judge.chat.name = name
    return judge.judge(pairs, scaling=scaling, progress=progress(f"{name}, judging"))


def open_judge(arm: Any, folder: Path, format: str) -> Judge:
    """Load a generative judge for one format of free-form judgements."""
    asked, longest = arm.section("judge"), arm.section("bradley_terry")["verdict_tokens"]
    how = {"format": format, "wording": asked["wording"], "decoding": Decoding(longest), "seed": arm.seed}
    return load_judge(folder, asked["batch_size"], arm.device, arm.dtype, **how)


def warm_changes(run: Run) -> dict[str, dict]:
    """Return what the supervised tuning of R1 changes in the sections that its trainer reads."""
    p = run.section("bradley_terry")
    return {"sft": {"steps": p["warm_steps"], "save_every": p["save_every"]}, "judge": {"format": "verdict"}}


def r1_changes(run: Run) -> dict[str, dict]:
    """The same of its reinforcement."""
    p = run.section("bradley_terry")
    asked = {"format": "verdict", "max_new_tokens": p["verdict_tokens"]}
    return {"grpo": {"steps": p["r1_steps"], "preset": "verdict", "hard_only": False}, "judge": asked}


def without_criterion(pairs: list[Pair]) -> list[Pair]:
    return [p.model_copy(update={"criterion": None}) for p in pairs]


def longer(pairs: list[Pair], seed: int) -> list[Pair]:
    """Return the pairs with text responses as the end of longer conversations."""
    return [two_turns(p, seed) for p in pairs if p.task in TEXT_TASKS]
