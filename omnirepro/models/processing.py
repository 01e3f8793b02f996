"""Conversations with media to model tensors: the one path for training, judging and generation.

Consumes `Part` lists; produces token ids with media placeholders expanded and the media tensors of
Qwen2.5-Omni's Thinker. Equal to the official `Qwen2_5OmniProcessor`, but needs no torchvision, and prepares each
file once. A text-only model uses the same class; media then raise.

Departure: audio is not padded to 30 s (the official extractor pads, the tower masks the padding again).
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from omnirepro import __version__
from omnirepro.data import MediaError, Part, media
from omnirepro.models.examples import Latest, Medium

PLACEHOLDERS = {"image": "<|IMAGE|>", "views3d": "<|IMAGE|>", "video": "<|VIDEO|>", "audio": "<|AUDIO|>"}
VISION = {
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "min_pixels": 3136,
    "max_pixels": 131_072,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


REMEMBERED = 20_000  # texts and media of which the processor remembers the tokens
LARGE = 1 << 16  # bytes of a file from which on it is quicker to find its features in a store than to make them


class Prepared(Protocol):
    """A store of features by the content of files; see `cache.FeatureStore`."""

    def fetch(self, part: Part, how: str, make: Callable[[], dict]) -> dict: ...


@dataclass
class Example:
    """One tokenised conversation: ids, labels (-100 where no loss is taken) and its media in order.

    The media are references: their arrays are prepared when they are read, which `collate` does.
    """

    ids: list[int]
    labels: list[int]
    features: list[Mapping[str, Any]] = field(default_factory=list)


class OmniProcessor:
    """Tokenise conversations and prepare their media; `collate` makes a padded batch of tensors.

    Features of at most `cache` bytes are remembered; those of large files are kept in `store` too, where one is set for
    the process.
    """

    store: ClassVar[Prepared | None] = None

    def __init__(self, tokenizer, vision: dict | None = None, max_frames: int = 16, cache: int = 2 << 30):
        self.tokenizer = tokenizer
        self.vision = VISION | (vision or {})
        self.max_frames = max_frames
        self.omni = tokenizer.convert_tokens_to_ids("<|AUDIO|>") not in (None, tokenizer.unk_token_id)
        self.placeholder_ids = {k: tokenizer.convert_tokens_to_ids(v) for k, v in PLACEHOLDERS.items()}
        self._features = Latest(cache)
        self._media: OrderedDict[str, Medium] = OrderedDict()
        self._extractor = None
        # questions and short answers come again and again
        self._tokens = lru_cache(REMEMBERED)(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
        self._turn = lru_cache(REMEMBERED)(lambda role, content: self._render([self._message(role, content)]))

    @classmethod
    def from_pretrained(cls, folder: str | Path, **kwargs) -> OmniProcessor:
        """Load tokenizer and vision settings from a folder or a hub id."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, **kwargs)
        config = Path(folder) / "preprocessor_config.json"
        vision = json.loads(config.read_text()) if config.is_file() else {}
        return cls(tokenizer, {k: vision[k] for k in VISION if k in vision})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer and preprocessor settings in the layout that the official processor reads."""
        self.tokenizer.save_pretrained(folder)
        if self.omni:
            names = {
                "processor_class": "Qwen2_5OmniProcessor",
                "image_processor_type": "Qwen2VLImageProcessor",
                "feature_extractor_type": "WhisperFeatureExtractor",
                "feature_size": 128,
            }
            Path(folder, "preprocessor_config.json").write_text(json.dumps(self.vision | names, indent=2) + "\n")

    @property
    def suppressed_ids(self) -> list[int]:
        """Ids that must never be sampled: every control token but the one that ends a turn."""
        return [i for i in self._control if i != self.tokenizer.eos_token_id]

    def encode(self, messages: list[dict], train: bool = False) -> Example:
        """Tokenise messages of the form {"role", "parts"}; with `train`, take loss on assistant turns only.

        An assistant's message may name words of its own that nothing before them tells, as `free`: they take no loss.
        Without `train` the prompt of the next assistant turn is appended. Raises `MediaError` on bad media.
        """
        example = Example([], [])
        chat: list[dict] = []
        written = ""
        for message in messages:
            content, found = self._content(message["parts"])
            if self._additive:
                new = self._turn(message["role"], content)
            else:
                chat.append(self._message(message["role"], content))
                text = self._render(chat)
                assert text.startswith(written), "the chat template rewrites earlier turns: loss would be misplaced"
                new = text[len(written) :]
                written = text
            answer = message["role"] == "assistant" and new.startswith(self._opening)
            if answer:
                self._append(example, self._opening)
            free = {i for word in message.get("free", ()) for i in self._tokens(word)}
            self._append(example, new[len(self._opening) :] if answer else new, found, train and answer, free)
            example.features += found
        if not train:
            self._append(example, self._opening)
        return example

    def _append(self, example: Example, text: str, found=(), loss: bool = False, free=()) -> None:
        queue = iter(found)
        kinds = set(self.placeholder_ids.values()) if self.omni else set()
        ids = []
        for i in self._tokens(text):
            ids += [i] * next(queue)["tokens"] if i in kinds else [i]
        example.ids += ids
        example.labels += [i if loss and i not in free else -100 for i in ids]

    def _message(self, role: str, content: tuple[tuple[str, str], ...]) -> dict:
        parts = [{"type": kind, kind: text} for kind, text in content]
        return {"role": role, "content": parts if self.omni else "".join(text for _, text in content)}

    def _render(self, chat: list[dict], opening: bool = False) -> str:
        return self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opening)

    @cached_property
    def _opening(self) -> str:
        """What opens an assistant turn."""
        chat = [{"role": "user", "content": "x"}]
        return self._render(chat, True)[len(self._render(chat)) :]

    @cached_property
    def _additive(self) -> bool:
        """Whether the template renders each message on its own, so that a long chat need not be rendered anew."""
        chat = [{"role": r, "content": "x"} for r in ("user", "assistant", "user")]
        return self._render(chat) == "".join(self._render([m]) for m in chat)

    def _content(self, parts: list[Part]) -> tuple[tuple[tuple[str, str], ...], list[Medium]]:
        """Return the parts as (type, text), and those that are media."""
        content = []
        found = []
        for part in parts:
            if part.type == "text":
                content.append(("text", self._plain(part.text or "")))
            else:
                found.append(self.medium(part))
                content.append(("image" if part.type == "views3d" else part.type, ""))
        return tuple(content), found

    @cached_property
    def _control(self) -> dict[int, str]:
        """Control tokens by id: those with a named use, and those that only the vocabulary marks (the roles)."""
        known = self.tokenizer
        marked = {i: str(t) for i, t in known.added_tokens_decoder.items() if t.special}
        return dict(sorted((marked | dict(zip(known.all_special_ids, known.all_special_tokens, strict=True))).items()))

    def _plain(self, text: str) -> str:
        """Break up special tokens that a text contains, so that content can never act as a control token."""
        for token in self._control.values():
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def medium(self, part: Part) -> Medium:
        """Return a file's number of placeholder tokens and its grid, and its arrays when they are read."""
        key = _name(part)
        if key not in self._media:
            self._media[key] = Medium(part, self.features(part), self.features)
            if len(self._media) > REMEMBERED:
                self._media.popitem(last=False)
        return self._media[key]

    def features(self, part: Part) -> dict[str, Any]:
        """Return a file's tensors and its number of placeholder tokens; what was prepared lately is not prepared anew.

        Raises `MediaError` on media of which none can be made.
        """
        if not self.omni:
            raise MediaError(f"{part.path}: this model reads text only; choose an omni model or drop the media")
        key = _name(part)
        found = self._features.get(key)
        if found is None:
            try:
                found = self._made(part) | {"key": key}
            except MediaError:
                raise
            except ValueError as error:
                raise MediaError(f"{part.path}: no model input can be made of it ({error}); remove the row") from error
        self._features.keep(key, found)
        return found

    def _made(self, part: Part) -> dict[str, Any]:
        """Prepare a file, or take its features from the store where it is large."""
        if self.store is None or not os.path.isfile(part.path) or os.path.getsize(part.path) < LARGE:
            return self._prepare(part)
        settings = {k: v for k, v in vars(self).items() if k != "tokenizer" and not k.startswith("_")}
        how = json.dumps([__version__, settings], sort_keys=True, default=_said)
        return self.store.fetch(part, how, lambda: self._prepare(part))

    def _prepare(self, part: Part) -> dict[str, Any]:
        if part.type == "audio":
            return self._audio(media.load_audio(part.path))
        if part.type == "video":
            frames, fps = media.load_video(part.path, self.max_frames)
            patches, grid = media.to_patches(frames, **self.vision)
            seconds = self.vision["temporal_patch_size"] / fps
            found = {"pixel_values_videos": patches, "video_grid_thw": grid, "video_second_per_grid": seconds}
        else:
            patches, grid = media.to_patches(media.load_image(part.path)[None], **self.vision)
            found = {"pixel_values": patches, "image_grid_thw": grid}
        return found | {"tokens": int(np.prod(grid)) // self.vision["merge_size"] ** 2}

    def _audio(self, samples: np.ndarray) -> dict[str, Any]:
        if self._extractor is None:
            from transformers import WhisperFeatureExtractor

            self._extractor = WhisperFeatureExtractor(feature_size=128)
        mel = self._extractor(samples, sampling_rate=media.RATE, padding="do_not_pad", return_tensors="np")
        mel = mel["input_features"][0].astype(np.float32)
        return {"input_features": mel, "tokens": ((mel.shape[1] - 1) // 2 - 1) // 2 + 1}

    def collate(self, examples: list[Example], side: str = "right") -> dict[str, Any]:
        """Pad to a batch: input_ids, attention_mask, labels (B, L) and the media of all rows in row order."""
        import torch

        length = max(len(e.ids) for e in examples)
        pad = self.tokenizer.pad_token_id or 0

        def padded(rows: list[list[int]], value: int):
            fill = [[value] * (length - len(r)) for r in rows]
            return torch.tensor([r + f if side == "right" else f + r for r, f in zip(rows, fill, strict=True)])

        batch = {
            "input_ids": padded([e.ids for e in examples], pad),
            "attention_mask": padded([[1] * len(e.ids) for e in examples], 0),
            "labels": padded([e.labels if e.labels else [-100] * len(e.ids) for e in examples], -100),
        }
        return batch | collate_media([f for e in examples for f in e.features])


def _said(setting: Any) -> Any:
    """Say what JSON does not know alike in every process: a function by its name, others by what is in them."""
    return getattr(setting, "__qualname__", None) or getattr(setting, "__dict__", str(setting))


def _name(part: Part) -> str:
    """Name a medium by its kind and content, or its path where no digest was written down."""
    return f"{part.type}:{part.sha256 or part.path}"


def collate_media(features: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Concatenate media features to the Thinker's keyword arguments; absent modalities are left out."""
    import torch

    batch: dict[str, Any] = {}
    for name in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "video_second_per_grid"):
        found = [f[name] for f in features if name in f]
        if found and name.startswith("pixel"):
            batch[name] = torch.from_numpy(np.concatenate(found))
        elif found:
            batch[name] = torch.tensor(found)
    sounds = [f["input_features"] for f in features if "input_features" in f]
    if sounds:
        longest = max(s.shape[1] for s in sounds)
        batch["input_features"] = torch.from_numpy(
            np.stack([np.pad(s, ((0, 0), (0, longest - s.shape[1]))) for s in sounds])
        )
        batch["feature_attention_mask"] = torch.tensor(
            [[1] * s.shape[1] + [0] * (longest - s.shape[1]) for s in sounds]
        )
    return batch
