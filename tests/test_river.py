"""The real notebooks at tiny counts: what a batch leaves behind, and what survives a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from omnirepro.data import Judgement, Label, Pair, read_jsonl
from omnirepro.kit.run import ParameterError, load_params
from tests.conftest import ROOT, river

STAGES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def environment(results):
    return {**os.environ, "OMNIREPRO_RESULTS": str(results), "OMP_NUM_THREADS": "1"}


def command(results, *words):
    return subprocess.run(
        [sys.executable, "-m", "omnirepro", *words], cwd=ROOT, env=environment(results), capture_output=True, text=True
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_leaves_manifest_metrics_and_a_clean_notebook(smoke, stage):
    manifest = json.loads((smoke / stage / "manifest.json").read_text())
    assert manifest["stage"] == stage and set(manifest["outputs"]) >= {"metrics.json"}
    assert not any(Path(name).is_absolute() for name in (*manifest["inputs"], *manifest["outputs"]))
    text = (smoke / stage / "notebook.ipynb").read_text()
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text
    cells = nbformat.reads(text, 4).cells
    assert not [o for c in cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_a_second_batch_has_nothing_to_do(smoke):
    done = river(smoke.parent, "--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_no_row_is_lost_between_the_stages(smoke):
    pairs = {s: read_jsonl(smoke / f"01_synthesis/data/pairs_{s}.jsonl", Pair, True) for s in ("train", "dev", "test")}
    kept = [x for p in ("sft", "rl") for x in read_jsonl(smoke / f"02_reconciliation/labels_{p}.jsonl", Label)]
    dropped = (smoke / "02_reconciliation/dropped.jsonl").read_text().splitlines()
    assert len(kept) + len(dropped) == len(pairs["train"])
    rows = read_jsonl(smoke / "03_sft/predictions.jsonl", Judgement)
    assert len(rows) == 2 * (2 * len(pairs["dev"]) + 3 * len(pairs["test"])), "a base behind examples judges the test"
    assert {p.task for s in pairs.values() for p in s} == {"image", "video", "audio", "text"}
    assert all(p.label in ("A", "B") for s in ("dev", "test") for p in pairs[s])


def test_splits_share_no_scene(smoke):
    seen = [
        {p.cluster for p in read_jsonl(smoke / f"01_synthesis/data/pairs_{s}.jsonl", Pair)}
        for s in ("train", "dev", "test")
    ]
    assert all(not a & b for i, a in enumerate(seen) for b in seen[i + 1 :])


def test_figures_come_back_byte_for_byte(smoke):
    stored = {p: p.read_bytes() for p in smoke.glob("*/figures/*.csv")}
    assert stored
    done = command(smoke.parent, "figures", "--run", "smoke")
    assert done.returncode == 0, done.stderr
    assert {p: p.read_bytes() for p in smoke.glob("*/figures/*.csv")} == stored


def test_the_small_part_of_a_run_serves_figures_and_judgements(smoke, tmp_path):
    """What `bless` copies: small, honest about what it left out, and enough to draw and to judge with."""
    (tmp_path / "smoke").symlink_to(smoke)
    done = command(tmp_path, "bless", "--run", "smoke")
    assert done.returncode == 0, done.stderr
    kept, contents = tmp_path / "blessed", json.loads((tmp_path / "blessed/contents.json").read_text())
    files = {p.relative_to(kept).as_posix() for p in kept.rglob("*") if p.is_file()} - {"contents.json"}
    assert sum((kept / name).stat().st_size for name in files) < 20_000_000
    own = {p.relative_to(smoke).as_posix() for p in smoke.glob("[01]*/**/*") if p.is_file()}
    gone = {name for name in own if any(name == x or name.startswith(f"{x}/") for x in contents["left_out"])}
    packed = {f"{name}.gz" for name in contents["packed"]}
    assert files == own - gone - set(contents["packed"]) | packed, "a file is neither there nor named"
    assert {"00_backbone/weak", "01_synthesis/data"} <= set(contents["left_out"])
    assert {"03_sft/predictions.jsonl.gz", "00_backbone/strong/model.safetensors"} <= files
    check_it_serves(kept, smoke, tmp_path)
    again = command(tmp_path, "bless", "--run", "blessed")
    assert again.returncode == 1 and "Traceback" not in again.stderr
    assert all((kept / name).exists() for name in files), "a refusal leaves the committed run alone"


def check_it_serves(kept, smoke, tmp_path):
    stored = {p: p.read_bytes() for p in kept.glob("*/figures/*.csv")}
    done = command(tmp_path, "figures", "--run", "blessed")
    assert done.returncode == 0 and stored, done.stderr
    assert {p: p.read_bytes() for p in kept.glob("*/figures/*.csv")} == stored
    sample, out = kept / "01_synthesis/sample/pairs.jsonl", tmp_path / "rows.jsonl"
    done = command(tmp_path, "judge", str(sample), "--model", str(kept / "03_sft"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    frozen = read_jsonl(smoke / "03_sft/predictions.jsonl", Judgement)
    told = {(r.pair_id, r.order): r.raw for r in frozen if r.model == "sft/test"}
    same = [told[r.pair_id, r.order] == r.raw for r in read_jsonl(out, Judgement)]
    assert same and sum(same) >= 0.9 * len(same)  # other batches round otherwise: a close call may fall differently


def test_an_unfinished_run_is_not_blessed(smoke, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half/00_backbone").symlink_to(smoke / "00_backbone")
    done = command(tmp_path, "bless", "--run", "half")
    assert done.returncode == 1 and "10_scorecard is not finished" in done.stderr
    assert not (tmp_path / "blessed").exists()


def test_the_committed_run_is_no_job_and_no_input_of_the_batch():
    """Neither the batch nor the code that finds a stage's inputs knows it; only the estimate reads its seconds."""
    batch = [ROOT / "Snakefile", *(p for p in (ROOT / "omnirepro/kit/run").glob("*.py") if p.name != "estimates.py")]
    assert not [path.name for path in batch if "blessed" in path.read_text()]
    with pytest.raises(ParameterError):
        load_params("blessed")


