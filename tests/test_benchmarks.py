"""Benchmarks: public files made of embedded pairs, official scores, reward-bench's result files, frozen rows."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from tiny_parts import text_part

from omnirepro.data import Judgement, Pair, Prompt, RowError, read_jsonl, sha256_file, write_jsonl
from omnirepro.data.sources import SOURCES, load
from omnirepro.data.sources.released import restored, write_released
from omnirepro.evaluate.official import official
from omnirepro.evaluate.result_files import read_results, write_results
from omnirepro.judge import rubric
from omnirepro.judge.rows import judge_split
from omnirepro.kit.run import RunError, load_params, open_run
from omnirepro.models.families import ModelError
from omnirepro.models.loading import follow, point_to
from omnirepro.models.opening import names_of
from omnirepro.papers import judges as opening
from omnirepro.papers.benchmarks import stage
from omnirepro.papers.benchmarks.report import (
    PUBLISHED,
    benchmark_metrics,
    official_scores,
    official_table,
    published,
    reliability,
)
from omnirepro.papers.best_of_n import stage as of_n
from omnirepro.papers.omni_rrm.supervised import choose_splits, judge_splits
from omnirepro.papers.omni_rrm.synthesis import generators
from omnirepro.toyworld.pretraining.trainer import make_pool

BLESSED = Path(__file__).resolve().parents[1] / "results" / "blessed"
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def row(pair_id, verdict, order="AB", label="A", task="t", cluster=None, model="judge/set", **kw):
    return Judgement(pair_id=pair_id, task=task, cluster=cluster or pair_id, order=order, model=model, kind="verdict",
                     status="ok" if verdict else "no_verdict", verdict=verdict, label=label, **kw)  # fmt: skip


def both(pair_id, *verdicts, **kw):
    return [row(pair_id, v, o, **kw) for v, o in zip(verdicts, ("AB", "BA"), strict=True)]


def facts(**rows):
    """Facts a pair as (section, weight, all_of)."""
    return pd.DataFrame([(k, *v) for k, v in rows.items()], columns=["pair_id", "section", "weight", "all_of"])


# ---- the embedded pairs in public files


@pytest.fixture(scope="module")
def world_pairs(tmp_path_factory):
    pool = make_pool(tmp_path_factory.mktemp("pool"), "test", 2, 0)
    pairs = []
    for kind in ("image", "video", "audio"):
        for i, (_, part) in enumerate(pool[kind]):
            part = part.model_copy(update={"sha256": sha256_file(part.path)})
            pairs.append(Pair(id=f"test-{kind}{i}#0", task=kind, prompt=[part, text_part("what colour?")],
                              response_a=[text_part("red")], response_b=[text_part("blue")], label="AB"[i],
                              margin=2.0 * i, cluster=f"{kind}-{i}"))  # fmt: skip
    asked = [text_part("bob has a cup."), text_part("\nwho?")]
    return [*pairs, Pair(id="test-x#0", task="text", prompt=asked, response_a=[text_part("bob")],
                         response_b=[text_part("a cup")], label="A", margin=3, cluster="text-0")]  # fmt: skip


def test_embedded_pairs_come_back_from_public_files_as_a_judge_sees_them(world_pairs, tmp_path):
    write_released(world_pairs, tmp_path / "released")
    said = []
    back = {p.id: restored(p) for p in load(tmp_path / "released", media=tmp_path / "media", say=said.append)}
    assert {line.rsplit(" ", 1)[1] for line in said} == {
        "vl-rewardbench", "sharegpt-video", "audio-hh-rlhf", "hh-rlhf-pairs"}  # fmt: skip
    for pair in world_pairs:
        other = back[pair.id]
        assert (other.label, other.cluster, other.margin) == (pair.label, pair.cluster, pair.margin)
        assert shown(other) == shown(pair), "the judge must read the same text and the same bytes"
    assert len(back) == len(world_pairs) and Counter(p.label for p in back.values()) == {"A": 4, "B": 3}


def shown(pair):
    """What a judge is shown: texts joined, media by content."""
    out = ""
    for message in rubric.messages(pair):
        for part in message["parts"]:
            out += part.text if part.type == "text" else f"<{part.type} {sha256_file(part.path)}>"
    return out


def test_what_no_format_holds_is_refused(world_pairs, tmp_path):
    for change in ({"label": "tie"}, {"prompt": [text_part("q"), world_pairs[0].prompt[0]]},
                   {"response_a": [world_pairs[0].prompt[0]]}):  # fmt: skip
        with pytest.raises(RowError, match="decided pairs of texts about one medium"):
            write_released([world_pairs[0].model_copy(update=change)], tmp_path / "x")


# ---- official scores


def test_multimodal_rewardbench_2_counts_each_order_by_itself():
    rows = [*both("p", "A", None), *both("q", "tie", "A"), *both("r", None, None), *both("s", "B", "B", label="B")]
    known = facts(p=(None, None, None), q=(None, None, None), r=(None, None, None), s=(None, None, None))
    read = [row for row in rows if row.verdict]
    right = sum(row.verdict == row.label for row in read)
    assert official(rows, known, "mmrb2").value == pytest.approx(right / len(read)) == pytest.approx(4 / 5)
    assert official(rows, known, "mmrb2", policy="wrong").value == pytest.approx(4 / 8), (
        "a caller's policy goes before it"
    )


def test_an_edit_counts_where_all_its_candidates_are_ranked_right():
    rows = [
        *both("x1", "A", "A"),
        *both("x2", "A", "B"),
        *both("y1", "A", "A"),
        *both("y2", "A", "A"),
        *both("z", "B", "A"),
    ]
    known = facts(x1=(None, None, "3pair/x"), x2=(None, None, "3pair/x"), y1=(None, None, "4pair/y"),
                  y2=(None, None, "4pair/y"), z=(None, None, None))  # fmt: skip
    assert official(rows, known, "editreward-bench").value == pytest.approx((0.5 + 1 + 0.5) / 3)


def test_rewardbench_is_a_mean_of_sections_in_which_math_prm_weighs_more():
    rows = [*both("a", "A", "A"), *both("b", "B", "B"), *both("c", "A", "B"), *both("d", "B", "B")]
    known = facts(a=("Chat", None, None), b=("Reasoning", 984 / 447, None), c=("Reasoning", None, None),
                  d=("Chat", None, None))  # fmt: skip
    found = official(rows, known, "rewardbench")
    reasoning = 0.5 / (984 / 447 + 1)  # c is right in one order
    assert found.value == pytest.approx((0.5 + reasoning) / 2) and found.n == 4
    assert official(rows, known, "unknown").value == pytest.approx((1 + 0 + 0.5 + 0) / (3 + 984 / 447))


def test_groups_within_sections_count_alike():
    rows = [*both("a", "A", "A", task="Natural"), *both("b", "B", "B", task="Adversarial/X"),
            *both("c", "A", "A", task="Adversarial/Y"), *both("d", "A", "A", task="Adversarial/Y")]  # fmt: skip
    known = facts(**{k: ("Natural" if k == "a" else "Adversarial", None, None) for k in "abcd"})
    assert official(rows, known, "llmbar").value == pytest.approx((1 + (0 + 1) / 2) / 2)


def test_a_list_counts_where_the_best_beats_every_loser():
    rows = [*both("l1/1", "A", "A"), *both("l1/2", "A", "B"), *both("l2/1", "A", "A"), *both("l2/2", "A", "A")]
    known = facts(**{p: ("Helpfulness", None, p[:2]) for p in ("l1/1", "l1/2", "l2/1", "l2/2")})
    found = official(rows, known, "rmb-best-of-n")
    assert found.value == pytest.approx((0.5 + 1) / 2) and found.n == 2, "the first list is right in one order"


def test_both_orders_must_agree_for_judgebench():
    rows = [*both("a", "A", "A"), *both("b", "A", "B"), *both("c", "A", "tie")]
    known = facts(a=(None, None, None), b=(None, None, None), c=(None, None, None))
    assert official(rows, known, "judgebench").value == pytest.approx(1 / 3)
    assert official(rows, known, "llmbar-like").value == pytest.approx((1 + 0.5 + 0.5) / 3)
    with pytest.raises(ValueError, match="no facts for 1 judged pairs, such as c"):
        official(rows, known[known.pair_id != "c"], "judgebench")


# ---- reward-bench's files


def pair(name, label, task="refusals-dangerous"):
    return Pair(id=name, task=task, prompt=[text_part("q")], response_a=[text_part("one")],
                response_b=[text_part("second")], label=label)  # fmt: skip


def test_result_files_come_back_as_the_verdicts_that_were_written():
    rows = [*both("1", "A", "A"), *both("2", "A", "A", label="B"), *both("3", "B", "A", task="hep-go"),
            *both("4", None, None)]  # fmt: skip
    pairs = [pair("1", "A"), pair("2", "B"), pair("3", "A", "hep-go"), pair("4", "A")]
    grouped, items = write_results(rows, pairs, "me")
    assert grouped == {"model": "me", "model_type": "Generative RM", "chat_template": None,
                       "hep-go": 0.5, "refusals-dangerous": 0.5}  # fmt: skip
    assert items["results"] == [1, 0, 0.5, 0.5] and items["id"] == ["1", "2", "3", "4"]
    assert items["text_chosen"][1] == [{"role": "user", "content": "q"}, {"role": "assistant", "content": "second"}]
    back = read_results(json.loads(json.dumps(items)))
    assert [(r.pair_id, r.order, r.verdict, r.label) for r in back[:4]] == [
        ("1", "AB", "A", "A"), ("1", "BA", "A", "A"), ("2", "AB", "B", "A"), ("2", "BA", "B", "A")]  # fmt: skip
    assert [r.verdict for r in back[4:]] == ["tie"] * 4 and back[2].length_a == len("second")
    with pytest.raises(ValueError, match="1 pairs were not judged, such as 9"):
        write_results(rows, [*pairs, pair("9", "A")], "me")


def test_a_scalar_judge_s_scores_stand_by_side():
    said = {"kind": "scalar", "score_a": 1.0, "score_b": 2.0}
    rows = [r.model_copy(update=said) for n, g in (("1", "A"), ("2", "B")) for r in both(n, "B", "B", label=g)]
    _, items = write_results(rows, [pair("1", "A"), pair("2", "B")], "me")
    assert items["scores_chosen"] == [1.0, 2.0] and items["scores_rejected"] == [2.0, 1.0]
    assert items["results"] == [0, 1] and items["model_type"] == "Seq. Classifier"
    assert [r.score_a for r in read_results(items)] == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [([], "not a per-item"), ({"id": ["1"]}, "a list is missing for subset, text_chosen"),
     ({"id": ["1"], "subset": [], "text_chosen": [], "text_rejected": [], "results": []}, "differ in length"),
     ({"id": ["1"], "subset": ["s"], "text_chosen": ["a"], "text_rejected": ["b"], "results": [0.3]}, "none of 0"),
     ({"id": ["1"], "subset": ["s"], "text_chosen": ["a"], "text_rejected": ["b"], "results": [[]]}, "none of 0")],
)  # fmt: skip
def test_a_file_that_is_no_result_file_is_an_error(content, said):
    with pytest.raises(RowError, match=said):
        read_results(content)


# ---- sets and frozen rows


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the small real data sets")
def test_real_data_become_sets_and_a_limit_keeps_whole_prompts():
    sets = stage.public_sets([str(REAL / "llmbar"), str(REAL / "pandalm")])
    assert {name: len(pairs) for name, pairs in sets.items()} == {"llmbar": 419, "pandalm": 999}
    few = stage.public_sets([str(REAL / "pandalm")], limit=60)["pandalm"]
    names = {p.cluster for p in few}
    assert 60 <= len(few) < 120 and few == [p for p in sets["pandalm"] if p.cluster in names]
    assert stage.public_sets([str(REAL / "pandalm")], limit=60)["pandalm"] == few


class Stage:
    """What `judge_sets` needs of a run, with results in a folder."""

    def __init__(self, folder, **values):
        self.folder, self.params = (
            folder,
            load_params("smoke", overrides={f"benchmarks.{k}": v for k, v in values.items()}),
        )
        self.seed, self.device, self.dtype = 0, "cpu", "float32"
        self.endpoint = {}
        self.checkpoint_dir = folder / "partial"
        self.checkpoint_dir.mkdir(parents=True)

    def section(self, name="benchmarks"):
        return self.params.section(name)

    def input(self, stage, name, optional=False):
        return None

    def path(self, name=""):
        return self.folder / name

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path


class Shorter:
    """A judge without a model: the shorter answer is better."""

    name = "shorter"

    def judge(self, pairs, progress=None):
        def said(p):
            return "A" if len(p.response_a[0].text) < len(p.response_b[0].text) else "B"

        return [row(p.id, said(p), o, p.label, p.task, p.cluster, length_a=len(p.response_a[0].text),
                    length_b=len(p.response_b[0].text)) for p in pairs for o in ("AB", "BA")]  # fmt: skip


def test_judges_and_frozen_rows_end_in_one_table(world_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "load_judge", lambda *args, **kw: Shorter())
    data = [{"input": f"q{i}", "output_1": "a", "output_2": "bb", "label": 1 + i % 2} for i in range(8)]
    (tmp_path / "Natural").mkdir()
    (tmp_path / "Natural" / "dataset.json").write_text(json.dumps(data))
    frozen = write_jsonl(tmp_path / "elsewhere.jsonl", [*both("p1", "A", "A", model="org/big"), *both("p2", "B", "A")])
    run = Stage(tmp_path / "stage", data=[str(tmp_path / "Natural")], rows=[str(frozen)])
    stage.judge_sets(run, {"short": "nowhere"}, world_pairs)
    scores = official_scores(run.folder).set_index(["set", "judge"])["value"]
    assert scores["llmbar", "short"] == 0.5, "the shorter answer is better in half of them"
    assert scores["embedded-image", "short"] == 0.5 and scores["elsewhere", "org-big"] == 1.0
    metrics = benchmark_metrics(run.folder)
    assert metrics["short_llmbar"]["n"] == 8 and metrics["short_llmbar_consistency"]["value"] == 1
    written = run.folder / "reward-bench" / "eval-set-scores" / "short" / "llmbar.json"
    assert sum(json.loads(written.read_text())["results"]) == 4
    said = published(run.folder)
    assert set(said.columns) == {"vl-rewardbench", "sharegpt-video", "audio-hh-rlhf"}
    assert said.loc["omni-rrm-7b (rrm-main)", "vl-rewardbench"] == 67.1
    assert said.loc["r1-reward-7b (rrm-main)", "audio-hh-rlhf"] == "", "no number is printed for it"
    assert official_table(run.folder).loc[("llmbar", 8), "short"].startswith("50.0 [")
    again = Stage(tmp_path / "again", embedded=False, rows=[str(written), str(frozen)])
    stage.judge_sets(again, {})
    rescored = official_scores(again.folder).set_index(["set", "judge"])["value"]
    assert rescored["llmbar", "short-llmbar"] == 0.5, "the result file alone gives the same accuracy"


def test_pairs_whose_content_was_taught_are_refused_or_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(opening, "load_judge", lambda source, *args, **kw: Shorter())
    texts = [f"question {i}, at some length" for i in range(6)]
    data = [{"input": text, "output_1": "a", "output_2": "bb", "label": 1 + i % 2} for i, text in enumerate(texts)]
    (tmp_path / "dataset.json").write_text(json.dumps(data))
    taught = [Prompt(id="x", task="t", parts=[text_part("Question  2, at SOME length")])]
    supplied = open_run("01_synthesis", "smoke")
    supplied.do(lambda run: run.write("data", lambda folder: write_jsonl(folder / "prompts_train.jsonl", taught)))
    supplied.finish({})
    asked = {"benchmarks.data": [str(tmp_path / "dataset.json")], "benchmarks.judges": ["org/some"]}
    run = open_run("09_benchmarks", "smoke", overrides=asked)
    with pytest.raises(RowError, match="benchmarks.data llmbar: 1 of 6 pairs, .* training split of 01: .*data.test"):
        stage.judge_sets(run, {})
    run = open_run("09_benchmarks", "smoke", overrides=asked | {"data.bad_rows": "drop"})
    run.do(stage.judge_sets, {})
    judged = {row.pair_id for row in read_jsonl(run.path("predictions.jsonl"), Judgement)}
    dropped = pd.read_csv(run.path("dropped.csv"))
    assert len(judged) == 5 and f"llmbar:{dropped['id'].item()}" not in judged


def test_named_judges_that_end_alike_are_both_asked(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(opening, "load_judge", lambda source, *args, **kw: opened.append(source) or Shorter())
    data = [{"input": f"q{i}", "output_1": "a", "output_2": "bb", "label": 1 + i % 2} for i in range(4)]
    (tmp_path / "Natural").mkdir()
    (tmp_path / "Natural" / "dataset.json").write_text(json.dumps(data))
    judges = ["runs/one/05/scorer", "runs/two/05/scorer", "runs/one/05/scorer", "runs/two/03/sft", "org/Big", "org/big"]
    run = Stage(tmp_path / "stage", data=[str(tmp_path / "Natural")], embedded=False, judges=judges[:-2])
    stage.judge_sets(run, {"sft": tmp_path / "sft"})
    assert opened == [tmp_path / "sft", "runs/one/05/scorer", "runs/two/05/scorer", "runs/two/03/sft"]
    scored = official_scores(run.folder)
    assert set(scored["judge"]) == {"sft", "one-05-scorer", "two-05-scorer", "03-sft"} and len(scored) == 4
    twins = Stage(tmp_path / "twins", data=[str(tmp_path / "Natural")], embedded=False, judges=judges[-2:])
    with pytest.raises(ModelError, match="judge org/big would have the name of org/Big: name it by another path"):
        stage.judge_sets(twins, {})


def test_the_run_s_own_base_judges_by_name_whichever_model_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(opening, "load_judge", lambda source, *args, **kw: opened.append(source) or Shorter())
    opened = []
    rows = [{"input": f"q{i}", "output_1": "a", "output_2": "bb", "label": 1 + i % 2} for i in range(4)]
    (tmp_path / "Natural").mkdir()
    (tmp_path / "Natural" / "dataset.json").write_text(json.dumps(rows))
    profile = tmp_path / "mine.yaml"
    given = {"profile": {"extends": "omni-7b"}, "backbone": {"model": "some/other", "weak_model": ""}}
    profile.write_text(json.dumps(given | {"benchmarks": {"data": [str(tmp_path / "Natural")]}}))
    with pytest.raises(RunError, match="00_backbone/strong is missing.*run notebooks/00_backbone.ipynb first"):
        stage.upstream(open_run("09_benchmarks", str(profile)))
    backbone = open_run("00_backbone", str(profile), overrides={"data.prompts": ["x"]})
    backbone.do(lambda run: run.write("strong", lambda folder: point_to("some/other", folder)))
    backbone.finish({})
    run = open_run("09_benchmarks", str(profile), overrides={"benchmarks.judges": ["base", "org/else"]})
    run.do(stage.judge_sets, *stage.upstream(run))
    assert [follow(str(source)) for source in opened] == ["some/other", "org/else"]
    assert set(official_scores(run.path())["judge"]) == {"base", "else"}


@pytest.mark.parametrize("nb", ["08_best_of_n", "09_benchmarks", "01_synthesis"])
def test_a_named_model_that_is_trained_again_in_place_makes_the_stage_stale(nb, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    adapter = tmp_path / "mine" / "04_grpo" / "adapter" / "adapter_model.safetensors"
    adapter.parent.mkdir(parents=True)
    named = {"08_best_of_n": "best_of_n.judges", "09_benchmarks": "benchmarks.judges"}
    spec, rows = str(tmp_path / "mine" / "04_grpo"), tmp_path / "asked.jsonl"
    rows.write_text('{"id": "1", "prompt": "2 + 2?", "gold": ["4"]}\n')
    given = {named[nb]: [spec]} if nb in named else {"synthesis.strong": spec, "synthesis.weak": {"any": "org/weak"}}
    given |= {"data.prompts": [str(rows)]} if nb not in named else {}
    given |= {"best_of_n.data": [str(rows)], "best_of_n.generator": "org/it"} if nb == "08_best_of_n" else {}
    seek = {"08_best_of_n": of_n.upstream, "09_benchmarks": stage.upstream, "01_synthesis": generators}[nb]

    def opened():
        run = open_run(nb, "smoke", overrides=given)
        seek(run)
        return run

    for content, beside, skipped in (("1", "", False), ("1", "notes", True), ("2", "notes", False)):
        adapter.write_text(content)
        (adapter.parent.parent / "figure.png").write_text(beside)
        run = opened()
        assert run.skipped == skipped, content
        run.do(lambda run: [run.section()[key.partition(".")[2]] for key in given if not key.startswith("data.")])
        run.finish({})


@pytest.mark.parametrize("name", ["omni-7b", "omni-3b", "omni-rrm-7b", "omni-rrm-3b", "omni-rrm-7b-released"])
def test_a_profile_s_base_is_a_judge_by_no_name_of_its_own(name):
    params = load_params(name)
    assert params["benchmarks.judges"] == ["base"] and params["backbone.model"] not in params["benchmarks.judges"]


def test_a_name_is_as_short_as_tells_a_model_from_the_others():
    server = "http://localhost:8000/v1#Qwen/x"
    assert names_of([server, "results/a/05/"]) == {"x": server, "05": "results/a/05/"}
    assert names_of([server, "Qwen/x"]) == {"v1-Qwen-x": server, "Qwen-x": "Qwen/x"}
    assert names_of(["a/b-c", "b/c", "d/c"]) == {"a-b-c": "a/b-c", "b-c": "b/c", "d-c": "d/c"}
    for specs, taken in ((["x"], ["x"]), (["a/x", "a/x/"], []), (["a_x", "a-x"], []), (["grpo"], ["GRPO"])):
        with pytest.raises(ModelError, match="name it by another path"):
            names_of(specs, taken)


def test_two_files_of_frozen_rows_of_one_set_count_each_pair_once(tmp_path):
    rows = []
    for model in ("one", "two"):
        (tmp_path / model).mkdir()
        frozen = [*both("p1", "A", "A", model=model), *both("p2", "B", "A", model=model)]
        rows.append(str(write_jsonl(tmp_path / model / "mine.jsonl", frozen)))
    run = Stage(tmp_path / "stage", embedded=False, rows=rows)
    stage.judge_sets(run, {})
    assert official_scores(run.folder).set_index("judge")["n"].to_dict() == {"one": 2, "two": 2}


@pytest.mark.skipif(not (BLESSED / "03_sft" / "adapter").is_dir(), reason="needs the committed run")
def test_own_judges_are_read_by_probabilities_too_and_calibrated_on_their_development_pairs(world_pairs, tmp_path):
    for name in ("00_backbone/strong", "03_sft/adapter"):
        shutil.copytree(BLESSED / name, tmp_path / name)
    adapter = tmp_path / "03_sft" / "adapter"
    dev = Stage(tmp_path / "dev")
    wrote = judge_splits(dev, adapter, "sft", {"dev": world_pairs})
    rows = choose_splits(dev, adapter, "sft", {"dev": world_pairs}, wrote)
    write_jsonl(tmp_path / "03_sft" / "choices.jsonl", rows)
    run = Stage(tmp_path / "stage")
    stage.judge_sets(run, {"sft": adapter}, world_pairs)
    chosen = read_jsonl(run.path("choices.jsonl"), Judgement)
    assert len(chosen) == 2 * len(world_pairs)
    assert {row.decoding["read"] for row in chosen} == {"choice-after-rationale"}
    metrics = benchmark_metrics(run.folder)
    one = next(row for row in chosen if row.pair_id.startswith("embedded-text:"))
    right = one.label == one.verdict
    sure = max(one.probability, 1 - one.probability)
    assert metrics["sft_embedded_text_ece"]["value"] == pytest.approx(abs(right - sure), abs=1e-6)
    fitted = pd.read_csv(run.path("temperatures.csv"))["temperature"].item()
    calm = 1 / (1 + math.exp(-abs(one.score_a - one.score_b) / fitted))
    assert metrics["sft_embedded_text_ece_calibrated"]["value"] == pytest.approx(abs(right - calm), abs=1e-6)
    assert set(reliability(run.folder)["model"]) == {"sft", "sft, calibrated"}
    said = {row.model for row in read_jsonl(run.path("predictions.jsonl"), Judgement)}
    assert said == {row.model.replace("sft, choice", "sft") for row in chosen}


def test_a_judge_that_is_read_by_probabilities_alone_has_no_temperature(tmp_path):
    rows = []
    for i, chance in enumerate((0.9, 0.6, 0.8)):
        for order in ("AB", "BA"):
            about = {"probability": chance, "score_a": math.log(chance), "score_b": math.log(1 - chance)}
            rows.append(row(f"p{i}", "A", order, label="AB"[i == 1], model="j", decoding={"read": "choice"}, **about))
    frozen = write_jsonl(tmp_path / "mine.jsonl", rows)
    run = Stage(tmp_path / "stage", embedded=False, rows=[str(frozen)])
    stage.judge_sets(run, {})
    metrics = benchmark_metrics(run.folder)
    assert metrics["j_mine_ece"]["value"] == pytest.approx((0.1 + 0.6 + 0.2) / 3)
    assert "j_mine_ece_calibrated" not in metrics and not run.path("temperatures.csv").exists()


def test_two_data_sets_that_become_one_set_may_not_share_ids(tmp_path):
    pairs = [{"id": f"q{i}", "prompt": "q", "response_a": "a", "response_b": "b", "label": "A"} for i in range(3)]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    data = [str(tmp_path / folder / "mine.jsonl") for folder in ("one", "two")]
    with pytest.raises(RowError, match="two/mine.jsonl: the id 'pairs:q0' stands twice, first at .*one/mine.jsonl"):
        stage.public_sets(data)
    other = tmp_path / "two" / "mine.jsonl"
    other.write_text(other.read_text().replace("q", "p"))
    assert {name: len(some) for name, some in stage.public_sets(data).items()} == {"pairs": 6}


def test_nothing_to_judge_is_an_error(tmp_path):
    with pytest.raises(RowError, match="nothing to judge"):
        stage.judge_sets(Stage(tmp_path / "x", embedded=False), {})


def test_published_tables_name_known_sources():
    assert set(PUBLISHED) <= set(SOURCES)


def test_rows_kept_of_one_judge_are_not_another_s_whose_name_reads_alike(tmp_path):
    class Says:
        def __init__(self, verdict):
            self.verdict = verdict

        def judge(self, pairs, progress=None):
            return [row(pair.id, self.verdict) for pair in pairs]

    pair = Pair(id="p", task="t", prompt=[text_part("q")], response_a=[text_part("a")], response_b=[text_part("b")])
    for name, verdict in (("a/b-c", "A"), ("a-b/c", "B"), ("a%2Fb/c", "tie")):
        assert [one.verdict for one in judge_split(Says(verdict), name, [pair], tmp_path)] == [verdict]
    kept = judge_split(Says("B"), "a/b-c", [pair], tmp_path)
    assert [one.verdict for one in kept] == ["A"], "what was judged before is not judged again"
