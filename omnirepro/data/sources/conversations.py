"""Preference data kept as training conversations: UnifiedReward's pairwise files and OmniRewardData.

UnifiedReward (HPD, Open-Image-Preferences, VideoDPO, EvalMuse): the question ends in `Text Caption: [...]` and the
answer says which picture or film is better, or that both are equally good; a film is its frames, the first half those
of film 1. OmniRewardData: `conversations` hold the criterion (system) and the question, `images` the question's; where
chosen and rejected have one and the same text it is the prompt, and `images` hold both generations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.parts import answer, cluster, media, shared, text
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, lists

CAPTION = re.compile(r"Text Caption:\s*\[(.*)\]\s*\Z", re.DOTALL)
_BETTER = re.compile(r"\b(image|video) ([12]) is better", re.IGNORECASE)
_EQUAL = re.compile(r"\bboth (image|video)s are equally good", re.IGNORECASE)
_TRAINING = "training set; the papers report no accuracy on it"


def _unified(raw: Raw) -> Iterator[Pair]:
    asked, said = spoken(raw, "human", "user"), spoken(raw, "gpt", "assistant")
    caption, verdicts = CAPTION.search(asked), {(k.lower(), n) for k, n in _BETTER.findall(said)}
    verdicts |= {(k.lower(), "tie") for k in _EQUAL.findall(said)}
    if not caption or len(verdicts) != 1:
        raise RowError(
            "field conversations: no 'Text Caption: [...]' at the end of the question, or not one verdict such as "
            "'Image 1 is better' in the answer; use a pairwise train_data.json of image or video generation"
        )
    ((kind, verdict),) = verdicts
    a, b = halves(raw)
    yield Pair(
        id=str(raw.fields.get("id", raw.number)), task="T2I" if kind == "image" else "T2V", prompt=[text(caption[1])],
        response_a=a, response_b=b, label={"1": "A", "2": "B", "tie": "tie"}[verdict], source="unifiedreward",
        cluster=cluster(caption[1]),
        meta=raw.rest("id", "images", "conversations") | {"as_released": [asked[: caption.start(1)], said]},
    )  # fmt: skip


def spoken(raw: Raw, *roles: str) -> str:
    """Return what the first of the roles says. Raises `RowError` where none speaks."""
    for message in raw.need("conversations", list):
        if message.get("from") in roles:
            return message["value"]
    raise RowError(f"field conversations: no message from {' or '.join(roles)}; get the file again")


def halves(raw: Raw) -> tuple[list[Part], list[Part]]:
    """Return both generations of `images`: the first half is of response 1."""
    parts = media("image", raw.need("images", list), raw)
    if not parts or len(parts) % 2:
        raise RowError(f"field images: {len(parts)} files are no two equal halves; get the file again")
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


def _omni_reward_data(raw: Raw) -> Iterator[Pair]:
    messages = raw.need("conversations", list)
    criterion = next((m["value"] for m in messages if m.get("from") == "system"), None)
    said = [_value(raw, side) for side in ("chosen", "rejected")]
    if said[0] == said[1]:
        prompt, (a, b) = [text(said[0])], halves(raw)
        task = "T2I" if len(a) == 1 else "T2V"
    else:
        pictures = media("image", raw.fields.get("images") or [], raw)
        asked = [m["value"] for m in messages if m.get("from") in ("human", "user")]
        prompt, task = [*pictures, *(text(v, turn=i) for i, v in enumerate(asked))], "TI2T" if pictures else "T2T"
        a, b = answer(said[0]), answer(said[1])
    kept = {"conversations": messages} if said[0] == said[1] else {}
    yield Pair(
        id=str(raw.number), task=task, prompt=prompt, response_a=a, response_b=b, criterion=criterion, label="A",
        source="omni-reward-data", cluster=shared(prompt),
        meta=(raw.rest("conversations", "chosen", "rejected", "images") | kept) or None,
    )  # fmt: skip


def _value(raw: Raw, side: str) -> str:
    value: Any = raw.need(side, dict).get("value")
    if not isinstance(value, str):
        raise RowError(f"field {side}.value is missing; a side is an object with from and value")
    return value


SOURCES = (
    Source("unifiedreward", ("conversations", "images"), _unified, UNSTATED, "Wang et al. 2025, arXiv:2503.05236",
           _TRAINING, accepts=lambda f: lists("conversations", "images")(f) and "chosen" not in f),
    Source("omni-reward-data", ("conversations", "chosen", "rejected"), _omni_reward_data, UNSTATED,
           "Omni-Reward, Section 3", _TRAINING, ranked=True, accepts=lists("conversations")),
)  # fmt: skip
