"""Group Relative Policy Optimisation of the rubric judge (Omni-RRM, Section 4.2), from the adapter that SFT left.

Consumes labelled pairs and the SFT adapter; produces a tuned adapter, every sampled completion with its rewards, and
one row of statistics a step. The loss is TRL's `loss_type="grpo"`: the mean over tokens within each completion, then
over completions, which is what the published script gets from ms-swift by default. The KL term is taken to the SFT
adapter, of which TRL keeps a frozen copy, not to the bare base.

Departures:
1. Both orders of a pair stand in one batch (`both_orders`), against position bias; the published data show one.
2. KL coefficient and clip range, which the published script leaves to its framework, are parameters.
3. Only pairs whose labelled scores lie at most two points apart are trained on (`hard_only`): on development pairs that
   gained more than any other change; results/grpo_search.csv has what was tried.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro import reward
from omnirepro.data import Label, Pair, swap_verdict
from omnirepro.evaluate.protocol import HARD_MARGIN
from omnirepro.judge import verdict
from omnirepro.models.device import seed_all
from omnirepro.models.loading import base_of, load
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.reward.monitor import collapse, watch
from omnirepro.train.common import arguments, encoded, history, keep_judge, last_checkpoint, progress_callback, train_on
from omnirepro.train.run import Run, Values, launchable

# Parameters that TRL has under the same names.
SAME_NAMES = (
    *("beta", "epsilon", "temperature", "top_p", "top_k", "scale_rewards", "loss_type", "importance_sampling_level"),
    "gradient_checkpointing",
)


@dataclass
class Shown:
    """A pair as displayed in one order: what the judge reads, and the label in the displayed frame."""

    pair_id: str
    order: str
    example: Example
    label: Label


class Later(Example):
    """An example that is encoded when it is read: row `row` of `examples`."""

    def __init__(self, examples: Sequence[Example], row: int):
        self.examples = examples
        self.row = row

    def __getattr__(self, name: str) -> Any:
        """Give what only the encoded row has; its copies and pickles have it too."""
        if name not in ("ids", "labels", "features"):
            raise AttributeError(name)
        return getattr(self.examples[self.row], name)


@launchable
def train_grpo(
    run: Run, base_adapter: Path | str, pairs: list[Pair], labels: list[Label], p: Values, asked: Values
) -> Path:
    """Tune the adapter on labelled pairs; returns the folder `adapter`.

    `p` are the parameters (base.yaml's section `grpo`); `asked` says how the judge is asked (its section `judge`).
    Writes `adapter`, `completions.parquet` (a row a completion: step, prompt, order, text, gold as displayed, total,
    finished, each reward) and `watch.csv` (a row an optimizer step). Resumes from the last checkpoint. Raises
    ValueError where `base_adapter` is none, or no pair is left to train on.
    """
    seed_all(run.seed)
    model, processor = load(base_adapter, run.device, run.dtype, trainable=True)
    if p["max_frames"]:
        processor.limit({"max_frames": p["max_frames"]})
    if not hasattr(model, "peft_config"):
        raise ValueError(f"{base_adapter} is no adapter: GRPO goes on from the adapter of 03_sft, its KL reference")
    base = base_of(Path(base_adapter))
    model.peft_config["default"].base_model_name_or_path = base
    chosen = [label for label in labels if label.margin <= HARD_MARGIN or not p["hard_only"]]
    shown = show_pairs(pairs, chosen, processor, asked["wording"], asked["format"], p["both_orders"])
    trainer, log = make_trainer(run, p, asked, model, processor, shown)
    log.keep(last_checkpoint(run)[1])
    train_on(trainer, run)
    run.write("completions.parquet", lambda f: log.read().to_parquet(f, index=False))
    run.write("watch.csv", step_table(history(trainer)).to_csv(index=False))
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    return keep_judge(run, "adapter", trainer, processor, base, asked)


def show_pairs(
    pairs: list[Pair], labels: list[Label], processor: OmniProcessor, wording: str, format: str, both_orders: bool
) -> dict[str, Shown]:
    """Return every labelled pair as displayed, in both orders where asked; keys are the pair's id and the order.

    The orders of a pair stand next to each other; their prompts are encoded when they are read. Raises KeyError for a
    label without pair.
    """
    known = {p.id: p for p in pairs}
    orders = ("AB", "BA")[: 2 if both_orders else 1]
    rows = [(known[label.pair_id], order) for label in labels for order in orders]

    def encode(row: tuple[Pair, str]) -> Example:
        pair, order = row
        return processor.encode(verdict.messages(pair.displayed(order), wording, format))

    examples = encoded(rows, encode, lambda row: f"pair {row[0].id}")
    displayed = [label.displayed(order) for label in labels for order in orders]
    return {
        f"{pair.id} {order}": Shown(pair.id, order, Later(examples, number), label)
        for number, ((pair, order), label) in enumerate(zip(rows, displayed, strict=True))
    }


def draw_batches(shown: dict[str, Shown], pairs: int, batches: int, seed: int) -> list[str]:
    """Return the keys of `batches` batches of `pairs` pairs each, all orders of a pair in the same batch.

    Every pass over the pairs has its own order; the pairs that fill no batch at its end are left out of that pass.
    """
    rng = np.random.default_rng([seed, 4])
    keys: list[str] = []
    groups: dict[str, list[str]] = {}
    for key, one in shown.items():
        groups.setdefault(one.pair_id, []).append(key)
    found = list(groups.values())
    while len(keys) < batches * pairs * len(found[0]):
        order = rng.permutation(len(found))[: len(found) // pairs * pairs]
        keys += [key for i in order for key in found[i]]
    return keys[: batches * pairs * len(found[0])]


class CompletionLog:
    """The completions of every batch, one file a batch: one that is generated again after a kill replaces its file."""

    def __init__(self, folder: Path, shown: dict[str, Shown], weights: dict[str, float]):
        self.folder = Path(folder)
        self.shown = shown
        self.weights = weights
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fresh: pd.DataFrame | None = None  # completions that no statistics were taken of yet
        self.stores = True  # one of several processes does

    def keep(self, steps: int) -> None:
        """Drop the completions of step `steps` and later: they will be generated again."""
        for path in self.folder.glob("*.parquet"):
            if int(path.stem) >= steps:
                path.unlink(missing_ok=True)  # another process may have been here

    def add(self, step: int, keys: list[str], texts: list[str], finished: list[bool], rewards: list[list[float]]):
        """Store a batch under the number of optimizer steps that were done before it."""
        rows = []
        for key, text, ended, earned in zip(keys, texts, finished, rewards, strict=True):
            one = self.shown[key]
            parts = dict(zip(reward.REWARDS, earned, strict=True))
            total = sum(weight * parts[name] for name, weight in self.weights.items())
            known = {"step": step, "prompt": one.pair_id, "order": one.order, "text": text, "gold": one.label.verdict}
            rows.append(known | {"total": total, "finished": ended} | parts)
        self.fresh = pd.DataFrame(rows)
        path = self.folder / f"{step:07d}.parquet"
        if self.stores:
            self.fresh.to_parquet(path.with_suffix(".part"), index=False)
            path.with_suffix(".part").replace(path)

    def read(self) -> pd.DataFrame:
        """Return all completions, batch by batch."""
        return pd.concat([pd.read_parquet(path) for path in sorted(self.folder.glob("*.parquet"))], ignore_index=True)


def make_trainer(run: Run, p: Values, asked: Values, model, processor: OmniProcessor, shown: dict[str, Shown]):
    """Assemble the omni-modal GRPO trainer over displayed pairs; returns it and its `CompletionLog`.

    Raises ValueError on what cannot be trained.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig

    from omnirepro.train.omni_grpo import OmniGRPOTrainer

    if not shown:
        raise ValueError("no labelled pair to train on; grpo.hard_only keeps those with a margin of at most 2 points")
    if p["save_every"] % p["iterations"]:
        raise ValueError("grpo.save_every must be a multiple of grpo.iterations: a resumed run samples a new batch")
    number = len({one.pair_id for one in shown.values()})
    pairs = min(p["pairs"], number)
    completions = pairs * len(shown) // number * p["group"]
    if completions % p["accumulate"]:
        raise ValueError(f"grpo.accumulate {p['accumulate']} does not divide the {completions} completions of a step")
    steps = p["steps"] or number // pairs * p["iterations"]
    weights = dict(reward.weights_of(p["preset"]))
    log = CompletionLog(run.checkpoint_dir / "completions", shown, weights)
    config = GRPOConfig(
        **arguments(run, p, steps, completions),
        **{name: p[name] for name in SAME_NAMES},
        num_generations=p["group"],
        num_iterations=p["iterations"],
        max_completion_length=asked["max_new_tokens"],
        reward_weights=[weights.get(name, 0.0) for name in reward.REWARDS],
        shuffle_dataset=False,
        logging_steps=1,
    )
    keys = draw_batches(shown, pairs, math.ceil(steps / p["iterations"]), run.seed)
    trainer = OmniGRPOTrainer(
        processor,
        {key: one.example for key, one in shown.items()},
        log.add,
        model=model,
        args=config,
        reward_funcs=[_reward_function(name, shown, asked["format"]) for name in reward.REWARDS],
        train_dataset=Dataset.from_dict({"prompt": keys}),
        callbacks=[progress_callback("GRPO"), _watch_callback(log, p["stop_on_collapse"], asked["format"])],
    )
    trainer.remove_callback(PrinterCallback)
    log.stores = trainer.accelerator.is_main_process
    return trainer, log


def _reward_function(name: str, shown: dict[str, Shown], format: str):
    """Wrap a reward for TRL, which calls it with the keys of a batch and their completions.

    Each reward reads the judge's format as far as it can; a verdict alone has no scores and no rationale to pay for.
    The reward "swap" reads the batch's other completions too.
    """
    earned = reward.in_format(name, format)

    def scores(prompts: list[str], completions: list[str], **_) -> list[float]:
        others = exchanged(prompts, completions, shown, format) if name == "swap" else {}
        told = [{"other": others[key]} if key in others else {} for key in prompts]
        rows = zip(prompts, completions, told, strict=True)
        return [earned(text, shown[key].label, **more) for key, text, more in rows]

    scores.__name__ = name
    return scores


def exchanged(prompts: list[str], texts: list[str], shown: dict[str, Shown], format: str) -> dict[str, str]:
    """Return, for each key, the majority's verdict on its pair in the other order, as displayed under the key.

    Keys whose other order is not in the batch, or has no majority, are absent.
    """
    said: dict[tuple[str, str], Counter[str]] = {}
    for key, text in zip(prompts, texts, strict=True):
        if found := verdict.parse(text, format).verdict:
            said.setdefault((shown[key].pair_id, shown[key].order), Counter())[found] += 1
    other = {"AB": "BA", "BA": "AB"}
    out = {}
    for key in set(prompts):
        counts = said.get((shown[key].pair_id, other[shown[key].order]), Counter())
        if counts and 2 * max(counts.values()) > counts.total():
            out[key] = swap_verdict(counts.most_common(1)[0][0])
    return out


def step_table(curve: pd.DataFrame) -> pd.DataFrame:
    """Return a row an optimizer step of the training curve: what `watch` says, loss, kl, entropy, clip_ratio and so on.

    With several iterations a batch's statistics stand in the row of the first; the others are empty there.
    """
    table = curve.rename(columns={"clip_ratio/region_mean": "clip_ratio"})
    return table[["step", *sorted(c for c in table if "/" not in c and c not in ("step", "step_time", "epoch"))]]


def _watch_callback(log: CompletionLog, stop: bool, format: str):
    """Return a callback that adds each batch's statistics to the trainer's log and says loudly where it collapses."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, **kwargs):
            if log.fresh is None:
                return
            entry = state.log_history[-1]
            seen = [h for h in state.log_history[:-1] if "accuracy" in h]
            measured = {k: entry[k] for k in ("kl", "entropy") if k in entry}
            entry |= watch(log.fresh.assign(**measured), format)
            log.fresh = None
            entry["collapse"] = collapse([*seen, entry])
            if entry["collapse"]:
                control.should_training_stop = control.should_training_stop or stop
                if not (seen and seen[-1]["collapse"]):
                    warnings.warn(entry["collapse"], RuntimeWarning, stacklevel=2)

    return Watch()
