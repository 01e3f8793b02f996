"""The folders of the project and of its runs; every path that is recorded is relative to them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from omnirepro.data.files import Content, RunError, atomic_write, file_digest, remove

__all__ = ["Content", "RunError", "atomic_write", "remove"]
CODE = Path(__file__).resolve().parents[2]
PACKAGED = CODE / "project"  # what a wheel brings of a checkout: parameters, notebooks, claims, the plan of the batch
FAILED = "failed.ipynb"  # the executed copy of a notebook that failed: no result, so that a batch runs it again
NOT_OUTPUTS = {"manifest.json", "notebook.ipynb", FAILED}
MANY = 50  # a folder with more files than this is one entry of the manifest


def project_root() -> Path:
    """Return the folder of parameters and notebooks.

    The nearest one upwards of the working directory that holds `params/base.yaml`, else the code's own checkout, else
    what was installed with the package.
    """
    here = Path.cwd()
    folders = (here, *here.parents, CODE.parent)
    return next((folder for folder in folders if (folder / "params" / "base.yaml").is_file()), PACKAGED)


def working_root() -> Path:
    """Return the folder of the batch and its results: the project's, or the current one of an installed package."""
    root = project_root()
    return Path.cwd() if root == PACKAGED else root


def notebooks_folder() -> str:
    """Return where the notebooks lie as the batch names them: relative to the folder it works in, unless installed."""
    folder = project_root() / "notebooks"
    return str(folder) if project_root() == PACKAGED else "notebooks"


def results_root() -> Path:
    """Return the folder of all runs: `results`, or what the variable OMNIREPRO_RESULTS names."""
    return working_root() / os.environ.get("OMNIREPRO_RESULTS", "results")


def relative(path: Path) -> str:
    """Return a path as it may be written down: relative to the project, or to the folder of the runs' folder."""
    for root in (working_root(), project_root(), results_root().parent):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def digest(path: Path) -> str:
    """Return the sha256 of a file, or of the names and digests of all files in a folder."""
    if not path.is_dir():
        return file_digest(path)
    lines = (f"{name} {digest(path / name)}\n" for name in files_in(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


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
