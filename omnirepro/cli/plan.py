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
from dataclasses import dataclass
from typing import Any

from omnirepro.kit.run import ParameterError, Params

GIB, BF16, FP32 = 2**30, 2, 4
PUBLISHED_HOURS = {"Qwen/Qwen2.5-Omni-3B": {"sft": 3, "grpo": 12}, "Qwen/Qwen2.5-Omni-7B": {"sft": 5, "grpo": 18}}


@dataclass(frozen=True)
class Assumptions:
    """What a plan rests on beside the profile. Rows are Omni-Preference's; the answer's length is the published mean.

    `teraflops`: sustained by one GPU in training; `bandwidth`: of its memory, in GB/s; `zero`: ZeRO stage (3 also
    stands for FSDP's full sharding). `prompt` and `answer` are tokens, media included.
    """

    gpus: int = 8
    sft_rows: int = 24_300
    rl_rows: int = 16_671
    prompt: int = 1500
    answer: int = 265
    teraflops: float = 120.0
    bandwidth: float = 2000.0
    zero: int = 2


@dataclass(frozen=True)
class Sizes:
    """An architecture in numbers: parameters by part, and bytes a token."""

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
    text, parts = config.get_text_config(), {"vision tower": "visual", "audio tower": "audio_tower"}
    counted = {label: _count(model, f".{part}.") for label, part in parts.items()}
    counted["language model"] = _count(model, "") - sum(counted.values())
    kept = _kept_by_layer(model.get_decoder(), text.hidden_size)
    head = text.hidden_size // text.num_attention_heads
    return Sizes(
        counted, _count(with_lora(model, rank), "lora_"), text.num_hidden_layers, text.hidden_size, text.vocab_size,
        cache=2 * text.num_hidden_layers * text.num_key_value_heads * head * BF16, kept=kept,
    )  # fmt: skip


def with_lora(model, rank: int):
    """Put the trainers' LoRA on a model."""
    from peft import LoraConfig, get_peft_model

    from omnirepro.train.common import LANGUAGE_LAYERS

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=LANGUAGE_LAYERS))


def _count(model, part: str) -> int:
    return sum(p.numel() for name, p in model.named_parameters() if part in f".{name}")


def _kept_by_layer(decoder, hidden: int) -> int:
    """Return the bytes a token that one decoder layer keeps for its backward pass, attention matrix left out.

    What is kept grows as a T + b T^2 with the length T; a is taken from two lengths.
    """
    import torch

    layer, (short, long) = decoder.layers[0], (256, 512)
    own = {p.untyped_storage()._cdata for p in layer.parameters()}
    bytes_at = {}
    for length in (short, long):
        seen: dict[int, int] = {}

        def keep(tensor, seen=seen):
            storage = tensor.untyped_storage()
            seen[storage._cdata] = storage.nbytes()
            return tensor

        states = torch.empty(1, length, hidden, device="meta", dtype=torch.bfloat16, requires_grad=True)
        places = torch.zeros(3, 1, length, dtype=torch.long, device="meta")
        angles = decoder.rotary_emb(states, places)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(states, position_embeddings=angles, attention_mask=None)
        bytes_at[length] = sum(size for storage, size in seen.items() if storage not in own)
    square = (bytes_at[long] / long - bytes_at[short] / short) / (long - short)
    return round(bytes_at[short] / short - square * short)


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
    name = params["backbone.model"]
    try:
        sizes = measure(name, params["sft.lora_rank"])
    except ValueError as error:
        raise ParameterError(f"profile {params.profile}: backbone.model {error}") from None
    stages = [_sft(params.section("sft"), sizes, given), _grpo(params, sizes, given)]
    counted = ", ".join(f"{part} {n / 1e9:.2f} B" for part, n in sizes.parameters.items())
    lines = [
        f"{name}: {sizes.total:,} parameters ({counted})",
        f"LoRA of rank {params['sft.lora_rank']} on every linear layer of the language model: {sizes.lora:,} trained",
        f"KV cache: {sizes.cache / 1024:.0f} KiB a token; a layer keeps {sizes.kept / 1024:.0f} KiB a token",
        f"assumed: {given.gpus} GPUs, {given.teraflops:g} TFLOP/s each, {given.bandwidth:g} GB/s of memory, ZeRO-"
        f"{given.zero}, {given.prompt} tokens of prompt and media, {given.answer} of answer",
        "",
        *_table(stages),
        *(_published(name, stage, given) for stage in stages),
    ]
    return "\n".join(lines)


