"""Tiny random checkpoints in the layouts of the hub: what a released model's folder holds, with narrow layers.

Consumes a tokenizer; produces folders of safetensors, configs, tokenizer and preprocessor files. Weights are drawn by
numpy, so that they are the same under every version of torch. Names of control tokens stand at the ids that the
releases of Qwen2.5 and Qwen2.5-Omni give them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("image", "video", "audio")
PLAIN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Marks of a picture, a film and a sound with what stands around them, by tokenizer.
OMNI = (
    "<|vision_bos|><|IMAGE|><|vision_eos|>",
    "<|vision_bos|><|VIDEO|><|vision_eos|>",
    "<|audio_bos|><|AUDIO|><|audio_eos|>",
)
VL = (
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<|vision_start|><|video_pad|><|vision_end|>",
    "<|audio_start|><|audio_pad|><|audio_end|>",
)
_BOXES = ("<|box_end|>", "<|quad_start|>", "<|quad_end|>")
# All control tokens of a release in their order, from id 151,643 on.
CONTROL = {
    OMNI: (
        *PLAIN,
        *("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", *_BOXES),
        *("<|vision_bos|>", "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>"),
    ),
    VL: (
        *PLAIN,
        *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", *_BOXES),
        *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    ),
}
RANKS = 151_643
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}@0{% elif c['type'] == 'video' %}@1{% elif c['type'] == 'audio' %}@2"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
PICTURES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "merge_size": 2,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "min_pixels": 3136,
    "max_pixels": 12_845_056,
} | CLIP
SOUNDS = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 128,
    "hop_length": 160,
    "n_fft": 400,
    "sampling_rate": 16_000,
    "padding_value": 0.0,
    "return_attention_mask": True,
}
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
TEXT = dict(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    intermediate_size=96,
    max_position_embeddings=32_768,
    rope_parameters=ROPE,
    tie_word_embeddings=False,
)
EYE = dict(
    depth=2,
    hidden_size=48,
    intermediate_size=64,
    num_heads=2,
    out_hidden_size=64,
    window_size=112,
    fullatt_block_indexes=[1],
)
EAR = dict(encoder_layers=2, d_model=48, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=128, output_dim=64)
DIT = dict(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    ff_mult=1,
    emb_dim=16,
    head_dim=16,
    num_embeds=64,
    mel_dim=16,
    enc_emb_dim=16,
    enc_dim=16,
    enc_channels=[16, 16, 16, 16, 48],
    enc_attention_channels=8,
    enc_res2net_scale=2,
    enc_se_channels=8,
    enc_lin_neurons=16,
)
VOCODER = dict(
    mel_dim=16,
    upsample_initial_channel=32,
    resblock_kernel_sizes=[3],
    resblock_dilation_sizes=[[1, 3, 5]],
    upsample_rates=[5, 3, 2, 2, 2, 2],
    upsample_kernel_sizes=[11, 7, 4, 4, 4, 4],
)
PLAIN_TEXT = {key: value for key, value in TEXT.items() if key != "rope_parameters"}
Ids = Mapping[str, int]


def write(path: Path, value: Any) -> None:
    """Write a JSON file as releases have them."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def marked(marks: Sequence[str]) -> str:
    """Return the chat template with the marks of a family's media."""
    template = TEMPLATE
    for at, mark in enumerate(marks):
        template = template.replace(f"@{at}", mark)
    return template


