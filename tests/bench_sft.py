"""Tokens a second of supervised fine-tuning, and the ratio to plain TRL on the same batches of pictures.

Plain is TRL's SFTTrainer with the same LoRA, rows and optimizer: media are encoded in every step, and logits computed
of all tokens. Their features are prepared once, as the kit's are. `python -m pytest -s tests/bench_sft.py`
"""

from types import SimpleNamespace

import pytest
from bench import in_turns, tell
from bench_judging import backbone, one_thread, setup  # noqa: F401 (fixtures)
from trl import SFTConfig, SFTTrainer

from omnirepro.data import Label
from omnirepro.kit.run.parameters import load_params
from omnirepro.models.processing import OmniProcessor
from omnirepro.models.towers import remember
from omnirepro.train.common import arguments, lora, over_examples
from omnirepro.train.sft import ENCODED, conversations, make_trainer

STEPS = 8


def test_report_tokens_a_second_against_plain_trl(setup, tmp_path):  # noqa: F811
    tokenizer, pairs = setup
    processor = OmniProcessor(tokenizer)
    values = load_params("tiny", "none", {}).values(["sft"])
    p = {key.split(".", 1)[1]: value for key, value in values.items()} | {"steps": STEPS, "save_every": 1000}
    pairs = [pair for pair in pairs if pair.task == "image"]
    labels = [Label(pair_id=pair.id, verdict="A", score_a=9, score_b=4, provenance="bench") for pair in pairs]
    chats = conversations(pairs, labels, "brief", "rationale-first")
    examples = [processor.encode(chat, train=True) for chat in chats]
    run = SimpleNamespace(seed=0, device="cpu", dtype="float32", checkpoint_dir=tmp_path)
    losses = {}

    def kit():
        trainer = make_trainer(run, p, remember(backbone(tokenizer)), processor, examples)
        losses["kit"] = trainer.train().training_loss

    def plain():
        config = SFTConfig(
            **arguments(run, p, STEPS, p["batch"]), train_sampling_strategy="random", logging_steps=5,
            gradient_checkpointing=False, **ENCODED,
        )  # fmt: skip
        own = {"processing_class": tokenizer, "peft_config": lora(p)}
        model = backbone(tokenizer)
        trainer = over_examples(SFTTrainer, "plain", model, config, examples, processor.collate, **own)
        losses["plain"] = trainer.train().training_loss

    took = in_turns({"kit": kit, "plain": plain}, 3)
    assert losses["kit"] == pytest.approx(losses["plain"], rel=1e-3), "another loss is another training"
    tokens = STEPS * p["batch"] * sum(len(e.ids) for e in examples) / len(examples)
    speed = {name: f"{tokens / seconds:,.0f}" for name, seconds in took.items()}
    how = f"{STEPS} steps of {p['batch']} rows: {speed['kit']} tokens/s against {speed['plain']}"
    tell("SFT / plain TRL (embedded)", took["plain"] / took["kit"], how)
