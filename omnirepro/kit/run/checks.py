"""What a stage asks of its own results, and what ends it.

A weak result is a finding: it becomes a `Check`, which is shown, kept in metrics.json and carried to the scorecard, and
stops nothing. What is broken (rows lost, a leak, a file that is not there) ends the stage: `require`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from omnirepro.data import stored
from omnirepro.kit.run.display import Page, table
from omnirepro.kit.run.files import RunError, relative

PREFIX = "check_"
MISSED = "MISSED"
RED = '<b style="color:#b42318">{}</b>'
WORDS = {
    (False, False): "at least", (False, True): "more than", (True, False): "at most", (True, True): "less than",
}  # fmt: skip
Entry = Mapping[str, Any]


class FileMissing(RunError, FileNotFoundError):
    """A file that a stage should have written is not there."""


@dataclass(frozen=True)
class Check:
    """A reading of one share (of 1) against a bound that was set beforehand.

    `name` says in plain words what was measured, `asks` in a sentence what the bound is for. `at_most` makes the bound
    an upper one; with `beyond` the bound itself does not pass. What could not be measured (None, NaN) does not pass.
    """

    name: str
    value: float | None
    bound: float
    at_most: bool = False
    asks: str = ""
    beyond: bool = False

    @property
    def passed(self) -> bool:
        if not is_known(self.value):
            return False
        lead = float(self.bound - self.value if self.at_most else self.value - self.bound)
        return lead > 0 or (lead == 0 and not self.beyond)

    @property
    def key(self) -> str:
        """The name of its entry in metrics.json."""
        return PREFIX + re.sub(r"\W+", "_", self.name)

    def entry(self) -> dict[str, Any]:
        """Return the entry of metrics.json."""
        value = float(self.value) if is_known(self.value) else None
        return {"value": value, "bound": float(self.bound), "at_most": self.at_most, "passed": self.passed}


def is_known(value: float | None) -> bool:
    """Whether a value was measured."""
    return value is not None and math.isfinite(value)


def require(condition: Any, sentence: str) -> None:
    """Raise `RunError` with the sentence, which names what is wrong and what to do next, unless the condition holds."""
    if not condition:
        raise RunError(sentence)


def existing(path: Path) -> Path:
    """Return the path of a stage's file, packed or not; raises `RunError` where neither is there."""
    if not (found := stored(path)).is_file():
        where = relative(path.parent)
        raise FileMissing(f"{relative(path)} is missing: delete {where} and run the notebook again")
    return found


def checks_page(checks: Iterable[Check]) -> Page:
    """Return the checks as a table; a missed one is red, and says so in words."""
    rows = []
    for check in checks:
        asked = f"{WORDS[check.at_most, check.beyond]} {percent(check.bound)}"
        cells = (check.name, percent(check.value), asked, "passed" if check.passed else MISSED, check.asks)
        rows.append([escape(cell) if check.passed else RED.format(escape(cell)) for cell in cells])
    return table(("check", "value", "bound", "", "what it asks"), rows)


def percent(share: float | None) -> str:
    """Write a share in per cent, whole ones without a decimal."""
    if not is_known(share):
        return "not measured"
    value = round(100 * share, 1) + 0.0
    return f"{value:.0f} %" if value == round(value) else f"{value:.1f} %"


def checks_of(metrics: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return name -> entry of the checks among the metrics of a stage."""
    kept = {key: entry for key, entry in metrics.items() if is_check(key, entry)}
    return {key.removeprefix(PREFIX).replace("_", " "): entry for key, entry in kept.items()}


def is_check(key: str, entry: Any) -> bool:
    """Whether an entry of metrics.json is that of a check."""
    return key.startswith(PREFIX) and isinstance(entry, Mapping) and "passed" in entry


def without_checks(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a stage that are no checks."""
    return {key: entry for key, entry in metrics.items() if not is_check(key, entry)}


def missed(stages: Mapping[str, Mapping[str, Entry]]) -> Iterator[tuple[str, str, Entry]]:
    """Yield stage, name and entry of every missed check of stage -> metrics."""
    for stage, metrics in stages.items():
        yield from ((stage, name, entry) for name, entry in checks_of(metrics).items() if not entry["passed"])


def told(stages: Mapping[str, Mapping[str, Entry]]) -> list[str]:
    """Return a line a missed check, or one that all were passed; none where no check was made."""
    count = sum(len(checks_of(metrics)) for metrics in stages.values())
    lines = [f"{MISSED}  {stage}  {sentence(name, entry)}" for stage, name, entry in missed(stages)]
    if lines:
        return [*lines, f"{len(lines)} of {count} checks missed"]
    return [f"all {count} checks passed"] if count else []


def sentence(name: str, entry: Entry) -> str:
    """Return what a check found: `valid judgements 82.3 % (bound 95 %)`, and in how many seeds it is passed."""
    text = f"{name} {percent(entry['value'])} (bound {percent(entry['bound'])})"
    if isinstance(seeds := entry.get("seeds"), list):
        text += f", passed in {entry['passed_in']} of {len(seeds)} seeds"
    return text
