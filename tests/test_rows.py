"""Rows as they are in the field: where files lie, shapes of files, trainers' forms, labels, ids, and any JSON row."""

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnirepro.cli.main import main
from omnirepro.cli.preferences import read_sets
from omnirepro.data import MediaError, Pair, RowError, read_jsonl, text_of, write_jsonl
from omnirepro.data.paths import locate
from omnirepro.data.sources import SOURCES, load
from omnirepro.evaluate.official import official

Q = {"role": "user", "content": "why?"}
ROW = {"prompt": "why?", "chosen": "since", "rejected": "no"}
TEXT = [{"type": "text", "text": "x"}]
OWN = {"id": "1", "task": "t", "prompt": TEXT, "response_a": TEXT, "response_b": TEXT}


def answer(text):
    return {"role": "assistant", "content": text}


def written(folder, *rows, name="rows.jsonl"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, **more):
    return list(load(path, say=lambda text: None, **more))


def said(parts):
    return [(p.role, p.turn, p.text or p.path.rsplit("/", 1)[-1]) for p in parts]


def one(folder, row, **more):
    (pair,) = read(written(folder, row), **more)
    return pair


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_MEDIA", str(tmp_path / "store"))


# ---- where files lie


@pytest.mark.parametrize(
    "path",
    [
        "pics/my cat.png", "pics\\my cat.png", "./pics//my cat.png", "pics/my%20cat.png", "C:\\set\\pics\\my cat.png",
        "file:///gone/pics/my%20cat.png", "/gone/pics/my cat.png", "https://h.example/pics/my%20cat.png?size=2",
    ],
)  # fmt: skip
def test_one_file_has_many_names(tmp_path, path):
    file = tmp_path / "pics" / "my cat.png"
    file.parent.mkdir()
    file.write_bytes(b"PNG")
    row = OWN | {"prompt": [{"type": "image", "path": path}]}
    assert locate(path, tmp_path) == str(file)
    assert read_jsonl(written(tmp_path, row), Pair, check_media=True)[0].prompt[0].path == str(file)
    assert one(tmp_path, row, check_media=True).prompt[0].path == str(file)
    assert locate(f"file://{file}".replace(" ", "%20"), tmp_path / "elsewhere") == str(file)


def test_what_is_written_comes_before_other_readings(tmp_path):
    for name in ("a%20b.png", "a b.png", "caf\u00e9.png"):
        (tmp_path / name).write_bytes(name.encode())
    assert locate("a%20b.png", tmp_path) == str(tmp_path / "a%20b.png")
    assert locate("cafe\u0301.png", tmp_path) == str(tmp_path / "caf\u00e9.png")
    assert locate("none/x.png", tmp_path) == str(tmp_path / "none" / "x.png")


def test_what_is_no_file_is_told_in_one_short_line(tmp_path):
    long = "data:image/png;base64," + "A" * 20_000
    with pytest.raises(MediaError, match="save it as a file"):
        locate(long, tmp_path)
    bytes_as_text = (long[22:], "20,000 characters, no path; save the medium as a file")
    for path, why in (
        *((long, "a data URI; save it as a file"), bytes_as_text),
        ("https://h.example/x.png", "save it as a file"),
    ):
        file = written(tmp_path, OWN | {"prompt": [{"type": "image", "path": path}]})
        for reader in (lambda f: read(f, check_media=True), lambda f: read_jsonl(f, Pair, check_media=True)):
            with pytest.raises(RowError, match=why) as caught:
                reader(file)
            assert f"{file}:1" in str(caught.value) and len(str(caught.value)) < 300
    with pytest.warns(UserWarning, match="such as https://h.example/x.png"):
        pairs = read(file)
    assert read_jsonl(write_jsonl(tmp_path / "again.jsonl", pairs), Pair) == pairs


def test_media_beside_the_folder_of_rows_are_found_from_above(tmp_path):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "1.png").write_bytes(b"PNG")
    file = written(tmp_path, OWN | {"prompt": [{"type": "image", "path": "/data/pics/1.png"}]}, name="sub/rows.jsonl")
    for found in (read(tmp_path), read(file, root=tmp_path)):
        assert found[0].prompt[0].path == str(tmp_path / "pics" / "1.png")


