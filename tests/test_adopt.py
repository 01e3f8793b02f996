"""A released model in place of the embedded one: only its name is stored, and every loader follows it."""

import pandas as pd

from omnirepro.kit.run import open_run
from omnirepro.models import load
from omnirepro.models.loading import point_to
from omnirepro.toyworld.pretraining.backbone import prepare_backbone
from omnirepro.toyworld.pretraining.trainer import KINDS


def test_a_named_model_is_adopted_and_followed(smoke, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    released = str(smoke / "00_backbone" / "strong")
    run = open_run("00_backbone", "smoke", run="adopted", overrides={"backbone.model": released})
    run.do(prepare_backbone)
    assert not list(run.path("strong").glob("*.safetensors")) and not run.path("loss.csv").exists()
    asked = pd.read_csv(run.path("gate.csv"))["asked"].value_counts()
    assert asked["fact"] == asked["check"] == len(KINDS) * run.section()["gate_scenes"]
    ours, theirs = load(run.path("weak"))[0], load(released)[0]
    assert all((a == b).all() for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_pointer_can_name_a_folder(smoke, tmp_path):
    point_to(str(smoke / "00_backbone" / "weak"), tmp_path / "model")
    assert load(tmp_path / "model")[0].config.model_type == "qwen2_5_omni_thinker"
