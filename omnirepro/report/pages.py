"""The HTML report of a run: one page a notebook and an index. Everything is embedded, so that it works offline."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from omnirepro.report.summary import read_scorecard
from omnirepro.run import STAGES, RunError, results_root
from omnirepro.run.display import metric_cells
from omnirepro.run.files import atomic_write, relative
from omnirepro.run.manifest import load_manifest

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
SHOWN_METRICS = 4


def build(run: str) -> Path:
    """Write results/<run>/report/ from the executed notebooks and return its index.

    Raises `RunError` where no notebook of the run has been executed.
    """
    folder = results_root() / run
    executed = [stage for stage in STAGES if (folder / stage / "notebook.ipynb").is_file()]
    if not executed:
        raise RunError(f"no executed notebook in {relative(folder)}; make some with: make reproduce")
    notebooks = {stage: _read(folder / stage / "notebook.ipynb") for stage in executed}
    for stage in executed:
        _write_page(folder / "report", stage, notebooks[stage], executed)
    cards = "\n".join(_card(folder / stage, stage, notebooks[stage]) for stage in executed)
    body = f"<h1>Run {escape(run)}</h1>{_facts(folder, executed)}{_scorecard(run)}<h2>Notebooks</h2>{cards}"
    return atomic_write(folder / "report" / "index.html", page(f"Run {run}", body))


def page(title: str, body: str, navigation: str = "") -> str:
    """Return a whole HTML page with the report's style inside."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{navigation}<main>{body}</main></body></html>\n"
    )


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def _write_page(folder: Path, stage: str, notebook: Any, executed: list[str]) -> None:
    links = (f'<a href="{s}.html"{" class=here" if s == stage else ""}>{s}</a>' for s in executed)
    navigation = f'<nav><a href="index.html">index</a>{"".join(links)}</nav>'
    atomic_write(folder / f"{stage}.html", page(title_of(notebook, stage), _render(notebook), navigation))


def _render(notebook: Any) -> str:
    """Turn a notebook into the body of a page; links to other notebooks lead to their pages."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.highlight import Highlight2HTML
    from pygments.formatters import HtmlFormatter

    exporter = HTMLExporter(template_name="basic", embed_images=True, exclude_input_prompt=True)
    exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    exporter.register_filter("highlight_code", Highlight2HTML(pygments_lexer="python", parent=exporter))
    body, _ = exporter.from_notebook_node(notebook)
    for stage in STAGES:
        body = body.replace(f'href="{stage}.ipynb"', f'href="{stage}.html"')
    return f"<style>{HtmlFormatter(nobackground=True).get_style_defs('.highlight')}</style><article>{body}</article>"


def title_of(notebook: Any, default: str) -> str:
    """Return the first heading of a notebook."""
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), default)


def status_of(folder: Path, notebook: Any) -> str:
    """Return `finished`, `failed` (with the cell's error) or `unfinished` for an executed notebook."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    error = next((out for out in outputs if out.output_type == "error"), None)
    if error is not None:
        return f"failed: {error.ename}"
    inherited = any("skipped, nothing changed" in str(out) for out in outputs)
    return "finished" if load_manifest(folder) or inherited else "unfinished"


def _card(folder: Path, stage: str, notebook: Any) -> str:
    status, manifest = status_of(folder, notebook), load_manifest(folder)
    time = f" · {_duration(manifest['seconds'])}" if "seconds" in manifest else ""
    picture = _thumbnail(folder, notebook)
    image = f'<a href="{stage}.html"><img src="{picture}" alt="main figure of {stage}"></a>' if picture else ""
    kind = status.split(":")[0]
    return (
        f'<section class="card"><div><h3><a href="{stage}.html">{escape(title_of(notebook, stage))}</a></h3>'
        f'<p><span class="status {kind}">{escape(status)}</span><span class="quiet"> {stage}{time}</span></p>'
        f"{_metrics(folder)}</div>{image}</section>"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _metrics(folder: Path) -> str:
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = [(escape(name), *metric_cells(metric)) for name, metric in metrics.items()]
    more = f'<p class="quiet">and {len(rows) - SHOWN_METRICS} more</p>' if len(rows) > SHOWN_METRICS else ""
    return _table(("metric", "value", "interval", "n", "seeds"), rows[:SHOWN_METRICS]) + more if rows else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def _thumbnail(folder: Path, notebook: Any) -> str:
    """Return the first figure of a stage as a data address: a file of figures/, else a picture in the notebook."""
    for path in sorted((folder / "figures").glob("*.png")):
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    data = (out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", []))
    picture = next((entry["image/png"] for entry in data if "image/png" in entry), "")
    return f"data:image/png;base64,{''.join(picture.split())}" if picture else ""


def _facts(folder: Path, executed: list[str]) -> str:
    manifests = [manifest for stage in executed if (manifest := load_manifest(folder / stage))]
    if not manifests:
        return ""
    first, seconds = manifests[0], sum(manifest.get("seconds", 0) for manifest in manifests)
    facts = (f"profile {first['profile']}", f"seed {first['seed']}", f"{len(executed)} notebooks")
    return f'<p class="quiet">{escape(" · ".join((*facts, _duration(seconds), first["device"])))}</p>'


def _scorecard(run: str) -> str:
    rows = [[escape(cell) for cell in row] for row in read_scorecard(run)]
    return f'<h2>Scorecard</h2><div class="wide">{_table(rows[0], rows[1:])}</div>' if rows else ""
