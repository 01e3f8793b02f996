"""The stage of supervised tuning (Omni-RRM, Section 4.1): one training, and the judgements of base and tuned model.

Consumes a base, the pairs of every split and the labels kept for tuning; produces `adapter`, `loss.csv` and
`predictions.jsonl`, rows named model and split. Beside them `choices.jsonl`: the verdicts by the probabilities of A
and B, of the base right behind the prompt (a form that it can answer, as it writes no judgement that can be read) and
of the tuned judge behind its own rationales. The base also judges behind examples (`judge.examples`), from which it
may take the form of a judgement without a training.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omnirepro.data import Judgement, Label, Pair, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.choice import choices
from omnirepro.judge.generative import load_judge
from omnirepro.judge.rows import judge_split
from omnirepro.kit.run import Run
from omnirepro.kit.run.training import Training
from omnirepro.models.generation import Decoding, Generated
from omnirepro.train.sft import conversations, train_sft

NAMES = {
    "base": ("base, forced choice", "choice"),
    "sft": ("sft, choice", "choice-after-rationale"),
    "grpo": ("grpo, choice", "choice-after-rationale"),
}
SHOWN = "base, shown examples"


def tune_and_judge(run: Run, base: Path | str, splits: dict[str, list[Pair]], labels: list[Label]) -> None:
    """Fine-tune on the split `train`, then judge the other splits with the base and the tuned model in both orders.

    In a run with a base run, which has judged with the untuned model already, with the tuned one alone.
    """
    asked = run.section("judge")
    adapter = train_sft(run, base, splits["train"], labels, run.section("sft"), asked)
    models = {"sft": adapter} if run.base else {"base": base, "sft": adapter}
    how = {"format": asked["format"], "wording": asked["wording"]}
    how["decoding"] = Decoding(max_new_tokens=asked["max_new_tokens"])
    rows = [row for name, folder in models.items() for row in judge_splits(run, folder, name, splits, **how)]
    if asked["examples"] and asked["read"] == "generate" and not run.base:
        turns = examples_of(run, splits["train"], labels)
        rows += judge_splits(run, base, SHOWN, {"test": splits["test"]}, examples=turns, **how)
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))
    chosen = [row for name, folder in models.items() for row in choose_splits(run, folder, name, splits, rows, **how)]
    run.write("choices.jsonl", lambda path: write_jsonl(path, chosen))


def examples_of(run: Run, pairs: list[Pair], labels: list[Label]) -> list[dict]:
    """Return labelled training pairs, drawn by the seed, as turns of a conversation: asked and judged."""
    asked = run.section("judge")
    drawn = random.Random(run.seed).sample(labels, min(asked["examples"], len(labels)))
    chats = conversations(pairs, drawn, asked["wording"], asked["format"], both_orders=False)
    return [turn for chat in chats for turn in chat if turn["role"] != "system"]


def choose_splits(
    run: Run | Training,
    folder: Path | str,
    name: str,
    splits: Mapping[str, list[Pair]],
    rows: list[Judgement],
    **settings: Any,
) -> list[Judgement]:
    """Read the verdicts of a judge off the probabilities of A and B, as `NAMES` says; rows are named so.

    `rows`: what it wrote of the same pairs in both orders, or where `judge.read` had them read so already, that.
    """
    called, read = NAMES[name]
    asked = run.section("judge")
    if asked["read"] != "generate":
        mine = [row for row in rows if row.model.startswith(f"{name}/")]
        return [row.model_copy(update={"model": row.model.replace(name, called, 1), "raw": ""}) for row in mine]
    judge = load_judge(folder, asked["batch_size"], run.device, run.dtype, seed=run.seed, **settings | {"read": read})
    anew = read == "choice"
    report = progress(f"{called}, choosing")
    out = []
    for split, pairs in ((split, pairs) for split, pairs in splits.items() if split != "train"):
        judge.chat.name = f"{called}/{split}"
        wrote = [Generated(row.raw, row.tokens, True) for row in rows if row.model == f"{name}/{split}"]

        def work(some: Sequence[Pair], at: int, wrote=wrote) -> list[Judgement]:
            written = None if anew else wrote[2 * at : 2 * (at + len(some))]
            made = choices(judge, list(some), progress=report, written=written)
            return [row.model_copy(update={"raw": ""}) for row in made]  # what was written stands in the other file

        out += in_chunks(run.checkpoint_dir, f"choices-{name}-{split}", pairs, work, Judgement, 1024)
    return out


def judge_splits(
    run: Run | Training, folder: Path | str, name: str, splits: dict[str, list[Pair]], **settings: Any
) -> list[Judgement]:
    """Judge every split but `train` with the judge of a folder, which is let go afterwards.

    `settings` stand in place of those that are kept with it.
    """
    asked = run.section("judge")
    settings = {"read": asked["read"], "seed": run.seed} | settings
    judge = load_judge(folder, asked["batch_size"], run.device, run.dtype, **settings)
    asked = {f"{name}/{split}": pairs for split, pairs in splits.items() if split != "train"}
    return [row for called, pairs in asked.items() for row in judge_split(judge, called, pairs, run.checkpoint_dir)]
