"""Speed of a verdict by probabilities: against written verdicts, and with one pass for what both orders share.

Pairs a second of CPU time, of an untrained embedded judge with one thread; `python -m pytest -s tests/bench_choice.py`.
"""

import time

import pytest
import torch
from bench_judging import PAIRS, setup  # noqa: F401 (a fixture)

from omnirepro.data import text_part
from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.processing import OmniProcessor
from omnirepro.models.towers import remember
from omnirepro.toyworld.pretraining import tiny


def speed(tokenizer, pairs, batch=256, share=False, limits=None, **how):
    """Return the pairs a second of CPU time of one pass in both orders, the better of two after one that warms up."""
    torch.manual_seed(0)
    chat = LocalModel(
        remember(tiny.build_backbone(tokenizer).eval()), OmniProcessor(tokenizer, limits=limits), "bench", batch, share
    )
    judge = Judge(chat, decoding=Decoding(48), **how)
    judge.judge(pairs)
    took = []
    for _ in range(2):
        start = time.process_time()
        judge.judge(pairs)
        took.append(time.process_time() - start)
    return len(pairs) / min(took)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_report_choice_against_written_verdicts(setup):  # noqa: F811
    tokenizer, pairs = setup
    few = pairs[::4]
    written = {batch: speed(tokenizer, pairs if batch > 1 else few, batch) for batch in (256, 1)}
    chosen = {batch: speed(tokenizer, pairs if batch > 1 else few, batch, read="choice") for batch in (256, 1)}
    print(f"\n{PAIRS} pairs, judgements of 48 tokens; pairs a second")
    for batch, name in ((256, "in batches of 256"), (1, "one at a time")):
        print(
            f"{name}: written {written[batch]:.1f}, chosen {chosen[batch]:.1f} ({chosen[batch] / written[batch]:.1f}x)"
        )
    print(f"chosen in batches against written one at a time: {chosen[256] / written[1]:.0f}x")
    assert chosen[1] > 5 * written[1]


def test_report_one_pass_for_both_orders(setup):  # noqa: F811
    """Long prompts, as pictures and films of released models are: hundreds of tokens before the responses."""
    tokenizer, pairs = setup
    for words in (0, 100, 400):
        told = text_part(" the red ring is left of the blue cross" * (words // 9))
        longer = [p.model_copy(update={"prompt": [*p.prompt, told]}) for p in pairs]
        naive, shared = (speed(tokenizer, longer, 64, share, read="choice") for share in (False, True))
        tokens = len(OmniProcessor(tokenizer).encode([{"role": "user", "parts": longer[0].prompt}]).ids)
        print(
            f"\nprompts of about {tokens} tokens: {naive:.1f} pairs/s, in one pass {shared:.1f} ({shared / naive:.2f}x)"
        )
    assert shared > 1.3 * naive
