"""Judgements of many pairs, kept chunk by chunk: what was judged before a kill is not judged again."""

from __future__ import annotations

from pathlib import Path

from omnirepro.data import Judgement, Pair
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge


def judge_split(judge: Judge | ScalarJudge, name: str, pairs: list[Pair], checkpoints: Path) -> list[Judgement]:
    """Judge pairs in both orders under a name of model and split (`sft/test`), which is that of the rows.

    Name and seed of the judge tell its chunks below `checkpoints` from those of others.
    """
    (judge.chat if isinstance(judge, Judge) else judge).name = name
    report = progress(f"{name}, judging")
    chunks = f"{name.replace('/', '-')}-{judge.seed}"
    return in_chunks(checkpoints, chunks, pairs, lambda some, at: judge.judge(some, progress=report), Judgement, 1024)
