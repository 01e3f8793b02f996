"""The embedded backbone, trained from nothing in minutes, and two generators that contrast.

Consumes the section `backbone`; produces the folders `strong` (the backbone: every later model starts from it),
`generator` (it, tuned on answers with few defects: a capable model errs too), `weak` (an early checkpoint, tuned on
answers with many), the loss, and the gate's answers. No conversation of the training compares two responses.

Matrices are trained with Muon, the rest with AdamW: at equal steps it learned clearly faster here than AdamW alone.
The loop is plain so that a checkpoint is one safetensors file and step k's batch depends on the seed and k only.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro import rubric
from omnirepro.models import tiny
from omnirepro.models.loading import load, point_to
from omnirepro.models.processing import OmniProcessor
from omnirepro.run import Run, progress, quiet, seed_all
from omnirepro.schema import DIMENSIONS, Part
from omnirepro.train import skills
from omnirepro.world.language import compose
from omnirepro.world.looks import media_part, sample_look, sample_solid
from omnirepro.world.questions import facts, questions
from omnirepro.world.scenes import Scene
from omnirepro.world.tasks import MODALITIES, sample_scene, scene_part

KINDS = (*MODALITIES, "views3d")
SHARES = {"image": 6, "video": 4, "audio": 3, "text": 2, "views3d": 1}  # of sixteen conversations
EARLY = {"image": 10, "video": 3, "audio": 1, "text": 1, "views3d": 1}  # what is seen is learned last
PLAIN = 0.9  # chance of a prompt's brightness and size; responses that are media are also dim or small
Pool = dict[str, list[tuple[Scene, Part]]]


def prepare_backbone(run: Run) -> None:
    """Make both generators: trained from nothing, or the released models that the parameters name."""
    p = run.section("backbone")
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
    """Train backbone and generators and write them with the loss and the gate's answers."""
    import torch

    p = run.section("backbone")
    quiet()
    seed_all(run.seed)
    with tempfile.TemporaryDirectory() as folder:
        pool = make_pool(Path(folder) / "train", "train", p["pool"], run.seed)
        processor = OmniProcessor(make_tokenizer(pool, run.seed))
        model = tiny.build_backbone(processor.tokenizer, p["hidden"], p["layers"], p["mlp"]).to(run.device)
        trainer = Trainer(model, processor, pool, run, p["steps"], p["lr"])
        losses = trainer.fit(int(p["steps"] * p["weak_at"]), "skills")
        weak_state = {k: v.clone() for k, v in model.state_dict().items()}
        losses += trainer.fit(p["steps"], "skills")
        run.write("strong", lambda f: _save(model, processor, f))
        held_out = make_pool(Path(folder) / "dev", "dev", p["gate_scenes"], run.seed)
        run.write("gate.csv", gate(model, processor, held_out, run.seed).to_csv(index=False))
        rows = [("skills", i, x) for i, x in enumerate(losses, 1)]
        for name, spoil in (("generator", p["flaws"]), ("weak", p["spoil"])):
            if name == "weak":
                model.load_state_dict(weak_state)
            tuner = Trainer(model, processor, pool, run, p["weak_steps"], p["lr"] / 2, spoil)
            rows += [(f"answers of {name}", i, x) for i, x in enumerate(tuner.fit(p["weak_steps"], name), 1)]
            run.write(name, lambda f: _save(model, processor, f))
    run.write("loss.csv", pd.DataFrame(rows, columns=["phase", "step", "loss"]).round(4).to_csv(index=False))
    torch.manual_seed(run.seed)


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


