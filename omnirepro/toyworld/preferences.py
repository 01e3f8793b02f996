"""Pairs under the world's own preference, without a criterion, in all nine tasks (GRM-Omni, Table 5 in small).

Produces `Pair` rows with media on disk, a decided label and a margin in points of the world's 0-10 scale: what judges
of GRM-Omni are trained and tested on. Scenes belong to their split, as everywhere in the world.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from omnirepro.data import Pair
from omnirepro.judge.rubric import ranking
from omnirepro.toyworld.bench import contrast, make_pair, render
from omnirepro.toyworld.candidates import Subject, draw_response, draw_subject
from omnirepro.toyworld.criteria import TASKS
from omnirepro.toyworld.facts import Facts

TRIES = 60  # draws of two responses to one subject


def make_preferences(folder: Path, split: str, per_task: int, seed: int, tasks: tuple[str, ...] = TASKS) -> list[Pair]:
    """Write the media of `per_task` pairs a task below `folder` and return the pairs; A is preferred in every other.

    Both responses are drawn alike; a pair and its bulk contrast (length, or light, size and number) are drawn before
    the label, so that neither longer nor brighter responses are better as a rule.
    """
    pairs = []
    for task in tasks:
        rng = np.random.default_rng([seed, *f"preferences {split} {task}".encode()])
        for i in range(per_task):
            label = "AB"[i % 2]
            name = f"{task}-{split}-p{i:05d}"
            subject, a, b = _draw(task, split, label, rng)
            stem = sha256(f"{seed} {name}".encode()).hexdigest()[:16]
            stems = [Path(folder) / task / f"{stem}-{part}" for part in ("prompt", 0, 1)]
            parts = render(subject, (a, b), stems, rng)
            margin = float(abs(a.score - b.score))
            pairs.append(make_pair(subject, (a, b), parts, {}, id=name, label=label, margin=margin))
    return pairs


def _draw(task: str, split: str, label: str, rng: np.random.Generator) -> tuple[Subject, Facts, Facts]:
    """Draw how two responses contrast in bulk first, then responses with that contrast that bear out the label."""
    while True:
        subject = draw_subject(task, split, rng)
        target = contrast(draw_response(subject, rng), draw_response(subject, rng))
        for _ in range(TRIES):
            a = draw_response(subject, rng)
            b = draw_response(subject, rng)
            if contrast(a, b) == target and ranking(a.score, b.score) == label:
                return subject, a, b
