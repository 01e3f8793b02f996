"""The stage of supervised tuning (Omni-RRM, Section 4.1): one training, and the judgements of base and tuned model.

Consumes a base, the pairs of every split and the labels kept for tuning; produces `adapter`, `loss.csv` and
`predictions.jsonl`, rows named model and split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omnirepro.data import Judgement, Label, Pair, write_jsonl
from omnirepro.judge.generative import load_judge
from omnirepro.judge.rows import judge_split
from omnirepro.kit.run import Run
from omnirepro.kit.run.training import Training
from omnirepro.models.generation import Decoding
from omnirepro.train.sft import train_sft


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
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


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
