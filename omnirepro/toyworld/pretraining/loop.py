"""The loop that teaches embedded models from nothing: Muon and AdamW, one checkpoint file, loss on the answers only.

Matrices are trained with Muon, the rest with AdamW: at equal steps it learned clearly faster here than AdamW alone.
A training that ends leaves the mean of its last fifth's weights. The loop is plain so that a checkpoint is one
safetensors file; the next batch is made while this one is learned.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from omnirepro.data.progress import progress
from omnirepro.models.positions import with_positions
from omnirepro.models.processing import Example
from omnirepro.train.completion_loss import sparing_loss
from omnirepro.train.halves import InHalves, half_of_the_threads, halved
from omnirepro.train.run import Run

LAST = 5  # the weights of the last fifth of the steps are averaged


class Pretrainer:
    """Muon and AdamW on the examples of `_batch`, or what a subclass says; checkpoints in the run's folder and resumes.

    Step k's batch depends on the seed and k only, so that an interrupted training ends as one that was not.
    """

    sharing = staticmethod(half_of_the_threads)  # how a step's passes share torch's threads

    def __init__(self, model, processor, run: Run, total: int, lr: float):
        self.model = model
        self.processor = processor
        self.run = run
        self.p = run.section("backbone")
        self.total = total
        self.lr = lr
        self.trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        self.optimizers = self._optimizers(self.trained)
        self.step = 0
        self.losses = []
        self.means = {}
        self.maker = ThreadPoolExecutor(max_workers=1)
        self.ahead = {}

    @cached_property
    def halves(self) -> InHalves:
        return InHalves(self.model, sparing_loss)

    def _optimizers(self, trained: dict) -> list:
        from omnirepro.train.muon import MuonAndAdamW

        return MuonAndAdamW(list(trained.items()), self.lr).parts

    def fit(self, until: int, label: str) -> list[float]:
        """Train up to step `until`; returns the losses of these steps, those before an interruption included."""
        first = self.step
        folder = self.run.checkpoint_dir / f"{label}-{until}"
        self._resume(folder)
        report = progress(f"backbone, {label}")
        started = time.monotonic()
        begun = self.step
        with self.sharing():
            while self.step < until:
                self.losses.append(self._update())
                self.step += 1
                self._average()
                if self.step % self.p["save_every"] == 0 or self.step == until:
                    self._checkpoint(folder)
                note = f"loss {np.mean(self.losses[-50:]):.3f}"
                report(self.step - begun, until - begun, time.monotonic() - started, note)
        for made in self.ahead.values():  # the processor is everyone's again
            made.result()
        if until == self.total:
            for name, mean in self.means.items():
                self.trained[name].data.copy_(mean)
        return self.losses[first:]

    def _average(self) -> None:
        """Take the weights of a step of the last fifth into their mean."""
        import torch

        taken = self.step - (self.total - self.total // LAST)
        if taken == 1:
            self.means = {name: weight.detach().clone() for name, weight in self.trained.items()}
        elif taken > 1:
            torch._foreach_lerp_(list(self.means.values()), [w.detach() for w in self.trained.values()], 1 / taken)

    def _update(self) -> float:
        import torch

        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("peak", group["lr"])
                group["lr"] = group["peak"] * schedule(self.step, self.total)
        loss = self._backward(self.step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def _backward(self, step: int) -> float:
        """Set a step's gradients, return its loss; the next batch is made in a thread while this one is learned."""
        made = self.ahead.pop(step, None)
        batch = made.result() if made else self._make(step)
        if step + 1 < self.total:
            self.ahead[step + 1] = self.maker.submit(self._make, step + 1)
        return self.halves.backward(batch)

    def _make(self, step: int) -> list[dict]:
        return [self._collate(half) for half in halved(self._batch(step), self._length)]

    def _collate(self, examples: list[Example]) -> dict:
        return with_positions(self.processor, examples)

    def _length(self, example: Example) -> int:
        return len(example.ids)

    def _batch(self, step: int) -> list[Example]:
        """Return the examples of a step."""
        raise NotImplementedError

    def _checkpoint(self, folder: Path) -> None:
        """Write weights, their means, the optimizers' states and all losses so far to one file, at once."""
        from safetensors.torch import save_file

        tensors = {f"model/{k}": v.detach().contiguous() for k, v in self.trained.items()}
        tensors |= {f"mean/{k}": v for k, v in self.means.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{j}/{k}": v.clone() for k, v in slots.items()}
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "checkpoint.part", {"losses": " ".join(f"{x:.4f}" for x in self.losses)})
        (folder / "checkpoint.part").replace(folder / "checkpoint.safetensors")

    def _resume(self, folder: Path) -> None:
        """Go on from the checkpoint of a folder where there is one."""
        from safetensors import safe_open

        path = folder / "checkpoint.safetensors"
        if not path.is_file():
            return
        kinds: dict[str, dict] = {"model": {}, "mean": {}, "optimizer": {}}
        with safe_open(path, "pt") as file:
            self.losses = [float(x) for x in file.metadata()["losses"].split()]
            for key in file.keys():
                kind, name = key.split("/", 1)
                kinds[kind][name] = file.get_tensor(key)
        self.model.load_state_dict(kinds["model"], strict=False)
        self.means = {name: kinds["mean"][name] for name in self.trained if name in kinds["mean"]}  # in their order
        self.step = len(self.losses)
        states: list[dict[int, dict]] = [{} for _ in self.optimizers]
        for key, value in kinds["optimizer"].items():
            i, j, slot = key.split("/")
            states[int(i)].setdefault(int(j), {})[slot] = value
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def schedule(step: int, total: int) -> float:
    """Return the factor on the peak learning rate: 30 steps up, level, then linear to 2 % over the second half."""
    return min(1.0, (step + 1) / 30) * max(0.02, min(1.0, 2 * (total - step) / total))
