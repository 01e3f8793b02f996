"""Checks: a weak result is shown, kept and carried on; a broken one ends the stage with a sentence."""

import json
import math
import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from omnirepro.cli.export.hub import write_card
from omnirepro.cli.recompute import recompute
from omnirepro.data import Judgement, Label, Pair, Part, write_jsonl
from omnirepro.evaluate.statistics import UNKNOWN, Interval
from omnirepro.kit.report import pages
from omnirepro.kit.report.seeds import combine_seeds, combined_summary
from omnirepro.kit.report.summary import summary
from omnirepro.kit.run import Check, RunError, load_params, open_run, require
from omnirepro.kit.run.checks import checks_of, checks_page, existing, told, without_checks
from omnirepro.kit.run.parameters import Params
from omnirepro.kit.scorecard import aggregate, load_claims
from omnirepro.kit.scorecard.stage import missed_checks, write_scorecard
from omnirepro.papers import checks as asked
from omnirepro.papers import reports as report
from omnirepro.papers.best_of_n import chosen
from omnirepro.papers.grm_omni import experiments as tables
from omnirepro.papers.grm_omni import ranking
from omnirepro.papers.grm_omni.metrics import counts, orders
from omnirepro.papers.grm_omni.plots import META_PLOTS
from omnirepro.papers.omni_reward import free_form
from omnirepro.papers.omni_reward.metrics import proposals
from omnirepro.papers.omni_rrm import label_quality, plots, reinforcement, supervised
from omnirepro.papers.omni_rrm.synthesis import synthesize
from omnirepro.papers.plots import draw_together, together
from tests.conftest import ROOT

# ---- one check


@pytest.mark.parametrize(
    ("value", "how", "passed"),
    [
        (0.95, {}, True),
        (0.949, {}, False),
        (0.95, {"beyond": True}, False),
        (0.96, {"at_most": True}, False),
        (0.95, {"at_most": True}, True),
        (0.95, {"at_most": True, "beyond": True}, False),
        (np.float64(0.96), {}, True),
        (None, {}, False),
        (math.nan, {}, False),
        (math.nan, {"at_most": True}, False),
    ],
)
def test_a_check_reads_a_value_against_its_bound(value, how, passed):
    check = Check("valid judgements", value, 0.95, **how)
    assert check.passed is passed and check.key == "check_valid_judgements"
    entry = json.loads(json.dumps(check.entry()))
    known = value if value is not None and not math.isnan(value) else None
    assert entry == {"value": known, "bound": 0.95, "at_most": how.get("at_most", False), "passed": passed}


def test_a_missed_check_is_red_and_says_so_in_words():
    page = checks_page([Check("kept & valid", 0.8231, 0.95, asks="To be read."), Check("ties", 0.1, 0.9, at_most=True)])
    html, text = page._repr_html_(), repr(page)
    missed, passed = re.findall(r"<tr>(.*?)</tr>", html)[1:]
    assert "#b42318" in missed and "MISSED" in missed and "kept &amp; valid" in missed and "To be read." in missed
    assert "#b42318" not in passed and "passed" in passed
    assert re.search(r"kept & valid +82\.3 % +at least 95 % +MISSED +To be read\.", text)
    assert re.search(r"ties +10 % +at most 90 % +passed", text)
    assert "less than 30 %" in repr(checks_page([Check("x", 0.2, 0.3, at_most=True, beyond=True)]))
    assert "not measured" in repr(checks_page([Check("x", None, 0.5)]))


def test_require_names_what_is_wrong(tmp_path):
    require(True, "never said")
    with pytest.raises(RunError, match="3 of 4 are lost"):
        require([], "3 of 4 are lost: run it again")
    with pytest.raises(RunError, match="rows.csv is missing: delete .* and run the notebook again"):
        existing(tmp_path / "rows.csv")
    with pytest.raises(FileNotFoundError):  # so that a figure without rows is left out, as before
        existing(tmp_path / "rows.csv")


