"""manifest.json: what a finished stage was made from, and whether that still holds."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnirepro.kit.run import record
from omnirepro.kit.run.files import digest, outputs_of
from omnirepro.kit.run.parameters import Params
from omnirepro.kit.run.stages import says_how

DRAWN = "figures/"  # from what is kept, at any time and by another version: no reason to compute a result again


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read a stage's manifest; an empty mapping where there is none that can be used."""
    with contextlib.suppress(OSError, ValueError):
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and {"seed", "params", "inputs", "outputs"} <= manifest.keys():
            return manifest
    return {}


def mismatch(folder: Path, params: Params, seed: int, current: Callable[[str], str | None]) -> str:
    """Return why a folder does not hold a stage's finished result; an empty text where it does.

    `current` maps the recorded name of an input (run/stage/file) to its present sha256, None where it is absent.
    """
    manifest = load_manifest(folder)
    if not manifest:
        return "no finished result yet"
    if manifest["seed"] != seed:
        return f"the seed was {manifest['seed']}"
    if changed := differing(manifest, params):
        return f"{changed[0]} was {json.dumps(manifest['params'][changed[0]])}"
    for name, sha in manifest["inputs"].items():
        if current(name) != sha:
            return f"the input {name} changed"
    for name, sha in manifest["outputs"].items():
        path = folder / name
        if not name.startswith(DRAWN) and not (path.exists() and digest(path) == sha):
            return f"the output {name} is lost or changed"
    return ""


def differing(manifest: dict[str, Any], params: Params) -> list[str]:
    """Return the keys of the parameters that a result was made with and that are otherwise here."""
    return [k for k, value in manifest["params"].items() if k not in params.keys() or params.peek(k) != value]


def stale_parameter(manifest: dict[str, Any], params: Params) -> str:
    """Return which parameter an upstream result was made with that this run has otherwise; empty where none.

    Without this check an override, or a run with a base, would quietly read results of other parameters.
    """
    for key in differing(manifest, params):
        if not says_how(key):
            return f"{key} = {json.dumps(manifest['params'][key])}, but here it is {json.dumps(params.peek(key))}"
    return ""


def build_manifest(run: Any, folder: Path, inputs: dict[str, str | None], seconds: float) -> dict[str, Any]:
    """Return the manifest of a stage whose other files are all written; every path in it is relative."""
    reads = dict(sorted(run.params.reads.items()))
    return {
        "stage": run.stage,
        "run": run.name,
        "base": run.base,
        "seed": run.seed,
        "profile": run.params.profile,
        "params": reads,
        "origin": {key: run.params.origin(key) for key in reads},
        "packages": record.versions(),
        "commit": record.git_commit(),
        "device": record.device_name(),
        "seconds": round(seconds, 2),
        "peak_memory_gib": record.peak_memory_gib(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "inputs": dict(sorted(inputs.items())),
        "outputs": outputs_of(folder),
    }
