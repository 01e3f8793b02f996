"""Frozen encoders, each medium encoded once.

Wraps the vision and audio towers of a Thinker in place: a frozen tower's output depends on the medium alone, so it is
kept by content and reused by training, judging and sampling alike, whatever batch the medium appears in.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict


def remember(model, capacity: int = 20_000):
    """Wrap both towers of a Thinker so that each distinct medium is encoded once; returns the model.

    Call it only on frozen towers. A model without towers is returned unchanged.
    """
    for owner in list(model.modules()):
        for name, split in (("visual", _split_vision), ("audio_tower", _split_audio)):
            tower = getattr(owner, name, None)
            if tower is not None and not hasattr(tower, "remembered") and "forward" in dir(tower):
                tower.requires_grad_(False)
                tower.remembered = OrderedDict()
                tower.forward = _Remembering(tower, tower.forward, split, capacity)
    return model


class _Remembering:
    """The tower's forward, with a least-recently-used memory keyed by the bytes of each medium."""

    def __init__(self, tower, forward, split, capacity: int):
        self.tower, self.forward, self.split, self.capacity = tower, forward, split, capacity

    def __call__(self, values, **kwargs):
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pieces, shapes, arguments = self.split(values, kwargs)
        keys = [_key(piece, shape) for piece, shape in zip(pieces, shapes, strict=True)]
        memory = self.tower.remembered
        missing = list({k: i for i, k in enumerate(keys) if k not in memory}.values())
        if missing:
            with torch.no_grad():
                made = self.forward(*arguments(missing))
            outputs = made.pooler_output if made.pooler_output is not None else made.last_hidden_state
            sizes = [_tokens(self.tower, pieces[i], self.split) for i in missing]
            for i, output in zip(missing, outputs.split(sizes), strict=True):
                memory[keys[i]] = output
        for key in keys:
            memory.move_to_end(key)
        found = torch.cat([memory[k] for k in keys])
        while len(memory) > self.capacity:
            memory.popitem(last=False)
        return BaseModelOutputWithPooling(last_hidden_state=found, pooler_output=found)


def _key(piece, shape: list[int]) -> bytes:
    """Name a medium by its values and shape: a wide and a tall plain picture have the same patches."""
    values = piece.detach().cpu().float().numpy().tobytes()
    return hashlib.blake2b(repr(shape).encode() + values, digest_size=16).digest()


def _tokens(tower, piece, split) -> int:
    if split is _split_vision:
        return piece.shape[0] // tower.spatial_merge_size**2
    return ((piece.shape[1] - 1) // 2 + 1 - 2) // 2 + 1


def _split_vision(values, kwargs):
    import torch

    grid = kwargs["grid_thw"]
    pieces = values.split(grid.prod(-1).tolist())
    return pieces, grid.tolist(), lambda rows: (torch.cat([pieces[i] for i in rows]), grid[rows])


def _split_audio(values, kwargs):
    import torch

    lengths = kwargs["feature_lens"]
    pieces = values.split(lengths.tolist(), dim=1)
    after = kwargs["aftercnn_lens"]
    shapes = [list(p.shape) for p in pieces]
    return pieces, shapes, lambda rows: (torch.cat([pieces[i] for i in rows], dim=1), lengths[rows], after[rows])
