"""What a run with a real checkpoint will take: steps, tokens, memory by part and time, before any of it is paid for.

Consumes a profile and a few stated assumptions; produces text. Sizes are not guessed: the architecture is built on the
meta device with the LoRA of the trainers, its parameters are counted by part, and what one layer keeps for its backward
pass is recorded there. Time is arithmetic over a throughput that the caller states; where the papers publish hours, the
throughput that these imply stands beside it.

Arithmetic, with N parameters of the language model and T tokens: a forward pass is 2 N T operations; training with
frozen weights 4 N T (forward, and backward to the activations; gradients of LoRA are small), 6 N T where activations
are computed anew. A generated token costs one reading of all weights, shared by what a GPU generates at a time.
Attention is taken as computed without storing its matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from omnirepro.kit.run import ParameterError, Params

GIB = 2**30
BF16 = 2  # bytes a number
FP32 = 4
PUBLISHED_HOURS = {"Qwen/Qwen2.5-Omni-3B": {"sft": 3, "grpo": 12}, "Qwen/Qwen2.5-Omni-7B": {"sft": 5, "grpo": 18}}


@dataclass(frozen=True)
class Assumptions:
    """What a plan rests on beside the profile; the command line has an option for each, with these words."""

    gpus: int = field(default=8, metadata={"help": "GPUs (default: 8)"})
    sft_rows: int = field(default=24_300, metadata={"help": "labelled pairs for SFT (default: Omni-Preference's)"})
    rl_rows: int = field(default=16_671, metadata={"help": "labelled pairs for GRPO (default: Omni-Preference's)"})
    prompt: int = field(default=1500, metadata={"help": "tokens of a prompt with its media"})
    answer: int = field(default=265, metadata={"help": "tokens of a judgement (default: the published mean)"})
    teraflops: float = field(default=120.0, metadata={"help": "throughput of a GPU in training, in TFLOP/s"})
    bandwidth: float = field(default=2000.0, metadata={"help": "memory bandwidth of a GPU, in GB/s"})
    zero: int = field(default=2, metadata={"help": "ZeRO stage; 3 also stands for FSDP", "choices": (0, 1, 2, 3)})


@dataclass(frozen=True)
class Sizes:
    """An architecture in numbers: parameters by part and of LoRA, and bytes a token in the cache and in a layer."""

    parameters: dict[str, int]
    lora: int
    layers: int
    hidden: int
    vocabulary: int
    cache: int
    kept: int

    @property
    def total(self) -> int:
        return sum(self.parameters.values())


def measure(name: str, rank: int) -> Sizes:
    """Count an architecture on the meta device: parts, LoRA of `rank` as the trainers set it, cache, activations."""
    from omnirepro.models.architectures import on_meta, thinker_config

    config = thinker_config(name)
    model = on_meta(config).bfloat16()
    text = config.get_text_config()
    head = text.hidden_size // text.num_attention_heads

    def count(part: str) -> int:
        return sum(p.numel() for name, p in model.named_parameters() if part in f".{name}")

    parameters = {"vision tower": count(".visual."), "audio tower": count(".audio_tower.")}
    parameters["language model"] = count("") - sum(parameters.values())
    kept = _kept_by_layer(model.get_decoder(), text.hidden_size)
    model = with_lora(model, rank)
    return Sizes(
        parameters,
        lora=count("lora_"),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        cache=2 * text.num_hidden_layers * text.num_key_value_heads * head * BF16,
        kept=kept,
    )


def with_lora(model, rank: int):
    """Put the trainers' LoRA on a model."""
    from peft import get_peft_model

    from omnirepro.train.common import lora

    return get_peft_model(model, lora({"lora_rank": rank, "lora_alpha": 4 * rank}))


def _kept_by_layer(decoder, hidden: int) -> int:
    """Return the bytes a token that one decoder layer keeps for its backward pass, attention matrix left out.

    What is kept grows as a T + b T^2 with the length T; a is taken from two lengths.
    """
    import torch

    layer = decoder.layers[0]
    own = {p.untyped_storage()._cdata for p in layer.parameters()}
    per_token = {}
    for length in (256, 512):
        seen: dict[int, int] = {}

        def keep(tensor, seen=seen):
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
            return tensor

        states = torch.empty(1, length, hidden, device="meta", dtype=torch.bfloat16, requires_grad=True)
        angles = decoder.rotary_emb(states, torch.zeros(3, 1, length, dtype=torch.long, device="meta"))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(states, position_embeddings=angles, attention_mask=None)
        per_token[length] = sum(size for storage, size in seen.items() if storage not in own) / length
    return round(2 * per_token[256] - per_token[512])


