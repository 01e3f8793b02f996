"""Data, generators and teachers from elsewhere, by parameter alone: notebooks 00 to 04 on pictures, films, sounds and
texts of a JSONL, two generators and two teachers as servers on loopback, and a tiny random student."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pandas as pd
import pytest
from real_parts import ROOT, execute, serving, speaker, teacher, write_media
from tiny_parts import save_untrained

from omnirepro.data import Judgement, Label, Pair, read_jsonl
from omnirepro.kit.run import open_run

KINDS = ["image"] * 14 + ["video"] * 6 + ["audio"] * 6
FENCED = "Here it is:\n```json\n{}\n```"


def write_prompts(folder):
    """Write 32 prompts about media and in words, two of them about one picture, and one whose picture is missing."""
    names = write_media(folder / "media", KINDS)
    rows = [{"prompt": f"What is in number {i}?", kind: f"media/{name}", "task": "VQA"}
            for i, (kind, name) in enumerate(zip(KINDS, names, strict=True))]  # fmt: skip
    rows.append(rows[0] | {"prompt": "And what is not?"})
    rows += [{"prompt": f"Say {word}."} for word in ("one", "two", "three", "four", "five")]
    rows.append({"prompt": "What is gone?", "image": "media/gone.png"})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "prompts.jsonl"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Servers, student and parameters."""
    folder = tmp_path_factory.mktemp("elsewhere")
    student = folder / "student"
    save_untrained(student)
    answers = {"good": speaker("good"), "poor": speaker("poor"), "first": teacher(), "second": teacher(wrap=FENCED)}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(answer)) for name, answer in answers.items()}
        urls = {name: f"{server.url}#{name}" for name, server in servers.items()}
        overrides = {
            "backbone.model": str(student), "backbone.gate_scenes": 1,
            "data.prompts": [str(write_prompts(folder))], "data.bad_rows": "drop", "data.test_share": 0.2,
            "synthesis.templates": False, "synthesis.strong": urls["good"], "synthesis.weak": urls["poor"],
            "reconciliation.teachers": [urls["first"], urls["second"]],
            "sft.steps": 2, "sft.batch": 2, "sft.ties": 0.0, "sft.max_length": 2000,
            "grpo.steps": 2, "grpo.contrast_steps": 0, "grpo.preflight_prompts": 1, "grpo.pairs": 2, "grpo.group": 2,
            "judge.max_new_tokens": 8,
        }  # fmt: skip
        yield folder, servers, {"profile": "smoke", "run": "own", "overrides": overrides}


def start_and_kill(stage, asked, results, server, after):
    """Run a notebook in a process of its own, and kill that when a server has answered so often."""
    code = f"from real_parts import execute; import json; execute({stage!r}, **json.loads({json.dumps(asked)!r}))"
    environment = os.environ | {"OMNIREPRO_RESULTS": str(results), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def halt(count):
        if count >= after:
            server.halt = None
            os.kill(child.pid, signal.SIGKILL)
            child.wait()

    server.halt = halt
    assert child.wait(timeout=120) == -signal.SIGKILL
    assert not (results / "own" / stage / "manifest.json").exists()


def test_the_river_runs_on_data_models_and_teachers_from_elsewhere(world, monkeypatch):
    folder, servers, asked = world
    results = folder / "results"
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(results))
    execute("00_backbone", **asked)
    start_and_kill("01_synthesis", asked, results, servers["poor"], 9)
    made = execute("01_synthesis", **asked)
    start_and_kill("02_reconciliation", asked, results, servers["first"], 9)
    execute("02_reconciliation", **asked)
    check_synthesis(results / "own/01_synthesis", made)
    check_labels(results / "own/02_reconciliation", results / "own/01_synthesis/data")
    for stage in ("03_sft", "04_grpo"):
        execute(stage, **asked)
        rows = read_jsonl(results / f"own/{stage}/predictions.jsonl", Judgement)
        assert {row.task for row in rows} <= {"VQA", "text"} and all(row.label in ("A", "B") for row in rows)
        assert "accuracy" in json.loads((results / f"own/{stage}/metrics.json").read_text())
    lost = [key for server in servers.values() for key, count in server.paid.items() if count > 1]
    assert len(lost) <= 4 * 4, "what was under way at a kill, four at a time, is all that may be asked again"
    prompts = 32
    assert all(server.paid.total() <= prompts + 2 * 4 for server in servers.values())
    assert {"image_url", "video_url", "input_audio"} <= set(servers["second"].kinds), "teachers see the media"
    before = sum(server.paid.total() for server in servers.values())
    again = asked | {"overrides": asked["overrides"] | {"reconciliation.rule": "merge"}}
    execute("02_reconciliation", **again)
    assert sum(server.paid.total() for server in servers.values()) == before, "another rule pays nothing again"


