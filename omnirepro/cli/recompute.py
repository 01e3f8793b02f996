"""Any number of a run computed again from its frozen rows, beside the number that the run wrote.

Consumes a run's folder (rows may be packed) and a metric's or a claim's name; produces a table. Nothing is judged or
trained: rows are read, policies applied, intervals drawn again with the same seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnirepro.kit import scorecard
from omnirepro.kit.run import RunError, project_root, results_root, run_name
from omnirepro.kit.run.checks import FileMissing
from omnirepro.kit.run.display import metric_cells, text_table
from omnirepro.kit.run.record import complete_metrics
from omnirepro.papers import reports

COMPUTED: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    "00_backbone": reports.gate_metrics,
    "01_synthesis": reports.gap_metrics,
    "02_reconciliation": reports.rule_metrics,
    "03_sft": reports.sft_metrics,
    "04_grpo": lambda folder: reports.grpo_metrics(folder, folder.parent / "03_sft"),
    "05_bradley_terry": reports.omni_metrics,
    "06_meta_reward_dpo": reports.meta_metrics,
    "07_ablations": reports.ablation_metrics,
    "08_best_of_n": reports.choice_metrics,
    "09_benchmarks": reports.benchmark_metrics,
}
CLOSE = 1e-9


def recompute(name: str, run: str) -> tuple[str, bool]:
    """Return a table of a metric or claim as written and as computed again, and whether the two agree.

    Of several seeds together (`seeds/` in the run, or a run that is nothing else) mean and interval are made again from
    the seeds' values, these from the rows of their runs. A number whose rows are not there does not agree. Raises
    `RunError` where no stage of the run has such a number.
    """
    folder = results_root() / run
    book = scorecard.load_claims(project_root() / "results" / "claims.yaml")
    tests = book.claims[name].tests if name in book.claims else None
    wanted = {tests.metric, tests.minus} if tests else {name}
    written = scorecard.read_metrics(folder)
    stages = [stage for stage in COMPUTED if wanted & written.get(stage, {}).keys()]
    if not stages:
        raise RunError(f"no stage of run {run} has a number {name!r}; metrics.json of its stages lists those there are")
    trace = folder / "seeds.json"
    combined = folder if trace.is_file() else folder / "seeds"
    runs = [(folder, "from rows")]
    if combined == folder:
        made = json.loads(trace.read_text(encoding="utf-8"))
        runs = [(results_root() / run_name(made["profile"], seed), f"rows of seed {seed}") for seed in made["seeds"]]
    together = scorecard.read_metrics(combined)
    rows = []
    for stage in stages:
        for place, how in runs:
            known = scorecard.read_metrics(place).get(stage, {})
            try:
                again = complete_metrics(COMPUTED[stage](place / stage))
            except FileMissing:
                again = {}
            rows += [_row(stage, m, how, known[m], again.get(m)) for m in sorted(wanted & known.keys())]
        for metric, found in sorted(together.get(stage, {}).items()):
            if metric in wanted and len(found.get("by_seed", {})) > 1:
                rows.append(_row(stage, metric, "from seeds", found, scorecard.again(found, stage, metric)))
    head = ("stage", "metric", "", "written", "interval", "computed again", "interval", "agree")
    return text_table(head, rows), all(row[-1] == "yes" for row in rows)


def _row(stage: str, name: str, how: str, written: Mapping[str, Any], again: Mapping[str, Any] | None) -> list[str]:
    if again is None:
        return [stage, name, how, *metric_cells(written)[:2], "its rows are not here", "", "no"]
    same = all(
        (written.get(side) is None and again.get(side) is None) or abs(written[side] - again[side]) < CLOSE
        for side in ("value", "low", "high")
    )
    return [stage, name, how, *metric_cells(written)[:2], *metric_cells(again)[:2], "yes" if same else "no"]
