"""Several questions about the same words and media in one row: they are read once, and no question sees another one.

Consumes encoded conversations that begin alike; produces batches for training. The shared beginning stands first, and
each rest behind it as a branch: it attends to the beginning and to itself, and its positions go on from the beginning,
so that every answer is predicted exactly as if its conversation stood alone. As turns of one conversation the later
answers could be copied from earlier ones, and what is asked first, as at inference, was learned slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from omnirepro.models.positions import positions, with_positions
from omnirepro.models.processing import Example, OmniProcessor, collate_media


@dataclass(frozen=True)
class Branched:
    """A shared beginning and the rests behind it: positions (3, tokens), and each token's branch, 0 the beginning."""

    ids: list[int]
    labels: list[int]
    positions: np.ndarray
    branch: list[int]


def branched(processor: OmniProcessor, examples: list[Example]) -> Branched:
    """Join conversations; what they share, all media with it, is kept once, but for the token that predicts an answer.

    Raises ValueError where they do not share their media.
    """
    answers = min(next(i for i, label in enumerate(e.labels) if label != -100) for e in examples)
    columns = zip(*(e.ids[: answers - 1] for e in examples), strict=True)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    rests = [slice(shared, len(e.ids)) for e in examples]
    placeholders = set(processor.placeholder_ids.values())
    for example, rest in zip(examples, rests, strict=True):
        both = zip(examples[0].features, example.features, strict=True)
        alike = all(f is g or all(np.array_equal(f[name], g[name]) for name in f) for f, g in both)
        if not (alike and placeholders.isdisjoint(example.ids[rest])):
            raise ValueError("branches must share their media: what differs has to stand behind them")
    places = positions(processor, examples).numpy()
    parts = [(0, 0, slice(shared)), *((i, i + 1, rest) for i, rest in enumerate(rests))]
    return Branched(
        [token for row, _, part in parts for token in examples[row].ids[part]],
        [label for row, number, part in parts for label in (examples[row].labels[part] if number else [-100] * shared)],
        np.concatenate([places[:, row, part] for row, _, part in parts], axis=1),
        [number for row, number, part in parts for _ in examples[row].ids[part]],
    )


def collate(processor: OmniProcessor, rows: list[list[Example]]) -> dict:
    """Make a batch: rows of several questions with their mask, or rows of one as any other training has them."""
    import torch

    if all(len(row) == 1 for row in rows):
        return with_positions(processor, [example for (example,) in rows])
    trees = [branched(processor, row) for row in rows]
    length = max(len(t.ids) for t in trees)

    def padded(name: str, value: int):
        found = [np.asarray(getattr(t, name)).T for t in trees]  # tokens first
        fill = [[(0, length - len(x))] + [(0, 0)] * (x.ndim - 1) for x in found]
        rows = [np.pad(x, f, constant_values=value) for x, f in zip(found, fill, strict=True)]
        return torch.from_numpy(np.stack(rows))

    branch = padded("branch", -1)
    same = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    seen = same & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    batch = {
        "input_ids": padded("ids", processor.tokenizer.pad_token_id),
        "labels": padded("labels", -100),
        "attention_mask": mask[:, None],
        "position_ids": padded("positions", 0).permute(2, 0, 1),
    }
    return batch | collate_media([f for row in rows for f in row[0].features])