def _sft(p: Any, sizes: Sizes, given: Assumptions) -> dict[str, Any]:
    rows = round(given.sft_rows * ((2 if p["both_orders"] else 1) + p["ties"]))
    steps = p["steps"] or math.ceil(rows / p["batch"]) * p["epochs"]
    micro, accumulate = _divided("sft", p["batch"], p["accumulate"], given)
    tokens = steps * p["batch"] * (given.prompt + given.answer)
    work = (6 if p["gradient_checkpointing"] else 4) * sizes.parameters["language model"] * tokens
    return {
        "stage": "sft", "steps": steps, "batch": f"{p['batch']} = {given.gpus} x {micro} x {accumulate}",
        "tokens": tokens, "work": work, "hours": work / (given.gpus * given.teraflops * 1e12) / 3600,
        "memory": memory(sizes, p, given, micro * p["max_length"]),
    }  # fmt: skip


def _grpo(params: Params, sizes: Sizes, given: Assumptions) -> dict[str, Any]:
    p, longest = params.section("grpo"), params["judge.max_new_tokens"]
    orders = 2 if p["both_orders"] else 1
    completions = p["pairs"] * orders * p["group"]
    steps = p["steps"] or given.rl_rows // p["pairs"] * p["iterations"]
    micro, accumulate = _divided("grpo", completions, p["accumulate"], given)
    batches = math.ceil(steps / p["iterations"])
    tokens = steps * completions * (given.prompt + given.answer)
    passes = (6 if p["gradient_checkpointing"] else 4) + (2 if p["beta"] else 0) / p["iterations"]
    prefill = 2 * batches * completions * given.prompt
    work = sizes.parameters["language model"] * (passes * tokens + prefill)
    decoding = batches * given.answer * sizes.parameters["language model"] * BF16 / (given.bandwidth * 1e9)
    at_once = completions // given.gpus  # what a GPU generates between two updates
    return {
        "stage": "grpo", "steps": steps, "batch": f"{completions} = {given.gpus} x {micro} x {accumulate}",
        "tokens": tokens, "work": work,
        "hours": (work / (given.gpus * given.teraflops * 1e12) + decoding) / 3600,
        "memory": memory(sizes, p, given, micro * (given.prompt + longest), at_once * (given.prompt + longest)),
    }  # fmt: skip


def _divided(stage: str, batch: int, accumulate: int, given: Assumptions) -> tuple[int, int]:
    """Return rows a GPU and backward pass, and passes a step, as the trainers divide the batch."""
    from omnirepro.train.common import divided

    try:
        return divided(batch, accumulate, given.gpus)
    except ValueError as error:
        raise ParameterError(f"{stage}: {error}") from None


def _table(stages: list[dict[str, Any]]) -> list[str]:
    rows = [("", *(s["stage"] for s in stages))]
    rows += [("optimizer steps", *(f"{s['steps']:,}" for s in stages))]
    rows += [("batch = GPUs x rows x accumulation", *(s["batch"] for s in stages))]
    rows += [("tokens trained on", *(f"{s['tokens'] / 1e6:,.1f} M" for s in stages))]
    rows += [(f"GiB: {part}", *(f"{s['memory'][part]:.2f}" for s in stages)) for part in stages[0]["memory"]]
    rows += [("GiB a GPU", *(f"{sum(s['memory'].values()):.1f}" for s in stages))]
    rows += [("hours", *(f"{s['hours']:.1f}" for s in stages))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [f"{row[0]:<{widths[0]}}" + "".join(f"  {c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))
            for row in rows]  # fmt: skip


def _published(name: str, stage: dict[str, Any], given: Assumptions) -> str:
    hours = PUBLISHED_HOURS.get(name, {}).get(stage["stage"])
    if not hours:
        return ""
    implied = stage["work"] / (8 * hours * 3600) / 1e12
    return f"{stage['stage']}: published {hours} h on 8 A100, at which this work is {implied:.0f} TFLOP/s a GPU"
