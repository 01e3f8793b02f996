"""A run's training data and settings in the formats of ms-swift and LLaMA-Factory, to train the same judge there.

Consumes a run's pairs and reconciled labels; produces a folder: rows with media as `<image>`, `<video>` and `<audio>`
in the text and their paths in lists, copies of the media named by content, and the recipe with the profile's own
hyper-parameters. SFT rows end in the published judgement; rows for GRPO end in the question and carry the gold label as
JSON in `solution`, as Omni-Preference does. Preference rows (the better and the worse answer) serve DPO and scalar
reward models, with the prompt's turns and, in a system message, the criterion; tied labels have none, nor do pairs of
generated media, since both formats have one list of media for the better and the worse answer.

Both formats count placeholders, so a text that holds one of them literally has it broken up.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omnirepro.cli.export import new_folder, render
from omnirepro.data import Label, Pair, read_jsonl, sha256_file
from omnirepro.judge import rubric
from omnirepro.judge.scalar import chat
from omnirepro.judge.speech import spoken
from omnirepro.kit.run import Params, RunError, load_params, results_root
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.reward import weights_of

FORMATS = ("ms-swift", "llama-factory")
DEFAULT_MODEL = "Qwen/Qwen2.5-Omni-7B"
MEDIA = {"image": "images", "views3d": "images", "video": "videos", "audio": "audios"}
MARK = re.compile("<(?=(image|video|audio)>)")
Rows = dict[str, list[dict[str, Any]]]  # by what they train: sft, rl, preference


def write_recipes(run: str, to: str | Path, form: str) -> Path:
    """Write the data and recipes of a run in one of `FORMATS` into a new folder and return it.

    Raises `RunError` where the run has no reconciled labels or the folder is not empty.
    """
    folder = results_root() / run
    if form not in FORMATS:
        raise RunError(f"{form}: no such format; use {' or '.join(FORMATS)}")
    manifest = load_manifest(folder / "02_reconciliation")
    if not manifest:
        raise RunError(f"run {run} has no finished 02_reconciliation; run it first")
    to = new_folder(to)
    params = load_params(manifest["profile"], None if run == manifest["profile"] else run)
    write = _write_swift if form == "ms-swift" else _write_factory
    write(to, _rows(folder, params, to), params)
    return to


def _rows(folder: Path, params: Params, to: Path) -> Rows:
    """Return the rows for SFT, GRPO and preference training, whose media are copied to `to`."""
    from omnirepro.train.sft import conversations

    pairs = {p.id: p for p in read_jsonl(folder / "01_synthesis" / "data" / "pairs_train.jsonl", Pair)}
    sft, rl = (read_jsonl(folder / "02_reconciliation" / f"labels_{name}.jsonl", Label) for name in ("sft", "rl"))
    judge, tuning = (params[section] for section in ("judge", "sft"))
    how = (judge["wording"], judge["format"])
    shown = (tuning["both_orders"], tuning["ties"], tuning["injected"])
    chats = conversations([pairs[x.pair_id] for x in sft], sft, *how, *shown)
    rows = {"sft": [_row(one, to) for one in chats], "rl": [], "preference": []}
    drawn = 0
    for label in rl:
        for order in ("AB", "BA")[: 2 if params["grpo.both_orders"] else 1]:
            pair = pairs[label.pair_id].displayed(order)
            gold = label.displayed(order)
            better = "equal" if gold.verdict == "tie" else gold.verdict
            solution = json.dumps({"score_A": gold.score_a, "score_B": gold.score_b, "better": better})
            rows["rl"].append(_row(rubric.messages(pair, *how), to) | {"solution": solution})
    for label in sft:
        pair = pairs[label.pair_id]
        made = any(part.type != "text" for part in (*pair.response_a, *pair.response_b))
        drawn += made
        if label.verdict != "tie" and not made:
            preferred = pair if label.verdict == "A" else pair.swap()
            *asked, _ = chat(pair.prompt, preferred.response_a, pair.criterion)
            row = _row(asked, to)
            for name, side in (("chosen", preferred.response_a), ("rejected", preferred.response_b)):
                answer = {"role": "assistant", "parts": spoken(side, speaker="assistant")}
                row |= {name: _row([answer], to)["messages"][0]}
            rows["preference"].append(row)
    if drawn:
        print(f"{drawn} pairs of generated media have no preference row: both formats list media once for both sides")
    return rows


def _row(turns: list[dict[str, Any]], to: Path) -> dict[str, Any]:
    """Write a chat as messages with placeholders, and its media by kind in the order of their placeholders.

    A medium is copied once, under the name of its content, and named by its path below the folder.
    """
    row: dict[str, Any] = {"messages": []}
    for message in turns:
        content = ""
        for part in message["parts"]:
            if part.type == "text":
                content += MARK.sub("< ", part.text or "")
                continue
            kind = MEDIA[part.type]
            content += f"<{kind[:-1]}>"
            name = f"media/{part.sha256 or sha256_file(part.path)}{Path(part.path).suffix}"
            row.setdefault(kind, []).append(name)
            if not (to / name).exists():
                (to / "media").mkdir(exist_ok=True)
                shutil.copy2(part.path, to / name)
        row["messages"].append({"role": message["role"], "content": content})
    return row


def _training(params: Params, p: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that both trainers name alike: LoRA of the section sft, the rest of a training's section."""
    lora = {name: params[f"sft.{name}"] for name in ("lora_rank", "lora_alpha", "lora_dropout")}
    options = {
        "learning_rate": p["lr"],
        "lr_scheduler_type": p["schedule"],
        "warmup_ratio": p["warmup"],
        "per_device_train_batch_size": p["batch"] // p["accumulate"],
        "gradient_accumulation_steps": p["accumulate"],
        "gradient_checkpointing": p["gradient_checkpointing"],
    }
    return lora | options | ({"max_steps": p["steps"]} if p["steps"] else {"num_train_epochs": p.get("epochs", 1)})


