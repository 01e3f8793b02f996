"""Muon on matrices and AdamW on the rest, as one optimizer that transformers' trainers accept.

At equal steps it taught the embedded models clearly faster than AdamW alone (see `backbone`); released checkpoints are
tuned with AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimizers whose groups stand in one list, so that one schedule moves the learning rates of both.

    `named`: the model's (name, weight) pairs that are trained; `lr` is that of the matrices, the rest takes half.
    """

    def __init__(self, named: list[tuple[str, torch.nn.Parameter]], lr: float):
        matrices = [w for n, w in named if w.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(w) for w in matrices}
        rest = [w for _, w in named if id(w) not in chosen]
        self.parts = [
            torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=lr / 2, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        super().__init__([{"params": matrices, "lr": lr}, {"params": rest, "lr": lr / 2}], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable | None = None) -> None:
        """Update every weight."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both parts; the groups stay the same objects, so that the schedule goes on moving them."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
