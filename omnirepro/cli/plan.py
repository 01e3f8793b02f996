"""What a run with a real checkpoint will take: steps, tokens, memory, disk, time and money, before any is paid for.

Consumes a profile, the cards of its data and a few stated assumptions; produces text: the trainings with their memory
by part, and every piece of work of the profile's notebooks (`workload`). Sizes are not guessed: the architecture is
built on the meta device with the LoRA of the trainers, its parameters are counted by part, and what one layer keeps for
its backward pass is recorded there.

Arithmetic, with N parameters of the language model and T tokens: a forward pass is 2 N T operations; training with
frozen weights 4 N T (forward, and backward to the activations; gradients of LoRA are small), of all weights 6 N T, and
2 N T more where activations are computed anew. Attention is taken as computed without storing its matrix.

Two constants are calibrated by the hours that Omni-RRM's README gives for its 7B on 8 A100: `teraflops` by the 5 h of
SFT (one row a pass, checkpointing, reading of media included), `token_ms` by what 18 h of GRPO leave for generating (a
step of `generate` is bound by launches, and all wait for the longest answer, about three times the mean). Nothing was
fitted to the 3B: its 3 h and 12 h stand beside what the same constants give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from omnirepro.cli.workload import Work, cards_in, disk, rows_for_training, rows_of, to_get, uncounted, works
from omnirepro.kit.run import ParameterError, Params

GIB = 2**30
BF16 = 2  # bytes a number
FP32 = 4
PUBLISHED_HOURS = {"Qwen/Qwen2.5-Omni-3B": {"sft": 3, "grpo": 12}, "Qwen/Qwen2.5-Omni-7B": {"sft": 5, "grpo": 18}}
SHARDED = ("fsdp2", "zero3")


@dataclass(frozen=True)
class Assumptions:
    """What a plan rests on beside the profile; the command line has an option for each, with these words."""

    gpus: int = field(default=8, metadata={"help": "GPUs (default: 8)"})
    sft_rows: int = field(default=24_300, metadata={"help": "labelled pairs for SFT, where the profile names no data"})
    rl_rows: int = field(default=16_671, metadata={"help": "labelled pairs for GRPO, where the profile names no data"})
    prompt: int = field(default=1500, metadata={"help": "tokens of a judging prompt with its media"})
    answer: int = field(default=265, metadata={"help": "tokens of a judgement (default: the published mean)"})
    teraflops: float = field(
        default=27.0, metadata={"help": "TFLOP/s of a GPU in training (default: by published hours)"}
    )
    token_ms: float = field(
        default=83.5, metadata={"help": "ms of a batch for a token of the mean answer (default: by published hours)"}
    )
    reading: float = field(default=100.0, metadata={"help": "TFLOP/s of a GPU that reads batches of prompts"})
    zero: int = field(default=2, metadata={"help": "ZeRO stage; 3 also stands for FSDP", "choices": (0, 1, 2, 3)})
    gpu_price: float = field(default=2.0, metadata={"help": "price of a GPU's hour (default: 2)"})


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


@cache
def measure(name: str, rank: int) -> Sizes:
    """Count an architecture on the meta device: parts, LoRA of `rank` as the trainers set it, cache, activations."""
    from omnirepro.models.architectures import on_meta, released_config

    config = released_config(name)
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
    """Return GiB on each GPU by part. `tokens`: of a micro-batch; `generating`: tokens in the cache at a time.

    Where the language model is tuned whole, its weights are held in float32.
    """
    spread = {stage: given.gpus if given.zero >= stage else 1 for stage in (1, 2, 3)}
    kept = sizes.layers * sizes.hidden * BF16 + sizes.kept if p["gradient_checkpointing"] else sizes.layers * sizes.kept
    whole = is_whole(p)
    language = sizes.parameters["language model"]
    trained = language if whole else sizes.lora
    parts = {
        "weights (bfloat16)": (sizes.total - whole * language) * BF16 / spread[3],
        "trained weights (float32)": trained * FP32 / (spread[3] if whole else 1),
        "their gradients": trained * FP32 / spread[2],
        "optimizer (Adam)": 2 * trained * FP32 / spread[1],
        "activations": tokens * kept,
        "logits and their gradient": 2 * tokens * sizes.vocabulary * FP32,
        "KV cache": generating * sizes.cache,
    }
    return {name: size / GIB for name, size in parts.items()}


def is_whole(p: Any) -> bool:
    """Tell whether a training tunes the language model whole."""
    return p.get("tune", "lora") != "lora"


@dataclass(frozen=True)
class Training:
    """A training of a profile: `batch` sequences of `length` tokens a step; `group` of them answered to one prompt."""

    notebook: str
    name: str
    p: Any
    steps: int
    batch: int
    longest: int
    length: int
    group: int = 0
    references: float = 0  # forward passes of the model that stays as it was, a sequence
    scores: bool = False  # instead of logits

    def column(self, params: Params, sizes: Sizes, given: Assumptions) -> tuple[Work, dict[str, str]]:
        """Return its work and its column of the plan. Raises `ParameterError` where its batch does not divide."""
        from omnirepro.train.common import divided

        try:
            micro, accumulate = divided(self.batch, self.p["accumulate"], given.gpus)
        except ValueError as error:
            raise ParameterError(f"{self.name}: {error}") from None
        passes = (6 if is_whole(self.p) else 4) + 2 * self.references + (2 if self.p["gradient_checkpointing"] else 0)
        generations = math.ceil(self.steps / self.p["iterations"]) if self.group else 0
        tokens = self.steps * self.batch * self.length
        prefilled = 2 * generations * self.batch * given.prompt
        operations = sizes.parameters["language model"] * (passes * tokens + prefilled)
        seconds = operations / (given.gpus * given.teraflops * 1e12)
        seconds += generations * given.answer * given.token_ms / 1000
        at_once = self.batch // given.gpus * self.longest if self.group else 0
        sized = replace(sizes, vocabulary=0) if self.scores else sizes
        kept = memory(sized, self.p, given, micro * self.longest, at_once)
        shown = {"optimizer steps": f"{self.steps:,}"}
        shown["batch = GPUs x rows x accumulation"] = f"{self.batch} = {given.gpus} x {micro} x {accumulate}"
        shown["tokens trained on"] = f"{tokens / 1e6:,.1f} M"
        shown |= {f"GiB: {part}": f"{size:.2f}" for part, size in kept.items()}
        shown["GiB a GPU"] = f"{sum(kept.values()):.1f}"
        shown["hours"] = f"{seconds / 3600:.1f}"
        written = given.answer if self.group else 0
        sequences = self.steps * self.batch
        return Work(self.notebook, f"training {self.name}", "", sequences, self.length, written, 1, seconds), shown


def trainings(params: Params, given: Assumptions) -> list[Training]:
    """Return the trainings of the notebooks that a profile runs."""
    parts = {"03_sft": _supervised, "04_grpo": _reinforced, "05_bradley_terry": _scalar, "06_meta_reward_dpo": _roles}
    return [training for stage in params.notebooks if stage in parts for training in parts[stage](params, given)]


def _supervised(params: Params, given: Assumptions) -> list[Training]:
    p = params.section("sft")
    rows = rows_for_training(params, given)[0] * p["share"]
    shown = round(rows * ((2 if p["both_orders"] else 1) + p["ties"]))
    steps = p["steps"] or math.ceil(shown / p["batch"]) * p["epochs"]
    return [Training("03", "sft", p, steps, p["batch"], p["max_length"], given.prompt + given.answer)]


def _reinforced(params: Params, given: Assumptions) -> list[Training]:
    p = params.section("grpo")
    steps = p["steps"] or int(rows_for_training(params, given)[1]) // p["pairs"] * p["iterations"]
    return [_group("04", "grpo", params, given, steps)]


def _group(notebook: str, name: str, params: Params, given: Assumptions, steps: int) -> Training:
    p = params.section("grpo")
    batch = p["pairs"] * (2 if p["both_orders"] else 1) * p["group"]
    longest = given.prompt + params["judge.max_new_tokens"]
    references = 1 / p["iterations"] if p["beta"] else 0
    return Training(notebook, name, p, steps, batch, longest, given.prompt + given.answer, p["group"], references)


def _scalar(params: Params, given: Assumptions) -> list[Training]:
    """Omni-Reward's: a scalar model on two sequences a pair, each arm as long as it, and R1 for each of its shares."""
    p = params.section("bradley_terry")
    rows = rows_of(cards_in(params, "bradley_terry.data")).total() * (1 - params["data.dev_share"])
    steps = p["steps"] or math.ceil(rows / p["batch"]) * p["epochs"]
    length = given.prompt + given.answer
    models = ("bradley_terry", *p["arms"]) if p["scalar_models"] else ()
    found = [Training("05", name, p, steps, 2 * p["batch"], length, given.prompt, scores=True) for name in models]
    return found + [_group("05", f"r1 {share:g}", params, given, p["r1_steps"]) for share in p["r1_shares"]]


