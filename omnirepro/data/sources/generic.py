"""Preferences in the forms that trainers read: TRL, LLaMA-Factory, ShareGPT, ms-swift, and plain columns.

A dialogue keeps its speakers: a system prompt is a system turn, tools speak in words that name them, and a response of
several messages keeps them. Media stand where the texts have their marks, else before the first question.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from omnirepro.data import Part, RowError, text_part
from omnirepro.data.schema import LETTERS
from omnirepro.data.sources.parts import Shown, conversation, media, parted
from omnirepro.data.sources.rows import Raw

Given = dict[str, Any]
_NAMED = {
    **dict.fromkeys(("a", "response_a", "model_a"), "A"),
    **dict.fromkeys(("b", "response_b", "model_b"), "B"),
    **dict.fromkeys(("tie", "equal"), "tie"),
}
WHOLE = ("system", "developer", "user", "human")  # who speaks first in a whole dialogue, not in an answer alone
_GOOD = {1: True, 0: False, "true": True, "false": False, "True": True, "False": False}  # 1 is True as well
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def preferred(value: Any) -> tuple[str | None, dict[str, float]]:
    """Return the label that a value stands for and, where it is one, the probability by side.

    A label is A, B or tie, or a number: 0 is A (the first), 1 is B, and between them stands the probability that B is
    better. Raises `RowError` for anything else.
    """
    if value is None:
        return None, {}
    if isinstance(value, str) and value.strip().lower() in _NAMED:
        return _NAMED[value.strip().lower()], {}
    number = _number(value)
    if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1:
        label = "tie" if number == 0.5 else "AB"[number > 0.5]
        soft = {"probability_a": round(1 - number, 9), "probability_b": number} if 0 < number < 1 else {}
        return label, soft
    known = "write A, B or tie, 0 (A) or 1 (B), or the probability that B is better"
    raise RowError(f"field label: {value!r:.60} is unknown; {known}")


def _number(value: Any) -> Any:
    """Return a number that a table of text holds as its digits as one, and any other value as it is."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value


def pairs(raw: Raw) -> Iterator[Given]:
    """Read two responses and a label; a field `probability_a` is a label too, the probability that A is better."""
    shown = Shown(raw)
    prompt = [*_opening(raw), *_asked(raw, shown)]
    sides = [_side(raw, f"response_{side}", shown) for side in "ab"]
    chance = _number(raw.fields.get("probability_a"))
    if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
        raise RowError(f"field probability_a: {chance!r:.60} is no probability; write a number from 0 to 1")
    label, soft = preferred(raw.fields.get("label") if chance is None else 1 - chance)
    criterion = raw.fields.get("criterion")
    yield _given(raw, shown, prompt, sides) | {"label": label, "meta": soft, "criterion": criterion}


def preference(raw: Raw) -> Iterator[Given]:
    """Read TRL's rows: a prompt, chosen and rejected, each a text or messages; both sides may begin with the prompt."""
    shown = Shown(raw)
    both = [raw.need(name, str, list, dict) for name in ("chosen", "rejected")]
    firsts = [side[0] for side in both if isinstance(side, list) and len(side) > 1 and isinstance(side[0], dict)]
    if len(firsts) == 2 and all((first.get("role") or first.get("from")) in WHOLE for first in firsts):
        first, second = (conversation(side, each) for side, each in zip(both, (shown, Shown(raw)), strict=True))
        found = parted(first, second)
        asked = [] if raw.fields.get("prompt") is None else _asked(raw, Shown(raw))
        if asked and asked[-1].text not in [part.text for part in found["prompt"]]:
            raise RowError("field prompt: chosen and rejected begin with another one; take it out of them")
        prompt = [*_opening(raw), *found["prompt"]]
        sides = found["sides"]
    elif raw.fields.get("prompt") is None and all(isinstance(side, str) for side in both):
        asked, sides = _common(*both)
        prompt = [*_opening(raw), *asked]
    else:
        prompt = [*_opening(raw), *_asked(raw, shown)]
        sides = [_side(raw, name, shown) for name in ("chosen", "rejected")]
    yield _given(raw, shown, prompt, sides) | _scored(raw)


def ranking(raw: Raw) -> Iterator[Given]:
    """Read rankings of ShareGPT's form (conversations, chosen, rejected) or of OpenAI's (messages)."""
    shown = Shown(raw)
    messages = raw.need("conversations" if "conversations" in raw.fields else "messages", list)
    prompt = [*_opening(raw), *conversation(messages, shown)]
    yield _given(raw, shown, prompt, [_side(raw, name, shown) for name in ("chosen", "rejected")])


def swift(raw: Raw) -> Iterator[Given]:
    """Read ms-swift's rows: a chat that ends in the chosen answer, and the rejected one."""
    shown = Shown(raw)
    *asked, answer = raw.need("messages", list) or [None]
    prompt = [*_opening(raw), *conversation(asked, shown)]
    yield _given(raw, shown, prompt, [_answer([answer], shown), _side(raw, "rejected_response", shown)])


def alpaca(raw: Raw) -> Iterator[Given]:
    """Read Alpaca's rankings: system, history (question and answer), instruction, input."""
    shown = Shown(raw)
    said = [part for asked, told in raw.fields.get("history") or () for part in (("user", asked), ("assistant", told))]
    question = "\n".join(filter(None, (raw.need("instruction"), raw.fields.get("input"))))
    messages = [{"role": role, "content": text} for role, text in (*said, ("user", question))]
    prompt = [*_opening(raw), *conversation(messages, shown)]
    yield _given(raw, shown, prompt, [_side(raw, name, shown) for name in ("chosen", "rejected")])