def test_judge_from_the_command_line(smoke, tmp_path):
    pairs, out = smoke / "01_synthesis/data/pairs_test.jsonl", tmp_path / "rows.jsonl"
    done = command(smoke.parent, "judge", str(pairs), "--model", str(smoke / "03_sft"), "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = {(r.pair_id, r.order): r.raw for r in read_jsonl(out, Judgement)}
    frozen = read_jsonl(smoke / "03_sft/predictions.jsonl", Judgement)
    assert found == {(r.pair_id, r.order): r.raw for r in frozen if r.model == "sft/test"}


def test_judge_names_the_line_that_is_wrong(smoke, tmp_path):
    good = (smoke / "01_synthesis/data/pairs_test.jsonl").read_text().splitlines()[0]
    bad = tmp_path / "pairs.jsonl"
    bad.write_text(
        json.dumps(json.loads(good) | {"prompt": [{"type": "text", "text": "x"}]}) + "\n" + good[: len(good) // 2]
    )
    done = command(
        smoke.parent, "judge", str(bad), "--model", str(smoke / "03_sft"), "--out", str(tmp_path / "rows.jsonl")
    )
    assert done.returncode != 0 and f"{bad}:2" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "rows.jsonl").exists()


def test_fine_tuning_goes_on_after_a_kill(smoke, tmp_path):
    """Kill the notebook after its first checkpoint: the second run resumes and ends like an unbroken one."""
    results = tmp_path / "results"
    results.mkdir()
    for stage in ("00_backbone", "01_synthesis", "02_reconciliation"):
        (results / "smoke").mkdir(exist_ok=True)
        (results / "smoke" / stage).symlink_to(smoke / stage)
    words = [sys.executable, "-m", "omnirepro", "run", "03", "--profile", "smoke"]
    child = subprocess.Popen(
        words, cwd=ROOT, env=environment(results), stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 180
    while not list(results.glob("smoke/03_sft/.partial/*/checkpoint-5/trainer_state.json")):
        assert child.poll() is None and time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not (results / "smoke/03_sft/manifest.json").exists()
    next(results.glob("smoke/03_sft/.partial/*")).joinpath("checkpoint-10").mkdir(exist_ok=True)  # as killed in saving
    again = subprocess.run(words, cwd=ROOT, env=environment(results), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    whole, resumed = (pd.read_csv(f / "03_sft/loss.csv") for f in (smoke, results / "smoke"))
    assert resumed["step"].tolist() == whole["step"].tolist()
    assert resumed["loss"].tolist() == pytest.approx(whole["loss"].tolist(), rel=1e-3)
