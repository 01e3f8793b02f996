"""The meta-reward: Equation 1's cases, its invariances, what its variants share, and where it jumps."""

import math

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omnirepro.reward.meta import REFINED, SCORED, VARIANTS, discontinuity, meta_reward, meta_rewards, rank

SCORE = st.floats(-30, 30, allow_nan=False).map(lambda x: round(x, 3))
FOUR = st.tuples(SCORE, SCORE, SCORE, SCORE)
J = st.sampled_from([0, 1, "tie", None])
VARIANT = st.sampled_from(list(VARIANTS))


def same(a, b, off=1e-9):
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) <= off


@pytest.mark.parametrize(
    ("j", "r1", "r2", "value"),
    [(0, 6, 4, 1), (0, 4, 6, -2), (1, 4, 6, -1), (1, 6, 4, -2), (0, 6, 6, 0), (1, 6, 6, 0), ("tie", 9, 1, 0)],
)
def test_the_four_cases_of_equation_1_and_its_ties(j, r1, r2, value):
    """Original scores 5 and 3; the rejected response is 2 where j = 0."""
    assert meta_reward(j, 5, 3, r1, r2) == value


@given(J, FOUR, VARIANT)
def test_exchanging_the_responses_changes_nothing(j, x, variant):
    s1, s2, r1, r2 = x
    other = {0: 1, 1: 0}.get(j, j)
    assert same(meta_reward(j, *x, variant, "c"), meta_reward(other, s2, s1, r2, r1, variant, "c"))


@given(J, FOUR, VARIANT, st.integers(-20, 20))
def test_a_shift_of_all_scores_changes_nothing(j, x, variant, shift):
    s1, s2, r1, r2 = x
    assume(r1 == r2 or abs(r1 - r2) > 1e-6)  # closer than that, the shift itself rounds a gap away
    assume(s1 == s2 or abs(s1 - s2) > 1e-6)
    assert same(meta_reward(j, *x, variant, "c"), meta_reward(j, *(v + shift for v in x), variant, "c"))


@given(FOUR, VARIANT)
def test_a_missing_verdict_is_nan_and_a_judges_tie_is_0(x, variant):
    assert math.isnan(meta_reward(None, *x, variant)) and math.isnan(meta_reward(math.nan, *x, variant))
    assert variant == "random" or meta_reward("tie", *x, variant) == 0


@given(st.lists(st.sampled_from(["A", "B", "tie", None]), max_size=8), st.data(), VARIANT)
def test_every_criterion_keeps_its_index(verdicts, data, variant):
    pairs = [data.draw(st.tuples(SCORE, SCORE)) for _ in verdicts]
    values = meta_rewards(verdicts, (1.0, 0.0), pairs, variant, "p")
    assert [math.isnan(v) for v in values] == [v is None for v in verdicts]
    alone = [meta_reward({"A": 0, "B": 1}.get(v, v), 1.0, 0.0, *r, variant, f"p/{i}")
             for i, (v, r) in enumerate(zip(verdicts, pairs, strict=True))]  # fmt: skip
    assert all(map(same, values, alone))
    order = rank(values)
    assert sorted(order) == list(range(len(verdicts)))
    ranked = [values[i] for i in order]
    valid = [v for v in ranked if not math.isnan(v)]
    assert valid == sorted(valid, reverse=True) and all(math.isnan(v) for v in ranked[len(valid) :])


def test_equal_values_keep_their_order():
    assert rank([1.0, math.nan, 2.0, 1.0, -1.0, math.nan]) == [2, 0, 3, 4, 1, 5]


# ---- what the variants share


@given(FOUR, FOUR)
def test_lexicographic_puts_consistent_criteria_first_and_keeps_the_published_order_within(x, y):
    first, second = (meta_reward(0, *z, "lexicographic") for z in (x, y))
    consistent, other = x[2] > x[3], y[2] > y[3]
    assert (first > 0) == consistent and (first < 0) == (x[2] < x[3])
    if consistent == other and x[2] != x[3] and y[2] != y[3]:
        assert (first > second) == (meta_reward(0, *x) > meta_reward(0, *y))
    elif consistent and not other:
        assert first > second


