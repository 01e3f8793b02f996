"""The embedded backbone, trained from nothing in minutes, and two generators that contrast.

Consumes the section `backbone`; produces the folders `strong` (the backbone: every later model starts from it),
`generator` (it, tuned on answers with few defects: a capable model errs too), `weak` (an early checkpoint, tuned on
answers with many), the loss, and the gate's answers. No conversation of the training compares two responses.

To see comes first, as in released models: early batches are captions and one-word answers. Captions name all that is
in a medium in few tokens, and taught seeing in half the time that one-word answers alone took.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro import rubric
from omnirepro.models import tiny
from omnirepro.models.loading import load, point_to
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.run import Run, quiet, seed_all
from omnirepro.schema import DIMENSIONS, Part
from omnirepro.train import skills
from omnirepro.train.gate import below, gate
from omnirepro.train.pretrain import Pretrainer
from omnirepro.world.language import compose
from omnirepro.world.looks import media_part, sample_look, sample_solid
from omnirepro.world.questions import questions
from omnirepro.world.scenes import Scene
from omnirepro.world.tasks import MODALITIES, sample_scene, scene_part

KINDS = (*MODALITIES, "views3d")
EARLY = {"caption": 0.5, "short": 0.4, "plain": 0.1}  # shares of the early batches
LATER = {"respond": 0.83, "plain": 0.17}  # of the later ones, but for those about several media
SHARES = {
    "caption": {"image": 7, "video": 5, "audio": 2, "views3d": 2},
    "short": {"image": 6, "video": 4, "audio": 1, "text": 4, "views3d": 1},
    "plain": {"image": 6, "video": 4, "audio": 3, "text": 2, "views3d": 1},
    "respond": {"image": 3, "video": 3, "audio": 3, "text": 5, "views3d": 1, "scores": 1},
    "several": {"image": 6, "video": 4, "audio": 3, "text": 2, "views3d": 1},
}  # of sixteen conversations; those about scores have no medium
ROWS = {"respond": 0.875, "several": 0.625}  # longer conversations, fewer of them: a step costs about the same
AGAIN = 2  # times that a backbone below the gate is trained on, at most
AGAIN_FROM = 1000  # what a second draw of the initial weights adds to the seed
PLAIN = 0.9  # chance of a prompt's brightness and size; responses that are media are also dim or small
Pool = dict[str, list[tuple[Scene, Part]]]


def prepare_backbone(run: Run) -> None:
    """Make both generators: trained from nothing, around a released language model, or released models as they are."""
    p = run.section("backbone")
    if p["core"]:
        from omnirepro.train.seeing import graft_backbone

        return graft_backbone(run)
    return adopt(run, p["model"], p["weak_model"]) if p["model"] else train_backbone(run)


def adopt(run: Run, strong: str, weak: str) -> None:
    """Take released models as generators: write pointers to them and what the strong one answers at the gate."""
    for name, model in (("strong", strong), ("generator", strong), ("weak", weak or strong)):
        run.write(name, lambda f, model=model: point_to(model, f))
    model, processor = load(run.path("strong"), run.device, run.dtype)
    with tempfile.TemporaryDirectory() as folder:
        held_out = make_pool(Path(folder), "dev", run.section("backbone")["gate_scenes"], run.seed)
        run.write("gate.csv", gate(model, processor, held_out, run.seed).to_csv(index=False))


def train_backbone(run: Run) -> None:
    """Train backbone and generators and write them with the loss and the gate's answers.

    A backbone below the gate is trained on, then drawn again from other initial weights: other rounding on another
    processor makes another model, and the notebooks behind it need one that can check what it reads.
    """
    import torch

    p = run.section("backbone")
    with rendered(run) as (pool, held_out):
        processor = OmniProcessor(make_tokenizer(pool, run.seed))
        drawn = _draw(processor, pool, held_out, run, 0)
        if p["more_steps"] and (missed := below(drawn.asked, p)):
            print(f"still below the gate: {', '.join(missed)}; drawn again from other initial weights", flush=True)
            again = _draw(processor, pool, held_out, run, 1)
            drawn = min(again, drawn, key=lambda d: len(below(d.asked, p)))
        model = drawn.model
        run.write("strong", lambda f: save(model, processor, f))
        run.write("gate.csv", drawn.asked.to_csv(index=False))
        phases = {"skills": drawn.losses}
        for name, spoil in (("generator", p["flaws"]), ("weak", p["spoil"])):
            if name == "weak":
                model.load_state_dict(drawn.early)
            tuner = Trainer(model, processor, pool, run, p["weak_steps"], p["lr"] / 2, spoil)
            phases[f"answers of {name}"] = tuner.fit(p["weak_steps"], name)
            run.write(name, lambda f: save(model, processor, f))
    run.write("loss.csv", loss_table(phases))
    torch.manual_seed(run.seed)


@dataclass(frozen=True)
class Drawn:
    """A trained backbone, its weights at an early step, its losses and what it answered at the gate."""

    model: Any
    early: dict[str, Any]
    losses: list[float]
    asked: pd.DataFrame


def _draw(processor: OmniProcessor, pool: Pool, held_out: Pool, run: Run, number: int) -> Drawn:
    """Train a backbone from initial weights of its own, and on where it misses the gate."""
    p = run.section("backbone")
    seed_all(run.seed + AGAIN_FROM * number)
    model = tiny.build_backbone(processor.tokenizer, p["hidden"], p["layers"], p["mlp"]).to(run.device)
    trainer = Trainer(model, processor, pool, run, p["steps"], p["lr"])
    losses = trainer.fit(int(p["steps"] * p["weak_at"]), f"skills-{number}")
    early = {k: v.clone() for k, v in model.state_dict().items()}
    losses += trainer.fit(p["steps"], f"skills-{number}")
    asked = gate(model, processor, held_out, run.seed)
    for again in range(AGAIN):
        if not (missed := below(asked, p)) or not p["more_steps"]:
            break
        print(f"below the gate: {', '.join(missed)}; {p['more_steps']} more steps", flush=True)
        trainer = Trainer(model, processor, pool, run, p["more_steps"], p["lr"], early=0.0)
        losses += trainer.fit(p["more_steps"], f"more-{number}-{again}")
        asked = gate(model, processor, held_out, run.seed)
    return Drawn(model, early, losses, asked)


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
            scene, stem, look = draw_scene(kind, split, rng), folder / kind / str(i), sample_look(kind, rng, PLAIN)
            part = scene_part(scene, stem, rng) if kind == "text" else media_part(scene, look, stem, rng)
            pool[kind].append((scene, part))
    return pool


def draw_scene(kind: str, split: str, rng: np.random.Generator) -> Scene:
    """Draw a scene of one of `KINDS`."""
    return sample_solid(rng, split) if kind == "views3d" else sample_scene(kind, split, rng)


def make_tokenizer(pool: Pool, seed: int):
    """Train the tokenizer on the skills' words, with the judgement's fragments as single tokens."""
    scenes = [scene for kind in KINDS for scene, _ in pool[kind][:300]]
    whole = [*rubric.fragments(), *skills.FRAGMENTS]
    return tiny.build_tokenizer(skills.corpus(scenes, np.random.default_rng(seed)), whole)


class Trainer(Pretrainer):
    """Teaches single-response skills; with `spoil`, answers with that share of defects on each dimension instead.

    `early` is the share of the steps that teach seeing; the parameters' own where it is None.
    """

    shares = SHARES

    def __init__(
        self, model, processor, pool: Pool, run: Run, total: int, lr: float, spoil: float | None = None, early=None
    ):
        super().__init__(model, processor, run, total, lr)
        self.pool, self.spoil = pool, spoil
        self.early = self.p["early_share"] if early is None else early

    def _batch(self, step: int) -> list[Example]:
        rng = np.random.default_rng([self.run.seed, step, self.total])
        phase = self._phase(rng, step)
        turn = [kind for kind, n in self.shares[phase].items() for _ in range(n)]
        rows = max(1, round(self.p["batch"] * ROWS.get(phase, 1)))
        first = step * rows  # of a small batch each takes the next kinds
        chats = [self._chat(turn[(first + i) % len(turn)], rng, phase) for i in range(rows)]
        examples = [self.processor.encode(chat, train=True) for chat in chats]
        return [skills.cut(example, self.p["length"]) for example in examples]

    def _phase(self, rng: np.random.Generator, step: int) -> str:
        """Draw what the whole batch is of: rows of one kind have like lengths."""
        if self.spoil is not None:
            return "plain"
        if step < self.early * self.total:
            return str(rng.choice(tuple(EARLY), p=tuple(EARLY.values())))
        if rng.random() < self.p["several_media"]:
            return "several"
        return str(rng.choice(tuple(LATER), p=tuple(LATER.values())))

    def _chat(self, kind: str, rng: np.random.Generator, phase: str) -> list[dict]:
        def draw(m: str):
            return self.pool[m][int(rng.integers(len(self.pool[m])))]

        if kind == "scores":
            return skills.bare_scores(rng)
        if self.spoil is not None:
            return spoiled_chat(*draw(kind), rng, self.spoil)
        if phase == "caption":
            return skills.caption(*draw(kind))
        others = rng.choice(KINDS, size=int(rng.integers(1, 4))) if phase == "several" else ()
        return skills.conversation([draw(k) for k in (kind, *others)], rng, phase)


def spoiled_chat(scene: Scene, part: Part, rng: np.random.Generator, rate: float) -> list[dict]:
    """Build one exchange whose answer is defective on each dimension with probability `rate`."""
    question = questions(scene)[int(rng.integers(len(questions(scene))))]
    bad = {d for d in DIMENSIONS if rng.random() < rate}
    lead = "\n" if part.type == "text" else ""
    asked = {"role": "user", "parts": [part, Part(type="text", text=lead + question.text)]}
    return [asked, {"role": "assistant", "parts": [Part(type="text", text=compose(scene, question, bad, rng))]}]


def save(model, processor, folder: Path) -> None:
    """Write a model and its processor into a folder."""
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
