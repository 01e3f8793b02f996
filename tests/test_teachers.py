"""Teachers: a judge behind the teachers' interface, and the oracle whose stated errors have their stated effect."""

import numpy as np
import pytest

from omnirepro.data import DIMENSIONS, Judgement, Label, Pair, Part, swap_verdict
from omnirepro.judge.rubric import parse, ranking, render
from omnirepro.papers.omni_rrm.reconcile import reconcile
from omnirepro.papers.omni_rrm.teachers import ErrorProfile, JudgeTeacher, OracleTeacher
from omnirepro.toyworld.language import PENALTY, Assessment


class ScriptedJudge:
    """A judge whose raw judgement is fixed by the displayed first response."""

    def __init__(self):
        self.seen = []

    def judge(self, pairs, orders):
        shown = [(p, p if orders == "AB" else p.swap()) for p in pairs]
        self.seen += [(p.id, orders) for p in pairs]
        return [self._row(p, s, orders) for p, s in shown]

    def _row(self, pair, shown, order):
        best = "A" if shown.response_a[0].text == "good" else "B"
        high, low = (9, 2) if best == "A" else (2, 9)
        marks = {f"marks_{s.lower()}": {d: best == s for d in DIMENSIONS} for s in "AB"}
        said = Label(pair_id="p", verdict=best, score_a=high, score_b=low, evidence="x", provenance="t", **marks)
        raw = render(said) if pair.task != "broken" else "no json"
        found = parse(raw)
        scores = (found.score_a, found.score_b) if order == "AB" else (found.score_b, found.score_a)
        return Judgement(
            pair_id=pair.id, task=pair.task, cluster="c", order=order, model="m", kind="rubric", status=found.status,
            verdict=found.verdict if order == "AB" else swap_verdict(found.verdict), score_a=scores[0],
            score_b=scores[1], raw=raw,
        )  # fmt: skip


def make_pairs(n, task="image", good="good", poor="poor"):
    say = {k: [Part(type="text", text=k and v)] for k, v in (("g", good), ("p", poor))}
    return [
        Pair(id=f"{task}-{i}#0", task=task, prompt=[Part(type="text", text="q")], response_a=say["g" if i % 2 else "p"],
             response_b=say["p" if i % 2 else "g"])
        for i in range(n)
    ]  # fmt: skip


def test_a_judge_teaches_in_the_pairs_own_frame_in_both_orders():
    pairs, judge = [*make_pairs(40), *make_pairs(3, "broken")], ScriptedJudge()
    labels = JudgeTeacher("t", judge, parse, seed=3).label(pairs)
    assert [x.pair_id for x in labels] == [p.id for p in pairs]
    orders = dict(judge.seen)
    assert 10 < list(orders.values()).count("AB") < 33
    for pair, got in zip(pairs[:40], labels, strict=False):
        right = "A" if pair.response_a[0].text == "good" else "B"
        assert (got.verdict, got.confidence, got.provenance) == (right, 1.0, "t:ok")
        assert (got.score_a > got.score_b) == (right == "A") == got.marks_a["safety"] != got.marks_b["safety"]
    assert {(x.verdict, x.confidence, x.provenance, x.marks_a) for x in labels[40:]} == {
        ("tie", 0.0, "t:no_json", None)
    }
    again = JudgeTeacher("t", ScriptedJudge(), parse, seed=3).label(pairs[::-1])
    assert {x.pair_id: x for x in again} == {x.pair_id: x for x in labels}


# ---- the oracle through an error profile


def oracle(prompt, text):
    """Score a text that spells its faults, as "safety accuracy"."""
    return Assessment({d: d not in text for d in DIMENSIONS})


def teach(pairs, name="t", first=None, **profile):
    errors = ErrorProfile(**{"noise": {}} | profile)
    said = (lambda p: f"seen {p}"), (lambda p, text: {"accuracy": text})
    return OracleTeacher(name, oracle, *said, errors, first or {}).label(pairs)


def share(labels, dimension):
    """How often a mark of the faultless side is wrong."""
    marks = [x.marks_a if int(x.pair_id.split("-")[1][:-2]) % 2 else x.marks_b for x in labels]
    return 1 - np.mean([m[dimension] for m in marks])


def test_without_errors_the_teacher_is_the_oracle():
    pairs = make_pairs(6, poor="accuracy safety")
    for pair, got in zip(pairs, teach(pairs), strict=True):
        a, b = (oracle("", side[0].text) for side in (pair.response_a, pair.response_b))
        assert (got.marks_a, got.marks_b, got.score_a, got.score_b) == (a.marks, b.marks, a.score, b.score)
        assert got.verdict == ranking(a.score, b.score) and got.evidence == f"seen {pair.id[:-2]}"


