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

from omnirepro.data import Pair, Part, Prompt, Response, text_part
from omnirepro.data.sources.parts import conversation
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.scalar import ScalarJudge

WORTH = {"A": 1.0, "B": 0.0, "tie": 0.5, None: 0.5}
Rewards = Callable[..., list[float]]


def reward_function(judge: Judge | ScalarJudge | str | Path, **kw: Any) -> Rewards:
    """Return a reward function of a judge, or of what `load_judge` loads from a path, name or URL.

    TRL passes `prompts` and `completions`, as texts or as chats. Media come from a column `parts`, a prompt as the
    kit's parts (a list of mappings), which then replaces the text; a criterion from a column `criterion`. What tools
    were asked and what they returned is shown in turns of their own, and not as the policy's words.
    """
    judge = load_judge(judge, **kw) if isinstance(judge, str | Path) else judge

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        given = columns.get("parts") or [None] * len(prompts)
        criteria = columns.get("criterion") or [None] * len(prompts)
        asked = [
            Prompt(id=str(i), task="policy", parts=_parts(prompt, parts), criterion=criterion)
            for i, (prompt, parts, criterion) in enumerate(zip(prompts, given, criteria, strict=True))
        ]
        answers = [
            Response(prompt_id=p.id, parts=_parts(completion) or [text_part("", "assistant")])
            for p, completion in zip(asked, completions, strict=True)
        ]
        return judge.score(asked, answers) if isinstance(judge, ScalarJudge) else _ring(judge, asked, answers)

    reward.__name__ = f"judge_{judge.name.replace('/', '_')}"
    return reward


def _ring(judge: Judge, asked: list[Prompt], answers: list[Response]) -> list[float]:
    """Compare each answer with the next one to the same question; a lone answer earns 1/2."""
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(asked):
        key = json.dumps([prompt.criterion, *(p.model_dump(exclude_none=True) for p in prompt.parts)])
        groups.setdefault(key, []).append(i)
    pairs = []
    for group in groups.values():
        following = [*group[1:], group[0]] if len(group) > 2 else group[1:]
        for first, second in zip(group, following, strict=False):
            sides = {"response_a": answers[first].parts, "response_b": answers[second].parts}
            about = {"prompt": asked[first].parts, "criterion": asked[first].criterion}
            pairs.append(Pair(id=f"{first}-{second}", task="policy", **about, **sides))
    earned: dict[int, list[float]] = {i: [] for i in range(len(asked))}
    for row in judge.judge(pairs, "both") if pairs else []:
        worth = WORTH[row.said]
        first, second = map(int, row.pair_id.split("-"))
        earned[first].append(worth)
        earned[second].append(1 - worth)
    return [sum(e) / len(e) if e else 0.5 for e in earned.values()]


def _parts(said: Any, given: Any = None) -> list[Part]:
    """Return a prompt or a completion as parts: those given, the text, or a chat's turns.

    A message without content says nothing. Raises ValueError on media, which a chat of TRL shows without a file's path.
    """
    if given:
        return [Part.model_validate(p) for p in given]
    if isinstance(said, str):
        return [text_part(said)]
    messages = [message | {"content": message.get("content") or ""} for message in said]
    pieces = [piece for message in messages if isinstance(message["content"], list) for piece in message["content"]]
    if any(isinstance(piece, dict) and piece.get("type") != "text" for piece in pieces):
        raise ValueError("a chat holds media: give the column `parts`, with the paths that the judge is to see")
    return conversation(messages)
