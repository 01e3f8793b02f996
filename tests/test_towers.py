"""Remembered encoders: the same logits, each medium encoded once, told apart by content and shape."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_parts import make_model, pool_of, processor, user

from omnirepro.data import Part
from omnirepro.models.processing import collate_media
from omnirepro.models.towers import remember


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return pool_of(tmp_path_factory.mktemp("pool"), 4)


def batch_of(*chats):
    batch = processor().collate([processor().encode(list(chat)) for chat in chats])
    batch.pop("labels")
    return batch


@pytest.fixture(scope="module")
def batch(parts):
    image, video, audio = (parts[m] for m in ("image", "video", "audio"))
    return batch_of(
        [user(image[0], "what?")], [user(image[1], video[0], audio[0], image[0], "what?")], [user("no medium at all")],
        [user(audio[1], audio[0], "what?")], [user(video[1], video[0], "what?")],
    )  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """A remembering model and the media that its towers really encoded: {"visual": [...], "audio_tower": [...]}."""
    model, encoded = make_model(), {}
    for name in ("visual", "audio_tower"):
        tower = getattr(model.model, name)
        encoded[name] = []

        def forward(values, sizes, *rest, inner=tower.forward, log=encoded[name], **kwargs):
            log += sizes.reshape(len(sizes), -1).tolist()
            return inner(values, sizes, *rest, **kwargs)

        tower.forward = forward
    return remember(model), encoded


def test_logits_are_unchanged_first_and_from_memory(batch, counted):
    plain, (model, _) = make_model(), counted
    with torch.no_grad():
        wanted = plain(**batch).logits
        for _ in range(2):
            assert torch.allclose(model(**batch).logits, wanted, atol=1e-6)
    assert wanted.std() > 1e-3


def test_media_that_are_alike_only_in_size_differ(parts, counted):
    model, _ = counted
    with torch.no_grad():
        first, second = (model(**batch_of([user(p, "what?")])).logits for p in parts["image"][:2])
    assert not torch.allclose(first, second, atol=1e-4)


def test_each_medium_is_encoded_once(batch, counted):
    model, encoded = counted
    with torch.no_grad():
        model(**batch)
        assert len(encoded["visual"]) == 4 and len(encoded["audio_tower"]) == 2, "two pictures, two films, two sounds"
        model(**batch)
    assert len(encoded["visual"]) == 4 and len(encoded["audio_tower"]) == 2
    assert sorted(map(tuple, encoded["visual"])) == [(1, 4, 4), (1, 4, 4), (2, 4, 4), (2, 4, 4)]


def test_only_new_media_are_encoded(parts, counted):
    model, encoded = counted
    with torch.no_grad():
        model(**batch_of([user(parts["image"][0])], [user(parts["image"][1])]))
        model(**batch_of([user(parts["image"][1])], [user(parts["image"][2])], [user(parts["image"][0])]))
    assert len(encoded["visual"]) == 3


def test_what_is_encoded_does_not_depend_on_the_batch_it_appears_in(parts, counted):
    """The memory answers for a medium in any batch, so a tower must not mix the media of one."""
    plain, (model, _) = make_model(), counted
    sounds, films = [user(*parts["audio"][:3], "what?")], [user(*parts["video"][:3], "what?")]
    with torch.no_grad():
        model(**batch_of(sounds, films))
        for part in (parts["audio"][1], parts["video"][2]):
            alone = batch_of([user(part, "what?")])
            assert torch.allclose(model(**alone).logits, plain(**alone).logits, atol=1e-5)


def test_a_wide_and_a_tall_plain_picture_are_two(tmp_path, counted):
    plain, (model, encoded) = make_model(), counted
    for name, size in (("wide", (112, 56)), ("tall", (56, 112))):
        Image.new("RGB", size, (90, 90, 90)).save(tmp_path / f"{name}.png")
    wide, tall = (processor().features(Part(type="image", path=str(tmp_path / f"{n}.png"))) for n in ("wide", "tall"))
    assert np.array_equal(wide["pixel_values"], tall["pixel_values"]), "else the test shows nothing"
    with torch.no_grad():
        for found in (wide, tall):
            media = collate_media([found])
            values, grid = media["pixel_values"], media["image_grid_thw"]
            got, wanted = (m.model.visual(values, grid_thw=grid) for m in (model, plain))
            assert torch.allclose(got.pooler_output, wanted.pooler_output, atol=1e-6)
    assert encoded["visual"] == [[1, 4, 8], [1, 8, 4]]


def test_memory_made_while_sampling_serves_training(batch):
    model = remember(make_model())
    with torch.inference_mode():
        model(**batch)
    model.train()
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    assert model.model.language_model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    frozen = [p for name, p in model.named_parameters() if "visual" in name or "audio_tower" in name]
    assert frozen and all(p.grad is None and not p.requires_grad for p in frozen)


def test_the_least_recently_used_is_forgotten_by_bytes(parts):
    width = 64 * 4  # bytes of a token
    model = remember(make_model(), capacity=2 * 4 * width)
    memory, seen = model.model.visual.remembered, []
    with torch.no_grad():
        for part in (parts["image"][i] for i in (0, 1, 0, 2)):
            model(**batch_of([user(part)]))
            seen.append(list(memory))
        assert len(memory) == 2 and set(seen[3]) == {seen[0][0], *seen[3][-1:]}, "the first was used again, so it stays"
        assert memory.bytes == sum(x.untyped_storage().nbytes() for x in memory.values()) == 2 * 4 * width
        model(**batch_of([user(*parts["video"])]))
    assert [len(x) for x in memory.values()] == [8], "a film takes the place of two pictures"


def test_remembering_twice_is_remembering_once_and_saves_no_more(batch):
    model = remember(make_model())
    forward, names = model.model.visual.forward, set(model.state_dict())
    assert remember(model) is model and model.model.visual.forward is forward
    with torch.no_grad():
        model(**batch)
    assert set(model.state_dict()) == names == set(make_model().state_dict())
    text_only = torch.nn.Linear(2, 2)
    assert remember(text_only) is text_only and text_only.weight.requires_grad
