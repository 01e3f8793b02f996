"""World-made conversations that teach a backbone the roles of GRM-Omni, in the forms that `criteria.prompts` asks for.

Consumes pairs of the world; produces chats: write criteria, judge under one, judge directly, follow a critique, and the
verdict alone. Thinking forms are taught on text, the verdict alone on every other modality (prompt switching, Section
3.3). Targets come from the world's truth; the writer is taught irrelevant and misleading criteria too, since a writer
without error would leave the meta-reward nothing to do.

A conversation reads its pair once and asks several times, each time as if it were the first: with one question a step
tells too little for anything to be learned in minutes. The conversations of a batch have one form, so that little is
padded. Only criteria that a small model can check are drawn: no composed ones beyond a few, no exact numbers of words.

Departures: (1) the paper's first conversations are written by a 32 B model and filtered by gold labels, these by the
world, and a share `keep_right` of the direct judgements is drawn until its verdict is the label; (2) media have no
written criteria at all, as in the paper, where they have none either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from omnirepro.criteria import (
    CriterionJudgement,
    Task,
    again,
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
from omnirepro.world.editing import critique, edit, rate
from omnirepro.world.facts import Facts, facts_of

FORMS = {"judge": 0.44, "direct": 0.22, "refine": 0.26, "write": 0.08}
TURNS = {"judge": 8, "direct": 3, "refine": 6, "write": 4, "verdict": 1}  # questions of a conversation
BEARINGS = {"relevant": 0.5, "irrelevant": 0.32, "misleading": 0.18}
SIMPLE, DIFFERS, TRIES = 0.95, 0.8, 8
NONE_KNOWN, MANY_KNOWN = 0.3, 0.1  # shares of the writing lessons that know no criterion, or up to `MANY`
KNOWN, MANY, MOST = 7, 50, 7  # criteria that are known, and criteria asked for, at most
COUNTED = ("at-most-", "over-")  # criteria that ask for an exact number of words
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
    batch: int = 1,
) -> list[list[dict]]:
    """Return `number` chats about the pairs, every `batch` of one form, so that more of them begin with the same ones.

    `verdicts` is the share of verdict-only chats about media; pairs of the tasks `thinking` get the other forms. In
    the full wording, which repeats nothing, a chat asks once.
    """  # fmt: skip
    thinking = tuple(thinking)
    text, media = ([p for p in pairs if (p.task in thinking) == thinks] for thinks in (True, False))
    text, media = ([(Shown.of(p), Shown.of(p.swap())) for p in some] for some in (text, media))
    chats = []
    for i in range(number):
        drawn = np.random.default_rng([seed, 6, i // batch])
        alone = bool(media) and drawn.random() < verdicts
        kind = "verdict" if alone else str(drawn.choice(tuple(FORMS), p=tuple(FORMS.values())))
        rng, pool = np.random.default_rng([seed, 7, i]), media if alone else text
        shown = pool[int(rng.integers(len(pool)))][int(rng.integers(2))]
        side = "AB"[int(rng.integers(2))]
        turns = range(TURNS[kind] if wording == "brief" else 1)
        chats.append(_chat([_lesson(kind, shown, side, rng, keep_right, count) for _ in turns], wording))
    return chats


@dataclass(frozen=True)
class Shown:
    """A pair as displayed, with the facts of both sides, which are looked up once."""

    pair: Pair
    sides: tuple[Facts, Facts]

    @classmethod
    def of(cls, pair: Pair) -> Shown:
        return cls(pair, facts_of(pair))


def _chat(asked: list[tuple[Task, str]], wording: str) -> list[dict]:
    """Join questions about one pair and their answers to one chat, in which the pair stands once."""
    turns: list[dict] = []
    for task, answer in asked:
        turns += [{"role": "user", "parts": again(task)}] if turns else messages(task, wording)
        turns.append({"role": "assistant", "parts": [Part(type="text", text=answer)]})
    return turns


def _lesson(
    kind: str, shown: Shown, side: str, rng: np.random.Generator, keep_right: float, count: int
) -> tuple[Task, str]:
    pair = shown.pair
    if kind == "verdict":
        return Task("verdict", pair), f"[[{WRITTEN[pair.label]}]]"
    if kind == "write":
        long, most = rng.random(), int(rng.integers(1, KNOWN + 1))
        number = 0 if long < NONE_KNOWN else int(rng.integers(KNOWN, MANY)) if long > 1 - MANY_KNOWN else most
        known = draw_criteria(shown, number, rng)
        asked = int(rng.integers(1, MOST + 1))
        new = draw_criteria(shown, asked, rng, known)
        task = Task("write", pair, tuple(_say(c, rng) for c in known), asked)
        return task, render_criteria([_say(c, rng) for c in new])
    if kind == "direct":
        drawn, merged = _draw_direct(shown, rng, count, rng.random() < keep_right)
        return Task("direct", pair, count=count), render_direct([_say(c, rng) for c in drawn], merged)
    (criterion,) = draw_criteria(shown, 1, rng)
    if kind == "judge":
        return Task("judge", pair, (_say(criterion, rng),)), render_judgement(judged(shown, criterion))
    said = shown.sides["AB".index(side)]
    note = critique(criterion, said)
    return Task("refine", pair, side=side, notes=(noted(note, side),)), edit(said, note, rng)


def _draw_direct(
    shown: Shown, rng: np.random.Generator, count: int, right: bool
) -> tuple[list[Criterion], CriterionJudgement]:
    """Draw criteria whose vote, where `right` asks for it, is the pair's label: the training filter reads gold."""
    for _ in range(TRIES):
        drawn = draw_criteria(shown, count, rng)
        merged = vote([c.name for c in drawn], [judged(shown, c) for c in drawn])
        if not right or merged.verdict == shown.pair.label:
            break
    return drawn, merged


def draw_criteria(
    shown: Shown, count: int, rng: np.random.Generator, known: Sequence[Criterion] = ()
) -> list[Criterion]:
    """Draw distinct criteria for a pair: of every bearing, mostly such as tell the two responses apart."""
    names, drawn = {c.name for c in known}, []
    while len(drawn) < count:
        kind = str(rng.choice(tuple(BEARINGS), p=tuple(BEARINGS.values())))
        simple, differs = rng.random() < SIMPLE, rng.random() < DIFFERS
        pool, found = _pool(shown.pair.task, kind, bool(simple)), None
        for i in rng.integers(len(pool), size=TRIES):
            if pool[i].name not in names:
                found = pool[i]
                if not differs or found.truth(*shown.sides) != "tie":
                    break
        if found:
            drawn.append(found)
            names.add(found.name)
    return drawn


@cache
def _pool(task: str, kind: str, simple: bool) -> tuple[Criterion, ...]:
    """List the criteria of a bearing that are drawn: the simple ones, or the composed ones."""
    found = (c for c in pool_for(task) if bearing(c) == kind and not c.name.startswith(COUNTED))
    return tuple(c for c in found if (len(parts_of(c)) == 1) == simple)


def judged(shown: Shown, criterion: Criterion) -> CriterionJudgement:
    """Write the true judgement of a pair under a criterion: critiques, each side's own score, verdict."""
    a, b = shown.sides
    verdict, notes = criterion.truth(a, b), true_notes(criterion, a, b)
    return CriterionJudgement("ok", verdict, rate(criterion, a), rate(criterion, b), *notes)


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
        "keep mend spoil open start mention drop shorten lengthen good poor none named length short medium long opening"
    ]
    return sorted({w.strip(",") for text in (*phrases, *acts) for w in text.split()})
