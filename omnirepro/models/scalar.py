"""A scalar reward model: an omni backbone whose language model ends in a linear value head (Omni-Reward and its code).

Consumes chats that end in one response; produces one score a chat, in logits: only differences between the responses
to one prompt mean something. Any media may stand anywhere in a chat. On disk: what `loading.load` reads (an adapter,
or a whole tuned backbone) and `value_head.safetensors` beside it.

Departures: (1) the head has no bias, which cancels in every difference, and starts at zero, so that an untrained model
prefers nothing, or, for a backbone that names levels in words, at its own read-out, so that an untrained model prefers
what the backbone does; (2) head and score are float32 in any precision of the backbone, so that close scores stay
apart.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from omnirepro.models.examples import Encoded
from omnirepro.models.generation import Progress, by_length, context_of, words_after
from omnirepro.models.loading import ModelError, gives_scores, load, named_errors, save_adapter
from omnirepro.models.processing import Example, OmniProcessor, keep_settings

HEAD = "value_head.safetensors"


class Scorer(nn.Module):
    """A backbone with its value head; `tie`, where there is one, is the learned log-weight of a tie (Davidson).

    `levels` are the answers by which the backbone names a level, from the lowest to the highest. With them the score is
    read where the level would follow, behind their common beginning `opening`, and the head starts at `read_out`.
    """

    def __init__(self, backbone, processor: OmniProcessor, ties: bool = False, levels: Sequence[str] = ()):
        super().__init__()
        self.backbone = backbone
        self.processor = processor
        width = self.decoder.get_input_embeddings().weight.shape[1]
        opening, head = read_out(backbone, processor, levels) if levels else ([], torch.zeros(width))
        self.register_buffer("opening", torch.tensor(opening, dtype=torch.long))
        self.value = nn.Parameter(head.to(backbone.device))
        self.tie = nn.Parameter(torch.zeros((), device=backbone.device)) if ties else None

    @property
    def decoder(self):
        """The backbone without its vocabulary head (and below an adapter's wrapper)."""
        whole = self.backbone.get_base_model() if hasattr(self.backbone, "peft_config") else self.backbone
        return getattr(whole, whole.base_model_prefix)

    @property
    def tie_threshold(self) -> float:
        """The |difference| up to which a tie is the likeliest outcome under the learned weight; 0 without one."""
        return max(0.0, 2 * self.tie.item()) if self.tie is not None else 0.0

    def encode(self, turns: list[dict]) -> Example:
        """Encode a chat that ends in a response; behind it stands the opening of the answer that names its level."""
        opening = self.opening.tolist()
        example = self.processor.encode(turns, scored=not opening)
        example.ids += opening
        example.labels += [-100] * len(opening)
        return example

    def forward(self, input_ids, attention_mask, **media):
        """Return scores (B,) float32 for ids and mask (B, L), padded on the right, and the rows' media."""
        states = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **media)
        last = attention_mask.cumsum(1).argmax(1)  # the last token that is no padding
        read = states.last_hidden_state[torch.arange(len(last), device=last.device), last]
        return (read.float() * self.value).sum(-1)

    def score(self, chats: list[list[dict]], batch_size: int = 64, progress: Progress | None = None) -> list[float]:
        """Score chats whose last message is the response, in the order given; each row's score is its own alone.

        Chats of like length share a batch; see `generation.by_length`. One that is longer than the model's context has
        the score NaN, and a warning counts those. Raises `MediaError` on bad media.
        """
        examples = Encoded(chats, self.encode)
        limit = context_of(self.backbone)
        too_long: list[int] = []

        def scores(batch: list[Example], rows: list[int]) -> list[float]:
            fit = [at for at, example in enumerate(batch) if len(example.ids) <= limit]
            too_long.extend(row for at, row in enumerate(rows) if at not in fit)
            with torch.inference_mode():
                made = self(**self.collate([batch[at] for at in fit])).tolist() if fit else []
            known = dict(zip(fit, made, strict=True))
            return [known.get(at, math.nan) for at in range(len(batch))]

        found = by_length(self.backbone, examples, batch_size, scores, progress)
        if too_long:
            why = f"longer than the model's context of {limit:,} tokens: not scored"
            warnings.warn(f"{len(too_long)} of {len(chats)} texts are {why}", stacklevel=2)
        return found

    def collate(self, examples: list) -> dict:
        """Make the batch that `forward` takes, on the model's device."""
        batch = self.processor.collate(examples)
        batch.pop("labels")
        return {k: v.to(self.backbone.device) for k, v in batch.items()}


