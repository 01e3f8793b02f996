"""A run: parameters, seeds, device, paths and manifests. The only stage that knows where results lie.

A notebook opens its stage with `open_run`, executes library functions through `Run.do` and ends with
`Run.finish`. Importing this package loads neither torch nor transformers.
"""

from omnirepro.kit.run.arms import Fork, forks_of, known_arms, rows_of, to_run
from omnirepro.kit.run.checks import Check, require
from omnirepro.kit.run.display import show
from omnirepro.kit.run.estimates import estimate, study_estimate
from omnirepro.kit.run.files import RunError, atomic_write, project_root, results_root
from omnirepro.kit.run.handle import Run
from omnirepro.kit.run.opening import open_run
from omnirepro.kit.run.parameters import ParameterError, Params, Section, load_params
from omnirepro.kit.run.stages import DEPENDS, READS, STAGES, own_generators, prerequisites, run_name

__all__ = [
    "Check",
    "DEPENDS",
    "Fork",
    "READS",
    "STAGES",
    "ParameterError",
    "Params",
    "Run",
    "RunError",
    "Section",
    "atomic_write",
    "estimate",
    "forks_of",
    "load_params",
    "known_arms",
    "open_run",
    "own_generators",
    "prerequisites",
    "project_root",
    "results_root",
    "require",
    "rows_of",
    "run_name",
    "show",
    "study_estimate",
    "to_run",
]
