"""The noun: a free-form criterion in words with its truth (Omni-Reward, Section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from omnirepro.data import Verdict
from omnirepro.toyworld.facts import Facts

TEXT_TASKS = ("T2T", "TI2T", "TV2T", "TA2T")
MEDIA_TASKS = ("T2I", "T2V", "T2A", "T23D", "TI2I")
TASKS = (*TEXT_TASKS, *MEDIA_TASKS)
RELEVANT = ("rubric", "request", "edit", "quality")
Value = Callable[[Facts], float]


@dataclass(frozen=True)
class Criterion:
    """A criterion: where it applies, the number of a response that decides it, and how it may be put in words.

    `family`: rubric (a dimension of the rubric), counter (its opposite), mention, style, request, edit or quality.
    `held_out`: asked in the test split only.
    """

    name: str
    tasks: tuple[str, ...]
    family: str
    value: Value
    phrasings: tuple[str, ...]
    held_out: bool = False

    @property
    def relevant(self) -> bool:
        """Whether the criterion bears on what the world prefers where none is given."""
        return self.family in RELEVANT

    def truth(self, a: Facts, b: Facts) -> Verdict:
        """Return the response with the larger value, or a tie where the values are equal."""
        gap = float(self.value(a)) - float(self.value(b))
        return "tie" if abs(gap) < 1e-9 else "A" if gap > 0 else "B"

    def wordings(self, split: str) -> tuple[str, ...]:
        """Return the phrasings that a split may use: the test split all, the others all but the last."""
        return self.phrasings if split == "test" else self.phrasings[:-1]
