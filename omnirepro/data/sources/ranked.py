"""Preference data that names a better and a worse response: HH-RLHF, Skywork-Reward-Preference, RLAIF-V.

As released the better one stands first, so A is always preferred as read; `load(..., sides=seed)` exchanges half of
the pairs, and judging in both orders needs no exchange. Transcripts are split where the two dialogues part: what both
share is the prompt, and a response that goes on for several turns keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.parts import answer, conversation, medium, released, shared, text
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, lists, texts

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
ACCURACY = "accuracy over pairs (micro)"
UNSTATED = "not known to the kit; read the data's own card"


def parted(a: list[Part], b: list[Part]) -> tuple[list[Part], list[Part], list[Part]]:
    """Split two dialogues into their common prompt and two responses. Raises `RowError` where nothing is common."""
    same = len([*takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))])
    same = min(same, len(a) - 1, len(b) - 1)
    while same > 0 and not (a[same].role == b[same].role == "assistant"):
        same -= 1
    if same <= 0:
        raise RowError("field chosen and rejected: no common prompt before an assistant's message; remove the row")
    return a[:same], _response(a[same:]), _response(b[same:])


def _response(parts: list[Part]) -> list[Part]:
    return answer(parts[0].text or "") if len(parts) == 1 else parts


def _hh(raw: Raw) -> Iterator[Pair]:
    prompt, a, b = parted(_transcript(raw, "chosen"), _transcript(raw, "rejected"))
    yield Pair(
        id=str(raw.number), task="T2T", prompt=prompt, response_a=a, response_b=b, label="A", source="hh-rlhf",
        cluster=shared(prompt), meta=raw.rest("chosen", "rejected") or None,
    )  # fmt: skip


def _transcript(raw: Raw, name: str) -> list[Part]:
    head, *rest = _TURN.split(raw.need(name))
    if head or not rest:
        raise RowError(f"field {name}: does not begin with 'Human:' after an empty line; this is no HH-RLHF transcript")
    return conversation([{"role": r.lower(), "content": c} for r, c in zip(rest[::2], rest[1::2], strict=True)])


def _skywork(raw: Raw) -> Iterator[Pair]:
    prompt, a, b = parted(*(conversation(raw.need(name, list)) for name in ("chosen", "rejected")))
    yield Pair(
        id=str(raw.number), task="T2T", prompt=prompt, response_a=a, response_b=b, label="A",
        source="skywork-preference", cluster=shared(prompt), meta=raw.rest("chosen", "rejected") or None,
    )  # fmt: skip


def _rlaif_v(raw: Raw) -> Iterator[Pair]:
    picture = raw.fields.get("image") or raw.need("image_path")
    prompt = [medium("image", picture, raw), text(raw.need("question"))]
    meta = raw.rest("image", "question", "chosen", "rejected") | released(image_name=picture)
    yield Pair(
        id=str(raw.fields.get("idx", raw.number)), task="TI2T", prompt=prompt, response_a=answer(raw.need("chosen")),
        response_b=answer(raw.need("rejected")), label="A", source="rlaif-v", cluster=shared(prompt[:1]), meta=meta,
    )  # fmt: skip


SOURCES = (
    Source(
        "hh-rlhf", ("chosen", "rejected"), _hh, "MIT", "Bai et al. 2022, arXiv:2204.05862", ACCURACY,
        hub="Anthropic/hh-rlhf", split="test", ranked=True,
        accepts=lambda f: texts("chosen", "rejected")(f) and f["chosen"].startswith("\n\nHuman:"),
    ),
    Source(
        "skywork-preference", ("source", "chosen", "rejected"), _skywork, UNSTATED, "Liu et al. 2024, arXiv:2410.18451",
        "training set; the papers report no accuracy on it", hub="Skywork/Skywork-Reward-Preference-80K-v0.2",
        ranked=True, accepts=lists("chosen", "rejected"),
    ),
    Source(
        "rlaif-v", ("image_path", "question", "chosen", "rejected"), _rlaif_v, "CC-BY-NC-4.0",
        "Yu et al. 2024, arXiv:2405.17220", "training set; the papers report no accuracy on it",
        hub="openbmb/RLAIF-V-Dataset", ranked=True, accepts=texts("question", "chosen", "rejected"),
    ),
)  # fmt: skip
