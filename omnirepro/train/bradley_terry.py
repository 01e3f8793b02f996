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
from pathlib import Path

import pandas as pd

from omnirepro.data import Label, Pair, write_jsonl
from omnirepro.evaluate.ties import fit
from omnirepro.judge.scalar import chat, keep_settings, load_scalar_judge, redraw
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.train.common import arguments, progress_callback, train_on, whole_weights
from omnirepro.train.run import Run, launchable
from omnirepro.train.sft import LANGUAGE_LAYERS, judge_split

TIES, TUNE = ("drop", "davidson"), ("language-model", "lora")
Encoded = tuple[Example, Example, bool]  # preferred, other (as they stand where tied), whether the label is a tie


@launchable
def train_bradley_terry(run: Run, base: Path | str, pairs: list[Pair], labels: list[Label]) -> Path:
    """Train a scorer from `base` on labelled pairs; writes `scorer` and `loss.csv`, resumes from the last checkpoint.

    Returns the folder `scorer`. Raises ValueError on an adapter as base, a pair longer than `max_length`, an unknown
    option, or no pair left to train on.
    """
    from omnirepro.models.scalar import save_scorer

    p = run.section("bradley_terry")
    scorer = make_scorer(run, base)
    wording = run.section("judge")["wording"]
    rows = encode_pairs(scorer.processor, pairs, labels, p["ties"], p["max_length"], wording)
    trainer = make_trainer(scorer, rows, run)
    train_on(trainer, run)
    history = [h for h in trainer.state.log_history if "loss" in h]
    run.write(
        "loss.csv", pd.DataFrame(history).reindex(columns=["step", "loss", "accuracy", "margin"]).to_csv(index=False)
    )
    weights = whole_weights(trainer)
    return run.write("scorer", lambda f: (save_scorer(scorer, f, base, weights), keep_settings(f, wording=wording)))


def train_and_score(
    run: Run, base: Path | str, splits: dict[str, list[Pair]], labels: list[Label], name: str = "bt"
) -> None:
    """Train on the split `train`, fit the tie threshold on `dev`, score every other split; writes `predictions.jsonl`.

    Rows are named model and split. The threshold (one for all tasks) is kept with the scorer and decides the verdicts
    of every split; the rows' scores allow any other reading.
    """
    folder = train_bradley_terry(run, base, splits["train"], labels)
    judge = load_scalar_judge(folder, run.section("judge")["batch_size"], run.device, run.dtype, seed=run.seed)
    rows = {}
    for split, some in splits.items():
        if split != "train":
            judge.name = f"{name}/{split}"
            rows[split] = judge_split(run, judge, some)
    threshold = float(fit(rows["dev"], by_task=False).iloc[0])
    keep_settings(folder, threshold=threshold)
    decided = [redraw(row, threshold) for some in rows.values() for row in some]
    run.write("predictions.jsonl", lambda path: write_jsonl(path, decided))


def make_scorer(run: Run, base: Path | str):
    """Load `base` with a fresh value head; language model (or LoRA on it) and head are trainable, encoders are not."""
    from omnirepro.models.scalar import Scorer

    p = run.section("bradley_terry")
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
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=p["lora_rank"], lora_alpha=p["lora_alpha"], target_modules=LANGUAGE_LAYERS)
        return Scorer(get_peft_model(model, lora), processor, p["ties"] == "davidson")
    scorer = Scorer(model, processor, p["ties"] == "davidson")
    getattr(scorer.decoder, "language_model", scorer.decoder).requires_grad_(True)
    return scorer


def encode_pairs(
    processor: OmniProcessor,
    pairs: list[Pair],
    labels: list[Label],
    ties: str = "drop",
    max_length: int | None = None,
    wording: str = "full",
) -> list[Encoded]:
    """Encode each labelled pair as (preferred, other, tied); with `ties` "drop", tied labels are left out and counted.

    Raises ValueError naming a pair with a side longer than `max_length` tokens, or where no pair is left; KeyError for
    a label without pair.
    """
    known = {pair.id: pair for pair in pairs}
    used = [label for label in labels if label.verdict != "tie" or ties != "drop"]
    if len(used) < len(labels):
        print(f"{len(labels) - len(used)} of {len(labels)} labels are ties: not trained on (bradley_terry.ties: drop)")
    if not used:
        raise ValueError("no labelled pair to train on; give decided labels, or set bradley_terry.ties to davidson")
    out = []
    for label in used:
        pair = known[label.pair_id]
        chats = [chat(pair.prompt, r, pair.criterion, wording) for r in (pair.response_a, pair.response_b)]
        sides = [processor.encode(turns, train=True) for turns in chats]
        if max_length and (longest := max(len(e.ids) for e in sides)) > max_length:
            raise ValueError(
                f"pair {pair.id} has a response that makes {longest} tokens with its prompt, over {max_length}; raise "
                "bradley_terry.max_length, lower the frames or pixels of its media, or remove the pair"
            )
        preferred, other = reversed(sides) if label.verdict == "B" else sides
        out.append((preferred, other, label.verdict == "tie"))
    return out


def make_trainer(scorer, rows: list[Encoded], run: Run):
    """Assemble transformers' Trainer over encoded pairs; its dataset holds row numbers."""
    import torch
    from transformers import PrinterCallback, TrainingArguments

    from omnirepro.train.pair_trainer import PairTrainer

    p = run.section("bradley_terry")
    steps = p["steps"] or math.ceil(len(rows) / p["batch"]) * p["epochs"]
    args = TrainingArguments(
        **arguments(run, "bradley_terry", steps, p["batch"]),
        weight_decay=p["weight_decay"],
        logging_steps=5,
        remove_unused_columns=False,
    )

    def collate(numbers: list[int]) -> dict:
        some = [rows[i] for i in numbers]
        batch = scorer.processor.collate([e for side in (0, 1) for e in (row[side] for row in some)])
        del batch["labels"]
        return batch | {"tied": torch.tensor([tied for _, _, tied in some])}

    said, numbers = [progress_callback("Bradley-Terry")], list(range(len(rows)))
    trainer = PairTrainer(model=scorer, args=args, train_dataset=numbers, data_collator=collate, callbacks=said)
    trainer.remove_callback(PrinterCallback)
    return trainer
