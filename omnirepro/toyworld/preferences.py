"""Pairs under the world's own preference, without a criterion, in all nine tasks (GRM-Omni, Table 5 in small).

Produces `Pair` rows with media on disk, a decided label and a margin in points of the world's 0-10 scale: what judges
of GRM-Omni are trained and tested on. Scenes belong to their split, as everywhere in the world.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from omnirepro.data import Pair, Part, text_part
from omnirepro.toyworld.bench import contrast
from omnirepro.toyworld.candidates import ABOUT, draw_response, draw_subject
from omnirepro.toyworld.criteria import TASKS
from omnirepro.toyworld.facts import Facts, Said, store
from omnirepro.toyworld.looks import Look, media_part


def make_preferences(folder: Path, split: str, per_task: int, seed: int, tasks: tuple[str, ...] = TASKS) -> list[Pair]:
    """Write the media of `per_task` pairs a task below `folder` and return the pairs; A is preferred in every other.

    Both responses are drawn alike; a pair and its bulk contrast (length, or light, size and number) are drawn before
    the label, so that neither longer nor brighter responses are better as a rule.
    """
    pairs = []
    for task in tasks:
        rng = np.random.default_rng([seed, *f"preferences {split} {task}".encode()])
        for i in range(per_task):
            pairs.append(_pair(Path(folder), f"{task}-{split}-p{i:05d}", task, split, "AB"[i % 2], seed, rng))
    return pairs


def _pair(folder: Path, name: str, task: str, split: str, label: str, seed: int, rng: np.random.Generator) -> Pair:
    subject, a, b = _draw(task, split, label, rng)
    stem = folder / task / sha256(f"{seed} {name}".encode()).hexdigest()[:16]
    shown = ABOUT.get(task, "text") != "text"
    prompt = [media_part(subject.source, Look(), stem.with_name(f"{stem.name}-prompt"), rng)] if shown else []
    sides = [_part(f, stem.with_name(f"{stem.name}-{i}"), rng) for i, f in enumerate((a, b))]
    about = {"score_a": a.score, "score_b": b.score} | store(a, b)
    return Pair(
        id=name, task=task, prompt=[*prompt, text_part(subject.text)], response_a=[sides[0]],
        response_b=[sides[1]], label=label, margin=float(abs(a.score - b.score)), source="world",
        cluster=subject.source.key()[:12], meta=about,
    )  # fmt: skip


def _draw(task: str, split: str, label: str, rng: np.random.Generator) -> tuple:
    """Draw how two responses contrast in bulk first, then responses with that contrast that bear out the label."""
    while True:
        subject = draw_subject(task, split, rng)
        target = contrast(draw_response(subject, rng), draw_response(subject, rng))
        for _ in range(60):
            a, b = draw_response(subject, rng), draw_response(subject, rng)
            if contrast(a, b) == target and (a.score > b.score) - (a.score < b.score) == (1 if label == "A" else -1):
                return subject, a, b


def _part(facts: Facts, stem: Path, rng: np.random.Generator) -> Part:
    return text_part(facts.text) if isinstance(facts, Said) else media_part(facts.shown, facts.look, stem, rng)
