"""What a reader is told about a notebook that failed in a batch: the cell, the reason and what to do next."""

from __future__ import annotations

import re
from pathlib import Path

from omnirepro.kit.report.execution import clean
from omnirepro.kit.run import results_root
from omnirepro.kit.run.files import FAILED, working_root

LINES = 6  # of a reason
ERROR = re.compile(r"^[\w.]*(Error|Exception)\b")
UNSAID = "it ended without an error of its own: the process may have been killed, for memory perhaps"


def failure(run: str, stage: str) -> str:
    """Name the notebook, the cell and the reason, from the executed copy that the batch has kept."""
    import nbformat

    copy = results_root() / run / stage / FAILED
    head = f"notebooks/{stage}.ipynb failed in run {run}"
    if not copy.is_file():
        return f"{head} before its first cell had ended"
    section = ""
    for cell in nbformat.read(copy, as_version=4).cells:
        if cell.cell_type == "markdown" and (title := re.match(r"##+ +(?:\d+\.? *)?(.+)", cell.source)):
            section = title[1].strip()
        if cell.cell_type != "code":
            continue
        error = next((output for output in cell.outputs if output.output_type == "error"), None)
        if error or cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            break
    else:
        return f"{head}\n  {UNSAID}\n  the copy up to there: {place(copy)}"
    source = next((line for line in cell.source.splitlines() if line.strip()), "")
    where = f"cell [{cell.execution_count or '?'}]" + (f' of its section "{section}"' if section else "")
    reason = clean(f"{error.ename}: {error.evalue}").strip().splitlines() if error else [UNSAID]
    reason = reason[:LINES] + ["…"] * (len(reason) > LINES)
    lines = [f"{head}, {where}:", f"    {source}", *(f"  {line}" for line in reason)]
    return "\n".join([*lines, f"  the copy with the traceback: {place(copy)}"])


def place(path: Path) -> str:
    """Return a path as a terminal's reader can open it: relative where it lies below the working folder."""
    return str(path.relative_to(working_root()) if path.is_relative_to(working_root()) else path)


def engine_error(text: str) -> str:
    """Return what the batch engine said before it gave up, without its log around it."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    starts = [at for at, line in enumerate(lines) if ERROR.match(line)]
    said = lines[starts[-1] :] if starts else lines
    return clean("\n".join(said[:LINES] if starts else said[-LINES:]))
