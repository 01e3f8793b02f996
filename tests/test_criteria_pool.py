"""Hundreds of criteria with truth, critiques that say what is so, edits that do what a critique asks; preferences."""

from collections import Counter

import numpy as np
import pytest

from omnirepro.data import DIMENSIONS, read_jsonl, write_jsonl
from omnirepro.evaluate.statistics import clustered_bootstrap
from omnirepro.toyworld.criteria import CRITERIA, TASKS, TEXT_TASKS, Criterion
from omnirepro.toyworld.criteria.composed import POOL, POOL_BY_PHRASE, bearing, parts_of, pool_for, truth_under
from omnirepro.toyworld.editing import OPPOSITES, critique, edit
from omnirepro.toyworld.facts import Said, facts_of
from omnirepro.toyworld.preferences import make_preferences
from omnirepro.toyworld.tasks import split_of


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_preferences(tmp_path_factory.mktemp("preferences"), "train", 60, 0)


def of(pairs, *tasks):
    return [p for p in pairs if p.task in tasks]


def test_at_least_300_criteria_with_different_truths(pairs):
    """Two criteria are one where they say the same of every pair that both may be asked about."""
    assert len(POOL) >= 300 and len(POOL) == len({c.name for c in POOL.values()})
    facts = {task: [facts_of(p) for p in of(pairs, task)] for task in TASKS}
    said = {tuple((t, tuple(c.truth(*f) for f in facts[t])) for t in c.tasks) for c in POOL.values()}
    assert len(said) >= 300, f"only {len(said)} criteria differ in what they say"


def test_every_bearing_is_there_and_means_what_it_says(pairs):
    counts = Counter(bearing(c) for c in POOL.values())
    assert min(counts.values()) >= 25 and set(counts) == {"relevant", "irrelevant", "misleading"}
    right = {kind: [] for kind in counts}
    for p in of(pairs, *TEXT_TASKS):
        for c in pool_for(p.task):
            if (verdict := c.truth(*facts_of(p))) != "tie":
                right[bearing(c)].append(verdict == p.label)
    shares = {kind: np.mean(x) for kind, x in right.items()}
    assert shares["relevant"] > 0.75 > 0.68 > shares["irrelevant"] > 0.45 > shares["misleading"], shares


def test_phrases_lead_back_to_their_criterion(pairs):
    assert all(p in POOL_BY_PHRASE[p].phrasings for c in POOL.values() for p in c.phrasings)
    assert not any(";" in p for p in POOL_BY_PHRASE), "criteria are listed with semicolons between them"
    pair = of(pairs, "T2T")[0]
    assert truth_under(pair, "is true") == CRITERIA["accuracy"].truth(*facts_of(pair))
    assert truth_under(pair, "is made of cheese") is None and truth_under(pair, "the color is as asked") is None
    assert {c.name for c in parts_of(POOL["fluency+safety"])} == {"fluency", "safety"}


def test_a_composition_holds_where_both_parts_do(pairs):
    both, ordered = POOL["relevance+accuracy"], POOL["accuracy>shorter"]
    for p in of(pairs, "T2T", "TV2T"):
        for facts in facts_of(p):
            assert both.value(facts) == (facts.marks["relevance"] and facts.marks["accuracy"])
        a, b = facts_of(p)
        decides = "accuracy" if a.marks["accuracy"] != b.marks["accuracy"] else "shorter"
        assert ordered.truth(a, b) == CRITERIA[decides].truth(a, b)


def test_the_nine_tasks_data_use_the_registry_alone():
    assert all(POOL[name] is c for name, c in CRITERIA.items()) and len(CRITERIA) < 100


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_following_a_critique_mends_what_it_names_and_nothing_else(pairs, dimension):
    rng, mended = np.random.default_rng(0), 0
    for p in of(pairs, *TEXT_TASKS):
        said = facts_of(p)[0]
        note = critique(CRITERIA[dimension], said)
        after = Said(said.scene, said.question, edit(said, note, rng))
        assert note.split()[0] == dimension and note.split()[-1] == ("keep" if said.marks[dimension] else "mend")
        if said.marks[dimension]:
            assert after.text == said.text
        else:
            mended += after.marks[dimension]
            others = [d for d in DIMENSIONS if d != dimension and said.marks[d]]
            assert dimension == "relevance" or all(after.marks[d] for d in others if d != "reasoning")
    needed = sum(not facts_of(p)[0].marks[dimension] for p in of(pairs, *TEXT_TASKS))
    assert needed and mended >= 0.9 * needed


def test_a_misleading_criterion_asks_to_spoil_and_lowers_the_score(pairs):
    rng, falls = np.random.default_rng(0), []
    for p in of(pairs, *TEXT_TASKS):
        said = facts_of(p)[1]
        for name, dimension in OPPOSITES.items():
            note = critique(CRITERIA[name], said)
            assert note.endswith("spoil") == said.marks[dimension]
            falls.append(said.score - Said(said.scene, said.question, edit(said, note, rng)).score)
    assert np.mean(falls) > 0.5 and all(bearing(CRITERIA[n]) == "misleading" for n in OPPOSITES)


def test_text_of_another_form_is_left_alone(pairs):
    said = facts_of(of(pairs, "T2T")[0])[0]
    odd = Said(said.scene, said.question, "I would rather not say.")
    assert edit(odd, "safety poor mend , length short lengthen", np.random.default_rng(0)) == odd.text


def test_preferences_are_decided_balanced_and_of_their_split(pairs, tmp_path):
    assert Counter(p.task for p in pairs) == dict.fromkeys(TASKS, 60)
    for p in pairs:
        gap = p.meta["score_a"] - p.meta["score_b"]
        assert p.criterion is None and p.margin == abs(gap) > 0 and p.label == ("A" if gap > 0 else "B")
        facts = facts_of(p)[0]
        assert split_of(facts.scene if isinstance(facts, Said) else facts.given or facts.wanted) == "train"
    assert Counter(p.label for p in pairs)["A"] == len(pairs) / 2
    assert read_jsonl(write_jsonl(tmp_path / "p.jsonl", pairs), type(pairs[0])) == pairs


def test_length_does_not_tell_the_better_response(pairs):
    longer = [
        (len(p.response_a[0].text) > len(p.response_b[0].text)) == (p.label == "A")
        for p in of(pairs, *TEXT_TASKS)
        if len(p.response_a[0].text) != len(p.response_b[0].text)
    ]
    found = clustered_bootstrap(np.array(longer, float), np.arange(len(longer)))
    assert found.low < 0.5 < found.high, f"the longer response wins {found}"


def test_criteria_are_criteria():
    assert all(isinstance(c, Criterion) and c.tasks and len(c.phrasings) >= 2 for c in POOL.values())
