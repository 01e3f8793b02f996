"""A judge as the reward function of a policy, in the form that TRL's GRPOTrainer calls.

Consumes the completions of a batch; produces one reward each. A scalar judge scores every completion. A judge of pairs
compares each completion with the next of its group (the completions of the same prompt), in a ring and in both orders,
so that a group of G costs G comparisons: a reward is the mean of what both comparisons earned, 1 for a win, 1/2 for a
tie or a verdict that cannot be read, 0 for a loss. Rewards are relative to the group, as GRPO's advantages are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omnirepro.data import Judgement, Pair, Part, Prompt, Response, text_part
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.scalar import ScalarJudge

WORTH = {"A": 1.0, "B": 0.0, "tie": 0.5, None: 0.5}
Rewards = Callable[..., list[float]]


def reward_function(judge: Judge | ScalarJudge | str | Path, **kw: Any) -> Rewards:
    """Return a reward function of a judge, or of what `load_judge` loads from a path, name or URL.

    TRL passes `prompts` and `completions`, as texts or as chats. Media come from a column `parts`, a prompt as the
    kit's parts (a list of mappings), which then replaces the text; a criterion from a column `criterion`.
    """
    judge = load_judge(judge, **kw) if isinstance(judge, str | Path) else judge

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        given = columns.get("parts") or [None] * len(prompts)
        asked = [_parts(p, extra) for p, extra in zip(prompts, given, strict=True)]
        answers = [[text_part(_text(c))] for c in completions]
        criteria = columns.get("criterion") or [None] * len(prompts)
        if isinstance(judge, ScalarJudge):
            wanted = [Prompt(id=str(i), task="policy", parts=p, criterion=criteria[i]) for i, p in enumerate(asked)]
            return judge.score(
                wanted, [Response(prompt_id=w.id, parts=a) for w, a in zip(wanted, answers, strict=True)]
            )
        return _ring(judge, asked, answers, criteria)

    reward.__name__ = f"judge_{judge.name.replace('/', '_')}"
    return reward


def _ring(
    judge: Judge, asked: list[list[Part]], answers: list[list[Part]], criteria: Sequence[str | None]
) -> list[float]:
    """Compare each answer with the next one to the same question; a lone answer earns 1/2."""
    groups: dict[str, list[int]] = {}
    for i, parts in enumerate(asked):
        key = json.dumps([criteria[i], *(p.model_dump(exclude_none=True) for p in parts)])
        groups.setdefault(key, []).append(i)
    ring = [
        (g[k], g[(k + 1) % len(g)]) for g in groups.values() if len(g) > 1 for k in range(len(g) if len(g) > 2 else 1)
    ]
    pairs = [
        Pair(id=f"{a}-{b}", task="policy", prompt=asked[a], response_a=answers[a], response_b=answers[b],
             criterion=criteria[a]) for a, b in ring
    ]  # fmt: skip
    earned: dict[int, list[float]] = {}
    for row in _judged(judge, pairs):
        worth = WORTH[row.verdict if row.status == "ok" else None]
        first, second = map(int, row.pair_id.split("-"))
        earned.setdefault(first, []).append(worth)
        earned.setdefault(second, []).append(1 - worth)
    return [sum(e) / len(e) if (e := earned.get(i)) else 0.5 for i in range(len(asked))]


def _judged(judge: Judge, pairs: list[Pair]) -> list[Judgement]:
    return judge.judge(pairs, "both") if pairs else []


def _parts(prompt: Any, given: Any) -> list[Part]:
    """Return a prompt as parts: those given, the text, or a chat's turns (TRL's list of role and content)."""
    if given:
        return [Part.model_validate(p) for p in given]
    if isinstance(prompt, str):
        return [text_part(prompt)]
    parts, turn = [], -1
    for message in prompt:
        turn += message["role"] == "user"
        parts.append(text_part(_said(message["content"]), role=message["role"], turn=max(turn, 0)))
    return parts


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else "".join(_said(m["content"]) for m in completion)


def _said(content: Any) -> str:
    """Return the text of a message. Raises ValueError on media, which a chat of TRL shows without a file's path."""
    if isinstance(content, str):
        return content
    if any(piece.get("type") != "text" for piece in content):
        raise ValueError("a prompt holds media: give the column `parts`, with the paths that the judge is to see")
    return "".join(piece["text"] for piece in content)
