"""The batch and the report, on two toy notebooks in a project of their own."""

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from omnirepro.kit.batch.failures import failure
from omnirepro.kit.batch.table import Row, Screen, table
from omnirepro.kit.run import DEPENDS, to_run

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
    opening = "from omnirepro.kit.run import open_run\n"
    opening += f"run = open_run('{path.stem}', profile, run, base, seed, overrides)"
    code = map(nbformat.v4.new_code_cell, (opening, work, DRAW, "run.finish({'accuracy': 0.75})\nprint(run.dir)"))
    title = nbformat.v4.new_markdown_cell(f"# The toy {path.stem}\n\nNext: [x](01_synthesis.ipynb)")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[title, parameters, *code], metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a bätch")
    for name in ("params/profiles", "notebooks"):
        (folder / name).mkdir(parents=True)
    (folder / "params/base.yaml").write_text(BASE)
    (folder / "params/profiles/tiny.yaml").write_text("")
    shutil.copy(ROOT / "Snakefile", folder)
    first = "run.do(lambda run: run.write('model.txt', str(run.section().steps)))"
    text = "run.input('00_backbone', 'model.txt').read_text()"
    second = f"run.do(lambda run: run.write('p', {text} * (run.section().pairs or 1 // 0)))"
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
    check_lines_of_a_batch(project)
    assert "Nothing to be done" in batch(project, "-n", *seeds)
    check_seeds_together(project)
    check_failed_batch(project)
    (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 2}\n")
    assert re.search(r"01_synthesis +failed +ZeroDivisionError: ", call(project, "omnirepro", "status").stdout)
    assert jobs(batch(project)) == [("tiny", "01_synthesis")]
    (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 3}\n")
    assert re.search(r"01_synthesis +stale +synthesis.pairs is 3, was 2 ", call(project, "omnirepro", "status").stdout)
    (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 2}\n")
    assert (project / "results/tiny/01_synthesis/p").read_text() == "1010"
    assert jobs(batch(project, "-n", "--config", "notebooks=00", "--forceall")) == [("tiny", "00_backbone")]
    refused = call(project, "omnirepro", "report", "--seeds", "0", "1")
    assert refused.returncode == 1 and "synthesis.pairs = 4, that of seed 0 with 2" in refused.stderr
    refused = call(project, "omnirepro", "report", "--seeds", "0", "7")
    assert refused.returncode == 1 and "tiny-s7" in refused.stderr
    check_copies(project)
    check_report(project)


def check_lines_of_a_batch(project):
    """Without a terminal: a line for each change of state and nothing else; the engine's own words are in the log."""
    answer = call(project, "omnirepro", "batch", "--seeds", "0", "1", "--cores", "2")
    assert answer.returncode == 0 and answer.stderr == "", answer.stderr
    lines = [line for line in answer.stdout.splitlines() if not line.endswith(" elapsed")]  # one a minute
    names = [f"{run} {stage}" for run in ("tiny", "tiny-s1") for stage in ("00_backbone", "01_synthesis")]
    for name in names:
        running, done = (line for line in lines if line.startswith(f"{name}: "))
        assert running == f"{name}: running" and re.fullmatch(r".*: done after \d+:\d\d", done)
    assert len(lines) == 2 * len(names) and "\x1b" not in answer.stdout
    log = (project / "results/tiny-batch.log").read_text()
    assert "Finished jobid" in log and "Executing notebook with kernel" in log and "%|" not in log
    again = call(project, "omnirepro", "batch", "--seeds", "0", "1")
    assert again.stdout == "Nothing to be done: every notebook of tiny tiny-s1 is up to date.\n"
    reported = call(project, "omnirepro", "reproduce")
    assert reported.returncode == 0 and reported.stdout.startswith("Nothing to be done"), reported.stderr
    assert "report  results/tiny/report.html" in reported.stdout and (project / "results/tiny/report.html").is_file()
    assert not list(project.glob("results/*/*/failed.ipynb")) and not list(project.glob("results/*/*/.progress.json"))


def check_failed_batch(project):
    """A notebook that fails, twice since a job is tried again, is named with its cell, the reason and what to do."""
    (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 0}\n")
    answer = call(project, "omnirepro", "reproduce", "--notebooks", "01")
    assert answer.returncode == 1 and answer.stderr == "", answer.stderr
    states = [line for line in answer.stdout.splitlines() if line.startswith("tiny ")]
    assert states[0] == "tiny 01_synthesis: running" and "tiny 01_synthesis: failed after" in states[-1]
    told = answer.stdout.partition("\n\n")[2].splitlines()
    assert told[0] == "notebooks/01_synthesis.ipynb failed in run tiny, cell [4]:"
    assert "run.do(lambda run" in told[1] and told[2].startswith("  ZeroDivisionError: ")
    assert told[3] == "  the copy with the traceback: results/tiny/01_synthesis/failed.ipynb"
    assert told[-2] == 'Mend it, then: make reproduce PROFILE=tiny N="01"   (goes on where it stopped)'
    assert told[-1] == "Log: results/tiny-batch.log" and "Traceback" not in answer.stdout
    assert str(project) not in (project / "results/tiny/01_synthesis/failed.ipynb").read_text()
    assert not (project / "results/tiny/01_synthesis/notebook.ipynb").exists()


