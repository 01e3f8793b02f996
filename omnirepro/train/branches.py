"""Several questions about the same words in one row: the words are read once, and no question sees another one.

Consumes encoded conversations that begin alike; produces batches for training. The shared beginning stands first, and
each rest behind it as a branch: it attends to the beginning and to itself, and its positions go on from the beginning,
so that every answer is predicted exactly as if its conversation stood alone. As turns of one conversation the later
answers could be copied from earlier ones, and what is asked first, as at inference, was learned slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from omnirepro.models.processing import Example, OmniProcessor


@dataclass(frozen=True)
class Branched:
    """A shared beginning of `shared` tokens and the rests behind it; `branch` is each token's, 0 the beginning."""

    ids: list[int]
    labels: list[int]
    positions: list[int]
    branch: list[int]


def branched(examples: list[Example]) -> Branched:
    """Join conversations without media; what they share is kept once, but for the token that predicts an answer."""
    answers = min(next(i for i, label in enumerate(e.labels) if label != -100) for e in examples)
    columns = zip(*(e.ids[: answers - 1] for e in examples), strict=True)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    ids, labels = examples[0].ids[:shared], [-100] * shared
    positions, branch = list(range(shared)), [0] * shared
    for number, example in enumerate(examples, 1):
        ids += example.ids[shared:]
        labels += example.labels[shared:]
        positions += range(shared, len(example.ids))
        branch += [number] * (len(example.ids) - shared)
    return Branched(ids, labels, positions, branch)


def collate(processor: OmniProcessor, rows: list[list[Example]]) -> dict:
    """Make a batch: rows of several questions with their mask, or rows of one as any other training has them."""
    import torch

    if all(len(row) == 1 for row in rows):
        return processor.collate([example for (example,) in rows])
    trees = [branched(row) for row in rows]
    length, padding = max(len(t.ids) for t in trees), processor.tokenizer.pad_token_id

    def padded(name: str, value: int):
        return torch.tensor([getattr(t, name) + [value] * (length - len(t.ids)) for t in trees])

    branch, positions = padded("branch", -1), padded("positions", 0)
    same = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    seen = same & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    return {
        "input_ids": padded("ids", padding), "labels": padded("labels", -100), "attention_mask": mask[:, None],
        "position_ids": positions[None].expand(3, -1, -1),
    }  # fmt: skip
