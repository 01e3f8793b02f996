"""The scalar judge: one score a response, and of two scores a verdict (Omni-Reward and its evaluation code).

Consumes prompts with responses, or pairs; produces scores, or frozen `Judgement` rows of kind "scalar" with score_a and
score_b. The criterion stands in the system message, the response alone in turns of its own: no response is ever
seen beside another, so the order of display cannot matter. Two rows a pair are written all the same, which lets every
function of `evaluate` read them.

The verdict is the larger score's side, or a tie where the two differ by at most `threshold`. The rows keep the scores,
so `evaluate.ties` can draw that line anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import Field

from omnirepro.data import Judgement, Pair, Part, Prompt, Response, Row, text_part, turns
from omnirepro.judge.rubric import Parsed
from omnirepro.judge.speech import quoted, shown, spoken
from omnirepro.models.generation import Progress, Scores

ORDERS = {"both": ("AB", "BA"), "AB": ("AB",), "BA": ("BA",)}


class Answered(Row):
    """One response to score: prompt, response, and the criterion in words where there is one."""

    id: str
    task: str = ""
    prompt: list[Part] = Field(min_length=1)
    response: list[Part] = Field(min_length=1)
    criterion: str | None = None


class Scored(Row):
    """A response's score; None where the model gave none that could be read.

    `status` and `raw`, the text as written, are as in a `Judgement`.
    """

    id: str
    status: str
    score: float | None
    criterion: str | None = None
    model: str = ""
    raw: str = ""


@dataclass
class ScalarJudge:
    """A scalar reward model as a judge; `threshold` is the difference of scores up to which it calls a tie.

    `wording` says where its chats have the criterion (`chat`).
    """

    scorer: Scores
    name: str
    threshold: float = 0.0
    batch_size: int = 64
    seed: int = 0
    wording: str = "full"

    def score(self, prompts: list[Prompt], responses: list[Response], progress: Progress | None = None) -> list[float]:
        """Score `responses[i]` as the answer to `prompts[i]`, under that prompt's criterion where it has one.

        Each distinct (prompt, response, criterion) is scored once. Raises ValueError where the lists differ in length.
        """
        distinct: dict[str, list[dict]] = {}
        keys = []
        for prompt, response in zip(prompts, responses, strict=True):
            said = [[[p.type, p.role, p.turn, p.fingerprint()] for p in x.parts] for x in (prompt, response)]
            keys.append(json.dumps([prompt.criterion, *said]))
            distinct[keys[-1]] = chat(prompt.parts, response.parts, prompt.criterion, self.wording)
        made = self.scorer.score(list(distinct.values()), self.batch_size, progress)
        known = dict(zip(distinct, made, strict=True))
        return [known[key] for key in keys]

    def judge(
        self,
        pairs: Iterable[Pair],
        orders: str = "both",
        criterion: str | None = None,
        scaling: Any = None,
        progress: Progress | None = None,
    ) -> list[Judgement]:
        """Judge every pair; rows come pair by pair, equal in both orders. `criterion` replaces each pair's own.

        A pair of which a score is not finite has the status "bad_score" and no verdict.
        """
        pairs = [p.model_copy(update={"criterion": criterion}) if criterion else p for p in pairs]
        if scaling is not None:
            return scaling.run(self, pairs)
        prompts = [p.prompt_of() for p in pairs for _ in "AB"]
        responses = [Response(prompt_id=p.id, parts=r) for p in pairs for r in (p.response_a, p.response_b)]
        scores = self.score(prompts, responses, progress)
        both = zip(pairs, scores[::2], scores[1::2], strict=True)
        about = {"model": self.name, "kind": "scalar", "decoding": {"threshold": self.threshold}, "seed": self.seed}
        return [row for pair, a, b in both for row in freeze_scores(pair, orders, a, b, self.threshold, **about)]


def freeze_scores(
    pair: Pair, orders: str, a: float, b: float, threshold: float = 0.0, **fields: Any
) -> list[Judgement]:
    """Return the rows of two scores that no order of display can change: one an order, equal but for it."""
    sound = math.isfinite(a) and math.isfinite(b)
    parsed = Parsed("ok", verdict(a, b, threshold), a, b) if sound else Parsed("bad_score")
    row = Judgement.of(pair, "AB", parsed, **fields)
    return [row.model_copy(update={"order": order}) for order in ORDERS[orders]]


def score_rows(
    judge: Any, rows: list[Answered], criterion: str | None = None, progress: Progress | None = None
) -> list[Scored]:
    """Score rows with any judge that has `score`; `criterion` replaces the rows' own.

    A judge that writes `levels` says why one could not be read, and what it wrote.
    """
    prompts = [Prompt(id=r.id, task=r.task, parts=r.prompt, criterion=criterion or r.criterion) for r in rows]
    responses = [Response(prompt_id=r.id, parts=r.response) for r in rows]
    if hasattr(judge, "levels"):
        made = judge.levels(prompts, responses, progress)
        found = [(said.status, said.score_a, out.text or out.reason) for said, out in made]
    else:
        scores = judge.score(prompts, responses, progress)
        found = [("ok", s, "") if math.isfinite(s) else ("bad_score", None, "") for s in scores]
    return [
        Scored(id=p.id, status=status, score=score, criterion=p.criterion, model=judge.name, raw=raw)
        for p, (status, score, raw) in zip(prompts, found, strict=True)
    ]


def verdict(score_a: float, score_b: float, threshold: float = 0.0) -> str:
    """Return the side of the larger score, or "tie" where the scores differ by at most `threshold` >= 0."""
    gap = score_a - score_b
    return "tie" if abs(gap) <= threshold else "A" if gap > 0 else "B"


def redraw(row: Judgement, threshold: float) -> Judgement:
    """Return a frozen row with the verdict that a threshold fitted later gives; a failed row stays as it is."""
    if row.status != "ok":
        return row
    said = verdict(row.score_a, row.score_b, threshold)
    return row.model_copy(update={"verdict": said, "decoding": row.decoding | {"threshold": threshold}})


def chat(prompt: list[Part], response: list[Part], criterion: str | None = None, wording: str = "full") -> list[dict]:
    """Build the chat that is scored: system (the prompt's first and the criterion), the prompt's turns, the response's.

    In the "brief" wording, the embedded model's, a system message with the criterion comes last.
    """
    opening = list(takewhile(lambda part: part.role == "system", prompt))
    system = spoken(opening, "criterion", "system")
    said = [turn | {"parts": shown(turn["parts"], "criterion")} for turn in turns(prompt[len(opening) :])]
    brief = wording == "brief"
    lead = "\n" if system and not brief else ""
    asked = [text_part(f"{lead}criterion: {quoted(criterion, 'criterion')}")] if criterion else []
    first = system if brief else [*system, *asked]
    before = [{"role": "system", "parts": first}] if first else []
    behind = [{"role": "system", "parts": asked}] if brief and asked else []
    return [*before, *said, *turns(response, "assistant"), *behind]


def load_scalar_judge(
    path: str | Path,
    batch_size: int = 64,
    device: str = "auto",
    dtype: str = "auto",
    media: Mapping[str, Any] | None = None,
    **kw: Any,
) -> ScalarJudge:
    """Load a scalar judge from a stage's folder or the scorer's own; keywords override `threshold`, `seed`, `name`.

    `media` limits what of them is shown to a model that keeps no limits of its own (base.yaml's section).

    The threshold is the one that was kept with the scorer, else the one that it learned with ties, else 0. Raises
    `ModelError` where there is no scorer.
    """
    from omnirepro.models.processing import kept_settings
    from omnirepro.models.scalar import load_scorer

    folder = scorer_in(path) or Path(path)
    scorer = load_scorer(folder, device, dtype, media)
    stored = {"threshold": scorer.tie_threshold} | kept_settings(folder)
    stored.pop("media", None)
    name = f"{folder.parent.parent.name}/{folder.parent.name}" if folder.name == "scorer" else folder.name
    return ScalarJudge(scorer, **({"name": name, "batch_size": batch_size} | stored | kw))


def scorer_in(path: str | Path) -> Path | None:
    """Find the scorer of a stage's folder, or of the folder itself; None where there is none."""
    from omnirepro.models.scalar import HEAD

    return next((f for f in (Path(path) / "scorer", Path(path)) if (f / HEAD).is_file()), None)
