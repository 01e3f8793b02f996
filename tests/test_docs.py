"""Pages for readers: the files, headings, commands and parameters that they name exist; their numbers are measured."""

import ast
import csv
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from omnirepro.cli.main import COMMANDS, parser
from omnirepro.data.sources import SOURCES
from omnirepro.kit.report.execution import setting
from omnirepro.kit.run import load_params
from omnirepro.kit.scorecard import count, load_claims

ROOT = Path(__file__).resolve().parents[1]
GUIDES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = (*GUIDES, ROOT / "results/README.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"(?:\]\(|src=\")([^)\s\"]+)")
INTERVAL = re.compile(r"([+-]?\d+\.\d) \[\+?(-?\d+\.\d), \+?(-?\d+\.\d)\]")
UNKEPT = "## Measured once, no files kept"  # a section of results.md whose files are not in the repository

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.relative_to(ROOT).as_posix())


def read(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    return [text for kind, text in BLOCK.findall(read(path)) if kind == language]


def headings(path):
    """Return the anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", read(path)), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_relative_links_lead_to_files_and_headings(page):
    for target in LINK.findall(BLOCK.sub("", read(page))):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target} does not exist"
        assert not anchor or anchor in headings(path), f"{page.name}: no heading #{anchor} in {path.name}"


@each_guide
def test_commands_that_are_named_exist(page):
    text = re.sub(r"\\\n\s*", " ", read(page))
    for name in re.findall(r"python -m omnirepro\s+([a-z-]+)", text):
        assert name in COMMANDS, f"{page.name}: no command {name}"
    targets = re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.M)
    for name in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.M):
        assert "".join(name) in targets, f"{page.name}: no target {name} in the Makefile"


@each_guide
def test_commands_in_blocks_are_parsed_and_name_parameters(page):
    lines = (line for text in blocks(page, "bash") for line in re.sub(r"\\\n\s*", " ", text).splitlines())
    keys = load_params("tiny").keys()
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "omnirepro"]:
            args = parser().parse_args(words[3:])
            for key, _ in map(setting, getattr(args, "set", [])):
                assert key in keys, f"{page.name}: no parameter {key}"


@each_guide
def test_python_in_blocks_is_python_and_imports_what_there_is(page):
    for node in (node for text in blocks(page, "python") for node in ast.parse(text).body):
        if isinstance(node, ast.ImportFrom):
            module = import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def test_the_readme_is_short():
    words = read(ROOT / "README.md").split()
    assert len(words) <= 900, f"{len(words)} words, those of tables and code among them"


def test_the_readme_s_findings_are_those_of_the_scorecard():
    with (ROOT / "results/blessed/seeds/10_scorecard/tables/scorecard.csv").open(encoding="utf-8") as file:
        card = {row["claim"]: row for row in csv.DictReader(file)}
    assert set(card) == set(load_claims(ROOT / "results/claims.yaml").claims)
    text = read(ROOT / "README.md")
    findings = re.findall(r"^\| (.+) \| ([\w ]+) <!-- ([\w-]+) --> \|$", text, re.M)
    assert len(findings) == 6
    for sentence, verdict, claim in findings:
        assert verdict == card[claim]["verdict"], claim
        assert numbers(sentence) == numbers(card[claim]["ours"]), claim
    said = count(pd.DataFrame(card.values()))
    assert f"{len(card)} claims: {said}." in re.sub(r"\s+", " ", text)


def test_intervals_in_the_results_are_measured():
    known = committed_intervals()
    page = read(ROOT / "docs/results.md")
    assert page.count(UNKEPT) == 1
    found = INTERVAL.findall(page.split(UNKEPT)[0])
    assert len(found) > 100
    missing = [f"{value} [{low}, {high}]" for value, low, high in found if rounded(value, low, high) not in known]
    assert not missing, f"in no committed file: {missing}"


def test_intervals_of_the_audits_are_those_of_the_cards():
    cards = [json.loads(read(path)) for path in ROOT.glob("results/audits/*.json")]
    found = [x for card in cards for f in card["findings"] for x in (f, f["flips"], f["accuracy"]) if x]
    known = {rounded(*(100 * x[k] for k in ("value", "low", "high"))) for x in found if x["low"] is not None}
    said = numbers(read(ROOT / "docs/audits.md")) + numbers(read(ROOT / "docs/reliability.md"))
    assert len(said) > 40 and not [x for x in said if x not in known]


def test_every_public_format_is_described():
    text = read(ROOT / "docs/formats.md")
    assert not [name for name in SOURCES if f"| `{name}` |" not in text]


def numbers(text):
    return [rounded(*found) for found in INTERVAL.findall(text)]


def rounded(value, low, high):
    return tuple(round(float(x), 1) + 0.0 for x in (value, low, high))


def committed_intervals():
    """Return every interval of the committed metrics and searches: of shares in per cent, of scores as they are."""
    files = [*ROOT.glob("results/blessed/seeds/*/metrics.json"), *ROOT.glob("results/smollm2*/*/metrics.json")]
    entries = [entry for path in files for entry in json.loads(read(path)).values()]
    tables = (*ROOT.glob("results/grpo_*.csv"), ROOT / "results/blessed/05_bradley_terry/figures/scaling.csv")
    for path in tables:
        with path.open(encoding="utf-8") as file:
            entries += [row | {"value": row.get("value") or row["gain"]} for row in csv.DictReader(file)]
    known = set()
    for entry in entries:
        if None in (ends := [entry.get(side) for side in ("value", "low", "high")]):
            continue
        for scale in (100, 1):
            known.add(rounded(*(f"{scale * float(x):.1f}" for x in ends)))
    return known
