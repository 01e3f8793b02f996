"""Direct preference optimisation of the judge on its own improved judgements (GRM-Omni, Section 3.3), on TRL's trainer.

Consumes preferences (`search.selection`) and the model that supervised tuning left; produces a model or adapter and
the training curve. TRL's trainer reads text, and pictures through an official processor; here its batches come from
the kit's collator, so that text, image, video and audio mix. The reference is the model before training: a frozen
second copy, or TRL's copy of the adapter.

Departures: (1) the paper gives no coefficient of the KL term; 0.1 is the default of the framework it names; (2) one
iteration, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omnirepro.data import text_part
from omnirepro.judge.criteria import messages
from omnirepro.models.loading import load
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.search.selection import Preference
from omnirepro.train.common import (
    NamesAsSaved,
    arguments,
    check_length,
    encoded,
    history,
    keep_judge,
    over_examples,
    train_on,
)
from omnirepro.train.run import Run, Values, launchable
from omnirepro.train.tuning import asked_of, open_model

CURVE = {  # the columns of the training curve, by TRL's names; margin and rewards in nats
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
}
Pairs = Sequence[tuple[Example, Example]]


@launchable
def train_dpo(run: Run, base: Path | str, rows: list[Preference], p: Values, wording: str) -> Path:
    """Tune `base` on preferences in one iteration; writes a folder of the run's name and its loss beside it; resumes.

    `p` are the parameters, `wording` is that of the instruction to the judge. Raises ValueError where there are no
    preferences or one is longer than `max_length` tokens.
    """
    if not rows:
        raise ValueError(f"{run.name}: no preference was selected; search more pairs, or take another rule")
    model, processor = open_model(run, base, p)
    pairs = encode(processor, rows, wording, p["max_length"])
    whole = not hasattr(model, "peft_config")
    reference = load(base, run.device, "float32")[0].requires_grad_(False) if whole else None
    trainer = make_trainer(run, p, model, reference, processor, pairs)
    train_on(trainer, run)
    curve = history(trainer).reindex(columns=["step", *CURVE]).rename(columns=CURVE)
    run.write(f"{run.name}-loss.csv", curve.to_csv(index=False))
    if not whole and "ref" in model.peft_config:
        model.delete_adapter("ref")
    return keep_judge(run, run.name, trainer, processor, base, asked_of(p, wording))


def encode(processor: OmniProcessor, rows: list[Preference], wording: str, limit: int) -> Pairs:
    """Encode chosen and rejected behind their prompt, when their batch is made; loss is taken on the answers only."""

    def sides(row: Preference) -> tuple[Example, Example]:
        prompt = messages(row.task, wording)
        answers = ({"role": "assistant", "parts": [text_part(t)]} for t in (row.chosen, row.rejected))
        chosen, rejected = (processor.encode([*prompt, answer], train=True) for answer in answers)
        check_length(max(len(chosen.ids), len(rejected.ids)), limit, name(row), "max_length")
        return chosen, rejected

    def name(row: Preference) -> str:
        return f"the preference of pair {row.pair_id}"

    return encoded(rows, sides, name)


def collate(processor: OmniProcessor, pairs: Pairs) -> dict:
    """Make TRL's batch: chosen in its first half, rejected in the second, with a mask of the answers' tokens."""
    batch = processor.collate([e for side in (0, 1) for e in (pair[side] for pair in pairs)])
    return batch | {"completion_mask": (batch.pop("labels") != -100).long()}


def make_trainer(run: Run, p: Values, model, reference, processor: OmniProcessor, pairs: Pairs):
    """Assemble TRL's trainer over encoded preferences."""
    from trl import DPOConfig, DPOTrainer

    class OmniDPOTrainer(NamesAsSaved, DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset  # rows are encoded already, media included

    config = DPOConfig(
        **arguments(run, p, p["steps"], p["batch"]),
        beta=p["beta"],
        loss_type=["sigmoid"],
        max_length=None,
        logging_steps=1,
        gradient_checkpointing=p["gradient_checkpointing"],
    )
    own = {"ref_model": reference, "processing_class": processor.tokenizer}
    return over_examples(OmniDPOTrainer, f"DPO, {run.name}", model, config, pairs, partial(collate, processor), **own)
