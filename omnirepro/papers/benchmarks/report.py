"""Notebook 09 from its saved files: accuracies, official scores and what the papers print, without a model.

Consumes a stage's `predictions.jsonl` (models named `judge/set`) and `sets.csv`; produces tables and metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.data import stored
from omnirepro.evaluate import calibration, protocol
from omnirepro.evaluate.official import PARTS, official
from omnirepro.kit import figures
from omnirepro.kit.report.tables import by_judge, judgements
from omnirepro.kit.run import project_root
from omnirepro.kit.scorecard import load_claims
from omnirepro.papers.comparisons import Metrics
from omnirepro.papers.omni_rrm.plots import RELIABILITY

# Source -> the published tables that hold it: table and column of results/claims.yaml.
PUBLISHED = {
    "vl-rewardbench": (("rrm-main", "vlrb"), ("grm-main", "vlrb")),
    "multimodal-rewardbench": (("rrm-main", "mmrb"), ("grm-main", "mmrb")),
    "sharegpt-video": (("rrm-main", "sharegpt"),),
    "audio-hh-rlhf": (("rrm-main", "audiohh"),),
    "rewardbench": (("grm-main", "rewardbench"),),
    "genai-bench-image": (("grm-main", "genai-image"),),
    "genai-bench-video": (("grm-main", "genai-video"),),
    "align-anything-ta2t": (("grm-main", "audio-und"),),
    "align-anything-t2a": (("grm-main", "audio-gen"),),
}
# Metric of `protocol.metrics` -> how its name here ends.
KEPT = {
    "accuracy": "",
    "consistency": "_consistency",
    "valid_share": "_valid_share",
    "always_a": "_always_a",
    "model_minus_longer_wins": "_minus_longer_wins",
}


def benchmarks_judged(folder: Path, file: str = "predictions.jsonl") -> pd.DataFrame:
    """Return the frozen rows of a file of the stage with the columns `judge` and `set`."""
    table = protocol.frame([r.model_dump() for r in judgements(folder, file)])
    names = table["model"].str.rsplit("/", n=1, expand=True)
    return table.assign(judge=names[0], set=names[1])


def benchmark_accuracies(folder: Path) -> pd.DataFrame:
    """Return (task, judge, value, low, high, n): swap-corrected accuracy of each judge on each set, and baselines."""
    groups = list(benchmarks_judged(folder).groupby(["set", "judge"], sort=False))
    parts = []
    for baseline in (None, "longer-wins", "always-A"):
        for (name, judge), rows in groups:
            earned = None if baseline is None else protocol.baseline(rows, baseline)
            found = protocol.aggregates(rows, earned).set_index("task").loc["micro"]
            about = {"task": name, "judge": baseline or judge}
            parts.append(about | found[["value", "low", "high", "n"]].to_dict())
    return pd.DataFrame(parts).drop_duplicates(["task", "judge"]).reset_index(drop=True)


def sources_of(folder: Path) -> dict[str, str]:
    """Return the source of each set, whose official score it has."""
    facts = pd.read_csv(folder / "sets.csv").drop_duplicates("set")
    return dict(zip(facts["set"], facts["source"].astype(str), strict=True))


def official_scores(folder: Path) -> pd.DataFrame:
    """Return (set, judge, value, low, high, n): each benchmark's own headline number, from both orders."""
    facts = pd.read_csv(folder / "sets.csv")
    sources = sources_of(folder)
    out = []
    for (name, judge), rows in benchmarks_judged(folder).groupby(["set", "judge"], sort=False):
        known = facts[facts["set"] == name]
        source = sources[name]
        out.append({"set": name, "judge": judge, **official(rows, known, source).as_metric()})
        for part in PARTS.get(source, ()):
            some = rows[rows["task"].str.endswith(f"/{part}")]
            out.append({"set": f"{name}-{part}", "judge": judge, **official(some, known, source).as_metric()})
    return pd.DataFrame(out).drop(columns="seeds")


def official_table(folder: Path) -> pd.DataFrame:
    """Return `official_scores` as a table to read: a row a set, a column a judge, % with intervals."""
    scores = official_scores(folder)
    bounds = scores[["value", "low", "high"]].astype(float) * 100  # one cluster has no interval
    said = [f"{v:.1f} [{low:.1f}, {high:.1f}]" if low == low else f"{v:.1f}" for v, low, high in bounds.to_numpy()]
    return scores.assign(said=said).pivot(index=["set", "n"], columns="judge", values="said").rename_axis(columns=None)


