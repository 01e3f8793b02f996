"""A trained judge as a folder that can be uploaded: adapter, processor, settings, model card, an example.

Consumes a finished stage (03_sft, 04_grpo, ...) or an adapter's folder; produces a folder that stands alone. A base
that lies in a local folder (the embedded backbone) is copied to `base`; a hub id stays a name. The card's numbers are
those of the stage's metrics.json, each with its interval; a judge without one has a card that says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, open_rows, read_jsonl, stored, write_jsonl
from omnirepro.kit.run import RunError
from omnirepro.kit.run.checks import checks_of, sentence
from omnirepro.models.loading import base_of, follow

SHOWN = ("accuracy", "accuracy_macro", "accuracy_text", "accuracy_image", "accuracy_video", "accuracy_audio",
         "accuracy_AB", "accuracy_BA", "both_orders", "consistency", "always_a", "valid_share", "tie_rate", "hard",
         "easy", "sft_minus_base", "grpo_minus_sft", "sft_minus_longer_wins", "grpo_minus_longer_wins")  # fmt: skip
SNIPPET = """\
from omnirepro import load_judge
from omnirepro.data import Pair, read_jsonl

judge = load_judge("{folder}")
pairs = read_jsonl("{folder}/example/pairs.jsonl", Pair)
for row in judge.judge(pairs, orders="both"):
    print(row.pair_id, row.order, row.status, row.verdict, row.score_a, row.score_b)
"""
EXAMPLE = Pair(
    id="example-1", task="text", prompt=[Part(type="text", text="Name a primary colour.")],
    response_a=[Part(type="text", text="red")], response_b=[Part(type="text", text="seven")],
)  # fmt: skip


def write_hub_folder(stage: str | Path, to: str | Path) -> Path:
    """Write the judge of a stage into a new folder and return it.

    Raises `RunError` where the stage holds no adapter or the folder is not empty.
    """
    stage, to = Path(stage), Path(to)
    adapter = next((f for f in (stage / "adapter", stage) if (f / "adapter_config.json").is_file()), None)
    if adapter is None:
        raise RunError(f"{stage}: no adapter here; give a finished stage such as results/tiny/04_grpo")
    if to.exists() and any(to.iterdir()):
        raise RunError(f"{to} is not empty; give a new folder")
    to.mkdir(parents=True, exist_ok=True)
    for path in adapter.iterdir():
        if path.suffix in (".json", ".safetensors"):
            shutil.copy2(path, to / path.name)
    _write_base(adapter, to)
    _write_example(stage, to)
    (to / "README.md").write_text(card(stage, to), encoding="utf-8")
    return to


def _write_base(adapter: Path, to: Path) -> None:
    """Copy a local base, name a released one, and write the processor beside the adapter."""
    from omnirepro.models.processing import OmniProcessor

    base = follow(base_of(adapter))
    name = "base" if Path(base).is_dir() else base
    if name == "base":
        shutil.copytree(base, to / "base")
        OmniProcessor.from_pretrained(base).save_pretrained(to)
    config = json.loads((to / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = name
    (to / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_example(stage: Path, to: Path) -> None:
    """Write a pair of each task of the run's sample with its media, or a pair of texts where the run has none."""
    found = next((p for n in ("sample", "data") for p in stage.parent.glob(f"01_synthesis/{n}/pairs*.jsonl")), None)
    each = {p.task: p for p in reversed(read_jsonl(found, Pair))} if found else {"text": EXAMPLE}
    (to / "example").mkdir()
    pairs = []
    for number, pair in enumerate(each.values(), 1):
        hidden = {"id": f"example-{number}", "label": None, "source": None, "cluster": None, "meta": None}
        sides = {side: [_beside(p, to) for p in getattr(pair, side)] for side in ("prompt", "response_a", "response_b")}
        pairs.append(pair.model_copy(update=hidden | sides))
    write_jsonl((to / "example" / "pairs.jsonl").absolute(), pairs)


def _beside(part: Part, to: Path) -> Part:
    """Copy a part's medium into the example and return the part that points there."""
    if not part.path:
        return part
    path = (to / "example" / Path(part.path).name).absolute()
    shutil.copy2(part.path, path)
    return part.model_copy(update={"path": str(path)})