def _roles(params: Params, given: Assumptions) -> list[Training]:
    """GRM-Omni's: supervised roles, DPO and the continual step, whose preferences are two sequences each."""
    p = params.section("meta_reward_dpo")
    found = []
    for name, sides, references in (("sft", 1, 0), ("dpo", 2, 1), ("plus", 2, 1)):
        own = p.renamed({"accumulate": f"{name}_accumulate"})
        batch = sides * p[f"{name}_batch"]
        length = given.prompt + given.answer
        steps = p[f"{name}_steps"]
        found.append(Training("06", f"roles {name}", own, steps, batch, p["max_length"], length, 0, references))
    return found


def plan(params: Params, given: Assumptions) -> str:
    """Return the plan of a profile as text. Raises `ParameterError` where batches or sizes are in the way."""
    import pandas as pd

    name = params["backbone.model"]
    try:
        sizes = measure(name, params["sft.lora_rank"])
    except ValueError as error:
        raise ParameterError(f"profile {params.profile}: backbone.model {error}") from None
    if params["device.launcher"] in SHARDED:
        given = replace(given, zero=3)
    columns = {training.name: training.column(params, sizes, given) for training in trainings(params, given)}
    done = sorted([*(work for work, _ in columns.values()), *works(params, given)], key=lambda work: work.notebook)
    hours = sum(work.hours(given, params) for work in done)
    paid = sum(work.paid(params) for work in done)
    whole = sum(is_whole(training.p) for training in trainings(params, given))
    trained = 12 * sizes.parameters["language model"] / 1e9 * bool(whole) + 2 * sizes.total / 1e9 * whole
    counted = ", ".join(f"{part} {n / 1e9:.2f} B" for part, n in sizes.parameters.items())
    lines = [
        f"{name}: {sizes.total:,} parameters ({counted})",
        f"LoRA of rank {params['sft.lora_rank']} on every linear layer of the language model: {sizes.lora:,} trained",
        f"KV cache: {sizes.cache / 1024:.0f} KiB a token; a layer keeps {sizes.kept / 1024:.0f} KiB a token",
        f"assumed: {given.gpus} GPUs, {given.teraflops:g} TFLOP/s each in training and {given.reading:g} in reading, "
        f"{given.token_ms:g} ms a token of a batch, ZeRO-{given.zero}, {given.prompt} tokens of prompt and media, "
        f"{given.answer} of answer",
        "",
        pd.DataFrame({name: shown for name, (_, shown) in columns.items()}).to_string(),
        "",
        pd.DataFrame([work.line(given, params) for work in done]).to_string(index=False),
        "",
        f"in all: {hours:,.0f} h; {hours * given.gpus * given.gpu_price:,.0f} for {given.gpus} GPUs at "
        f"{given.gpu_price:g} an hour, {paid:,.2f} for servers; {disk(params, done, trained):,.0f} GB of disk",
    ]
    for stage, published in PUBLISHED_HOURS.get(name, {}).items():
        if stage in columns:
            ours = columns[stage][0].hours(given, params)
            lines.append(f"{stage}: {ours:.1f} h; published {published} h on 8 A100")
    if unknown := uncounted(params):
        lines.append(f"not counted, since their cards state neither rows nor limit: {', '.join(unknown)}")
    return "\n".join([*lines, *(f"to get: {said}" for said in to_get(params))])
