"""Supervised tuning of one model for the roles GenRM and policy (GRM-Omni, Section 3.3), on TRL's SFTTrainer.

Consumes chats (`lessons`); produces a model folder or an adapter, and the loss. The embedded model is tuned whole, and
its tokenizer, which never saw the tags of criteria, gets them as single tokens; released models can take `lora`.

Departure: the paper tunes every weight but the frozen towers; so does `tune: whole`, while `lora` leaves the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omnirepro.judge.criteria import fragments
from omnirepro.kit.run.training import Training
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.papers.grm_omni.role_examples import words
from omnirepro.toyworld.pretraining.vocabulary import extend_tokens, spoken
from omnirepro.train.common import NamesAsSaved, arguments, encoded, history, keep_judge, over_examples, train_on
from omnirepro.train.completion_loss import OnAnswers
from omnirepro.train.run import Values, launchable
from omnirepro.train.sft import ENCODED
from omnirepro.train.shared_prefix import collate
from omnirepro.train.tuning import asked_of, open_model

SECTION = "meta_reward_dpo"
OPTIMIZERS = ("muon", "adamw")
# The keys of the section that each of its trainings reads under a common name.
TRAININGS = {
    "sft": {
        "steps": "sft_steps",
        "batch": "sft_batch",
        "accumulate": "sft_accumulate",
        "lr": "sft_lr",
        "optimizer": "sft_optimizer",
    },
    "dpo": {
        "steps": "dpo_steps",
        "batch": "dpo_batch",
        "accumulate": "dpo_accumulate",
        "lr": "dpo_lr",
        "beta": "dpo_beta",
    },
    "plus": {
        "steps": "plus_steps",
        "batch": "plus_batch",
        "accumulate": "plus_accumulate",
        "lr": "plus_lr",
        "beta": "plus_beta",
    },
}


@launchable
def train_roles(run: Training, base: Path | str, lessons: list[list[list[dict]]], p: Values, wording: str) -> Path:
    """Tune `base` on lessons, each a list of chats about one pair, in the order given; resumes where it was killed.

    `p` are the parameters, `wording` is that of the roles' prompts. Writes a folder of the run's name (a model, or an
    adapter) and its loss beside it. Raises ValueError on an unknown optimizer.
    """

    def with_tags(model, processor: OmniProcessor) -> OmniProcessor:
        """Give the embedded model and its tokenizer the tags of criteria as tokens."""
        return extend_tokens(model, processor, fragments(), spoken(words(), shortest=4))

    model, processor = open_model(run, base, p, with_tags if wording == "brief" else None)

    def encode(lesson: list[list[dict]]) -> list[Example]:
        return [processor.encode(chat, train=True) for chat in lesson]

    examples = encoded(lessons, encode, lambda lesson: f"a lesson of {len(lesson)} questions")
    trainer = make_trainer(run, p, model, processor, examples)
    train_on(trainer, run)
    run.write(f"{run.name}-loss.csv", history(trainer)[["step", "loss"]].to_csv(index=False))
    return keep_judge(run, run.name, trainer, processor, base, asked_of(p, wording))


def make_trainer(run: Training, p: Values, model, processor: OmniProcessor, examples: Sequence):
    """Assemble TRL's SFTTrainer over encoded lessons, with Muon on the matrices where a model tuned whole asks for it.

    Lessons are trained on in their order, in which a batch has one form.
    """
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer

    from omnirepro.train.muon import MuonAndAdamW

    class InOrder(NamesAsSaved, OnAnswers, SFTTrainer):
        def _get_train_sampler(self, train_dataset=None):
            return SequentialSampler(train_dataset)

    optimizer = None  # the trainer's own AdamW
    if p["tune"] == "whole":
        if p["optimizer"] not in OPTIMIZERS:
            raise ValueError(f"{SECTION}.sft_optimizer is {p['optimizer']!r}; one of {', '.join(OPTIMIZERS)}")
        if p["optimizer"] == "muon":
            trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
            optimizer = MuonAndAdamW(trained, p["lr"])
    config = SFTConfig(
        **arguments(run, p, p["steps"], p["batch"]),
        **ENCODED,
        logging_steps=min(5, p["steps"]),
        gradient_checkpointing=p["gradient_checkpointing"],
    )
    own = {"processing_class": processor.tokenizer, "optimizers": (optimizer, None)}
    return over_examples(InOrder, "roles, SFT", model, config, examples, partial(collate, processor), **own)