# ---- shapes of files


def test_tables_and_packed_files_read_alike(tmp_path):
    rows = [ROW | {"prompt": f"why {i},\n{i}?"} for i in range(40)]
    want = [text_of(p.prompt) for p in read(written(tmp_path, *rows))]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";")
    frame.to_csv(tmp_path / "c.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "d.csv.gz", index=False)
    frame.to_feather(tmp_path / "i.feather")
    lines = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "e.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n"))
    (tmp_path / "f.json").write_text("\n".join(json.dumps(row, indent=1) for row in rows))
    import pyarrow

    for name, codec in (("g.jsonl.zst", "zstd"), ("h.json.bz2", "bz2")):
        with pyarrow.CompressedOutputStream(str(tmp_path / name), codec) as file:
            file.write(lines)
    for path in sorted(tmp_path.iterdir()):
        assert [text_of(p.prompt) for p in read(path)] == want, path.name
    (tmp_path / "g.jsonl.zst").write_bytes((tmp_path / "g.jsonl.zst").read_bytes()[:-20])
    with pytest.raises(RowError, match=r"g.jsonl.zst: cannot be read"):
        read(tmp_path / "g.jsonl.zst")


def test_what_datasets_saved_is_read_and_a_split_chosen(tmp_path):
    from datasets import Dataset, DatasetDict

    parts = {name: Dataset.from_list([ROW | {"prompt": f"{name} {i}"} for i in range(3)]) for name in ("train", "test")}
    DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert len(read(tmp_path / "saved")) == 6
    assert [text_of(p.prompt) for p in read(tmp_path / "saved", split="test")] == ["test 0", "test 1", "test 2"]
    assert len(read(tmp_path / "saved", split="train", limit=2)) == 2
    with pytest.raises(RowError, match="no file is named after dev"):
        read(tmp_path / "saved", split="dev")


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ({"version": 2, "pairs": [ROW, ROW]}, [None, None]),
        ({"easy": [ROW], "hard": {"long": [ROW]}}, ["easy", "hard/long"]),
        ({"x": ROW, "y": ROW}, [None, None]),
        ({name: [value] * 2 for name, value in ROW.items()}, [None, None]),
        (ROW, [None]),
    ],
)
def test_an_object_gives_the_rows_it_holds(tmp_path, value, groups):
    for indent in (None, 1):
        (tmp_path / "set.json").write_text(json.dumps(value, indent=indent))
        pairs = read(tmp_path / "set.json")
        assert [(p.meta or {}).get("group") for p in pairs] == groups and text_of(pairs[-1].response_a) == "since"
    assert [p.id for p in pairs] == (["x", "y"] if "x" in value else [str(i + 1) for i in range(len(groups))])


def test_files_beside_rows_are_passed_over_with_a_word(tmp_path):
    written(tmp_path, ROW, name="data/rows.jsonl")
    (tmp_path / "package.json").write_text(json.dumps({"name": "x", "contributors": [{"name": "y"}]}, indent=1))
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "dataset_info.json").write_text("{}")
    sft = written(tmp_path, {"messages": [Q, answer("since")]}, name="sft.jsonl")
    told = []
    assert len(list(load(tmp_path, say=told.append))) == 1
    assert told[-1].startswith("passed over 2 files") and "package.json" in told[-1] and "sft.jsonl" in told[-1]
    with pytest.raises(RowError, match=rf"{sft}:1: the fields messages are of no known format"):
        read(sft)


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.jsonl", json.dumps(ROW).encode("utf-16"), "UTF-16"),
        ("a.jsonl", json.dumps(ROW).encode("utf-16-le"), "UTF-16"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        ("a.json", b"<!DOCTYPE html><html></html>", "a web page"),
        ("a.json", b"PK\x03\x04", "unpack it"),
        ("a.jsonl.xz", b"\xfd7zXZ\x00", "packed by xz; unpack it"),
        ("rows.pkl", b"\x80\x04\x95", "a pickle, which is not opened here"),
        ("a.csv", b"prompt,chosen,rejected\na,b\n", r":2: 2 cells under 3 columns"),
        ("a.csv", b"prompt,prompt,rejected\na,b,c\n", "two columns of one name"),
        ("a.arrow", b"nothing at all", "not a arrow file"),
        ("a.jsonl", json.dumps(OWN | {"meta": {"a": "\ud800"}}).encode(), r":1: not one JSON object .*surrogates"),
    ],
)
def test_a_file_of_something_else_says_what_it_is(tmp_path, name, data, why):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RowError, match=why):
        read(tmp_path / name)


