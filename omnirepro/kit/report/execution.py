"""Execution of one notebook by papermill, and removal of this machine's paths from executed copies."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from omnirepro.data.files import try_out
from omnirepro.kit import scorecard
from omnirepro.kit.run import ParameterError, RunError, load_params, project_root, results_root, run_name
from omnirepro.kit.run.checks import told
from omnirepro.kit.run.files import FAILED, atomic_write, relative, remove, working_root
from omnirepro.kit.run.reading import nearest
from omnirepro.kit.run.sealed import check_sealed


def find_notebook(word: str) -> Path:
    """Return the notebook of a number or name (`3`, `03`, `03_sft`); raises `RunError` where there is none."""
    notebooks = sorted((project_root() / "notebooks").glob("*.ipynb"))
    wanted = word.removesuffix(".ipynb").zfill(2)
    for path in notebooks:
        if wanted in (path.stem, path.stem[:2], path.stem[3:]):
            return path
    names = [path.stem for path in notebooks]
    raise RunError(f"no notebook {word!r}; the nearest one is {nearest(wanted, names)} (of {', '.join(names)})")


def execute(notebook: str, profile: str, run: str | None, base: str | None, seed: int, settings: Iterable[str]) -> str:
    """Execute one notebook into its results folder, showing its output as it comes, and say which checks it missed.

    Returns where the copy lies. `settings`: overrides as KEY=VALUE, the value in YAML. Raises `ParameterError` before
    any work, `RunError` where a cell failed.
    """
    import papermill

    source = find_notebook(notebook)
    name = run or run_name(profile, seed)
    overrides = dict(setting(text) for text in settings)
    load_params(profile, name, overrides)
    check_sealed(profile, [seed])
    target = results_root() / name / source.stem / "notebook.ipynb"
    try_out(target)
    failed = copy = target.with_name(FAILED)  # no result before the last cell has ended
    remove(failed)
    values = {"profile": profile, "run": name, "base": base, "seed": seed, "overrides": overrides}
    with contextlib.chdir(working_root()):
        try:
            papermill.execute_notebook(
                str(source),
                os.path.relpath(target),
                {key: value for key, value in values.items() if value not in (None, {})},
                cwd=".",
                log_output=False,
                progress_bar=False,  # what the cells print says more
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
            copy = target
        except papermill.PapermillExecutionError as error:
            cell = f"cell {error.exec_count} of {relative(source)} failed: {error.ename}: {error.evalue}"
            again = f"python -m omnirepro run {source.stem[:2]} --profile {profile} --run {name} --seed {seed}"
            again += f" --base {base}" if base else ""
            raise RunError(
                f"{clean(cell)}\nThe copy with the traceback is {relative(failed)}; mend it, then: {again}"
            ) from None
        finally:
            if target.is_file():
                tidy_notebook(target.replace(copy))
    metrics = scorecard.read_metrics(target.parents[1]).get(source.stem, {})
    for line in told({source.stem: metrics}):
        print(line)
    return relative(target)


def setting(text: str) -> tuple[str, Any]:
    """Read an override KEY=VALUE, the value in YAML. Raises `ParameterError` on any other form."""
    key, sign, value = text.partition("=")
    if not sign:
        raise ParameterError(f"--set {text!r} needs the form KEY=VALUE, such as sft.steps=10")
    return key.strip(), yaml.safe_load(value)


def tidy_notebook(path: Path) -> Path:
    """Replace this machine's paths in an executed notebook by relative ones and drop widgets' leftovers."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    cleaned = nbformat.from_dict(_tidy(notebook))
    cleaned.metadata.pop("widgets", None)
    atomic_write(path, nbformat.writes(cleaned) + "\n")
    return path


def _tidy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: entry if key.startswith("image/") else _tidy(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_tidy(entry) for entry in value]
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Return a text with relative paths in place of this machine's, and without a terminal's colours."""
    paths = sysconfig.get_paths()
    places = {
        str(project_root()): "",
        str(working_root()): "",
        str(results_root().parent): "",
        paths["purelib"]: "<site-packages>/",
        paths["stdlib"]: "<python>/",
        sys.prefix: "<environment>/",
        sys.base_prefix: "<python>/",
        os.path.expanduser("~"): "~/",
    }
    for folder, short in sorted(places.items(), key=lambda place: -len(place[0])):
        if len(folder) > 1:
            text = text.replace(f"{folder}/", short).replace(folder, short.rstrip("/") or ".")
    return re.sub(r"/tmp/ipykernel_\d+/", "", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text))
