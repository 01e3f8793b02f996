"""More than one device: the launch files are what accelerate takes, and two processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "params" / "accelerate").glob("*.yaml"))
PROGRAM = """
import json, sys
from pathlib import Path
import torch
sys.path[:0] = [sys.argv[2]]
from tiny_parts import make_model, processor, text_part, user
from omnirepro.run import load_params, seed_all
from omnirepro.train.sft import make_trainer

class Stage:
    seed, device, dtype, checkpoint_dir = 0, "cpu", "float32", Path(sys.argv[1])
    params = load_params("smoke", overrides={"sft.steps": 6, "sft.batch": 8, "sft.save_every": 100})
    section = lambda self, name: self.params.section(name)

said = ["red", "the circle is blue because i see it", "two", "a long answer of several words"]
answers = [{"role": "assistant", "parts": [text_part(said[i % 4])]} for i in range(24)]
chats = [[user(f"what is it, number {i}?"), answer] for i, answer in enumerate(answers)]
examples = [processor().encode(chat, train=True) for chat in chats]
seed_all(0)
trainer = make_trainer(make_model(), processor(), examples, Stage())
trainer.args.logging_steps = trainer.state.logging_steps = 1
trainer.train()
if trainer.accelerator.is_main_process:
    losses = [h["loss"] for h in trainer.state.log_history if "loss" in h]
    weights = sum(float(p.detach().abs().sum()) for n, p in trainer.model.named_parameters() if "lora_" in n)
    processes = trainer.accelerator.num_processes
    (Path(sys.argv[1]) / "out.json").write_text(json.dumps({"losses": losses, "weights": weights, "n": processes}))
"""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_launch_files_are_read_by_accelerate(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == 8 and config.mixed_precision == "bf16"
    kinds = {"ddp": "MULTI_GPU", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED", "fsdp2": "FSDP"}
    assert config.distributed_type.value == kinds[path.stem]
    if path.stem.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])
    assert path.read_text().startswith("# "), "says when it is the one to take"


def test_all_four_ways_are_there():
    assert {p.stem for p in CONFIGS} == {"ddp", "zero2", "zero3", "fsdp2"}


def test_the_layer_that_fsdp_divides_by_is_the_model_s():
    import yaml
    from tiny_parts import make_model

    named = yaml.safe_load((ROOT / "params/accelerate/fsdp2.yaml").read_text())["fsdp_config"]
    kinds = {type(m).__name__ for m in make_model().get_decoder().layers}
    assert kinds == {named["fsdp_transformer_layer_cls_to_wrap"]}


def trained(tmp_path, processes):
    folder, program = tmp_path / str(processes), tmp_path / "program.py"
    folder.mkdir()
    program.write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, *(launch if processes > 1 else []), str(program), str(folder), str(ROOT / "tests")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())


def test_two_processes_have_the_losses_of_one(tmp_path):
    one, two = trained(tmp_path, 1), trained(tmp_path, 2)
    assert (one["n"], two["n"]) == (1, 2) and len(one["losses"]) == 6
    assert two["losses"] == pytest.approx(one["losses"], rel=2e-3)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3), "the adapters end alike"
    assert one["losses"][-1] < one["losses"][0], "and it learns"
