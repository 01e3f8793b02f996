"""A run's training data and settings in the formats of ms-swift and LLaMA-Factory, to train the same judge there.

Consumes a run's pairs and reconciled labels; produces a folder: rows with media as `<image>`, `<video>` and `<audio>`
in the text and their paths in lists, copies of the media named by content, and the recipe with the profile's own
hyper-parameters. SFT rows end in the published judgement; rows for GRPO end in the question and carry the gold label as
JSON in `solution`, as Omni-Preference does. Preference rows (the better and the worse answer) serve DPO and scalar
reward models; tied labels have none.

Both formats count placeholders, so a text that holds one of them literally has it broken up.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from omnirepro.data import Label, Pair, Part, read_jsonl, sha256_file
from omnirepro.kit.run import Params, RunError, load_params, results_root
from omnirepro.kit.run.manifest import load_manifest

FORMATS = ("ms-swift", "llama-factory")
DEFAULT_MODEL = "Qwen/Qwen2.5-Omni-7B"
_LISTS = {"image": "images", "views3d": "images", "video": "videos", "audio": "audios"}
_MARKS = ("<image>", "<video>", "<audio>")
_HEAD = """\
#!/bin/sh
# As for one process; with N of them (NPROC_PER_NODE=N) divide gradient_accumulation_steps by N.
set -e
cd "$(dirname "$0")"
"""
PLUGIN = '''\
"""The kit's rewards for ms-swift: --external_plugins plugin.py --reward_funcs {names}"""

import json

from omnirepro.reward import REWARDS
from swift.plugin import ORM, orms


def register(name):
    class Reward(ORM):
        def __call__(self, completions, solution, **kwargs):
            return [REWARDS[name](text, json.loads(gold)) for text, gold in zip(completions, solution, strict=True)]

    orms[f"omnirepro_{{name}}"] = Reward


for name in REWARDS:
    register(name)
