"""The batch with its table: Snakemake works as a child process and writes a log, from which the table takes its states.

Plan, order, resume, retries and forks stay the engine's (Snakefile). What a running notebook does comes from the
progress file of its stage (omnirepro/data/progress.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from omnirepro.data.files import try_out
from omnirepro.data.progress import FILE
from omnirepro.kit.batch.failures import engine_error, failure, place
from omnirepro.kit.batch.table import Row, Screen
from omnirepro.kit.report.execution import find_notebook
from omnirepro.kit.run import Fork, RunError, load_params, project_root, results_root, run_name, to_run
from omnirepro.kit.run.estimates import expected, stages_of
from omnirepro.kit.run.files import PACKAGED, working_root
from omnirepro.kit.run.sealed import check_sealed

PATIENCE = 30  # seconds for the engine to end its jobs, before it is asked less kindly
JOB = re.compile(r"(?:^    reason: (.*)\n)?^    wildcards: run=(\S+), stage=(\S+)", re.M)
# What the engine's log says about a job: its number, then (where it starts) its run and stage.
EVENT = re.compile(
    r"^\[(?P<at>[^\n]+)\]\n(?:local)?rule stage:\n(?:    .*\n)*?    jobid: (?P<started>\d+)\n"
    r"(?:    .*\n)*?    wildcards: run=(?P<run>\S+), stage=(?P<stage>\S+)\n"
    r"|^Finished jobid: (?P<done>\d+) "
    r"|^Error in rule stage:\n(?:    .*\n)*?    jobid: (?P<failed>\d+)\n"
    r"|^Trying to restart job (?P<waiting>\d+)\.",
    re.M,
)


class Batch:
    """One call of the engine for a profile's seeds: what it is asked for, and the rows of its notebooks.

    `command`: what a reader calls to go on, where that is not `reproduce`.
    """

    def __init__(
        self,
        profile: str,
        seeds: Sequence[int],
        notebooks: Sequence[str],
        cores: int,
        every_arm: bool,
        command: str = "",
    ):
        self.command = command
        self.profile = profile
        self.seeds = seeds
        self.every_arm = every_arm
        self.cores = cores
        self.runs = {run_name(profile, seed): seed for seed in seeds}
        self.asked = [find_notebook(word).stem for word in notebooks]
        self.numbers = " ".join(stage[:2] for stage in self.asked)
        config = [f"profile={profile}", f"seeds={' '.join(map(str, seeds))}", f"notebooks={self.numbers}"]
        config += ["arms=all"] if every_arm else []
        options = ["--snakefile", str(project_root() / "Snakefile"), *f"--cores {cores} --nolock".split()]
        options += ["--rerun-incomplete", "--config"]
        self.engine = [sys.executable, "-m", "snakemake", *options, *config]
        self.rows: list[Row] = []
        self.jobs: dict[str, Row] = {}
        self.reasons: dict[tuple[str, str], str] = {}
        self._rest = ""

    def plan(self) -> None:
        """Ask the engine what is to be run and make the rows. Raises `ParameterError`, or `RunError` with its words.

        Rows stand in the order of the stages; arms before the notebook 07. `reasons` are the engine's for each job.
        """
        for run in self.runs:
            load_params(self.profile, run)  # what is wrong with them is said in one line here
        answer = subprocess.run([*self.engine, "--dry-run"], cwd=working_root(), capture_output=True, text=True)
        if answer.returncode:
            raise RunError(engine_error(answer.stdout + answer.stderr))
        self.reasons = {(run, stage): why for why, run, stage in JOB.findall(answer.stdout + answer.stderr)}
        stages = stages_of(load_params(self.profile))
        for run, seed in self.runs.items():
            for stage in stages:
                asked = not self.asked or stage in self.asked
                if stage == "07_ablations" and asked:
                    for fork in to_run(self.profile, run, seed, self.every_arm):
                        for arm_stage in fork.arm.stages:
                            self._add(fork.name, arm_stage, fork)
                if asked or (run, stage) in self.reasons:
                    self._add(run, stage)

    def _add(self, run: str, stage: str, fork: Fork | None = None) -> None:
        state = "waiting" if (run, stage) in self.reasons else "up to date"
        seconds = expected(stage, self.profile, self.runs, self.cores, fork) or 0.0
        self.rows.append(Row(run, stage, state, expected=seconds))

    def take(self, text: str) -> None:
        """Bring the rows up to date by what the engine's log says further, and by the progress files."""
        self._rest += text
        read = 0
        for event in EVENT.finditer(self._rest):
            read = event.end()
            found = {key: value for key, value in event.groupdict().items() if value}
            at = found.pop("at", "")
            state, job = next(iter(found.items()))
            if state == "started":
                row = self.jobs[job] = self._row(found["run"], found["stage"])
                row.state = "running"
                row.progress = None
                row.started = time.mktime(time.strptime(at))
                row.ended = 0.0
                row.tries += 1
            elif row := self.jobs.get(job):
                row.state = state
                row.ended = time.time()
        self._rest = self._rest[read:]
        for row in self.rows:
            if row.state == "running":
                row.progress = read_progress(row) or row.progress

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
        """Return the command that goes on where this batch stopped: of `make`, or without it where it is not there."""
        if self.command:
            return self.command
        target = "ablations" if self.every_arm else "reproduce"
        if project_root() == PACKAGED or not shutil.which("make"):
            arms = "--arms all" if self.every_arm else ""
            return " ".join(filter(None, ("python -m omnirepro reproduce", self.words(), arms)))
        seeds = " ".join(map(str, self.seeds))
        words = [f"PROFILE={self.profile}", f'SEEDS="{seeds}"' if seeds != "0" else ""]
        words.append(f'N="{self.numbers}"' if self.numbers and not self.every_arm else "")
        return " ".join(["make", target, *filter(None, words)])

    def words(self) -> str:
        """Return profile, seeds and notebooks as words of a command of omnirepro."""
        seeds = " ".join(map(str, self.seeds))
        words = [f"--profile {self.profile}", f"--seeds {seeds}" if seeds != "0" else ""]
        words.append(f"--notebooks {self.numbers}" if self.numbers else "")
        return " ".join(filter(None, words))


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
    command: str = "",
    open_sealed: bool = False,
) -> int:
    """Run every notebook that is not up to date, show one table meanwhile, and return the exit status.

    `command`: what is named as going on from there (default: that of `reproduce`). `open_sealed`: see `check_sealed`.
    Raises `ParameterError` or `RunError` before any work where what is asked for cannot be.
    """
    batch = Batch(profile, seeds, notebooks, cores, every_arm, command)
    try_out(results_root() / f"{run_name(profile)}-batch.log")
    try:
        batch.plan()
        check_sealed(profile, seeds, open_sealed)
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

    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):  # Windows has no SIGHUP
        if number and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    group = (
        {"start_new_session": True} if os.name == "posix" else {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    )
    child = subprocess.Popen([*batch.engine, *options], cwd=working_root(), stdout=log, stderr=log, **group)
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


@contextlib.contextmanager
def open_log(profile: str) -> Iterator[BinaryIO]:
    """Open an empty log for a batch; under another name where a batch of the same profile still writes its own."""
    own = run_name(profile)
    for name in (f"{own}-batch.log", f"{own}-batch-{os.getpid()}.log"):
        lock = FileLock(results_root() / f".{name}.lock")
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0)
            break
    with lock, (results_root() / name).open("wb") as log:
        yield log


