"""What is imported is declared; pyproject.toml, constraints.txt and environment.yml name the same packages."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import omnirepro

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = ("jupyterlab", "papermill", "torch", "transformers", "peft", "trl", "datasets", "seaborn")
# Declared, but imported by no file of the folder: started as programs, or loaded by another package.
STARTED = {"omnirepro": {"jupyterlab", "snakemake"}, "tests": {"ruff", "nbstripout", "uvicorn", "fastapi"}}
LOADED = {"gguf", "pytest-timeout", "pytest-xdist"}  # by transformers and by pytest


def split(requirement):
    """Return the normal name and the version numbers of a requirement with at most one bound."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:[>=]=([0-9.]+[0-9a-z.]*))?", requirement.strip())
    assert match, f"{requirement!r} is not NAME>=VERSION or NAME==VERSION"
    return re.sub(r"[-_.]+", "-", match[1]).lower(), tuple(int(n) for n in re.findall(r"\d+", match[2] or ""))


NEEDED, DEVELOPED = (
    dict(map(split, names)) for names in (PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"])
)
REQUIRED = NEEDED | DEVELOPED
PINNED = dict(map(split, (ROOT / "constraints.txt").read_text().split()))


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_every_requirement_has_a_bound_and_a_pin_above_it(name):
    assert REQUIRED[name], f"{name} has no lower bound in pyproject.toml"
    assert name in PINNED, f"{name} is not pinned in constraints.txt"
    assert PINNED[name] >= REQUIRED[name], f"constraints.txt pins {name} below the bound of pyproject.toml"


def imported(folder):
    """Return the packages, by their names in an index, that the modules of a folder import, inside functions too."""
    own = {"omnirepro", *(path.stem for path in (ROOT / "tests").glob("*.py")), "tests", *sys.stdlib_module_names}
    nodes = (node for path in (ROOT / folder).rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    known = metadata.packages_distributions()
    return {split(known[name][0])[0] for name in names - own}


def test_what_is_imported_is_declared_and_nothing_else():
    found = imported("omnirepro") | STARTED["omnirepro"]
    assert found == set(NEEDED), "`dependencies` of pyproject.toml are what omnirepro imports or starts"
    tested = imported("tests") | STARTED["tests"] | LOADED
    assert tested - found == set(DEVELOPED), "the extra `dev` is what the tests, make and transformers need besides"


def test_constraints_are_plain_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in lines)
    assert "torch==2.13.0" in lines and len(PINNED) == len(lines)


def test_conda_environment_agrees():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    *plain, pip = content["dependencies"]
    python = next(entry for entry in plain if entry.startswith("python=")).removeprefix("python=")
    assert PROJECT["requires-python"].startswith(f">={python},")
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
    for (
        target
    ) in "setup reproduce study ablations bless run test smoke figures lab bench size lint clean report".split():
        assert f"make {target} " in text