# ---- in a run


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params/profiles").mkdir(parents=True)
    (tmp_path / "params/base.yaml").write_text("# The toy.\nfirst:\n  # Steps.\n  steps: 1\n")
    (tmp_path / "params/profiles/tiny.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    return tmp_path


def finished(run):
    run.do(lambda run: run.write("model.txt", str(run.section("first").steps)))
    run.check([Check("valid judgements", 0.5, 0.95)])
    run.check([Check("ties", 0.1, 0.9, at_most=True), Check("valid judgements", 0.6, 0.95)])
    run.finish({"accuracy": 0.75})


def test_checks_are_kept_with_the_metrics_and_stop_nothing(project):
    run = open_run("01_first")
    finished(run)
    found = json.loads((run.dir / "metrics.json").read_text())
    nothing = dict.fromkeys(("low", "high", "n", "seeds"))
    assert found["check_valid_judgements"] == {
        "value": 0.6,
        **nothing,
        "bound": 0.95,
        "at_most": False,
        "passed": False,
    }
    assert found["check_ties"]["passed"] is True and (run.dir / "manifest.json").is_file()
    assert list(without_checks(found)) == ["accuracy"] and list(checks_of(found)) == ["valid judgements", "ties"]
    again, before = open_run("01_first"), (run.dir / "metrics.json").read_bytes()
    finished(again)
    assert again.skipped and (run.dir / "metrics.json").read_bytes() == before


# ---- what each notebook asks


def names(checks):
    return {check.name: check.passed for check in checks}


def gate_file(folder, correct=1, kinds=("fact", "check", "winner")):
    rows = [("fact", m, "color", "red") for m in ("image", "text", "views3d") for _ in range(4)]
    rows += [("check", m, "color", e) for m in ("image", "text", "views3d") for e in ("good", "poor", "poor", "poor")]
    rows += [("winner", "scores", f"{a} and {b}", "equal" if a == b else "A") for a in range(3) for b in range(3)]
    table = pd.DataFrame(rows, columns=["asked", "modality", "attribute", "expected"]).assign(correct=correct)
    table[table["asked"].isin(kinds)].to_csv(folder / "gate.csv", index=False)
    return table


def test_the_gate(tmp_path):
    section = {"gate": 0.95, "gate_check": 0.8}
    table = gate_file(tmp_path)
    found = asked.backbone_checks(tmp_path, section)
    bounds = {c.name: c.bound for c in found}
    assert bounds == {"fact image": 0.95, "fact text": 0.95, "check image": 0.8, "check text": 0.8,
                      "winner equal": 0.95, "winner apart": 0.95}  # fmt: skip
    assert all(names(found).values())
    wrong = (table["asked"] == "check") & (table["modality"] == "image") & (table["expected"] == "good")
    table.assign(correct=1 - wrong.astype(int)).to_csv(tmp_path / "gate.csv", index=False)
    assert [k for k, v in names(asked.backbone_checks(tmp_path, section)).items() if not v] == ["check image"]
    metrics = report.gate_metrics(tmp_path)
    assert metrics["gate"].value == metrics["gate_views3d"].value == metrics["gate_winner_equal"].value == 1
    assert metrics["gate_check_image"].value == pytest.approx(0.5), (
        "balanced: one of four is good, and that one is wrong"
    )
    assert metrics["gate_check_text"].value == 1 and metrics["gate_winner"].n == 9
    drawn = plots.gate(tmp_path)
    assert drawn["judge"].nunique() == 3 and {"equal scores", "other scores", "image"} <= set(drawn["task"])
    assert drawn["judge"].str.contains(r"chance: |commonest answer: ").all()
    with pytest.raises(RunError, match="gate.csv is missing"):
        asked.backbone_checks(tmp_path / "nothing", section)


def test_a_gate_of_facts_alone_is_read_as_before(tmp_path):
    gate_file(tmp_path, kinds=("fact",)).query("asked == 'fact'").drop(columns="asked").to_csv(
        tmp_path / "gate.csv", index=False
    )
    assert list(names(asked.backbone_checks(tmp_path, {"gate": 0.95, "gate_check": 0.8}))) == [
        "fact image",
        "fact text",
    ]
    assert set(report.gate_metrics(tmp_path)) == {"gate", "gate_image", "gate_text", "gate_views3d"}
    assert plots.gate(tmp_path)["judge"].unique().tolist() == ["backbone"]
    blessed = ROOT / "results/blessed/00_backbone"
    stored = pd.read_csv(blessed / "figures/gate.csv")
    assert stored.equals(plots.gate(blessed).round(6).reset_index(drop=True))


def interval(value, low=None):
    return {"value": value, "low": low, "high": None if low is None else value, "n": 9, "seeds": 1}


def test_sft():
    good = {"valid_share": interval(0.95), "sft_minus_longer_wins": interval(0.2, 0.01)}
    good["sft_minus_always_a"] = interval(0.2, 0.1)
    assert list(names(asked.sft_checks(good)).values()) == [True] * 3
    weak = {"valid_share": interval(0.949), "sft_minus_longer_wins": interval(0.2, 0.0),
            "sft_minus_always_a": interval(0.2)}  # fmt: skip
    assert list(names(asked.sft_checks(weak)).values()) == [False] * 3
    within = {"minus_longer_wins_text": interval(0.1, -0.1), "minus_always_a_text": interval(0.1, 0.05)}
    assert asked.leads_within(within) == "no significant lead within: minus_longer_wins_text"
    assert "every modality" in asked.leads_within({"minus_always_a_text": interval(0.1, 0.05)})
    assert "minus_always_a_text" in asked.leads_within({"minus_always_a_text": interval(0.1)})


@pytest.mark.parametrize(
    ("valid", "ties", "always_a", "failed"),
    [
        (0.9, 0.2, 0.4, []),
        (0.89, 0.0, 0.5, ["valid judgements"]),
        (0.4, 0.0, 0.44, ["valid judgements", "least share of A", "valid judgements without collapse"]),
        (0.99, 0.0, 0.56, ["largest share of A"]),
        (0.99, 0.95, 0.025, ["ties without collapse"]),
        (0.99, 1.0, 0.0, ["least share of A", "largest share of A", "ties without collapse"]),
    ],
)
def test_grpo(valid, ties, always_a, failed):
    metrics = {"valid_share": interval(valid), "tie_rate": interval(ties), "always_a": interval(always_a)}
    assert [name for name, passed in names(asked.grpo_checks(metrics)).items() if not passed] == failed


def test_grpo_of_a_judge_that_says_nothing_valid():
    found = asked.grpo_checks({"valid_share": interval(0.0)})
    assert not any(check.passed for check in found) and found[1].value is None


def pair(name, split="train", label="A", cluster="c"):
    text = [Part(type="text", text=name)]
    return Pair(id=name, task="T2T", prompt=text, response_a=text, response_b=[Part(type="text", text="other")],
                cluster=cluster, label=label)  # fmt: skip


def test_omni(tmp_path, monkeypatch):
    bench = {
        "train": [pair("a", cluster="1")],
        "dev": [pair("b", cluster="2")],
        "test": [pair(str(i), label="tie" if i < 2 else "B", cluster="3") for i in range(10)],
    }
    monkeypatch.setattr(asked, "read_bench", lambda folder: bench[folder.name])
    metrics = {"precision_kept": Interval(0.9, 0.8, 1, 9), "precision_proposed": Interval(0.8, 0.7, 0.9, 9)}
    metrics["r1_valid_share"] = interval(0.9)
    assert all(names(asked.omni_checks(tmp_path, metrics)).values())
    weak = metrics | {"precision_kept": metrics["precision_proposed"], "r1_valid_share": interval(0.1)}
    failed = [name for name, passed in names(asked.omni_checks(tmp_path, weak)).items() if not passed]
    assert failed == ["precision of kept criteria", "valid verdicts of R1"]
    bench["test"] = bench["test"][2:]
    assert not names(asked.omni_checks(tmp_path, metrics))["least share of gold ties"]
    assert not names(asked.omni_checks(tmp_path, metrics | {"precision_kept": UNKNOWN}))["precision of kept criteria"]
    bench["dev"] = bench["train"]
    with pytest.raises(RunError, match="train and dev share 1 scenes"):
        asked.omni_checks(tmp_path, metrics)


def test_meta(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "search", "dev", "test"):
        write_jsonl(tmp_path / f"data/pairs_{split}.jsonl", [pair("a", cluster=split)])
    assert names(asked.meta_checks(tmp_path, {"valid_share_sft": 0.9})) == {"valid judgements of SFT": True}
    assert not asked.meta_checks(tmp_path, {"valid_share_sft": 0.0})[0].passed
    write_jsonl(tmp_path / "data/pairs_dev.jsonl", [pair("a", cluster="search")])
    with pytest.raises(RunError, match="training and test share"):
        asked.meta_checks(tmp_path, {"valid_share_sft": 0.9})


def test_synthesis(tmp_path):
    marks = {"fluency": [1, 0], "relevance": [1, 1], "accuracy": [1, 0], "reasoning": [1, 0], "safety": [1, 0]}
    about = {"pair_id": ["p", "p"], "task": "text", "generator": ["strong", "weak"], "score": [9, 3], "split": "train"}
    pd.DataFrame(about | marks).to_csv(tmp_path / "candidates.csv", index=False)
    found = names(asked.synthesis_checks(tmp_path, 0.05))
    assert len(found) == 5 and [name for name, passed in found.items() if not passed] == ["relevance differs"]


def test_reconciliation_may_keep_little_and_lose_nothing(tmp_path):
    data = tmp_path / "data"
    write_jsonl(data / "pairs_train.jsonl", [pair(name) for name in "abc"])
    label = Label(pair_id="a", verdict="A", score_a=9, score_b=1, provenance="x")
    write_jsonl(tmp_path / "labels_sft.jsonl", [label])
    write_jsonl(tmp_path / "labels_rl.jsonl", [])
    (tmp_path / "dropped.jsonl").write_text('{"pair_id": "b", "reason": "tie"}\n{"pair_id": "c", "reason": "tie"}\n')
    assert asked.require_every_pair(tmp_path, data)["pairs"].tolist() == [1, 0, 2]
    (tmp_path / "dropped.jsonl").write_text('{"pair_id": "b", "reason": "tie"}\n')
    with pytest.raises(RunError, match="2 of 3 pairs are kept, or dropped with a reason: delete"):
        asked.require_every_pair(tmp_path, data)


def test_choices(tmp_path, monkeypatch):
    rows = [("oracle", "", 1, 9), ("random", "", 0.5, 5), ("knock-out", "sft", 0, 3)]
    table = pd.DataFrame(rows, columns=["way", "judge", "right", "score"]).assign(prompt_id="p", n=2)
    table.to_csv(tmp_path / "choices.csv", index=False)
    same = [True]
    monkeypatch.setattr(asked.stage, "replay", lambda folder, seed: same[0])
    metrics = {"valid_share_sft": Interval(0.9, 0.8, 1, 9)}
    expected = {
        "valid judgements of SFT": True,
        "valid judgements of GRPO": False,
    }  # without a match nothing is measured
    assert names(asked.choice_checks(tmp_path, 0, metrics)) == expected
    table.assign(score=[9, 5, 10]).to_csv(tmp_path / "choices.csv", index=False)
    with pytest.raises(RunError, match="1 choices are better than the best"):
        asked.choice_checks(tmp_path, 0, metrics)
    same[0] = False
    with pytest.raises(RunError, match="do not give the choices that were written"):
        asked.choice_checks(tmp_path, 0, metrics)


def judged(order, label="A", name="p", judge="sft", status="ok"):
    return Judgement(pair_id=name, task="text", cluster=name, order=order, model=f"{judge}/set-{label}", kind="rubric",
                     status=status, verdict="A" if status == "ok" else None, label=label)  # fmt: skip


def test_benchmarks(tmp_path):
    rows = [judged(order, label, label) for order in ("AB", "BA") for label in "AB"]
    write_jsonl(tmp_path / "predictions.jsonl", rows)
    (check,) = asked.benchmark_checks(tmp_path)
    assert check.value == 0 and not check.passed and "set-A, set-B" in check.asks
    both = [row.model_copy(update={"model": "sft/set"}) for row in rows]
    write_jsonl(tmp_path / "predictions.jsonl", both)
    assert asked.benchmark_checks(tmp_path)[0].passed
    write_jsonl(tmp_path / "predictions.jsonl", both[:-1])
    with pytest.raises(RunError, match="once in each order: sft on set"):
        asked.benchmark_checks(tmp_path)
    write_jsonl(tmp_path / "predictions.jsonl", both[:2])
    with pytest.raises(RunError, match="once in each order"):
        asked.benchmark_checks(tmp_path)


def test_shares_and_verdicts():
    asked.require_shares({"a_minus_b": Interval(0.4, -1, 1, 3), "tokens_a": Interval(40, 1, 50, 3), "c": UNKNOWN})
    with pytest.raises(RunError, match="no difference of two shares: a_minus_b"):
        asked.require_shares({"a_minus_b": Interval(1.4, -1, 1, 3)})
    table = pd.DataFrame({"claim": ["x", "y"], "verdict": ["supported", "not run"]})
    assert asked.require_verdicts(table)["claims"].sum() == 2
    for wrong in (table.assign(claim="x"), table.assign(verdict=["supported", ""])):
        with pytest.raises(RunError, match="claims without exactly one verdict: "):
            asked.require_verdicts(wrong)


# ---- carried to the end

MISSED = {"value": 0.823, "bound": 0.95, "at_most": False, "passed": False}
PASSED = {"value": 0.97, "bound": 0.95, "at_most": False, "passed": True}


def test_lines_of_the_summary():
    stages = {
        "03_sft": {"accuracy": {"value": 1.0}, "check_valid_judgements": MISSED, "check_x": PASSED},
        "04_grpo": {},
    }
    lines = ["MISSED  03_sft  valid judgements 82.3 % (bound 95 %)", "1 of 2 checks missed"]
    assert told(stages) == lines
    assert told({"03_sft": {"check_x": PASSED}}) == ["all 1 checks passed"]
    assert told({"03_sft": {"accuracy": {"value": 1.0}}}) == [], "a run from before there were checks says nothing"
    table = missed_checks(stages)
    assert table.to_dict("records") == [
        {"stage": "03_sft", "check": "valid judgements", "value": "82.3 %", "bound": "at least 95 %"}
    ]
    assert missed_checks({}).columns.tolist() == ["stage", "check", "value", "bound"]


def test_a_check_is_passed_where_it_is_in_every_seed():
    def of(*entries):
        found = aggregate({seed: {"03_sft": {"check_x": entry}} for seed, entry in enumerate(entries)})
        return found["03_sft"]["check_x"]

    found = of(PASSED, MISSED, PASSED)
    assert found["passed"] is False and found["passed_in"] == 2 and found["seeds"] == [0, 1, 2]
    assert found["value"] == pytest.approx((0.97 + 0.823 + 0.97) / 3) and found["by_seed"]["1"] == 0.823
    assert of(PASSED, PASSED)["passed"] is True and found["low"] is None
    unmeasured = of(PASSED, MISSED | {"value": None})
    assert unmeasured["value"] == 0.97 and unmeasured["passed_in"] == 1 and not unmeasured["passed"]
    assert of(MISSED | {"value": None})["value"] is None
    (line, _) = told({"03_sft": {"check_x": found}})
    assert line == "MISSED  03_sft  x 92.1 % (bound 95 %), passed in 2 of 3 seeds"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds of a profile with a finished stage each, of which one missed a check, and a fork that missed one."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    manifest = {"params": {}, "inputs": {}, "outputs": {}, "profile": "tiny", "device": "cpu", "seconds": 1.0}
    valid = {"tiny": MISSED, "tiny-s1": PASSED}
    for seed, (name, entry) in enumerate(valid.items()):
        folder = tmp_path / name / "03_sft"
        folder.mkdir(parents=True)
        known = dict.fromkeys(("low", "high", "n", "seeds"))
        metrics = {"accuracy": {"value": 0.5} | known, "check_valid_judgements": known | entry}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "manifest.json").write_text(json.dumps(manifest | {"seed": seed, "run": name}))
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 03 SFT")])
        nbformat.write(book, folder / "notebook.ipynb")
    fork = tmp_path / "tiny+arm" / "03_sft"
    fork.mkdir(parents=True)
    (fork / "metrics.json").write_text(json.dumps({"check_of_the_fork": MISSED}))
    return tmp_path


