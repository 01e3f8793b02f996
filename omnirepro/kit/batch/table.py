"""The one table that a batch shows: a row a notebook, drawn in place on a terminal, told line by line elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

COLOURS = {"failed": "\x1b[31m{}\x1b[0m", "done": "\x1b[32m{}\x1b[0m"}
STATES = ("failed", "done", "up to date", "stale", "running", "stopped", "waiting", "not run")
URGENT = ("failed", "running", "stopped")  # what is shown first where not all rows fit
HEAD = ("notebook", "run", "state", "now", "elapsed", "left")
STATE = len("up to date")
CLOCK = len("1:02:03")
NOW = 20  # characters that "now" has at least, for which names give way down to SHORT,
SHORT = 10
MOST = 48  # and at most
EVERY = 15  # seconds at least between lines about notebooks that run, where there is no terminal


@dataclass
class Row:
    """One notebook of one run in a batch; times are seconds of `time.time()`, progress is what its file says.

    `expected`: the seconds that it is thought to take, 0 where nobody knows; `why`: what there is to say of its state.
    """

    run: str
    stage: str
    state: str = "waiting"
    started: float = 0.0
    ended: float = 0.0
    tries: int = 0
    progress: dict[str, Any] | None = None
    expected: float = 0.0
    why: str = ""

    def name(self) -> str:
        """Name the notebook; one of an arm by its number and the arm."""
        arm = self.run.partition("+")[2]
        return f"{self.stage[:2]} +{arm}" if arm else self.stage

    def now(self) -> str:
        """Say what a running notebook does, with its loss or note; of any other one, why it is in its state."""
        if self.state != "running":
            return self.why
        again = "second try" if self.tries > 1 else ""
        return ", ".join(filter(None, (*self.step(), again)))

    def step(self) -> tuple[str, ...]:
        """Return the step and the note that the progress file tells last; nothing where there is none."""
        if not self.progress:
            return ()
        form = "{label} {done}/{total}" if self.progress["total"] else "{label}"
        return form.format(**self.progress), self.progress["note"]

    def elapsed(self, now: float) -> str:
        return clock((self.ended or now) - self.started) if self.started else ""

    def left(self, now: float) -> str:
        """Say how long the loop still takes, counted on from when its file was written."""
        if self.state != "running" or not self.progress or self.progress["done"] >= self.progress["total"]:
            return ""
        return clock(max(0.0, self.progress["seconds_left"] - (now - self.progress["time"])))


def clock(seconds: float) -> str:
    """Write seconds as 0:42, 12:05 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def table(rows: Sequence[Row], now: float, width: int = 80, height: int = 24, colour: bool = False) -> list[str]:
    """Return the table as lines of at most `width` characters, at most `height` of them.

    Where not all rows fit, those that failed or run come first, and the others are counted. The columns are the same
    whatever the states are, so that nothing moves but what is new.
    """
    room = len(rows) if len(rows) + 2 <= height else max(1, height - 3)
    chosen = sorted(rows, key=lambda row: row.state not in URGENT)[:room]
    shown = [row for row in rows if row in chosen]
    hidden = [row for row in rows if row not in chosen]
    bases = [row.run.partition("+")[0] for row in rows]
    sizes = _sizes(max(len(HEAD[0]), *(len(row.name()) for row in rows)), set(bases), width)
    cells = [(r.name(), r.run.partition("+")[0], r.state, r.now(), r.elapsed(now), r.left(now)) for r in shown]
    lines = []
    for row in (HEAD, *cells):
        fitted = [cell if len(cell) <= size else cell[: size - 1] + "…" for cell, size in zip(row, sizes, strict=True)]
        line = "  ".join(cell.ljust(size) for cell, size in zip(fitted, sizes, strict=True) if size).rstrip()[:width]
        if colour and row[2] in COLOURS:
            line = line.replace(f" {row[2]}", " " + COLOURS[row[2]].format(row[2]), 1)
        lines.append(line)
    more = [f"and {len(hidden)} more: {counts(hidden)}"[:width]] if hidden else []
    return [*lines, *more, f"{counts(rows)} of {len(rows)} notebooks{ahead(rows, now)}"[:width]]


