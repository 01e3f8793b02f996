"""Conversations that teach the embedded backbone single-response skills; none compares two responses.

Produces chats of several turns about one to four media: short answers, full answers, descriptions, a check of each
response shown on named dimensions, a one-response judgement, a refinement, and two numbers written as scores with the
winner they name. Where two responses are shown, each is marked by itself: which one is better is never asked.
"""

from __future__ import annotations

import json

import numpy as np

from omnirepro.data import DIMENSIONS, Part, text_part
from omnirepro.judge import rubric
from omnirepro.models.processing import Example
from omnirepro.toyworld.language import Assessment, Question, assess, claims, compose, facts, questions, seen
from omnirepro.toyworld.nouns import VALUES, pick, pick_by_share, read
from omnirepro.toyworld.scenes import Scene, passage

CURRICULUM = read("curriculum.yaml")
WORDS = sorted({"the", "is", "because", "i", "see", "go", "and", *VALUES}.union(*VALUES.values()))
EVIDENCE = 0.5  # chance that what is false in an inaccurate response is its evidence alone
ASKED_EVIDENCE = 0.2  # the same at the gate: about the share among the generators' inaccurate answers
SHORT = "\none word."
DESCRIBE = "describe."
SCORES = "write scores"
FORMATS = {"": "rationale-first", " score first": "published"}  # what is asked for -> the judgement's format
NUMBERS = tuple(str(n) for n in range(11))
SCORES_TURNS = 5  # exchanges of a conversation about bare scores
BYSTANDER = 0.85  # chance that another response stands beside the one asked about: a name must be found, not a place
FRAGMENTS = [
    *(SHORT, "\nA: ", "\nB: ", rubric.instruction("brief")),
    *(f"\njudge {side}{note}." for side in "AB" for note in FORMATS),
    *(f"{SCORES}{note}." for note in FORMATS),
]


def say(role: str, text: str) -> dict:
    """Build a turn of text."""
    return {"role": role, "parts": [text_part(text)]}


def ask(part: Part | None, text: str) -> list[dict]:
    """Build the question about a medium; behind a passage it begins a line."""
    lead = "\n" if part and part.type == "text" else ""
    return [{"role": "user", "parts": [*([part] if part else []), text_part(lead + text)]}]


def caption(scene: Scene, part: Part) -> list[dict]:
    """Build the chat that names all that is in a medium."""
    return [*ask(part, DESCRIBE), say("assistant", passage(scene))]


def conversation(media: list[tuple[Scene, Part]], rng: np.random.Generator, phase: str = "several") -> list[dict]:
    """Build a chat about the media (`phase`: one of the curriculum's); several are numbered and asked about by number.

    A question is asked once and few follow each other: with more, answers were copied from earlier ones, and seeing
    was learned several times more slowly.
    """
    several = len(media) > 1
    about = CURRICULUM["phases"][phase]
    asks = [(i, question) for i, (scene, _) in enumerate(media) for question in questions(scene)]
    chat: list[dict] = []
    for at in rng.permutation(len(asks))[: about["exchanges"]]:
        which, question = asks[at]
        asked, answer = exchange(media[which][0], question, rng, about["skills"])
        asked = f"{which + 1}: {asked}" if several else asked
        chat += [say("user", asked) if chat else ask(media[-1][1], asked)[0], say("assistant", answer)]
    numbered = []
    for i, (_, part) in enumerate(media[:-1], 1):
        numbered += [text_part(f"{i}:"), part]
    if several:
        numbered.append(text_part(f"{len(media)}:"))
    chat[0]["parts"][:0] = numbered
    return chat


def bare_scores(rng: np.random.Generator) -> list[dict]:
    """Build a chat that writes two scores and their winner several times; the scores, which nothing tells, are free."""
    chat = []
    for _ in range(SCORES_TURNS):
        asked, answer = state_scores(rng)
        chat += [say("user", asked), say("assistant", answer) | {"free": NUMBERS}]
    return chat


def cut(example: Example, length: int) -> Example:
    """Cut a conversation that is longer, behind its media: rows of one length waste no padding."""
    length = max(length, next(i for i, label in enumerate(example.labels) if label != -100) + 1)
    return Example(example.ids[:length], example.labels[:length], example.features)


def exchange(scene: Scene, question: Question, rng: np.random.Generator, shares: dict[str, float]) -> tuple[str, str]:
    """Draw one skill and return what is asked and the right answer."""
    kind = pick_by_share(rng, shares)
    if kind == "short":
        return question.text + SHORT, facts(scene, question.target)[question.attribute]
    if kind == "answer":
        return question.text, compose(scene, question)
    if kind == "describe":
        return DESCRIBE, passage(scene)
    if kind == "match":  # the last step of checking accuracy, without perception
        pool = pick(rng, VALUES.values())
        said, true = (pick(rng, pool) for _ in range(2))
        said = true if rng.random() < 0.5 else said
        side = pick(rng, "AB")
        return f"{side} said {said}, true {true}.", rubric.marked(side, said == true, f"{said} is {true}")
    return about_response(kind, scene, question, rng)


