"""Teachers: who labels candidate pairs (Omni-RRM, Section 3.2).

Consumes pairs; produces one `Label` a pair and teacher, in the pair's own frame. A teacher is the world's oracle seen
through a documented error profile, or any judge: a loaded model, or an OpenAI-compatible endpoint, with the same
prompt and parser.

Departure: candidates are shown in random order, unless a teacher is told which comes `first`; the published prompts
always show the weak model first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from omnirepro.data import DIMENSIONS, Judgement, Label, Pair, read_jsonl, text_of
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.data.schema import refuse_repeat
from omnirepro.judge.rubric import Parsed, parse, ranking
from omnirepro.papers.omni_rrm.reconcile import merge
from omnirepro.toyworld.language import PENALTY, Assessment, claims, seen
from omnirepro.toyworld.tasks import Truth, World
from omnirepro.train.curriculum import verdict_alone

Oracle = Callable[[str, str], Assessment]


@dataclass(frozen=True)
class ErrorProfile:
    """How a teacher errs: chance of a wrong mark a dimension, its factor in a weak modality, and two biases.

    `position`: chance to grant the candidate shown first one point; `verbosity`: the same for the longer one; `flip`:
    chance that the whole judgement is given with the candidates mixed up. `shared`: share of the pairs on which all
    teachers draw the same luck, so that they err together as far as their chances allow.
    """

    noise: dict[str, float]
    weak_modality: str = ""
    weak_factor: float = 1.0
    position: float = 0.0
    verbosity: float = 0.0
    flip: float = 0.0
    shared: float = 0.0
    seed: int = 0

    def rate(self, dimension: str, modality: str) -> float:
        return min(0.5, self.noise.get(dimension, 0.0) * (self.weak_factor if modality == self.weak_modality else 1.0))


@dataclass(frozen=True)
class OracleTeacher:
    """The world's oracle through an error profile; deterministic per pair and seed, whatever the batch."""

    name: str
    oracle: Oracle
    evidence: Callable[[str], str]
    quote: Callable[[str, str], dict[str, str]]
    profile: ErrorProfile = field(default_factory=lambda: ErrorProfile({}))
    first: Mapping[str, int] = field(default_factory=dict)  # pair -> side shown first, where it is not drawn

    def label(self, pairs: list[Pair]) -> list[Label]:
        """Label every pair. Pair ids begin with their prompt's id, up to '#'."""
        return [self._one(pair) for pair in pairs]

    def _one(self, pair: Pair) -> Label:
        common = np.random.default_rng([self.profile.seed, *pair.id.encode()])
        own = np.random.default_rng([self.profile.seed, *pair.id.encode(), *self.name.encode()])
        rng = common if common.random() < self.profile.shared else own
        prompt = pair.id.split("#")[0]
        texts = (text_of(pair.response_a), text_of(pair.response_b))
        marks = [self._see(self.oracle(prompt, t).marks, pair.task, rng) for t in texts]
        scores = [max(0, 10 - sum(PENALTY[d] for d in DIMENSIONS if not m[d])) for m in marks]
        quotes = [self.quote(prompt, t) for t in texts]
        lengths = [len(t) for t in texts]
        if rng.random() < self.profile.position:
            drawn = int(rng.integers(2))
            _favour(scores, self.first.get(pair.id, drawn))
        if lengths[0] != lengths[1] and rng.random() < self.profile.verbosity:
            _favour(scores, int(lengths[1] > lengths[0]))
        if rng.random() < self.profile.flip:
            scores.reverse()
            marks.reverse()
        return Label(
            pair_id=pair.id,
            verdict=ranking(*scores),
            score_a=scores[0],
            score_b=scores[1],
            marks_a=marks[0],
            marks_b=marks[1],
            quotes_a=quotes[0],
            quotes_b=quotes[1],
            evidence=self.evidence(prompt),
            provenance=self.name,
        )

    def _see(self, truth: dict[str, bool], modality: str, rng: np.random.Generator) -> dict[str, bool]:
        return {d: truth[d] != (rng.random() < self.profile.rate(d, modality)) for d in DIMENSIONS}


def knowing(world: World, name: str, *errs: Any) -> OracleTeacher:
    """Make the teacher who knows a world; `errs`: its error profile and who is shown first, none for the truth."""

    def evidence(prompt: str) -> str:
        return seen(*world.truths[prompt])

    def quote(prompt: str, text: str) -> dict[str, str]:
        return claims(*world.truths[prompt], text)

    return OracleTeacher(name, world.assess, evidence, quote, *errs)


def true_labels(pairs: Mapping[str, Pair], folders: Iterable[Path]) -> dict[str, Label]:
    """Return the world's own label of every pair, by its name, whose scene a truths_*.jsonl of the folders tells."""
    files = sorted({path for folder in folders for path in folder.glob("truths_*.jsonl")})
    world = World.from_rows([truth for path in files for truth in read_jsonl(path, Truth)])
    teacher = knowing(world, "the world's truth")
    known = {name: pair for name, pair in pairs.items() if pair.id.split("#")[0] in world.truths}
    return dict(zip(known, teacher.label(list(known.values())), strict=True))


def _favour(scores: list[int], side: int) -> None:
    """Grant one side a point it has not earned."""
    scores[side] = min(10, scores[side] + 1)


