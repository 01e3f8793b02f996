"""Rotary positions of a batch: what the Thinker's own loop over tokens and media computes, from the examples at once.

Consumes encoded examples; produces the ids (time, height, width) of every token. Text counts on by one; the tokens of
a picture or film stand at their place in its grid, and the text behind goes on after the largest of them.
"""

from __future__ import annotations

import numpy as np

from omnirepro.models.processing import Example, OmniProcessor

PER_SECOND = 25  # temporal positions of a second of film, in all Qwen2.5-Omni models


def with_positions(processor: OmniProcessor, examples: list[Example]) -> dict:
    """Pad examples on the right to a batch that says its positions, where the model has those of the Thinker."""
    return processor.collate(examples) | ({"position_ids": positions(processor, examples)} if processor.omni else {})


def positions(processor: OmniProcessor, examples: list[Example]):
    """Return position ids (3, B, L) int64 for rows padded on the right, where they are 1, as `get_rope_index` does."""
    import torch

    out = np.ones((3, len(examples), max(len(e.ids) for e in examples)), dtype=np.int64)
    kinds = list(processor.placeholder_ids.values())
    for row, example in enumerate(examples):
        length = len(example.ids)
        ahead = 0
        done = 0
        out[:, row, :length] = np.arange(length)
        places = np.flatnonzero(np.isin(example.ids, kinds)) if example.features else ()
        for feature in example.features:
            start = places[done]
            end = start + feature["tokens"]
            done += feature["tokens"]
            within = _within(feature, processor.vision["merge_size"])
            out[:, row, start:end] = start + ahead + within
            ahead += int(within.max()) + 1 - feature["tokens"]
            out[:, row, end:length] = np.arange(end, length) + ahead
    return torch.from_numpy(out)


def _within(feature: dict, merge: int) -> np.ndarray:
    """Return the positions (3, tokens) of a medium's tokens, counted from its first."""
    grid = feature.get("image_grid_thw") or feature.get("video_grid_thw")
    if grid is None:
        return np.broadcast_to(np.arange(feature["tokens"]), (3, feature["tokens"]))
    within = np.indices((grid[0], grid[1] // merge, grid[2] // merge)).reshape(3, -1)
    seconds = np.float32(feature.get("video_second_per_grid", 1))
    within[0] = (within[0].astype(np.float32) * seconds * PER_SECOND).astype(np.int64)
    return within