@given(FOUR)
def test_clipped_equals_published_until_the_rejected_response_comes_near(x):
    s1, s2, r1, r2 = x
    published, clipped = meta_reward(0, *x), meta_reward(0, *x, "clipped")
    if r1 > r2:
        assert clipped <= published and (r2 - s2 > r1 - r2 or clipped == published)
    else:
        assert clipped <= published and (r2 - s2 < r1 - r2 or clipped == published)


@given(FOUR, SCORE.map(lambda x: x / 1000))
def test_clipped_is_continuous(x, step):
    s1, s2, r1, r2 = x
    moved = [(s1, s2, r1 + step, r2), (s1, s2, r1, r2 + step), (s1, s2 + step, r1, r2)]
    value = meta_reward(0, *x, "clipped")
    assert all(abs(meta_reward(0, *y, "clipped") - value) <= 2 * abs(step) + 1e-9 for y in moved)


@given(SCORE, SCORE, FOUR)
def test_variants_agree_where_they_must(s1, s2, x):
    for variant in ("original_scores", "published"):  # without any refinement there is no gain, only the gap
        assert meta_reward(0, s1, s2, s1, s2, variant) == min(s1 - s2, 0) if s1 != s2 else True
    assert meta_reward(0, s1, s2, s1, s2, "both_improvements") == 0
    a, b, r1, r2 = x
    if a > b and r1 > r2:
        assert meta_reward(0, *x, "original_scores") == meta_reward(0, *x)
    if a > r2:  # the preferred response unchanged, and still ahead
        assert same(meta_reward(0, a, b, a, r2, "both_improvements"), meta_reward(0, a, b, a, r2))


@given(FOUR)
def test_margin_and_both_improvements_do_not_depend_on_what_they_must_not(x):
    s1, s2, r1, r2 = x
    assert meta_reward(0, s1, s2, None, math.nan, "margin") == s1 - s2 == -meta_reward(1, *x, "margin")
    assert same(meta_reward(0, *x, "both_improvements"), meta_reward(1, *x, "both_improvements"))


def test_random_reads_no_score_and_hangs_on_the_key():
    draws = meta_rewards(["A"] * 200, (None, None), [(None, None)] * 200, "random", "pair")
    assert draws == meta_rewards(["B"] * 200, (1.0, 2.0), [(3.0, 4.0)] * 200, "random", "pair")
    assert draws != meta_rewards(["A"] * 200, (None, None), [(None, None)] * 200, "random", "other")
    assert len(set(draws)) == 200 and min(draws) >= 0 and max(draws) < 1 and abs(sum(draws) / 200 - 0.5) < 0.1


@pytest.mark.parametrize("variant", SCORED)
@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_missing_score_is_nan_where_it_is_read(variant, bad):
    assert math.isnan(meta_reward(0, bad, 1.0, 2.0, 3.0, variant))
    assert math.isnan(meta_reward(1, 1.0, 1.0, 2.0, bad, variant)) == (variant in REFINED)


def test_what_is_refused():
    with pytest.raises(ValueError, match="published"):
        meta_reward(0, 1, 2, 3, 4, "publishd")
    with pytest.raises(ValueError, match="j is 0"):
        meta_reward(2, 1, 2, 3, 4)


# ---- what is wrong with the published one


def test_the_published_equation_falls_where_the_rejected_response_overtakes():
    assert meta_reward(0, 5, 3, 6, 5.99) == pytest.approx(2.99)
    assert meta_reward(0, 5, 3, 6, 6.01) == pytest.approx(-0.01)
    assert meta_reward(0, 5, 3, 6, 2) < 0, "a consistent criterion can rank below a contradicted one"


def test_the_figures_data_shows_the_fall():
    data = discontinuity(s1=5, s2=3, r1=6)
    assert isinstance(data, pd.DataFrame) and not data.isna().any().any() and (data["refined_margin"] != 0).all()
    near = data[data["refined_margin"].abs() < 1e-4].pivot(index="variant", columns="consistent", values="s_meta")
    fall = near[True] - near[False]
    assert fall["published"] == pytest.approx(3, abs=1e-3) and fall["clipped"] == pytest.approx(0, abs=1e-3)
    assert ((data["refined_margin"] > 0) == data["consistent"]).all()
    assert (data["refined_margin"] + data["r2"]).round(9).eq(6).all()
