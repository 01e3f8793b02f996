"""Progress of long work in a terminal or a notebook: one line now and then, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable


def progress(label: str, every: float = 15.0) -> Callable[..., None]:
    """Return `report(done, total, seconds, note="")`, which prints at most once in `every` seconds and at the end."""
    last = time.monotonic()

    def report(done: int, total: int, seconds: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= every:
            last = now
            left = seconds / max(done, 1) * (total - done)
            state = f"{left:.0f} s left" if done < total else f"done in {seconds:.0f} s"
            print(f"{label}: {done}/{total}{', ' + note if note else ''}, {state}", flush=True)

    return report