class Trainer:
    """Muon and AdamW on random conversations; checkpoints under the run's checkpoint folder and goes on from them."""

    def __init__(self, model, processor, pool: Pool, run: Run, total: int, lr: float, spoil: float | None = None):
        import torch

        self.model, self.processor, self.pool, self.run = model, processor, pool, run
        self.p, self.total, self.lr, self.spoil = run.section("backbone"), total, lr, spoil
        named = list(model.named_parameters())
        matrices = [w for n, w in named if w.ndim == 2 and "embed" not in n]
        rest = [w for n, w in named if not (w.ndim == 2 and "embed" not in n)]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.step, self.losses = 0, []

    def fit(self, until: int, label: str) -> list[float]:
        """Train up to step `until`; returns the losses of these steps, those before an interruption included."""
        first, folder = self.step, self.run.checkpoint_dir / f"{label}-{until}"
        _resume(self, folder)
        report, started, begun = progress(f"backbone, {label}"), time.monotonic(), self.step
        while self.step < until:
            self.losses.append(self._update())
            self.step += 1
            if self.step % self.p["save_every"] == 0 or self.step == until:
                _checkpoint(self, folder)
            note = f"loss {np.mean(self.losses[-50:]):.3f}"
            report(self.step - begun, until - begun, time.monotonic() - started, note)
        return self.losses[first:]

    def _update(self) -> float:
        import torch

        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * schedule(self.step, self.total)
        self.model.train()
        batch = {k: v.to(self.model.device) for k, v in self._batch().items()}
        loss = self.model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def _batch(self) -> dict:
        rng = np.random.default_rng([self.run.seed, self.step, self.total])
        early = self.spoil is None and self.step < self.p["short_share"] * self.total
        turn = [kind for kind, n in (EARLY if early else SHARES).items() for _ in range(n)]
        short = early and rng.random() < 0.85
        rows = [self._chat(turn[i % 16], rng, short) for i in range(self.p["batch"])]
        examples = [self.processor.encode(chat, train=True) for chat in rows]
        return self.processor.collate([skills.cut(example, self.p["length"]) for example in examples])

    def _chat(self, modality: str, rng: np.random.Generator, short: bool) -> list[dict]:
        def draw(m: str):
            return self.pool[m][int(rng.integers(len(self.pool[m])))]

        if self.spoil is not None:
            return spoiled_chat(*draw(modality), rng, self.spoil)
        several = not short and rng.random() < self.p["several_media"]
        kinds = (
            [KINDS[int(i)] for i in rng.integers(len(KINDS), size=int(rng.integers(2, 5)))] if several else [modality]
        )
        return skills.conversation([draw(kind) for kind in kinds], rng, short)


def schedule(step: int, total: int) -> float:
    """Return the factor on the peak learning rate: 30 steps up, level, then linear to 2 % over the second half."""
    return min(1.0, (step + 1) / 30) * max(0.02, min(1.0, 2 * (total - step) / total))


def spoiled_chat(scene: Scene, part: Part, rng: np.random.Generator, rate: float) -> list[dict]:
    """Build one exchange whose answer is defective on each dimension with probability `rate`."""
    question = questions(scene)[int(rng.integers(len(questions(scene))))]
    bad = {d for d in DIMENSIONS if rng.random() < rate}
    lead = "\n" if part.type == "text" else ""
    asked = {"role": "user", "parts": [part, Part(type="text", text=lead + question.text)]}
    return [asked, {"role": "assistant", "parts": [Part(type="text", text=compose(scene, question, bad, rng))]}]


def gate(model, processor, pool: Pool, seed: int) -> pd.DataFrame:
    """Ask held-out single-fact questions for one word; returns modality, attribute, expected, said, correct."""
    from omnirepro.models.generation import Decoding, generate

    rng = np.random.default_rng([seed, 99])
    rows, examples = [], []
    for m in KINDS if processor.omni else ("text",):
        for scene, part in pool[m]:
            question = questions(scene)[int(rng.integers(len(questions(scene))))]
            text = ("\n" if m == "text" else "") + question.text + skills.SHORT
            examples.append(processor.encode([{"role": "user", "parts": [part, Part(type="text", text=text)]}]))
            rows.append((m, question.attribute, facts(scene, question.target)[question.attribute]))
    said = generate(model, processor, examples, Decoding(max_new_tokens=6))
    table = pd.DataFrame(rows, columns=["modality", "attribute", "expected"])
    table["said"] = [s.text.strip() for s in said]
    table["correct"] = (table["said"] == table["expected"]).astype(int)
    return table


def _save(model, processor, folder: Path) -> None:
    model.save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)


def _checkpoint(trainer: Trainer, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        f"optimizer/{i}/{j}/{k}": v.clone()
        for i, o in enumerate(trainer.optimizers)
        for j, s in o.state_dict()["state"].items()
        for k, v in s.items()
    }
    model = {f"model/{k}": v.contiguous() for k, v in trainer.model.state_dict().items() if k != "lm_head.weight"}
    save_file(model | state, folder / "checkpoint.part", {"losses": " ".join(f"{x:.4f}" for x in trainer.losses)})
    (folder / "checkpoint.part").replace(folder / "checkpoint.safetensors")


def _resume(trainer: Trainer, folder: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return
    with safe_open(path, "pt") as file:
        trainer.losses = [float(x) for x in file.metadata()["losses"].split()]
    stored = load_file(path)
    model = {k.removeprefix("model/"): v for k, v in stored.items() if k.startswith("model/")}
    trainer.model.load_state_dict(model, strict=False)
    trainer.step = len(trainer.losses)
    for i, optimizer in enumerate(trainer.optimizers):
        slots: dict[int, dict] = {}
        for key in (k for k in stored if k.startswith(f"optimizer/{i}/")):
            _, _, j, name = key.split("/")
            slots.setdefault(int(j), {})[name] = stored[key]
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
