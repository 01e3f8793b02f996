"""What comes from elsewhere: data sets as values, splits by content, given labels, generators and teachers by name."""

import json
import os
import re

import pandas as pd
import pytest
from real_parts import ROOT, execute, question, serving, speaker, teacher, write_media
from test_servers import answered, refused, serve  # noqa: F401 (a fixture)
from tiny_parts import save_untrained, text_part

from omnirepro.cli.main import main
from omnirepro.data import Judgement, Label, Pair, Part, Prompt, RowError, read_jsonl, write_jsonl
from omnirepro.data.files import RunError
from omnirepro.data.sources import SOURCES
from omnirepro.data.sources.cards import card_of, pairs_of, prompts_of
from omnirepro.data.splits import check_disjoint, content_groups, divided
from omnirepro.judge import rubric
from omnirepro.kit.run import DEPENDS, ParameterError, load_params, open_run, prerequisites, run_name
from omnirepro.models.endpoints import EndpointModel
from omnirepro.models.loading import ModelError, follow, point_to
from omnirepro.models.opening import open_chat
from omnirepro.papers.omni_rrm.labelling import label_pairs
from omnirepro.papers.omni_rrm.reconcile import reconcile
from omnirepro.papers.omni_rrm.supervised import choose_splits, judge_splits
from omnirepro.papers.omni_rrm.supply import draw, given_in, prompts_in, read_splits, sources_shown
from omnirepro.papers.omni_rrm.synthesis import speakers, synthesize
from omnirepro.papers.omni_rrm.teachers import JudgeTeacher, lenient
from omnirepro.papers.reports import gap_metrics, require_every_pair, rule_metrics
from omnirepro.train.curriculum import lessons

SPLITS = ("train", "dev", "test")


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompt(name, *parts, **known):
    return Prompt(id=name, task=known.pop("task", "t"), parts=list(parts), **known)


def pair(name, question, label=None, **known):
    sides = {"response_a": [text_part(f"good answer to {name}")], "response_b": [text_part(f"poor answer to {name}")]}
    return Pair(id=name, task="chat", prompt=[text_part(question)], label=label, **sides, **known)


# ---- a data set as a value


