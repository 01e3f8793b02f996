"""The smoke river: every real notebook, through the real batch, once for the whole session."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("omnirepro", deadline=None)  # a busy machine is slow, and no fault of the code
settings.load_profile("omnirepro")

ROOT = Path(__file__).resolve().parents[1]
EVERY = "notebooks=" + " ".join(sorted(path.stem[:2] for path in (ROOT / "notebooks").glob("*.ipynb")))


def river(results, *words, timeout=900):
    """Run the batch on profile smoke with results in their own folder and return the finished process."""
    environment = {**os.environ, "OMNIREPRO_RESULTS": str(results), "PYTHONWARNINGS": "ignore"}
    asked = ["--config", "profile=smoke", EVERY]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *words, *asked]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Folder of the smoke run's stages."""
    results = tmp_path_factory.mktemp("river")
    done = river(results)
    assert done.returncode == 0, done.stderr[-4000:]
    return results / "smoke"


@pytest.fixture
def no_half_precision():
    """Fail a test in which an operator on a CPU sees half precision: without units for it, that is 46 times slower."""
    from tiny_parts import NoHalfPrecision

    with NoHalfPrecision() as spy:
        yield
    assert not spy.found, f"half precision on a CPU: {sorted(spy.found)}"
