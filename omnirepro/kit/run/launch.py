"""Training in several processes: a training starts itself again under `accelerate launch` and streams what it says.

`device.launcher` names a file of params/accelerate/. With it, a function marked `launchable`
(`train.run`) runs in every process, on that process's device, with a handle of its own (`kit.run.launched`); the main
process alone writes. The processes end with the training: judging, and whatever else follows, goes on in the process
that started them.

Parameters, arguments and the answer travel as JSON through the folder of checkpoints.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from omnirepro.data.progress import followed
from omnirepro.kit.run.files import RunError, project_root, remove
from omnirepro.kit.run.parameters import ParameterError, Section
from omnirepro.kit.run.reading import nearest

KIND = "__kind__"  # in JSON: the class of an object, as module:name
SECTION = "omnirepro.kit.run.parameters:Section"  # is made over the process's own parameters, to record what it reads


def launch(launcher: str, train: Callable[..., Path], run: Any, args: tuple, kwargs: Mapping[str, Any]) -> Path:
    """Call `train` in the processes of params/accelerate/<launcher>.yaml; print their lines, return its path.

    Raises `ParameterError` on an unknown launcher, `RunError` with the reason, or the last lines, where one fails.
    """
    config = config_of(launcher, run.device)
    job, answer = (run.checkpoint_dir / name for name in ("launch.json", "launched.json"))
    values: dict[str, Any] = {}
    for key, value in run.params.values(run.params.allowed).items():  # sending them on does not count as reading them
        section, name = key.split(".", 1)
        values.setdefault(section, {})[name] = value
    handle = {
        "name": run.name,
        "seed": run.seed,
        "values": values,
        "changes": getattr(run, "changes", {}),
        "folder": os.path.abspath(run.path()),
        "checkpoints": os.path.abspath(run.checkpoint_dir),
        "stage": followed() and os.path.abspath(followed()),
    }
    work = {"function": f"{train.__module__}:{train.__qualname__}", "args": args, "kwargs": kwargs, "answer": answer}
    job.write_text(json.dumps(work | handle, default=_plain), encoding="utf-8")
    remove(answer)
    gc.collect()  # give back what an earlier model of this process holds of a GPU that is to be trained on
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()
    failed = _stream(command(config, run.device, job), run.device)
    found = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else {}
    if failed or "path" not in found:
        said = found.get("error", f"the last lines are\n{failed}")
        raise RunError(f"{train.__name__} failed under params/accelerate/{launcher}.yaml: {said}")
    for key in found["reads"]:
        run.params[key]  # noqa: B018  what the processes read counts as read here
    return Path(found["path"])


def config_of(launcher: str, device: str) -> Path:
    """Return a launcher's file. Raises `ParameterError` on another name, or one for other devices."""
    files = {path.stem: path for path in (project_root() / "params" / "accelerate").glob("*.yaml")}
    if launcher not in files:
        hint = f"the nearest one is {nearest(launcher, sorted(files))} (of {', '.join(sorted(files))})"
        raise ParameterError(f"device.launcher {launcher!r} is no file of params/accelerate/: {hint}")
    if (launcher == "cpu") != (device == "cpu"):
        remedy = "on a CPU take 'cpu', or '' for one process; on GPUs any other"
        raise ParameterError(f"device.launcher {launcher!r} does not train on {device}: {remedy}")
    return files[launcher]


def command(config: Path, device: str, job: Path) -> list[str]:
    """Return the command that starts the processes: one a visible GPU; on a CPU as many as the file says."""
    words = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    if device != "cpu":
        import torch

        words += ["--num_processes", str(torch.cuda.device_count())]
    return [*words, "--main_process_port", "0", "-m", "omnirepro.kit.run.launched", str(job)]


def _stream(words: list[str], device: str) -> str:
    """Run a command, print its lines as they come; return the last ones where it fails, else an empty text."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | os.environ
    environment["ACCELERATE_USE_CPU"] = str(device == "cpu").lower()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    process = subprocess.Popen(words, env=environment, **pipes)
    last: deque[str] = deque(maxlen=30)
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            last.append(line)
        return "".join(last) or "nothing" if process.wait() else ""
    finally:
        if process.poll() is None:  # interrupted
            process.terminate()
            process.wait()


def _plain(value: Any) -> Any:
    """Turn rows, dataclasses, sections and paths into what JSON holds; `revive` turns all but paths back."""
    kind = {KIND: f"{type(value).__module__}:{type(value).__qualname__}"}
    if isinstance(value, Section):
        return kind | value.parts()
    if isinstance(value, BaseModel):
        return kind | dict(value)
    if dataclasses.is_dataclass(value):
        return kind | {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent to another process: send rows, or a path to a file")
