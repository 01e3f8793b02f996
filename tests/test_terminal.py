"""What a user of the terminal is told: status, environment, trackers of curves, and the lines of a running batch."""

import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import test_batch
import yaml

from omnirepro.cli.main import main
from omnirepro.data import progress as progress_file
from omnirepro.kit.batch.engine import Batch, held, report
from omnirepro.kit.batch.table import Row, Screen, ahead, table
from omnirepro.kit.run import ParameterError, load_params, open_run
from omnirepro.kit.run.estimates import expected
from omnirepro.kit.run.training import Training

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the two toy notebooks, whose folder is the working one."""
    for name in ("params/profiles", "notebooks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "params/base.yaml").write_text(test_batch.BASE)
    (tmp_path / "params/profiles/tiny.yaml").write_text("")
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for stage in ("00_backbone", "01_synthesis"):
        test_batch.write_notebook(tmp_path / f"notebooks/{stage}.ipynb", "run.do(print)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def finish(project, stage):
    """Leave what a finished notebook leaves."""
    run = open_run(stage)
    run.do(lambda run: run.write("x", str(run.section()["steps"])))
    run.finish({"accuracy": 0.5})
    (run.dir / "notebook.ipynb").write_text("{}")


def shown(capsys, *words):
    assert main(["status", *words]) == 0
    said = capsys.readouterr().out
    return said, {line.split()[0]: " ".join(line.split()[1:]) for line in said.splitlines() if line[:1].isdigit()}


def working(project, **changes):
    known = {"label": "SFT", "done": 3, "total": 9, "seconds_left": 60, "note": "loss 1.25", "time": time.time()}
    known |= {"process": os.getpid(), "machine": platform.node()} | changes
    folder = project / "results/tiny/01_synthesis"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / progress_file.FILE).write_text(json.dumps(known))


def test_status_names_every_state_and_the_next_command(project, capsys):
    said, rows = shown(capsys)
    assert rows["00_backbone"] == "not run" and rows["01_synthesis"] == "not run after 00"
    assert "2 not run of 2 notebooks" in said
    assert said.endswith(
        "make reproduce PROFILE=tiny\nruns 2 notebooks (00_backbone, 01_synthesis), about 11 minutes\n"
    )
    finish(project, "00_backbone")
    _, rows = shown(capsys)
    assert rows["00_backbone"].startswith("done ") and rows["01_synthesis"] == "not run"
    working(project)
    said, rows = shown(capsys)
    assert rows["01_synthesis"].startswith("running SFT 3/9, loss 1.25") and "0:" in rows["01_synthesis"]
    assert said.endswith("Nothing is left to be started: wait for what runs.\n")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    working(project, process=ended.pid)
    said, rows = shown(capsys)
    assert rows["01_synthesis"] == "stopped at SFT 3/9, loss 1.25" and "runs 1 notebook (01_synthesis)" in said
    working(project, machine="another", time=time.time() - 3600)
    assert shown(capsys)[1]["01_synthesis"].startswith("stopped")
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="too long\nby far", traceback=[])
    cell = nbformat.v4.new_code_cell("look(1)", execution_count=7, outputs=[error])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), project / "results/tiny/01_synthesis/failed.ipynb")
    (project / "results/tiny/01_synthesis" / progress_file.FILE).unlink()
    said, rows = shown(capsys)
    assert rows["01_synthesis"] == "failed ValueError: too long" and "cell [7]:\n    look(1)" in said
    assert shown(capsys, "--notebooks", "00")[0].endswith(
        "every notebook is up to date; python -m omnirepro report --profile tiny --notebooks 00\n"
    )


def test_status_says_what_became_stale(project, capsys):
    finish(project, "00_backbone")
    later = time.time() + 5
    book = project / "notebooks/00_backbone.ipynb"
    test_batch.write_notebook(book, "run.do(repr)")
    os.utime(book, (later, later))
    said, rows = shown(capsys)
    assert rows["00_backbone"].startswith("stale its notebook changed") and "1 stale, 1 not run" in said
    (project / "params/profiles/tiny.yaml").write_text("backbone: {steps: 20}\n")
    assert shown(capsys)[1]["00_backbone"].startswith("stale backbone.steps is 20, was 10")


def test_status_is_quick_and_reads_no_model(project):
    code = "import sys; from omnirepro.cli.main import main; main(['status']); assert 'torch' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    refused = subprocess.run(
        [sys.executable, "-m", "omnirepro", "status", "--profile", "tinny"], capture_output=True, text=True
    )
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "tiny" in refused.stderr, refused.stderr


def test_the_next_command_needs_no_make_where_there_is_none(monkeypatch):
    batch = Batch("tiny", [0, 1], ["03"], 2, False)
    assert batch.again() == 'make reproduce PROFILE=tiny SEEDS="0 1" N="03"'
    monkeypatch.setenv("PATH", "")
    assert batch.again() == "python -m omnirepro reproduce --profile tiny --seeds 0 1 --notebooks 03"


def test_make_reproduce_is_the_command(project):
    command = ["make", "--no-print-directory", "-n", "reproduce", "-o", ".venv/.installed"]  # `make test` runs it too
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        told.stdout.splitlines()[-1].split("-m ")[-1]
        == "omnirepro reproduce --profile tiny --seeds 0 --notebooks  --cores 0"
    )


def test_a_notebook_that_begins_no_cell_has_a_reason(project, capsys):
    batch = Batch("tiny", [0], [], 2, False)
    batch.rows = [Row("tiny", "01_synthesis", "failed")]
    log = project / "log"
    log.write_text("Traceback\nnothing.NoSuchKernel: No such kernel named python9\nsubprocess.CalledProcessError: x\n")
    told = "\n".join(report(batch, log))
    assert "failed in run tiny before its first cell had ended:\n  nothing.NoSuchKernel: No such kernel" in told
    assert "Mend it, then: make reproduce PROFILE=tiny" in told


# ---- what is shown while notebooks run


def test_the_table_says_how_long_all_still_takes():
    running = Row("tiny", "03_sft", "running", 100, expected=120)
    waiting = [Row("tiny", "04_grpo", expected=400), Row("tiny", "05_bradley_terry", expected=300)]
    assert ahead([running, *waiting], 160) == ", about 12:40 left"
    assert ahead([running, waiting[0], Row("tiny", "06_meta_reward_dpo")], 160) == ", more than 7:40 left"
    assert ahead([Row("tiny", "03_sft", "done", 1, 2, expected=5)], 160) == "" == ahead([Row("omni-7b", "03_sft")], 0)
    assert table([running, *waiting], 160)[-1] == "1 running, 2 waiting of 3 notebooks, about 12:40 left"
    assert expected("03_sft", "tiny", ["no-run"]) == 132 and expected("03_sft", "omni-7b", ["no-run"]) is None


def test_a_notebook_without_a_loop_says_what_it_is_at():
    row = Row("tiny", "03_sft", "running", 100, progress={
        "label": "tables and figures", "done": 0, "total": 0, "note": "", "seconds_left": 0, "time": 150})  # fmt: skip
    assert row.now() == "tables and figures" and row.left(160) == ""


def test_without_a_terminal_a_notebook_is_told_every_15_seconds(monkeypatch):
    row = Row("tiny", "03_sft", "running", 1000, progress={
        "label": "SFT", "done": 5, "total": 9, "note": "loss 1.500", "seconds_left": 60, "time": 1000})  # fmt: skip
    out = io.StringIO()
    with Screen(out) as screen:
        for now in range(1000, 1031):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            screen.show([row])
    assert out.getvalue().splitlines() == [
        "tiny 03_sft: running",
        "tiny 03_sft: SFT 5/9, loss 1.500, 0:45 left, 0:15 elapsed",
        "tiny 03_sft: SFT 5/9, loss 1.500, 0:30 left, 0:30 elapsed",
    ]


def test_a_stage_tells_what_it_is_at_beside_its_loops(project):
    kept = project / "results/tiny/00_backbone/.progress.json"
    run = open_run("00_backbone")
    run.do(lambda run: run.write("x", json.loads(kept.read_text())["label"]))
    assert (run.dir / "x").read_text() == "working"
    known = json.loads(kept.read_text())
    assert known["label"] == "tables and figures" and known["process"] == os.getpid()
    progress_file.follow(kept.parent, afresh=False)
    assert kept.exists() and progress_file.followed() == kept.parent, "a process that trains for the stage goes on"
    run.finish({})
    assert not kept.exists() and progress_file.followed() is None


def test_a_lock_is_seen_and_given_back(project):
    (project / "results").mkdir()
    assert not held("tiny") and not held("tiny")
    import fcntl

    with (project / "results/.tiny.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert held("tiny")


def test_no_module_needs_what_one_system_alone_has():
    """`reproduce` imports on Windows too: what is not there is asked for inside functions."""
    for path in [*ROOT.glob("omnirepro/**/*.py"), ROOT / "Snakefile"]:
        assert not re.search(r"^(import|from) (fcntl|resource|pwd|termios)\b", path.read_text(), re.M), path


# ---- the environment


def test_the_environment_is_told_and_is_ready_here(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(["check-env"]) == 0
    said = capsys.readouterr().out
    for name in (
        "Python",
        "packages",
        "cores",
        "vector units",
        "threads",
        "memory",
        "disk",
        "browser",
        "codecs",
        "home",
    ):
        assert f"\n{name} " in said, name
    assert "Missing:" not in said and said.endswith("Ready: python -m omnirepro reproduce\n")


@pytest.mark.parametrize("case", ("package", "version", "place"))
def test_what_is_needed_and_missing_fails_with_a_remedy(case, project, capsys, monkeypatch):
    asked = {"package": "no-such-package-here>=1.0", "version": "numpy>=99.0"}.get(case, "numpy>=1.0")
    (project / "pyproject.toml").write_text(f'[project]\ndependencies = ["{asked}"]\n')
    if case == "place":
        monkeypatch.setenv("OMNIREPRO_RESULTS", str(project / "Snakefile" / "results"))
    assert main(["check-env"]) == 1
    said = capsys.readouterr().out
    told = said[said.index("Missing:") :]
    wanted = {"package": f"{asked} (absent): make setup", "version": f"{asked} (", "place": "cannot be written"}
    assert wanted[case] in told and told.endswith("Not ready: mend what is missing.\n")


def test_other_versions_than_pinned_are_told_and_no_error(project, capsys):
    (project / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1.0", "pandas>=1.0"]\n')
    (project / "constraints.txt").write_text(f"numpy==1.0.1\npandas=={importlib.metadata.version('pandas')}\n")
    assert main(["check-env"]) == 0
    said = capsys.readouterr().out
    assert "2 as pyproject.toml asks, 1 not as pinned" in said and "(1.0.1)" in said and "Numbers may differ" in said


# ---- trackers of training curves


def handle(folder, tracker):
    params = load_params("smoke", overrides={"device.report_to": tracker})
    return Training("sft", 0, params, folder / "results/mine/03_sft/sft", folder / "checkpoints")


def test_nothing_is_reported_unless_a_tracker_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    assert load_params("smoke").peek("device.report_to") == "none"
    assert handle(tmp_path, "none").tracker == {"report_to": []}
    with pytest.raises(ParameterError, match="'wandb' is none of none, tensorboard, trackio"):
        handle(tmp_path, "wandb").tracker  # noqa: B018


@pytest.mark.parametrize("name", ("tensorboard", "trackio"))
def test_a_tracker_that_is_not_installed_is_one_line_before_any_work(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=f"device.report_to is {name}, .*: pip install {name}$"):
        open_run("03_sft", "smoke", overrides={"device.report_to": name})


def test_a_tracker_writes_below_the_results_and_names_no_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name in ("TENSORBOARD_LOGGING_DIR", "TRACKIO_DIR"):
        monkeypatch.setenv(name, "elsewhere")
    told = handle(tmp_path, "trackio").tracker
    assert told["report_to"] == ["trackio"] and told["run_name"] == "mine-03_sft-sft"
    assert told["trackio_space_id"] is None is told["trackio_bucket_id"] and told["trackio_static_space_id"] is False
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "results/.trackio")
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "results/.tensorboard/mine-03_sft-sft")


@pytest.mark.parametrize("kind", ("transformers.TrainingArguments", "trl.GRPOConfig", "trl.DPOConfig", "trl.SFTConfig"))
def test_every_trainer_takes_the_tracker(kind, tmp_path, monkeypatch):
    from omnirepro.train.common import arguments

    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    module, _, name = kind.partition(".")
    p = {"accumulate": 1, "lr": 1e-3, "schedule": "constant", "warmup": 0.0, "save_every": 10}
    given = arguments(handle(tmp_path, "none"), p, 2, 8)
    assert getattr(importlib.import_module(module), name)(**given).report_to == []
    monkeypatch.setattr("omnirepro.kit.run.training.check_tracker", lambda name: None)
    given = arguments(handle(tmp_path, "trackio"), p, 2, 8)
    made = getattr(importlib.import_module(module), name)(**given)
    assert made.report_to == ["trackio"] and made.trackio_static_space_id is False


def test_tensorboard_gets_the_curve(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    import torch
    from transformers import Trainer, TrainingArguments

    from omnirepro.train.common import arguments

    class Line(torch.nn.Linear):
        def forward(self, x):
            return {"loss": super().forward(x).square().mean()}

    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    p = {"accumulate": 1, "lr": 1e-3, "schedule": "constant", "warmup": 0.0, "save_every": 10}
    args = TrainingArguments(**arguments(handle(tmp_path, "tensorboard"), p, 2, 4), logging_steps=1)
    Trainer(Line(2, 1), args, train_dataset=[{"x": torch.ones(2)} for _ in range(8)]).train()
    (written,) = (tmp_path / "results").rglob("events.out.*")
    assert written.parent == tmp_path / "results/.tensorboard/mine-03_sft-sft"


# ---- ways in


def test_the_dev_container_opens_the_image():
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    build = json.loads(text)["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"


def test_the_image_installs_what_the_project_names():
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = next(line for line in lines if line.startswith("COPY pyproject")).split()[1:-1]
    assert all((ROOT / name).is_file() for name in copied)
    python = next(e for e in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if "python=" in e)
    assert f"FROM python:{python.removeprefix('python=')}-slim" in lines
    first = next(line for line in lines if "torch==" in line)
    assert "$TORCH_INDEX" in first and "grep '^torch==' constraints.txt" in first
    assert any("-e '.[dev]' -c constraints.txt" in line for line in lines)


def test_the_page_for_agents_names_what_there_is():
    text = (ROOT / "AGENTS.md").read_text()
    places = {name for name in re.findall(r"`([\w.]+/[\w./-]*)`", text) if not name.startswith(".venv")}
    known = places | set(re.findall(r"\]\((\w+\.md)\)", text))
    assert len(known) > 10 and all((ROOT / name).exists() for name in known)
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{name}:" in targets for name in re.findall(r"`make ([a-z-]+)`", text))
