"""GRPO on mixed media: log-probabilities against stock TRL and each sample alone, buffers, reference, resume."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_parts import make_model, pool_of, processor, save_untrained, text_part, user
from transformers import LlamaConfig, LlamaForCausalLM
from trl import GRPOConfig, GRPOTrainer

from omnirepro import reward
from omnirepro.data import Label, Pair
from omnirepro.judge.generative import load_judge
from omnirepro.kit.run import ParameterError, open_run
from omnirepro.models.generation import Decoding, generate
from omnirepro.models.loading import load, save_adapter
from omnirepro.models.processing import Example, collate_media
from omnirepro.reward.preflight import advantages
from omnirepro.train import grpo
from omnirepro.train.common import LANGUAGE_LAYERS
from omnirepro.train.omni_grpo import OmniGRPOTrainer

TEMPERATURE = 0.7
MODALITIES = ("image", "video", "audio", "text")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter folder that differs clearly from its base, as SFT leaves it."""
    folder = tmp_path_factory.mktemp("models")
    save_untrained(folder / "base")
    torch.manual_seed(1)
    model = get_peft_model(make_model(), LoraConfig(r=4, lora_alpha=16, target_modules=LANGUAGE_LAYERS))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    save_adapter(model, folder / "adapter", folder / "base")
    return folder / "adapter"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return pool_of(tmp_path_factory.mktemp("pool"), 6)


@pytest.fixture(scope="module")
def examples(parts):
    """Two prompts of each modality, one with several media, of different lengths."""
    chats = {f"{m}{i}": [user(parts[m][i], "\nwhat is it?" * (i + 1))] for m in MODALITIES for i in (0, 1)}
    chats["several"] = [user(parts["image"][2], "and", parts["audio"][2], parts["video"][2], parts["image"][3], "?")]
    return {key: processor().encode(chat) for key, chat in chats.items()}


def count_words(prompts, completions, **_):
    return [float(len(set(text))) for text in completions]


def constant(prompts, completions, **_):
    return [1.0] * len(completions)


