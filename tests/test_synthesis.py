"""Candidate pairs: random order, conserved counts, nothing in a pair that betrays its generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro.data import DIMENSIONS, Part, Prompt, Response
from omnirepro.papers.omni_rrm.synthesis import differing, gaps, gold, make_pairs
from omnirepro.toyworld.language import compose
from omnirepro.toyworld.tasks import World, make_prompts

ANSWERS = st.lists(st.tuples(*[st.sampled_from(["", "x", "y", "it is z."])] * 2), max_size=30)


def ask(n):
    part = Part(type="text", text="q")
    return [Prompt(id=f"train-{i:05d}", task="text", parts=[part], cluster=str(i)) for i in range(n)]


def answers(prompts, texts, name):
    return [
        Response(prompt_id=p.id, parts=[Part(type="text", text=t)], generator=name)
        for p, t in zip(prompts, texts, strict=True)
    ]


@settings(max_examples=80, deadline=None)
@given(ANSWERS, st.integers(0, 99))
def test_every_prompt_is_kept_or_counted_out(texts, seed):
    prompts = ask(len(texts))
    strong, weak = ([t[i] for t in texts] for i in (0, 1))
    made = make_pairs(prompts, answers(prompts, strong, "strong"), answers(prompts, weak, "weak"), seed)
    pairs, origins, counts = made
    assert counts == {
        "empty": sum(not (s and w) for s, w in texts),
        "equal": sum(bool(s) and s == w for s, w in texts),
        "kept": len(pairs),
    }
    assert sum(counts.values()) == len(texts) and len(origins) == len(pairs)
    known = {f"{p.id}#0": (s, w) for p, s, w in zip(prompts, strong, weak, strict=True)}
    for pair, origin in zip(pairs, origins, strict=True):
        sides = {"A": pair.response_a[0].text, "B": pair.response_b[0].text}
        other = {"A": "B", "B": "A"}[origin.strong]
        assert (sides[origin.strong], sides[other]) == known[pair.id == origin.pair_id and pair.id]


def test_the_order_is_a_fair_coin_whatever_the_prompt():
    prompts = ask(4000)
    made = make_pairs(prompts, answers(prompts, ["good"] * 4000, "s"), answers(prompts, ["poor"] * 4000, "w"), 0)
    first = np.array([o.strong == "A" for o in made[1]], float)
    assert abs(first.mean() - 0.5) < 0.035, "4.4 standard errors"
    for period in (2, 3, 4, 8):
        for rest in range(period):
            assert abs(first[rest::period].mean() - 0.5) < 0.11
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.07
    again = make_pairs(prompts, answers(prompts, ["good"] * 4000, "s"), answers(prompts, ["poor"] * 4000, "w"), 1)
    assert [o.strong for o in again[1]] != [o.strong for o in made[1]]


@pytest.fixture(scope="module")
def contrast(tmp_path_factory):
    """World prompts with a faultless answer and one spoiled on a dimension drawn at random."""
    prompts, truths = make_prompts(tmp_path_factory.mktemp("media"), "train", 80, 0)
    world, rng = World.from_rows(truths), np.random.default_rng(0)
    good = [compose(*world.truths[p.id]) for p in prompts]
    poor = [compose(*world.truths[p.id], {DIMENSIONS[i % 5]}, rng) for i, p in enumerate(prompts)]
    return prompts, world, make_pairs(prompts, answers(prompts, good, "S"), answers(prompts, poor, "W"), 0)


def test_pairs_hide_their_generators_and_media_tell_nothing(contrast):
    prompts, _, (pairs, origins, _) = contrast
    assert not any(field in p.model_dump(exclude_none=True) for p in pairs for field in ("source", "meta", "label"))
    assert '"S"' not in "".join(p.model_dump_json() for p in pairs)
    by_id = {p.id: p for p in prompts}
    for pair in pairs:
        assert pair.prompt == by_id[pair.id.split("#")[0]].parts, "the medium is the prompt's, whoever answered"
    from pathlib import Path

    first = np.array([o.strong == "A" for o in origins], float)
    for feature in (lambda p: Path(p.prompt[0].path).stat().st_size, lambda p: int(p.id[6:11]), lambda p: len(p.id)):
        for task in ("image", "video", "audio"):
            rows = [i for i, p in enumerate(pairs) if p.task == task]
            values = np.array([feature(pairs[i]) for i in rows], float)
            if values.std():
                assert abs(np.corrcoef(values, first[rows])[0, 1]) < 0.75, "20 rows: chance stays below"


def test_gold_labels_are_the_oracles_and_leave_ties_out(contrast):
    _, world, (pairs, origins, _) = contrast
    labelled = gold(pairs, world.assess)
    strong = {o.pair_id: o.strong for o in origins}
    assert len(labelled) == len(pairs) and all(p.label == strong[p.id] for p in labelled)
    assert {p.margin for p in labelled} == {1.0, 2.0, 3.0, 4.0, 5.0}, "the price of the spoiled dimension"
    tied = pairs[0].model_copy(update={"response_b": pairs[0].response_a})
    assert gold([tied, pairs[1]], world.assess) == [labelled[1]]


def test_gaps_tell_strong_from_weak(contrast):
    _, world, (pairs, origins, _) = contrast
    table = gaps(pairs, origins, world.assess)
    assert len(table) == 2 * len(pairs)
    means = table.groupby("generator")["score"].mean()
    assert means["strong"] == 10 and means["weak"] == pytest.approx(10 - 15 / 5)
    assert np.allclose(differing(table).mean(), 0.2) and set(differing(table)) == set(DIMENSIONS)
