"""Saved rows of notebook 05 by model and split, decided under both protocols (Omni-Reward)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pandas as pd

from omnirepro.evaluate import ties
from omnirepro.evaluate.rows import frame
from omnirepro.kit.report.tables import judgements
from omnirepro.kit.run.checks import existing
from omnirepro.papers.omni_reward.free_form import credits, two_way
from omnirepro.toyworld.criteria import TASKS

NAMES = {"bt": "Bradley-Terry", "r1": "R1", "base": "base, pointwise", "warm": "R1 before GRPO"}


class Rows:
    """The frozen rows of a stage: `rows("bt")` of the test split, `rows("bt", "dev")`; KeyError for no such model."""

    def __init__(self, folder: Path):
        table = pd.DataFrame([r.model_dump() for r in judgements(folder)])
        self.parts = {name: frame(part) for name, part in table.groupby("model", sort=False)}
        self.pairs = pd.read_csv(folder / "pairs.csv").set_index("pair_id")

    def __call__(self, model: str, split: str = "test") -> pd.DataFrame:
        return self.parts[f"{model}/{split}"]

    def __contains__(self, model: str) -> bool:
        return f"{model}/test" in self.parts

    @property
    def scalar(self) -> list[str]:
        """The Bradley-Terry models: those that were scored on the development split too."""
        return [name.removesuffix("/dev") for name in self.parts if name.endswith("/dev")]

    def decided(self, model: str) -> pd.DataFrame:
        """Return test rows for the three-way protocol: a scalar model's with the threshold of the development split."""
        if model not in self.scalar:
            return self(model)
        return ties.decide(self(model), ties.fit(self(model, "dev"), by_task=False))

    def forced(self, model: str) -> pd.DataFrame:
        """Return test rows for the two-way protocol: by scores, or by the probabilities of the tags."""
        if model not in self.scalar and f"{model}-forced" not in self:
            return self(model)
        return two_way(self(model if model in self.scalar else f"{model}-forced"))

    def credits(self, model: str, ties_count: bool) -> pd.DataFrame:
        """Return a row a (pair, seed) of a model with its credit under one of the two protocols."""
        return credits(self.decided(model) if ties_count else self.forced(model), ties_count)

    def where(self, table: pd.DataFrame, column: str) -> pd.Series:
        """Return a fact of each row's pair (unseen, family, preference), from `pairs.csv`."""
        return table["pair_id"].map(self.pairs[column])


@lru_cache(maxsize=4)
def _open(folder: Path, changed: int) -> Rows:
    return Rows(folder)


def rows_of(folder: Path) -> Rows:
    """Return the stage's rows; they are read once, while their file does not change."""
    return _open(Path(folder), existing(Path(folder) / "predictions.jsonl").stat().st_mtime_ns)


def by_task(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split credits by task, in the paper's order of columns."""
    return {task: table[table["task"] == task] for task in TASKS if (table["task"] == task).any()}
