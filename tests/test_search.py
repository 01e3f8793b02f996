"""Criteria that models write, the three roles, and the search: control flow over fakes, and one real run."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_parts import make_model, processor, text_part

from omnirepro.data import Judgement, Pair, Part
from omnirepro.evaluate import protocol
from omnirepro.judge import criteria, rubric
from omnirepro.judge.criteria import CriterionJudgement, DisRM, GenRM, Policy, Task
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.models.generation import Decoding, Generated, LocalModel
from omnirepro.search import CriteriaSearch, margin_quantile, rerank

# ---- fakes: a writer who numbers its criteria, lies under some, and a scorer who reads a table


def pair(a="good", b="bad", name="p", **more):
    sides = {"response_a": [text_part(a)], "response_b": [text_part(b)]}
    return Pair(id=name, task="T2T", prompt=[text_part("what?")], **{"label": "A"} | sides | more)


def judgement(verdict, note="x"):
    a, b = {"A": (8, 4), "B": (3, 9), "tie": (5, 5)}[verdict]
    return criteria.render_judgement(CriterionJudgement("ok", verdict, a, b, note, note))


class Scribe:
    """Completes the brief prompts: c1, c2, ... are written, each says the side of "good" unless told otherwise."""

    name = "scribe"

    def __init__(self, lies=(), silent=(), ties=(), repeats=False, merge=None):
        self.lies, self.silent, self.ties, self.repeats, self.merge = lies, silent, ties, repeats, merge
        self.asked = []

    def complete(self, chats, decoding, seed=0, progress=None):
        return [Generated(self._answer("".join(p.text for m in c for p in m["parts"])), 7, True) for c in chats]

    def _answer(self, text):
        self.asked.append(text)
        if match := re.search(r"\nknown: (.*)\nwrite (\d+) criteria\.$", text):
            known = [c for c in match[1].split("; ") if c != "none"]
            start = 0 if self.repeats else len(known)
            return criteria.render_criteria([f"c{start + i + 1}" for i in range(int(match[2]))])
        if text.endswith("\njudge by criterion."):
            criterion = re.search(r"\ncriterion: (.*)\njudge by", text)[1].split("; ")[-1]
            true = "A" if "\nA: good" in text else "B"
            if criterion in self.silent:
                return "I cannot say."
            said = "tie" if criterion in self.ties else {"A": "B", "B": "A"}[true] if criterion in self.lies else true
            return judgement(said, criterion)
        if match := re.search(r"\n[AB]: (\w+)\nfix (\w+)\.$", text):
            return f"{match[1]} {match[2]}"
        merged = re.findall(r"\n\d+: (c\d+)\n", text)
        assert text.endswith(f"\nmerge {len(merged)}.")
        said = re.search(r"\[\[(\w+)\]\]", text)[1]
        return self.merge or criteria.render_direct(merged, criteria.parse_judgement(judgement(said)))


class Table:
    """Scores the response's text: "good" 5, "bad" 3, a refined "bad c4" 3 plus the gain of c4, a "good" one 9."""

    def __init__(self, gains):
        self.gains = gains

    def score(self, chats, batch_size, progress=None):
        return [self._one(c[-1]["parts"][0].text) for c in chats]

    def _one(self, text):
        first, _, criterion = text.partition(" ")
        return (
            {"good": 5.0, "bad": 3.0}[first] if not criterion else 9.0 if first == "good" else 3 + self.gains(criterion)
        )


GAINS = {"c4": 2.5, "c9": 2.0, "c7": 1.5}
SCALAR = ScalarJudge(Table(lambda c: GAINS.get(c, 0.5)), "table")


def judge(chat, **more):
    return Judge(chat, wording="brief", decoding=Decoding(max_new_tokens=50), **more)


def search(chat, pairs=None, **settings):
    return CriteriaSearch(**{"disrm": SCALAR} | settings).explore(judge(chat), pairs or [pair()])


# ---- the loop


def test_a_sure_first_judgement_costs_k_judgements_and_stands():
    chat = Scribe()
    for trace in search(chat):
        assert trace.doubt is None and trace.status == "ok" and trace.calls == {"genrm": 4}
        assert trace.judged.verdict == ("A" if trace.order == "AB" else "B") and trace.merged == ("c1", "c2", "c3")
        assert criteria.parse_direct(trace.raw, 3)[1] == trace.judged
    assert all("known: none" in text for text in chat.asked if "write" in text)


