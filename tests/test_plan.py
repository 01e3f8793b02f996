"""The plan of a run with a real checkpoint, on the real architecture without its weights."""

import re

import numpy as np
import pytest
from tiny_parts import make_model, processor

from omnirepro.cli.plan import Assumptions, measure, memory, plan, with_lora
from omnirepro.data import Part
from omnirepro.kit.run import ParameterError, load_params
from omnirepro.models.architectures import on_meta, thinker_config
from omnirepro.models.processing import VISION, OmniProcessor, collate_media
from omnirepro.toyworld.pretraining.trainer import make_pool
from omnirepro.train.common import LANGUAGE_LAYERS

OMNI_7B = "Qwen/Qwen2.5-Omni-7B"


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("pool"), "train", 1, 0)


@pytest.fixture(scope="module")
def sizes():
    return measure(OMNI_7B, rank=8)


def test_the_real_7b_has_the_released_number_of_parameters(sizes):
    assert sizes.total == 8_931_813_888, "the Thinker of the release, as counted by those who load it"
    assert sizes.lora == 8 * 28 * sum((3584 + o for o in (3584, 512, 512, 3584)), 3 * (3584 + 18_944))


@pytest.mark.parametrize(("name", "layers"), [(OMNI_7B, 28), ("Qwen/Qwen2.5-Omni-3B", 36)])
def test_lora_hits_every_linear_layer_of_the_language_model_and_nothing_else(name, layers):
    import torch
    from peft.tuners.lora import LoraLayer

    model = on_meta(thinker_config(name))
    decoder = {id(m) for m in model.get_decoder().modules()}
    linear = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    wanted = {n for n in linear if id(model.get_submodule(n)) in decoder}
    towers = {n for n in linear if ".visual." in f".{n}" or ".audio_tower." in f".{n}"}
    assert linear == wanted | towers | {"lm_head"} and len(wanted) == 7 * layers and len(towers) > 300
    tuned = with_lora(model, rank=8)
    hit = {n.removeprefix("base_model.model.") for n, m in tuned.named_modules() if isinstance(m, LoraLayer)}
    assert hit == wanted == {n for n in linear if re.search(LANGUAGE_LAYERS, n)}
    trained = {n for n, p in tuned.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(wanted) and all("lora_" in n for n in trained)
    assert all(p.is_meta for p in tuned.parameters()), "nothing may take memory"


def test_the_processor_makes_what_the_real_towers_take(pool):
    """Towers of the released widths and one layer each: as many rows as placeholders, as wide as the language model."""
    import torch
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
        Qwen2_5OmniAudioEncoder,
        Qwen2_5OmniVisionEncoder,
    )

    config, p = thinker_config(OMNI_7B, depth=1, encoder_layers=1), processor()
    assert (config.vision_config.patch_size, config.vision_config.spatial_merge_size) == (14, VISION["merge_size"])
    assert config.vision_config.temporal_patch_size == VISION["temporal_patch_size"]
    visual, audio = Qwen2_5OmniVisionEncoder(config.vision_config), Qwen2_5OmniAudioEncoder(config.audio_config)
    for kind, pixels, grid in (("image", "pixel_values", "image_grid_thw"),
                               ("video", "pixel_values_videos", "video_grid_thw")):  # fmt: skip
        found = p.features(pool[kind][0][1])
        batch = collate_media([found])
        with torch.no_grad():
            made = visual(batch[pixels], grid_thw=batch[grid])
        made = getattr(made, "pooler_output", None) if not isinstance(made, torch.Tensor) else made
        assert made.shape == (found["tokens"], 3584), kind
    found = p.features(pool["audio"][0][1])
    mel = torch.from_numpy(found["input_features"])
    frames = torch.tensor([mel.shape[1]])
    with torch.no_grad():
        made = audio(mel, feature_lens=frames, aftercnn_lens=(frames - 1) // 2 + 1)
    assert made.last_hidden_state.shape == (found["tokens"], 3584)


def test_a_large_picture_stays_within_the_published_pixels(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((900, 1600, 3), np.uint8)).save(tmp_path / "large.png")
    found = OmniProcessor(processor().tokenizer).features(Part(type="image", path=str(tmp_path / "large.png")))
    assert 100 < found["tokens"] <= 131_072 // 28**2


def test_the_cache_and_lora_are_as_large_as_planned(sizes, monkeypatch):
    """The same arithmetic on the embedded backbone, whose cache and adapter can be held in hand."""
    import torch

    from omnirepro.cli import plan as planning

    model = make_model()
    config = model.config
    monkeypatch.setattr("omnirepro.models.architectures.thinker_config", lambda name: config)
    tiny = planning.measure("tiny", rank=4)
    assert tiny.total == sum(p.numel() for p in model.parameters())
    tuned = with_lora(model, rank=4)
    assert tiny.lora == sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    ids = torch.arange(12)[None] + 20
    with torch.no_grad():
        cache = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) // 2  # float32 here, bfloat16 planned
    assert held == 12 * tiny.cache


def test_memory_shrinks_with_the_stage_and_grows_with_tokens(sizes):
    p = load_params("omni-7b").section("sft")
    one, two = (memory(sizes, p, Assumptions(zero=z), 3072) for z in (0, 3))
    assert one["weights (bfloat16)"] == pytest.approx(8 * two["weights (bfloat16)"]) and 16 < one["weights (bfloat16)"]
    long = memory(sizes, p, Assumptions(zero=0), 6144, generating=1000)
    assert long["activations"] == pytest.approx(2 * one["activations"]) and one["KV cache"] == 0 < long["KV cache"]


def test_the_command_prints_steps_memory_and_time(capsys):
    from omnirepro.cli.main import main

    assert main(["plan", "--profile", "omni-7b", "--gpus", "8", "--teraflops", "27.5"]) == 0
    said = capsys.readouterr().out
    assert "8,931,813,888 parameters" in said and "20,185,088 trained" in said
    assert re.search(r"96 = 8 x 1 x 12 +16 = 8 x 1 x 2", said), "the published batches"
    hours = float(re.search(r"^hours +([\d.]+)", said, re.MULTILINE)[1])
    assert hours == pytest.approx(5, abs=0.3), "at the throughput that the published hours imply"
    slower = plan(load_params("omni-7b"), Assumptions(teraflops=13.75))
    assert float(re.search(r"^hours +([\d.]+)", slower, re.MULTILINE)[1]) == pytest.approx(2 * hours, abs=0.2)


def test_what_cannot_be_planned_says_why(capsys):
    with pytest.raises(ParameterError, match="a batch of 96 cannot be divided among 7 processes"):
        plan(load_params("omni-7b"), Assumptions(gpus=7))
    with pytest.raises(ParameterError, match=r"profile tiny: backbone.model '' is no released checkpoint"):
        plan(load_params("tiny"), Assumptions())
