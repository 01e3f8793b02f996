"""Parts that several test files share: the world's processor, an untrained Thinker, short ways to write a turn."""

from functools import cache

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omnirepro.data import Part
from omnirepro.models.processing import OmniProcessor
from omnirepro.toyworld.pretraining.backbone import make_tokenizer
from omnirepro.toyworld.pretraining.trainer import KINDS, make_pool
from omnirepro.toyworld.tasks import sample_scene


@cache
def processor() -> OmniProcessor:
    """Return a processor whose tokenizer is trained as the backbone's stage does (from scenes, without files)."""
    rng = np.random.default_rng(0)
    pool = {kind: [(sample_scene(kind, "train", rng), None) for _ in range(300)] for kind in KINDS}
    return OmniProcessor(make_tokenizer(pool, 0))


def make_model(seed: int = 0):
    """Build an untrained Thinker of two narrow layers; equal seeds give equal weights."""
    import torch

    from omnirepro.toyworld.pretraining import tiny

    torch.manual_seed(seed)
    return tiny.build_backbone(processor().tokenizer, hidden=64, layers=2, mlp=96, tower=48, depth=1).eval()


def pool_of(folder, each):
    """Write the media of `each` training scenes of every kind below a folder; returns kind -> parts."""
    return {kind: [part for _, part in scenes] for kind, scenes in make_pool(folder, "train", each, 0).items()}


def save_untrained(folder, seed=0):
    """Write an untrained model with its processor to a folder, and return it."""
    make_model(seed).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def text_part(text: str) -> Part:
    return Part(type="text", text=text)


def user(*parts) -> dict:
    """A user's turn of parts; strings become text."""
    return {"role": "user", "parts": [text_part(p) if isinstance(p, str) else p for p in parts]}


class NoHalfPrecision(TorchDispatchMode):
    """Notes every operator on a CPU that is given, or returns, a half-precision tensor."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        if any(t.dtype in (torch.bfloat16, torch.float16) and t.device.type == "cpu" for t in tensors):
            self.found.add(str(func))
        return out
