"""Tiny random checkpoints in the layouts of the hub: every family's folder, with weights that are the same everywhere.

`make(name, folder)` writes one; weights are drawn by numpy, so that a golden file holds for any version of torch.
"""

import json
import re
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

KINDS = ("image", "video", "audio")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Marks of a picture, a film and a sound with what stands around them, by tokenizer; and all that its release flags.
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
TILES = ("<image>", "<video>", "")
PIECES = [
    "<fake_token_around_image>",
    "<global-img>",
    *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)),
]
MERGES = [
    ("t", "h"),
    ("th", "e"),
    ("Ġ", "the"),
    ("i", "s"),
    ("Ġ", "is"),
    (">", "Ċ"),
    (":", "Ġ"),
    ("s", ">"),
    ("Ġ", "<"),
]
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}@0{% elif c['type'] == 'video' %}@1{% elif c['type'] == 'audio' %}@2"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
PICTURES = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2, "patch_size": 14,
            "temporal_patch_size": 2, "min_pixels": 3136, "max_pixels": 12_845_056} | CLIP  # fmt: skip
SOUNDS = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "hop_length": 160, "n_fft": 400,
          "sampling_rate": 16_000, "padding_value": 0.0, "return_attention_mask": True}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
TEXT = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=96,
            max_position_embeddings=32_768, rope_parameters=ROPE, tie_word_embeddings=False)  # fmt: skip
EYE = dict(depth=2, hidden_size=48, intermediate_size=64, num_heads=2, out_hidden_size=64, window_size=112,
           fullatt_block_indexes=[1])  # fmt: skip
EYE3 = dict(depth=2, hidden_size=48, intermediate_size=64, num_heads=2, out_hidden_size=64, patch_size=16,
            deepstack_visual_indexes=[0], num_position_embeddings=256)  # fmt: skip
EAR = dict(encoder_layers=2, d_model=48, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=128, output_dim=64)
DIT = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ff_mult=1, emb_dim=16, head_dim=16,
           num_embeds=64, mel_dim=16, enc_emb_dim=16, enc_dim=16, enc_channels=[16, 16, 16, 16, 48],
           enc_attention_channels=8, enc_res2net_scale=2, enc_se_channels=8, enc_lin_neurons=16)  # fmt: skip
VOCODER = dict(mel_dim=16, upsample_initial_channel=32, resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3, 5]],
               upsample_rates=[5, 3, 2, 2, 2, 2], upsample_kernel_sizes=[11, 7, 4, 4, 4, 4])  # fmt: skip


