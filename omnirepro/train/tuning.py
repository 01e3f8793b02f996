"""A model opened for tuning, whole or through LoRA, its vision and audio encoders frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnirepro.models.device import seed_all
from omnirepro.models.loading import load
from omnirepro.models.processing import OmniProcessor
from omnirepro.train.common import lora
from omnirepro.train.run import Run, Values

TUNE = ("whole", "lora")


def open_model(run: Run, base: Path | str, p: Values, extend: Callable[..., OmniProcessor] | None = None):
    """Load a model for tuning, encoders frozen; one that is tuned whole may get new tokens first, by `extend`.

    Reads `tune` and, for LoRA, its rank and scale. `extend(model, processor)` returns the processor to go on with.
    Raises ValueError on an unknown `tune`.
    """
    if p["tune"] not in TUNE:
        raise ValueError(f"tune is {p['tune']!r}; one of {', '.join(TUNE)}")
    whole = p["tune"] == "whole"
    seed_all(run.seed)
    model, processor = load(base, run.device, "float32" if whole else run.dtype, trainable=True)
    seed_all(run.seed)  # once more: torch, which new tokens are drawn by, may have been loaded only now
    if whole:
        processor = extend(model, processor) if extend else processor
        for name, weight in model.named_parameters():
            weight.requires_grad = "visual" not in name and "audio_tower" not in name
    elif not hasattr(model, "peft_config"):
        from peft import get_peft_model

        model = get_peft_model(model, lora(p))
    return model, processor


def asked_of(p: Values, wording: str) -> dict[str, Any]:
    """Say how a judge that writes criteria is asked when it is loaded by itself: for its verdict alone.

    `judge(..., scaling=CriteriaSearch(...))` asks it for criteria.
    """
    return {"format": "verdict-direct", "wording": wording, "max_new_tokens": p["max_new_tokens"]}
