"""World-made conversations that teach a backbone the roles of GRM-Omni, in the forms that `criteria.prompts` asks for.

Consumes pairs of the world; produces chats: write criteria, judge under one, judge directly, follow a critique, and the
verdict alone. Thinking forms are taught on text, the verdict alone on every other modality (prompt switching, Section
3.3). Targets come from the world's truth; the writer is taught irrelevant and misleading criteria too, since a writer
without error would leave the meta-reward nothing to do.

Departures: (1) the paper's first conversations are written by a 32 B model and filtered by gold labels, these by the
world, and a share `keep_right` of the direct judgements is drawn until its verdict is the label; (2) media have no
written criteria at all, as in the paper, where they have none either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from omnirepro.criteria import (
    CriterionJudgement,
    Task,
    messages,
    render_criteria,
    render_direct,
    render_judgement,
    vote,
)
from omnirepro.rubric import TITLES
from omnirepro.schema import DIMENSIONS, Pair, Part
from omnirepro.world.criteria import Criterion
from omnirepro.world.criteria.composed import bearing, parts_of, pool_for
from omnirepro.world.editing import critique, edit
from omnirepro.world.facts import Facts, facts_of

FORMS = {"judge": 0.38, "direct": 0.24, "refine": 0.3, "write": 0.08}
BEARINGS = {"relevant": 0.5, "irrelevant": 0.32, "misleading": 0.18}
SIMPLE, DIFFERS, TRIES = 0.93, 0.8, 8
NONE_KNOWN, MANY_KNOWN = 0.3, 0.1  # shares of the writing lessons that know no criterion, or up to `MANY`
KNOWN, MANY, MOST = 7, 50, 7  # criteria that are known, and criteria asked for, at most
WRITTEN = {"A": "A", "B": "B", "tie": "equal"}


def lessons(
    pairs: Sequence[Pair],
    number: int,
    seed: int,
    thinking: Iterable[str] = ("T2T",),
    verdicts: float = 0.25,
    keep_right: float = 1.0,
    count: int = 3,
    wording: str = "brief",
) -> list[list[dict]]:
    """Return `number` chats about the pairs, each drawn by itself, so that more of them begin with the same ones.

    `verdicts` is the share of verdict-only chats about media; pairs of the tasks `thinking` get the other forms.
    """  # fmt: skip
    thinking = tuple(thinking)
    text, media = ([p for p in pairs if (p.task in thinking) == thinks] for thinks in (True, False))
    chats = []
    for i in range(number):
        rng = np.random.default_rng([seed, 6, i])
        alone = bool(media) and rng.random() < verdicts
        pool = media if alone else text
        pair = pool[int(rng.integers(len(pool)))]
        pair = pair.swap() if rng.random() < 0.5 else pair
        kind = "verdict" if alone else str(rng.choice(tuple(FORMS), p=tuple(FORMS.values())))
        task, answer = _lesson(kind, pair, rng, keep_right, count)
        chats.append([*messages(task, wording), {"role": "assistant", "parts": [Part(type="text", text=answer)]}])
    return chats


def _lesson(kind: str, pair: Pair, rng: np.random.Generator, keep_right: float, count: int) -> tuple[Task, str]:
    if kind == "verdict":
        return Task("verdict", pair), f"[[{WRITTEN[pair.label]}]]"
    if kind == "write":
        long, most = rng.random(), int(rng.integers(1, KNOWN + 1))
        number = 0 if long < NONE_KNOWN else int(rng.integers(KNOWN, MANY)) if long > 1 - MANY_KNOWN else most
        known = draw_criteria(pair, number, rng)
        asked = int(rng.integers(1, MOST + 1))
        new = draw_criteria(pair, asked, rng, known)
        task = Task("write", pair, tuple(_say(c, rng) for c in known), asked)
        return task, render_criteria([_say(c, rng) for c in new])
    if kind == "direct":
        drawn = _draw_direct(pair, rng, count, rng.random() < keep_right)
        words = [_say(c, rng) for c in drawn]
        return Task("direct", pair, count=count), render_direct(words, vote(words, [judged(pair, c) for c in drawn]))
    (criterion,) = draw_criteria(pair, 1, rng)
    if kind == "judge":
        return Task("judge", pair, (_say(criterion, rng),)), render_judgement(judged(pair, criterion))
    side = "AB"[int(rng.integers(2))]
    said = facts_of(pair)["AB".index(side)]
    note = critique(criterion, said)
    return Task("refine", pair, side=side, notes=(noted(note, side),)), edit(said, note, rng)


def _draw_direct(pair: Pair, rng: np.random.Generator, count: int, right: bool) -> list[Criterion]:
    """Draw criteria whose vote, where `right` asks for it, is the pair's label: the training filter reads gold."""
    for _ in range(TRIES):
        drawn = draw_criteria(pair, count, rng)
        said = vote([c.name for c in drawn], [judged(pair, c) for c in drawn]).verdict
        if not right or said == pair.label:
            break
    return drawn


