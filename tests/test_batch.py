"""The batch and the report, on two toy notebooks in a project of their own."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from omnirepro.run import DEPENDS, to_run

ROOT = Path(__file__).resolve().parents[1]
BASE = """\
# The first toy.
backbone:
  # Optimiser steps.
  steps: 10
# The second toy.
synthesis:
  # Number of pairs.
  pairs: 4
"""
DRAW = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nrun.write('figures/f.png', fig.savefig)"


def write_notebook(path, work):
    parameters = nbformat.v4.new_code_cell('profile = "tiny"\nrun = None\nbase = None\nseed = 0\noverrides = {}')
    parameters.metadata["tags"] = ["parameters"]
    opening = "from omnirepro.run import open_run\n"
    opening += f"run = open_run('{path.stem}', profile, run, base, seed, overrides)"
    code = map(nbformat.v4.new_code_cell, (opening, work, DRAW, "run.finish({'accuracy': 0.75})\nprint(run.dir)"))
    title = nbformat.v4.new_markdown_cell(f"# The toy {path.stem}\n\nNext: [x](01_synthesis.ipynb)")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[title, parameters, *code], metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch")
    for name in ("params/profiles", "notebooks"):
        (folder / name).mkdir(parents=True)
    (folder / "params/base.yaml").write_text(BASE)
    (folder / "params/profiles/tiny.yaml").write_text("")
    shutil.copy(ROOT / "Snakefile", folder)
    first = "run.do(lambda run: run.write('model.txt', str(run.section().steps)))"
    text = "run.input('00_backbone', 'model.txt').read_text()"
    second = f"run.do(lambda run: run.write('p', {text} * run.section().pairs))"
    write_notebook(folder / "notebooks/00_backbone.ipynb", first)
    write_notebook(folder / "notebooks/01_synthesis.ipynb", second)
    return folder


def call(project, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMNIREPRO_RESULTS", None)
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def batch(project, *words):
    answer = call(project, "snakemake", "--cores", "2", *words)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout + answer.stderr


def jobs(text):
    return sorted(set(re.findall(r"wildcards: run=(\S+), stage=(\S+)", text)))


def test_batch_runs_resumes_and_reports(project):
    seeds = ("--config", "seeds=0 1", "notebooks=")
    planned = jobs(batch(project, "-n", *seeds))
    assert planned == [(run, stage) for run in ("tiny", "tiny-s1") for stage in ("00_backbone", "01_synthesis")]
    batch(project, *seeds)
    assert "Nothing to be done" in batch(project, "-n", *seeds)
    check_seeds_together(project)
    (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 2}\n")
    assert jobs(batch(project)) == [("tiny", "01_synthesis")]
    assert (project / "results/tiny/01_synthesis/p").read_text() == "1010"
    assert jobs(batch(project, "-n", "--config", "notebooks=00", "--forceall")) == [("tiny", "00_backbone")]
    refused = call(project, "omnirepro", "report", "--seeds", "0", "1")
    assert refused.returncode == 1 and "synthesis.pairs = 4, that of seed 0 with 2" in refused.stderr
    refused = call(project, "omnirepro", "report", "--seeds", "0", "7")
    assert refused.returncode == 1 and "tiny-s7" in refused.stderr
    check_copies(project)
    check_report(project)


def check_copies(project):
    for path in project.glob("results/*/*/notebook.ipynb"):
        text = path.read_text()
        assert str(project) not in text and str(ROOT) not in text and sys.prefix not in text
        assert nbformat.read(path, as_version=4).metadata.papermill.output_path == path.relative_to(project).as_posix()


def check_report(project):
    card = project / "results/tiny/10_scorecard/tables/scorecard.csv"
    card.parent.mkdir(parents=True)
    card.write_text("claim,verdict\na claim that is told at some length,supported\n")
    answer = call(project, "omnirepro", "report", "--run", "tiny")
    assert answer.returncode == 0, answer.stderr
    assert "supported" in answer.stdout and "results/tiny/report.html" in answer.stdout
    text = (project / "results/tiny/report.html").read_text()
    assert not re.search(r"(src|href)=[\"'](https?:)?//|@import|<script", text)
    for part in ("The toy 00_backbone", "finished", "accuracy", "0.750", "data:image/png;base64,", "supported"):
        assert part in text
    assert 'href="#01_synthesis">x</a>' in text


def check_seeds_together(project):
    """Both seeds as one result while their parameters agree."""
    shutil.copy(ROOT / "results/claims.yaml", project / "results/claims.yaml")
    answer = call(project, "omnirepro", "report", "--seeds", "0", "1")
    assert answer.returncode == 0, answer.stderr
    assert "seeds 0, 1 together" in answer.stdout and "results/tiny-seeds/report.html" in answer.stdout
    folder = project / "results/tiny-seeds"
    found = json.loads((folder / "00_backbone/metrics.json").read_text())["accuracy"]
    assert found["value"] == 0.75 and found["seeds"] == [0, 1] and found["by_seed"] == {"0": 0.75, "1": 0.75}
    trace = json.loads((folder / "seeds.json").read_text())
    assert trace["seeds"] == [0, 1] and set(trace["inputs"]) == {
        f"{run}/{stage}/metrics.json" for run in ("tiny", "tiny-s1") for stage in ("00_backbone", "01_synthesis")
    }
    card = (folder / "10_scorecard/tables/scorecard.csv").read_text()
    assert len(card.splitlines()) == len(json.loads((folder / "10_scorecard/metrics.json").read_text())) + 1
    assert "accuracy" in (folder / "report.html").read_text()
    shown = call(project, "omnirepro", "estimate", "--seeds", "0", "1", "2").stdout
    assert shown.startswith("tiny, seeds 0, 1, 2: 2 notebooks and 0 of arms to run; about 0 minutes"), shown


def test_a_second_batch_on_the_same_run_stops_and_says_so(project):
    (project / "results").mkdir(exist_ok=True)
    with (project / "results/.tiny.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = call(project, "snakemake", "--cores", "2", "--nolock", "--forceall")
        assert answer.returncode and "Another batch works on results/tiny" in answer.stdout + answer.stderr
        assert jobs(batch(project, "-n", "--nolock", "--forceall")), "to look at what there is to do needs no lock"
        batch(project, "--nolock", "--config", "seeds=5", "notebooks=00")
    batch(project, "--nolock", "--forceall")


def test_report_of_a_run_that_is_not_there(project):
    answer = call(project, "omnirepro", "report", "--run", "no")
    assert answer.returncode == 1 and "no executed notebook in results/no" in answer.stderr


def test_arms_are_jobs_on_top_of_their_run(tmp_path):
    """The real notebooks, planned only: the few arms of the river, then all of them over their seeds."""
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", "-n", "--config", "profile=smoke"]
    environment = {**os.environ, "OMNIREPRO_RESULTS": str(tmp_path)}

    def planned(*more):
        done = subprocess.run([*words, *more], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return jobs(done.stdout + done.stderr)

    forks = to_run("smoke", "smoke", 0, every=False)
    few = planned("notebooks=07")
    own = [("smoke", stage) for stage in (*DEPENDS["07_ablations"], "07_ablations")]
    assert few == sorted([*own, *((f.name, stage) for f in forks for stage in f.arm.stages)])
    assert ("smoke+no-filter", "02_reconciliation") in few and ("smoke+audio-only", "02_reconciliation") not in few
    every = planned("notebooks=07", "arms=all")
    assert every == sorted([*own, *((f.name, s) for f in to_run("smoke", "smoke") for s in f.arm.stages)])
    assert not [run for run, _ in planned("notebooks=03") if "+" in run], "arms come with notebook 07 only"
