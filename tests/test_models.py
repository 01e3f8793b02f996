"""Models on disk and in training: folders and adapters load with equal logits, LoRA hits the language model alone."""

import json
import shutil

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_parts import make_model, processor, text_part, user
from transformers import Gemma2ForCausalLM, GPT2LMHeadModel, GPTNeoXForCausalLM, LlamaForCausalLM, PhiForCausalLM

from omnirepro import models
from omnirepro.kit.run import open_run
from omnirepro.models.loading import ModelError, base_of, load, save_adapter
from omnirepro.models.positions import positions, with_positions
from omnirepro.toyworld.pretraining.backbone import train_backbone
from omnirepro.toyworld.pretraining.loop import schedule
from omnirepro.toyworld.pretraining.trainer import Trainer, make_pool
from omnirepro.train.common import LANGUAGE_LAYERS
from omnirepro.train.completion_loss import sparing_loss
from omnirepro.train.halves import InHalves, halved


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("pool"), "train", 4, 0)


@pytest.fixture(scope="module")
def batch(pool):
    turns = [*(user(pool[m][0][1], "what is it?") for m in pool), user(pool["image"][1][1], pool["audio"][1][1], "?")]
    batch = processor().collate([processor().encode([turn]) for turn in turns])
    batch.pop("labels")
    return batch


@pytest.fixture
def saved(tmp_path):
    """A folder as the backbone's stage writes it."""
    folder = tmp_path / "run" / "00_backbone" / "strong"
    make_model().save_pretrained(folder, safe_serialization=True)
    processor().save_pretrained(folder)
    return folder


def logits(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def adapted(model, seed=0):
    """Put LoRA on the language model, with weights that are not nothing."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=LANGUAGE_LAYERS))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
    return model


def test_a_saved_folder_loads_with_equal_logits(saved, batch):
    model, again = models.load(saved, device="cpu")
    assert torch.equal(logits(model, batch), logits(make_model(), batch))
    assert model.dtype == torch.float32 and not model.training and again.vision == processor().vision
    assert not list(saved.glob("*.bin")) and (saved / "model.safetensors").is_file()


def test_the_backbone_is_the_real_architecture_and_small():
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

    from omnirepro.toyworld.pretraining import tiny

    model = tiny.build_backbone(processor().tokenizer)
    assert type(model) is Thinker
    assert 1e6 < sum(p.numel() for p in model.parameters()) < 5e6
    matrix = model.model.language_model.layers[0].mlp.up_proj.weight
    assert matrix.std().item() == pytest.approx(0.04, rel=0.05)


def test_an_adapter_finds_its_base_after_both_moved(saved, batch, tmp_path):
    adapter = tmp_path / "run" / "03_sft" / "adapter"
    tuned = adapted(load(saved, device="cpu")[0])
    wanted = logits(tuned, batch)
    assert not torch.allclose(wanted, logits(make_model(), batch), atol=1e-3)
    save_adapter(tuned, adapter, saved)
    written = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert written == "../../00_backbone/strong" and str(tmp_path) not in (adapter / "adapter_config.json").read_text()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "03_sft" / "adapter"
    assert base_of(moved) == str(tmp_path / "elsewhere" / "00_backbone" / "strong")
    again, _ = load(moved, device="cpu")
    assert torch.allclose(logits(again, batch), wanted, atol=1e-6)
    assert not any(p.requires_grad for name, p in again.named_parameters() if "lora" in name)
    trainable, _ = load(moved, device="cpu", trainable=True)
    assert {n.split(".lora_")[1][0] for n, p in trainable.named_parameters() if p.requires_grad} == {"A", "B"}


def test_a_base_of_the_hub_keeps_its_name(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen2.5-Omni-3B"}')
    assert base_of(tmp_path) == "Qwen/Qwen2.5-Omni-3B"


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "config.json").unlink(),
        lambda f: (f / "config.json").write_text("{"),
        lambda f: (f / "config.json").write_text('{"model_type": "no-such-kind"}'),
        lambda f: (f / "model.safetensors").unlink(),
        lambda f: (f / "model.safetensors").write_bytes(b"nonsense"),
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1000]),
        lambda f: (f / "tokenizer.json").write_text("{"),
        lambda f: (f / "preprocessor_config.json").write_text("{"),
    ],
    ids=["no config", "half config", "odd config", "no weights", "odd weights", "cut weights", "tokenizer", "settings"],
)
def test_a_damaged_folder_is_named(saved, damage):
    damage(saved)
    with pytest.raises(ModelError, match="strong: no model could be loaded .*give a folder"):
        load(saved, device="cpu")


def test_nonsense_is_no_model(tmp_path):
    for name in (tmp_path, tmp_path / "missing", "not a model!"):
        with pytest.raises(ModelError, match="no model could be loaded"):
            load(name, device="cpu")


def test_an_adapter_that_cannot_be_read_or_has_no_base_is_named(saved, tmp_path):
    adapter = tmp_path / "run" / "adapter"
    save_adapter(adapted(make_model()), adapter, saved)
    (adapter / "adapter_model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="adapter"):
        load(adapter, device="cpu")
    shutil.rmtree(saved)
    with pytest.raises(ModelError, match="00_backbone/strong"):
        load(adapter, device="cpu")


def test_lora_hits_every_linear_layer_of_the_language_model_and_no_other():
    model = adapted(make_model())
    names = [name for name, _ in model.named_parameters() if "lora_A" in name]
    hit = {name.split(".lora_A")[0].removeprefix("base_model.model.") for name in names}
    linear = {n for n, m in make_model().named_modules() if isinstance(m, torch.nn.Linear) and "lm_head" not in n}
    language = {n for n in linear if "language_model" in n}
    assert hit == language and len(hit) == 2 * 7
    assert len(linear - language) > 10, "the towers have linear layers too, and none is hit"


def test_the_learning_rate_rises_stays_and_falls():
    rates = [schedule(step, 900) for step in range(900)]
    assert rates[0] == pytest.approx(1 / 30) and rates[29:451] == [1.0] * 422
    assert rates[675] == pytest.approx(0.5) and rates[-1] == 0.02
    assert all(b <= a for a, b in zip(rates[450:], rates[451:], strict=False))


# ---- resuming the backbone's training


class Killed(BaseException):
    """Stands for the process being killed."""


@pytest.fixture
def trainer(pool, tmp_path, monkeypatch):
    """Make a trainer of a real run of its own name, six steps long, with a checkpoint every second step."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    small = {"backbone.batch": 8, "backbone.save_every": 2, "backbone.length": 40}

    def make(name):
        run = open_run("00_backbone", "smoke", name, overrides=small)
        return Trainer(make_model(), processor(), pool, run, 6, 0.004)

    return make


@pytest.fixture
def straight(trainer):
    return trainer("straight").fit(6, "skills")


@pytest.mark.usefixtures("no_half_precision")
def test_training_learns_and_is_deterministic(trainer, straight):
    again = trainer("again")
    batch = processor().collate(again._batch(0))
    before = again.model(**batch).loss.item()
    assert again.fit(6, "skills") == straight and len(straight) == 6
    assert again.model(**batch).loss.item() < before - 0.05


def test_the_loss_and_its_gradient_are_those_of_the_plain_model(trainer):
    """What is left out of the forward (last layer, head, padding mask) is what no answer's token reads."""
    one, answer = trainer("one"), {"role": "assistant", "parts": [text_part("red")]}
    for step in (0, 5):
        examples = [*one._batch(step), processor().encode([user("what color?"), answer], train=True)]
        batch = processor().collate(examples)
        plain, spared = make_model().train(), make_model().train()
        assert not batch["attention_mask"].all(), "some rows are padded"
        wanted = plain(**batch).loss
        loss = sparing_loss(spared, batch | {"position_ids": positions(processor(), examples)})
        for found in (wanted, loss):
            found.backward()
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
        for (name, a), b in zip(plain.named_parameters(), spared.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6), name
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in spared.modules()), "no hook stays"


