"""Folders, atomic writes and content digests. Everything that is recorded is relative to these folders."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from omnirepro.data.errors import RunError

FAILED = "failed.ipynb"  # the executed copy of a notebook that failed: no result, so that a batch runs it again
NOT_OUTPUTS = {"manifest.json", "notebook.ipynb", FAILED}
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
MANY = 50  # a folder with more files than this is one entry of the manifest

Content = str | bytes | dict | list | Callable[[Path], Any]


def project_root() -> Path:
    """Return the nearest folder upwards of the working directory that holds `params/base.yaml`."""
    here = Path.cwd()
    found = (folder for folder in (here, *here.parents) if (folder / "params" / "base.yaml").is_file())
    return next(found, Path(__file__).resolve().parents[3])


def results_root() -> Path:
    """Return the folder of all runs: `results`, or what the variable OMNIREPRO_RESULTS names."""
    return project_root() / os.environ.get("OMNIREPRO_RESULTS", "results")


def atomic_write(path: Path, content: Content) -> Path:
    """Write a file or a folder under a temporary name and rename it; nothing half-written stays behind.

    `content` is text, bytes, a JSON value, or a function that writes to the path it is given (which keeps the
    suffix of `path`). Raises `RunError` where the disk refuses.
    """
    temporary = path.with_name(f".part-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fill(temporary, content)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        message = f"{relative(path)} could not be written ({error.strerror}), nothing half-written is left"
        raise RunError(f"{message}; free space or mend it and run again: finished stages are skipped") from error
    finally:
        remove(temporary)
    return path


def _fill(path: Path, content: Content) -> None:
    remove(path)
    if callable(content):
        content(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def relative(path: Path) -> str:
    """Return a path as it may be written down: relative to the project, or to the folder of the runs' folder."""
    for root in (project_root(), results_root().parent):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of the names and digests of all files in a folder."""
    if path.is_dir():
        lines = (f"{name} {_file_digest(path / name)}\n" for name in files_in(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    return _file_digest(path)


def _file_digest(path: Path) -> str:
    state = path.stat()
    return _hash(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _hash(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> list[str]:
    """Return the names of a stage's files, sorted: neither hidden ones, nor manifest, nor an executed notebook."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.parts))
    return sorted(path.as_posix() for path in visible if path.as_posix() not in NOT_OUTPUTS)


def outputs_of(folder: Path) -> dict[str, str]:
    """Return name -> sha256 of a stage's files; a folder of more than 50 files is one entry that ends in a slash."""
    names = files_in(folder)
    tops = [name.split("/")[0] + "/" for name in names if "/" in name]
    crowded = {top for top in tops if tops.count(top) > MANY} if len(tops) > MANY else set()
    single = [name for name in names if name.split("/")[0] + "/" not in crowded]
    return {name: digest(folder / name) for name in sorted([*single, *crowded])}