def settings(folder, completions, accumulate=1, **changes):
    values = {
        "num_generations": 4, "max_steps": 1, "learning_rate": 1e-2, "beta": 0.04, "loss_type": "grpo",
        "temperature": TEMPERATURE, "max_completion_length": 6, "shuffle_dataset": False, "logging_steps": 1,
    }  # fmt: skip
    quiet = {"save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True, "bf16": False}
    split = {"per_device_train_batch_size": completions // accumulate, "gradient_accumulation_steps": accumulate}
    how = {"gradient_checkpointing": False, "dataloader_pin_memory": False}
    return GRPOConfig(str(folder), **(values | quiet | split | how | changes))


def make(adapter, examples, folder, reward_funcs=count_words, accumulate=1, scored=None, keys=None, **changes):
    """Assemble a trainer over examples; `keys` is the order of its prompts."""
    model, known = load(adapter, "cpu", "float32", trainable=True)
    group = changes.setdefault("num_generations", 4)
    return OmniGRPOTrainer(
        known, examples, scored, model=model, reward_funcs=reward_funcs,
        args=settings(folder, len(examples) * group, accumulate, **changes),
        train_dataset=Dataset.from_dict({"prompt": keys or list(examples)}),
    )  # fmt: skip


def buffered(trainer):
    """Sample, score, shuffle and split one batch as training does; returns the parts."""
    trainer.model.train()
    rows = [{"prompt": key} for key in trainer.number for _ in range(trainer.num_generations)]
    trainer._prepare_inputs(rows)
    return trainer._buffered_inputs


def log_probabilities(trainer, inputs, rows=None, batch_size=None):
    """Per-token log-probabilities (B, C) of the policy on a part of the buffer, 0 where it is padding."""
    trainer._rows = inputs["example_row"] if rows is None else rows
    ids, mask = (torch.cat([inputs[f"prompt_{n}"], inputs[f"completion_{n}"]], 1) for n in ("ids", "mask"))
    with torch.no_grad():
        found = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, inputs["completion_ids"].shape[1], batch_size
        )[0]
    return found * inputs["completion_mask"]


def alone(model, example: Example, completion: list[int]):
    """Log-probabilities of one completion by a plain forward pass over its sequence alone, without padding."""
    batch = processor().collate([Example(example.ids + completion, [], example.features)])
    batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits[0] / TEMPERATURE
    at = len(example.ids)
    return logits.log_softmax(-1)[at - 1 : -1].gather(1, torch.tensor(completion)[:, None])[:, 0]


def assert_each_as_alone(trainer, model, found, inputs, examples):
    known = list(examples.values())
    for row, values, ids, mask in zip(
        inputs["example_row"], found, inputs["completion_ids"], inputs["completion_mask"], strict=True
    ):
        completion = ids[mask.bool()].tolist()
        assert torch.allclose(values[: len(completion)], alone(model, known[row], completion), atol=2e-5)


# ---- log-probabilities


@pytest.mark.parametrize("batch_size", [None, 3])
def test_image_batch_equals_stock_trl(adapter, examples, tmp_path, batch_size):
    chosen = {k: e for k, e in examples.items() if k.startswith("image")}
    (inputs,) = buffered(make(adapter, chosen, tmp_path))
    ours = make(adapter, chosen, tmp_path)
    stock = GRPOTrainer(
        load(adapter, "cpu", "float32", trainable=True)[0], count_words, settings(tmp_path, 8),
        Dataset.from_dict({"prompt": ["x"] * 8}), processing_class=processor().tokenizer,
    )  # fmt: skip
    media = collate_media([f for row in inputs["example_row"] for f in list(chosen.values())[row].features])
    ids, mask = (torch.cat([inputs[f"prompt_{n}"], inputs[f"completion_{n}"]], 1) for n in ("ids", "mask"))
    with torch.no_grad():
        keep = inputs["completion_ids"].shape[1]
        wanted = stock._get_per_token_logps_and_entropies(
            stock.model, ids, mask, keep, batch_size, num_images=[1] * 8, **media
        )[0]
    found = log_probabilities(ours, inputs, batch_size=batch_size)
    assert torch.allclose(found, wanted * inputs["completion_mask"], atol=1e-6) and found.std() > 0.1


def test_mixed_batch_equals_each_sample_alone(adapter, examples, tmp_path):
    """Whatever neighbours, padding and chunks: rotary positions are right with media, left padding and completion."""
    trainer = make(adapter, examples, tmp_path)
    model, _ = load(adapter, "cpu", "float32")
    (inputs,) = buffered(trainer)
    for batch_size in (None, 5):
        assert_each_as_alone(trainer, model, log_probabilities(trainer, inputs, None, batch_size), inputs, examples)


def test_prompts_read_once_train_as_prompts_read_with_every_completion(adapter, examples, tmp_path):
    """Gradients through the shared prompts are those of whole sequences, which checkpointing falls back to."""
    weights = []
    for changes in ({}, {"gradient_checkpointing": True}):
        trainer = make(adapter, examples, tmp_path, learning_rate=1e-3, optim="sgd", max_grad_norm=0, **changes)
        trainer.train()
        weights.append({n: w.detach() for n, w in trainer.model.named_parameters() if ".default." in n})
    before = load_file(adapter / "adapter_model.safetensors")
    for name in weights[0]:
        step, other = (w[name] - before[name.replace(".default.", ".")] for w in weights)
        assert step.abs().max() > 0 and torch.allclose(step, other, rtol=1e-2, atol=1e-7), name


def test_a_text_model_without_media_positions(examples, tmp_path):
    tokenizer = processor().tokenizer
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes))
    model = get_peft_model(llama, LoraConfig(r=2, target_modules=LANGUAGE_LAYERS))
    texts = {k: examples[k] for k in ("text0", "text1")}
    trainer = OmniGRPOTrainer(
        processor(), texts, model=model, reward_funcs=count_words, args=settings(tmp_path, 8),
        train_dataset=Dataset.from_dict({"prompt": list(texts)}),
    )  # fmt: skip
    (inputs,) = buffered(trainer)
    assert_each_as_alone(trainer, model.eval(), log_probabilities(trainer, inputs), inputs, texts)