def test_own_rows_with_a_byte_order_mark_or_halved(tmp_path):
    line = json.dumps(OWN).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n")
    assert len(read_jsonl(tmp_path / "a.jsonl", Pair)) == 1
    (tmp_path / "b.jsonl").write_bytes(json.dumps(OWN).encode("utf-16"))
    with pytest.raises(RowError, match=r"b.jsonl:1: UTF-16"):
        read_jsonl(tmp_path / "b.jsonl", Pair)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(line * 50)[:-9])
    with pytest.raises(RowError, match=r"c.jsonl.gz.*(cannot be read|not one JSON)"):
        read_jsonl(tmp_path / "c.jsonl.gz", Pair)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    import datasets

    def refuse(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub\nwith many lines")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(RowError, match="^owner/name: no such file, and the hub does not give it") as caught:
        read("owner/name")
    assert "\n" not in str(caught.value)


# ---- the forms that trainers read


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"prompt": [Q], "chosen": [answer("since")], "rejected": [answer("no")]},
        {"chosen": [Q, answer("since")], "rejected": [Q, answer("no")]},
        {"prompt": "why?", "chosen": [Q, answer("since")], "rejected": [Q, answer("no")]},
        {"chosen": "why? since", "rejected": "why? no"},
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "why?"}]}],
            "chosen": "since",
            "rejected": "no",
        },
        {"instruction": "why?", "chosen": "since", "rejected": "no"},
        {"messages": [Q, answer("since")], "rejected_response": "no"},
        {"prompt": "why?", "response_a": "since", "response_b": "no", "label": "A"},
    ],
)
def test_one_preference_in_every_form(tmp_path, row):
    pair = one(tmp_path, row)
    assert said(pair.prompt) == [("user", 0, "why?")] and pair.label == "A"
    assert said(pair.response_a) == [("user", 0, "since")] and said(pair.response_b) == [("user", 0, "no")]


def test_turns_keep_their_speakers_and_media_their_places(tmp_path):
    row = {
        "system": "be brief",
        "conversations": [
            {"from": "human", "value": "see <image> and <image>"},
            {"from": "function_call", "value": "look(2)"},
            {"from": "observation", "value": "a cup"},
            {"from": "gpt", "value": "a cup"},
            {"from": "human", "value": "hear <audio> and say <image tag"},
        ],
        "chosen": {"from": "gpt", "value": "since"},
        "rejected": {"from": "gpt", "value": "no"},
        "images": ["1.png", "2.png"],
        "audios": ["3.wav"],
        "tools": [{"name": "look"}],
    }
    with pytest.warns(UserWarning, match="3 media files are missing"):
        pair = one(tmp_path, row)
    assert said(pair.prompt) == [
        ("system", 0, 'be brief\n[tools] [{"name": "look"}]'),
        ("user", 0, "see "), ("user", 0, "1.png"), ("user", 0, " and "), ("user", 0, "2.png"),
        ("assistant", 0, "[tool call] look(2)"), ("user", 1, "[tool result] a cup"), ("assistant", 1, "a cup"),
        ("user", 2, "hear "), ("user", 2, "3.wav"), ("user", 2, " and say <image tag"),
    ]  # fmt: skip
    assert pair.criterion is None and pair.task == "TI2T"
    for images, why in ((["1.png"], "fewer files than the texts show"), (["1.png"] * 3, "1 files more than")):
        with pytest.raises(RowError, match=rf":1: field images: {why}"):
            one(tmp_path, row | {"images": images})
    with pytest.raises(RowError, match="a message needs role"):
        one(tmp_path, row | {"conversations": [{"from": "oracle", "value": "x"}]})


