"""Families of models: what each makes of media equals the official processor and class; nothing is read from noise."""

import json
import shutil
from pathlib import Path

import checkpoints
import pytest
import torch
from golden_families import FPS, KINDS, SIDES, conversation, digest, positions_of

from omnirepro import load_judge
from omnirepro.data import Part
from omnirepro.models.loading import ModelError, load

GOLDEN = json.loads(Path(__file__).with_name("golden_families.json").read_text(encoding="utf-8"))
LAYOUTS = {"omni_full": "omni_thinker", "omni_legacy": "omni_thinker"} | {name: name for name in SIDES}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Every family's folder, made when it is first asked for."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            checkpoints.make(name, made[name])
        return made[name]

    return of


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return {side: checkpoints.write_media(tmp_path_factory.mktemp("media"), side, FPS) for side in (56, 64)}


def chat_of(name, media):
    """The conversation of the golden file, as the kit has it."""
    kinds = KINDS.get(name, ("image", "video", "audio"))
    (turn,) = conversation(kinds)
    paths = media[SIDES[name]]
    parts = [
        Part(type="text", text=p["text"]) if p["type"] == "text" else Part(type=p["type"], path=str(paths[p["type"]]))
        for p in turn["content"]
    ]
    return [{"role": "user", "parts": parts}]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_positions_and_logits_equal_the_official_ones(folder_of, media, layout):
    name = LAYOUTS[layout]
    wanted = GOLDEN[name]
    model, processor = load(folder_of(layout), device="cpu")
    example = processor.encode(chat_of(name, media))
    assert example.ids == wanted["ids"]
    batch = processor.collate([example])
    batch.pop("labels")
    assert {key: value.tolist() for key, value in batch.items() if "grid_thw" in key} == {
        key: value for key, value in wanted["grids"].items() if "thw" in key
    }
    if wanted["positions"]:
        assert digest(positions_of(model, batch)[:, 0]) == wanted["positions"]
    with torch.no_grad():
        made = model(**batch).logits[0, -1, :12]
    assert torch.allclose(made, torch.tensor(wanted["logits"]), atol=5e-3), (made, wanted["logits"])