def write_tokenizer(folder: Path, marks=(), more=(), legacy: bool = False, template: str = TEMPLATE) -> dict[str, int]:
    """Write a byte-level tokenizer with a few merges, its control tokens and its chat template; return its ids."""
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*letters, *("".join(pair) for pair in MERGES)])}
    inner = Tokenizer(BPE(vocabulary, MERGES))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    found = [piece for mark in marks for piece in re.findall("<[^>]*>", mark)]
    control = list(dict.fromkeys([*SPECIAL, *found, *more]))
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    for at, mark in enumerate(marks):
        template = template.replace(f"@{at}", mark)
    inner_marks = [re.findall("<[^>]*>", mark) for mark in marks]
    bare = {f"{kind}_token": mark[len(mark) // 2] for kind, mark in zip(KINDS, inner_marks, strict=False) if mark}
    if more == () and marks:
        for kind, mark in (("vision", inner_marks[0]), ("audio", inner_marks[2])):
            bare |= {f"{kind}_bos_token": mark[0], f"{kind}_eos_token": mark[2]}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   extra_special_tokens=bare, chat_template=template)  # fmt: skip
    made.save_pretrained(folder)
    if legacy:
        (folder / "chat_template.jinja").unlink()
        write(folder / "chat_template.json", {"chat_template": template})
    return {name: made.convert_tokens_to_ids(name) for name in control}


def write(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def fill(model, seed: int = 0):
    """Give every weight its values, whichever version of torch there is; norms stay near one."""
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            drawn = rng.standard_normal(tuple(weight.shape), dtype=np.float32) * 0.1
            weight.copy_(torch.from_numpy(drawn + 1 if "norm" in name and name.endswith("weight") else drawn))
    return model.eval()


def pad_ids(ids: dict[str, int], names=("image", "video", "audio"), form: str = "<|{}_pad|>") -> dict[str, int]:
    return {f"{name}_token_id": ids[form.format(name)] for name in names}


def around(ids: dict[str, int]) -> dict[str, int]:
    found = {"vision_start_token_id": "vision_start", "vision_end_token_id": "vision_end",
             "audio_start_token_id": "audio_start", "audio_end_token_id": "audio_end"}  # fmt: skip
    return {key: ids[f"<|{name}|>"] for key, name in found.items() if f"<|{name}|>" in ids}


def _thinker_config(ids):
    from transformers import Qwen2_5OmniThinkerConfig

    own = {"image_token_id": "<|IMAGE|>", "video_token_id": "<|VIDEO|>", "audio_token_id": "<|AUDIO|>",
           "vision_start_token_id": "<|vision_bos|>", "vision_end_token_id": "<|vision_eos|>",
           "audio_start_token_id": "<|audio_bos|>", "audio_end_token_id": "<|audio_eos|>"}  # fmt: skip
    return Qwen2_5OmniThinkerConfig(
        vision_config=EYE, audio_config=EAR | {"n_window": 100}, text_config=TEXT | {"vocab_size": 320},
        pad_token_id=ids["<|endoftext|>"], **{key: ids[name] for key, name in own.items()},
    )  # fmt: skip


def omni_thinker(folder, legacy=False):
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

    config = _thinker_config(write_tokenizer(folder, OMNI, legacy=legacy))
    write(folder / "preprocessor_config.json", PICTURES | SOUNDS | {"processor_class": "Qwen2_5OmniProcessor"})
    return fill(Thinker(config))


def omni_full(folder, legacy=False):
    """The whole model of the release: the thinker, and the talker and vocoder that no judge needs."""
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    thinker = _thinker_config(write_tokenizer(folder, OMNI, legacy=legacy))
    talker = TEXT | dict(vocab_size=320, num_hidden_layers=1, embedding_size=64, head_dim=32)
    config = Qwen2_5OmniConfig(thinker_config=thinker.to_dict(), talker_config=talker, enable_audio_output=True,
                               token2wav_config=dict(dit_config=DIT, bigvgan_config=VOCODER))  # fmt: skip
    write(folder / "preprocessor_config.json", PICTURES | SOUNDS | {"processor_class": "Qwen2_5OmniProcessor"})
    whole = Qwen2_5OmniForConditionalGeneration(config)
    fill(whole.thinker)
    return whole


def omni_legacy(folder):
    return omni_full(folder, legacy=True)


def omni3(folder):
    from transformers import Qwen3OmniMoeThinkerConfig
    from transformers import Qwen3OmniMoeThinkerForConditionalGeneration as Thinker

    ids = write_tokenizer(folder, VL)
    experts = dict(vocab_size=320, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=32)
    ear = EAR | {"downsample_hidden_size": 32}
    config = Qwen3OmniMoeThinkerConfig(text_config=TEXT | experts, vision_config=EYE3, audio_config=ear,
                                       **pad_ids(ids), **around(ids))  # fmt: skip
    write(folder / "preprocessor_config.json",
          PICTURES | SOUNDS | HALF | {"patch_size": 16, "processor_class": "Qwen3OmniMoeProcessor"})  # fmt: skip
    return fill(Thinker(config))


def vl(folder):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = write_tokenizer(folder, VL)
    config = Qwen2_5_VLConfig(text_config=TEXT | {"vocab_size": 320}, vision_config=EYE | {"tokens_per_second": 2},
                              **pad_ids(ids, ("image", "video")), **around(ids))  # fmt: skip
    write(folder / "preprocessor_config.json", PICTURES | {"processor_class": "Qwen2_5_VLProcessor"})
    return fill(Qwen2_5_VLForConditionalGeneration(config))


def vl3(folder):
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    ids = write_tokenizer(folder, VL)
    config = Qwen3VLConfig(text_config=TEXT | {"vocab_size": 320, "head_dim": 32}, vision_config=EYE3,
                           **pad_ids(ids, ("image", "video")), **around(ids))  # fmt: skip
    own = PICTURES | HALF | {"patch_size": 16, "processor_class": "Qwen3VLProcessor"}
    own |= {"size": {"shortest_edge": own.pop("min_pixels"), "longest_edge": own.pop("max_pixels")}}
    write(folder / "preprocessor_config.json", own)
    return fill(Qwen3VLForConditionalGeneration(config))


def audio2(folder):
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    ids = write_tokenizer(folder, OMNI)
    ear = {k: v for k, v in EAR.items() if k != "output_dim"} | {"model_type": "qwen2_audio_encoder"}
    text = {k: v for k, v in TEXT.items() if k != "rope_parameters"} | {"model_type": "qwen2", "vocab_size": 320}
    config = Qwen2AudioConfig(audio_config=ear, text_config=text, audio_token_id=ids["<|AUDIO|>"])
    write(folder / "preprocessor_config.json", SOUNDS | {"chunk_length": 30, "processor_class": "Qwen2AudioProcessor"})
    return fill(Qwen2AudioForConditionalGeneration(config))


def smolvlm(folder):
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    ids = write_tokenizer(folder, TILES, PIECES)
    eye = dict(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    text = {k: v for k, v in TEXT.items() if k != "rope_parameters"} | {"model_type": "llama", "vocab_size": 320}
    config = SmolVLMConfig(vision_config=eye, text_config=text, scale_factor=2, image_token_id=ids["<image>"],
                           pad_token_id=ids["<|endoftext|>"])  # fmt: skip
    own = {"image_processor_type": "SmolVLMImageProcessor", "do_image_splitting": True, "size": {"longest_edge": 64},
           "max_image_size": {"longest_edge": 32}, "processor_class": "SmolVLMProcessor"} | HALF  # fmt: skip
    write(folder / "preprocessor_config.json", own)
    write(folder / "processor_config.json", {"image_seq_len": 4, "processor_class": "SmolVLMProcessor"})
    return fill(SmolVLMForConditionalGeneration(config))


def text_model(folder, kind: str = "Qwen3", head: str = "ForCausalLM", **own):
    """A model of text alone, of any kind that transformers has, with any head."""
    import transformers

    ids = write_tokenizer(folder)
    sizes = {k: v for k, v in TEXT.items() if k != "rope_parameters"}
    values = sizes | {"vocab_size": 320, "head_dim": 32, "pad_token_id": ids["<|endoftext|>"]} | own
    return fill(getattr(transformers, kind + head)(getattr(transformers, f"{kind}Config")(**values)))


def reward_model(folder, kind: str = "Qwen3", **own):
    return text_model(folder, kind, "ForSequenceClassification", **({"num_labels": 1} | own))


_ALL = (omni_thinker, omni_full, omni_legacy, omni3, vl, vl3, audio2, smolvlm, text_model, reward_model)
MAKERS = {maker.__name__: maker for maker in _ALL}


def make(name: str, folder: Path, **how):
    """Write a family's folder; return its model, in evaluation mode."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    model = MAKERS[name](Path(folder), **how)
    model.save_pretrained(folder)
    return model


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    """A picture (H, W, 3) uint8 that is the same everywhere."""
    rows, columns = np.indices((height, width))
    return np.stack([rows * 3 + columns, rows * 5 % 256, (columns * 7 + rows) % 256], -1).astype(np.uint8)


def film(frames: int = 4, side: int = 64) -> np.ndarray:
    """A film (T, H, W, 3) uint8 that moves."""
    return np.stack([np.roll(picture(side, side), 9 * at, axis=1) for at in range(frames)])


def sound(seconds: float = 1.7) -> np.ndarray:
    """A rising tone, 16-bit samples at 16 kHz."""
    time = np.arange(int(16_000 * seconds)) / 16_000
    return (np.sin(2 * np.pi * (300 + 200 * time) * time) * 8_000).astype(np.int16)


def write_media(folder: Path, side: int = 64, fps: int = 2) -> dict[str, Path]:
    """Write the picture (PNG), the film (FFV1, without loss) and the sound (WAV)."""
    import av
    import soundfile
    from PIL import Image

    paths = {kind: Path(folder) / name for kind, name in (("image", "p.png"), ("video", "f.mkv"), ("audio", "s.wav"))}
    Image.fromarray(picture(side, side + side // 2)).save(paths["image"])
    soundfile.write(paths["audio"], sound(), 16_000)
    with av.open(str(paths["video"]), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width = stream.height = side
        stream.pix_fmt = "bgr0"
        for frame in film(side=side):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return paths


def write_gguf(model, tokenizer_folder: Path, path: Path) -> None:
    """Write a model of text as a GGUF file, in float32, with its tokenizer and chat template."""
    import gguf
    from transformers import AutoTokenizer

    config = model.config
    kind = gguf.MODEL_ARCH[config.model_type.upper()]
    writer = gguf.GGUFWriter(path, config.model_type)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(getattr(config, "head_dim", config.hidden_size // config.num_attention_heads))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    words = tokenizer.convert_ids_to_tokens(range(config.vocab_size))
    control = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([word if word is not None else f"[unused{i}]" for i, word in enumerate(words)])
    writer.add_token_types([3 if i in control else 1 for i in range(config.vocab_size)])
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
