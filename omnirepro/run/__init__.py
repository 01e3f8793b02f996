"""A run: parameters, seeds, device, paths and manifests. The only stage that knows where results lie.

A notebook opens its stage with `open_run`, executes library functions through `Run.do` and ends with
`Run.finish`. Importing this package loads neither torch nor transformers.
"""

from omnirepro.run.arms import Fork, forks_of, known_arms, rows_of, to_run
from omnirepro.run.checks import Check, require
from omnirepro.run.device import quiet, seed_all
from omnirepro.run.display import show
from omnirepro.run.estimates import estimate, study_estimate
from omnirepro.run.files import RunError, atomic_write, project_root, results_root
from omnirepro.run.launch import launchable
from omnirepro.run.opening import open_run
from omnirepro.run.parameters import ParameterError, Params, Section, load_params
from omnirepro.run.progress import progress
from omnirepro.run.resume import in_chunks
from omnirepro.run.river import DEPENDS, READS, STAGES, run_name
from omnirepro.run.stage import Run

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
    "in_chunks",
    "known_arms",
    "launchable",
    "open_run",
    "progress",
    "quiet",
    "project_root",
    "results_root",
    "require",
    "rows_of",
    "run_name",
    "seed_all",
    "show",
    "study_estimate",
    "to_run",
]
