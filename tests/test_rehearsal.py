"""The miniature mirror and the rehearsal of papers' profiles: what it makes is read by the kit's own readers and
loaders, and notebooks 00 to 02 of a paper's profile run on it without a change, offline."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from omnirepro.cli.main import main
from omnirepro.data import text_part
from omnirepro.data.files import RunError, lies_at
from omnirepro.data.sources.cards import pairs_of, prompts_of
from omnirepro.data.sources.questions import questions_of
from omnirepro.judge.rubric import parse
from omnirepro.kit.rehearsal import PROFILES, mirror, overlay, servers, surroundings
from omnirepro.kit.run import load_params
from omnirepro.models.endpoints import EndpointModel
from omnirepro.models.generation import Decoding
from omnirepro.models.loading import gives_scores, load

ROOT = Path(__file__).resolve().parents[1]
HOW = ("profile.extends", "device.", "data.dev_share", "media.", "endpoints.", "judge.", "ablations.")
COUNTED = ("steps", "batch", "accumulate", "tokens", "prompts", "candidates", "pairs", "limit", "scenes")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The mirror of every profile, and the map of all of them."""
    folder = tmp_path_factory.mktemp("results") / "rehearsal"
    places = {}
    for profile in PROFILES:
        places |= mirror.make(load_params(profile), folder / "mirror")
    return folder, mirror.write_map(folder / "map.yaml", places)


@pytest.fixture
def mapped(made, monkeypatch):
    folder, file = made
    monkeypatch.setenv("OMNIREPRO_MIRROR", str(file))
    monkeypatch.setenv("OMNIREPRO_MEDIA", str(folder / "media"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


@pytest.mark.parametrize("profile", PROFILES)
def test_a_rehearsal_changes_counts_alone(profile, tmp_path):
    file = tmp_path / f"{profile}.yaml"
    file.write_text(yaml.safe_dump(overlay(profile)))
    paper, here = load_params(profile).values(), load_params(str(file)).values()
    changed = [key for key in paper if paper[key] != here[key]]
    assert changed and load_params(str(file)).notebooks == load_params(profile).notebooks
    assert all(key.startswith(HOW) or key.endswith(COUNTED) for key in changed), changed


@pytest.mark.parametrize("profile", PROFILES)
def test_every_set_of_a_profile_is_read_from_the_mirror(profile, mapped):
    for card in mirror.cards_in(load_params(profile)):
        asked = card.name in ("mmmu", "video-mme", "avqa")
        rows = list(questions_of(card) if asked else pairs_of(card) if card.source else prompts_of(card))
        assert len(rows) >= 2 and len({row.id for row in rows}) == len(rows), card.name
        parts = [p for row in rows for p in (row.parts if hasattr(row, "parts") else [*row.prompt, *row.response_a])]
        assert all(Path(part.path).is_file() for part in parts if part.path), card.name


def test_models_of_the_mirror_load_by_their_names_with_the_ids_of_the_release(mapped):
    model, processor = load("Qwen/Qwen2.5-Omni-3B")
    assert type(model).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"
    assert processor.placeholder_ids.items() >= {"image": 151655, "video": 151656, "audio": 151646}.items()
    assert processor.tokenizer.convert_tokens_to_ids("<|im_end|>") == 151645
    assert gives_scores("Skywork/Skywork-Reward-V2-Llama-3.1-8B")


def test_a_name_lies_where_the_longest_beginning_says(tmp_path, monkeypatch):
    file = tmp_path / "map.yaml"
    file.write_text("./data: /far/data\n./data/own: /near\nhttp://a/v1: http://b/v1\nowner/name: /models/x\n")
    monkeypatch.setenv("OMNIREPRO_MIRROR", str(file))
    assert lies_at("./data/set/x.jsonl") == "/far/data/set/x.jsonl" and lies_at("./data/own/y") == "/near/y"
    assert lies_at("http://a/v1#m") == "http://b/v1#m" and lies_at("owner/names") == "owner/names"
    monkeypatch.setenv("OMNIREPRO_MIRROR", str(tmp_path / "gone.yaml"))
    with pytest.raises(RunError, match="OMNIREPRO_MIRROR: .*gone.yaml"):
        lies_at("owner/name")


def test_a_server_judges_by_what_is_said_in_whatever_place_it_stands():
    def asked(a, b):
        chat = [{"role": "system", "content": 'Reply with "score_A" and "reasoning"'},
                {"role": "user", "content": f"q\n\nCandidate A: {a}\n\nCandidate B: {b}"}]  # fmt: skip
        return parse(servers.answer({"model": "m", "messages": chat}), "published")

    good, bad = "It is red, because it shines.", "No."
    assert asked(good, bad).verdict == "A" and asked(bad, good).verdict == "B" and asked(bad, bad).verdict == "tie"
    assert asked(good, bad).status == "ok"


def test_a_server_speaks_the_api_that_the_kit_asks():
    with servers.serving() as address:
        chats = [[{"role": "user", "parts": [text_part(f"Say {n}.")]}] for n in range(3)]
        first, other = (EndpointModel(address, name).complete(chats, Decoding(16)) for name in ("strong", "weak"))
    assert all(made.text for made in first) and [m.text for m in first] != [m.text for m in other]


def test_profiles_are_rehearsed_one_after_the_other_in_one_folder_and_a_failed_one_names_its_command(
    made, tmp_path, monkeypatch, capsys
):
    folder, _ = made
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(folder.parent))
    outside = dict(os.environ)
    own = tmp_path / "mine.yaml"
    own.write_text("profile: {extends: grm-omni}\n")
    profiles = {"omni-reward-r1": "omni-reward-r1", "mine": str(own)}
    with ExitStack() as held:
        for name in profiles:  # as if another batch was at work: the engine gives up before it runs anything
            held.enter_context(FileLock(folder / f".{name}.lock"))
        assert main(["rehearse", "--profile", *profiles.values(), "--notebooks", "00"]) == 1
    said = capsys.readouterr().out
    for name, profile in profiles.items():
        assert f"Then: python -m omnirepro rehearse --profile {profile} --notebooks 00 " in said, said
        assert (folder / f"{name}-map.yaml").is_file()
        assert re.search(rf"^{re.escape(profile)} +\d+\.\d  no$", said, re.M), "the table of them all"
    told = surroundings(load_params("omni-rrm-7b"), folder, folder)
    assert all(os.environ.get(key) == outside.get(key) for key in told) and not (folder / "rehearsal").exists()
    assert os.listdir(tmp_path) == ["mine.yaml"]


def test_the_first_notebooks_of_a_papers_profile_run_on_the_mirror(made, tmp_path):
    folder, _ = made
    params = load_params("omni-rrm-7b")
    with servers.serving() as address:
        places = mirror.make(params, folder / "mirror") | dict.fromkeys(mirror.servers_in(params), address)
        around = surroundings(params, folder, mirror.write_map(tmp_path / "map.yaml", places))
        profile = folder / "omni-rrm-7b.yaml"
        profile.write_text(yaml.safe_dump(overlay("omni-rrm-7b")))
        stages = ("00_backbone", "01_synthesis", "02_reconciliation")
        code = f"from real_parts import execute; [execute(s, profile={str(profile)!r}) for s in {stages}]"
        environment = os.environ | around | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    kept = (folder / "omni-rrm-7b/02_reconciliation/labels_sft.jsonl").read_text().splitlines()
    assert kept
