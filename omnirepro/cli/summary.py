"""What a command says at its end of the judgements, scores or choices that it wrote: how many of them were read, and as
what; where none was, what to do; of labelled pairs how often the judge was right, by the functions of `evaluate`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from omnirepro.data import READ, Judgement, Pair
from omnirepro.evaluate.statistics import UNKNOWN, Interval

if TYPE_CHECKING:
    import pandas as pd

    from omnirepro.search import Chosen

LEAST_MASS = 0.1  # what A and B had together, below which their shares tell little of what the model would have said
FORMLESS = "the model writes no judgements; see `raw`, try --read choice, or name one that was trained to judge"
LEVELLESS = "the model was not taught levels from 1 to 5; see `raw`, compare with judge or best-of-n, or name a scorer"
REMEDIES = {
    "cut": "raise --max-new-tokens",
    "too_long": "shorten the prompts, or take a model with a longer context",
    "refused": "`raw` holds the server's words",
    "filtered": "`raw` holds the server's words",
}


def counted(statuses: Iterable[str]) -> str:
    """Say how many were read and how many not, each by status: `3 read (2 ok, 1 fenced), 1 unreadable (1 cut)`."""
    said = []
    counts = Counter(statuses)
    for what, known in (("read", True), ("unreadable", False)):
        some = {status: n for status, n in counts.most_common() if (status in READ) == known}
        each = f" ({', '.join(f'{n} {status}' for status, n in some.items())})" if some else ""
        said.append(f"{sum(some.values())} {what}{each}")
    return ", ".join(said)


def none_read(statuses: Iterable[str], out: str | Path, remedy: str) -> str:
    """Say, where there are statuses and none is of what was read, what to do: by the commonest one, else `remedy`."""
    counts = Counter(statuses)
    if not counts or any(status in READ for status in counts):
        return ""
    (commonest, _), *_ = counts.most_common()
    return f"none of {out} could be read: {REMEDIES.get(commonest, remedy)}"


def by_samples(table: pd.DataFrame) -> list[str]:
    """Say of each number of samples the accuracy, and what it gains over one, with its interval where there is one."""
    said = []
    for row in table.itertuples():
        within = f" [{row.gain_low:+.1%}, {row.gain_high:+.1%}]" if row.gain_low == row.gain_low else ""
        gained = f" ({row.gain:+.1%}{within})" if row.samples > 1 else ""
        said.append(f"{row.samples}: {row.value:.1%}{gained}")
    return said


def choices(rows: Iterable[Chosen], out: str | Path) -> str:
    """Say of choices how much of what was asked for them could be read, and in how many the best is tied."""
    rows = list(rows)
    asked = sum(row.calls for row in rows)
    failed = sum(row.failed for row in rows)
    tied = sum(any(row.best in tie for tie in row.ties) for row in rows)
    lines = [f"{len(rows)} choices in {out}; {failed} of {asked} judgements or scores could not be read"]
    if tied:
        lines.append(f"in {tied} of {len(rows)} the best is tied (`ties`): the earliest of the tied ones was taken")
    statuses = [one.status for row in rows for one in row.comparisons] or ["bad_score"] * (failed == asked)
    if asked and (nothing := none_read(statuses, out, FORMLESS if any(r.comparisons for r in rows) else LEVELLESS)):
        lines.append(nothing)
    return "\n".join(lines)


def mass(rows: Iterable[Judgement]) -> str:
    """Say of rows that were read by probabilities what A and B had together; a warning where it is near 0."""
    found = [x for row in rows if (x := row.decoding.get("mass")) is not None]
    if not found:
        return ""
    middle = median(found)
    low = sum(x < LEAST_MASS for x in found)
    said = f"mass of A and B together: median {middle:.3g}; below {LEAST_MASS:g} in {low} of {len(found)} rows"
    if middle >= LEAST_MASS:
        return said
    return f"{said}. Warning: the model would have written something else, and its probabilities of A and B mean little"


def accuracy(rows: Iterable[Judgement], pairs: Iterable[Pair]) -> str:
    """Return a table of how often labelled pairs were judged right, whether orders agree, and how many tied or failed.

    Rows of one order have no agreement. A benchmark with a score of its own has that too. Empty where nothing is
    labelled.
    """
    labelled = [row for row in rows if row.label]
    if not labelled:
        return ""
    from omnirepro.evaluate import protocol

    data = protocol.frame(labelled)
    read = data[data["valid"]]
    by_order = protocol.by_order(data)
    found = [(f"accuracy, shown {row.order}", _interval(row), "judgements") for row in by_order.itertuples()]
    if len(by_order) == 2:
        (whole,) = protocol.summarize(data, "model").itertuples()
        found.insert(0, ("accuracy, both orders", _interval(whole), "labelled pairs"))
        found += _official(data, pairs)
        measured = protocol.position(data).set_index("measure")
        agree = measured.loc["consistency"] if "consistency" in measured.index else UNKNOWN
        found.append(("orders agree", _interval(agree), "pairs read in both"))
    lines = [f"{what:<24}{interval} of {interval.n} {of}" for what, interval, of in found]
    lines.append(f"{'ties':<24}{(read['verdict'] == 'tie').sum()} of {len(read)} judgements that were read")
    lines.append(f"{'unreadable':<24}{len(data) - len(read)} of {len(data)} judgements; counted as wrong")
    return "\n".join(lines)


def _interval(row: Any) -> Interval:
    return Interval(row.value, row.low, row.high, int(row.n))


def _official(data: pd.DataFrame, pairs: Iterable[Pair]) -> list[tuple[str, Interval, str]]:
    """Return the line of the score that a benchmark's authors report, where the pairs are of one that has its own."""
    from omnirepro.evaluate import official

    facts = official.facts_of("", [pair for pair in pairs if pair.label])
    (source, *others) = facts["source"].unique()
    own = source in (*official.LEVELS, *official.BOTH_ORDERS) or facts["all_of"].notna().any()
    if others or not own:
        return []
    found = official.official(data, facts, source)
    return [("official score", found, f"pairs or lists of {source}")]
