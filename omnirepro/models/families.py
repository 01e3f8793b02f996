"""Families of models: one row a kind, found by the `model_type` of its config, and what its official processor does.

Consumes a model's folder, hub id or GGUF file; produces its config, its row, and the numbers its media are made with.
A family enters by a test that ids, positions and logits equal those of the official processor and class. No remote
code runs: what needs it is refused by name.

Departure: a film's frames stand at the times that its frame rate gives.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SERVE = "serve it behind an OpenAI-compatible server and give its address, as in http://localhost:8000/v1#model"


class ModelError(ValueError):
    """A model cannot be loaded; the message names it and the remedy."""


def convolved(frames: int) -> int:
    """Return the tokens of a sound's mel frames in Whisper's encoder with its pooling by two."""
    return ((frames - 1) // 2 - 1) // 2 + 1


def in_windows(frames: int) -> int:
    """Return the tokens of a sound's mel frames where each window of 100 is convolved on its own, to 13 tokens."""
    rest = frames % 100
    return frames // 100 * 13 + (((rest + 1) // 2 + 1) // 2 + 1) // 2


def in_words(number: int) -> str:
    """Say a number below a thousand in words, as the package num2words does."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    return f"{_ONES[number // 100]} hundred" + (f" and {in_words(number % 100)}" if number % 100 else "")


@dataclass(frozen=True)
class Family:
    """What a kind of model needs beyond text.

    `factory`: its class in transformers. `marks`: the placeholder token a kind of medium. `seconds`: the name under
    which it takes the seconds that two frames last. `types`: whether it is told which tokens are pictures and films.
    `timed`: whether a film's frames stand apart, each behind its time. `tiled`: placeholders of a tile, where pictures
    are cut into tiles, and a film's frames are pictures of one tile. `sound_tokens`: from mel frames; `sound_padded`:
    whether sounds fill the encoder.
    """

    factory: str = "AutoModelForCausalLM"
    marks: Mapping[str, str] = field(default_factory=dict)
    seconds: str = ""
    types: bool = False
    timed: bool = False
    tiled: int = 0
    sound_tokens: Callable[[int], int] = convolved
    sound_padded: bool = False

    def film_text(self, tokens: int, grid: list[int], seconds: float) -> dict[str, Any]:
        """Return what stands in a film's place where its frames stand apart: its text, and the length of each run."""
        if not self.timed:
            return {}
        mark = f"<|vision_start|>{self.marks['video']}<|vision_end|>"
        times = [(at + 0.25) * seconds for at in range(grid[0])]  # the middle of two frames
        return {"written": "".join(f"<{t:.1f} seconds>{mark}" for t in times), "runs": [tokens // grid[0]] * grid[0]}

    def tiles(self, picture: np.ndarray, settings: dict) -> dict[str, Any]:
        """Cut a picture (H, W, 3) uint8 into tiles (n, 3, side, side), and write the names of their places."""
        made = self._pictures([picture], settings)
        return self._shown(made, self._place(made["rows"][0][0], made["cols"][0][0]))

    def frames(self, film: np.ndarray, rate: float, settings: dict) -> dict[str, Any]:
        """Make a tile of each frame of a film (T, H, W, 3) uint8, and write the time before its place."""
        from transformers.models.smolvlm import processing_smolvlm as official

        made = self._pictures(list(film), settings | {"do_image_splitting": False})
        length = timedelta(seconds=int(len(film) / rate))
        said = official.DEFAULT_VIDEO_INTRO.format(frame_count=in_words(len(film)), video_duration=str(length))
        for at in range(len(film)):
            time = f"{int(at / rate) // 60:02d}:{int(at / rate) % 60:02d}"
            said += official.FRAME_TIMESTAMP_MESSAGE.format(timestamp=time) + self._place(0, 0)
        return self._shown(made, said + official.DEFAULT_MEDIA_OUTTRO)

    def _pictures(self, pictures: list[np.ndarray], settings: dict) -> Mapping[str, Any]:
        """Let the official processor cut pictures into tiles of its side."""
        from PIL import Image
        from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

        cut = SmolVLMImageProcessorPil(**settings)
        return cut([[Image.fromarray(p) for p in pictures]], return_tensors="np", return_row_col_info=True)

    def _place(self, rows: int, columns: int) -> str:
        """Write the names of a picture's tiles, each with one placeholder."""
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        around = ("<fake_token_around_image>", self.marks["image"], "<global-img>")
        return get_image_prompt_string(rows, columns, 1, *around)

    def _shown(self, made: Mapping[str, Any], written: str) -> dict[str, Any]:
        """Return tiles (n, 3, side, side) with what is written in their place."""
        pixels = np.asarray(made["pixel_values"][0], dtype=np.float32)
        runs = [self.tiled] * len(pixels)
        return {"pixel_values": pixels, "written": written, "runs": runs, "tokens": sum(runs)}


_PADS = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
_OMNI_MARKS = {"image": "<|IMAGE|>", "video": "<|VIDEO|>", "audio": "<|AUDIO|>"}
TEXT = Family()
CLASSIFIER = Family("AutoModelForSequenceClassification")
OMNI = Family("Qwen2_5OmniThinkerForConditionalGeneration", _OMNI_MARKS, "video_second_per_grid")
OMNI3 = Family(
    "Qwen3OmniMoeThinkerForConditionalGeneration",
    _PADS | {"audio": "<|audio_pad|>"},
    "video_second_per_grid",
    sound_tokens=in_windows,
)
FAMILIES = {
    "qwen2_5_omni": OMNI,
    "qwen2_5_omni_thinker": OMNI,
    "qwen3_omni_moe": OMNI3,
    "qwen3_omni_moe_thinker": OMNI3,
    "qwen2_5_vl": Family("Qwen2_5_VLForConditionalGeneration", _PADS, "second_per_grid_ts", types=True),
    "qwen3_vl": Family("Qwen3VLForConditionalGeneration", _PADS, types=True, timed=True),
    "qwen2_audio": Family("Qwen2AudioForConditionalGeneration", {"audio": "<|AUDIO|>"}, sound_padded=True),
    "smolvlm": Family("SmolVLMForConditionalGeneration", {"image": "<image>", "video": "<video>"}, tiled=64),
}


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn what a missing or damaged model raises, of whatever kind, into a `ModelError` that names the model."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = textwrap.shorten(str(error) or type(error).__name__, 300)
        raise ModelError(
            f"{name}: no model could be loaded ({reason}); give a folder, a hub id or a package name"
        ) from error


def config_of(name: str, source: str, **named: str):
    """Return the config of a model's folder or hub id. Raises `ModelError` where code from its files would have to run.

    `name`: the model in messages; `named`: its GGUF file, where it is one.
    """
    import transformers

    with named_errors(name):
        written = {} if named else transformers.PreTrainedConfig.get_config_dict(source)[0]
        kind = written.get("model_type", "")
        classes = written.get("architectures") or []
        native = kind in FAMILIES or all(hasattr(transformers, found) for found in classes)
        if "auto_map" in written and not (native and kind in transformers.CONFIG_MAPPING):
            raise ModelError(
                f"{name}: {(classes or [kind])[0]} needs code from its files, which is not run here; {SERVE}"
            )
        return transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, **named)


def family_of(name: str, config) -> Family:
    """Return the row of a config. Raises `ModelError` for a kind that neither writes text nor gives one score."""
    from transformers import AutoModelForCausalLM

    family = FAMILIES.get(config.model_type)
    if is_classifier(config):
        if family is None and config.num_labels == 1:
            return CLASSIFIER
        raise ModelError(
            f"{name}: {config.architectures[0]} gives {config.num_labels} numbers; a classifier is read where it is a "
            f"model of text with one label"
        )
    if family is None and type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(f"{name}: no family is known for the model type {config.model_type!r}; {SERVE}")
    if family is None:
        return TEXT
    if family.tiled:
        side = config.vision_config.image_size // config.vision_config.patch_size
        return replace(family, tiled=(side // config.scale_factor) ** 2)
    return family


def is_classifier(config) -> bool:
    """Tell whether a model scores: its class ends in a head that classifies sequences."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def picture_settings(source: str | Path) -> dict[str, Any]:
    """Return the settings of a model's image processor, from whichever of its files holds them; {} where none does."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
    except OSError as error:
        if "JSON" in str(error):
            raise
        return {}
    size = settings.get("size") or {}
    edges = {"min_pixels": size.get("shortest_edge"), "max_pixels": size.get("longest_edge")}
    return ({} if None in edges.values() else edges) | settings  # one edge alone is a length, not a number of pixels


def old_template(source: str | Path) -> str | None:
    """Return the chat template that older folders keep in a file of its own; None where there is none."""
    from transformers.utils import cached_file

    file = cached_file(source, "chat_template.json", _raise_exceptions_for_missing_entries=False)
    return json.loads(Path(file).read_text(encoding="utf-8"))["chat_template"] if file else None
