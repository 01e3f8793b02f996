"""Muon without bfloat16 on a CPU: the same update as torch's up to rounding, and no half precision anywhere."""

import pytest
import torch
from tiny_parts import NoHalfPrecision, save_untrained, text_part, user

from omnirepro.kit.run import open_run
from omnirepro.train.muon import Muon, MuonAndAdamW, orthogonalised
from omnirepro.train.sft import tune


def matrices(shape, number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for _ in range(number)]


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_what_is_orthogonalised_keeps_its_directions_and_loses_its_scales(shape):
    made = orthogonalised(torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 7)
    assert made.shape == shape and made.dtype == torch.float32
    scales = torch.linalg.svdvals(made)
    assert scales.median() > 0.7 and scales.max() < 1.3, "five iterations: the smallest of a square matrix lag behind"


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_steps_are_those_of_torch_up_to_its_rounding(shape):
    ours, theirs = matrices(shape, 3), matrices(shape, 3)
    own = Muon(ours, lr=0.02, weight_decay=0.01)
    stock = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for one, other, grad in zip(ours, theirs, matrices(shape, 3, seed=step + 1), strict=True):
            one.grad, other.grad = grad.detach().clone(), grad.detach().clone()
        own.step()
        stock.step()
    for one, other, start in zip(ours, theirs, matrices(shape, 3), strict=True):
        moved, wanted = (one - start).detach(), (other - start).detach()
        assert torch.nn.functional.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0) > 0.999
        assert moved.norm().item() == pytest.approx(wanted.norm().item(), rel=0.02)  # bfloat16 holds three digits


def test_its_state_is_torchs_and_no_operator_sees_half_precision():
    named = [("a.weight", *matrices((16, 40), 1)), ("b.weight", *matrices((40, 16), 1)), ("norm", *matrices((9,), 1))]
    optimizer = MuonAndAdamW(named, lr=0.01)
    with NoHalfPrecision() as spy:
        for _, weight in named:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert not spy.found
    assert set(optimizer.state_dict()["parts"][0]["state"][0]) == {"momentum_buffer"}


def test_the_spy_sees_what_it_is_there_for():
    with NoHalfPrecision() as spy:
        _ = torch.ones(2, 2).bfloat16() @ torch.ones(2, 2).bfloat16()
    assert any("mm" in name for name in spy.found)


@pytest.mark.usefixtures("no_half_precision")
def test_supervised_tuning_on_a_cpu_computes_in_single_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    run = open_run("03_sft", "smoke", "single", overrides={"sft.steps": 2, "sft.batch": 2})
    chats = [[user("which is better?"), {"role": "assistant", "parts": [text_part("A")]}]] * 2
    folder = tune(run, save_untrained(tmp_path / "base"), chats, run.section("sft"), run.section("judge"))
    assert (folder / "adapter_config.json").is_file()