def test_a_doubted_one_is_extended_ranked_and_composed():
    (trace,) = search(Scribe(lies=("c2",)), orders="AB")
    assert trace.doubt == "disagree" and [t.criterion for t in trace.tried] == [f"c{i}" for i in range(1, 11)]
    assert [t.round for t in trace.tried] == [0] * 3 + [1] * 7
    assert trace.merged == ("c4", "c9", "c7") and trace.status == "ok"
    assert trace.tried[3].meta == 2.5 and trace.tried[3].refined == {"A": "good c4", "B": "bad c4"}
    assert trace.tried[1].meta == pytest.approx(3.5 - 9), "contradicted: the refined gap, negative"
    assert trace.ranking[-1] == 1 and trace.calls == {"genrm": 13, "policy": 20, "disrm": 22}
    assert trace.tokens == {"genrm": 91, "policy": 140, "disrm": 0}


@pytest.mark.parametrize(
    ("settings", "fake", "doubt"),
    [
        ({}, {"silent": ("c1",)}, "failed"),
        ({}, {"silent": ("c1", "c2", "c3")}, "no_judgement"),
        ({"unsure_margin": 2.0}, {}, "close"),
        ({"unsure_margin": 1.9}, {}, None),
        ({"extend": "always"}, {}, "always"),
        ({"extend": "never", "disrm": None}, {"lies": ("c1", "c2")}, None),
        ({"gold": lambda p: "A"}, {"lies": ("c1", "c2")}, "wrong"),
        ({"gold": lambda p: "A"}, {"lies": ("c1",)}, None),
        ({"gold": lambda p: "A"}, {"silent": ("c1", "c2", "c3")}, "wrong"),
        ({"gold": lambda p: None}, {"lies": ("c1",)}, "disagree"),
        ({"gold": lambda p: "tie"}, {"ties": ("c1", "c2", "c3")}, None),
    ],
)
def test_why_a_search_goes_on(settings, fake, doubt):
    for trace in search(Scribe(**fake), **settings):
        assert trace.doubt == doubt, "the same in both orders: gold turns with the display"
        assert len(trace.tried) == (10 if doubt else 3)


@pytest.mark.parametrize("compose", ["merge", "vote"])
@pytest.mark.parametrize("variant", ["published", "margin", "random", "clipped"])
@pytest.mark.parametrize("per_call", [1, 4, 10])
def test_the_budget_holds_and_is_reached_in_the_worst_case(compose, variant, per_call):
    settings = {"variant": variant, "compose": compose, "per_call": per_call, "unsure_margin": 0.0}
    scaling = CriteriaSearch(disrm=SCALAR, **settings)
    budget = scaling.budget(judge(Scribe()))
    (trace,) = search(Scribe(lies=("c1",)), orders="AB", **settings)
    assert {name: trace.calls[name] for name in budget.calls} == budget.calls
    assert all(trace.tokens[name] <= budget.tokens[name] for name in budget.tokens)
    assert budget.judge_calls == math.ceil(3 / per_call) + math.ceil(7 / per_call) + 10 + (compose == "merge")


def test_failed_judgements_keep_their_index_and_are_never_composed():
    (trace,) = search(Scribe(silent=("c2", "c4", "c5"), ties=("c9",)), orders="AB")
    assert [math.isnan(t.meta) for t in trace.tried] == [i in (1, 3, 4) for i in range(10)]
    assert trace.ranking[-3:] == [1, 3, 4] and trace.tried[8].meta == 0 and not trace.tried[8].refined
    assert trace.merged[0] == "c7" and trace.failures == {"judge:stray_text": 3}


def test_duplicates_are_removed_and_counted_and_not_asked_for_again():
    (trace,) = search(Scribe(lies=("c1",), repeats=True), orders="AB")
    assert [t.criterion for t in trace.tried] == [f"c{i}" for i in range(1, 8)]
    assert trace.failures == {"write:duplicate": 3} and trace.calls["genrm"] == 2 + 7 + 1


@pytest.mark.parametrize(
    ("reply", "status"), [("", "empty"), (judgement("A"), "no_criteria"), ("<verdict>[[A]]", "unclosed")]
)
def test_a_merge_that_breaks_a_rule_fails_by_name(reply, status):
    chat = Scribe(lies=("c1",), merge=reply or " ")
    (row,) = judge(chat).judge([pair()], scaling=CriteriaSearch(disrm=SCALAR, orders="AB"))
    assert row.status == status and row.raw == (reply or " ")


