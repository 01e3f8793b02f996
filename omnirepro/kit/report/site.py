"""A small static site: the guides, a run's executed notebooks, its explorer; a folder that works offline, from file://.

Consumes README.md with the Markdown pages that it leads to, and the notebooks of a run; mistune and nbconvert make them
HTML. Pages lie as their sources do, so that a link changes its ending alone; other files that are linked come along.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat

from omnirepro.data import RowError
from omnirepro.kit.report.pages import body
from omnirepro.kit.run import STAGES, ParameterError, RunError, load_params, project_root, results_root
from omnirepro.kit.run.files import atomic_write
from omnirepro.kit.run.manifest import load_manifest

LINK = re.compile(r' (href|src)="([^"#:]+)(#[^"]*)?"')  # relative ones: an address with a scheme has a colon
ANCHOR = re.compile(rf' href="#({"|".join(STAGES)})"')  # of the report: a notebook within one page
TITLE = re.compile(r"^##? +(.+?) *$", re.M)
MARK = "/* a site of omnirepro */\n"


@dataclass
class Site:
    """A site in the making: its folder, the project's, every page's address by its source, and the menu."""

    folder: Path
    root: Path
    pages: Mapping[Path, str]
    menu: Mapping[str, Sequence[tuple[str, str]]]
    notes: list[str] = field(default_factory=list)

    def write(self, source: Path, title: str, html: str) -> None:
        """Write the page of a source, its links led to pages, or to files that are copied into the site."""
        import jinja2

        address = self.pages[source]
        loader = jinja2.PackageLoader(__package__, ".")
        template = jinja2.Environment(loader=loader, autoescape=True).get_template("site.html.j2")
        text = LINK.sub(lambda found: self._link(source, *found.groups(default="")), html)
        up = "../" * address.count("/")
        page = template.render(title=title, body=text, up=up, here=address, menu=self.menu)
        atomic_write(self.folder / address, page)

    def _link(self, source: Path, kind: str, target: str, anchor: str) -> str:
        """Return a link of a page as an attribute; none, with a note, where it leads to no file of the project."""
        found = Path(os.path.normpath(source.parent / unquote(target)))
        if found in self.pages:
            place = os.path.relpath(self.pages[found], source.parent)
            return f' {kind}="{place}{anchor}"'
        if ".." in found.parts or not (self.root / found).is_file():
            self.notes.append(f"{source}: the link {target} leads to no file of the project; it is shown as text")
            return ""
        (self.folder / found).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.root / found, self.folder / found)
        return f' {kind}="{target}{anchor}"'


def build_site(run: str, folder: Path, explorer: Callable[[Path], Any]) -> tuple[Path, list[str]]:
    """Write the site of a run into a folder; return its first page and what has to be said of it.

    `explorer` writes the run's explorer to a file; what it raises as an expected error is said. Notebooks that the run
    has not executed are shown without results, those that its profile leaves out not at all. Raises `RunError` where
    the guides are not there (an installed package has none), and where the folder holds something else than a site.
    """
    root = project_root()
    if not (root / "README.md").is_file():
        raise RunError("no README.md lies beside params/ and notebooks/; make the site in a checkout")
    _write_style(folder)
    guides = _guides(root)
    titles = {path: (TITLE.search(text) or [path.stem] * 2)[1] for path, text in guides.items()}
    books = {Path("notebooks", f"{stage}.ipynb"): stage.replace("_", " ") for stage in _stages_of(run)}
    pages = {path: str(path.with_suffix(".html")) for path in (*guides, *books)} | {Path("README.md"): "index.html"}
    menu = {"Guides": [(pages[path], title) for path, title in titles.items()]}
    menu[f"Notebooks of {run}"] = [(pages[path], title) for path, title in books.items()]
    site = Site(folder, root, pages, menu)
    try:
        explorer(folder / "explorer.html")
        menu["Judgements"] = [("explorer.html", "Explorer")]
    except (RunError, RowError) as error:
        site.notes.append(f"no explorer: {error}")
    convert = _markdown()
    for path, text in guides.items():
        site.write(path, titles[path], convert(text))
    for path, title in books.items():
        executed = results_root() / run / path.stem / "notebook.ipynb"
        if not executed.is_file():
            site.notes.append(f"{path}: {run} has not executed it; it is shown without results")
        notebook = nbformat.read(executed if executed.is_file() else root / path, as_version=4)
        html = body(path.stem, notebook, STAGES)
        site.write(path, title, ANCHOR.sub(r' href="\1.ipynb"', html))
    return folder / "index.html", site.notes


def _stages_of(run: str) -> Sequence[str]:
    """Return the stages of the profile that a run was made with; all where it has finished none, or it is not here."""
    made = (load_manifest(results_root() / run / stage).get("profile") for stage in STAGES)
    profile = next(filter(None, made), None)
    try:
        return load_params(profile).notebooks if profile else STAGES
    except (OSError, ParameterError):
        return STAGES


def _write_style(folder: Path) -> None:
    """Write what every page looks like; by its first line a folder is known as a site.

    Raises `RunError` where the folder holds something else, which stays.
    """
    from pygments.formatters import HtmlFormatter

    style = folder / "style.css"
    ours = style.is_file() and style.read_text(encoding="utf-8").startswith(MARK)
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} holds something else than a site; name a new folder with --to")
    styles = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("style.css", "site.css")]
    atomic_write(style, MARK + "\n".join([*styles, HtmlFormatter(nobackground=True).get_style_defs(".highlight")]))


def _guides(root: Path) -> dict[Path, str]:
    """Return README.md, the pages of docs/, and the Markdown pages that they lead to, by paths relative to the root."""
    found: dict[Path, str] = {}
    waiting = [Path("README.md"), *(path.relative_to(root) for path in sorted((root / "docs").glob("*.md")))]
    while waiting:
        path = waiting.pop(0)
        if path not in found and (root / path).is_file():
            found[path] = (root / path).read_text(encoding="utf-8")
            linked = re.findall(r"\]\(([^)\s:#]+\.md)\b", found[path])
            waiting += [Path(os.path.normpath(path.parent / name)) for name in linked]
    return found


def _markdown() -> Callable[[str], str]:
    """Return a converter of Markdown whose headings have the anchors that GitHub gives them."""
    import mistune

    class Anchored(mistune.HTMLRenderer):
        def heading(self, text: str, level: int, **attrs: Any) -> str:
            plain = unescape(re.sub(r"<[^>]+>", "", text)).lower()
            name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
            return f'<h{level} id="{name}">{text}</h{level}>\n'

    return mistune.create_markdown(renderer=Anchored(escape=False), plugins=["table", "strikethrough", "url"])
