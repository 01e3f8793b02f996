"""Saved rows of a stage as tables: what the figures and the metrics are computed from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from omnirepro.data import Judgement, Label, read_jsonl, stored
from omnirepro.evaluate import protocol
from omnirepro.kit.run.checks import existing


def judgements(folder: Path, file: str = "predictions.jsonl") -> list[Judgement]:
    """Return all frozen judgements of a stage, or those of another file. Raises `RunError` where it has none."""
    return read_jsonl(existing(folder / file), Judgement)


def predictions(folder: Path, split: str = "test") -> pd.DataFrame:
    """Return the frozen judgements of a split, `model` without the split's name."""
    return of_split(judgements(folder), split)


def choices(folder: Path, split: str = "test") -> pd.DataFrame | None:
    """Return the frozen choices of a split, as `predictions`; None where the stage has none of its own."""
    path = stored(folder / "choices.jsonl")
    rows = read_jsonl(path, Judgement) if path.is_file() else []
    return of_split(rows, split) if any(row.model.endswith(f"/{split}") for row in rows) else None


def of_split(rows: list[Judgement], split: str) -> pd.DataFrame:
    """Return the rows of a split as a table, `model` without the split's name."""
    table = pd.DataFrame([row.model_dump() for row in rows])
    table = table[table["model"].str.endswith(f"/{split}")]
    return protocol.frame(table.assign(model=table["model"].str.removesuffix(f"/{split}")))


def by_judge(table: pd.DataFrame, measure: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Return `measure` of every model's rows, one below the other, with the model as `judge`."""
    parts = [measure(rows).assign(judge=model) for model, rows in table.groupby("model", sort=False)]
    return pd.concat(parts, ignore_index=True)


def teachers(folder: Path) -> list[list[Label]]:
    """Return every teacher's labels, in the same order; none where all labels were given."""
    names = {path.name.removesuffix(".gz") for path in folder.glob("teacher-*.jsonl*")}
    numbered = sorted(int(number[1]) for name in names if (number := re.fullmatch(r"teacher-(\d+)\.jsonl", name)))
    return [read_jsonl(stored(folder / f"teacher-{i}.jsonl"), Label) for i in numbered]


def reasons(folder: Path) -> pd.DataFrame:
    """Count kept training pairs and the reasons of dropped ones; the counts add up to all of them."""
    dropped = pd.read_json(folder / "dropped.jsonl", lines=True)
    dropped = dropped[dropped["split"].isna()] if "split" in dropped else dropped  # held-out pairs have their split
    counts = dropped["reason"].value_counts() if len(dropped) else pd.Series(dtype=int)
    kept = {}
    for part in ("sft", "rl"):
        with (folder / f"labels_{part}.jsonl").open(encoding="utf-8") as file:
            kept[f"kept, for {part.upper()}"] = sum(1 for _ in file)
    table = pd.concat([pd.Series(kept), counts]).rename("pairs").rename_axis("fate").reset_index()
    return table.assign(share=(table["pairs"] / table["pairs"].sum()).map("{:.1%}".format))
