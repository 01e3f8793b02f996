"""Supervised fine-tuning of the rubric judge (Omni-RRM, Section 4.1), on TRL's SFTTrainer with omni-modal batches.

Consumes pairs and kept labels; produces a LoRA adapter and the loss. Text, image, video and audio mix in a batch;
encoders are frozen, LoRA sits on every linear layer of the language model, loss is taken on the judgement only.

Departures: (1) each pair is shown in both orders with its label exchanged (`both_orders`), against position bias; the
published data show one order; (2) some responses are shown beside themselves and labelled a tie (`ties`): the
published rule keeps no tie, and a judge that finds no difference then writes equal scores and still names a winner.

What is trained on and in which order (`selection`), and the format of the target, are what ablations change: the
format "verdict-direct" is the paper's judge without a rationale (Omni-RM).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from omnirepro.data import Judgement, Label, Pair, swap_verdict, text_part, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge import rubric, verdict
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.models.device import seed_all
from omnirepro.models.generation import Decoding
from omnirepro.models.loading import load
from omnirepro.models.positions import with_positions
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.train.common import arguments, keep_judge, progress_callback, train_on
from omnirepro.train.completion_loss import OnAnswers
from omnirepro.train.curriculum import lessons, one_after_another
from omnirepro.train.run import Run, launchable

LANGUAGE_LAYERS = r"^(?!.*(visual|audio_tower)).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$"


def swap_label(label: Label) -> Label:
    """Return the label of the swapped pair."""
    return label.model_copy(
        update={
            "verdict": swap_verdict(label.verdict),
            "score_a": label.score_b,
            "score_b": label.score_a,
            "marks_a": label.marks_b,
            "marks_b": label.marks_a,
            "quotes_a": label.quotes_b,
            "quotes_b": label.quotes_a,
        }
    )


def self_pair(pair: Pair, label: Label) -> tuple[Pair, Label]:
    """Set a response against itself: a tie that needs no teacher."""
    same = {"verdict": "tie", "score_b": label.score_a, "marks_b": label.marks_a, "quotes_b": label.quotes_a}
    return pair.model_copy(update={"response_b": pair.response_a}), label.model_copy(update=same)


def conversations(
    pairs: list[Pair], labels: list[Label], wording: str, format: str, both_orders: bool = True, ties: float = 0.0
):
    """Build one training chat a labelled pair (two with `both_orders`); raises KeyError for a label without pair.

    For a share `ties` of the labels, one more chat shows a response beside itself.

    A label with a free-text rationale is used in the order in which its teacher saw the pair, and in no other: the
    text names the candidates by their letters.
    """
    known, chats = {p.id: p for p in pairs}, []
    for number, label in enumerate(labels):
        pair = known[label.pair_id]
        shown = {"AB": (pair, label), "BA": (pair.swap(), swap_label(label))}
        orders = (label.shown,) if label.rationale else ("AB", "BA")[: 2 if both_orders else 1]
        tied = not label.rationale and int((number + 1) * ties) > int(number * ties)
        for p, target in [*(shown[order] for order in orders), *([self_pair(pair, label)] if tied else [])]:
            answer = {"role": "assistant", "parts": [text_part(target_of(target, format))]}
            chats.append([*verdict.messages(p, wording, format), answer])
    return chats


def target_of(label: Label, format: str) -> str:
    """Write a label as the judge is to say it: the verdict's tag alone, or a judgement with its rationale."""
    return verdict.target(label.verdict) if format == "verdict-direct" else rubric.render(label, format)


def train_sft(run: Run, base: Path | str, pairs: list[Pair], labels: list[Label]) -> Path:
    """Fine-tune `base` on labelled pairs; writes `adapter` and `loss.csv`, resumes from the last checkpoint."""
    p, judge = run.section("sft"), run.section("judge")
    asked = judge["wording"], judge["format"], p["both_orders"], p["ties"]
    parts = [conversations(pairs, some, *asked) for some in lessons(pairs, labels, p)]
    return tune(run, base, [chat for part in parts for chat in part], [len(part) for part in parts])


