"""What a run has and lacks: `python -m omnirepro status`, without work and without a model.

What is to be run is the batch engine's answer (a dry run); why, and what failed or runs, stands in the stages' folders.
"""

from __future__ import annotations

import calendar
import platform
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any

from omnirepro.kit.batch.engine import Batch, held, read_progress
from omnirepro.kit.batch.failures import failure, place, reason_of
from omnirepro.kit.batch.table import Row, table
from omnirepro.kit.run import load_params, results_root
from omnirepro.kit.run.estimates import spoken
from omnirepro.kit.run.files import FAILED
from omnirepro.kit.run.manifest import differing, load_manifest

REASONS = {  # of the engine, and how a reader knows them
    "Incomplete": "was interrupted",
    "Params have changed": "a parameter that it may read changed",
    "Code has changed": "the plan of the batch (Snakefile) changed",
    "Set of input files has changed": "what it builds on changed",
}
SILENT = 120  # seconds without a word, after which work on another machine counts as ended


def status(profile: str, seeds: Sequence[int], notebooks: Sequence[str], cores: int, every_arm: bool = False) -> str:
    """Say what is done, stale, failed, running or not run of a profile's seeds, and what the batch would do next.

    Raises `ParameterError` or `RunError` where what is asked for cannot be.
    """
    batch = Batch(profile, seeds, notebooks, cores, every_arm)
    batch.plan()
    busy = _at_work(batch)
    for row in batch.rows:
        _look(batch, row, busy)
    now = time.time()
    told = table(batch.rows, now, shutil.get_terminal_size((120, 24)).columns - 1, len(batch.rows) + 3)
    failed = [failure(row.run, row.stage) for row in batch.rows if row.state == "failed"]
    return "\n\n".join(["\n".join(told), *failed, _next(batch)])


def _at_work(batch: Batch) -> dict[tuple[str, str], float]:
    """Map what a batch of the same profile runs now, as its log tells, to when it started."""
    log = results_root() / f"{batch.profile}-batch.log"
    if not log.is_file() or not any(held(run) for run in batch.runs):
        return {}
    other = Batch(batch.profile, batch.seeds, (), batch.cores, batch.every_arm)
    other.take(log.read_text(encoding="utf-8", errors="replace"))
    return {(row.run, row.stage): row.started for row in other.rows if row.state == "running"}


def _look(batch: Batch, row: Row, busy: dict[tuple[str, str], float]) -> None:
    """Give a row its state, its times and what there is to say of it."""
    folder = results_root() / row.run / row.stage
    manifest = load_manifest(folder)
    row.progress = read_progress(row)
    if (row.run, row.stage) in busy or _lives(row.progress):
        row.state = "running"
        row.started = busy.get((row.run, row.stage), 0.0)
        return
    if row.state == "waiting":
        row.state, row.why = _lacking(batch, row, manifest)
    if manifest and row.state in ("up to date", "stale"):
        row.ended = calendar.timegm(time.strptime(manifest["finished"], "%Y-%m-%dT%H:%M:%SZ"))
        row.started = row.ended - manifest["seconds"]
        row.why = row.why or time.strftime("%d %b %H:%M", time.localtime(row.ended))
    row.state = "done" if row.state == "up to date" else row.state


def _lives(known: dict[str, Any] | None) -> bool:
    """Whether the process that wrote a progress file is there; of another machine, whether it wrote of late."""
    import psutil

    if not known:
        return False
    if known.get("machine") != platform.node():
        return time.time() - known["time"] < SILENT
    return psutil.pid_exists(known["process"])


def _lacking(batch: Batch, row: Row, manifest: dict[str, Any]) -> tuple[str, str]:
    """Return the state of a notebook that is to be run, and why it is."""
    folder = results_root() / row.run / row.stage
    reason = batch.reasons[row.run, row.stage]
    if (folder / FAILED).is_file():
        return "failed", reason_of(row.run, row.stage)
    if not manifest and (row.progress or any(folder.glob(".partial/*/*"))):
        at = ", ".join(filter(None, row.step()))
        return "stopped", f"at {at}" if at else "goes on from its checkpoint"
    if not manifest:
        return "not run", _after(reason)
    if "+" not in row.run and (changed := differing(manifest, params := load_params(batch.profile, row.run))):
        here = params.peek(changed[0]) if changed[0] in params.keys() else None
        return "stale", f"{changed[0]} is {here!r}, was {manifest['params'][changed[0]]!r}"
    if f"notebooks/{row.stage}.ipynb" in reason:
        return "stale", "its notebook changed"
    said = [words for known, words in REASONS.items() if known in reason]
    return "stale", said[0] if said else _after(reason)


def _after(reason: str) -> str:
    """Say behind which notebooks one comes that are run before, by the engine's reason."""
    before = sorted({stage[:2] for stage in re.findall(r"/(\d\d_\w+)/notebook\.ipynb", reason.partition("Input")[2])})
    return f"after {', '.join(before)}" if before else ""


def _next(batch: Batch) -> str:
    """Say what the next call of the batch runs, for about how long, and what to call."""
    todo = [row for row in batch.rows if (row.run, row.stage) in batch.reasons and row.state != "running"]
    running = [row for row in batch.rows if row.state == "running"]
    if running and not todo:
        return "Nothing is left to be started: wait for what runs."
    if not todo:
        report = results_root() / next(iter(batch.runs)) / "report.html"
        then = f"its report is {place(report)}" if report.is_file() else f"python -m omnirepro report {batch.words()}"
        return f"Nothing to be done: every notebook is up to date; {then}"
    known = sum(row.expected for row in todo)
    about = f", about {spoken(known)}" if all(row.expected for row in todo) else ""
    names = ", ".join(row.name() for row in todo[:6]) + (", …" if len(todo) > 6 else "")
    first = "Wait for what runs, then" if running else "Next"
    return f"{first}: {batch.again()}\nruns {len(todo)} notebook{'s' * (len(todo) > 1)} ({names}){about}"
