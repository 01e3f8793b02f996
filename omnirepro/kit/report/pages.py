"""The HTML report of a run: one file with every executed notebook, its figures and the scorecard.

Everything is embedded and the page's own policy lets a browser load nothing else, so that it works offline.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from omnirepro.kit.report.articles import article, code_style, read_notebook, sections_of, title_of
from omnirepro.kit.report.summary import metrics_of, read_scorecard
from omnirepro.kit.run import STAGES, RunError, results_root
from omnirepro.kit.run.checks import MISSED, checks_of, missed, sentence, told, without_checks
from omnirepro.kit.run.display import metric_cells
from omnirepro.kit.run.files import atomic_write, relative
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.kit.scorecard import VERDICTS

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
SHOWN_METRICS = 4


def report_file(run: str) -> Path:
    """Return where the report of a run lies, whether or not it has been written."""
    return results_root() / run / "report.html"


def build(run: str) -> Path:
    """Write results/<run>/report.html from the executed notebooks and return its path.

    Raises `RunError` where no notebook of the run has been executed.
    """
    folder = results_root() / run
    executed = [stage for stage in STAGES if (folder / stage / "notebook.ipynb").is_file()]
    if not executed:
        raise RunError(f"no executed notebook in {relative(folder)}; make some with: make reproduce")
    notebooks = {stage: read_notebook(folder / stage / "notebook.ipynb") for stage in executed}
    cards = "\n".join(_card(folder / stage, stage, notebooks[stage]) for stage in executed)
    articles = "\n".join(article(stage, notebook, executed) for stage, notebook in notebooks.items())
    card, checks = scorecard_section(run), checks_section(metrics_of(run))
    body = f'<h1 id="top">Run {escape(run)}</h1>{_facts(folder, executed)}{card}{checks}'
    body += f'<h2 id="notebooks">Notebooks</h2>{cards}{articles}'
    return atomic_write(report_file(run), page(f"Run {run}", body, _contents(notebooks, bool(card), bool(checks))))


def page(title: str, body: str, navigation: str = "") -> str:
    """Return a whole HTML page with the report's style inside, which may load nothing from outside."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{escape(title)}</title>'
        '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}{code_style()}</style></head><body>{navigation}<main>{body}</main></body></html>\n"
    )


def scorecard_section(run: str) -> str:
    """Return the scorecard as a section; empty where it has not been made."""
    rows = [[escape(cell) for cell in row] for row in read_scorecard(run)]
    if not rows:
        return ""
    head, *body = rows
    names = [row[-1] for row in body]
    counts = ", ".join(f"{names.count(name)} {name}" for name in VERDICTS)
    marked = [[*row[:-1], f'<span class="verdict {row[-1].replace(" ", "-")}">{row[-1]}</span>'] for row in body]
    decided, rest = ([row for row in marked if (">not run<" in row[-1]) == absent] for absent in (False, True))
    left = f"<details><summary>{len(rest)} claims that were not run</summary>{table(head, rest)}</details>"
    shown = f'<div class="wide scorecard">{table(head, decided)}{left}</div>'
    return f'<h2 id="scorecard">Scorecard</h2><p class="quiet">{escape(counts)}</p>{shown}'


def checks_section(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the missed checks of stage -> metrics as a section; empty where no check was made."""
    lines = told(metrics)
    if not lines:
        return ""
    shown = [f'<b class="missed">{MISSED}</b> {stage}: {escape(sentence(n, e))}' for stage, n, e in missed(metrics)]
    listed = f"<ul>{''.join(f'<li>{line}</li>' for line in shown)}</ul>" if shown else ""
    return f'<h2 id="checks">Checks</h2><p class="quiet">{escape(lines[-1])}</p>{listed}'


def _contents(notebooks: dict[str, Any], card: bool, checks: bool) -> str:
    """Return the table of contents: every notebook with its sections, as links within the page."""
    lines = ['<li><a href="#top">The run</a></li>']
    lines += ['<li><a href="#scorecard">Scorecard</a></li>'] if card else []
    lines += ['<li><a href="#checks">Checks</a></li>'] if checks else []
    for stage, notebook in notebooks.items():
        parts = (f'<li><a href="#{name}">{escape(text)}</a></li>' for name, text in sections_of(stage, notebook))
        title = f'<a href="#{stage}">{escape(title_of(notebook, stage))}</a>'
        lines.append(f"<li>{title}<ul>{''.join(parts)}</ul></li>")
    return f'<nav aria-label="contents"><ul>{"".join(lines)}</ul></nav>'


def status_of(folder: Path, notebook: Any) -> str:
    """Return `finished`, `failed` (with the cell's error) or `unfinished` for an executed notebook."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    error = next((out for out in outputs if out.output_type == "error"), None)
    if error is not None:
        return f"failed: {error.ename}"
    inherited = any(out.get("metadata", {}).get("skipped") for out in outputs)
    return "finished" if load_manifest(folder) or inherited else "unfinished"


def _card(folder: Path, stage: str, notebook: Any) -> str:
    status, manifest = status_of(folder, notebook), load_manifest(folder)
    time = f" · {_duration(manifest['seconds'])}" if "seconds" in manifest else ""
    picture = _thumbnail(folder, notebook)
    image = f'<a href="#{stage}"><img src="{picture}" alt="main figure of {stage}"></a>' if picture else ""
    kind = status.split(":")[0]
    return (
        f'<section class="card"><div><h3><a href="#{stage}">{escape(title_of(notebook, stage))}</a></h3>'
        f'<p><span class="status {kind}">{escape(status)}</span><span class="quiet"> {stage}{time}</span></p>'
        f"{_metrics(folder)}</div>{image}</section>"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _metrics(folder: Path) -> str:
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = [(escape(name), *metric_cells(metric)) for name, metric in without_checks(metrics).items()]
    more = f'<p class="quiet">and {len(rows) - SHOWN_METRICS} more</p>' if len(rows) > SHOWN_METRICS else ""
    shown = table(("metric", "value", "interval", "n", "seeds"), rows[:SHOWN_METRICS]) + more if rows else ""
    return shown + _missed(metrics)


def _missed(metrics: dict[str, Any]) -> str:
    """Return the missed checks of one stage as lines."""
    lines = [sentence(name, entry) for name, entry in checks_of(metrics).items() if not entry["passed"]]
    return "".join(f'<p><b class="missed">{MISSED}</b> {escape(line)}</p>' for line in lines)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; its cells are HTML."""
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
