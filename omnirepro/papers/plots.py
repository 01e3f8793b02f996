"""Every figure of the papers, from a stage's saved files: the notebooks and `make figures` call the same function.

Consumes a stage's folder; produces a figure with its data beside it (PNG, SVG, CSV). No model is loaded.
"""

from __future__ import annotations

from pathlib import Path

from omnirepro.kit import figures
from omnirepro.kit.run import STAGES, Run, results_root
from omnirepro.kit.run.display import say
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
    figure = form(table.replace({name: READERS for name in ("judge", "model") if name in table}, regex=True))
    figures.save(figure, table, folder / "figures", name)
    return figure


def redraw(run: str) -> list[Path]:
    """Draw every figure of a run again from its saved rows; returns the folders of the stages found."""
    folders = {stage: results_root() / run / stage for stage in STAGES if stage in PLOTS}
    found = {stage: folder for stage, folder in folders.items() if (folder / "manifest.json").is_file()}
    for stage, folder in found.items():
        for name in PLOTS[stage]:
            draw(stage, folder, name)
    return [folder / "figures" for folder in found.values()]