def test_where_nothing_can_be_read_the_row_says_so():
    class Mute(Scribe):
        def _answer(self, text):
            return "hm"

    for row in judge(Mute()).judge([pair()], scaling=CriteriaSearch(disrm=SCALAR)):
        assert row.status == "no_criteria" and row.verdict is None and row.decoding["doubt"] == "no_judgement"
        assert row.decoding["failures"] == {"write:stray_text": 2} and row.decoding["calls"]["genrm"] == 2
    (row,) = judge(Scribe(silent=[f"c{i}" for i in range(11)])).judge(
        [pair()], scaling=CriteriaSearch(disrm=SCALAR, orders="AB")
    )
    assert row.status == "no_verdict" and row.verdict is None and row.decoding["criteria"] == 10


def test_rows_are_frozen_in_the_pairs_own_frame_with_their_cost():
    pairs = [pair(name="p"), pair("bad", "good", "q", label="B", criterion="be kind", cluster="z")]
    rows = judge(Scribe(lies=("c3",)), seed=4).judge(pairs, scaling=CriteriaSearch(disrm=SCALAR))
    assert [(r.pair_id, r.order, r.verdict) for r in rows] == [(n, o, v) for n, v in ("pA", "qB") for o in ("AB", "BA")]
    for row in rows:
        assert row.kind == "criterion" and row.status == "ok" and row.seed == 4 and row.model == "scribe"
        assert (row.score_a > row.score_b) == (row.verdict == "A")
        assert row.tokens == sum(row.decoding["generated"].values()) == 7 * 33
        assert row.decoding["calls"] == row.decoding["budget"]["calls"]
        assert Judgement.model_validate(json.loads(row.model_dump_json())) == row
    assert protocol.metrics(rows)["accuracy"]["value"] == 1


def test_no_role_sees_what_a_judge_must_not():
    chat, seen = Scribe(lies=("c1",)), []
    hidden = pair(label="B", margin=3.25, source="secret", meta={"score_a": 77, "score_b": 66}, criterion="be kind")
    search(chat, [hidden], gold=lambda p: seen.append(p) or p.label)
    assert all(p is hidden for p in seen), "gold is asked about the pair itself, never by a role"
    assert not any(word in text for text in chat.asked for word in ("secret", "77", "66", "3.25"))
    assert all("\ncriterion: be kind" in t for t in chat.asked if "\nfix" not in t), "the pair's own criterion stays"


def test_pairs_do_not_influence_each_other():
    pairs = [pair(name="p"), pair("bad", "good", "q"), pair("good", "good", "r")]
    together = search(Scribe(lies=("c2",)), pairs)
    alone = [trace for p in pairs for trace in search(Scribe(lies=("c2",)), [p])]
    assert [(t.pair.id, t.order, t.ranking, t.judged, t.calls) for t in together] == [
        (t.pair.id, t.order, t.ranking, t.judged, t.calls) for t in alone
    ]


def test_one_trace_serves_every_variant():
    (trace,) = search(Scribe(lies=("c4",), silent=("c1",)), orders="AB")
    assert rerank(trace, "published") == trace.ranking
    assert rerank(trace, "margin")[:-1] == [1, 2, *range(4, 10), 3], "one margin a side; c1 failed, c4 lies"
    orders = {tuple(rerank(trace, "random", seed)) for seed in range(5)}
    assert len(orders) == 5 and all(order[-1] == 0 for order in orders)


