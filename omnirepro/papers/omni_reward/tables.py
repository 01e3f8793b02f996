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
from omnirepro.toyworld.criteria import STRATA, TASKS

NAMES = {
    "bt": "Bradley-Terry",
    "base": "base, one at a time",
    "r1": "R1",
    "base-pairs": "base, in pairs",
    "tuned": "tuned on R1's pairs",
}


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

    @property
    def asked(self) -> str:
        """The generative judge that was asked in several ways."""
        return "tuned" if "tuned" in self else "base-pairs"

    @property
    def trained(self) -> list[str]:
        """The Bradley-Terry model on all data, and R1 where one was trained."""
        return [model for model in ("bt", "r1") if model in self]

    def by_stratum(self, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Split credits by what training tells of the pairs' criteria (`criteria.stratum`), what it asked first."""
        there = self.where(table, "stratum")
        return {name: table[there == name] for name in sorted(there.unique(), key=[*STRATA, "unseen"].index)}

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
        """Return a fact of each row's pair from `pairs.csv`: stratum, of the world also family and preference."""
        return table["pair_id"].map(self.pairs[column])

    def shapes(self, table: pd.DataFrame) -> pd.Series:
        """Return which kinds of parts each row's pair asks and answers (`Pair.shape`): the world's tasks say it."""
        return self.where(table, "shape") if "shape" in self.pairs else table["task"]

    def by_modality(self, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Split credits by the kinds of media in the pairs; none of the world, where every task is of one kind."""
        return dict(list(table.groupby(self.where(table, "modality")))) if "modality" in self.pairs else {}


@lru_cache(maxsize=4)
def _open(folder: Path, changed: int) -> Rows:
    return Rows(folder)


def rows_of(folder: Path) -> Rows:
    """Return the stage's rows; they are read once, while their file does not change."""
    return _open(Path(folder), existing(Path(folder) / "predictions.jsonl").stat().st_mtime_ns)


def by_task(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split credits by task, in the paper's order of columns, other tasks behind."""
    there = set(table["task"])
    order = [*(task for task in TASKS if task in there), *sorted(there - set(TASKS))]
    return {task: table[table["task"] == task] for task in order}
