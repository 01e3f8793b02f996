"""Claims, rule and arithmetic of the scorecard: known answers by hand, and the committed claims.yaml itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from omnirepro.cli.recompute import recompute
from omnirepro.kit.run import STAGES, RunError
from omnirepro.kit.scorecard import (
    ClaimsError,
    again,
    aggregate,
    build,
    checks,
    combine,
    compute,
    count,
    decide,
    load_claims,
    margin_of,
    read_metrics,
    to_markdown,
    verdicts,
)

CLAIMS = Path(__file__).resolve().parents[1] / "results" / "claims.yaml"
HEAD = "paper: omni-rrm, where: here"
SMALL = f"""
numbers:
  t: {{{HEAD}, version: v1, metric: accuracy, unit: "%", mark: P, columns: [a, b, c, avg], rows: {{
    x: [1.0, 2.0, 6.0, 3.0], y: [1.0, ~, 2.0, 1.9], z: [~, ~, ~, 5.0]}}}}
  v: {{{HEAD}, version: v1, metric: gain, unit: points, mark: S, values: {{gain: 12.0, seven: 7}}}}
claims:
  up: {{{HEAD}, statement: x beats y, published: {{difference: [t/x/avg, t/y/avg]}},
    tests: {{stage: 03_sft, metric: up, direction: positive}}}}
  down: {{{HEAD}, statement: y is worse, tests: {{stage: 03_sft, metric: down, direction: negative}}}}
  both: {{{HEAD}, statement: with ties is lower,
    tests: {{stage: 03_sft, metric: with, minus: without, direction: negative}}}}
  alone: {{{HEAD}, kind: absolute, unit: "%", statement: x reaches 3, published: t/x/avg}}
checks:
  mean: {{{HEAD}, statement: the mean, each: {{table: t, mean: a..c, column: avg}}, tolerance: 0.05, differs: [y]}}
  edge: {{{HEAD}, statement: exactly the tolerance, compute: {{sum: [t/x/a, 0.05]}}, printed: 1.1, tolerance: 0.05}}
  least: {{{HEAD}, statement: at least, compute: v/gain, at_least: v/seven}}
