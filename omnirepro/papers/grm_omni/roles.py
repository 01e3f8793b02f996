"""Supervised tuning of one model for the roles GenRM and policy (GRM-Omni, Section 3.3), on TRL's SFTTrainer.

Consumes chats (`lessons`); produces a model folder or an adapter, and the loss. The embedded model is tuned whole, and
its tokenizer, which never saw the tags of criteria, gets them as single tokens; released models can take `lora`.

Departure: the paper tunes every weight but the frozen towers; so does `tune: whole`, while `lora` leaves the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.judge.criteria import fragments
from omnirepro.kit.run import Run
from omnirepro.models.processing import OmniProcessor
from omnirepro.papers.grm_omni.role_examples import words
from omnirepro.toyworld.pretraining.vocabulary import extend_tokens, spoken
from omnirepro.train.common import NamesAsSaved, arguments, progress_callback, train_on, whole_weights
from omnirepro.train.completion_loss import OnAnswers
from omnirepro.train.run import launchable
from omnirepro.train.shared_prefix import collate
from omnirepro.train.tuning import keep_tuned, open_model

SECTION, OPTIMIZERS = "meta_reward_dpo", ("muon", "adamw")


@dataclass
class Step:
    """One training within the stage: its parameters are those of the section whose names begin with `name`_."""

    run: Run
    name: str
    seed: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section; of the stage's own also the step's parameters under their short names."""
        found, prefix = dict(self.run.section(name)), f"{self.name.split('-')[0]}_"
        if name == SECTION:
            found |= {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        return found

    @property
    def checkpoint_dir(self) -> Path:
        folder = self.run.checkpoint_dir / self.name
        folder.mkdir(exist_ok=True)
        return folder


@launchable
def train_roles(run: Run, base: Path | str, lessons: list[list[list[dict]]]) -> Path:
    """Tune `base` on lessons, each a list of chats about one pair, in the order given; resumes where it was killed.

    Writes `sft` (a model, or an adapter) and `sft-loss.csv`.
    """
    step = Step(run, "sft", run.seed)
    brief = run.section("judge")["wording"] == "brief"
    model, processor = open_model(run, base, SECTION, _with_tags if brief else None)
    examples = [[processor.encode(chat, train=True) for chat in lesson] for lesson in lessons]
    trainer = _trainer(step, model, processor, examples)
    train_on(trainer, step)
    history = [h for h in trainer.state.log_history if "loss" in h]
    run.write("sft-loss.csv", pd.DataFrame(history)[["step", "loss"]].to_csv(index=False))
    weights = whole_weights(trainer)
    return run.write("sft", lambda folder: keep_tuned(step, trainer.model, processor, folder, base, SECTION, weights))


def _with_tags(model, processor: OmniProcessor) -> OmniProcessor:
    """Give the embedded model and its tokenizer the tags of criteria as tokens."""
    return extend_tokens(model, processor, fragments(), spoken(words(), shortest=4))


def _optimizer(model, p: dict[str, Any]):
    """Return the optimizer that the parameters name; None is the trainer's own AdamW."""
    if p["optimizer"] not in OPTIMIZERS:
        raise ValueError(f"{SECTION}.sft_optimizer is {p['optimizer']!r}; one of {', '.join(OPTIMIZERS)}")
    if p["optimizer"] == "adamw":
        return None
    from omnirepro.train.muon import MuonAndAdamW

    return MuonAndAdamW([(n, w) for n, w in model.named_parameters() if w.requires_grad], p["lr"])


def _trainer(step: Step, model, processor: OmniProcessor, examples: list):
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    p = step.section(SECTION)
    config = SFTConfig(
        **arguments(step, SECTION, p["steps"], p["batch"]),
        logging_steps=min(5, p["steps"]),
        gradient_checkpointing=p["gradient_checkpointing"],
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )

    class InOrder(NamesAsSaved, OnAnswers, SFTTrainer):
        """Trains on the lessons in their order, in which a batch has one form."""

        def _get_train_sampler(self, train_dataset=None):
            return SequentialSampler(train_dataset)

    trainer = InOrder(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"row": list(range(len(examples)))}),
        data_collator=lambda rows: collate(processor, [examples[r["row"]] for r in rows]),
        processing_class=processor.tokenizer,
        callbacks=[progress_callback("roles, SFT")],
        optimizers=(_optimizer(model, p) if p["tune"] == "whole" else None, None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
