"""The embedded backbone, trained from nothing in minutes, and two generators that contrast.

Consumes the section `backbone`; produces the folders `strong` (the backbone: every later model starts from it),
`generator` (it, tuned on answers with few defects: a capable model errs too), `weak` (an early checkpoint, tuned on
answers with many), the loss, and the gate's answers. No conversation of the training compares two responses.

To see comes first, as in released models: early batches are captions and one-word answers. Captions name all that is
in a medium in few tokens, and taught seeing in half the time that one-word answers alone took.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.judge import rubric
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load, point_to
from omnirepro.models.processing import OmniProcessor, limits_in
from omnirepro.toyworld.pretraining import skills, tiny
from omnirepro.toyworld.pretraining.encoders import graft_backbone
from omnirepro.toyworld.pretraining.gate import below, gate
from omnirepro.toyworld.pretraining.trainer import KINDS, Pool, Trainer, loss_table, make_pool, rendered, save
from omnirepro.train.run import Run

AGAIN = 2  # times that a backbone below the gate is trained on, at most
AGAIN_FROM = 1000  # what a second draw of the initial weights adds to the seed


def prepare_backbone(run: Run) -> None:
    """Make both generators: trained from nothing, around a released language model, or released models as they are."""
    p = run.section("backbone")
    if p["core"]:
        return graft_backbone(run)
    return adopt(run, p["model"], p["weak_model"]) if p["model"] else train_backbone(run)


def adopt(run: Run, strong: str, weak: str) -> None:
    """Take released models as generators: write pointers to them and what the strong one answers at the gate."""
    limits = limits_in(run.section("media"))
    for name, model in (("strong", strong), ("generator", strong), ("weak", weak or strong)):
        run.write(name, lambda f, model=model: point_to(model, f, limits))
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
        processor = OmniProcessor(make_tokenizer(pool, run.seed), limits=limits_in(run.section("media")))
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


def make_tokenizer(pool: Pool, seed: int):
    """Train the tokenizer on the skills' words, with the judgement's fragments as single tokens."""
    scenes = [scene for kind in KINDS for scene, _ in pool[kind][:300]]
    whole = [*rubric.fragments(), *skills.FRAGMENTS]
    return tiny.build_tokenizer(skills.corpus(scenes, np.random.default_rng(seed)), whole)
