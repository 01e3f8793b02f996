"""One stage of one run: inputs, atomic outputs, and the manifest that says when the work need not be done again.

A stage writes `manifest.json` last. It is skipped when its manifest (or that of the same stage in the base run) names
the same seed, the same values of every parameter that was read and the same sha256 of every input, and every listed
output is there with its sha256. A stage without a manifest goes on from its checkpoint folder.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from omnirepro.data.files import try_out
from omnirepro.data.progress import leave, tell
from omnirepro.kit.run.checks import Check, checks_page
from omnirepro.kit.run.display import Page, display, metrics_page, say
from omnirepro.kit.run.files import Content, RunError, atomic_write, digest, files_in, relative, remove, results_root
from omnirepro.kit.run.manifest import build_manifest, load_manifest, mismatch, stale_parameter
from omnirepro.kit.run.parameters import ParameterError, Params, Section
from omnirepro.kit.run.record import complete_metrics
from omnirepro.kit.run.stages import DEPENDS, READS, section_of, upstream
from omnirepro.kit.run.training import Handle, Training
from omnirepro.models.device import seed_all


class Run(Handle):
    """A notebook's handle on its stage. Made by `open_run`; see the module's docstring for the rules."""

    def __init__(self, stage: str, name: str, params: Params, base: str | None = None, seed: int = 0):
        self.stage = stage
        self.name = name
        self.params = params
        self.base = base
        self.seed = seed
        self.requested: str | None = None
        self._own = results_root() / name / stage
        self._dir = self._own
        self._reason = ""
        self._decided = False
        self._begun = False
        self._inputs: dict[str, str | None] = {}
        self._checks: dict[str, Check] = {}
        self._partial: Path | None = None
        self._seconds = 0.0
        params.allowed = READS.get(stage)

    # ---- reading

    @property
    def dir(self) -> Path:
        """The stage's folder; the base run's where its result is the same."""
        self._decide()
        return self._dir

    def section(self, name: str | None = None) -> Section:
        """Return a section of the parameters (default: the stage's own); what is read from it is recorded."""
        return self.params.section(name or section_of(self.stage))

    def path(self, name: str = "") -> Path:
        """Return where the stage's file `name` lies; write to it through `write` or inside `do`."""
        return self.dir / name

    def input(self, stage: str, name: str = "", optional: bool = False) -> Path | None:
        """Return an upstream stage's file, or its folder, and record its sha256 for the manifest.

        Looks in this run, then in its base. A missing one raises `RunError`, or gives None where it is optional: also
        of a stage that did not finish. The absence is recorded, so that the stage is done again once the file is there.
        """
        path = self._find(stage, name, optional)
        folder = results_root() / self.name / stage
        if path is None and optional and files_in(folder) and not load_manifest(folder):
            say(f"{stage} was begun and not finished: {name} is left out")
        if path is None and not optional:
            where = f"{stage}/{name}" if name else stage
            runs = f"run {self.name}" + (f" and its base {self.base}" if self.base else "")
            raise RunError(f"{where} is missing in {runs}; {self._how_to_run(stage, self.name)}")
        key = path.relative_to(results_root()).as_posix() if path else f"{self.name}/{stage}/{name}"
        self._inputs[key] = digest(path) if path else None
        return path

    def note(self, recorded: str, path: Path | None) -> None:
        """Record a file of another run (named run/stage/file), or from outside (given/...), or its absence."""
        self._inputs[recorded] = digest(path) if path else None

    def _find(self, stage: str, name: str, optional: bool = False) -> Path | None:
        if self.stage in DEPENDS and stage not in upstream(self.stage):
            raise RunError(f"{self.stage} may not read {stage}: add it to DEPENDS in omnirepro/kit/run/stages.py")
        for run in filter(None, (self.name, self.base)):
            folder = results_root() / run / stage
            if manifest := load_manifest(folder):
                if stale := stale_parameter(manifest, self.params):
                    raise RunError(f"{relative(folder)} was made with {stale}; {self._how_to_run(stage, self.name)}")
                path = folder / name
                return path if path.is_file() or files_in(path) else None  # what was not made leaves an empty folder
            if files_in(folder) and not optional:
                raise RunError(f"{relative(folder)} was begun and not finished; {self._how_to_run(stage, run)}")
        return None

    def _how_to_run(self, stage: str, run: str) -> str:
        base = f" --base {self.base}" if self.base and run == self.name else ""
        options = f"--profile {self.params.profile} --run {run}{base} --seed {self.seed}"
        return f"run notebooks/{stage}.ipynb first: python -m omnirepro run {stage[:2]} {options}"

    # ---- working

    def sub(
        self, name: str, seed: int | None = None, folder: str | None = None, **changes: Mapping[str, Any]
    ) -> Training:
        """Return a handle on one training within the stage: its own checkpoints, its own seed (default: the run's).

        Its files lie below `folder` (default: its name; "" is the stage's own folder). `changes` are values of
        parameters by section: `run.sub("contrast", 11, grpo={"beta": 0.0})`.
        """
        checkpoints = self.checkpoint_dir / name
        checkpoints.mkdir(exist_ok=True)
        seed = self.seed if seed is None else seed
        place = self.path(name if folder is None else folder)
        return Training(name, seed, self.params, place, checkpoints, changes)

    def do(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fn(run, *args, **kwargs)` inside the stage and return its value; return None where it is skipped.

        Cells that follow read the results back from files, so that they work after a skip as well.
        """
        if self.skipped:
            display(Page("", ""), skipped=True)  # for readers of the executed notebook
            return say(f"{self.stage}: skipped, nothing changed since {relative(self.dir)}/manifest.json was written")
        self._begin(clear=True)
        say(f"{self.stage}: working ({self._reason})")
        tell("working")
        seed_all(self.seed)
        self.keep_media()
        start = time.perf_counter()
        try:
            made = fn(self, *args, **kwargs)
        finally:
            self._seconds += time.perf_counter() - start
        tell("tables and figures")
        return made

    def write(self, name: str, content: Content) -> Path:
        """Write an output atomically and return its path. In a skipped stage what is there is left alone.

        `content` is text, bytes, a JSON value, or a function that writes the file (or folder) it is given.
        """
        path = self.path(name)
        if not self.skipped:
            self._begin()
        elif self._dir != self._own or path.exists():
            return path
        return atomic_write(self.path(name), content)

    @property
    def checkpoint_dir(self) -> Path:
        """The folder for checkpoints of exactly this work; those of other parameters, seed or inputs are discarded."""
        if self._partial is None:
            self._begin()
            self._partial = self._own / ".partial" / self._fingerprint()
            for other in self._partial.parent.glob("*"):
                if other != self._partial:
                    remove(other)
        self._partial.mkdir(parents=True, exist_ok=True)
        return self._partial

    @property
    def answers(self) -> Path:
        """The store of what servers answered, beside the stages: no other parameter pays for an equal request again."""
        return results_root() / (self.base or self.name) / ".answers.sqlite"

    @property
    def endpoint(self) -> dict[str, Any]:
        """The options of `open_endpoint` by the section `endpoints`; answers are kept beside the stages."""
        from omnirepro.models.endpoints import endpoint_options

        return endpoint_options(self.section("endpoints"), self.answers)

    def _fingerprint(self) -> str:
        """Name this work by everything that is known before it is done; pictures and tables upstream do not count."""
        values = self.params.values(READS.get(self.stage, (section_of(self.stage),)))
        found = {stage: self._find(stage, "", optional=True) for stage in DEPENDS.get(self.stage, ())}
        outputs = {stage: load_manifest(folder).get("outputs", {}) for stage, folder in found.items() if folder}
        made = [(f"{s}/{name} {sha}", name) for s, all_ in outputs.items() for name, sha in all_.items()]
        files = [file for file, name in made if not name.startswith(("metrics.json", "figures/", "tables/"))]
        given = {name: sha for name, sha in self._inputs.items() if name.startswith("given/")}
        known = [*files, *([given] if given else [])] if self.stage in DEPENDS else self._inputs
        return hashlib.sha256(json.dumps([self.stage, self.seed, values, known]).encode()).hexdigest()[:16]

    # ---- skipping

    @property
    def skipped(self) -> bool:
        """Whether the stage's result is there already, in this run or in its base."""
        self._decide()
        return self._reason == ""

    def _decide(self) -> None:
        if self._decided:
            return
        self._decided = True
        self._reason = mismatch(self._own, self.params, self.seed, self._current)
        base = results_root() / self.base / self.stage if self.base else None
        if self._reason and base and not mismatch(base, self.params, self.seed, self._current):
            self._dir = base
            self._reason = ""

    def _current(self, recorded: str) -> str | None:
        """Return the present sha256 of an input that a manifest names as run/stage/file."""
        if recorded in self._inputs or recorded.startswith("given/"):  # looked up already, or from outside the runs
            return self._inputs.get(recorded)
        run, stage, *name = recorded.split("/")
        if run.startswith(f"{self.name}+"):
            path = results_root() / recorded
            return digest(path) if path.exists() else None
        path = self._find(stage, "/".join(name))
        return digest(path) if path else None

    def _begin(self, clear: bool = False) -> None:
        """Leave the state "finished" before the first write: the manifest goes, and with `clear` the files too."""
        self._decide()
        if self._begun:
            return
        self._begun = True
        try_out(self._own / "manifest.json")
        remove(self._own / "manifest.json")
        for name in files_in(self._own) if clear else ():
            remove(self._own / name)

    # ---- finishing

    def check(self, checks: Iterable[Check]) -> None:
        """Show what is asked of the results and keep it for `finish`; a missed check is a finding and stops nothing."""
        asked = {check.key: check for check in checks}
        self._checks |= asked
        display(checks_page(asked.values()))

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, then manifest.json as the last file, and show the metrics.

        `metrics`: name -> number, {"value", "low", "high", "n", "seeds"} or an interval; every check stands beside them
        as check_<name>. A skipped stage is left as it is. Raises `ParameterError` where an override of this stage's
        section was read by no code.
        """
        shown = complete_metrics(metrics)
        completed = shown | complete_metrics({key: check.entry() for key, check in self._checks.items()})
        self._refuse_unread()
        if not self.skipped:
            self._begin()
            atomic_write(self._own / "metrics.json", completed)
            atomic_write(self._own / "manifest.json", build_manifest(self, self._own, self._inputs, self._seconds))
            remove(self._own / ".partial")
            self._decided = False
            self._begun = False
        leave(self._own)
        display(metrics_page(shown))

    def _refuse_unread(self) -> None:
        read = {*self.params.reads, *(load_manifest(self.dir).get("params", ()) if self.skipped else ())}
        for key in self.params.values([section_of(self.stage)]):
            origin = self.params.origin(key)
            if key not in read and (origin == "overrides" or origin.startswith("runs/")):
                raise ParameterError(f"{key} was overridden (from {origin}) but no code of {self.stage} read it")
