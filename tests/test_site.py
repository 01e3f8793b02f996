"""The static site: every link leads somewhere inside it, nothing is loaded from outside, nothing is lost unsaid."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from test_explorer import browse

from omnirepro.cli.main import main
from omnirepro.kit.report import site
from omnirepro.kit.run import STAGES, RunError

ROOT = Path(__file__).resolve().parents[1]


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors, self.dead = [], [], set(), 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors.add(found.get("id"))
        target = found.get("href") or found.get("src")
        self.dead += tag == "a" and target is None
        if target and not target.startswith("data:"):
            (self.links if tag == "a" else self.loaded).append(target)


def check_links(folder):
    """Fail on the first link of any page but the explorer that leads to no file, or to no anchor, of the folder."""
    pages = {path: Page(path) for path in folder.rglob("*.html") if path.name != "explorer.html"}
    for path, page in pages.items():
        assert not [target for target in page.loaded if urlsplit(target).scheme], f"{path.name} loads from outside"
        for target in (*page.links, *page.loaded):
            url = urlsplit(target)
            if url.scheme:
                continue
            found = (path.parent / unquote(url.path)).resolve() if url.path else path
            assert found.is_file() and found.is_relative_to(folder.resolve()), f"{path.name}: {target}"
            anchors = pages[found].anchors if found in pages else {url.fragment}
            assert not url.fragment or url.fragment in anchors, f"{path.name}: {target}"
    return {path.relative_to(folder).as_posix(): page for path, page in pages.items()}


def test_the_site_of_the_committed_run(tmp_path, capsys):
    folder = tmp_path / "a site"
    assert main(["site", "--run", "blessed", "--to", str(folder)]) == 0
    assert capsys.readouterr().out == f"written: {folder / 'index.html'}\n"
    pages = check_links(folder)
    assert {"index.html", "docs/results.html", "results/README.html", "CONTRIBUTING.html"} <= set(pages)
    assert {f"notebooks/{stage}.html" for stage in STAGES} <= set(pages)
    assert not sum(page.dead for page in pages.values())
    first = (folder / "index.html").read_text(encoding="utf-8")
    assert 'href="explorer.html"' in first and 'href="notebooks/03_sft.html"' in first and "<table>" in first
    assert (folder / "explorer.html").is_file() and (folder / "results/blessed/03_sft/figures/accuracy.png").is_file()
    document = browse((folder / "docs/results.html").as_uri(), tmp_path)
    assert re.search(r'aria-current="page">Results<', document)


def project(folder, guide):
    """A small project of one guide and the repository's notebooks, with a run that executed one of them."""
    (folder / "docs").mkdir(parents=True)
    (folder / "params").mkdir()
    (folder / "params/base.yaml").write_text("{}")
    (folder / "README.md").write_text(guide, encoding="utf-8")
    (folder / "docs/more.md").write_text("# More & more\n\n## A `b`: *c*\n\n[up](../README.md#one)\n")
    (folder / "docs/bare.md").write_text("No title.\n")
    (folder / "pic ture.png").write_bytes(b"png")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    book = nbformat.read(ROOT / "notebooks/03_sft.ipynb", as_version=4)
    book.cells[1].outputs = [nbformat.v4.new_output("stream", text="it was run\n")]
    (folder / "results/toy/03_sft").mkdir(parents=True)
    nbformat.write(book, folder / "results/toy/03_sft/notebook.ipynb")


def test_links_of_every_kind(tmp_path, monkeypatch):
    """A page, its heading, a file with a blank in its name, a folder, what is missing, and what lies outside."""
    guide = """# Kit
## One
[a](docs/more.md) [b](docs/more.md#a-b-c) [k](docs/bare.md) [c](pic%20ture.png) ![d](pic%20ture.png) 
[e](docs) [f](lost.csv)
[g](../outside.txt) [h](https://example.org/x) [i](#one) [j](notebooks/03_sft.ipynb) <script>let x = 1 < 2</script>
"""
    project(tmp_path / "kit", guide)
    (tmp_path / "outside.txt").write_text("private")
    monkeypatch.chdir(tmp_path / "kit")
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)

    def no_rows(page):
        raise RunError("no rows in it; judge some")

    folder = tmp_path / "site"
    for _ in range(2):  # a second time over the first
        index, notes = site.build_site("toy", folder, no_rows)
        pages = check_links(folder)
    links = [link for link in pages["index.html"].links if not link.startswith("notebooks/")]
    assert links[3:] == [
        *(
            "docs/more.html",
            "docs/more.html#a-b-c",
            "docs/bare.html",
            "pic%20ture.png",
            "https://example.org/x",
            "#one",
        ),
    ]
    assert pages["index.html"].dead == 3 and (folder / "pic ture.png").read_bytes() == b"png"
    assert notes[0] == "no explorer: no rows in it; judge some" and not (folder / "explorer.html").exists()
    assert [note.split("the link ")[1].split()[0] for note in notes if "the link" in note] == [
        "docs", "lost.csv", "../outside.txt",
    ]  # fmt: skip
    assert sum("without results" in note for note in notes) == len(STAGES) - 1
    assert "it was run" in (folder / "notebooks/03_sft.html").read_text(encoding="utf-8")
    assert index == folder / "index.html" and "private" not in "".join(p.name for p in folder.rglob("*"))


def test_only_the_notebooks_of_the_profile_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    folder = tmp_path / "results/bt/09_benchmarks"
    folder.mkdir(parents=True)
    told = {"seed": 0, "params": {}, "inputs": {}, "outputs": {}}
    for profile, stages in (("omni-reward-bt", {"00", "05", "09", "10"}), ("gone", {stage[:2] for stage in STAGES})):
        (folder / "manifest.json").write_text(json.dumps(told | {"profile": profile}))
        site.build_site("bt", tmp_path / profile, lambda page: page.write_text("rows"))
        pages = check_links(tmp_path / profile)
        assert {name[10:12] for name in pages if name.startswith("notebooks/")} == stages


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/index.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("own", "file"):
        assert main(["site", "--run", "blessed", "--to", str(tmp_path / name)]) == 1
        assert "name a new folder with --to" in capsys.readouterr().err
    assert (tmp_path / "own/index.html").read_text() == "mine" and (tmp_path / "file").read_text() == "mine"