def test_sampling_in_a_mixed_batch_is_sampling_alone(adapter, examples, tmp_path):
    trainer = make(adapter, examples, tmp_path, top_k=1)
    found = trainer._generate_single_turn(*trainer._tokenize_prompts(list(examples)), 1)[0]
    model, _ = load(adapter, "cpu", "float32")
    for ids, example in zip(found, examples.values(), strict=True):
        (greedy,) = generate(model, processor(), [example], Decoding(max_new_tokens=6))
        assert processor().tokenizer.decode(ids, skip_special_tokens=True) == greedy.text


# ---- buffers


def test_shuffled_and_split_buffers_keep_each_completion_with_its_own_media(adapter, parts, tmp_path):
    """Prompts differ in their pictures and in nothing else, so only the media can tell them apart."""
    pictures = {f"image{i}": processor().encode([user(p, "what?")]) for i, p in enumerate(parts["image"][:4])}
    assert len({tuple(e.ids) for e in pictures.values()}) == 1, "else the test shows nothing"
    trainer = make(adapter, pictures, tmp_path, accumulate=4)
    model, _ = load(adapter, "cpu", "float32")
    buffer = buffered(trainer)
    rows = torch.cat([inputs["example_row"] for inputs in buffer])
    assert rows.sort().values.tolist() == sorted([*range(4)] * 4) and rows.tolist() != rows.sort().values.tolist()
    for inputs in buffer:
        found = log_probabilities(trainer, inputs)
        assert torch.allclose(found, inputs["ref_per_token_logps"] * inputs["completion_mask"], atol=1e-5)
        assert_each_as_alone(trainer, model, found, inputs, pictures)
        permuted = log_probabilities(trainer, inputs, (inputs["example_row"] + 1) % 4)
        assert (found - permuted).abs().max(1).values.min() > 1e-3, "permuted media must be noticed in every row"


def test_parts_of_a_batch_add_up_to_the_whole(adapter, examples, tmp_path):
    chosen, weights = dict(list(examples.items())[:8]), []
    for accumulate in (1, 4):
        trainer = make(adapter, chosen, tmp_path, accumulate=accumulate, learning_rate=1e-3)
        trainer.train()
        weights.append({n: w.detach() for n, w in trainer.model.named_parameters() if ".default." in n})
    assert all(torch.allclose(weights[0][n], weights[1][n], atol=2e-5) for n in weights[0])


def test_several_iterations_use_one_batch_and_its_old_policy(adapter, examples, tmp_path):
    batches = []
    trainer = make(
        adapter, examples, tmp_path, scored=lambda step, *rest: batches.append(step),
        num_iterations=2, max_steps=4, keys=list(examples) * 2,
    )  # fmt: skip
    trainer.train()
    assert batches == [0, 2] and trainer._buffered_inputs[0]["old_per_token_logps"] is not None
    assert trainer.state.log_history[1]["kl"] > 0


# ---- sampling


def test_media_are_encoded_once_in_a_whole_training(adapter, examples, tmp_path):
    trainer = make(adapter, examples, tmp_path, max_steps=2, keys=list(examples) * 2)
    model, encoded = trainer.model.get_base_model().model, {"visual": 0, "audio_tower": 0}

    def counting(inner, name):
        def forward(values, sizes, *rest, **kwargs):
            encoded[name] += len(sizes)
            return inner(values, sizes, *rest, **kwargs)

        return forward

    for name in encoded:
        memory = getattr(model, name).forward
        memory.forward = counting(memory.forward, name)
    trainer.train()
    assert encoded == {"visual": 2 + 2 + 3, "audio_tower": 2 + 1}


def test_placeholders_and_control_tokens_are_never_sampled(adapter, examples, tmp_path):
    trainer = make(adapter, examples, tmp_path, temperature=5.0, max_completion_length=24, num_generations=8)
    with torch.no_grad():
        buffer = buffered(trainer)
    sampled = buffer[0]["completion_ids"][buffer[0]["completion_mask"].bool()].tolist()
    assert len(sampled) > 1200 and len(set(sampled)) > 400, "hot enough that any token would come"
    assert not set(sampled) & set(processor().suppressed_ids)


# ---- reference


