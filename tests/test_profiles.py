"""The papers' profiles and the cards of their data: they load, resolve, run what they say, and their plan adds up."""

import json
import subprocess
import sys
import wave

import pytest
from real_parts import ROOT

from omnirepro.cli.plan import Assumptions, plan
from omnirepro.cli.workload import DATA, billions, cards_in, rows_for_training, rows_of, to_get, uncounted, works
from omnirepro.data import Judgement, Pair, Part, RowError, text_part
from omnirepro.data.sources import SOURCES
from omnirepro.data.sources.cards import card_of, pairs_of, prompts_of
from omnirepro.data.sources.questions import questions_of
from omnirepro.evaluate.answers import is_right, kind_of, stated
from omnirepro.kit.rehearsal import PROFILES as PAPERS
from omnirepro.kit.run import STAGES, ParameterError, load_params, open_run, study_estimate
from omnirepro.papers.omni_rrm.teachers import ByModality

PROFILES = sorted(path.stem for path in (ROOT / "params/profiles").glob("*.yaml"))
CARDS = sorted(path.stem for path in (ROOT / "params/data").glob("*.yaml"))
FOLDER = ROOT / "params/data"
QUESTIONS = ("mmmu", "video-mme", "avqa")


# ---- profiles


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_loads_and_what_it_names_is_a_card(profile):
    params = load_params(profile)
    assert params.notebooks and set(params.notebooks) <= set(STAGES)
    named = [(value, card) for key in DATA for value, card in zip(params[key], cards_in(params, key), strict=True)]
    by_name = [(value.partition("#")[0], card) for value, card in named if isinstance(value, str)]
    assert all(value in CARDS and card.name == value for value, card in by_name)
    assert bool(named) == (profile in (*PAPERS, "omni-rrm-7b-released", "text-human"))


def test_the_papers_profiles_hold_what_is_published():
    rrm = load_params("omni-rrm-7b")
    sft = {
        key: rrm[f"sft.{key}"] for key in ("batch", "epochs", "lr", "warmup", "lora_rank", "lora_alpha", "max_length")
    }
    assert list(sft.values()) == [96, 2, 5e-6, 0.03, 8, 32, 3072]
    grpo = (
        "pairs",
        "group",
        "lr",
        "warmup",
        "temperature",
        "top_p",
        "top_k",
        "max_frames",
        "beta",
        "epsilon",
        "preset",
    )
    assert [rrm[f"grpo.{key}"] for key in grpo] == [8, 2, 1e-5, 0.05, 1.0, 0.95, 50, 8, 0.04, 0.2, "published"]
    assert len(rrm["reconciliation.teachers"]) == 2 and rrm["best_of_n.candidates"] == 10
    small = load_params("omni-rrm-3b")
    assert small["backbone.model"] == "Qwen/Qwen2.5-Omni-3B" and small["sft.lr"] == rrm["sft.lr"]
    assert small.origin("sft.lr") == "profiles/omni-7b.yaml" and small.notebooks == rrm.notebooks
    bt = load_params("omni-reward-bt").section("bradley_terry")
    assert [bt[key] for key in ("batch", "epochs", "lr", "weight_decay", "max_length")] == [64, 2, 2e-6, 1e-3, 18_000]
    r1 = load_params("omni-reward-r1")
    assert (r1["bradley_terry.r1_shares"], r1["grpo.group"], r1["grpo.lr"]) == ([0.0315], 6, 1e-6)
    grm = load_params("grm-omni").section("meta_reward_dpo")
    assert [grm[key] for key in ("k", "n", "top", "max_length", "sft_lr", "dpo_lr")] == [3, 7, 3, 4096, 1e-5, 1e-6]
    assert (
        grm["sft_steps"] * grm["sft_batch"] // 1000 == 22 and round(grm["dpo_steps"] * grm["dpo_batch"], -3) == 20_000
    )


