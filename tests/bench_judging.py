"""Speed of judging: the kit against plain `generate` of transformers, in batches and one at a time; encoders' hits.

An untrained embedded judge with one thread, on pairs of four modalities; seconds of CPU time, media prepared and
encoded anew in every round. `python -m pytest -s tests/bench_judging.py`
"""

import numpy as np
import pytest
import torch
from bench import in_turns, tell

from omnirepro.data import Pair, Part
from omnirepro.judge import rubric
from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.processing import OmniProcessor, collate_media
from omnirepro.models.towers import remember
from omnirepro.toyworld.language import compose, questions
from omnirepro.toyworld.pretraining import skills, tiny
from omnirepro.toyworld.pretraining.trainer import make_pool

PAIRS, TOKENS = 64, 48


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Tokenizer, and pairs of every modality."""
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


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def backbone(tokenizer):
    torch.manual_seed(0)
    return tiny.build_backbone(tokenizer).eval()


def plain(model, processor, pairs, batch, tokens=TOKENS, wording="brief"):
    """Judge pairs in both orders as a loop over `model.generate` does, and return the texts."""
    texts = []
    chats = [rubric.messages(pair.displayed(order), wording) for pair in pairs for order in ("AB", "BA")]
    for start in range(0, len(chats), batch):
        inputs = processor.collate([processor.encode(chat) for chat in chats[start : start + batch]], side="left")
        inputs.pop("labels")
        made = model.generate(
            **inputs, max_new_tokens=tokens, do_sample=False, eos_token_id=processor.chats.ends,
            suppress_tokens=processor.suppressed_ids, pad_token_id=processor.tokenizer.pad_token_id,
        )  # fmt: skip
        made = made[:, inputs["input_ids"].shape[1] :]
        texts += processor.tokenizer.batch_decode(made, skip_special_tokens=True)
    return texts


def test_report_judging_against_plain_generate(setup):
    tokenizer, pairs = setup
    few = pairs[::8]
    model = backbone(tokenizer)
    judge = Judge(LocalModel(remember(backbone(tokenizer)), None, "bench", 256), decoding=Decoding(TOKENS))

    def ours():
        for module in judge.chat.model.modules():
            if hasattr(module, "remembered"):
                module.remembered.clear()
        judge.chat.processor = OmniProcessor(tokenizer)
        return [row.raw for row in judge.judge(pairs)]

    theirs = plain(model, OmniProcessor(tokenizer), pairs, 256)
    assert np.mean([a == b for a, b in zip(ours(), theirs, strict=True)]) > 0.9, "another judgement is another measure"
    ways = {
        "kit": ours,
        "batch": lambda: plain(model, OmniProcessor(tokenizer), pairs, 256),
        "single": lambda: plain(model, OmniProcessor(tokenizer), few, 1),
    }
    took = in_turns(ways)
    speed = {name: len(few if name == "single" else pairs) / seconds for name, seconds in took.items()}
    how = f"{len(pairs)} pairs, both orders, {TOKENS} tokens: {speed['kit']:.1f} pairs/s against"
    tell("judging / one at a time (embedded)", speed["kit"] / speed["single"], f"{how} {speed['single']:.2f}", least=8)
    tell("judging / plain batches (embedded)", speed["kit"] / speed["batch"], f"{how} {speed['batch']:.1f}")


def test_report_hits_of_encoders(setup):
    """A medium that was encoded before: the embedded vision tower, and one as wide as released ones, 2 of 32 layers."""
    from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniVisionEncoderConfig
    from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniVisionEncoder

    tokenizer, pairs = setup
    processor = OmniProcessor(tokenizer)
    pictures = [part for pair in pairs for part in pair.prompt if part.type == "image"]
    shown = collate_media([processor.features(part) for part in pictures])
    embedded = (shown["pixel_values"], shown["image_grid_thw"])
    config = Qwen2_5OmniVisionEncoderConfig(depth=2, fullatt_block_indexes=[1])
    config._attn_implementation = "sdpa"
    released = (torch.randn(784, 3 * 2 * 14 * 14), torch.tensor([[1, 28, 28]]))
    wide = torch.nn.ModuleDict({"visual": Qwen2_5OmniVisionEncoder(config)}).eval()
    cases = {
        "embedded": (backbone(tokenizer), embedded, f"{len(pictures)} pictures of 56 x 56 pixels"),
        "released width, 2 of 32 layers": (wide, released, "a picture of 392 x 392 pixels"),
    }
    for name, (model, (values, grid), said) in cases.items():
        tower = next(m for n, m in remember(model).named_modules() if n.rpartition(".")[2] == "visual")

        def anew(tower=tower, values=values, grid=grid):
            tower.remembered.clear()
            tower(values, grid_thw=grid)

        took = in_turns({"anew": anew, "hit": lambda t=tower, v=values, g=grid: t(v, grid_thw=g)})
        how = f"{said}: {1000 * took['hit']:.2f} ms against {1000 * took['anew']:.1f}"
        tell(f"encoder hit / encoding anew ({name})", took["anew"] / took["hit"], how, least=50)
