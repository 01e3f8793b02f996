"""Notebooks 05 and 06 on labelled pairs from elsewhere, by parameter alone: pictures, films, sounds and texts of a
JSONL, criteria and ties in some, an untrained student, and a judge that writes as a server on loopback."""

import json
import re
import shutil

import pandas as pd
import pytest
from real_parts import execute, question, serving, write_media
from tiny_parts import save_untrained

from omnirepro.data import Judgement, Pair, read_jsonl
from omnirepro.judge.criteria import CriterionJudgement, render_criteria, render_direct, render_judgement
from omnirepro.kit.run import ParameterError, open_run

KINDS = ["image"] * 8 + ["video"] * 6 + ["audio"] * 6


def write_pairs(folder, texts=18):
    """Write labelled pairs about every medium and in words; A is said better in every other, some are ties."""
    names = write_media(folder / "media", KINDS)
    shown = [[{"type": kind, "path": f"media/{name}"}] for kind, name in zip(KINDS, names, strict=True)]
    rows = []
    for i, media in enumerate([*shown, *([[]] * texts)]):
        sides = [[{"type": "text", "text": f"{word} answer {i}"}] for word in ("good", "poor")]
        a, b = sides if i % 2 else sides[::-1]
        label = "tie" if i % 9 == 4 else "AB"[i % 2 == 0]
        row = {"id": f"r{i}", "task": "chat" if not media else "VQA", "label": label, "response_a": a, "response_b": b}
        row["prompt"] = [*media, {"type": "text", "text": f"What is number {i}?"}]
        rows.append(row | ({"criterion": f"is about {i % 4}"} if i % 3 else {}))
    rows.append(rows[0] | {"id": "again", "prompt": [*shown[0], {"type": "text", "text": "And what else?"}]})
    rows.append(rows[-2] | {"id": "open", "label": None})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "pairs.jsonl"