def check_synthesis(stage, made):
    pairs = {s: read_jsonl(stage / f"data/pairs_{s}.jsonl", Pair, True) for s in ("train", "dev", "test")}
    assert sum(map(len, pairs.values())) == 32 and all(pairs.values())
    assert all(pair.label is None for some in pairs.values() for pair in some)
    dropped = pd.read_csv(stage / "data/dropped.csv")
    assert len(dropped) == 1 and "gone.png" in dropped["reason"][0]
    homes = {s for s, some in pairs.items() for pair in some if any("image-0" in (p.path or "") for p in pair.prompt)}
    assert len(homes) == 1, "two prompts about one picture are in one split"
    assert not (stage / "candidates.csv").exists() and not (stage / "sample").exists()
    assert not list(stage.rglob("*.png")), "media from elsewhere stay where they lie"
    metrics = json.loads((stage / "metrics.json").read_text())
    assert "strong_longer" in metrics and "lead_points" not in metrics
    given = [name for name in json.loads((stage / "manifest.json").read_text())["inputs"] if name.startswith("given/")]
    assert given == ["given/prompts/1-prompts.jsonl"]


def check_labels(stage, data):
    pairs = {pair.id: pair for pair in read_jsonl(data / "pairs_train.jsonl", Pair)}
    labels = [x for part in ("sft", "rl") for x in read_jsonl(stage / f"labels_{part}.jsonl", Label)]
    assert len(labels) == len(pairs), "a fence costs no paid judgement"
    for label in labels:
        best = pairs[label.pair_id].response_a if label.verdict == "A" else pairs[label.pair_id].response_b
        assert best[0].text.startswith("good") and label.rationale == "seen both."
    test = read_jsonl(stage / "pairs_test.jsonl", Pair)
    assert test and all(pair.label and pair.margin == 2 for pair in test)
    assert len(read_jsonl(stage / "teacher-2.rows.jsonl", Judgement)) == len(pairs)
    metrics = json.loads((stage / "metrics.json").read_text())
    assert metrics["kappa_verdict"]["value"] == 1 and metrics["coverage_published"]["value"] == 1
    assert not any(name.startswith("precision") for name in metrics), "no truth, no precision"


def test_the_data_may_change_and_then_the_work_is_done_again(world, monkeypatch, tmp_path):
    folder, servers, asked = world
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(folder / "results"))
    prompts = folder / "prompts.jsonl"
    first = open_run("01_synthesis", **asked)
    from omnirepro.papers.omni_rrm.supply import sources_shown
    from omnirepro.papers.omni_rrm.synthesis import generators

    assert generators(first) == ("", "")
    assert sources_shown(first)["name"].tolist() == ["prompts"] and first.skipped
    kept = prompts.read_text()
    prompts.write_text(kept + json.dumps({"prompt": "Say six."}) + "\n")
    second = open_run("01_synthesis", **asked)
    sources_shown(second)
    assert not second.skipped
    prompts.write_text(kept)
