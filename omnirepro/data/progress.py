"""Progress of long work: one line now and then in a terminal or a notebook, and a small file for the batch's table.

The file `.progress.json` lies in the folder of the stage that this process has opened, and goes with its end. Being
hidden it is no output of the stage. It is a courtesy: where it cannot be written, the work goes on without it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

FILE = ".progress.json"

_folder: Path | None = None  # of the stage that is open in this process
_written = 0.0


def follow(folder: Path) -> None:
    """Keep the progress of what follows in a stage's folder; what an earlier attempt left there goes."""
    global _folder, _written
    leave(folder)
    _folder, _written = folder, 0.0


def leave(folder: Path) -> None:
    """Remove a stage's progress file and write no other one there."""
    global _folder
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
    if _folder == folder:
        _folder = None


def progress(label: str, every: float = 15.0) -> Callable[..., None]:
    """Return `report(done, total, seconds, note="")`, which prints at most once in `every` seconds and at the end."""
    last = time.monotonic()

    def report(done: int, total: int, seconds: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        left = seconds / max(done, 1) * (total - done)
        _keep(label, done, total, left, note)
        if done >= total or now - last >= every:
            last = now
            state = f"{left:.0f} s left" if done < total else f"done in {seconds:.0f} s"
            print(f"{label}: {done}/{total}{', ' + note if note else ''}, {state}", flush=True)

    return report


def _keep(label: str, done: int, total: int, left: float, note: str) -> None:
    """Write what is known about once a second, and where a loop has ended."""
    global _written
    now = time.monotonic()
    if _folder is None or (now - _written < 1 and done < total):
        return
    _written = now
    known = {"label": label, "done": done, "total": total, "seconds_left": round(left, 1), "note": note}
    part = _folder / f".part-{FILE}"
    with contextlib.suppress(OSError, TypeError):
        _folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known | {"time": round(time.time(), 1)}) + "\n", encoding="utf-8")
        part.replace(_folder / FILE)
