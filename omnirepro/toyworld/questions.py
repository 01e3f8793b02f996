"""Questions about scenes: what can be asked, what is true, what may be stated as evidence, and what would be false.

Consumes a `Scene`; produces questions with exactly one answer, the facts of their target, and altered scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

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
    passage,
)

COUNTS = ("zero", "one", "two", "three", "four", "five")
VALUES = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "place": (*PLACES, *SPOTS),
    "count": COUNTS,
    "motion": tuple(MOTIONS),
    "speed": tuple(SPEEDS),
    "pitch": tuple(PITCHES),
    "timbre": TIMBRES,
    "owner": NAMES,
    "thing": THINGS,
    "time": TIMES,
    "side": tuple(COLORS),
    "thickness": tuple(THICKNESS),
}


@dataclass(frozen=True)
class Question:
    """A question about one attribute of one target (an index into the scene's objects; -1: last, or the whole)."""

    attribute: str
    target: int
    text: str


def questions(scene: Scene) -> list[Question]:
    """List every question that has exactly one answer in the scene."""
    return _ASK[scene.modality](scene)


def _ask_image(scene: Scene) -> list[Question]:
    asked = [Question("count", -1, "how many objects are there?")]
    for i, (color, shape, _) in enumerate(scene.objects):
        asked += [
            Question("color", i, f"what color is the {shape}?"),
            Question("shape", i, f"what shape is the {color} one?"),
            Question("place", i, f"where is the {shape}?"),
        ]
    return asked


def _ask_video(scene: Scene) -> list[Question]:
    return [
        Question("motion", 0, "which way does it move?"),
        Question("speed", 0, "how fast does it move?"),
        *(
            Question(a, i, f"what {a} is the {w} one?")
            for i, w in enumerate(("moving", "still"))
            for a in ("color", "shape")
        ),
    ]


def _ask_audio(scene: Scene) -> list[Question]:
    return [
        Question("count", -1, "how many beeps are there?"),
        Question("pitch", 0, "what is the first pitch?"),
        Question("pitch", -1, "what is the last pitch?"),
        Question("timbre", -1, "what timbre is it?"),
    ]


def _ask_text(scene: Scene) -> list[Question]:
    asked = {
        "owner": "who has it?",
        "color": "what color is it?",
        "thing": "what is it?",
        "place": "where is it?",
        "time": "when is it?",
    }
    return [Question(attribute, 0, text) for attribute, text in asked.items()]


def _ask_solid(scene: Scene) -> list[Question]:
    asked = {
        "color": "what color is its face?",
        "shape": "what shape is it?",
        "side": "what color is its side?",
        "thickness": "how thick is it?",
    }
    return [Question(attribute, 0, text) for attribute, text in asked.items()]


_ASK = {"image": _ask_image, "video": _ask_video, "audio": _ask_audio, "text": _ask_text, "views3d": _ask_solid}


def facts(scene: Scene, target: int) -> dict[str, str]:
    """Map each attribute of a target to its true value."""
    if scene.modality == "audio":
        return {"count": COUNTS[len(scene.objects)], "pitch": scene.objects[target], "timbre": scene.extra[0]}
    names = {
        "image": ("color", "shape", "place"),
        "video": ("color", "shape"),
        "views3d": ("color", "shape"),
        "text": ("owner", "color", "thing", "place", "time"),
    }[scene.modality]
    known = dict(zip(names, scene.objects[target], strict=True))
    if scene.modality == "image":
        known["count"] = COUNTS[len(scene.objects)]
    if scene.modality == "video" and target == 0:
        known |= {"motion": scene.extra[0], "speed": scene.extra[1]}
    if scene.modality == "views3d":
        known |= {"side": scene.extra[0], "thickness": scene.extra[1]}
    return known


def observations(scene: Scene) -> list[str]:
    """State each object of the scene as evidence would name it."""
    if scene.modality == "image":
        return [f"a {c} {s} {p}" for c, s, p in scene.objects]
    if scene.modality == "video":
        (mc, ms), (sc, ss) = scene.objects
        return [f"a {mc} {ms} moving {scene.extra[0]} {scene.extra[1]}", f"a still {sc} {ss}"]
    if scene.modality == "audio":
        return [f"{scene.extra[0]} {' '.join(scene.objects)}"]
    if scene.modality == "views3d":
        ((color, shape),), (side, thickness) = scene.objects, scene.extra
        return [f"a {thickness} {color} {shape} with {side} sides"]
    return [passage(scene)[:-1]]


def evidence(scene: Scene, question: Question) -> str:
    """Return the observation that supports the answer; a count rests on all of them."""
    seen = observations(scene)
    if question.attribute == "count" or scene.modality == "audio":
        return " and ".join(seen)
    return seen[question.target]


def seen(scene: Scene, question: Question) -> str:
    """Return what a rationale notes first: the true value and the observation behind it."""
    return f"{facts(scene, question.target)[question.attribute]}, {evidence(scene, question)}"


def alter(scene: Scene, question: Question, rng: np.random.Generator) -> Scene:
    """Return a scene in which the asked fact, and only it, is another."""
    attribute, target = question.attribute, question.target
    if attribute == "count":
        return _recount(scene, rng)
    if attribute in ("timbre", "motion", "speed", "side", "thickness"):
        extra = tuple(other(rng, VALUES[attribute], (v,)) if v in VALUES[attribute] else v for v in scene.extra)
        return replace(scene, extra=extra)
    objects = list(scene.objects)
    if attribute == "pitch":
        objects[target] = other(rng, VALUES["pitch"], (objects[target],))
        return replace(scene, objects=tuple(objects))
    old = facts(scene, target)[attribute]
    pool = (
        PLACES
        if attribute == "place" and scene.modality == "image"
        else SPOTS
        if attribute == "place"
        else VALUES[attribute]
    )
    new = other(rng, pool, [v for o in scene.objects for v in o], old)
    objects[target] = tuple(new if v == old else v for v in objects[target])
    return replace(scene, objects=tuple(objects))


def misstate(scene: Scene, question: Question, rng: np.random.Generator) -> Scene:
    """Return a scene in which another fact of the asked target is another, and the answer to the question is not."""
    others = [a for a in facts(scene, question.target) if a not in (question.attribute, "count")]
    if scene.modality == "audio":  # every pitch is part of the evidence, whichever is asked about
        others = ["timbre"] if question.attribute == "pitch" else ["pitch"]
    return alter(scene, replace(question, attribute=others[int(rng.integers(len(others)))]), rng)


def _recount(scene: Scene, rng: np.random.Generator) -> Scene:
    objects = scene.objects
    if len(objects) > 1 and rng.random() < 0.5:
        return replace(scene, objects=objects[:-1])
    if scene.modality == "audio":
        return replace(scene, objects=(*objects, other(rng, PITCHES, ())))
    used = [v for o in objects for v in o]
    return replace(scene, objects=(*objects, tuple(other(rng, pool, used) for pool in (COLORS, SHAPES, PLACES))))


def other(rng: np.random.Generator, pool, used, old: str = "") -> str:
    """Draw a value that is not used; where all are, one that is at least not `old`."""
    free = [v for v in pool if v not in used] or [v for v in pool if v != old]
    return free[int(rng.integers(len(free)))]
