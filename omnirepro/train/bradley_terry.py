"""The scalar reward model, trained on preferences with the Bradley-Terry likelihood (Omni-Reward's BT model).

Consumes pairs and labels; produces a scorer (backbone or adapter, and value head) and the loss. The criterion stands in
the system message, the score is read at the last token that is no padding, vision and audio encoders are frozen, and
the language model is tuned whole, as published, or through LoRA (`tune: lora`).

TRL's RewardTrainer takes text alone and leaves out pairs that are too long; this is transformers' Trainer with the
pairwise loss, and a pair that is too long is an error that names it.

Departures:
1. `ties: davidson` learns from tied labels too, through a likelihood with a learned weight of ties (Davidson 1970); the
   paper trains on decided pairs, and so does `ties: drop`, which says how many tied labels it leaves out.
2. The embedded model has the criterion in a system message behind the response: before it, nothing was learned in
   hundreds of steps. Released models have it first, as published.
3. No dropout, and the head's start: see `models.scalar`. In bfloat16 a language model that is tuned whole keeps
   float32 weights, since steps of the published size would be rounded away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from omnirepro.data import Label, Pair
from omnirepro.judge.scalar import chat
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load
from omnirepro.models.processing import Example, keep_settings
from omnirepro.train.common import (
    arguments,
    check_length,
    encoded,
    history,
    lora,
    over_examples,
    train_on,
    whole_weights,
)
from omnirepro.train.run import Run, Values, launchable

TIES = ("drop", "davidson")
TUNE = ("language-model", "lora")
Encoded = tuple[Example, Example, bool]  # preferred, other (as they stand where tied), whether the label is a tie


@launchable
def train_bradley_terry(
    run: Run,
    base: Path | str,
    pairs: list[Pair],
    labels: list[Label],
    p: Values,
    wording: str,
    levels: Sequence[str] = (),
) -> Path:
    """Train a scorer from `base` on labelled pairs; writes `scorer` and `loss.csv`, resumes from the last checkpoint.

    `p` are the parameters (base.yaml's section `bradley_terry`), `wording` is that of the judge's prompt, `levels`
    the answers by which `base` names a level (`models.scalar.Scorer`). Returns the folder `scorer`.

    Raises ValueError on an adapter as base, a pair longer than `max_length`, an unknown option, or no
    pair left to train on.
    """
    from omnirepro.models.scalar import save_scorer

    scorer = make_scorer(run, p, base, levels)
    rows = encode_pairs(scorer.encode, pairs, labels, p["ties"], p["max_length"], wording)
    trainer = make_trainer(run, p, scorer, rows)
    train_on(trainer, run)
    columns = ["step", "loss", "accuracy", "margin"]
    run.write("loss.csv", history(trainer).reindex(columns=columns).to_csv(index=False))
    weights = whole_weights(trainer)
    return run.write("scorer", lambda f: (save_scorer(scorer, f, base, weights), keep_settings(f, wording=wording)))


def make_scorer(run: Run, p: Values, base: Path | str, levels: Sequence[str] = ()):
    """Load `base` with a value head, that of `levels` or a fresh one; encoders are frozen.

    The language model, or LoRA on it, and the head are trainable.
    """
    from omnirepro.models.scalar import Scorer

    for key, known in (("ties", TIES), ("tune", TUNE)):
        if p[key] not in known:
            raise ValueError(f"bradley_terry.{key} is {p[key]!r}; one of {', '.join(known)}")
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype if p["tune"] == "lora" else "float32")
    if hasattr(model, "peft_config"):
        raise ValueError(f"{base} is an adapter: a scorer starts from a whole model, such as its base")
    seed_all(run.seed)
    model.requires_grad_(False)
    if p["gradient_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if p["tune"] == "lora":
        from peft import get_peft_model

        return Scorer(get_peft_model(model, lora(p)), processor, p["ties"] == "davidson", levels)
    scorer = Scorer(model, processor, p["ties"] == "davidson", levels)
    getattr(scorer.decoder, "language_model", scorer.decoder).requires_grad_(True)
    return scorer


def encode_pairs(
    encode: Callable[[list[dict]], Example],
    pairs: list[Pair],
    labels: list[Label],
    ties: str = "drop",
    max_length: int | None = None,
    wording: str = "full",
) -> Sequence[Encoded]:
    """Encode each labelled pair as (preferred, other, tied), when its batch is made (`encoded`).

    `encode` is a scorer's. With `ties` "drop", tied labels are left out and counted.

    Raises ValueError naming a pair with a side longer than `max_length` tokens, or where no pair is left; KeyError for
    a label without pair.
    """
    known = {pair.id: pair for pair in pairs}
    used = [label for label in labels if label.verdict != "tie" or ties != "drop"]
    if len(used) < len(labels):
        print(f"{len(labels) - len(used)} of {len(labels)} labels are ties: not trained on (bradley_terry.ties: drop)")
    if not used:
        raise ValueError("no labelled pair to train on; give decided labels, or set bradley_terry.ties to davidson")
    labelled = [(known[label.pair_id], label.verdict) for label in used]

    def sides(row: tuple[Pair, str]) -> Encoded:
        pair, verdict = row
        chats = (chat(pair.prompt, r, pair.criterion, wording) for r in (pair.response_a, pair.response_b))
        found = [encode(turns) for turns in chats]
        longest = max(len(e.ids) for e in found)
        check_length(longest, max_length or longest, f"{name(row)} with a response", "bradley_terry.max_length")
        preferred, other = reversed(found) if verdict == "B" else found
        return preferred, other, verdict == "tie"

    def name(row: tuple[Pair, str]) -> str:
        return f"pair {row[0].id}"

    return encoded(labelled, sides, name)


def make_trainer(run: Run, p: Values, scorer, rows: Sequence[Encoded]):
    """Assemble transformers' Trainer over encoded pairs."""
    import torch
    from transformers import TrainingArguments

    from omnirepro.train.pair_trainer import PairTrainer

    processor = scorer.processor

    def collate(some: list[Encoded]) -> dict:
        batch = processor.collate([e for side in (0, 1) for e in (row[side] for row in some)])
        del batch["labels"]
        return batch | {"tied": torch.tensor([tied for _, _, tied in some])}

    steps = p["steps"] or math.ceil(len(rows) / p["batch"]) * p["epochs"]
    args = TrainingArguments(
        **arguments(run, p, steps, p["batch"]),
        weight_decay=p["weight_decay"],
        logging_steps=5,
    )
    return over_examples(PairTrainer, "Bradley-Terry", scorer, args, rows, collate)
