"""Opening a stage from a notebook's parameters, with a check on the names that papermill injected."""

from __future__ import annotations

import ast
import re
from typing import Any

from omnirepro.data.progress import follow
from omnirepro.kit.run.display import display, notebook_shell, parameter_page
from omnirepro.kit.run.files import RunError, project_root, results_root
from omnirepro.kit.run.handle import Run
from omnirepro.kit.run.parameters import ParameterError, Params, flatten, load_params
from omnirepro.kit.run.reading import RUN_FILE_KEYS, nearest, read_yaml
from omnirepro.kit.run.sealed import check_sealed
from omnirepro.kit.run.stages import READS, run_name, section_of
from omnirepro.kit.run.training import check_tracker
from omnirepro.models.device import seed_all

INJECTED = "# Parameters"  # the first line of the cell that papermill puts in


def open_run(
    stage: str,
    profile: str = "tiny",
    run: Any = None,
    base: str | None = None,
    seed: int = 0,
    overrides: Any = None,
) -> Run:
    """Open a notebook's stage: check the parameters, seed python, numpy and torch, show what is in force.

    `run`: name of the run, by default the profile (with `-s<seed>` where the seed is not 0); a `Run` of an earlier
    execution of the cell is accepted. `base`: a run to inherit finished stages from. `overrides`: dotted keys, or
    JSON text. Raises `ParameterError` on an unknown name, key or profile, `RunError` on a base that is not there and
    on a sealed seed.
    """
    check_injected_names()
    requested = run.requested if isinstance(run, Run) else run
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ParameterError(f"seed must be a whole number from 0 on, not {seed!r}")
    check_sealed(profile, [seed])
    name = _run_name(requested or run_name(profile, seed))
    if base and _run_name(base) == name:
        raise ParameterError(f"run {name!r} cannot be its own base; give it another name with -p run NAME")
    if base and not (results_root() / base).is_dir():
        runs = [path.name for path in results_root().glob("*") if path.is_dir() and path.name != name]
        raise RunError(f"base {base!r} is no run of results/; the nearest one is {nearest(base, runs)}")
    params = load_params(profile, name, overrides)
    refuse_foreign_answers(stage, params)
    if "device.report_to" in params.keys():  # a project of its own may lack it
        check_tracker(params.peek("device.report_to"))
    opened = Run(stage, name, params, base or None, seed)
    opened.requested = requested
    follow(results_root() / name / stage)
    seed_all(seed)
    title = f"{stage} · profile {profile} · run {name} · base {base or 'none'} · seed {seed}"
    display(parameter_page(title, opened.params, section_of(stage), READS.get(stage, ())))
    return opened


def refuse_foreign_answers(stage: str, params: Params) -> None:
    """Raise `ParameterError` before any work where a released model would answer the embedded world's prompts.

    The world's oracle reads the world's own language alone: it gives every other answer no point.
    """
    elsewhere = [key for key in ("backbone.model", "synthesis.strong", "synthesis.weak") if params.peek(key)]
    known = ["data.prompts", "data.pairs", "synthesis.templates"]
    known += ["bradley_terry.data", "meta_reward_dpo.data"] if stage == "00_backbone" else []
    supplied = any(params.peek(key) for key in known)
    if stage in ("00_backbone", "01_synthesis") and elsewhere and not supplied:
        said = f"{elsewhere[0]} is a released model, whose answers the embedded world's oracle cannot read"
        raise ParameterError(f"{said}: name data.prompts or data.pairs, or set synthesis.templates to true")


def _run_name(name: Any) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", str(name)):
        raise ParameterError(f"run {name!r} must be one folder name of letters, digits, '.', '_', '-', '+'")
    return str(name)


def check_injected_names() -> None:
    """Raise `ParameterError` if the notebook's parameters hold a name that no notebook has; papermill only warns.

    Looked at are the latest parameters cell and the latest cell that papermill injected.
    """
    shell = notebook_shell()
    cells = shell.user_ns.get("In", []) if shell else []
    injected = [cell for cell in cells if cell.lstrip().startswith(INJECTED)]
    written = [cell for cell in cells if {"profile", "seed"} <= set(_assigned(cell))]
    for name in (name for cell in (*injected[-1:], *written[-1:]) for name in _assigned(cell)):
        if name not in RUN_FILE_KEYS:
            keys = flatten(read_yaml(project_root() / "params" / "base.yaml"))
            matching = [key for key in keys if name in (key, key.split(".", 1)[-1])]  # belongs into the overrides
            guess = f"overrides {{{matching[0]!r}: ...}}" if matching else nearest(name, sorted(RUN_FILE_KEYS))
            known = ", ".join(sorted(RUN_FILE_KEYS))
            raise ParameterError(f"unknown notebook parameter {name!r}: did you mean {guess}? (of {known})")


def _assigned(cell: str) -> list[str]:
    """Return the names that a cell of plain Python assigns to."""
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return []
    targets = [target for s in statements if isinstance(s, ast.Assign) for target in s.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]
