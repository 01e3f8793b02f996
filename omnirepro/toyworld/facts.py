"""What is true of one response, and of what was asked: all that a criterion may look at.

`Said` is a text about a scene, `Made` a medium made on request. Their numbers (`follows`, `edited`, `kept`) count
wanted facts that hold, so that criteria compare them and equal counts are ties.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from omnirepro.data import Pair, text_of
from omnirepro.toyworld.language import Assessment, Question, assess
from omnirepro.toyworld.looks import Look
from omnirepro.toyworld.nouns import PITCHES
from omnirepro.toyworld.scenes import Scene, scene_from


@dataclass(frozen=True)
class Said:
    """A text response, with the scene and the question it is about."""

    scene: Scene
    question: Question
    text: str

    @cached_property
    def marks(self) -> dict[str, bool]:
        """The five rubric dimensions, by the world's oracle."""
        return assess(self.scene, self.question, self.text).marks

    @cached_property
    def words(self) -> list[str]:
        return re.findall(r"[a-z\-]+", self.text.lower())

    @property
    def score(self) -> int:
        """The world's preference where no criterion is given, 0-10."""
        return Assessment(self.marks).score


@dataclass(frozen=True)
class Made:
    """A media response: the facts that were wanted, those it shows, its look and, for an edit, the given scene."""

    wanted: Scene
    shown: Scene
    look: Look
    given: Scene | None = None

    @property
    def pitches(self) -> list[int]:
        """The places of a sound's pitches in their order from low to high."""
        return [list(PITCHES).index(pitch) for pitch in self.shown.objects]

    def follows(self, aspect: str) -> int:
        """Count the wanted values of an aspect that are shown."""
        return (Counter(aspects(self.wanted)[aspect]) & Counter(aspects(self.shown)[aspect])).total()

    @property
    def whole(self) -> bool:
        """Whether every wanted fact is shown, and nothing else."""
        return aspects(self.wanted) == aspects(self.shown)

    @cached_property
    def _cells(self) -> tuple[dict, dict, dict]:
        """The facts of the given, the wanted and the shown picture, by object and position in its tuple."""
        pictures = (self.given or self.wanted, self.wanted, self.shown)
        return tuple({(i, k): v for i, o in enumerate(s.objects) for k, v in enumerate(o)} for s in pictures)

    @property
    def edited(self) -> int:
        """Whether the change that was asked for was made (1) or not (0)."""
        given, wanted, shown = self._cells
        if len(given) != len(wanted):
            return int(len(shown) == len(wanted))
        return int(all(shown.get(at) == v for at, v in wanted.items() if given[at] != v))

    @property
    def kept(self) -> int:
        """Minus the number of things that changed though nobody asked: facts of the given picture, light and size."""
        given, wanted, shown = self._cells
        look = (self.look.light != 1.0) + (self.look.size != 1.0)
        return -look - sum(shown.get(at) != v for at, v in given.items() if wanted.get(at) == v)

    @property
    def score(self) -> int:
        """The world's preference where no criterion is given, 0-10: the share of what was wanted."""
        if self.given is not None:
            return max(0, 5 * self.edited + 5 + 2 * self.kept)
        held = [self.follows(a) / len(v) for a, v in aspects(self.wanted).items()]
        return max(0, round(10 * sum(held) / len(held)) - 3 * (self.look.odd + self.look.empty))


Facts = Said | Made


def aspects(scene: Scene) -> dict[str, tuple]:
    """Map each aspect that a request can fix to its values."""
    if scene.modality == "image":
        columns = zip(("color", "shape", "place"), zip(*scene.objects, strict=True), strict=True)
        return {name: tuple(sorted(values)) for name, values in columns} | {"count": (len(scene.objects),)}
    if scene.modality == "audio":
        ends = {"first": scene.objects[:1], "last": scene.objects[-1:]}
        return ends | {"count": (len(scene.objects),), "timbre": scene.extra}
    known = {name: (value,) for name, value in scene.named(0).items()}
    return known | ({"still": scene.objects[1]} if scene.modality == "video" else {})


def store(a: Facts, b: Facts) -> dict[str, Any]:
    """Return the facts of both responses in JSON form, for a pair's `meta`; keys of one side end in _a or _b.

    It holds lists for tuples, so that a row equals itself when it is read again.
    """
    if isinstance(a, Said):
        found = {"scene": asdict(a.scene), "question": asdict(a.question)}
    else:
        found = {"scene": asdict(a.wanted)} | ({"given": asdict(a.given)} if a.given else {})
        for side, made in (("a", a), ("b", b)):
            found[f"shown_{side}"] = {"scene": asdict(made.shown), "look": asdict(made.look)}
    return json.loads(json.dumps(found))


def has_facts(pair: Pair) -> bool:
    """Whether a pair stores the facts of the world that it is about."""
    return "scene" in (pair.meta or {})


def facts_of(pair: Pair) -> tuple[Facts, Facts]:
    """Return the facts of both responses of a pair of the world. Raises KeyError for a pair that stores none."""
    meta = pair.meta or {}
    scene = scene_from(meta["scene"])
    if "question" in meta:
        question = Question(**meta["question"])
        return Said(scene, question, text_of(pair.response_a)), Said(scene, question, text_of(pair.response_b))
    given = scene_from(meta["given"]) if "given" in meta else None
    sides = (meta["shown_a"], meta["shown_b"])
    return tuple(Made(scene, scene_from(s["scene"]), Look(**s["look"]), given) for s in sides)