def test_missed_checks_end_the_summary_and_stand_in_the_report(runs):
    assert summary("tiny").splitlines()[-2:] == [
        "MISSED  03_sft  valid judgements 82.3 % (bound 95 %)",
        "1 of 1 checks missed",
    ]
    assert summary("tiny-s1").splitlines()[-1] == "all 1 checks passed" and "fork" not in summary("tiny")
    text = pages.build("tiny").read_text()
    missed = '<b class="missed">MISSED</b>'
    assert f"<li>{missed} 03_sft: valid judgements 82.3 % (bound 95 %)</li>" in text and 'href="#checks"' in text
    assert f"<p>{missed} valid judgements 82.3 % (bound 95 %)</p>" in text, "the stage's own card says it too"
    assert "<td>check_valid_judgements" not in text
    passed = pages.build("tiny-s1").read_text()
    assert "all 1 checks passed" in passed and missed not in passed


def test_several_seeds_say_in_how_many_a_check_is_passed(runs):
    for name, value in (("tiny", 0.8), ("tiny-s1", 0.9)):
        (table := runs / name / "03_sft/figures/accuracy.csv").parent.mkdir()
        table.write_text(f"task,judge,value,low,high\nimage,sft,{value},0.7,0.95\n")
    folder = runs / combine_seeds("tiny", [0, 1], draw_together)
    line = "MISSED  03_sft  valid judgements 89.6 % (bound 95 %), passed in 1 of 2 seeds"
    assert combined_summary("tiny").splitlines()[-2:] == [line, "1 of 1 checks missed"]
    assert pd.read_csv(folder / "10_scorecard/tables/missed.csv")["check"].tolist() == ["valid judgements"]
    text = (folder / "report.html").read_text()
    assert "passed in 1 of 2 seeds" in text and "<td>check_" not in text
    assert "recompute accuracy --run tiny-seeds</code>" in text and text.count("data:image/png") == 1
    drawn = pd.read_csv(folder / "03_sft/figures/accuracy.csv").iloc[0]
    assert (drawn["value"], drawn["low"], drawn["high"], drawn["each"]) == (0.85, 0.214690, 1.0, "0.800000 0.900000")


