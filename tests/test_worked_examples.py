"""What the notebooks show by hand before they run on thousands: every figure is computed here a second time."""

import ast
import math
import re
import shlex
import warnings
from html import unescape
from itertools import groupby
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from tiny_parts import processor, save_untrained, user

from omnirepro.cli.main import parser
from omnirepro.data import Label, Pair, text_part
from omnirepro.kit.report import loss_page
from omnirepro.kit.run.parameters import load_params
from omnirepro.kit.run.stages import STAGES
from omnirepro.models.loading import load, point_to, processor_of
from omnirepro.models.processing import OmniProcessor
from omnirepro.reward.preflight import advantages
from omnirepro.toyworld.pretraining.trainer import make_pool

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


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
    for command in re.findall(r"^\| `python -m omnirepro (run .+?)` \|", reading, re.M):
        asked = parser().parse_args(shlex.split(command))
        assert STAGES[int(asked.notebook)] == stage or not asked.set
        assert asked.run not in (None, "tiny") and asked.base == "tiny", "what was trained before is not overwritten"
        overrides = {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in asked.set or [])}
        changed = load_params("tiny", None, overrides)
        for key, value in overrides.items():
            assert load_params("tiny").peek(key) != value and changed.origin(key) == "overrides"


# ---- 02: two labels and the rule


def test_what_each_rule_makes_of_two_labels():
    table = shown("02_reconciliation", "324e3ab1", "a83a97a3")
    slip, conflict = "scores contradict the verdict", "verdicts conflict"
    # the means are 8.5 : 4.5, 6.5 : 4.5, 5.5 : 5.5 and 4.5 : 6; halves go away from the other side
    expected = {
        "published": ("A 9:4", slip, "tie", conflict),
        "with-ties": ("A 9:4", slip, "tie 5:5", conflict),
        "merge": ("A 9:4", "A 7:4", "tie", conflict),
        "strict": ("A 9:4", slip, "tie", conflict),
        "floor": ("A 9:4", slip, "tie", conflict),
        "first": ("A 9:4", "A 8:3", "tie", "B 3:7"),
        "none": ("A 9:4", "A 7:4", "tie 5:5", "B 4:6"),
    }
    assert {rule: tuple(row) for rule, row in table.iterrows()} == expected


# ---- 03: one pair, and where loss is taken


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "strong"
    save_untrained(folder)
    return folder


class Sections:
    """What the cell asks of a run: two sections of its parameters."""

    def __init__(self, format):
        self.format = format

    def section(self, name="sft"):
        return {"sft": {"max_length": 512}, "judge": {"wording": "brief", "format": self.format}}[name]


def rows_of(page):
    """Return (tokens, loss, text) of every row of a page, its tags taken off."""
    cells = re.findall(r"<td [^>]*>(.*?)</td>", page._repr_html_(), re.S)
    plain = [unescape(re.sub("<[^>]*>", "", cell)) for cell in cells]
    return [tuple(plain[i : i + 3]) for i in range(0, len(plain), 3)]


@pytest.mark.parametrize("format", ["rationale-first", "verdict-direct"])
def test_loss_is_shown_on_the_target_alone(backbone, tmp_path, format):
    image = make_pool(tmp_path, "train", 1, 0)["image"][0][1]
    sides = {"response_a": [text_part("it is red.")], "response_b": [text_part("it is blue.")]}
    pair = Pair(id="x", task="image", prompt=[image, text_part("\nwhat color is it?")], **sides)
    label = Label(pair_id="x", verdict="B", score_a=3, score_b=8, evidence="a blue ring", provenance="test")
    names = {"labels": [label], "splits": {"train": [pair]}, "backbone": backbone, "run": Sections(format)}
    rows = rows_of(shown("03_sft", "03pair", "03loss", **names))
    ((_, _, target),) = [row for row in rows if row[1] == "yes"]
    assert rows[-1][2] == target, "the target comes last"
    wanted = "[[B]]" if format == "verdict-direct" else '"score_A": 3, "score_B": 8, "better": "B"'
    assert wanted in target and target.endswith("<|im_end|>") and "what color" not in target
    assert any("what color is it?" in text and "it is red." in text and not loss for _, loss, text in rows)
    ((tokens, loss, _),) = [row for row in rows if row[2] == "<|IMAGE|>"]
    assert (int(tokens), loss) == (processor().medium(image)["tokens"], "")


