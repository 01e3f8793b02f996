"""Seconds of a GRPO step by phase, and the ratios to plain TRL and to the kit's own trainer without what it shares.

Plain TRL has the same batch of images, which are all it can carry. Without sharing, every medium is encoded anew and
every prompt is read again with each of its completions. `python -m pytest -s tests/bench_grpo.py`
"""

import time
from collections import Counter

import numpy as np
import pytest
from bench import tell
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import ProcessorMixin
from trl import GRPOConfig, GRPOTrainer

from omnirepro import reward
from omnirepro.data import Label, Pair, Part
from omnirepro.judge import rubric
from omnirepro.models.processing import OmniProcessor, collate_media
from omnirepro.models.towers import remember
from omnirepro.toyworld.language import compose, questions
from omnirepro.toyworld.pretraining import skills, tiny
from omnirepro.toyworld.pretraining.trainer import make_pool
from omnirepro.toyworld.tasks import MODALITIES
from omnirepro.train.common import LANGUAGE_LAYERS
from omnirepro.train.omni_grpo import OmniGRPOTrainer

PROMPTS, GROUP, TOKENS, STEPS, ROUNDS = 32, 8, 48, 2, 2
GOLD = Label(pair_id="", verdict="A", score_a=9, score_b=4, provenance="bench")
PHASES = {
    "_generate_single_turn": "sampling", "_calculate_rewards": "scoring",
    "_get_per_token_logps_and_entropies": "log-probabilities", "training_step": "update",
}  # fmt: skip


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Tokenizer, and one chat a prompt in each modality."""
    pool = make_pool(tmp_path_factory.mktemp("pool"), "train", PROMPTS, 0)
    rng, chats = np.random.default_rng(0), {}
    for task, found in pool.items():
        for i, (scene, part) in enumerate(found):
            asked = questions(scene)[0]
            sides = [[Part(type="text", text=compose(scene, asked, d, rng))] for d in ((), ("accuracy",))]
            prompt = [part, Part(type="text", text=asked.text)]
            pair = Pair(id=f"{task}{i}", task=task, prompt=prompt, response_a=sides[0], response_b=sides[1])
            chats[pair.id] = rubric.messages(pair)
    scenes = [scene for found in pool.values() for scene, _ in found]
    tokenizer = tiny.build_tokenizer(skills.corpus(scenes, rng), [*rubric.fragments(), *skills.FRAGMENTS])
    return tokenizer, chats


def rewarded(prompts, completions, **_):
    return [sum(r(str(text), GOLD) for r in reward.REWARDS.values()) for text in completions]


def assemble(tokenizer, folder, memory):
    """Return what both paths share: model, settings, processor."""
    model = get_peft_model(tiny.build_backbone(tokenizer), LoraConfig(r=8, target_modules=LANGUAGE_LAYERS))
    processor = OmniProcessor(tokenizer)
    if memory:
        remember(model)
    config = GRPOConfig(
        str(folder), max_steps=STEPS, per_device_train_batch_size=PROMPTS * GROUP // 4, gradient_accumulation_steps=4,
        num_generations=GROUP, beta=0.04, loss_type="grpo", temperature=0.7, top_p=0.9, max_completion_length=TOKENS,
        learning_rate=1e-5, gradient_checkpointing=False, use_cpu=True, bf16=False, save_strategy="no", report_to=[],
        disable_tqdm=True, dataloader_pin_memory=False, generation_kwargs={"suppress_tokens": processor.suppressed_ids},
    )  # fmt: skip
    return model, config, processor


class Unshared(OmniGRPOTrainer):
    def _with_shared_prompts(self, model, rows, begin, **inputs):
        return model(**inputs, **self._media(rows))


def omni(tokenizer, chats, folder, kind=OmniGRPOTrainer):
    model, config, processor = assemble(tokenizer, folder, memory=kind is OmniGRPOTrainer)
    examples = {key: processor.encode(chat) for key, chat in chats.items()}
    data = Dataset.from_dict({"prompt": list(examples) * STEPS})
    return kind(processor, examples, args=config, model=model, reward_funcs=rewarded, train_dataset=data)


def unshared(tokenizer, chats, folder):
    return omni(tokenizer, chats, folder, Unshared)


class PicturesOnly(ProcessorMixin):
    """The processor that stock TRL wants, without torchvision; its features are prepared once, as ours are."""

    def __init__(self, processor, chats):
        self.tokenizer, self.processor, self.chats = processor.tokenizer, processor, chats

    def apply_chat_template(self, conversation, tokenize=True, **_):
        if not tokenize:
            return ""
        keys = [next(p["text"] for p in turns[0]["content"] if p["type"] == "text") for turns in conversation]
        self.last = [self.processor.encode(self.chats[key]) for key in keys]
        return {"input_ids": [e.ids for e in self.last]} | self()

    def __call__(self, images=None, text=None, **_):
        return collate_media([f for e in self.last for f in e.features])

    def batch_decode(self, *args, **kwargs):
        return self.tokenizer.batch_decode(*args, **kwargs)


def stock(tokenizer, chats, folder):
    model, config, processor = assemble(tokenizer, folder, memory=False)
    prompts = [[{"role": "user", "content": key}] for key in chats] * STEPS
    data = Dataset.from_dict({"prompt": prompts, "image": ["picture"] * len(prompts)})
    return GRPOTrainer(model, rewarded, config, data, processing_class=PicturesOnly(processor, chats))


def phases(trainer):
    """Train and return the seconds of each phase in the fastest step after the first."""
    spent, steps, inside = Counter(), [], []

    def timed(method, phase):
        def call(*args, **kwargs):
            start, below = time.process_time(), sum(spent.values())
            out = method(*args, **kwargs)
            spent[phase] += time.process_time() - start - (sum(spent.values()) - below)
            return out

        return call

    for name, phase in PHASES.items():
        setattr(trainer, name, timed(getattr(trainer, name), phase))
    step = trainer.training_step

    def whole(*args, **kwargs):
        out = step(*args, **kwargs)
        inside.append(1)
        if len(inside) % 4 == 0:
            steps.append(dict(spent))
            spent.clear()
        return out

    trainer.training_step = whole
    trainer.train()
    return min(steps[1:], key=lambda s: sum(s.values()))


def test_report_phases_and_ratio_to_plain_trl(setup, tmp_path):
    tokenizer, chats = setup
    mixed = {f"{m}{i}": chats[f"{m}{i}"] for m in MODALITIES for i in range(PROMPTS // len(MODALITIES))}
    pictures = {k: c for k, c in chats.items() if k.startswith("image")}
    print(f"\na step of {PROMPTS} prompts x {GROUP} completions of {TOKENS} tokens, seconds:")
    paths = {
        "all modalities": (omni, mixed), "all modalities, unshared": (unshared, mixed), "images": (omni, pictures),
        "images, plain TRL": (stock, pictures),
    }  # fmt: skip
    found = {}
    for _ in range(ROUNDS):  # in turns, so that what else the machine does falls on all alike
        for name, (build, some) in paths.items():
            spent = phases(build(tokenizer, some, tmp_path))
            found[name] = min(found.get(name, spent), spent, key=lambda s: sum(s.values()))
    for name, spent in found.items():
        parts = ", ".join(f"{phase} {spent[phase]:.2f}" for phase in PHASES.values())
        print(f"{name}: {sum(spent.values()):.2f} ({parts})")
    size = f"{PROMPTS} prompts x {GROUP} completions of {TOKENS} tokens"
    for ours, other, name, least in (
        ("images", "images, plain TRL", "plain TRL, images", 1.3),
        ("all modalities", "all modalities, unshared", "without sharing, all modalities", None),
    ):
        here, there = (sum(found[path].values()) for path in (ours, other))
        tell(f"GRPO step / {name} (embedded)", there / here, f"{size}: {here:.1f} s against {there:.1f}", least)
