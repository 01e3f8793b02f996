"""Figures: each drawn from a small frame; saved bytes are stable; no model library is loaded."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rcParams

from omnirepro.kit import figures
from omnirepro.papers.omni_rrm.plots import RUBRIC_PLOTS

TASKS, DIMENSIONS = ("image", "text"), ("fluency", "accuracy")
GENERATORS, JUDGES = ("strong", "weak"), ("judge", "base")


def rows(columns, *records):
    return pd.DataFrame(records, columns=columns.split())


FRAMES = {
    "scores": rows("score generator task", *[(s, g, t) for s in (3, 8, 8) for g in GENERATORS for t in TASKS]),
    "gap": rows("dimension task rate_strong rate_weak", *[(d, t, 0.9, 0.6) for d in DIMENSIONS for t in TASKS]),
    "reconciliation": rows(
        "rule coverage precision low high",
        ("published", 0.6, 0.95, 0.93, 0.97),
        ("verdict", 0.6, 0.95, 0.93, 0.97),
        ("strong is better", 1.0, 0.8, None, None),
    ),
    "agreement": rows("first second n", ("A", "A", 40), ("B", "B", 30), ("A", "tie", 4), ("B", "A", 6)),
    "kappa": rows("dimension task value", *[(d, t, 0.4) for d in DIMENSIONS for t in TASKS][1:]),
    "loss_curve": rows("step loss split", (1, 2.0, "train"), (2, 1.5, "train"), (3, np.nan, "train"), (2, 1.6, "dev")),
    "accuracy": rows("task judge value low high", *[(t, j, 0.7, 0.6, np.nan) for t in TASKS for j in JUDGES]),
    "position": rows(
        "judge measure value low high",
        *[(j, m, 0.7, 0.6, 0.8) for j in JUDGES for m in ("accuracy AB", "accuracy BA", "always A", "consistency")],
    ),
    "policy_range": rows(
        "policy aggregation value", *[(p, a, 0.7) for p in ("drop", "wrong") for a in ("micro", "macro")]
    ),
    "statuses": rows("judge status share", ("judge", "ok", 1.0), ("base", "ok", 0.9), ("base", "no_json", 0.1)),
}


PLACES = {
    "scores": ("01_synthesis", "scores"),
    "gap": ("01_synthesis", "gap"),
    "reconciliation": ("02_reconciliation", "rules"),
    "agreement": ("02_reconciliation", "agreement"),
    "kappa": ("02_reconciliation", "kappa"),
    "loss_curve": ("00_backbone", "loss"),
}


def draw(name, data):
    stage, figure = PLACES.get(name, ("", ""))
    return RUBRIC_PLOTS[stage][figure][1](data) if stage else getattr(figures, name)(data)


@pytest.mark.parametrize("name", FRAMES)
def test_every_figure_draws_with_labelled_axes(name):
    before = dict(rcParams)
    figure = draw(name, FRAMES[name])
    assert dict(rcParams) == before, "the theme must not leak"
    assert not pyplot.get_fignums(), "an open figure would be shown twice in a notebook"
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    assert panels and all(axes.get_xlabel() for axes in panels)


@pytest.mark.parametrize("name", FRAMES)
def test_an_empty_frame_is_refused(name):
    with pytest.raises(ValueError, match="no rows"):
        draw(name, FRAMES[name].head(0))


def test_every_judgement_parsed_and_many_tasks_and_one_judge():
    figures.statuses(FRAMES["statuses"].head(1))
    many = pd.concat([FRAMES["scores"].assign(task=f"task {i}") for i in range(7)])
    assert sum(axes.get_visible() for axes in draw("scores", many).axes) == 7
    figures.accuracy(FRAMES["accuracy"].head(1))
    figures.policy_range(FRAMES["policy_range"].assign(judge="judge"))
    figures.loss(FRAMES["loss_curve"][["step", "loss"]])


def test_saved_bytes_are_stable(tmp_path):
    data = FRAMES["reconciliation"]
    saved = [figures.save(draw("reconciliation", data), data, tmp_path / k, "precision") for k in "ab"]
    assert [p.name for p in saved[0]] == ["precision.png", "precision.svg", "precision.csv"]
    for first, second in zip(*saved, strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["precision.csv", "precision.png", "precision.svg"]
    assert b"<dc:date>" not in saved[0][1].read_bytes()


def test_csv_is_rounded_and_leaves_its_frame_alone():
    data = rows("name value n", ("a", 1 / 3, 1), ("b", -1e-9, 2), ("c", np.nan, 3))
    assert figures.csv(data) == "name,value,n\na,0.333333,1\nb,0.0,2\nc,,3\n"
    assert data["value"][0] == 1 / 3


def test_labels_of_rules_do_not_overlap():
    names = [f"rule {i}" for i in range(9)]
    data = pd.DataFrame({"rule": names, "coverage": 0.5, "precision": 0.9, "low": 0.88, "high": 0.92})
    figure = draw("reconciliation", data)
    boxes = sorted((t.get_window_extent() for t in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in zip(boxes, boxes[1:], strict=False))


def test_importing_loads_no_model_library():
    code = "import sys, omnirepro.kit.figures; assert not {'torch', 'transformers', 'trl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
