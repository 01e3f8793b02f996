"""Criteria in words, taught on single responses, before any two are compared: what a released model knows already.

Consumes a backbone and pairs of the world; produces a backbone that reads criteria ("primed"), and one that stopped
early ("primed-weak"). Conversations that share their responses, one a criterion, name the level, 1 to 5, of a response:
in the layout that is scored, in that of pointwise judging, and, for each of two responses that are shown, in that of a
verdict, which then says which of the two numbers is larger.

Departure: MiniCPM-o-2.6 and Qwen2.5-VL, from which the paper starts, know English; the embedded backbone has never read
a criterion, and a Bradley-Terry loss alone does not teach it one (the loss stayed at log 2 for hundreds of steps). Its
levels are the world's truth, on the training split's scenes, criteria and phrasings alone, and only their words become
tokens: others stay in the pieces that the base knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import Pair
from omnirepro.judge import rubric, verdict
from omnirepro.judge.scalar import chat
from omnirepro.models.device import seed_all
from omnirepro.models.loading import load, point_to
from omnirepro.models.processing import Example, OmniProcessor
from omnirepro.toyworld.criteria import TASKS, criteria_for, training_phrasings
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.nouns import pick, pick_by_share
from omnirepro.toyworld.pretraining.loop import Pretrainer
from omnirepro.toyworld.pretraining.skills import say
from omnirepro.train.run import Run
from omnirepro.train.shared_prefix import collate

LAYOUTS = {"scored": 0.5, "alone": 0.15, "both": 0.35}  # shares; a batch has one layout, so that little is padded
QUESTIONS = 8  # criteria asked about one row: with one, a step says too little for anything to be learned in minutes
TAGS = ("criterion:", "level.", "compare.", "verdict.", "[[", "]]")


def pretrain_vocabulary(run: Run, base: Path, pairs: list[Pair]) -> Path:
    """Teach `base` criteria on the pairs' responses; writes `primed`, `primed-weak`, `primer.csv`; returns `primed`.

    With `prime_steps` 0, `primed` points to `base`, which knows criteria already.
    """
    p = run.section("bradley_terry")
    if not p["prime_steps"]:
        return run.write("primed", lambda f: point_to(str(base), f))
    seed_all(run.seed)
    model, processor = load(base, run.device, "float32")
    processor = extend_tokens(model, processor, TAGS, spoken(training_phrasings()))
    for name, weight in model.named_parameters():
        weight.requires_grad_("visual" not in name and "audio_tower" not in name)
    trainer = VocabularyPretrainer(model, processor, pairs, run, p["prime_steps"], p["prime_lr"])
    early = max(1, int(p["prime_weak_at"] * p["prime_steps"]))
    for until, name in ((early, "primed-weak"), (p["prime_steps"], "primed")):
        trainer.fit(until, name)
        run.write(name, lambda f: (model.save_pretrained(f, safe_serialization=True), processor.save_pretrained(f)))
    table = pd.DataFrame({"step": range(1, len(trainer.losses) + 1), "loss": trainer.losses})
    run.write("primer.csv", table.to_csv(index=False))
    return run.path("primed")


class VocabularyPretrainer(Pretrainer):
    """The backbone's trainer (Muon) on conversations about criteria."""

    def __init__(self, model, processor: OmniProcessor, pairs: list[Pair], run: Run, total: int, lr: float):
        super().__init__(model, processor, run, total, lr)
        self.scale = Scale.of(pairs)
        self.by_task = [some for task in TASKS if (some := [p for p in pairs if p.task == task])]
        self.batch = run.section("bradley_terry")["prime_batch"]

    def _collate(self, rows: list[list[Example]]) -> dict:
        return collate(self.processor, rows)

    def _length(self, chats: list[Example]) -> int:
        return sum(len(example.ids) for example in chats)

    def _batch(self, step: int) -> list[list[Example]]:
        rng = np.random.default_rng([self.run.seed, step, 5])
        layout = pick_by_share(rng, LAYOUTS)
        rows = []
        for i in range(self.batch):
            pair = pick(rng, self.by_task[i % len(self.by_task)])
            rows.append(level_chats(pair, self.scale, layout, rng))
        return [[loss_on_levels(self.processor, turns) for turns in chats] for chats in rows]


def level_chats(pair: Pair, scale: Scale, layout: str, rng: np.random.Generator) -> list[list[dict]]:
    """Draw criteria that training may ask; return the chats that name the levels of what is shown under each."""
    pair = pair.swap() if rng.random() < 0.5 else pair
    pool = criteria_for(pair.task, held_out="")
    facts = facts_of(pair)
    chats = []
    for i in rng.permutation(len(pool))[:QUESTIONS]:
        asked = pair.model_copy(update={"criterion": pick(rng, pool[i].wordings("train"))})
        a, b = (scale.level(pair.task, pool[i], side) for side in facts)
        if layout == "scored":
            turns = chat(asked.prompt, asked.response_a, asked.criterion, "brief")
        else:
            turns = verdict.messages(asked, format="verdict" if layout == "both" else "level")
        answer = verdict.target(rubric.ranking(a, b), (a, b)) if layout == "both" else f"[[{a}]]"
        chats.append([*turns, say("assistant", answer)])
    return chats


def loss_on_levels(processor: OmniProcessor, turns: list[dict]) -> Example:
    """Encode a chat with the loss on its levels alone: a response is what is judged, not what is to be said."""
    example = processor.encode(turns, train=True)
    first = next(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
    # In the scored layout the first assistant's turn is the response.
    if len(turns) > first + 1 and turns[first + 1]["role"] == "system":
        begin = len(processor.encode(turns[: first + 1], train=True).ids)
        example.labels = [-100] * begin + example.labels[begin:]
    return example


def spoken(texts: Iterable[str], shortest: int = 1) -> list[str]:
    """List the words of `texts` that have at least `shortest` letters, each with and without a space before it."""
    found = sorted({word.strip(",") for text in texts for word in text.split()})
    return [f"{lead}{word}" for word in found for lead in ("", " ") if len(word) >= shortest]


def extend_tokens(model, processor: OmniProcessor, tags: Iterable[str], words: Iterable[str] = ()) -> OmniProcessor:
    """Make each tag and word one token, the embeddings of `model` with it; returns a processor that knows them.

    Words are embedded as the mean of their former pieces; tags at random, since their means would hardly differ. Where
    a word is new at a line's start but was one piece behind a space, that form is added too, with the embedding it had:
    else the new word would be cut out of it, and the model would no longer read what it knows.
    """
    import torch
    from tokenizers import AddedToken

    tokenizer = processor.tokenizer
    tags = list(tags)
    words = list(words)
    pieces = {w: tokenizer(w, add_special_tokens=False)["input_ids"] for w in dict.fromkeys([*tags, *words])}
    new = {w: ids for w, ids in pieces.items() if len(ids) > 1}
    new |= {w: pieces[w] for w in words if w.startswith(" ") and w.strip() in new}
    tokenizer.add_tokens([AddedToken(w, normalized=False) for w in new])
    table = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        for word, ids in new.items():
            made = torch.randn_like(table[0]) * table.std() if word in tags else table[ids].mean(0)
            model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(word)] = made
    return OmniProcessor(tokenizer, processor.vision, processor.limits)
