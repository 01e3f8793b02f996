"""A rehearsal: a paper's profile, unchanged, end to end, offline, on a CPU, against a miniature mirror of the hub.

Only counts (`counts.yaml`) and a map from names to local places differ from the run on a larger machine. Its results
lie in `results/rehearsal`, beside the mirror; what was finished is not done again, and no answer is paid twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import yaml

from omnirepro.data.files import atomic_write
from omnirepro.kit.batch.engine import run_batch
from omnirepro.kit.rehearsal.mirror import make, servers_in, write_map
from omnirepro.kit.rehearsal.servers import serving
from omnirepro.kit.run import load_params, results_root, run_name
from omnirepro.kit.run.parameters import Params

COUNTS = Path(__file__).with_name("counts.yaml")
PROFILES = ("omni-rrm-7b", "omni-rrm-3b", "omni-reward-bt", "omni-reward-r1", "grm-omni")


def rehearse(profile: str, cores: int, notebooks: list[str]) -> int:
    """Rehearse a profile, by its name or its file, and return the exit status of its batch.

    A second call goes on where the first stopped.
    """
    folder = results_root() / "rehearsal"
    name = run_name(profile)
    params = load_params(profile)
    places = make(params, folder / "mirror")
    started = time.monotonic()
    command = " ".join(
        ["python -m omnirepro rehearse --profile", profile, *(notebooks and ["--notebooks", *notebooks])]
    )
    outside = dict(os.environ)
    with serving() as address:
        places |= dict.fromkeys(servers_in(params), address)
        try:
            os.environ.update(surroundings(params, folder, write_map(folder / f"{name}-map.yaml", places)))
            made = atomic_write(folder / f"{name}.yaml", yaml.safe_dump(overlay(profile)))
            status = run_batch(str(made), [0], notebooks, cores, command=command)
        finally:
            os.environ.clear()
            os.environ.update(outside)
    print(f"Rehearsal of {profile}: {(time.monotonic() - started) / 60:.1f} minutes, status {status}")
    return status


def overlay(profile: str) -> dict[str, Any]:
    """Return the rehearsal's profile: the paper's own, and counts."""
    return {"profile": {"extends": profile}} | yaml.safe_load(COUNTS.read_text(encoding="utf-8"))


def surroundings(params: Params, folder: Path, map_file: Path) -> dict[str, str]:
    """Return the environment of a rehearsal: its map and results, no network, and a key for each server."""
    servers = params.values(["endpoints"])["endpoints.servers"]
    keys = [server["key"] for server in servers.values() if "key" in server]
    fixed = {"OMNIREPRO_MIRROR": str(map_file), "OMNIREPRO_RESULTS": str(folder), "HF_HUB_OFFLINE": "1"}
    return fixed | {"OMNIREPRO_MEDIA": str(folder / "media")} | dict.fromkeys(keys, "rehearsal")