def test_every_token_stands_in_one_row_and_no_text_acts_as_a_tag():
    chat = [user("is <b>1</b> < 2?"), {"role": "assistant", "parts": [text_part("yes <i>")]}]
    example = processor().encode(chat, train=True)
    rows = rows_of(loss_page(processor(), example))
    assert [int(tokens) for tokens, *_ in rows] == [
        len(list(run)) for _, run in groupby(x != -100 for x in example.labels)
    ]
    assert "".join(text for *_, text in rows) == processor().tokenizer.decode(example.ids)


def test_a_processor_is_the_models_own_without_its_weights(backbone, tmp_path, monkeypatch):
    point_to(str(backbone), tmp_path / "pointer", {"max_frames": 3})
    _, whole = load(tmp_path / "pointer", "cpu", "float32")
    monkeypatch.setattr("omnirepro.models.loading._load_base", None)
    alone = processor_of(tmp_path / "pointer")
    assert isinstance(alone, OmniProcessor) and alone.limits == whole.limits and alone.limits["max_frames"] == 3
    assert alone.family is whole.family
    chat = [user("where is the ring?")]
    assert alone.encode(chat).ids == whole.encode(chat).ids


# ---- 04: three judgements and their rewards, eight completions and their advantages


def test_three_judgements_earn_what_the_equations_say():
    table = shown("04_grpo", "04rewards")
    right, slip, wrong = (table[name] for name in ("right", "contradicts itself", "wrong"))
    assert list(table.loc["format"]) == [1, 1, 1], "every part of the format holds"
    assert right["preference"] == 0.6 + 0.4 * 1 and slip["preference"] == -1
    assert wrong["preference"] == pytest.approx(-0.6 + 0.4 * (1 - 2 * (4 + 4) / 20))
    assert list(table.loc["rubric"]) == pytest.approx([0.8 / 5 + 0.2 / 5] * 3), "one of five dimensions, and compared"
    assert list(table.loc["closeness"]) == pytest.approx([1, 1 - 2 * 5 / 20, 1 - 2 * 8 / 20])
    assert list(table.loc["verdict"]) == [1, 1, -1] and list(table.loc["consistency"]) == [0, -1, 0]
    published = [0.4 + 0.4 + 0.04, 0.4 - 0.4 + 0.04, 0.4 - 0.4 * 0.52 + 0.04]
    assert list(table.loc["total, published"]) == pytest.approx(published, abs=0.0051)
    assert published[1] < published[2], "as the notebook says: contradiction is feared more than error"
    assert list(table.loc["total, calibrated"]) == pytest.approx([1 + 0.2, 1 - 1.5 + 0.1, -1 + 0.04])
    assert list(table.loc["total, decisive"]) == [1, -1, -1]


def test_eight_completions_and_their_advantages_under_every_scale():
    table = shown("04_grpo", "04rewards", "04group")
    rewards = [1.2] * 5 + [-0.4] + [-0.96] * 2
    assert list(table["reward"]) == pytest.approx(rewards, abs=0.0051)
    less = [reward - 0.46 for reward in rewards]  # (6 - 0.4 - 1.92) / 8 = 0.46
    group = math.sqrt(sum(x * x for x in less) / 7)
    mean = (8 * 0.46 + 8 * 1.2) / 16
    batch = math.sqrt(sum((reward - mean) ** 2 for reward in rewards + [1.2] * 8) / 15)
    for scale, spread in {"group": group, "batch": batch, "none": 1.0}.items():
        assert list(table[scale]) == pytest.approx([x / spread for x in less], abs=0.0051)


def test_alike_completions_have_no_advantage_and_an_unknown_scale_is_refused():
    assert not any(
        advantages([[2.0, 2.0, 2.0], [0.0, 1.0, 2.0]], scale)[0].any() for scale in ("group", "batch", "none")
    )
    with pytest.raises(ValueError, match="'groups' is none of .*group.*batch.*none"):
        advantages([[1.0, 2.0]], "groups")


