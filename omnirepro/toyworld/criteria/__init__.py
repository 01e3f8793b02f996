"""The registry of free-form criteria: `CRITERIA` by name, `BY_PHRASE` by any of their phrasings.

Consumes the facts of two responses; produces A, B or tie. Used for the nine tasks' pairs, for criterion-instruction
data, and as the pool from which criteria are drawn at test time (Omni-Reward, Sections 2 and 3.1; GRM-Omni).
"""

from omnirepro.data import Pair, Verdict
from omnirepro.toyworld.criteria import of_media, of_text
from omnirepro.toyworld.criteria.criterion import MEDIA_TASKS, RELEVANT, TASKS, TEXT_TASKS, Criterion
from omnirepro.toyworld.facts import facts_of

__all__ = [
    "BY_PHRASE", "CRITERIA", "HELD_OUT", "MEDIA_TASKS", "RELEVANT", "TASKS", "TEXT_TASKS", "Criterion", "criteria_for",
    "gold_of",
]  # fmt: skip

CRITERIA: dict[str, Criterion] = {c.name: c for c in (*of_text.CRITERIA, *of_media.CRITERIA)}
BY_PHRASE: dict[str, Criterion] = {phrase: c for c in CRITERIA.values() for phrase in c.phrasings}
HELD_OUT = tuple(name for name, c in CRITERIA.items() if c.held_out)
assert len(CRITERIA) == len(of_text.CRITERIA) + len(of_media.CRITERIA), "two criteria share a name"
assert len(BY_PHRASE) == sum(len(c.phrasings) for c in CRITERIA.values()), "two criteria share a phrasing"


def criteria_for(task: str, held_out: bool | None = None) -> list[Criterion]:
    """List the criteria of a task; `held_out` keeps only the unseen (True) or the seen (False) ones."""
    return [c for c in CRITERIA.values() if task in c.tasks and held_out in (None, c.held_out)]


def gold_of(pair: Pair) -> Verdict:
    """Return the truth of a pair of the world under its criterion in words.

    Raises KeyError for words that are no known criterion, or for a pair that stores no facts.
    """
    return BY_PHRASE[pair.criterion].truth(*facts_of(pair))
