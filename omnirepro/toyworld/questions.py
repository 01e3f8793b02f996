"""Questions about scenes: what can be asked, what is true, what may be stated as evidence, and what would be false.

Consumes a `Scene`; produces questions with exactly one answer, the facts of their target, and altered scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from omnirepro.toyworld.nouns import COLORS, COUNTS, MODALITIES, NOUNS, PITCHES, PLACES, SHAPES, VALUES, other, pick
from omnirepro.toyworld.scenes import Scene, observations


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
    return replace(scene, objects=(*scene.objects, tuple(other(rng, pool, used) for pool in (COLORS, SHAPES, PLACES))))


def misstate(scene: Scene, question: Question, rng: np.random.Generator) -> Scene:
    """Return a scene in which another fact of the asked target is another, and the answer to the question is not."""
    others = [a for a in facts(scene, question.target) if a not in (question.attribute, "count")]
    if scene.modality == "audio":  # every pitch is part of the evidence, whichever is asked about
        others = ["timbre"] if question.attribute == "pitch" else ["pitch"]
    return alter(scene, replace(question, attribute=pick(rng, others)), rng)
