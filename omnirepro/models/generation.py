"""Batched generation whose result for a row depends on that row alone.

Consumes encoded prompts; produces texts, or the probabilities of given words. Rows are sorted by length, padded on the
left and decoded with the KV cache. Sampling draws each row's noise from its own seed, so neither batch size nor
neighbours change what a row says. Where a caller asks for it, neighbours that begin alike, media included, share one
pass over their beginning: both orders of a pair, its criteria, samples of one prompt.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any, Protocol

import numpy as np

from omnirepro.models.examples import Encoded, stretches
from omnirepro.models.processing import Example, OmniProcessor

Progress = Callable[[int, int, float], None]  # done, total, seconds
BATCH_BYTES = 16 << 30  # of a batch's KV cache and activations, by `tokens_at_once`
READ_AT_ONCE = 2048  # tokens of a batch that a processor reads and answers with no token: more leave its caches
WORTH = 64  # tokens of a beginning from which on a pass of its own costs less than it saves
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
    has at most `batch_size` rows, and fewer where these, with `new_tokens` more each, pass `tokens_at_once`, or, on a
    CPU that writes none, `READ_AT_ONCE`. Examples may be `Encoded`: then no more media are held than fit into memory
    (`stretches`).
    `progress(done, total, seconds)` is called after each batch.
    """
    out: list = [None] * len(examples)
    most = tokens_at_once(model)
    if model.device.type == "cpu" and not new_tokens:
        most = min(most, READ_AT_ONCE)
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
    share: bool = False,
) -> list[Generated]:
    """Complete every prompt, in the order given; `draws` names each row's noise (its number, if None).

    With `share`, neighbours that begin alike are read once; see `alike`.
    A prompt that leaves no room for `max_new_tokens` in the model's context is not asked: its failure is "too_long".
    """
    decoding = decoding or Decoding()

    def complete(inputs: dict, rows: list[int]) -> list[Generated]:
        return _complete(model, processor, inputs, [draws[i] for i in rows] if draws else rows, decoding, seed)

    made = _in_batches(model, processor, examples, batch_size, complete, progress, decoding.max_new_tokens, share)
    return [one or Generated("", 0, False, "too_long") for one in made]


def context_of(model) -> float:
    """Return the most tokens that a model reads and writes in one go; infinite where its configuration names none."""
    named = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return named if named and named > 0 else math.inf


def _complete(model, processor, inputs: dict, rows: list[int], decoding: Decoding, seed: int) -> list[Generated]:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = processor.tokenizer
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=processor.chats.ends,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=processor.suppressed_ids or None,
    )
    noise = LogitsProcessorList([_row_sampler(decoding, seed, rows)] if decoding.temperature > 0 else [])
    with torch.inference_mode(), last_logits(model):
        made = model.generate(**inputs, generation_config=config, logits_processor=noise)
    made = made[:, inputs["input_ids"].shape[1] :].tolist()
    ends = set(processor.chats.ends)
    return _finish(tokenizer, [[tokenizer.eos_token_id if i in ends else i for i in row] for row in made])


