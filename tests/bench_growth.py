"""How time and memory grow with the rows: pairing, reconciliation, judging but for the model, data check, reading.

`python tests/bench_growth.py [--rows 1000 10000 100000 1000000]`: one process a number of rows, its seconds of CPU time
behind the imports and its memory at the peak, more than before. The slope is that of logarithms, from the second number
of rows to the last: 1 is twice the time for twice the rows.
"""

import argparse
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import tell
from bench_streaming import resident

from omnirepro.data import Label, Pair, Prompt, Response, iter_jsonl, text_part, write_jsonl
from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Generated
from omnirepro.papers.omni_rrm.reconcile import reconcile
from omnirepro.papers.omni_rrm.synthesis import make_pairs

SAID = '{"score_A": 7, "score_B": 4, "better": "A", "reasoning": "seen"}'


class Ready:
    """A model that has answered already."""

    name = "ready"

    def complete(self, chats, decoding, seed=0, progress=None):
        return [Generated(SAID, 20, True)] * len(chats)


def prompts(rows):
    for i in range(rows):
        yield Prompt(id=str(i), task="text", parts=[text_part(f"what is {i}?")], cluster=str(i // 4))


def pairs(rows):
    for i in range(rows):
        sides = {"response_a": [text_part(f"it is {i}")], "response_b": [text_part(f"it is not {i} but {i * i % 97}")]}
        yield Pair(
            id=str(i), task="text", prompt=[text_part(f"what is {i}?")], label=random.Random(i).choice("AB"), **sides
        )


def answers(rows, said):
    return [Response(prompt_id=str(i), generator=said, parts=[text_part(f"{said} {i}")]) for i in range(rows)]


def labels(rows, teacher):
    for i in range(rows):
        yield Label(pair_id=str(i), verdict="A", score_a=7, score_b=3 + i % teacher, provenance=f"teacher {teacher}")


def prepared(task, rows, folder):
    """Return the work on a number of rows, which stand ready."""
    if task == "pairing":
        given = list(prompts(rows)), answers(rows, "good"), answers(rows, "poor")
        return lambda: make_pairs(*given, 0)
    if task == "reconciliation":
        both = list(labels(rows, 2)), list(labels(rows, 3))
        return lambda: reconcile(*both)
    if task == "judging":
        asked = list(pairs(rows))
        return lambda: Judge(Ready()).judge(asked)
    file = write_jsonl(folder / "pairs.jsonl", pairs(rows))
    if task == "reading":
        return lambda: sum(1 for _ in iter_jsonl(file, Pair))
    from omnirepro.cli.main import main

    return lambda: main(["data", "check", str(file)])


TASKS = ("pairing", "reconciliation", "judging", "data check", "reading")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        with tempfile.TemporaryDirectory() as folder:
            work = prepared(args.tasks[0], args.rows[0], Path(folder))
            held = resident()
            begun = time.process_time()
            work()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"\nfound {time.process_time() - begun} {peak - held}")
        return
    for task in args.tasks:
        found = []
        for rows in args.rows:
            command = [sys.executable, __file__, "--here", "--tasks", task, "--rows", str(rows)]
            made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            found.append(tuple(map(float, next(x for x in made if x.startswith("found")).split()[1:])))
        seconds, memory = zip(*found, strict=True)
        between = math.log(args.rows[-1] / args.rows[1])
        shown = f"{args.rows[0]:,} to {args.rows[-1]:,} rows: {', '.join(f'{x:.2g}' for x in seconds)} s"
        tell(f"{task}: slope of time", math.log(seconds[-1] / seconds[1]) / between, shown, most=1.05, unit="")
        shown = f"{', '.join(f'{x:,.0f}' for x in memory)} MiB more"
        most = 100 if task == "reading" else None
        tell(f"{task}: memory at the most rows", memory[-1], shown, most=most, unit=" MiB")


if __name__ == "__main__":
    main()
