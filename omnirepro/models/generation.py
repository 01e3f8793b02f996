"""Batched generation whose result for a row depends on that row alone.

Consumes encoded prompts; produces texts. Rows are sorted by length, padded on the left and decoded with the KV cache.
Sampling draws each row's noise from its own seed, so neither batch size nor neighbours change what a row says.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from omnirepro.models.chats import ContextError
from omnirepro.models.examples import Encoded, stretches
from omnirepro.models.processing import Example, OmniProcessor

Progress = Callable[[int, int, float], None]  # done, total, seconds
BATCH_BYTES = 16 << 30  # of a batch's KV cache and activations, by `tokens_at_once`
ROWS = 8  # of a matrix product: those of fewer are rounded by other instructions on some processors


@dataclass(frozen=True)
class Decoding:
    """How to decode: temperature 0 is greedy; `top_p` and `top_k` cut the tail (1 and 0: off)."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Generated:
    """One completion: text without special tokens, its length in tokens, whether it ended by itself.

    `failure` names what kept the model from answering, and is then the status of what was to be read: "too_long" where
    the prompt leaves no room in the model's context, or what a server says ("refused", "filtered", "cut"), whose words
    are the `reason`. A completion that met its limit of tokens has no failure, but is not `finished`.
    """

    text: str
    tokens: int
    finished: bool
    failure: str = ""
    reason: str = ""


class Chat(Protocol):
    """A model that completes chats: local, or an endpoint."""

    name: str

    def complete(self, chats: list, decoding: Decoding, seed: int, progress: Progress | None) -> list[Generated]: ...


class Scores(Protocol):
    """A model that gives one number a chat."""

    def score(self, chats: list[list[dict]], batch_size: int, progress: Progress | None) -> list[float]: ...


def by_length(
    model,
    examples: Sequence[Example],
    batch_size: int,
    run: Callable[[list[Example], list[int]], list],
    progress: Progress | None = None,
    new_tokens: int = 0,
) -> list:
    """Run a model, in evaluation mode, over batches of examples of like length, the longest first.

    `run` gets a batch and its rows' numbers, and returns one result a row; the results come in the order given. A batch
    has at most `batch_size` rows, and fewer where these, with `new_tokens` more each, pass `tokens_at_once`. Examples
    may be `Encoded`: then no more media are held than fit into memory (`stretches`).
    `progress(done, total, seconds)` is called after each batch.
    """
    out: list = [None] * len(examples)
    most = tokens_at_once(model)
    done = 0
    started = time.monotonic()
    was_training = model.training
    model.eval()
    for stretch in stretches(examples):
        left = sorted(stretch, key=lambda i: -len(stretch[i].ids))
        while left:
            fitting = most // (len(stretch[left[0]].ids) + new_tokens)
            rows = left[: max(1, min(batch_size, fitting))]
            left = left[len(rows) :]
            for i, made in zip(rows, run([stretch[i] for i in rows], rows), strict=True):
                out[i] = made
            done += len(rows)
            if progress:
                progress(done, len(examples), time.monotonic() - started)
    model.train(was_training)
    return out


