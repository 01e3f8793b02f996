"""Hundreds of criteria that a model may write: the registry's own, compositions of them, values and thresholds.

`POOL` by name, `POOL_BY_PHRASE` by any phrasing. A criterion is relevant, irrelevant or misleading (`bearing`): whether
it decides as the world does where no criterion is given, has nothing to do with that, or asks for the opposite. The
nine tasks' data use the registry alone (`toyworld.criteria`), so that nothing here changes them.
"""

from __future__ import annotations

import itertools
from typing import Literal

from omnirepro.data import Pair, Verdict
from omnirepro.toyworld.criteria import BY_PHRASE, CRITERIA, LISTED, TASKS, TEXT_TASKS, Criterion, measure
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.nouns import NOUNS

Bearing = Literal["relevant", "irrelevant", "misleading"]
BOOLEAN = ("rubric", "counter", "mention")
ALREADY = ("sound", "whole", "exact")  # criteria of the registry that are compositions themselves
LIMITS = {
    "at-most": ("at-most", ("has at most", "has no more than", "stays within")),
    "over": ("not at-most", ("has over", "has more than", "goes beyond")),
}  # measures and phrasings of a number of words
LENGTHS = range(5, 24, 2)


def bearing(criterion: Criterion) -> Bearing:
    """Return what a criterion has to do with the world's preference where none is given."""
    if criterion.family == "counter":
        return "misleading"
    return "relevant" if criterion.relevant else "irrelevant"


def parts_of(criterion: Criterion) -> tuple[Criterion, ...]:
    """Return the criteria of the registry that a composed one is made of, else the criterion itself."""
    names = criterion.name.replace(">", "+").split("+")
    return tuple(CRITERIA[n] for n in names) if set(names) <= set(CRITERIA) else (criterion,)


def _compose(x: Criterion, y: Criterion, ordered: bool) -> Criterion:
    """Join two criteria: both must hold, or, in order, the second decides where the first does not."""

    def value(facts) -> float:
        first = float(x.value(facts))
        second = float(y.value(facts))
        return 1000 * first + second if ordered else min(first, second)

    if "counter" in (x.family, y.family):
        family = "counter"
    else:
        family = x.family if x.relevant and y.relevant else "style"
    joint = ", then" if ordered else " and"
    return Criterion(
        name=f"{x.name}{'>' if ordered else '+'}{y.name}",
        tasks=tuple(t for t in x.tasks if t in y.tasks),
        family=family,
        value=value,
        phrasings=tuple(f"{p}{joint} {q}" for p, q in zip(x.phrasings, y.phrasings, strict=True)),
        held_out=x.held_out or y.held_out,
    )


def _compositions() -> list[Criterion]:
    """Compose what can be asked of one response, but for a dimension and its opposite."""
    families = [[c.name for c in CRITERIA.values() if c.family == family] for family in ("rubric", "counter")]
    opposed = set(zip(*families, strict=False))  # the counters stand in the order of the dimensions
    out = []
    single = (c for c in CRITERIA.values() if c.name not in ALREADY and c.held_out != "dev")
    for x, y in itertools.combinations(single, 2):
        if set(x.tasks).isdisjoint(y.tasks) or (x.name, y.name) in opposed:
            continue
        if x.family in BOOLEAN and y.family in BOOLEAN and "rubric" in (x.family, y.family):
            out.append(_compose(x, y, ordered=False))
        if x.family in ("rubric", "counter", "request") and y.family == "style":
            out.append(_compose(x, y, ordered=True))
    return out


def _values() -> list[Criterion]:
    """Make criteria of a word that is named, and of a number of words that is not, or is, exceeded."""
    out = []
    for row in LISTED["named"]:
        for word in (word for words in row["words"] for word in NOUNS.get(words, (words,))):
            phrasings = (f"names {word}", f"says {word}", f"has {word} in it")
            out.append(Criterion(f"names-{word}", tuple(row["tasks"]), "mention", measure(f"names {word}"), phrasings))
    for name, (measured, starts) in LIMITS.items():
        for number in LENGTHS:
            phrasings = tuple(f"{start} {number} words" for start in starts)
            value = measure(f"{measured} {number}")
            out.append(Criterion(f"{name}-{number}", TEXT_TASKS, "style", value, phrasings))
    return out


POOL: dict[str, Criterion] = {c.name: c for c in (*CRITERIA.values(), *_compositions(), *_values())}
POOL_BY_PHRASE: dict[str, Criterion] = {p: c for c in reversed(POOL.values()) for p in c.phrasings} | BY_PHRASE
assert set(TASKS) >= {t for c in POOL.values() for t in c.tasks}, "a criterion of no known task"


def pool_for(task: str) -> list[Criterion]:
    """List the criteria that may be written for a task, held-out ones left out."""
    return [c for c in POOL.values() if task in c.tasks and not c.held_out]


def truth_under(pair: Pair, criterion: str) -> Verdict | None:
    """Return the truth of a pair under a criterion in words; None for words that are no criterion of its task."""
    known = POOL_BY_PHRASE.get(criterion)
    return known.truth(*facts_of(pair)) if known and pair.task in known.tasks else None