def test_reference_is_the_adapter_and_stays(adapter, examples, tmp_path):
    trainer = make(adapter, examples, tmp_path, max_steps=3, keys=list(examples) * 3)
    tuned, _ = load(adapter, "cpu", "float32")
    (inputs,) = buffered(trainer)
    found = inputs["ref_per_token_logps"] * inputs["completion_mask"]
    assert_each_as_alone(trainer, tuned, found, inputs, examples)
    with tuned.disable_adapter():
        first = inputs["completion_ids"][0][inputs["completion_mask"][0].bool()].tolist()
        base = alone(tuned, list(examples.values())[inputs["example_row"][0]], first)
    assert (base - found[0][: len(first)]).abs().max() > 0.05, "the bare base says something else"
    trainer._buffered_inputs = None
    trainer.train()
    kl = [h["kl"] for h in trainer.state.log_history if "kl" in h]
    assert kl[0] == pytest.approx(0, abs=1e-7) and kl[2] > 1e-4
    stored = load_file(adapter / "adapter_model.safetensors")
    now = {n.replace(".ref.", "."): w for n, w in trainer.model.named_parameters() if ".ref." in n}
    assert len(now) == len(stored) and all(torch.equal(now[n], w) for n, w in stored.items())


# ---- odd batches


@pytest.mark.parametrize(
    "keys", [["text0", "text1"], ["audio0"], ["image0", "text0"], ["video0", "audio1"], ["several", "text1"]]
)
def test_a_batch_without_some_modality_trains(adapter, examples, tmp_path, keys):
    trainer = make(adapter, {k: examples[k] for k in keys}, tmp_path)
    before = {n: w.clone() for n, w in trainer.model.named_parameters() if ".default." in n}
    trainer.train()
    changed = [not torch.equal(w, before[n]) for n, w in trainer.model.named_parameters() if n in before]
    assert all(changed) and np.isfinite(trainer.state.log_history[0]["loss"])


def test_dead_groups_teach_nothing(adapter, examples, tmp_path):
    trainer = make(adapter, {k: examples[k] for k in ("image0", "audio0")}, tmp_path, reward_funcs=constant)
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["frac_reward_zero_std"] == 1 and entry["grad_norm"] < 1e-5 and entry["loss"] == pytest.approx(0)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_those_that_trl_computes(adapter, examples, tmp_path, scale):
    """Rewards are drawn per completion, so that no order of the completions gives them by chance."""
    seen = []

    def drawn(prompts, completions, **_):
        seen.extend(np.random.default_rng(5).normal(size=len(completions)).tolist())
        return seen

    two = {k: examples[k] for k in ("text0", "text1")}
    trainer = make(adapter, two, tmp_path, reward_funcs=drawn, scale_rewards=scale)
    (batch,) = buffered(trainer)
    expected = advantages(np.reshape(seen, (2, 4)), scale)
    for row, values in enumerate(expected):
        found = batch["advantages"][batch["example_row"] == row].sort().values
        assert found.tolist() == pytest.approx(sorted(values), abs=1e-5)


# ---- the stage


@pytest.fixture
def pairs(parts):
    """Four pairs, one a modality, whose labels differ in verdict and margin."""
    rows = [
        Pair(
            id=f"{m}#0", task=m, prompt=[parts[m][0], text_part("\nwhat?")],
            response_a=[text_part("a red ring")], response_b=[text_part("a blue square, top")],
        )
        for m in MODALITIES
    ]  # fmt: skip
    scores = [(9, 3, "A"), (4, 8, "B"), (7, 6, "A"), (6, 8, "B")]
    made = zip(rows, scores, strict=True)
    return rows, [Label(pair_id=p.id, verdict=v, score_a=a, score_b=b, provenance="t") for p, (a, b, v) in made]


@pytest.fixture
def alive(monkeypatch):
    """A reward that an untrained judge's completions differ in."""
    sign = {"A": 1, "B": -1, "tie": 0}
    monkeypatch.setattr(reward, "verdict_reward", lambda text, gold, format: float(sign[gold.verdict] * len(set(text))))


def open_stage(monkeypatch, folder, name="smoke", **changes):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(folder))
    small = {"judge.max_new_tokens": 6, "grpo.pairs": 2, "grpo.group": 2, "grpo.temperature": 1.5, "grpo.top_p": 1.0}
    with warnings.catch_warnings(action="ignore"):
        return open_run("04_grpo", "smoke", name, overrides=small | changes)