def draw_criteria(pair: Pair, count: int, rng: np.random.Generator, known: Sequence[Criterion] = ()) -> list[Criterion]:
    """Draw distinct criteria for a pair: of every bearing, mostly such as tell the two responses apart."""
    sides = facts_of(pair)
    names, drawn = {c.name for c in known}, []
    while len(drawn) < count:
        kind = str(rng.choice(tuple(BEARINGS), p=tuple(BEARINGS.values())))
        simple, differs = rng.random() < SIMPLE, rng.random() < DIFFERS
        free = [c for c in _pool(pair.task, kind, bool(simple)) if c.name not in names]
        for _ in range(TRIES):
            if not free or (one := free[int(rng.integers(len(free)))]).truth(*sides) != "tie" or not differs:
                break
        if free:
            drawn.append(one)
            names.add(one.name)
    return drawn


@cache
def _pool(task: str, kind: str, simple: bool) -> tuple[Criterion, ...]:
    return tuple(c for c in pool_for(task) if bearing(c) == kind and (len(parts_of(c)) == 1) == simple)


def judged(pair: Pair, criterion: Criterion) -> CriterionJudgement:
    """Write the true judgement of a pair under a criterion: critiques, scores from 1 to 10, verdict."""
    a, b = facts_of(pair)
    verdict, notes = criterion.truth(a, b), true_notes(criterion, a, b)
    scores = {"A": (8, 3), "B": (3, 8), "tie": (6, 6)}[verdict]
    return CriterionJudgement("ok", verdict, *scores, *notes)


def true_notes(criterion: Criterion, a: Facts, b: Facts) -> tuple[str, str]:
    """Return the true critiques of two responses, as the roles are taught to write them."""
    return noted(critique(criterion, a), "A"), noted(critique(criterion, b), "B")


def noted(note: str, side: str) -> str:
    """Write a critique's marks on rubric dimensions in the rubric's notation, which the backbone knows already."""
    said = []
    for one in note.split(" , "):
        what, *rest = one.split()
        named = what in DIMENSIONS
        title = f"\\nPart {DIMENSIONS.index(what) + 1}: {TITLES[what]}: {side}" if named else what
        said.append(" ".join([title, *rest]))
    return " , ".join(said)


def _say(criterion: Criterion, rng: np.random.Generator) -> str:
    """Put a criterion in one of the wordings of the training split."""
    words = criterion.wordings("train")
    return words[int(rng.integers(len(words)))]


def words() -> list[str]:
    """List the words of criteria and critiques, for a tokenizer that was trained without them."""
    phrases = [p for task in ("T2T", "TI2T", "TV2T", "TA2T") for c in pool_for(task) for p in c.phrasings]
    acts = [
        "keep mend spoil open start add drop shorten lengthen good poor none named length short medium long opening"
    ]
    return sorted({w.strip(",") for text in (*phrases, *acts) for w in text.split()})
