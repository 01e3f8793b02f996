"""Conversations that teach the embedded backbone single-response skills; none compares two responses.

Produces chats of several turns about one to four media: short answers, full answers, descriptions, a check of each
response shown on named dimensions, a one-response judgement, a refinement, and two numbers written as scores with the
winner they name. Where two responses are shown, each is marked by itself: which one is better is never asked.
"""

from __future__ import annotations

import json

import numpy as np

from omnirepro import rubric
from omnirepro.models.processing import Example
from omnirepro.schema import DIMENSIONS, Part
from omnirepro.world.language import PENALTY, claims, compose
from omnirepro.world.questions import VALUES, Question, facts, observations, questions, seen
from omnirepro.world.scenes import Scene

SKILLS = {
    "short": 0.12, "answer": 0.12, "describe": 0.05, "check": 0.31, "grade": 0.2, "refine": 0.06, "state": 0.08,
    "match": 0.06,
}  # fmt: skip
SHORT_SKILLS = {"short": 0.8, "match": 0.2}  # to see and to compare words come first: every other skill rests on them
SHORT, DESCRIBE, SCORES = "\none word.", "describe.", "write scores"
NUMBERS = tuple(str(n) for n in range(11))
TURNS, SHORT_TURNS = 2, 3  # exchanges of a conversation
BYSTANDER = 0.6  # chance that another response stands beside the one asked about: a name must be found, not a place
FRAGMENTS = [
    SHORT, "\nA: ", "\nB: ", rubric.instruction("brief"),
    *(f"\njudge {s}{note}." for s in "AB" for note in ("", " score first")),
]  # fmt: skip


def _say(role: str, text: str) -> dict:
    return {"role": role, "parts": [Part(type="text", text=text)]}


def caption(scene: Scene, part: Part) -> list[dict]:
    """Build the chat that names all that is in a medium."""
    asked = {"role": "user", "parts": [part, Part(type="text", text=DESCRIBE)]}
    return [asked, _say("assistant", _description(scene))]


def conversation(media: list[tuple[Scene, Part]], rng: np.random.Generator, short: bool = False) -> list[dict]:
    """Build a chat about the media; several media are numbered and asked about by number.

    A question is asked once and few follow each other: with more, answers were copied from earlier ones, and seeing
    was learned several times more slowly.
    """
    opening = []
    for i, (_, part) in enumerate(media, 1):
        opening += [Part(type="text", text=f"{i}:")] if len(media) > 1 else []
        opening.append(part)
    asks = [(i, question) for i, (scene, _) in enumerate(media) for question in questions(scene)]
    chat: list[dict] = []
    for turn, at in enumerate(rng.permutation(len(asks))[: SHORT_TURNS if short else TURNS]):
        which, question = asks[at]
        asked, answer = exchange(media[which][0], question, rng, SHORT_SKILLS if short else SKILLS)
        free = NUMBERS if asked.startswith(SCORES) else ()
        asked = f"{which + 1}: {asked}" if len(media) > 1 else asked
        lead = "\n" if turn == 0 and media[-1][1].type == "text" else ""
        user = {"role": "user", "parts": [*(opening if turn == 0 else []), Part(type="text", text=lead + asked)]}
        chat += [user, _say("assistant", answer) | {"free": free}]
    return chat


def cut(example: Example, length: int) -> Example:
    """Cut a conversation that is longer, behind its media: rows of one length waste no padding."""
    length = max(length, next(i for i, label in enumerate(example.labels) if label != -100) + 1)
    return Example(example.ids[:length], example.labels[:length], example.features)


def exchange(scene: Scene, question: Question, rng: np.random.Generator, shares=SKILLS) -> tuple[str, str]:
    """Draw one skill and return what is asked and the right answer."""
    kind = rng.choice(tuple(shares), p=tuple(shares.values()))
    if kind == "short":
        return question.text + SHORT, facts(scene, question.target)[question.attribute]
    if kind == "answer":
        return question.text, compose(scene, question)
    if kind == "describe":
        return DESCRIBE, _description(scene)
    if kind == "state":
        return _state(rng)
    if kind == "match":
        return _match(rng)
    return _about_response(str(kind), scene, question, rng)