def train(run, adapter, pairs, labels):
    return grpo.train_grpo(run, adapter, pairs, labels, run.section("grpo"), run.section("judge"))


@pytest.mark.usefixtures("no_half_precision")
def test_stage_writes_adapter_completions_and_statistics(adapter, pairs, alive, tmp_path, monkeypatch):
    run = open_stage(monkeypatch, tmp_path)
    out = train(run, adapter, *pairs)
    rows, steps = pd.read_parquet(run.path("completions.parquet")), pd.read_csv(run.path("watch.csv"))
    assert len(rows) == 4 * 2 * 2 * 2 and steps["step"].tolist() == [1, 2, 3, 4]
    assert {"loss", "kl", "entropy", "accuracy", "always_a", "clip_ratio"} <= set(steps)
    weights = reward.PRESETS[run.params["grpo.preset"]]
    assert np.allclose(rows["total"], sum(w * rows[name] for name, w in weights.items()), atol=1e-6)
    assert np.allclose(rows.groupby("step")["total"].mean(), steps["reward"], atol=1e-6)
    gold = {label.pair_id: label.verdict for label in pairs[1]}
    own = {"AB": {"A": "A", "B": "B"}, "BA": {"A": "B", "B": "A"}}
    assert all(own[r.order][r.gold] == gold[r.prompt] for r in rows.itertuples())
    assert (rows.groupby(["step", "prompt"])["order"].nunique() == 2).all(), "both orders of a pair in one batch"
    judge = load_judge(out)
    assert judge.decoding.max_new_tokens == 6 and list(judge.chat.model.peft_config) == ["default"]
    tuned, start = (load_file(f / "adapter_model.safetensors") for f in (out, adapter))
    assert tuned.keys() == start.keys() and any(not torch.equal(tuned[n], start[n]) for n in start)


def test_an_override_that_no_training_of_the_stage_reads_is_refused(adapter, pairs, tmp_path, monkeypatch):
    """One training with its own seed and changes, and nothing beside it that would look at the reward before."""

    def work(run):
        sub = run.sub("seed-3", 3, grpo={"beta": 0.0})
        grpo.train_grpo(sub, adapter, *pairs, sub.section("grpo"), sub.section("judge"))

    run = open_stage(monkeypatch, tmp_path, "a", **{"grpo.steps": 1, "grpo.beta": 0.5})
    run.do(work)
    with pytest.raises(ParameterError, match=r"grpo\.beta was overridden .* no code of 04"):
        run.finish({})
    run = open_stage(monkeypatch, tmp_path, "b", **{"grpo.steps": 1})
    run.do(work)
    run.finish({})
    assert run.path("seed-3/adapter").is_dir() and {"grpo.lr", "judge.format"} <= run.params.reads.keys()
    assert open_stage(monkeypatch, tmp_path, "b", **{"grpo.steps": 1, "grpo.preflight_prompts": 9}).skipped
    assert not open_stage(monkeypatch, tmp_path, "b", **{"grpo.steps": 2}).skipped


def test_resume_after_a_kill_is_as_if_nothing_happened(adapter, pairs, alive, tmp_path, monkeypatch):
    whole = open_stage(monkeypatch, tmp_path, "whole")
    wanted = train(whole, adapter, *pairs)
    killed, add = open_stage(monkeypatch, tmp_path, "killed"), grpo.CompletionLog.add

    def add_and_die(self, step, *rest):
        add(self, step, *rest)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(grpo.CompletionLog, "add", add_and_die)
        train(killed, adapter, *pairs)
    assert len(list((killed.checkpoint_dir / "completions").glob("*.parquet"))) == 4, "two are past the checkpoint"
    found = train(open_stage(monkeypatch, tmp_path, "killed"), adapter, *pairs)
    first, second = (pd.read_parquet(f.parent / "completions.parquet") for f in (wanted, found))
    pd.testing.assert_frame_equal(first, second)
    one, two = (pd.read_csv(f.parent / "watch.csv") for f in (wanted, found))
    pd.testing.assert_frame_equal(one, two)
    again = train(open_stage(monkeypatch, tmp_path, "killed"), adapter, *pairs)
    one, two, three = (load_file(f / "adapter_model.safetensors") for f in (wanted, found, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(one[name], three[name]) for name in one), "a training that had ended must not go on"
    pd.testing.assert_frame_equal(first, pd.read_parquet(again.parent / "completions.parquet"))


def test_another_ratio_is_another_training_and_an_unknown_loss_none(adapter, pairs, alive, tmp_path, monkeypatch):
    """Two iterations on a batch: in the second one the ratios have left 1."""
    twice = {"grpo.iterations": 2, "grpo.save_every": 2, "grpo.steps": 2, "grpo.lr": 0.01}
    whole = {"grpo.importance_sampling_level": "sequence"}
    runs = [open_stage(monkeypatch, tmp_path, name, **twice, **more) for name, more in (("a", {}), ("b", whole))]
    first, second = (load_file(train(run, adapter, *pairs) / "adapter_model.safetensors") for run in runs)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ValueError, match="no_such_loss"):
        train(open_stage(monkeypatch, tmp_path, "c", **{"grpo.loss_type": "no_such_loss"}), adapter, *pairs)


