"""Where the kit is used: no home, folders that refuse, names with spaces, and an installed package."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from omnirepro.cli.main import main
from omnirepro.data.files import RunError, atomic_write, home, try_out
from omnirepro.kit.run import files

ROOT = Path(__file__).resolve().parents[1]


def refusing(folder):
    """Return paths that no user may write to, whoever runs the tests."""
    (folder / "a file").write_text("kept")
    return [folder / "a file" / "rows.jsonl", folder, folder / ("n" * 300), Path(os.devnull)]


@pytest.mark.parametrize("case", range(4))
def test_a_place_that_refuses_is_told_in_one_line_before_any_work(case, tmp_path, capsys):
    out = refusing(tmp_path)[case]
    words = {"judge": [], "score": [], "best-of-n": [], "explore": ["--pairs", "none.jsonl"]}
    for command, more in words.items():
        more = more or ["--model", "none"]
        assert main([command, str(tmp_path / "no such rows.jsonl"), *more, "--out", str(out)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {out} ") and said.count("\n") == 1 and "name another" in said, said
    assert (tmp_path / "a file").read_text() == "kept" and os.listdir(tmp_path) == ["a file"]


def test_what_is_read_is_not_written_over(tmp_path, capsys):
    rows = tmp_path / "my rows.jsonl"
    rows.write_text("{}\n")
    (tmp_path / "link").symlink_to(rows)
    for out in (rows, tmp_path / "link", tmp_path / ".." / tmp_path.name / rows.name):
        assert main(["judge", str(rows), "--model", "none", "--out", str(out)]) == 1
        assert "is read by the same command and would be lost" in capsys.readouterr().err
    assert rows.read_text() == "{}\n"
    assert try_out(tmp_path / "new folder" / "é.jsonl", ["none", str(rows)]).name == "é.jsonl"


def test_a_folder_that_cannot_be_made_is_no_fault_of_the_rows(tmp_path):
    with pytest.raises(RunError, match="a file/in/x.bin cannot be written .*; mend it or name another place"):
        atomic_write(refusing(tmp_path)[0].parent / "in" / "x.bin", b"1", shared=True)


def test_without_a_home_a_temporary_one_is_used_and_told_once(tmp_path, monkeypatch, capsys):
    for missing in (str(tmp_path / "none"), "not/absolute"):
        monkeypatch.setenv("HOME", missing)
        found = home()
        assert found.is_dir() and os.environ["HOME"] == str(found) and home() == found
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and missing in said and "set HOME" in said
        found.rmdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path and not capsys.readouterr().err


def test_a_wheel_brings_what_the_commands_read(tmp_path):
    """Built and unpacked, then used in a folder with a space and an accent, far from any checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(ROOT)]
    built = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    if built.returncode and re.search(
        "No matching distribution|ConnectionError|Could not find a version", built.stderr
    ):
        pytest.skip("the build backend cannot be fetched here")
    assert built.returncode == 0, built.stderr
    target = tmp_path / "installed"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    here = tmp_path / "mon été"
    here.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMNIREPRO")}

    def call_python(*words):
        given = {"cwd": here, "env": environment | {"PYTHONPATH": str(target)}, "capture_output": True, "text": True}
        return subprocess.run([sys.executable, *words], timeout=300, **given)

    def call(*words):
        return call_python("-m", "omnirepro", *words)

    assert call("arms", "--profile", "smoke").stdout.startswith("smoke: ")
    refused = call("run", "03", "--profile", "smok")
    assert refused.returncode == 1 and "the nearest known one is smoke" in refused.stderr
    words = ["-m", "snakemake", "--snakefile", str(target / "omnirepro/project/Snakefile"), "-n", "--config"]
    planned = call_python(*words, "profile=smoke", "notebooks=00")
    assert "wildcards: run=smoke, stage=00_backbone" in planned.stdout + planned.stderr, planned.stderr
    assert not (target / "omnirepro/project/.snakemake").exists() and not list(here.glob("results/*/*"))


def test_the_backend_packs_every_folder_that_the_kit_reads():
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name, place in packed["force-include"].items():
        assert (ROOT / name).exists() and place == f"omnirepro/{files.PACKAGED.name}/{name}"