def test_a_number_of_several_seeds_is_computed_again_from_the_rows_of_each(runs):
    combine_seeds("tiny", [0, 1], draw_together)
    text, agree = recompute("accuracy", "tiny-seeds")
    assert not agree and [line.split("  ")[2] for line in text.splitlines()[1:]] == [
        "rows of seed 0", "rows of seed 1", "from seeds",
    ]  # fmt: skip
    assert text.count("its rows are not here") == 2 and text.splitlines()[-1].endswith("yes")


def test_seeds_whose_tables_differ_have_no_common_figure():
    table = pd.DataFrame({"task": ["image"], "value": [0.5], "low": [0.4], "high": [0.6]})
    assert len(together([table, table])) == 1
    assert "n" in together([table.assign(n=4)] * 2) and "n" not in together([table.assign(n=4), table.assign(n=5)])
    assert together([table, table.assign(task="text")]).empty and together([table[["task", "value"]]] * 2).empty


def test_the_scorecard_carries_missed_checks(runs):
    run = open_run("10_scorecard", "tiny")
    run.do(write_scorecard, load_claims(ROOT / "results" / "claims.yaml"))
    table = pd.read_csv(run.path("tables/missed.csv"))
    assert table[["stage", "check"]].to_numpy().tolist() == [["03_sft", "valid judgements"]]
    assert "check" in pd.read_csv(run.path("tables/checks.csv")).columns, "the papers' arithmetic keeps its file"


