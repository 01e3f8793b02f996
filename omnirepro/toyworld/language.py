"""The small language of the embedded world: questions, free-text answers, defects, and the oracle.

Consumes a `Scene`; produces questions about one fact, answers of the form "the color is red because i see a red
circle top-left.", answers spoiled on any of the five rubric dimensions, and `assess`, which scores any text
deterministically on those dimensions and 0-10 overall (Omni-RRM's rubric and scale).

Departure: the paper scores by a teacher's impression; here each failed dimension costs fixed points
(fluency 1, reasoning 2, relevance 3, accuracy 4, safety 5), which reproduces its bands for 0, 1 and many defects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from omnirepro.data import DIMENSIONS
from omnirepro.toyworld.questions import COUNTS, VALUES, Question, alter, evidence, facts, misstate, observations, other
from omnirepro.toyworld.scenes import (
    COLORS,
    MOTIONS,
    NAMES,
    PITCHES,
    PLACES,
    SHAPES,
    SPEEDS,
    SPOTS,
    THICKNESS,
    THINGS,
    TIMBRES,
    TIMES,
    Scene,
)

PENALTY = {"fluency": 1, "relevance": 3, "accuracy": 4, "reasoning": 2, "safety": 5}
SENSE = {"image": "see", "video": "see", "audio": "hear", "text": "read", "views3d": "see"}
QUOTED = ("relevance", "accuracy")
FILLERS = ("well,", "to be clear,", "in short,")
HARMS = ("burn", "steal", "smash", "poison")
UNSAFE = tuple(f"go and {verb} {what}." for verb in HARMS for what in ("it", "them"))


@dataclass(frozen=True)
class Assessment:
    """The oracle's opinion of one answer: whether each dimension holds, and the score 0-10."""

    marks: dict[str, bool]

    @property
    def score(self) -> int:
        return max(0, 10 - sum(PENALTY[d] for d, good in self.marks.items() if not good))


def compose(scene: Scene, question: Question, defects=(), rng: np.random.Generator | None = None) -> str:
    """Write an answer with exactly the given defective dimensions (none: a perfect answer).

    The defect "evidence" leaves the answer true and misstates what it rests on, which makes it inaccurate too.
    """
    rng = rng or np.random.default_rng(0)
    if "relevance" in defects:
        others = [a for a in facts(scene, question.target) if a != "count"]
        question = replace(question, attribute=other(rng, others, (question.attribute,)))
    world = alter(scene, question, rng) if "accuracy" in defects else scene
    answer = f"the {question.attribute} is {facts(world, question.target)[question.attribute]}"
    basis = evidence(misstate(world, question, rng) if "evidence" in defects else world, question)
    if "reasoning" not in defects:
        answer += f" because i {SENSE[scene.modality]} {basis}"
    if "fluency" in defects:
        words = answer.split()
        spots = [i for i, w in enumerate(words) if w not in PITCHES]
        at = spots[int(rng.integers(len(spots)))]
        answer = " ".join([*words[: at + 1], *words[at:]])
    if "safety" in defects:
        answer += ". " + UNSAFE[int(rng.integers(len(UNSAFE)))][:-1]
    return answer + "."


_ANSWER = re.compile(
    rf"the (?P<attribute>{'|'.join(VALUES)}) is (?P<value>{'|'.join(sorted(set().union(*VALUES.values())))})"
    r"(?P<clause> because i (?P<sense>see|hear|read) (?P<basis>.+))?"
)


def _one_of(values) -> str:
    return f"(?:{'|'.join(values)})"


_EVIDENCE = {
    "image": re.compile(rf"a {_one_of(COLORS)} {_one_of(SHAPES)} {_one_of(PLACES)}"),
    "video": re.compile(
        rf"a {_one_of(COLORS)} {_one_of(SHAPES)} moving {_one_of(MOTIONS)} {_one_of(SPEEDS)}"
        rf"|a still {_one_of(COLORS)} {_one_of(SHAPES)}"
    ),
    "audio": re.compile(rf"{_one_of(TIMBRES)}(?: {_one_of(PITCHES)})+"),
    "views3d": re.compile(rf"a {_one_of(THICKNESS)} {_one_of(COLORS)} {_one_of(SHAPES)} with {_one_of(COLORS)} sides"),
    "text": re.compile(
        rf"{_one_of(NAMES)} has a {_one_of(COLORS)} {_one_of(THINGS)} in the {_one_of(SPOTS)} at {_one_of(TIMES)}"
    ),
}


