"""What a training asks of the run that it belongs to, and the mark of trainings that several processes can share.

The core knows neither notebooks nor folders of results: whoever trains hands over an object with these names, and the
parameters as a mapping. The kit's `Run` is one, so is a part of it, and a test writes one in a few lines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

Values = Mapping[str, Any]  # the parameters of a training by their keys in base.yaml


class Run(Protocol):
    """Seed and device of a training, and the places for its files; `checkpoint_dir` is this work's own.

    `launcher` names what starts the processes of a training (`launch` does so); empty for this one. A run may have
    `workers`, the number of processes that prepare its batches ahead; without it there are none.
    """

    name: str
    seed: int
    device: str
    dtype: str
    checkpoint_dir: Path
    launcher: str
    launch: Callable[..., Path]

    def path(self, name: str = "") -> Path:
        """Return where a file of the run lies."""

    def write(self, name: str, content: Any) -> Path:
        """Write a file or folder atomically; `content` may be a function that writes to the path it is given."""


def launchable(train: Callable[..., Path]) -> Callable[..., Path]:
    """Let `train(run, ...)`, which returns a path, run in the processes of the run's launcher where it has one."""

    @functools.wraps(train)
    def start(run: Run, *args: Any, **kwargs: Any) -> Path:
        return run.launch(run.launcher, train, run, args, kwargs) if run.launcher else train(run, *args, **kwargs)

    return start
