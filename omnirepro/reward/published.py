"""The three rewards of Omni-RRM: format, preference, rubric (Section 4.2, Appendix A.1; code `mm_*`).

Consumes raw text and, for the preference, a gold label; produces R_fmt, R_pref and R_rub. Text is read as the published
code reads it: code fences are stripped, a list of one object is that object, keys come in any order, and R_pref reads
`better`, not the verdict tag.

Readings where the published rules leave room: scores are integers 0-10 (true and 7.0 are none), JSON that is no object
is unparsable, a verdict tag is what the strict parser accepts, and the segment of a dimension ends where the next
dimension is first named.

Departure: the published fallback scores a whole batch against the gold of its first row; here every text is scored
against its own gold and there is no fallback.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import fsum
from typing import Any

from omnirepro.data import DIMENSIONS, Label
from omnirepro.judge import rubric

Gold = Label | Mapping[str, Any]

FORMAT_PARTS = {"json_valid": 0.20, "keys": 0.20, "values": 0.15, "think": 0.15, "tag": 0.15, "agreement": 0.15}
VERDICT_WEIGHT = 0.6  # within R_pref
CLOSENESS_WEIGHT = 0.4
COVERAGE_WEIGHT = 0.8  # within R_rub
COMPARISON_WEIGHT = 0.2
TOP_SCORE = 10
UNPARSABLE = -1.0
KEYS = set(rubric.FORMATS["published"])
VERDICTS = {"A": "A", "B": "B", "equal": "tie"}


def _words(*words: str, flags: int = re.IGNORECASE) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", flags)


KEYWORDS = {
    "fluency": _words("fluency", "coherence", "coherent", "flow"),
    "relevance": _words("relevance", "related", "pertinent", "alignment"),
    "accuracy": _words("accuracy", "accurate", "correct", "correctness", "precision"),
    "reasoning": _words("reasoning", "analysis", "logic", "logical", "inference"),
    "safety": _words("safety", "safe", "ethical", "harmless", "toxic", "toxicity"),
}
_SIDES = [_words(side, flags=0) for side in "AB"]  # capitals only: "a" is an article
_COLLECTIVE = _words("both", "two", "each", "either", "neither", "all", "responses?", "candidates?", "answers?")
_COMPARATIVE = _words(
    *("better", "worse", "superior", "inferior", "preferable", r"outperform\w*", r"more\s+\w+", r"less\s+\w+")
)


def format_reward(text: str, gold: Gold | None = None) -> float:
    """Return R_fmt in [0, 1]: the sum of the weights of the parts that hold (code `mm_format`); gold is not read."""
    return fsum(FORMAT_PARTS[part] for part, held in format_parts(text).items() if held)  # R_fmt


def preference_reward(text: str, gold: Gold) -> float:
    """Return R_pref in [-1, 1] (Appendix A.1, code `mm_content`).

    It is -1 where the text is unparsable or its scores contradict its `better`.
    """
    scores, better = _scores_and_better(read(text) or {})
    if scores is None or better is None or rubric.ranking(*scores) != better:
        return UNPARSABLE
    verdict, *truth = truth_of(gold)
    sign = 1 if better == verdict else -1
    return VERDICT_WEIGHT * sign + CLOSENESS_WEIGHT * closeness(scores, truth)  # R_pref


def rubric_reward(
    text: str, gold: Gold | None = None, cmp_gt: float = 0.0, dimensions: Sequence[str] = DIMENSIONS
) -> float:
    """Return R_rub, -1 or in [0, 1]: 0.8 x coverage + 0.2 x comparison of the rationale's words (code `mm_rubric`).

    `cmp_gt` is the comparison share of the gold rationale, which one published option subtracts; gold is not read
    otherwise. No content is read either: an empty template with the right words earns 1. `dimensions` are those that
    the judgement's format asks for; all five, as published.
    """
    data = read(text)
    if data is None:
        return UNPARSABLE
    covered, compared = rubric_shares(data.get("reasoning"), dimensions)
    return COVERAGE_WEIGHT * covered + COMPARISON_WEIGHT * (compared - cmp_gt)  # R_rub


@lru_cache(4096)
def read(text: str) -> dict[str, Any] | None:
    """Read a judgement as leniently as the published code; None where there is no JSON object. Never raises.

    One completion is read for several rewards, so the last ones are kept: do not change what is returned.
    """
    try:
        data = json.loads(rubric.unfenced(text))
    except (ValueError, RecursionError):
        return None
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    return data if isinstance(data, dict) else None


def format_parts(text: str) -> dict[str, bool]:
    """Tell which parts of the format hold, in the order and under the names of `FORMAT_PARTS`."""
    data = read(text)
    if data is None:
        return dict.fromkeys(FORMAT_PARTS, False)
    scores, better = _scores_and_better(data)
    thought = re.search(r"<think>.+</think>", _str(data.get("reasoning")), re.DOTALL)
    final = _str(data.get("final_verdict")).strip()
    tag = rubric.parse(final, "verdict").verdict if re.fullmatch(r"<answer>.*</answer>", final) else None
    return {
        "json_valid": True,
        "keys": set(data) == KEYS,
        "values": bool(better and scores),
        "think": bool(thought),
        "tag": tag is not None,
        "agreement": tag is not None and tag == better,
    }


def rubric_shares(reasoning: Any, dimensions: Sequence[str] = DIMENSIONS) -> tuple[float, float]:
    """Return C_cover and C_cmp of a rationale: the shares of the dimensions that it names, and compares."""
    reasoning = _str(reasoning)
    starts = sorted(m.start() for d in dimensions if (m := KEYWORDS[d].search(reasoning)))
    compared = 0
    for start, end in zip(starts, [*starts[1:], None], strict=False):
        segment = reasoning[start:end]
        both = all(side.search(segment) for side in _SIDES)
        compared += bool(both or (_COLLECTIVE.search(segment) and _COMPARATIVE.search(segment)))
    return len(starts) / len(dimensions), compared / len(dimensions)  # C_cover, C_cmp


def closeness(scores, truth) -> float:
    """Return 1 for the gold's own two scores, -1 for the farthest (Appendix A.1)."""
    return 1 - 2 * sum(abs(s - g) for s, g in zip(scores, truth, strict=True)) / (2 * TOP_SCORE)


def truth_of(gold: Gold) -> tuple[str, float, float]:
    """Return verdict (A, B or tie) and both scores of a gold label or mapping."""
    if isinstance(gold, Label):
        return gold.verdict, gold.score_a, gold.score_b
    return VERDICTS.get(gold["better"], gold["better"]), gold["score_A"], gold["score_B"]


def _scores_and_better(data: dict) -> tuple[tuple[int, int] | None, str | None]:
    found = (data.get("score_A"), data.get("score_B"))
    legible = all(type(score) is int and 0 <= score <= TOP_SCORE for score in found)  # a bool is no score
    return found if legible else None, VERDICTS.get(_str(data.get("better")))


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
