"""The report of a run as one file, opened in a real browser, and the tables that are written into docs/."""

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from omnirepro.kit.report import build, claims, readme
from omnirepro.kit.report.pages import POLICY
from omnirepro.kit.report.summary import metrics_of, summary
from omnirepro.kit.run import STAGES, RunError
from omnirepro.kit.scorecard import effects, load_claims

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 20_000_000  # bytes of a report
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WATCH = """<script>
const seen = [];
addEventListener("securitypolicyviolation", e => seen.push(`blocked ${e.violatedDirective} ${e.blockedURI}`));
addEventListener("error", e => seen.push(`error ${e.message || e.target.tagName}`), true);
</script>"""
TELL = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = (what, get) => [...document.querySelectorAll(what)].map(get);
  const found = {
    seen,
    loaded: performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
    headings: all("h1, h2, h3", e => e.textContent), widths: all("img", e => e.naturalWidth),
    ids: all("[id]", e => e.id), links: all("a", e => e.getAttribute("href")), wide: document.body.scrollWidth,
  };
  document.body.innerHTML = "";
  document.body.appendChild(document.createElement("pre")).textContent = `FOUND${JSON.stringify(found)}END`;
}, 200));
</script>"""


def opened(page, folder):
    """Open a report in headless Chromium without any network and return what its document holds."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH, so the report cannot be opened in a browser here")
    allowed = POLICY.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    text = page.replace(POLICY, allowed).replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{TELL}</body>")
    assert allowed in text
    (folder / "probe.html").write_text(text, encoding="utf-8")
    words = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    words += " --disable-component-update --disable-dev-shm-usage --window-size=1300,900 --virtual-time-budget=20000"
    command = [
        CHROMIUM,
        *words.split(),
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={folder / 'browser'}",
    ]
    command += ["--dump-dom", (folder / "probe.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    found = re.search(r"FOUND(.*)END", html.unescape(done.stdout), re.S)
    assert found, f"the page did not answer: {done.stderr[-2000:]}"
    return json.loads(found[1])


def check(found, figures):
    assert found["seen"] == [] and found["loaded"] == [], "the report asked for something outside of itself"
    assert len(found["widths"]) >= figures and all(width > 0 for width in found["widths"])
    assert len(set(found["ids"])) == len(found["ids"]), "an anchor stands twice"
    assert found["links"] and all(link and link[0] == "#" and link[1:] in found["ids"] for link in found["links"])
    assert found["wide"] <= 1300, "the page is wider than its window"


def picture(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def notebook(stage, following):
    """An executed notebook with a figure, a wide table, a script, and links to a notebook of the run and to another."""
    new = nbformat.v4
    figure = new.new_output("display_data", {"image/png": picture("red"), "text/plain": "figure"})
    wide = f"<table><tr>{'<td>a wide cell of a table</td>' * 60}</tr></table><script src='https://example.org/x.js'></script>"
    code = new.new_code_cell("plot(run)", outputs=[figure, new.new_output("display_data", {"text/html": wide})])
    parts = [f"# {stage[:2]} The title of {stage}", "## The idea\n\nSome words.", "## Result"]
    cells = [*map(new.new_markdown_cell, parts), code]
    cells.append(new.new_markdown_cell(f"Next: [next]({following}.ipynb), [draft](06_meta_reward_dpo.ipynb)"))
    return new.new_notebook(cells=cells)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    for stage, following in (("00_backbone", "03_sft"), ("03_sft", "00_backbone")):
        folder = tmp_path / "toy" / stage
        (folder / "figures").mkdir(parents=True)
        (folder / "figures/main.png").write_bytes(base64.b64decode(picture("blue")))
        (folder / "metrics.json").write_text(json.dumps({"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}}))
        nbformat.write(notebook(stage, following), folder / "notebook.ipynb")
    card = tmp_path / "toy/10_scorecard/tables/scorecard.csv"
    card.parent.mkdir(parents=True)
    rows = (
        "one,omni-rrm,a <claim>,supported,0.01,",
        "two,omni-rrm,another,not run,,",
        "three,grm-omni,b,supported,,again one",
    )
    card.write_text("\n".join(("claim,paper,statement,verdict,q,remark", *rows, "")))
    return tmp_path / "toy"


def test_one_file_holds_everything(run):
    path = build("toy")
    assert path == run / "report.html" and sorted(p.name for p in run.iterdir() if p.is_file()) == ["report.html"]
    text = path.read_text()
    assert POLICY in text and "<script" not in text and not re.search(r"(src|href)=[\"']?(https?:)?//|@import", text)
    for part in (
        "1 supported, 0 contradicted, 0 bounded, 0 inconclusive, 1 not run; 1 built in or repeated",
        "a &lt;claim&gt;",
        "1 claims that were not",
    ):
        assert part in text
    assert 'href="#03_sft">next' in text and "06_meta_reward_dpo" not in text and "draft" in text
    with pytest.raises(RunError, match="no executed notebook"):
        build("nothing")


def test_a_number_leads_to_its_command_and_a_figure_to_its_rows(run):
    book = nbformat.read(run / "03_sft/notebook.ipynb", 4)
    book.cells[-2].source = 'plot(run, "accuracy")'
    nbformat.write(book, run / "03_sft/notebook.ipynb")
    rows = [{"model": f"sft/{split}", "task": "image"} for split in ("dev", "test")]
    (run / "03_sft/predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (run / "03_sft/figures/accuracy.csv").write_text("task,judge\nimage,sft\nhard,sft\nimage,longer-wins\n")
    text = build("toy").read_text()
    assert '<code class="copy">python -m omnirepro recompute accuracy --run toy</code>' in text
    assert "explorer.html#" not in text, "there is no explorer to lead to"
    (run / "explorer.html").touch()
    links = re.findall(r'href="explorer.html#([^"]+)">([^<]+)<', html.unescape(build("toy").read_text()))
    ours = "file=03_sft&judge=sft&set=test"
    bars = [(ours, "sft"), (f"{ours}&task=image", "image"), (f"{ours}&margin=hard", "hard")]
    assert links == [("file=03_sft", "rows of toy"), ("file=03_sft", "all of the stage"), *bars]


def test_the_committed_report_takes_its_seeds_together():
    card = claims.card("blessed/seeds", metrics_of("blessed/seeds"), "blessed")
    figures = {part["name"]: part["figure"] for part in card["papers"]}
    for name in ("Omni-RRM", "Omni-Reward", "GRM-Omni"):
        assert figures[name].startswith("data:image/png;base64,")
    rows = {row["claim"]: row for part in card["papers"] for row in part["claims"]}
    sft = rows["rrm-sft-over-base"]
    assert sft["mark"] == "built in"
    assert sft["command"] == "python -m omnirepro recompute rrm-sft-over-base --run blessed"
    shown = effects(metrics_of("blessed/seeds"), load_claims(ROOT / "results/claims.yaml")).set_index("claim")
    assert "rrm-sft-over-base" not in shown.index and len(shown.loc["rrm-grpo-over-sft", "each"].split()) == 3


def test_the_terminal_has_the_scorecard_in_columns_that_can_be_read(run, monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda *size: os.terminal_size((80, 24)))
    text = summary("toy")
    assert "omni-rrm" not in text and "again one" not in text and max(map(len, text.splitlines())) <= 80
    assert "supported *" in text and "* built in or repeated, not counted" in text


def test_a_browser_shows_it_without_a_network(run, tmp_path):
    found = opened(build("toy").read_text(), tmp_path)
    check(found, figures=4)  # a main figure beside each card, and each notebook's own
    assert {"Run toy", "Scorecard", "00 The title of 00_backbone", "03 The title of 03_sft"} <= set(found["headings"])
    assert {"top", "scorecard", "03_sft", "03_sft-the-idea", "00_backbone-result"} <= set(found["ids"])


def test_what_the_browser_tells_would_notice_a_fault(run, tmp_path):
    faults = '<img src="https://example.org/a.png"><img src="data:image/png;base64,AAAA"><a href="#nowhere">x</a>'
    found = opened(build("toy").read_text().replace("<main>", f"<main>{faults}"), tmp_path)
    assert any("blocked img-src" in line for line in found["seen"]) and found["widths"][:2] == [0, 0]
    with pytest.raises(AssertionError):
        check(found, figures=1)
    with pytest.raises(AssertionError):
        check(found | {"seen": [], "loaded": []}, figures=1)


def test_the_report_of_the_river(smoke, tmp_path, monkeypatch):
    """All real notebooks: their headings and figures are there, and nothing is asked for."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(smoke.parent))
    path = build("smoke")
    assert path.stat().st_size < LIMIT
    found = opened(path.read_text(encoding="utf-8"), tmp_path)
    executed = [stage for stage in STAGES if (smoke / stage / "notebook.ipynb").is_file()]
    assert executed and set(executed) <= set(found["ids"])
    books = [nbformat.read(smoke / stage / "notebook.ipynb", 4) for stage in executed]
    shown = [
        out for book in books for c in book.cells for out in c.get("outputs", []) if "image/png" in out.get("data", {})
    ]
    check(found, figures=len(shown))
    for book in books:
        assert book.cells[0].source.splitlines()[0].removeprefix("# ") in found["headings"]
    assert found["headings"].count("The idea") == found["headings"].count("Reading") == len(executed)


# ---- tables in docs/


def test_the_committed_tables_say_what_the_metrics_say():
    for path, text in readme.tables().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is stale: python -m omnirepro readme"


def test_a_changed_metric_changes_the_table():
    metrics = {"03_sft": {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 12, "seeds": 1}}}
    table = readme.results_table(metrics)
    assert "| accuracy of the SFT judge, both orders, 12 test pairs | 50.0 [25.0, 75.0] % |" in table
    assert len(table.splitlines()) == 3, "rows without metrics are left out"
    gain = {"value": 0.028, "low": -0.002, "high": 0.034, "n": 9, "seeds": 3}
    assert "| GRPO minus SFT, three seeds from one SFT judge | +2.8 [-0.2, 3.4] points |" in readme.results_table(
        {"04_grpo": {"grpo_minus_sft": gain}}
    )
    together = readme.results_table({"04_grpo": {"grpo_minus_sft": gain | {"seeds": [0, 1, 2]}}})
    assert "GRPO minus SFT, seeds 0, 1, 2 |" in together


def test_the_sentence_above_says_whether_seeds_were_taken_together(tmp_path):
    manifest = dict.fromkeys(("seed", "params", "inputs", "outputs"), 0) | {
        "profile": "study",
        "device": "cpu, 2 threads",
    }
    for stage in ("00_backbone", "10_scorecard"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "manifest.json").write_text(json.dumps(manifest))
    assert "(profile `study`, one seed, cpu, 2 threads), 95 % intervals clustered by scene:" in readme.headline(
        tmp_path
    )
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds/seeds.json").write_text(json.dumps({"seeds": [0, 1, 2]}))
    assert "means of the seeds 0, 1, 2, cpu, 2 threads), 95 % intervals over training" in readme.headline(tmp_path)


def test_markers_are_needed():
    assert readme.filled("a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb", "x", "new").split("\n")[2] == "new"
    for text in ("none", "<!-- x: end --> <!-- x: begin -->", "<!-- x: begin --> <!-- x: begin --> <!-- x: end -->"):
        with pytest.raises(ValueError, match="markers"):
            readme.filled(text, "x", "new")
