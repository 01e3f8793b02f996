"""Conversations with media to model tensors: the one path for training, judging and generation.

Consumes `Part` lists; produces token ids with media placeholders expanded and the media tensors of
Qwen2.5-Omni's Thinker. Equal to the official `Qwen2_5OmniProcessor`, but needs no torchvision, and prepares each
file once. A text-only model uses the same class; media then raise.

Departure: audio is not padded to 30 s (the official extractor pads, the tower masks the padding again).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from omnirepro.data import MediaError, Part, media
from omnirepro.models.chats import Chats, Content

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


@dataclass
class Example:
    """One tokenised conversation: ids, labels (-100 where no loss is taken) and its media features in order."""

    ids: list[int]
    labels: list[int]
    features: list[dict[str, Any]] = field(default_factory=list)


class OmniProcessor:
    """Tokenise conversations and prepare their media; `collate` makes a padded batch of tensors."""

    def __init__(self, tokenizer, vision: dict | None = None, max_frames: int = 16, cache: int = 20_000):
        self.tokenizer = tokenizer
        self.vision = VISION | (vision or {})
        self.max_frames = max_frames
        self.omni = tokenizer.convert_tokens_to_ids("<|AUDIO|>") not in (None, tokenizer.unk_token_id)
        self.placeholder_ids = {k: tokenizer.convert_tokens_to_ids(v) for k, v in PLACEHOLDERS.items()}
        self._features: OrderedDict[str, dict] = OrderedDict()
        self._cache = cache
        self._extractor = None
        self.chats = Chats(tokenizer, {k: v for k, v in PLACEHOLDERS.items() if self.omni}, cache)

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
        """Ids that must never be sampled: every control token but those that end an answer."""
        return [i for i in self.chats.control if i not in self.chats.ends]

    def encode(self, messages: list[dict], train: bool = False, scored: bool = False) -> Example:
        """Tokenise messages of the form {"role", "parts"}; with `train`, take loss on assistant turns only.

        An assistant's message may name words of its own that nothing before them tells, as `free`: they take no loss.
        Without `train` the prompt of the next assistant turn is appended; with `scored` the last message is an answer
        that stands as the chat template writes a finished one. Contents never act as control: see `chats`. Raises
        `MediaError` on bad media and `ModelError` where the template cannot show the messages.
        """
        example = Example([], [])
        content = [(message["role"], self._content(message["parts"], example.features)) for message in messages]
        answers = [message for message in messages if message["role"] == "assistant"]
        queue = iter(example.features)
        for segment in self.chats.segments(content, train, scored):
            free: set[int] = set()
            if segment.answer is not None:
                free = {i for word in answers[segment.answer].get("free", ()) for i in self.chats.tokens(word)}
            self._append(example, segment.text, queue, train and segment.answer is not None, free)
        return example

    def _append(self, example: Example, text: str, queue: Iterator[dict], loss: bool, free: set[int]) -> None:
        kinds = set(self.placeholder_ids.values()) if self.omni else set()
        ids = []
        for i in self.chats.tokens(text):
            ids += [i] * next(queue)["tokens"] if i in kinds else [i]
        example.ids += ids
        example.labels += [i if loss and i not in free else -100 for i in ids]

    def _content(self, parts: list[Part], features: list[dict]) -> Content:
        """Return the parts as (type, text), and add the features of those that are media."""
        content = []
        for part in parts:
            if part.type == "text":
                content.append(("text", part.text or ""))
            else:
                features.append(self.features(part))
                kind = "image" if part.type == "views3d" else part.type
                content.append((kind, PLACEHOLDERS[kind]))
        return tuple(content)

    def features(self, part: Part) -> dict[str, Any]:
        """Return a file's tensors and its number of placeholder tokens; each content is prepared once."""
        if not self.omni:
            raise MediaError(f"{part.path}: this model reads text only; choose an omni model or drop the media")
        key = f"{part.type}:{part.sha256 or part.path}"
        if key not in self._features:
            try:
                self._features[key] = self._prepare(part) | {"key": key}
            except MediaError:
                raise
            except ValueError as error:
                raise MediaError(f"{part.path}: no model input can be made of it ({error}); remove the row") from error
            if len(self._features) > self._cache:
                self._features.popitem(last=False)
        return self._features[key]

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


def collate_media(features: list[dict[str, Any]]) -> dict[str, Any]:
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