def _description(scene: Scene) -> str:
    return " and ".join(observations(scene)) + "."


def _about_response(kind: str, scene: Scene, question: Question, rng: np.random.Generator) -> tuple[str, str]:
    side = "AB"[int(rng.integers(2))]
    alone = kind == "refine" or rng.random() > BYSTANDER
    bad = {s: {d for d in DIMENSIONS if rng.random() < 0.3} for s in (side if alone else "AB")}
    shown = {s: compose(scene, question, faults, rng) for s, faults in bad.items()}
    marked = {s: ({d: d not in bad[s] for d in DIMENSIONS}, claims(scene, question, shown[s])) for s in bad}
    asked = question.text + "".join(f"\n{s}: {text}" for s, text in shown.items())
    if kind == "refine":
        named = " ".join(d for d in DIMENSIONS if d in bad[side]) or "nothing"
        return f"{asked}\nfix {named}.", compose(scene, question)
    if kind == "check":
        some = sorted(rng.permutation(5)[: int(rng.integers(1, 6))])
        dimensions = [DIMENSIONS[i] for i in some]
        return f"{asked}\ncheck {' '.join(dimensions)}.", render_checks(marked, dimensions)
    score = max(0, 10 - sum(PENALTY[d] for d in bad[side]))
    format, note = ("published", " score first") if rng.random() < 0.2 else ("rationale-first", "")
    judgement = render_single(side, *marked[side], score, seen(scene, question), format)
    return f"{asked}\njudge {side}{note}.", judgement


def _match(rng: np.random.Generator) -> tuple[str, str]:
    """Mark a stated value against a given true one: the last step of checking accuracy, without perception."""
    pool = list(VALUES.values())[int(rng.integers(len(VALUES)))]
    said, true = (pool[int(rng.integers(len(pool)))] for _ in range(2))
    said = true if rng.random() < 0.5 else said
    side = "AB"[int(rng.integers(2))]
    return f"{side} said {said}, true {true}.", rubric.marked(side, said == true, f"{said} is {true}")


def _state(rng: np.random.Generator) -> tuple[str, str]:
    """Write any two scores and the winner that they name in the judgement's notation; equal scores name none.

    The scores are not given in the question: a winner must be read off the judgement itself, as judges have to. They
    are anyone's guess, so that their numbers take no loss (`conversation`): it would be noise.
    """
    a, b = (int(x) for x in rng.integers(0, 11, 2))
    apart = rng.random()  # equal scores and near ones are those that a judge confuses
    b = a if apart < 0.3 else min(10, a + 1) if apart < 0.5 else b
    a, b = (a, b) if rng.random() < 0.5 else (b, a)
    format, note = ("published", " score first") if rng.random() < 0.5 else ("rationale-first", "")
    return f"{SCORES}{note}.", rubric.notation("seen: ", a, b, format)


def corpus(scenes_: list[Scene], rng: np.random.Generator) -> list[str]:
    """Return raw text that covers the world's words, for training the tokenizer."""
    lines = []
    for scene in scenes_:
        for question in questions(scene):
            for _ in range(2):
                asked, answer = exchange(scene, question, rng)
                lines += [asked, answer]
    return lines


def render_single(
    side: str, marks: dict, quotes: dict, score: int, evidence: str, format: str = "rationale-first"
) -> str:
    """Write the one-response form that teaches the base the notation; it never compares."""
    values = {
        "reasoning": f"<think>{rubric.rationale(evidence, {side: (marks, quotes)})}</think>",
        f"score_{side}": score,
    }
    keys = sorted(values, reverse=format == "published")
    return json.dumps({k: values[k] for k in keys}, ensure_ascii=False)


def render_checks(sides: dict[str, tuple[dict, dict]], dimensions) -> str:
    """Write marks on some dimensions as they stand within a judgement; teaches the base to mark what is shown."""
    return json.dumps(rubric.rationale("", sides, dimensions), ensure_ascii=False)[1:-1]