def lenient(text: str, format: str = "rationale-first") -> Parsed:
    """Read a teacher's judgement strictly, or else what stands between its first and last brace.

    So a fence around it, a list of one, or words before it cost no paid answer; the published reward reads so too.
    """
    found = parse(text, format)
    inner = re.search(r"\{.*\}", text, re.DOTALL)
    return parse(inner[0], format) if inner and found.verdict is None else found


@dataclass(frozen=True)
class ByModality:
    """A judge for each modality of the pairs ("any": all that are not named), where one cannot see or hear them all."""

    judges: Mapping[str, Any]

    def judge(self, pairs: list[Pair], **how: Any) -> list[Judgement]:
        """Judge pairs, each with its modality's judge; rows come in the order of the judges."""
        theirs: dict[str, list[Pair]] = {}
        for pair in pairs:
            theirs.setdefault(pair.modality if pair.modality in self.judges else "any", []).append(pair)
        return [row for name, some in theirs.items() for row in self.judges[name].judge(some, **how)]


@dataclass(frozen=True)
class JudgeTeacher:
    """A judge (loaded model or endpoint) as teacher; each pair is shown once, in an order drawn from the seed.

    `first` names the side shown first where it is not drawn; with `both`, pairs are shown in both orders, and a teacher
    that contradicts itself says a tie (read by its choice, it has one verdict for both). What was asked is kept below
    `checkpoints`, where that is given. `rows` gathers every judgement behind its labels, raw text included, for the
    caller to write.
    """

    name: str
    judge: object
    parse: Callable[[str], Parsed]
    seed: int = 0
    first: Mapping[str, int] = field(default_factory=dict)
    both: bool = False
    checkpoints: Path | None = None
    rows: list[Judgement] = field(default_factory=list, compare=False, repr=False)

    def label(self, pairs: list[Pair]) -> list[Label]:
        """Label every pair; one whose judgement cannot be read gets a tie with confidence 0, which no rule keeps.

        Raises `RowError` where two pairs share an id: one of them would get the other's label.
        """
        seen: dict[str, str] = {}
        for number, pair in enumerate(pairs, 1):
            refuse_repeat(pair.id, f"pair {number}", seen)
        rows: list[Judgement] = []
        for order in ("AB", "BA"):
            some = [p for p in pairs if self.both or self._order(p) == order]
            rows += self._judged(some, order) if some else []
        self.rows.extend(rows)
        found: dict[str, list[Judgement]] = {}
        for row in rows:
            found.setdefault(row.pair_id, []).append(row)
        return [self._chosen(found[p.id]) or self._one(*map(self._label, found[p.id])) for p in pairs]

    def _judged(self, pairs: list[Pair], order: str) -> list[Judgement]:
        """Return the judge's rows in one order, those of an earlier attempt from the checkpoints."""
        if self.checkpoints is None:
            return self.judge.judge(pairs, orders=order)
        key = hashlib.sha256("".join(pair.id for pair in pairs).encode()).hexdigest()[:12]
        name = f"{self.name}-{order}-{key}"
        report = progress(f"{self.name} labels, {order}")
        work = partial(self.judge.judge, orders=order, progress=report)
        return in_chunks(self.checkpoints, name, pairs, lambda some, at: work(some), Judgement)

    def _order(self, pair: Pair) -> str:
        if pair.id in self.first:
            return ("AB", "BA")[self.first[pair.id]]
        return "AB" if np.random.default_rng([self.seed, *pair.id.encode()]).random() < 0.5 else "BA"

    def _chosen(self, rows: list[Judgement]) -> Label | None:
        """Return the label of a judge that was read by its choice, without scores or reasons: of the mean."""
        chances = [row.probability for row in rows if row.probability is not None]
        if len(chances) < len(rows):
            return None
        verdict = ranking(sum(chances), len(chances) - sum(chances))
        return verdict_alone(rows[0].pair_id, verdict, f"{self.name}:{rows[0].status}", shown=rows[0].order)

    def _one(self, label: Label, *other: Label) -> Label:
        """Return a pair's label; of two orders the mean, or a tie where they contradict each other."""
        if not other or label.confidence == 0.0:
            return label
        if other[0].confidence == 0.0:
            return other[0]
        if merged := merge([label, *other], "with-ties") if label.verdict == other[0].verdict else None:
            return merged.model_copy(update={"provenance": label.provenance})
        means = ((label.score_a + other[0].score_a) / 2, (label.score_b + other[0].score_b) / 2)
        return label.model_copy(update={"verdict": "tie", "score_a": means[0], "score_b": means[1]})

    def _label(self, row: Judgement) -> Label:
        parsed = self.parse(row.raw)
        legible = parsed.verdict is not None and parsed.score_a is not None
        shown = Label(
            pair_id=row.pair_id,
            verdict=parsed.verdict if legible else "tie",
            score_a=parsed.score_a if legible else 0,
            score_b=parsed.score_b if legible else 0,
            marks_a=parsed.marks["A"] or None,
            marks_b=parsed.marks["B"] or None,
            rationale=parsed.reasoning.replace("<think>", "").replace("</think>", "") or None,
            shown=row.order,
            confidence=1.0 if legible else 0.0,
            provenance=f"{self.name}:{parsed.status if legible else row.status}",
        )
        return shown.displayed(row.order)  # the exchange that the display made, undone
