"""Pairs as the end of a longer conversation: an earlier question about the same medium and its answer come first.

Consumes pairs with text responses; produces the same pairs, labels unchanged, with a prompt of two exchanges (open
question 3 of Omni-Reward: do models that were trained on single turns judge conversations?).
"""

from __future__ import annotations

import numpy as np

from omnirepro.data import Pair, text_part
from omnirepro.toyworld.criteria import TEXT_TASKS
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.language import compose, questions
from omnirepro.toyworld.nouns import pick


def two_turns(pair: Pair, seed: int = 0) -> Pair:
    """Return a pair whose prompt opens with another question about its medium and the right answer to that.

    Raises ValueError for a pair whose responses are media.
    """
    if pair.task not in TEXT_TASKS:
        raise ValueError(f"pair {pair.id} of {pair.task}: only a question about a medium can have an earlier one")
    asked, _ = facts_of(pair)
    rng = np.random.default_rng([seed, *pair.id.encode()])
    earlier = pick(rng, [q for q in questions(asked.scene) if q != asked.question])
    *media, text = pair.prompt
    opening = text.text.removesuffix(asked.question.text)  # the passage, where the medium is text
    first = [*media, text_part(opening + earlier.text)]
    answer = text_part(compose(asked.scene, earlier), role="assistant", turn=1)
    return pair.model_copy(update={"prompt": [*first, answer, text_part(asked.question.text, turn=2)]})