def read_out(backbone, processor: OmniProcessor, levels: Sequence[str]) -> tuple[list[int], torch.Tensor]:
    """Return the tokens that all answers `levels` begin with, and the head (width,) that reads the level behind them.

    head = sum_l (l - mean l) x W[l] / sum_l (l - mean l)^2, W[l] the row of the vocabulary head for the token of level
    l: by how many nats the log-probability rises from one level to the next. Raises ValueError where a level is several
    tokens, or two are the same ones.
    """
    opening, words = words_after(processor.chats.plain, "", levels)
    if any(len(word) > 1 for word in words):
        raise ValueError(f"{', '.join(levels)}: the level must be one token of this model; choose other words")
    rows = backbone.get_output_embeddings().weight.detach()[[token for (token,) in words]].float()
    centred = torch.arange(len(levels), device=rows.device) - (len(levels) - 1) / 2
    return opening, centred @ rows / (centred**2).sum()


class Classifier(Scorer):
    """A reward model of the hub, which classifies sequences with a head of its own (such as Skywork-Reward-V2).

    Read as its class reads it: at the last token that is no padding by the model's config.
    """

    def __init__(self, model, processor: OmniProcessor):
        nn.Module.__init__(self)
        self.backbone = model
        self.processor = processor
        self.register_buffer("opening", torch.tensor([], dtype=torch.long))
        self.tie = None

    def forward(self, input_ids, attention_mask, **media):
        """Return scores (B,) float32 for ids and mask (B, L), padded on the right."""
        padding = self.backbone.config.get_text_config().pad_token_id
        if padding is None and len(input_ids) > 1:  # the class then takes one row at a time
            one = [
                self(ids[None, : mask.sum()], mask[None, : mask.sum()])
                for ids, mask in zip(input_ids, attention_mask, strict=True)
            ]
            return torch.cat(one)
        if padding is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, padding)
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).logits[:, 0].float()


def save_scorer(scorer: Scorer, folder: Path, base: Path | str, weights: dict | None = None) -> None:
    """Save a scorer, safetensors only: its adapter, which names `base`, or its whole backbone; and its head.

    `weights`: the scorer's, where it does not hold them all itself.
    """
    from safetensors.torch import save_file

    inner = weights and {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    if hasattr(scorer.backbone, "peft_config"):
        save_adapter(scorer.backbone, folder, base, inner)
    else:
        scorer.backbone.save_pretrained(folder, safe_serialization=True, state_dict=inner)
        scorer.processor.save_pretrained(folder)
    named = {name: (weights or {}).get(name, getattr(scorer, name)) for name in ("value", "tie", "opening")}
    keep_settings(folder, media=scorer.processor.limits)
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in named.items() if v is not None and v.numel()}, Path(folder) / HEAD
    )


def load_scorer(
    folder: str | Path, device: str = "auto", dtype: str = "auto", media: Mapping[str, Any] | None = None
) -> Scorer:
    """Load what `save_scorer` wrote, or a classifier of the hub, ready to score; `media` as `loading.load` has it.

    Raises `ModelError` where backbone or head are missing or odd.
    """
    from safetensors.torch import load_file

    if not (Path(folder) / HEAD).is_file() and gives_scores(folder):
        return Classifier(*load(folder, device, dtype, scores=True, media=media)).eval()
    with named_errors(f"{folder}"):
        head = load_file(Path(folder) / HEAD)
    scorer = Scorer(*load(folder, device, dtype, media=media), ties="tie" in head)
    scorer.opening = head.pop("opening", scorer.opening)
    if "value" not in head or head["value"].shape != scorer.value.shape:
        raise ModelError(f"{folder}: {HEAD} does not fit its backbone of width {len(scorer.value)}; restore the folder")
    scorer.load_state_dict(head, strict=False)
    return scorer.eval()
