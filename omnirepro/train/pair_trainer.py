"""The pairwise loss of a scalar reward model, and transformers' Trainer around it (see `bradley_terry`).

A batch holds the preferred responses in its first half and the others in its second. A checkpoint holds what is
trained and nothing else: what is frozen lies with the base already.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import Trainer

TRAINED = "trained.safetensors"


def preference_loss(margin, tied=None, tie=None):
    """Return the mean negative log-likelihood of preferences, in nats a pair.

    `margin` (B,) is the preferred score minus the other's. With `tie`, the log-weight of a tie, `tied` (B,) bool says
    which pairs are labelled so, and the likelihood is Davidson's; without it every pair must be decided.
    """
    if tie is None:
        return -logsigmoid(margin).mean()  # L = -log sigmoid(r(c, x, y_c) - r(c, x, y_r)) (Omni-Reward)
    # P(i) : P(j) : P(tie) = p_i : p_j : nu sqrt(p_i p_j), p = exp(score), nu = exp(tie) (Davidson 1970)
    outcomes = torch.stack([margin / 2, -margin / 2, tie.expand_as(margin)], -1)
    return cross_entropy(outcomes, 2 * tied.long())


class PairTrainer(Trainer):
    """Trainer of a `Scorer`: preferred responses in the first half of a batch, the others in the second."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = False  # its parts are means: they are averaged over accumulation
        self.seen = defaultdict(list)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        tied = inputs.pop("tied")
        preferred, other = model(**inputs).chunk(2)
        margin = preferred - other
        decided = margin.detach()[~tied]
        self.seen["accuracy"] += (decided > 0).float().tolist()
        self.seen["margin"] += decided.tolist()
        return preference_loss(margin, tied, self.accelerator.unwrap_model(model).tie)

    def log(self, logs, *args, **kwargs):
        seen = {k: gather_object(self.seen[k]) for k in ("accuracy", "margin")}  # of all processes
        means = {k: sum(v) / len(v) for k, v in seen.items() if v and "loss" in logs}
        self.seen.clear()
        super().log(logs | means, *args, **kwargs)

    def _save(self, output_dir=None, state_dict=None):
        folder = Path(output_dir or self.args.output_dir)  # what is frozen lies with the base already
        folder.mkdir(parents=True, exist_ok=True)
        trained = {k: v.detach().cpu().contiguous() for k, v in self.model.named_parameters() if v.requires_grad}
        save_file(trained, folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        unknown = self.model.load_state_dict(load_file(Path(resume_from_checkpoint) / TRAINED), strict=False)
        assert not unknown.unexpected_keys, "the checkpoint is of another model"
