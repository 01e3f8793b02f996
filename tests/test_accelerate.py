"""More than one device: the launch files are what accelerate takes, and two processes train as one does."""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_parts import make_model, save_untrained, text_part, user

from omnirepro.data import Judgement, Label, Pair, read_jsonl
from omnirepro.judge.criteria import Task
from omnirepro.kit.run import ParameterError, RunError, load_params, open_run
from omnirepro.kit.run.launch import KIND, _plain
from omnirepro.kit.run.launched import revive
from omnirepro.kit.run.reading import descriptions, meaning_of
from omnirepro.papers.omni_rrm.supervised import tune_and_judge
from omnirepro.search.selection import Preference

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "params" / "accelerate").glob("*.yaml"))
LAUNCHER = {"device.launcher": "cpu"}
START = """
import json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from tiny_parts import make_model, processor, text_part, user
from omnirepro.kit.run import load_params
from omnirepro.models.device import seed_all

class Stage:
    seed, device, dtype, checkpoint_dir = 0, "cpu", "float32", Path(sys.argv[1])

params = load_params("smoke", overrides=OVERRIDES)

def finish(trainer):
    trainer.args.logging_steps = trainer.state.logging_steps = 1
    trainer.train()
    if trainer.accelerator.is_main_process:
        weights = sum(float(p.detach().abs().sum()) for n, p in trainer.model.named_parameters() if ".default." in n)
        out = {"steps": [h for h in trainer.state.log_history if "loss" in h], "weights": weights}
        out["n"] = trainer.accelerator.num_processes
        (Path(sys.argv[1]) / "out.json").write_text(json.dumps(out))
"""
SFT = """
from omnirepro.train.sft import make_trainer

said = ["red", "the circle is blue because i see it", "two", "a long answer of several words"]
answers = [{"role": "assistant", "parts": [text_part(said[i % 4])]} for i in range(24)]
chats = [[user(f"what is it, number {i}?"), answer] for i, answer in enumerate(answers)]
examples = [processor().encode(chat, train=True) for chat in chats]
seed_all(0)
finish(make_trainer(Stage(), params.section("sft"), make_model(), processor(), examples))
"""
GRPO = """
import os
from peft import LoraConfig, get_peft_model
from omnirepro.judge import rubric
from omnirepro.data import Label, Pair
from omnirepro.train import grpo
from omnirepro.toyworld.pretraining.trainer import make_pool
from omnirepro.train.common import LANGUAGE_LAYERS

pool = make_pool(Path(sys.argv[1]) / os.environ.get("RANK", "0"), "train", 2, 0)
sides = {"response_a": [text_part("a red ring")], "response_b": [text_part("a blue square, top")]}
pairs = [Pair(id=f"{m}{i}", task=m, prompt=[scenes[i][1], text_part(f"what is {i}?")], **sides)
         for m, scenes in pool.items() for i in (0, 1)]
labels = [Label(pair_id=p.id, verdict="AB"[i % 2], score_a=8 - i % 2 * 4, score_b=6, provenance="t")
          for i, p in enumerate(pairs)]
shown = grpo.show_pairs(pairs, labels, processor(), "brief", "rationale-first", both_orders=True)
seed_all(0)
model = get_peft_model(make_model(), LoraConfig(r=4, lora_alpha=16, target_modules=LANGUAGE_LAYERS))
trainer, log = grpo.make_trainer(Stage(), params.section("grpo"), params.section("judge"), model, processor(), shown)

def recorded(one):
    right, wrong = (rubric.render(label, "rationale-first") for label in (one.label, one.label.swap()))
    ids = [processor().tokenizer(t)["input_ids"] for t in (right, wrong, right[:40], "red")]
    return [[*some, next(iter(trainer.eos_token_ids))] for some in ids]

completions = {tuple(one.example.ids): recorded(one) for one in shown.values()}

def replay(prompts, *rest):
    seen, group = {}, []
    for ids in map(tuple, prompts):
        group.append(completions[ids][seen.setdefault(ids, 0)])
        seen[ids] += 1
    assert set(seen.values()) == {4}, "a group lies in one process"
    return group, None

trainer._generate_single_turn = replay
finish(trainer)
rows = log.read() if trainer.accelerator.is_main_process else [0] * 64
assert len(rows) == 64, "two batches of 32 completions, those of every process"
"""
OVERRIDES = {
    SFT: {"sft.steps": 6, "sft.batch": 8, "sft.save_every": 100},
    GRPO: {"grpo.steps": 4, "grpo.iterations": 2, "grpo.lr": 0.01, "grpo.save_every": 100},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_launch_files_are_read_by_accelerate(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config, cpu = load_config_from_file(str(path)), path.stem == "cpu"
    assert (config.num_processes, config.mixed_precision) == ((2, "no") if cpu else (8, "bf16"))
    kinds = {"ddp": "MULTI_GPU", "cpu": "MULTI_GPU", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED", "fsdp2": "FSDP"}
    assert config.distributed_type.value == kinds[path.stem]
    if path.stem.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])
    assert path.read_text().startswith("# "), "says when it is the one to take"


def test_every_way_is_there_and_named_where_it_is_chosen():
    assert {p.stem for p in CONFIGS} == {"cpu", "ddp", "zero2", "zero3", "fsdp2"}
    sentence = meaning_of("device.launcher", descriptions(ROOT / "params/base.yaml"))
    assert all(p.stem in sentence for p in CONFIGS)


def test_the_layer_that_fsdp_divides_by_is_the_model_s():
    import yaml

    named = yaml.safe_load((ROOT / "params/accelerate/fsdp2.yaml").read_text())["fsdp_config"]
    kinds = {type(m).__name__ for m in make_model().get_decoder().layers}
    assert kinds == {named["fsdp_transformer_layer_cls_to_wrap"]}


def trained(folder, program, processes):
    folder = folder / str(processes)
    folder.mkdir()
    file = folder / "program.py"
    file.write_text(START.replace("OVERRIDES", repr(OVERRIDES[program])) + program)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, *(launch if processes > 1 else []), str(file), str(folder), str(ROOT / "tests")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def column(found, name):
    return [step[name] for step in found["steps"]]


def test_two_processes_have_the_losses_of_one(tmp_path):
    one, two = (trained(tmp_path, SFT, n) for n in (1, 2))
    assert (one["n"], two["n"]) == (1, 2) and len(one["steps"]) == 6
    assert column(two, "loss") == pytest.approx(column(one, "loss"), rel=2e-3)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3), "the adapters end alike"
    assert column(one, "loss")[-1] < column(one, "loss")[0], "and it learns"


