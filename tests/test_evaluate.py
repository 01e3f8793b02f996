"""Evaluation: answers worked by hand, and what must hold for any rows."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro.data import Judgement, swap_verdict
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import (
    Interval,
    clustered_bootstrap,
    cohen_kappa,
    krippendorff_alpha,
    mcnemar,
    paired_bootstrap,
)

SWAP = {"AB": "BA", "BA": "AB"}


def row(pair="p", order="AB", verdict="A", label="A", status=None, **more):
    facts = {"task": "image", "cluster": pair, "model": "judge", "kind": "rubric"} | more
    status = status or ("ok" if verdict else "no_json")
    return Judgement(pair_id=pair, order=order, verdict=verdict, label=label, status=status, **facts)


def both(pair, first, second, label="A", **more):
    return [row(pair, "AB", first, label, **more), row(pair, "BA", second, label, **more)]


# Six pairs by hand. Own-frame verdicts in orders AB, BA; gold; lengths a, b.
def worked():
    return [
        *both("p1", "A", "A", "A", margin=1, length_a=9, length_b=3),  # right twice; longer is right
        *both("p2", "A", "B", "A", margin=2, length_a=3, length_b=9),  # always the first shown; longer is wrong
        *both("p3", "B", "A", "B", margin=5, length_a=4, length_b=4),  # always the second shown; equal lengths
        *both("p4", "tie", "A", "A", margin=5, length_a=9, length_b=3, task="text"),  # a tied verdict
        *both("p5", None, "B", "B", margin=6, length_a=3, length_b=9, task="text"),  # a failure
        *both("p6", "tie", "A", "tie", margin=0, length_a=4, length_b=4, task="text"),  # gold tie
    ]


@st.composite
def judged(draw):
    rows = []
    for i in range(draw(st.integers(1, 12))):
        label = draw(st.sampled_from(["A", "B", "tie"]))
        facts = {
            "task": draw(st.sampled_from(["image", "text"])),
            "cluster": draw(st.sampled_from(["c1", "c2", f"own{i}"])),
            "margin": float(draw(st.integers(0, 5))),
            "length_a": draw(st.integers(0, 3)),
            "length_b": draw(st.integers(0, 3)),
        }
        said = [draw(st.sampled_from(["A", "B", "tie", None])) for _ in range(2)]
        rows += both(f"p{i}", *said, label, **facts)
    return rows


def swapped(row):
    """Exchange the sides of one row: the same display, described from the other side."""
    change = {
        "order": SWAP[row.order],
        "verdict": swap_verdict(row.verdict),
        "label": swap_verdict(row.label),
        "length_a": row.length_b,
        "length_b": row.length_a,
    }
    return row.model_copy(update=change)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # p1 1 | p2 1/2 | p3 1/2 | p4 (tie, 1) | p5 (failure, 1) | p6 (1, 0)
        ("wrong", [1, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("half", [1, 0.5, 0.5, 0.75, 0.75, 0.5]),
        ("drop", [1, 0.5, 0.5, 1, 1, 0.5]),
    ],
)
def test_policies_by_hand(policy, expected):
    table = protocol.pairs(worked(), policy=policy)
    assert table["credit"].tolist() == expected
    assert protocol.metrics(worked(), policy=policy)["accuracy"]["value"] == pytest.approx(np.mean(expected))


def test_failed_and_tied_verdicts_take_separate_policies():
    earned = protocol.pairs(worked(), policy="drop", tie_policy="wrong").set_index("pair_id")["credit"]
    assert (earned["p4"], earned["p5"]) == (0.5, 1)


def test_a_coin_is_fair_seeded_and_bound_to_its_judgement():
    rows = [r for i in range(400) for r in both(f"p{i}", None, None)]
    earned = protocol.credit(rows, "coin", seed=3)
    assert set(earned) == {0, 1} and abs(earned.mean() - 0.5) < 0.06
    assert earned.equals(protocol.credit(rows[::-1], "coin", seed=3))
    assert not earned.equals(protocol.credit(rows, "coin", seed=4))


def test_a_policy_that_drops_everything_says_so():
    rows = both("p", None, None)
    with pytest.raises(ValueError, match="drops every judgement"):
        protocol.metrics(rows, policy="drop")
    assert set(protocol.policy_range(rows)["policy"]) == {"wrong", "half", "coin"}
    assert "accuracy_AB" not in protocol.metrics(both("p", None, "A"), policy="drop")


def test_metrics_by_hand():
    got = {name: entry["value"] for name, entry in protocol.metrics(worked()).items()}
    want = {
        "accuracy": 3.5 / 6,
        "accuracy_image": 2 / 3,
        "accuracy_text": 0.5,
        "accuracy_macro": (2 / 3 + 0.5) / 2,
        "accuracy_AB": 4 / 6,  # p1 p2 p3 p6
        "accuracy_BA": 3 / 6,  # p1 p4 p5
        "both_orders": 1 / 6,
        "consistency": 1 / 5,  # p5 failed once
        "valid_share": 11 / 12,
        "tie_rate": 2 / 11,
        "always_a": 4 / 11,  # shown: A B | A A | B B | tie B | - A | tie B
        "hard": (1 + 0.5 + 0.5) / 3,
        "easy": 0.5,
        "model_minus_longer_wins": 3.5 / 6 - 3.5 / 6,  # longer-wins: 1 0 1/2 1 1 0
        "minus_longer_wins_image": 2 / 3 - 0.5,
        "minus_longer_wins_text": 0.5 - 2 / 3,
        "model_minus_always_a": 3.5 / 6 - 2.5 / 6,  # half of every decided pair
        "minus_always_a_image": 2 / 3 - 0.5,
        "minus_always_a_text": 0.5 - 1 / 3,
    }
    assert got == pytest.approx(want)


def test_tables_by_hand():
    assert protocol.aggregates(worked())["task"].tolist() == ["image", "text", "micro", "macro"]
    assert protocol.by_order(worked())["value"].tolist() == pytest.approx([4 / 6, 3 / 6])
    assert protocol.by_order(row for row in worked()).equals(protocol.by_order(worked())), "rows may be a stream"
    ends = protocol.statuses(worked()).set_index("status")
    assert ends["n"].to_dict() == {"no_json": 1, "ok": 11} and ends["share"].sum() == pytest.approx(1)
    reach = protocol.policy_range(worked()).set_index(["policy", "aggregation"])["value"]
    assert len(reach) == 8 and reach["drop", "micro"] == 0.75 and reach["wrong", "macro"] == pytest.approx(7 / 12)
    strata = protocol.summarize(worked(), ["stratum", "task"])
    assert list(strata.columns) == ["stratum", "task", "value", "low", "high", "n"] and strata["n"].sum() == 6


def test_position_table_by_hand():
    rows = [*worked(), *both("q", "A", "B", model="first-shown")]
    table = protocol.position(rows).set_index(["judge", "measure"])["value"]
    assert table["first-shown", "always A"] == 1 and table["first-shown", "consistency"] == 0
    assert table["judge", "accuracy AB"] == pytest.approx(4 / 6)


def test_with_and_without_ties():
    rows = worked()
    three, two = protocol.with_ties(rows, "half"), protocol.without_ties(rows, "half")
    gold_tie = protocol.frame(rows)["label"] == "tie"
    assert three[gold_tie].tolist() == [1, 0] and two[gold_tie].isna().all()
    assert protocol.pairs(rows, three)["credit"].mean() == pytest.approx((1 + 0.5 + 0.5 + 0.5 + 0.75 + 0.5) / 6)
    assert protocol.pairs(rows, two)["credit"].mean() == pytest.approx((1 + 0.5 + 0.5 + 0.75 + 0.75) / 5)


def test_baselines():
    rows = both("p", "A", "A", length_a=1, length_b=2)
    assert protocol.baseline(rows, "always-A").tolist() == [1, 0]
    assert protocol.baseline(rows, "longer-wins").tolist() == [0, 0]
    assert protocol.baseline(rows, "random").tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="unknown baseline"):
        protocol.baseline(rows, "shorter")


def test_compare_pairs_the_judges():
    a = [r for i in range(20) for r in both(f"p{i}", "A", "A", model="a")]
    b = [r for i in range(20) for r in both(f"p{i}", "A", "A" if i % 2 else "B", model="b")]
    gain = protocol.compare(a, b[::-1])
    assert gain.value == 0.25 and gain.low > 0 and gain.n == 20
    assert protocol.compare(a, a).value == 0


def test_a_policy_that_drops_all_measures_nothing():
    failed = [row("p", order, verdict=None, status="no_json") for order in ("AB", "BA")]
    assert math.isnan(protocol.compare(both("p", "A", "A"), failed, policy="drop").value)


def test_compare_pairs_seed_by_seed():
    a = [r for s in (0, 1) for i in range(9) for r in both(f"p{i}", "A", "A", seed=s)]
    b = [r for s in (0, 1) for i in range(9) for r in both(f"p{i}", "A", "B", seed=s)]
    assert protocol.compare(a, b).seeds == 2 and protocol.compare(a, b).value == 0.5
    with pytest.raises(ValueError, match="seeds differ"):
        protocol.compare(a, [r for r in b if r.seed == 0])


def test_movements_say_what_a_difference_consists_of():
    """Of eight judgements two are mended, one tie is given up rightly and one wrongly, one right one fails."""
    before = both("p0", "B", "B") + both("p1", "tie", "tie") + both("p2", "A", "A") + both("p3", "A", "tie", "tie")
    after = (
        both("p0", "A", "A")
        + both("p1", "A", "B")
        + [row("p2", verdict=None, status="no_json"), both("p2", "A", "A")[1]]
    )
    after += both("p3", "B", "B", "tie")
    table = protocol.movements(after, before)
    found = {(r.before, r.after): (r.n, round(r.value, 3)) for r in table.itertuples()}
    assert found == {
        ("wrong", "right"): (2, 0.333),
        ("tie", "right"): (1, 0.167),
        ("tie", "wrong"): (1, 0.0),
        ("right", "failed"): (1, -0.167),
    }
    decided = {r.pair_id for r in after if r.label != "tie"}
    rows = [[r for r in side if r.pair_id in decided] for side in (after, before)]
    assert table["value"].sum() == pytest.approx(protocol.compare(*rows).value)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert protocol.movements(after, after).empty


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no judgement rows"),
        (both("p", "A", "A") * 2, "occur twice"),
        ([row("p"), row("p", "BA", "A", "B")], "differ in label"),
        ([row("p", verdict=None, status="ok")], "status ok but no verdict"),
        ([row("p")], "one order only"),
        (both("p", "A", "A", None), "no gold label"),
        (both("p", "A", "A") + both("p", "A", "A", model="other"), "several models"),
        ([{"pair_id": "p"}], "lack task"),
    ],
)
def test_unusable_rows_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        protocol.metrics(rows)


def test_compare_refuses_unlike_rows():
    with pytest.raises(ValueError, match="different pairs"):
        protocol.compare(both("p", "A", "A"), both("q", "A", "A"))
    with pytest.raises(ValueError, match="gold labels"):
        protocol.compare(both("p", "A", "A", "A"), both("p", "A", "A", "B"))
    with pytest.raises(ValueError, match="unknown policy"):
        protocol.credit(both("p", "A", "A"), "lenient")


@settings(max_examples=20, deadline=None)
@given(judged(), st.sampled_from(["wrong", "half", "coin"]))
def test_swapping_every_frame_changes_nothing(rows, policy):
    before, after = protocol.metrics(rows, policy=policy), protocol.metrics([swapped(r) for r in rows], policy=policy)
    for orders in (("accuracy_AB", "accuracy_BA"), ("accuracy_BA", "accuracy_AB")):
        assert before[orders[0]] == after[orders[1]]
    apart = {"accuracy_AB", "accuracy_BA"}
    assert {k: v for k, v in before.items() if k not in apart} == {k: v for k, v in after.items() if k not in apart}


@settings(max_examples=12, deadline=None)
@given(judged(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, random):
    mixed = random.sample(rows, len(rows))
    assert protocol.metrics(rows) == protocol.metrics(mixed)
    pd.testing.assert_frame_equal(protocol.policy_range(rows), protocol.policy_range(mixed))
    pd.testing.assert_frame_equal(protocol.position(rows), protocol.position(mixed))


@settings(max_examples=30, deadline=None)
@given(judged())
def test_frame_is_idempotent_and_policies_are_ordered(rows):
    once = protocol.frame(rows)
    pd.testing.assert_frame_equal(once, protocol.frame(once))
    wrong, half = (protocol.credit(rows, p) for p in ("wrong", "half"))
    assert (wrong <= half).all() and half.between(0, 1).all()
    dropped = protocol.credit(rows, "drop")
    assert (dropped.dropna() == wrong[dropped.notna()]).all()


def test_bootstrap_is_deterministic_and_follows_its_seed():
    values, clusters = np.random.default_rng(0).random(30), np.arange(30) // 2
    assert clustered_bootstrap(values, clusters) == clustered_bootstrap(values, clusters)
    assert clustered_bootstrap(values, clusters) != clustered_bootstrap(values, clusters, seed=1)
    same = clustered_bootstrap(values, [f"prompt{c:02d}" for c in clusters])
    assert same == clustered_bootstrap(values, clusters)


def test_correlated_clusters_widen_the_interval():
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10)
    alone = clustered_bootstrap(right, np.arange(400))
    together = clustered_bootstrap(right, np.repeat(np.arange(40), 10))
    assert alone.value == together.value
    assert together.high - together.low == pytest.approx((alone.high - alone.low) * math.sqrt(10), rel=0.15)


def test_seeds_that_differ_widen_the_interval():
    clusters, seeds = np.tile(np.arange(100), 4), np.repeat(np.arange(4), 100)
    values = (np.random.default_rng(0).random(400) < np.repeat([0.5, 0.6, 0.8, 0.9], 100)).astype(float)
    flat, crossed = clustered_bootstrap(values, clusters), clustered_bootstrap(values, clusters, seeds=seeds)
    assert crossed.high - crossed.low > 1.5 * (flat.high - flat.low)
    assert (flat.seeds, crossed.seeds) == (1, 4)


def test_prompts_shared_by_seeds_are_not_averaged_away():
    difficulty = np.random.default_rng(0).integers(0, 2, 50)
    one = clustered_bootstrap(difficulty, np.arange(50))
    five = clustered_bootstrap(np.tile(difficulty, 5), np.tile(np.arange(50), 5), seeds=np.repeat(np.arange(5), 50))
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.1)


def test_nominal_coverage():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        chance = np.repeat(rng.beta(7, 3, 60), 4)  # true mean 0.7; four pairs share a prompt
        interval = clustered_bootstrap(rng.random(240) < chance, np.repeat(np.arange(60), 4), n=400)
        hits += interval.low <= 0.7 <= interval.high
    assert 0.90 <= hits / 200 <= 0.99


def test_weights_make_a_macro_average():
    interval = clustered_bootstrap([1, 1, 1, 0], range(4), weights=[1 / 3, 1 / 3, 1 / 3, 1])
    assert interval.value == pytest.approx(0.5)


def test_paired_bootstrap_is_narrower_than_the_unpaired_difference():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 200)
    b = np.where(rng.random(200) < 0.1, 0, a)
    gain, single = paired_bootstrap(a, b, range(200)), clustered_bootstrap(a, range(200))
    assert gain.value == pytest.approx(a.mean() - b.mean())
    assert gain.high - gain.low < single.high - single.low


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "non-empty"),
        (([[1, 0]], [1]), "non-empty vector"),
        (([1, 0], [1]), "clusters must have one entry"),
        (([1, math.nan], [1, 2]), "1 missing or infinite"),
        (([1, 0], ["a", None]), "missing entry"),
        (([1, 0], [1, 2], 0), "n must be"),
        (([1, 0], [1, 2], 9, 0, 1.0), "level"),
    ],
)
def test_bootstrap_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        clustered_bootstrap(*arguments)
    with pytest.raises(ValueError, match="lengths differ"):
        paired_bootstrap([1, 0], [1], [1, 2])


def test_one_cluster_has_no_bounds():
    interval = clustered_bootstrap([1, 0, 1, 1], [0] * 4)
    assert interval.as_metric() == {"value": 0.75, "low": None, "high": None, "n": 4, "seeds": 1}
    assert str(interval) == "75.0 % [n/a, n/a]"


def test_interval_formats():
    interval = Interval(0.712, 0.681, 0.74, 100, 3)
    assert str(interval) == f"{interval}" == "71.2 % [68.1, 74.0]"
    assert f"{interval:.3f}" == "0.712 [0.681, 0.740]" and f"{interval:+.1%}" == "+71.2 % [+68.1, +74.0]"
    assert interval.as_metric() == {"value": 0.712, "low": 0.681, "high": 0.74, "n": 100, "seeds": 3}


def test_mcnemar_by_hand():
    # 6 items right for a alone, 1 for b alone: 2 * (1 + 7) / 2^7
    test = mcnemar([1] * 6 + [0] + [1, 0], [0] * 6 + [1] + [1, 0])
    assert (test.only_a, test.only_b) == (6, 1) and test.pvalue == pytest.approx(0.125)
    assert mcnemar([1, 0], [1, 0]).pvalue == 1
    with pytest.raises(ValueError, match="right/wrong"):
        mcnemar([0.5], [1])


def test_kappa_by_hand():
    # both rated 4 items, agreed on 3; chance: 1/2 * 3/4 + 1/2 * 1/4 = 1/2
    assert cohen_kappa(["A", "A", "B", "B", None], ["A", "A", "B", "A", "B"]) == pytest.approx(0.5)
    assert math.isnan(cohen_kappa(["A", "A"], ["A", "A"]))
    with pytest.raises(ValueError, match="no item"):
        cohen_kappa(["A", None], [None, "A"])


def test_alpha_by_hand():
    # coincidences: n = 8, A-A 4, B-B 2, A-B 1 + 1; observed 2/8, expected 2*5*3/(8*7)
    assert krippendorff_alpha([["A", "A", "B", "B", "A"], ["A", "A", "B", "A", None]]) == pytest.approx(
        1 - (2 / 8) / (30 / 56)
    )
    assert krippendorff_alpha([[1, 2, 3, 4], [1, 2, 3, math.nan]], "interval") == pytest.approx(1)
    assert math.isnan(krippendorff_alpha([["A", "A"], ["A", "A"]]))
    with pytest.raises(ValueError, match="two ratings"):
        krippendorff_alpha([["A", None], [None, "A"]])
    with pytest.raises(ValueError, match="needs numbers"):
        krippendorff_alpha([["A", "B"], ["A", "B"]], "ordinal")


def test_importing_loads_no_heavy_library():
    code = "import sys, omnirepro.evaluate.protocol; assert not {'torch', 'transformers', 'trl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