@pytest.mark.parametrize("stop", [False, True])
def test_collapse_is_said_once_and_stops_where_asked(adapter, pairs, tmp_path, monkeypatch, stop):
    monkeypatch.setattr(grpo, "collapse", lambda history: "COLLAPSE now" if len(history) >= 2 else None)
    run = open_stage(monkeypatch, tmp_path, **{"grpo.stop_on_collapse": stop, "grpo.steps": 4})
    with pytest.warns(RuntimeWarning, match="COLLAPSE") as said:
        train(run, adapter, *pairs)
    assert len([w for w in said if "COLLAPSE" in str(w.message)]) == 1
    assert len(pd.read_csv(run.path("watch.csv"))) == (2 if stop else 4)


def test_hard_pairs_only_and_one_pass(adapter, pairs, tmp_path, monkeypatch):
    changes = {"grpo.hard_only": True, "grpo.steps": 0, "grpo.both_orders": False, "grpo.pairs": 1}
    run = open_stage(monkeypatch, tmp_path, **changes)
    train(run, adapter, *pairs)
    rows = pd.read_parquet(run.path("completions.parquet"))
    assert set(rows["prompt"]) == {"audio#0", "text#0"} and len(rows) == 2 * 2 and set(rows["order"]) == {"AB"}


def test_what_cannot_be_trained_is_refused(adapter, pairs, tmp_path, monkeypatch):
    rows, labels = pairs
    with pytest.raises(ValueError, match="no labelled pair"):
        train(open_stage(monkeypatch, tmp_path, **{"grpo.hard_only": True}), adapter, rows, labels[:2])
    with pytest.raises(ValueError, match="no adapter"):
        train(open_stage(monkeypatch, tmp_path), adapter.parent / "base", rows, labels)
    with pytest.raises(ValueError, match="multiple of grpo.iterations"):
        train(open_stage(monkeypatch, tmp_path, **{"grpo.iterations": 3}), adapter, rows, labels)
    with pytest.raises(ValueError, match="does not divide"):
        train(open_stage(monkeypatch, tmp_path, **{"grpo.accumulate": 3}), adapter, rows, labels)


def test_batches_hold_pairs_whole_and_every_pass_has_its_own_order():
    label = Label(pair_id="", verdict="A", score_a=9, score_b=1, provenance="t")
    shown = {f"{i} {o}": grpo.Shown(str(i), o, Example([], []), label) for i in range(7) for o in ("AB", "BA")}
    keys = grpo.draw_batches(shown, pairs=3, batches=6, seed=0)
    assert keys == grpo.draw_batches(shown, 3, 6, 0) != grpo.draw_batches(shown, 3, 6, 1) and len(keys) == 6 * 6
    batches = [keys[at : at + 6] for at in range(0, len(keys), 6)]
    for batch in batches:
        ids = [key.split()[0] for key in batch]
        assert ids[::2] == ids[1::2] and len(set(ids)) == 3
    passes = [sum(batches[at : at + 2], []) for at in (0, 2, 4)]
    assert all(len(set(p)) == 12 for p in passes) and passes[0] != passes[1]
