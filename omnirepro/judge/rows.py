"""Judgements of many pairs, kept chunk by chunk: what was judged before a kill is not judged again."""

from __future__ import annotations

from pathlib import Path

from omnirepro.data import Judgement, Pair
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge


def judge_split(
    judge: Judge | ScalarJudge, name: str, pairs: list[Pair], checkpoints: Path, size: int = 1024
) -> list[Judgement]:
    """Judge pairs in both orders under a name of model and split (`sft/test`), `size` of them between two writes.

    The name is that of the rows, and of the chunks below `checkpoints`.
    """
    report = progress(f"{name}, judging")

    def work(some: list[Pair], at: int) -> list[Judgement]:
        return [row.model_copy(update={"model": name}) for row in judge.judge(some, progress=report)]

    return in_chunks(checkpoints, name, pairs, work, Judgement, size)
