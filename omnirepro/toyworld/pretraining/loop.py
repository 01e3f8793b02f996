"""The loop that teaches embedded models from nothing: Muon and AdamW, one checkpoint file, loss on the answers only.

Matrices are trained with Muon, the rest with AdamW: at equal steps it learned clearly faster here than AdamW alone.
A training that ends leaves the mean of its last fifth's weights. The loop is plain so that a checkpoint is one
safetensors file; the next batch is made while this one is learned.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from omnirepro.data.progress import progress
from omnirepro.kit.run import Run
from omnirepro.models.positions import with_positions
from omnirepro.models.processing import Example
from omnirepro.train.completion_loss import sparing_loss

LAST = 5  # the weights of the last fifth of the steps are averaged


class Pretrainer:
    """Muon and AdamW on the examples of `_batch`, or what a subclass says; checkpoints in the run's folder and resumes.

    Step k's batch depends on the seed and k only, so that an interrupted training ends as one that was not.
    """

    def __init__(self, model, processor, run: Run, total: int, lr: float):
        self.model, self.processor, self.run = model, processor, run
        self.p, self.total, self.lr = run.section("backbone"), total, lr
        self.trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        self.optimizers = self._optimizers(self.trained)
        self.step, self.losses, self.means = 0, [], {}
        self.maker, self.ahead = ThreadPoolExecutor(max_workers=1), {}

    def _optimizers(self, trained: dict) -> list:
        from omnirepro.train.muon import MuonAndAdamW

        return MuonAndAdamW(list(trained.items()), self.lr).parts

    def fit(self, until: int, label: str) -> list[float]:
        """Train up to step `until`; returns the losses of these steps, those before an interruption included."""
        first, folder = self.step, self.run.checkpoint_dir / f"{label}-{until}"
        _resume(self, folder)
        report, started, begun = progress(f"backbone, {label}"), time.monotonic(), self.step
        while self.step < until:
            self.losses.append(self._update())
            self.step += 1
            self._average()
            if self.step % self.p["save_every"] == 0 or self.step == until:
                _checkpoint(self, folder)
            note = f"loss {np.mean(self.losses[-50:]):.3f}"
            report(self.step - begun, until - begun, time.monotonic() - started, note)
        for made in self.ahead.values():  # the processor is everyone's again
            made.result()
        if until == self.total:
            self._take_means()
        return self.losses[first:]

    def _average(self) -> None:
        """Take the weights of a step of the last fifth into their mean."""
        import torch

        taken = self.step - (self.total - self.total // LAST)
        if taken == 1:
            self.means = {name: weight.detach().clone() for name, weight in self.trained.items()}
        elif taken > 1:
            torch._foreach_lerp_(list(self.means.values()), [w.detach() for w in self.trained.values()], 1 / taken)

    def _take_means(self) -> None:
        for name, mean in self.means.items():
            self.trained[name].data.copy_(mean)

    def _update(self) -> float:
        import torch

        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * schedule(self.step, self.total)
        self.model.train()
        loss = self._loss(self.step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def _loss(self, step: int):
        batch = self._prepared(step)
        return sparing_loss(self.model, {k: v.to(self.model.device) for k, v in batch.items()})

    def _prepared(self, step: int) -> dict:
        """Return the batch of a step, and have the next one made in a thread while this one is learned."""
        made = self.ahead.pop(step, None)
        batch = made.result() if made else self._make(step)
        if step + 1 < self.total:
            self.ahead[step + 1] = self.maker.submit(self._make, step + 1)
        return batch

    def _make(self, step: int) -> dict:
        return self._collate(self._batch(step))

    def _collate(self, examples: list[Example]) -> dict:
        return with_positions(self.processor, examples)

    def _batch(self, step: int) -> list[Example]:
        """Return the examples of a step."""
        raise NotImplementedError


def schedule(step: int, total: int) -> float:
    """Return the factor on the peak learning rate: 30 steps up, level, then linear to 2 % over the second half."""
    return min(1.0, (step + 1) / 30) * max(0.02, min(1.0, 2 * (total - step) / total))


def _checkpoint(trainer: Pretrainer, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        f"optimizer/{i}/{j}/{k}": v.clone()
        for i, o in enumerate(trainer.optimizers)
        for j, s in o.state_dict()["state"].items()
        for k, v in s.items()
    }
    model = {f"model/{k}": v.detach().contiguous() for k, v in trainer.trained.items()}
    means = {f"mean/{k}": v for k, v in trainer.means.items()}
    losses = " ".join(f"{x:.4f}" for x in trainer.losses)
    save_file(model | means | state, folder / "checkpoint.part", {"losses": losses})
    (folder / "checkpoint.part").replace(folder / "checkpoint.safetensors")


def _resume(trainer: Pretrainer, folder: Path) -> None:
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
    trainer.means = {k.removeprefix("mean/"): v for k, v in stored.items() if k.startswith("mean/")}
    trainer.step = len(trainer.losses)
    for i, optimizer in enumerate(trainer.optimizers):
        slots: dict[int, dict] = {}
        for key in (k for k in stored if k.startswith(f"optimizer/{i}/")):
            _, _, j, name = key.split("/")
            slots.setdefault(int(j), {})[name] = stored[key]
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
