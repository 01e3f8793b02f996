"""Direct preference optimisation of the judge on its own improved judgements (GRM-Omni, Section 3.3), on TRL's trainer.

Consumes preferences (`search.selection`) and the model that supervised tuning left; produces a model or adapter and
the course of training. TRL's trainer reads text, and pictures through an official processor; here its batches come from
the kit's collator, so that text, image, video and audio mix. The reference is the model before training: a frozen
second copy, or TRL's copy of the adapter.

Departures: (1) the paper gives no coefficient of the KL term; 0.1 is the default of the framework it names; (2) one
iteration, as published.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro.data import text_part
from omnirepro.judge.criteria import messages
from omnirepro.models.loading import load
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.search.selection import Preference
from omnirepro.train.common import NamesAsSaved, arguments, progress_callback, train_on, whole_weights
from omnirepro.train.run import Run, launchable
from omnirepro.train.tuning import keep_tuned, open_model

COURSE = {
    "loss": "loss", "rewards/accuracies": "accuracy", "rewards/margins": "margin", "rewards/chosen": "chosen",
    "rewards/rejected": "rejected",
}  # fmt: skip
Pairs = list[tuple[Example, Example]]


@launchable
def train_dpo(run: Run, base: Path | str, rows: list[Preference], section: str) -> Path:
    """Tune `base` on preferences in one iteration; writes a folder of the run's name and its loss beside it; resumes.

    The parameters are those of `section`. Raises ValueError where there are no preferences or one is longer than
    `max_length` tokens.
    """
    name = run.name
    if not rows:
        raise ValueError(f"{name}: no preference was selected; raise {section}.pairs, or take another rule")
    model, processor = open_model(run, base, section)
    pairs = encode(processor, rows, run.section("judge")["wording"], run.section(section)["max_length"])
    whole = not hasattr(model, "peft_config")
    reference = load(base, run.device, "float32")[0].requires_grad_(False) if whole else None
    trainer = make_trainer(run, section, model, reference, processor, pairs)
    train_on(trainer, run)
    run.write(f"{name}-loss.csv", course(trainer.state.log_history).to_csv(index=False))
    if not whole and "ref" in model.peft_config:
        model.delete_adapter("ref")
    weights = whole_weights(trainer)
    return run.write(name, lambda folder: keep_tuned(run, model, processor, folder, base, section, weights))


def encode(processor: OmniProcessor, rows: list[Preference], wording: str, limit: int) -> Pairs:
    """Encode chosen and rejected behind their prompt; the loss is taken on the answers only."""
    out = []
    for row in rows:
        prompt = messages(row.task, wording)
        sides = [_answered(processor, prompt, text) for text in (row.chosen, row.rejected)]
        if (longest := max(len(e.ids) for e in sides)) > limit:
            raise ValueError(
                f"the preference of pair {row.pair_id} makes {longest} tokens, over {limit}; raise max_length"
            )
        out.append(tuple(sides))
    return out


def _answered(processor: OmniProcessor, prompt: list[dict], text: str) -> Example:
    return processor.encode([*prompt, {"role": "assistant", "parts": [text_part(text)]}], train=True)


def collate(processor: OmniProcessor, pairs: Pairs) -> dict:
    """Make TRL's batch: chosen in its first half, rejected in the second, with a mask of the answers' tokens."""
    batch = processor.collate([e for side in (0, 1) for e in (pair[side] for pair in pairs)])
    return batch | {"completion_mask": (batch.pop("labels") != -100).long()}


def make_trainer(run: Run, section: str, model, reference, processor: OmniProcessor, pairs: Pairs):
    """Assemble the trainer over encoded preferences; its dataset holds row numbers."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    class OmniDPOTrainer(NamesAsSaved, DPOTrainer):
        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset  # rows are encoded already, media included

    p = run.section(section)
    config = DPOConfig(
        **arguments(run, section, p["steps"], p["batch"]),
        beta=p["beta"],
        loss_type=["sigmoid"],
        max_length=None,
        logging_steps=1,
        gradient_checkpointing=p["gradient_checkpointing"],
        remove_unused_columns=False,
    )
    trainer = OmniDPOTrainer(
        model=model,
        ref_model=reference,
        args=config,
        train_dataset=Dataset.from_dict({"row": list(range(len(pairs)))}),
        data_collator=lambda rows: collate(processor, [pairs[r["row"]] for r in rows]),
        processing_class=processor.tokenizer,
        callbacks=[progress_callback(f"DPO, {run.name}")],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def course(history: list[dict]) -> pd.DataFrame:
    """Return a row a step: loss, share of preferences the model ranks rightly, margin and both rewards, in nats."""
    table = pd.DataFrame([h for h in history if "loss" in h and "rewards/margins" in h])
    return table.reindex(columns=["step", *COURSE]).rename(columns=COURSE)
