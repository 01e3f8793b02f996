"""The free-form judgement: which response is better under a criterion in words (Omni-Reward, Section 2 and its code).

Consumes pairs; produces chat messages, target texts, and what a raw text says. Three formats: "verdict" gives short
reasons and then [[A]], [[B]] or [[C]] for a tie; "verdict-direct" the tag alone, without a chain of thought; "level"
looks at one response and gives [[1]] to [[5]], as the paper's pointwise judges do.

Departures: (1) `brief` wordings are for the embedded model, `full` ones for a model that was never tuned on them; brief
ones have the criterion behind the responses, where a small model learns to look back with it in mind; (2) both tags in
one text are no verdict, as published, but there are no retries: a failed judgement stays in the rows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from omnirepro.data import Judgement, Pair, Part, Response, text_of
from omnirepro.judge import rubric
from omnirepro.judge.rubric import Parsed
from omnirepro.judge.scalar import ORDERS

FORMATS = ("verdict", "verdict-direct", "level")
TAGS = {"A": "[[A]]", "B": "[[B]]", "tie": "[[C]]"}
LEVELS = range(1, 6)
_LEVEL = re.compile(r"\[\[\s*([1-5])\s*\]\]")
_BRIEF = {"verdict": "\ncompare.", "verdict-direct": "\nverdict.", "level": "\nlevel.", "levels": "\nlevels."}
_REASONS = {"verdict": "Reason briefly about both responses first, then end", "verdict-direct": "Reply"}


def parse(text: str, format: str = "verdict") -> Parsed:
    """Read a judgement in any format of the kit; never raises. A level is `score_a`, and gives no verdict."""
    if format == "level":
        found = {int(x) for x in _LEVEL.findall(text)}
        status = "ok" if len(found) == 1 else "bad_score" if found or text.strip() else "empty"
        return Parsed(status, None, float(found.pop()) if status == "ok" else None, reasoning=text)
    return rubric.parse(text, "verdict" if format in FORMATS else format)


def messages(pair: Pair, wording: str = "brief", format: str = "verdict") -> list[dict]:
    """Build the chat that asks for a judgement of a pair as displayed, in any format of the kit.

    A "level" is asked of `response_a` alone. The criterion, where there is one, stands before the responses; in the
    "brief" wording behind them.
    """
    if format not in FORMATS:
        return rubric.messages(pair, wording, format)
    if wording == "brief":
        return [{"role": "user", "parts": _briefly(pair, format)}]
    system = {"role": "system", "parts": [_text(instruction(format))]}
    responses = _responses(pair, format, "\n\nResponse A: ", "\n\nResponse B: ")
    return [system, {"role": "user", "parts": [*rubric._spoken(pair.prompt), *_criterion(pair.criterion), *responses]}]


def ask_level(prompt: list[Part], response: list[Part], criterion: str | None, wording: str = "brief") -> list[dict]:
    """Build the chat that asks for the level of one response."""
    alone = Pair(id="", task="", prompt=prompt, response_a=response, response_b=response, criterion=criterion)
    return messages(alone, wording, "level")


def ask_levels(pair: Pair) -> list[dict]:
    """Build the chat that asks for the level of both responses, and for no winner: a step towards a verdict."""
    return [{"role": "user", "parts": _briefly(pair, "levels")}]


def instruction(format: str) -> str:
    """Return the full instruction of a format, for a model that never saw it."""
    if format == "level":
        return (
            "You see a prompt, a criterion, and one response. Say how well the response meets the criterion, and take "
            "nothing else into account. Reply with one number in double brackets, [[1]] (not at all) to [[5]] (fully)."
        )
    return (
        "You see a prompt, a criterion, and two responses, A and B. Decide which response meets the criterion better, "
        "and take nothing else into account, neither order nor length. Where neither is better it is a tie; call one "
        f"only where you find no difference. {_REASONS[format]} with exactly one of [[A]], [[B]] or [[C]] (tie)."
    )


def target(verdict: str, levels: tuple[int, int] | None = None) -> str:
    """Write a judgement as the embedded model learns it: the levels of both sides as its reasons, then the tag."""
    return f"{named(*levels)} {TAGS[verdict]}" if levels else TAGS[verdict]


def named(a: int, b: int) -> str:
    """Write the levels of both sides."""
    return f"A {a} B {b}"


def defend(verdict: str, levels: tuple[int, int]) -> tuple[int, int]:
    """Return levels that bear out a verdict, with as little change as possible: a labeller defends its label.

    Levels that say the opposite are exchanged, equal ones one apart; for a tie both become the lower one.
    """
    a, b = levels
    if verdict == "tie":
        return min(a, b), min(a, b)
    high, low = max(a, b), min(a, b)
    if high == low:
        high, low = (high + 1, low) if high < LEVELS[-1] else (high, low - 1)
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
        return [_row(judge, pair, order, a, b, "level") for pair, a, b in both for order in ORDERS["both"]]


def expected_levels(judge: Any, chats: list[list[dict]]) -> list[float]:
    """Return the mean level, 1 to 5, of what each chat asks about, under the probabilities of the five numbers."""
    chances = judge.chat.choose(chats, ["[["] * len(chats), [str(level) for level in LEVELS])
    weights = [[math.exp(x) for x in row] for row in chances]
    return [sum(w * level for w, level in zip(row, LEVELS, strict=True)) / sum(row) for row in weights]


def forced(judge: Any, pairs: list[Pair], rows: list[Judgement]) -> list[Judgement]:
    """Return generated rows with the verdict that the tag's own probabilities give, after the reasons as they stand.

    score_a and score_b are the log-probabilities of [[A]] and [[B]] in nats, so that their difference is a margin as
    any other; that of a tie is kept as `tie` in `decoding`. A text without a tag is asked for one all the same.
    """
    known = {p.id: p for p in pairs}
    shown = [known[row.pair_id] if row.order == "AB" else known[row.pair_id].swap() for row in rows]
    chats = [messages(pair, judge.wording, judge.format) for pair in shown]
    begun = [row.raw.split("[[")[0] + "[[" for row in rows]
    chances = judge.chat.choose(chats, begun, ["A", "B", "C"])
    return [_chosen(row, *chance) for row, chance in zip(rows, chances, strict=True)]


def _chosen(row: Judgement, a: float, b: float, tie: float) -> Judgement:
    a, b = (a, b) if row.order == "AB" else (b, a)
    said = max((a, "A"), (b, "B"), (tie, "tie"))[1]
    decoding = row.decoding | {"tie": tie}
    return row.model_copy(
        update={"status": "ok", "verdict": said, "score_a": a, "score_b": b, "decoding": decoding, "raw": ""}
    )


def _row(judge: Any, pair: Pair, order: str, a: float, b: float, how: str) -> Judgement:
    sound = math.isfinite(a) and math.isfinite(b)
    return Judgement(
        pair_id=pair.id, task=pair.task, cluster=pair.cluster_id, order=order, model=judge.name, kind="verdict",
        status="ok" if sound else "bad_score", verdict=rubric.ranking(a, b) if sound else None,
        score_a=a if sound else None, score_b=b if sound else None, label=pair.label, margin=pair.margin,
        criterion=pair.criterion, length_a=len(text_of(pair.response_a)), length_b=len(text_of(pair.response_b)),
        decoding={"how": how}, seed=judge.seed,
    )  # fmt: skip


def _briefly(pair: Pair, format: str) -> list[Part]:
    responses = _responses(pair, format, "\nA: ", "\nB: ")
    return [*rubric._spoken(pair.prompt), *responses, *_criterion(pair.criterion), _text(_BRIEF[format])]


def _criterion(words: str | None) -> list[Part]:
    return [_text(f"\ncriterion: {words}")] if words else []


def _responses(pair: Pair, format: str, a: str, b: str) -> list[Part]:
    return [_text(a), *pair.response_a, *([] if format == "level" else [_text(b), *pair.response_b])]


def _text(text: str) -> Part:
    return Part(type="text", text=text)
