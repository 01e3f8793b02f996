"""One of the processes that `kit.run.launch` started: `accelerate launch -m omnirepro.kit.run.launched FILE`."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from omnirepro.kit.run.files import Content, atomic_write
from omnirepro.kit.run.launch import KIND
from omnirepro.kit.run.parameters import Params, Section
from omnirepro.models.device import OnDevice


class Share(OnDevice):
    """A process's share of a run: the same parameters, seed and folders; only the main process writes."""

    def __init__(self, job: dict[str, Any], main: bool):
        self.name, self.seed, self.main = job["name"], job["seed"], main
        self.params, self.checkpoint_dir, self.folder = Params(job["values"]), Path(job["checkpoints"]), job["folder"]

    def section(self, name: str) -> Section:
        return self.params.section(name)

    def path(self, name: str = "") -> Path:
        return Path(self.folder) / name

    def write(self, name: str, content: Content) -> Path:
        """Write a file or folder as `Run.write` does, in the main process; return its path in every process."""
        return atomic_write(self.path(name), content) if self.main else self.path(name)


def revive(fields: dict[str, Any]) -> Any:
    """Make the row or dataclass that a JSON object names; leave any other object as it is."""
    kind = fields.pop(KIND, None)
    return named(kind)(**fields) if kind else fields


def named(place: str) -> Any:
    """Return what stands at module:name of this package."""
    module, name = place.split(":")
    if module.split(".")[0] != "omnirepro":
        raise ValueError(f"{place} is not of this package")
    return getattr(importlib.import_module(module), name)


def main(file: str) -> None:
    """Do this process's share; the main one leaves path and parameters read, or the first to fail its error."""
    main_process = os.environ.get("RANK", "0") == "0"
    if not main_process:  # what all say is said once
        sys.stdout = open(os.devnull, "w")
        warnings.simplefilter("ignore")
    job = json.loads(Path(file).read_text(encoding="utf-8"), object_hook=revive)
    share = Share(job, main_process)
    try:
        _take_device(share.device)
        path = inspect.unwrap(named(job["function"]))(share, *job["args"], **job["kwargs"])
    except Exception as error:
        traceback.print_exc()
        if not Path(job["answer"]).exists():
            atomic_write(Path(job["answer"]), {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    if main_process:
        atomic_write(Path(job["answer"]), {"path": str(path), "reads": list(share.params.reads)})
    _leave()


def _take_device(device: str) -> None:
    """Let "cuda" mean this process's own GPU."""
    if device != "cpu":
        import torch

        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))


def _leave() -> None:
    """End the group of processes together."""
    import torch.distributed as group

    if group.is_initialized():
        group.barrier()
        group.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