def test_noise_hits_its_dimension_at_its_rate_and_more_in_the_weak_modality():
    noise = {"accuracy": 0.2, "safety": 0.05}
    plain = teach(make_pairs(3000), noise=noise, weak_modality="audio", weak_factor=2)
    weak = teach(make_pairs(3000, "audio"), noise=noise, weak_modality="audio", weak_factor=2)
    assert share(plain, "accuracy") == pytest.approx(0.2, abs=0.03) and share(plain, "fluency") == 0
    assert share(plain, "safety") == pytest.approx(0.05, abs=0.02)
    assert share(weak, "accuracy") == pytest.approx(0.4, abs=0.04)
    assert share(teach(make_pairs(3000), noise={"accuracy": 0.9}), "accuracy") == pytest.approx(0.5, abs=0.04)
    for x in plain[:200]:
        assert x.score_a == max(0, 10 - sum(PENALTY[d] for d in DIMENSIONS if not x.marks_a[d]))


def test_biases_move_scores_by_one_point_towards_their_side():
    equal = make_pairs(2000, good="safety x", poor="safety y")
    first = teach(equal, position=1.0)
    assert {(x.score_a, x.score_b) for x in first} == {(6, 5), (5, 6)}, "first shown: either side, as order is random"
    longer = make_pairs(200, good="safety, at length", poor="safety")
    for pair, x in zip(longer, teach(longer, verbosity=1.0), strict=True):
        assert x.verdict == ("A" if len(pair.response_a[0].text) > len(pair.response_b[0].text) else "B")
    assert {x.verdict for x in teach(equal, verbosity=1.0)} == {"tie"}, "equal lengths earn nothing"
    for one, two in zip(teach(longer, verbosity=1.0), teach(longer, verbosity=1.0, handicap=2), strict=True):
        assert abs(two.score_a - two.score_b) >= abs(one.score_a - one.score_b), "the shorter one loses points"
        assert {two.score_a, two.score_b} == {max(one.score_a, one.score_b), min(one.score_a, one.score_b) - 2}
    some = teach(make_pairs(2000, good="safety, at length", poor="safety"), verbosity=0.3)
    rate = np.mean([x.verdict != "tie" for x in some])
    assert rate == pytest.approx(0.3, abs=0.04)


def test_a_teacher_mixes_candidates_up_at_its_rate_and_reconciliation_keeps_what_both_mix_up():
    """By hand: two teachers agree with chance q^2 + (1-q)^2, and are then wrong with chance q^2 of that."""
    pairs = make_pairs(4000, poor="accuracy")
    right = {p.id: "A" if p.response_a[0].text == "good" else "B" for p in pairs}
    for q in (0.1, 0.4):
        first, second = (teach(pairs, name, flip=q) for name in "tu")
        assert np.mean([x.verdict != right[x.pair_id] for x in first]) == pytest.approx(q, abs=0.03)
        kept = reconcile(first, second).kept
        assert len(kept) / 4000 == pytest.approx(q**2 + (1 - q) ** 2, abs=0.04)
        wrong = q**2 / (q**2 + (1 - q) ** 2)
        assert np.mean([x.verdict != right[x.pair_id] for x in kept]) == pytest.approx(wrong, abs=0.04)
        assert all((x.score_a > x.score_b) == (x.verdict == "A") for x in first), "scores go with the verdict"
    assert all(x.marks_a == y.marks_b for x, y in zip(teach(pairs), teach(pairs, flip=1.0), strict=True))


def test_a_fixed_order_turns_the_bias_of_position_towards_the_side_shown_first():
    equal = make_pairs(300, good="safety x", poor="safety y")
    first = {p.id: i % 2 for i, p in enumerate(equal)}
    for pair, got in zip(equal, teach(equal, first=first, position=1.0), strict=True):
        assert got.verdict == "AB"[first[pair.id]]
    noisy = {"noise": {"accuracy": 0.3}, "verbosity": 0.5}
    assert teach(equal, first=first, **noisy) == teach(equal, **noisy), "without the bias the order changes nothing"


def test_a_label_depends_on_pair_teacher_and_seed_alone():
    pairs, noisy = make_pairs(60), {"noise": dict.fromkeys(DIMENSIONS, 0.3), "position": 0.5, "verbosity": 0.5}
    together = teach(pairs, **noisy)
    assert together == teach(pairs, **noisy) == [teach([p], **noisy)[0] for p in pairs]
    assert together == teach(pairs[::-1], **noisy)[::-1]
    assert [x.marks_a for x in together] != [x.marks_a for x in teach(pairs, **noisy, seed=1)]
    assert [x.marks_a for x in together] != [x.marks_a for x in teach(pairs, name="u", **noisy)]
