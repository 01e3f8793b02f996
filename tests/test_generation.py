"""Generation: a row says what it says alone, whatever the batch; control tokens are never sampled."""

import pytest
import torch
from tiny_parts import make_model, processor, user

from omnirepro.models import generation
from omnirepro.models.generation import Decoding, LocalModel, generate
from omnirepro.models.towers import remember
from omnirepro.toyworld.pretraining.trainer import make_pool

GREEDY, SAMPLED = Decoding(max_new_tokens=8), Decoding(max_new_tokens=8, temperature=1.0, top_p=0.95, top_k=200)
DECODINGS = pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("pool"), "train", 3, 0)


@pytest.fixture(scope="module")
def chats(pool):
    """Prompts of every modality, of none and of several, of very different lengths."""
    parts = {m: [part for _, part in scenes] for m, scenes in pool.items()}
    asked = [[user(part, f" what is it{' really' * i}?")] for m in parts for i, part in enumerate(parts[m])]
    mixed = [user("1:", parts["audio"][0], "2:", parts["image"][1], "3:", parts["video"][2], "2: what color?")]
    return [*asked, mixed, [user("x")], [user("say " * 60)]]


@pytest.fixture(scope="module")
def examples(chats):
    return [processor().encode(chat) for chat in chats]


@pytest.fixture(scope="module")
def model():
    return talkative(make_model())


def talkative(model):
    """Weigh attention up until what an untrained model says depends on everything that it reads."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(8 if name.endswith(("o_proj.weight", "v_proj.weight", "down_proj.weight")) else 1)
    return model


def run(model, examples, decoding, seed=3, **kwargs):
    return generate(model, processor(), examples, decoding, seed, **kwargs)


@pytest.fixture
def sampled_ids(monkeypatch):
    """Every id that generation produced, gathered on its way to the tokenizer."""
    seen, finish = [], generation._finish

    def listen(tokenizer, rows):
        for ids in rows:
            end = ids.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in ids else len(ids)
            seen.append(ids[:end])  # what follows is padding, not sampled
        return finish(tokenizer, rows)

    monkeypatch.setattr(generation, "_finish", listen)
    return seen


@DECODINGS
def test_the_batch_size_changes_nothing(model, examples, decoding):
    alone, together = (run(model, examples, decoding, batch_size=n) for n in (1, 64))
    assert alone == together == run(model, examples, decoding, batch_size=4)
    assert len({made.text for made in alone}) > len(examples) // 3, "else equality would show nothing"


@DECODINGS
def test_neighbours_change_nothing(model, examples, decoding):
    whole = run(model, examples, decoding)
    others = [examples[0], *[examples[-1]] * (len(examples) - 1)]
    assert run(model, others, decoding)[0] == whole[0] and run(model, examples[:3], decoding) == whole[:3]
    if decoding is GREEDY:
        assert run(model, examples[::-1], decoding) == whole[::-1]


def test_seeds_and_rows_draw_their_own_noise(model, examples):
    once, again, other = (run(model, examples, SAMPLED, seed) for seed in (1, 1, 2))
    assert once == again != other
    same = run(model, [examples[0]] * 12, SAMPLED)
    assert len({made.text for made in same}) > 6, "samples of one prompt differ"
    assert len({made.text for made in run(model, [examples[0]] * 12, GREEDY)}) == 1
    assert run(model, examples, GREEDY, seed=1) == run(model, examples, GREEDY, seed=2)


def test_a_low_temperature_is_greedy_and_so_is_a_tail_of_one(model, examples):
    greedy = run(model, examples, GREEDY)
    assert run(model, examples, Decoding(8, temperature=1e-6)) == greedy
    assert run(model, examples, Decoding(8, temperature=5.0, top_k=1)) == greedy
    assert run(model, examples, Decoding(8, temperature=1.0, top_p=1e-6)) == greedy


def test_samples_follow_the_distribution():
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    for decoding, wanted in (
        (Decoding(1, 1.0), [0.5, 0.3, 0.15, 0.05]),
        (Decoding(1, 1.0, top_k=2), [0.625, 0.375, 0, 0]),
        (Decoding(1, 1.0, top_p=0.79), [0.625, 0.375, 0, 0]),
        (Decoding(1, 1.0, top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (Decoding(1, 0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
    ):
        rows = list(range(4000))
        chosen = generation._row_sampler(decoding, 0, rows)(None, scores.repeat(4000, 1)).argmax(-1)
        share = torch.bincount(chosen, minlength=4) / 4000
        assert torch.allclose(share, torch.tensor(wanted), atol=0.03), decoding
        assert all((n == 0) == (w == 0) for n, w in zip(share.tolist(), wanted, strict=True))


def test_control_tokens_are_never_sampled(examples, sampled_ids):
    flat = make_model(seed=1)
    with torch.no_grad():
        flat.lm_head.weight.zero_()
    run(flat, examples * 6, Decoding(max_new_tokens=16, temperature=1.0))
    drawn, p = {i for ids in sampled_ids for i in ids}, processor()
    assert len(drawn) > 400, "a flat model visits most of the vocabulary"
    assert not drawn & set(p.suppressed_ids) and p.tokenizer.eos_token_id in drawn


def test_a_completion_ends_at_the_end_of_turn(model, examples, sampled_ids):
    eos = processor().tokenizer.eos_token_id
    made = run(model, examples * 8, Decoding(max_new_tokens=24, temperature=3.0))
    assert {m.finished for m in made} == {True, False}
    for m in made:
        assert m.finished or m.tokens == 24
        assert "<|" not in m.text
    assert sorted(map(len, sampled_ids)) == sorted(m.tokens for m in made)
    assert sum(eos in ids for ids in sampled_ids) == sum(m.finished for m in made)


def test_generation_leaves_the_model_as_it_was_and_reports(model, examples):
    before, calls = {k: v.clone() for k, v in model.state_dict().items()}, []
    model.train()
    run(model, examples, GREEDY, batch_size=6, progress=lambda done, total, seconds: calls.append((done, total)))
    assert model.training and all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert calls == [(min(n, len(examples)), len(examples)) for n in range(6, len(examples) + 6, 6)]
    model.eval()
    assert run(model, [], GREEDY) == []


def test_a_local_model_completes_chats(model, chats, examples):
    chat = LocalModel(model, processor(), "m", batch_size=3)
    assert chat.complete(chats, SAMPLED, seed=3) == run(model, examples, SAMPLED, seed=3)


@DECODINGS
def test_remembered_towers_say_the_same(model, examples, decoding):
    remembering = remember(talkative(make_model()))
    assert [run(remembering, examples, decoding) for _ in range(2)] == [run(model, examples, decoding)] * 2
