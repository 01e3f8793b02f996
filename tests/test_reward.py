"""The rewards: known answers worked by hand, ranges on any text, symmetric sides, and no gain by breaking a rule."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro import reward
from omnirepro.data import DIMENSIONS, Label, swap_verdict
from omnirepro.judge import rubric
from omnirepro.reward import (
    FORMAT_PARTS,
    PRESETS,
    REWARDS,
    closeness_reward,
    consistency_reward,
    format_parts,
    format_reward,
    implied_winner,
    preference_reward,
    rationale_reward,
    rubric_reward,
    rubric_shares,
    score,
    swap_reward,
    verdict_reward,
)

QUICK = settings(max_examples=150, deadline=None)
WORDS = "Fluency: A, B. Relevance: A, B. Accuracy: A, B. Reasoning: A, B. Safety: A, B."
GOOD = {
    "score_A": 8, "score_B": 5, "better": "A", "reasoning": f"<think>{WORDS}</think>",
    "final_verdict": "<answer>[[A]]</answer>",
}  # fmt: skip


def judged(**changes):
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not None})


def gold(verdict="A", a=9, b=4):
    return Label(pair_id="p", verdict=verdict, score_a=a, score_b=b, provenance="t")


BEST = {
    "published": 1.0,
    "paper": 1.0,
    "verdict": 1.0,
    "calibrated": 1.2,
    "decisive": 1.0,
    "swapped": 1.0,  # alone there is no other order to agree with
    "reasoned": 1.5,
}  # what the gold judgement itself earns


# ---- format


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (judged(), ()),
        (f"```json\n{judged()}\n```", ()),
        (f"```\n{judged()}```", ()),
        (f"[{judged()}]", ()),
        (judged(better="equal", score_A=5, final_verdict="<answer>[[C]]</answer>"), ()),
        (judged(score_A=1), ()),  # scores against the verdict are no matter of format
        (judged(tone="kind"), ("keys",)),
        (judged(score_A=None), ("keys", "values")),
        (judged(score_A=11), ("values",)),
        (judged(score_A=True), ("values",)),
        (judged(score_B=5.0), ("values",)),
        (judged(reasoning="A is better"), ("think",)),
        (judged(reasoning="<think></think>"), ("think",)),
        (judged(reasoning="</think> then <think>"), ("think",)),
        (judged(reasoning=["<think>x</think>"]), ("think",)),
        (judged(final_verdict="<answer>[[B]]</answer>"), ("agreement",)),
        (judged(final_verdict="[[A]]"), ("tag", "agreement")),
        (judged(final_verdict="<answer>[[A]] [[B]]</answer>"), ("tag", "agreement")),
        (judged(better="tie"), ("values", "agreement")),
        (judged(better=["A"]), ("values", "agreement")),
        ("{}", ("keys", "values", "think", "tag", "agreement")),
    ],
)
def test_each_part_of_the_format_is_earned_alone(text, lost):
    assert {part for part, held in format_parts(text).items() if not held} == set(lost)
    assert format_reward(text) == pytest.approx(1 - sum(FORMAT_PARTS[part] for part in lost))


@pytest.mark.parametrize(
    "text", ["", "A", "3", "null", "[]", "```", "``````", f"[{judged()}, {judged()}]", judged()[:-1]]
)
def test_what_is_no_object_earns_nothing(text):
    assert (format_reward(text), preference_reward(text, gold()), rubric_reward(text)) == (0, -1, -1)


def test_the_format_weights_are_the_published_ones():
    assert list(FORMAT_PARTS.values()) == [0.2, 0.2, 0.15, 0.15, 0.15, 0.15]
    assert format_reward(judged()) == 1.0  # exactly, not up to rounding


BREAKS = {
    "keys": {"tone": "kind"}, "values": {"score_A": 11}, "think": {"reasoning": "x"},
    "tag": {"final_verdict": "A"}, "agreement": {"final_verdict": "<answer>[[B]]</answer>"},
}  # fmt: skip


@QUICK
@given(st.sets(st.sampled_from(sorted(BREAKS))), st.sampled_from(sorted(BREAKS)))
def test_one_more_fault_never_pays(broken, more):
    def text(faults):  # a missing tag outdoes a disagreeing one
        return judged(**{k: v for f in sorted(faults) for k, v in BREAKS[f].items()})

    before, after = format_reward(text(broken)), format_reward(text(broken | {more}))
    assert after <= before
    assert after < before or more in broken or {more, *broken} >= {"tag", "agreement"}


# ---- preference


@pytest.mark.parametrize(
    ("text", "label", "earned"),
    [
        (judged(score_A=9, score_B=4), gold(), 1.0),  # .6 + .4 (1 - 0)
        (judged(), gold(), 0.92),  # errors 1 + 1: .6 + .4 (1 - 4/20) = .6 + .32
        (judged(), gold("B", 4, 9), -0.52),  # errors 4 + 4: -.6 + .4 (1 - 16/20) = -.6 + .08
        (judged(score_A=10, score_B=0), gold("B", 0, 10), -1.0),  # errors 10 + 10: -.6 - .4
        (judged(score_A=6, score_B=5), gold("B", 5, 6), -0.28),  # errors 1 + 1: -.6 + .32, the comfortable constant
        (judged(better="equal", score_A=5), gold("tie", 5, 5), 1.0),
        (judged(better="equal", score_A=5), gold("A", 6, 5), -0.24),  # errors 1 + 0: -.6 + .4 (1 - 2/20) = -.6 + .36
        (judged(score_A=9, score_B=4), gold("A", 8.5, 4.5), 0.96),  # errors .5 + .5: .6 + .4 (1 - 2/20)
        (judged(final_verdict="<answer>[[B]]</answer>"), gold(), 0.92),  # reads `better`, not the tag
        (judged(score_A=5), gold(), -1.0),  # says A at equal scores
        (judged(score_A=4), gold(), -1.0),
        (judged(better="B"), gold("B", 8, 5), -1.0),  # right verdict, scores of the gold, and yet they contradict
        (judged(better="equal"), gold(), -1.0),
        (judged(score_A=True), gold(), -1.0),
        (judged(score_A=11), gold(), -1.0),
        (judged(better="tie"), gold(), -1.0),
        (judged(score_B=None), gold(), -1.0),
    ],
)
def test_preference_known_answers(text, label, earned):
    assert preference_reward(text, label) == pytest.approx(earned)
    mapping = {"score_A": label.score_a, "score_B": label.score_b, "better": label.verdict.replace("tie", "equal")}
    assert preference_reward(text, mapping) == pytest.approx(earned), "a mapping is as good as a label"


# ---- rubric


@pytest.mark.parametrize(
    ("reasoning", "shares"),
    [
        (WORDS, (1, 1)),
        ("", (0, 0)),
        ("Accuracy matters.", (0.2, 0)),
        ("Accuracy: A errs, B does not.", (0.2, 0.2)),
        ("accuracy: a errs, b does not.", (0.2, 0)),  # small letters name no candidate
        ("ACCURACY: both responses are better.", (0.2, 0.2)),
        ("accuracy: both responses are good.", (0.2, 0)),
        ("accuracy: one is less detailed than all others", (0.2, 0.2)),
        ("inaccurate, unsafe, flows, logically", (0, 0)),  # whole words only
        ("A and B: fluency and safety", (0.4, 0)),  # what stands before the first keyword belongs to no dimension
        ("fluency and safety of A and B", (0.4, 0.2)),  # the segment of fluency ends at safety
        ("safety of A, B; fluency; safety of A and B", (0.4, 0.4)),  # fluency's runs on, safety was named before
        ("coherent, related, precise, logical, toxic", (0.8, 0)),
    ],
)
def test_rubric_known_answers(reasoning, shares):
    assert rubric_shares(reasoning) == pytest.approx(shares)
    assert rubric_reward(judged(reasoning=reasoning)) == pytest.approx(0.8 * shares[0] + 0.2 * shares[1])


def test_rubric_reads_words_and_nothing_else():
    assert rubric_reward(judged(reasoning=None)) == 0 and rubric_reward(judged(reasoning=[WORDS])) == 0
    assert rubric_reward("{}") == 0 and rubric_reward(judged(better=7)) == 1
    assert rubric_reward(judged(), cmp_gt=0.6) == pytest.approx(0.88)  # .8 + .2 (1 - .6)


# ---- the kit's own


def marks(**poor):
    return {side: {d: d not in poor.get(side.lower(), ()) for d in DIMENSIONS} for side in "AB"}


def test_own_rewards_read_as_evaluation_does():
    for text, verdict, consistency, close in [
        (judged(), 1, 0, 0.8),
        (judged(score_A=4), 1, -1, 0.4),  # contradicts itself: legible; errors 5 + 1: 1 - 12/20
        (f"```json\n{judged()}\n```", -1, -1, -1),
        (judged(final_verdict="<answer>[[A]] [[B]]</answer>"), -1, -1, 0.8),
        ("", -1, -1, -1),
    ]:
        assert verdict_reward(text, gold()) == verdict
        assert consistency_reward(text) == consistency
        assert closeness_reward(text, gold()) == pytest.approx(close)
    assert verdict_reward(judged(), gold("B", 4, 9)) == verdict_reward(judged(), gold("tie", 5, 5)) == -1


@pytest.mark.parametrize(
    ("given_marks", "plain", "weighted"),
    [
        (marks(), "tie", "tie"),
        (marks(b=["fluency"]), "A", "A"),
        (marks(a=["fluency", "safety"], b=["safety"]), "B", "B"),
        (marks(a=["fluency", "reasoning"], b=["accuracy"]), None, "A"),  # 10 - 1 - 2 against 10 - 4
        (
            marks(a=["safety", "accuracy", "relevance"], b=["safety", "accuracy", "reasoning"]),
            None,
            "tie",
        ),  # -1, 0: floor
        ({"A": {}, "B": {}}, None, None),
        ({"A": {"safety": True}, "B": {}}, None, None),
    ],
)
def test_a_winner_is_implied_where_the_marks_decide(given_marks, plain, weighted):
    weights = {"fluency": 1, "relevance": 3, "accuracy": 4, "reasoning": 2, "safety": 4}
    assert implied_winner(given_marks) == plain
    assert implied_winner(given_marks, weights) == weighted


def test_rationale_reward_sets_the_verdict_against_its_own_marks():
    label = gold().model_copy(update={"marks_a": marks()["A"], "marks_b": marks(b=["accuracy"])["B"]})
    text = rubric.render(label)
    assert rationale_reward(text) == 1
    data = json.loads(text) | {"score_A": 4, "score_B": 9, "better": "B", "final_verdict": "<answer>[[B]]</answer>"}
    assert rationale_reward(json.dumps(data)) == -1
    assert rationale_reward(judged()) == rationale_reward("") == 0


def test_a_verdict_is_held_against_the_exchanged_responses():
    said = rubric.render(gold())
    assert [swap_reward(said, None, other=other) for other in ("A", "B", "tie", None)] == [1, -1, -1, 0]
    assert swap_reward("nothing", None, other="A") == -1 and swap_reward("[[B]]", None, "verdict", "B") == 1


# ---- presets


def test_presets_are_the_published_weights():
    assert PRESETS["published"] == {"format": 0.4, "preference": 0.4, "rubric": 0.2}
    assert PRESETS["paper"] == {"preference": 0.5, "rubric": 0.3, "format": 0.2}
    assert all(set(weights) <= set(REWARDS) for weights in PRESETS.values())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("format", rubric.FORMATS)
def test_the_gold_judgement_earns_most_in_every_format(preset, format):
    label = gold().model_copy(update={"marks_a": marks()["A"], "marks_b": marks(b=["safety"])["B"]})
    found = score(rubric.render(label, format), label, preset, format)
    assert set(found) == {*REWARDS, "total"}
    # Without a rationale the published format loses keys (.2) and thought (.15), its rubric reward everything.
    lost = {"published": 0.4 * 0.35 + 0.2, "paper": 0.2 * 0.35 + 0.3} if format.startswith("scores-only") else {}
    # A rationale that was not asked for follows nothing; marks of some dimensions alone imply a tie.
    lost["reasoned"] = 0.5 if format.startswith("scores-only") else 1.0 if format.endswith(("/1", "/3")) else 0.0
    assert found["total"] == pytest.approx(BEST[preset] - lost.get(preset, 0))


def test_a_verdict_alone_earns_its_verdict_and_keeps_its_rules():
    """By hand: +1 right, -1 wrong, 1.5 less without exactly one tag; no scores (-1 of 0.2 for closeness) either way."""
    texts = {"[[A]]": 1 - 0.2, "[[B]]": -1 - 0.2, "[[A]] [[B]]": -1 - 1.5 - 0.2, "A": -1 - 1.5 - 0.2}
    for text, total in texts.items():
        assert score(text, gold("A", 9, 4), "calibrated", "verdict-direct")["total"] == pytest.approx(total)


def test_coverage_counts_the_dimensions_that_were_asked_for():
    label = gold().model_copy(update={"marks_a": marks()["A"], "marks_b": marks()["B"]})
    text = rubric.render(label, "rationale-first/3")
    assert reward.in_format("rubric", "rationale-first/3")(text, label) == pytest.approx(1.0)
    assert rubric_reward(text) == pytest.approx(0.8 * 3 / 5 + 0.2 * 3 / 5), "the published reward asks for five"


def test_total_is_the_weighted_sum_of_the_parts():
    found = score(judged(), gold("B", 4, 9), "published")
    assert found["total"] == pytest.approx(0.4 * 1 + 0.4 * -0.52 + 0.2 * 1)
    assert score(judged(), gold(), {"closeness": 2.0})["total"] == pytest.approx(1.6)
    with pytest.raises(ValueError, match="no preset 'best'"):
        score("", gold(), "best")
    with pytest.raises(ValueError, match="no reward 'taste'"):
        score("", gold(), {"taste": 1})


SCORES = st.integers(0, 10)


@st.composite
def labels(draw):
    a, b = draw(SCORES), draw(SCORES)
    return gold(rubric.ranking(a, b), a, b)


@st.composite
def judgements(draw):
    """Readable judgements: any verdict beside any scores."""
    better = draw(st.sampled_from(["A", "B", "equal"]))
    a, b = draw(SCORES), draw(SCORES)
    return judged(score_A=a, score_B=b, better=better, final_verdict=f"<answer>[[{better}]]</answer>")


@QUICK
@given(judgements(), labels())
def test_under_calibrated_no_wrong_verdict_earns_more_than_a_right_one(text, label):
    total = score(text, label, "calibrated")["total"]
    assert total >= -0.7 - 1e-9 if verdict_reward(text, label) == 1 else total <= -0.8 + 1e-9


def test_under_published_a_wrong_verdict_can_earn_more_than_a_right_one():
    label = gold("B", 5, 6)
    right_but_contradicting = judged(score_A=6, score_B=5, better="B", final_verdict="<answer>[[B]]</answer>")
    constant = judged(score_A=6, score_B=5)
    assert score(constant, label)["total"] > score(right_but_contradicting, label)["total"]
    assert score(constant, label, "calibrated")["total"] < score(right_but_contradicting, label, "calibrated")["total"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(), inner),
)
NEARLY = st.fixed_dictionaries(
    {
        "score_A": st.integers(-1, 11) | JSON, "score_B": SCORES | JSON,
        "better": st.sampled_from(["A", "B", "equal", "tie"]) | JSON,
        "reasoning": st.text().map(lambda t: f"<think>{t} accuracy A B</think>") | JSON,
        "final_verdict": st.text("[]ABC<answer>/").map(lambda t: f"<answer>[[{t}]]</answer>") | JSON,
    }
)  # fmt: skip
RANGES = {"format": (0, 1), "consistency": (-1, 0)}


@QUICK
@given(
    st.text() | st.text(st.characters(min_codepoint=0xD7FF, max_codepoint=0xE000, categories=None))
    | st.text("`{}[]\"json\n", max_size=12) | JSON.map(json.dumps) | NEARLY.map(json.dumps) | judgements(),
    labels(),
)  # fmt: skip
def test_any_text_is_scored_within_range(text, label):
    found = score(text, label)
    for name in REWARDS:
        low, high = RANGES.get(name, (-1, 1))
        assert low <= found[name] <= high, name
    assert found["rubric"] == -1 or found["rubric"] >= 0


@pytest.mark.parametrize("text", ["[" * 100_000, '{"score_A": ' + "9" * 5000 + "}", "<think>" * 20_000, judged() * 2])
def test_hostile_text_is_scored_too(text):
    assert score(text, gold())["total"] == pytest.approx(-0.6)  # .4 x 0 + .4 x -1 + .2 x -1


@QUICK
@given(judgements() | NEARLY.map(json.dumps), labels())
def test_the_sides_can_be_exchanged(text, label):
    data = json.loads(text)
    swapped = data | {"score_A": data["score_B"], "score_B": data["score_A"]}
    if data["better"] in ("A", "B"):
        swapped["better"] = swap_verdict(data["better"])
    other = gold(swap_verdict(label.verdict), label.score_b, label.score_a)
    assert preference_reward(json.dumps(swapped), other) == pytest.approx(preference_reward(text, label))


def test_one_texts_reward_does_not_depend_on_another_row():
    """The published fallback scores a batch by its first row's gold; every text here has its own."""
    golds = [gold(), gold("B", 4, 9)]
    assert [preference_reward(judged(), g) for g in golds] == pytest.approx([0.92, -0.52])
    with pytest.raises(KeyError):
        preference_reward(judged(), {})