def bare_marks(marks: Sequence[str], around: bool) -> dict[str, str]:
    """Return what a tokenizer's config calls its marks, with those that stand `around` them where it names these."""
    found = [re.findall("<[^>]*>", mark) for mark in marks]
    bare = {f"{kind}_token": mark[len(mark) // 2] for kind, mark in zip(KINDS, found, strict=False) if mark}
    for kind, mark in (("vision", found[0]), ("audio", found[2])) if around else ():
        bare |= {f"{kind}_bos_token": mark[0], f"{kind}_eos_token": mark[2]}
    return bare


def qwen_words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary of the shape of Qwen2.5's: all its 151,643 ranks, of which those below 12,000 are in use.

    Merges are learnt from the text of this package, so that English and JSON have tokens of a few letters; no text is
    cut into the others, which a random model writes all the same.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    text = (path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parents[2].rglob("*.py")))
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    how = {"vocab_size": 12_000, "initial_alphabet": letters, "show_progress": False}
    learner.train_from_iterator(text, trainers.BpeTrainer(**how))
    learnt = json.loads(learner.to_str())["model"]
    numbers = (f"Ġ{number:x}" for number in range(16**5, 16**5 + RANKS))
    words = [*learnt["vocab"], *(word for word in numbers if word not in learnt["vocab"])][:RANKS]
    return {word: rank for rank, word in enumerate(words)}, [tuple(pair) for pair in learnt["merges"]]


def write_qwen_tokenizer(folder: Path, words: tuple[dict, list], marks: Sequence[str]) -> dict[str, int]:
    """Write a tokenizer as Qwen releases it, with their control tokens at their ids; return the ids of these."""
    from transformers import AddedToken, Qwen2Tokenizer

    control = CONTROL[VL if tuple(marks) == VL else OMNI]
    bare = bare_marks(marks, around=tuple(marks) == OMNI)
    inner = Qwen2Tokenizer(*words)
    inner.add_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    inner.save_pretrained(folder)
    how = {"eos_token": "<|im_end|>", "extra_special_tokens": bare, "chat_template": marked(marks)}
    made = Qwen2Tokenizer.from_pretrained(folder, **how)
    made.save_pretrained(folder)
    return {name: made.convert_tokens_to_ids(name) for name in control}


def fill(model: Any, seed: int = 0) -> Any:
    """Give every weight its values, whichever version of torch there is; norms stay near one."""
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = rng.standard_normal(tuple(weight.shape), dtype=np.float32) * 0.1
            weight.copy_(torch.from_numpy(drawn + 1 if "norm" in name and name.endswith("weight") else drawn))
    return model.eval()


def pad_ids(ids: Ids, names: Sequence[str] = KINDS) -> dict[str, int]:
    """Return the placeholders' ids as a config of the VL family has them."""
    return {f"{name}_token_id": ids[f"<|{name}_pad|>"] for name in names}


def around(ids: Ids) -> dict[str, int]:
    """Return the ids of what stands around placeholders, as a config of the VL family has them."""
    named = {f"{kind}_{end}_token_id": f"<|{kind}_{end}|>" for kind in ("vision", "audio") for end in ("start", "end")}
    return {key: ids[name] for key, name in named.items() if name in ids}


def thinker_config(ids: Ids, size: int) -> Any:
    """Return the config of Qwen2.5-Omni's thinker; `size`: rows of its embeddings."""
    from transformers import Qwen2_5OmniThinkerConfig

    own = {f"{kind}_token_id": f"<|{kind.upper()}|>" for kind in KINDS}
    for end, mark in (("start", "bos"), ("end", "eos")):
        own |= {f"{kind}_{end}_token_id": f"<|{kind}_{mark}|>" for kind in ("vision", "audio")}
    return Qwen2_5OmniThinkerConfig(
        vision_config=EYE,
        audio_config=EAR | {"n_window": 100},
        text_config=TEXT | {"vocab_size": size},
        pad_token_id=ids["<|endoftext|>"],
        **{key: ids[name] for key, name in own.items()},
    )


def omni_thinker(folder: Path, ids: Ids, size: int) -> Any:
    """Make Qwen2.5-Omni's thinker alone."""
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

    write(folder / "preprocessor_config.json", PICTURES | SOUNDS | {"processor_class": "Qwen2_5OmniProcessor"})
    return fill(Thinker(thinker_config(ids, size)))


def omni_full(folder: Path, ids: Ids, size: int) -> Any:
    """Make the whole model of the release: the thinker, and the talker and vocoder that no judge needs."""
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    talker = TEXT | dict(vocab_size=320, num_hidden_layers=1, embedding_size=64, head_dim=32)
    config = Qwen2_5OmniConfig(
        thinker_config=thinker_config(ids, size).to_dict(),
        talker_config=talker,
        token2wav_config={"dit_config": DIT, "bigvgan_config": VOCODER},
        enable_audio_output=True,
    )
    write(folder / "preprocessor_config.json", PICTURES | SOUNDS | {"processor_class": "Qwen2_5OmniProcessor"})
    whole = Qwen2_5OmniForConditionalGeneration(config)
    fill(whole.thinker)
    return whole


def vl(folder: Path, ids: Ids, size: int) -> Any:
    """Make Qwen2.5-VL."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    shown = {"text_config": TEXT | {"vocab_size": size}, "vision_config": EYE | {"tokens_per_second": 2}}
    config = Qwen2_5_VLConfig(**shown, **pad_ids(ids, ("image", "video")), **around(ids))
    write(folder / "preprocessor_config.json", PICTURES | {"processor_class": "Qwen2_5_VLProcessor"})
    return fill(Qwen2_5_VLForConditionalGeneration(config))


def audio2(folder: Path, ids: Ids, size: int) -> Any:
    """Make Qwen2-Audio."""
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    ear = {k: v for k, v in EAR.items() if k != "output_dim"} | {"model_type": "qwen2_audio_encoder"}
    text = PLAIN_TEXT | {"model_type": "qwen2", "vocab_size": size}
    config = Qwen2AudioConfig(audio_config=ear, text_config=text, audio_token_id=ids["<|AUDIO|>"])
    write(folder / "preprocessor_config.json", SOUNDS | {"chunk_length": 30, "processor_class": "Qwen2AudioProcessor"})
    return fill(Qwen2AudioForConditionalGeneration(config))


def text_model(folder: Path, ids: Ids, size: int, kind: str = "Qwen3", head: str = "ForCausalLM", **own: Any) -> Any:
    """Make a model of text alone, of any kind that transformers has, with any head."""
    import transformers

    values = PLAIN_TEXT | {"vocab_size": size, "head_dim": 32, "pad_token_id": ids["<|endoftext|>"]} | own
    return fill(getattr(transformers, kind + head)(getattr(transformers, f"{kind}Config")(**values)))


def reward_model(folder: Path, ids: Ids, size: int, kind: str = "Qwen3", **own: Any) -> Any:
    """Make a classifier of one score, as Skywork's reward models are."""
    return text_model(folder, ids, size, kind, "ForSequenceClassification", **({"num_labels": 1} | own))
