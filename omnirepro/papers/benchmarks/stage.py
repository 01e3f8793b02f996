"""Any judge on any benchmark (notebook 09): judge once, freeze rows, score them by every rule.

Consumes data sets (files, folders, hub ids, source names) or the embedded test pairs written as public files, and
judges (adapters, scorers, hub models, packages, endpoints) or rows that were frozen elsewhere; produces
`predictions.jsonl` with a model name `judge/set` a row, `sets.csv` with what official scores need of each pair, and
reward-bench's two files a judge and set. All that is reported is computed from these files. The judges of 03 and 04 are
also read by their verdicts' probabilities, behind what they wrote: `choices.jsonl`, and `temperatures.csv` with the
temperature that fits each one's development pairs.

Each judge is asked as it was taught: a scalar model says tie on sets alone that know ties; R1 may write as long as it
did; GRM-Omni's models write criteria on what 06 calls `thinking`, and their verdict alone elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import Judgement, Pair, RowError, read_jsonl, stored, write_jsonl
from omnirepro.data.schema import refuse_repeat
from omnirepro.data.sources import load
from omnirepro.data.sources.cards import pairs_of
from omnirepro.data.sources.parts import sample_clusters
from omnirepro.data.sources.released import restored, write_released
from omnirepro.evaluate.calibration import fit_temperature
from omnirepro.evaluate.official import facts_of
from omnirepro.evaluate.result_files import read_results, write_results
from omnirepro.judge.criteria import GenRM, judge_by
from omnirepro.judge.generative import Judge
from omnirepro.judge.rows import judge_split
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import Params, Run
from omnirepro.models.generation import Progress
from omnirepro.models.opening import names_of
from omnirepro.papers.grm_omni.model_pool import open_judge
from omnirepro.papers.grm_omni.roles import SECTION
from omnirepro.papers.judges import opened
from omnirepro.papers.omni_rrm.supervised import NAMES, choose_splits
from omnirepro.papers.omni_rrm.supply import (
    SHARED,
    cards_from,
    note_files,
    note_models,
    shared_with_training,
    truth_of,
)

# Judges of a run -> where each stands. Those of the first line judge the embedded test pairs, all of them public data.
RUBRIC = {"sft": ("03_sft", "adapter"), "grpo": ("04_grpo", "adapter")}
SCORED = {"bt": ("05_bradley_terry", "scorer"), "r1": ("05_bradley_terry", "r1/adapter")}
GENRM = {f"genrm-{name}": ("06_meta_reward_dpo", name) for name in ("sft", "dpo", "plus")}

CHOICES = "choices.jsonl"
BASE = "base"  # what `benchmarks.judges` calls the run's base, whichever model that is

Sets = dict[str, list[Pair]]


@dataclass
class Switching:
    """A judge of notebook 06, asked as it was taught: with criteria for pairs of the shapes `thinking`."""

    role: GenRM
    thinking: Sequence[str]
    count: int

    def judge(self, pairs: list[Pair], progress: Progress | None = None) -> list[Judgement]:
        """Judge every pair in both orders; rows come pair by pair."""
        kinds = {pair.id: "direct" if pair.shape in self.thinking else "verdict" for pair in pairs}
        return judge_by(self.role, pairs, kinds, self.count, progress=progress)


def embedded_sets(run: Run, test: Sequence[Pair]) -> Sets:
    """Write test pairs as public benchmark files below the run, and read them back: one set a modality."""
    run.write("released", lambda folder: write_released(test, folder))
    files = run.path("released")
    modality = {p.id: p.task for p in test}
    sets: Sets = {}
    for pair in load(files, media=run.checkpoint_dir / "media", say=lambda text: None):
        sets.setdefault(f"embedded-{modality[pair.id]}", []).append(restored(pair))
    return sets


def upstream(run: Run) -> tuple[dict[str, Path], list[Pair]]:
    """Return the run's own judges and, where it has truth, its test pairs: only a base that is named has to be there.

    Files and folders that `benchmarks` names are recorded as inputs, so that another content means other work.
    Those of 05 and 06, which were taught other labels than the embedded test pairs have, judge where data are named.
    """
    p = run.section()
    note_files(run, cards_from({"data": p["data"]}, run.section("data")["root"]))
    note_models(run, (spec for spec in p["judges"] if spec != BASE))
    for number, path in enumerate(map(Path, p["rows"]), 1):
        run.note(f"given/rows/{number}-{path.name}", path if path.is_file() else None)
    named = BASE in p["judges"]
    strong = run.input("00_backbone", "strong", optional=not named)
    asked = RUBRIC | (SCORED | GENRM if p["data"] else {})
    found = {name: run.input(stage, output, optional=True) for name, (stage, output) in asked.items()}
    for name, (stage, _) in RUBRIC.items():
        if found[name]:
            run.input(stage, CHOICES, optional=True)
    if lacking := [name for name, path in found.items() if not path]:
        print(f"judges of this run that are not there, and left out: {', '.join(lacking)}", flush=True)
    data = run.input("01_synthesis", "data", optional=True)
    test = read_jsonl(data / "pairs_test.jsonl", Pair) if data and truth_of(data, "test") else []
    judges = {name: path for name, path in found.items() if path}
    return judges | ({BASE: strong} if named else {}), test


def made_by(params: Params) -> list[str]:
    """Return the names of the judges that the notebooks of a profile make: those that any step is trained for."""
    trained = {"bt": params["bradley_terry.scalar_models"], "r1": params["bradley_terry.r1_shares"]}
    trained |= {name: params[f"{SECTION}.{name.removeprefix('genrm-')}_steps"] for name in GENRM}
    asked = RUBRIC | SCORED | GENRM
    return [name for name, (stage, _) in asked.items() if stage in params.notebooks and trained.get(name, True)]


def public_sets(data: Iterable[str | Mapping[str, Any]], limit: int = 0, root: str = "") -> Sets:
    """Read data sets, a set a source; `limit` keeps about so many pairs of each, by whole clusters drawn by name.

    `data`: values as `card_of` reads them; `root`: the folder of their media, where they name none. Raises `RowError`
    where two of one source share an id.
    """
    sets: Sets = {}
    seen: dict[str, str] = {}
    for card in cards_from({"data": data}, root)["data"]:
        for pair in pairs_of(card):
            if pair.label is not None:
                name = (pair.source or card.name).lower()
                refuse_repeat(f"{name}:{pair.id}", card.path, seen)
                sets.setdefault(name, []).append(pair)
    return {name: sample_clusters(pairs, limit) for name, pairs in sets.items()}


def untaught(run: Run, sets: Sets) -> Sets:
    """Return sets without the pairs whose content the run's judges were taught, as `data.bad_rows` lets: `dropped.csv`.

    Raises `RowError` naming set and remedy where it lets none be left out, or none is left.
    """
    left = {}
    dropped = []
    for name, pairs in sets.items():
        shared = shared_with_training(run, (pair.prompt_of() for pair in pairs))
        some = f"{len(shared)} of {len(pairs)} pairs, such as {min(shared, default='')}, "
        found = f"benchmarks.data {name}: {some}{SHARED}"
        todo = "name it in data.test, so that 01 does not teach it, or set data.bad_rows=drop"
        if shared and (run.section("data")["bad_rows"] != "drop" or len(shared) == len(pairs)):
            raise RowError(f"{found}: results would be inflated; {todo}")
        if shared:
            print(f"{found}: left out, see dropped.csv", flush=True)
        dropped += [(name, pair, SHARED) for pair in shared]
        left[name] = [pair for pair in pairs if pair.id not in shared]
    if dropped:
        run.write("dropped.csv", pd.DataFrame(dropped, columns=["use", "id", "reason"]).to_csv(index=False))
    return left


def judge_sets(run: Run, judges: dict[str, Path | str], test: Sequence[Pair] = ()) -> None:
    """Judge every set with every judge in both orders and freeze the rows; see the module for what is written."""
    p = run.section()
    public = untaught(run, public_sets(p["data"], p["limit"], run.section("data")["root"]))
    sets = (embedded_sets(run, test) if p["embedded"] and test else {}) | public
    for name, pairs in sets.items():  # ids of different releases collide
        sets[name] = [pair.model_copy(update={"id": f"{name}:{pair.id}"}) for pair in pairs]
    asked = judges | names_of((spec for spec in p["judges"] if spec != BASE), taken=judges)
    rows = [row for name, source in asked.items() for row in judged(run, name, source, sets)]
    frozen, extra = read_frozen(p["rows"])
    if not rows and not frozen:
        raise RowError("nothing to judge: give benchmarks.data with a judge, or benchmarks.rows")
    table = pd.concat([facts_of(name, pairs) for name, pairs in sets.items()] + [extra], ignore_index=True)
    table = table.drop_duplicates(["set", "pair_id"])  # judges' frozen rows of one set are files of one name
    run.write("sets.csv", table.to_csv(index=False))
    run.write("predictions.jsonl", lambda path: write_jsonl(path, [*rows, *frozen]))
    if own := {name: path for name, path in judges.items() if name in RUBRIC and stored(_beside(path)).is_file()}:
        chosen = [row for name, path in own.items() for row in choose_splits(run, path, name, sets, rows)]
        run.write(CHOICES, lambda path: write_jsonl(path, chosen))
        fitted = pd.DataFrame([(NAMES[name][0], fitted_on_dev(path, name)) for name, path in own.items()])
        run.write("temperatures.csv", fitted.to_csv(index=False, header=["judge", "temperature"]))
    for name, pairs in sets.items():
        for model in dict.fromkeys(r.model for r in rows if r.model.endswith(f"/{name}")):
            made = write_results([r for r in rows if r.model == model], pairs, model)
            for kind, content in zip(("eval-set", "eval-set-scores"), made, strict=True):
                run.write(f"reward-bench/{kind}/{model}.json", content)


def fitted_on_dev(adapter: Path, name: str) -> float:
    """Return the temperature that fits a judge on the development pairs of the stage that trained it."""
    rows = read_jsonl(stored(_beside(adapter)), Judgement)
    # of several seeds the first one's training has the stage's own adapter
    dev = [row for row in rows if row.model == f"{NAMES[name][0]}/dev" and row.seed == rows[0].seed]
    return fit_temperature(dev) if dev else 1.0


def _beside(adapter: Path | str) -> Path:
    return Path(adapter).parent / CHOICES


def judged(run: Run, name: str, source: Path | str, sets: Sets) -> list[Judgement]:
    """Judge every set with one judge, which is let go afterwards."""
    judge = as_taught(run, name, source)
    threshold = getattr(judge, "threshold", 0.0)
    rows: list[Judgement] = []
    for called, pairs in sets.items():
        if isinstance(judge, ScalarJudge):
            judge.threshold = threshold if any(pair.label == "tie" for pair in pairs) else 0.0
        rows += judge_split(judge, f"{name}/{called}", pairs, run.checkpoint_dir, size=512)
    return rows


def as_taught(run: Run, name: str, source: Path | str) -> Judge | ScalarJudge | Switching:
    """Open a judge to be asked as it was taught; `source` is a path where it is the run's own."""
    own = isinstance(source, Path)
    if own and name in GENRM:
        p = run.section(SECTION)
        return Switching(GenRM.of(open_judge(run, source, name)), p["thinking"], p["top"])
    return opened(run, source, keeps=own and name in SCORED)


def read_frozen(paths: Iterable[str]) -> tuple[list[Judgement], pd.DataFrame]:
    """Read rows that were frozen before (JSON Lines of judgements) or a reward-bench result file, a set a file."""
    rows = []
    tables = [facts_of("", [])]
    for path in map(Path, paths):
        found = read_results(json.loads(path.read_text("utf-8"))) if path.suffix == ".json" else None
        found = read_jsonl(path, Judgement) if found is None else found
        name = path.name.split(".")[0]
        for row in found:
            model = f"{row.model.replace('/', '-') or 'judge'}/{name}"
            rows.append(row.model_copy(update={"model": model, "pair_id": f"{name}:{row.pair_id}"}))
        ids = sorted({f"{name}:{row.pair_id}" for row in found})
        tables.append(pd.DataFrame({"set": name, "source": name, "pair_id": ids}))
    return rows, pd.concat(tables, ignore_index=True)
