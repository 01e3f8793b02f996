"""The smoke run: every real notebook, through the real batch, once for the session and beside its first tests."""

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


def batch_of(results, *words):
    """Return what starts the batch on profile smoke with results in their own folder: command, and how to run it."""
    environment = {**os.environ, "OMNIREPRO_RESULTS": str(results), "PYTHONWARNINGS": "ignore"}
    asked = ["--config", "profile=smoke", EVERY]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *words, *asked]
    return command, {"cwd": ROOT, "env": environment, "text": True}


def river(results, *words, timeout=900):
    """Run the batch on profile smoke and return the finished process."""
    command, how = batch_of(results, *words)
    return subprocess.run(command, **how, capture_output=True, timeout=timeout)


def pytest_collection_modifyitems(items):
    """Put the tests that read the smoke run last, since it is made while the others run."""
    items.sort(key=lambda item: "smoke" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def started(request, tmp_path_factory):
    """Start the smoke run before the first test, where one of the session will read it."""
    if not any("smoke" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    results = tmp_path_factory.mktemp("river")
    with (results / "output.txt").open("w") as output:
        command, how = batch_of(results)
        process = subprocess.Popen(command, **how, stdout=output, stderr=subprocess.STDOUT)
        yield process, results
        if process.poll() is None:  # an interrupted session
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="session")
def smoke(started):
    """Folder of the smoke run's stages."""
    process, results = started
    assert process.wait(timeout=1800) == 0, (results / "output.txt").read_text()[-4000:]
    return results / "smoke"


@pytest.fixture
def no_half_precision():
    """Fail a test in which an operator on a CPU sees half precision: without units for it, that is 46 times slower."""
    from tiny_parts import NoHalfPrecision

    with NoHalfPrecision() as spy:
        yield
    assert not spy.found, f"half precision on a CPU: {sorted(spy.found)}"
