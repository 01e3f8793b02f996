"""Conversations for supervised tuning out of searches (GRM-Omni, Section 3.3): whoever writes, for anyone's pairs.

Consumes searches of training pairs, made without their labels, and pairs that are judged by their verdict alone;
produces lessons of one chat each. The labels filter: of a search those criteria stay whose judgement is right and whose
meta-reward is large enough. They give the direct judgement, where they are enough for one, the best one's own
judgement, the list of them in the order of their worth, and the repair of the response that was not preferred, where
that changed less than half of it (the authors' code).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np

from omnirepro.data import Pair, swap_verdict, text_of, text_part
from omnirepro.judge.criteria import Task, messages, render_criteria, render_judgement, unlabelled
from omnirepro.papers.grm_omni.role_examples import WRITTEN
from omnirepro.search import Trace
from omnirepro.search.selection import label_of, select
from omnirepro.search.trace import rerank

Example = tuple[Task, str]
ALIKE = 0.5  # smallest similarity of a repaired response to the one it was made of


def examples_of(trace: Trace, variant: str, top: int, least: float, seed: int) -> Iterator[Example]:
    """Yield what a search teaches: questions with answers, by criteria that judge rightly and are worth `least`."""
    gold = label_of(trace)
    ranked = [trace.tried[i] for i in rerank(trace, variant, seed)]
    kept = [tried for tried in ranked if tried.said == gold and tried.meta >= least]
    if not kept:
        return
    best = kept[0]
    for row in select([replace(trace, tried=kept)], [""], "paper", variant, top, seed=seed):
        yield row.task, row.chosen
    yield Task("write", trace.shown, count=len(kept)), render_criteria([tried.criterion for tried in kept])
    with suppress(ValueError):  # a critique that itself holds a tag cannot be written
        yield Task("judge", trace.shown, (best.criterion,)), render_judgement(best.judged)
    side = swap_verdict(gold)
    critique = best.judged.critique_a if side == "A" else best.judged.critique_b
    task = Task("refine", trace.shown, side=side, notes=(critique,))
    if (text := best.refined.get(side)) and SequenceMatcher(None, text_of(task.parts), text).ratio() > ALIKE:
        yield task, text


def verdict_of(pair: Pair, order: str) -> Example:
    """Return the question for the verdict alone, with its answer."""
    return Task("verdict", unlabelled(pair, order)), f"[[{WRITTEN[pair.displayed(order).label]}]]"


def found_lessons(
    found: Sequence[Example], alone: Sequence[Pair], number: int, verdicts: float, wording: str, seed: int
) -> list[list[list[dict]]]:
    """Return `number` lessons; a share `verdicts` of them asks for the verdict alone, in an order drawn by coin.

    Each kind is gone through again and again, in another order each time; one that is empty leaves all to the other.
    Raises ValueError where both are.
    """
    if not found and not alone:
        raise ValueError(
            "nothing to teach: no judgement of a search is right, and no pair is judged by its verdict alone"
        )
    rng = np.random.default_rng([seed, 8])
    turns = {True: _again(len(alone), rng), False: _again(len(found), rng)}
    lessons = []
    for _ in range(number):
        short = bool(alone) and (not found or rng.random() < verdicts)
        at = next(turns[short])
        task, answer = verdict_of(alone[at], ("AB", "BA")[int(rng.integers(2))]) if short else found[at]
        said = {"role": "assistant", "parts": [text_part(answer)]}
        lessons.append([[*messages(task, wording), said]])
    return lessons


def _again(size: int, rng: np.random.Generator) -> Iterator[int]:
    while size:
        yield from map(int, rng.permutation(size))
