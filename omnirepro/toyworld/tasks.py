"""Prompts of the embedded world with their truth, as files, in three splits that share no scene.

Produces `Prompt` rows with media on disk and `Truth` rows keyed by prompt id; only the oracle teachers and the
checks read the latter. A scene belongs to one split by the hash of its facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from omnirepro.data import Prompt, Row, text_part, write_jsonl
from omnirepro.toyworld.language import Assessment, Question, assess, questions
from omnirepro.toyworld.looks import Look, media_part
from omnirepro.toyworld.nouns import pick
from omnirepro.toyworld.scenes import Scene, sample, scene_from

MODALITIES = ("image", "video", "audio", "text")
SPLITS = {"train": range(0, 70), "dev": range(70, 80), "test": range(80, 100)}


class Truth(Row):
    """The facts behind one prompt, in JSON form."""

    prompt_id: str
    scene: dict[str, Any]
    question: dict[str, Any]


@dataclass(frozen=True)
class World:
    """The truths of a set of prompts; `assess` is the oracle."""

    truths: dict[str, tuple[Scene, Question]]

    @classmethod
    def from_rows(cls, rows: list[Truth]) -> World:
        return cls({r.prompt_id: (scene_from(r.scene), Question(**r.question)) for r in rows})

    def assess(self, prompt_id: str, text: str) -> Assessment:
        """Score a text on the five dimensions; raises KeyError for a prompt that is not of this world."""
        return assess(*self.truths[prompt_id], text)


def split_of(scene: Scene) -> str:
    """Return train, dev or test by the hash of the scene's facts (70, 10 and 20 % of all scenes)."""
    bucket = int(scene.key()[:8], 16) % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def sample_scene(modality: str, split: str, rng: np.random.Generator) -> Scene:
    """Draw scenes until one belongs to the split."""
    while split_of(scene := sample(modality, rng)) != split:
        pass
    return scene


def make_prompts(
    folder: Path, split: str, n: int, seed: int, modalities: Sequence[str] = MODALITIES
) -> tuple[list[Prompt], list[Truth]]:
    """Write the media of `n` prompts (modalities in turn) below `folder` and return prompts and truths.

    Prompts are distinct by content: a scene and question are asked once, while distinct ones last.
    """
    rng = np.random.default_rng([seed, *split.encode()])
    prompts = []
    truths = []
    asked = set()
    for i in range(n):
        modality = modalities[i % len(modalities)]
        for _ in range(50):
            scene = sample_scene(modality, split, rng)
            question = pick(rng, questions(scene))
            if (scene, question) not in asked:
                break
        asked.add((scene, question))
        name = f"{split}-{i:05d}"
        part = media_part(scene, Look(), Path(folder) / modality / name, rng)
        parts = [part, text_part(("\n" if modality == "text" else "") + question.text)]
        prompts.append(Prompt(id=name, task=modality, parts=parts, cluster=scene.key()[:12]))
        truths.append(Truth(prompt_id=name, scene=asdict(scene), question=asdict(question)))
    return prompts, truths


def write_world(folder: Path, sizes: Mapping[str, int], seed: int, modalities: Sequence[str] = MODALITIES) -> None:
    """Write media, prompts and truths of every split of `sizes` (split -> number of prompts) below `folder`."""
    for split, number in sizes.items():
        prompts, truths = make_prompts(folder / "media", split, number, seed, modalities)
        write_jsonl(folder / f"prompts_{split}.jsonl", prompts)
        write_jsonl(folder / f"truths_{split}.jsonl", truths)
