"""Omni-RRM's data: Omni-Preference (rows for reinforcement) and the three benchmark files of its own making.

A training row is a whole judging prompt; question and candidates are read back from its last section, and the media's
path that it shows stays out of the pair's prompt (`meta` has it). A benchmark row is a prompt (`video` and `query`,
`audio_prompt` or `text_prompt`), `answer_a`, `answer_b` and `label` (0: a); in the released ShareGPT-Video file every
label is 0, so that a constant A scores 100 %. The spoken question of Audio-HH-RLHF is the whole prompt. Rows for SFT
are not read: their fields are not published in a form that could be checked.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.parts import Medium, answer, medium, shared, text
from omnirepro.data.sources.ranked import ACCURACY
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source

_MEDIA: dict[str, tuple[Medium, str]] = {
    "images": ("image", "TI2T"), "videos": ("video", "TV2T"), "audios": ("audio", "TA2T"),
}  # fmt: skip
_CONTEXT = re.compile(
    r"### Context\s*\n(?:[ \t]*(?:Image|Video|Audio) file:[^\n]*\n)?[ \t]*Question:[ ]?(.*?)[ \t]*\n"
    r"[ \t]*Candidate A:[ ]?(.*?)[ \t]*\n[ \t]*Candidate B:[ ]?(.*)\Z",
    re.DOTALL,
)
_BETTER = {"A": "A", "B": "B", "equal": "tie"}
_LABEL = {0: "A", 1: "B"}


def _omni_preference(raw: Raw) -> Iterator[Pair]:
    column = next((c for c in _MEDIA if raw.fields.get(c)), None)
    if not column:
        raise RowError(f"field {'|'.join(_MEDIA)}: a row names one medium; the row has: {', '.join(raw.fields)}")
    kind, task = _MEDIA[column]
    shown, (question, a, b), clear = _context(raw)
    gold = _solution(raw)
    prompt = [*(_found(kind, path, raw) for path in raw.need(column, list)), text(question)]
    said = {"shown": shown} | {k: v for k, v in gold.items() if k not in ("score_A", "score_B", "better")}
    meta = raw.rest(column, "messages", "solution") | {"score_a": gold["score_A"], "score_b": gold["score_B"]}
    yield Pair(
        id=f"{task}/{raw.number}", task=task, prompt=prompt, response_a=answer(a), response_b=answer(b),
        label=_BETTER[gold["better"]], margin=abs(gold["score_A"] - gold["score_B"]), source="omni-preference",
        cluster=shared(prompt[:-1]), meta=meta | {"as_released": said} | ({} if clear else {"ambiguous": True}),
    )  # fmt: skip


def _context(raw: Raw) -> tuple[str, tuple[str, str, str], bool]:
    """Return what stood before them, question and both candidates, and whether each heading stood there once."""
    messages = raw.need("messages", list)
    shown = next((m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "user"), None)
    found = _CONTEXT.search(shown) if isinstance(shown, str) else None
    if not found:
        raise RowError("field messages: no '### Context' with Question, Candidate A and B; get the file again")
    headings = re.findall(r"(?m)^[ \t]*Candidate [AB]:", found[0])
    return shown[: found.start(1)], (found[1], found[2], found[3]), len(headings) == 2


def _solution(raw: Raw) -> dict[str, Any]:
    try:
        gold = json.loads(raw.need("solution"))
        if gold["better"] in _BETTER and all(isinstance(gold[k], int | float) for k in ("score_A", "score_B")):
            return gold
    except (ValueError, KeyError, TypeError):
        pass
    raise RowError("field solution: not JSON with score_A, score_B and better (A, B, equal); remove the row")


def _found(kind: Medium, path: Any, raw: Raw) -> Part:
    part = medium(kind, path, raw)
    if not Path(part.path).exists() and len(same := _by_name(raw.root).get(_name(path), ())) == 1:
        return part.model_copy(update={"path": same[0]})
    return part


@cache
def _by_name(root: Path) -> dict[str, tuple[str, ...]]:
    """Index files by a name without the differences between released rows and files (`&amp;`, `_` for a space)."""
    out: dict[str, tuple[str, ...]] = {}
    for path in root.rglob("*.wav"):
        out[_name(path.name)] = (*out.get(_name(path.name), ()), str(path.resolve()))
    return out


def _name(path: str) -> str:
    return html.unescape(path.split("/")[-1]).replace("_", " ").lower()


def _bench(name: str, kind: Medium | None, column: str) -> Callable[[Raw], Iterator[Pair]]:
    def read(raw: Raw) -> Iterator[Pair]:
        asked = text(raw.need("query")) if "query" in raw.fields else None
        first = medium(kind, raw.need(column), raw) if kind else text(raw.need(column))
        prompt = [first, *([asked] if asked else [])]
        released = str(raw.fields.get("id", raw.number))
        group = released.rsplit("_", 1)[0] if kind == "video" else shared(prompt)
        yield Pair(
            id=released, task={"video": "TV2T", "audio": "TA2T", None: "T2T"}[kind], prompt=prompt,
            response_a=answer(raw.need("answer_a")), response_b=answer(raw.need("answer_b")),
            label=raw.choose("label", _LABEL), source=name, cluster=group,
            meta=raw.rest("id", "query", column, "answer_a", "answer_b", "label") or None,
        )  # fmt: skip

    return read


_TERMS = "none stated in its repository"
_DROPPED = "accuracy over verdicts that parsed and are A or B; the others leave the denominator"
SOURCES = (
    Source("omni-preference", ("messages", "solution"), _omni_preference, "none stated on its card",
           "Omni-RRM, Section 3", "training set; the papers report no accuracy on it",
           accepts=lambda f: any(f.get(c) for c in _MEDIA)),
    Source("sharegpt-video", ("video", "query", "answer_a", "answer_b", "label"),
           _bench("sharegpt-video", "video", "video"), _TERMS, "Omni-RRM, Section 4", _DROPPED),
    Source("audio-hh-rlhf", ("audio_prompt", "answer_a", "answer_b", "label"),
           _bench("audio-hh-rlhf", "audio", "audio_prompt"), f"{_TERMS} (HH-RLHF: MIT)",
           "Omni-RRM, Section 4", f"{ACCURACY}; equal is wrong, a failed verdict leaves the denominator"),
    Source("hh-rlhf-pairs", ("text_prompt", "answer_a", "answer_b", "label"),
           _bench("hh-rlhf-pairs", None, "text_prompt"), f"{_TERMS} (HH-RLHF: MIT)",
           "Omni-RRM, Section 4", f"{ACCURACY}; equal is wrong, a failed verdict leaves the denominator"),
)  # fmt: skip
