"""Judges of the notebooks that ask any of them (08 and 09): the run's own, and those that a parameter names."""

from __future__ import annotations

from pathlib import Path

from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import Run
from omnirepro.models.generation import Decoding
from omnirepro.models.opening import served
from omnirepro.models.processing import limits_in


def opened(run: Run, source: Path | str, keeps: bool = False) -> Judge | ScalarJudge:
    """Open a judge by the section `judge`; `keeps`: it may answer as long as is kept with it.

    Of any other one that is asked in the run's own wording `judge.max_new_tokens` is the longest answer; what was never
    taught that may answer as long as its format needs.
    """
    asked = run.section("judge")
    how = {"read": asked["read"], "media": limits_in(run.section("media")), "seed": run.seed}
    how |= {"endpoint": run.endpoint} if served(source) else {}
    judge = load_judge(source, asked["batch_size"], run.device, run.dtype, **how)
    if not keeps and getattr(judge, "wording", None) == asked["wording"]:
        judge.decoding = Decoding(max_new_tokens=asked["max_new_tokens"])
    return judge
