"""Notebooks 05 and 06 on labelled pairs from elsewhere, by parameter alone: pictures, films, sounds and texts of a
JSONL, criteria and ties in some, an untrained student, and a judge that writes as a server on loopback."""

import json
import re

import pandas as pd
import pytest
from real_parts import execute, question, serving, write_media
from tiny_parts import save_untrained

from omnirepro.data import Judgement, Pair, read_jsonl
from omnirepro.judge.criteria import CriterionJudgement, render_criteria, render_direct, render_judgement
from omnirepro.kit.run import ParameterError, open_run

KINDS = ["image"] * 8 + ["video"] * 6 + ["audio"] * 6


def write_pairs(folder, texts=24):
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
        "bradley_terry.steps": 2, "bradley_terry.r1_steps": 1, "bradley_terry.warm_steps": 1,
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


def test_bradley_terry_and_r1_learn_from_anyones_pairs(world, monkeypatch):
    from omnirepro.papers.omni_reward import stage

    folder, asked = world
    with monkeypatch.context() as patch:
        interrupt(patch, stage, "r1_rows", 1)
        with pytest.raises(KeyboardInterrupt):
            execute("05_bradley_terry", **asked)
    calls = interrupt(monkeypatch, stage, "train_bradley_terry", 0)
    execute("05_bradley_terry", **asked)
    assert len(calls) == 1, "of three models the kept one alone is trained to its end again"
    made = folder / "results/own/05_bradley_terry"
    splits = stage.splits_in(made / "data")
    pairs = [pair for some in splits.values() for pair in some]
    assert len(pairs) == 45 and {pair.label for pair in pairs} == {"A", "B", "tie"}
    for pair in pairs:
        best = {"A": pair.response_a, "B": pair.response_b}.get(pair.label)
        assert best is None or best[0].text.startswith("good"), "an exchanged side takes its label along"
    homes = {name for name, some in splits.items() for p in some if "image-0.png" in str(p.prompt[0].path)}
    assert len(homes) == 1, "two pairs about one picture are in one split"
    assert pd.read_csv(made / "data/dropped.csv")["reason"].tolist() == ["no label"]
    rows = read_jsonl(made / "predictions.jsonl", Judgement)
    models = {row.model.split("/")[0] for row in rows}
    assert {"base", "bt", "bt-bare", "preference-only", "t2t-only", "warm", "r1", "r1-bare"} <= models
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
    assert sum(map(len, splits.values())) == 45 + 6 - 7
    alone = asked["overrides"] | {"bradley_terry.data": [], "bradley_terry.bench": [str(folder / "bench.jsonl")]}
    from omnirepro.papers.omni_reward.stage import build

    with pytest.raises(ParameterError, match="names nothing to train on"):
        build(open_run("05_bradley_terry", **asked | {"run": "third", "overrides": alone}), folder)
