"""A dozen draws of the embedded base: does each one make a judge? Hours of work, started by hand, resumed by itself.

    python tests/bench_draws.py --profile tiny --seeds 0 1 2 3 4 5 --processors native avx2 --out results/draws-tiny.csv

Another processor, another number of threads or another seed rounds, and so draws, another base. Each draw runs the
notebooks 00 to 03 as the batch does, two at a time on one thread each; `avx2` has PyTorch compute as on a processor
without AVX-512. The table is one row a draw, and its last rows are the spread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pandas as pd

from omnirepro.kit.run.checks import checks_of

ROOT = Path(__file__).resolve().parents[1]
PROCESSORS = {"native": {}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
STAGES = ("00_backbone", "01_synthesis", "02_reconciliation", "03_sft")
GATE = ("gate", "gate_check", "gate_winner")


def draw(profile: str, seed: int, processor: str, threads: int, folder: Path) -> dict:
    """Run notebooks 00 to 03 of one draw, or what is left of them, and return its row."""
    run = f"{profile}-s{seed}-{processor}-{threads}"
    environment = (
        os.environ | PROCESSORS[processor] | {"OMNIREPRO_RESULTS": str(folder), "OMP_NUM_THREADS": str(threads)}
    )
    for stage in STAGES:
        words = ["run", stage[:2], "--profile", profile, "--seed", str(seed), "--run", run]
        done = subprocess.run(
            [sys.executable, "-m", "omnirepro", *words], cwd=ROOT, env=environment, capture_output=True
        )
        if done.returncode:
            reason = done.stderr.decode().strip().splitlines()[-1]
            return {"seed": seed, "processor": processor, "threads": threads, "failed": f"{stage}: {reason}"}
    return {"seed": seed, "processor": processor, "threads": threads, "failed": ""} | row_of(folder / run)


def row_of(run: Path) -> dict:
    """Read what a finished draw's notebooks found: shares from 0 to 1, minutes of the work in 00 and 03."""
    metrics = {s: json.loads((run / s / "metrics.json").read_text()) for s in STAGES}
    manifests = {s: json.loads((run / s / "manifest.json").read_text()) for s in STAGES}
    steps = (pd.read_csv(run / "00_backbone/loss.csv")["phase"] == "skills").sum()
    sft = metrics["03_sft"]
    found = {name: metrics["00_backbone"][name]["value"] for name in GATE} | {"steps": int(steps)}
    found |= {"sft_accuracy": sft["accuracy"]["value"], "low": sft["accuracy"]["low"], "high": sft["accuracy"]["high"]}
    found |= {"valid": sft["valid_share"]["value"], "pairs": sft["accuracy"]["n"]}
    found |= {"ties": sft.get("tie_rate", {}).get("value")}  # of the valid ones, where there are any
    missed = [name for m in metrics.values() for name, entry in checks_of(m).items() if not entry["passed"]]
    times = {f"minutes_{s[:2]}": manifests[s]["seconds"] / 60 for s in ("00_backbone", "03_sft")}
    return found | times | {"missed": "; ".join(missed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--processors", nargs="+", default=["native"], choices=tuple(PROCESSORS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side-by-side", type=int, default=2, help="draws that run at a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "draws", help="results of the draws")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    asked = [(args.profile, s, p, args.threads, args.folder) for s, p in product(args.seeds, args.processors)]
    with ThreadPoolExecutor(args.side_by_side) as pool:
        rows = []
        for row in pool.map(lambda one: draw(*one), asked):
            rows.append(row)
            print(row, flush=True)
            table = pd.DataFrame(rows)
            spread = table.select_dtypes("number").drop(columns=["seed", "threads"]).agg(["mean", "min", "max", "std"])
            pd.concat([table, spread.rename_axis("seed").reset_index()]).round(4).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
