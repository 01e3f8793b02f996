"""Training rows that are a whole judging prompt and its verdict: LLaVA-Critic, ShareGPTVideo-DPO, R1-Reward-RL.

Question and candidates are read back from the end of the prompt; everything else that was shown, and the released
verdict, stay in `meta["as_released"]`. Three shapes exist: LLaVA-Critic's `conversations` with one `image` (its own
release and UnifiedReward's copy), UnifiedReward's with `images` (the frames of one film, or for reinforcement
`problem`, `solution`, `images`, which Text-2-Video-Human-Preferences has too), and R1-Reward's `message`, a chat
written as JSON text, with `question` and `answer`.

A rationale may name the winner several times: a verdict's tag counts, else the last sentence that names one, and the
pair is marked ambiguous where an earlier sentence named another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.conversations import CAPTION, halves, spoken
from omnirepro.data.sources.parts import answer, cluster, media, released, shared, text
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, lists, texts

_BRACKETED = re.compile(
    r"Question: ?\[(.*?)\]\s*\n\s*(?:(?:Response|Answer) (?:1|A)|The first response): ?\[(.*?)\]\s*\n\s*"
    r"(?:(?:Response|Answer) (?:2|B)|The second response): ?\[(.*)\]",
    re.DOTALL,
)
_HEADED = re.compile(
    r"#+ *\[Question\]: *\n?(.*?)\s*\n#+ *\[Response 1\]: *\n?(.*?)\s*\n#+ *\[Response 2\]: *\n?"
    r"(.*?)\s*(?=\n#+ *\*\*Output Format|\Z)",
    re.DOTALL,
)
_TAG = re.compile(r"<answer>\s*(.*?)\s*</answer>|The better response: ?\[(\w+)\]", re.DOTALL | re.IGNORECASE)
_SENTENCE = re.compile(
    r"\b(?:response|answer|image|video) ([12ab]) is (?:the )?better\b|\bthe (first|second) (?:response|answer) is "
    r"(?:the )?better\b|\bequally (good)\b",
    re.IGNORECASE,
)
_SIDES = {"1": "A", "a": "A", "first": "A", "2": "B", "b": "B", "second": "B", "good": "tie"}
_TRAINING = "training set; the papers report no accuracy on it"


def verdict(said: str) -> tuple[str, bool]:
    """Return the label a released verdict stands for, and whether it is ambiguous. Raises `RowError` without one."""
    tags = [next(filter(None, groups)) for groups in _TAG.findall(said)]
    scope = tags[-1] if tags else said
    if scope.strip().lower() in _SIDES:
        return _SIDES[scope.strip().lower()], False
    named = [_SIDES[next(filter(None, groups)).lower()] for groups in _SENTENCE.findall(scope)]
    if not named:
        raise RowError(
            "no verdict such as 'Response 1 is better' or '[1]' in the answer; use the pairwise file, not the pointwise"
        )
    return named[-1], len(set(named)) > 1


def _read_back(asked: str, pattern: re.Pattern[str]) -> tuple[tuple[str, str, str], list[str]]:
    """Return question and both candidates, and what was shown before and after them."""
    if not (found := pattern.search(asked)):
        raise RowError("the prompt does not end in a question and two responses; use the pairwise file, not another")
    return (found[1], found[2], found[3]), [asked[: found.start(1)], asked[found.end(3) :]]


def _conversation(raw: Raw) -> Iterator[Pair]:
    """Read UnifiedReward's and LLaVA-Critic's pairwise rows about one picture or the frames of one film."""
    asked, said = spoken(raw, "human", "user"), spoken(raw, "gpt", "assistant")
    column = "images" if raw.fields.get("images") else "image"
    yield _understood(raw, asked, said, column, ("conversations",))


def _reinforced(raw: Raw) -> Iterator[Pair]:
    """Read UnifiedReward-Think's rows for GRPO: generated media, or two answers about shown media."""
    asked, said = raw.need("problem"), raw.need("solution")
    if not (caption := CAPTION.search(asked)):
        yield _understood(raw, asked, said, "images", ("problem", "solution"))
        return
    (a, b), (label, doubt) = halves(raw), verdict(said)
    yield Pair(
        id=_name(raw), task="T2V" if len(a) > 1 or "video" in said.lower() else "T2I", prompt=[text(caption[1])],
        response_a=a, response_b=b, label=label, source="unifiedreward-rl", cluster=cluster(caption[1]),
        meta=raw.rest("id", "problem", "solution", "images") | _kept([asked[: caption.start(1)], said], doubt),
    )  # fmt: skip


