"""What a notebook shows by itself: the parameter table, the metrics, the library's source. Silent elsewhere."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from pathlib import Path
from typing import Any

from omnirepro.kit.run.parameters import Params
from omnirepro.kit.run.reading import descriptions, meaning_of

_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;"


def notebook_shell() -> Any:
    """Return the running IPython shell, or None in a plain script."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def say(text: str) -> None:
    """Show one line of text in a notebook; do nothing elsewhere."""
    if notebook_shell():
        print(text, flush=True)


class Page:
    """A displayable pair of HTML and plain text."""

    def __init__(self, html: str, text: str):
        self._html = html
        self._text = text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def display(page: Any, **metadata: Any) -> None:
    """Display an object in a notebook, with values that readers of the executed notebook want; nothing elsewhere."""
    if notebook_shell():
        from IPython.display import display as show_in_notebook

        show_in_notebook(page, metadata=metadata)


def show(thing: Any) -> None:
    """Display the library's source of a function or class, with the place where it stands."""
    thing = inspect.unwrap(thing)
    source, line = inspect.getsourcelines(thing)
    place = f"{thing.__module__.replace('.', '/')}.py, line {line}"
    if Path(inspect.getsourcefile(thing) or "").name == "__init__.py":
        place = f"{thing.__module__.replace('.', '/')}/__init__.py, line {line}"
    if notebook_shell() is None:
        return print(f"# {place}\n{''.join(source)}")
    from IPython.display import Code

    display(Page(f"<small><code>{escape(place)}</code></small>", place))
    display(Code("".join(source), language="python"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Page:
    """Return a left-aligned table as HTML (cells may hold tags) and as aligned text."""
    rows = [list(row) for row in rows]
    lines = [f"<tr>{''.join(f'<td style={_CELL!r}>{cell}</td>' for cell in row)}</tr>" for row in rows]
    top = "".join(f"<th style={_CELL!r}>{name}</th>" for name in head)
    html = f'<table style="margin:4px 0 8px 0"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return Page(html, text_table(head, rows))


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as aligned text, tags left out and the media that they hold with them."""
    plain = []
    for row in [list(head), *rows]:
        cells = (re.sub(r"<[^>]*>", " ", cell).strip() if "<" in cell else cell for cell in row)
        plain.append([unescape(cell) for cell in cells])
    widths = [max(len(row[i]) for row in plain) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in plain)


def parameter_page(title: str, params: Params, own: str, shared: Iterable[str]) -> Page:
    """Return the effective parameters: the stage's own section open, shared ones folded; changes in bold."""
    meaning = descriptions()
    head = ("parameter", "value", "set by", "meaning")
    html = [f"<div><b>{escape(title)}</b></div>"]
    text = [title]
    for section in dict.fromkeys((own, *shared)):
        page = table(head, [_row(params, key, meaning) for key in params.values([section])])
        changed = sum(params.origin(key) != "base.yaml" for key in params.values([section]))
        summary = f"{section}: {len(params.values([section]))} parameters, {changed} not from base.yaml"
        state = " open" if section == own else ""
        if params.values([section]):
            html.append(f"<details{state}><summary>{escape(summary)}</summary>{page._repr_html_()}</details>")
            text.append(f"{summary}\n{page!r}")
    return Page("\n".join(html), "\n\n".join(text))


def _row(params: Params, key: str, meaning: Mapping[str, str]) -> tuple[str, ...]:
    value = escape(json.dumps(params.peek(key), ensure_ascii=False))
    origin = escape(params.origin(key))
    cells = f"<code>{escape(key.split('.', 1)[1])}</code>", f"<code>{value}</code>", origin
    if params.origin(key) != "base.yaml":
        cells = tuple(f"<b>{cell}</b>" for cell in cells)
    return (*cells, escape(meaning_of(key, meaning)))


def metrics_page(metrics: Mapping[str, Mapping[str, Any]]) -> Page:
    """Return the metrics with interval and counts as a table."""
    rows = [(escape(name), *metric_cells(metric)) for name, metric in metrics.items()]
    return table(("metric", "value", "interval", "n", "seeds"), rows)


def metric_cells(metric: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return value, interval, n and seeds of a metric as text; an unknown one of the last three is empty."""
    value = metric.get("verdict") if metric.get("value") is None else metric["value"]
    bounds = [metric.get(side) for side in ("low", "high")]
    interval = "" if None in bounds else f"[{', '.join(map(_number, bounds))}]"
    said = "not measured" if value is None else _number(value)
    return said, interval, _number(metric.get("n")), _number(metric.get("seeds"))


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) and abs(value) < 1000 else escape(str(value))
