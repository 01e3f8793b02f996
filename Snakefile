# All notebooks as a batch: every job is one papermill call, so that a cell run by hand and a batch are the same code.
#
#   snakemake --cores 2 --config profile=tiny seeds="0 1" notebooks="00 01"
#   snakemake --cores 2 --config profile=tiny notebooks=07 arms=all
#
# Notebook 07 compares ablations, which are forks of the run (omnirepro/kit/run/arms.py): a few, or all with `arms=all`.
#
# Resume, parallel seeds and clusters (params/snakemake/) are the engine's. A job runs again when its notebook, an upstream notebook, or a
# parameter of a section that it reads has changed; a notebook whose manifest still matches then ends in seconds.

import json
import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
os.environ.setdefault("PYTHONHASHSEED", "0")

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError

from omnirepro.kit.run import DEPENDS, READS, load_params, prerequisites, run_name, to_run
from omnirepro.kit.run.files import notebooks_folder

PYTHON = shlex.quote(sys.executable)
NOTEBOOKS = notebooks_folder()
RESULTS = os.environ.get("OMNIREPRO_RESULTS", "results")
PROFILE = str(config.get("profile", "tiny"))
SEEDS = {run_name(PROFILE, int(seed)): int(seed) for seed in str(config.get("seeds", "0")).replace(",", " ").split()}
PARAMS = load_params(PROFILE, PROFILE)
STAGES = [stage for stage in PARAMS.notebooks if Path(NOTEBOOKS, f"{stage}.ipynb").is_file()]
# An empty value arrives as None, and 00 as the number 0.
ASKED = "" if config.get("notebooks") is None else str(config["notebooks"])
ASKED = ASKED.replace(",", " ").split()
NUMBERS = [f"{int(word[:2]):02d}" for word in ASKED]
if unknown := {*NUMBERS} - {stage[:2] for stage in STAGES}:
    raise WorkflowError(f"The profile {PROFILE} does not run notebook {min(unknown)}: it runs {', '.join(STAGES)}.")
TARGETS = [stage for stage in STAGES if stage[:2] in NUMBERS or not ASKED]
ARMS = str(config.get("arms", ""))
FORKS = {run: to_run(PROFILE, run, seed, ARMS == "all") for run, seed in SEEDS.items() if "07_ablations" in TARGETS}
FORK = {fork.name: fork for forks in FORKS.values() for fork in forks}
# One seed: its notebooks use every core, one after the other, up to SFT, which come first. Those behind it run side by
# side, each on half of the cores, since small models gain little from a second thread; large ones get a device to
# themselves. Several seeds: one per core. Ablations: one per core. Measured on the base's training (steps/s, AVX2 and AVX-512):
# idle, one thread 1.95 and 1.95, two 2.46 and 2.54, two that wait passively 2.40 and 2.28; beside a program of two busy
# threads 1.73 and 1.87, 1.80 and 1.80, 1.79 and 1.79. So two threads where nothing else can run, and no passive waiting.
THREADS = int(config.get("threads", max(1, workflow.cores // len(SEEDS)) if workflow.cores else 1))
SIDE_BY_SIDE = not PARAMS.peek("backbone.model") and len(TARGETS) > 1 and "threads" not in config
# On a cluster: the GPUs of a job that trains (others ask for one), and where all but the executed notebooks lies.
GPUS = int(config.get("gpus", 0))
STORE = config.get("store", RESULTS)
TRAINING = ("03_sft", "04_grpo", "05_bradley_terry", "06_meta_reward_dpo")
WITHOUT_MODEL = ("02_reconciliation", "07_ablations", "10_scorecard")

LOCKS = []  # they end with the process: nothing is ever left to unlock


onstart:
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    for run in SEEDS:
        LOCKS.append(FileLock(Path(RESULTS, f".{run}.lock")))
        try:
            LOCKS[-1].acquire(timeout=0)
        except Timeout:
            raise WorkflowError(
                f"Another batch works on {RESULTS}/{run}: wait for its end, or set OMNIREPRO_RESULTS to another folder."
            )


def executed(stage, run):
    return f"{RESULTS}/{run}/{stage}/notebook.ipynb"


def before(stage, run):
    """The executed notebooks that come before, a fork's own and then its base's."""
    fork = FORK.get(run)
    stages = [s for s in prerequisites(stage, PARAMS) if s in STAGES]
    arms = [executed(f.arm.stages[-1], f.name) for f in FORKS.get(run, ()) if stage == "07_ablations"]
    return [executed(s, run if not fork or s in fork.arm.stages else fork.base) for s in stages] + arms


def given(wildcards):
    """What papermill is given beside profile and run."""
    fork = FORK.get(wildcards.run)
    if fork is None:
        return f"-p seed {SEEDS[wildcards.run]}"
    return f"-p seed {fork.seed(wildcards.stage)} -p base {fork.base} -p overrides {shlex.quote(json.dumps(fork.overrides))}"


def parameters_of(wildcards):
    """The resolved values that this notebook may read: the engine runs it again when one of them changes."""
    overrides = FORK[wildcards.run].overrides if wildcards.run in FORK else {}
    return json.dumps(load_params(PROFILE, wildcards.run, overrides).values(READS[wildcards.stage]), sort_keys=True)


def threads(wildcards):
    """How many cores a job takes."""
    if wildcards.run in FORK:
        return 1
    return max(1, THREADS // 2) if SIDE_BY_SIDE and wildcards.stage >= "04" else THREADS


def gpus(wildcards):
    """How many GPUs a job asks a cluster for; on one machine nobody counts them."""
    return 0 if wildcards.stage in WITHOUT_MODEL else GPUS if wildcards.stage in TRAINING else min(GPUS, 1)


wildcard_constraints:
    run="|".join(map(re.escape, [*SEEDS, *FORK])),
    stage="|".join(DEPENDS),


rule all:
    input:
        [executed(stage, run) for run in SEEDS for stage in TARGETS],


rule stage:
    input:
        notebook=f"{NOTEBOOKS}/{{stage}}.ipynb",
        upstream=lambda w: before(w.stage, w.run),
    output:
        f"{RESULTS}/{{run}}/{{stage}}/notebook.ipynb",
    params:
        read=parameters_of,
        profile=PROFILE,
        given=given,
        store=STORE,
    priority: lambda w: int(w.stage < "04" and w.run not in FORK)
    threads: threads
    # Kernels that start at one moment can take each other's ports; what was computed is kept, so that a retry is short.
    retries: 1
    resources:
        gpu=gpus,
    # The engine deletes the output of a job that failed; the copy that holds the error is kept beside it. Ctrl-C is none.
    shell:
        "trap 'exit 130' INT; copy={output:q}; failed=${{copy%notebook.ipynb}}failed.ipynb; rm -f \"$failed\"; "
        "OMNIREPRO_RESULTS={params.store:q} OMP_NUM_THREADS={threads} {PYTHON} -m papermill {input.notebook:q} {output:q} --cwd . --no-progress-bar"
        " -p profile {params.profile} -p run {wildcards.run} {params.given}"
        " || {{ mv -f {output:q} \"$failed\" && {PYTHON} -m omnirepro tidy \"$failed\"; exit 1; }}; "
        "{PYTHON} -m omnirepro tidy {output:q}"
