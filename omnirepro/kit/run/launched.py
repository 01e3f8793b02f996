"""One of the processes that `kit.run.launch` started: `accelerate launch -m omnirepro.kit.run.launched FILE`."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from omnirepro.kit.run.files import atomic_write
from omnirepro.kit.run.launch import KIND, SECTION
from omnirepro.kit.run.parameters import Params, Section
from omnirepro.kit.run.training import Training


def revive(fields: dict[str, Any], params: Params | None = None) -> Any:
    """Make the row, dataclass or section (of `params`) that a JSON object names; leave any other object as it is."""
    kind = fields.pop(KIND, None)
    if kind is None:
        return fields
    return Section(params, **fields) if kind == SECTION else named(kind)(**fields)


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
    text = Path(file).read_text(encoding="utf-8")
    params = Params(json.loads(text)["values"])
    job = json.loads(text, object_hook=partial(revive, params=params))
    places = (Path(job[name]) for name in ("folder", "checkpoints"))
    share = Training(job["name"], job["seed"], params, *places, job["changes"], main_process)
    try:
        share.keep_media()
        if share.device != "cpu":  # "cuda" means this process's own GPU
            import torch

            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        path = inspect.unwrap(named(job["function"]))(share, *job["args"], **job["kwargs"])
    except Exception as error:
        traceback.print_exc()
        if not Path(job["answer"]).exists():
            atomic_write(Path(job["answer"]), {"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)
    if main_process:
        atomic_write(Path(job["answer"]), {"path": str(path), "reads": list(params.reads)})
    import torch.distributed as group

    if group.is_initialized():  # the processes end together
        group.barrier()
        group.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
