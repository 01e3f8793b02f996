"""Sealed seeds: refused, opened once by committed code, open for the same run alone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from omnirepro.cli.main import main
from omnirepro.kit.run import RunError, open_run
from omnirepro.kit.run.reading import read_yaml
from omnirepro.kit.run.record import git_commit
from omnirepro.kit.run.sealed import check_sealed, ledger

ROOT = Path(__file__).resolve().parents[1]


def git(*words):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A committed project whose seeds 100 and 101 are sealed."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    for name in ("notebooks", "Snakefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/sealed.yaml").write_text("seeds: [100, 101]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    return tmp_path


def test_sealed_seeds_are_refused_without_the_flag(project):
    check_sealed("study", [0, 5, 99, 102])
    with pytest.raises(RunError, match=r"seeds 100 to 101 are sealed .* --seeds 100 101 --open-sealed"):
        check_sealed("study", [5, 101])
    with pytest.raises(RunError, match="sealed for one final run"):
        open_run("00_backbone", "study", seed=100)
    assert not (project / "results/study-s100").exists() and "opened" not in read_yaml(ledger())


def test_an_opening_is_written_down_and_holds_for_its_run_alone(project):
    commit = git_commit()
    check_sealed("study", [100], opening=True)
    assert read_yaml(ledger())["opened"]["commit"] == commit and read_yaml(ledger())["opened"]["profile"] == "study"
    assert git_commit() == commit, "the ledger makes no result dirty"
    check_sealed("study", [100, 101], opening=True)  # goes on
    assert open_run("00_backbone", "study", seed=101).seed == 101
    with pytest.raises(RunError, match="were opened on .* by the profile study"):
        check_sealed("tiny", [100], opening=True)
    git("add", ".")
    git("commit", "-qm", "the ledger")
    check_sealed("study", [101])  # the code is the same
    (project / "params/profiles/study.yaml").write_text("backbone: {steps: 4}\n")
    with pytest.raises(RunError, match="once is all"):
        check_sealed("study", [101], opening=True)


def test_uncommitted_code_opens_nothing(project):
    (project / "params/profiles/study.yaml").write_text("backbone: {steps: 4}\n")
    with pytest.raises(RunError, match="committed code alone"):
        check_sealed("study", [100], opening=True)
    assert "opened" not in read_yaml(ledger())


def test_a_project_without_a_ledger_has_sealed_nothing(project):
    ledger().unlink()
    check_sealed("study", [100])


@pytest.mark.parametrize("words", (["run", "00", "--seed", "100"], ["batch", "--seeds", "0", "101"]))
def test_the_commands_refuse_before_any_work(project, words, capsys):
    assert main([*words, "--profile", "study"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "sealed for one final run" in said
    assert not list(project.glob("results/study*"))
