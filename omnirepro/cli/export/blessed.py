"""The committed run: the small part of a finished run, copied to results/blessed.

Kept are notebooks as executed, metrics, tables, figures, rows and large tables (packed), the strong backbone and the
judges' adapters: what figures, examples and a first judgement need. Left out are media beside the sample, generators
and all further models, further trainings' completions, copies of rows in the formats of others, rows that are large
even when packed (their figures then stand as they were drawn), figures as SVG (`make figures` draws them) and the HTML
report. The run makes all of it again, and `contents.json` names it. The committed run is never a target or an input of
the batch.
"""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

from omnirepro.kit.run import STAGES, RunError, atomic_write, results_root
from omnirepro.kit.run.files import digest, relative
from omnirepro.kit.run.manifest import load_manifest

NAME = "blessed"
LIMIT = 20_000_000  # bytes in all: the run is part of every clone
LARGE = 1_000_000  # bytes of packed rows
MODELS = ("00_backbone/strong", "03_sft/adapter", "04_grpo/adapter")
COPIES = ("09_benchmarks/released", "09_benchmarks/reward-bench")  # of what is there, in formats of others
LEFT_OUT = ("*/data", "*/.partial", "04_grpo/*/completions.parquet", "*/figures/*.svg", *COPIES)
PACKED = (
    "predictions.jsonl", "choices.jsonl", "teacher-*.jsonl", "labels_*.jsonl", "dropped.jsonl",
    "01_synthesis/candidates.csv",
    "02_reconciliation/rules.csv", "06_meta_reward_dpo/criteria.csv", "06_meta_reward_dpo/*.jsonl",
    "07_ablations/pairs.csv", "08_best_of_n/*.csv", "08_best_of_n/candidates.jsonl",
)  # fmt: skip


def bless(run: str, profile: str | None = None) -> str:
    """Replace results/blessed by the small part of `run`, and of what a profile's seeds say together where it is given.

    Returns a line on what was kept. Raises `RunError` where the run has an unfinished stage or no scorecard, or where
    the result would be over the limit; results/blessed is then left as it was.
    """
    source = results_root() / run
    target = results_root() / NAME
    stages = [stage for stage in STAGES if (source / stage).is_dir()]
    unfinished = [stage for stage in {*stages, STAGES[-1]} if not load_manifest(source / stage)]
    if run == NAME or unfinished:
        why = f"{', '.join(sorted(unfinished))} is not finished" if unfinished else "that is the committed run itself"
        raise RunError(f"{run} cannot be put into {relative(target)}: {why}")
    together = results_root() / f"{profile}-seeds" if profile else None
    if together:
        trace = together / "seeds.json"
        inputs = json.loads(trace.read_text(encoding="utf-8"))["inputs"] if trace.is_file() else {}
        files = {results_root() / name: sha256 for name, sha256 in inputs.items()}
        if not files or any(not path.is_file() or digest(path) != sha256 for path, sha256 in files.items()):
            made = f"make report PROFILE={profile} SEEDS=..."
            raise RunError(f"{relative(together)} is missing or old; make it with: {made}")
    atomic_write(target, lambda folder: _fill(folder, source, stages, together))
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return f"{relative(target)}: {len(stages)} stages of {run}, {size / 1e6:.1f} MB"


def _fill(folder: Path, source: Path, stages: list[str], together: Path | None) -> None:
    """Copy what is kept, and write `contents.json`; raises `RunError` where that is more than `LIMIT`."""
    fates: dict[str, list[str]] = {"kept": [], "packed": [], "left_out": []}
    for stage in stages:
        for path in sorted(source.glob(f"{stage}/**/*")):
            name = path.relative_to(source).as_posix()
            if _is_left_out(source, name):
                fates["left_out"].append(name)
            elif path.is_file():
                fates[_copy(path, folder / name)].append(name)
    if together:
        shutil.copytree(together, folder / "seeds", ignore=shutil.ignore_patterns("report.html"))
    tops = [name for name in fates["left_out"] if Path(name).parent.as_posix() not in fates["left_out"]]
    contents = {"run": source.name, "seeds": bool(together), "packed": fates["packed"], "left_out": tops}
    (folder / "contents.json").write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    sizes = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    if sum(sizes.values()) > LIMIT:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:5]
        named = ", ".join(f"{path.as_posix()} {sizes[path] / 1e6:.1f}" for path in largest)
        raise RunError(f"{sum(sizes.values()) / 1e6:.1f} MB are more than {LIMIT / 1e6:.0f}; the largest: {named}")


def _copy(path: Path, target: Path) -> str:
    """Copy a file, rows and large tables packed, and return its fate. The same content gives the same bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not any(path.match(pattern) for pattern in PACKED):
        shutil.copyfile(path, target)
        return "kept"
    content = gzip.compress(path.read_bytes(), mtime=0)
    if len(content) > LARGE:
        return "left_out"
    target.with_name(f"{target.name}.gz").write_bytes(content)
    return "packed"


def _is_left_out(source: Path, name: str) -> bool:
    """Whether a path, or a folder above it, is named in `LEFT_OUT` or holds weights of a model that is not kept."""
    parts = Path(name).parts
    for path in (Path(*parts[:n]) for n in range(len(parts), 1, -1)):
        weights = any((source / path).glob("*.safetensors"))
        if any(map(path.match, LEFT_OUT)) or (weights and not any(map(path.match, MODELS))):
            return True
    return False
