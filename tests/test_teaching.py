"""What models are taught: single-response skills of the base, and the judgements of fine-tuning."""

import re

import numpy as np
import pytest

from omnirepro.data import DIMENSIONS, Label, Pair, Part
from omnirepro.judge import rubric
from omnirepro.toyworld.language import assess, claims, questions, stated
from omnirepro.toyworld.pretraining import skills
from omnirepro.toyworld.scenes import passage
from omnirepro.toyworld.tasks import sample_scene
from omnirepro.train.sft import conversations


def text(value):
    return [Part(type="text", text=value)]


def chats(n, early=False):
    """Draw conversations about passages, which need no file."""
    for i in range(n):
        rng = np.random.default_rng(i)
        scene = sample_scene("text", "train", rng)
        shown = [(scene, Part(type="text", text=passage(scene)))]
        phase = "short" if early else ("plain", "respond", "several", "several")[i % 4]
        yield skills.bare_scores(rng) if i % 8 == 7 and not early else skills.conversation(shown, rng, phase)


def said(chat, role):
    return ["".join(p.text for p in m["parts"]) for m in chat if m["role"] == role]


def test_no_answer_of_the_base_weighs_two_responses():
    asked = [(q, a) for chat in chats(400) for q, a in zip(said(chat, "user"), said(chat, "assistant"), strict=True)]
    beside = [(q, a) for q, a in asked if "\nA: " in q and "\nB: " in q]
    assert len(beside) > 50, "responses must also be marked beside another one"
    for question, answer in asked:
        bare = re.search(r"write scores( score first)?\.$", question) and "A: " not in question
        assert bare or not ("better" in answer or "verdict" in answer), f"{question!r} is answered by {answer!r}"
        assert bare or "score_A" not in answer or "score_B" not in answer


def test_checks_mark_each_response_by_itself_as_the_world_does():
    sides = set()
    for i in range(150):
        rng = np.random.default_rng(i)
        scene = sample_scene("text", "train", rng)
        question = questions(scene)[i % 5]
        asked, answer = skills.about_response("check", scene, question, rng)
        shown = dict(re.findall(r"\n([AB]): (.*)", asked))
        dimensions = re.search(r"check (.*)\.", asked)[1].split()
        marks = rubric.Parsed("ok", reasoning=answer.replace("\\n", "\n")).marks
        for side, text in shown.items():
            assert marks[side] == {d: assess(scene, question, text).marks[d] for d in dimensions}
        sides.add(tuple(shown))
    assert sides == {("A",), ("B",), ("A", "B")}


def test_the_gate_asks_about_accurate_and_inaccurate_responses_with_the_worlds_answer():
    answers = []
    for i in range(200):
        rng = np.random.default_rng(i)
        scene = sample_scene(("image", "video", "audio", "text")[i % 4], "dev", rng)
        question = questions(scene)[0]
        asked, accurate = skills.ask_check(scene, question, i % 2 == 0, rng)
        shown = re.search(r"\nA: (.*)\ncheck accuracy\.$", asked)[1]
        assert accurate == assess(scene, question, shown).marks["accuracy"] == (i % 2 == 0), asked
        first_false = claims(scene, question, shown)["accuracy"].split(" is ")[0]
        answers.append((accurate, first_false == stated(shown).split()[1]))
    assert {by_value for accurate, by_value in answers if not accurate} == {True, False}, "evidence is false alone too"


def test_the_side_that_is_asked_about_is_the_one_that_is_marked():
    for chat in chats(200):
        for question, answer in zip(said(chat, "user"), said(chat, "assistant"), strict=True):
            if asked := re.search(r"judge ([AB])", question):
                assert f'"score_{asked[1]}"' in answer


def test_bare_scores_name_their_winner_and_equal_ones_name_none():
    verdicts = set()
    for i in range(100):
        asked, written = skills.state_scores(np.random.default_rng(i))
        found = rubric.parse(written.replace("seen: <", "seen: x<"), "rationale-first")
        assert found.status == "ok"
        assert not re.search(r"\d", asked), "the winner must be read off the judgement's own scores"
        verdicts.add(found.verdict)
    assert verdicts == {"A", "B", "tie"}


def test_scores_that_nothing_tells_are_not_learned_and_those_of_a_response_are():
    for chat in chats(200):
        for asked, answer in zip(chat[::2], chat[1::2], strict=True):
            assert bool(answer.get("free")) == ("write scores" in asked["parts"][-1].text)


def test_a_question_is_asked_once():
    for chat in chats(100, early=True):
        asked = [q for q in said(chat, "user") if " said " not in q]
        bare = [q.split("\n")[-2] if q.count("\n") > 1 else q.split("\n")[0] for q in asked]
        assert len(set(bare)) == len(bare)


def labelled():
    rng = np.random.default_rng(0)
    scene = sample_scene("text", "train", rng)
    question = questions(scene)[0]
    pair = Pair(
        id="p1", task="text", prompt=[*text(passage(scene)), *text(f"\n{question.text}")],
        response_a=text("one"), response_b=text("two"),
    )  # fmt: skip
    good = dict.fromkeys(DIMENSIONS, True)
    label = Label(
        pair_id="p1", verdict="A", score_a=10, score_b=6, marks_a=good, marks_b=good | {"accuracy": False},
        quotes_a={"accuracy": "x is x"}, quotes_b={"accuracy": "y is x"}, evidence="x", provenance="test",
    )  # fmt: skip
    return [pair], [label]


def judgement(chat):
    found = rubric.parse(chat[-1]["parts"][0].text)
    assert found.status == "ok"
    return found


def test_both_orders_are_taught_with_the_label_exchanged():
    first, second = (judgement(c) for c in conversations(*labelled(), "brief", "rationale-first"))
    assert (first.verdict, first.score_a, first.score_b) == ("A", 10, 6)
    assert (second.verdict, second.score_a, second.score_b) == ("B", 6, 10)
    assert first.marks["A"] == second.marks["B"] and first.marks["B"] == second.marks["A"]


def test_a_response_beside_itself_is_a_tie():
    *_, chat = conversations(*labelled(), "brief", "rationale-first", ties=1.0)
    found, asked = judgement(chat), said(chat, "user")[0]
    assert found.verdict == "tie" and found.score_a == found.score_b and found.marks["A"] == found.marks["B"]
    assert "\nA: one" in asked and "\nB: one" in asked


@pytest.mark.parametrize(("share", "more"), [(0.0, 0), (0.25, 2), (0.5, 5), (1.0, 10)])
def test_the_share_of_ties_is_kept(share, more):
    pairs, (label,) = labelled()
    made = conversations(pairs, [label] * 10, "brief", "rationale-first", both_orders=False, ties=share)
    assert len(made) == 10 + more


def test_a_free_text_rationale_is_taught_in_its_own_order_only():
    pairs, (label,) = labelled()
    spoken = label.model_copy(update={"rationale": "Part 1: A is better.", "shown": "BA"})
    assert len(conversations(pairs, [spoken], "brief", "rationale-first", ties=1.0)) == 1
