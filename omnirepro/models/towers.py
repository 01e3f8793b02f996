"""Frozen encoders, each medium encoded once.

Wraps the vision and audio towers of Qwen2.5 in place: a frozen tower's output depends on the medium alone, so it is
kept by content and reused by training, judging and sampling alike, whatever batch the medium appears in. The towers
of other families are frozen, and encode anew.
"""

from __future__ import annotations

import hashlib

from omnirepro.models.examples import Latest

TOWERS = ("visual", "audio_tower", "vision_model")


def remember(model, capacity: int = 2 << 30):
    """Freeze a model's towers, and wrap those that are known so that each distinct medium is encoded once; return it.

    Each tower remembers at most `capacity` bytes, on the model's device, of the media seen last. A model without towers
    is returned unchanged.
    """
    for name, tower in list(model.named_modules()):
        if name.rpartition(".")[2] in TOWERS and not hasattr(tower, "remembered"):
            tower.requires_grad_(False)
            if split := _SPLITS.get(type(tower).__name__):
                tower.remembered = Latest(capacity)
                tower.forward = _Remembering(tower, tower.forward, split)
    return model


class _Remembering:
    """The tower's forward, with a least-recently-used memory keyed by the bytes of each medium.

    `split` cuts a batch into its media: pieces, shapes, tokens a piece, and the forward's arguments for some of them. A
    medium is named by its values and its shape: a wide and a tall plain picture have the same patches.
    """

    def __init__(self, tower, forward, split):
        self.tower = tower
        self.forward = forward
        self.split = split

    def __call__(self, values, **kwargs):
        import torch
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pieces, shapes, tokens, arguments = self.split(self.tower, values, kwargs)
        keys = []
        for piece, shape in zip(pieces, shapes, strict=True):
            content = repr(shape).encode() + piece.detach().cpu().float().numpy().tobytes()
            keys.append(hashlib.blake2b(content, digest_size=16).digest())
        memory = self.tower.remembered
        known = {key: memory[key] for key in keys if key in memory}
        missing = list({k: i for i, k in enumerate(keys) if k not in known}.values())
        if missing:
            with torch.no_grad():
                made = self.forward(*arguments(missing))
            outputs = made.pooler_output if made.pooler_output is not None else made.last_hidden_state
            for i, output in zip(missing, outputs.split([tokens[i] for i in missing]), strict=True):
                known[keys[i]] = output.clone()  # a part of the whole would keep the whole
        for key in keys:
            memory.keep(key, known[key])
        found = torch.cat([known[key] for key in keys])
        return BaseModelOutputWithPooling(last_hidden_state=found, pooler_output=found)


def _split_vision(tower, values, kwargs):
    import torch

    grid = kwargs["grid_thw"]
    pieces = values.split(grid.prod(-1).tolist())
    tokens = [piece.shape[0] // tower.spatial_merge_size**2 for piece in pieces]
    return pieces, grid.tolist(), tokens, lambda rows: (torch.cat([pieces[i] for i in rows]), grid[rows])


def _split_audio(tower, values, kwargs):
    import torch

    lengths = kwargs["feature_lens"]
    after = kwargs["aftercnn_lens"]
    pieces = values.split(lengths.tolist(), dim=1)
    tokens = [((piece.shape[1] - 1) // 2 + 1 - 2) // 2 + 1 for piece in pieces]

    def arguments(rows):
        return torch.cat([pieces[i] for i in rows], dim=1), lengths[rows], after[rows]

    return pieces, [list(p.shape) for p in pieces], tokens, arguments


_SPLITS = {
    "Qwen2_5OmniVisionEncoder": _split_vision,
    "Qwen2_5_VisionTransformerPretrainedModel": _split_vision,
    "Qwen2_5OmniAudioEncoder": _split_audio,
}
