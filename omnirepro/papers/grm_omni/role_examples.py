"""World-made conversations that teach a backbone the roles of GRM-Omni, in the forms of `judge.criteria`.

Consumes pairs of the world; produces chats: write criteria, judge under one, judge directly, follow a critique, and the
verdict alone. Thinking forms are taught on text, the verdict alone on every other modality (prompt switching, Section
3.3). Targets come from the world's truth; the writer is taught irrelevant and misleading criteria too, since a writer
without error would leave the meta-reward nothing to do.

A lesson asks several times about one pair, which is read once (`shared_prefix`): with one question a step tells too
little for anything to be learned in minutes. The lessons of a batch have one form, so that little is padded. A share
`composed` of the criteria is drawn from the whole pool (but for exact numbers of words), the rest from the registry.

Departures: (1) the paper's first conversations are written by a 32 B model, and those are kept whose verdict is the
label and whose criterion repairs; these are the world's, and a share `keep_right` of the direct judgements has criteria
alone that decide the pair as its label does, fewer where there are fewer; (2) media have no written criteria at all, as
in the paper, where they have none either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from omnirepro.data import DIMENSIONS, Pair, text_part
from omnirepro.judge.criteria import (
    CriterionJudgement,
    Task,
    messages,
    render_criteria,
    render_direct,
    render_judgement,
    vote,
)
from omnirepro.judge.rubric import TITLES
from omnirepro.toyworld.criteria import CRITERIA, Criterion
from omnirepro.toyworld.criteria.composed import bearing, pool_for
from omnirepro.toyworld.editing import critique, edit, rate
from omnirepro.toyworld.facts import Facts, facts_of

EARLY = {"judge": 0.54, "refine": 0.34, "direct": 0.06, "write": 0.06}  # forms of the lessons' share `FIRST`
FIRST = 0.4
MEDIA = 0.75  # share of media among the verdict-only lessons
FORMS = {"judge": 0.32, "direct": 0.28, "refine": 0.28, "write": 0.12}
TURNS = {"judge": 8, "direct": 3, "refine": 6, "write": 4, "verdict": 1}  # questions of a lesson
BEARINGS = {"relevant": 0.5, "irrelevant": 0.32, "misleading": 0.18}
DIFFERS = 0.8  # share of the draws that want a criterion which tells the sides apart
TRIES = 8
NONE_KNOWN = 0.3  # share of the writing lessons that know no criterion
MANY_KNOWN = 0.1  # share of those that know up to `MANY`
KNOWN = 7  # criteria that are known, at most
MANY = 50
MOST = 7  # criteria asked for, at most
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
    composed: float = 0.0,
) -> list[list[list[dict]]]:
    """Return `number` lessons, each a list of chats about one pair; every `batch` of them has one form.

    `verdicts` is the share of verdict-only lessons, most of them about media: some are about text, so that the form
    hangs on the question. Pairs of the tasks `thinking` get the other forms, the simpler ones first. In the full
    wording a lesson is one chat.
    """
    thinking = tuple(thinking)
    text, media = ([p for p in pairs if (p.task in thinking) == thinks] for thinks in (True, False))
    text, media = ([(Shown.of(p), Shown.of(p.swap())) for p in some] for some in (text, media))
    drawer = Drawer(count, keep_right, composed)
    out = []
    for i in range(number):
        drawn = np.random.default_rng([seed, 6, i // batch])
        forms = EARLY if i < FIRST * number else FORMS
        alone = bool(media) and drawn.random() < verdicts
        kind = "verdict" if alone else str(drawn.choice(tuple(forms), p=tuple(forms.values())))
        rng = np.random.default_rng([seed, 7, i])
        pool = media if alone and drawn.random() < MEDIA else text
        shown = pool[int(rng.integers(len(pool)))][int(rng.integers(2))]
        side = "AB"[int(rng.integers(2))]
        lesson = []
        for task, answer in drawer.ask(kind, shown, side, TURNS[kind] if wording == "brief" else 1, rng):
            turn = {"role": "assistant", "parts": [text_part(answer)]}
            lesson.append([*messages(task, wording), turn])
        out.append(lesson)
    return out


@dataclass(frozen=True)
class Shown:
    """A pair as displayed, with the facts of both sides, which are looked up once."""

    pair: Pair
    sides: tuple[Facts, Facts]

    @classmethod
    def of(cls, pair: Pair) -> Shown:
        return cls(pair, facts_of(pair))


@dataclass(frozen=True)
class Drawer:
    """Draws what is asked: `count` criteria of a direct judgement, all right in a share, and a share composed."""

    count: int = 3
    keep_right: float = 1.0
    composed: float = 0.0

    def ask(self, kind: str, shown: Shown, side: str, number: int, rng: np.random.Generator) -> list[tuple[Task, str]]:
        """Draw `number` questions of a form about a pair (`side`: the response to refine), with their answers."""
        if kind in ("judge", "refine"):
            drawn = self.draw(shown, number, rng)
            return [(self._judge if kind == "judge" else self._refine)(shown, side, c, rng) for c in drawn]
        return [getattr(self, f"_{kind}")(shown, rng) for _ in range(number)]

    def _verdict(self, shown: Shown, rng: np.random.Generator) -> tuple[Task, str]:
        return Task("verdict", shown.pair), f"[[{WRITTEN[shown.pair.label]}]]"

    def _judge(self, shown: Shown, side: str, criterion: Criterion, rng: np.random.Generator) -> tuple[Task, str]:
        return Task("judge", shown.pair, (_say(criterion, rng),)), render_judgement(judged(shown, criterion))

    def _refine(self, shown: Shown, side: str, criterion: Criterion, rng: np.random.Generator) -> tuple[Task, str]:
        said = shown.sides["AB".index(side)]
        note = critique(criterion, said)
        return Task("refine", shown.pair, side=side, notes=(noted(note, side),)), edit(said, note, rng)

    def _write(self, shown: Shown, rng: np.random.Generator) -> tuple[Task, str]:
        long = rng.random()
        number = int(rng.integers(1, KNOWN + 1))
        if long < NONE_KNOWN:
            number = 0
        elif long > 1 - MANY_KNOWN:
            number = int(rng.integers(KNOWN, MANY))
        kinds = [(kind, composed) for kind in BEARINGS for composed in ((False, True) if self.composed else (False,))]
        free = sum(len(_pool(shown.pair.task, *kind)) for kind in kinds) - MOST
        known = self.draw(shown, min(number, free), rng)
        new = self.draw(shown, int(rng.integers(1, MOST + 1)), rng, known)
        task = Task("write", shown.pair, tuple(_say(c, rng) for c in known), len(new))
        return task, render_criteria([_say(c, rng) for c in new])

    def _direct(self, shown: Shown, rng: np.random.Generator) -> tuple[Task, str]:
        right = rng.random() < self.keep_right
        drawn = self.draw(shown, self.count, rng, right=right) or self.draw(shown, self.count, rng)
        merged = vote([c.name for c in drawn], [judged(shown, c) for c in drawn])
        return Task("direct", shown.pair, count=len(drawn)), render_direct([_say(c, rng) for c in drawn], merged)

    def draw(
        self,
        shown: Shown,
        count: int,
        rng: np.random.Generator,
        known: Sequence[Criterion] = (),
        right: bool = False,
    ) -> list[Criterion]:
        """Draw distinct criteria, fewer where there are no more: of every bearing, mostly such as tell sides apart.

        `right`: only such as decide as the pair's label does. This filter of the training reads gold.
        """
        names = {c.name for c in known}
        drawn: list[Criterion] = []
        for _ in range(TRIES * count):
            kind = str(rng.choice(tuple(BEARINGS), p=tuple(BEARINGS.values())))
            composed = rng.random() < self.composed
            differs = rng.random() < DIFFERS
            pool = _pool(shown.pair.task, kind, bool(composed))
            found = None
            for i in rng.integers(len(pool), size=TRIES):
                truth = pool[i].truth(*shown.sides)
                if pool[i].name not in names and (not right or truth == shown.pair.label):
                    found = pool[i]
                    if not differs or truth != "tie":
                        break
            if found:
                drawn.append(found)
                names.add(found.name)
            if len(drawn) == count:
                break
        return drawn


@cache
def _pool(task: str, kind: str, composed: bool) -> tuple[Criterion, ...]:
    """List the criteria of a bearing that are drawn: those of the registry, or those that are made of them."""
    found = (c for c in pool_for(task) if bearing(c) == kind and not c.name.startswith(COUNTED))
    return tuple(c for c in found if (c.name not in CRITERIA) == composed)


def judged(shown: Shown, criterion: Criterion) -> CriterionJudgement:
    """Write the true judgement of a pair under a criterion: critiques, each side's own score, verdict."""
    a, b = shown.sides
    notes = true_notes(criterion, a, b)
    return CriterionJudgement("ok", criterion.truth(a, b), rate(criterion, a), rate(criterion, b), *notes)


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
