"""Which labels a judge is tuned on, and in which order: what the ablations of the data change.

Consumes labelled pairs; produces labels, and for a sequential curriculum the order in which examples are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from omnirepro.data import Label, Pair, text_part
from omnirepro.data.files import RunError
from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.judge.orders import orders_of

CURRICULA = ("joint", "sequential")


def lessons(pairs: list[Pair], labels: list[Label], p: Mapping[str, Any]) -> list[list[Label]]:
    """Return the labels that the section `sft` selects: one list, or one a modality in the order they are taught.

    Reads `modalities`, `share`, `hard_only` and `curriculum`. A modality of which no label was kept is left out, with a
    word. Raises ValueError on an unknown curriculum or modality, `RunError` where nothing is left to teach.
    """
    if p["curriculum"] not in CURRICULA:
        raise ValueError(f"sft.curriculum {p['curriculum']!r} is none of {', '.join(CURRICULA)}")
    kind = {pair.id: pair.modality for pair in pairs}
    some = [x for x in labels if drawn(x.pair_id, p["share"]) and (x.margin <= HARD_MARGIN or not p["hard_only"])]
    order = p["modalities"] or list(dict.fromkeys(kind.values()))
    if unknown := [modality for modality in order if modality not in kind.values()]:
        raise ValueError(f"no label of {unknown[0]!r}: no pair is of it; see sft.modalities")
    found = {modality: [x for x in some if kind[x.pair_id] == modality] for modality in order}
    parts = {modality: part for modality, part in found.items() if part}
    if empty := [modality for modality in found if modality not in parts]:
        print(f"no label of {', '.join(empty)} is left to train on: the judge is taught without", flush=True)
    todo = "see dropped.jsonl of 02_reconciliation, and sft.modalities, share and hard_only; or raise world.train"
    if not parts:
        raise RunError(f"no label is left to train on: {todo}")
    if p["curriculum"] == "sequential":
        return list(parts.values())
    return [[x for x in some if kind[x.pair_id] in parts]]


def drawn(pair_id: str, share: float) -> bool:
    """Whether a pair is in a share of them, by a hash of its id: a smaller share lies within a larger one."""
    return int(sha256(f"share {pair_id}".encode()).hexdigest()[:8], 16) / 16**8 < share


def with_orders(pairs: list[Pair], share: float, wording: str) -> list[Pair]:
    """Return the pairs, a share of them with an order to the judge behind one response, whichever that is.

    Label and order have nothing to do with each other, so that a judge learns to judge as if it did not stand there.
    """
    orders = orders_of(wording)[:-1]
    out = []
    for pair in pairs:
        if drawn(f"order {pair.id}", share):
            number = int(sha256(pair.id.encode()).hexdigest()[:8], 16)
            side = ("response_a", "response_b")[number % 2]
            said = text_part(f" {orders[number // 2 % len(orders)]}")
            pair = pair.model_copy(update={side: [*getattr(pair, side), said]})
        out.append(pair)
    return out


def one_after_another(sizes: Sequence[int], rows: int, seed: int) -> list[int]:
    """Return `rows` example numbers, the groups of `sizes` in their order and as long as each other.

    Within a group every pass over it has its own order.
    """
    rng = np.random.default_rng([seed, 3])
    ends = np.linspace(0, rows, len(sizes) + 1).round().astype(int)
    seen: list[int] = []
    for i, size in enumerate(sizes):
        number = int(ends[i + 1] - ends[i])
        start = sum(sizes[:i])
        passes = [rng.permutation(size) + start for _ in range(-(-number // size))]
        seen += np.concatenate(passes)[:number].tolist() if number else []
    return seen


def labels_of(pairs: list[Pair]) -> list[Label]:
    """Return each pair's own label, whose scores say nothing but the verdict."""
    return [verdict_alone(pair.id, pair.label, "pair") for pair in pairs]


def verdict_alone(pair_id: str, verdict: str, provenance: str, **known: str) -> Label:
    """Return the label of a verdict without scores: those that it gets say nothing but the verdict."""
    score_a, score_b = {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.0, 0.0)}[verdict]
    about = {"score_a": score_a, "score_b": score_b, "provenance": provenance}
    return Label(pair_id=pair_id, verdict=verdict, **about, **known)
