"""What the notebooks show by hand before they run on thousands: every figure is computed here a second time."""

import ast
import math
import re
import warnings
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_parts import processor, save_untrained

from omnirepro.data import DIMENSIONS, Label, Pair, text_part
from omnirepro.kit.run.stages import STAGES
from omnirepro.models.loading import load, point_to, processor_of
from omnirepro.models.processing import keep_settings
from omnirepro.reward.preflight import advantages

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SIDES = {"A": 0, "B": 1}


def cells_of(stage):
    return {cell["id"]: cell for cell in nbformat.read(FOLDER / f"{stage}.ipynb", as_version=4).cells}


def value_of(source, names):
    """Run a cell and return what its last line shows."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return None


def shown(stage, *ids, **names):
    """Run cells of a notebook, each twice, with the notebook's own imports; returns what the last one shows."""
    found = cells_of(stage)
    imports = [node for node in ast.parse(found["2"].source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = dict(names)
    exec(compile(ast.Module(imports, []), stage, "exec"), names)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = [value_of(found[one].source, names) for one in ids for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state()), "a worked example draws nothing from the shared generators"
    return values[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_every_notebook_leads_to_the_one_before_and_after(stage):
    last = nbformat.read(FOLDER / f"{stage}.ipynb", as_version=4).cells[-1].source
    at = STAGES.index(stage)
    links = {name: re.search(rf"{name}: \[(.+?)\]\((.+?)\.ipynb\)", last) for name in ("Previous", "Next")}
    for name, link in links.items():
        other = at + (1 if name == "Next" else -1)
        assert (link is not None) == (0 <= other < len(STAGES)), last
        assert link is None or (link[2] == STAGES[other] and link[1].startswith(STAGES[other][:2]))


WORKED = [stage for stage in STAGES if stage[:2] in ("02", "03", "04", "05", "06")]


@pytest.mark.parametrize("stage", WORKED)
def test_the_idea_is_an_equation_then_an_example_and_reading_ends_in_something_to_try(stage):
    sources = [(c.cell_type, c.source) for c in cells_of(stage).values()]
    heads = {title: i for i, (_, text) in enumerate(sources) for title in re.findall(r"^## (.+)$", text, re.M)}
    idea = sources[heads["The idea"] : heads["Run"]]
    assert "```" in idea[0][1], "the equation stands above the example"
    assert idea[1][0] == "code" and "show(" not in idea[1][1], "the example stands before the library's source"
    reading = sources[heads["Reading"]][1]
    assert re.search(r"\n### Try it\n\n\| change \| what to expect \| minutes \|", reading)
    from omnirepro.cli.main import parser_of  # noqa: F401

    commands = re.findall(r"`python -m omnirepro (.+?)`", reading)
    assert 1 <= len([c for c in commands if "--set" in c]) <= 2


# ---- 02: two labels and the rule


def test_what_each_rule_makes_of_two_labels():
    table = shown("02_reconciliation", "02byhand")
    slip, conflict = "scores contradict the verdict", "verdicts conflict"
    # the means are 8.5 : 4.5, 6.5 : 4.5, 5.5 : 5.5 and 4.5 : 5; halves go away from the other side
    expected = {
        "published": ("A 9:4", slip, "tie", conflict),
        "with-ties": ("A 9:4", slip, "tie 5:5", conflict),
        "merge": ("A 9:4", "A 7:4", "tie", conflict),
        "strict": ("A 9:4", slip, "tie", conflict),
        "floor": ("A 9:4", slip, "tie", conflict),
        "first": ("A 9:4", "A 8:3", "tie", "B 3:7"),
        "none": ("A 9:4", "A 7:4", "tie 5:5", "B 4:5"),
    }
    assert {rule: tuple(row) for rule, row in table.iterrows()} == expected


# ---- 03: one pair, and where loss is taken
