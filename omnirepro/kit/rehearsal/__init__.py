"""A rehearsal: a paper's profile, unchanged, end to end, offline, on a CPU, against a miniature mirror of the hub.

Only counts (`counts.yaml`) and a map from names to local places differ from the run on a larger machine. Its results
lie in `results/rehearsal`, beside the mirror; what was finished is not done again, and no answer is paid twice.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from omnirepro.data import RowError
from omnirepro.data.files import RunError, atomic_write
from omnirepro.kit.batch.engine import run_batch
from omnirepro.kit.rehearsal.mirror import make, servers_in, write_map
from omnirepro.kit.rehearsal.servers import serving
from omnirepro.kit.run import ParameterError, load_params, results_root, run_name
from omnirepro.kit.run.parameters import Params

COUNTS = Path(__file__).with_name("counts.yaml")
PROFILES = (
    *("omni-rrm-7b", "omni-rrm-3b", "omni-rrm-7b-released"),
    *("omni-reward-bt", "omni-reward-r1", "grm-omni"),
)
STOPPED = 130  # exit status of a batch that was interrupted
ENDS = {0: "yes", STOPPED: "stopped"}


def rehearse_each(profiles: Sequence[str], cores: int, notebooks: list[str]) -> int:
    """Rehearse profiles one after another, whether or not one fails, print which passed, and return the worst status.

    What was interrupted ends it.
    """
    worst = 0
    table = [("profile", "minutes", "passed")]
    for profile in profiles:
        started = time.monotonic()
        try:
            status = rehearse(profile, cores, notebooks)
        except (ParameterError, RowError, RunError) as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
        table.append((profile, f"{(time.monotonic() - started) / 60:.1f}", ENDS.get(status, "no")))
        worst = max(worst, status)
        if status == STOPPED:
            break
    wide = max(len(row[0]) for row in table)
    print("", *(f"{name:<{wide}}  {minutes:>7}  {passed}" for name, minutes, passed in table), sep="\n")
    return worst


def rehearse(profile: str, cores: int, notebooks: list[str]) -> int:
    """Rehearse a profile, by its name or its file, and return the exit status of its batch.

    A second call goes on where the first stopped.
    """
    folder = results_root() / "rehearsal"
    name = run_name(profile)
    params = load_params(profile)
    places = make(params, folder / "mirror")
    command = " ".join(
        ["python -m omnirepro rehearse --profile", profile, *(notebooks and ["--notebooks", *notebooks])]
    )
    outside = dict(os.environ)
    with serving() as address:
        places |= dict.fromkeys(servers_in(params), address)
        try:
            os.environ.update(surroundings(params, folder, write_map(folder / f"{name}-map.yaml", places)))
            made = atomic_write(folder / f"{name}.yaml", yaml.safe_dump(overlay(profile)))
            return run_batch(str(made), [0], notebooks, cores, command=command)
        finally:
            os.environ.clear()
            os.environ.update(outside)


def overlay(profile: str) -> dict[str, Any]:
    """Return the rehearsal's profile: the paper's own, and counts."""
    return {"profile": {"extends": profile}} | yaml.safe_load(COUNTS.read_text(encoding="utf-8"))


def surroundings(params: Params, folder: Path, map_file: Path) -> dict[str, str]:
    """Return the environment of a rehearsal: its map and results, no network, and a key for each server."""
    servers = params.values(["endpoints"])["endpoints.servers"]
    keys = [server["key"] for server in servers.values() if "key" in server]
    fixed = {"OMNIREPRO_MIRROR": str(map_file), "OMNIREPRO_RESULTS": str(folder), "HF_HUB_OFFLINE": "1"}
    return fixed | {"OMNIREPRO_MEDIA": str(folder / "media")} | dict.fromkeys(keys, "rehearsal")
