"""Teachers: who labels candidate pairs (Omni-RRM, Section 3.2).

Consumes pairs; produces one `Label` a pair and teacher, in the pair's own frame. A teacher is the world's oracle seen
through a documented error profile, or any judge: a loaded model, or an OpenAI-compatible endpoint, with the same
prompt and parser.

Departure: candidates are shown in random order, unless a teacher is told which comes `first`; the published prompts
always show the weak model first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from omnirepro.data import DIMENSIONS, Judgement, Label, Pair, text_of
from omnirepro.data.schema import refuse_repeat
from omnirepro.judge.rubric import Parsed, ranking
from omnirepro.toyworld.language import PENALTY, Assessment

Oracle = Callable[[str, str], Assessment]


@dataclass(frozen=True)
class ErrorProfile:
    """How a teacher errs: chance of a wrong mark a dimension, its factor in a weak modality, and two biases.

    `position`: chance to grant the candidate shown first one point; `verbosity`: the same for the longer one; `flip`:
    chance that the whole judgement is given with the candidates mixed up.
    """

    noise: dict[str, float]
    weak_modality: str = ""
    weak_factor: float = 1.0
    position: float = 0.0
    verbosity: float = 0.0
    flip: float = 0.0
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
        rng = np.random.default_rng([self.profile.seed, *pair.id.encode(), *self.name.encode()])
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


def _favour(scores: list[int], side: int) -> None:
    """Grant one side a point it has not earned."""
    scores[side] = min(10, scores[side] + 1)


@dataclass(frozen=True)
class JudgeTeacher:
    """A judge (loaded model or endpoint) as teacher; each pair is shown once, in an order drawn from the seed.

    `rows` gathers every judgement behind its labels, raw text included, for the caller to write.
    """

    name: str
    judge: object
    parse: Callable[[str], Parsed]
    seed: int = 0
    rows: list[Judgement] = field(default_factory=list, compare=False, repr=False)

    def label(self, pairs: list[Pair]) -> list[Label]:
        """Label every pair; one whose judgement cannot be read gets a tie with confidence 0, which no rule keeps.

        Raises `RowError` where two pairs share an id: one of them would get the other's label.
        """
        seen: dict[str, str] = {}
        for number, pair in enumerate(pairs, 1):
            refuse_repeat(pair.id, f"pair {number}", seen)
        shown = [self._order(p) for p in pairs]
        rows: list[Judgement] = []
        for order in ("AB", "BA"):
            some = [p for p, o in zip(pairs, shown, strict=True) if o == order]
            rows += self.judge.judge(some, orders=order) if some else []
        self.rows.extend(rows)
        found = {row.pair_id: row for row in rows}
        return [self._label(found[p.id]) for p in pairs]

    def _order(self, pair: Pair) -> str:
        return "AB" if np.random.default_rng([self.seed, *pair.id.encode()]).random() < 0.5 else "BA"

    def _label(self, row: Judgement) -> Label:
        legible = row.verdict is not None and row.score_a is not None
        parsed = self.parse(row.raw)
        sides = ("A", "B") if row.order == "AB" else ("B", "A")
        return Label(
            pair_id=row.pair_id,
            verdict=row.verdict if legible else "tie",
            score_a=row.score_a if legible else 0,
            score_b=row.score_b if legible else 0,
            marks_a=parsed.marks[sides[0]] or None,
            marks_b=parsed.marks[sides[1]] or None,
            rationale=parsed.reasoning.replace("<think>", "").replace("</think>", "") or None,
            shown=row.order,
            confidence=1.0 if legible else 0.0,
            provenance=f"{self.name}:{row.status}",
        )
