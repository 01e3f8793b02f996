"""The batch with its table: Snakemake works as a child process and writes a log, from which the table takes its states.

Plan, order, resume, retries and forks stay the engine's (Snakefile). What a running notebook does comes from the
progress file of its stage (omnirepro/data/progress.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from omnirepro.data.files import try_out
from omnirepro.data.progress import FILE
from omnirepro.kit.batch.failures import engine_error, failure, place
from omnirepro.kit.batch.table import Row, Screen
from omnirepro.kit.report.execution import find_notebook
from omnirepro.kit.run import STAGES, RunError, project_root, results_root, run_name, to_run
from omnirepro.kit.run.files import working_root

PATIENCE = 30  # seconds for the engine to end its jobs, before it is asked less kindly
JOB = re.compile(r"^    wildcards: run=(\S+), stage=(\S+)", re.M)
# What the engine's log says about a job: its number, then (where it starts) its run and stage.
EVENT = re.compile(
    r"^(?:local)?rule stage:\n(?:    .*\n)*?    jobid: (?P<started>\d+)\n"
    r"(?:    .*\n)*?    wildcards: run=(?P<run>\S+), stage=(?P<stage>\S+)\n"
    r"|^Finished jobid: (?P<done>\d+) "
    r"|^Error in rule stage:\n(?:    .*\n)*?    jobid: (?P<failed>\d+)\n"
    r"|^Trying to restart job (?P<waiting>\d+)\.",
    re.M,
)


class Batch:
    """One call of the engine for a profile's seeds: what it is asked for, and the rows of its notebooks."""

    def __init__(self, profile: str, seeds: Sequence[int], notebooks: Sequence[str], cores: int, every_arm: bool):
        self.profile = profile
        self.seeds = seeds
        self.every_arm = every_arm
        self.runs = {run_name(profile, seed): seed for seed in seeds}
        self.asked = [find_notebook(word).stem for word in notebooks]
        numbers = " ".join(stage[:2] for stage in self.asked)
        config = [f"profile={profile}", f"seeds={' '.join(map(str, seeds))}", f"notebooks={numbers}"]
        config += ["arms=all"] if every_arm else []
        options = ["--snakefile", str(project_root() / "Snakefile"), *f"--cores {cores} --nolock".split()]
        options += ["--rerun-incomplete", "--config"]
        self.command = [sys.executable, "-m", "snakemake", *options, *config]
        self.rows: list[Row] = []
        self.jobs: dict[str, Row] = {}
        self._rest = ""

    def plan(self) -> None:
        """Ask the engine what is to be run and make the rows. Raises `RunError` with its own words where it cannot.

        Rows stand in the order of the stages; arms before the notebook 07.
        """
        answer = subprocess.run([*self.command, "--dry-run"], cwd=working_root(), capture_output=True, text=True)
        if answer.returncode:
            raise RunError(engine_error(answer.stdout + answer.stderr))
        planned = set(JOB.findall(answer.stdout + answer.stderr))
        there = [stage for stage in STAGES if (project_root() / "notebooks" / f"{stage}.ipynb").is_file()]
        for run, seed in self.runs.items():
            for stage in there:
                asked = not self.asked or stage in self.asked
                names = []
                if stage == "07_ablations" and asked:
                    forks = to_run(self.profile, run, seed, self.every_arm)
                    names = [(fork.name, arm_stage) for fork in forks for arm_stage in fork.arm.stages]
                for name in (*names, (run, stage)):
                    if asked or name in planned:
                        self.rows.append(Row(*name, "waiting" if name in planned else "up to date"))

    def take(self, text: str) -> None:
        """Bring the rows up to date by what the engine's log says further, and by the progress files."""
        self._rest += text
        read = 0
        for event in EVENT.finditer(self._rest):
            read = event.end()
            found = {key: value for key, value in event.groupdict().items() if value}
            state, job = next(iter(found.items()))
            if state == "started":
                row = self.jobs[job] = self._row(found["run"], found["stage"])
                row.state = "running"
                row.started = time.time()
                row.ended = 0.0
                row.tries += 1
            elif row := self.jobs.get(job):
                row.state = state
                row.ended = time.time()
        self._rest = self._rest[read:]
        for row in self.rows:
            if row.state == "running":
                row.progress = read_progress(row)

    def _row(self, run: str, stage: str) -> Row:
        for row in self.rows:
            if (row.run, row.stage) == (run, stage):
                return row
        self.rows.append(Row(run, stage))  # files have changed since the plan
        return self.rows[-1]

    def close(self, cut: Sequence[Row] = ()) -> None:
        """Name what the end of the engine leaves behind; `cut` are the rows whose work was ended from outside."""
        for row in self.rows:
            row.ended = row.ended or time.time()
            ended = "stopped" if row in cut and row.state != "done" else row.state
            row.state = {"waiting": "not run", "running": "stopped"}.get(ended, ended)

    def again(self) -> str:
        """Return the command that goes on where this batch stopped."""
        target = "ablations" if self.every_arm else "reproduce"
        seeds = " ".join(map(str, self.seeds))
        numbers = " ".join(stage[:2] for stage in self.asked)
        words = [f"PROFILE={self.profile}", f'SEEDS="{seeds}"' if seeds != "0" else ""]
        words.append(f'N="{numbers}"' if numbers and not self.every_arm else "")
        return " ".join(["make", target, *filter(None, words)])


