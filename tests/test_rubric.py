"""The judgement: every failure has its status, nothing raises, what is rendered is read back, and it is short."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_parts import processor, text_part

from omnirepro.data import DIMENSIONS, READ, Label, Pair
from omnirepro.judge import verdict
from omnirepro.judge.rubric import (
    ASKED,
    FEWER,
    FORMATS,
    STATUSES,
    TITLES,
    Parsed,
    concluded,
    dimensions_of,
    instruction,
    messages,
    parse,
    read,
    render,
)
from omnirepro.models.generation import Generated
from omnirepro.toyworld.language import claims, compose, questions, seen
from omnirepro.toyworld.tasks import MODALITIES, sample_scene

KEYS = {"score_A", "score_B", "better", "reasoning", "final_verdict"}
GOOD = {
    "reasoning": "<think>Part 1: ...</think>", "score_A": 8, "score_B": 5, "better": "A",
    "final_verdict": "<answer>[[A]]</answer>",
}  # fmt: skip
QUICK = settings(max_examples=150, deadline=None)
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)
MARKS = st.fixed_dictionaries({d: st.booleans() for d in DIMENSIONS})


def judged(**changes):
    return json.dumps(GOOD | changes)


def without(key):
    return json.dumps({k: v for k, v in GOOD.items() if k != key})


BROKEN = [
    ("ok", judged()),
    ("ok", judged(better="equal", score_A=5, final_verdict=" <answer> verdict [[ C ]] </answer>\n")),
    ("ok", judged(better="equal", score_A=5, final_verdict="<answer>[[equal]]</answer>")),
    ("ok", judged(final_verdict="<answer>[[A]] [[A]]</answer>")),
    ("ok", judged(reasoning="<think>one\ntwo</think>", score_A=10, score_B=0)),
    ("empty", ""),
    ("empty", " \n\t"),
    ("no_json", "A is better."),
    ("no_json", judged()[:-1]),
    ("no_json", "```json\n" + judged() + "\n```"),
    ("no_json", judged() + judged()),
    ("no_json", "[" * 100_000),
    ("no_json", '{"score_A": ' + "9" * 5000 + "}"),
    ("not_an_object", "[1, 2]"),
    ("not_an_object", "null"),
    ("not_an_object", '"[[A]]"'),
    ("wrong_keys", "{}"),
    ("wrong_keys", without("better")),
    ("wrong_keys", judged(tone="kind")),
    ("wrong_keys", '{"score_A": 1, ' + judged()[1:]),
    ("bad_score", judged(score_A=11)),
    ("bad_score", judged(score_B=-1)),
    ("bad_score", judged(score_B=7.5)),
    ("bad_score", judged(score_A="8")),
    ("bad_score", judged(score_A=True)),
    ("bad_score", judged(score_A=None)),
    ("bad_score", '{"score_A": NaN, ' + without("score_A")[1:]),
    ("bad_better", judged(better="tie")),
    ("bad_better", judged(better="a")),
    ("no_rationale", judged(reasoning="A is better")),
    ("no_rationale", judged(reasoning="<think></think>")),
    ("no_rationale", judged(reasoning=["<think>x</think>"])),
    ("no_verdict", judged(final_verdict="[[A]]")),
    ("no_verdict", judged(final_verdict="<answer>A</answer>")),
    ("no_verdict", judged(final_verdict=1)),
    ("no_verdict", judged(final_verdict="so <answer>[[A]]</answer>")),
    ("several_verdicts", judged(final_verdict="<answer>[[A]] or [[B]]</answer>")),
    ("verdict_mismatch", judged(final_verdict="<answer>[[B]]</answer>")),
    ("verdict_mismatch", judged(better="equal")),
    ("score_mismatch", judged(score_A=5)),
    ("score_mismatch", judged(score_A=3)),
    ("score_mismatch", judged(better="equal", final_verdict="<answer>[[equal]]</answer>")),
]


@pytest.mark.parametrize("format", [name for name, keys in FORMATS.items() if "reasoning" in keys])
@pytest.mark.parametrize(("status", "text"), BROKEN)
def test_each_failure_has_its_status(format, status, text):
    found = parse(text, format)
    assert found.status == status
    assert (found.verdict is None) == (status not in ("ok", "score_mismatch"))


def test_every_status_is_reached():
    assert {status for status, _ in BROKEN} == set(STATUSES)


def test_what_is_legible_is_kept_beside_the_status():
    found = parse(judged(score_A=3))
    assert (found.status, found.verdict, found.score_a, found.score_b) == ("score_mismatch", "A", 3, 5)
    assert parse(judged(reasoning="no tags")).score_a == 8 and parse(judged(score_A=11)).score_a is None


@pytest.mark.parametrize(
    ("text", "status", "verdict"),
    [
        ("... so [[B]]", "ok", "B"),
        ("[[C]]", "ok", "tie"),
        ("[[A]] and again [[A]]", "ok", "A"),
        ("[[A]] [[B]]", "several_verdicts", None),
        ("A", "no_verdict", None),
        ("", "empty", None),
    ],
)
def test_a_bare_verdict(text, status, verdict):
    assert (parse(text, "verdict").status, parse(text, "verdict").verdict) == (status, verdict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(), inner),
)
NEARLY = st.fixed_dictionaries(
    {
        "score_A": st.integers(-1, 11) | JSON, "score_B": st.integers(0, 10) | JSON,
        "better": st.sampled_from(["A", "B", "equal", "tie"]) | JSON,
        "reasoning": st.text().map(lambda t: f"<think>{t}</think>") | JSON,
        "final_verdict": st.text("[]ABC<answer>/").map(lambda t: f"<answer>[[{t}]]</answer>") | JSON,
    }
)  # fmt: skip


@QUICK
@given(
    st.text() | st.text(st.characters(min_codepoint=0xD7FF, max_codepoint=0xE000, categories=None))
    | JSON.map(json.dumps) | NEARLY.map(json.dumps),
    st.sampled_from([*FORMATS, "verdict"]),
)  # fmt: skip
def test_parse_never_raises(text, format):
    found = parse(text, format)
    assert found.status in STATUSES and found.verdict in ("A", "B", "tie", None)
    assert found.status != "ok" or found.verdict is not None
    assert set(found.marks) == {"A", "B"}


def make_label(score_a, score_b, marks_a, marks_b, evidence="a red ring top-left"):
    verdict = "A" if score_a > score_b else "B" if score_b > score_a else "tie"
    return Label(
        pair_id="p", verdict=verdict, score_a=score_a, score_b=score_b, marks_a=marks_a, marks_b=marks_b,
        evidence=evidence, provenance="t",
    )  # fmt: skip


@EVERY_FORMAT
@QUICK
@given(a=st.integers(0, 10), b=st.integers(0, 10), marks_a=MARKS, marks_b=MARKS, evidence=st.text())
def test_what_is_rendered_is_read_back(format, a, b, marks_a, marks_b, evidence):
    label = make_label(a, b, marks_a, marks_b, evidence.replace("Part", ""))
    found = parse(text := render(label, format), format)
    assert (found.status, found.verdict, found.score_a, found.score_b) == ("ok", label.verdict, a, b)
    asked = dimensions_of(format) if "reasoning" in FORMATS[format] else ()
    assert found.marks == {side: {d: m[d] for d in asked if d in m} for side, m in (("A", marks_a), ("B", marks_b))}
    assert tuple(json.loads(text)) == FORMATS[format]


def test_formats_hold_the_same_five_keys_and_differ_in_order_only():
    bare = FORMATS["scores-only"]
    assert all(set(keys) == KEYS and len(keys) == 5 for keys in FORMATS.values() if keys != bare)
    assert bare == FORMATS["rationale-first"][1:]
    published, moved = FORMATS["published"], FORMATS["rationale-first"]
    assert published[3] == moved[0] == "reasoning"
    assert [k for k in published if k != "reasoning"] == [k for k in moved if k != "reasoning"]


def test_each_format_wants_its_own_keys():
    label = make_label(7, 4, {}, {})
    bare, whole = (render(label, format) for format in ("scores-only", "rationale-first"))
    assert json.loads(bare) == {"score_A": 7, "score_B": 4, "better": "A", "final_verdict": "<answer>[[A]]</answer>"}
    assert parse(bare, "scores-only").status == parse(whole).status == "ok"
    assert parse(bare).status == parse(whole, "scores-only").status == "wrong_keys"
    assert parse(bare.replace("7", "3"), "scores-only").status == "score_mismatch"
    assert parse(bare.replace("[[A]]", "[[B]]"), "scores-only").status == "verdict_mismatch"


def test_a_label_that_contradicts_itself_is_not_rendered():
    label = make_label(5, 8, {}, {}).model_copy(update={"verdict": "A"})
    with pytest.raises(ValueError, match="label of p: scores 5, 8 contradict verdict A"):
        render(label)


def test_quotes_stand_beside_their_marks_and_are_no_marks():
    good, poor = dict.fromkeys(DIMENSIONS, True), dict.fromkeys(DIMENSIONS, False)
    quotes = {"quotes_a": {"relevance": "color", "accuracy": "top-left"}, "quotes_b": {"accuracy": "none"}}
    found = parse(render(make_label(10, 0, good, poor).model_copy(update=quotes)))
    assert "Relevance: A color good B poor" in found.reasoning and "A top-left good B none poor" in found.reasoning
    assert found.marks == {"A": good, "B": poor}


@pytest.mark.parametrize(("marks_a", "marks_b"), [(None, None), ({"safety": True}, None), ({}, {"fluency": False})])
def test_a_label_with_marks_missing_is_rendered_without_them(marks_a, marks_b):
    found = parse(render(make_label(7, 4, marks_a, marks_b)))
    assert found.status == "ok" and found.marks == {"A": marks_a or {}, "B": marks_b or {}}


def test_fewer_dimensions_are_left_out_of_the_rationale():
    good = dict.fromkeys(DIMENSIONS, True)
    found = parse(render(make_label(7, 7, good, good), "rationale-first/1"))
    assert found.status == "ok" and found.marks == {"A": {"accuracy": True}, "B": {"accuracy": True}}
    three = parse(render(make_label(7, 7, good, good), "rationale-first/3"), "rationale-first/3")
    assert three.status == "ok" and set(three.marks["A"]) == {"relevance", "accuracy", "reasoning"}


def make_pair(criterion=None):
    say = {k: [text_part(k)] for k in ("question", "first answer", "second answer")}
    return Pair(
        id="secret-id", task="secret-task", prompt=say["question"], response_a=say["first answer"],
        response_b=say["second answer"], criterion=criterion, label="A", margin=3.0, source="secret-source",
        cluster="secret-cluster", meta={"generator_a": "secret-model", "origin_b": "secret"},
    )  # fmt: skip


@EVERY_FORMAT
@pytest.mark.parametrize("wording", ["brief", "full"])
def test_a_judge_sees_the_content_and_nothing_else(format, wording):
    chat = messages(make_pair("be brief"), wording, format)
    text = "".join(p.text for turn in chat for p in turn["parts"])
    assert "secret" not in text and "3.0" not in text
    places = [text.index(x) for x in ("question", "be brief", "first answer", "second answer")]
    assert wording == "full" or places == sorted(places)
    assert chat == messages(make_pair("be brief").model_copy(update={"label": "B", "meta": None}), wording, format)
    swapped = "".join(p.text for turn in messages(make_pair().swap(), wording, format) for p in turn["parts"])
    assert swapped.index("second answer") < swapped.index("first answer")


@EVERY_FORMAT
def test_the_full_instruction_names_every_key_and_dimension(format):
    text = instruction("full", format)
    places = [text.index(f'"{key}"') for key in FORMATS[format]]
    assert places == sorted(places), "the keys stand in the order that is asked for"
    assert all(TITLES[d] in question for d, question in ASKED.items())
    assert {d for d, question in ASKED.items() if question in text} == set(dimensions_of(format))
    assert set(ASKED) == set(TITLES) == set(DIMENSIONS)


def count_tokens(text):
    return len(processor().tokenizer(text, add_special_tokens=False)["input_ids"])


@EVERY_FORMAT
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_judgement_is_short_in_the_embedded_models_tokens(modality, format):
    rng, good, lengths = np.random.default_rng(5), dict.fromkeys(DIMENSIONS, True), []
    scenes = [sample_scene(modality, "test", rng) for _ in range(60)]
    for scene, question in ((s, q) for s in scenes for q in questions(s)):
        quotes = [
            claims(scene, question, compose(scene, question, bad, rng)) for bad in ((), ("relevance", "accuracy"))
        ]
        label = make_label(10, 0, good, good, seen(scene, question))
        label = label.model_copy(update={"quotes_a": quotes[0], "quotes_b": quotes[1]})
        lengths.append(count_tokens(render(label, format)) + 1)  # and the end of the turn
    least = 8 if format.startswith("scores-only") else 20 if format in FEWER else 30
    assert least < max(lengths) <= 64


@EVERY_FORMAT
def test_the_brief_instruction_is_short(format):
    frame = len(processor().encode(messages(make_pair(), "brief", format)).ids)
    frame -= sum(count_tokens(x) for x in ("question", "first answer", "second answer"))
    assert count_tokens(instruction("brief", format)) <= frame <= 40, "all that is said beside prompt and responses"


WRAPPED = [
    ("thought", "<think>A or B?\n[[B]]</think>\n{}"),
    ("thought", "<thinking>one</thinking><think>two</think> {}"),
    ("thought", "the template opened this thought, [[B]]\n</think>\n\n{}"),
    ("thought", "[THINK]hm[/THINK]{}"),
    ("thought", "<seed:think>hm</seed:think>```json\n{}\n```"),
    ("fenced", "```json\n{}\n```"),
    ("fenced", "```{}```"),
    ("fenced", "Here it is:\n```json\n{}\n```\nI hope this helps."),
    ("listed", "[{}]"),
    ("fenced", "```\n[{}]\n```"),
]


@pytest.mark.parametrize(("status", "around"), WRAPPED)
def test_what_stands_around_a_judgement_is_taken_off_and_named(status, around):
    text = around.replace("{}", judged())
    found = read(text)
    assert found == replace(parse(judged()), status=status) and status in READ
    assert parse(text).status in ("no_json", "not_an_object"), "the strict reading takes nothing off"
    broken = read(around.replace("{}", judged(score_A=3)))
    assert (broken.status, broken.verdict) == ("score_mismatch", "A"), "a broken rule is named all the same"


@pytest.mark.parametrize(("status", "text"), BROKEN)
def test_reading_says_of_a_bare_judgement_what_parsing_says(status, text):
    assert read(text) == parse(text) or "```" in text


def test_a_thought_that_does_not_end_holds_no_judgement():
    assert read("<think>perhaps A").status == "unclosed_thought"
    assert (
        verdict.read("<think>[[A]]", "verdict") == verdict.read("<think>[[3]]", "level") == Parsed("unclosed_thought")
    )
    assert read("<think>so</think>").status == "empty"


def test_tags_in_a_thought_are_no_verdict():
    assert (found := verdict.read("<think>[[A]] or [[B]]?</think>So [[B]]", "verdict")).verdict == "B"
    assert found.status == "thought" and verdict.parse("<think>[[A]]</think>[[B]]").status == "several_verdicts"
    assert verdict.read("<think>[[1]]</think>[[4]]", "level").score_a == 4


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (Generated(judged()[:40], 8, False), "cut"),
        (Generated(judged()[:40], 8, True), "no_json"),
        (Generated(judged(), 8, False), "ok"),
        (Generated("", 0, False, "too_long"), "too_long"),
        (Generated(judged(), 8, True, "refused"), "refused"),
    ],
)
def test_how_a_completion_ended_is_its_judgements_status(made, status):
    assert concluded(read(made.text), made).status == status
