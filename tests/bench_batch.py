"""Every notebook of profile smoke in batch, with one worker and with two: `python tests/bench_batch.py` (minutes)."""

import os
import subprocess
import sys
import tempfile
import time

from bench import ROOT, tell


def seconds(workers):
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"OMNIREPRO_RESULTS": folder}
        command = [sys.executable, "-m", "omnirepro", "reproduce", "--profile", "smoke", "--cores", str(workers)]
        begun = time.monotonic()
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
        return time.monotonic() - begun


if __name__ == "__main__":
    one, two = seconds(1), seconds(2)
    tell("batch: one worker / two", one / two, f"profile smoke, wall clock: {two:.0f} s against {one:.0f} s")