def tokens_at_once(model) -> int:
    """Return how many tokens, prompts' and new ones, a batch may hold: as many as fit into `BATCH_BYTES`.

    Of a GPU no more is taken than half of what is free. A token takes its keys and values in every layer, and about 16
    widths of activations in the layer at work. A model without a language model's sizes has no bound.
    """
    import torch

    config = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else None
    if not all(hasattr(text, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")):
        return 1 << 62
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    room = BATCH_BYTES
    if model.device.type == "cuda":
        unused = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        room = min(room, (torch.cuda.mem_get_info(model.device)[0] + unused) // 2)
    values = 2 * text.num_hidden_layers * heads * width + 16 * text.hidden_size
    return room // (values * model.dtype.itemsize)


@contextmanager
def last_logits(model) -> Iterator[None]:
    """Let the vocabulary's head read each row's last token alone: the one by which the next is chosen.

    The logits of whole prompts would take more memory than all else: 109 GB for 256 films. Of few rows some more tokens
    are read, so that the logits stay the same to the last bit.
    """

    def last(_, inputs):
        states = inputs[0]
        return (states[:, -ROWS // len(states) :].contiguous(), *inputs[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(last)
    try:
        yield
    finally:
        hook.remove()


def generate(
    model,
    processor: OmniProcessor,
    examples: Sequence[Example],
    decoding: Decoding | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress | None = None,
    draws: list[int] | None = None,
) -> list[Generated]:
    """Complete every prompt, in the order given; `draws` names each row's noise (its number, if None).

    A prompt that leaves no room for `max_new_tokens` in the model's context is not asked: its failure is "too_long".
    """
    decoding = decoding or Decoding()
    limit = context_of(model) - decoding.max_new_tokens

    def complete(batch: list[Example], rows: list[int]) -> list[Generated]:
        out = [Generated("", 0, False, "too_long")] * len(batch)
        fit = [at for at, example in enumerate(batch) if len(example.ids) <= limit]
        noise = [draws[rows[at]] if draws else rows[at] for at in fit]
        made = _complete(model, processor, [batch[at] for at in fit], noise, decoding, seed) if fit else []
        for at, one in zip(fit, made, strict=True):
            out[at] = one
        return out

    return by_length(model, examples, batch_size, complete, progress, decoding.max_new_tokens)


def context_of(model) -> float:
    """Return the most tokens that a model reads and writes in one go; infinite where its configuration names none."""
    named = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return named if named and named > 0 else math.inf


def check_context(model, examples: list[Example], more: int = 0) -> None:
    """Raise `ContextError` where examples, and `more` tokens behind each, are longer than the model's context."""
    limit = context_of(model) - more
    if too_long := [i for i, example in enumerate(examples) if len(example.ids) > limit]:
        raise ContextError(too_long, limit)


def _complete(model, processor, examples, rows, decoding: Decoding, seed: int) -> list[Generated]:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = processor.tokenizer
    batch = _prompts(model, processor, examples)
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=processor.chats.ends,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=processor.suppressed_ids or None,
    )
    noise = LogitsProcessorList([_row_sampler(decoding, seed, rows)] if decoding.temperature > 0 else [])
    with torch.inference_mode(), last_logits(model):
        made = model.generate(**batch, generation_config=config, logits_processor=noise)
    made = made[:, batch["input_ids"].shape[1] :].tolist()
    ends = set(processor.chats.ends)
    return _finish(tokenizer, [[tokenizer.eos_token_id if i in ends else i for i in row] for row in made])


def _prompts(model, processor: OmniProcessor, examples: list[Example]) -> dict:
    """Pad prompts on the left to a batch on the model's device."""
    batch = processor.collate(examples, side="left")
    batch.pop("labels")
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def _finish(tokenizer, rows: list[list[int]]) -> list[Generated]:
    """Cut every row of new tokens behind its end of turn, and write what stands before that."""
    out = []
    for ids in rows:
        finished = tokenizer.eos_token_id in ids
        said = ids[: ids.index(tokenizer.eos_token_id)] if finished else ids
        out.append(Generated(tokenizer.decode(said, skip_special_tokens=True), len(said) + finished, finished))
    return out


def _row_sampler(decoding: Decoding, seed: int, rows: list[int]):
    """Return a logits processor after which arg max is a sample: one uniform number a row and step, by row seed."""
    import torch
    from transformers import LogitsProcessor

    uniform = np.stack([np.random.default_rng([seed, i]).random(decoding.max_new_tokens) for i in rows])

    class RowSampler(LogitsProcessor):
        step = 0

        def __call__(self, input_ids, scores):
            kept, ids = _tail_cut(scores.float() / decoding.temperature, decoding)
            total = kept.softmax(-1).cumsum(-1)
            draw = torch.as_tensor(uniform[:, self.step], dtype=total.dtype, device=total.device)[:, None]
            self.step += 1
            at = torch.searchsorted(total, draw * total[:, -1:]).clamp(max=total.shape[1] - 1)
            return torch.full_like(scores, -torch.inf).scatter(1, ids.gather(1, at), 0.0)

    return RowSampler()


def _tail_cut(scores, decoding: Decoding):
    """Sort scores (B, V) falling and set those outside top-k and top-p to -inf; return them and their ids."""
    import torch

    scores, ids = scores.sort(-1, descending=True)
    if decoding.top_k:
        scores[:, decoding.top_k :] = -torch.inf
    if decoding.top_p < 1:
        before = scores.softmax(-1).cumsum(-1) - scores.softmax(-1)
        scores = scores.masked_fill(before >= decoding.top_p, -torch.inf)
    return scores, ids


def choose(
    model, processor: OmniProcessor, examples: Sequence[Example], options: list[str], batch_size: int = 256
) -> list[list[float]]:
    """Return the log-probability of each option as the next token of every example, in nats, in the order given.

    Raises ValueError for an option that is not one token, and `ContextError` where an example is too long.
    """
    import torch
    from transformers import GenerationConfig

    ids = [processor.tokenizer(option, add_special_tokens=False)["input_ids"] for option in options]
    if wrong := [option for option, found in zip(options, ids, strict=True) if len(found) != 1]:
        raise ValueError(f"{wrong[0]!r} is not one token of this model: its probability cannot be read off one step")
    config = GenerationConfig(max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True)

    def next_token(batch: list[Example], rows: list[int]) -> list[list[float]]:
        check_context(model, batch, 1)
        with torch.inference_mode(), last_logits(model):
            made = model.generate(**_prompts(model, processor, batch), generation_config=config)
        return made.logits[0].float().log_softmax(-1)[:, [i for (i,) in ids]].tolist()

    return by_length(model, examples, batch_size, next_token)


@dataclass
class LocalModel:
    """A loaded model behind the interface that endpoints share: chats in, completions out."""

    model: object
    processor: OmniProcessor
    name: str
    batch_size: int = 256

    def complete(self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats of the form [{"role", "parts"}]; see `generate`."""
        examples = Encoded(chats, self.processor.encode)
        return generate(self.model, self.processor, examples, decoding, seed, self.batch_size, progress)

    def choose(self, chats: list[list[dict]], begun: list[str], options: list[str]) -> list[list[float]]:
        """Return the log-probability of each option as what follows `begun[i]`, the start of the answer to chat i."""

        def encode(asked: tuple[list[dict], str]) -> Example:
            example = self.processor.encode(asked[0])
            example.ids += self.processor.tokenizer(asked[1], add_special_tokens=False)["input_ids"]
            example.labels += [-100] * (len(example.ids) - len(example.labels))
            return example

        examples = Encoded(list(zip(chats, begun, strict=True)), encode)
        return choose(self.model, self.processor, examples, options, self.batch_size)
