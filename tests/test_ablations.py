"""Ablations: the run files, forks of a run, effects worked by hand, and what the arms' parameters change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omnirepro.data import DIMENSIONS, Judgement, Label, Pair, Part, write_jsonl
from omnirepro.judge import verdict
from omnirepro.kit.run import (
    ParameterError,
    Run,
    RunError,
    estimate,
    forks_of,
    known_arms,
    load_params,
    rows_of,
    to_run,
)
from omnirepro.kit.run.arms import read_arm
from omnirepro.kit.run.reading import read_yaml, run_file
from omnirepro.kit.scorecard import load_claims
from omnirepro.papers.ablations.effects import (
    _told,
    ablation_metrics,
    absent,
    by_pair,
    effect,
    effects,
    effects_shown,
    gather,
)
from omnirepro.papers.ablations.known import LABEL_MEASURES, SAMPLE_MEASURES, agreement, bent, of_samples
from omnirepro.papers.ablations.plots import ABLATION_PLOTS, forgetting, noise, transfer
from omnirepro.papers.omni_rrm.teachers import ErrorProfile, OracleTeacher
from omnirepro.papers.plots import plot
from omnirepro.toyworld.language import Assessment
from omnirepro.train.curriculum import lessons, one_after_another
from omnirepro.train.sft import conversations

ROOT = Path(__file__).resolve().parents[1]
ARMS = known_arms()


# ---- run files


def test_every_arm_of_the_list_is_there():
    wanted = (
        "full no-rationale verdict-first dimensions-3 dimensions-1 one-teacher no-filter order-fixed group-2 group-4"
    )
    wanted += (
        " group-16 no-kl reward-published reward-paper lora-2 lora-8 wording-full sequential data-10 hard-only grpo"
    )
    wanted += "".join(f" drop-{m} {m}-only" for m in ("image", "video", "audio", "text"))
    wanted += "".join(f" noise-{p} noise-{p}-no-filter" for p in (10, 20, 30, 40))
    assert set(wanted.split()) <= set(ARMS)


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_says_something_else_than_its_reference(name):
    arm, base = ARMS[name], load_params("tiny")
    changed = [key for key, value in arm.keys.items() if base.peek(key) != value]
    assert arm.change and arm.question and len((ROOT / f"params/runs/{name}.yaml").read_text().splitlines()) <= 4
    assert changed == list(arm.keys), "a key that says what base.yaml says is left out"
    assert bool(changed) == (name != "full")
    assert set(arm.stages) <= {"02_reconciliation", "03_sft", "04_grpo"}
    assert arm.reference in ("full", "grpo") and ARMS[arm.reference].stages[-1] == arm.stages[-1]


def test_no_two_arms_say_the_same():
    assert len({json.dumps(arm.keys, sort_keys=True) for arm in ARMS.values()}) == len(ARMS)
    assert len({(arm.question, arm.change) for arm in ARMS.values()}) == len(ARMS)


@pytest.mark.parametrize("path", sorted((ROOT / "params/profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_profiles_name_arms_that_there_are(path):
    assert set(read_yaml(path).get("ablations", {}).get("arms", [])) <= set(ARMS)
    assert set(load_params(path.stem).peek("ablations.arms")) <= set(ARMS)


def test_the_study_runs_the_arms_that_claims_need(tmp_path):
    params = load_params("study")
    forks = forks_of(params, "study", 0, every=False)
    own = {
        name: {"question": "recipe", "change": name, "reference": ""} for name in ("untuned", "sft-whole", "grpo-whole")
    }
    arms = [{"arm": name} | told for name, told in own.items()] + [_told(fork, "study") for fork in forks]
    pd.DataFrame(arms).to_csv(tmp_path / "arms.csv", index=False)
    rows = by_pair(frame(8), "x").assign(longer=0.5)
    pd.concat([rows.assign(arm=arm["arm"]) for arm in arms]).to_csv(tmp_path / "pairs.csv", index=False)
    asked = [claim.tests for claim in load_claims(ROOT / "results/claims.yaml").claims.values() if claim.tests]
    asked = [tests for tests in asked if tests.stage == "07_ablations"]
    needed = {name for tests in asked for name in (tests.metric, tests.minus) if name}
    made = {f"{name}_{arm['arm']}".replace("-", "_") for arm in arms for name in LABEL_MEASURES + SAMPLE_MEASURES}
    assert needed <= {*ablation_metrics(tmp_path), *made}


def test_a_fork_finds_the_file_of_its_arm():
    for name in ("no-rationale", "tiny+no-rationale", "tiny-s1+no-rationale", "tiny+no-rationale-s3"):
        assert run_file(name).name == "no-rationale.yaml"
    assert run_file("tiny+no") is None and run_file(None) is None and run_file("tiny") is None
    assert load_params("tiny", "tiny+no-rationale").origin("judge.format") == "runs/no-rationale.yaml"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("overrides: {}", "first line"),
        ("# q: x\noverrides: {world.test: 3}", "world.test"),
        ("# q: x\nsteps: 3", "steps"),
    ],
)
def test_a_run_file_that_is_no_arm_is_refused(tmp_path, text, wrong):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ParameterError, match=wrong):
        read_arm(tmp_path / "x.yaml")


# ---- forks


def test_forks_of_the_run_and_of_all_arms():
    params = load_params("tiny")
    few, every = forks_of(params, "tiny", 0, every=False), forks_of(params, "tiny", 0)
    assert [f.name for f in few] == [f"tiny+{name}" for name in params.peek("ablations.arms")]
    assert len(every) == len(ARMS) * params.peek("ablations.seeds") and len({f.name for f in every}) == len(every)
    found = {f.name: f for f in every}
    fewer = load_params("tiny", overrides={"ablations.sft_steps": 7})
    assert found["tiny+no-filter"].overrides == {}
    assert {f.name: f.overrides for f in forks_of(fewer, "tiny")}["tiny+no-filter"] == {"sft.steps": 7}
    assert found["tiny+no-filter"].arm.stages == ("02_reconciliation", "03_sft")
    second = found["tiny+group-2-s1"]
    assert second.arm.stages == ("04_grpo",) and second.overrides["grpo.seeds"] == [params.peek("grpo.seeds")[0] + 1]
    assert second.overrides["grpo.steps"] == params.peek("ablations.grpo_steps")
    labels = found["tiny+no-filter-s1"]
    assert (labels.seed("02_reconciliation"), labels.seed("03_sft")) == (0, 1), "labels are the base run's at any seed"
    assert forks_of(params, "tiny-s4", 4)[1].name.endswith("-s5")


def test_an_arm_that_says_what_the_run_says_is_not_run_again():
    assert [f.arm.name for f in to_run("smoke", "smoke", 0, every=False)] == ["no-rationale", "no-filter", "audio-only"]
    names = {f.name for f in to_run("tiny", "tiny", 0)}
    assert "tiny+full" not in names and {"tiny+full-s1", "tiny+grpo"} <= names, "another seed or step count is"


def test_an_unknown_arm_is_named():
    with pytest.raises(ParameterError, match="nearest is no-rationale"):
        forks_of(load_params("tiny", overrides={"ablations.arms": ["no-rational"]}), "tiny", every=False)


# ---- a project of finished runs, without any model


def judged(model, right, tokens, seed=0, pairs=8):
    """Rows of both orders; `right` holds the ids of pairs that are judged rightly in both, others wrongly in one."""
    rows = []
    for i in range(pairs):
        for order in ("AB", "BA"):
            said = "A" if i in right or order == "AB" else "B"
            rows.append(
                Judgement(
                    pair_id=f"p{i}", task=("audio", "image", "text", "video")[i % 4], cluster=f"c{i}", order=order,
                    model=f"{model}/test", kind="rubric", status="ok", verdict=said, label="A", margin=3.0,
                    tokens=tokens, seed=seed,
                )
            )  # fmt: skip
    return rows


def finish(name, stage, rows, base=None, seed=0, reads=(), overrides=None):
    """Leave a finished stage behind, as its notebook would."""
    run = Run(stage, name, load_params("tiny", name, overrides), base, seed)
    for key in reads:
        run.params[key]
    if stage == "03_sft":
        run.input("02_reconciliation", "predictions.jsonl")
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))
    run.finish({})


READS = tuple(load_params("tiny").values(["sft", "judge"]))
LABELS = tuple(load_params("tiny").values(["reconciliation"]))
GRPO = tuple(load_params("tiny").values(["grpo"]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Runs of the real parameters: `tiny`, two seeds of no-rationale, one of audio-only, and of full the second."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    base = judged("base", (), 64, pairs=8)
    finish("tiny", "02_reconciliation", [], reads=LABELS)
    finish("tiny", "03_sft", base + judged("sft", (0, 1, 2, 3, 4, 5), 40), reads=READS)
    finish("tiny", "04_grpo", judged("grpo", (0, 1, 2, 3, 4, 5, 6), 40, seed=11), reads=GRPO)
    for name, right, tokens, seed in (
        ("full", (0, 1, 2, 3), 40, 1),
        ("no-rationale", (0, 1), 4, 0), ("no-rationale", (0, 1, 2, 3), 4, 1), ("audio-only", (0, 4), 40, 0),
    ):  # fmt: skip
        name = f"tiny+{name}" + (f"-s{seed}" if seed else "")
        finish(name, "03_sft", judged("sft", right, tokens, seed), "tiny", seed, READS)
    return tmp_path


def gathered():
    run = Run("07_ablations", "tiny", load_params("tiny"))
    run.do(gather)
    run.finish({})
    return run


def test_effects_are_those_worked_by_hand(project):
    folder = gathered().path()
    table = effects(folder).set_index("arm")
    # A pair judged wrongly in one of its orders earns 0.5. full: (7 + 6) / 16; no-rationale: (5 + 6) / 16.
    assert table.loc["full", "accuracy"] == pytest.approx(13 / 16)
    assert table.loc["no-rationale", "accuracy"] == pytest.approx(11 / 16)
    assert table.loc["no-rationale", "value"] == pytest.approx(-2 / 16)
    assert (table.loc["no-rationale", ["seeds", "tokens", "n", "tied", "valid"]] == [2, 4, 16, 0, 1]).all()
    assert table.loc["sft-whole", "value"] == pytest.approx(-0.5 / 8), "7 against 7.5 of 8"
    assert table.loc["audio-only", "value"] == pytest.approx(5 / 8 - 13 / 16), "one seed beside each of two"
    assert np.isnan(table.loc["full", "value"]) and np.isnan(table.loc["grpo-whole", "value"])
    assert table.loc["no-rationale", "low"] <= -2 / 16 <= table.loc["no-rationale", "high"]
    assert list(table.index[:2]) == ["sft-whole", "grpo-whole"], "the recipe stands first"
    assert "group-2" in absent(folder) and not {"full", "audio-only"} & set(absent(folder))
    shown = effects_shown(folder).set_index("change")
    assert shown.loc[ARMS["no-rationale"].change, "effect (points)"].startswith("-12.5 [")


def test_metrics_have_the_names_of_the_claims(project):
    found = ablation_metrics(gathered().path())
    assert found["full_minus_no_rationale"].value == pytest.approx(2 / 16)
    assert found["tokens_full_minus_no_rationale"].value == pytest.approx(36)
    # Audio pairs are 0 and 4: full is right in both orders of (0, 4) and of 0, audio-only of both.
    assert found["audio_only_minus_full_audio"].value == pytest.approx(1 - 3.5 / 4)
    assert found["audio_only_minus_full_others"].value == pytest.approx(0.5 - (5 + 4.5) / 12), "5 and 4.5 of 6"
    wanted = {
        claim.tests.metric
        for claim in load_claims(ROOT / "results/claims.yaml").claims.values()
        if claim.tests and claim.tests.stage == "07_ablations"
    }
    assert {"full_minus_no_rationale", "tokens_full_minus_no_rationale"} <= wanted & set(found)


def test_a_fork_made_with_other_parameters_is_left_out(project):
    run = Run("07_ablations", "tiny", load_params("tiny"))
    forks = {f.name: f for f in forks_of(run.params, "tiny")}
    assert rows_of(run, forks["tiny+full"]).parent.parent.name == "tiny", "it is the run itself"
    assert rows_of(run, forks["tiny+full-s1"]).parent.parent.name == "tiny+full-s1"
    assert rows_of(run, forks["tiny+drop-text"]) is None
    finish("tiny+drop-text", "03_sft", judged("sft", (), 9), "tiny", 0, READS, {"sft.steps": 7})
    assert rows_of(run, forks["tiny+drop-text"]) is None, "seven steps are not the arms' count"
    finish("tiny+drop-text", "03_sft", judged("sft", (), 9), "tiny", 0, READS, forks["tiny+drop-text"].overrides)
    assert rows_of(run, forks["tiny+drop-text"])


def test_a_new_arm_makes_the_notebook_run_again(project):
    gathered()
    assert Run("07_ablations", "tiny", load_params("tiny")).skipped
    forks = {f.name: f for f in forks_of(load_params("tiny"), "tiny")}
    finish("tiny+drop-text", "03_sft", judged("sft", (), 9), "tiny", 0, READS, forks["tiny+drop-text"].overrides)
    assert not Run("07_ablations", "tiny", load_params("tiny")).skipped


def test_figures_are_drawn_where_there_are_arms(project):
    run = gathered()
    assert plot(run, "effects") and plot(run, "transfer")
    assert plot(run, "noise") is None and plot(run, "forgetting") is None
    table = transfer(run.path()).set_index(["trained", "task"])["value"]
    assert table["audio", "audio"] == 1.0 and table["audio", "image"] == 0.5
    assert list(dict.fromkeys(transfer(run.path())["trained"])) == ["nothing", "all", "audio"]


def test_noise_and_forgetting_are_read_off_the_arms(project):
    arms = forks_of(load_params("tiny"), "tiny", 0)
    for name, right in (("no-filter", (0,)), ("noise-20", (0, 1)), ("noise-20-no-filter", ()), ("sequential", (3, 7))):
        fork = next(f for f in arms if f.name == f"tiny+{name}")
        if "02_reconciliation" in fork.arm.stages:
            rows = judged("teacher", right, len(name))
            finish(fork.name, "02_reconciliation", rows, "tiny", 0, LABELS, fork.overrides)
        finish(fork.name, "03_sft", judged("sft", right, 40), "tiny", 0, READS, fork.overrides)
    folder = gathered().path()
    found = noise(folder).set_index(["line", "noise"])["value"]
    assert found["no filter", 0.0] == pytest.approx(4.5 / 8) and found["no filter", 0.2] == pytest.approx(4 / 8)
    assert found["both teachers must agree", 0.2] == pytest.approx(5 / 8)
    assert ablation_metrics(folder)["filter_gain_noise_20"].value == pytest.approx(1 / 8)
    table = forgetting(folder).set_index(["judge", "task"])["value"]
    assert table["image first, text last", "video"] == 1 and table["image first, text last", "text"] == 0.5
    drawn = ("effects", "transfer", "noise", "forgetting")
    assert all(ABLATION_PLOTS[name][1](ABLATION_PLOTS[name][0](folder)) for name in drawn)
    for name in set(ABLATION_PLOTS) - set(drawn):
        with pytest.raises(FileNotFoundError):
            ABLATION_PLOTS[name][0](folder)


# ---- what only a known world shows


def finish_fork(name, right):
    """Leave the finished stages of an arm of `tiny` behind, whose last judge is right on these pairs."""
    fork = next(f for f in forks_of(load_params("tiny"), "tiny", 0) if f.name == f"tiny+{name}")
    for stage in fork.arm.stages:
        reads = {"02_reconciliation": LABELS, "03_sft": READS, "04_grpo": GRPO}[stage]
        rows = judged({"03_sft": "sft", "04_grpo": "grpo"}.get(stage, "teacher"), right, len(name))
        rows = [row.model_copy(update={"length_a": 9, "length_b": 5}) for row in rows]
        finish(fork.name, stage, rows, "tiny", 0, reads, fork.overrides)


def write_known(folder):
    """Put the measures of labels and samples beside the arms, as a known world gives them."""
    rows = [
        ("full", "label_filter_gain", 0.1),
        ("shared-100", "label_filter_gain", 0.0),
        ("full", "label_longer", 0.01),
    ]
    rows += [("longer-100", "label_longer", 0.2), ("longer-100-grpo", "paid_minus_truth_gain", 0.05)]
    known = [f"{arm},{name},{value},{value - 0.01},{value + 0.01},8" for arm, name, value in rows]
    (folder / "known.csv").write_text("\n".join(["arm,measure,value,low,high,n", *known]) + "\n")
    steps = [f"longer-100-grpo,{step},{0.5 + step / 100},{0.5 - step / 100}" for step in range(8)]
    (folder / "samples.csv").write_text("\n".join(["arm,step,label,truth", *steps]) + "\n")


def test_the_known_world_is_read_off_arms_labels_and_samples(project):
    for name, right in (
        ("no-filter", (0,)), ("shared-100", (0, 1)), ("shared-100-no-filter", (0, 1)), ("longer-100", (0, 1, 2)),
        ("grpo", (0, 1, 2, 3)), ("longer-100-grpo", (0, 1)), ("data-10", (0, 1)), ("data-10-no-rationale", (0,)),
    ):  # fmt: skip
        finish_fork(name, right)
    folder = gathered().path()
    write_known(folder)
    found = ablation_metrics(folder)
    assert found["filter_gain_shared_100"].value == pytest.approx(0)
    assert found["rationale_gain_data_10"].value == pytest.approx(0.5 / 8)
    assert found["grpo_gain_longer_100"].value == pytest.approx(-0.5 / 8)
    assert (
        found["label_filter_gain_shared_100"].value == 0 and found["paid_minus_truth_gain_longer_100_grpo"].low == 0.04
    )
    # The label is A, the longer one: wrong in one of two orders bends away by half.
    assert found["longer_longer_100"].value == pytest.approx(-0.5 * 5 / 8)
    assert found["longer_longer_100_grpo_minus_grpo"].value == pytest.approx(-0.5 * 2 / 8)
    assert found["longer_grpo_gain_longer_100"].value == pytest.approx(-0.5 * 1 / 8)
    tables = {name: ABLATION_PLOTS[name][0](folder) for name in ("shared", "length_bias", "hacking", "ladder")}
    assert set(tables["shared"]["shared"]) == {0.0, 1.0} and tables["shared"]["panel"].nunique() == 2
    assert set(tables["length_bias"]["line"]) == {"labels", "SFT", "SFT, then GRPO"}
    assert set(tables["ladder"]["line"]) == {"with rationale", "verdict alone"}
    assert tables["hacking"].groupby("line")["value"].first().nunique() == 1, "both lines begin at one half"
    assert all(ABLATION_PLOTS[name][1](table) for name, table in tables.items())


def test_verdicts_bend_to_the_longer_answer():
    rows = pd.DataFrame([row.model_dump() for row in judged("sft", (0, 1), 40, pairs=4)])  # B in BA of pairs 2 and 3
    one = by_pair(rows.assign(length_a=9, length_b=5), "x").set_index("pair_id")["longer"]
    assert list(one) == [0, 0, -0.5, -0.5], "the label is A, the longer one; B bends away from it in one order"
    two = by_pair(rows.assign(length_a=5, length_b=9, verdict="tie"), "x")["longer"]
    assert list(two) == [0.5] * 4 and by_pair(rows, "x")["longer"].isna().all()
    pair = written("one two", "three")
    assert [bent(pair, "A", "B"), bent(pair, "A", "tie"), bent(pair, "B", "B")] == [1, 0.5, 0]
    assert bent(pair, "B", "A") == -1 and np.isnan(bent(written("one", "two"), "A", "B"))


def written(a, b):
    parts = {"response_a": a, "response_b": b, "prompt": "Which?"}
    return Pair(id="p", task="text", **{name: [Part(type="text", text=text)] for name, text in parts.items()})


def test_samples_are_held_against_label_and_truth():
    pairs, truth = {"p": written("one two", "three")}, {"p": "B"}
    said = ["[[A]]", "[[B]]", "nothing", "[[A]]"]
    table = pd.DataFrame(
        {"step": [0, 0, 1, 1], "prompt": "p", "order": ["AB", "AB", "AB", "BA"], "text": said, "gold": "A"}
    )
    found = agreement(table, pairs, truth, "verdict")
    assert found["label"].tolist() == [1, 0, 0, 1] and found["truth"].tolist() == [0, 1, 0, 1]
    assert of_samples(found) == {}, "two steps have no quarter"
    gained = of_samples(pd.concat([found.assign(step=found["step"] + 2 * k) for k in range(2)]))
    # Steps 0 and 3: label 1/2 and 1/2, truth 1/2 and 1/2.
    assert [gained[name].value for name in ("paid_gain", "truth_gain", "paid_minus_truth_gain")] == [0, 0, 0]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_teachers_err_together_where_errors_are_shared(share):
    pairs = [written("one two", "three").model_copy(update={"id": f"p{i}"}) for i in range(200)]
    noise = ErrorProfile(dict.fromkeys(DIMENSIONS, 0.2), shared=share, flip=0.3, position=0.1, verbosity=0.1)

    def truth(prompt, text):
        return Assessment(dict.fromkeys(DIMENSIONS, True))

    teachers = [OracleTeacher(name, truth, str, lambda p, t: {}, noise) for name in ("one", "two")]
    first, second = ([(x.marks_a, x.marks_b, x.verdict) for x in teacher.label(pairs)] for teacher in teachers)
    wrong = np.mean([not all(marks.values()) for marks, _, _ in first])
    assert 0.55 < wrong < 0.78, "1 - 0.8 ** 5 = 0.67, whatever is shared"
    assert (first == second) == bool(share)


def test_judges_of_other_pairs_are_not_compared():
    one, other = by_pair(frame(8), "x"), by_pair(frame(7), "y")
    with pytest.raises(RunError, match="different pairs"):
        effect(pd.concat([one, other]), "x", "y")
    assert effect(one, "x", "z") is None


def frame(pairs):
    from omnirepro.evaluate import protocol

    rows = pd.DataFrame([row.model_dump() for row in judged("sft", (1,), 10, pairs=pairs)])
    return protocol.frame(rows.assign(model="sft"))


def test_the_estimate_counts_what_is_left(project):
    forks = to_run("tiny", "tiny")
    left = sum(len(f.arm.stages) for f in forks) - 4  # full-s1, no-rationale twice, audio-only
    assert f"{len(forks)} arms and seeds, {left} notebooks to run" in estimate("tiny", "tiny", 0, 2)
    for stage, seconds in (("02_reconciliation", 50), ("03_sft", 110), ("04_grpo", 170)):
        path = Path("results/tiny", stage, "manifest.json")
        manifest = json.loads(path.read_text()) | {"seconds": seconds}
        manifest["params"] |= {"sft.steps": 600, "grpo.steps": 60, "grpo.seeds": [11], "grpo.contrast_steps": 25}
        path.write_text(json.dumps(manifest))
    count = {s: sum(s in f.arm.stages for f in forks) for s in ("02_reconciliation", "03_sft", "04_grpo")}
    # By hand: 10 + 50 = 60 s a labelling, 10 + 110 = 120 s a tuning, 10 + 170 * 20 / 85 = 50 s a reinforcement.
    seconds = 60 * count["02_reconciliation"] + 120 * (count["03_sft"] - 4) + 50 * count["04_grpo"]
    assert f"about {seconds / 2 / 60:.0f} minutes on 2 cores" in estimate("tiny", "tiny", 0, 2)
    shutil.rmtree("results/tiny/04_grpo")
    assert "no estimate before 04_grpo of the run itself has ended" in estimate("tiny", "tiny", 0, 2)


# ---- what is trained on


def data(n=400):
    tasks = ("image", "video", "audio", "text")
    say = [Part(type="text", text="x")]
    shown = [[*([] if kind == "text" else [Part(type=kind, path=f"a.{kind}")]), *say] for kind in tasks]
    pairs = [Pair(id=f"p{i}", task=tasks[i % 4], prompt=shown[i % 4], response_a=say, response_b=say) for i in range(n)]
    labels = [
        Label(pair_id=p.id, verdict="A", score_a=9, score_b=8 - i % 5, marks_a={}, marks_b={}, provenance="t")
        for i, p in enumerate(pairs)
    ]
    return pairs, labels


PLAIN = {"modalities": [], "share": 1.0, "hard_only": False, "curriculum": "joint"}


def taught(**changes):
    pairs, labels = data()
    task = {p.id: p.task for p in pairs}
    return [[(task[x.pair_id], x) for x in part] for part in lessons(pairs, labels, PLAIN | changes)]


def test_without_changes_all_labels_are_taught_in_their_order():
    (part,) = taught()
    assert [x for _, x in part] == data()[1]


def test_modalities_share_and_hardness_choose_labels():
    (part,) = taught(modalities=["text", "audio"])
    assert {task for task, _ in part} == {"text", "audio"} and len(part) == 200
    sizes = {share: {x.pair_id for _, x in taught(share=share)[0]} for share in (0.1, 0.25, 0.5)}
    assert sizes[0.1] < sizes[0.25] < sizes[0.5], "a smaller share lies within a larger one"
    assert all(len(ids) / 400 == pytest.approx(share, abs=0.06) for share, ids in sizes.items())
    (hard,) = taught(hard_only=True)
    assert {x.margin for _, x in hard} == {1.0, 2.0} and len(hard) == 160


def test_a_sequence_teaches_one_modality_after_another():
    parts = taught(curriculum="sequential", modalities=["text", "image"])
    assert [{task for task, _ in part} for part in parts] == [{"text"}, {"image"}]
    seen = one_after_another([3, 5, 40], 60, seed=1)
    assert len(seen) == 60 and set(seen[:20]) == {0, 1, 2} and set(seen[20:40]) == set(range(3, 8))
    assert len(set(seen[40:])) == 20 and min(seen[40:]) >= 8, "no example twice before each was seen"
    assert sorted(seen[:3]) == sorted(seen[3:6]) == [0, 1, 2], "every pass sees each example once"
    assert seen == one_after_another([3, 5, 40], 60, seed=1) != one_after_another([3, 5, 40], 60, seed=2)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [({"curriculum": "mixed"}, "none of joint, sequential"), ({"modalities": ["smell"]}, "no label of 'smell'")],
)  # fmt: skip
def test_a_selection_that_makes_no_sense_is_refused(changes, wrong):
    with pytest.raises(ValueError, match=wrong):
        taught(**changes)


def test_a_modality_without_labels_is_left_out_and_nothing_at_all_is_refused(capsys):
    with pytest.raises(RunError, match="no label is left to train on: see dropped.jsonl"):
        taught(share=0.0)
    pairs, labels = data()
    known = {pair.id: pair.task for pair in pairs}
    some = [label for label in labels if known[label.pair_id] != "audio"]
    for asked in ([], ["audio", "text"]):
        kept = lessons(pairs, some, PLAIN | {"modalities": asked, "curriculum": "sequential"})
        assert len(kept) == (len(asked) or 4) - 1 and all(kept)
        assert "no label of audio is left to train on" in capsys.readouterr().out


def test_a_verdict_alone_is_taught_in_both_orders_and_as_a_tie():
    pairs, labels = data(1)
    chats = conversations(pairs, labels, "brief", "verdict-direct", ties=1.0)
    assert [chat[-1]["parts"][0].text for chat in chats] == ["[[A]]", "[[B]]", "[[C]]"]
    assert chats[0][:-1] == verdict.messages(pairs[0], "brief", "verdict-direct")
    assert [verdict.parse(c[-1]["parts"][0].text, "verdict-direct").verdict for c in chats] == ["A", "B", "tie"]


def test_the_trainer_sees_a_sequence_in_its_order(tmp_path):
    from tiny_parts import make_model, processor, text_part, user
    from torch.utils.data import SequentialSampler

    from omnirepro.train.sft import make_trainer

    class Stage:
        seed, device, dtype, checkpoint_dir = 0, "cpu", "float32", tmp_path

    p = load_params("smoke", overrides={"sft.steps": 4, "sft.batch": 4}).section("sft")

    answers = [{"role": "assistant", "parts": [text_part(word)]} for word in ("red", "blue", "two", "ring")]
    examples = [processor().encode([user("what?"), answer], train=True) for answer in answers]
    trainer = make_trainer(Stage(), p, make_model(), processor(), examples, parts=[1, 3])
    assert isinstance(trainer._get_train_sampler(), SequentialSampler)
    assert trainer.train_dataset["row"][:8] == [0] * 8 and set(trainer.train_dataset["row"][8:]) == {1, 2, 3}
    mixed = make_trainer(Stage(), p, make_model(), processor(), examples, parts=[4])
    assert not isinstance(mixed._get_train_sampler(), SequentialSampler) and len(mixed.train_dataset) == 4
