"""Tiny random checkpoints of every family that the kit opens, with a tokenizer of letters and a few words.

`make(name, folder)` writes one; weights are drawn by numpy, so that a golden file holds for any version of torch.
"""

import re
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from omnirepro.kit.rehearsal import checkpoints as shared
from omnirepro.kit.rehearsal.checkpoints import (
    EAR,
    OMNI,
    PICTURES,
    PLAIN,
    PLAIN_TEXT,
    SOUNDS,
    TEXT,
    VL,
    around,
    bare_marks,
    fill,
    marked,
    pad_ids,
    write,
)

SIZE = 320
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
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
EYE3 = dict(depth=2, hidden_size=48, intermediate_size=64, num_heads=2, out_hidden_size=64, patch_size=16,
            deepstack_visual_indexes=[0], num_position_embeddings=256)  # fmt: skip


def write_tokenizer(folder: Path, marks=(), more=(), legacy: bool = False) -> dict[str, int]:
    """Write a byte-level tokenizer with a few merges, its control tokens and its chat template; return its ids."""
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*letters, *("".join(pair) for pair in MERGES)])}
    inner = Tokenizer(BPE(vocabulary, MERGES))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    found = [piece for mark in marks for piece in re.findall("<[^>]*>", mark)]
    control = list(dict.fromkeys([*PLAIN, *found, *more]))
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in control])
    template = marked(marks)
    bare = bare_marks(marks, around=more == () and bool(marks))
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   extra_special_tokens=bare, chat_template=template)  # fmt: skip
    made.save_pretrained(folder)
    if legacy:
        (folder / "chat_template.jinja").unlink()
        write(folder / "chat_template.json", {"chat_template": template})
    return {name: made.convert_tokens_to_ids(name) for name in control}


def omni_thinker(folder, legacy=False):
    return shared.omni_thinker(folder, write_tokenizer(folder, OMNI, legacy=legacy), SIZE)


def omni_full(folder, legacy=False):
    return shared.omni_full(folder, write_tokenizer(folder, OMNI, legacy=legacy), SIZE)


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
    return shared.vl(folder, write_tokenizer(folder, VL), SIZE)


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
    return shared.audio2(folder, write_tokenizer(folder, OMNI), SIZE)


def smolvlm(folder):
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    ids = write_tokenizer(folder, TILES, PIECES)
    eye = dict(
        hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    text = PLAIN_TEXT | {"model_type": "llama", "vocab_size": 320}
    config = SmolVLMConfig(vision_config=eye, text_config=text, scale_factor=2, image_token_id=ids["<image>"],
                           pad_token_id=ids["<|endoftext|>"])  # fmt: skip
    own = {"image_processor_type": "SmolVLMImageProcessor", "do_image_splitting": True, "size": {"longest_edge": 64},
           "max_image_size": {"longest_edge": 32}, "processor_class": "SmolVLMProcessor"} | HALF  # fmt: skip
    write(folder / "preprocessor_config.json", own)
    write(folder / "processor_config.json", {"image_seq_len": 4, "processor_class": "SmolVLMProcessor"})
    return fill(SmolVLMForConditionalGeneration(config))


def smolvlm_film(folder):
    return smolvlm(folder)


def text_model(folder, kind: str = "Qwen3", head: str = "ForCausalLM", **own):
    return shared.text_model(folder, write_tokenizer(folder), SIZE, kind, head, **own)


def reward_model(folder, kind: str = "Qwen3", **own):
    return shared.reward_model(folder, write_tokenizer(folder), SIZE, kind, **own)


_ALL = (omni_thinker, omni_full, omni_legacy, omni3, vl, vl3, audio2, smolvlm, smolvlm_film, text_model, reward_model)
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
