"""The small language of the embedded world: questions, free-text answers, defects, and the oracle.

Consumes a `Scene`; produces questions with exactly one answer, the facts of their target, answers of the form "the
color is red because i see a red circle top-left.", answers spoiled on any of the five rubric dimensions, and `assess`,
which scores any text deterministically on those dimensions and 0-10 overall (Omni-RRM's rubric and scale).

Departure: the paper scores by a teacher's impression; here each failed dimension costs fixed points
(fluency 1, reasoning 2, relevance 3, accuracy 4, safety 5), which reproduces its bands for 0, 1 and many defects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from omnirepro.data import DIMENSIONS
from omnirepro.toyworld.nouns import COUNTS, FILLERS, HARMS, MODALITIES, NOUNS, PITCHES, UNSAFE, VALUES, other, pick
from omnirepro.toyworld.scenes import Scene, observations

PENALTY = {"fluency": 1, "relevance": 3, "accuracy": 4, "reasoning": 2, "safety": 5}
SENSE = {name: about.sense for name, about in MODALITIES.items()}
QUOTED = ("relevance", "accuracy")
ANSWER = re.compile(
    rf"the (?P<attribute>{'|'.join(VALUES)}) is (?P<value>{'|'.join(sorted(set().union(*VALUES.values())))})"
    r"(?P<clause> because i (?P<sense>see|hear|read) (?P<basis>.+))?"
)
_EVIDENCE = {}
for _modality, _about in MODALITIES.items():
    _words = {attribute: f"(?:{'|'.join(NOUNS[nouns])})" for attribute, nouns in _about.attributes.items()}
    if "pitch" in _words:  # a sound's beeps are one observation
        _words["pitch"] += f"(?: {_words['pitch']})*"
    _EVIDENCE[_modality] = re.compile("|".join(form.format(**_words) for form in _about.observed))


@dataclass(frozen=True)
class Question:
    """A question about one attribute of one target (an index into the scene's objects; -1: last, or the whole)."""

    attribute: str
    target: int
    text: str = ""


def questions(scene: Scene) -> list[Question]:
    """List every question that has exactly one answer in the scene."""
    forms = MODALITIES[scene.modality].questions
    once = [Question(*form) for form in forms if form[1] != "each"]
    each = [(attribute, text) for attribute, target, text in forms if target == "each"]
    numbers = range(len(scene.objects))
    return once + [Question(attribute, i, text.format(**scene.named(i))) for i in numbers for attribute, text in each]


def facts(scene: Scene, target: int) -> dict[str, str]:
    """Map each attribute of a target to its true value; in a film, motion and speed are the first object's."""
    known = scene.named(target)
    if scene.modality == "video" and target != 0:
        return {attribute: known[attribute] for attribute in MODALITIES["video"].objects}
    return known | ({"count": COUNTS[len(scene.objects)]} if MODALITIES[scene.modality].counted else {})


def evidence(scene: Scene, question: Question) -> str:
    """Return the observation that supports the answer; a count rests on all of them."""
    observed = observations(scene)
    if question.attribute == "count" or scene.modality == "audio":
        return " and ".join(observed)
    return observed[question.target]


def seen(scene: Scene, question: Question) -> str:
    """Return what a rationale notes first: the true value and the observation behind it."""
    return f"{facts(scene, question.target)[question.attribute]}, {evidence(scene, question)}"


def alter(scene: Scene, question: Question, rng: np.random.Generator) -> Scene:
    """Return a scene in which the asked fact, and only it, is another."""
    about = MODALITIES[scene.modality]
    attribute = question.attribute
    objects = list(scene.objects)
    if attribute == "count":
        if len(objects) > 1 and rng.random() < 0.5:
            return replace(scene, objects=scene.objects[:-1])
        return add_object(scene, rng)
    if attribute in about.whole:
        values = zip(about.whole, scene.extra, strict=True)
        return replace(scene, extra=tuple(other(rng, VALUES[a], (v,)) if a == attribute else v for a, v in values))
    old = facts(scene, question.target)[attribute]
    if attribute == "pitch":
        objects[question.target] = other(rng, PITCHES, (old,))
    else:
        new = other(rng, NOUNS[about.objects[attribute]], [v for o in objects for v in o], old)
        objects[question.target] = tuple(new if v == old else v for v in objects[question.target])
    return replace(scene, objects=tuple(objects))


def add_object(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return a picture with one more object, unlike the others in everything, or a sound with one more beep."""
    if scene.modality == "audio":
        return replace(scene, objects=(*scene.objects, other(rng, PITCHES, ())))
    used = [v for o in scene.objects for v in o]
    new = tuple(other(rng, NOUNS[nouns], used) for nouns in MODALITIES["image"].objects.values())
    return replace(scene, objects=(*scene.objects, new))


def misstate(scene: Scene, question: Question, rng: np.random.Generator) -> Scene:
    """Return a scene in which another fact of the asked target is another, and the answer to the question is not."""
    others = [a for a in facts(scene, question.target) if a not in (question.attribute, "count")]
    if scene.modality == "audio":  # every pitch is part of the evidence, whichever is asked about
        others = ["timbre"] if question.attribute == "pitch" else ["pitch"]
    return alter(scene, replace(question, attribute=pick(rng, others)), rng)


# ---- answers


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
        at = pick(rng, [i for i, w in enumerate(words) if w not in PITCHES])
        answer = " ".join([*words[: at + 1], *words[at:]])
    if "safety" in defects:
        answer += ". " + pick(rng, UNSAFE)[:-1]
    return answer + "."


def stated(text: str) -> str | None:
    """Return what an answer states, as "color red"; None where it has no such sentence. Needs no truth."""
    found = ANSWER.search(_sentence(text)[0])
    return found and f"{found['attribute']} {found['value']}"


def claims(scene: Scene, question: Question, text: str) -> dict[str, str]:
    """Quote what an answer states: its attribute, for relevance; its first false word and the true one, for accuracy.

    Where nothing is false, the quote for accuracy is the value, twice.
    """
    found = ANSWER.search(_sentence(text)[0])
    if not found:
        return dict.fromkeys(QUOTED, "none")
    value = found["value"]
    true = facts(scene, question.target).get(found["attribute"], "none")
    false = _first_false(scene, found["basis"]) if value == true else None
    return {"relevance": found["attribute"], "accuracy": " is ".join(false or (value, true))}


def assess(scene: Scene, question: Question, text: str) -> Assessment:
    """Score any text on the five dimensions against the scene's truth; never raises."""
    sentence, words, once = _sentence(text)
    safe = not set(words) & set(HARMS)
    found = ANSWER.fullmatch(sentence) or ANSWER.search(sentence)
    if not found:
        return Assessment(dict.fromkeys(DIMENSIONS, False) | {"safety": safe})
    attribute = found["attribute"]
    observed = _observed(scene, found["basis"])
    true = facts(scene, question.target).get(attribute) == found["value"]
    marks = {
        "fluency": found[0] == sentence and once == words and bool(observed or not found["basis"]),
        "relevance": attribute == question.attribute,
        "accuracy": true and _first_false(scene, found["basis"]) is None,
        "reasoning": bool(observed) and _supports(scene, question, attribute, found["value"], observed),
        "safety": safe,
    }
    return Assessment(marks)


def _sentence(text: str) -> tuple[str, list[str], list[str]]:
    """Return the answer without repetitions, fillers and unsafe ending; its words; the words without repetitions."""
    words = re.findall(r"[a-z\-]+|[.,?]", text.lower())
    once = [w for i, w in enumerate(words) if i == 0 or w != words[i - 1] or w in PITCHES]
    sentence = " ".join(once).replace(" ,", ",").replace(" .", ".")
    sentence = re.sub(r"\.? ?go and \w+ \w+\.?$", "", sentence).strip(" .")
    for filler in FILLERS:
        sentence = sentence.removeprefix(filler).strip()
    return sentence, words, once


def _observed(scene: Scene, basis: str | None) -> list[str]:
    """Return the observations that evidence states; none where one of them is not of the world's form."""
    observed = basis.split(" and ") if basis else []
    return observed if all(_EVIDENCE[scene.modality].fullmatch(o) for o in observed) else []


def _first_false(scene: Scene, basis: str | None) -> tuple[str, str] | None:
    """Return the first false word of the evidence and what is true instead; None where all is true or ill formed."""
    true = [o.split() for o in observations(scene)]
    for words in (o.split() for o in _observed(scene, basis)):
        if words not in true:
            nearest = max(true, key=lambda o: sum(a == b for a, b in zip(words, o, strict=False)))
            return next((a, b) for a, b in zip_longest(words, nearest, fillvalue="none") if a != b)
    return None


def _supports(scene: Scene, question: Question, attribute: str, value: str, observed: list[str]) -> bool:
    """Tell whether the evidence, true or not, implies the stated value."""
    words = " ".join(observed).split()
    pitches = [w for w in words if w in PITCHES]
    if attribute == "count":
        number = len(pitches) if scene.modality == "audio" else len(observed)
        return COUNTS[number : number + 1] == (value,)
    if attribute == "pitch":
        return bool(pitches) and pitches[question.target] == value
    return value in words
