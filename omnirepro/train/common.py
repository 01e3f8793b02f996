"""What every training on transformers' Trainer shares: its arguments, resuming, progress, and how a judge is kept."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from omnirepro.data.progress import progress
from omnirepro.judge.generative import Judge, save_settings
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import save_adapter
from omnirepro.train.run import Run


def arguments(run: Run, section: str, steps: int, batch: int) -> dict[str, Any]:
    """Translate what the sections of all trainings have in common; `batch` rows make one optimizer step."""
    p = run.section(section)
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
        ddp_find_unused_parameters=False,  # every weight that is trained takes part in every pass
    )


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
    steps = {int(path.name.rsplit("-", 1)[1]): path for path in Path(run.checkpoint_dir).glob("checkpoint-*")}
    last = max((step for step, path in steps.items() if _is_whole(path)), default=0)
    return (str(steps[last]), last) if last else (None, 0)


def _is_whole(checkpoint: Path) -> bool:
    try:
        return bool(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def train_on(trainer, run: Run) -> None:
    """Train on from the last checkpoint; one that ended is loaded only, for transformers would add a step to it."""
    from transformers import TrainerState

    checkpoint, done = last_checkpoint(run)
    if checkpoint is None or done < trainer.args.max_steps:
        trainer.train(resume_from_checkpoint=checkpoint)
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


def keep_judge(run: Run, trainer, processor, base: Path | str) -> Path:
    """Write `adapter`: the tuned weights, the way to their base, and how this judge wants to be asked."""
    model, weights = trainer.model, whole_weights(trainer)
    asked = run.section("judge")
    decoding = Decoding(max_new_tokens=asked["max_new_tokens"])
    judge = Judge(LocalModel(model, processor, run.name), asked["format"], asked["wording"], decoding)
    return run.write("adapter", lambda f: (save_adapter(model, f, base, weights), save_settings(judge, f)))


def progress_callback(label: str):
    """Return a Trainer callback that prints steps, loss and the time left, and silences the default printing."""
    from transformers import TrainerCallback

    class Report(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.started, self.first, self.report = time.monotonic(), state.global_step, progress(label)

        def on_step_end(self, args, state, control, **kwargs):
            losses = [h["loss"] for h in state.log_history if "loss" in h]
            note = f"loss {losses[-1]:.3f}" if losses else ""
            done = state.global_step - self.first
            self.report(done, state.max_steps - self.first, time.monotonic() - self.started, note)

    return Report()