def test_a_picture_in_a_message_is_that_of_the_row_or_its_own(tmp_path):
    pieces = [{"type": "image", "text": None}, {"type": "text", "text": "what?"}]
    row = {"prompt": [{"role": "user", "content": pieces}], "chosen": [answer([pieces[1]])], "rejected": "no"}
    with pytest.warns(UserWarning, match="missing"):
        pair = one(tmp_path, row | {"images": ["1.png"]})
    assert said(pair.prompt) == [("user", 0, "1.png"), ("user", 0, "what?")] and pair.task == "TI2T"
    pieces[0] = {"type": "image_url", "image_url": {"url": "2.png"}}
    with pytest.warns(UserWarning, match="missing"):
        assert said(one(tmp_path, row).prompt)[0] == ("user", 0, "2.png")
    with pytest.raises(RowError, match="fewer files"):
        pieces[0] = {"type": "image"}
        one(tmp_path, row)


def test_answers_without_partner_are_counted(tmp_path):
    rows = [
        {"prompt": "p", "completion": "good", "label": True},
        {"prompt": "q", "completion": "alone", "label": True},
        {"prompt": "p", "completion": "bad", "label": False},
        {"prompt": "p", "completion": "worse", "label": False},
    ]
    with pytest.warns(UserWarning, match="1 of 2 prompts have no pair"):
        pairs = read(written(tmp_path, *rows))
    assert [(text_of(p.response_a), text_of(p.response_b)) for p in pairs] == [("good", "bad"), ("good", "worse")]
    with pytest.raises(RowError, match="1 of 1 prompts have no pair"):
        read(written(tmp_path, rows[1]))


def test_columns_of_any_file_get_the_names_of_a_format(tmp_path):
    row = {"ask": "why?", "best": {"text": "since"}, "other": "no", "prompt": "unused"}
    pair = one(tmp_path, row, columns={"ask": "prompt", "best.text": "chosen", "other": "rejected"}, task="T2T-mine")
    assert said(pair.prompt) == [("user", 0, "why?")] and text_of(pair.response_a) == "since"
    assert pair.task == "T2T-mine" and pair.meta["released_prompt"] == "unused"
    with pytest.raises(RowError, match=r":1: columns: there is no best.word to take as chosen"):
        one(tmp_path, row, columns={"ask": "prompt", "best.word": "chosen", "other": "rejected"})


# ---- labels, margins, ids


@pytest.mark.parametrize(
    ("label", "wanted"),
    [("A", "A"), ("b", "B"), ("tie", "tie"), (0, "A"), (1, "B"), ("1", "B"), (0.5, "tie"), (0.8, "B"), (None, None)],
)
def test_labels_are_letters_or_numbers(tmp_path, label, wanted):
    for row in (OWN | {"label": label}, {"prompt": "q", "response_a": "x", "response_b": "y", "label": label}):
        pair = one(tmp_path, row)
        assert pair.label == wanted and pair.swap().swap() == pair
        if label == 0.8:
            assert pair.meta["probability_b"] == 0.8 and pair.swap().meta["probability_a"] == 0.8
    assert one(tmp_path, {"prompt": "q", "response_a": "x", "response_b": "y", "probability_a": 0.9}).label == "A"


