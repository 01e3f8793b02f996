"""The stage of reinforcement: a look at the reward before training, one training a seed, a contrast, the test.

Consumes the SFT judge, the labels kept for reinforcement, and the other splits; produces `preflight.csv`,
`probes.csv`, `before.csv`, the first seed's `adapter` (the other seeds' below `seed-<n>`), every training's
`watch.csv` and completions, and `predictions.jsonl`. The contrast trains under the published reward without KL, to
show beside the recipe what such a reward can do; its adapter is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro import reward
from omnirepro.data import Judgement, Label, Pair, read_jsonl, text_of, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.evaluate import protocol
from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.kit.run import Run, require
from omnirepro.models.generation import Decoding, generate
from omnirepro.reward.preflight import SIZES, preflight_table, probe_table
from omnirepro.train.grpo import show_pairs, train_grpo
from omnirepro.train.sft import judge_split

CONTRAST = {"preset": "published", "beta": 0.0}


@dataclass
class Arm:
    """One training within the stage: its seed, its changed parameters, and its files below its own name."""

    run: Run
    name: str
    seed: int
    changes: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section with this arm's changes."""
        found = dict(self.run.section(name))
        return found | self.changes if name == "grpo" else found

    @property
    def checkpoint_dir(self) -> Path:
        folder = self.run.checkpoint_dir / (self.name or "first")
        folder.mkdir(exist_ok=True)
        return folder

    def path(self, name: str = "") -> Path:
        return self.run.path(f"{self.name}/{name}" if self.name else name)

    def write(self, name: str, content: Any) -> Path:
        return self.run.write(f"{self.name}/{name}" if self.name else name, content)


def reinforce(run: Run, sft: Path, before: Path, splits: dict[str, list[Pair]], labels: list[Label]) -> None:
    """Look at the rewards, train every seed and the contrast, and judge the other splits with every trained judge.

    `before` holds the judgements of base and SFT; what each pair earned there is kept beside, in `before.csv`.
    """
    p = run.section("grpo")
    todo = "raise world.train or reconciliation.rl_share, or set grpo.hard_only to false"
    taught = [label for label in labels if label.margin <= HARD_MARGIN or not p["hard_only"]]
    require(taught, f"none of {len(labels)} labels can be reinforced on: {todo}")
    earlier = [row for row in read_jsonl(before, Judgement) if row.model.endswith("/test")]
    run.write("before.csv", protocol.pairs(earlier).to_csv(index=False))
    preflight(run, load_judge(sft, run.section("judge")["batch_size"], run.device, run.dtype), splits["train"], labels)
    arms = [Arm(run, f"seed-{seed}" if i else "", seed) for i, seed in enumerate(p["seeds"])]
    for arm in arms:
        train_grpo(arm, sft, splits["train"], labels)
    if p["contrast_steps"]:
        changes = CONTRAST | {"steps": p["contrast_steps"]}
        train_grpo(Arm(run, "contrast", p["seeds"][0], changes), sft, splits["train"], labels)
    rows: list[Judgement] = []
    for arm in arms:
        rows += judge_arm(arm, {s: pairs for s, pairs in splits.items() if s != "train"})
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


def judge_arm(arm: Arm, splits: dict[str, list[Pair]]) -> list[Judgement]:
    """Judge splits with a trained arm; its rows carry its seed."""
    asked, rows = arm.section("judge"), []
    judge = load_judge(arm.path("adapter"), asked["batch_size"], arm.device, arm.dtype, seed=arm.seed)
    for split, pairs in splits.items():
        judge.chat.name = f"grpo/{split}"
        rows += judge_split(arm, judge, pairs)
    return rows


def preflight(run: Run, judge: Judge, pairs: list[Pair], labels: list[Label]) -> None:
    """Sample completions of some training pairs, and write what each reward says of them and of the probes."""
    p, known, chat = run.section("grpo"), {x.id: x for x in pairs}, judge.chat
    some = sorted(labels, key=lambda x: x.pair_id)[: p["preflight_prompts"]]
    shown = show_pairs(pairs, some, chat.processor, judge.wording, judge.format, both_orders=True)
    gold = {name: shown[name].label for name in sorted(shown)[: p["preflight_prompts"]]}
    names = [name for name in gold for _ in range(max(SIZES))]
    decoding = Decoding(run.section("judge")["max_new_tokens"], p["temperature"], p["top_p"], p["top_k"])
    examples, report = [shown[name].example for name in names], progress("pre-flight samples")
    made = generate(chat.model, chat.processor, examples, decoding, run.seed, chat.batch_size, report)
    texts = [x.text for x in made]
    earned = reward.in_format("verdict", judge.format)
    right = [earned(text, gold[name]) > 0 for text, name in zip(texts, names, strict=True)]
    samples = pd.DataFrame({"prompt": names, "text": texts, "correct": [int(x) for x in right]})
    run.write("preflight.csv", preflight_table(samples, gold).round(4).to_csv(index=False))
    questions = [text_of(known[shown[name].pair_id].prompt) for name in gold]
    run.write("probes.csv", probe_table(gold.values(), prompts=questions).round(4).to_csv(index=False))
