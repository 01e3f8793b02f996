"""Preferences from public files to a tested scorer: splits by prompt, what is left out, and a command that resumes."""

import json

import pytest
from real_parts import serving
from tiny_parts import processor, save_untrained, text_part

from omnirepro.cli import preferences
from omnirepro.cli.main import main
from omnirepro.cli.preferences import apart, divide, draw, prepare, read_sets, short
from omnirepro.data import Judgement, RowError, read_jsonl
from omnirepro.judge.scalar import load_scalar_judge
from omnirepro.kit.run import open_run

GOOD, BAD = "it is a red ring", "it is a blue cube and more"


def row(number: int, better: int, prompt: str) -> dict:
    """One row in PandaLM's format whose better response is GOOD, on either side; 0 is a tie."""
    sides = (GOOD, BAD) if better == 1 else (BAD, GOOD)
    votes = {f"annotator{i}": better for i in (1, 2, 3)}
    return {"idx": number, "instruction": prompt, "input": "", "response1": sides[0], "response2": sides[1]} | votes


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A PandaLM file of 40 prompts with two pairs each (some ties), and an LLMBar file, one prompt in common."""
    folder = tmp_path_factory.mktemp("public")
    rows = [row(i, (0 if i % 10 == 9 else 1 + i % 2), f"what is in picture {i // 2}?") for i in range(80)]
    (folder / "testset-v1.json").write_text(json.dumps(rows))
    other = [f"what is in picture {i}?" for i in (3, *range(90, 97))]
    bar = [{"input": p, "output_1": GOOD, "output_2": BAD, "label": 1} for p in other]
    (folder / "Natural").mkdir()
    (folder / "Natural" / "dataset.json").write_text(json.dumps(bar))
    save_untrained(folder / "made" / "model")
    return folder


def test_sets_hold_decided_pairs_with_sides_by_coin(files):
    sets = read_sets([str(files / "testset-v1.json"), str(files / "Natural")], 0)
    assert {name: len(pairs) for name, pairs in sets.items()} == {"pandalm": 72, "llmbar-natural": 8}
    assert {p.label for p in sets["llmbar-natural"]} == {"A", "B"}, "the file lists the better one first throughout"
    assert all((p.response_a[0].text == GOOD) == (p.label == "A") for pairs in sets.values() for p in pairs)


def test_no_prompt_stands_on_both_sides(files):
    sets = read_sets([str(files / "testset-v1.json")], 0)
    train, held = divide(sets, 0.3)
    tests = read_sets([str(files / "Natural")], 0)
    assert not {p.cluster for p in train} & {p.cluster for p in held["pandalm-held-out"]}
    assert len(train) + len(held["pandalm-held-out"]) == 72 and 0.5 * 72 < len(train) < 0.9 * 72
    asked = {p.prompt[0].text for p in apart(train, tests)}
    assert "what is in picture 3?" not in asked
    assert len(apart(train, {})) == len(train)


def test_whole_prompts_are_drawn_and_long_pairs_left_out(files):
    pairs = read_sets([str(files / "testset-v1.json")], 0)["pandalm"]
    some = draw(pairs, 7)
    assert 7 <= len(some) <= 8 and draw(pairs[::-1], 7) == some and len(draw(pairs, 0)) == 72
    assert all(p in some for p in pairs if p.cluster in {q.cluster for q in some})
    long = pairs[0].model_copy(update={"response_b": [text_part("ring " * 200)]})
    assert short([long, *pairs[1:3]], processor(), 100) == pairs[1:3]


def test_nothing_to_train_on_is_an_error(files):
    run = open_run(preferences.STAGE, "smoke", "none", overrides={"bradley_terry.max_length": 3})
    with pytest.raises(RowError, match="max_length"):
        prepare(run, str(files / "made" / "model"), [str(files / "testset-v1.json")], [], 0.3, 0)


def test_the_command_trains_tests_and_is_skipped_when_nothing_changed(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    words = ["train-scalar", str(files / "testset-v1.json"), "--test", str(files / "Natural"), "--profile", "smoke"]
    words += [
        "--model",
        str(files / "made" / "model"),
        "--set",
        "bradley_terry.steps=30",
        "--set",
        "bradley_terry.lr=0.01",
    ]
    assert main(words) == 0
    said, folder = capsys.readouterr().out, tmp_path / "smoke" / preferences.STAGE
    rows = read_jsonl(folder / "predictions.jsonl", Judgement)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {r.model for r in rows} == {"scorer/pandalm-held-out", "scorer/llmbar-natural"}
    assert metrics["llmbar-natural_scorer"]["value"] == 1 and metrics["llmbar-natural_longer_wins"]["value"] == 0
    assert metrics["pandalm-held-out_scorer_minus_longer_wins"]["value"] > 0.9 and "llmbar-natural_scorer:" in said
    judge = load_scalar_judge(folder)
    pairs = {p.id: p for ps in read_sets([str(files / "Natural")], 0).values() for p in ps}
    again = judge.judge([pairs[r.pair_id] for r in rows if r.pair_id in pairs and r.order == "AB"], orders="AB")
    assert [r.verdict for r in again] == [r.verdict for r in rows if r.pair_id in pairs and r.order == "AB"]
    monkeypatch.setattr(preferences, "train_bradley_terry", None)  # a second training would fail
    assert main(words) == 0
    with pytest.raises(TypeError):
        main([*words, "--held-out", "0.5"])


def test_generative_judges_stand_beside_loaded_or_served(files, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    words = ["train-scalar", str(files / "testset-v1.json"), "--model", str(files / "made" / "model"), "--limit", "4"]
    words += ["--profile", "smoke", "--set", "bradley_terry.steps=1", "--beside", str(files / "made" / "model")]
    with serving(lambda body: "[[A]]") as server:
        assert main([*words, f"{server.url}#ever-a"]) == 0
        assert server.paid and max(server.paid.values()) == 1
    assert (tmp_path / "smoke/.answers.sqlite").is_file()
    folder = tmp_path / "smoke" / preferences.STAGE
    metrics = json.loads((folder / "metrics.json").read_text())
    gain = metrics["pandalm-held-out_scorer_minus_model"]
    assert metrics["pandalm-held-out_ever-a"]["value"] == 0.5 and metrics["ever-a_valid_share"]["value"] == 1
    assert metrics["pandalm-held-out_model"]["value"] == 0 == metrics["model_valid_share"]["value"]
    assert gain["value"] == metrics["pandalm-held-out_scorer"]["value"] and gain["n"] >= 4


def test_a_metric_that_bounds_nothing_says_so():
    from omnirepro.evaluate.statistics import clustered_bootstrap

    one = preferences.told("x_scorer", clustered_bootstrap([-1.0], ["a"]))
    assert (
        one == "x_scorer: -100.0 % [n/a, n/a] (n = 1); of one prompt, or of prompts that all agree: this bounds nothing"
    )
    assert "bounds nothing" in preferences.told("x", clustered_bootstrap([1.0, 1.0], ["a", "b"]))
    many = preferences.told("x", clustered_bootstrap([0.0, 1.0] * 20, range(40)))
    assert many.endswith("(n = 40)") and "bounds" not in many