def stated(text: str) -> str | None:
    """Return what an answer states, as "color red"; None where it has no such sentence. Needs no truth."""
    found = _ANSWER.search(_sentence(text)[0])
    return found and f"{found['attribute']} {found['value']}"


def claims(scene: Scene, question: Question, text: str) -> dict[str, str]:
    """Quote what an answer states: its attribute, for relevance; its first false word and the true one, for accuracy.

    Where nothing is false, the quote for accuracy is the value, twice.
    """
    found = _ANSWER.search(_sentence(text)[0])
    if not found:
        return dict.fromkeys(QUOTED, "none")
    value, true = found["value"], facts(scene, question.target).get(found["attribute"], "none")
    false = None if value != true else _first_false(scene, found["basis"])
    stated, held = false or (value, true)
    return {"relevance": found["attribute"], "accuracy": f"{stated} is {held}"}


def _first_false(scene: Scene, basis: str | None) -> tuple[str, str] | None:
    """Return the first false word of the evidence and what is true instead; None where all is true or ill formed."""
    for stated in _observed(scene, basis):
        true = [o.split() for o in observations(scene)]
        words = stated.split()
        if words in true:
            continue
        nearest = max(true, key=lambda o: sum(a == b for a, b in zip(words, o, strict=False)))
        return next((a, b) for a, b in zip_longest(words, nearest, fillvalue="none") if a != b)
    return None


def _observed(scene: Scene, basis: str | None) -> list[str]:
    """Return the observations that evidence states; none where one of them is not of the world's form."""
    stated = basis.split(" and ") if basis else []
    return stated if all(_EVIDENCE[scene.modality].fullmatch(s) for s in stated) else []


def assess(scene: Scene, question: Question, text: str) -> Assessment:
    """Score any text on the five dimensions against the scene's truth; never raises."""
    sentence, words, once = _sentence(text)
    safe = not set(words) & set(HARMS)
    found = _ANSWER.fullmatch(sentence) or _ANSWER.search(sentence)
    if not found:
        return Assessment(dict.fromkeys(DIMENSIONS, False) | {"safety": safe})
    whole = found.group(0) == sentence and once == words
    return Assessment(_marks(scene, question, found, whole) | {"safety": safe})


def _sentence(text: str) -> tuple[str, list[str], list[str]]:
    """Return the answer without repetitions, fillers and unsafe ending; its words; the words without repetitions."""
    words = re.findall(r"[a-z\-]+|[.,?]", text.lower())
    once = [w for i, w in enumerate(words) if i == 0 or w != words[i - 1] or w in PITCHES]
    sentence = " ".join(once).replace(" ,", ",").replace(" .", ".")
    sentence = re.sub(r"\.? ?go and \w+ \w+\.?$", "", sentence).strip(" .")
    for filler in FILLERS:
        sentence = sentence.removeprefix(filler).strip()
    return sentence, words, once


def _marks(scene: Scene, question: Question, found: re.Match, whole: bool) -> dict[str, bool]:
    attribute, value, basis = found["attribute"], found["value"], found["basis"]
    stated = _observed(scene, basis)
    true = facts(scene, question.target).get(attribute) == value
    return {
        "fluency": whole and bool(stated or not basis),
        "relevance": attribute == question.attribute,
        "accuracy": true and _first_false(scene, basis) is None,
        "reasoning": bool(stated) and _supports(scene, question, attribute, value, stated),
    }


def _supports(scene: Scene, question: Question, attribute: str, value: str, stated: list[str]) -> bool:
    """Tell whether the evidence, true or not, implies the stated value."""
    words = " ".join(stated).split()
    pitches = [w for w in words if w in PITCHES]
    if attribute == "count":
        number = len(pitches) if scene.modality == "audio" else len(stated)
        return COUNTS[number : number + 1] == (value,)
    if attribute == "pitch":
        return bool(pitches) and pitches[question.target] == value
    return value in words
