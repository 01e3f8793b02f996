"""Seeds, device and memory. torch is touched only where it is loaded already, or where a caller asks for the device."""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np


def seed_all(seed: int) -> None:
    """Seed python, numpy and, where it is loaded, torch. Code that loads torch itself calls this once more."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def quiet() -> None:
    """Keep progress bars and notices of the libraries out of notebooks; the kit reports its own progress."""
    import warnings

    warnings.filterwarnings("ignore", message="IProgress not found")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def best_device() -> str:
    """Return the device that "auto" means: a GPU ("cuda", or Apple's "mps") where there is one. Loads torch."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def resolve_device(section: Mapping[str, Any]) -> str:
    """Return "cuda", "mps" or "cpu" for the section `device`, and apply its number of threads. Loads torch."""
    import torch

    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        # Let glibc keep freed blocks up to 32 MB: else each tensor of some MB is mapped and cleared by the kernel anew,
        # which takes measurable time of a training step of the embedded model.
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    if section["threads"]:
        torch.set_num_threads(section["threads"])
    return best_device() if section["device"] == "auto" else section["device"]


def resolve_dtype(section: Mapping[str, Any]) -> str:
    """Return the name of the floating-point type: float32 on a CPU, bfloat16 on a GPU, unless the section says."""
    if section["dtype"] != "auto":
        return section["dtype"]
    return "float32" if resolve_device(section) == "cpu" else "bfloat16"


class OnDevice:
    """What computes as its section `device` says."""

    @property
    def device(self) -> str:
        """The device to compute on, "cpu", "cuda" or "mps"; loads torch."""
        return resolve_device(self.section("device"))

    @property
    def dtype(self) -> str:
        """The name of the floating-point type to compute in."""
        return resolve_dtype(self.section("device"))
