"""Conversations to tensors: equal to the official processing, safe against control tokens, loss on answers only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_parts import make_model, processor, text_part, user

from omnirepro.data import MediaError, Part
from omnirepro.data.media import to_patches
from omnirepro.models.families import OMNI
from omnirepro.models.positions import positions
from omnirepro.models.processing import VISION, OmniProcessor, collate_media
from omnirepro.toyworld.pretraining.tiny import ROLES, SPECIAL
from omnirepro.toyworld.pretraining.trainer import make_pool

SIZES = [(56, 56), (28, 28), (60, 47), (10, 33), (301, 200), (30, 400), (500, 600)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("pool"), "train", 3, 0)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The image processor of transformers, from a folder that the kit's processor wrote."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    folder = tmp_path_factory.mktemp("saved")
    processor().save_pretrained(folder)
    return Qwen2VLImageProcessorPil.from_pretrained(folder)


def noise(height, width, seed=0):
    smooth = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(smooth).resize((width, height), Image.BICUBIC))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_patches_equal_the_official_ones(official, height, width):
    picture = noise(height, width)
    patches, grid = to_patches(picture[None], **VISION)
    wanted = official(Image.fromarray(picture), return_tensors="np")
    assert [grid] == np.asarray(wanted["image_grid_thw"]).tolist()
    assert patches.shape == wanted["pixel_values"].shape and patches.dtype == np.float32
    assert np.abs(patches - np.asarray(wanted["pixel_values"])).max() < 1e-5
    assert VISION["min_pixels"] <= grid[1] * grid[2] * 14**2 <= VISION["max_pixels"]


@pytest.mark.parametrize(("height", "width"), SIZES[:4])
def test_a_still_film_equals_its_picture(height, width):
    picture = noise(height, width)
    patches, grid = to_patches(picture[None], **VISION)
    film, times = to_patches(np.stack([picture] * 6), **VISION)
    assert times == [3, *grid[1:]]
    assert (film.reshape(3, *patches.shape) == patches).all()


def test_the_order_of_frames_matters():
    a, b = noise(56, 56, 1), noise(56, 56, 2)
    forth, back = to_patches(np.stack([a, b]), **VISION)[0], to_patches(np.stack([b, a]), **VISION)[0]
    assert not np.array_equal(forth, back)
    swapped = forth.reshape(-1, 3, 2, 14, 14)[:, :, ::-1].reshape(forth.shape)
    assert np.array_equal(swapped, back)


def test_an_extreme_picture_is_an_error_that_names_it(tmp_path):
    Image.new("RGB", (900, 3)).save(tmp_path / "thin.png")
    with pytest.raises(MediaError, match="thin.png"):
        processor().features(Part(type="image", path=str(tmp_path / "thin.png")))


def test_audio_tokens_are_as_many_as_the_model_makes():
    import torch

    model, p = make_model(), processor()
    for seconds in (0.05, 0.3, 0.8, 1.0, 2.01, 2.5, 4.3):
        found = p._audio(np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32))
        batch = collate_media([found])
        assert batch["feature_attention_mask"].sum() == found["input_features"].shape[1]
        with torch.no_grad():
            out = model.get_audio_features(**batch)
        made = getattr(out, "last_hidden_state", out)
        assert len(made) == found["tokens"], seconds


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_placeholders_are_as_many_as_the_features(pool, modality):
    p, part = processor(), pool[modality][0][1]
    example = p.encode([user(part, "what is it?", part)])
    tokens = p.features(part)["tokens"]
    assert tokens == {"image": 4, "video": 8, "audio": 20}[modality]
    assert example.ids.count(p.placeholder_ids[modality]) == 2 * tokens and len(example.features) == 2


def test_views_of_a_3d_object_are_read_as_a_picture(pool):
    part = pool["image"][0][1]
    views = part.model_copy(update={"type": "views3d"})
    assert processor().encode([user(views)]).ids == processor().encode([user(part)]).ids


def test_collating_leaves_absent_modalities_out(pool):
    p = processor()
    parts = {m: pool[m][0][1] for m in ("image", "video", "audio")}
    names = {
        "image": {"pixel_values", "image_grid_thw"},
        "video": {"pixel_values_videos", "video_grid_thw", "video_second_per_grid"},
        "audio": {"input_features", "feature_attention_mask"},
    }
    assert collate_media([]) == {}
    for chosen in (("image",), ("video",), ("audio",), ("image", "audio"), ("image", "video", "audio")):
        found = collate_media([p.features(parts[m]) for m in chosen])
        assert set(found) == set().union(*(names[m] for m in chosen))
        assert all(len(found[k]) == 1 for k in found if not k.startswith("pixel"))


def test_a_batch_is_padded_on_the_asked_side(pool):
    p = processor()
    short, long = p.encode([user("hi")]), p.encode([user(pool["audio"][0][1], "how many beeps are there?")])
    for side, at in (("right", slice(0, len(short.ids))), ("left", slice(-len(short.ids), None))):
        batch = p.collate([short, long], side)
        assert batch["input_ids"].shape == batch["labels"].shape == (2, len(long.ids))
        assert batch["input_ids"][0, at].tolist() == short.ids and batch["input_ids"][1].tolist() == long.ids
        assert batch["attention_mask"].sum(1).tolist() == [len(short.ids), len(long.ids)]
        assert batch["attention_mask"][0, at].all() and (batch["labels"] == -100).all()
    assert len(batch["input_features"]) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [[]], [["image"]], [["video"]], [["audio"]], [["views3d"]], [["text"], ["image"]], [["audio"], ["text"]],
        [["image", "video"], ["audio", "image", "audio"], []], [["video", "video", "views3d"], ["text"], ["audio"]],
        [["large", "image"], ["long", "audio", "long"], ["wide"]],
    ],
)  # fmt: skip
def test_positions_equal_the_models_own(pool, tmp_path, rows):
    from omnirepro.toyworld.scenes import write_mp4

    write_mp4(tmp_path / "long.mp4", np.stack([noise(84, 140, i) for i in range(10)]), 3)
    parts = {m: pool[m][0][1] for m in pool} | {"long": Part(type="video", path=str(tmp_path / "long.mp4"))}
    for name, (height, width) in {"large": (301, 200), "wide": (30, 400)}.items():
        Image.fromarray(noise(height, width)).save(tmp_path / f"{name}.png")
        parts[name] = Part(type="image", path=str(tmp_path / f"{name}.png"))
    model, p = make_model().model, processor()
    answer = {"role": "assistant", "parts": [text_part("red")]}
    examples = [p.encode([user("see:", *(parts[m] for m in row), "?"), answer], train=True) for row in rows]
    batch = p.collate(examples)
    heard = batch.get("feature_attention_mask")
    wanted, _ = model.get_rope_index(
        batch["input_ids"],
        *(batch.get(k) for k in ("image_grid_thw", "video_grid_thw")),
        attention_mask=batch["attention_mask"],
        audio_seqlens=None if heard is None else heard.sum(1),
        second_per_grids=batch.get("video_second_per_grid"),
    )
    found = positions(p, examples)
    assert found.dtype == wanted.dtype and found.tolist() == wanted.tolist()


def test_a_text_that_comes_again_is_rendered_and_tokenised_once(monkeypatch):
    p = OmniProcessor(processor().tokenizer)
    first = p.encode([user("what is it?")], train=True)
    monkeypatch.setattr(p, "tokenizer", None)
    monkeypatch.setattr(p.chats, "_render", None)
    again = p.encode([user("what is it?")], train=True)
    assert again.ids == first.ids and again.ids is not first.ids


def test_loss_falls_on_the_assistants_words_only(pool):
    p = processor()
    chat = [
        {"role": "system", "parts": [text_part("be terse.")]},
        user(pool["image"][0][1], "what color is the ring?"),
        {"role": "assistant", "parts": [text_part("red")]},
        user("what is the answer?"),
        {"role": "assistant", "parts": [text_part("the color is red.")]},
    ]
    example = p.encode(chat, train=True)
    learned = [i for i, x in zip(example.ids, example.labels, strict=True) if x != -100]
    assert all(x in (-100, i) for i, x in zip(example.ids, example.labels, strict=True))
    assert p.tokenizer.decode(learned) == "red<|im_end|>the color is red.<|im_end|>"
    asked = p.encode(chat[:2])
    assert example.ids[: len(asked.ids)] == asked.ids, "training and sampling see the same prompt"
    assert p.tokenizer.decode(asked.ids).endswith("<|assistant|>") and set(asked.labels) == {-100}
    assert set(p.encode(chat).labels) == {-100}, "without `train` nothing is learned"


def test_tokens_that_nothing_tells_take_no_loss():
    p = processor()
    answer = {"role": "assistant", "parts": [text_part('{"score_A": 10, "better": "A"}')]}
    told = p.encode([user("write scores."), answer], train=True)
    free = p.encode([user("write scores."), answer | {"free": ("10", "2")}], train=True)
    assert free.ids == told.ids
    learned = p.tokenizer.decode([i for i in free.labels if i != -100])
    assert learned == '{"score_A": , "better": "A"}<|im_end|>'


ALL_CONTROL = [*SPECIAL.values(), *ROLES]
CONTROL = [*ROLES, "<|im_end|>", "<|endoftext|>", *OMNI.marks.values(), "<|vision_bos|>", "<|audio_eos|>"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*CONTROL, "<|", "|>", "<", "im_end", " ", "x", "<|<|im_end|>im_end|>"]), max_size=8))
def test_content_never_becomes_a_control_token(pieces):
    p = processor()
    special = {i for i, token in p.tokenizer.added_tokens_decoder.items() if token.special}
    assert special == set(p.tokenizer.convert_tokens_to_ids(ALL_CONTROL))
    plain = [i for i in p.encode([user("x")]).ids if i in special]
    example = p.encode([user("".join(pieces))])
    assert [i for i in example.ids if i in special] == plain
    assert not example.features


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_representable(text):
    p = processor()
    ids = p.encode([user(text)]).ids
    assert p.tokenizer.decode(ids) == f"<|user|>{text}<|im_end|><|assistant|>" or "<|" in text


def test_each_content_is_prepared_once_and_found_by_content(pool, tmp_path):
    part = pool["image"][0][1]
    p = OmniProcessor(processor().tokenizer, cache=2)
    first = p.features(part)
    assert p.features(part) is first
    assert p.features(part.model_copy(update={"path": "/moved/elsewhere.png"})) is first, "the sha256 is the identity"
    for i in (1, 2):
        p.features(pool["image"][i][1])
    again = p.features(part)
    assert again is not first and np.array_equal(again["pixel_values"], first["pixel_values"]), "the oldest is let go"


def test_a_saved_processor_is_the_same(pool, tmp_path):
    p = OmniProcessor(processor().tokenizer, {"max_pixels": 100_352})
    p.save_pretrained(tmp_path)
    again = OmniProcessor.from_pretrained(tmp_path)
    assert again.vision == p.vision and again.vision["max_pixels"] == 100_352
    assert again.omni and again.suppressed_ids == p.suppressed_ids
    answer = {"role": "assistant", "parts": [text_part("up")]}
    chat = [user(pool["video"][0][1], "which way does it move?\njudge both."), answer]
    assert again.encode(chat, train=True).ids == p.encode(chat, train=True).ids
    from transformers import WhisperFeatureExtractor

    assert WhisperFeatureExtractor.from_pretrained(tmp_path).feature_size == 128


def test_everything_but_the_end_of_turn_is_suppressed():
    p = processor()
    names = set(p.tokenizer.convert_ids_to_tokens(p.suppressed_ids))
    assert names == {*ALL_CONTROL} - {"<|im_end|>"}
