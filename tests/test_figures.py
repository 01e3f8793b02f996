"""Figures: each drawn from a small frame; saved bytes are stable; no model library is loaded."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rcParams

from omnirepro.kit import figures
from omnirepro.kit.figures import forms
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


def test_an_axis_of_shares_spans_twenty_points_and_stays_within_its_bounds():
    data = rows("step measure value", *[(i, m, v - i / 1000) for i in (1, 2) for m, v in (("a (%)", 1.0), ("b", 0.03))])
    shares, loss = figures.curves(data, "step", "step", panel="measure", sharey=False).axes
    low, high = shares.get_ylim()
    assert high - low >= 0.2 and high <= 1.02 + 1e-9 and low < 0.83
    assert np.ptp(loss.get_ylim()) < 0.01, "what is no share keeps its own scale"


def test_only_the_lowest_panel_of_a_column_names_the_x_axis():
    data = rows("step measure value", *[(i, m, 0.5) for i in (1, 2) for m in "abcd"])
    figure = figures.curves(data, "step", "optimiser step", panel="measure", per_row=3)
    assert [axes.get_xlabel() for axes in figure.axes[:4]] == ["", "optimiser step", "optimiser step", "optimiser step"]
    shown = [axes.xaxis.get_major_ticks()[0].label1.get_visible() for axes in figure.axes[:4]]
    assert shown == [False, True, True, True]


def test_a_legend_reads_in_the_order_of_the_points_row_by_row_and_guides_come_last():
    judges = [f"judge {i}" for i in range(5)]
    figure = figures.accuracy(rows("task judge value low high", *[("image", j, 0.7, 0.6, 0.8) for j in judges]))
    texts = figure.legends[0].get_texts()
    figure.canvas.draw()
    places = [(round(-text.get_window_extent().y0), text.get_window_extent().x0) for text in texts]
    assert [texts[i].get_text() for i in sorted(range(6), key=places.__getitem__)] == [*judges, "chance (50%)"]


def test_every_seed_is_a_dot_beside_the_mean():
    data = rows("task value low high each", ("all", 0.02, -0.01, 0.05, "-0.01 0.02 0.05"), ("hard", 0.01, 0, 0.02, ""))
    (axes,) = figures.points(data, "task", "gain (points)", guide=0).axes
    dots = [line for line in axes.lines if line.get_alpha() == 0.6 and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in dots] == [[-0.01, 0.02, 0.05]]


def test_numbers_stand_out_from_their_cells():
    values = np.linspace(-1, 1, 21)
    data = pd.DataFrame({"row": [f"{v:.1f}" for v in values], "column": "x", "value": values})
    axes = figures.heat(data, "row", "column", "reward", words=".1f", cmap="vlag").axes[0]
    cells = axes.collections[0].get_facecolors()
    for text, cell in zip(axes.texts, cells, strict=True):
        light = sorted(forms.luminance(mpl.colors.to_rgb(colour)) + 0.05 for colour in (text.get_color(), cell[:3]))
        assert light[1] / light[0] >= 4, f"{text.get_text()} can hardly be read"


def test_a_reading_is_drawn_once_where_pairs_and_tasks_say_the_same():
    table = rows(
        "judge policy aggregation value low high",
        *[("sft", p, a, 0.8, 0.7, 0.9) for p in ("wrong", "drop") for a in ("micro", "macro")],
        *[("base", "wrong", a, 0.0, 0.0, 0.0) for a in ("micro", "macro")],
        *[("mixed", "wrong", a, v, v, v) for a, v in (("micro", 0.5), ("macro", 0.6))],
    )
    names = [t.get_text() for t in figures.policy_range(table).axes[0].get_yticklabels()]
    lost = " (drop: no pair is left)"
    assert names == ["sft", f"base{lost}", f"mixed, micro{lost}", f"mixed, macro{lost}"]


def test_rewards_with_the_same_dead_groups_are_one_line(tmp_path):
    told = [("total", "published", 0.42, 0.1), ("total", "calibrated", 0.41, 0.11), ("total", "verdict", 0.9, 0.6)]
    table = rows("kind name dead_2 dead_8", *told, ("formula", "p^G + (1-p)^G", 0.9, 0.6), ("reward", "form", 1, 1))
    (tmp_path / "preflight.csv").write_text(table.to_csv(index=False))
    lines = RUBRIC_PLOTS["04_grpo"]["dead"][0](tmp_path)
    assert list(dict.fromkeys(lines["name"])) == ["published, calibrated", "verdict", "p^G + (1-p)^G"]
    assert set(lines["group"]) == {2, 8}


def test_importing_loads_no_model_library():
    code = "import sys, omnirepro.kit.figures; assert not {'torch', 'transformers', 'trl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
