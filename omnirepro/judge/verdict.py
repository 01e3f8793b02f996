"""The free-form judgement: which response is better under a criterion in words (Omni-Reward, Section 2 and its code).

Consumes pairs; produces chat messages, target texts, and what a raw text says. Three formats: "verdict" gives short
reasons and then [[A]], [[B]] or [[C]] for a tie; "verdict-direct" the tag alone, without a chain of thought; "level"
looks at one response and gives [[1]] to [[5]], as the paper's pointwise judges do. `format_of` finds any format of the
kit, those of `rubric` included, as one value: how a pair is asked, how a text is read, how a label is written.

Departures: (1) `brief` wordings are for the embedded model, `full` ones for a model that was never tuned on them; brief
ones have the criterion behind the responses, where a small model learns to look back with it in mind; (2) both tags in
one text are no verdict, as published, but there are no retries: a failed judgement stays in the rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from omnirepro.data import Judgement, Pair, Part, Response, swap_verdict, text_part
from omnirepro.judge import rubric
from omnirepro.judge.rubric import Parsed, criterion_of, side
from omnirepro.judge.scalar import freeze_scores
from omnirepro.judge.speech import BRIEF, spoken
from omnirepro.models.generation import LocalModel

TAGS = {"A": "[[A]]", "B": "[[B]]", "tie": "[[C]]"}
LEVELS = range(1, 6)
LEVEL_STARTS = tuple(f"[[{level}" for level in LEVELS)  # an answer in the format "level", up to the level
MARKS = {"rubric": '"better": "', "verdict": "[["}  # what stands before the verdict in an answer
_WRITTEN = {"rubric": re.compile(r'"better"\s*:\s*"'), "verdict": re.compile(r"\[\[(?=\s*(?:A|B|C|equal|tie)\s*\]\])")}
_TRIED = re.compile(r"(\[\[[^\[\]]*\]{0,2}|\[)\s*$")
_LEVEL = re.compile(r"\[\[\s*([1-5])\s*\]\]")
_BRIEF = {"verdict": "\ncompare.", "verdict-direct": "\nverdict.", "level": "\nlevel."}
_REASONS = {"verdict": "Reason briefly about both responses first, then end", "verdict-direct": "Reply"}


@dataclass(frozen=True)
class Format:
    """A format of judgement: the kind of its rows, how a pair is asked, how a text is parsed strictly and how read."""

    kind: str
    messages: Callable[[Pair, str], list[dict]]
    parse: Callable[[str], Parsed]
    read: Callable[[str], Parsed]


@lru_cache
def format_of(name: str) -> Format:
    """Return a format by its name, of `FORMATS` or of `rubric.FORMATS`."""
    if name in FORMATS:
        return FORMATS[name]
    readers = (partial(reader, format=name) for reader in (rubric.parse, rubric.read))
    return Format("rubric", partial(rubric.messages, format=name), *readers)


def parse(text: str, format: str = "verdict") -> Parsed:
    """Read a judgement in any format of the kit; never raises. A level is `score_a`, and gives no verdict."""
    return format_of(format).parse(text)


def read(text: str, format: str = "verdict") -> Parsed:
    """Read a judgement in any format of the kit, without what stands around it (`rubric.read`); never raises."""
    return format_of(format).read(text)


def messages(pair: Pair, wording: str = "brief", format: str = "verdict") -> list[dict]:
    """Build the chat that asks for a judgement of a pair as displayed, in any format of the kit.

    A "level" is asked of `response_a` alone. The criterion, where there is one, stands before the responses; in the
    "brief" wording behind them.
    """
    return format_of(format).messages(pair, wording)


def ask_level(prompt: list[Part], response: list[Part], criterion: str | None, wording: str = "brief") -> list[dict]:
    """Build the chat that asks for the level of one response."""
    alone = Pair(id="", task="", prompt=prompt, response_a=response, response_b=response, criterion=criterion)
    return messages(alone, wording, "level")


def _ask(pair: Pair, wording: str, format: str) -> list[dict]:
    brief = wording == "brief"
    responses = side("A", pair.response_a, brief, "Response")
    if format != "level":
        responses += side("B", pair.response_b, brief, "Response")
    if brief:
        parts = [*spoken(pair.prompt, BRIEF), *responses, *criterion_of(pair, BRIEF), text_part(_BRIEF[format])]
        return [{"role": "user", "parts": parts}]
    system = {"role": "system", "parts": [text_part(instruction(format, wording))]}
    return [system, {"role": "user", "parts": [*rubric.asked(pair, brief), *responses]}]


def instruction(format: str, wording: str = "full") -> str:
    """Return the full instruction of a format, for a model that never saw it; `reworded` says it in other words."""
    if format == "level":
        return (
            "You see a prompt, a criterion, and one response. Say how well the response meets the criterion, and take "
            "nothing else into account. Reply with one number in double brackets, [[1]] (not at all) to [[5]] (fully)."
        )
    if wording == "reworded":
        return (
            "Below are a prompt, a criterion, and responses A and B. Which of them does what the criterion asks for? "
            "Nothing but the criterion counts: not which one is longer, nor which one comes first. Say that both are "
            f"equal only if you see no difference. {_REASONS[format]} with one tag: [[A]], [[B]], or [[C]] if equal."
        )
    return (
        "You see a prompt, a criterion, and two responses, A and B. Decide which response meets the criterion better, "
        "and take nothing else into account, neither order nor length. Where neither is better it is a tie; call one "
        f"only where you find no difference. {_REASONS[format]} with exactly one of [[A]], [[B]] or [[C]] (tie)."
    )


def _parse_level(text: str) -> Parsed:
    found = {int(x) for x in _LEVEL.findall(text)}
    if len(found) == 1:
        return Parsed("ok", None, float(found.pop()), reasoning=text)
    return Parsed("bad_score" if found or text.strip() else "empty", reasoning=text)


def _read_level(text: str) -> Parsed:
    body, note = rubric.without_thoughts(text)
    return rubric.noted(_parse_level(body), note)


def target(verdict: str, levels: tuple[int, int] | None = None) -> str:
    """Write a judgement as the embedded model learns it: the levels of both sides as its reasons, then the tag."""
    return (f"A {levels[0]} B {levels[1]} " if levels else "") + TAGS[verdict]


FORMATS = {
    name: Format(
        "verdict",
        partial(_ask, format=name),
        _parse_level if name == "level" else partial(rubric.parse, format="verdict"),
        _read_level if name == "level" else partial(rubric.read, format="verdict"),
    )
    for name in ("verdict", "verdict-direct", "level")
}


def defend(verdict: str, levels: tuple[int, int]) -> tuple[int, int]:
    """Return levels that bear out a verdict, with as little change as possible: a labeller defends its label.

    Levels that say the opposite are exchanged, equal ones one apart; for a tie both become the lower one.
    """
    low, high = sorted(levels)
    if verdict == "tie":
        return low, low
    if high == low < LEVELS[-1]:
        high += 1
    elif high == low:
        low -= 1
    return (high, low) if verdict == "A" else (low, high)


@dataclass(frozen=True)
class Pointwise:
    """Judge pairs by the level of each response alone, all by one generative judge: `judge(..., scaling=Pointwise())`.

    Equal levels make a tie. With `expected`, a response's score is the mean of the levels under their probabilities,
    which hardly ever ties. The order of display cannot matter; two rows a pair are written all the same.
    """

    expected: bool = False

    def run(self, judge: Any, pairs: list[Pair]) -> list[Judgement]:
        sides = [(p, r) for p in pairs for r in (p.response_a, p.response_b)]
        if self.expected:
            levels = expected_levels(judge, [ask_level(p.prompt, r, p.criterion, judge.wording) for p, r in sides])
        else:
            responses = [Response(prompt_id=p.id, parts=r) for p, r in sides]
            levels = judge.score([p.prompt_of() for p, _ in sides], responses)
        both = zip(pairs, levels[::2], levels[1::2], strict=True)
        about = {"model": judge.name, "kind": "verdict", "decoding": {"how": "level"}, "seed": judge.seed}
        return [row for pair, a, b in both for row in freeze_scores(pair, "both", a, b, **about)]


def expected_levels(judge: Any, chats: list[list[dict]]) -> list[float]:
    """Return the mean level, 1 to 5, of what each chat asks about, under the probabilities of the five numbers."""
    chances = judge.chat.choose(chats, ["[["] * len(chats), [str(level) for level in LEVELS])
    weights = [[math.exp(x) for x in row] for row in chances]
    return [sum(w * level for w, level in zip(row, LEVELS, strict=True)) / sum(row) for row in weights]


def begun_by(text: str, kind: str) -> str:
    """Return an answer up to its verdict, the first behind its thoughts, else in them; without one, with a mark of it.

    Brackets around anything else are no verdict; those at its end are its try at one, and are taken off.
    """
    begin = len(text) - len(rubric.without_thoughts(text)[0])
    if found := _WRITTEN[kind].search(text, begin) or _WRITTEN[kind].search(text):
        return text[: found.end()]
    return _TRIED.sub("", text) + MARKS[kind]


def forced(judge: Any, pairs: list[Pair], rows: list[Judgement]) -> list[Judgement]:
    """Return generated rows with the verdict that the tag's own probabilities give, after the reasons as they stand.

    A text without a tag is asked for one all the same; see `likeliest`.
    """
    known = {p.id: p for p in pairs}
    chats = [messages(known[row.pair_id].displayed(row.order), judge.wording, judge.format) for row in rows]
    return likeliest(judge.chat, rows, chats, [begun_by(row.raw, "verdict") for row in rows], ["A", "B", "C"])


def likeliest(
    chat: LocalModel, rows: list[Judgement], chats: list[list[dict]], begun: list[str], letters: list[str]
) -> list[Judgement]:
    """Return rows with the verdict whose letter is the likeliest to follow `begun[i]`, the start of the answer.

    `letters`: those of A, B and, where it may be chosen, of a tie. Where equal, a tie wins, then A as displayed.
    score_a and score_b are the log-probabilities of A's and B's in nats, so that their difference is a margin as any
    other; that of a tie is kept as `tie` in `decoding`.
    """
    out = []
    for row, (a, b, *tie) in zip(rows, chat.choose(chats, begun, letters), strict=True):
        verdict = "tie" if tie and tie[0] >= max(a, b) else "A" if a >= b else "B"
        found = {"status": "ok", "verdict": verdict, "score_a": a, "score_b": b, "raw": ""}
        if math.isnan(a):
            found = {"status": "too_long", "verdict": None, "score_a": None, "score_b": None, "raw": ""}
        elif row.order == "BA":
            found |= {"verdict": swap_verdict(verdict), "score_a": b, "score_b": a}
        out.append(row.model_copy(update=found | {"decoding": row.decoding | ({"tie": tie[0]} if tie else {})}))
    return out