def memory(sizes: Sizes, p: Any, given: Assumptions, tokens: int, generating: int = 0) -> dict[str, float]:
    """Return GiB on each GPU by part. `tokens`: of a micro-batch; `generating`: tokens in the cache at a time."""
    spread = {stage: given.gpus if given.zero >= stage else 1 for stage in (1, 2, 3)}
    kept = sizes.layers * sizes.hidden * BF16 + sizes.kept if p["gradient_checkpointing"] else sizes.layers * sizes.kept
    parts = {
        "weights (bfloat16)": sizes.total * BF16 / spread[3],
        "LoRA (float32)": sizes.lora * FP32,
        "gradients of LoRA": sizes.lora * FP32 / spread[2],
        "optimizer (Adam)": 2 * sizes.lora * FP32 / spread[1],
        "activations": tokens * kept,
        "logits and their gradient": 2 * tokens * sizes.vocabulary * FP32,
        "KV cache": generating * sizes.cache,
    }
    return {name: size / GIB for name, size in parts.items()}


def plan(params: Params, given: Assumptions) -> str:
    """Return the plan of SFT and GRPO for a profile as text. Raises `ParameterError` where batches do not divide."""
    import pandas as pd

    name = params["backbone.model"]
    try:
        sizes = measure(name, params["sft.lora_rank"])
    except ValueError as error:
        raise ParameterError(f"profile {params.profile}: backbone.model {error}") from None
    stages = {stage: _stage(stage, params, sizes, given) for stage in ("sft", "grpo")}
    counted = ", ".join(f"{part} {n / 1e9:.2f} B" for part, n in sizes.parameters.items())
    lines = [
        f"{name}: {sizes.total:,} parameters ({counted})",
        f"LoRA of rank {params['sft.lora_rank']} on every linear layer of the language model: {sizes.lora:,} trained",
        f"KV cache: {sizes.cache / 1024:.0f} KiB a token; a layer keeps {sizes.kept / 1024:.0f} KiB a token",
        f"assumed: {given.gpus} GPUs, {given.teraflops:g} TFLOP/s each, {given.bandwidth:g} GB/s of memory, ZeRO-"
        f"{given.zero}, {given.prompt} tokens of prompt and media, {given.answer} of answer",
        "",
        pd.DataFrame({stage: column for stage, (_, column) in stages.items()}).to_string(),
    ]
    for stage, hours in PUBLISHED_HOURS.get(name, {}).items():
        implied = stages[stage][0] / (8 * hours * 3600) / 1e12
        lines.append(f"{stage}: published {hours} h on 8 A100, at which this work is {implied:.0f} TFLOP/s a GPU")
    return "\n".join(lines)


def _stage(name: str, params: Params, sizes: Sizes, given: Assumptions) -> tuple[float, dict[str, str]]:
    """Return the operations of "sft" or "grpo" and its column of the plan."""
    from omnirepro.train.common import divided

    p = params.section(name)
    orders = 2 if p["both_orders"] else 1
    language = sizes.parameters["language model"]
    passes = 6 if p["gradient_checkpointing"] else 4
    if name == "sft":
        batch = p["batch"]
        steps = p["steps"] or math.ceil(round(given.sft_rows * (orders + p["ties"])) / batch) * p["epochs"]
        longest = p["max_length"]
        prefill = seconds = at_once = 0
    else:
        batch = p["pairs"] * orders * p["group"]
        steps = p["steps"] or given.rl_rows // p["pairs"] * p["iterations"]
        longest = given.prompt + params["judge.max_new_tokens"]
        passes += (2 if p["beta"] else 0) / p["iterations"]
        generations = math.ceil(steps / p["iterations"])
        prefill = 2 * generations * batch * given.prompt
        seconds = generations * given.answer * language * BF16 / (given.bandwidth * 1e9)
        at_once = batch // given.gpus  # completions that a GPU generates between two updates
    try:
        micro, accumulate = divided(batch, p["accumulate"], given.gpus)
    except ValueError as error:
        raise ParameterError(f"{name}: {error}") from None
    tokens = steps * batch * (given.prompt + given.answer)
    work = language * (passes * tokens + prefill)
    kept = memory(sizes, p, given, micro * longest, at_once * longest)
    column = {"optimizer steps": f"{steps:,}"}
    column["batch = GPUs x rows x accumulation"] = f"{batch} = {given.gpus} x {micro} x {accumulate}"
    column["tokens trained on"] = f"{tokens / 1e6:,.1f} M"
    column |= {f"GiB: {part}": f"{size:.2f}" for part, size in kept.items()}
    column["GiB a GPU"] = f"{sum(kept.values()):.1f}"
    column["hours"] = f"{(work / (given.gpus * given.teraflops * 1e12) + seconds) / 3600:.1f}"
    return work, column
