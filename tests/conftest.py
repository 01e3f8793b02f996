"""The smoke run: every real notebook, through the real batch, once for the session and beside its first tests."""

import os
import subprocess
import sys
import threading
import time
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


def reads_smoke(item):
    return "smoke" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items):
    """Put the tests that read the smoke run last, since it is made while the others run."""
    items.sort(key=reads_smoke)


@pytest.fixture(scope="session", autouse=True)
def started(request, tmp_path_factory):
    """Start the smoke run before the first test, in one of the session's processes, where a test will read it."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "river"
    wanted = any(map(reads_smoke, request.session.items))
    if not wanted or os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        yield folder
        return
    folder.mkdir()
    with (folder / "output.txt").open("w") as output:
        command, how = batch_of(folder)
        process = subprocess.Popen(command, **how, stdout=output, stderr=subprocess.STDOUT)
    watcher = threading.Thread(target=lambda: (folder / "ended").write_text(str(process.wait())))
    watcher.start()
    yield folder
    if request.session.shouldstop or request.session.shouldfail:  # an interrupted session
        process.terminate()
    watcher.join()


@pytest.fixture(scope="session")
def smoke(started):
    """Folder of the smoke run's stages."""
    ended = started / "ended"
    until = time.monotonic() + 1800
    while not ended.is_file() or not ended.read_text():
        assert time.monotonic() < until, "the smoke run takes longer than half an hour"
        time.sleep(0.2)
    assert ended.read_text() == "0", (started / "output.txt").read_text()[-4000:]
    return started / "smoke"


@pytest.fixture
def no_half_precision():
    """Fail a test in which an operator on a CPU sees half precision: without units for it, that is 46 times slower."""
    from tiny_parts import NoHalfPrecision

    with NoHalfPrecision() as spy:
        yield
    assert not spy.found, f"half precision on a CPU: {sorted(spy.found)}"


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Every family's folder, made when it is first asked for."""
    import checkpoints

    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / name
            checkpoints.make(name, made[name])
        return made[name]

    return of
