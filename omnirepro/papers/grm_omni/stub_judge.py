"""A stub for a tuned model: well-formed answers in the brief forms, drawn by their question and from nothing else.

Only for counts at which no model can be trained (`meta_reward_dpo.templates`): it lets every step behind the roles run.
It reads neither media nor responses and knows no truth; whatever is measured of it is chance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from omnirepro.judge.criteria import CriterionJudgement, render_criteria, render_direct, render_judgement
from omnirepro.models.generation import Decoding, Generated
from omnirepro.toyworld.criteria.composed import pool_for

SCORES = {"A": (8, 3), "B": (3, 8), "tie": (6, 6)}
CRITERIA = [c.phrasings[0] for c in pool_for("T2T")]


@dataclass
class StubJudge:
    """Completes brief chats: criteria and verdicts at random, a refined response with an opening before it."""

    name: str

    def complete(self, chats: list, decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Answer every chat by its words alone; equal chats get equal answers of one stub."""
        texts = [self._answer("".join(p.text or p.type for m in chat for p in m["parts"])) for chat in chats]
        return [Generated(text, len(text.split()), True) for text in texts]

    def _answer(self, asked: str) -> str:
        rng = np.random.default_rng([*sha256(f"{self.name.split('/')[0]} {asked}".encode()).digest()])
        last = asked.rsplit("\n", 1)[-1]
        if last.startswith("fix "):
            return f"well, {asked.rsplit(': ', 1)[-1].splitlines()[0]}"
        verdict = str(rng.choice(tuple(SCORES), p=(0.45, 0.45, 0.1)))
        judged = CriterionJudgement("ok", verdict, *SCORES[verdict], "fluency poor mend", "accuracy good keep")
        if last == "verdict.":
            return f"[[{'equal' if verdict == 'tie' else verdict}]]"
        if last == "judge by criterion.":
            return render_judgement(judged)
        count = int(re.search(r"write (\d+)", last)[1])
        drawn = [CRITERIA[i] for i in rng.permutation(len(CRITERIA))[:count]]
        return render_direct(drawn, judged) if last.endswith("judge.") else render_criteria(drawn)
