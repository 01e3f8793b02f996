"""What only a known world shows of the arms of notebook 07: their labels and samples against the truth.

Consumes the labels (02) and completions (04) of the run and of its finished forks, and the world's truth of the
training pairs; produces `known.csv` (arm, measure, value, low, high, n) and `samples.csv` (arm, step, shares of the
samples that agree with the label and with the truth). Where no truth is known, both have no rows.

Measures of the labels: `label_precision`, and `label_filter_gain`, the precision of what reconciliation keeps over all
labels'; `label_longer`, how much oftener the label goes to the longer answer than the truth does. Of the samples of a
training, its last quarter of steps against its first: `paid_gain` in agreement with the labels, `truth_gain` with the
truth, and `paid_minus_truth_gain`: a reward that is hacked rises by more than what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import Label, Pair, read_jsonl, swap_verdict, text_of
from omnirepro.evaluate.statistics import UNKNOWN, Interval, clustered_bootstrap, difference_of_means
from omnirepro.judge import verdict
from omnirepro.kit.run import Fork, Run, rows_of
from omnirepro.papers.omni_rrm.label_quality import precision_gain
from omnirepro.papers.omni_rrm.labelling import truths
from omnirepro.papers.omni_rrm.supply import truth_of

LABELS = "02_reconciliation"
GRPO = "04_grpo"
QUARTER = 4  # parts of a training's steps, of which the first and the last are compared
LABEL_MEASURES = ("label_precision", "label_filter_gain", "label_longer")
SAMPLE_MEASURES = ("paid_gain", "truth_gain", "paid_minus_truth_gain")
COLUMNS = ["arm", "measure", "value", "low", "high", "n"]
SAMPLES = ["arm", "step", "label", "truth"]


def known(run: Run, forks: list[Fork]) -> None:
    """Write `known.csv` and `samples.csv` of the run (the arms `full` and `grpo-whole`) and of every finished fork."""
    data = run.input("01_synthesis", "data", optional=True)
    world = truth_of(data, "train") if data else None
    pairs = {pair.id: pair for pair in read_jsonl(data / "pairs_train.jsonl", Pair)} if world else {}
    truth = truths(list(pairs.values()), world) if world else {}
    measures: list[tuple[str, str, Interval]] = []
    samples = [pd.DataFrame(columns=SAMPLES)]
    for arm, _, path in found(run, forks, LABELS, "rules.csv") if world else ():
        measures += [(arm, name, value) for name, value in of_labels(path.parent, pairs, truth).items()]
    for arm, format, path in found(run, forks, GRPO, "completions.parquet") if world else ():
        table = agreement(pd.read_parquet(path), pairs, truth, format)
        measures += [(arm, name, value) for name, value in of_samples(table).items()]
        shares = table.groupby("step")[["label", "truth"]].mean().reset_index()
        samples.append(shares.assign(arm=arm)[SAMPLES])
    rows = [{"arm": arm, "measure": measure} | value.as_row() for arm, measure, value in measures]
    run.write("known.csv", pd.DataFrame(rows, columns=COLUMNS).round(6).to_csv(index=False))
    run.write("samples.csv", pd.concat(samples, ignore_index=True).round(6).to_csv(index=False))


def found(run: Run, forks: list[Fork], stage: str, name: str) -> Iterator[tuple[str, str, Path]]:
    """Yield an arm, its judge's format and a file of a stage that it ran again, of its first training seed.

    The run's own comes first.
    """
    if own := run.input(stage, name, optional=True):
        yield {LABELS: "full", GRPO: "grpo-whole"}[stage], run.params["judge.format"], own
    for fork in forks:
        if stage in fork.arm.stages and not fork.index and not fork.says_nothing(run.params):
            if path := rows_of(run, fork, name, stage):
                yield fork.arm.name, fork.params(run.params.profile).peek("judge.format"), path


def of_labels(folder: Path, pairs: Mapping[str, Pair], truth: Mapping[str, str]) -> dict[str, Interval]:
    """Return the measures of the kept labels of notebook 02."""
    kept = [label for part in ("sft", "rl") for label in read_jsonl(folder / f"labels_{part}.jsonl", Label)]
    rows = [
        (
            pairs[x.pair_id].cluster_id,
            x.verdict == truth[x.pair_id],
            bent(pairs[x.pair_id], x.verdict, truth[x.pair_id]),
        )
        for x in kept
    ]
    table = pd.DataFrame(rows, columns=["cluster", "right", "bent"]).astype({"right": float, "bent": float})
    uneven = table.dropna(subset="bent")
    precise = clustered_bootstrap(table["right"], table["cluster"])
    gain = precision_gain(pd.read_csv(folder / "rules.csv"), "published", "none")
    longer = clustered_bootstrap(uneven["bent"], uneven["cluster"]) if len(uneven) else UNKNOWN
    return dict(zip(LABEL_MEASURES, (precise, gain, longer), strict=True))


def bent(pair: Pair, said: str, true: str) -> float:
    """Return how far a verdict bends to the longer response from another: 0, by half or a whole step; NaN if equal."""
    longer = np.sign(len(text_of(pair.response_a)) - len(text_of(pair.response_b)))
    side = {"A": 1, "B": -1, "tie": 0}
    return longer * (side[said] - side[true]) / 2 if longer else np.nan


def agreement(table: pd.DataFrame, pairs: Mapping[str, Pair], truth: Mapping[str, str], format: str) -> pd.DataFrame:
    """Return (step, cluster, label, truth): whether each sample names its label, and whether it names the truth."""
    shown = zip(table["prompt"], table["order"], strict=True)
    true = [truth[name] if order == "AB" else swap_verdict(truth[name]) for name, order in shown]
    said = pd.Series([verdict.parse(text, format).verdict for text in table["text"]], index=table.index, dtype=object)
    clusters = [pairs[name].cluster_id for name in table["prompt"]]
    agrees = {
        "label": (said == table["gold"]).astype(float),
        "truth": (said == pd.Series(true, table.index)).astype(float),
    }
    return table[["step"]].assign(cluster=clusters, **agrees)


def of_samples(table: pd.DataFrame) -> dict[str, Interval]:
    """Return what the last quarter of a training's steps gained over its first; nothing of fewer than four steps."""
    steps = np.sort(table["step"].unique())
    if len(steps) < QUARTER:
        return {}
    count = len(steps) // QUARTER
    first, last = (table[table["step"].isin(some)] for some in (steps[:count], steps[-count:]))
    clusters = (last["cluster"], first["cluster"])
    worth = [(part["label"], part["truth"], part["label"] - part["truth"]) for part in (last, first)]
    gains = [difference_of_means(after, before, clusters) for after, before in zip(*worth, strict=True)]
    return dict(zip(SAMPLE_MEASURES, gains, strict=True))