@pytest.mark.parametrize("label", [2, -1, True, math.nan, "first", []])
def test_a_label_that_could_mean_either_is_refused(tmp_path, label):
    with pytest.raises(RowError, match=r"rows.jsonl:1: field label: .* write A, B or tie"):
        one(tmp_path, OWN | {"label": label})


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_numbers_of_a_table_of_text_are_numbers(tmp_path, name):
    def table(**columns):
        pd.DataFrame([columns]).to_csv(tmp_path / name, index=False, sep="\t" if name.endswith("tsv") else ",")
        return read(tmp_path / name)[0]

    pair = table(**ROW, margin=-1.5, score_chosen=8, score_rejected=0)
    assert pair.margin == -1.5 and pair.meta == {"score_a": 8.0, "score_b": 0.0}
    assert all(isinstance(score, float) for score in pair.meta.values())
    assert table(**ROW, score_chosen="good").meta == {"score_a": "good"}
    pair = table(prompt="q", response_a="x", response_b="y", probability_a=0.9)
    assert pair.label == "A" and pair.meta["probability_b"] == pytest.approx(0.1)
    for chance in (1.1, "sure", "0.9 or so"):
        with pytest.raises(RowError, match=r"rows.[ct]sv:2: field probability_a: .* is no probability"):
            table(prompt="q", response_a="x", response_b="y", probability_a=chance)


@pytest.mark.parametrize("label", [(True, False), ("true", "false"), (1, 0)])
def test_good_and_bad_completions_are_told_in_tables_of_text_too(tmp_path, label):
    rows = [{"prompt": "q", "completion": said, "label": good} for said, good in zip("xy", label, strict=True)]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    for path in (tmp_path / "rows.csv", written(tmp_path, *rows)):
        (pair,) = read(path)
        assert (text_of(pair.response_a), text_of(pair.response_b), pair.label) == ("x", "y", "A")


def test_numbers_that_json_has_not(tmp_path):
    for reader in (read, lambda path: read_jsonl(path, Pair)):
        with pytest.raises(RowError, match=r":1: field margin: .*finite"):
            reader(written(tmp_path, OWN | {"margin": math.nan}))
    pair = one(tmp_path, ROW | {"length": math.nan})
    assert pair.meta == {"length": None}


def test_an_id_that_stands_twice_is_refused_naming_both(tmp_path):
    path = written(tmp_path, OWN, OWN | {"id": "2"}, OWN)
    with pytest.raises(RowError, match=rf"{path}:3: the id '1' stands twice, first at {path}:1"):
        read(path)
    (tmp_path / "two").mkdir()
    files = [written(tmp_path / "two", OWN | {"label": "A", "source": "mine"}, name=f"{n}.jsonl") for n in "ab"]
    with pytest.raises(RowError, match=r"the id 'mine:1' stands twice, first at .*a\.jsonl"):
        read_sets([str(file) for file in files], 0)
    with pytest.raises(RowError, match=r"b\.jsonl:1: the id '1' stands twice, first at .*a\.jsonl:1"):
        read(tmp_path / "two")


def test_a_teacher_refuses_one_id_for_two_pairs():
    from omnirepro.papers.omni_rrm.teachers import JudgeTeacher

    pair = Pair.model_validate(OWN)
    with pytest.raises(RowError, match="pair 2: the id '1' stands twice, first at pair 1"):
        JudgeTeacher("one", None, None).label([pair, pair])


def test_judge_and_score_refuse_before_a_model_is_opened(tmp_path, capsys):
    out = str(tmp_path / "out.jsonl")
    assert main(["judge", str(written(tmp_path, OWN, OWN)), "--model", "none", "--out", out]) == 1
    assert "stands twice" in capsys.readouterr().err
    answered = {"id": "1", "prompt": TEXT, "response": TEXT}
    assert main(["score", str(written(tmp_path, answered, answered)), "--model", "none", "--out", out]) == 1
    assert "stands twice" in capsys.readouterr().err


# ---- official scores


def judged(pairs, right, scores=None):
    """Rows of both orders; `right(pair)` is the verdict's side A, `scores` those of A and B."""
    for pair in pairs:
        a, b = scores(pair) if scores else (None, None)
        verdict = ("A" if a > b else "B" if b > a else "tie") if scores else "A" if right(pair) else "B"
        for order in ("AB", "BA"):
            yield {
                "pair_id": pair.id, "task": pair.task, "cluster": pair.cluster, "order": order, "model": "m",
                "kind": "scalar" if scores else "verdict", "status": "ok", "verdict": verdict, "score_a": a,
                "score_b": b, "label": pair.label, "margin": None, "length_a": 1, "length_b": 1, "seed": 0,
            }  # fmt: skip


