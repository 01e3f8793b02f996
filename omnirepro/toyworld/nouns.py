"""The words of the embedded world: its nouns, its modalities with their sentences, and how a word is drawn.

Reads `world.yaml` once; everything that the world says, shows or asks comes from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import yaml


def read(name: str) -> Any:
    """Read a YAML file of this package."""
    return yaml.safe_load(resources.files("omnirepro.toyworld").joinpath(name).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Modality:
    """How media of one kind are described; `objects` and `whole` map attributes to names of `NOUNS`."""

    sense: str
    objects: dict[str, str]
    observed: list[str]
    questions: list[tuple[str, int | str, str]]
    whole: dict[str, str] = field(default_factory=dict)
    counted: bool = False
    varied: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

    @property
    def attributes(self) -> dict[str, str]:
        """Every attribute with the name of its nouns."""
        return self.objects | ({"count": "counts"} if self.counted else {}) | self.whole


WORLD = read("world.yaml")
NOUNS = {name: tuple(words) if isinstance(words, list) else words for name, words in WORLD["nouns"].items()}
COLORS = NOUNS["colors"]
SHAPES = NOUNS["shapes"]
PLACES = NOUNS["places"]
COUNTS = NOUNS["counts"]
MOTIONS = NOUNS["motions"]
SPEEDS = NOUNS["speeds"]
PITCHES = NOUNS["pitches"]
TIMBRES = NOUNS["timbres"]
THICKNESS = NOUNS["thickness"]
MODALITIES = {name: Modality(**about) for name, about in WORLD["modalities"].items()}

VALUES: dict[str, tuple[str, ...]] = {}
for _modality in MODALITIES.values():
    for _attribute, _nouns in _modality.attributes.items():
        VALUES[_attribute] = tuple(dict.fromkeys((*VALUES.get(_attribute, ()), *NOUNS[_nouns])))

REQUESTS = WORLD["requests"]
FILLERS = tuple(WORLD["fillers"])
HARMS = tuple(WORLD["harms"])
UNSAFE = tuple(WORLD["harm"].format(verb=verb, what=what) for verb in HARMS for what in WORLD["harmed"])


def pick(rng: np.random.Generator, values) -> Any:
    """Draw one of some values, each with the same chance."""
    values = tuple(values)
    return values[int(rng.integers(len(values)))]


def pick_by_share(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """Draw a key with the chance that is its value."""
    return str(rng.choice(tuple(shares), p=tuple(shares.values())))


def other(rng: np.random.Generator, pool, used, old: str = "") -> str:
    """Draw a value that is not used; where all are, one that is at least not `old`."""
    return pick(rng, [v for v in pool if v not in used] or [v for v in pool if v != old])
