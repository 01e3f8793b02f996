"""What is asked in the nine tasks, and candidate responses to it as facts, before anything is rendered.

Produces a `Subject` (scene of a split, with a question, an edit or a request) and responses to it. Both responses to a
subject are drawn alike, and what can be wrong is wrong in both directions equally often: a count of one is answered by
two as often as two by one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from omnirepro.data import DIMENSIONS
from omnirepro.toyworld.facts import Facts, Made, Said
from omnirepro.toyworld.language import Question, add_object, alter, compose, questions
from omnirepro.toyworld.looks import sample_look
from omnirepro.toyworld.nouns import COLORS, FILLERS, MODALITIES, PLACES, REQUESTS, SHAPES, other, pick
from omnirepro.toyworld.scenes import Scene, observations, passage
from omnirepro.toyworld.tasks import sample_scene

ABOUT = {"T2T": "text", "TI2T": "image", "TV2T": "video", "TA2T": "audio", "TI2I": "image"}
MAKES = {"T2I": "image", "T2V": "video", "T2A": "audio", "T23D": "views3d", "TI2I": "image"}
PICTURED = tuple(MODALITIES["image"].objects)
SPOILED = 0.35  # chance that a text fails a dimension
PADDED = 0.35  # chance that a text has an opening
WRONG = 0.35  # chance that a medium gets an aspect wrong
PLAIN = 0.6  # chance of the plain light and of the plain size
EDITED = 0.6  # chance that an edit is made
FLAWED = 0.25  # chance that one view of a solid is odd, and that one is empty


@dataclass(frozen=True)
class Subject:
    """What is asked: a question about `scene`, a request for `scene`, or the edit that turns `given` into `scene`."""

    task: str
    scene: Scene
    question: Question | None = None
    given: Scene | None = None

    @property
    def source(self) -> Scene:
        """The scene that belongs to the split."""
        return self.given or self.scene

    @property
    def text(self) -> str:
        """The prompt's words; a text scene stands before its question."""
        if self.question:
            return f"{passage(self.scene)}\n{self.question.text}" if self.task == "T2T" else self.question.text
        if self.given is None:
            return REQUESTS["make"].format(observed=" and ".join(observations(self.scene)))
        attribute, target = _edited(self.given, self.scene)
        if attribute != "count":
            new = self.scene.named(target)[attribute]
            return REQUESTS[attribute].format(new=new, **self.given.named(target))
        if len(self.scene.objects) > len(self.given.objects):
            return REQUESTS["add"].format(observed=observations(self.scene)[-1])
        return REQUESTS["remove"].format(**self.given.named(-1))


def draw_subject(task: str, split: str, rng: np.random.Generator) -> Subject:
    """Draw what is asked, about a scene of the split."""
    modality = ABOUT.get(task) or MAKES[task]
    numbers = MODALITIES[modality].numbers if task in MAKES else ()
    wanted = pick(rng, numbers) if numbers else None
    while True:
        scene = sample_scene(modality, split, rng)
        if wanted is None or wanted == len(scene.objects):
            break
    if task == "TI2I":
        return Subject(task, _change(scene, pick(rng, MODALITIES["image"].varied), rng), given=scene)
    return Subject(task, scene, pick(rng, questions(scene)) if task in ABOUT else None)


def draw_response(subject: Subject, rng: np.random.Generator) -> Facts:
    """Draw one response to a subject, with faults of every kind."""
    if subject.question:
        defects = {d for d in DIMENSIONS if rng.random() < SPOILED}
        text = compose(subject.scene, subject.question, defects, rng)
        opening = pick(rng, FILLERS) + " " if rng.random() < PADDED else ""
        return Said(subject.scene, subject.question, opening + text)
    shown = _misedit(subject, rng) if subject.given else vary(subject.scene, rng)
    return Made(subject.scene, shown, sample_look(subject.scene.modality, rng, PLAIN, FLAWED), subject.given)


def vary(scene: Scene, rng: np.random.Generator) -> Scene:
    """Change each aspect of a scene with the same chance."""
    for aspect in MODALITIES[scene.modality].varied:
        if rng.random() < WRONG:
            scene = _change(scene, aspect, rng)
    return scene


def _change(scene: Scene, aspect: str, rng: np.random.Generator) -> Scene:
    """Give a scene another value of an aspect; another count is one that requests have."""
    if aspect == "count":
        number = other(rng, MODALITIES[scene.modality].numbers, (len(scene.objects),))
        scene = replace(scene, objects=scene.objects[:number])
        while len(scene.objects) < number:
            if scene.modality == "audio":  # three draws that nothing uses: seeds keep giving the responses they gave
                for pool in (COLORS, SHAPES, PLACES):
                    pick(rng, pool)
            scene = add_object(scene, rng)
        return scene
    if aspect == "still":
        return alter(scene, Question(pick(rng, ("color", "shape")), 1), rng)
    if aspect in ("first", "last"):
        return alter(scene, Question("pitch", 0 if aspect == "first" else -1), rng)
    target = int(rng.integers(len(scene.objects))) if scene.modality == "image" else 0
    return alter(scene, Question(aspect, target), rng)


def _misedit(subject: Subject, rng: np.random.Generator) -> Scene:
    """Make the edit, leave it out or miss it; sometimes change one other fact of the first object."""
    attribute, target = _edited(subject.given, subject.scene)
    if rng.random() < EDITED:
        shown = subject.scene
    elif attribute != "count" and rng.random() < 0.5:
        shown = alter(subject.scene, Question(attribute, target), rng)
    else:
        shown = subject.given
    if rng.random() < WRONG:
        free = [a for a in PICTURED if (a, 0) != (attribute, target)]
        shown = alter(shown, Question(pick(rng, free), 0), rng)
    return shown


def _edited(given: Scene, wanted: Scene) -> tuple[str, int]:
    """Return the attribute and the object that an edit changes."""
    for i, (old, new) in enumerate(zip(given.objects, wanted.objects, strict=False)):
        for attribute, a, b in zip(PICTURED, old, new, strict=True):
            if a != b:
                return attribute, i
    return "count", -1