def confidences(folder: Path) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Yield set, judge, "" or "_calibrated", and `calibration.confidences`, of judges that were read by probabilities.

    The judges of 03 and 04 come a second time, at the temperature that fits their development pairs.
    """
    judged = benchmarks_judged(folder)
    fitted: dict[str, float] = {}
    if stored(folder / "choices.jsonl").is_file():
        judged = pd.concat([judged, benchmarks_judged(folder, "choices.jsonl")], ignore_index=True)
        fitted = pd.read_csv(folder / "temperatures.csv").set_index("judge")["temperature"].to_dict()
    chosen = judged[judged["decoding"].map(lambda how: str(how.get("read")).startswith("choice"))]
    for (name, judge), rows in chosen.groupby(["set", "judge"], sort=False):
        both = calibration.before_and_after(rows, fitted.get(judge, 1.0))
        for end, said in zip(("", "_calibrated") if judge in fitted else ("",), both, strict=False):
            if len(said):
                yield name, judge.removesuffix(", choice"), end, said


def reliability(folder: Path) -> pd.DataFrame:
    """Return (set, model, confidence, value, low, high, n) of `confidences`."""
    found = [
        calibration.reliability(said).assign(set=name, model=judge + end.replace("_", ", "))
        for name, judge, end, said in confidences(folder)
    ]
    if not found:
        raise FileNotFoundError("no judge was read by the probabilities of its verdicts")
    return pd.concat(found, ignore_index=True)


def published(folder: Path) -> pd.DataFrame:
    """Return the papers' accuracies in %, a row a model and a column a source of the sets, also where ours is a
    stand-in for it: the embedded sets have the format of the benchmark and none of its content."""
    book = load_claims(project_root() / "results" / "claims.yaml")
    sources = [s for s in pd.read_csv(folder / "sets.csv")["source"].unique() if s in PUBLISHED]
    rows = [
        (source, f"{model} ({table})", book.numbers[f"{table}/{model}/{column}"])
        for source in sources
        for table, column in PUBLISHED[source]
        for model in book.tables[table].rows
        if book.numbers.get(f"{table}/{model}/{column}") is not None
    ]
    wide = pd.DataFrame(rows, columns=["source", "model", "%"]).pivot(index="model", columns="source", values="%")
    return wide.astype(object).where(wide.notna(), "").rename_axis(index="model (table)", columns=None)


def benchmark_metrics(folder: Path) -> Metrics:
    """Return accuracy, official score, consistency, validity and the lead over longer-wins of each judge and set.

    Of judges that were read by probabilities also ece and, for this run's own, ece_calibrated.
    """
    found: Metrics = {}
    for (name, judge), rows in benchmarks_judged(folder).groupby(["set", "judge"], sort=False):
        metrics = protocol.metrics(rows)
        key = f"{judge}_{name}".replace("-", "_")
        found |= {key + end: metrics[metric] for metric, end in KEPT.items() if metric in metrics}
    for row in official_scores(folder).to_dict("records"):
        name = f"{row.pop('judge')}_{row.pop('set')}_official"
        found[name.replace("-", "_")] = row
    for name, judge, end, said in confidences(folder):
        found[f"{judge}_{name}_ece{end}".replace("-", "_")] = calibration.ece(said).as_metric()
    return found


BENCHMARK_PLOTS = {
    "accuracy": (benchmark_accuracies, partial(figures.accuracy, rowlabel="set", title="Accuracy on each set")),
    "policies": (lambda folder: by_judge(benchmarks_judged(folder), protocol.policy_range),
                 partial(figures.policy_range, title="Accuracy under each reading of failures and ties")),
    "position": (lambda folder: protocol.position(benchmarks_judged(folder)),
                 partial(figures.position, title="What the order of display does")),
    "statuses": (lambda folder: protocol.statuses(benchmarks_judged(folder).assign(model=lambda t: t["judge"])
                                                  .drop(columns="judge")),
                 partial(figures.statuses, title="How judgements fail")),
    "reliability": (reliability, partial(RELIABILITY, panel="set")),
}  # fmt: skip