@pytest.mark.parametrize("kind", ["several", "one row", "a half without answers"])
def test_both_halves_of_a_batch_have_its_loss_and_gradients(trainer, kind):
    examples = trainer("one")._batch(0)[: 1 if kind == "one row" else None]
    if kind == "a half without answers":
        longest = max(examples, key=lambda example: len(example.ids))
        silent = user("what color? " * 40)
        examples = [
            longest,
            processor().encode([silent, {"role": "assistant", "parts": [text_part("red")]}], train=True),
        ]
        examples[1].labels = [-100] * len(examples[1].labels)
    parts = halved(examples, lambda example: len(example.ids))
    assert sorted(map(id, (e for part in parts for e in part))) == sorted(map(id, examples)) and all(parts)
    whole, apart = make_model().train(), make_model().train()
    wanted = whole(**processor().collate(examples)).loss
    wanted.backward()
    found = InHalves(apart, sparing_loss).backward([with_positions(processor(), part) for part in parts])
    assert found == pytest.approx(wanted.item(), rel=1e-5)
    for (name, a), b in zip(whole.named_parameters(), apart.parameters(), strict=True):
        assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6), name
    silent = with_positions(processor(), examples)
    silent["labels"][:] = -100
    with pytest.raises(ValueError, match="no row of the batch has an answer"):
        InHalves(apart, sparing_loss).backward([silent])