def held(run: str) -> bool:
    """Whether a batch works on a run: it holds the lock that the Snakefile takes."""
    try:
        with FileLock(results_root() / f".{run}.lock", timeout=0):
            return False
    except Timeout:
        return True


def stop(child: subprocess.Popen) -> None:
    """End the engine and its jobs, if they still run, and wait for them; asked again, be less patient."""
    for name in ("SIGINT", "SIGTERM", "SIGKILL"):
        if child.poll() is None and hasattr(os, "killpg"):
            os.killpg(child.pid, getattr(signal, name))
        elif child.poll() is None:  # Windows
            child.send_signal(signal.CTRL_BREAK_EVENT if name == "SIGINT" else signal.SIGTERM)
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            child.wait(timeout=PATIENCE)


def report(batch: Batch, log: Path) -> list[str]:
    """Say which notebooks failed, where and why, what to do next, and last where the log lies."""
    text = log.read_text(encoding="utf-8", errors="replace")
    failed = [failure(row.run, row.stage, text) for row in batch.rows if row.state == "failed"]
    said = failed or [engine_error(text)]
    then = f"{'Mend it, then' if failed else 'Then'}: {batch.again()}   (goes on where it stopped)"
    return ["\n\n".join(said), "", then, f"Log: {place(log)}"]