def counts(rows: Sequence[Row]) -> str:
    """Count the rows of each state: `1 failed, 2 running, 5 waiting`."""
    found = [(sum(row.state == state for row in rows), state) for state in STATES]
    return ", ".join(f"{number} {state}" for number, state in found if number)


def ahead(rows: Sequence[Row], now: float) -> str:
    """Say about how long the notebooks that run or wait still take together; empty where it is known of none."""
    running = [row for row in rows if row.state == "running"]
    waiting = [row for row in rows if row.state == "waiting"]
    known = [row for row in (*running, *waiting) if row.expected]
    if not known:
        return ""
    spent = {id(row): (now - row.started) / len(running) for row in running}  # side by side they share the cores
    left = sum(max(0.0, row.expected - spent.get(id(row), 0.0)) for row in known)
    more = "about" if len(known) == len(running) + len(waiting) else "more than"
    return f", {more} {clock(left)} left"


def _sizes(longest: int, runs: set[str], width: int) -> list[int]:
    """Give every column its width, the column "run" none where there is one run, and "now" what the others leave."""
    names = [longest, max(map(len, runs)) if len(runs) > 1 else 0]
    used = STATE + 2 * CLOCK + 2 * (len(HEAD) - 1 if names[1] else len(HEAD) - 2)
    while width - used - sum(names) < NOW and max(names) > SHORT:
        names[names.index(max(names))] -= 1
    return [*names, STATE, min(MOST, max(3, width - used - sum(names))), CLOCK, CLOCK]


class Screen:
    """Where the rows are shown: redrawn in place on a terminal, else a line for each change and one now and then."""

    def __init__(self, out: TextIO | None = None):
        self.out = out or sys.stdout
        self.live = self.out.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self.drawn: list[int] = []  # the lengths of the lines that the last drawing left
        self.said: dict[tuple[str, str], tuple[str, float]] = {}

    def __enter__(self) -> Screen:
        if self.live:
            self._write("\x1b[?25l")
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self._write("\x1b[?25h")

    def show(self, rows: Sequence[Row]) -> None:
        """Bring what is shown up to date."""
        if self.live:
            self._draw(rows)
        else:
            self._tell(rows, time.time())

    def _draw(self, rows: Sequence[Row]) -> None:
        """Write the table over the former one in one go, each line cleared only behind its text: nothing flickers."""
        size = shutil.get_terminal_size()
        room = (time.time(), size.columns - 1, size.lines - 1)
        lines = table(rows, *room, self.colour)
        up = sum(-(-max(1, length) // size.columns) for length in self.drawn)
        self.drawn = [len(line) for line in table(rows, *room)]
        self._write((f"\x1b[{up}A" if up else "") + "".join(f"\r{line}\x1b[K\n" for line in lines) + "\x1b[J")

    def _tell(self, rows: Sequence[Row], now: float) -> None:
        """Write a line for each change of state; of what runs, at most one line a notebook in `EVERY` seconds."""
        for row in rows:
            key = (row.run, row.stage)
            state, told = self.said.get(key, ("", now))
            text = ""
            if state != row.state:
                after = f" after {row.elapsed(now)}" if row.ended and row.started else ""
                text = f"{row.state}{after}" if state or row.state != "waiting" else ""
            elif row.state == "running" and now - told >= EVERY:
                parts = (row.now(), row.left(now) and f"{row.left(now)} left", f"{row.elapsed(now)} elapsed")
                text = ", ".join(filter(None, parts))
            if text or state != row.state:
                self.said[key] = (row.state, now)
            self._write(f"{row.run} {row.stage}: {text}\n" if text else "")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()
