"""Every figure of the papers, from a stage's saved files: the notebooks and `make figures` call the same function.

Consumes a stage's folder; produces a figure with its data beside it (PNG, SVG, CSV). No model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from omnirepro.kit import figures
from omnirepro.kit.run import STAGES, Run, results_root
from omnirepro.kit.run.display import say
from omnirepro.kit.scorecard import combine
from omnirepro.papers.ablations.plots import ABLATION_PLOTS
from omnirepro.papers.benchmarks.report import BENCHMARK_PLOTS
from omnirepro.papers.best_of_n.report import CHOICE_PLOTS
from omnirepro.papers.grm_omni.plots import META_PLOTS
from omnirepro.papers.omni_reward.plots import REWARD_PLOTS
from omnirepro.papers.omni_rrm.plots import RUBRIC_PLOTS, Plot

READERS = {r"^sft\b": "SFT judge", r"^grpo\b": "GRPO judge"}  # rows have the model's name, figures a reader's
PLOTS: dict[str, dict[str, Plot]] = {
    **RUBRIC_PLOTS,
    "05_bradley_terry": REWARD_PLOTS,
    "06_meta_reward_dpo": META_PLOTS,
    "07_ablations": ABLATION_PLOTS,
    "08_best_of_n": CHOICE_PLOTS,
    "09_benchmarks": BENCHMARK_PLOTS,
}


def plot(run: Run, name: str):
    """Draw a figure of the run's stage, save it with its data below `figures/`, and return it.

    Where the stage wrote no such rows (a model that was adopted has no loss, an arm was not run) there is no figure:
    None, and a line that says why.
    """
    figure = draw(run.stage, run.dir, name)
    return say(f"no figure {name!r}: this run has no rows for it") if figure is None else figure


def draw(stage: str, folder: Path, name: str):
    """Draw and save a figure from the files in a stage's folder; None where they have no rows for it."""
    data, form = PLOTS[stage][name]
    try:
        table = data(folder)
    except FileNotFoundError:
        return None
    if table.empty:
        return None
    figure = form(named(table))
    figures.save(figure, table, folder / "figures", name)
    return figure


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Return a figure's table with its judges called what readers know them by."""
    return table.replace({name: READERS for name in ("judge", "model") if name in table}, regex=True)


def draw_together(stage: str, folders: Sequence[Path], folder: Path) -> None:
    """Draw the figures of several seeds' stage that have intervals: the seeds' values, their mean and its interval.

    Consumes the tables that the seeds' own figures were drawn from. A figure whose rows differ between seeds is left
    out, as is one of a stage that a seed has not run.
    """
    for name, (_, form) in PLOTS.get(stage, {}).items():
        files = [each / "figures" / f"{name}.csv" for each in folders]
        if all(path.is_file() for path in files) and len(table := together([pd.read_csv(path) for path in files])):
            figures.save(form(named(table)), table, folder / "figures", name)


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several seeds' tables as one: the mean of their values, its interval, `each` of them.

    Shares stay within 0 and 1. Empty where a table has no intervals, or other rows than the first.
    """
    first = tables[0]
    measured = {"value", "low", "high"}
    if any(list(table) != list(first) for table in tables) or not measured <= set(first):
        return pd.DataFrame()
    counts = "n" in first and any(not table["n"].equals(first["n"]) for table in tables)  # else N of best-of-N
    keys = [name for name in first if name not in measured | {"each"} | ({"n"} if counts else set())]
    if any(not table[keys].equals(first[keys]) for table in tables):
        return pd.DataFrame()
    numbers = pd.concat(tables)[list(measured)]
    share = numbers.min().min() >= 0 and numbers.max().max() <= 1
    rows = []
    seeds = [table.to_dict("records") for table in tables]
    for key, *some in zip(first[keys].to_dict("records"), *seeds, strict=True):
        if found := combine(dict(enumerate(some)), share=share):
            each = " ".join(f"{x:.6f}" for x in found["by_seed"].values())
            rows.append(key | {name: found[name] for name in ("value", "low", "high")} | {"each": each})
    return pd.DataFrame(rows).astype(dict.fromkeys(measured, float))


def redraw(run: str) -> list[Path]:
    """Draw every figure of a run again from its saved rows; returns the folders of the stages found."""
    folders = {stage: results_root() / run / stage for stage in STAGES if stage in PLOTS}
    found = {stage: folder for stage, folder in folders.items() if (folder / "manifest.json").is_file()}
    for stage, folder in found.items():
        for name in PLOTS[stage]:
            draw(stage, folder, name)
    return [folder / "figures" for folder in found.values()]