def read_progress(row: Row) -> dict[str, Any] | None:
    """Return what a running notebook has said of itself since it started; None where it has not."""
    with contextlib.suppress(OSError, ValueError):
        known = json.loads((results_root() / row.run / row.stage / FILE).read_text(encoding="utf-8"))
        return known if known["time"] >= row.started - 1 else None
    return None


def run_batch(
    profile: str,
    seeds: Sequence[int],
    notebooks: Sequence[str] = (),
    cores: int = 2,
    every_arm: bool = False,
    keep_going: bool = False,
) -> int:
    """Run every notebook that is not up to date, show one table meanwhile, and return the exit status.

    Raises `ParameterError` or `RunError` before any work where what is asked for cannot be.
    """
    batch = Batch(profile, seeds, notebooks, cores, every_arm)
    try_out(results_root() / f"{profile}-batch.log")
    try:
        batch.plan()
        if not any(row.state == "waiting" for row in batch.rows):
            print(f"Nothing to be done: every notebook of {' '.join(batch.runs)} is up to date.")
            return 0
        with open_log(profile) as log:
            return _work(batch, log, ["--keep-going"] if keep_going else [])
    except KeyboardInterrupt:
        print(f"Stopped. The same command goes on where it stopped: {batch.again()}")
        return 130


def _work(batch: Batch, log: BinaryIO, options: list[str]) -> int:
    """Run the engine to its end, or end it where this process is asked to stop.

    A lost terminal or a plain kill end the batch as Ctrl-C does; what is ignored (nohup) stays ignored.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    child = subprocess.Popen(
        [*batch.command, *options], cwd=working_root(), stdout=log, stderr=log, start_new_session=True
    )
    with Screen() as screen, open(log.name, encoding="utf-8", errors="replace") as said:
        try:
            while child.poll() is None:
                batch.take(said.read())
                screen.show(batch.rows)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1)
        finally:
            cut = [row for row in batch.rows if row.state == "running" and child.poll() is None]
            stop(child)
            batch.take(said.read())
            batch.close(cut)
            screen.show(batch.rows)
    if child.returncode:
        print("", *report(batch, Path(log.name)), sep="\n")
    return 1 if child.returncode else 0


def open_log(profile: str) -> BinaryIO:
    """Open an empty log for a batch; under another name where a batch of the same profile still writes its own."""
    for name in (f"{profile}-batch.log", f"{profile}-batch-{os.getpid()}.log"):
        log = (results_root() / name).open("ab")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
    log.truncate(0)
    return log


def stop(child: subprocess.Popen) -> None:
    """End the engine and its jobs, if they still run, and wait for them; asked again, be less patient."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, number)
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            child.wait(timeout=PATIENCE)


def report(batch: Batch, log: Path) -> list[str]:
    """Say which notebooks failed, where and why, what to do next, and last where the log lies."""
    failed = [failure(row.run, row.stage) for row in batch.rows if row.state == "failed"]
    said = failed or [engine_error(log.read_text(encoding="utf-8", errors="replace"))]
    then = f"{'Mend it, then' if failed else 'Then'}: {batch.again()}   (goes on where it stopped)"
    return ["\n\n".join(said), "", then, f"Log: {place(log)}"]
