"""One training within a stage, with its own seed, files and checkpoints.

`Run.sub` makes one, and so does each of the processes that `kit.run.launch` starts.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnirepro.kit.run.files import Content, atomic_write, results_root
from omnirepro.kit.run.launch import launch
from omnirepro.kit.run.parameters import ParameterError, Params, Section
from omnirepro.models.cache import FeatureStore
from omnirepro.models.device import OnDevice
from omnirepro.models.processing import OmniProcessor

TRACKERS = ("none", "tensorboard", "trackio")


def check_tracker(name: str) -> None:
    """Raise `ParameterError` where a tracker of training curves is not known, or its package not installed."""
    if name not in TRACKERS:
        raise ParameterError(f"device.report_to {name!r} is none of {', '.join(TRACKERS)}")
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ParameterError(f"device.report_to is {name}, whose package is not installed: pip install {name}")


class Handle(OnDevice):
    """What a training of the core may ask for beside parameters and places (`train.run.Run`)."""

    launch = staticmethod(launch)

    @property
    def launcher(self) -> str:
        """The file of params/accelerate/ in whose processes to train; empty for this one."""
        return self.section("device")["launcher"]

    @property
    def workers(self) -> int:
        """Processes that prepare batches ahead of a training."""
        return self.section("media")["workers"]

    @property
    def tracker(self) -> dict[str, Any]:
        """What transformers' Trainer is told of a tracker of its curves, whose files lie in the folder of the runs.

        Nothing leaves this machine: no space and no bucket of a hub is named, which trackio would make and fill.
        """
        name = self.section("device")["report_to"]
        if name == "none":
            return {"report_to": []}
        check_tracker(name)
        place = self.path().relative_to(results_root())
        run = "-".join(place.parts if self.name in place.parts else (*place.parts, self.name))
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(results_root() / ".tensorboard" / run)
        os.environ["TRACKIO_DIR"] = str(results_root() / ".trackio")
        spaces = {"trackio_space_id": None, "trackio_bucket_id": None, "trackio_static_space_id": False}
        return {"report_to": [name], "run_name": run, "project": "omnirepro", **spaces}

    def keep_media(self) -> None:
        """Let the models of this process share, with all others, what they prepare of large media."""
        if "media" not in self.params.sections:  # a project of notebooks that train nothing
            return
        share_media(self.section("media"))


def share_media(section: Mapping[str, Any]) -> None:
    """Let the models of this process share, with all others, what they prepare of large media (base.yaml's `media`)."""
    room = int(section["cache_gb"] * 1e9)
    OmniProcessor.store = FeatureStore(results_root() / ".media.sqlite", most=room) if room else None


@dataclass
class Training(Handle):
    """A handle on one training. `changes` maps sections to values that stand in place of the stage's parameters.

    Reads are recorded by `params`, key by key. Of several processes the `main` one alone writes.
    """

    name: str
    seed: int
    params: Params
    folder: Path
    checkpoint_dir: Path
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    main: bool = True

    def section(self, name: str) -> Section:
        """Return a section of the parameters, with this training's changes."""
        return self.params.section(name).changed(self.changes.get(name, {}))

    def path(self, name: str = "") -> Path:
        """Return where the training's file `name` lies."""
        return self.folder / name

    def write(self, name: str, content: Content) -> Path:
        """Write a file or folder as `Run.write` does; return its path in every process."""
        return atomic_write(self.path(name), content) if self.main else self.path(name)
