"""pyproject.toml, constraints.txt and environment.yml name the same packages, and the files around them agree."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import omnirepro

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = ("jupyterlab", "papermill", "torch", "transformers", "peft", "trl", "datasets", "seaborn")


def split(requirement):
    """Return the normal name and the version numbers of a requirement with at most one bound."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:[>=]=([0-9.]+[0-9a-z.]*))?", requirement.strip())
    assert match, f"{requirement!r} is not NAME>=VERSION or NAME==VERSION"
    return re.sub(r"[-_.]+", "-", match[1]).lower(), tuple(int(n) for n in re.findall(r"\d+", match[2] or ""))


REQUIRED = dict(map(split, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]))
PINNED = dict(map(split, (ROOT / "constraints.txt").read_text().split()))


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_every_requirement_has_a_bound_and_a_pin_above_it(name):
    assert REQUIRED[name], f"{name} has no lower bound in pyproject.toml"
    assert name in PINNED, f"{name} is not pinned in constraints.txt"
    assert PINNED[name] >= REQUIRED[name], f"constraints.txt pins {name} below the bound of pyproject.toml"


def test_constraints_are_plain_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert "torch==2.13.0" in lines and len(PINNED) == len(lines)


def test_conda_environment_agrees():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = content["dependencies"]
    python = next(entry for entry in plain if entry.startswith("python=")).removeprefix("python=")
    assert PROJECT["requires-python"] == f">={python}"
    assert {"-c constraints.txt", "-e .[dev]"} <= set(pip["pip"])
    named = dict(split(entry) for entry in pip["pip"] if not entry.startswith("-"))
    assert set(NAMED) <= set(named)
    assert all(REQUIRED[name] == bound for name, bound in named.items())


def test_version_and_licence():
    assert PROJECT["version"] == omnirepro.__version__
    assert PROJECT["license"] == "Apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text()


def test_no_index_is_named():
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "environment.yml", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"index-url|find-links|https?://", text), f"{name} names a package index"


def test_make_alone_lists_every_public_target():
    text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in "setup reproduce study ablations bless run test smoke figures lab bench lint clean report".split():
        assert f"make {target} " in text
