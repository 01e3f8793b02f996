"""How well one response meets a criterion, as a level from 1 to 5: the world's truth for pointwise judging.

Consumes pairs of a split; produces a `Scale`. A criterion's numbers have units of their own (words, objects, marks), so
a level is the place of a response among all responses to the same task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from omnirepro.data import Pair
from omnirepro.toyworld.criteria import Criterion, criteria_for
from omnirepro.toyworld.facts import Facts, facts_of

TOP = 5


@dataclass(frozen=True)
class Scale:
    """The sorted values of every criterion of a task among the responses that the scale was made of."""

    values: dict[tuple[str, str], np.ndarray]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Scale:
        """Make the scale from pairs of the world, over the criteria that no split has to itself."""
        found = defaultdict(list)
        for pair in pairs:
            for facts in facts_of(pair):
                for criterion in criteria_for(pair.task, held_out=""):
                    found[pair.task, criterion.name].append(float(criterion.value(facts)))
        return cls({key: np.sort(values) for key, values in found.items()})

    def level(self, task: str, criterion: Criterion, facts: Facts) -> int:
        """Return 1 for the lowest value known, 5 for the highest, by mid-rank between them; 3 where all are equal."""
        values = self.values[task, criterion.name]
        among = (values[0], float(criterion.value(facts)), values[-1])
        low, at, high = (np.searchsorted(values, among, "left") + np.searchsorted(values, among, "right")) / 2
        if high <= low:
            return (1 + TOP) // 2
        share = (at - low) / (high - low)
        return 1 + round((TOP - 1) * min(1.0, max(0.0, share)))
