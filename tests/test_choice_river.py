"""Best-of-N and benchmarks on data from elsewhere: questions about pictures, films and sounds with gold letters, a
generator and a judge as servers on loopback, and nothing upstream."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
from real_parts import execute, question, serving, teacher, write_media
from test_real_river import start_and_kill
from tiny_parts import save_untrained

from omnirepro.data import Judgement, Pair, Part, Prompt, RowError, read_jsonl, text_part, write_jsonl
from omnirepro.kit.run import RunError
from omnirepro.models.processing import keep_settings
from omnirepro.search import Candidates

KINDS = ["image", "video", "audio"] * 2
CHOICES = ["dog", "cat", "cow"]


def write_questions(folder):
    names = write_media(folder / "media", KINDS)
    rows = [
        {
            "id": f"q{i}",
            "prompt": f"What is number {i}?",
            "choices": CHOICES,
            "gold": "ABC"[i % 3],
            kind: f"media/{name}",
        }
        for i, (kind, name) in enumerate(zip(KINDS, names, strict=True))
    ]
    rows.append({"id": "q6", "prompt": "How many?", "gold": 7})
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "asked.jsonl")


def answers(body):
    """Answer a question in one of three ways by its seed: right, wrong, or saying nothing; right ones say good."""
    text = question(body)[0]
    draw = int(hashlib.sha256(json.dumps([text, body["seed"]]).encode()).hexdigest(), 16) % 3
    if "How many?" in text:
        return ["A good count: 7.", "The answer is 8.", "Who knows?"][draw]
    gold = int(text.split("number ")[1][0]) % 3
    return [f"It is good, so {'ABC'[gold]}.", f"The answer is ({'ABC'[gold - 1]}).", "A dog or a cat?"][draw]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_questions_with_gold_letters_through_a_generator_and_a_judge_on_servers(tmp_path, results):
    with serving(answers) as writer, serving(teacher()) as judge:
        asked = {"best_of_n.data": [write_questions(tmp_path)], "best_of_n.candidates": 5, "best_of_n.round_robin": 2,
                 "best_of_n.generator": f"{writer.url}#writer", "best_of_n.judges": [f"{judge.url}#judge"],
                 "best_of_n.temperature": 0.7}  # fmt: skip
        asked = {"profile": "smoke", "run": "own", "overrides": asked}
        start_and_kill("08_best_of_n", asked, results, writer, 12)
        execute("08_best_of_n", **asked)
        assert writer.paid.total() <= 7 * 5 + 1 + 8, "what was under way at the kill is all that is asked again"
        assert {"image_url", "video_url", "input_audio"} <= set(writer.kinds) & set(judge.kinds)
        paid = writer.paid.total(), judge.paid.total()
        execute("08_best_of_n", **asked)
        assert (writer.paid.total(), judge.paid.total()) == paid, "a finished stage is skipped"
    stage = results / "own/08_best_of_n"
    table = pd.read_csv(stage / "candidates.csv")
    rows = read_jsonl(stage / "candidates.jsonl", Candidates, check_media=True)
    assert len(rows) == 7 and len(table) == 35 and set(table["task"]) == {"image", "video", "audio", "text"}
    assert (table["right"] == table["text"].str.contains("good")).all()
    assert (table["answer"].isna() == table["text"].isin(["A dog or a cat?", "Who knows?"])).all()
    found = metrics_of(stage)
    per_prompt = table.groupby("prompt_id")["right"]
    assert found["pass_at_5"]["value"] == pytest.approx(per_prompt.max().mean()) == found["accuracy_oracle"]["value"]
    assert found["pass_at_1"]["value"] == pytest.approx(table["right"].mean()) == found["accuracy_random"]["value"]
    assert found["accuracy_first"]["value"] == pytest.approx(table.loc[table["place"] == 0, "right"].mean())
    assert found["unreadable_answers"]["value"] == pytest.approx(table["answer"].isna().mean())
    assert (
        found["accuracy_judge_knock_out"]["value"]
        == found["accuracy_oracle"]["value"]
        > found["accuracy_random"]["value"]
    )
    assert found["judge_minus_random"]["value"] > 0 and found["valid_share_judge"]["value"] == 1
    assert "check_valid_judgements_of_judge" in found and not [name for name in found if "score" in name.split("_")[0]]
    assert {row.model for row in read_jsonl(stage / "predictions.jsonl", Judgement)} == {"judge"}
    assert (stage / "figures/ways.png").is_file()


@pytest.mark.parametrize("gold", [["B"], None])
def test_prompts_of_the_run_keep_their_gold_answers_and_need_none(tmp_path, results, gold):
    data = results / "own/01_synthesis/data"
    prompts = [Prompt(id=f"p{i}", task="t", parts=[text_part(f"number {i}?")], gold=gold) for i in range(6)]
    write_jsonl(data / "prompts_test.jsonl", prompts)
    manifest = {"seed": 0, "params": {}, "inputs": {}, "outputs": {}}
    (data.parent / "manifest.json").write_text(json.dumps(manifest))
    with serving(answers) as writer, serving(teacher()) as judge:
        over = {"best_of_n.prompts": 5, "best_of_n.generator": f"{writer.url}#writer",
                "best_of_n.judges": [f"{judge.url}#judge"]}  # fmt: skip
        execute("08_best_of_n", profile="smoke", run="own", overrides=over)
    found = metrics_of(results / "own/08_best_of_n")
    assert len(read_jsonl(results / "own/08_best_of_n/candidates.jsonl", Candidates)) == 5
    assert ("accuracy_oracle" in found) == bool(gold) and found["valid_share_judge"]["value"] == 1
    assert found["calls_judge_knock_out"]["value"] > 0


def test_answers_that_are_there_need_no_generator_and_a_judge_that_cannot_be_read_ends_nothing(tmp_path, results):
    asked = write_questions(tmp_path)
    ready = tmp_path / "ready.jsonl"
    released = [{"id": f"q{i}", "qwen_all_runs": ["A", "B", "B", "C"][: 2 + i % 3]} for i in range(7)]
    ready.write_text("".join(json.dumps(row) + "\n" for row in released))
    judge = save_untrained(tmp_path / "mute")
    keep_settings(judge, wording="brief")
    over = {
        "best_of_n.data": [asked],
        "judge.max_new_tokens": 4,
        "best_of_n.candidates": str(ready),
        "best_of_n.judges": [str(judge)],
    }
    execute("08_best_of_n", profile="smoke", run="ready", overrides=over)
    stage = results / "ready/08_best_of_n"
    found = metrics_of(stage)
    assert found["valid_share_mute"]["value"] == 0 and not found["check_valid_judgements_of_mute"]["passed"]
    assert found["accuracy_mute_knock_out"]["value"] == found["accuracy_first"]["value"], "the first one stays"
    rows = read_jsonl(stage / "candidates.jsonl", Candidates)
    assert sorted({len(row.candidates) for row in rows}) == [2, 3, 4] and rows[0].prompt[0].type == "image"
    own = [{"id": "a", "prompt": "1 + 1?", "gold": "2", "candidates": ["2", "3"]}]
    ready.write_text("".join(json.dumps(row) + "\n" for row in own))
    del over["best_of_n.data"]
    execute("08_best_of_n", profile="smoke", run="alone", overrides=over)
    assert metrics_of(results / "alone/08_best_of_n")["accuracy_oracle"]["value"] == 1


def test_two_judges_whose_folders_end_alike_choose_each_for_itself(tmp_path, results):
    judges = [save_untrained(tmp_path / folder / "sft", seed=seed) for seed, folder in enumerate(("one", "two"))]
    for judge in judges:
        keep_settings(judge, wording="brief")
    ready = tmp_path / "ready.jsonl"
    rows = [{"id": f"q{i}", "prompt": "1 + 1?", "gold": "2", "candidates": ["2", "3"]} for i in range(5)]
    ready.write_text("".join(json.dumps(row) + "\n" for row in rows))
    over = {"best_of_n.candidates": str(ready), "best_of_n.judges": [str(judge) for judge in judges],
            "judge.max_new_tokens": 4}  # fmt: skip
    execute("08_best_of_n", profile="smoke", run="own", overrides=over)
    made = results / "own/08_best_of_n"
    said = {row.model: row.raw for row in read_jsonl(made / "predictions.jsonl", Judgement)}
    assert set(said) == {"one-sft", "two-sft"} and said["one-sft"] != said["two-sft"]
    assert len(read_jsonl(made / "candidates.jsonl", Candidates)) == 5, "`prompts` limits what notebook 01 made"
    assert {"accuracy_one_sft_knock_out", "accuracy_two_sft_knock_out"} <= set(metrics_of(made))


def test_questions_that_training_saw_are_refused_or_left_out_with_their_answers(tmp_path, results, capsys):
    asked = write_questions(tmp_path)
    copy = tmp_path / "another.png"
    copy.write_bytes(
        (tmp_path / "media" / json.loads(Path(asked).read_text().splitlines()[0])["image"][6:]).read_bytes()
    )
    data = results / "own/01_synthesis/data"
    picture = Part(type="image", path=str(copy))
    trained = [Prompt(id="seen", task="t", parts=[picture, text_part("Another question?")])]
    write_jsonl(data / "prompts_train.jsonl", trained)
    given = {"response_a": [text_part("7")], "response_b": [text_part("8")], "label": "A"}
    write_jsonl(data / "given_train.jsonl", [Pair(id="p", task="t", prompt=[text_part("how  MANY?")], **given)])
    manifest = {"seed": 0, "params": {}, "inputs": {}, "outputs": {}}
    (data.parent / "manifest.json").write_text(json.dumps(manifest))
    ready = tmp_path / "ready.jsonl"
    ready.write_text("".join(json.dumps({"id": f"q{i}", "candidates": ["A", "B"]}) + "\n" for i in range(7)))
    judge = save_untrained(tmp_path / "mute")
    keep_settings(judge, wording="brief")
    over = {"best_of_n.data": [asked], "best_of_n.candidates": str(ready), "best_of_n.judges": [str(judge)],
            "judge.max_new_tokens": 4}  # fmt: skip
    with pytest.raises(RowError, match="2 of 7 questions, such as asked:q0, shares content with the training split"):
        execute("08_best_of_n", profile="smoke", run="own", overrides=over)
    execute("08_best_of_n", profile="smoke", run="own", overrides=over | {"data.bad_rows": "drop"})
    made = results / "own/08_best_of_n"
    kept = [row.id for row in read_jsonl(made / "candidates.jsonl", Candidates)]
    assert kept == [f"asked:q{i}" for i in range(1, 6)]
    assert pd.read_csv(made / "dropped.csv")["id"].tolist() == ["asked:q0", "asked:q6"]
    rows = [json.loads(line) for line in Path(asked).read_text().splitlines()]
    known = [rows[0] | {"id": "again"}, rows[0] | {"image": "media/gone.png"}]
    (tmp_path / "known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in known))
    over |= {"best_of_n.data": [str(tmp_path / "known.jsonl")], "data.bad_rows": "drop"}
    with pytest.raises(RowError, match="no question is left, see dropped.csv"):
        execute("08_best_of_n", profile="smoke", run="own", overrides=over)
    reasons = pd.read_csv(made / "dropped.csv").set_index("id")["reason"]
    assert "gone.png" in reasons["known:q0"] and "training" in reasons["known:again"]
    assert capsys.readouterr().out.count("left out 1 (") == 1, "each reason is counted"


def test_benchmarks_take_a_set_as_a_mapping_and_what_a_server_needs(tmp_path, results, monkeypatch):
    (name,) = write_media(tmp_path / "shots", ["image"])
    rows = [
        {"nr": i, "photo": name, "frage": f"q{i}", "one": "a good one", "two": "none", "best": "AB"[i % 2]}
        for i in range(6)
    ]
    (tmp_path / "rows").mkdir()
    for split in ("train", "test"):
        (tmp_path / f"rows/{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {
        "nr": "id",
        "photo": "image",
        "frage": "prompt",
        "one": "response_a",
        "two": "response_b",
        "best": "label",
    }
    entry = {
        "path": str(tmp_path / "rows"),
        "root": str(tmp_path / "shots"),
        "split": "test",
        "limit": 4,
        "name": "mine",
        "source": "pairs",
        "columns": columns,
    }
    monkeypatch.setenv("MY_KEY", "secret")

    def accuracy():
        found = metrics_of(results / "fresh/09_benchmarks")
        (one,) = [entry for name, entry in found.items() if name in ("judge_mine", "judge_pairs")]
        return one["value"], one["n"]

    with serving(teacher()) as judge:
        over = {"benchmarks.data": [entry], "benchmarks.judges": [f"{judge.url}#judge"],
                "endpoints.servers": {judge.url: {"key": "MY_KEY", "seed": False}}}  # fmt: skip
        execute("09_benchmarks", profile="smoke", run="fresh", overrides=over)
        assert judge.paid.total() == 8 + 1 and set(judge.kinds) == {"image_url"}
        assert accuracy() == (0.5, 4)
        rows[1]["best"] = "A"
        (tmp_path / "rows/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        execute("09_benchmarks", profile="smoke", run="fresh", overrides=over)
        assert accuracy() == (0.75, 4), "other rows in the file mean other work"


@pytest.mark.parametrize(
    ("row", "more", "said"),
    [({"id": "gone", "candidates": ["A"]}, {}, "row gone answers no question of best_of_n.data"),
     ({"id": "q1"}, {}, "are no question with a gold answer"), ({"id": "q1", "candidates": []}, {}, "an empty list"),
     ({"id": "q1", "candidates": ["A"]}, {"best_of_n.match": "letters"}, "use one of auto, letter"),
     ({"id": "q6", "candidates": ["A"]}, {"best_of_n.match": "letter"}, "the gold answer '7' is no letter")],
)  # fmt: skip
def test_wrong_answers_files_and_matches_are_named(tmp_path, results, row, more, said):
    (tmp_path / "ready.jsonl").write_text(json.dumps(row) + "\n")
    over = {"best_of_n.data": [write_questions(tmp_path)], "best_of_n.candidates": str(tmp_path / "ready.jsonl")}
    with pytest.raises(RowError, match=said):
        execute("08_best_of_n", profile="smoke", run="x", overrides=over | {"best_of_n.judges": ["none"]} | more)


def test_without_judges_of_its_own_the_run_s_are_asked_for(tmp_path, results):
    over = {"best_of_n.data": [write_questions(tmp_path)], "best_of_n.generator": "http://127.0.0.1:9/v1"}
    with pytest.raises(RunError, match="is missing in run x"):
        execute("08_best_of_n", profile="smoke", run="x", overrides=over)
