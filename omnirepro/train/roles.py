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

from omnirepro.criteria import fragments
from omnirepro.judging import Judge, save_settings
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load, save_adapter
from omnirepro.models.processing import OmniProcessor
from omnirepro.run import Run, launchable, seed_all
from omnirepro.train.answers import OnAnswers
from omnirepro.train.branches import collate
from omnirepro.train.common import NamesAsSaved, arguments, progress_callback, train_on, whole_weights
from omnirepro.train.lessons import words
from omnirepro.train.sft import LANGUAGE_LAYERS
from omnirepro.train.vocabulary import extend_tokens, spoken

SECTION, TUNE, OPTIMIZERS = "meta_reward_dpo", ("whole", "lora"), ("muon", "adamw")


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
    model, processor = open_model(run, base, extend=True)
    examples = [[processor.encode(chat, train=True) for chat in lesson] for lesson in lessons]
    trainer = _trainer(step, model, processor, examples)
    train_on(trainer, step)
    history = [h for h in trainer.state.log_history if "loss" in h]
    run.write("sft-loss.csv", pd.DataFrame(history)[["step", "loss"]].to_csv(index=False))
    weights = whole_weights(trainer)
    return run.write("sft", lambda folder: keep(step, trainer.model, processor, folder, base, weights))


def open_model(run: Run, base: Path | str, extend: bool = False):
    """Load a model for tuning, towers frozen; with `extend`, give the embedded tokenizer the tags as tokens.

    Raises ValueError on an unknown `tune`.
    """
    tune = run.section(SECTION)["tune"]
    if tune not in TUNE:
        raise ValueError(f"{SECTION}.tune is {tune!r}; one of {', '.join(TUNE)}")
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype if tune == "lora" else "float32", trainable=True)
    if tune == "lora":
        return _with_lora(run, model), processor
    if extend and run.section("judge")["wording"] == "brief":
        processor = extend_tokens(model, processor, fragments(), spoken(words(), shortest=4))
    for name, weight in model.named_parameters():
        weight.requires_grad = "visual" not in name and "audio_tower" not in name
    return model, processor


def _with_lora(run: Run, model):
    if hasattr(model, "peft_config"):
        return model
    from peft import LoraConfig, get_peft_model

    p = run.section(SECTION)
    lora = LoraConfig(r=p["lora_rank"], lora_alpha=p["lora_alpha"], target_modules=LANGUAGE_LAYERS)
    return get_peft_model(model, lora)


def keep(
    run: Run | Step, model, processor: OmniProcessor, folder: Path, base: Path | str, weights: dict | None = None
) -> None:
    """Save a tuned model with its processor, or an adapter that names its base, and how it wants to be asked.

    Loaded by itself it gives its verdict alone; `judge(..., scaling=CriteriaSearch(...))` asks it for criteria.
    """
    if hasattr(model, "peft_config"):
        save_adapter(model, folder, base, weights)
    else:
        model.save_pretrained(folder, safe_serialization=True, state_dict=weights)
        processor.save_pretrained(folder)
    decoding = Decoding(max_new_tokens=run.section(SECTION)["max_new_tokens"])
    wording = run.section("judge")["wording"]
    save_settings(Judge(LocalModel(model, processor, run.name), "verdict-direct", wording, decoding), folder)


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
