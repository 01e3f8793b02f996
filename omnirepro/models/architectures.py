"""Released checkpoints as architectures without weights, so that a plan and a test can use the real ones offline.

Produces the configuration of Qwen2.5-Omni's Thinker, or of Qwen2.5-VL, from their published `config.json`, and the
model on torch's meta device, where tensors have shapes and no content. What is not named here is transformers' default;
the defaults of the vision tower's width and of tied embeddings differ from the released 7B, and are set. The sum of the
7B's parameters is that of the release; of Omni's 3B only the sizes are known here, and untied embeddings are taken over
from the 7B.
"""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {
    "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
}  # fmt: skip
_VISION: dict[str, Any] = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
_AUDIO: dict[str, Any] = {
    "num_mel_bins": 128, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
    "d_model": 1280, "n_window": 100,
}  # fmt: skip
_TOKENS: dict[str, Any] = {
    "audio_token_index": 151_646, "image_token_index": 151_655, "video_token_index": 151_656,
    "vision_start_token_id": 151_652, "vision_end_token_id": 151_653, "audio_start_token_id": 151_647,
    "audio_end_token_id": 151_648, "position_id_per_seconds": 25,
}  # fmt: skip
_SIZES: dict[str, dict[str, int]] = {
    "Qwen/Qwen2.5-Omni-3B": dict(
        vocab_size=151_936, hidden_size=2048, intermediate_size=11_008, num_hidden_layers=36, num_attention_heads=16,
        num_key_value_heads=2,
    ),
    "Qwen/Qwen2.5-Omni-7B": dict(
        vocab_size=152_064, hidden_size=3584, intermediate_size=18_944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4,
    ),
}  # fmt: skip
_LIKE = {"Qwen/Qwen2.5-VL-3B-Instruct": "Qwen/Qwen2.5-Omni-3B", "Qwen/Qwen2.5-VL-7B-Instruct": "Qwen/Qwen2.5-Omni-7B"}


def released_config(name: str):
    """Return the configuration of a released Thinker or of Qwen2.5-VL. Raises `ValueError` on any other name."""
    from transformers import Qwen2_5_VLConfig

    if name not in _LIKE:
        return thinker_config(name)
    size = _SIZES[_LIKE[name]]
    tied = "3B" in name
    vision = _VISION | {"out_hidden_size": size["hidden_size"]}
    text = _TEXT | size | {"tie_word_embeddings": tied}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def thinker_config(name: str, **towers: int):
    """Return a released Thinker's configuration; `towers` replaces their depths (depth, encoder_layers).

    Raises `ValueError` on a name that is not known here.
    """
    from transformers import Qwen2_5OmniThinkerConfig

    if name not in _SIZES:
        raise ValueError(
            f"{name!r} is no released checkpoint whose sizes are known; use {', '.join([*_SIZES, *_LIKE])}"
        )
    size = _SIZES[name]
    vision = _VISION | {k: v for k, v in towers.items() if k in _VISION} | {"out_hidden_size": size["hidden_size"]}
    audio = _AUDIO | {k: v for k, v in towers.items() if k in _AUDIO} | {"output_dim": size["hidden_size"]}
    towers = {"vision_config": vision, "audio_config": audio, "text_config": _TEXT | size}
    return Qwen2_5OmniThinkerConfig(**towers, **_TOKENS, tie_word_embeddings=False)


def on_meta(config):
    """Create the model of a configuration without memory for its weights."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5OmniThinkerForConditionalGeneration

    seen = config.model_type == "qwen2_5_vl"
    with torch.device("meta"):
        return (Qwen2_5_VLForConditionalGeneration if seen else Qwen2_5OmniThinkerForConditionalGeneration)(config)
