"""The conversations that teach the roles of GRM-Omni: true, readable, asked as at inference, one form a batch."""

import pytest
import torch
from tiny_parts import make_model, processor

from omnirepro.judge.criteria import Task, messages, parse_criteria, parse_direct, parse_judgement
from omnirepro.models.positions import with_positions
from omnirepro.papers.grm_omni.role_examples import TURNS, Shown, judged, lessons, true_notes
from omnirepro.toyworld.criteria.composed import POOL_BY_PHRASE, pool_for, truth_under
from omnirepro.toyworld.editing import rate
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.preferences import make_preferences
from omnirepro.train.completion_loss import answer_loss
from omnirepro.train.shared_prefix import branched, collate

BATCH = 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_preferences(tmp_path_factory.mktemp("pairs"), "train", 30, 0, ("T2T", "TI2T", "T2I"))


@pytest.fixture(scope="module")
def taught(pairs):
    return lessons(pairs, 60 * BATCH, 0, ("T2T",), 0.2, batch=BATCH)


@pytest.fixture(scope="module")
def chats(taught):
    return [chat for lesson in taught for chat in lesson]


def text(message):
    return "".join(p.text or "" for p in message["parts"])


def form(chat):
    last = text(chat[-2]).rsplit("\n", 1)[-1]
    kinds = {"judge by criterion.": "judge", "verdict.": "verdict"}
    return kinds.get(last) or ("refine" if last.startswith("fix") else "direct" if last.endswith("judge.") else "write")


def test_a_batch_has_one_form_and_a_form_its_number_of_questions(taught):
    forms = [{form(c) for lesson in taught[at : at + BATCH] for c in lesson} for at in range(0, len(taught), BATCH)]
    assert all(len(found) == 1 for found in forms) and set().union(*forms) == set(TURNS)
    assert all(len(lesson) == TURNS[form(lesson[0])] for lesson in taught)


def test_a_lesson_is_about_one_pair_and_asks_no_criterion_twice(taught):
    for lesson in (one for one in taught if form(one[0]) in ("judge", "refine")):
        asked = [text(chat[0]).split("\ncriterion: ")[-1].split("\nfix ")[0] for chat in lesson]
        assert len(set(asked)) == (len(lesson) if form(lesson[0]) == "judge" else 1)


def test_every_judgement_is_the_worlds_and_can_be_read(pairs, chats):
    known = {"".join(p.text or "" for p in q.prompt) + q.response_a[0].text: q for p in pairs if p.task == "T2T"
             for q in (p, p.swap())}  # fmt: skip
    seen = 0
    for chat in (c for c in chats if form(c) == "judge"):
        shown = text(chat[0]).split("\ncriterion: ")[0].replace("\nA: ", "").split("\nB: ")[0]
        pair = known[shown]
        asked, answer = chat
        criterion = text(asked).split("\ncriterion: ")[1].split("\n")[0]
        found = parse_judgement(text(answer))
        assert found.said == truth_under(pair, criterion)
        assert (found.critique_a, found.critique_b) == true_notes(POOL_BY_PHRASE[criterion], *facts_of(pair))
        seen += 1
    assert seen > 50


def test_a_criterion_stands_behind_the_responses(pairs):
    (asked,) = messages(Task("judge", pairs[0], ("is safe",)), "brief")
    assert text(asked).endswith("\ncriterion: is safe\njudge by criterion.")
    assert text(asked).index("\nB: ") < text(asked).index("criterion: ")


def test_direct_judgements_and_lists_are_valid_and_right(chats):
    for chat in (c for c in chats if form(c) in ("direct", "write")):
        asked, answer = (text(m) for m in chat)
        count = int(asked.rsplit("\nwrite ", 1)[1].split()[0])
        if form(chat) == "direct":
            criteria, found = parse_direct(answer, count)
            assert found.status == "ok" and len(criteria) == count
            assert found.critique_a.count("\n") == count - 1, "a line a criterion"
        else:
            assert count > 0 and parse_criteria(answer, count)[0] == "ok"


def test_released_models_are_asked_once_in_full(pairs):
    for (chat,) in lessons(pairs, 20, 0, ("T2T",), 0.2, wording="full"):
        assert [m["role"] for m in chat] == ["system", "user", "assistant"]


# ---- several questions in one row


def test_branches_predict_what_each_conversation_predicts_alone(pairs):
    model, made = make_model().eval(), processor()
    rows = [[made.encode(c, train=True) for c in lesson] for lesson in lessons(pairs, 6, 0, ("T2T",), 0.0)]
    batch = collate(made, rows)
    labels, found = batch.pop("labels"), model(**batch, use_cache=False).logits
    for row, examples in enumerate(rows):
        tree = branched(made, examples)
        assert len(tree.ids) < sum(len(e.ids) for e in examples) and 0 < tree.branch.count(0)
        at = shared = tree.branch.count(0)
        for example in examples:
            alone = made.collate([example])
            alone.pop("labels")
            expected, more = model(**alone, use_cache=False).logits[0, shared:], len(example.ids) - shared
            assert torch.allclose(found[row, at : at + more], expected, atol=1e-5)
            assert labels[row, at : at + more].tolist() == example.labels[shared:]
            at += more


@pytest.mark.parametrize("recompute", [False, True])
def test_the_loss_that_is_trained_on_is_that_of_the_conversations_alone(pairs, recompute):
    """With activations recomputed, and within a wrapper as several processes have it, it is the same."""
    model, made = make_model().train(), processor()
    if recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    rows = [[made.encode(c, train=True) for c in lesson] for lesson in lessons(pairs, 4, 0, ("T2T",), 0.0)]
    found = answer_loss(torch.nn.parallel.DataParallel(model, device_ids=[]), collate(made, rows))
    found.backward()
    got = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
    model.zero_grad(set_to_none=True)
    alone = [made.collate([example]) for row in rows for example in row]
    counts = [int((batch["labels"] != -100).sum()) for batch in alone]
    wanted = sum(model(**batch).loss * n for batch, n in zip(alone, counts, strict=True)) / sum(counts)
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for name, weight in model.named_parameters():
        assert (weight.grad is None) == (name not in got), name
        assert name not in got or torch.allclose(got[name], weight.grad, rtol=1e-3, atol=1e-6), name


def test_rows_of_one_question_are_collated_as_ever(pairs):
    made = processor()
    rows = [[made.encode(c, train=True) for c in lesson] for lesson in lessons(pairs, 3, 0, (), 1.0)]
    mine, theirs = collate(made, rows), with_positions(made, [row[0] for row in rows])
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_no_score_of_a_response_by_itself_contradicts_the_comparison(pairs):
    for pair in [p for p in pairs if p.task != "T2I"][:24]:
        sides = facts_of(pair)
        for criterion in pool_for(pair.task):
            a, b = (rate(criterion, said) for said in sides)
            assert 1 <= min(a, b) and max(a, b) <= 10
            assert a == b or ("A" if a > b else "B") == criterion.truth(*sides), criterion.name
            assert judged(Shown.of(pair), criterion).said == criterion.truth(*sides)
