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
from functools import partial
from pathlib import Path

from omnirepro.data import Label, Pair, text_part
from omnirepro.judge import rubric, verdict
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load
from omnirepro.models.positions import with_positions
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.train.common import arguments, check_length, encoded, history, keep_judge, lora, over_examples, train_on
from omnirepro.train.completion_loss import OnAnswers
from omnirepro.train.curriculum import lessons, one_after_another, with_orders
from omnirepro.train.run import Run, Values, launchable

# The rows are encoded already, and none is cut.
ENCODED = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}


def self_pair(pair: Pair, label: Label) -> tuple[Pair, Label]:
    """Set a response against itself: a tie that needs no teacher."""
    same = {"verdict": "tie", "score_b": label.score_a, "marks_b": label.marks_a, "quotes_b": label.quotes_a}
    return pair.model_copy(update={"response_b": pair.response_a}), label.model_copy(update=same)


def conversations(
    pairs: list[Pair],
    labels: list[Label],
    wording: str,
    format: str,
    both_orders: bool = True,
    ties: float = 0.0,
    injected: float = 0.0,
):
    """Build one training chat a labelled pair (two with `both_orders`); raises KeyError for a label without pair.

    For a share `ties` of the labels, one more chat shows a response beside itself. A share `injected` of the pairs has
    an order to the judge in one of its responses (`with_orders`).

    A label with a free-text rationale is used in the order in which its teacher saw the pair, and in no other: the
    text names the candidates by their letters.
    """
    known = {p.id: p for p in with_orders(pairs, injected, wording)}
    chats = []
    for number, label in enumerate(labels):
        pair = known[label.pair_id]
        orders = (label.shown,) if label.rationale else ("AB", "BA")[: 2 if both_orders else 1]
        tied = not label.rationale and int((number + 1) * ties) > int(number * ties)
        shown = [(pair.displayed(order), label.displayed(order)) for order in orders]
        for p, target in [*shown, *([self_pair(pair, label)] if tied else [])]:
            answer = {"role": "assistant", "parts": [text_part(target_of(target, format))], "pair": pair.id}
            chats.append([*verdict.messages(p, wording, format), answer])
    return chats


def target_of(label: Label, format: str) -> str:
    """Write a label as the judge is to say it: the verdict's tag alone, or a judgement with its rationale."""
    return verdict.target(label.verdict) if format == "verdict-direct" else rubric.render(label, format)


def train_sft(run: Run, base: Path | str, pairs: list[Pair], labels: list[Label], p: Values, asked: Values) -> Path:
    """Fine-tune `base` on labelled pairs; writes `adapter` and `loss.csv`, resumes from the last checkpoint.

    `p` are the parameters (base.yaml's section `sft`); `asked` says how the judge is asked (its section `judge`).
    """
    how = (asked["wording"], asked["format"], p["both_orders"], p["ties"], p["injected"])
    parts = [conversations(pairs, some, *how) for some in lessons(pairs, labels, p)]
    return tune(run, base, [chat for part in parts for chat in part], p, asked, [len(part) for part in parts])


@launchable
def tune(
    run: Run, base: Path | str, chats: list[list[dict]], p: Values, asked: Values, parts: Sequence[int] = ()
) -> Path:
    """Fine-tune `base` on chats that end in what it is to say; otherwise as `train_sft`.

    `parts`: the sizes of parts of the chats that are taught one after another, each for as many steps.
    """
    seed_all(run.seed)
    model, processor = load(base, run.device, run.dtype)
    seed_all(run.seed)
    examples = encode(processor, chats, p["max_length"])
    trainer = make_trainer(run, p, model, processor, examples, parts)
    train_on(trainer, run)
    run.write("loss.csv", history(trainer).reindex(columns=["step", "loss"]).to_csv(index=False))
    return keep_judge(run, "adapter", trainer, processor, base, asked)


def encode(processor: OmniProcessor, chats: Sequence[list[dict]], limit: int) -> Sequence[Example]:
    """Encode chats, the loss on what the assistant says, when their batch is made (`encoded`).

    Raises ValueError where a chat is longer than `limit` tokens.
    """

    def one(chat: list[dict]) -> Example:
        example = processor.encode(chat, train=True)
        check_length(len(example.ids), limit, name(chat), "sft.max_length")
        return example

    def name(chat: list[dict]) -> str:
        return f"the training example of pair {chat[-1].get('pair', '(none named)')}"

    return encoded(chats, one, name)


def make_trainer(
    run: Run, p: Values, model, processor: OmniProcessor, examples: Sequence[Example], parts: Sequence[int] = ()
):
    """Assemble TRL's SFTTrainer over encoded examples, with LoRA on the language model and the omni collator."""
    from trl import SFTConfig, SFTTrainer

    class AnswersTrainer(OnAnswers, SFTTrainer):
        pass

    steps = p["steps"] or math.ceil(len(examples) / p["batch"]) * p["epochs"]
    in_order = one_after_another(parts, steps * p["batch"], run.seed) if len(parts) > 1 else None
    config = SFTConfig(
        **arguments(run, p, steps, p["batch"]),
        train_sampling_strategy="sequential" if in_order else "random",
        logging_steps=5,
        gradient_checkpointing=p["gradient_checkpointing"],
        **ENCODED,
    )
    collate = partial(with_positions, processor)
    own = {"processing_class": processor.tokenizer, "peft_config": lora(p)}
    return over_examples(AnswersTrainer, "SFT", model, config, examples, collate, in_order, **own)