def test_two_processes_reinforce_recorded_completions_as_one_does(tmp_path):
    """Sampling differs with the process, so the same completions are replayed: the rest must be the same."""
    one, two = (trained(tmp_path, GRPO, n) for n in (1, 2))
    assert (one["n"], two["n"]) == (1, 2) and len(one["steps"]) == 4
    for name, near in (("loss", 1e-4), ("grad_norm", 1e-3), ("kl", 2e-2)):  # kl is logged as a mean of passes' means
        assert column(two, name) == pytest.approx(column(one, name), rel=near, abs=1e-6), name
    assert max(map(abs, column(one, "loss"))) > 1e-3, "the second step on a batch has a loss to compare"
    for name in ("reward", "accuracy", "always_a", "dead_groups"):
        here, there = ([step[name] for step in x["steps"] if name in step] for x in (one, two))
        assert here == pytest.approx(there) and here, name
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3), "the adapters end alike"


# ---- the launcher


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("base"))


def stage(monkeypatch, folder, name, **changes):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(ROOT)
    return open_run("03_sft", "smoke", name, overrides={"sft.ties": 0.0, "device.device": "cpu"} | changes)


def some_pairs(number):
    sides = {"response_a": [text_part("a red ring")], "response_b": [text_part("a blue square, top")]}
    return [Pair(id=f"p{i}", task="text", prompt=[text_part(f"what is {i}?")], **sides) for i in range(number)]


