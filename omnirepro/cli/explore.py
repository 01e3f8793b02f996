"""The explorer with the embedded world's truth: where the truths of the judged pairs lie beside them, their gold label
has its per-dimension marks, quotes and evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omnirepro.kit.explorer import Inputs, Judged, page_file, read, sources_of_run, write_page
from omnirepro.kit.run.files import RunError, results_root
from omnirepro.papers.omni_rrm.teachers import true_labels


def explore(
    rows: Sequence[str], pairs: Sequence[str], gold: Sequence[str], out: str | None, media_mb: float, run: str
) -> tuple[Path, list[str]]:
    """Write the page of the given rows, or of a run where none are given; return its path and what is to be said.

    `pairs` and `gold` add to what a run holds. Raises `RunError` or `RowError` naming file and remedy.
    """
    if rows and not pairs:
        raise RunError(f"{rows[0]}: the pairs that these rows judge are needed too; name their file with --pairs")
    found = Inputs([Path(path) for path in rows], [], []) if rows else sources_of_run(run)
    path = page_file(out or ("explorer.html" if rows else results_root() / run / "explorer.html"))
    files = Inputs(found.rows, [*map(Path, pairs), *found.pairs], [*map(Path, gold), *found.gold])
    judged = read(files)
    if gold and not judged.labels:
        judged.notes.append(f"No judged pair has a gold label in {', '.join(gold)}: name the labels of these pairs.")
    add_truths(judged, files.pairs)
    return path, write_page(judged, path, f"Explorer: {Path(rows[0]).stem if rows else run}", media_mb)


def add_truths(judged: Judged, pairs: Sequence[Path]) -> None:
    """Put the world's own label first on every judged pair whose scene is written in truths_*.jsonl beside its file."""
    for name, truth in true_labels(judged.pairs, {file.parent for file in pairs}).items():
        judged.labels[name] = [truth, *judged.labels.get(name, ())]
