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
from omnirepro.toyworld.language import FILLERS, compose
from omnirepro.toyworld.looks import sample_look, sample_solid
from omnirepro.toyworld.questions import Question, alter, observations, other, questions
from omnirepro.toyworld.scenes import COLORS, PITCHES, PLACES, SHAPES, THICKNESS, Scene, passage
from omnirepro.toyworld.tasks import sample_scene

ABOUT = {"T2T": "text", "TI2T": "image", "TV2T": "video", "TA2T": "audio", "TI2I": "image"}
MAKES = {"T2I": "image", "T2V": "video", "T2A": "audio", "T23D": "views3d", "TI2I": "image"}
COUNTED = {"image": (1, 2), "audio": (2, 3, 4)}
SPOILED, PADDED, WRONG, PLAIN, EDITED, FLAWED = 0.35, 0.35, 0.35, 0.6, 0.6, 0.25


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
        return _instruct(self.given, self.scene) if self.given else f"make {_request(self.scene)}."


def draw_subject(task: str, split: str, rng: np.random.Generator) -> Subject:
    """Draw what is asked, about a scene of the split."""
    if task == "T23D":
        return Subject(task, sample_solid(rng, split))
    modality = ABOUT.get(task) or MAKES[task]
    counts = COUNTED.get(modality, ()) if task in MAKES else ()
    wanted = counts[int(rng.integers(len(counts)))] if counts else 0
    while wanted not in (0, len((scene := sample_scene(modality, split, rng)).objects)):
        pass
    if task == "TI2I":
        return Subject(task, _edit(scene, rng), given=scene)
    asked = questions(scene)
    return Subject(task, scene, asked[int(rng.integers(len(asked)))] if task in ABOUT else None)


def draw_response(subject: Subject, rng: np.random.Generator) -> Facts:
    """Draw one response to a subject, with faults of every kind."""
    if subject.question:
        defects = {d for d in DIMENSIONS if rng.random() < SPOILED}
        text = compose(subject.scene, subject.question, defects, rng)
        opening = FILLERS[int(rng.integers(len(FILLERS)))] + " " if rng.random() < PADDED else ""
        return Said(subject.scene, subject.question, opening + text)
    shown = _misedit(subject, rng) if subject.given else vary(subject.scene, rng)
    return Made(subject.scene, shown, sample_look(subject.scene.modality, rng, PLAIN, FLAWED), subject.given)


def vary(scene: Scene, rng: np.random.Generator) -> Scene:
    """Change each aspect of a scene with the same chance."""
    for aspect in _VARIED[scene.modality]:
        if rng.random() < WRONG:
            scene = _change(scene, aspect, rng)
    return scene


_VARIED = {
    "image": ("count", "color", "shape", "place"),
    "video": ("color", "shape", "motion", "speed", "still"),
    "audio": ("count", "first", "last", "timbre"),
    "views3d": ("color", "shape", "sides", "thickness"),
}


def _change(scene: Scene, aspect: str, rng: np.random.Generator) -> Scene:
    if scene.modality == "views3d":
        return _change_solid(scene, aspect, rng)
    if aspect == "count":
        return _recount(scene, rng)
    if aspect == "still":
        return alter(scene, Question(("color", "shape")[int(rng.integers(2))], 1, ""), rng)
    if aspect in ("first", "last"):
        return alter(scene, Question("pitch", 0 if aspect == "first" else -1, ""), rng)
    target = int(rng.integers(len(scene.objects))) if scene.modality == "image" else 0
    return alter(scene, Question(aspect, target, ""), rng)


def _change_solid(solid: Scene, aspect: str, rng: np.random.Generator) -> Scene:
    ((color, shape),), (sides, thickness) = solid.objects, solid.extra
    if aspect in ("color", "shape"):
        color = other(rng, COLORS, (color,)) if aspect == "color" else color
        shape = other(rng, SHAPES, (shape,)) if aspect == "shape" else shape
        return replace(solid, objects=((color, shape),))
    sides = other(rng, COLORS, (sides,)) if aspect == "sides" else sides
    thickness = other(rng, THICKNESS, (thickness,)) if aspect == "thickness" else thickness
    return replace(solid, extra=(sides, thickness))


def _recount(scene: Scene, rng: np.random.Generator) -> Scene:
    """Give a scene another of the counts that requests have."""
    number = other(rng, COUNTED[scene.modality], (len(scene.objects),))
    objects = scene.objects[:number]
    while len(objects) < number:
        used = [v for o in objects for v in o]
        new = [other(rng, pool, used) for pool in (COLORS, SHAPES, PLACES)]
        objects = (*objects, other(rng, PITCHES, ()) if scene.modality == "audio" else tuple(new))
    return replace(scene, objects=objects)


def _edit(scene: Scene, rng: np.random.Generator) -> Scene:
    return _change(scene, _VARIED["image"][int(rng.integers(4))], rng)


def _misedit(subject: Subject, rng: np.random.Generator) -> Scene:
    """Make the edit, leave it out or miss it; sometimes change one other fact of the first object."""
    wanted, given = subject.scene, subject.given
    attribute, target = _edited(given, wanted)
    shown = wanted if rng.random() < EDITED else given
    if shown is given and attribute != "count" and rng.random() < 0.5:
        shown = alter(wanted, Question(attribute, target, ""), rng)
    if rng.random() < WRONG:
        free = [a for a in ("color", "shape", "place") if (a, 0) != (attribute, target)]
        shown = alter(shown, Question(free[int(rng.integers(len(free)))], 0, ""), rng)
    return shown


def _edited(given: Scene, wanted: Scene) -> tuple[str, int]:
    """Return the attribute and the object that an edit changes."""
    for i, (old, new) in enumerate(zip(given.objects, wanted.objects, strict=False)):
        for attribute, a, b in zip(("color", "shape", "place"), old, new, strict=True):
            if a != b:
                return attribute, i
    return "count", -1


def _request(scene: Scene) -> str:
    if scene.modality == "views3d":
        ((color, shape),), (sides, thickness) = scene.objects, scene.extra
        return f"a {thickness} {color} {shape} with {sides} sides"
    return " and ".join(observations(scene))


def _instruct(given: Scene, wanted: Scene) -> str:
    attribute, target = _edited(given, wanted)
    if attribute == "count":
        added = len(wanted.objects) > len(given.objects)
        return f"add {observations(wanted)[-1]}." if added else f"remove the {given.objects[-1][1]}."
    old, new = given.objects[target], wanted.objects[target]
    return {
        "color": f"make the {old[1]} {new[0]}.",
        "shape": f"make the {old[0]} one a {new[1]}.",
        "place": f"move the {old[1]} to {new[2]}.",
    }[attribute]
