"""Public formats to pairs: small files in the released shape, read without loss, and what is wrong with a bad one."""

import gzip
import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnirepro.data import Pair, RowError, read_jsonl, text_of, write_jsonl
from omnirepro.data.sources import SOURCES, detect, load, missing_media

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
CHAT = [{"role": "user", "content": "q one"}]
SAID = {"role": "assistant", "content": "good"}
RMB = {
    "conversation_input": [{"content": "q one", "language": "English", "role": "user"}],
    "category_path": "Pairwise_set/Helpfulness/Chat/Discussion",
}
BEST, WORSE = {"llm_name": "big", "answer": "good", "score": 5.0}, {"llm_name": "small", "answer": "bad", "score": 1.0}
QUOTED = "### Context\nImage file: /data/x/one.png\nQuestion: What is\nit?\nCandidate A: a cup\nCandidate B: a hat"
GOLD = {"score_A": 9, "score_B": 4, "better": "A", "reasoning": "because", "final_verdict": "<answer>[[A]]</answer>"}
CRITIC = "<image>\n<image>\nJudge. Say Image 1 is better than Image 2.\nText Caption: [a red [big] cup]"
ASKED = "<image>\nYou are provided with a {} and a question. Review both.\nQuestion: [what [is] it?]\n"
BRACKETS = ASKED + "{} 1: [good]\n{} 2: [bad]"
R1 = "Compare.\n\n###### **Input:**  \n###### [Question]:\nq one  \n\n###### [Response 1]:\ngood\n\n- two  \n\n"
R1 += "###### [Response 2]:\nbad  \n\n###### **Output Format (strictly follow):**  \n<answer>1/2</answer>"
BENCH = {"answer_a": "good", "answer_b": "bad"}
ALIGN = {"prompt": "q one", "response_1": "good", "response_2": "bad"}
ARENA = {"left_model": "big", "right_model": "small", "prompt": "q one"}
FLAT = {
    "id": "m/1", "source": "codec_mushra", "subset": "TSP", "task": "audio_quality", "prompt": "q one",
    "media": [{"role": "reference", "type": "audio", "path": "audio/ref.wav"}],
    "response_a": {"type": "audio", "path": "audio/a.wav"}, "response_b": {"type": "audio", "path": "audio/b.wav"},
    "label": "B", "label_source": "human", "meta": {"mean_diff": -51.4, "cond_a": "x", "cond_b": "y"},
}  # fmt: skip
PPE = {
    "question_id": "m7", "problem": "sum", "level": "Level 1", "type": "Algebra", "model_name": "big",
    "prompt": "q one", "scores": [True, False, True], "parsed_outputs": ["1", "2", "1"], "mean_score": 0.7,
    "response_1": "good", "response_2": "bad", "response_3": "fine", "sampled_conflict_pairs": [[0, 1], [1, 2]],
}  # fmt: skip
# source -> (a row as released, the labels of its pairs, their tasks, what need not be found again)
ROWS = {
    "hh-rlhf": (
        {"chosen": "\n\nHuman: q\n\nAssistant: r\n\nHuman: s\n\nAssistant: good",
         "rejected": "\n\nHuman: q\n\nAssistant: r\n\nHuman: s\n\nAssistant: bad"}, ["A"], ["T2T"]),
    "skywork-preference": (
        {"chosen": [*CHAT, {"role": "assistant", "content": "good"}],
         "rejected": [*CHAT, {"role": "assistant", "content": "bad"}], "source": "magpie"}, ["A"], ["T2T"]),
    "rlaif-v": (
        {"ds_name": "rlaif", "image": {"bytes": b"PNG", "path": None}, "question": "q one", "chosen": "good",
         "rejected": "bad", "origin_dataset": "coco", "origin_split": "{}", "idx": "7", "image_path": "x/7.jpg"},
        ["A"], ["TI2T"]),
    "rewardbench": (
        {"prompt": "q one", "chosen": "good", "rejected": "bad", "subset": "math-prm", "id": 12,
         "chosen_model": "big", "rejected_model": "small"}, ["A"], ["math-prm"]),
    "ppe": (PPE, ["A", "B"], ["Algebra"] * 2),
    "rmb-pairwise": ({"pair_uid": "15", **RMB, "chosen": BEST, "reject": WORSE}, ["A"], ["Helpfulness/Chat"]),
    "rmb-best-of-n": (
        {"bon_uid": "9", **RMB, "bon_best": BEST, "loser_list": [WORSE, WORSE | {"answer": "worse"}]},
        ["A", "A"], ["Helpfulness/Chat"] * 2),
    "llmbar": ({"input": "q one", "output_1": "good", "output_2": "bad", "label": 2}, ["B"], ["Adversarial/GPTOut"]),
    "judgebench": (
        {"pair_id": "81ec", "original_id": "1", "source": "mmlu-pro-law", "question": "q one", "response_model": "big",
         "response_A": "good", "response_B": "bad", "label": "B>A"}, ["B"], ["knowledge"]),
    "pandalm": (
        {"idx": 3, "motivation_app": "app", "cmp_key": "big_small", "instruction": "q one", "input": "more",
         "response1": "good", "response2": True, "annotator1": 0, "annotator2": 2, "annotator3": 0}, ["tie"], ["T2T"]),
    "vl-rewardbench": (
        {"id": "hallucination_pair-1", "query": "q one", "response": ["good", "bad"],
         "image": {"bytes": b"PNG", "path": "1.png"}, "human_ranking": [1, 0], "models": ["big", "small"],
         "judge": "human", "rationale": "seen", "query_source": "povid", "ground_truth": None}, ["B"],
        ["hallucination"]),
    "multimodal-rewardbench": (
        {"ID": "pairs_1", "Category": "safety", "Text": "q one", "Image": "images/one.png", "Output1": "good",
         "Output2": "bad", "Better": "Output2"}, ["B"], ["safety/bias"]),
    "mmrb2": (
        {"id": "emu-edit_7_-9_big_1_small_2", "prompt_content": [["text", "first"], ["image", "input_images/q.jpg"],
         ["text", "then"]], "prompt_source": "emu-edit", "prompt_metadata": {"id": 7, "split": "test"},
         "response_a": {"model_name": "big", "response_content": [["text", "step one"], ["image", "images/a_0.jpg"]]},
         "response_b": {"model_name": "small", "response_content": [["image", "images/b_0.jpg"]]}, "chosen": "B",
         "human_annotations": [1, 2, 1]}, ["B"], ["mmrb2"]),
    "mmrb2-hub": (
        {"pair_id": "emu-edit_7", "prompt_text": "first <image_1> then",
         "prompt_images": [{"bytes": b"PNGq", "path": None}], "prompt_source": "emu-edit",
         "prompt_metadata": "{}", "response_a_model": "big", "response_a_text": "step one",
         "response_a_images": [{"bytes": b"PNGa", "path": None}], "response_b_model": "small", "response_b_text": None,
         "response_b_images": [{"bytes": b"PNGb", "path": None}], "chosen": "a", "human_annotations": "[6, 5, 6]"},
        ["A"], ["mmrb2"]),
    "editreward-bench": (
        {"id": "9f_AvsC", "dataset": "3pair", "instruction": "add a hat",
         "source_image": {"bytes": b"PNGs", "path": None},
         "candidate_1": {"bytes": b"PNGa", "path": None}, "candidate_2": {"bytes": b"PNGc", "path": None},
         "ranking": "C>A", "comparison_type": "AvsC", "model_1": "big", "model_2": "small", "score_1": 2.5,
         "score_2": 6.0}, ["B"], ["TI2I/3pair"]),
    "speechjudge": (
        {"index": 12, "subset": "expressive", "language_setting": "zh2en", "chosen": True, "prompt_text": "said before",
         "target_text": "to be said", "prompt": {"bytes": b"RIFFp", "path": None},
         "audioA": {"bytes": b"RIFFa", "path": None},
         "audioB": {"bytes": b"RIFFb", "path": None}, "rater": ["r1", "r2"], "audioA_text_accuracy": [1, 1],
         "audioB_text_accuracy": [0, 1], "naturalness_annotation": ["A+2", "A+1"], "naturalness_label": "A"},
        ["A"], ["T2A/expressive"]),
    "genai-bench-image": (
        ARENA | {"left_image": {"bytes": b"PNGa", "path": "l"}, "right_image": {"bytes": b"PNGb", "path": "r"},
                 "vote_type": "bothbad_vote"}, ["tie"], ["T2I"]),
    "genai-bench-edition": (
        {"left_model": "big", "right_model": "small", "source_prompt": "cup", "target_prompt": "hat",
         "instruct_prompt": "swap it", "source_image": {"bytes": b"PNGs", "path": None},
         "left_output_image": {"bytes": b"PNGa", "path": None}, "right_output_image": {"bytes": b"PNGb", "path": None},
         "vote_type": "rightvote"}, ["B"], ["TI2I"]),
    "genai-bench-video": (
        ARENA | {"left_video": "https://h/l.mp4", "right_video": "https://h/r.mp4", "vote_type": "leftvote"},
        ["A"], ["T2V"]),
    "rapidata-t2v": (
        {"prompt": "q one", "file_name1": "1.mp4", "file_name2": "2.mp4", "source": "pika"}
        | {f"weighted_results{i}_{c}": v for c, *w in (("Preference", 0.9, 0.1), ("Coherence", 0.5, 0.5),
                                                       ("Alignment", 0.2, 0.8)) for i, v in enumerate(w, 1)},
        ["A", "tie", "B"], ["T2V"] * 3),
    "videodpo": ({"video1": 4, "video2": 7, "frame_caption": "q one"}, ["A"], ["T2V"]),
    "align-anything-ta2t": (
        ALIGN | {"overall_response": 2, "audio_path": {"array": [0.0, 0.5], "sampling_rate": 16000}, "critique": "c"},
        ["B"], ["TA2T"]),
    "align-anything-t2a": (
        {"prompt": "q one", "response_1": {"bytes": b"RIFFa", "path": None},
         "response_2": {"bytes": b"RIFFb", "path": None}, "overall_audio": 3}, [None], ["T2A"]),
    "omni-preference": (
        {"images": ["/data/x/one.png"], "messages": [{"role": "user", "content": QUOTED}],
         "solution": json.dumps(GOLD)}, ["A"], ["TI2T"]),
    "sharegpt-video": (
        {"id": "video10_2", "video": "v/10.mp4", "query": "q one", **BENCH, "score_diff": 2.0, "label": 0},
        ["A"], ["TV2T"]),
    "audio-hh-rlhf": ({"audio_prompt": "a/1.wav", **BENCH, "label": 1}, ["B"], ["TA2T"]),
    "hh-rlhf-pairs": ({"text_prompt": "q one", **BENCH, "label": 1}, ["B"], ["T2T"]),
    "unifiedreward": (
        {"id": 5, "images": ["a.png", "b.png"], "conversations": [
            {"from": "human", "value": CRITIC}, {"from": "gpt", "value": "Seen. Image 2 is better than Image 1."}]},
        ["B"], ["T2I"]),
    "llava-critic": (
        {"id": "vlfeedback_1", "source": "vlfeedback", "image": {"bytes": b"PNG", "path": "winner.png"},
         "conversations": [
             {"from": "human", "value": ASKED.format("image")
              + "The first response: [good]\nThe second response: [bad]\nASSISTANT:\n"},
             {"from": "gpt", "value": "The first names more. The better response: [2]"}]}, ["B"], ["TI2T"]),
    "sharegptvideo-dpo": (
        {"id": 7, "images": ["videos/x/0.jpg", "videos/x/1.jpg"], "conversations": [
            {"from": "human", "value": BRACKETS.format("video", "Response", "Response")},
            {"from": "gpt", "value": "Response 2 is better at times. So Response 1 is better than Response 2."}]},
        ["A"], ["TV2T"]),
    "unifiedreward-rl": (
        {"problem": CRITIC, "solution": "Video 2 is better", "images": ["a0.png", "a1.png", "b0.png", "b1.png"]},
        ["B"], ["T2V"]),
    "r1-reward-rl": (
        {"message": json.dumps([{"role": "user", "content": [{"type": "text", "text": R1},
                                                             {"type": "image", "image": "/mnt/x/one.jpg"}]}]),
         "question": "q one", "answer": ["<answer>2</answer>"]}, ["B"], ["TI2T"]),
    "omni-reward-data": (
        {"conversations": [{"from": "system", "value": "be kind"}, {"from": "human", "value": "q one"}],
         "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}, "images": []},
        ["A"], ["T2T"]),
    "rewardbench-2": (
        {"id": "7", "prompt": "q one", "chosen": ["good"], "rejected": ["bad", "worse"], "num_correct": 1,
         "num_incorrect": 2, "total_completions": 3, "models": ["big", "small", "tiny"], "subset": "Math"},
        ["A", "A"], ["Math"] * 2),
    "rm-bench": (
        {"id": "c1", "prompt": "q one", "chosen": ["good", "good two", "good three"],
         "rejected": ["bad", "bad two", "bad three"], "domain": "code"}, ["A"] * 9,
        [f"code/{level}" for level in "normal hard hard easy normal hard easy easy normal".split()]),
    "omni-preference-sft": (
        {"images": ["/data/x/one.png"], "messages": [
            {"role": "user", "content": QUOTED}, {"role": "assistant", "content": f"```json\n{json.dumps(GOLD)}```"}]},
        ["A"], ["TI2T"]),
    "trl-preference": (
        {"prompt": [{"role": "developer", "content": "be brief"}, *CHAT], "chosen": [SAID | {"content": "good"}],
         "rejected": [SAID | {"content": "bad"}]}, ["A"], ["T2T"]),
    "trl-implicit": ({"chosen": [*CHAT, SAID], "rejected": [*CHAT, SAID | {"content": "bad"}]}, ["A"], ["T2T"]),
    "trl-unpaired": ({"prompt": "q one", "completion": "good", "label": True, "by": "me"}, ["A"], ["T2T"]),
    "ultrafeedback-binarized": (
        {"prompt": "q one", "prompt_id": "ab12", "chosen": [*CHAT, SAID],
         "rejected": [*CHAT, SAID | {"content": "bad"}], "messages": [*CHAT, SAID],
         "score_chosen": 8.5, "score_rejected": 3.0}, ["A"], ["T2T"]),
    "sharegpt-ranking": (
        {"conversations": [{"from": "system", "value": "be brief"}, {"from": "human", "value": "q one"},
                           {"from": "function_call", "value": "seek(3)"}, {"from": "observation", "value": "a cup"}],
         "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"},
         "videos": ["v/1.mp4"], "tools": "seek: a second of the film"}, ["A"], ["TV2T"]),
    "openai-ranking": (
        {"messages": CHAT, "chosen": SAID, "rejected": SAID | {"content": "bad"}, "audios": ["a/1.wav"]},
        ["A"], ["TA2T"]),
    "ms-swift-ranking": (
        {"messages": [*CHAT, SAID], "rejected_response": "bad", "images": ["x.png"]}, ["A"], ["TI2T"]),
    "alpaca-ranking": (
        {"instruction": "q one", "input": "more", "chosen": "good", "rejected": "bad", "system": "be brief",
         "history": [["earlier", "answered"]]}, ["A"], ["T2T"]),
    "pairs": (
        {"id": "p1", "prompt": "q one", "response_a": "good", "response_b": "bad", "label": 1, "by": "me"},
        ["B"], ["T2T"]),
    "codec_mushra": (FLAT, ["B"], ["audio_quality"]),
    "mathvision": (FLAT | {"source": "mathvision", "response_a": "good", "response_b": "bad", "label": "A",
                           "meta": {"answer": "6"}}, ["A"], ["audio_quality"]),
    "flat-pairs": (FLAT | {"source": "elsewhere", "label": "tie"}, ["tie"], ["audio_quality"]),
    "omnirepro": (
        {"id": "p", "task": "T2T", "prompt": [{"type": "text", "text": "q one"}],
         "response_a": [{"type": "text", "text": "good"}], "response_b": [{"type": "text", "text": "bad"}],
         "label": "tie", "cluster": "c", "meta": {"year": 1}}, ["tie"], ["T2T"]),
    "omni-rewardbench": (
        {"prompt": "q one", "response1": "good", "response2": "bad", "model1": "big", "model2": "small",
         "criteria": "short", "criteria_preference": "tie", "id": "r1"}, ["tie"], ["T2T"]),
}  # fmt: skip
WHOLE = (
    "mmrb2-hub", "omni-preference", "omni-preference-sft", "unifiedreward", "llava-critic", "sharegptvideo-dpo",
    "unifiedreward-rl", "r1-reward-rl",
)  # fmt: skip
CODED = {  # labels, which are translated, and what is not content
    "label", "human_ranking", "Better", "vote_type", "overall_response", "criteria_preference", "scores", "role",
    "from", "annotator1", "annotator2", "annotator3", "bytes", "array", "sampling_rate", "language", "video1", "video2",
    "ranking",
}  # fmt: skip


