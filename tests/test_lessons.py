"""The conversations that teach the roles of GRM-Omni: true, readable, asked as at inference, one form a batch."""

import pytest

from omnirepro.criteria import Task, messages, parse_criteria, parse_direct, parse_judgement
from omnirepro.train.lessons import TURNS, Shown, judged, lessons, true_notes
from omnirepro.world.criteria.composed import POOL_BY_PHRASE, pool_for, truth_under
from omnirepro.world.editing import rate
from omnirepro.world.facts import facts_of
from omnirepro.world.preferences import make_preferences

BATCH = 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_preferences(tmp_path_factory.mktemp("pairs"), "train", 30, 0, ("T2T", "TI2T", "T2I"))


@pytest.fixture(scope="module")
def chats(pairs):
    return lessons(pairs, 40 * BATCH, 0, ("T2T",), 0.2, batch=BATCH)


def text(message):
    return "".join(p.text or "" for p in message["parts"])


def form(chat):
    last = text(chat[-2]).rsplit("\n", 1)[-1]
    kinds = {"judge by criterion.": "judge", "verdict.": "verdict"}
    return kinds.get(last) or ("refine" if last.startswith("fix") else "direct" if last.endswith("judge.") else "write")


def test_a_batch_has_one_form_and_a_form_its_number_of_questions(chats):
    batches = [{form(c) for c in chats[at : at + BATCH]} for at in range(0, len(chats), BATCH)]
    assert all(len(found) == 1 for found in batches) and set().union(*batches) == set(TURNS)
    assert all(len(c) == 2 * TURNS[form(c)] for c in chats)


def test_more_lessons_begin_with_the_same_ones(pairs, chats):
    assert lessons(pairs, 6 * BATCH, 0, ("T2T",), 0.2, batch=BATCH) == chats[: 6 * BATCH]


def test_every_judgement_is_the_worlds_and_can_be_read(pairs, chats):
    known = {"".join(p.text or "" for p in q.prompt) + q.response_a[0].text: q for p in pairs if p.task == "T2T"
             for q in (p, p.swap())}  # fmt: skip
    seen = 0
    for chat in (c for c in chats if form(c) == "judge"):
        shown = text(chat[0]).split("\ncriterion: ")[0].replace("\nA: ", "").split("\nB: ")[0]
        pair = known[shown]
        for asked, answer in zip(chat[::2], chat[1::2], strict=True):
            criterion = text(asked).split("\ncriterion: ")[1].split("\n")[0]
            found = parse_judgement(text(answer))
            assert found.said == truth_under(pair, criterion)
            notes = true_notes(POOL_BY_PHRASE[criterion], *facts_of(pair))
            assert (found.critique_a, found.critique_b) == notes
            seen += 1
    assert seen > 50


def test_a_question_is_the_one_that_is_asked_at_inference(pairs):
    """A later turn repeats only what stands behind the responses, and the first is the chat of the task."""
    for chat in lessons(pairs, 30, 1, ("T2T",), 0.0):
        first, *later = chat[::2]
        assert "\nA: " in text(first) or "\nB: " in text(first)
        assert not any("\nA: " in text(m) or "\nB: " in text(m) for m in later)
    pair = pairs[0]
    (asked,) = messages(Task("judge", pair, ("is safe",)), "brief")
    assert text(asked).endswith("\ncriterion: is safe\njudge by criterion.")
    assert text(asked).index("\nB: ") < text(asked).index("criterion: "), "the criterion stands behind the responses"


def test_direct_judgements_and_lists_are_valid_and_right(chats):
    for chat in (c for c in chats if form(c) in ("direct", "write")):
        for asked, answer in zip(chat[::2], chat[1::2], strict=True):
            count = int(text(asked).rsplit("\nwrite ", 1)[1].split()[0])
            if form(chat) == "direct":
                criteria, found = parse_direct(text(answer), count)
                assert found.status == "ok" and len(criteria) == count
                assert found.critique_a.count("\n") == count - 1, "a line a criterion"
            else:
                assert parse_criteria(text(answer), count)[0] == "ok"


def test_released_models_are_asked_once_in_full(pairs):
    for chat in lessons(pairs, 20, 0, ("T2T",), 0.2, wording="full"):
        assert [m["role"] for m in chat] == ["system", "user", "assistant"]


def test_no_score_of_a_response_by_itself_contradicts_the_comparison(pairs):
    for pair in [p for p in pairs if p.task != "T2I"][:24]:
        sides = facts_of(pair)
        for criterion in pool_for(pair.task):
            a, b = (rate(criterion, said) for said in sides)
            assert 1 <= min(a, b) and max(a, b) <= 10
            assert a == b or ("A" if a > b else "B") == criterion.truth(*sides), criterion.name
            assert judged(Shown.of(pair), criterion).said == criterion.truth(*sides)
