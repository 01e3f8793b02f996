"""How a backbone learns the embedded world: rendered scenes, batches of single-response skills, the gate it must pass.

Consumes a model, its processor and the section `backbone`; produces losses and the gate's answers. No conversation
compares two responses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS, Part
from omnirepro.models.device import quiet, seed_all
from omnirepro.models.processing import Example
from omnirepro.toyworld.language import compose, questions
from omnirepro.toyworld.looks import media_part, sample_look
from omnirepro.toyworld.nouns import pick, pick_by_share
from omnirepro.toyworld.pretraining import skills
from omnirepro.toyworld.pretraining.loop import Pretrainer
from omnirepro.toyworld.scenes import Scene
from omnirepro.toyworld.tasks import MODALITIES, sample_scene
from omnirepro.train.run import Run

KINDS = (*MODALITIES, "views3d")
PLAIN = 0.9  # chance of a prompt's brightness and size; responses that are media are also dim or small
Pool = dict[str, list[tuple[Scene, Part]]]


@contextmanager
def rendered(run: Run) -> Iterator[tuple[Pool, Pool]]:
    """Seed everything and render the scenes for training and those for the gate; their files last as the context."""
    p = run.section("backbone")
    quiet()
    seed_all(run.seed)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"train": p["pool"], "dev": p["gate_scenes"]}
        train, held_out = (make_pool(Path(folder) / split, split, n, run.seed) for split, n in sizes.items())
        yield train, held_out


def loss_table(phases: dict[str, list[float]]) -> str:
    """Write the losses of each phase as CSV (phase, step, loss)."""
    rows = [(phase, i, x) for phase, losses in phases.items() for i, x in enumerate(losses, 1)]
    return pd.DataFrame(rows, columns=["phase", "step", "loss"]).round(4).to_csv(index=False)


def make_pool(folder: Path, split: str, n: int, seed: int) -> Pool:
    """Render `n` scenes of each modality, solids among them, to files; the scenes are of the split."""
    rng = np.random.default_rng([seed, *split.encode(), 7])
    pool: Pool = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for i in range(n):
            scene = sample_scene(kind, split, rng)
            look = sample_look(kind, rng, PLAIN)
            pool[kind].append((scene, media_part(scene, look, folder / kind / str(i), rng)))
    return pool


class Trainer(Pretrainer):
    """Teaches single-response skills; with `spoil`, answers with that share of defects on each dimension instead.

    `early` is the share of the steps that teach seeing; the parameters' own where it is None.
    """

    turns = skills.CURRICULUM["turns"]
    first = skills.CURRICULUM["early"]

    def __init__(self, model, processor, pool: Pool, run: Run, total: int, lr: float, spoil=None, early=None):
        super().__init__(model, processor, run, total, lr)
        self.pool = pool
        self.spoil = spoil
        self.early = self.p["early_share"] if early is None else early

    def _batch(self, step: int) -> list[Example]:
        """Return the examples of a step, all of one phase: its rows have like lengths."""
        rng = np.random.default_rng([self.run.seed, step, self.total])
        if self.spoil is not None:
            phase = "plain"
        elif step < self.early * self.total:
            phase = pick_by_share(rng, self.first)
        elif rng.random() < self.p["several_media"]:
            phase = "several"
        else:
            phase = pick_by_share(rng, skills.CURRICULUM["later"])
        kinds = [kind for kind, n in self.turns[phase].items() for _ in range(n)]
        rows = max(1, round(self.p["batch"] * skills.CURRICULUM["rows"].get(phase, 1)))
        begin = step * rows  # of a small batch each takes the next kinds
        chats = [self._chat(kinds[(begin + i) % len(kinds)], rng, phase) for i in range(rows)]
        examples = [self.processor.encode(chat, train=True) for chat in chats]
        return [skills.cut(example, self.p["length"]) for example in examples]

    def _chat(self, kind: str, rng: np.random.Generator, phase: str) -> list[dict]:
        """Draw a conversation about a medium of a kind, others beside it where the phase is about several."""
        if kind == "scores":
            return skills.bare_scores(rng)
        others = rng.choice(KINDS, size=int(rng.integers(1, 4))) if phase == "several" else ()
        media = [pick(rng, self.pool[k]) for k in (kind, *others)]
        if phase == "caption":
            return skills.caption(*media[0])
        if self.spoil is None:
            return skills.conversation(media, rng, phase)
        scene, part = media[0]
        question = pick(rng, questions(scene))
        bad = {d for d in DIMENSIONS if rng.random() < self.spoil}
        return [*skills.ask(part, question.text), skills.say("assistant", compose(scene, question, bad, rng))]


def save(model, processor, folder: Path) -> None:
    """Write a model and its processor into a folder."""
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
