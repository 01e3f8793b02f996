"""Files that are there whole or not at all, their digests, and the error of work that cannot go on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

YAML = (".yaml", ".yml")  # what names of parameter files and cards end in
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}

Content = str | bytes | dict | list | Callable[[Path], Any]


class RunError(RuntimeError):
    """A stage cannot go on; the message says what to do. Rows and media have their own errors (`schema`)."""


def atomic_write(path: Path, content: Content, shared: bool = False) -> Path:
    """Write a file or a folder under a temporary name and rename it; nothing half-written stays behind.

    `content` is text, bytes, a JSON value, or a function that writes to the path it is given (which keeps the suffix
    of `path`). With `shared`, other processes may be writing the same file. Raises `RunError` where the disk refuses.
    """
    temporary = path.with_name(f".part-{os.getpid() if shared else ''}{path.name}")
    try:
        with _refused(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove(temporary)
        if callable(content):
            content(temporary)
        elif isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            temporary.write_text(text, encoding="utf-8")
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        ours = error.filename is None or Path(error.filename).is_relative_to(temporary) or error.filename == str(path)
        if error.errno not in REFUSED or not ours:  # what `content` reads has errors of its own
            raise
        message = f"{path} could not be written ({error.strerror}), nothing half-written is left"
        raise RunError(f"{message}; free space or mend it and run again: finished stages are skipped") from error
    finally:
        with contextlib.suppress(OSError):
            remove(temporary)
    return path


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Name the file, the reason and the remedy where its place refuses what is tried inside the block."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); mend it or name another place") from error


def try_out(out: str | Path, given: Iterable[str] = ()) -> Path:
    """Try, before any work, whether a file can be written, and return its path; nothing but its folder is left there.

    Raises `RunError` where it cannot, where it is no file, or is one of those that are `given` to be read.
    """
    path = Path(out).absolute()
    temporary = path.with_name(f".part-{os.getpid()}{path.name}")
    with _refused(path):
        if path.exists() and not path.is_file():
            raise RunError(f"{path} is no file that can be written; name another one")
        if path.exists() and any(os.path.exists(name) and path.samefile(name) for name in given):
            raise RunError(f"{path} is read by the same command and would be lost; name another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        remove(temporary)
    return path


def home() -> Path:
    """Return the user's home folder, in which every library here keeps its caches.

    Where there is none that can be written, a temporary one takes its place for this process and for what it starts,
    which is said once; models that were downloaded into a home that can only be read are still found.
    """
    own = Path(os.path.expanduser("~"))
    if own.is_absolute() and own.is_dir() and os.access(own, os.W_OK | os.X_OK):
        return own
    folder = Path(tempfile.mkdtemp(prefix="omnirepro-home-"))
    if (downloaded := own / ".cache" / "huggingface" / "hub").is_dir():
        os.environ.setdefault("HF_HUB_CACHE", str(downloaded))
    os.environ["HOME"] = str(folder)
    os.environ.setdefault("USER", "nobody")  # for libraries that ask for a name, which an account without home may lack
    print(f"The home folder {own} cannot be written: caches lie in {folder}; set HOME to keep them.", file=sys.stderr)
    return folder


def lies_at(name: str) -> str:
    """Return where here lies what a name means: a model or data set of the hub, a folder, or a server's address.

    OMNIREPRO_MIRROR names a YAML file of beginnings of names and what stands in their place, such as a folder of
    models that were downloaded; a name that it does not have is its own place. Raises `RunError` where it is no such
    file.
    """
    known = _mirror(os.environ.get("OMNIREPRO_MIRROR", ""))
    fits = [start for start in known if name == start or name.startswith((f"{start}/", f"{start}#"))]
    start = max(fits, key=len, default="")
    return known[start] + name[len(start) :] if start else name


@lru_cache
def _mirror(file: str) -> dict[str, str]:
    """Read the file that OMNIREPRO_MIRROR names."""
    if not file:
        return {}
    try:
        known = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"OMNIREPRO_MIRROR: {file} cannot be read ({error}); give a YAML file, or unset it") from None
    if not isinstance(known, dict) or not all(isinstance(place, str) for place in known.values()):
        raise RunError(f"OMNIREPRO_MIRROR: {file} does not say `name: place` a line; mend it, or unset it")
    return known


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_digest(path: str | Path) -> str:
    """Return the hex sha256 of a file. Raises OSError also for a device or a pipe, which may have no end."""
    state = os.stat(path)
    if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        raise OSError(errno.EINVAL, "a device or a pipe, not a file", str(path))
    return _digest(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _digest(path: str, size: int, modified: int) -> str:
    """Hash a file once for each state of it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
