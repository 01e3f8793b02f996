"""A trained judge as a folder that can be uploaded: adapter, processor, settings, model card, an example.

Consumes a finished stage (03_sft, 04_grpo, ...) or an adapter's folder; produces a folder that stands alone. A base
that lies in a local folder (the embedded backbone) is copied to `base`; a hub id stays a name. The card's numbers are
those of the stage's metrics.json, each with its interval; a judge without one has a card that says so.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from omnirepro.cli.export import new_folder, render
from omnirepro.data import Pair, Part, open_rows, read_jsonl, stored, write_jsonl
from omnirepro.kit.run import RunError
from omnirepro.kit.run.checks import checks_of, sentence
from omnirepro.models.loading import base_of, follow

SHOWN = ("accuracy", "accuracy_macro", "accuracy_text", "accuracy_image", "accuracy_video", "accuracy_audio",
         "accuracy_AB", "accuracy_BA", "both_orders", "consistency", "always_a", "valid_share", "tie_rate", "hard",
         "easy", "sft_minus_base", "grpo_minus_sft", "sft_minus_longer_wins", "grpo_minus_longer_wins")  # fmt: skip
PACKAGES = ("omnirepro", "torch", "transformers", "trl", "peft")


def write_hub_folder(stage: str | Path, to: str | Path) -> Path:
    """Write the judge of a stage into a new folder and return it.

    Raises `RunError` where the stage holds no adapter or the folder is not empty.
    """
    stage = Path(stage)
    adapter = next((f for f in (stage / "adapter", stage) if (f / "adapter_config.json").is_file()), None)
    if adapter is None:
        raise RunError(f"{stage}: no adapter here; give a finished stage such as results/tiny/04_grpo")
    to = new_folder(to)
    for path in adapter.iterdir():
        if path.suffix in (".json", ".safetensors"):
            shutil.copy2(path, to / path.name)
    base = _write_base(adapter, to)
    _write_example(stage, to)
    write_card(stage, base, to)
    return to


def _write_base(adapter: Path, to: Path) -> str:
    """Copy a local base and its processor, or keep the id of a released one; return the name in the adapter's file."""
    from omnirepro.models.processing import OmniProcessor

    base = follow(base_of(adapter))
    if Path(base).is_dir():
        shutil.copytree(base, to / "base")
        OmniProcessor.from_pretrained(base).save_pretrained(to)
        base = "base"
    config = _read(to / "adapter_config.json") | {"base_model_name_or_path": base}
    (to / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return base


def _write_example(stage: Path, to: Path) -> None:
    """Write a pair of each task of the run's sample with its media, or a pair of texts where the run has none."""
    folder = (to / "example").absolute()
    folder.mkdir()
    found = next(stage.parent.glob("01_synthesis/sample/pairs*.jsonl"), None)  # what can be given away
    words = {"prompt": "Name a primary colour.", "response_a": "red", "response_b": "seven"}
    plain = Pair(id="", task="text", **{side: [Part(type="text", text=said)] for side, said in words.items()})
    each = {p.task: p for p in reversed(read_jsonl(found, Pair))} if found else {"text": plain}
    pairs = []
    for number, pair in enumerate(each.values(), 1):
        changed: dict[str, Any] = dict.fromkeys(("label", "source", "cluster", "meta"))
        for side in words:
            changed[side] = [part.model_copy() for part in getattr(pair, side)]
            for part in changed[side]:
                if part.path:
                    part.path = str(shutil.copy2(part.path, folder / Path(part.path).name))
        pairs.append(pair.model_copy(update=changed | {"id": f"example-{number}"}))
    write_jsonl(folder / "pairs.jsonl", pairs)


def write_card(stage: Path, base: str, to: Path) -> None:
    """Write the model card: what it is, data, metrics with intervals, limits, use, provenance."""
    manifest, metrics = (_read(stage / f"{name}.json") for name in ("manifest", "metrics"))
    measured = {}
    for name in SHOWN:
        entry = metrics.get(name)
        entry = entry if isinstance(entry, dict) else {"value": entry}
        if entry["value"] is not None:
            measured[name] = dict.fromkeys(("low", "high", "n", "seeds")) | entry
    render(
        to / "README.md",
        name=to.name,
        base=base,
        manifest=manifest,
        packages=", ".join(f"{k} {v}" for k, v in manifest.get("packages", {}).items() if k in PACKAGES),
        data=_data(stage),
        measured=measured,
        missed=[sentence(name, entry) for name, entry in checks_of(metrics).items() if not entry["passed"]],
    )


def _data(stage: Path) -> list[dict[str, Any]]:
    """Return the data files that the judge's stages recorded as inputs, each with its number of rows."""
    found = []
    for folder in (stage.parent / "03_sft", stage):
        for name, sha256 in _read(folder / "manifest.json").get("inputs", {}).items():
            path = stage.parent / "/".join(name.split("/")[1:])
            if path.suffix == ".jsonl" and stored(path).is_file():
                with open_rows(stored(path)) as file:
                    rows = sum(1 for line in file if line.strip())
                file_name = f"{path.parent.name}/{path.name}"
                found.append({"stage": folder.name, "file": file_name, "rows": rows, "sha256": sha256})
    return found


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON file; an empty mapping where it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
