"""An earlier name of `omnirepro.judge.rubric`, which keeps working: the rubric-grounded judgement."""

from omnirepro.judge.rubric import *  # noqa: F403