'''


def write_recipes(run: str, to: str | Path, form: str) -> Path:
    """Write the data and recipes of a run in one of `FORMATS` into a new folder and return it.

    Raises `RunError` where the run has no reconciled labels or the folder is not empty.
    """
    to, folder = Path(to), results_root() / run
    if form not in FORMATS:
        raise RunError(f"{form}: no such format; use {' or '.join(FORMATS)}")
    manifest = load_manifest(folder / "02_reconciliation")
    if not manifest:
        raise RunError(f"run {run} has no finished 02_reconciliation; run it first")
    if to.exists() and any(to.iterdir()):
        raise RunError(f"{to} is not empty; give a new folder")
    params = load_params(manifest["profile"], None if run == manifest["profile"] else run)
    pairs = {p.id: p for p in read_jsonl(folder / "01_synthesis" / "data" / "pairs_train.jsonl", Pair)}
    labels = {name: read_jsonl(folder / "02_reconciliation" / f"labels_{name}.jsonl", Label) for name in ("sft", "rl")}
    rows = {
        "sft": list(_sft_rows(pairs, labels["sft"], params, to)),
        "rl": list(_rl_rows(pairs, labels["rl"], params, to)),
        "preference": list(_preference_rows(pairs, labels["sft"], to)),
    }
    (_swift if form == "ms-swift" else _factory)(to, rows, params)
    return to


def _sft_rows(pairs: dict[str, Pair], labels: list[Label], params: Params, to: Path) -> Iterator[dict[str, Any]]:
    from omnirepro.train.sft import conversations

    p, judge = params["sft"], params["judge"]
    known = [pairs[label.pair_id] for label in labels]
    for chat in conversations(known, labels, judge["wording"], judge["format"], p["both_orders"], p["ties"]):
        yield _row(chat, to)


def _rl_rows(pairs: dict[str, Pair], labels: list[Label], params: Params, to: Path) -> Iterator[dict[str, Any]]:
    from omnirepro.judge import rubric
    from omnirepro.train.sft import swap_label

    judge = params["judge"]
    for label in labels:
        shown = [(pairs[label.pair_id], label)]
        if params["grpo.both_orders"]:
            shown.append((shown[0][0].swap(), swap_label(label)))
        for pair, gold in shown:
            known = {"score_A": gold.score_a, "score_B": gold.score_b}
            known |= {"better": "equal" if gold.verdict == "tie" else gold.verdict}
            yield _row(rubric.messages(pair, judge["wording"], judge["format"]), to) | {"solution": json.dumps(known)}


def _preference_rows(pairs: dict[str, Pair], labels: list[Label], to: Path) -> Iterator[dict[str, Any]]:
    for label in labels:
        pair = pairs[label.pair_id]
        if label.verdict == "tie":
            continue
        better, worse = (pair.response_a, pair.response_b)[:: 1 if label.verdict == "A" else -1]
        row = _row([{"role": "user", "parts": pair.prompt}], to)
        sides = (_row([{"role": "assistant", "parts": side}], to)["messages"][0] for side in (better, worse))
        yield row | dict(zip(("chosen", "rejected"), sides, strict=True))


def _row(chat: list[dict[str, Any]], to: Path) -> dict[str, Any]:
    """Write a chat as messages with placeholders, and its media by kind in the order of their placeholders."""
    row: dict[str, Any] = {"messages": []}
    for message in chat:
        row["messages"].append({"role": message["role"], "content": "".join(map(_written, message["parts"]))})
        for part in (p for p in message["parts"] if p.type != "text"):
            row.setdefault(_LISTS[part.type], []).append(_copied(part, to))
    return row


def _written(part: Part) -> str:
    if part.type != "text":
        return f"<{_LISTS[part.type][:-1]}>"
    text = part.text or ""
    for mark in _MARKS:
        text = text.replace(mark, f"< {mark[1:]}")
    return text


def _copied(part: Part, to: Path) -> str:
    """Copy a medium once, under the name of its content, and return its path below the folder."""
    name = f"media/{part.sha256 or sha256_file(part.path)}{Path(part.path).suffix}"
    if not (to / name).exists():
        (to / "media").mkdir(parents=True, exist_ok=True)
        shutil.copy2(part.path, to / name)
    return name


# ---- ms-swift


def _swift(to: Path, rows: dict[str, list[dict[str, Any]]], params: Params) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for name in ("sft", "rl"):
        _lines(to / f"{name}.jsonl", rows[name])
    preferences = ({"rejected_response": r["rejected"]["content"], **_joined(r)} for r in rows["preference"])
    _lines(to / "preference.jsonl", preferences)
    sft, grpo, model = params["sft"], params["grpo"], params["backbone.model"] or DEFAULT_MODEL
    shared = {"model": model, "train_type": "lora", "target_modules": "all-linear", "freeze_vit": True,
              "torch_dtype": "bfloat16", "lora_rank": sft["lora_rank"], "lora_alpha": sft["lora_alpha"],
              "lora_dropout": sft["lora_dropout"]}  # fmt: skip
    weights = _weights(grpo["preset"])
    names = " ".join(f"omnirepro_{name}" for name in weights)
    (to / "plugin.py").write_text(PLUGIN.format(names=names), encoding="utf-8")
    _script(to / "sft.sh", "swift sft", shared | {"dataset": "sft.jsonl"} | _common(sft)
            | {"max_length": sft["max_length"]})  # fmt: skip
    _script(to / "grpo.sh", "swift rlhf", {"rlhf_type": "grpo"} | shared | {
        "dataset": "rl.jsonl", "adapters": "CHECKPOINT_OF_SFT", "external_plugins": "plugin.py",
        "reward_funcs": names, "reward_weights": " ".join(map(str, weights.values())),
        "num_generations": grpo["group"], "beta": grpo["beta"], "epsilon": grpo["epsilon"],
        "temperature": grpo["temperature"], "top_p": grpo["top_p"], "top_k": grpo["top_k"] or -1,
        "max_completion_length": params["judge.max_new_tokens"], "num_iterations": grpo["iterations"],
    } | _common({**grpo, "batch": grpo["pairs"] * grpo["group"] * (2 if grpo["both_orders"] else 1)}))  # fmt: skip


def _joined(row: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in row.items() if k not in ("chosen", "rejected")}
    return kept | {"messages": [*row["messages"], row["chosen"]]}


def _weights(preset: str) -> dict[str, float]:
    from omnirepro.reward import weights_of

    return dict(weights_of(preset))


def _common(p: Mapping[str, Any]) -> dict[str, Any]:
    values = {"learning_rate": p["lr"], "lr_scheduler_type": p["schedule"], "warmup_ratio": p["warmup"],
              "per_device_train_batch_size": p["batch"] // p["accumulate"],
              "gradient_accumulation_steps": p["accumulate"],
              "gradient_checkpointing": p["gradient_checkpointing"]}  # fmt: skip
    return values | ({"max_steps": p["steps"]} if p["steps"] else {"num_train_epochs": p.get("epochs", 1)})


def _script(path: Path, command: str, options: dict[str, Any]) -> None:
    """Write a command on one line an option; run it in its own folder, where the media's paths begin."""
    words = (" ".join(map(shlex.quote, str(v).split())) if " " in str(v) else _flag(v) for v in options.values())
    lines = [f"  --{name} {value}" for name, value in zip(options, words, strict=True)]
    path.write_text(_HEAD + " \\\n".join([command, *lines]) + "\n", encoding="utf-8")


def _flag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else shlex.quote(str(value))


# ---- LLaMA-Factory


def _factory(to: Path, rows: dict[str, list[dict[str, Any]]], params: Params) -> None:
    to.mkdir(parents=True, exist_ok=True)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    media = {k: k for k in ("images", "videos", "audios")}
    info = {}
    for name in ("sft", "preference"):
        _lines(to / f"{name}.jsonl", ({k: r.get(k, []) for k in media} | r for r in rows[name]))
        ranking = {"ranking": True} if name == "preference" else {}
        sides = {"chosen": "chosen", "rejected": "rejected"} if ranking else {}
        info[f"omnirepro_{name}"] = {"file_name": f"{name}.jsonl", "formatting": "sharegpt", **ranking,
                                     "columns": {"messages": "messages", **media, **sides}, "tags": tags}  # fmt: skip
    (to / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    _yaml(to / "sft.yaml", _factory_recipe(params, "sft", "omnirepro_sft", params["sft"]))
    _yaml(to / "reward_model.yaml", _factory_recipe(params, "rm", "omnirepro_preference", params["bradley_terry"]))


def _factory_recipe(params: Params, stage: str, dataset: str, p: Any) -> dict[str, Any]:
    sft = params["sft"]
    return {
        "model_name_or_path": params["backbone.model"] or DEFAULT_MODEL, "template": "qwen2_omni", "stage": stage,
        "do_train": True, "finetuning_type": "lora", "lora_target": "all", "lora_rank": sft["lora_rank"],
        "lora_alpha": sft["lora_alpha"], "lora_dropout": sft["lora_dropout"], "freeze_vision_tower": True,
        "dataset_dir": ".", "media_dir": ".", "dataset": dataset, "cutoff_len": p["max_length"],
        "output_dir": f"output/{stage}", "bf16": True, **_common(p),
    }  # fmt: skip


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _yaml(path: Path, values: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
