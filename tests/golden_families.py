"""What official processors and classes make of one conversation a family: writes tests/golden_families.json.

Run in a throw-away environment with torchvision and num2words beside the transformers of constraints.txt:
`python tests/golden_families.py`. Of omnirepro the makers of tiny checkpoints are imported, nothing that reads them.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import checkpoints
import numpy as np

SIDES = {"omni_thinker": 56, "omni3": 64, "vl": 56, "vl3": 64, "audio2": 56, "smolvlm": 56, "smolvlm_film": 56}
KINDS = {"vl": ("image", "video"), "vl3": ("image", "video"), "audio2": ("audio",), "smolvlm": ("image",)}
KINDS |= {"smolvlm_film": ("video",)}  # its processor takes pictures or films, not both
FPS = 2


def conversation(kinds) -> list[dict]:
    """The media of a family, two of the first kind, between words whose ends could melt into what is put there."""
    parts = [part for kind in kinds for part in ({"type": "text", "text": f"the {kind}: "}, {"type": kind})]
    parts += [{"type": "text", "text": " is the"}, {"type": kinds[0]}, {"type": "text", "text": "what is this?"}]
    return [{"role": "user", "content": parts}]


def official(name: str, folder: Path):
    """Build the family's official processor from its parts."""
    import transformers as t

    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    kinds = {"omni_thinker": "Qwen2_5OmniProcessor", "omni3": "Qwen3OmniMoeProcessor", "vl": "Qwen2_5_VLProcessor",
             "vl3": "Qwen3VLProcessor", "audio2": "Qwen2AudioProcessor", "smolvlm": "SmolVLMProcessor"}  # fmt: skip
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    look = {
        k: settings[k] for k in ("patch_size", "image_mean", "image_std", "min_pixels", "max_pixels") if k in settings
    }
    pictures, films = t.Qwen2VLImageProcessor(**look), t.Qwen2VLVideoProcessor(**look)
    ear = t.WhisperFeatureExtractor(feature_size=128)
    if name == "audio2":
        return t.Qwen2AudioProcessor(ear, tokenizer, chat_template=tokenizer.chat_template)
    if name.startswith("smolvlm"):
        own = {k: settings[k] for k in ("size", "max_image_size", "image_mean", "image_std")}
        films = t.SmolVLMVideoProcessor(**own)
        return t.SmolVLMProcessor(t.SmolVLMImageProcessor(**own), tokenizer, films, image_seq_len=4,
                                  chat_template=tokenizer.chat_template)  # fmt: skip
    if name == "vl3":
        look |= {"size": {"shortest_edge": 4096, "longest_edge": 25_165_824}}  # as released; of all frames together
        films = t.Qwen3VLVideoProcessor(**{k: look[k] for k in ("patch_size", "image_mean", "image_std", "size")})
    heard = {"feature_extractor": ear} if name.startswith("omni") else {}
    return getattr(t, kinds[name])(image_processor=pictures, video_processor=films, tokenizer=tokenizer,
                                   chat_template=tokenizer.chat_template, **heard)  # fmt: skip


def inputs_of(name: str, folder: Path, side: int):
    """Return what the official processor makes of the conversation."""
    from PIL import Image
    from transformers.video_utils import VideoMetadata

    kinds = KINDS.get(name, ("image", "video", "audio"))
    chat = conversation(kinds)
    processor = official(name, folder)
    text = processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    frames = checkpoints.film(side=side)
    about = VideoMetadata(total_num_frames=len(frames), fps=FPS, frames_indices=list(range(len(frames))), duration=2.0)
    shown = Image.fromarray(checkpoints.picture(side, side + side // 2))
    media = {
        "images": [shown] * (1 + (kinds[0] == "image")),
        "videos": [frames] * (1 + (kinds[0] == "video")),
        "audio": [checkpoints.sound() / 32768],
    }
    media["audio"] *= 1 + (kinds[0] == "audio")
    given = {k: v for k, v in media.items() if k.rstrip("s") in kinds}
    if "videos" in given:
        given |= {"videos_kwargs": {"video_metadata": [about] * len(given["videos"]), "do_sample_frames": False}}
    if "videos" in given and name.startswith("omni"):
        given["videos_kwargs"] |= {"fps": FPS, "min_pixels": 3136, "max_pixels": 12_845_056}
    if name.startswith("omni"):
        given |= {"audio_kwargs": {"sampling_rate": 16_000}}
    return processor(text=[text], return_tensors="pt", **given)


def digest(positions) -> str:
    """A name for positions (3, L), exact to a hundredth."""
    return hashlib.sha256(
        np.round(np.asarray(positions, dtype=np.float64) * 100).astype(np.int64).tobytes()
    ).hexdigest()


def positions_of(model, batch):
    """Return the positions (3, B, L) that a model gives a batch, or None where they count on by one."""
    ropes = next((m for m in model.modules() if hasattr(m, "get_rope_index")), None)
    if ropes is None:
        return None
    wanted = {"image_grid_thw", "video_grid_thw", "attention_mask", "second_per_grid_ts", "mm_token_type_ids"}
    given = {k: v for k, v in batch.items() if k in wanted}
    if "mm_token_type_ids" not in batch:
        given["audio_seqlens"] = batch["feature_attention_mask"].sum(-1)
        given["second_per_grids"] = batch["video_second_per_grid"]
    return (
        model.get_rope_index(batch["input_ids"], **given)[0]
        if hasattr(model, "get_rope_index")
        else ropes.get_rope_index(batch["input_ids"], **given)[0]
    )


def row(name: str, folder: Path) -> dict:
    import torch

    model = checkpoints.make(name, folder)
    batch = inputs_of(name, folder, SIDES[name])
    taken = {
        k: torch.as_tensor(v)
        for k, v in batch.items()
        if k not in ("rows", "cols", "video_metadata", "num_audio_tokens")
    }
    places = positions_of(model, taken)
    with torch.no_grad():
        logits = model(**taken).logits[0, -1]
    grids = {k: v.tolist() for k, v in taken.items() if "grid" in k}
    shapes = {k: list(v.shape) for k, v in taken.items() if k not in grids and k != "pixel_attention_mask"}
    return {
        "ids": taken["input_ids"][0].tolist(),
        "grids": grids,
        "shapes": shapes,
        "types": taken["mm_token_type_ids"][0].tolist() if "mm_token_type_ids" in taken else None,
        "positions": None if places is None else digest(places[:, 0]),
        "last": None if places is None else places[:, 0, -1].tolist(),
        "logits": [round(float(x), 5) for x in logits[:12]],
    }


if __name__ == "__main__":
    target = Path(__file__).with_suffix(".json")
    rows = {}
    for name in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = row(name, Path(folder))
        print(name, len(rows[name]["ids"]), rows[name]["shapes"], rows[name]["logits"][:3], file=sys.stderr)
    lines = [f'"{name}": {json.dumps(value)}' for name, value in rows.items()]
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