def write(folder, *rows, name="rows.parquet"):
    """Write rows as parquet where they hold bytes or samples, else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(list(rows), indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def file_of(tmp_path, name, *rows):
    if name == "omni-rewardbench":
        return write(tmp_path, *rows, name="text_to_text_preferences.json")
    if name == "llmbar":
        return write(tmp_path / "Adversarial" / "GPTOut", *rows, name="dataset.json")
    if name == "trl-unpaired":  # a pair is made of two rows
        rows = [
            row | extra
            for row in rows
            for extra in ({}, {"completion": "bad"} | ({"label": False} if "label" in row else {}))
        ]
    binary = "bytes" in repr(rows) or "array" in repr(rows)
    return write(tmp_path, *rows, name="rows.parquet" if binary else "rows.jsonl")


def quietly(*args, **kwargs):
    kwargs = {"say": lambda text: None} | kwargs
    with pytest.warns(UserWarning, match="missing") if kwargs.pop("lacks", False) else _nothing():
        return list(load(*args, **kwargs))


class _nothing:
    def __enter__(self): ...
    def __exit__(self, *error): ...


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_MEDIA", str(tmp_path / "store"))
    return tmp_path / "store"


def leaves(value, name=""):
    if isinstance(value, dict):
        for k, v in value.items():
            yield from leaves(v, k)
    elif isinstance(value, list):
        for v in value:
            yield from leaves(v, name)
    elif value is not None and name not in CODED:
        yield value


# ---- every format


def test_every_source_has_a_row_and_its_terms():
    assert set(ROWS) == set(SOURCES)
    for name, source in SOURCES.items():
        assert source.name == name and source.licence and source.citation and source.aggregation


@pytest.mark.filterwarnings("ignore:.*media files are missing")
@pytest.mark.parametrize("name", ROWS)
def test_a_released_row_is_recognised_and_read_without_loss(name, tmp_path):
    row, labels, tasks = ROWS[name]
    said = []
    path = file_of(tmp_path / "data", name, row)
    pairs = list(load(path, say=said.append))
    assert said == [f"{path}: read as {name}"]
    assert [p.label for p in pairs] == labels and [p.task for p in pairs] == tasks
    if name not in ("omnirepro", "flat-pairs"):  # these carry the name of what they were made from
        assert {(p.source or "").lower() for p in pairs} == {name} and all(p.cluster for p in pairs)
    assert len({p.id for p in pairs}) == len(pairs)
    held = json.dumps([json.loads(p.model_dump_json()) for p in pairs], ensure_ascii=False)
    for value in leaves(row):
        pieces = value.split("\n\n") if isinstance(value, str) else [json.dumps(value)]
        for piece in pieces:
            kept = json.dumps(piece, ensure_ascii=False)[1:-1] if isinstance(value, str) else piece
            tail = kept.split("://")[-1].removeprefix("Human: ").removeprefix("Assistant: ")
            assert tail.lstrip("/") in held or name in WHOLE, f"{name} lost {value!r}"
    write_jsonl(tmp_path / "out" / "pairs.jsonl", pairs)  # what is read can be stored,
    assert read_jsonl(tmp_path / "out" / "pairs.jsonl", Pair) == pairs  # and is the same again


@pytest.mark.filterwarnings("ignore:.*media files are missing")
@pytest.mark.parametrize("name", ROWS)
def test_sides_can_be_exchanged_and_back(name, tmp_path):
    for pair in load(file_of(tmp_path / "data", name, ROWS[name][0]), say=lambda text: None):
        other = pair.swap()
        assert other.swap() == pair and (other.label == pair.label) == (pair.label in ("tie", None))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_lacks_a_field_is_an_error_with_place_and_remedy(name, tmp_path):
    row, *_ = ROWS[name]
    if name in ("codec_mushra", "mathvision", "flat-pairs"):
        pytest.skip("one shape: the first stands for all")
    lacking = {k: v for k, v in row.items() if k != [*SOURCES[name].fields][-1]}
    path = file_of(tmp_path / "data", name, lacking)
    with pytest.raises(RowError, match="rows|preferences|dataset") as caught:
        quietly(path, source=name)
    assert str(caught.value).startswith(f"{path}:1: ") and name in str(caught.value)


# ---- what is particular


def test_a_dialogue_parts_where_the_answers_do(tmp_path):
    (pair,) = quietly(file_of(tmp_path, "hh-rlhf", ROWS["hh-rlhf"][0]))
    said = [(p.role, p.turn, p.text) for p in pair.prompt]
    assert said == [("user", 0, "q"), ("assistant", 0, "r"), ("user", 1, "s")]
    assert text_of(pair.response_a) == "good" and text_of(pair.response_b) == "bad"


def test_dialogues_that_are_equal_or_have_no_prompt(tmp_path):
    same = "\n\nHuman: q\n\nAssistant: good"
    (pair,) = quietly(file_of(tmp_path, "hh-rlhf", {"chosen": same, "rejected": same}))
    assert text_of(pair.response_a) == text_of(pair.response_b) == "good" and text_of(pair.prompt) == "q"
    other = {"chosen": same, "rejected": same.replace("q", "another")}
    with pytest.raises(RowError, match="no common prompt"):
        quietly(file_of(tmp_path / "other", "hh-rlhf", other))


def test_even_numbers_of_videodpo_are_the_winners(tmp_path):
    (pair,) = quietly(file_of(tmp_path, "videodpo", ROWS["videodpo"][0]), lacks=True)
    paths = [os.path.relpath(side[0].path, tmp_path) for side in (pair.response_a, pair.response_b)]
    assert paths == ["winvideos/000002.mp4", "losevideos/000003.mp4"]


def test_best_of_n_is_one_group_and_math_prm_counts_more(tmp_path):
    pairs = quietly(file_of(tmp_path, "rmb-best-of-n", ROWS["rmb-best-of-n"][0]))
    assert {p.meta["all_of"] for p in pairs} == {"9"} and len({p.cluster for p in pairs}) == 1
    assert [text_of(p.response_b) for p in pairs] == ["bad", "worse"]
    (pair,) = quietly(file_of(tmp_path / "r", "rewardbench", ROWS["rewardbench"][0]))
    assert pair.meta["section"] == "Reasoning" and pair.meta["weight"] * 447 == pytest.approx(984)


def test_conflict_pairs_are_zero_based_and_labelled_by_score(tmp_path):
    first, second = quietly(file_of(tmp_path, "ppe", PPE))
    assert (text_of(first.response_a), text_of(first.response_b), first.label) == ("good", "bad", "A")
    assert (text_of(second.response_a), text_of(second.response_b), second.label) == ("bad", "fine", "B")
    with pytest.raises(RowError, match=r"sampled_conflict_pairs: \[0, 2\] is no pair of unequal scores"):
        quietly(file_of(tmp_path / "bad", "ppe", PPE | {"sampled_conflict_pairs": [[0, 2]]}))


def test_a_judging_prompt_gives_back_question_and_candidates_but_no_path(tmp_path):
    (pair,) = quietly(file_of(tmp_path, "omni-preference", ROWS["omni-preference"][0]), lacks=True)
    assert pair.prompt[1].text == "What is\nit?" and pair.margin == 5
    assert text_of(pair.response_a) == "a cup" and text_of(pair.response_b) == "a hat"
    said = pair.meta["as_released"]
    assert said["shown"] == QUOTED.split("What is")[0] and said["reasoning"] == "because"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "one.png").write_bytes(b"PNG")
    (pair,) = quietly(tmp_path / "rows.jsonl")
    assert pair.prompt[0].path == str(tmp_path / "x" / "one.png"), "the released path begins with /data"


def test_audio_names_that_differ_by_escapes_are_found(tmp_path):
    row = ROWS["omni-preference"][0] | {"audios": ["/data/a/rain_&amp;_wind.wav"]}
    (tmp_path / "audio_files").mkdir()
    (tmp_path / "audio_files" / "rain & wind.wav").write_bytes(b"RIFF")
    (pair,) = quietly(file_of(tmp_path, "omni-preference", {k: v for k, v in row.items() if k != "images"}))
    assert pair.prompt[0].path == str(tmp_path / "audio_files" / "rain & wind.wav")


def test_frames_are_halved_between_two_films(tmp_path):
    row = ROWS["unifiedreward"][0] | {"images": [f"{i}.png" for i in range(6)]}
    row["conversations"] = [row["conversations"][0], {"from": "gpt", "value": "Both videos are equally good."}]
    (pair,) = quietly(file_of(tmp_path, "unifiedreward", row), lacks=True)
    assert pair.task == "T2V" and pair.label == "tie" and pair.prompt[0].text == "a red [big] cup"
    assert pair.meta["as_released"] == [CRITIC.split("a red")[0], "Both videos are equally good."]
    assert [Path(p.path).name for p in pair.response_b] == ["3.png", "4.png", "5.png"]
    row["conversations"][1]["value"] = "Image 1 is better than Image 2. No: image 2 is better."
    with pytest.raises(RowError, match="not one verdict"):
        quietly(file_of(tmp_path / "bad", "unifiedreward", row))


def test_brackets_in_a_caption_are_no_judging_prompt(tmp_path):
    row = json.loads(json.dumps(ROWS["unifiedreward"][0]))
    row["conversations"][0]["value"] = row["conversations"][0]["value"].replace("a red", "Question: [exit] a red")
    (pair,) = quietly(file_of(tmp_path, "unifiedreward", row), lacks=True)
    assert pair.source == "unifiedreward" and "Question: [exit]" in pair.prompt[0].text


def test_a_judging_prompt_in_brackets_gives_back_the_pair_and_the_rest(tmp_path):
    for name in ("llava-critic", "sharegptvideo-dpo"):
        row = ROWS[name][0]
        (pair,) = quietly(file_of(tmp_path / name, name, row), lacks=name != "llava-critic")
        assert (text_of(pair.prompt), text_of(pair.response_a), text_of(pair.response_b)) == (
            "what [is] it?", "good", "bad")  # fmt: skip
        before, after, said = pair.meta["as_released"]
        asked = row["conversations"][0]["value"]
        assert asked.startswith(before) and asked.endswith(after) and said == row["conversations"][1]["value"]
    assert pair.meta["ambiguous"] and [p.type for p in pair.prompt] == ["image", "image", "text"]
    row["conversations"][1]["value"] = "92"
    with pytest.raises(RowError, match="no verdict such as .* use the pairwise file"):
        quietly(file_of(tmp_path / "pointwise", name, row))


def test_rows_for_reinforcement_hold_generated_media_or_two_answers(tmp_path):
    row = ROWS["unifiedreward-rl"][0]
    (pair,) = quietly(file_of(tmp_path, "unifiedreward-rl", row), lacks=True)
    assert pair.prompt[0].text == "a red [big] cup" and [Path(p.path).name for p in pair.response_b] == [
        "b0.png", "b1.png"]  # fmt: skip
    row = {
        "problem": BRACKETS.format("image", "Answer", "Answer"),
        "solution": "Answer 1 is better",
        "images": ["x.png"],
    }
    (pair,) = quietly(file_of(tmp_path / "b", "unifiedreward-rl", row), lacks=True)
    assert pair.task == "TI2T" and pair.label == "A" and text_of(pair.response_b) == "bad"


def test_a_chat_in_json_text_gives_back_both_responses(tmp_path):
    row = ROWS["r1-reward-rl"][0]
    (tmp_path / "one.jpg").write_bytes(b"JPG")
    (pair,) = quietly(file_of(tmp_path, "r1-reward-rl", row))
    assert text_of(pair.response_a) == "good\n\n- two" and text_of(pair.response_b) == "bad"
    assert pair.prompt[0].path == str(tmp_path / "one.jpg") and text_of(pair.prompt) == "q one"
    before, after, said = pair.meta["as_released"]
    assert R1.startswith(before) and R1.endswith(after) and "Output Format" in after and "2" in said
    with pytest.raises(RowError, match="not a JSON chat"):
        quietly(file_of(tmp_path / "bad", "r1-reward-rl", row | {"message": "hello"}))


def test_the_hub_form_of_the_nine_tasks_is_read_with_its_embedded_media(tmp_path, monkeypatch):
    import datasets

    made = {f"response{i}": {"bytes": b"PNG" + str(i).encode(), "path": f"{i}.png"} for i in (1, 2)}
    row = ROWS["omni-rewardbench"][0] | made
    (pair,) = quietly(write(tmp_path / "text_to_3D", row, name="test-00000.parquet"))
    assert pair.task == "T23D" and [p.type for p in pair.response_a] == ["views3d"] and pair.criterion == "short"
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *a, **k: datasets.Dataset.from_list([row]).to_iterable_dataset()
    )
    (pair,) = quietly("omni-rewardbench", config="text_to_image")
    assert pair.task == "T2I" and Path(pair.response_b[0].path).read_bytes() == b"PNG2"
    with pytest.raises(RowError, match="give config=text_to_image"):
        quietly("omni-rewardbench")


def test_generated_pictures_of_training_data_are_the_responses(tmp_path):
    said = {"from": "gpt", "value": "a red cup"}
    row = ROWS["omni-reward-data"][0] | {"chosen": said, "rejected": said, "images": ["a.png", "b.png"]}
    (pair,) = quietly(file_of(tmp_path, "omni-reward-data", row), lacks=True)
    assert pair.task == "T2I" and pair.criterion == "be kind" and pair.prompt[0].text == "a red cup"
    assert [Path(side[0].path).name for side in (pair.response_a, pair.response_b)] == ["a.png", "b.png"]


def test_a_question_that_is_not_released_is_no_empty_prompt(tmp_path):
    row = ROWS["multimodal-rewardbench"][0] | {"Text": None}
    with pytest.raises(RowError, match=r":1: field Text: null as released; run .*0_download_data"):
        quietly(write(tmp_path, row, name="all_data.json"))


def test_a_signed_difference_follows_a_swap(tmp_path):
    (pair,) = quietly(file_of(tmp_path, "codec_mushra", FLAT), lacks=True)
    assert pair.margin == pytest.approx(5.14) and pair.meta["mean_diff_a"] == -51.4
    assert pair.swap().meta["mean_diff_a"] == 51.4 and pair.swap().label == "A"


# ---- files, folders, media, hub


def test_lists_lines_gzip_and_parquet_read_alike(tmp_path):
    rows = [ROWS["judgebench"][0] | {"pair_id": str(i), "question": f"é {i}" * 9} for i in range(40)]
    want = quietly(write(tmp_path / "a", *rows, name="rows.jsonl"))
    assert len(want) == 40
    for name in ("rows.json", "rows.parquet"):
        assert quietly(write(tmp_path / name, *rows, name=name)) == want
    with gzip.open(tmp_path / "rows.json.gz", "wt", encoding="utf-8") as file:
        json.dump(rows, file)
    assert quietly(tmp_path / "rows.json.gz") == want


def test_a_list_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("omnirepro.data.sources.rows._CHUNK", 7)
    rows = [ROWS["judgebench"][0] | {"pair_id": str(i)} for i in range(5)]
    path = write(tmp_path, *rows, name="rows.json")
    assert [p.id for p in quietly(path)] == list("01234")
    path.write_text(path.read_text()[:-30])
    with pytest.raises(RowError, match=rf"{path}:5: the list breaks off"):
        quietly(path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.jsonl", b'{"a": 1}\n{"b"\n', r":1: the fields a are of no known format; nearest is"),
        ("rows.jsonl", b'{"b"\n', r":1: not one JSON object"),
        ("rows.jsonl", b"3\n", r":1: not an object but int"),
        ("rows.json", b"[3]", r":1: not an object but int"),
        ("rows.json", b'[{"a": "\xff"}]', r"not UTF-8"),
        ("rows.parquet", b"nothing", r"not a parquet file"),
        ("rows.json.gz", b"nothing", r"cannot be read"),
    ],
)
def test_a_malformed_file_is_an_error(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RowError, match=said):
        quietly(tmp_path / name)


def test_wrong_values_name_row_field_and_remedy(tmp_path):
    row = ROWS["llmbar"][0]
    path = file_of(tmp_path, "llmbar", row, row | {"label": 3})
    with pytest.raises(RowError, match=rf"{path}:2: field label: 3 is unknown; use one of 1, 2"):
        quietly(path)
    with pytest.raises(RowError, match=r"field input: str expected, not int"):
        quietly(file_of(tmp_path / "x", "llmbar", row, row | {"input": 3}))
    for wrong in (tmp_path / "none.json", "no/such/path/at/all"):
        with pytest.raises(RowError, match="no such file or folder"):
            quietly(wrong)
    with pytest.raises(RowError, match="no such source; use one of"):
        quietly(path, source="llmbars")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RowError, match="a folder without"):
        quietly(tmp_path / "empty")


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(RowError, match=r"nearest is judgebench, for which the row lacks label"):
        detect({k: v for k, v in ROWS["judgebench"][0].items() if k != "label"})


def test_a_folder_is_read_whole_and_repeated_ids_are_numbered(tmp_path):
    row = ROWS["judgebench"][0]
    write(tmp_path, row, row, name="b.jsonl")
    write(tmp_path / "sub", row | {"label": "A>B"}, name="a.jsonl")
    pairs = quietly(tmp_path)
    assert [p.id for p in pairs] == ["81ec", "81ec#2", "81ec#3"] and pairs[2].meta["released_id"] == "81ec"
    assert Counter(p.label for p in pairs) == {"B": 2, "A": 1}


def test_missing_media_are_kept_counted_and_named(tmp_path):
    rows = [ROWS["sharegpt-video"][0] | {"id": f"video{i}_0", "video": f"v/{i // 2}.mp4"} for i in range(4)]
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "0.mp4").write_bytes(b"film")
    path = file_of(tmp_path, "sharegpt-video", *rows)
    with pytest.warns(UserWarning, match=r"1 media files are missing \(2 uses\), such as .*1\.mp4"):
        pairs = list(load(path, say=lambda text: None))
    assert len(pairs) == 4 and missing_media(pairs) == {str(tmp_path / "v" / "1.mp4"): 2}
    assert len({p.cluster for p in pairs}) == 4 and pairs[0].cluster == "video0"


def test_embedded_media_are_stored_once_by_content(tmp_path, store):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(buffer, "PNG")
    row = ROWS["vl-rewardbench"][0] | {"image": {"bytes": buffer.getvalue(), "path": "better.png"}}
    pairs = quietly(write(tmp_path, row, row))
    paths = {p.prompt[0].path for p in pairs}
    assert len(paths) == 1 and (path := Path(paths.pop())).suffix == ".png" and store in path.parents
    assert Image.open(path).size == (5, 4) and "better" not in str(path), "a released name may tell the winner"


def test_samples_become_a_sound_file(tmp_path):
    import soundfile

    (pair,) = quietly(file_of(tmp_path, "align-anything-ta2t", ROWS["align-anything-ta2t"][0]))
    samples, rate = soundfile.read(pair.prompt[0].path)
    assert rate == 16000 and samples.tolist() == [0.0, 0.5]


def test_sides_follow_the_seed(tmp_path):
    turns = "\n\nHuman: q\n\nAssistant: {}"
    rows = [{"chosen": turns.format(f"good {i}"), "rejected": turns.format(f"bad {i}")} for i in range(200)]
    path = file_of(tmp_path, "hh-rlhf", *rows)
    assert {p.label for p in quietly(path)} == {"A"}
    first, again, other = (quietly(path, sides=s) for s in (1, 1, 2))
    assert first == again != other and 60 < sum(p.label == "A" for p in first) < 140
    assert all(("good" in text_of(p.response_a)) == (p.label == "A") for p in first)


def test_a_hub_id_is_streamed_and_its_format_guessed(monkeypatch):
    import datasets

    asked = []

    def hub(name, config, split, streaming):
        asked.append((name, config, split, streaming))
        return datasets.Dataset.from_list([ROWS["judgebench"][0]]).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", hub)
    assert [p.task for p in quietly("judgebench")] == ["knowledge"]
    assert [p.task for p in quietly("ScalerLab/JudgeBench", split="claude")] == ["knowledge"]
    assert asked == [("ScalerLab/JudgeBench", None, s, True) for s in ("gpt", "claude")]


# ---- the real files


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the small real data sets")
@pytest.mark.parametrize(
    ("folder", "count", "labels", "clusters"),
    [
        ("hh_rlhf", 2312, {"A": 2312}, 2310),
        ("llmbar", 419, {"A": 206, "B": 213}, 418),
        ("pandalm", 999, {"A": 422, "B": 472, "tie": 105}, 170),
        ("codec_mushra", 448, {"A": 212, "B": 172, "tie": 64}, 16),
        ("mathvision_pairs", 531, {"A": 261, "B": 270}, 213),
    ],
)
def test_real_files_are_read_whole(folder, count, labels, clusters):
    pairs = quietly(REAL / folder)
    assert (len(pairs), Counter(p.label for p in pairs)) == (count, labels)
    assert len({p.id for p in pairs}) == count and len({p.cluster for p in pairs}) == clusters
    assert not missing_media(pairs)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the small real data sets")
def test_real_transcripts_come_back_to_the_letter():
    path = REAL / "hh_rlhf" / "harmless-base-test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = {"user": "Human", "assistant": "Assistant"}
    for row, pair in zip(rows, quietly(path), strict=True):
        for side, response in (("chosen", pair.response_a), ("rejected", pair.response_b)):
            before, after = ([p for p in parts if p.text != "\n"] for parts in (pair.prompt, response))
            turns = [(names[p.role], p.text) for p in (*before, *after)]  # a line's end parts two messages of one turn
            turns[len(before)] = ("Assistant", after[0].text)
            assert "".join(f"\n\n{who}: {said}" for who, said in turns) == row[side]


def test_the_store_is_where_it_was_asked_for(tmp_path):
    row = ROWS["rlaif-v"][0]
    (pair,) = quietly(file_of(tmp_path, "rlaif-v", row), media=tmp_path / "mine")
    assert os.path.commonpath([pair.prompt[0].path, tmp_path / "mine"]) == str(tmp_path / "mine")


# ---- benchmarks of 2026


def built(tmp_path, **tasks):
    """Files as the build script of Multimodal RewardBench 2 leaves them, one of responses alone beside them."""
    tmp_path.mkdir()
    row = ROWS["mmrb2"][0]
    for task, ids in tasks.items():
        pairs = [row | {"id": name, "chosen": "AB"[i % 2]} for i, name in enumerate(ids)]
        (tmp_path / f"{task}.json").write_text(json.dumps({"pairs": pairs}, indent=2))
        bare = [{k: v for k, v in pair.items() if k != "prompt_content"} for pair in pairs]
        (tmp_path / f"{task}_response_only.json").write_text(json.dumps({"pairs": bare}))
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*media files are missing")
def test_mmrb2_is_read_as_it_is_built(tmp_path):
    folder = built(tmp_path / "editor", edit=["e1", "e2"], t2i=["t1"])
    said = []
    pairs = list(load(folder, say=said.append))
    assert [(p.id, p.task, p.label) for p in pairs] == [("e1", "edit", "A"), ("e2", "edit", "B"), ("t1", "t2i", "A")]
    assert any("passed over 2 files" in line for line in said), "files of responses alone hold no pairs"
    one = pairs[0]
    assert [p.type for p in one.prompt] == ["text", "image", "text"] and [p.type for p in one.response_a] == [
        "text",
        "image",
    ]
    assert one.prompt[1].path == str(folder / "input_images/q.jpg") and one.response_b[0].path.endswith(
        "images/b_0.jpg"
    )
    assert one.meta["model_a"] == "big" and one.meta["marks_a"] == [1, 2, 1] and one.swap().meta["marks_a"] == [6, 5, 6]
    with pytest.raises(RowError, match=r"edit_response_only.json:1: .*run its build_from_hf.py"):
        quietly(folder / "edit_response_only.json", source="mmrb2")


def test_mmrb2_of_the_hub_has_pictures_where_its_texts_have_marks(tmp_path):
    row = ROWS["mmrb2-hub"][0]
    folder = write(tmp_path / "reasoning", row, name="test-0.parquet").parent
    (pair,) = quietly(folder.parent)
    assert pair.task == "reasoning" and [p.text for p in pair.prompt] == ["first", None, "then"]
    assert [p.type for p in pair.response_a] == ["text", "image"] and [p.type for p in pair.response_b] == ["image"]
    assert pair.meta["marks_b"] == [1, 2, 1] and pair.meta["model_b"] == "small"
    for name, text in (("short", "only <image_1> and <image_2>"), ("long", "nothing marked")):
        images = row["prompt_images"] * (2 if name == "long" else 1)
        (pair,) = quietly(write(tmp_path / name, row | {"prompt_text": text, "prompt_images": images}))
        kept = "".join(p.text or "#" for p in pair.prompt)
        assert kept == {"short": "only#and <image_2>", "long": "nothing marked##"}[name]


@pytest.mark.parametrize(
    ("kind", "ranking", "label"),
    [
        ("AvsB", "A>B", "A"),
        ("AvsB", "A<B", "B"),
        ("BvsD", "D>B", "B"),
        ("AvsB", "A=B=Good", "tie"),
        ("BvsD", "A>B", None),
    ],
)
def test_an_edit_is_ranked_in_the_letters_of_its_comparison(kind, ranking, label, tmp_path):
    row = ROWS["editreward-bench"][0] | {"comparison_type": kind, "ranking": ranking}
    path = write(tmp_path, row)
    if label is None:
        with pytest.raises(RowError, match="does not rank 'BvsD'"):
            quietly(path)
        return
    (pair,) = quietly(path)
    assert pair.label == label and pair.meta["all_of"] == "3pair/9f" and pair.meta["score_b"] == 6.0


def test_speech_is_compared_by_naturalness_and_the_spoken_prompt_is_not_shown(tmp_path):
    rows = [ROWS["speechjudge"][0] | {"index": i, "naturalness_label": label} for i, label in enumerate(("B", "Tie"))]
    pairs = quietly(write(tmp_path, *rows))
    assert [p.label for p in pairs] == ["B", "tie"] and "atural" in pairs[0].criterion
    assert [p.type for p in pairs[0].prompt] == ["text"] and pairs[0].shape == "T2A"
    assert pairs[0].meta["text_accuracy_b"] == [0, 1] and len({p.cluster for p in pairs}) == 1


def test_spoken_dialogues_as_their_authors_write_them_are_read(tmp_path):
    """ESDR-Bench: two dialogues of text and sound that part at an answer; its groups are not published openly."""
    from scipy.io import wavfile

    for name in ("q", "good", "bad"):
        wavfile.write(tmp_path / f"{name}.wav", 16000, np.zeros(160, np.int16))
    turn = lambda role, name: {"role": role, "content": [{"type": "text", "text": name},  # noqa: E731
                                                         {"type": "audio", "audio": f"{name}.wav"}]}  # fmt: skip
    row = {
        side: [turn("user", "q"), turn("assistant", name)] for side, name in (("chosen", "good"), ("rejected", "bad"))
    }
    (pair,) = quietly(write(tmp_path, row, name="rows.jsonl"))
    assert pair.label == "A" and [p.type for p in pair.prompt] == ["text", "audio"]
    assert pair.response_b[-1].path == str(tmp_path / "bad.wav") and pair.shape == "TA2A"