def unpaired(rows: Iterator[Raw]) -> Iterator[Raw]:
    """Bring together the good and the bad completions of each prompt; all rows are held.

    Prompts that have only one of them make no pair: they are counted in a warning. Raises `RowError` where all are so.
    """
    found: dict[str, tuple[Raw, dict[bool, list[Any]]]] = {}
    for raw in rows:
        try:
            good = raw.choose("label", _GOOD)
            completion = raw.need("completion", str, list, dict)
            _, both = found.setdefault(repr(raw.need("prompt", str, list)), (raw, {True: [], False: []}))
        except RowError as error:
            raise RowError(f"{raw.where}: {error} (read as trl-unpaired)") from None
        both[good].append(completion)
    whole = [(raw, both) for raw, both in found.values() if both[True] and both[False]]
    said = f"{len(found) - len(whole)} of {len(found)} prompts have no pair of a good and a bad completion"
    if found and not whole:
        raise RowError(f"{raw.where}: {said}; such rows cannot be compared")
    if len(whole) < len(found):
        warnings.warn(f"{raw.file}: {said}: their rows are in no pair", stacklevel=2)
    for raw, both in whole:
        kept = {k: v for k, v in raw.fields.items() if k not in ("completion", "label")}
        yield replace(raw, fields=kept | {"chosen": both[True], "rejected": both[False]})


def every(raw: Raw) -> Iterator[Given]:
    """Read each good completion beside each bad one."""
    for i, good in enumerate(raw.fields["chosen"]):
        for j, bad in enumerate(raw.fields["rejected"]):
            (given,) = preference(replace(raw, fields=raw.fields | {"chosen": good, "rejected": bad}))
            yield given | {"id": f"{raw.fields.get('id', raw.number)}/{i}-{j}"}


def _opening(raw: Raw) -> list[Part]:
    """Return the system prompt and the tools of a row as a system turn."""
    system = [raw.fields["system"]] if raw.fields.get("system") else []
    tools = raw.fields.get("tools")
    if tools:
        system.append(
            "[tools] " + (tools if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False, default=str))
        )
    if not all(isinstance(text, str) for text in system):
        raise RowError("field system: a text is expected; write it as one")
    return [text_part("\n".join(system), "system")] if system else []


def _asked(raw: Raw, shown: Shown) -> list[Part]:
    """Return the prompt of a row, a text or messages, without system prompt and tools of their own columns."""
    prompt = raw.need("prompt", str, list, dict)
    return shown.text(prompt) if isinstance(prompt, str) else conversation(prompt, shown)


def _side(raw: Raw, name: str, shown: Shown) -> list[Part]:
    value = raw.need(name, str, list, dict)
    if isinstance(value, dict) and not {"role", "from"} & value.keys() and {"path", "bytes", "array"} & value.keys():
        kind = next((kind for kind in ("image", "video", "audio") if kind in str(value.get("type", ""))), "image")
        return media(kind, value, raw)
    return [text_part(value)] if isinstance(value, str) else _answer(value, shown)


def _answer(messages: Any, shown: Shown) -> list[Part]:
    """Return a response: one message without its role, several with theirs."""
    parts = conversation(messages, shown)
    if not parts:
        raise RowError("a response without a message; remove the row")
    single = not isinstance(messages, list) or len(messages) == 1
    return [part.model_copy(update={"role": "user", "turn": 0}) for part in parts] if single else parts


def _common(a: str, b: str) -> tuple[list[Part], list[list[Part]]]:
    """Split two texts into the words that both begin with and the rest. Raises `RowError` where there are none."""
    same = os.path.commonprefix([a, b])
    prompt = same[: same.rfind(" ") + 1] or same[: same.rfind("\n") + 1]
    if not prompt.strip():
        raise RowError("field prompt is missing, and chosen and rejected begin with no common words; add a prompt")
    return [text_part(prompt.rstrip())], [[text_part(side[len(prompt) :])] for side in (a, b)]


def _scored(raw: Raw) -> Given:
    """Return the scores of a row's sides, by side."""
    scores = {side: raw.fields.get(f"score_{name}") for side, name in (("a", "chosen"), ("b", "rejected"))}
    known = {f"score_{side}": _number(score) for side, score in scores.items() if score is not None}
    given = _number(raw.fields.get("margin"))
    return {"meta": known} | ({"margin": given} if isinstance(given, int | float) else {})


def _given(raw: Raw, shown: Shown, prompt: list[Part], sides: Any) -> Given:
    """Return what all forms share: rest of the media before the first question, the task by what the parts are."""
    if not prompt:
        raise RowError("field prompt is missing or empty; add what was asked")
    first = next((at for at, part in enumerate(prompt) if part.role == "user"), len(prompt))
    prompt = [*prompt[:first], *shown.rest(), *prompt[first:]]
    asked = next((LETTERS[part.type] for part in prompt if part.type != "text"), "")
    made = next((LETTERS[part.type] for side in sides for part in side if part.type != "text"), "T")
    task = raw.fields.get("task")
    named = task if isinstance(task, str) and task else f"T{asked}2{made}"
    return {"prompt": prompt, "sides": tuple(sides), "task": named}
