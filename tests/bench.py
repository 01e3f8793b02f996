"""Every bench in one run, one thread each: what they print, with the machine, in the table of docs/speed.md.

`python tests/bench.py` runs `bench_*.py` but for `bench_draws.py` (hours); names (`judging choice`) run those alone and
leave the rows of the others. Figures of a machine that others use meanwhile are marked so.
"""

import argparse
import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path

from omnirepro.kit.run.estimates import usable_cores

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
BENCHES = {"judging": "pytest", "choice": "pytest", "grpo": "pytest", "explorer": "pytest", "streaming": "script"}
HEAD = """# Speed

`make bench` writes this table: what each `tests/bench_*.py` says, and where. Ratios are of one run and hold elsewhere;
times do not. A machine was shared where others used more than a tenth of its cores when a bench began.

| bench | what was measured | where and when |
|---|---|---|
"""


def machine():
    """Name processor, cores, threads of the bench, load and day."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    cores = usable_cores()
    load = os.getloadavg()[0]
    shared = f", shared (load {load:.1f})" if load > cores / 10 else ""
    return f"{name}, {cores} cores, one thread{shared}; {date.today()}"


def measured(name):
    """Run one bench and return its lines. Raises CalledProcessError where it fails."""
    file = ROOT / "tests" / f"bench_{name}.py"
    how = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"] if BENCHES[name] == "pytest" else []
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, *how, str(file)], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)
    if ran.returncode:
        print(ran.stdout)
        ran.check_returncode()
    said = ran.stdout.split("\n= ")[0].split("\n==")[0].splitlines()
    lines = [line.lstrip(".").strip().replace("|", "/") for line in said]
    return [line for line in lines if line and " passed" not in line and "[100%]" not in line and set(line) != {"."}]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"benches, of {', '.join(BENCHES)} (default: all)")
    chosen = parser.parse_args().names or list(BENCHES)
    before = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows = {name: [line for line in before if line.startswith(f"| {name} |")] for name in BENCHES}
    for name in chosen:
        where = machine()
        rows[name] = [f"| {name} | {line} | {where} |" for line in measured(name)]
        print(*rows[name], sep="\n", flush=True)
        PAGE.write_text(HEAD + "\n".join(line for lines in rows.values() for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
