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
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from omnirepro import __version__
from omnirepro.data import MediaError, Part, media
from omnirepro.models.chats import Chats, Content
from omnirepro.models.examples import Latest, Medium
from omnirepro.models.families import OMNI, TEXT, Family, old_template, picture_settings

VISION = {
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "min_pixels": 3136,
    "max_pixels": 131_072,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
# What of a medium a model is shown (section `media` of the parameters); 0 leaves a limit to the model.
LIMITS = {
    "min_pixels": 0,
    "max_pixels": 0,
    "frame_min_pixels": 0,
    "frame_max_pixels": 0,
    "fps": 0.0,
    "max_frames": 16,
    "max_seconds": 0.0,
    "audio_in_video": False,
}
FRAMES = ("frame_min_pixels", "frame_max_pixels")
CHUNK_SECONDS = 300.0  # chunk_length of Qwen2.5-Omni's release
CONFIG = "preprocessor_config.json"
KEPT = "judge.json"


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

    def __init__(
        self,
        tokenizer,
        vision: dict | None = None,
        limits: Mapping[str, Any] | None = None,
        cache: int = 2 << 30,
        family: Family | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
    ):
        self.tokenizer = tokenizer
        self.settings = vision or {}
        self.vision = VISION | {k: self.settings[k] for k in VISION if self.settings.get(k) is not None}
        self.limits = dict(LIMITS)
        self.chunk_seconds = chunk_seconds
        self.family = family or (OMNI if "<|AUDIO|>" in tokenizer.get_vocab() else TEXT)
        ids = {kind: tokenizer.convert_tokens_to_ids(mark) for kind, mark in self.family.marks.items()}
        self.placeholder_ids = ids | ({"views3d": ids["image"]} if "image" in ids else {})
        self.placeholder_ids |= {"video": ids["image"]} if self.family.tiled else {}
        self._features = Latest(cache)
        self._media: OrderedDict[str, Medium] = OrderedDict()
        self._extractor = None
        self.chats = Chats(tokenizer, self.family.marks, REMEMBERED)
        self._film_chats = Chats(with_films(tokenizer), self.family.marks) if self.family.tiled else self.chats
        self.limit(limits or {})

    def limit(self, limits: Mapping[str, Any]) -> None:
        """Change what of a medium is shown, by the keys of `LIMITS`. Raises ValueError where they contradict."""
        if unknown := sorted(set(limits) - set(LIMITS)):
            raise ValueError(f"no limit of media is named {unknown[0]}; one of {', '.join(LIMITS)}")
        self.limits |= limits
        self._pixels(), self._pixels(*FRAMES)
        self._features.clear()
        self._media.clear()

    @property
    def omni(self) -> bool:
        """Whether this is the processor of a Qwen2.5-Omni Thinker."""
        return self.family is OMNI

    @classmethod
    def from_pretrained(cls, folder: str | Path, family: Family | None = None, **kwargs) -> OmniProcessor:
        """Load tokenizer and settings of media from a folder or a hub id; the tokenizer tells the family, if None.

        Raises OSError where an omni model of the hub has no settings here: other limits would be other inputs.
        """
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **kwargs)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = old_template(folder)
        config = _settings(folder)
        kept = kept_settings(folder).get("media")
        seconds = float(config.get("chunk_length") or CHUNK_SECONDS)
        made = cls(tokenizer, picture_settings(folder) or config, kept, family=family, chunk_seconds=seconds)
        if made.omni and not config and not Path(folder).is_dir():
            raise OSError(f"its {CONFIG} is not in the cache and cannot be fetched; download the whole model")
        return made

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer and preprocessor settings in the layout that the official processor reads."""
        self.tokenizer.save_pretrained(folder)
        names = {
            "processor_class": "Qwen2_5OmniProcessor",
            "image_processor_type": "Qwen2VLImageProcessor",
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 128,
            "chunk_length": int(self.chunk_seconds),
        }
        settings = self.vision | names if self.omni else self.settings
        if settings:
            Path(folder, CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
        if self.omni:
            keep_settings(folder, media=self.limits)

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
        runs = iter([n for found in example.features for n in found.get("runs", [found["tokens"]])])
        films = any(found["kind"] == "video" for found in example.features)
        for segment in (self._film_chats if films else self.chats).segments(content, train, scored):
            free: set[int] = set()
            if segment.answer is not None:
                free = {i for word in answers[segment.answer].get("free", ()) for i in self.chats.tokens(word)}
            self._append(example, segment.text, runs, train and segment.answer is not None, free)
        return example

    def _append(self, example: Example, text: str, runs: Iterator[int], loss: bool, free: set[int]) -> None:
        """Add a text's ids, each placeholder as often as its medium has tokens."""
        kinds = set(self.placeholder_ids.values())
        ids = []
        for i in self.chats.tokens(text):
            ids += [i] * next(runs) if i in kinds else [i]
        example.ids += ids
        example.labels += [i if loss and i not in free else -100 for i in ids]

    def _content(self, parts: list[Part], features: list[Mapping[str, Any]]) -> Content:
        """Return the parts as (type, text), and add the features of those that are media."""
        content: list[tuple[str, str]] = []

        def show(part: Part, kind: str) -> None:
            features.append(self.medium(part))
            content.append((kind, features[-1].get("written", self.family.marks[kind])))

        for part in parts:
            if part.type == "text":
                content.append(("text", part.text or ""))
            else:
                show(part, "image" if part.type == "views3d" else part.type)
                if part.type == "video" and self.limits["audio_in_video"] and media.has_sound(part.path):
                    show(part.model_copy(update={"type": "audio"}), "audio")
        return tuple(content)

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
        if part.type not in self.placeholder_ids:
            reads = ", ".join(["text", *self.family.marks]) if self.family.marks else "text only"
            raise MediaError(f"{part.path}: this model reads {reads}; choose an omni model or drop the media")
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
        settings = {k: v for k, v in vars(self).items() if k not in ("tokenizer", "chats") and k[0] != "_"}
        how = json.dumps([__version__, settings], sort_keys=True, default=_said)
        return self.store.fetch(part, how, lambda: self._prepare(part))

    def _prepare(self, part: Part) -> dict[str, Any]:
        if part.type == "audio":
            limit = min(self.limits["max_seconds"] or self.chunk_seconds, self.chunk_seconds)
            return self._audio(media.load_audio(part.path, limit))
        if part.type == "video":
            frames, fps = media.load_video(part.path, self.limits["max_frames"], self.limits["fps"])
            if self.family.tiled:
                return self.family.frames(frames, fps, self.settings) | {"kind": "video"}
            patches, grid = media.to_patches(frames, **self._pixels(*FRAMES))
            seconds = self.vision["temporal_patch_size"] / fps
            found = {"pixel_values_videos": patches, "video_grid_thw": grid}
            found |= {self.family.seconds: seconds} if self.family.seconds else {}
            tokens = int(np.prod(grid)) // self.vision["merge_size"] ** 2
            found |= self.family.film_text(tokens, grid, seconds) | {"kind": "video"}
        elif self.family.tiled:
            return self.family.tiles(media.load_image(part.path), self.settings) | {"kind": "image"}
        else:
            patches, grid = media.to_patches(media.load_image(part.path)[None], **self._pixels())
            found = {"pixel_values": patches, "image_grid_thw": grid, "kind": "image"}
        return found | {"tokens": int(np.prod(grid)) // self.vision["merge_size"] ** 2}

    def _pixels(self, least: str = "min_pixels", most: str = "max_pixels") -> dict[str, Any]:
        """Return how patches are made: limits of films go before those of pictures, and these before the model's own.

        Raises ValueError where the least is above the most.
        """
        low, high = (
            self.limits[own] or self.limits[key] or self.vision[key]
            for own, key in ((least, "min_pixels"), (most, "max_pixels"))
        )
        if low > high:
            raise ValueError(f"media are to have {low} pixels at least and {high} at most: set {least} and {most} both")
        return self.vision | {"min_pixels": low, "max_pixels": high}

    def _audio(self, samples: np.ndarray) -> dict[str, Any]:
        if self._extractor is None:
            from transformers import WhisperFeatureExtractor

            self._extractor = WhisperFeatureExtractor(feature_size=128)
        padding = "max_length" if self.family.sound_padded else "do_not_pad"
        asked = {"sampling_rate": media.RATE, "padding": padding, "truncation": False, "return_attention_mask": True}
        made = self._extractor(samples, return_tensors="np", **asked)
        mel = made["input_features"][0].astype(np.float32)
        frames = int(made["attention_mask"][0].sum()) if self.family.sound_padded else mel.shape[1]
        return {"input_features": mel, "frames": frames, "tokens": self.family.sound_tokens(frames), "kind": "audio"}

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
        if self.family.types:
            ids = batch["input_ids"]
            batch["mm_token_type_ids"] = sum(
                at * (ids == self.placeholder_ids[kind]).int() for at, kind in enumerate(("image", "video"), 1)
            )
        return batch | collate_media([f for e in examples for f in e.features])


def with_films(tokenizer):
    """Return SmolVLM's tokenizer with the template of its processor, where its own shows no film."""
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    made = copy(tokenizer)
    if "<video>" not in str(made.chat_template):
        made.chat_template = DEFAULT_CHAT_TEMPLATE
    return made


def _settings(name: str | Path) -> dict[str, Any]:
    """Read a model's settings of media, in the layout of the releases or in that of transformers 5; {} without any."""
    from transformers.utils import cached_file

    found: dict[str, Any] = {}
    for file in ("processor_config.json", CONFIG):
        absent = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        if path := cached_file(str(name), file, **absent):
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            found |= stored.get("feature_extractor", {}) | stored.get("image_processor", {}) | stored
    if "Qwen2VL" in str(found.get("image_processor_type")) and (size := found.get("size")):
        found = {"min_pixels": size.get("shortest_edge"), "max_pixels": size.get("longest_edge")} | found
    return found


def limits_in(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a medium a model is shown, from the section `media` of the parameters."""
    return {name: section[name] for name in LIMITS}


def kept_settings(folder: str | Path) -> dict[str, Any]:
    """Read what is kept with a model about its use, beside its weights; {} where nothing is."""
    path = Path(folder) / KEPT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep_settings(folder: str | Path, **settings: Any) -> None:
    """Write settings beside a model: `media`, how it wants to be asked, or its threshold; others stay."""
    kept = kept_settings(folder) | settings
    (Path(folder) / KEPT).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _said(setting: Any) -> Any:
    """Say what JSON does not know alike in every process: a function by its name, others by what is in them."""
    return getattr(setting, "__qualname__", None) or getattr(setting, "__dict__", str(setting))


def _name(part: Part) -> str:
    """Name a medium by its kind and content; where no digest was written down by its path, and when it was written."""
    if part.sha256 or not os.path.isfile(part.path):
        return f"{part.type}:{part.sha256 or part.path}"
    state = os.stat(part.path)
    return f"{part.type}:{part.path}:{state.st_mtime_ns}:{state.st_size}"


def collate_media(features: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Concatenate media features to the Thinker's keyword arguments; absent modalities are left out."""
    import torch

    batch: dict[str, Any] = {}
    pixels = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
    for name in (*pixels, "video_second_per_grid", "second_per_grid_ts"):
        found = [f[name] for f in features if name in f]
        if found and name.startswith("pixel"):
            joined = torch.from_numpy(np.concatenate(found))
            batch[name] = joined[None] if joined.ndim == 4 else joined  # tiles: (1, all tiles, 3, side, side)
        elif found:
            batch[name] = torch.tensor(found)
    sounds = [f["input_features"] for f in features if "input_features" in f]
    if sounds:
        longest = max(s.shape[1] for s in sounds)
        heard = [f.get("frames", f["input_features"].shape[1]) for f in features if "input_features" in f]
        batch["input_features"] = torch.from_numpy(
            np.stack([np.pad(s, ((0, 0), (0, longest - s.shape[1]))) for s in sounds])
        )
        batch["feature_attention_mask"] = torch.tensor([[1] * frames + [0] * (longest - frames) for frames in heard])
    return batch
