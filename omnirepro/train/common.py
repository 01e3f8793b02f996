"""What trainings on transformers' Trainer share: its arguments, LoRA, resuming, progress, and how a judge is kept."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import MediaError
from omnirepro.data.progress import progress
from omnirepro.judge.generative import Judge, save_settings
from omnirepro.models.examples import RECENT, Encoded
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import save_adapter
from omnirepro.train.run import Run, Values

LOOKED_AT = 5.0  # seconds before the first step in which rows are read for what is wrong with them
LANGUAGE_LAYERS = r"^(?!.*(visual|audio_tower)).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"


def arguments(run: Run, p: Values, steps: int, batch: int) -> dict[str, Any]:
    """Translate what the parameters of all trainings have in common; `batch` rows make one optimizer step."""
    workers = getattr(run, "workers", 0)
    rows, passes = divided(batch, p["accumulate"], int(os.environ.get("WORLD_SIZE", 1)))
    return dict(
        output_dir=str(run.checkpoint_dir),
        max_steps=steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=passes,
        learning_rate=p["lr"],
        lr_scheduler_type=p["schedule"],
        warmup_steps=int(p["warmup"] * steps),
        save_steps=p["save_every"],
        save_total_limit=1,
        seed=run.seed,
        bf16=run.dtype == "bfloat16",
        use_cpu=run.device == "cpu",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        remove_unused_columns=False,  # of a row that is a number
        ddp_find_unused_parameters=False,  # every weight that is trained takes part in every pass
    )


def over_examples(
    kind: type, label: str, model, args, examples: Sequence, collate: Callable[[list], dict], order=None, **kwargs: Any
):
    """Assemble a Trainer of class `kind` over examples, of which `collate` makes a batch, media included.

    Where they are `Encoded`, that is when they are encoded, in the process that makes the batch. The dataset holds
    their numbers, in `order` where it is given. The kit's own progress, named `label`, stands in
    place of the default printing.
    """
    from datasets import Dataset
    from transformers import PrinterCallback

    trainer = kind(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict({"row": order or list(range(len(examples)))}),
        data_collator=lambda rows: collate([examples[one["row"]] for one in rows]),
        callbacks=[progress_callback(label)],
        **kwargs,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def encoded(rows: Sequence, encode: Callable[[Any], Any], names: Callable[[Any], str]) -> Encoded:
    """Return rows that are encoded when their batch is made, and look at some of them before.

    The first `LOOKED_AT` seconds are spent on reading rows, so that what is wrong with the data is said before hours of
    training; in short trainings that is all of them. An error of a row says its name, which `names` tells.
    """

    def named(row: Any) -> Any:
        try:
            return encode(row)
        except MediaError as error:
            raise MediaError(f"{names(row)}: {error}") from error

    examples = Encoded(rows, named, RECENT)
    started = time.monotonic()
    for looked_at, _ in enumerate(examples, 1):
        if time.monotonic() - started > LOOKED_AT and looked_at < len(rows):
            print(f"{looked_at} of {len(rows)} rows were read before the first step; the others are with their batch")
            break
    return examples


def check_length(tokens: int, limit: int, row: str, key: str) -> None:
    """Refuse a row of more than `limit` tokens: cutting it would train on a part of what it says."""
    if tokens > limit:
        raise ValueError(
            f"{row}: its {tokens} tokens exceed {limit} tokens, and nothing is cut that is over {limit}; raise {key}, "
            "lower the frames or pixels of its media, or remove the row"
        )


def lora(p: Values):
    """Return the LoRA matrices of a section (`lora_rank`, `lora_alpha`, `lora_dropout`) on the language model."""
    from peft import LoraConfig

    dropout = p.get("lora_dropout", 0.0)
    return LoraConfig(
        r=p["lora_rank"], lora_alpha=p["lora_alpha"], lora_dropout=dropout, target_modules=LANGUAGE_LAYERS
    )


def history(trainer) -> pd.DataFrame:
    """Return the training curve: a row a logged step, with `step`, `loss` and what else was logged."""
    return pd.DataFrame([entry for entry in trainer.state.log_history if "loss" in entry])


def divided(batch: int, accumulate: int, processes: int) -> tuple[int, int]:
    """Return the rows of a pass in each process and the passes of a step, which together make up `batch`.

    Rows are those of one process, or fewer where the batch is short. Raises ValueError where it cannot be divided.
    """
    if batch % processes:
        raise ValueError(f"a batch of {batch} cannot be divided among {processes} processes; change either")
    rows = math.gcd(batch // accumulate, batch // processes)
    return rows, batch // processes // rows


def last_checkpoint(run: Run) -> tuple[str | None, int]:
    """Return the run's newest whole checkpoint and its step; None and 0 where there is none.

    The trainer's state is what a checkpoint gets last: a folder in which it cannot be read was cut off by a kill.
    """
    steps = {0: None}
    for path in Path(run.checkpoint_dir).glob("checkpoint-*"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads((path / "trainer_state.json").read_text(encoding="utf-8")):
                steps[int(path.name.rsplit("-", 1)[1])] = str(path)
    return steps[max(steps)], max(steps)


def train_on(trainer, run: Run) -> None:
    """Train on from the last checkpoint; one that ended is loaded only, for transformers would add a step to it.

    An error of a row is the same whichever process made its batch.
    """
    from transformers import TrainerState

    checkpoint, done = last_checkpoint(run)
    if checkpoint is None or done < trainer.args.max_steps:
        try:
            trainer.train(resume_from_checkpoint=checkpoint)
        except ValueError as error:  # torch wraps the traceback of a worker into its message
            last = str(error).strip().splitlines()[-1]
            if "in DataLoader worker" not in str(error):
                raise
            raise type(error)(last.partition(": ")[2]) from error
        return
    trainer._load_from_checkpoint(checkpoint)
    trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / "trainer_state.json"))


class NamesAsSaved:
    """Mixed into a Trainer of a whole model: transformers saves weights under other names than it trains them by, and
    its own way to load a checkpoint would pass over every one of them in silence."""

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if hasattr(self.model, "peft_config") or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
            self.model.load_state_dict(saved.state_dict())


def whole_weights(trainer) -> dict[str, Any] | None:
    """Collect the weights where processes may hold parts of them; None for one process. Every process must call it."""
    if trainer.accelerator.num_processes == 1:
        return None
    return trainer.accelerator.get_state_dict(trainer.model_wrapped)


def keep_judge(run: Run, name: str, trainer, processor, base: Path | str, asked: Values) -> Path:
    """Write the folder `name`: an adapter that names its base, or a model, and how this judge wants to be asked.

    `asked` has the `format` and `wording` of its prompt and its `max_new_tokens`.
    """
    model = trainer.model
    weights = whole_weights(trainer)
    chat = LocalModel(model, processor, run.name)
    judge = Judge(chat, asked["format"], asked["wording"], Decoding(max_new_tokens=asked["max_new_tokens"]))

    def save(folder: Path) -> None:
        if hasattr(model, "peft_config"):
            save_adapter(model, folder, base, weights)
        else:
            model.save_pretrained(folder, safe_serialization=True, state_dict=weights)
            processor.save_pretrained(folder)
        save_settings(judge, folder)

    return run.write(name, save)


def progress_callback(label: str):
    """Return a Trainer callback that prints steps, loss and the time left, and silences the default printing."""
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.started = time.monotonic()
            self.first = state.global_step
            self.report = progress(label)

        def on_step_end(self, args, state, control, **kwargs):
            losses = [h["loss"] for h in state.log_history if "loss" in h]
            note = f"loss {losses[-1]:.3f}" if losses else ""
            done = state.global_step - self.first
            self.report(done, state.max_steps - self.first, time.monotonic() - self.started, note)

    return Report()