def _in_batches(
    model,
    processor: OmniProcessor,
    examples: Sequence[Example],
    batch_size: int,
    run: Callable[[dict, list[int]], list],
    progress: Progress | None,
    new_tokens: int,
    share: bool,
) -> list:
    """Return what `run(inputs, rows)` makes of batches of inputs to `model.generate`, in the order of the examples.

    An example that leaves no room for `new_tokens` in the model's context is not run: what is made of it is None.
    """
    limit = context_of(model) - new_tokens
    if not (share and _can_share(model)):

        def single(batch: list[Example], rows: list[int]) -> list:
            fit = [at for at, example in enumerate(batch) if len(example.ids) <= limit]
            inputs = _prompts(model, processor, [batch[at] for at in fit]) if fit else {}
            made = dict(zip(fit, run(inputs, [rows[at] for at in fit]) if fit else (), strict=True))
            return [made.get(at) for at in range(len(batch))]

        return by_length(model, examples, batch_size, single, progress, new_tokens)
    groups = alike(examples, processor)
    most = max((len(group.rows) for group in groups), default=1)
    if most == 1 or any(len(example.ids) > limit for group in groups for example in group.examples):
        return _in_batches(model, processor, examples, batch_size, run, progress, new_tokens, share=False)

    def shared(batch: list[Alike], _: list[int]) -> list[list]:
        inputs = _begun(model, processor, batch)
        made = iter(run(inputs, [row for group in batch for row in group.rows]))
        return [[next(made) for _ in group.rows] for group in batch]

    found = by_length(model, groups, max(1, batch_size // most), shared, progress, most * new_tokens)
    return [one for several in found for one in several]


def _prompts(model, processor: OmniProcessor, examples: list[Example]) -> dict:
    """Pad prompts on the left to a batch on the model's device."""
    batch = processor.collate(examples, side="left")
    batch.pop("labels")
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


# ---- one pass over what neighbours begin with


@dataclass(frozen=True)
class Alike:
    """Neighbouring examples, by their numbers, whose first `shared` tokens and all media are the same."""

    rows: list[int]
    examples: list[Example]
    shared: int

    @property
    def ids(self) -> list[int]:
        """All tokens of all rows: what they take in memory."""
        return [token for example in self.examples for token in example.ids]

    @property
    def features(self) -> list:
        return self.examples[0].features


def alike(examples: Sequence[Example], processor: OmniProcessor) -> list[Alike]:
    """Group neighbours that begin alike for half of their tokens or more, as long as fewer tokens are read for it.

    Media are the same where they are one object of the processor's, which it keeps by content: equal placeholders say
    nothing of a picture. All must stand in the beginning, and behind it at least one token of each.
    """
    places = set(processor.placeholder_ids.values())
    groups: list[Alike] = []
    for row, example in enumerate(examples):
        whole = len(example.ids) - 1
        if groups:
            last = groups[-1]
            first = last.examples[0]
            both = zip(first.ids[: last.shared], example.ids[:whole], strict=False)
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
            media = list(map(id, example.features)) == list(map(id, first.features))
            saves = (
                shared >= max(WORTH, len(example.ids) / 2) and len(last.rows) * (last.shared - shared) <= last.shared
            )
            if media and saves and places.isdisjoint(first.ids[shared:]):
                groups[-1] = Alike([*last.rows, row], [*last.examples, example], shared)
                continue
        groups.append(Alike([row], [example], whole))
    return groups


def read_once(base, prompts: dict, back: list[int]) -> tuple[Any, Any]:
    """Run prompts through a model without head, and return its cache with row `back[i]` of them as row i.

    Also by how much the positions behind media run ahead of the count of tokens, (rows, 1); None for a model that
    counts tokens alone.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=base.config.get_text_config())
    base(**prompts, past_key_values=cache, use_cache=True)
    cache.batch_select_indices(torch.tensor(back, device=prompts["input_ids"].device))
    ahead = getattr(base, "rope_deltas", None)
    return cache, None if ahead is None else ahead[back]


def _begun(model, processor: OmniProcessor, groups: list[Alike]) -> dict:
    """Read the beginning of every group once, and return what `model.generate` goes on from for each of its rows."""
    import torch

    firsts = [Example(g.examples[0].ids[: g.shared], [], g.features) for g in groups]
    prompts = _prompts(model, processor, firsts)
    rests = _prompts(model, processor, [Example(e.ids[g.shared :], []) for g in groups for e in g.examples])
    back = [number for number, g in enumerate(groups) for _ in g.rows]
    base = getattr(model, "get_base_model", lambda: model)().base_model
    mask = prompts["attention_mask"]
    in_grids = hasattr(base, "rope_deltas")  # media stand in time, height and width; the model says where
    counts = not in_grids or all("grid_thw" not in name for name in prompts)
    if counts:  # it would count padding, and take for media those of an earlier batch
        prompts["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        base.rope_deltas = None
    with torch.inference_mode():
        cache, ahead = read_once(base, prompts, back)
        if in_grids:
            base.rope_deltas = torch.zeros_like(mask[back, :1]) if counts else ahead
        whole = {name: torch.cat([prompts[name][back], rests[name]], 1) for name in ("input_ids", "attention_mask")}
    return whole | {"past_key_values": cache}


def _can_share(model) -> bool:
    """Tell whether a model's cache keeps every token of every layer: padding may then stand between two parts."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=model.config.get_text_config()).layers
    return all(type(layer) is DynamicLayer for layer in layers)


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


# ---- the probabilities of given words


def choose(
    model,
    processor: OmniProcessor,
    examples: Sequence[Example],
    words: Sequence[list[tuple[int, ...]]],
    batch_size: int = 256,
    progress: Progress | None = None,
    share: bool = False,
) -> list[list[float]]:
    """Return the log-probability, in nats, that example i goes on with each of `words[i]`, tuples of tokens.

    That of a word of several tokens is the sum of theirs, each behind those before it. `share`: as in `generate`.
    Of an example that is longer than the model's context they are NaN.
    """
    import torch
    from transformers import GenerationConfig

    wanted: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for row, options in enumerate(words):
        for option in options:
            for at, token in enumerate(option):
                wanted.setdefault((row, option[:at]), []).append(token)
    asked = list(wanted)
    config = GenerationConfig(max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True)

    def behind(place: tuple[int, tuple[int, ...]]) -> Example:
        example = examples[place[0]]
        return Example([*example.ids, *place[1]], [], example.features)

    def next_token(inputs: dict, rows: list[int]) -> list[dict[int, float]]:
        with torch.inference_mode(), last_logits(model):
            chances = model.generate(**inputs, generation_config=config).logits[0].float().log_softmax(-1)
        tokens = [wanted[asked[row]] for row in rows]
        return [dict(zip(some, chances[i, some].tolist(), strict=True)) for i, some in enumerate(tokens)]

    found = _in_batches(model, processor, Encoded(asked, behind), batch_size, next_token, progress, 0, share)
    known = {place: chances or {} for place, chances in zip(asked, found, strict=True)}
    return [
        [sum(known[row, option[:at]].get(token, math.nan) for at, token in enumerate(option)) for option in options]
        for row, options in enumerate(words)
    ]


def words_after(
    tokens: Callable[[str], list[int]], begun: str, options: Sequence[str]
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the tokens of the start of an answer, and those by which each option goes on from it.

    `tokens` takes a text apart: `Chats.plain`, since what a model wrote may spell a control token.
    Each option is written behind the start and taken apart from there, since what is one token alone may be others, or
    a part of one, in its place. Raises ValueError where two options are the same tokens there.
    """
    written = [tokens(begun + option) for option in options]
    columns = zip(*(ids[:-1] for ids in written), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    words = [tuple(ids[shared:]) for ids in written]
    if len(set(words)) < len(words):
        raise ValueError(f"{', '.join(options)}: two of them are the same tokens of this model; choose other words")
    return written[0][:shared], words


@dataclass
class LocalModel:
    """A loaded model behind the interface that endpoints share: chats in, completions out.

    `share`: read what neighbouring chats begin with once; the last digits of logits may then be others.
    """

    model: object
    processor: OmniProcessor
    name: str
    batch_size: int = 256
    share: bool = False

    def complete(self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats of the form [{"role", "parts"}]; see `generate`."""
        examples = Encoded(chats, self.processor.encode)
        how = (decoding, seed, self.batch_size, progress)
        return generate(self.model, self.processor, examples, *how, share=self.share)

    def choose(
        self, chats: list[list[dict]], begun: list[str], options: list[str], progress: Progress | None = None
    ) -> list[list[float]]:
        """Return the log-probability of each option as what follows `begun[i]`, the start of the answer to chat i."""
        apart = lru_cache(len(chats) + 1)(lambda start: words_after(self.processor.chats.plain, start, options))

        def encode(row: int) -> Example:
            example = self.processor.encode(chats[row])
            example.ids += apart(begun[row])[0]
            return example

        examples = Encoded(range(len(chats)), encode)
        words = [apart(start)[1] for start in begun]
        return choose(self.model, self.processor, examples, words, self.batch_size, progress, self.share)