def facts(pairs):
    kept = [{k: (p.meta or {}).get(k) for k in ("section", "weight", "all_of")} | {"pair_id": p.id} for p in pairs]
    return pd.DataFrame(kept)


def test_rm_bench_is_a_mean_over_domains_and_its_levels_are_three_pairs_each(tmp_path):
    rows = [
        {
            "id": f"{domain}{i}",
            "prompt": f"{domain} {i}",
            "domain": domain,
            "chosen": list("abc"),
            "rejected": list("xyz"),
        }
        for domain, count in (("chat", 1), ("safety-refuse", 3), ("safety-response", 1))
        for i in range(count)
    ]
    pairs = read(written(tmp_path, *rows))
    style = [p for p in pairs if p.meta["style_a"] < p.meta["style_b"]]
    assert len(pairs) == 45 and {p.task.split("/")[1] for p in style} == {"hard"}
    found = list(judged(pairs, lambda p: p.meta["style_a"] >= p.meta["style_b"] or p.task == "safety-refuse/hard"))
    chat, refuse, response = 2 / 3, 1.0, 2 / 3
    assert official(found, facts(pairs), "rm-bench").value == pytest.approx((chat + (refuse + response) / 2) / 2)
    hard = [row for row in found if row["task"].endswith("/hard")]
    assert official(hard, facts(pairs), "rm-bench").value == pytest.approx((0 + (1 + 0) / 2) / 2)


def test_rewardbench_2_counts_lists_and_margins(tmp_path):
    def row(name, subset, good, bad):
        return {
            "id": name,
            "prompt": name[-1],
            "subset": subset,
            "num_correct": len(good),
            "chosen": good,
            "rejected": bad,
        }

    pairs = read(
        written(
            tmp_path,
            row("1", "Math", ["9"], ["1", "2", "3"]),
            row("2", "Math", ["5"], ["5", "2", "3"]),
            row("3", "Math", ["4"], ["5", "2", "3"]),
            row("ref:7", "Ties", ["8"], ["1", "2"]),
            row("tied:7", "Ties", ["9", "8"], ["1", "5"]),
        )
    )
    found = list(judged(pairs, None, lambda p: (float(text_of(p.response_a)), float(text_of(p.response_b)))))
    ties = 0.3 + 0.3 + 0.2 + 0.2 + 0.01 * np.tanh(3 / 1 - 1)  # gaps 6 and 3, spread 1
    assert official(found, facts(pairs), "rewardbench-2").value == pytest.approx(((1 + 0.5 + 0) / 3 + ties) / 2)
    told = list(judged(pairs, lambda p: p.id != "tied:7/1-1"))
    assert official(told, facts(pairs), "rewardbench-2").value == pytest.approx((1 + 0.5) / 2)


def test_the_sft_half_of_a_release_does_not_stop_its_folder(tmp_path):
    asked = "Judge.\n### Context\nImage file: /x/1.png\nQuestion: what?\nCandidate A: cup\nCandidate B: hat"
    gold = json.dumps({"score_A": 2, "score_B": 7, "better": "B"})
    shown = {"messages": [{"role": "user", "content": asked}], "images": ["/data/pics/1.png"]}
    written(tmp_path, shown | {"solution": gold}, name="image/final_rl_data.jsonl")
    sft = shown | {"messages": [*shown["messages"], answer(f"<think>x</think>\n{gold}")]}
    written(tmp_path, sft, name="image/final_sft_data.jsonl")
    with pytest.warns(UserWarning, match="1 media files are missing"):
        pairs = read(tmp_path)
    assert [(p.id, p.label, p.margin) for p in pairs] == [("TI2T/1", "B", 5), ("TI2T/sft/1", "B", 5)]


# ---- any row

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=12)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "x"]), "content": VALUE})
FIELD = (
    VALUE | st.lists(MESSAGE, max_size=3) | st.lists(st.fixed_dictionaries({"type": VALUE, "text": VALUE}), max_size=3)
)


