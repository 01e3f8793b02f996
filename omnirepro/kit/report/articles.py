"""An executed notebook as one part of the report: its cells as HTML, its headings as anchors of the whole page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

SECTION = re.compile(r"^## +(.+?) *$", re.M)
TITLE = re.compile(r"^# +(.+?) *$", re.M)


def read_notebook(path: Path) -> Any:
    """Read an executed notebook."""
    import nbformat

    return nbformat.read(path, as_version=4)


def title_of(notebook: Any, default: str) -> str:
    """Return the first heading of a notebook."""
    found = TITLE.search(_text(notebook))
    return found[1] if found else default


def sections_of(stage: str, notebook: Any) -> list[tuple[str, str]]:
    """Return (anchor, heading) of every section of a notebook, in its order."""
    return [(anchor(stage, heading), heading) for heading in SECTION.findall(_text(notebook))]


def anchor(stage: str, heading: str) -> str:
    """Return the name of a section within the page: `03_sft-the-idea`."""
    return f"{stage}-{re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-')}"


def article(stage: str, notebook: Any, known: Sequence[str]) -> str:
    """Return a notebook as an article named `stage`; links to notebooks lead to their articles.

    `known` are the stages that the page holds: a link to another one stays as mere text. What a widget or a script
    would show is left out.
    """
    body = _render(notebook)
    body = re.sub(r' id="cell-id=[^"]*"', "", body)
    body = re.sub(r"<script\b.*?</script>", "", body, flags=re.S)
    body = re.sub(r"<h2>(.*?)</h2>", lambda m: f'<h3 id="{anchor(stage, _plain(m[1]))}">{m[1]}</h3>', body)
    body = re.sub(r"<h1>(.*?)</h1>", r"<h2>\1</h2>", body)
    body = re.sub(r'<a href="([^"#]+)\.ipynb">(.*?)</a>', lambda m: _link(m[1], m[2], known), body)
    return f'<article id="{stage}">{body}</article>'


def code_style() -> str:
    """Return the colours of code cells."""
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(nobackground=True).get_style_defs(".highlight")


def _render(notebook: Any) -> str:
    from nbconvert import HTMLExporter
    from nbconvert.filters.highlight import Highlight2HTML

    exporter = HTMLExporter(template_name="basic", embed_images=True, exclude_input_prompt=True)
    exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    exporter.register_filter("highlight_code", Highlight2HTML(pygments_lexer="python", parent=exporter))
    return exporter.from_notebook_node(notebook)[0]


def _link(stage: str, text: str, known: Sequence[str]) -> str:
    return f'<a href="#{escape(stage)}">{text}</a>' if stage in known else text


def _plain(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def _text(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