def test_a_model_card_says_which_checks_were_missed(tmp_path):
    metrics = {"accuracy": interval(0.8, 0.7), "consistency": interval(None), "check_valid_judgements": MISSED}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    write_card(tmp_path, "base", tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "| accuracy | 0.800 |" in card and "check_" not in card and "consistency" not in card
    assert "* It missed a check of its training: valid judgements 82.3 % (bound 95 %).\n" in card


# ---- what a weak result leaves behind is measured, or said to be unknown


def test_a_difference_of_nothing_is_unknown():
    none = pd.DataFrame({"prompt_id": [], "right": [], "cluster": []})
    some = pd.DataFrame({"prompt_id": ["p"], "right": [1.0], "cluster": ["c"]})
    assert chosen.gain(some, none) == UNKNOWN or math.isnan(chosen.gain(some, none).value)
    rows = pd.DataFrame({"credit": [1.0], "cluster": ["c"], "seed": [0]})
    assert free_form.gap(rows, pd.Series([True])).n == 0
    kept = pd.DataFrame({"rule": ["none"], "correct": [1], "cluster": ["c"]})
    assert label_quality.precision_gain(kept, "published", "none").n == 0
    assert UNKNOWN.as_metric() == {"value": None, "low": None, "high": None, "n": 0, "seeds": 1}


def test_a_verifier_that_keeps_nothing_has_no_precision(tmp_path):
    rows = {"correct": [1, 0], "kept": [False, False], "cluster": ["a", "b"]}
    pd.DataFrame(rows).to_csv(tmp_path / "proposals.csv", index=False)
    found = proposals(tmp_path)
    assert found["precision_kept"].n == 0 and found["precision_proposed"].value == 0.5 and found["kept"].value == 0


CRITERION = {
    "order": "AB", "cluster": "c", "points": 3.0, "place": 0, "criterion": "is true", "said": "A", "gold": "A",
    "correct": 1, "fault": "", "bearing": "x", "score_a": 1.0, "score_b": 0.0, "refined_a": 1.0, "refined_b": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("silent", ["sft", "dpo"])
def test_experiments_where_one_judge_wrote_no_criterion(tmp_path, silent):
    other = {"sft": "dpo", "dpo": "sft"}[silent]
    rows = [
        CRITERION | {"pair_id": f"p{i}", "cluster": f"c{i}", "model": other, "scalar": scalar}
        | dict.fromkeys(tables.VARIANTS, 0.5)
        for i in range(3) for scalar in ("better", "worse")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "criteria.csv", index=False)
    found = orders(tmp_path) | counts(tmp_path)
    unknown = [name for name, value in found.items() if value is not None and math.isnan(value.value)]
    assert ("ranked_first_minus_random_first" in unknown) == (silent == "sft")
    assert "ranked_last_dpo_minus_sft" in unknown
    for name in ("ranks", "makers", "numbers", "voting", "worth", "variants", "faults"):
        data, draw = META_PLOTS[name]
        if len(table := data(tmp_path)):
            draw(table)
    assert ranking.best_of(pd.DataFrame(rows)[:0], "published").empty


def test_experiments_without_any_criterion_say_what_to_do(monkeypatch):
    run = open_run("06_meta_reward_dpo", "smoke", "x")
    monkeypatch.setattr(tables, "margin_quantile", lambda *a: 0.0)
    monkeypatch.setattr(tables, "scalar_rows", lambda *a: pd.DataFrame())
    monkeypatch.setattr(tables, "open_judge", lambda *a: None)
    monkeypatch.setattr(tables, "_methods", lambda *a: [])
    monkeypatch.setattr(tables, "criterion_rows", lambda trace: pd.DataFrame())
    search = type("Search", (), {"explore": lambda self, judge, pairs: [None]})
    monkeypatch.setattr(tables, "_search", lambda *a, **k: search())
    with pytest.raises(RunError, match=r"no judge wrote a criterion that can be read.*sft_steps and run notebook 06"):
        tables.experiments(run, {"sft": None}, {"better": None}, {"test": [], "dev": []})


def handle(stage):
    """A handle on a stage of profile smoke that writes nowhere."""
    run = open_run(stage, "smoke", "nowhere")
    run.write = lambda name, content: pytest.fail("nothing may be written before the sentence")
    return run


def test_no_label_left_to_learn_from_ends_the_stage(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    with pytest.raises(RunError, match="no label is left to train on: see dropped.jsonl"):
        supervised.tune_and_judge(handle("03_sft"), "base", {"train": [pair("a")]}, [])
    with pytest.raises(RunError, match="none of 0 labels can be reinforced on: raise world.train"):
        reinforcement.reinforce(handle("04_grpo"), None, None, {"train": []}, [])


def test_a_leak_and_an_empty_split_end_the_synthesis(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    from omnirepro.papers.omni_rrm import synthesis
    from omnirepro.toyworld import tasks

    make_prompts = tasks.make_prompts

    def leak(folder, split, *rest):
        return make_prompts(folder / split, "train", *rest)

    monkeypatch.setattr(tasks, "make_prompts", leak)
    with pytest.raises(RunError, match="share a prompt.*another seed"):
        open_run("01_synthesis", "smoke", "leak").do(synthesize, None, None)
    monkeypatch.undo()
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    monkeypatch.setattr(synthesis, "DIMENSIONS", ())
    monkeypatch.setattr(synthesis, "compose", lambda *a: "the same")
    with pytest.raises(RunError, match=r"no train pair is left of 64 prompts \(0 kept, 64 equal, 0 empty\): raise"):
        open_run("01_synthesis", "smoke", "equal").do(synthesize, None, None)


def test_parameters_name_the_bounds_that_the_checks_read():
    params = load_params("tiny")
    assert isinstance(params, Params) and {"backbone.gate", "backbone.gate_check", "synthesis.min_difference"} <= set(
        params.keys()
    )
