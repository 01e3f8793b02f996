"""Speed of judging, as ratios within one run: batched against one by one, media remembered against encoded anew."""

import time

import numpy as np
import pytest

from omnirepro.data import Pair, Part
from omnirepro.judge import rubric
from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.processing import OmniProcessor
from omnirepro.models.towers import remember
from omnirepro.toyworld.language import compose, questions
from omnirepro.toyworld.pretraining import skills, tiny
from omnirepro.toyworld.pretraining.trainer import make_pool

PAIRS = 64


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    pool = make_pool(tmp_path_factory.mktemp("pool"), "test", PAIRS // 4, 0)
    rng = np.random.default_rng(0)
    scenes = [scene for found in pool.values() for scene, _ in found]
    tokenizer = tiny.build_tokenizer(skills.corpus(scenes, rng), [*rubric.fragments(), *skills.FRAGMENTS])
    pairs = []
    for task, found in pool.items():
        for i, (scene, part) in enumerate(found):
            asked = questions(scene)[0]
            sides = [[Part(type="text", text=compose(scene, asked, d, rng))] for d in ((), ("accuracy",))]
            prompt = [part, Part(type="text", text=asked.text)]
            pairs.append(Pair(id=f"{task}{i}", task=task, prompt=prompt, response_a=sides[0], response_b=sides[1]))
    return tokenizer, pairs


def seconds(tokenizer, pairs, batch, memory):
    """Time one pass over the pairs in both orders, after a pass that fills the memories."""
    model, processor = tiny.build_backbone(tokenizer).eval(), OmniProcessor(tokenizer)
    model = remember(model) if memory else model
    judge = Judge(LocalModel(model, processor, "bench", batch), decoding=Decoding(max_new_tokens=48))
    judge.judge(pairs)
    start = time.perf_counter()
    judge.judge(pairs)
    return time.perf_counter() - start


def test_report_ratios(setup):
    tokenizer, pairs = setup
    single, batched, anew = (seconds(tokenizer, pairs, *how) for how in ((1, True), (128, True), (128, False)))
    print(f"\n{2 * PAIRS} judgements of 48 tokens: {batched:.2f} s in batches of 128")
    print(f"one by one takes {single / batched:.1f} times as long; encoding media anew {anew / batched:.2f} times")
