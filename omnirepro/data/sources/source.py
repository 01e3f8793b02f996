"""What a family of public data is: the fields of its rows, how one row becomes pairs, its terms and its official score.

`aggregation` is the published way from right and wrong pairs to the headline number. Two facts are marked in `meta`
where it needs them: `all_of` names a group in which every pair must be right (best-of-N), `weight` counts a pair more
than once. `task` is the finest published group, `meta["section"]` the one above it, `cluster` what pairs share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from omnirepro.data import Pair
from omnirepro.data.sources.rows import Raw


@dataclass(frozen=True)
class Source:
    """One public data set. `ranked`: its rows name a better and a worse response, so A is always the better as read."""

    name: str
    fields: tuple[str, ...]
    read: Callable[[Raw], Iterable[Pair]]
    licence: str
    citation: str
    aggregation: str
    hub: str | None = None
    config: str | None = None
    split: str = "train"
    ranked: bool = False
    accepts: Callable[[dict[str, Any]], bool] = lambda fields: True

    def matches(self, fields: dict[str, Any]) -> bool:
        """Tell whether a row's fields are those of this source."""
        return all(f in fields for f in self.fields) and self.accepts(fields)


def texts(*names: str) -> Callable[[dict[str, Any]], bool]:
    """Return a test that a row's named fields are texts."""
    return lambda fields: all(isinstance(fields.get(n), str) for n in names)


def lists(*names: str) -> Callable[[dict[str, Any]], bool]:
    """Return a test that a row's named fields are lists."""
    return lambda fields: all(isinstance(fields.get(n), list) for n in names)
