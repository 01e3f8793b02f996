"""The stage of reinforcement: a look at the reward before training, one training a seed, a contrast, the test.

Consumes the SFT judge, the labels kept for reinforcement, and the other splits; produces `preflight.csv`,
`probes.csv`, `before.csv`, the first seed's `adapter` (the other seeds' below `seed-<n>`), every training's
`watch.csv` and completions, `predictions.jsonl`, and `choices.jsonl` as 03 does. The contrast trains under the
published reward without KL, to show beside the recipe what such a reward can do; its adapter is not judged.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from omnirepro import reward
from omnirepro.data import Judgement, Label, Pair, read_jsonl, text_of, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.evaluate import protocol
from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.kit.run import Run, require
from omnirepro.models.generation import Decoding, generate
from omnirepro.papers.omni_rrm.supervised import choose_splits, judge_splits
from omnirepro.reward.preflight import SIZES, preflight_table, probe_table
from omnirepro.train.grpo import show_pairs, train_grpo

CONTRAST = {"preset": "published", "beta": 0.0}


def reinforce(run: Run, sft: Path, before: Path, splits: dict[str, list[Pair]], labels: list[Label]) -> None:
    """Look at the rewards, train every seed and the contrast, and judge the other splits with every trained judge.

    `before` holds the judgements of base and SFT; what each pair earned there is kept beside, in `before.csv`.
    """
    p = run.section("grpo")
    asked = run.section("judge")
    todo = "raise world.train or reconciliation.rl_share, or set grpo.hard_only to false"
    taught = [label for label in labels if label.margin <= HARD_MARGIN or not p["hard_only"]]
    require(taught, f"none of {len(labels)} labels can be reinforced on: {todo}")
    earlier = [row for row in read_jsonl(before, Judgement) if row.model.endswith("/test")]
    run.write("before.csv", protocol.pairs(earlier).to_csv(index=False))
    preflight(run, load_judge(sft, asked["batch_size"], run.device, run.dtype), splits["train"], labels)
    trained = [run.sub(f"seed-{seed}", seed, None if i else "") for i, seed in enumerate(p["seeds"])]
    contrast = CONTRAST | {"steps": p["contrast_steps"]}
    beside = [run.sub("contrast", p["seeds"][0], grpo=contrast)] if contrast["steps"] else []
    for sub in [*trained, *beside]:
        train_grpo(sub, sft, splits["train"], labels, sub.section("grpo"), asked)
    rows: list[Judgement] = []
    chosen: list[Judgement] = []
    for sub in trained:
        own = judge_splits(sub, sub.path("adapter"), "grpo", splits)
        rows += own
        chosen += choose_splits(sub, sub.path("adapter"), "grpo", splits, own)
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))
    run.write("choices.jsonl", lambda path: write_jsonl(path, chosen))


def preflight(run: Run, judge: Judge, pairs: list[Pair], labels: list[Label]) -> None:
    """Sample completions of some training pairs, and write what each reward says of them and of the probes."""
    p = run.section("grpo")
    chat = judge.chat
    some = sorted(labels, key=lambda x: x.pair_id)[: p["preflight_prompts"]]
    shown = show_pairs(pairs, some, chat.processor, judge.wording, judge.format, both_orders=True)
    gold = {name: shown[name].label for name in sorted(shown)[: p["preflight_prompts"]]}
    names = [name for name in gold for _ in range(max(SIZES))]
    decoding = Decoding(run.section("judge")["max_new_tokens"], p["temperature"], p["top_p"], p["top_k"])
    examples = [shown[name].example for name in names]
    report = progress("pre-flight samples")
    made = generate(chat.model, chat.processor, examples, decoding, run.seed, chat.batch_size, report)
    texts = [x.text for x in made]
    earned = reward.in_format("verdict", judge.format)
    right = [earned(text, gold[name]) > 0 for text, name in zip(texts, names, strict=True)]
    samples = pd.DataFrame({"prompt": names, "text": texts, "correct": [int(x) for x in right]})
    run.write("preflight.csv", preflight_table(samples, gold, format=judge.format).round(4).to_csv(index=False))
    known = {pair.id: pair for pair in pairs}
    questions = [text_of(known[shown[name].pair_id].prompt) for name in gold]
    run.write("probes.csv", probe_table(gold.values(), prompts=questions).round(4).to_csv(index=False))