def test_a_response_that_is_no_text_is_not_refined(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    image = Part(type="image", path=str(tmp_path / "x.png"), sha256="0")

    class Either(Scribe):
        def complete(self, chats, decoding, seed=0, progress=None):
            named = [[{"parts": [text_part(p.text or "good") for p in m["parts"]]} for m in c] for c in chats]
            return super().complete(named, decoding)

    class Seen(Table):
        def _one(self, text):
            return 5.0 if text is None else super()._one(text)

    scalar = ScalarJudge(Seen(lambda c: 1.0), "seen")
    (trace,) = search(Either(lies=("c1",)), [pair(response_a=[image])], disrm=scalar, orders="AB")
    assert trace.calls["policy"] == 10 and trace.tried[3].refined == {"B": "bad c4"}
    assert trace.tried[3].scores == {"A": 5.0, "B": 4.0} and trace.tried[3].meta == 1


def test_a_judge_trained_on_the_rubric_can_search_with_its_own_format():
    class Rubric(Scribe):
        def _answer(self, text):
            if not text.endswith("\njudge both."):
                return super()._answer(text)
            self.asked.append(text)
            marks = [{"fluency": s == ("A" if "\nA: good" in text else "B")} for s in "AB"]
            reason = rubric.rationale("it", {s: (m, {}) for s, m in zip("AB", marks, strict=True)}, ("fluency",))
            better, a, b = ("A", 9, 0) if marks[0]["fluency"] else ("B", 0, 9)
            return json.dumps({"reasoning": f"<think>{reason}</think>", "score_A": a, "score_B": b, "better": better,
                               "final_verdict": f"<answer>[[{better}]]</answer>"})  # fmt: skip

    chat = Rubric()
    search(chat, form="rationale-first", extend="always", disrm=ScalarJudge(Table(lambda c: 1.0), "t"))
    assert any(text.endswith("bad\nfix fluency.") for text in chat.asked)
    assert any(text.endswith("good\nfix nothing.") for text in chat.asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "05_bradley_terry"),
        ({"disrm": SCALAR, "variant": "publishd"}, "variant"),
        ({"disrm": SCALAR, "k": 0}, "at least 1"),
        ({"variant": "random", "unsure_margin": 1.0}, "scalar model"),
        ({"disrm": SCALAR, "compose": "mix"}, "merge, vote"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CriteriaSearch(**settings)


def test_a_scalar_judge_cannot_search():
    with pytest.raises(TypeError, match="table gives scores"):
        SCALAR.judge([pair()], scaling=CriteriaSearch(disrm=SCALAR))


def test_the_margins_quantile_comes_from_the_scalar_model():
    pairs = [pair(), pair("good", "good", "q"), pair("bad", "good", "r")]
    assert margin_quantile(SCALAR, pairs, 0.5) == 2.0 and margin_quantile(SCALAR, pairs, 0) == 0
    with pytest.raises(ValueError, match="finite"):
        margin_quantile(ScalarJudge(Table(lambda c: math.nan), "t"), [pair("bad x", "bad x")], 0.5)


# ---- reading and writing

CRITERIA = "<criterion 1>Truth: is it true?</criterion 1>\n<criterion 2>Evidence: why?</criterion 2>"


@pytest.mark.parametrize(
    ("text", "status", "found"),
    [
        (CRITERIA, "ok", 2),
        (f"<think>first <criterion 1>x</think>\n{CRITERIA}", "ok", 2),
        ("  ", "empty", 0),
        ("<criterion 1>a<criterion 1>\n<criterion 2>b</criterion 2>", "unclosed", 1),
        ("<criterion 1>a<criterion 2>b</criterion 2></criterion 1>", "unclosed", 0),
        ("<think>never ends", "unclosed", 0),
        ("Here you are:\n" + CRITERIA, "stray_text", 2),
        ("1. truth\n2. evidence", "stray_text", 0),
        (CRITERIA.replace("criterion 2", "criterion 3"), "wrong_numbers", 2),
        ("<criterion 1>a</criterion 1>", "wrong_count", 1),
        (CRITERIA + "<criterion 3>c</criterion 3>", "wrong_count", 2),
        ("<criterion 1>a</criterion 1><criterion 2> -- </criterion 2>", "empty_criterion", 1),
        (CRITERIA + "<verdict>[[A]]</verdict>", "wrong_fields", 2),
        (judgement("A"), "wrong_fields", 0),
    ],
)
def test_criteria_are_read_strictly(text, status, found):
    said, legible = criteria.parse_criteria(text, 2)
    assert (said, len(legible)) == (status, found) and said in criteria.STATUSES


GOOD = judgement("A", "because 'x'")


@pytest.mark.parametrize(
    ("text", "status", "verdict"),
    [
        (GOOD, "ok", "A"),
        (judgement("tie"), "ok", "tie"),
        (GOOD.replace(">4<", ">8<"), "ok", "A"),
        (GOOD.replace(">4<", ">9<"), "score_mismatch", "A"),
        (judgement("tie").replace("<score A>5", "<score A>6"), "score_mismatch", "tie"),
        (GOOD.replace(">8<", ">11<"), "bad_score", "A"),
        (GOOD.replace(">8<", ">8.5<"), "bad_score", "A"),
        (GOOD.replace(">8<", ">0<"), "bad_score", "A"),
        (GOOD.replace("[[A]]", "A"), "no_verdict", None),
        (GOOD.replace("[[A]]", "it is [[A]]"), "no_verdict", "A"),
        (GOOD.replace("[[A]]", "[[A]] [[B]]"), "several_verdicts", None),
        (GOOD.replace("because 'x'", " "), "no_critique", "A"),
        (GOOD.replace("</score B>", ""), "unclosed", "A"),
        (GOOD + "\nThank you.", "stray_text", "A"),
        (GOOD + "<verdict>[[A]]</verdict>", "wrong_fields", "A"),
        ("\n".join(reversed(GOOD.splitlines())), "wrong_fields", "A"),
        (CRITERIA + GOOD, "wrong_fields", "A"),
        ("", "empty", None),
    ],
)
def test_judgements_are_read_strictly_and_keep_what_is_legible(text, status, verdict):
    found = criteria.parse_judgement(text)
    assert (found.status, found.verdict) == (status, verdict) and status in criteria.STATUSES
    assert found.said == (verdict if status == "ok" else None)


def test_direct_judgements_are_criteria_and_a_judgement():
    found, judged = criteria.parse_direct(CRITERIA + "\n" + GOOD, 2)
    assert judged.said == "A" and found[0] == "Truth: is it true?"
    assert criteria.parse_direct(GOOD, 2)[1].status == "no_criteria"
    assert criteria.parse_direct(GOOD + CRITERIA, 2)[1].status == "wrong_fields"
    assert criteria.parse_direct(CRITERIA + "\n" + GOOD, 3)[1].status == "wrong_count"


@given(st.text(), st.integers(1, 5))
def test_reading_never_raises(text, count):
    for wrapped in (
        text,
        f"<criterion 1>{text}</criterion 1>",
        f"{CRITERIA}<critique A>{text}</critique A>",
        GOOD + text,
    ):
        assert criteria.parse_criteria(wrapped, count)[0] in criteria.STATUSES
        assert criteria.parse_judgement(wrapped).status in criteria.STATUSES
        assert criteria.parse_direct(wrapped, count)[1].status in criteria.STATUSES


def test_a_duplicate_is_one_after_normalisation():
    written = ["Truth: is it true?", " truth —  IS it true", "ｔｒｕｔｈ is it true", "Truth", "...", "Evidence"]
    assert criteria.distinct(written) == ["Truth: is it true?", "Truth", "Evidence"]
    assert criteria.distinct(written, known=["evidence!"]) == ["Truth: is it true?", "Truth"]


VERDICTS = st.lists(
    st.tuples(st.sampled_from(["A", "B", "tie", None]), st.integers(1, 10), st.integers(1, 10)), max_size=6
)


@given(VERDICTS)
def test_a_vote_is_a_valid_judgement_wherever_one_vote_is(votes):
    judged = []
    for v, a, b in votes:
        scores = {"A": (max(a, b), min(a, b)), "B": (min(a, b), max(a, b))}.get(v, (a, a))
        judged.append(CriterionJudgement("ok" if v else "no_verdict", v, *scores, "x", "y"))
    names = [f"c{i}" for i in range(len(votes))]
    merged = criteria.vote(names, judged)
    said = [v for v, _, _ in votes if v]
    assert merged.status == ("ok" if said else "no_verdict")
    if said:
        decided = [v for v in said if v != "tie"] or said
        assert decided.count(merged.verdict) == max(map(decided.count, decided))
        assert merged.critique_a.count("\n") == len(said) - 1
        assert criteria.parse_direct(criteria.render_direct(names, merged), len(names))[1].said == merged.verdict


def test_what_would_not_be_valid_is_not_written():
    with pytest.raises(ValueError, match="score_mismatch"):
        criteria.render_judgement(CriterionJudgement("ok", "A", 1, 2, "x", "y"))


@pytest.mark.parametrize("kind", ["write", "judge", "direct", "merge", "refine"])
@pytest.mark.parametrize("wording", ["full", "brief"])
def test_prompts_close_their_tags_and_name_the_count(kind, wording):
    names, notes = ("be brief", "be true"), ("fine", "poor")
    one = {"judge": names[:1], "refine": ()}.get(kind, names)
    task = Task(
        kind, pair(), one, 6 if kind in ("write", "direct") else 0, "A", notes[:1] if kind == "refine" else notes
    )
    chat = criteria.messages(task, wording)
    text = "".join(p.text for m in chat for p in m["parts"])
    assert [m["role"] for m in chat] == (["system", "user"] if wording == "full" else ["user"])
    opened = re.findall(r"<((?:criterion|critique|score|verdict)[^>/]*)>", text)
    assert all(text.count(f"<{name}>") == text.count(f"</{name}>") for name in opened)
    assert "{" not in text and ("6 criteria" in text) == (kind in ("write", "direct"))
    assert ("bad" in text) == (kind != "refine") and "good" in text
    assert all(c in text for c in ({"direct": ()}.get(kind, one)))


def test_the_full_prompts_example_is_what_the_parser_reads():
    for kind, read in (("judge", criteria.parse_judgement), ("direct", lambda t: criteria.parse_direct(t, 1)[1])):
        prompt = criteria.messages(Task(kind, pair(), ("x",), 1))[0]["parts"][0].text
        shown = "\n".join(line for line in prompt.splitlines() if line.startswith("<"))
        assert read(shown.replace("an integer", "7")).said == "A"


def test_roles_refuse_what_is_not_theirs_and_share_one_interface():
    roles = {"genrm": GenRM(Scribe(), "brief"), "policy": Policy(Scribe(), "brief"), "disrm": DisRM(SCALAR)}
    mine = {"genrm": Task("write", pair(), count=2), "policy": Task("refine", pair(), side="B", notes=("c4",)),
            "disrm": Task("score", pair(), side="B")}  # fmt: skip
    values = {name: role.answer([mine[name]])[0].value for name, role in roles.items()}
    assert values == {"genrm": ("c1", "c2"), "policy": "bad c4", "disrm": 3.0}
    assert all(role.answer([]) == [] and role.name and role.limit >= 0 for role in roles.values())
    for name, role in roles.items():
        with pytest.raises(ValueError, match="not"):
            role.answer([mine["disrm" if name != "disrm" else "policy"]])


@pytest.mark.parametrize(
    ("text", "finished", "status"), [("x", True, "ok"), (" ", True, "empty"), ("x", False, "unfinished")]
)
def test_a_refinement_must_end_by_itself(text, finished, status):
    made = Generated(f"<think>hm</think>{text}", 3, finished)
    assert criteria.read(Task("refine", pair(), side="A", notes=("c",)), made).status == status


# ---- over real models


class Framed:
    """A real model whose words are put into the forms that it was never taught."""

    name = "framed"

    def __init__(self, inner):
        self.inner = inner

    def complete(self, chats, decoding, seed=0, progress=None):
        made = self.inner.complete(chats, decoding, seed, progress)
        return [
            Generated(self._frame(c[-1]["parts"][-1].text, m.text), m.tokens, True)
            for c, m in zip(chats, made, strict=True)
        ]

    def _frame(self, asked, said):
        words = re.sub(r"[^\w ]", "", said)
        if count := re.search(r"write (\d+) criteria\.$", asked):
            return criteria.render_criteria([f"{i} {words}" for i in range(int(count[1]))])
        verdict = "AB"[len(words) % 2]
        return judgement(verdict, words or "none") if asked.endswith("criterion.") else said


def test_the_search_ends_within_its_budget_over_an_untrained_thinker(monkeypatch):
    from omnirepro.models.scalar import Scorer
    from omnirepro.toyworld import language

    monkeypatch.setattr(language, "assess", lambda *a: pytest.fail("a role asked the world"))
    local = LocalModel(make_model(), processor(), "untrained", batch_size=16)
    scalar = ScalarJudge(Scorer(make_model(1), processor()), "bt")
    decoding = Decoding(max_new_tokens=6, temperature=1.0)
    pairs = [pair("the color is red.", "the color is blue."), pair("it is 2.", "i see a circle.", "q")]
    for chat, compose in ((local, "merge"), (Framed(local), "vote")):
        scaling = CriteriaSearch(k=2, n=2, disrm=scalar, unsure_margin=0.0, compose=compose)
        real = Judge(chat, wording="brief", decoding=decoding)
        budget = scaling.budget(real)
        rows = real.judge(pairs, scaling=scaling)
        assert len(rows) == 4 and all(row.decoding["doubt"] for row in rows)
        for row in rows:
            spent = row.decoding["calls"]
            assert all(spent.get(name, 0) <= most for name, most in budget.calls.items())
            assert 0 < row.tokens <= sum(budget.tokens.values())
        assert {row.status for row in rows} == ({"no_criteria"} if compose == "merge" else {"ok"})