@launchable
def tune(run: Run, base: Path | str, chats: list[list[dict]], parts: Sequence[int] = ()) -> Path:
    """Fine-tune `base` on chats that end in what it is to say; otherwise as `train_sft`.

    `parts`: the sizes of parts of the chats that are taught one after another, each for as many steps.
    """
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype)
    seed_all(run.seed)
    examples = [processor.encode(chat, train=True) for chat in chats]
    check_lengths(examples, run.section("sft")["max_length"])
    trainer = make_trainer(model, processor, examples, run, parts)
    train_on(trainer, run)
    history = [h for h in trainer.state.log_history if "loss" in h]
    run.write("loss.csv", pd.DataFrame(history).reindex(columns=["step", "loss"]).to_csv(index=False))
    return keep_judge(run, trainer, processor, base)


def tune_and_judge(run: Run, base: Path | str, splits: dict[str, list[Pair]], labels: list[Label]) -> None:
    """Fine-tune on the split `train`, then judge the other splits with the base and the tuned model.

    In a run with a base run, which has judged with the untuned model already, with the tuned one alone.
    """
    adapter = train_sft(run, base, splits["train"], labels)
    models = {"sft": adapter} if run.base else {"base": base, "sft": adapter}
    judge_splits(run, models, {s: pairs for s, pairs in splits.items() if s != "train"})


def judge_splits(run: Run, models: dict[str, Path | str], splits: dict[str, list[Pair]]) -> None:
    """Judge every split with every model in both orders and write `predictions.jsonl`, rows named model and split."""
    asked, rows = run.section("judge"), []
    for name, folder in models.items():
        settings = {"format": asked["format"], "wording": asked["wording"], "seed": run.seed}
        judge = load_judge(folder, asked["batch_size"], run.device, run.dtype, **settings)
        judge.decoding = Decoding(max_new_tokens=asked["max_new_tokens"])
        for split, pairs in splits.items():
            judge.chat.name = f"{name}/{split}"
            rows += judge_split(run, judge, pairs)
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


def judge_split(run: Run, judge: Judge | ScalarJudge, pairs: list[Pair]) -> list[Judgement]:
    """Judge pairs with a judge whose name and seed tell it apart; what was judged before a kill is not judged again."""
    report, name = progress(f"{judge.name}, judging"), f"{judge.name.replace('/', '-')}-{judge.seed}"
    return in_chunks(
        run.checkpoint_dir, name, pairs, lambda some, at: judge.judge(some, progress=report), Judgement, size=1024
    )


def check_lengths(examples: list[Example], limit: int) -> None:
    """Refuse examples longer than `limit` tokens: cutting one would train on half a judgement."""
    too_long = [i for i, e in enumerate(examples) if len(e.ids) > limit]
    if too_long:
        longest = max(len(examples[i].ids) for i in too_long)
        raise ValueError(
            f"{len(too_long)} of {len(examples)} training examples exceed {limit} tokens (longest {longest}); "
            "raise sft.max_length, or lower the frames or pixels of their media"
        )


def make_trainer(model, processor: OmniProcessor, examples: list[Example], run: Run, parts: Sequence[int] = ()):
    """Assemble TRL's SFTTrainer over encoded examples, with LoRA on the language model and the omni collator."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    p = run.section("sft")
    steps = p["steps"] or math.ceil(len(examples) / p["batch"]) * p["epochs"]
    in_order = one_after_another(parts, steps * p["batch"], run.seed) if len(parts) > 1 else None
    config = SFTConfig(
        **arguments(run, "sft", steps, p["batch"]),
        train_sampling_strategy="sequential" if in_order else "random",
        logging_steps=5,
        gradient_checkpointing=p["gradient_checkpointing"],
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    lora = LoraConfig(
        r=p["lora_rank"], lora_alpha=p["lora_alpha"], lora_dropout=p["lora_dropout"], target_modules=LANGUAGE_LAYERS
    )

    class AnswersTrainer(OnAnswers, SFTTrainer):
        pass

    trainer = AnswersTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"row": in_order or list(range(len(examples)))}),
        data_collator=lambda rows: with_positions(processor, [examples[r["row"]] for r in rows]),
        processing_class=processor.tokenizer,
        peft_config=lora,
        callbacks=[progress_callback("SFT")],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
