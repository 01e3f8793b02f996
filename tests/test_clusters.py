"""The batch on a cluster: profiles that Snakemake takes, and jobs that ask for the GPUs they use."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = {"slurm": ("executor_plugin_slurm",), "kubernetes": ("executor_plugin_kubernetes", "storage_plugin_fs")}


def snakemake(*words, **variables):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | variables
    command = [sys.executable, "-m", "snakemake", *words]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, (answer.stdout + answer.stderr)[-2000:]
    return answer.stdout + answer.stderr


def dry_run(profile, *words, config=("gpus=8",), **variables):
    """Return stage -> (GPUs, threads) of the jobs up to notebook 04, and what the shell would be told."""
    asked = ["--config", "profile=smoke", "notebooks=04", *config]
    said = snakemake("-n", "-p", "--nolock", "--profile", str(profile), *words, *asked, **variables)
    jobs = re.findall(r"stage=(\w+)\n(?:\s+priority: \d+\n)?(?:\s+threads: (\d+)\n)?\s+resources: .*\bgpu=(\d+)", said)
    return {stage: (int(gpus), int(threads or 1)) for stage, threads, gpus in jobs}, said


@pytest.fixture(scope="module")
def options():
    return set(re.findall(r"--([a-z][\w-]+)", snakemake("--help")))


@pytest.mark.parametrize("name", CLUSTERS)
def test_profiles_hold_options_that_snakemake_has(name, options, tmp_path):
    """Without the plugins: their own options are left out, all others are taken and reach the jobs."""
    profile = yaml.safe_load((ROOT / f"params/snakemake/{name}/config.yaml").read_text())
    assert profile.pop("executor") == name
    general = {k: v for k, v in profile.items() if not k.startswith((f"{name}-", "default-storage-"))}
    assert set(general) <= options, "an option of another name, or of another plugin"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(general))
    jobs, said = dry_run(tmp_path, OMNIREPRO_RESULTS=str(tmp_path / "results"))
    assert jobs == {
        "00_backbone": (1, 8), "01_synthesis": (1, 8), "02_reconciliation": (0, 8), "03_sft": (8, 8), "04_grpo": (8, 8)
    }  # fmt: skip
    assert f"mem_mb={profile['default-resources']['mem_mb']}" in said and "OMP_NUM_THREADS=8" in said


def test_a_store_of_its_own_holds_what_notebooks_write(tmp_path):
    (tmp_path / "config.yaml").write_text("cores: 2\n")
    jobs, said = dry_run(tmp_path, config=[f"store={tmp_path}/store"], OMNIREPRO_RESULTS=str(tmp_path / "results"))
    assert said.count(f"OMNIREPRO_RESULTS={tmp_path}/store") == 5 and {gpus for gpus, _ in jobs.values()} == {0}
    assert f"output: {tmp_path}/results/smoke/04_grpo/notebook.ipynb" in said


@pytest.mark.parametrize("name", CLUSTERS)
def test_profiles_are_taken_whole_where_their_plugins_are_installed(name):
    for plugin in CLUSTERS[name]:
        if importlib.util.find_spec(f"snakemake_{plugin}") is None:
            pytest.skip(f"pip install snakemake-{plugin.replace('_', '-')}")
    here = ("--default-storage-prefix", str(ROOT)) if name == "kubernetes" else ()
    results = {"OMNIREPRO_RESULTS": "results/of-no-run"}
    jobs, _ = dry_run(ROOT / "params/snakemake" / name, *here, **results)
    assert jobs["03_sft"] == (8, 8) and jobs["02_reconciliation"] == (0, 8) and len(jobs) == 5