def _write_swift(to: Path, rows: Rows, params: Params) -> None:
    """Write rows, the plugin with the kit's rewards, and a script each for SFT and GRPO."""
    for row in rows["preference"]:
        row["messages"].append(row.pop("chosen"))
        row["rejected_response"] = row.pop("rejected")["content"]
    for name in rows:
        _write_rows(to / f"{name}.jsonl", rows[name])
    sft, grpo = (params[section] for section in ("sft", "grpo"))
    batch = grpo["pairs"] * grpo["group"] * (2 if grpo["both_orders"] else 1)
    weights = weights_of(grpo["preset"])
    names = " ".join(f"omnirepro_{name}" for name in weights)
    model = params["backbone.model"] or DEFAULT_MODEL
    values = {"model": model, "rewards": names, "weights": weights, "longest": params["judge.max_new_tokens"]}
    render(to / "plugin.py", rewards=names)
    render(to / "sft.sh", **values, sft=sft, training=_training(params, sft))
    render(to / "grpo.sh", **values, grpo=grpo, training=_training(params, {**grpo, "batch": batch}))


def _write_factory(to: Path, rows: Rows, params: Params) -> None:
    """Write rows, their index, and a recipe each for SFT and a scalar reward model."""
    media = dict.fromkeys(MEDIA.values(), [])
    for name in ("sft", "preference"):
        _write_rows(to / f"{name}.jsonl", (media | row for row in rows[name]))
    render(to / "dataset_info.json")
    model = params["backbone.model"] or DEFAULT_MODEL
    for file, stage, p in (("sft", "sft", params["sft"]), ("reward_model", "rm", params["bradley_terry"])):
        values = {"model": model, "stage": stage, "p": p, "training": _training(params, p)}
        render(to / f"{file}.yaml", "llama_factory.yaml", **values)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