def wise(body):
    """Answer the full questions of the roles well: the response that says `good` is better."""
    text = question(body)[0]
    if "revise an answer" in text:
        return "good answer indeed"
    a = re.search(r"Candidate A: ?(.*?)\s*Candidate B:", text, re.DOTALL)[1]
    winner = "AB"["good" not in a]
    scores = (8, 3) if winner == "A" else (3, 8)
    judged = CriterionJudgement("ok", winner, *scores, "says so", "says otherwise")
    count = re.search(r"exactly (\d+) criteria", text)
    criteria = [f"Point {text.count('Point')} {i}: looks at {i}" for i in range(int(count[1]) if count else 0)]
    if count and "verdict" in text:
        return render_direct(criteria, judged)
    return render_criteria(criteria) if count else render_judgement(judged)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The student, the pairs and the parameters of notebooks 00, 05 and 06."""
    folder = tmp_path_factory.mktemp("labelled")
    student = folder / "student"
    save_untrained(student)
    pairs = str(write_pairs(folder))
    overrides = {
        "backbone.model": str(student), "backbone.gate_scenes": 1, "data.test_share": 0.25, "data.dev_share": 0.15,
        "bradley_terry.data": [pairs], "bradley_terry.prime_steps": 0, "bradley_terry.weak_judge": False,
        "bradley_terry.steps": 2, "bradley_terry.r1_steps": 1, "bradley_terry.tuned_steps": 1,
        "bradley_terry.r1_shares": [0.2], "bradley_terry.arms": ["preference-only", "agreeing", "t2t-only"],
        "bradley_terry.verdict_tokens": 4, "bradley_terry.max_length": 2000, "judge.max_new_tokens": 8,
        "sft.max_length": 2000, "meta_reward_dpo.max_length": 4000, "meta_reward_dpo.data": [pairs],
        "meta_reward_dpo.sft_steps": 2, "meta_reward_dpo.sft_batch": 2, "meta_reward_dpo.max_new_tokens": 12,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMNIREPRO_RESULTS", str(folder / "results"))
        asked = {"profile": "smoke", "run": "own", "overrides": overrides}
        execute("00_backbone", **asked)
        yield folder, asked


def interrupt(monkeypatch, module, name, after):
    """Let a function of a module end the run at its `after`-th call."""
    real, calls = getattr(module, name), []

    def once(*args, **kwargs):
        calls.append(name)
        if len(calls) == after:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, once)
    return calls


@pytest.fixture(scope="module")
def scored(world):
    """Notebook 05 of the run "own", ended in the midst and taken up again; with the trainings of the second attempt."""
    from omnirepro.papers.omni_reward import stage

    folder, asked = world
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, stage, "r1_rows", 1)
        with pytest.raises(KeyboardInterrupt):
            execute("05_bradley_terry", **asked)
    with pytest.MonkeyPatch.context() as patch:
        calls = interrupt(patch, stage, "train_bradley_terry", 0)
        execute("05_bradley_terry", **asked)
    return folder / "results/own/05_bradley_terry", calls


def test_bradley_terry_and_r1_learn_from_anyones_pairs(scored):
    from omnirepro.papers.omni_reward import stage

    made, calls = scored
    assert len(calls) == 1, "of three models the kept one alone is trained to its end again"
    splits = stage.splits_in(made / "data")
    pairs = [pair for some in splits.values() for pair in some]
    assert len(pairs) == 39 and {pair.label for pair in pairs} == {"A", "B", "tie"}
    for pair in pairs:
        best = {"A": pair.response_a, "B": pair.response_b}.get(pair.label)
        assert best is None or best[0].text.startswith("good"), "an exchanged side takes its label along"
    homes = {name for name, some in splits.items() for p in some if "image-0.png" in str(p.prompt[0].path)}
    assert len(homes) == 1, "two pairs about one picture are in one split"
    assert pd.read_csv(made / "data/dropped.csv")["reason"].tolist() == ["no label"]
    rows = read_jsonl(made / "predictions.jsonl", Judgement)
    models = {row.model.split("/")[0] for row in rows}
    assert {"base", "bt", "bt-bare", "preference-only", "t2t-only", "tuned", "base-pairs", "r1", "r1-bare"} <= models
    assert not models & {"agreeing", "weak", "bt-turns"} and not (made / "proposals.csv").exists()
    metrics = json.loads((made / "metrics.json").read_text())
    assert {"chat_with_ties", "VQA_without_ties", "bt_image_with_ties", "bt_text_without_ties"} <= set(metrics)
    assert not [name for name in metrics if name.startswith(("precision", "two_turns", "check_precision"))]


def test_test_pairs_of_their_own_leave_training_what_they_do_not_share(world, tmp_path):
    from omnirepro.papers.omni_reward.stage import NAMED, splits_in, write_given
    from omnirepro.papers.omni_rrm.supply import sources_shown

    folder, asked = world
    rows = (folder / "pairs.jsonl").read_text().splitlines()
    (folder / "bench.jsonl").write_text("\n".join(rows[:6]) + "\n")
    changed = asked["overrides"] | {"bradley_terry.bench": [str(folder / "bench.jsonl")]}
    run = open_run("05_bradley_terry", **asked | {"run": "other", "overrides": changed})
    assert sources_shown(run, NAMED)["name"].tolist() == ["pairs", "bench"]
    tmp_path.joinpath("data").mkdir()
    write_given(run, tmp_path / "data")
    splits = splits_in(tmp_path / "data")
    assert {pair.id for pair in splits["test"]} == {f"bench:r{i}" for i in range(6)}
    dropped = pd.read_csv(tmp_path / "data/dropped.csv")
    shared = dropped[dropped["reason"] == "shares content with bradley_terry.bench"]["id"]
    assert set(shared) == {f"pairs:r{i}" for i in range(6)} | {"pairs:again"}
    assert sum(map(len, splits.values())) == 39 + 6 - 7
    alone = asked["overrides"] | {"bradley_terry.data": [], "bradley_terry.bench": [str(folder / "bench.jsonl")]}
    from omnirepro.papers.omni_reward.stage import build

    with pytest.raises(ParameterError, match="names nothing to train on"):
        build(open_run("05_bradley_terry", **asked | {"run": "third", "overrides": alone}), folder)


def test_criteria_are_searched_and_learnt_from_anyones_pairs(world, monkeypatch):
    from omnirepro.papers.grm_omni import stage

    folder, asked = world
    made = folder / "results/own/06_meta_reward_dpo"
    with serving(wise) as server:
        spec = f"{server.url}#judge"
        asked = asked | {
            "overrides": asked["overrides"] | {"meta_reward_dpo.genrm": spec, "meta_reward_dpo.policy": spec}
        }
        with monkeypatch.context() as patch:
            interrupt(patch, stage, "train_dpo", 1)
            with pytest.raises(KeyboardInterrupt):
                execute("06_meta_reward_dpo", **asked)
        assert not (made / "manifest.json").exists()
        execute("06_meta_reward_dpo", **asked)
        assert max(server.paid.values()) == 1, "no answer of a server is paid twice"
    searches = [json.loads(line) for line in (made / "sft-searches.jsonl").read_text().splitlines()]
    assert len(searches) <= 4 * 4, "no more searches are paid than conversations are taught"
    assert searches and all(row["verdict"] == row["gold"] for row in searches if row["gold"] != "tie")
    pairs = {name: read_jsonl(made / f"data/pairs_{name}.jsonl", Pair) for name in stage.SPLITS}
    assert {pair.task for pair in pairs["train"]} == {"T2T", "TI2T", "TV2T", "TA2T"}
    assert {pair.task for pair in pairs["dev"]} == {"T2T"} and {p.meta["task"] for p in pairs["test"]} == {
        "chat",
        "VQA",
    }
    assert (made / "dpo-preferences.jsonl").read_text() and (made / "dpo").is_dir()
    criteria = pd.read_csv(made / "criteria.csv")
    assert criteria["fault"].isna().all() and set(criteria["bearing"]) <= {
        "unknown",
        "relevant",
        "irrelevant",
        "misleading",
    }
    metrics = json.loads((made / "metrics.json").read_text())
    assert {"accuracy_sft", "accuracy_scalar_better", "dpo_minus_sft", "search_minus_disrm"} <= set(metrics)
    assert "biased_criteria_minus_perception_errors" not in metrics


def test_a_judge_that_writes_nothing_legible_is_a_finding(world, scored):
    """An untrained judge that writes for itself; a classifier for text beside the scorer of notebook 05."""
    from checkpoints import make

    folder, asked = world
    make("reward_model", folder / "skywork")
    scorer, _ = scored
    changed = {
        "templates": False,
        "k": 1,
        "n": 1,
        "rank_criteria": 2,
        "disrm": {"text": str(folder / "skywork"), "any": str(scorer)},
    }
    overrides = asked["overrides"] | {f"meta_reward_dpo.{key}": value for key, value in changed.items()}
    execute("06_meta_reward_dpo", **asked | {"overrides": overrides})
    made = folder / "results/own/06_meta_reward_dpo"
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics["valid_share_sft"]["value"] < 1 and "accuracy_scalar_better" in metrics
    assert not (made / "criteria.csv").exists() and "vote_minus_single_ranked" not in metrics
    assert not list((made / "scalar-better").rglob("*.safetensors")), "a named scalar model is trained no more"
    benchmarks_ask_every_judge(folder, asked | {"overrides": overrides})


def benchmarks_ask_every_judge(folder, asked):
    """Each judge of 05 and 06 judges public data, as it was taught; without such data none of them is looked for."""
    from omnirepro.models.processing import keep_settings
    from omnirepro.papers.benchmarks import stage

    own = folder / "results/own"
    assert stage.upstream(open_run("09_benchmarks", **asked)) == ({}, []), "without data nothing is new"
    keep_settings(own / "05_bradley_terry/scorer", threshold=1e9)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    decided = [row for row in rows if row["label"] in ("A", "B")]
    (folder / "decided.jsonl").write_text("".join(json.dumps(row) + "\n" for row in decided))
    data = [str(folder / f"{name}.jsonl") for name in ("pairs", "decided")]
    changed = {"benchmarks.data": data, "benchmarks.limit": 12}
    execute("09_benchmarks", **asked | {"overrides": asked["overrides"] | changed})
    found = read_jsonl(own / "09_benchmarks/predictions.jsonl", Judgement)
    by = {name: [row for row in found if row.model == name] for name in {row.model for row in found}}
    trained = [own / "06_meta_reward_dpo" / name for name in ("sft", "dpo", "plus")]
    there = {path.name for path in trained if (path / "config.json").is_file()}
    assert "sft" in there and {name.split("/")[0] for name in by} == {"bt", "r1", *(f"genrm-{x}" for x in there)}
    assert {row.kind for row in by["bt/pairs"]} == {"scalar"} and {row.verdict for row in by["bt/pairs"]} == {"tie"}
    assert "tie" not in {row.verdict for row in by["bt/decided"]}, "a set without ties is decided by the larger score"
    assert {row.decoding["max_new_tokens"] for row in by["r1/pairs"]} == {4}, "R1 writes as long as it was taught"
    kinds = {(row.task, row.kind) for row in by["genrm-sft/pairs"]}
    assert kinds == {("chat", "criterion"), ("VQA", "verdict")}, "criteria on words, the verdict alone on media"
    metrics = json.loads((own / "09_benchmarks/metrics.json").read_text())
    assert {"bt_pairs", "r1_decided", "genrm_sft_pairs_official"} <= set(metrics)


def test_r1_is_trained_alone_where_no_scalar_model_is_wanted(world, capsys):
    from omnirepro.papers.omni_reward import stage

    folder, asked = world
    scalar = ("bradley_terry.arms", "bradley_terry.steps", "bradley_terry.max_length")
    changed = {key: value for key, value in asked["overrides"].items() if key not in scalar}
    changed |= {"bradley_terry.scalar_models": False, "benchmarks.data": [str(folder / "pairs.jsonl")]}
    asked = asked | {"run": "alone", "base": "own"}
    execute("05_bradley_terry", **asked | {"overrides": changed})
    made = folder / "results/alone/05_bradley_terry"
    assert not (made / "scorer").exists() and not (made / "loss.csv").exists()
    models = {row.model.split("/")[0] for row in read_jsonl(made / "predictions.jsonl", Judgement)}
    assert {"base", "base-pairs", "tuned", "r1"} <= models and not models & {"bt", "preference-only", "t2t-only"}
    metrics = json.loads((made / "metrics.json").read_text())
    assert {"r1_with_ties", "r1_minus_base_pairs_without_ties", "r1_valid_share"} <= set(metrics)
    assert not [name for name in metrics if name.startswith(("bt_", "full_", "overall_"))]
    capsys.readouterr()
    shutil.rmtree(folder / "results/own/06_meta_reward_dpo", ignore_errors=True)  # made with other parameters
    execute("09_benchmarks", **asked | {"overrides": changed | {"benchmarks.limit": 4}})
    rows = read_jsonl(folder / "results/alone/09_benchmarks/predictions.jsonl", Judgement)
    assert "r1/pairs" in {row.model for row in rows} and "left out: sft, grpo, bt" in capsys.readouterr().out
    nothing = changed | {"bradley_terry.r1_shares": []}
    with pytest.raises(ParameterError, match="no model is to be trained"):
        stage.build(open_run("05_bradley_terry", **asked | {"run": "none", "overrides": nothing}), folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"genrm": "http://127.0.0.1:1/v1#x", "sft_steps": 0}, "asked and not trained"),
        ({"disrm": "http://127.0.0.1:1/v1#x"}, "disrm is a server"),
        ({"genrm": "05_bradley_terry"}, "gives scores and writes nothing"),
    ],
)
def test_a_server_is_neither_trained_nor_a_scalar_model(world, scored, changed, said):
    from omnirepro.papers.grm_omni.stage import improve

    folder, asked = world
    if changed.get("genrm") == "05_bradley_terry":
        changed = {"genrm": str(scored[0])}
    overrides = asked["overrides"] | {f"meta_reward_dpo.{key}": value for key, value in changed.items()}
    run = open_run("06_meta_reward_dpo", **asked | {"run": "refused", "overrides": overrides})
    with pytest.raises(ParameterError, match=said):
        improve(run, folder / "student")


def test_a_scorer_is_opened_by_any_name_or_one_a_modality(world, scored, tmp_path):
    from checkpoints import make

    from omnirepro.data import Part, Prompt, Response, text_part
    from omnirepro.judge.scorers import open_scorer
    from omnirepro.models.loading import ModelError

    folder, _ = world
    make("reward_model", tmp_path / "classifier")
    words = Prompt(id="p", task="chat", parts=[text_part("What?")])
    shown = Prompt(
        id="q", task="VQA", parts=[Part(type="image", path=str(folder / "media/image-0.png")), text_part("?")]
    )
    answers = [Response(prompt_id=p.id, parts=[text_part("good")]) for p in (words, shown)]
    trained, _ = scored
    both = open_scorer({"text": str(tmp_path / "classifier"), "any": str(trained)})
    alone = [
        open_scorer(spec).score([p], [r])[0]
        for spec, p, r in zip((tmp_path / "classifier", trained), (words, shown), answers, strict=True)
    ]
    assert both.score([words, shown], answers) == alone and both.name == "classifier+own/05_bradley_terry"
    with pytest.raises(ModelError, match="named for image: add it"):
        open_scorer({"text": str(tmp_path / "classifier")}).score([shown], answers[1:])
    for spec, said in (
        ("", "no model is named"),
        ("http://h/v1#m", "is a server"),
        (folder / "student", "gives no score"),
    ):
        with pytest.raises(ModelError, match=said):
            open_scorer(spec)
    limited = open_scorer(trained, media={"max_frames": 2})
    assert limited.scorer.processor.limits["max_frames"] == 16, "what is kept with a scorer goes before"


@pytest.mark.parametrize(("maker", "modalities"), [("omni_thinker", None), ("text_model", ["text"])])
def test_a_released_model_is_not_primed_and_judges_the_tasks_that_it_can_read(tmp_path, monkeypatch, maker, modalities):
    """Two pointers lead to it; it is reinforced as it is; a model of text alone has the task of text alone."""
    from checkpoints import make

    make(maker, tmp_path / "released")
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    overrides = {
        "backbone.model": str(tmp_path / "released"), "bradley_terry.prime_steps": 0, "bradley_terry.weak_judge": False,
        "bradley_terry.steps": 1, "bradley_terry.tuned_steps": 0, "bradley_terry.r1_steps": 1, "bradley_terry.arms": [],
        "bradley_terry.train_pairs": 4, "bradley_terry.dev_pairs": 2, "bradley_terry.test_pairs": 2,
        "bradley_terry.max_length": 4000, "bradley_terry.verdict_tokens": 4, "judge.batch_size": 8,
        "backbone.gate_scenes": 1,
    }  # fmt: skip
    overrides |= {"world.modalities": modalities} if modalities else {}
    asked = {"profile": "smoke", "run": "own", "overrides": overrides}
    placed = {key: value for key, value in overrides.items() if not key.startswith("bradley_terry")}
    execute("00_backbone", **asked | {"overrides": placed})
    execute("05_bradley_terry", **asked)
    made = tmp_path / "results/own/05_bradley_terry"
    rows = read_jsonl(made / "predictions.jsonl", Judgement)
    tasks = {row.task for row in rows}
    assert tasks == {"T2T"} if modalities else len(tasks) == 9
    assert not (made / "primer.csv").exists() and {"base-pairs/test", "base-pairs-level/test", "r1/test"} <= {
        row.model for row in rows
    }
