"""Hundreds of criteria that a model may write: the registry's own, compositions of them, values and thresholds.

`POOL` by name, `POOL_BY_PHRASE` by any phrasing. A criterion is relevant, irrelevant or misleading (`bearing`): whether
it decides as the world does where no criterion is given, has nothing to do with that, or asks for the opposite. The
nine tasks' data use the registry alone (`toyworld.criteria`), so that nothing here changes them.
"""

from __future__ import annotations

import itertools
from typing import Literal

from omnirepro.data import Pair, Verdict
from omnirepro.toyworld.criteria import BY_PHRASE, CRITERIA
from omnirepro.toyworld.criteria.criterion import MEDIA_TASKS, TEXT_TASKS, Criterion, Value
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.questions import COUNTS
from omnirepro.toyworld.scenes import (
    COLORS,
    MOTIONS,
    NAMES,
    PITCHES,
    PLACES,
    SHAPES,
    SPEEDS,
    SPOTS,
    THINGS,
    TIMBRES,
    TIMES,
)

Bearing = Literal["relevant", "irrelevant", "misleading"]
BOOLEAN = ("rubric", "counter", "mention")
NAMED = {
    ("T2T", "TI2T", "TV2T"): tuple(COLORS), ("TI2T", "TV2T"): SHAPES, ("TI2T",): tuple(PLACES),
    ("TV2T",): (*MOTIONS, *SPEEDS), ("TA2T",): (*PITCHES, *TIMBRES), ("T2T",): (*NAMES, *THINGS, *SPOTS, *TIMES),
    ("TI2T", "TA2T"): COUNTS[1:5],
}  # fmt: skip
LENGTHS = range(5, 24, 2)


def bearing(criterion: Criterion) -> Bearing:
    """Return what a criterion has to do with the world's preference where none is given."""
    return "misleading" if criterion.family == "counter" else "relevant" if criterion.relevant else "irrelevant"


def parts_of(criterion: Criterion) -> tuple[Criterion, ...]:
    """Return the criteria of the registry that a composed one is made of, else the criterion itself."""
    names = criterion.name.replace(">", "+").split("+")
    return tuple(CRITERIA[n] for n in names) if set(names) <= set(CRITERIA) else (criterion,)


def _names(word: str) -> Value:
    return lambda said: said.names((word,))


def _within(words: int, sign: int) -> Value:
    return lambda said: (len(said.words) <= words) == (sign > 0)


def _both(x: Criterion, y: Criterion) -> Value:
    return lambda facts: min(float(x.value(facts)), float(y.value(facts)))


def _then(x: Criterion, y: Criterion) -> Value:
    return lambda facts: 1000 * float(x.value(facts)) + float(y.value(facts))


def _compose(x: Criterion, y: Criterion, ordered: bool) -> Criterion:
    """Join two criteria: both must hold, or the second decides where the first does not."""
    family = "counter" if "counter" in (x.family, y.family) else x.family if x.relevant and y.relevant else "style"
    words = tuple(
        f"{p}, then {q}" if ordered else f"{p} and {q}" for p, q in zip(x.phrasings, y.phrasings, strict=True)
    )
    return Criterion(
        name=f"{x.name}{'>' if ordered else '+'}{y.name}",
        tasks=tuple(t for t in x.tasks if t in y.tasks),
        family=family,
        value=(_then if ordered else _both)(x, y),
        phrasings=words,
        held_out=x.held_out or y.held_out,
    )


def _compositions() -> list[Criterion]:
    known = [c for c in CRITERIA.values() if c.name not in ("sound", "whole", "exact")]  # compositions themselves
    out = []
    for x, y in itertools.combinations(known, 2):
        opposed = {x.family, y.family} == {"rubric", "counter"} and _index(x) == _index(y)
        if not set(x.tasks) & set(y.tasks) or opposed:
            continue
        if x.family in BOOLEAN and y.family in BOOLEAN and "rubric" in (x.family, y.family):
            out.append(_compose(x, y, ordered=False))
        if x.family in ("rubric", "counter", "request") and y.family == "style":
            out.append(_compose(x, y, ordered=True))
    return out


def _index(criterion: Criterion) -> int:
    """Return the place of a criterion within its family: the counters stand in the order of the dimensions."""
    return [c.name for c in CRITERIA.values() if c.family == criterion.family].index(criterion.name)


def _values() -> list[Criterion]:
    named = [
        Criterion(
            f"names-{word}", tasks, "mention", _names(word), (f"names {word}", f"says {word}", f"has {word} in it")
        )
        for tasks, words in NAMED.items()
        for word in words
    ]
    return named + [
        Criterion(f"{name}-{n}", TEXT_TASKS, "style", _within(n, sign), tuple(f"{p} {n} words" for p in phrases))
        for name, sign, phrases in (
            ("at-most", 1, ("has at most", "has no more than", "stays within")),
            ("over", -1, ("has over", "has more than", "goes beyond")),
        )
        for n in LENGTHS
    ]  # fmt: skip


POOL: dict[str, Criterion] = {c.name: c for c in (*CRITERIA.values(), *_compositions(), *_values())}
POOL_BY_PHRASE: dict[str, Criterion] = {p: c for c in reversed(POOL.values()) for p in c.phrasings} | BY_PHRASE
assert set(TEXT_TASKS) | set(MEDIA_TASKS) >= {t for c in POOL.values() for t in c.tasks}, "a criterion of no known task"


def pool_for(task: str) -> list[Criterion]:
    """List the criteria that may be written for a task, held-out ones left out."""
    return [c for c in POOL.values() if task in c.tasks and not c.held_out]


def truth_under(pair: Pair, criterion: str) -> Verdict | None:
    """Return the truth of a pair under a criterion in words; None for words that are no criterion of its task."""
    known = POOL_BY_PHRASE.get(criterion)
    return known.truth(*facts_of(pair)) if known and pair.task in known.tasks else None
