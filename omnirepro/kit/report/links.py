"""What leads from a number or a figure to what is behind it: a command that computes it, its rows in the explorer.

The explorer's address names its filters: `explorer.html#file=03_sft&judge=sft&task=image`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from omnirepro.data import stored
from omnirepro.data.jsonl import open_rows
from omnirepro.kit.run import results_root

PAGE = "explorer.html"
ROWS = "predictions.jsonl"
PLOTTED = re.compile(r'plot\(run, "(\w+)"\)')
STRATA = ("hard", "easy")


def command(name: str, run: str) -> str:
    """Return the command that computes a metric or claim of a run again."""
    return f"python -m omnirepro recompute {name} --run {run}"


def rows_of(stage: str, run: str, seeds: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (what, address) of a stage's rows in the explorer of the run, or of each run of `seeds`, where it is."""
    found = []
    for name in seeds or [run]:
        folder = results_root() / name
        if (folder / PAGE).is_file() and stored(folder / stage / ROWS).is_file():
            page = f"../{name}/{PAGE}" if seeds else PAGE
            found.append((f"rows of {name}", f"{page}#{urlencode({'file': stage})}"))
    return found


def add_links(notebook: Any, folder: Path) -> None:
    """Put below every figure of an executed notebook the links to the rows behind it; none without an explorer."""
    if not rows_of(folder.name, folder.parent.name):
        return
    from nbformat.v4 import new_markdown_cell

    judged = _judged(folder)
    cells = []
    for cell in notebook.cells:
        names = PLOTTED.findall(cell.source) if cell.cell_type == "code" else []
        cells += [cell, *(new_markdown_cell(_links(folder, name, judged)) for name in names)]
    notebook.cells = cells


def _judged(folder: Path) -> set[tuple[str, str, str]]:
    """Return (judge, split or benchmark, task) of a stage's rows."""
    with open_rows(stored(folder / ROWS)) as file:
        rows = [json.loads(line) for line in file]
    models = [(row["model"].rpartition("/"), row["task"]) for row in rows]
    return {(judge or split, split if judge else "", task) for (judge, _, split), task in models}


def _links(folder: Path, figure: str, judged: set[tuple[str, str, str]]) -> str:
    """Write the links of a figure: all rows of its stage, and those of each of its judges, bar by bar."""
    table = pd.DataFrame()
    if (path := folder / "figures" / f"{figure}.csv").is_file():
        table = pd.read_csv(path)
    address = {"file": folder.name}
    parts = [_link("all of the stage", address)]
    judges = next((table[name] for name in ("judge", "model") if name in table), [])
    for judge in dict.fromkeys(judges):
        kinds = {(split, task) for name, split, task in judged if name == judge}
        splits = {split for split, _ in kinds}
        own = address | {"judge": judge} | ({"set": "test"} if "test" in splits else {})
        bars = [
            _link(value, own | {key: value})
            for value in dict.fromkeys(table.get("task", ()))
            for key, known in (("task", {t for _, t in kinds}), ("set", splits - {"test"}), ("margin", STRATA))
            if value in known
        ]
        if kinds:
            parts.append(_link(judge, own) + (f" ({', '.join(bars)})" if bars else ""))
    return f'<p class="quiet">Rows behind the figure: {" · ".join(parts)}</p>'


def _link(words: str, filters: dict[str, str]) -> str:
    return f'<a href="{PAGE}#{escape(urlencode(filters))}">{escape(words)}</a>'