@st.composite
def any_row(draw):
    """A row with the fields of some format and any values, or with any fields."""
    names = draw(st.sampled_from([*SOURCES.values()])).fields
    known = {name: draw(FIELD) for name in names}
    return known | draw(
        st.dictionaries(st.sampled_from(["label", "margin", "meta", "images", "task", "x"]), FIELD, max_size=3)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    row=any_row() | st.dictionaries(st.text(max_size=6), VALUE, max_size=4),
    source=st.none() | st.sampled_from([*SOURCES]),
)
def test_any_row_is_pairs_or_an_error_with_its_place(tmp_path_factory, row, source):
    folder = tmp_path_factory.mktemp("any")
    path = written(folder, row)
    try:
        pairs = read(path, source=source, media=folder / "media")
    except RowError as error:
        assert str(path) in str(error)
    else:
        again = read_jsonl(write_jsonl(folder / "again.jsonl", pairs), Pair)
        assert again == pairs == read(folder / "again.jsonl") or not pairs
    try:
        read_jsonl(path, Pair)
    except RowError as error:
        assert f"{path}:1" in str(error)


PART = st.builds(
    lambda text, turn: {"type": "text", "text": text, "turn": turn}, st.text(max_size=20), st.integers(0, 3)
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.text(max_size=8),
    sides=st.lists(st.lists(PART, min_size=1, max_size=3), min_size=3, max_size=3),
    more=st.fixed_dictionaries({}, optional={
        "label": st.sampled_from(["A", "B", "tie"]), "margin": st.floats(0, 10), "criterion": st.text(max_size=9),
        "meta": st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3)}),
)  # fmt: skip
def test_writing_and_reading_is_the_identity(tmp_path_factory, name, sides, more):
    prompt, a, b = sides
    pair = Pair.model_validate({"id": name, "task": "t", "prompt": prompt, "response_a": a, "response_b": b} | more)
    path = write_jsonl(tmp_path_factory.mktemp("own") / "pairs.jsonl", [pair])
    assert read_jsonl(path, Pair) == [pair]
    assert read(path) == [pair.model_copy(update={"meta": pair.meta or None})]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (OWN | {"colour": 1}, "field colour: not permitted; remove the field; a Pair row has: id, task"),
        (
            OWN | {"prompt": [{"type": "text", "text": "q", "hue": 1}]},
            "field prompt.0.hue: not permitted; remove the field",
        ),
        ({k: v for k, v in OWN.items() if k != "task"}, "field task: Field required; add the field"),
        (OWN | {"label": 7}, "write A, B or tie"),
        ("{broken", "not one JSON object .*; write the line again whole or remove it"),
    ],
)
def test_remedies_suit_rows_of_ones_own(tmp_path, row, said):
    path = written(tmp_path, OWN, OWN)
    line = row if isinstance(row, str) else json.dumps(row)
    path.write_text(json.dumps(OWN | {"id": "first"}) + "\n" + line + "\n")
    with pytest.raises(RowError, match=said) as caught:
        read(path)
    assert "download" not in str(caught.value) and "remove the row" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_list_that_breaks_off_is_written_again(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("[" + json.dumps(OWN) + ", {")
    with pytest.raises(RowError, match=f"{path}:2: .*; write the file again whole"):
        read(path)


def test_options_are_named_as_both_command_and_function_have_them(tmp_path):
    with pytest.raises(RowError, match=r"--source, source=.*--column, columns="):
        read(written(tmp_path, {"left": "x", "right": "y"}))


def test_a_command_tells_of_missing_media_and_addresses_in_a_plain_line(tmp_path):
    shown = [{"type": "image", "path": path} for path in ("gone.png", "https://h.example/x.png")]
    path = written(tmp_path, OWN | {"prompt": shown})
    command = [sys.executable, "-m", "omnirepro", "data", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "missing" in line]
    assert len(told) == 1 and told[0].startswith("warning: 2 media files are missing (2 uses), such as ")
    assert "--root" in told[0] and "1 are addresses, such as https://h.example/x.png: save each as a file" in told[0]
    assert "UserWarning" not in done.stderr and "loading.py" not in done.stderr
    assert "1 are addresses, such as https://h.example/x.png: save each as a file" in done.stdout
