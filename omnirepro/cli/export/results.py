"""A run's scores on benchmarks (stage 09), as others publish and validate them.

Consumes the stage's frozen rows, `sets.csv` and manifest; produces one of `WRITERS`:
  eval-results     `.eval_results/*.yaml` for a judge's repository on the hub: official scores in %, of whole sets that
                   the hub has (https://huggingface.co/docs/hub/eval-results)
  every-eval-ever  one JSON a judge and set in the common schema 0.2.2 of results (evaleval/every_eval_ever), with
                   intervals; sets of the embedded world are named as such
  mmrb2            the judgements of Multimodal RewardBench 2, a file a judge and task, as its own scorer reads them
"""

from __future__ import annotations

import json
import re
import uuid
from calendar import timegm
from collections.abc import Callable, Iterator
from pathlib import Path
from time import strptime
from typing import Any

import yaml

from omnirepro import __version__
from omnirepro.cli.export import new_folder
from omnirepro.data.sources import SOURCES, Source
from omnirepro.evaluate.result_files import mmrb2_results
from omnirepro.kit.run import RunError
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.models.opening import names_of
from omnirepro.papers.benchmarks.report import benchmarks_judged, official_scores, sources_of
from omnirepro.papers.benchmarks.stage import BASE

SCHEMA = "0.2.2"
MMRB2 = ("mmrb2", "mmrb2-hub")


def write_scores(stage: Path, to: str | Path, form: str) -> Path:
    """Write the scores of a finished stage 09 in a form of `WRITERS` into a new folder and return it.

    Raises `RunError` where the stage is not finished, has nothing to write in that form, or the folder holds something.
    """
    manifest = load_manifest(stage)
    if not manifest or manifest["stage"] != "09_benchmarks":
        raise RunError(f"{stage}: no finished notebook 09; run it, or name its run with --run")
    made = dict(WRITERS[form](stage, manifest))
    if not made:
        raise RunError(f"{stage}: nothing here can be written as {form}; name such sets in benchmarks.data")
    folder = new_folder(to)
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def _scored(stage: Path) -> Iterator[tuple[dict[str, Any], str, Source | None]]:
    """Yield each official score with its set, of which a part is named after it, and with the set's source."""
    known = sources_of(stage)
    for row in official_scores(stage).to_dict("records"):
        name = max((one for one in known if row["set"].startswith(one)), key=len)
        yield row, name, SOURCES.get(known[name])


def eval_results(stage: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a judge's `.eval_results` of whole sets of the hub. Raises `RunError` where sets were cut short."""
    if limit := manifest["params"]["benchmarks.limit"]:
        raise RunError(f"{stage}: benchmarks.limit is {limit}, and part of a set is no result of it; judge it whole")
    for row, name, source in _scored(stage):
        if source is None or not source.hub or name != source.name:
            continue  # the embedded sets have the form of a benchmark and none of its content
        task = source.config or "default"
        bounds = (
            f", 95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f}" if row["low"] == row["low"] else ""
        )
        entry = {
            "dataset": {
                "id": source.hub,
                "task_id": task if row["set"] == name else row["set"].removeprefix(f"{name}-"),
            },
            "value": round(100 * row["value"], 2),
            "date": manifest["finished"],
            "notes": f"omnirepro {__version__}, both orders judged, {row['n']} pairs{bounds}",
        }
        text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
        yield f"{row['judge']}/.eval_results/{row['set']}.yaml", text


def every_eval_ever(stage: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a judge's results on each set in the common schema, placed as its repository places them."""
    named = names_of(spec for spec in manifest["params"]["benchmarks.judges"] if spec != BASE)
    finished = str(timegm(strptime(manifest["finished"], "%Y-%m-%dT%H:%M:%SZ")))
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row, name, source in _scored(stage):
        files.setdefault((row["judge"], name), []).append(_result(row, name, source))
    for (judge, name), results in files.items():
        spec = named.get(judge, "")
        here = not spec or Path(spec).exists()  # a model of this run, or of this machine, whose folders are not told
        model = f"omnirepro/{manifest['run']}-{judge}" if here else spec.rpartition("#")[2]
        key = f"{name}/{model.replace('/', '_')}/{finished}"
        content = {
            "schema_version": SCHEMA,
            "evaluation_id": key,
            "evaluation_timestamp": manifest["finished"],
            "retrieved_timestamp": finished,
            "source_metadata": {
                "source_name": f"omnirepro, run {manifest['run']}",
                "source_type": "evaluation_run",
                "source_organization_name": "not stated",
                "evaluator_relationship": "first_party" if here else "third_party",
            },
            "eval_library": {"name": "omnirepro", "version": manifest["packages"].get("omnirepro", __version__)},
            "model_info": {"name": judge, "id": model},
            "evaluation_results": results,
        }
        place = "/".join(re.sub(r"[^\w.-]", "_", part) for part in (name, *model.rpartition("/")[::2]) if part)
        yield f"data/{place}/{uuid.uuid5(uuid.NAMESPACE_URL, key)}.json", json.dumps(content, indent=2) + "\n"


def _result(row: dict[str, Any], name: str, source: Source | None) -> dict[str, Any]:
    """Return one score in the common schema, with its interval where there is one."""
    data: dict[str, Any] = {"dataset_name": name, "source_type": "other"}
    if source and source.hub and name == source.name:
        placed = {"hf_repo": source.hub, "hf_split": source.split} | (
            {"hf_config": source.config} if source.config else {}
        )
        data |= {"source_type": "hf_dataset", "samples_number": int(row["n"])} | placed
    doubt: dict[str, Any] = {"num_samples": int(row["n"])}
    if row["low"] == row["low"]:
        method = "bootstrap, clustered by prompt"
        bounds = {"lower": row["low"], "upper": row["high"], "confidence_level": 0.95, "method": method}
        doubt["confidence_interval"] = bounds
    rule = source.aggregation if source else "accuracy over pairs (micro)"
    metric = {
        "evaluation_description": f"{rule}; both orders of every pair are judged",
        "metric_id": f"{name}.official",
        "metric_name": "official score",
        "metric_kind": "accuracy",
        "metric_unit": "proportion",
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": 1.0,
    }
    return {
        "evaluation_result_id": f"{row['judge']}/{row['set']}",
        "evaluation_name": row["set"],
        "source_data": data,
        "metric_config": metric,
        "score_details": {"score": row["value"], "uncertainty": doubt},
    }


def mmrb2(stage: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the judgements of each judge on each task of Multimodal RewardBench 2."""
    known = sources_of(stage)
    table = benchmarks_judged(stage)
    table = table[table["set"].map(known).isin(MMRB2)]
    for (judge, name, task), rows in table.groupby(["judge", "set", "task"], sort=False):
        rows = rows.assign(pair_id=rows["pair_id"].str.removeprefix(f"{name}:"), model=judge)
        yield f"{judge}/{task}.json", json.dumps(mmrb2_results(rows), indent=2) + "\n"


WRITERS: dict[str, Callable[[Path, dict[str, Any]], Iterator[tuple[str, str]]]] = {
    "eval-results": eval_results,
    "every-eval-ever": every_eval_ever,
    "mmrb2": mmrb2,
}
