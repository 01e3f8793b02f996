"""Start and memory of a training against its number of rows: `python tests/bench_streaming.py [--rows 500 5000 50000]`.

Each row is a pair about one of 24 synthetic films, 3 s of 320 x 240 at 15 frames a second, as in a set of short clips;
every path is another one (links), and no digest is written down, so that no film is known from another row. One process
a number of rows, four steps of the Bradley-Terry training on an untrained model; told are the seconds from the call
to the end of the first step, and by how much the process's memory grows from loading the model to its peak, in MiB.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench import tell

FILMS = 24


def write_films(folder):
    """Write films of moving noise."""
    import av

    rng = np.random.default_rng(0)
    for number in range(FILMS):
        with av.open(str(folder / f"{number}.mp4"), "w") as out:
            stream = out.add_stream("libx264", rate=15)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            picture = np.kron(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            for step in range(45):
                frame = av.VideoFrame.from_ndarray(np.roll(picture, 4 * step, axis=1), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode())


def resident():
    """Return this process's memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def measure(number, workers, folder):
    """Train on `number` rows; print the figures."""
    from test_streaming import Here, pair_of, section
    from tiny_parts import save_untrained
    from transformers import TrainerCallback

    from omnirepro.data import Part
    from omnirepro.train import common
    from omnirepro.train.bradley_terry import train_bradley_terry
    from omnirepro.train.curriculum import labels_of

    run = Here(folder / f"run-{number}", workers)
    (run.folder / "films").mkdir()
    pairs = []
    for row in range(number):
        path = run.folder / "films" / f"{row}.mp4"
        path.symlink_to(folder / f"{row % FILMS}.mp4")
        pairs.append(pair_of(f"row {row}", Part(type="video", path=str(path)), "AB"[row % 2]))
    base = save_untrained(folder / f"base-{number}")
    first = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            first.append(time.monotonic())

    train = common.train_on
    from omnirepro.train import bradley_terry

    def watched(trainer, run):
        trainer.add_callback(Clock())
        train(trainer, run)

    bradley_terry.train_on = watched
    labels = labels_of(pairs)
    held = resident()
    begun = time.monotonic()
    values = section("bradley_terry", steps=4, batch=4, max_length=4096)
    train_bradley_terry(run, base, pairs, labels, values, "brief")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"found {first[0] - begun} {peak - held}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5000, 50_000])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        measure(args.rows[0], args.workers, Path(args.folder))
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        write_films(Path(folder))
        for number in args.rows:
            words = ["--rows", str(number), "--workers", str(args.workers), "--folder", folder]
            made = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
            said = next(line for line in made.stdout.splitlines() if line.startswith("found"))
            found.append(tuple(map(float, said.split()[1:])))
    seconds, memory = zip(*found, strict=True)
    rows = f"{args.rows[0]:,} to {args.rows[-1]:,} films"
    shown = f"{rows}: {', '.join(f'{x:.1f}' for x in seconds)} s to the end of step 1"
    tell("training: start at the most rows / the fewest", seconds[-1] / seconds[0], shown)
    shown = f"{rows}: {', '.join(f'{x:,.0f}' for x in memory)} MiB more than the model"
    tell("training: memory at the most rows / the fewest", memory[-1] / memory[0], shown, most=1.2)


if __name__ == "__main__":
    main()
