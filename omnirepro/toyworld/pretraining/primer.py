"""Criteria in words, taught on single responses, before any two are compared: what a released model knows already.

Consumes a backbone and pairs of the world; produces a backbone that reads criteria ("primed"), and one that stopped
early ("primed-weak"). Conversations that share their responses, one a criterion, name the level, 1 to 5, of a response:
in the layout that is scored, in that of pointwise judging, and for each of two responses that are shown. Which one is
better is never asked; which of two numbers is larger is.

Departure: MiniCPM-o-2.6 and Qwen2.5-VL, from which the paper starts, know English; the embedded backbone has never read
a criterion, and a Bradley-Terry loss alone does not teach it one (the loss stayed at log 2 for hundreds of steps). Its
levels are the world's truth, on the training split's scenes, criteria and phrasings alone, and only their words become
tokens: others stay in the pieces that the base knows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import Pair, text_part
from omnirepro.judge import rubric, verdict
from omnirepro.judge.scalar import chat
from omnirepro.kit.run import Run
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load, point_to
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.toyworld.criteria import CRITERIA, TASKS, criteria_for
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.pretraining.loop import Pretrainer
from omnirepro.toyworld.pretraining.vocabulary import extend_tokens, spoken
from omnirepro.train.shared_prefix import collate

LAYOUTS = {"scored": 0.5, "alone": 0.15, "both": 0.35}  # shares; a batch has one layout, so that little is padded
QUESTIONS = 8  # criteria asked about one row: with one, a step says too little for anything to be learned in minutes
NUMBERS = 2  # questions of a row about two levels in figures: a judge must know which one is larger
TAGS = ("criterion:", "level.", "levels.", "compare.", "verdict.", "larger.", "[[", "]]")


def prime(run: Run, base: Path, pairs: list[Pair]) -> Path:
    """Teach `base` criteria on the pairs' responses; writes `primed`, `primed-weak`, `primer.csv`; returns `primed`.

    With `prime_steps` 0, `primed` points to `base`, which knows criteria already.
    """
    p = run.section("bradley_terry")
    if not p["prime_steps"]:
        return run.write("primed", lambda f: point_to(str(base), f))
    seed_all(run.seed)
    model, processor = load(base, run.device, "float32")
    processor = extend_tokens(model, processor, TAGS, spoken(_taught()))
    for name, weight in model.named_parameters():
        weight.requires_grad_("visual" not in name and "audio_tower" not in name)
    trainer = Primer(model, processor, pairs, run, p["prime_steps"], p["prime_lr"])
    for until, name in (
        (max(1, int(p["prime_weak_at"] * p["prime_steps"])), "primed-weak"),
        (p["prime_steps"], "primed"),
    ):
        trainer.fit(until, name)
        run.write(name, lambda f: (model.save_pretrained(f, safe_serialization=True), processor.save_pretrained(f)))
    table = pd.DataFrame({"step": range(1, len(trainer.losses) + 1), "loss": trainer.losses})
    run.write("primer.csv", table.to_csv(index=False))
    return run.path("primed")


class Primer(Pretrainer):
    """The backbone's trainer (Muon) on conversations about criteria."""

    def __init__(self, model, processor: OmniProcessor, pairs: list[Pair], run: Run, total: int, lr: float):
        super().__init__(model, processor, run, total, lr)
        self.scale, self.by_task = Scale.of(pairs), {t: [p for p in pairs if p.task == t] for t in TASKS}
        self.batch = run.section("bradley_terry")["prime_batch"]

    def _collate(self, rows: list[list[Example]]) -> dict:
        return collate(self.processor, rows)

    def _batch(self, step: int) -> list[list[Example]]:
        rng = np.random.default_rng([self.run.seed, step, 5])
        tasks, chats = [t for t in TASKS if self.by_task[t]], []
        layout = str(rng.choice(tuple(LAYOUTS), p=tuple(LAYOUTS.values())))
        for i in range(self.batch):
            some = self.by_task[tasks[i % len(tasks)]]
            chats.append(lesson(some[int(rng.integers(len(some)))], self.scale, layout, rng))
        return [[_loss_on_levels(self.processor, chat) for chat in lesson] for lesson in chats]


def lesson(pair: Pair, scale: Scale, layout: str, rng: np.random.Generator) -> list[list[dict]]:
    """Draw criteria that training may ask; return the chats that name the levels of what is shown under each."""
    pair = pair.swap() if rng.random() < 0.5 else pair
    pool, facts, chats = criteria_for(pair.task, held_out=False), facts_of(pair), []
    for i in rng.permutation(len(pool))[:QUESTIONS]:
        wordings = pool[i].wordings("train")
        asked = pair.model_copy(update={"criterion": wordings[int(rng.integers(len(wordings)))]})
        a, b = (scale.level(pair.task, pool[i], side) for side in facts)
        answer = verdict.named(a, b) if layout == "both" else f"[[{a}]]"
        chats.append([*_question(asked, layout), _say("assistant", answer)])
        if layout == "both" and len(chats) <= NUMBERS:
            chats[-1] += _numbers(rng)
    return chats


def _numbers(rng: np.random.Generator) -> list[dict]:
    """Ask which of two levels is the larger one."""
    a, b = (int(rng.choice(verdict.LEVELS)) for _ in range(2))
    return [_say("user", f"{verdict.named(a, b)} larger."), _say("assistant", verdict.TAGS[rubric.ranking(a, b)])]


def _taught() -> list[str]:
    """List the phrasings of criteria that training may ask."""
    return [words for c in CRITERIA.values() if not c.held_out for words in c.wordings("train")]


def _question(asked: Pair, layout: str) -> list[dict]:
    """Ask for levels under the pair's criterion."""
    if layout == "scored":
        return chat(asked.prompt, asked.response_a, asked.criterion, "brief")
    return verdict.ask_levels(asked) if layout == "both" else verdict.messages(asked, format="level")


def _loss_on_levels(processor: OmniProcessor, turns: list[dict]) -> Example:
    """Encode a chat with the loss on its levels alone: a response is what is judged, not what is to be said."""
    example = processor.encode(turns, train=True)
    first = next(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
    # In the scored layout the first assistant's turn is the response.
    if len(turns) > first + 1 and turns[first + 1]["role"] == "system":
        begin = len(processor.encode(turns[: first + 1], train=True).ids)
        example.labels = [-100] * begin + example.labels[begin:]
    return example


def _say(role: str, text: str) -> dict:
    return {"role": role, "parts": [text_part(text)]}