def test_a_stage_trains_in_the_processes_of_its_launcher(base, tmp_path, monkeypatch, capfd):
    pairs = some_pairs(20)
    labels = [Label(pair_id=p.id, verdict="A", score_a=9, score_b=3, provenance="t") for p in pairs[:16]]
    runs = {"one": stage(monkeypatch, tmp_path, "one"), "two": stage(monkeypatch, tmp_path, "two", **LAUNCHER)}
    losses, read = {}, {}
    for name, run in runs.items():
        run.do(tune_and_judge, base, {"train": pairs[:16], "test": pairs[16:]}, labels)
        losses[name], read[name] = pd.read_csv(run.path("loss.csv")), set(run.params.reads)
        judged = Counter(row.model for row in read_jsonl(run.path("predictions.jsonl"), Judgement))
        assert judged == {"base/test": 8, "sft/test": 8, "base, shown examples/test": 8}
        run.finish({"loss": losses[name]["loss"].iloc[-1]})
    assert losses["two"]["step"].tolist() == losses["one"]["step"].tolist() and len(losses["one"]) >= 2
    assert losses["two"]["loss"].to_numpy() == pytest.approx(losses["one"]["loss"].to_numpy(), rel=2e-3)
    assert read["one"] == read["two"], "what the processes read is in the manifest"
    first, second = (load_file(r.path("adapter/adapter_model.safetensors")) for r in runs.values())
    assert first.keys() == second.keys() and all(torch.allclose(first[k], second[k], atol=2e-3) for k in first)
    said = capfd.readouterr().out
    assert said.count("SFT: 12/12") == 2, "once here, once from the main one of the two processes"
    assert stage(monkeypatch, tmp_path, "two", **LAUNCHER).skipped


def test_a_failure_in_the_processes_says_its_reason(base, tmp_path, monkeypatch):
    pairs, label = some_pairs(4), {"verdict": "A", "score_a": 9, "score_b": 3, "provenance": "t"}
    labels = [Label(pair_id=p.id, **label) for p in pairs]
    run = stage(monkeypatch, tmp_path, "long", **LAUNCHER, **{"sft.max_length": 20})
    with pytest.raises(RunError, match=r"tune failed under params/accelerate/cpu.yaml.*exceed 20 tokens"):
        run.do(tune_and_judge, base, {"train": pairs, "test": []}, labels)
    for name, said in (("zero4", "nearest one is zero3"), ("ddp", "does not train on cpu")):
        wrong = stage(monkeypatch, tmp_path, "wrong", **{"device.launcher": name})
        with pytest.raises(ParameterError, match=said):
            wrong.do(tune_and_judge, base, {"train": pairs, "test": []}, labels)


def test_arguments_arrive_as_they_were_sent():
    task = Task("judge", some_pairs(1)[0], ("clear",), notes=("a", "b"))
    sent = {"rows": [Preference(task, "x", "y", "p0", "AB")], "folder": ROOT, "chats": [[user("what?")]], "n": [1, 0.1]}
    found = json.loads(json.dumps(sent, default=_plain), object_hook=revive)
    (row,) = found.pop("rows")
    assert (row.task.pair, row.chosen, list(row.task.notes)) == (task.pair, "x", ["a", "b"])
    assert found == {"folder": str(ROOT), "chats": sent["chats"], "n": [1, 0.1]}
    here, there = load_params("smoke"), load_params("smoke")
    section = here.section("sft").changed({"steps": 3}).renamed({"rate": "lr"})
    arrived = json.loads(json.dumps(section, default=_plain), object_hook=partial(revive, params=there))
    assert (arrived["steps"], arrived["rate"]) == (3, there["sft.lr"])
    assert set(there.reads) == {"sft.lr"} and not here.reads, "what a process reads is recorded there"
    with pytest.raises(TypeError, match="send rows"):
        json.dumps(make_model, default=_plain)
    with pytest.raises(ValueError, match="not of this package"):
        revive({KIND: "os:system", "command": "true"})
