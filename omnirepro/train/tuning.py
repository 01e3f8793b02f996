"""A model opened for tuning, whole or through LoRA, and kept with the way in which it wants to be asked.

Consumes a base and the parameters `tune`, `lora_rank` and `lora_alpha` of a section; produces a model whose vision and
audio encoders are frozen, and later a model folder or an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnirepro.judge.generative import Judge, save_settings
from omnirepro.models.device import seed_all
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load, save_adapter
from omnirepro.models.processing import OmniProcessor
from omnirepro.train.run import Run
from omnirepro.train.sft import LANGUAGE_LAYERS

TUNE = ("whole", "lora")


def open_model(run: Run, base: Path | str, section: str, extend: Callable[..., OmniProcessor] | None = None):
    """Load a model for tuning, encoders frozen; one that is tuned whole may get new tokens first, by `extend`.

    `extend(model, processor)` returns the processor to go on with. Raises ValueError on an unknown `tune`.
    """
    tune = run.section(section)["tune"]
    if tune not in TUNE:
        raise ValueError(f"{section}.tune is {tune!r}; one of {', '.join(TUNE)}")
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype if tune == "lora" else "float32", trainable=True)
    if tune == "lora":
        return _with_lora(model, run.section(section)), processor
    if extend:
        processor = extend(model, processor)
    for name, weight in model.named_parameters():
        weight.requires_grad = "visual" not in name and "audio_tower" not in name
    return model, processor


def _with_lora(model, p: Mapping[str, Any]):
    if hasattr(model, "peft_config"):
        return model
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=p["lora_rank"], lora_alpha=p["lora_alpha"], target_modules=LANGUAGE_LAYERS)
    return get_peft_model(model, lora)


def keep_tuned(
    run: Run,
    model,
    processor: OmniProcessor,
    folder: Path,
    base: Path | str,
    section: str,
    weights: dict | None = None,
) -> None:
    """Save a tuned model with its processor, or an adapter that names its base, and how it wants to be asked.

    Loaded by itself it gives its verdict alone; `judge(..., scaling=CriteriaSearch(...))` asks it for criteria.
    """
    if hasattr(model, "peft_config"):
        save_adapter(model, folder, base, weights)
    else:
        model.save_pretrained(folder, safe_serialization=True, state_dict=weights)
        processor.save_pretrained(folder)
    decoding = Decoding(max_new_tokens=run.section(section)["max_new_tokens"])
    wording = run.section("judge")["wording"]
    save_settings(Judge(LocalModel(model, processor, run.name), "verdict-direct", wording, decoding), folder)