# ---- 05: two scores, loss and gradient


def test_the_loss_of_two_scores_and_its_slopes():
    table = shown("05_bradley_terry", "05setup", "05byhand")
    assert len(table) == 9
    for _, row in table.iterrows():
        m = row["score A"] - row["score B"]
        if row["label"] == "A (drop)":
            loss = math.log(1 + math.exp(-m))
            slope = -1 / (1 + math.exp(m))
        else:  # Davidson: exp(m / 2) : exp(-m / 2) : exp(0)
            whole = math.exp(m / 2) + math.exp(-m / 2) + 1
            tied = row["label"].startswith("tie")
            loss = math.log(whole) - (0 if tied else m / 2)
            slope = (math.exp(m / 2) - math.exp(-m / 2)) / 2 / whole - (0 if tied else 0.5)
        found = (row["loss"], row["slope A"], row["slope B"])
        assert found == pytest.approx((loss, slope, -slope), abs=0.00051), row


# ---- 06: one trace, every variant, and what DPO learns from


def test_one_trace_under_every_variant():
    table = shown("06_meta_reward_dpo", "06trace", "06variants")
    # s = (5, 3); refined: true A 6, 5.5; short B 5.5, 4; polite A 5.5, 6
    expected = {
        "published": (5.5 - 3, 4 - 5.5, 5.5 - 6),
        "lexicographic": (1 + 2.5 / 3.5, -1 - 1.5 / 2.5, -1 - 0.5 / 1.5),
        "clipped": (min(2.5, 0.5), min(0.5, -1.5), min(3, -0.5)),
        "original_scores": (5.5 - 3, 3 - 5, 6 - 3),
        "both_improvements": ((6 - 5) + (5.5 - 3), (4 - 3) + (5.5 - 5), (5.5 - 5) + (6 - 3)),
        "margin": (5 - 3, 3 - 5, 5 - 3),
    }
    criteria = ["is true", "is short", "is polite"]
    assert set(table.index) - set(expected) == {"random"}
    for variant, values in expected.items():
        assert list(table.loc[variant, criteria]) == pytest.approx(values, abs=0.0051), variant
        order = sorted(range(3), key=lambda i, values=values: -values[i])
        assert table.loc[variant, "ranked"] == ", ".join(criteria[i] for i in order)
    assert all(0 <= x < 1 for x in table.loc["random", criteria])


def test_the_preferences_that_dpo_would_learn(capsys):
    shown("06_meta_reward_dpo", "06trace", "06variants", "06rules")
    said = capsys.readouterr().out
    said = said[: len(said) // 2]  # the cell ran twice
    asked = re.findall(r"rule (\S+), asked to (\S+)\n\nchosen:\n(.*?)\n\nrejected:\n(.*?)\n\n", said, re.S)
    kinds = [("paper", "direct"), ("shared", "direct"), ("code", "judge"), ("code", "write")]
    assert [(rule, kind) for rule, kind, *_ in asked] == kinds
    (_, _, improved, own), (_, _, voted, same), (_, _, best, worst), (_, _, ranked, unranked) = asked
    assert same == own and voted.split("<critique A>")[0] == own.split("<critique A>")[0] and "[[A]]" in voted
    assert "is true" in improved and "[[A]]" in improved and "is short" in own and "[[B]]" in own
    assert "A is true?" in best and "[[A]]" in best and "A is short?" in worst and "[[B]]" in worst
    orders = [re.findall(r">(.+?)<", text) for text in (ranked, unranked)]
    assert orders == [["is true", "is polite", "is short"], ["is true", "is short", "is polite"]]


# ---- 08: five candidates and a knock-out


def test_a_knock_out_by_hand():
    table = shown("08_best_of_n", "08byhand")
    assert list(table["candidate"]) == [2, 5, 1, 5, 4] and list(table["form"]) == [0, 1, 2, 1, 4]
    assert list(table["leads after it"]) == [0, 1, 1, 1, 1] and list(table["calls"]) == [0, 1, 2, 2, 3]
