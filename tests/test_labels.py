"""Reconciliation: each rule worked by hand, counts conserved, idempotent, symmetric under exchange of the sides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro.data import DIMENSIONS, Label, swap_verdict
from omnirepro.judge.rubric import parse, ranking, render
from omnirepro.papers.omni_rrm.reconcile import QUALITY_FLOOR, RULES, reconcile

MARKS = st.none() | st.fixed_dictionaries({d: st.booleans() for d in DIMENSIONS})
QUOTES = st.none() | st.fixed_dictionaries({"accuracy": st.sampled_from(["red", "two"])})
LABELS = st.builds(
    dict, verdict=st.sampled_from(["A", "B", "tie"]), score_a=st.integers(0, 10), score_b=st.integers(0, 10),
    marks_a=MARKS, marks_b=MARKS, quotes_a=QUOTES, quotes_b=QUOTES, confidence=st.sampled_from([None, 0.0, 1.0]),
)  # fmt: skip
BOTH = st.lists(st.tuples(LABELS, LABELS), max_size=12)
EVERY_RULE = pytest.mark.parametrize("rule", RULES)
QUICK = settings(max_examples=50, deadline=None)


def label(verdict, score_a, score_b, pair_id="p", teacher="t", **kwargs):
    return Label(pair_id=pair_id, verdict=verdict, score_a=score_a, score_b=score_b, provenance=teacher, **kwargs)


def both(drawn):
    return [[Label(pair_id=f"p{i}", provenance=f"t{k}", **d[k]) for i, d in enumerate(drawn)] for k in (0, 1)]


def one(rule, a, b):
    """The kept label of one pair as (verdict, score_a, score_b), or the reason it was dropped."""
    outcome = reconcile([label(*a)], [label(*b)], rule)
    if outcome.kept:
        assert outcome.reasons == {} and outcome.coverage == 1
        return outcome.kept[0].verdict, outcome.kept[0].score_a, outcome.kept[0].score_b
    assert outcome.coverage == 0
    return outcome.dropped[0].reason


AGREE = (("A", 8, 5), ("A", 9, 4))
CASES = [
    ("published", ("A", 8, 6), ("A", 10, 4), ("A", 9, 5)),
    ("published", ("B", 2, 7), ("B", 2, 7), ("B", 2, 7)),
    ("published", ("A", 7, 6), ("A", 8, 7), ("A", 8, 6)),
    ("published", *AGREE, ("A", 9, 4)),
    ("published", ("A", 8, 5), ("B", 4, 5), "verdicts conflict"),
    ("published", ("A", 8, 5), ("tie", 5, 5), "verdicts conflict"),
    ("published", ("tie", 5, 5), ("tie", 6, 6), "tie"),
    ("published", ("A", 8, 5), ("A", 5, 5), "scores contradict the verdict"),
    ("with-ties", ("tie", 5, 5), ("tie", 7, 7), ("tie", 6, 6)),
    ("with-ties", ("tie", 0, 0), ("tie", 10, 10), ("tie", 5, 5)),
    ("with-ties", ("tie", 5, 6), ("tie", 7, 7), "scores contradict the verdict"),
    ("with-ties", *AGREE, ("A", 9, 4)),
    ("merge", ("A", 5, 6), ("A", 9, 5), ("A", 7, 5)),
    ("merge", ("A", 4, 8), ("A", 7, 6), "averaged scores contradict the verdict"),
    ("merge", ("tie", 5, 5), ("tie", 5, 5), "tie"),
    ("floor", ("A", 3, 1), ("A", 3, 0), ("A", 3, 0)),
    ("floor", ("A", 3, 1), ("A", 2, 0), "both candidates below the quality floor"),
    ("floor", ("A", 8, 5), ("A", 5, 5), "scores contradict the verdict"),
    ("first", ("A", 8, 5), ("B", 0, 9), ("A", 8, 5)),
    ("first", ("tie", 8, 8), ("A", 9, 0), "tie"),
    ("first", ("A", 5, 8), ("A", 9, 0), "scores contradict the verdict"),
    ("none", ("A", 8, 5), ("B", 0, 9), ("B", 4, 7)),
    ("none", ("tie", 5, 5), ("A", 9, 5), ("A", 7, 5)),
    ("none", ("A", 8, 5), ("B", 5, 8), ("tie", 6, 6)),
]


@pytest.mark.parametrize(("rule", "a", "b", "expected"), CASES)
def test_known_answers(rule, a, b, expected):
    assert one(rule, a, b) == expected


def test_every_rule_has_a_known_answer():
    assert {case[0] for case in CASES} | {"strict"} == set(RULES) and QUALITY_FLOOR == 3


def test_strict_compares_all_marks():
    good, poor = dict.fromkeys(DIMENSIONS, True), dict.fromkeys(DIMENSIONS, True) | {"safety": False}
    first = [label("A", 10, 5, marks_a=good, marks_b=poor)]
    assert len(reconcile(first, [label("A", 10, 5, marks_a=good, marks_b=poor)], "strict").kept) == 1
    other = reconcile(first, [label("A", 10, 9, marks_a=good, marks_b=good)], "strict")
    assert other.reasons == {"justifications differ": 1}


@pytest.mark.parametrize("rule", [r for r in RULES if r != "none"])
def test_an_unreadable_judgement_is_never_kept(rule):
    unread = [label("tie", 0, 0, confidence=0.0)]
    assert not reconcile(unread, unread, rule).kept
    assert rule == "first" or not reconcile([label("tie", 0, 0)], unread, rule).kept


@EVERY_RULE
@QUICK
@given(drawn=BOTH)
def test_counts_are_conserved(rule, drawn):
    first, second = both(drawn)
    outcome = reconcile(first, second[::-1], rule)
    ids = [x.pair_id for x in (*outcome.kept, *outcome.dropped)]
    assert sorted(ids) == sorted(x.pair_id for x in first)
    assert sum(outcome.reasons.values()) == len(outcome.dropped) == len(first) - len(outcome.kept)
    assert all(d.reason and d.labels[0].pair_id == d.labels[1].pair_id == d.pair_id for d in outcome.dropped)
    assert [x.pair_id for x in outcome.kept] == [
        x.pair_id for x in first if x.pair_id in {k.pair_id for k in outcome.kept}
    ]


@EVERY_RULE
@QUICK
@given(drawn=BOTH)
def test_kept_labels_can_be_written_as_judgements(rule, drawn):
    for kept in reconcile(*both(drawn), rule).kept:
        assert ranking(kept.score_a, kept.score_b) == kept.verdict and 0 <= kept.score_a <= 10 >= kept.score_b >= 0
        full = {d: True for d in DIMENSIONS}
        written = render(kept.model_copy(update={"marks_a": full, "marks_b": full}))
        assert parse(written).status == "ok"


@EVERY_RULE
@QUICK
@given(drawn=BOTH)
def test_scores_stay_within_half_a_point_of_the_mean(rule, drawn):
    first, second = both(drawn)
    known = {x.pair_id: (x, y) for x, y in zip(first, second, strict=True)}
    for kept in reconcile(first, second, rule).kept if rule != "first" else ():
        x, y = known[kept.pair_id]
        assert abs(kept.score_a - (x.score_a + y.score_a) / 2) <= 0.5 >= abs(kept.score_b - (x.score_b + y.score_b) / 2)


@QUICK
@given(drawn=BOTH)
def test_published_is_idempotent(drawn):
    kept = reconcile(*both(drawn)).kept
    again = reconcile(kept, kept)
    assert not again.dropped
    assert [x.model_dump(exclude={"provenance"}) for x in again.kept] == [
        x.model_dump(exclude={"provenance"}) for x in kept
    ]


@EVERY_RULE
@QUICK
@given(drawn=BOTH)
def test_swapping_the_sides_swaps_the_outcome(rule, drawn):
    first, second = both(drawn)
    assert all(x.swap().swap() == x for x in first)
    plain, swapped = (
        reconcile(first, second, rule),
        reconcile(*([x.swap() for x in s] for s in (first, second)), rule),
    )
    assert swapped.kept == [x.swap() for x in plain.kept]
    assert [(d.pair_id, d.reason) for d in swapped.dropped] == [(d.pair_id, d.reason) for d in plain.dropped]
    assert [x.verdict for x in swapped.kept] == [swap_verdict(x.verdict) for x in plain.kept]


def test_the_default_rule_is_the_published_one():
    assert reconcile([], []).rule == "published" and next(iter(RULES)) == "published"


def test_foolish_calls_are_errors_with_a_remedy():
    with pytest.raises(ValueError, match="unknown reconciliation rule 'Published'; known: published, with-ties"):
        reconcile([], [], "Published")
    x, y = label("A", 8, 5), label("A", 8, 5, pair_id="q")
    for first, second in (([x], [y]), ([x, y], [x]), ([x], [x, y]), ([x, x], [x]), ([x], [x, x])):
        with pytest.raises(ValueError, match="same pairs, each once: label the missing"):
            reconcile(first, second)