def _understood(raw: Raw, asked: str, said: str, column: str, used: tuple[str, ...]) -> Pair:
    (question, a, b), around = _read_back(asked, _BRACKETED)
    label, doubt = verdict(said)
    shown = media("image", raw.need(column, str, list, dict), raw)
    film = len(shown) > 1 or re.search(r"\bvideo\b", around[0]) is not None
    source = "unifiedreward-rl" if "problem" in used else "llava-critic" if column == "image" else "sharegptvideo-dpo"
    return Pair(
        id=_name(raw), task="TV2T" if film else "TI2T", prompt=[*shown, text(question)], response_a=answer(a),
        response_b=answer(b), label=label, source=source, cluster=shared(shown),
        meta=raw.rest("id", column, *used, source="origin") | _kept([*around, said], doubt)
        | released(image_name=raw.fields[column]),
    )  # fmt: skip


def _r1_reward(raw: Raw) -> Iterator[Pair]:
    shown, asked = _chat(raw)
    (question, a, b), around = _read_back(asked, _HEADED)
    said = raw.need("answer", list, str)
    label, doubt = verdict("\n".join(said) if isinstance(said, list) else said)
    yield Pair(
        id=_name(raw), task=_task(shown), prompt=[*shown, text(raw.fields.get("question") or question)],
        response_a=answer(a), response_b=answer(b), label=label, source="r1-reward-rl",
        cluster=shared(shown or [text(question)]),
        meta=raw.rest("id", "message", "question", "answer") | _kept([*around, str(said)], doubt),
    )  # fmt: skip


def _chat(raw: Raw) -> tuple[list[Part], str]:
    """Return the media and the text of a chat that is written as JSON text."""
    try:
        content = [c for m in json.loads(raw.need("message")) if m["role"] == "user" for c in m["content"]]
    except (ValueError, KeyError, TypeError):
        raise RowError("field message: not a JSON chat of role and content; download the file again") from None
    shown: list[Part] = []
    for piece in content:
        value: Any = piece.get("image") or piece.get("video")
        if value:  # a list of frames is a film as pictures
            shown += media("video" if "video" in piece and isinstance(value, str) else "image", value, raw)
    return shown, "".join(p["text"] for p in content if p.get("type") == "text")


def _task(shown: list[Part]) -> str:
    if not shown:
        return "T2T"
    return "TV2T" if len(shown) > 1 or shown[0].type == "video" else "TI2T"


def _name(raw: Raw) -> str:
    return str(raw.fields.get("id", raw.number))


def _kept(said: list[str], doubt: bool) -> dict[str, Any]:
    return {"as_released": said} | ({"ambiguous": True} if doubt else {})


def _asks(fields: dict[str, Any]) -> bool:
    """Tell whether the first message ends in a question and two answers, not in a caption to be pictured."""
    first = next((m for m in fields["conversations"] if isinstance(m, dict)), {})
    return _BRACKETED.search(str(first.get("value"))) is not None


SOURCES = (
    Source("llava-critic", ("conversations", "image"), _conversation, UNSTATED, "Xiong et al. 2024, arXiv:2410.02712",
           _TRAINING, hub="lmms-lab/LLaVA-Critic-113k", config="pairwise", accepts=lists("conversations")),
    Source("sharegptvideo-dpo", ("conversations", "images"), _conversation, UNSTATED,
           "Zhang et al. 2024, arXiv:2404.01258 (pairs: UnifiedReward)", _TRAINING,
           accepts=lambda f: lists("conversations", "images")(f) and "chosen" not in f and _asks(f)),
    Source("unifiedreward-rl", ("problem", "solution", "images"), _reinforced, UNSTATED,
           "Wang et al. 2025, arXiv:2505.03318", _TRAINING, accepts=texts("problem", "solution")),
    Source("r1-reward-rl", ("message", "question", "answer"), _r1_reward, UNSTATED,
           "Zhang et al. 2025, R1-Reward", _TRAINING, hub="yifanzhang114/R1-Reward-RL", accepts=texts("message")),
)  # fmt: skip