"""


@pytest.fixture(scope="module")
def book():
    return load_claims(CLAIMS)


@pytest.fixture
def small(tmp_path):
    return _load(tmp_path, SMALL)


def _load(folder, text):
    (folder / "claims.yaml").write_text(text)
    return load_claims(folder / "claims.yaml")


def _metric(value, low=None, high=None, n=10, seeds=1):
    return {"value": value, "low": low, "high": high, "n": n, "seeds": seeds}


@pytest.mark.parametrize(
    ("interval", "positive", "negative"),
    [
        ((0.1, 0.01, 0.2), "supported", "contradicted"),
        ((-0.1, -0.2, -0.01), "contradicted", "supported"),
        ((0.1, -0.01, 0.2), "inconclusive", "inconclusive"),
        ((0.1, 0.0, 0.2), "inconclusive", "inconclusive"),
        ((0.1, None, None), "inconclusive", "inconclusive"),
        ((0.1, float("nan"), float("nan")), "inconclusive", "inconclusive"),
        ((None, None, None), "not run", "not run"),
        ((float("nan"), 0.1, 0.2), "not run", "not run"),
    ],
)
def test_rule(interval, positive, negative):
    assert decide(_metric(*interval), "positive") == positive
    assert decide(_metric(*interval), "negative") == negative


def test_rule_without_metric_and_upside_down():
    assert decide(None, "positive") == "not run"
    with pytest.raises(ValueError, match="upside down"):
        decide(_metric(0.0, 0.2, 0.1), "positive")


def test_table_by_hand(small):
    metrics = {"03_sft": {"up": _metric(0.123, 0.1, 0.145, 200, [0, 1, 2]), "down": 0.1,
                          "with": _metric(0.5, 0.45, 0.55, 100), "without": _metric(0.7, 0.6, 0.8, 60)}}  # fmt: skip
    table = build(metrics, small).set_index("claim")
    assert list(table.index) == ["up", "down", "both", "alone"]
    assert table["verdict"].tolist() == ["supported", "inconclusive", "supported", "not run"]
    assert table["published"].tolist() == ["+1.1 pt", "< 0", "< 0", "3 %"]
    assert table["ours"].tolist() == ["+12.3 [+10.0, +14.5]", "+10.0", "-20.0 [-35.0, -5.0]", "absolute"]
    assert table.loc["up", ["n", "seeds"]].tolist() == [200, 3] and table.loc["both", "n"] == 60


def test_absent_half_of_a_difference_is_not_run(small):
    found = verdicts({"03_sft": {"with": _metric(0.5, 0.4, 0.6)}}, small)
    assert found["both"] == _metric(None, n=None, seeds=None) | {"verdict": "not run", "q": None}
    assert {entry["verdict"] for entry in found.values()} == {"not run"}


def test_run_folder_and_base(tmp_path, small):
    for run, value in (("base", -0.2), ("run", 0.2)):
        stage = tmp_path / run / "03_sft"
        stage.mkdir(parents=True)
        low, high = value - 0.1, value + 0.1
        (stage / "metrics.json").write_text(json.dumps({"up": _metric(value, low, high)}))
    assert verdicts(tmp_path / "base", small)["up"]["verdict"] == "contradicted"
    assert verdicts(read_metrics(tmp_path / "base", tmp_path / "run"), small)["up"]["verdict"] == "supported"
    assert verdicts(tmp_path / "nothing", small)["up"]["verdict"] == "not run"


def test_checks_by_hand(small):
    found = checks(small).set_index("check")
    assert found["outcome"].to_dict() == {"mean/x": "agrees", "mean/y": "differs", "edge": "agrees", "least": "agrees"}
    assert found.loc["mean/y", "computed"] == 1.5  # the empty cell is left out; row z has nothing to average


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (2, 2.0),
        ("t/x/b", 2.0),
        ({"mean": "t/x/a..c"}, 3.0),
        ({"sum": ["t/x/a..c", "v/gain"]}, 21.0),
        ({"product": ["t/x/b", 3]}, 6.0),
        ({"difference": [0, {"max": "t/x/a..c"}]}, -6.0),
        ({"ratio": ["t/x/c", "t/x/b"]}, 3.0),
        ({"percent": ["t/x/b", {"min": ["t/x/c", 8]}]}, 100 / 3),
    ],
)
def test_forms(small, form, value):
    assert compute(form, small) == pytest.approx(value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("t/y/avg]", "t/y/avgg]", "claim up, field published: no number 't/y/avgg'; the nearest is 't/y/avg'"),
        ("direction: positive", "direction: upwards", "claim up, field tests.direction"),
        ("statement: x beats y, ", "", "claim up, field statement"),
        ("statement: x beats y", "statment: x beats y, statement: s", "claim up, field statment"),
        ("kind: absolute, ", "", "claim alone, field whole entry: .*'tests'"),
        ("difference: [t/x", "differenz: [t/x", "claim up, field published: .* operations"),
        ("difference: [t/x/avg, ", "difference: [", "claim up, field published: difference got 1"),
        ("[1.0, 2.0, 6.0, 3.0]", "[1.0, 2.0, 6.0]", "table t, field whole entry: .* row x .* 3 cells for 4"),
        ("differs: [y]", "differs: [w]", "check mean, field differs: no row 'w'"),
        ("mean: a..c", "mean: a..d", "check mean, field each: no table 't' with columns"),
        ("printed: 1.1, ", "", "check edge, field whole entry"),
        ("  down:", "  up:", "the key 'up' stands more than once"),
        ("y: [1.0", "x: [1.0", "the key 'x' stands more than once"),
        ("checks:", "check:", "three mappings"),
    ],
)
def test_malformed_file_names_entry_and_field(tmp_path, old, new, message):
    assert old in SMALL
    with pytest.raises(ClaimsError, match=message):
        _load(tmp_path, SMALL.replace(old, new, 1))


def test_missing_file(tmp_path):
    with pytest.raises(ClaimsError, match="claims.yaml"):
        load_claims(tmp_path / "claims.yaml")


def test_markdown_shows_every_claim_and_check(book):
    page = to_markdown(build({}, book), checks(book), note="Profile tiny.")
    assert all(f"| {name} |" in page for name in [*book.claims, *checks(book)["check"]])
    tables = re.findall(r"(?:^\|.*\n)+", page, re.M)
    assert all(len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1 for table in tables)
    assert "nan" not in page.lower().split() and "None" not in page


# ------------------------------------------------------------------------------------------- the committed claims.yaml


def _everything(book, value):
    metrics: dict[str, dict] = {}
    for claim in book.claims.values():
        if claim.tests:
            sign = 1 if claim.tests.direction == "positive" else -1
            stage = metrics.setdefault(claim.tests.stage, {})
            size = sign * value * (20 if claim.tests.minus else 1)  # of which another claim's effect is taken
            stage[claim.tests.metric] = _metric(size, *sorted((size / 2, size * 2)), 2000, 3)
            if claim.tests.minus:
                stage.setdefault(claim.tests.minus, _metric(0.0, 0.0, 0.0, 2000, 3))
    return metrics


def test_every_claim_can_be_decided_both_ways(book):
    for value, verdict in ((0.1, "supported"), (-0.1, "contradicted")):
        found = verdicts(_everything(book, value), book)
        run = {name for name, claim in book.claims.items() if claim.tests}
        assert {found[name]["verdict"] for name in run} == {verdict}
        assert {found[name]["verdict"] for name in set(found) - run} == {"not run"}


def test_claims_are_well_named_and_ordered(book):
    prefixes = {"omni-rrm": "rrm-", "omni-reward": "reward-", "grm-omni": "grm-", "known-world": "world-"}
    for entries in (book.claims, book.checks):
        papers = [entry.paper for entry in entries.values()]
        assert papers == sorted(papers, key=list(prefixes).index), "the papers' order is the scorecard's"
        assert all(name.startswith(prefixes[entry.paper]) for name, entry in entries.items())
    assert max(map(len, book.claims)) <= 35, "the terminal table cuts longer names"
    tests = [claim.tests for claim in book.claims.values() if claim.tests]
    assert {test.stage for test in tests} <= set(STAGES)
    assert len({(test.stage, test.metric) for test in tests}) == len(tests), "one metric decides one claim"
    assert all(re.fullmatch(r"[a-z0-9_]+", test.metric) for test in tests)


def test_published_effects_have_the_claimed_sign(book):
    for name, claim in book.claims.items():
        if claim.tests and claim.published is not None:
            assert (compute(claim.published, book) > 0) == (claim.tests.direction == "positive"), name
        assert claim.kind in ("comparison", "implied") or claim.published is not None, name


def test_numbers_carry_their_source(book):
    assert len(book.numbers) > 900
    for name, table in book.tables.items():
        named = {*table.columns, *table.rows, *table.values}
        for field in (table.n, table.aggregation):
            assert not isinstance(field, dict) or set(field) <= named, f"{name}: {set(field) - named}"
        assert len(table.cells()) and all(re.fullmatch(r"[a-z0-9.+-]+", part) for part in named), name


def test_outcomes_are_those_on_record(book):
    found = checks(book)
    assert found["check"].is_unique
    wrong = found[found["outcome"] != found["listed"]]
    assert wrong.empty, f"the arithmetic says otherwise than facts on the papers: {wrong['check'].tolist()}"


@pytest.mark.parametrize(
    ("check", "computed", "outcome"),
    [
        ("rrm-718-is-four-benchmarks", 71.75, "agrees"),
        ("rrm-table-means/omni-rrm-7b", 70.4, "agrees"),
        ("rrm-718-against-704", 70.4, "differs"),
        ("rrm-gain-as-relative", 17.7, "agrees"),
        ("rrm-gain-as-absolute", 10.8, "differs"),
        ("rrm-ablation-is-3b", 65.1, "agrees"),
        ("rrm-sharegpt-label-constant", 100.0, "differs"),
        ("rrm-ties-kept", 23.4, "differs"),
        ("rrm-rl-sum", 16671, "agrees"),
        ("reward-with-ties-means/bt", 65.36, "agrees"),
        ("reward-without-ties-means/bt", 73.68, "agrees"),
        ("reward-data-sum", 317382, "agrees"),
        ("reward-pairs-sum", 3725, "agrees"),
        ("reward-pairwise-gemini-1.5-flash", 64.855, "differs"),
        ("reward-pairwise-gemini-delta", 14.8, "differs"),
        ("reward-pairwise-claude-3.5-sonnet", 71.6, "agrees"),
        ("grm-mmrb-means/llama3.2-11b", 53.3, "differs"),
        ("grm-mmrb-means/sft", 58.8, "differs"),
        ("grm-rewardbench-means/ixc-2.5-reward", 88.1, "differs"),
        ("grm-rewardbench-means/qwen-omni", 68.8, "differs"),
        ("grm-main-means/grm", 69.6, "agrees"),
    ],
)
def test_checks_reproduce_the_facts(book, check, computed, outcome):
    row = checks(book).set_index("check").loc[check]
    assert row["computed"] == pytest.approx(computed, abs=0.05) and row["outcome"] == outcome


def test_weight_law():
    import subprocess
    import sys

    code = "import sys, omnirepro.kit.scorecard; sys.exit(bool({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=CLAIMS.parents[1], check=False).returncode == 0


# ---------------------------------------------------------------------------------------------- several seeds together


def test_seeds_by_hand():
    by_seed = {0: _metric(0.1, 0.06, 0.13), 1: _metric(0.2, 0.16, 0.23), 2: _metric(0.3, 0.26, 0.33)}
    found = combine(by_seed)
    student = 4.302653 * 0.1 / 3**0.5  # t with two degrees of freedom, s = 0.1, three seeds
    assert found["value"] == pytest.approx(0.2) and found["n"] == 30
    assert found["low"] == pytest.approx(0.2 - student) and found["high"] == pytest.approx(0.2 + student)
    assert found["seeds"] == [0, 1, 2] and found["by_seed"] == {"0": 0.1, "1": 0.2, "2": 0.3}
    same = combine(by_seed, common=True)
    assert same["low"] == pytest.approx(0.2 - (student**2 + 0.04**2) ** 0.5), "prompts of all seeds count once"
    assert same["high"] == pytest.approx(0.2 + (student**2 + 0.03**2) ** 0.5)


def test_intervals_narrow_with_seeds_and_luck_does_not():
    def of(k, spread):
        found = combine({i: _metric(0.1 + spread * (-1) ** i, 0.0, 0.2) for i in range(k)})
        return found["high"] - found["low"]

    assert of(24, 0.01) < of(12, 0.01) < of(6, 0.01) < of(4, 0.01)
    assert of(4, 0.0) == pytest.approx(0.1), "seeds that agree to the digit: 0.2 wide each, a half for four of them"
    assert of(400, 0.1) < 0.025, "no floor"


def test_an_interval_of_shares_ends_at_0_and_1():
    runs = {i: {"04_grpo": {"valid_share": _metric(v, v - 0.01, 1.0), "a_minus_b": _metric(v, v - 0.01, 1.0)}}
            for i, v in enumerate((0.9, 0.99, 1.0))}  # fmt: skip
    found = aggregate(runs)["04_grpo"]
    assert found["valid_share"]["high"] == 1.0 < found["a_minus_b"]["high"]


def test_a_difference_of_metrics_is_formed_seed_by_seed(small):
    values = {0: (0.5, 0.62), 1: (0.6, 0.73), 2: (0.7, 0.81)}
    runs = {s: {"03_sft": {"with": _metric(a, a - 0.1, a + 0.1), "without": _metric(b, b - 0.1, b + 0.1)}}
            for s, (a, b) in values.items()}  # fmt: skip
    found = verdicts(aggregate(runs), small)["both"]
    student = 4.302653 * 0.01 / 3**0.5
    assert (found["value"], found["low"]) == (pytest.approx(-0.12), pytest.approx(-0.12 - student))
    assert found["verdict"] == "supported"


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [(-0.01, 0.015, 0.02, "bounded"), (-0.03, 0.015, 0.02, "inconclusive"), (-0.01, 0.02, 0.02, "inconclusive"),
     (0.001, 0.015, 0.02, "supported"), (-0.03, 0.015, 0.04, "bounded")],
)  # fmt: skip
def test_no_effect_that_matters_is_bounded(low, high, margin, verdict):
    assert decide(_metric((low + high) / 2, low, high), "positive", margin) == verdict


@pytest.mark.parametrize("interval", [(0.0, 0.0, 0.0), (0.0, None, None)])
def test_a_few_equal_items_bound_nothing(small, interval):
    found = verdicts({"03_sft": {"up": _metric(*interval, n=4)}}, small)["up"]
    assert (found["verdict"], found["q"]) == ("inconclusive", None)
    same = aggregate({seed: {"03_sft": {"up": _metric(*interval, n=4)}} for seed in range(3)})
    assert verdicts(same, small)["up"]["verdict"] == "inconclusive", "nor do seeds that agree to the digit"
    apart = verdicts({"03_sft": {"up": _metric(0.5, 0.5, 0.5, n=4)}}, small)["up"]
    assert apart["q"] is None, "no width is no certainty"


def test_margins_are_declared(tmp_path, book):
    small = _load(
        tmp_path, SMALL.replace("metric: up, direction: positive", "metric: up, direction: positive, margin: 0.3")
    )
    assert margin_of(small.claims["up"], small) == 0.3
    assert margin_of(small.claims["down"], small) == 0.02, "two points where no effect is published"
    assert margin_of(book.claims["rrm-grpo-over-sft"], book) == pytest.approx(0.078 / 4)
    assert margin_of(book.claims["rrm-rationale-costs-tokens"], book) == pytest.approx(145 / 4)


def test_marked_claims_do_not_count(tmp_path):
    marked = SMALL.replace("statement: y is worse,", "statement: y is worse, built_in: it is so made,")
    marked = marked.replace("statement: with ties is lower,", "statement: with ties is lower, repeats: up,")
    small = _load(tmp_path, marked)
    effects = {"up": _metric(0.1, 0.05, 0.15), "down": _metric(-0.1, -0.2, -0.05)}
    metrics = {"03_sft": effects | {"with": _metric(0.5, 0.45, 0.55), "without": _metric(0.7, 0.6, 0.8)}}
    table = build(metrics, small).set_index("claim")
    assert table["remark"].tolist() == ["", "built in: it is so made", "again up", ""]
    assert table["q"].notna().tolist() == [True, False, False, False]
    assert (
        count(table)
        == "1 supported, 0 contradicted, 0 bounded, 0 inconclusive, 1 not run; 2 built in or repeated, not counted"
    )  # noqa: E501
    with pytest.raises(ClaimsError, match="claim both, field repeats: no other claim 'upp'; the nearest is 'up'"):
        _load(tmp_path, marked.replace("repeats: up", "repeats: upp"))


def test_p_values_are_adjusted_for_their_number(tmp_path):
    twice = SMALL.replace("minus: without, ", "")
    small = _load(tmp_path, twice)
    metrics = {"03_sft": {"up": _metric(0.1, 0.1 - 0.098, 0.198), "down": _metric(0.01, -0.088, 0.108),
                          "with": _metric(0.15, 0.052, 0.248)}}  # fmt: skip
    found = verdicts(metrics, small)  # z = 2, 0.2 and 3 of a standard error of 0.05
    p = {"up": 0.0455, "down": 0.8415, "both": 0.0027}
    assert found["both"]["q"] == pytest.approx(3 * p["both"], abs=2e-4)
    assert found["up"]["q"] == pytest.approx(1.5 * p["up"], abs=2e-4)
    assert found["down"]["q"] == pytest.approx(p["down"], abs=2e-4)


def test_one_seed_alone_keeps_its_interval_and_says_so():
    found = combine({0: _metric(0.1, 0.06, 0.13), 1: _metric(None), 2: None})
    assert (found["low"], found["high"], found["seeds"]) == (pytest.approx(0.06), pytest.approx(0.13), [0])
    assert combine({0: _metric(0.1)})["low"] is None, "no interval comes from nowhere"
    assert combine({0: None, 1: _metric(float("nan"))}) is None
    assert combine({0: _metric(0.1), 1: _metric(0.1)})["low"] == pytest.approx(0.1), "spread alone, here none"


@pytest.mark.parametrize("shared", [False, True])
def test_the_interval_of_seeds_covers_training_and_prompts(shared):
    """Simulated seeds: training varies, prompts are drawn anew for each seed or are the same for all of them."""
    import numpy as np

    rng, hits, sigma = np.random.default_rng(0), 0, 0.02
    for _ in range(1500):
        common = rng.normal(0, sigma)
        values = [rng.normal(0, 0.02) + (common if shared else rng.normal(0, sigma)) for _ in range(3)]
        rows = {i: _metric(v, v - 1.96 * sigma, v + 1.96 * sigma) for i, v in enumerate(values)}
        found = combine(rows, common=shared)
        hits += found["low"] <= 0 <= found["high"]
    assert hits / 1500 >= 0.95 - 0.015  # three standard errors of a share of 0.95 in 1500


def test_verdicts_of_seeds_follow_the_same_rule(small):
    def of(value):
        return {"03_sft": {"up": _metric(value, value - 0.01, value + 0.01)}}

    agree = aggregate({seed: of(0.1 + seed / 1000) for seed in range(3)})
    table = build(agree, small).set_index("claim")
    assert table.loc["up", "verdict"] == "supported" and table.loc["up", "seeds"] == 3
    assert verdicts(agree, small)["up"]["seeds"] == [0, 1, 2]
    differ = aggregate({0: of(0.2), 1: of(0.05), 2: of(0.02)})
    assert verdicts(differ, small)["up"]["verdict"] == "inconclusive", "each seed supports it, together they do not"
    assert {verdicts(of(v), small)["up"]["verdict"] for v in (0.2, 0.05, 0.02)} == {"supported"}


def test_what_seeds_gave_can_be_combined_again():
    runs = {s: {"03_sft": {"accuracy": _metric(v, v - 0.04, v + 0.02), "minutes": _metric(3.0 + v)}}
            for s, v in enumerate((0.8, 0.83, 0.84))}  # fmt: skip
    for name, metric in aggregate(runs)["03_sft"].items():
        found = again(metric, "03_sft", name)
        assert [found[side] for side in ("value", "low", "high")] == pytest.approx(
            [metric[side] for side in ("value", "low", "high")]
        )


@pytest.mark.parametrize("name", ["rrm-grpo-over-sft", "strong_minus_weak", "kappa_verdict"])
def test_a_committed_number_comes_out_of_its_rows_again(name):
    text, agree = recompute(name, "blessed")
    assert agree and "from rows" in text, text


def test_numbers_without_rows_or_name_are_told():
    text, agree = recompute("reward-ties-harder", "blessed")
    assert not agree and "its rows are not here" in text
    with pytest.raises(RunError, match="no stage of run blessed has a number 'acuracy'"):
        recompute("acuracy", "blessed")