def about_response(kind: str, scene: Scene, question: Question, rng: np.random.Generator) -> tuple[str, str]:
    """Show one response or two; ask for a check, a grade or a refinement of one, and return that with the answer.

    Checks and grades are written as they stand within a judgement: what was perceived first, then the marks, so that
    marking compares words, in every modality alike.
    """
    side = pick(rng, "AB")
    alone = kind == "refine" or rng.random() > BYSTANDER
    faults = {s: draw_faults(rng) for s in (side if alone else "AB")}
    asked = question.text
    marked = {}
    for s, bad in faults.items():
        text = compose(scene, question, bad, rng)
        text = garble(text, rng) if "garbled" in bad else text
        asked += f"\n{s}: {text}"
        marked[s] = (assess(scene, question, text).marks, claims(scene, question, text))
    if kind == "refine":
        named = " ".join(d for d in DIMENSIONS if not marked[side][0][d]) or "nothing"
        return f"{asked}\nfix {named}.", compose(scene, question)
    if kind == "check":
        others = rng.permutation([d for d in DIMENSIONS if d != "accuracy"])[: int(rng.integers(0, 5))]
        dimensions = [d for d in DIMENSIONS if d == "accuracy" or d in others]  # what judges find hardest, always
        answer = json.dumps(rubric.rationale(seen(scene, question), marked, dimensions), ensure_ascii=False)[1:-1]
        return f"{asked}\ncheck {' '.join(dimensions)}.", answer
    note = " score first" if rng.random() < 0.2 else ""
    grade = {
        "reasoning": f"<think>{rubric.rationale(seen(scene, question), {side: marked[side]})}</think>",
        f"score_{side}": Assessment(marked[side][0]).score,
    }
    answer = dict(reversed(grade.items()) if note else grade)
    return f"{asked}\njudge {side}{note}.", json.dumps(answer, ensure_ascii=False)


def ask_check(scene: Scene, question: Question, accurate: bool, rng: np.random.Generator) -> tuple[str, bool]:
    """Ask whether a response that is accurate, or is not, is accurate; returns the question and the truth."""
    faults = draw_faults(rng) - {"accuracy", "evidence", "relevance", "garbled"}
    wrong = "evidence" if rng.random() < ASKED_EVIDENCE and "reasoning" not in faults else "accuracy"
    text = compose(scene, question, faults if accurate else faults | {wrong}, rng)
    return f"{question.text}\nA: {text}\ncheck accuracy.", assess(scene, question, text).marks["accuracy"]


def garble(text: str, rng: np.random.Generator) -> str:
    """Write a text as a generator that lost its thread: some words are left out, or others stand in their place."""
    words = text.split()
    at = int(rng.integers(1, len(words)))
    end = min(len(words), at + int(rng.integers(1, 4)))
    strange = [WORDS[int(i)] for i in rng.integers(len(WORDS), size=int(rng.integers(0, 4)))]
    rest = words[end:] if rng.random() < 0.7 else words[at:]
    return " ".join([*words[:at], *strange, *rest])


def draw_faults(rng: np.random.Generator) -> set[str]:
    """Draw the defects of a response: as `compose` takes them, and "garbled"."""
    faults = {d for d, chance in CURRICULUM["faults"].items() if rng.random() < chance}
    only_evidence = rng.random() < EVIDENCE and "accuracy" in faults and "reasoning" not in faults
    return faults - {"accuracy"} | {"evidence"} if only_evidence else faults


def state_scores(rng: np.random.Generator) -> tuple[str, str]:
    """Write any two scores and the winner that they name in the judgement's notation; equal scores name none.

    The scores are not given in the question: a winner must be read off the judgement itself, as judges have to. They
    are anyone's guess, so that their numbers take no loss (`bare_scores`): it would be noise.
    """
    a, b = (int(x) for x in rng.integers(0, 11, 2))
    apart = rng.random()  # equal scores and near ones are those that a judge confuses
    if apart < 0.5:
        b = a if apart < 0.3 else min(10, a + 1)
    if rng.random() >= 0.5:
        a, b = b, a
    note = " score first" if rng.random() < 0.5 else ""
    return f"{SCORES}{note}.", rubric.notation("seen: ", a, b, FORMATS[note])


def corpus(scenes_: list[Scene], rng: np.random.Generator) -> list[str]:
    """Return raw text that covers the world's words, for training the tokenizer."""
    lines = []
    for scene in scenes_:
        for question in questions(scene):
            for phase in ("plain", "respond"):
                lines += exchange(scene, question, rng, CURRICULUM["phases"][phase]["skills"])
    return lines
