"""What a command says at its end of the judgements, scores or choices that it wrote: how many of them were read, and as
what; where none was, what to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from omnirepro.data import READ

FORMLESS = "the model writes no judgements; see `raw`, try --read choice, or name one that was trained to judge"
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