def check_copies(project):
    for path in project.glob("results/*/*/notebook.ipynb"):
        text = path.read_text()
        assert str(project) not in text and str(ROOT) not in text and sys.prefix not in text
        assert nbformat.read(path, as_version=4).metadata.papermill.output_path == path.relative_to(project).as_posix()


def check_report(project):
    card = project / "results/tiny/10_scorecard/tables/scorecard.csv"
    card.parent.mkdir(parents=True)
    card.write_text("claim,paper,verdict\na claim that is told at some length,omni-rrm,supported\n")
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
        (project / "params/profiles/tiny.yaml").write_text("synthesis: {pairs: 3}\n")
        refused = call(project, "omnirepro", "batch")
        assert refused.returncode == 1 and "Another batch works on results/tiny: wait for its end" in refused.stdout
        assert jobs(batch(project, "-n", "--nolock", "--forceall")), "to look at what there is to do needs no lock"
        batch(project, "--nolock", "--config", "seeds=5", "notebooks=00")
    batch(project, "--nolock", "--forceall")


ROWS = [
    Row("tiny", "00_backbone", "up to date"),
    Row("tiny", "03_sft", "done", 100, 250),
    Row("tiny", "04_grpo", "running", 300, tries=1, progress={
        "label": "SFT", "done": 120, "total": 300, "note": "loss 1.234", "seconds_left": 90, "time": 395}),
    Row("tiny+no-filter", "02_reconciliation", "running", 390, tries=2),
    Row("tiny", "05_bradley_terry", "failed", 300, 340, 2),
    Row("tiny", "06_meta_reward_dpo"),
]  # fmt: skip
SHOWN = """\
notebook            state       now                             elapsed  left
00_backbone         up to date
03_sft              done                                        2:30
04_grpo             running     SFT 120/300, loss 1.234         1:40     1:25
02 +no-filter       running     second try                      0:10
05_bradley_terry    failed                                      0:40
06_meta_reward_dpo  waiting
1 failed, 1 done, 1 up to date, 2 running, 1 waiting of 6 notebooks"""


def test_table_of_a_batch():
    assert "\n".join(table(ROWS, now=400, width=80)) == SHOWN
    wide = table(ROWS, now=400, width=120)
    assert [re.sub("  +", "  ", line) for line in wide] == [re.sub("  +", "  ", line) for line in SHOWN.splitlines()]
    seeds = [*ROWS, *(replace(row, run=row.run.replace("tiny", "tiny-s1"), state="done") for row in ROWS)]
    for width in (40, 80, 120):
        lines = table(seeds, now=400, width=width, height=10)
        assert len(lines) == 10 and max(map(len, lines)) <= width
    assert lines[3].startswith("04_grpo             tiny     running     SFT") and "tiny-s1  done" in lines[7]
    assert lines[-2:] == [
        "and 5 more: 5 done",
        "1 failed, 7 done, 1 up to date, 2 running, 1 waiting of 12 notebooks",
    ]


def test_colours_are_for_a_terminal_that_wants_them(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def drawn(times=1):
        with Screen(Terminal()) as screen:
            for _ in range(times):
                screen.show(ROWS)
        return screen.out.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfailed\x1b[0m" in drawn() and "\x1b[32mdone\x1b[0m" in drawn()
    assert "\x1b[8A" in drawn(2), "the second table stands where the first one stood"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "failed" in drawn() and "\x1b[3" not in drawn()
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in drawn() and "tiny 05_bradley_terry: failed after 0:40\n" in drawn()


def test_a_failed_notebook_is_told_by_its_cell_and_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "of mine"))
    copy = tmp_path / "of mine/tiny/03_sft/failed.ipynb"
    assert failure("tiny", "03_sft") == "notebooks/03_sft.ipynb failed in run tiny before its first cell had ended"
    copy.parent.mkdir(parents=True)
    told = "\n".join(f"line {i}" for i in range(9))
    error = nbformat.v4.new_output("error", ename="ValueError", evalue=f"\x1b[31mtoo long\x1b[0m\n{told}", traceback=[])
    cell = nbformat.v4.new_code_cell("\ntrained = run.do(train)\nlook(trained)", execution_count=7, outputs=[error])
    title = nbformat.v4.new_markdown_cell("## 3. Run\n\nIn one call.")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1"), title, cell]), copy)
    assert failure("tiny", "03_sft").splitlines() == [
        'notebooks/03_sft.ipynb failed in run tiny, cell [7] of its section "Run":',
        "    trained = run.do(train)",
        "  ValueError: too long",
        *(f"  line {i}" for i in range(5)),
        "  …",
        f"  the copy with the traceback: {copy}",
    ]
    cell.outputs, cell.metadata["papermill"] = [], {"status": "running"}
    nbformat.write(nbformat.v4.new_notebook(cells=[title, cell]), copy)
    assert "without an error of its own" in failure("tiny", "03_sft"), "a kernel that was killed"


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