def test_a_value_is_a_path_with_a_number_a_card_or_a_mapping(tmp_path):
    write_media(tmp_path / "shots", ["image"])
    rows = [{"question": f"q{i}", "photo": "image-0.png", "nr": i} for i in range(5)]
    path = lines(tmp_path / "rows/asked.jsonl", *rows)
    fields = {"path": "rows/asked.jsonl", "root": "shots", "limit": 4, "task": "VQA", "licence": "CC0"}
    columns = {"question": "prompt", "photo": "image", "nr": "id"}
    (tmp_path / "photos.yaml").write_text(json.dumps(fields | {"columns": columns}))
    for value in ("photos", str(tmp_path / "photos.yaml")):
        card = card_of(value, tmp_path)
        found = list(prompts_of(card))
        assert (card.name, card.licence, [p.id for p in found]) == ("photos", "CC0", list("0123"))
        assert found[0].task == "VQA" and found[0].modality == "image"
        assert found[0].parts[0].path == str(tmp_path / "shots/image-0.png") and found[3].parts[1].text == "q3"
    told = {"path": path, "columns": columns, "root": str(tmp_path / "shots")}
    assert len(list(prompts_of(card_of(told, tmp_path)))) == 5
    assert len(list(prompts_of(card_of(f"{path}#2", tmp_path).model_copy(update={"columns": columns})))) == 2
    assert [p.id for p in prompts_of(card_of("photos#3", tmp_path))] == list("012"), "a number of a card's rows"
    assert card_of(f"{tmp_path / 'photos.yaml'}#1", tmp_path).limit == 1 and card_of("photos", tmp_path).limit == 4
    hub = card_of("owner/name#20000", tmp_path)
    assert (hub.path, hub.limit, hub.name, hub.files) == ("owner/name", 20000, "name", [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [("{path: x, splitt: a}", "field splitt"), ("- x", "not a card"), ("{limit: 3}", "field path")],
)
def test_a_wrong_card_is_named(tmp_path, fields, said):
    (tmp_path / "mine.yaml").write_text(fields)
    with pytest.raises(RowError, match=said):
        card_of("mine", tmp_path)
    with pytest.raises(RowError, match="no such card"):
        card_of("gone/mine.yaml", tmp_path)
    with pytest.raises(RowError, match="nowhere: .*check the path"):
        list(pairs_of(card_of("nowhere", tmp_path)))


def test_prompts_are_read_from_rows_of_parts_and_from_pairs(tmp_path):
    names = write_media(tmp_path, ["image", "audio"])
    parts = [{"type": "image", "path": names[0]}, {"type": "text", "text": "what?"}]
    path = lines(tmp_path / "a.jsonl", {"id": "x", "task": "VQA", "parts": parts}, {"prompt": parts, "cluster": "c"},
                 {"prompt": "both?", "images": [names[0]], "audios": [names[1]]})  # fmt: skip
    first, second, third = prompts_of(card_of(path, tmp_path))
    assert (first.id, first.task, second.id, second.cluster) == ("x", "VQA", "2", "c")
    assert third.modality == third.task == "audio+image" and third.parts[0].path == str(tmp_path / names[0])
    write_jsonl(tmp_path / "b.jsonl", [pair("p", "hello?", "A", criterion="be kind")])
    (only,) = prompts_of(card_of(str(tmp_path / "b.jsonl"), tmp_path))
    assert (only.id, only.task, only.criterion, only.parts[0].text) == ("p", "chat", "be kind", "hello?")
    with pytest.raises(RowError, match=r"bad.jsonl:1: field prompt is missing"):
        list(prompts_of(card_of(lines(tmp_path / "bad.jsonl", {"text": "x"}), tmp_path)))


def test_prompts_of_pairs_are_known_by_the_names_that_a_card_gives_their_columns(tmp_path):
    sides = {side: [{"role": "user", "content": "q one"}, {"role": "assistant", "content": side}] for side in "xy"}
    told = {"path": lines(tmp_path / "rows.jsonl", sides), "columns": {"x": "chosen", "y": "rejected"}}
    (found,) = prompts_of(card_of(told, tmp_path))
    assert [part.text for part in found.parts] == ["q one"]


# ---- splits by content


def test_what_shares_a_medium_a_text_or_a_cluster_is_one_group(tmp_path):
    one, two = (Part(type="image", path=str(tmp_path / name)) for name in write_media(tmp_path, ["image"] * 2))
    rows = [
        prompt("a", one, text_part("x")),
        prompt("b", one, two),
        prompt("c", two, text_part("z"), task="other"),
        prompt("d", text_part("Same  words")),
        prompt("e", text_part("same words"), task="other"),
        prompt("f", text_part("else"), cluster="c1"),
        prompt("g", text_part("more"), cluster="c1"),
        prompt("h", text_part("alone")),
    ]
    groups = content_groups(rows)
    assert [groups.index(group) for group in groups] == [0, 0, 0, 3, 3, 5, 5, 7]
    for a, b in ((0, 1), (3, 4), (5, 6)):
        with pytest.raises(RunError, match="train and test share a prompt"):
            check_disjoint({"train": [rows[a]], "test": [rows[b]]})
    assert check_disjoint({"train": rows[:3], "test": rows[3:]}) == {"train": 3, "test": 5}


def test_shares_are_of_rows_and_hang_on_content_alone():
    groups = [f"g{i // 3}" for i in range(300)]
    split = divided(groups, {"test": 0.1, "dev": 0.05})
    counts = pd.Series([split[group] for group in groups]).value_counts()
    assert counts.to_dict() == {"train": 255, "test": 30, "dev": 15}
    assert divided(groups[::-1], {"test": 0.1, "dev": 0.05}) == split
    assert set(divided(list("abc"), {"test": 0.1, "dev": 0.05}).values()) == set(SPLITS), (
        "a share is one group at least"
    )
    assert set(divided(list("abc"), {"test": 0.0}).values()) == {"train"}


# ---- what the section `data` names


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Open a stage of profile smoke with overrides; results lie below the test's folder."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))

    def opened(stage, **overrides):
        named = {key.replace("__", "."): value for key, value in overrides.items()}
        return open_run(stage, "smoke", "own", overrides={"synthesis.templates": False} | named)

    return opened


def test_prompts_pairs_and_tests_are_divided_and_nothing_leaks(tmp_path, opened):
    asked = lines(tmp_path / "one/rows.jsonl", *({"prompt": f"question {i}"} for i in range(20)), {"prompt": "shared"})
    write_jsonl(tmp_path / "two/rows.jsonl", [pair(str(i), f"given {i}", "A") for i in range(20)])
    write_jsonl(tmp_path / "three/rows.jsonl", [pair("1", "Shared", "B"), pair("2", "other", "tie")])
    places = {f"data__{key}": [str(tmp_path / name / "rows.jsonl")] for key, name in
              (("prompts", "one"), ("pairs", "two"), ("test", "three"))}  # fmt: skip
    assert asked
    run = opened("01_synthesis", **places, data__dev_share=0.2)
    draw(run, tmp_path / "out")
    prompts, given = ({s: read(tmp_path / "out", s) for s in SPLITS} for read in (prompts_in, given_in))
    assert [p.prompt[0].text for p in given["test"]] == ["Shared", "other"] and not prompts["test"]
    assert len(prompts["train"]) + len(prompts["dev"]) == 20 and len(given["train"]) + len(given["dev"]) == 20
    assert len(prompts["dev"]) + len(given["dev"]) == 8
    dropped = pd.read_csv(tmp_path / "out/dropped.csv")
    assert dropped[["use", "reason"]].to_numpy().tolist() == [["prompts", "shares content with data.test"]]
    ids = [row.id for some in (*prompts.values(), *given.values()) for row in some]
    assert len(set(ids)) == len(ids), "sets of one name and the same ids"


def test_a_missing_medium_stops_with_its_row_or_is_counted(tmp_path, opened):
    rows = [{"prompt": f"q{i}"} for i in range(5)] + [{"id": "r7", "prompt": "q", "image": "gone.png"}]
    path = lines(tmp_path / "asked.jsonl", *rows)
    with pytest.raises(RowError, match=r"data.prompts asked: row asked:r7: .*gone.png.*data.bad_rows=drop"):
        draw(opened("01_synthesis", data__prompts=[path]), tmp_path / "out")
    draw(opened("01_synthesis", data__prompts=[path], data__bad_rows="drop"), tmp_path / "out")
    assert pd.read_csv(tmp_path / "out/dropped.csv")["id"].tolist() == ["asked:r7"]
    assert sum(len(prompts_in(tmp_path / "out", s)) for s in SPLITS) == 5


def test_rows_of_a_licence_that_is_not_named_stop_or_are_counted_but_for_tests(tmp_path, opened):
    terms = ({"licence": "mit"}, {"license": "CC-BY-NC"}, None, {"licence": "GPL"})
    pairs = [pair(str(i), f"q{i}", "A", meta=terms[i % 4]) for i in range(12)]
    for name in ("own", "held"):
        write_jsonl(tmp_path / f"{name}.jsonl", [p.model_copy(update={"id": name + p.id}) for p in pairs])
    lines(tmp_path / "asked.jsonl", {"prompt": "free?"})
    lines(tmp_path / "closed.jsonl", {"prompt": "not free?"})
    for name, licence in (("own", "CC0"), ("asked", "cc0"), ("closed", "CC-BY-ND")):
        (tmp_path / f"{name}.yaml").write_text(f"path: {name}.jsonl\nlicence: {licence}\n")
    named = {"data__pairs": [str(tmp_path / "own.yaml")], "data__licences": ["MIT", "CC0"]}
    named |= {"data__prompts": [str(tmp_path / f"{name}.yaml") for name in ("asked", "closed")]}
    with pytest.raises(RowError, match=r"closed: row closed:1: its licence, 'CC-BY-ND', is none of data.licences"):
        draw(opened("01_synthesis", **named), tmp_path / "out")
    named |= {"data__bad_rows": "drop", "data__test": [str(tmp_path / "held.jsonl")]}
    lines(tmp_path / "held.jsonl", pair("t", "tested?", "B", meta={"licence": "GPL"}).model_dump())
    draw(opened("01_synthesis", **named), tmp_path / "out")
    kept = {row.id for split in SPLITS for read in (prompts_in, given_in) for row in read(tmp_path / "out", split)}
    assert kept == {"asked:1", "held:t", *(f"own:own{i}" for i in range(12) if i % 4 in (0, 2))}
    reasons = pd.read_csv(tmp_path / "out/dropped.csv")["reason"].str.extract("'(.*)'")[0]
    assert reasons.value_counts().to_dict() == {"CC-BY-NC": 3, "GPL": 3, "CC-BY-ND": 1}


def test_given_labels_are_kept_without_any_model_and_no_score_is_invented(tmp_path, opened):
    known = {"score_a": 8, "score_b": 3, "rationale": "A says why."}
    pairs = [pair(str(i), f"q{i}", "A", meta=known) for i in range(30)] + [pair("t", "tie?", "tie", meta=known)]
    write_jsonl(tmp_path / "labelled.jsonl", pairs)
    given = {"data__pairs": [str(tmp_path / "labelled.jsonl")]}
    run = opened("01_synthesis", **given)
    run.do(synthesize, "no model", "is opened")
    assert gap_metrics(run.path()) == {}
    run.finish({})
    second = opened("02_reconciliation", **given)
    data = second.input("01_synthesis", "data")
    second.do(label_pairs, data)
    labels = read_jsonl(second.path("labels_sft.jsonl"), Label) + read_jsonl(second.path("labels_rl.jsonl"), Label)
    train = read_jsonl(data / "pairs_train.jsonl", Pair)
    dropped = pd.read_json(second.path("dropped.jsonl"), lines=True)
    assert len(labels) + len(dropped) == len(train) and set(dropped.get("reason", ["tie"])) <= {"tie"}
    assert {(x.verdict, x.score_a, x.score_b, x.rationale) for x in labels} == {("A", 8, 3, "A says why.")}
    assert rule_metrics(second.path()) == {"given_labels": len(labels)}
    second.finish({})
    assert read_splits(opened("03_sft", **given))["test"] == read_jsonl(data / "pairs_test.jsonl", Pair)


def synthesised(opened, **overrides):
    run = opened("01_synthesis", **overrides)
    run.do(synthesize, "", "")
    run.finish(gap_metrics(run.path()))
    return opened("02_reconciliation", **overrides)


def test_labels_without_scores_need_teachers_or_another_format(tmp_path, opened):
    write_jsonl(tmp_path / "bare.jsonl", [pair(str(i), f"q{i}", "A") for i in range(30)])
    given = {"data__pairs": [str(tmp_path / "bare.jsonl")]}
    run = synthesised(opened, **given)
    with pytest.raises(RunError, match="came with a label without scores: name reconciliation.teachers"):
        run.do(label_pairs, run.input("01_synthesis", "data"))
    direct = opened("02_reconciliation", **given, judge__format="verdict-direct")
    direct.do(label_pairs, direct.input("01_synthesis", "data"))
    assert len(read_jsonl(direct.path("labels_sft.jsonl"), Label)) > 5


def test_a_given_label_can_be_a_third_opinion(tmp_path, opened):
    pairs = [pair(str(i), f"q{i}", "A" if i % 3 else "B") for i in range(30)]  # both teachers will say A
    write_jsonl(tmp_path / "bare.jsonl", pairs)
    with serving(teacher()) as first, serving(teacher()) as second, serving(teacher()) as third:
        names = [f"{server.url}#m" for server in (first, second, third)]
        asked = {"data__pairs": [str(tmp_path / "bare.jsonl")], "reconciliation__keep_given": False}
        run = synthesised(opened, **asked, reconciliation__teachers=names)
        data = run.input("01_synthesis", "data")
        run.do(label_pairs, data)
    train = read_jsonl(data / "pairs_train.jsonl", Pair)
    labels = read_jsonl(run.path("labels_sft.jsonl"), Label) + read_jsonl(run.path("labels_rl.jsonl"), Label)
    assert sorted(x.pair_id for x in labels) == sorted(p.id for p in train if p.label == "A")
    reasons = pd.read_json(run.path("dropped.jsonl"), lines=True)["reason"]
    assert set(reasons) == {"the given label conflicts"} and len(reasons) == sum(p.label == "B" for p in train)
    assert len(read_jsonl(run.path("teacher-3.jsonl"), Label)) == len(train)
    found = rule_metrics(run.path())
    assert found["precision_published"]["value"] == pytest.approx(len(labels) / len(train)), "measured by given labels"


@pytest.mark.parametrize("order", ["random", "both"])
def test_teachers_that_write_nothing_legible_label_by_their_choice(tmp_path, opened, order):
    write_jsonl(tmp_path / "bare.jsonl", [pair(str(i), f"q{i}", "AB"[i % 2]) for i in range(24)])
    names = [str(save_untrained(tmp_path / f"model-{seed}", seed)) for seed in (1, 2)]
    asked = {"data__pairs": [str(tmp_path / "bare.jsonl")], "reconciliation__keep_given": False}
    asked |= {"judge__format": "verdict-direct", "judge__read": "choice", "reconciliation__order": order}
    run = synthesised(opened, **asked, reconciliation__teachers=names)
    data = run.input("01_synthesis", "data")
    run.do(label_pairs, data)
    train = {p.id: p for p in read_jsonl(data / "pairs_train.jsonl", Pair)}
    said = [read_jsonl(run.path(f"teacher-{n}.jsonl"), Label) for n in (1, 2)]
    rows = read_jsonl(run.path("teacher-1.rows.jsonl"), Judgement)
    means = pd.DataFrame([row.model_dump() for row in rows]).groupby("pair_id")["probability"].mean()
    assert all(len(labels) == len(train) and {x.verdict for x in labels} <= {"A", "B"} for labels in said)
    assert {(x.verdict, x.score_a, x.score_b, x.provenance.rpartition(":")[2]) for x in said[0]} <= {
        ("A", 1, 0, "ok"), ("B", 0, 1, "ok")}  # fmt: skip
    assert all(x.verdict == ("A" if means[x.pair_id] > 0.5 else "B") for x in said[0]), "in the pair's own frame"
    assert len(rows) == len(train) * (1 + (order == "both"))
    kept = read_jsonl(run.path("labels_sft.jsonl"), Label) + read_jsonl(run.path("labels_rl.jsonl"), Label)
    agreed = {a.pair_id: a.verdict for a, b in zip(*said, strict=True) if a.verdict == b.verdict}
    assert {x.pair_id: x.verdict for x in kept} == {k: v for k, v in agreed.items() if train[k].label == v}


def test_verdicts_that_were_read_by_choice_are_not_read_again(tmp_path, opened):
    run = opened("03_sft", judge__format="verdict-direct", judge__read="choice")
    splits = {"train": [], "test": [pair(str(i), f"q{i}", "A") for i in range(3)]}
    folder = save_untrained(tmp_path / "model")
    rows = judge_splits(run, folder, "base", splits, format="verdict-direct", wording="brief")
    chosen = choose_splits(run, "no model is opened", "base", splits, rows)
    assert [x.probability for x in chosen] == [x.probability for x in rows] and len(rows) == 6
    assert {x.model for x in rows} == {"base/test"} and {x.model for x in chosen} == {"base, forced choice/test"}
    assert choose_splits(run, "no model is opened", "sft", splits, rows) == [], "each judge has its own rows"


def test_without_truth_and_teachers_nobody_labels(tmp_path, opened):
    write_jsonl(tmp_path / "plain.jsonl", [pair(str(i), f"q{i}") for i in range(10)])
    asked = {"data__pairs": [str(tmp_path / "plain.jsonl")]}
    run = synthesised(opened, **asked)
    with pytest.raises(ParameterError, match="reconciliation.teachers is empty, and there is no truth"):
        run.do(label_pairs, run.input("01_synthesis", "data"))
    one = opened("02_reconciliation", **asked, reconciliation__teachers=["http://127.0.0.1:9/v1"])
    with pytest.raises(ParameterError, match="names one model: name two or more"):
        one.do(label_pairs, one.input("01_synthesis", "data"))


def test_held_out_pairs_that_no_teacher_labels_are_told_with_their_split_and_reason(tmp_path, opened, serve, capsys):  # noqa: F811
    write_jsonl(tmp_path / "plain.jsonl", [pair(str(i), f"q{i}") for i in range(30)])
    write_jsonl(tmp_path / "held.jsonl", [pair(str(i), f"held {i}") for i in range(8)])
    says = teacher()

    def reply(body):
        said = question(body)[0]
        if "held 1" in said or "q1\n" in said:
            return refused("This picture was flagged by our content policy")
        if "held 2" in said:
            return answered(None, refusal="I will not judge that.")
        if "held 3" in said:
            return answered("I cannot say.")
        return answered(None, "content_filter") if "held 4" in said else answered(says(body))

    asked = {"data__pairs": [str(tmp_path / "plain.jsonl")], "data__test": [str(tmp_path / "held.jsonl")]}
    with serving(teacher()) as second:
        run = synthesised(opened, **asked, reconciliation__teachers=[f"{serve(reply).url}#m", f"{second.url}#m"])
        data = run.input("01_synthesis", "data")
        run.do(label_pairs, data)
    kept = read_jsonl(run.path("pairs_test.jsonl"), Pair)
    dropped = [json.loads(line) for line in run.path("dropped.jsonl").read_text().splitlines()]
    held = {row["pair_id"].split(":")[1]: row["reason"] for row in dropped if row.get("split") == "test"}
    assert held == {
        "1": "a teacher's judgement was refused",
        "2": "a teacher's judgement was refused",
        "3": "a teacher's judgement was unreadable",
        "4": "a teacher's judgement was filtered",
    }
    assert len(kept) == 4 and not {p.id for p in kept} & {row["pair_id"] for row in dropped}
    told = capsys.readouterr().out
    assert "test: left out of 8 pairs without a label, see dropped.jsonl: 2 (a teacher's judgement was refused)" in told
    table = require_every_pair(run.path(), data).set_index("fate")["pairs"]
    assert table.sum() == len(read_jsonl(data / "pairs_train.jsonl", Pair)), "held-out pairs are not counted with these"


# ---- generators


def test_one_server_as_both_generators_draws_other_answers(tmp_path, opened):
    path = lines(tmp_path / "asked.jsonl", *({"prompt": f"q{i}"} for i in range(30)))
    with serving(speaker("one")) as server:
        run = opened("01_synthesis", data__prompts=[path], synthesis__strong=f"{server.url}#m",
                     synthesis__weak=f"{server.url}#m")  # fmt: skip
        run.do(synthesize, "", "")
        assert max(server.paid.values()) == 1 and server.paid.total() == 60
    counts = pd.read_csv(run.path("counts.csv"))
    assert counts["kept"].sum() == 30 and counts["equal"].sum() == 0


def test_notebooks_01_and_02_ask_nothing_of_00_where_every_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    path = lines(tmp_path / "asked.jsonl", *({"prompt": f"q{i}"} for i in range(12)))
    with serving(speaker("good")) as good, serving(speaker("poor")) as poor, serving(teacher()) as judge:
        own = {"data.prompts": [path], "data.test_share": 0.3, "synthesis.templates": False}
        named = own | {"synthesis.strong": f"{good.url}#m", "synthesis.weak": {"any": f"{poor.url}#m"}}
        named |= {"reconciliation.teachers": [f"{judge.url}#a", f"{judge.url}#b"]}
        for stage in ("01_synthesis", "02_reconciliation"):
            execute(stage, profile="smoke", run="named", overrides=named)
        half = named | {"synthesis.weak": ""}
        with pytest.raises(RunError, match="00_backbone/weak is missing"):
            execute("01_synthesis", profile="smoke", run="half", overrides=half)
    assert not (tmp_path / "results/named/00_backbone").exists()
    write_jsonl(
        tmp_path / "pairs.jsonl", [pair(str(i), f"q{i}", "A", meta={"score_a": 8, "score_b": 2}) for i in range(20)]
    )
    given = {"data.pairs": [str(tmp_path / "pairs.jsonl")], "synthesis.templates": False}
    execute("01_synthesis", profile="smoke", run="pairs", overrides=given)


def test_a_batch_begins_with_00_only_where_its_generators_are_asked():
    prompts = {"data.prompts": ["x"], "synthesis.strong": "a", "synthesis.weak": "b"}
    for stage, rest in (("01_synthesis", ()), ("02_reconciliation", ("01_synthesis",))):
        for named in (prompts, {"data.pairs": ["x"]}):
            assert prerequisites(stage, load_params("smoke", overrides=named)) == rest
        for asked in ({}, {"data.prompts": ["x"]}, prompts | {"synthesis.weak": ""}):
            assert prerequisites(stage, load_params("smoke", overrides=asked)) == DEPENDS[stage]
    assert prerequisites("03_sft", load_params("smoke", overrides=prompts)) == DEPENDS["03_sft"]


def test_status_promises_the_notebooks_that_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(ROOT)
    profile = tmp_path / "named.yaml"
    profile.write_text(
        'data: {prompts: [x]}\nsynthesis: {strong: "http://127.0.0.1:9/v1#a", weak: "http://127.0.0.1:9/v1#b"}'
    )
    main(["status", "--profile", str(profile), "--notebooks", "02"])
    assert "runs 2 notebooks (01_synthesis, 02_reconciliation)" in capsys.readouterr().out


def test_a_generator_may_be_one_model_a_modality(tmp_path, opened):
    names = write_media(tmp_path / "m", ["image", "audio"] * 10)
    rows = [{"prompt": f"q{i}", ("image", "audio")[i % 2]: f"m/{name}"} for i, name in enumerate(names)]
    asked = {"data__prompts": [lines(tmp_path / "asked.jsonl", *rows)], "data__test_share": 0.2}
    with serving(speaker("eye")) as eye, serving(speaker("ear")) as ear, serving(speaker("poor")) as poor:
        strong = {"image": f"{eye.url}#m", "any": f"{ear.url}#m"}
        run = opened("01_synthesis", **asked, synthesis__strong=strong, synthesis__weak=f"{poor.url}#m")
        run.do(synthesize, "", "")
        assert (set(eye.kinds), set(ear.kinds)) == ({"image_url"}, {"input_audio"})
        assert poor.paid.total() == 21, "each prompt once, and one without its medium, to see that it counts"
    found = [p for s in SPLITS for p in read_jsonl(run.path(f"data/pairs_{s}.jsonl"), Pair)]
    for made in found:
        said = {part.text.split()[0] for part in (*made.response_a, *made.response_b)}
        assert said == {"poor", "eye" if made.modality == "image" else "ear"}
    with pytest.raises(ParameterError, match="synthesis.weak names no model for audio: add it, or any"):
        speakers({"image": "x"}, {"train": [prompt("a", Part(type="audio", path="x"))]}, "synthesis.weak")


def test_what_a_generator_does_not_answer_is_told_by_status_with_the_server_s_words(tmp_path, opened, serve, capsys):  # noqa: F811
    names = write_media(tmp_path / "m", ["audio", "image"] * 3)
    rows = [{"prompt": f"q{i}", name.split("-")[0]: f"m/{name}"} for i, name in enumerate(names)]
    rows += [{"prompt": f"Say {word}."} for word in ("one", "two", "three", "four", "poison", "danger", "nothing")]

    def reply(body):
        said, kinds = question(body)
        if "input_audio" in kinds:
            return refused("audio input is not supported")
        if "poison" in said:
            return answered(None, "content_filter")
        if "danger" in said:
            return answered(None, refusal="I will not help with that.")
        return answered("" if "nothing" in said else f"weak says {said}")

    asked = {"data__prompts": [lines(tmp_path / "asked.jsonl", *rows)], "data__test_share": 0.3, "data__dev_share": 0.0}
    with serving(speaker("good")) as good:
        weak = f"{serve(reply).url}#m"
        run = opened("01_synthesis", **asked, synthesis__strong=f"{good.url}#m", synthesis__weak=weak)
        run.do(synthesize, "", "")
    counts = pd.read_csv(run.path("counts.csv"), index_col="split").sum()
    assert counts.to_dict() == {"kept": 7, "equal": 0, "empty": 1, "refused": 4, "filtered": 1}
    table = pd.read_csv(run.path("data/dropped.csv"))
    prompts = {p.id: split for split in SPLITS for p in prompts_in(run.path("data"), split)}
    assert [prompts[name] for name in table["id"]] == table["split"].tolist() and set(table["generator"]) == {"weak"}
    said = table.groupby(["status", "reason"]).size().to_dict()
    assert said == {
        ("refused", "audio input is not supported"): 3,
        ("refused", "I will not help with that."): 1,
        ("filtered", "taken out by the server's content filter"): 1,
        ("empty", "no answer"): 1,
    }
    told = re.findall(r"weak-\w+: (\d+) of \d+ answers are (\w+)", capsys.readouterr().out)
    assert sum(int(n) for n, status in told if status == "refused") == 4 and ("1", "filtered") in told


def test_a_mapping_is_taken_where_a_generator_is_named_and_nowhere_else():
    params = load_params("smoke", overrides={"synthesis": {"strong": {"audio": "a", "any": "b"}}})
    assert params["synthesis.strong"] == {"audio": "a", "any": "b"}
    with pytest.raises(ParameterError, match="synthesis.weak"):
        load_params("smoke", overrides={"synthesis.weak": {"audio": 3}})
    with pytest.raises(ParameterError, match="parameter.* judge.format"):
        load_params("smoke", overrides={"judge.format": {"audio": "x"}})


@pytest.mark.parametrize("key", ["backbone.model", "synthesis.strong"])
def test_a_released_model_is_not_asked_what_only_the_world_can_grade(tmp_path, monkeypatch, key):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    plain = {key: "some/model", "synthesis.templates": False}
    for stage in ("00_backbone", "01_synthesis"):
        with pytest.raises(ParameterError, match=f"{key} is a released model.*name data.prompts or data.pairs"):
            open_run(stage, "smoke", overrides=plain)
        open_run(stage, "smoke", overrides=plain | {"data.pairs": ["x"]})
        open_run(stage, "smoke", overrides=plain | {"synthesis.templates": True})
    with pytest.raises(ParameterError, match="backbone.model is a released model"):
        open_run("00_backbone", "omni-7b")
    assert not list(tmp_path.rglob("*.json"))


def test_templates_speak_of_the_world_alone(tmp_path, opened):
    path = lines(tmp_path / "asked.jsonl", *({"prompt": f"q{i}"} for i in range(30)))
    with pytest.raises(ParameterError, match="synthesis.templates speaks of the embedded world"):
        run = opened("01_synthesis", data__prompts=[path], synthesis__templates=True)
        run.do(synthesize, "", "")


def test_pointers_are_followed_to_their_end(tmp_path):
    (tmp_path / "model").mkdir()
    point_to("../model", tmp_path / "first")
    point_to("../first", tmp_path / "second")
    point_to("../second", tmp_path / "third")
    assert follow(str(tmp_path / "third")) == str(tmp_path / "model")
    point_to("../loop", tmp_path / "loop")
    with pytest.raises(ModelError, match="leads back"):
        follow(str(tmp_path / "loop"))


def test_a_name_opens_a_server_or_says_that_there_is_none():
    chat = open_chat("http://127.0.0.1:9/v1#some/model", endpoint={"concurrency": 2})
    assert isinstance(chat, EndpointModel) and (chat.name, chat.concurrency) == ("some/model", 2)
    assert open_chat("", "http://127.0.0.1:9/v1").url == "http://127.0.0.1:9/v1"
    with pytest.raises(ModelError, match="no model is named"):
        open_chat("")


# ---- teachers


SAID = (
    '{"reasoning": "<think>x</think>", "score_A": 8, "score_B": 2, "better": "A", '
    '"final_verdict": "<answer>[[A]]</answer>"}'
)


@pytest.mark.parametrize("wrap", ["{}", "```json\n{}\n```", "[{}]", "Sure.\n{}\nDone.", "```\n[{}]\n```"])
def test_a_teacher_is_read_through_fences_lists_and_talk(wrap):
    text = wrap.replace("{}", SAID)
    assert (lenient(text).verdict, lenient(text).score_a) == ("A", 8)
    assert wrap == "{}" or rubric.parse(text).verdict is None, "a judge is held to the format"


def test_what_no_reading_mends_keeps_its_status():
    assert lenient("no").status == "no_json" and lenient("").status == "empty"
    assert lenient(f"{SAID} and {SAID}").status == "no_json", "two judgements are none"


class Sided:
    """A judge that prefers what is shown first, but for pairs that are clear."""

    def judge(self, pairs, orders, progress=None):
        from omnirepro.data import Judgement

        rows = []
        for one in pairs:
            clear = "clear" in one.id
            best = "A" if not clear or one.displayed(orders).response_a == one.response_a else "B"
            said = SAID if best == "A" else SAID.replace("[[A]]", "[[B]]").replace('"A"', '"B"')
            said = said if best == "A" else said.replace('"score_A": 8, "score_B": 2', '"score_A": 2, "score_B": 8')
            rows.append(Judgement(pair_id=one.id, task="t", cluster="c", order=orders, model="m", kind="rubric",
                                  status="ok", raw=said))  # fmt: skip
        return rows


def test_in_both_orders_a_teacher_that_contradicts_itself_says_a_tie(tmp_path):
    pairs = [pair("clear", "x"), pair("sided", "y")]
    clear, sided = JudgeTeacher("t", Sided(), lenient, both=True, checkpoints=tmp_path).label(pairs)
    assert (clear.verdict, clear.score_a, clear.score_b) == ("A", 8, 2)
    assert (sided.verdict, sided.score_a, sided.score_b) == ("tie", 5, 5)
    fixed = JudgeTeacher("t", Sided(), lenient, first={"clear": 1, "sided": 1}).label(pairs)
    assert [(x.shown, x.verdict) for x in fixed] == [("BA", "A"), ("BA", "B")]


def test_three_teachers_must_agree_and_their_scores_are_averaged():
    a, b, c = ([Label(pair_id="p", verdict="A", score_a=x, score_b=y, provenance=t)] for x, y, t in
               ((9, 3, "x"), (9, 3, "y"), (6, 3, "z")))  # fmt: skip
    (kept,) = reconcile(a, b, "published", c).kept
    assert (kept.score_a, kept.score_b, kept.provenance) == (8, 3, "published(x, y, z)")
    other = [c[0].model_copy(update={"verdict": "B"})]
    assert reconcile(a, b, "published", other).reasons == {"verdicts conflict": 1}
    unread = [c[0].model_copy(update={"confidence": 0.0})]
    assert reconcile(a, b, "published", unread).reasons == {"a teacher's judgement was unreadable": 1}
    with pytest.raises(ValueError, match="same pairs"):
        reconcile(a, b, "published", [])


# ---- what else a stage asked of the world


def test_modality_is_what_the_parts_are():
    shown = {"prompt": [Part(type="audio", path="x"), text_part("q")]}
    heard = pair("p", "q").model_copy(update=shown | {"task": "TA2T"})
    label = Label(pair_id="p", verdict="A", score_a=1, score_b=0, provenance="x")
    p = {"curriculum": "joint", "share": 1.0, "hard_only": False}
    assert heard.modality == "audio" and lessons([heard], [label], p | {"modalities": ["audio"]}) == [[label]]
    with pytest.raises(ValueError, match="no label of 'image'"):
        lessons([heard], [label], p | {"modalities": ["image"]})


def test_a_profile_may_lie_anywhere(tmp_path):
    (tmp_path / "mine.yaml").write_text("sft: {steps: 7}\n")
    params = load_params(str(tmp_path / "mine.yaml"))
    assert params["sft.steps"] == 7 and params.origin("sft.steps") == "mine.yaml"
    assert run_name(str(tmp_path / "mine.yaml"), 2) == "mine-s2"
    (tmp_path / "mine.yml").write_text("sft: {steps: 9}\n")
    assert load_params(str(tmp_path / "mine.yml"))["sft.steps"] == 9 and run_name(str(tmp_path / "mine.yml")) == "mine"
    assert run_name("smollm2.5") == "smollm2.5"
    with pytest.raises(ParameterError, match="unknown profile"):
        load_params(str(tmp_path / "other.yaml"))


def test_notebook_09_needs_nothing_upstream(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    (tmp_path / "results/fresh/06_meta_reward_dpo").mkdir(parents=True)
    (tmp_path / "results/fresh/06_meta_reward_dpo/begun.csv").write_text("x")
    write_jsonl(tmp_path / "mine.jsonl", [pair(str(i), "one question", "A") for i in range(4)])
    with serving(teacher()) as server:
        asked = {"benchmarks.data": [str(tmp_path / "mine.jsonl")], "benchmarks.judges": [f"{server.url}#judge"]}
        execute("09_benchmarks", profile="smoke", run="fresh", overrides=asked)
        assert server.paid.total() == 8
    found = json.loads((tmp_path / "results/fresh/09_benchmarks/metrics.json").read_text())
    assert found["judge_mine"]["value"] == 1.0 and os.path.exists(tmp_path / "results/fresh/.answers.sqlite")


def test_the_cards_that_are_kept_here_can_be_read():
    cards = sorted((ROOT / "params/data").glob("*.yaml"))
    assert cards
    for path in cards:
        card = card_of(path.stem, path.parent)
        assert card.name == path.stem and card.licence and (not card.source or card.source in SOURCES)


def test_a_file_that_left_a_folder_of_data_means_other_work(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    for name in ("a", "b"):
        lines(tmp_path / f"asked/{name}.jsonl", {"id": name, "prompt": f"Say {name}."})
    asked = {"profile": "smoke", "run": "own", "overrides": {"data.prompts": [str(tmp_path / "asked")]}}

    def opened():
        run = open_run("01_synthesis", **asked)
        sources_shown(run)
        return run

    run = opened()
    run.do(lambda run: run.write("made.txt", "made"))
    run.finish({})
    assert opened().skipped
    (tmp_path / "asked/b.jsonl").unlink()
    assert not opened().skipped


@pytest.mark.parametrize(
    ("stage", "named"),
    [
        ("02_reconciliation", {"reconciliation.teachers": [{"any": "MODEL", "audio": "some/hub-id"}, "MODEL"]}),
        ("06_meta_reward_dpo", {"meta_reward_dpo.disrm": {"text": "MODEL/05_bradley_terry", "any": ""}}),
        ("06_meta_reward_dpo", {"meta_reward_dpo.genrm": "MODEL"}),
    ],
)
def test_a_named_model_that_is_trained_again_means_other_work(tmp_path, monkeypatch, stage, named):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    weights = tmp_path / "model/05_bradley_terry/scorer/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("one")
    for made in ("00_backbone", "01_synthesis"):
        run = open_run(made, "smoke", "own")
        run.write("strong/x" if made == "00_backbone" else "data/x", "x")
        run.finish({})
    overrides = json.loads(json.dumps(named).replace("MODEL", str(tmp_path / "model")))

    def opened():
        return execute(stage, until="run.do(", profile="smoke", run="own", overrides=overrides)["run"]

    run = opened()
    run.do(lambda run: run.write("made.txt", "made"))
    run.finish({})
    assert opened().skipped
    weights.write_text("two")
    assert not opened().skipped