def test_threads_do_not_change_what_is_learned(trainer):
    """Another rounding would be another model: one thread and two compute the same halves."""
    losses = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            losses.append(trainer(f"threads-{threads}").fit(6, "skills"))
            assert torch.get_num_threads() == threads, "what follows has its threads again"
        finally:
            torch.set_num_threads(before)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "build", [LlamaForCausalLM, Gemma2ForCausalLM, PhiForCausalLM, GPTNeoXForCausalLM, GPT2LMHeadModel]
)
@pytest.mark.parametrize("tuned", [False, True])
def test_text_models_of_any_build_have_their_own_loss(build, tuned):
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, head_dim=16)
    torch.manual_seed(0)
    model = build(build.config_class(vocab_size=60, num_key_value_heads=2, **sizes)).eval()
    if tuned:
        model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    ids, lengths = torch.randint(3, 60, (3, 9)), torch.tensor([9, 6, 7])
    mask = torch.arange(9) < lengths[:, None]
    labels = torch.where(mask & (torch.arange(9) > 3), ids, -100)
    batch = {"input_ids": ids, "attention_mask": mask.long(), "labels": labels}
    wanted, found = model(**batch).loss, sparing_loss(model, dict(batch))
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    trained = [w for w in model.parameters() if w.requires_grad]
    for a, b in zip(*(torch.autograd.grad(x, trained, allow_unused=True) for x in (wanted, found)), strict=True):
        assert a is None or torch.allclose(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("least", "rounds"), [(0.0, 0), (1.01, 2)])
def test_a_backbone_below_the_gate_is_trained_on(pool, tmp_path, monkeypatch, capsys, least, rounds):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    small = {"batch": 8, "length": 40, "steps": 4, "more_steps": 3, "gate": least, "gate_scenes": 2, "pool": 20}
    small |= {"layers": 1, "weak_steps": 1, "gate_check": least}
    run = open_run("00_backbone", "smoke", "gate", overrides={f"backbone.{k}": v for k, v in small.items()})
    run.do(train_backbone)
    said, loss = capsys.readouterr().out, pd.read_csv(run.path("loss.csv"))
    assert said.count("3 more steps") == 2 * rounds, "both draws are trained on"
    assert said.count("drawn again from other initial weights") == bool(rounds)
    assert all(f"{name} " in said for name in ("fact audio", "check text", "winner equal")) == bool(rounds)
    assert (loss["phase"] == "skills").sum() == 4 + 3 * rounds
    asked = pd.read_csv(run.path("gate.csv"))["asked"].value_counts()
    assert asked.to_dict() == {"fact": 2 * 5, "check": 2 * 5, "winner": 11 * 11}


def test_a_training_leaves_the_mean_of_its_last_fifth(trainer):
    long = trainer("long")
    long.total, weights, average = 10, [], long._average

    def noted():
        average()
        weights.append({name: weight.detach().clone() for name, weight in long.trained.items()})

    long._average = noted
    long.fit(10, "skills")
    for name, weight in long.trained.items():
        wanted = (weights[8][name] + weights[9][name]) / 2
        assert torch.allclose(weight, wanted, atol=1e-6), name
    assert any(not torch.equal(weights[8][name], weights[9][name]) for name in long.trained), "the last steps moved it"


def test_a_training_that_is_killed_while_weights_are_averaged_leaves_the_same_mean(trainer, monkeypatch):
    """Of twenty steps the last four are averaged, and a checkpoint stands within them."""
    whole = trainer("whole")
    whole.total = 20
    whole.fit(20, "skills")
    first = trainer("cut")
    first.total = 20
    update = first._update

    def until_killed():
        if first.step == 18:
            raise Killed
        return update()

    monkeypatch.setattr(first, "_update", until_killed)
    with pytest.raises(Killed):
        first.fit(20, "skills")
    second = trainer("cut")
    second.total = 20
    second.fit(20, "skills")
    for name, weight in whole.trained.items():
        assert torch.allclose(weight, second.trained[name], atol=1e-4), name


@pytest.mark.parametrize("at", [3, 4, 6])
def test_a_killed_training_goes_on_as_if_nothing_happened(trainer, straight, monkeypatch, at):
    first = trainer("killed")
    update, done = first._update, []

    def until_killed():
        if len(done) == at - 1:
            raise Killed
        done.append(update())
        return done[-1]

    monkeypatch.setattr(first, "_update", until_killed)
    with pytest.raises(Killed):
        first.fit(6, "skills")
    second = trainer("killed")
    assert second.fit(6, "skills") == pytest.approx(straight, abs=1e-4)
    assert second.step == 6 and len(done) == at - 1
    third = trainer("killed")
    monkeypatch.setattr(third, "_update", None)
    assert third.fit(6, "skills") == pytest.approx(straight, abs=1e-4), "a finished phase is read, not trained again"


@pytest.mark.parametrize("call", range(1, 6))
def test_a_kill_while_a_checkpoint_is_written_loses_that_checkpoint_only(trainer, straight, monkeypatch, call):
    import safetensors.torch

    save, calls = safetensors.torch.save_file, []

    def half(tensors, path, *args, **kwargs):
        calls.append(path)
        save(tensors, path, *args, **kwargs)
        if len(calls) == call:
            path.write_bytes(path.read_bytes()[:-1000])
            raise Killed

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    try:
        trainer("killed").fit(6, "skills")
    except Killed:
        pass
    assert trainer("killed").fit(6, "skills") == pytest.approx(straight, abs=1e-4)
