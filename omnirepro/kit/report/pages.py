"""The HTML report of a run: one file with every executed notebook, its figures and the scorecard.

A number opens to the command that computes it again, a figure leads to its rows in the explorer. All else is embedded,
and the page's own policy lets a browser load nothing else, so that it works offline. The page is `report.html.j2`;
notebooks are made HTML by nbconvert, their headings become anchors of the whole page.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from omnirepro.kit.report.claims import card
from omnirepro.kit.report.links import add_links, command, rows_of
from omnirepro.kit.report.summary import metrics_of
from omnirepro.kit.run import STAGES, RunError, results_root
from omnirepro.kit.run.checks import MISSED, checks_of, missed, sentence, told, without_checks
from omnirepro.kit.run.display import metric_cells
from omnirepro.kit.run.files import atomic_write, relative
from omnirepro.kit.run.manifest import load_manifest
from omnirepro.kit.scorecard import read_metrics

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
    stages = [_stage(folder / stage, executed) for stage in executed]
    lead = []
    if made := [manifest for stage in executed if (manifest := load_manifest(folder / stage))]:
        facts = (f"profile {made[0]['profile']}", f"seed {made[0]['seed']}", f"{len(executed)} notebooks")
        spent = _duration(sum(manifest.get("seconds", 0) for manifest in made))
        lead.append(" · ".join((*facts, spent, made[0]["device"])))
    together = (folder / "seeds/seeds.json").is_file()
    place = f"{run}/seeds" if together else run
    metrics = metrics_of(place)
    if together:
        lead.append("The scorecard takes several seeds together; the notebooks are those of the seed above.")
    return write_page(run, f"Run {run}", metrics, lead=lead, stages=stages, card=card(place, metrics, run))


def write_page(run: str, title: str, metrics: Mapping[str, Mapping[str, Any]], **parts: Any) -> Path:
    """Write the page of a run with its checks, and return its path; `parts` are the template's own."""
    import jinja2
    from pygments.formatters import HtmlFormatter

    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    text = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."), autoescape=True, keep_trailing_newline=True
    )
    page = text.get_template("report.html.j2").render(
        title=title,
        run=run,
        command=command,
        policy=POLICY,
        style=style + HtmlFormatter(nobackground=True).get_style_defs(".highlight"),
        checks=told(metrics),
        missed_word=MISSED,
        missed=[(stage, sentence(name, entry)) for stage, name, entry in missed(metrics)],
        shown=SHOWN_METRICS,
        **parts,
    )
    return atomic_write(report_file(run), page)


def _stage(folder: Path, known: Sequence[str]) -> dict[str, Any]:
    """Return what the page says of an executed notebook: its card, its sections and its body."""
    import nbformat

    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    manifest = load_manifest(folder)
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+?) *$", words, re.M)
    metrics = read_metrics(folder.parent).get(folder.name, {})
    found = [(name, entry) for name, entry in checks_of(metrics).items() if not entry["passed"]]
    add_links(notebook, folder)
    return {
        "name": folder.name,
        "title": title[1] if title else folder.name,
        "sections": [(anchor(folder.name, h), h) for h in re.findall(r"^## +(.+?) *$", words, re.M)],
        "status": status_of(notebook, manifest),
        "time": f" · {_duration(manifest['seconds'])}" if "seconds" in manifest else "",
        "metrics": [(name, *metric_cells(metric)) for name, metric in without_checks(metrics).items()],
        "links": rows_of(folder.name, folder.parent.name),
        "missed": [sentence(name, entry) for name, entry in found],
        "picture": _thumbnail(folder, notebook),
        "body": body(folder.name, notebook, known),
    }


def status_of(notebook: Any, manifest: Mapping[str, Any]) -> str:
    """Return `finished`, `failed` (with the cell's error) or `unfinished`: a base's result has no manifest here."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    if error := next((out for out in outputs if out.output_type == "error"), None):
        return f"failed: {error.ename}"
    inherited = any(out.get("metadata", {}).get("skipped") for out in outputs)
    return "finished" if manifest or inherited else "unfinished"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _thumbnail(folder: Path, notebook: Any) -> str:
    """Return the first figure of a stage as a data address: a file of figures/, else a picture in the notebook."""
    for path in sorted((folder / "figures").glob("*.png")):
        return embedded(path)
    data = (out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", []))
    picture = next((entry["image/png"] for entry in data if "image/png" in entry), "")
    return f"data:image/png;base64,{''.join(picture.split())}" if picture else ""


def embedded(path: Path) -> str:
    """Return a picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def anchor(stage: str, heading: str) -> str:
    """Return the name of a section within the page: `03_sft-the-idea`."""
    return f"{stage}-{re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-')}"


def body(stage: str, notebook: Any, known: Sequence[str]) -> str:
    """Return a notebook as HTML; links to notebooks lead to their articles.

    `known` are the stages that the page holds: a link to another one stays as mere text. What a widget or a script
    would show is left out.
    """
    from nbconvert import HTMLExporter
    from nbconvert.filters.highlight import Highlight2HTML

    exporter = HTMLExporter(template_name="basic", embed_images=True, exclude_input_prompt=True)
    exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    exporter.register_filter("highlight_code", Highlight2HTML(pygments_lexer="python", parent=exporter))
    html = exporter.from_notebook_node(notebook)[0]

    def section(match: re.Match) -> str:
        return f'<h3 id="{anchor(stage, re.sub(r"<[^>]+>", "", match[1]))}">{match[1]}</h3>'

    def link(match: re.Match) -> str:
        return f'<a href="#{escape(match[1])}">{match[2]}</a>' if match[1] in known else match[2]

    html = re.sub(r' id="cell-id=[^"]*"', "", html)
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.S)
    html = re.sub(r"<h2>(.*?)</h2>", section, html)
    html = re.sub(r"<h1>(.*?)</h1>", r"<h2>\1</h2>", html)
    return re.sub(r'<a href="([^"#]+)\.ipynb">(.*?)</a>', link, html)
