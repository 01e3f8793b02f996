"""Progress of long work: one line now and then in a terminal or a notebook, and a small file for the batch's table.

The file `.progress.json` lies in the folder of the stage that this process has opened, and goes with its end. Being
hidden it is no output of the stage. It is a courtesy: where it cannot be written, the work goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

FILE = ".progress.json"

_folder: Path | None = None  # of the stage that is open in this process
_written = 0.0


def follow(folder: Path, afresh: bool = True) -> None:
    """Keep the progress of what follows in a stage's folder; `afresh`, what an earlier attempt left there goes."""
    global _folder, _written
    if afresh:
        leave(folder)
    _folder = folder
    _written = 0.0


def leave(folder: Path) -> None:
    """Remove a stage's progress file and write no other one there."""
    global _folder
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
    if _folder == folder:
        _folder = None


def followed() -> Path | None:
    """Return the folder of the stage that this process has opened, for the processes that it starts."""
    return _folder


def tell(label: str, done: int = 0, total: int = 0, seconds_left: float = 0.0, note: str = "") -> None:
    """Write to the stage's file what this process is at: of a loop its steps, else the label alone."""
    if _folder is None:
        return
    known = {"label": label, "done": done, "total": total, "seconds_left": round(seconds_left, 1), "note": note}
    here = {"time": round(time.time(), 1), "process": os.getpid(), "machine": platform.node()}
    with contextlib.suppress(OSError, TypeError):  # no output: who reads it half-written reads it again in a second
        _folder.mkdir(parents=True, exist_ok=True)
        (_folder / FILE).write_text(json.dumps(known | here), encoding="utf-8")


def progress(label: str, every: float = 15.0) -> Callable[..., None]:
    """Return `report(done, total, seconds, note="")`, which prints at most once in `every` seconds and at the end.

    It also writes what is known to the stage's file, about once a second and where the work has ended.
    """
    last = time.monotonic()

    def report(done: int, total: int, seconds: float, note: str = "") -> None:
        nonlocal last
        global _written
        now = time.monotonic()
        left = seconds / max(done, 1) * (total - done)
        if now - _written >= 1 or done >= total:
            _written = now
            tell(label, done, total, left, note)
        if done >= total or now - last >= every:
            last = now
            state = f"{left:.0f} s left" if done < total else f"done in {seconds:.0f} s"
            print(f"{label}: {done}/{total}{', ' + note if note else ''}, {state}", flush=True)

    return report
