"""Every bench in one run, one thread each: what they tell, with its aim and the machine, in the table of docs/speed.md.

`python tests/bench.py` runs `bench_*.py` but for `bench_draws.py` (hours); names (`judging choice`) run those alone and
leave the rows of the others. Ways that are compared take turns, so that what else the machine does falls on all alike.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from omnirepro.data.files import atomic_write
from omnirepro.kit.run.estimates import usable_cores

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
PYTEST = ("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider")
BENCHES = {"judging": PYTEST, "choice": PYTEST, "smollm2": (), "sft": PYTEST, "grpo": PYTEST, "growth": (),
           "batch": (), "streaming": (), "explorer": PYTEST}  # fmt: skip
MARKED = re.compile(r"(<!-- speed: begin -->\n).*?(<!-- speed: end -->)", re.DOTALL)
HEAD = "| bench | what was measured | found | aim | how | where and when |\n|---|---|---:|---:|---|---|\n"


def in_turns(ways, rounds=5, clock=time.process_time):
    """Return the median seconds (of CPU time) of every way, name -> call, which take turns; a first round warms up."""
    took = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            way()
            took[name].append(clock() - start)
    return {name: statistics.median(some[1:]) for name, some in took.items()}


def tell(what, found, how="", least=None, most=None, unit=" x"):
    """Print a row of the table: what was found, and whether it is at least or at most what is aimed at."""
    aim = "" if least is most is None else f"{least or most:g}{unit} at {'least' if least else 'most'}"
    missed = (least is not None and found < least) or (most is not None and found > most)
    number = f"{found:,.0f}" if found >= 100 else f"{found:.2f}"
    print(f"\n| {what} | {number}{unit} | {aim}{': **missed**' * missed} | {how} |", flush=True)


def machine():
    """Name processor, cores, threads of the bench, load and day."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    cores = usable_cores()
    load = os.getloadavg()[0]
    shared = f", shared (load {load:.0f})" if load > cores / 10 else ""
    return f"{name}, {cores} cores, one thread{shared}; {date.today()}"


def measured(name):
    """Run one bench and return the rows that it told. Raises CalledProcessError where it fails."""
    file = ROOT / "tests" / f"bench_{name}.py"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *BENCHES[name], str(file)]
    ran = subprocess.run(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE)
    if ran.returncode:
        print(ran.stdout)
        ran.check_returncode()
    return [line for line in ran.stdout.splitlines() if line.startswith("| ")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"benches, of {', '.join(BENCHES)} (default: all)")
    chosen = parser.parse_args().names or list(BENCHES)
    for name in chosen:
        where = machine()
        rows = [f"| {name} {line} {where} |" for line in measured(name)]
        print(*rows, sep="\n", flush=True)
        page = PAGE.read_text(encoding="utf-8")
        kept = [line for line in MARKED.search(page)[0].splitlines() if line.startswith("| ")]
        known = {bench: [line for line in kept if line.startswith(f"| {bench} |")] for bench in BENCHES} | {name: rows}
        table = HEAD + "".join(f"{line}\n" for some in known.values() for line in some)
        atomic_write(PAGE, MARKED.sub(rf"\g<1>{table}\g<2>", page))


if __name__ == "__main__":
    main()