def test_a_profile_extends_another_and_names_its_notebooks(tmp_path):
    def written(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    first = written("first.yaml", "profile: {extends: smoke, notebooks: [03_sft, 01_synthesis]}\nsft: {steps: 3}\n")
    second = load_params(written("second.yaml", f"profile: {{extends: {first}}}\nsft: {{lr: 0.5}}\n"))
    assert (second["sft.steps"], second["sft.lr"], second["sft.batch"]) == (3, 0.5, load_params("smoke")["sft.batch"])
    assert second.notebooks == ("01_synthesis", "03_sft") and load_params("smoke").notebooks == STAGES
    with pytest.raises(ParameterError, match="loop.yaml extends itself"):
        load_params(written("loop.yaml", f"profile: {{extends: {tmp_path / 'loop.yaml'}}}\n"))
    with pytest.raises(ParameterError, match="no notebook '03_sfd': the nearest is 03_sft"):
        load_params(written("odd.yaml", "profile: {notebooks: [03_sfd]}\n"))
    with pytest.raises(ParameterError, match="unknown profile 'smokee': the nearest known one is smoke"):
        load_params(written("lost.yaml", "profile: {extends: smokee}\n"))


def test_the_batch_runs_the_notebooks_of_the_profile_and_no_other():
    def planned(*config):
        words = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", "-n", "--config", *config]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)

    answer = planned("profile=omni-reward-bt")
    found = {stage for stage in STAGES if f"stage={stage}" in answer.stdout + answer.stderr}
    assert found == set(load_params("omni-reward-bt").notebooks)
    assert "does not run notebook 03" in planned("profile=omni-reward-bt", "notebooks=03").stdout


def test_a_released_model_needs_prompts_only_where_it_is_to_answer_them(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    open_run("00_backbone", "omni-reward-bt")
    with pytest.raises(ParameterError, match="name data.prompts or data.pairs"):
        open_run("00_backbone", "omni-7b")


# ---- cards


@pytest.mark.parametrize("name", CARDS)
def test_every_card_resolves(name):
    card = card_of(name, FOLDER)
    assert card.licence and (card.source is None or card.source in SOURCES)
    local = card.path.startswith("./data/")
    beside = card.path == str(FOLDER / f"{name}.jsonl")
    assert bool(card.get) == local and (local or beside or card.path.count("/") == 1)
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# "), "a sentence on what it is"
    if local:
        with pytest.raises(RowError, match="is not there: (hf download|git clone|unpack)"):
            next((questions_of if name in QUESTIONS else pairs_of if card.source else prompts_of)(card))


def at(name, folder, **changes):
    """Return a card whose files lie in a folder of the test."""
    return card_of(name, FOLDER).model_copy(update={"path": str(folder), "root": str(folder)} | changes)


def test_questions_of_a_conversation_about_a_film_are_read_as_released(tmp_path):
    (tmp_path / "academic_source").mkdir()
    (tmp_path / "academic_source/a.mp4").write_bytes(b"x")
    turns = [("human", "<image>\nWho opens the door?"), ("gpt", "A man."), ("human", "Why?"), ("gpt", "To leave.")]
    row = {"id": "7", "conversations": [{"from": who, "value": said} for who, said in turns], "data_source": "x"}
    rows = json.dumps([row | {"video": "academic_source/a.mp4"}])
    (tmp_path / "0_30_s_academic_oe_v0_1_qa_processed.json").write_text(rows)
    (tmp_path / "0_30_s_academic_mc_v0_1_qa_processed.json").write_text("[]")
    (found,) = prompts_of(at("llava-video", tmp_path))
    assert (found.id, found.modality, found.parts[1].text) == ("7", "video", "Who opens the door?")
    assert found.parts[0].path == str(tmp_path / "academic_source/a.mp4")


def test_questions_about_sounds_are_read_from_the_released_table(tmp_path):
    (tmp_path / "audio_files").mkdir()
    with wave.open(str(tmp_path / "audio_files/rain on a roof.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(b"\0\0" * 1600)
    table = tmp_path / "clotho_aqa_train.csv"
    table.write_text("file_name,QuestionText,answer,confidence\nrain on a roof.wav,Is it raining?,yes,yes\n")
    (found,) = prompts_of(at("clotho-aqa", tmp_path, path=str(table), root=str(tmp_path / "audio_files")))
    assert found.modality == "audio" and found.parts[1].text == "Is it raining?"
    assert found.parts[0].path.endswith("rain on a roof.wav")


def test_questions_of_films_sounds_and_pictures_are_read_as_omni_rrm_lists_them(tmp_path):
    for name in ("videos/a.mp4", "images/s.jpg", "audios/s.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    options = ["A. One.", "B. Two."]
    film = {"video_path": "/videos/a.mp4", "question": "How many?", "options": options, "answer": "B"}
    (tmp_path / "data.jsonl").write_text(json.dumps(film) + "\n")
    path = {"image": "images/s.jpg", "audio": "audios/s.wav"}
    heard = {"problem_id": 0, "problem": "What?", "options": options, "solution": "<answer>B</answer>", "path": path}
    (tmp_path / "data.json").write_text(json.dumps([heard]))
    (seen,) = questions_of(at("video-mme", tmp_path / "data.jsonl", root=str(tmp_path)))
    (both,) = questions_of(at("avqa", tmp_path / "data.json", root=str(tmp_path)))
    assert (seen.modality, both.modality) == ("video", "audio+image")
    for asked in (seen, both):
        kind = kind_of("letter", asked.gold, asked.choices)
        assert [is_right(stated(said, kind, asked.choices), asked.gold, kind, asked.choices) for said in "AB"] == [0, 1]


def test_a_row_that_lacks_a_column_of_its_card_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"question": "q"}\n')
    told = {"path": str(tmp_path / "rows.jsonl"), "columns": {"asked": "prompt"}}
    with pytest.raises(RowError, match="rows.jsonl:1: columns: there is no asked to take as prompt"):
        list(prompts_of(card_of(told, tmp_path)))


# ---- teachers


class Named:
    """A judge that says its own name."""

    def __init__(self, name):
        self.name = name

    def judge(self, pairs, orders):
        known = dict(task="t", cluster="c", order=orders, model=self.name, kind="rubric", status="empty", raw="")
        return [Judgement(pair_id=pair.id, **known) for pair in pairs]


def test_a_teacher_may_be_one_model_a_modality():
    sides = {"response_a": [text_part("a")], "response_b": [text_part("b")]}
    shown = {"0": "audio", "1": "image", "2": "audio", "3": "video"}
    pairs = [Pair(id=i, task="t", prompt=[Part(type=kind, path="x")], **sides) for i, kind in shown.items()]
    rows = ByModality({"any": Named("eye"), "audio": Named("ear")}).judge(pairs, orders="AB")
    assert {row.pair_id: row.model for row in rows} == {"0": "ear", "1": "eye", "2": "ear", "3": "eye"}


# ---- the plan


@pytest.mark.parametrize("profile", PAPERS)
def test_the_plan_of_a_paper_is_whole(profile):
    said = plan(load_params(profile), Assumptions())
    for words in (
        "optimizer steps",
        "GiB a GPU",
        "M tokens read",
        "in all: ",
        " for 8 GPUs",
        " for servers",
        "GB of disk",
    ):
        assert words in said, words
    assert all(float(size) < 80 for size in said.split("GiB a GPU")[1].splitlines()[0].split())
    assert "to get: " in said


@pytest.mark.parametrize(
    ("profile", "sft", "grpo", "within"), [("omni-rrm-7b", 5, 18, 0.05), ("omni-rrm-3b", 3, 12, 0.3)]
)
def test_published_settings_take_about_the_published_hours(profile, sft, grpo, within):
    said = plan(load_params(profile), Assumptions())
    for name, published in (("sft", sft), ("grpo", grpo)):
        ours = float(said.split(f"\n{name}: ")[1].split(" h")[0])
        assert ours == pytest.approx(published, rel=within), name


def test_searches_are_planned_of_the_model_that_makes_them():
    done = {work.what: work for work in works(load_params("grm-omni"), Assumptions())}
    taught, tuned = (done[f"{name}: criteria and verdicts"] for name in ("sft", "dpo"))
    assert taught.model.endswith("Qwen3-32B-AWQ") and taught.rows == 172 * 128 * 13, "SFT learns from the model named"
    assert tuned.model == "" and tuned.rows == 156 * 128 * 13, "what is tuned searches for itself"
    alone = load_params("grm-omni", overrides={"meta_reward_dpo.sft_steps": 0, "meta_reward_dpo.genrm": "a/b-8B"})
    assert {work.model for work in works(alone, Assumptions()) if "criteria" in work.what} == {"a/b-8B"}


def test_the_plan_counts_what_the_profile_asks_for():
    params, given = load_params("omni-rrm-7b"), Assumptions()
    asked = rows_of(cards_in(params, "data.prompts"))
    assert asked == {"image": 21_000, "video": 15_500, "audio": 15_000}
    sft, rl = rows_for_training(params, given)
    assert sft == pytest.approx(24_300, rel=0.01) and rl == pytest.approx(16_671, rel=0.01), "as published"
    done = works(params, given)
    calls = sum(work.rows for work in done if work.notebook == "02")
    assert calls == pytest.approx(102_000, rel=0.02), "the published number of a teacher's calls"
    heard = [work for work in done if work.notebook == "02" and "audio" in work.what]
    assert all("audio" in work.model or "gemini" in work.model for work in heard)
    paid = next(work for work in done if "gpt-4o-mini" in work.model and "image" in work.what)
    assert paid.paid(params) == pytest.approx(21_000 * (2000 * 0.15 + 500 * 0.6) / 1e6)
    both = works(load_params("omni-rrm-7b", overrides={"reconciliation.order": "both"}), given)
    assert sum(work.paid(params) for work in both) == pytest.approx(2 * sum(work.paid(params) for work in done))
    released = load_params("omni-rrm-7b-released")
    assert sum(rows_for_training(released, given)) == pytest.approx(0.99 * (24_300 + 16_671))
    assert not any(work.notebook in ("01", "02") for work in works(released, given))


def test_the_plan_names_what_it_cannot_count(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("")
    params = load_params("omni-7b", overrides={"data.prompts": [{"path": str(path), "get": "ask me"}]})
    assert uncounted(params) == ["mine"] and not to_get(params)
    path.unlink()
    assert to_get(params) == ["mine: ask me"]
    with pytest.raises(ParameterError, match="nobody/knows: neither the plan's table of families nor the name tells"):
        billions("nobody/knows", params)
    assert (billions("some/Other-VL-1.5B-it", params), billions("", params)) == (1.5, 8.9)


def test_an_estimate_counts_what_a_profile_runs_and_names_no_time_that_nobody_knows(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    for profile, number in (("grm-omni", 4), ("omni-rrm-7b", 8)):
        assert len(load_params(profile).notebooks) == number
        told = study_estimate(profile, [0])
        assert told.startswith(f"{profile}, seeds 0: {number} notebooks and 0 of arms to run; no time is known"), told
    assert "seeds 0: 11 notebooks" in study_estimate("tiny", [0]) and "about 0" not in study_estimate("tiny", [0])