def card(stage: Path, to: Path) -> str:
    """Return the model card: what it is, data, metrics with intervals, limits, use, provenance."""
    manifest, metrics = _json(stage / "manifest.json"), _json(stage / "metrics.json")
    base = json.loads((to / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    sections = {
        f"{to.name}: a judge of answers": _what(manifest, base),
        "Data": "\n".join(_data(stage)) or "The folder that this judge came from names no data.",
        "Metrics": _metrics(metrics),
        "Limits": "\n".join(f"* {line}" for line in _limits(base, metrics)),
        "Use": f"```python\n{SNIPPET.format(folder=to.name)}```\n\nRun it beside this folder. A verdict and scores are "
        "in the pair's own frame (A is `response_a`) in both orders; `status` says whether a judgement could be read.",
        "Provenance": _provenance(manifest),
    }
    head = ["---", "library_name: peft", *([f"base_model: {base}"] if base != "base" else []), "tags:",
            "- reward-model", "- omnirepro", "- lora", "---", ""]  # fmt: skip
    body = [f"{'#' if i == 0 else '##'} {title}\n\n{text}\n" for i, (title, text) in enumerate(sections.items())]
    return "\n".join([*head, *body])


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _what(manifest: dict[str, Any], base: str) -> str:
    made = f" made by stage {manifest['stage']} of profile {manifest['profile']}" if manifest else ""
    what = "a small backbone of the embedded world, included in `base`" if base == "base" else f"`{base}`"
    return (
        f"A LoRA adapter{made} on {what}. Shown a prompt with two answers, it writes a rationale on five dimensions, "
        "two scores from 0 to 10 and a verdict (A, B or equal), as in Omni-RRM."
    )


def _data(stage: Path) -> Iterator[str]:
    """Yield one line a data file that the judge's stages recorded as input, with its number of rows."""
    for folder in (stage.parent / "03_sft", stage):
        for name, digest in _json(folder / "manifest.json").get("inputs", {}).items():
            path = stage.parent / "/".join(name.split("/")[1:])
            if path.suffix == ".jsonl" and stored(path).is_file():
                with open_rows(stored(path)) as file:
                    rows = sum(1 for line in file if line.strip())
                yield f"* `{folder.name}` read `{path.parent.name}/{path.name}`: {rows} rows, sha256 `{digest[:16]}`"


def _metrics(metrics: dict[str, Any]) -> str:
    known = {n: entry["value"] if isinstance(entry, dict) else entry for n, entry in metrics.items()}
    names = [n for n in SHOWN if known.get(n) is not None]
    if not names:
        return "This judge was exported without measurements: measure it before you rely on it."
    lines = ["| metric | value | 95 % interval | n | seeds |", "|---|---|---|---|---|"]
    for name in names:
        entry = metrics[name] if isinstance(metrics[name], dict) else {"value": metrics[name]}
        low, high = (entry.get(k) for k in ("low", "high"))
        interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else "not known"
        lines.append(
            f"| {name} | {entry['value']:.3f} | {interval} | {entry.get('n') or ''} | {entry.get('seeds') or ''} |"
        )
    note = "Accuracy is the mean over both orders of display; a failed or tied verdict on a decided pair is wrong."
    return "\n".join([*lines, "", f"{note} Intervals are drawn by whole prompts."])


def _limits(base: str, metrics: dict[str, Any]) -> Iterator[str]:
    if base == "base":
        yield "Trained and measured on drawn shapes, short films and beeps with questions about them: the numbers say "\
            "nothing of photographs, speech or any real text, and the judge is of no use there."  # fmt: skip
    else:
        yield "Measured on the data named above only."
    if consistency := metrics.get("consistency"):
        yield f"It contradicts itself when the answers change places in {1 - consistency['value']:.1%} of the pairs: "\
            "judge both orders."  # fmt: skip
    if valid := metrics.get("valid_share"):
        yield f"{1 - valid['value']:.1%} of its judgements could not be read."
    for name, entry in checks_of(metrics).items():
        if not entry["passed"]:
            yield f"It missed a check of its training: {sentence(name, entry)}."
    yield "Its rationale is a trained text; that a verdict follows from it is not guaranteed."
    yield "A policy that is optimised against it will find what it overlooks: watch it, and judge with another."


def _provenance(manifest: dict[str, Any]) -> str:
    if not manifest:
        return "The folder that this judge came from has no manifest."
    named = ("omnirepro", "torch", "transformers", "trl", "peft")
    packages = ", ".join(f"{k} {v}" for k, v in manifest["packages"].items() if k in named)
    return (
        f"Seed {manifest['seed']}, {manifest['device']}, {manifest['seconds']:.0f} s, finished {manifest['finished']}, "
        f"commit {manifest['commit'] or 'unknown'}; {packages}."
    )
