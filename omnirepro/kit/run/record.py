"""What a manifest says about the machine and the code, and the form of `metrics.json`."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from omnirepro.kit.run.files import project_root

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy", "pydantic", "papermill")
COMPUTES = ("omnirepro", "notebooks", "params", "Snakefile")
FIELDS = ("value", "low", "high", "n", "seeds")


def versions() -> dict[str, str]:
    """Return name -> version of python, this package and the libraries that results depend on."""
    from omnirepro import __version__

    found = {"python": platform.python_version(), "omnirepro": __version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the code, with `-dirty` where tracked files differ from it; None outside of git."""
    commit = _git("rev-parse", "HEAD")
    tracked = ("--untracked-files=no", "--", ".", ":(exclude)results/sealed.yaml")  # a ledger, written by a run itself
    return commit and commit + ("-dirty" if _git("status", "--porcelain", *tracked) else "")


def differs_since(commit: str) -> bool:
    """Whether what computes results is another than at a commit: code, notebooks or parameters; so outside of git."""
    return _git("diff", "--name-only", commit, "--", *COMPUTES) != ""


def _git(*words: str) -> str | None:
    try:
        answer = subprocess.run(["git", *words], cwd=project_root(), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def device_name() -> str:
    """Return the device that was used, such as `cpu, 2 threads` or the name of the GPU."""
    torch = sys.modules.get("torch")
    if torch is None:
        return "cpu"
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory_gib() -> float | None:
    """Return the process's peak resident memory in GiB, or a GPU's peak where that is larger."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak = max(peak, torch.cuda.max_memory_allocated() / 2**30)
    return round(peak, 3)


def complete_metrics(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give every metric the fields value, low, high, n, seeds; what is not known is null.

    A metric is a number, a mapping with `value` (further keys are kept) or an object with those attributes, such
    as an interval. Raises `ValueError` on anything else.
    """
    return {name: _complete(name, metric) for name, metric in metrics.items()}


def _complete(name: str, metric: Any) -> dict[str, Any]:
    if not isinstance(metric, Mapping) and hasattr(metric, "value"):
        metric = {field: getattr(metric, field, None) for field in FIELDS}
    if not isinstance(metric, Mapping):
        metric = {"value": metric}
    if "value" not in metric and "verdict" not in metric:
        raise ValueError(f"metric {name!r} has no 'value'; it has {', '.join(map(str, metric)) or 'nothing'}")
    return {key: _plain(name, value) for key, value in {**dict.fromkeys(FIELDS), **metric}.items()}


def _plain(name: str, value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # numpy and torch scalars
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # JSON has no NaN
    if isinstance(value, list | tuple):
        return [_plain(name, entry) for entry in value]
    if isinstance(value, str | int | None):
        return value
    raise ValueError(f"metric {name!r} holds {type(value).__name__}, which is no number, text or list of them")
