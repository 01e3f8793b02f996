"""Read and write criteria and judgements under criteria; nothing is repaired.

Consumes raw text; produces values with a status. What is legible is kept beside the name of the first broken rule.

The forms: `<criterion 1>Name: explanation</criterion 1>` and so on; `<critique A>`, `<score A>`, `<critique B>`,
`<score B>`, `<verdict>[[A]]</verdict>`; a direct judgement is the first followed by the second. Thoughts that a model
writes in `<think>` tags before its reply are not part of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omnirepro.data import DIMENSIONS
from omnirepro.judge import rubric

FIELDS = ("critique A", "score A", "critique B", "score B", "verdict")
STATUSES = (
    "ok", "empty", "unclosed", "stray_text", "no_criteria", "wrong_numbers", "wrong_count", "empty_criterion",
    "wrong_fields", "no_critique", "bad_score", "no_verdict", "several_verdicts", "score_mismatch", "unfinished",
)  # fmt: skip
_NAME = r"criterion \d+|critique [AB]|score [AB]|verdict"
_FIELD = re.compile(rf"<({_NAME})>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(rf"</?(?:{_NAME}|think)>")
_WRITTEN = {"A": "A", "B": "B", "tie": "equal"}


@dataclass(frozen=True)
class CriterionJudgement:
    """A judgement under one or several criteria. `status` names the first broken rule, legible fields are set."""

    status: str
    verdict: str | None = None
    score_a: float | None = None
    score_b: float | None = None
    critique_a: str = ""
    critique_b: str = ""

    @property
    def said(self) -> str | None:
        """The verdict where no rule is broken: a failed judgement counts as a missing verdict."""
        return self.verdict if self.status == "ok" else None


def normalise(criterion: str) -> str:
    """Reduce a criterion to its words: compatibility forms, case, punctuation and spaces do not count."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", criterion).casefold()))


def distinct(criteria: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Return the criteria, in order, that equal no earlier and no known one after normalisation."""
    seen, out = {normalise(c) for c in known}, []
    for criterion in criteria:
        if (key := normalise(criterion)) and key not in seen:
            seen.add(key)
            out.append(criterion)
    return out


def parse_criteria(text: str, count: int) -> tuple[str, tuple[str, ...]]:
    """Read criteria; returns the status and those that are legible, at most `count`, duplicates included."""
    status, fields = _fields(text)
    found = tuple(" ".join(value.split()) for name, value in fields if name.startswith("criterion"))
    legible = tuple(c for c in found if normalise(c))[:count]
    if status == "ok" and len(found) < len(fields):
        status = "wrong_fields"
    if status == "ok":
        status = _count_status([name for name, _ in fields], found, count)
    return status, legible


def parse_judgement(text: str, form: str = "criterion") -> CriterionJudgement:
    """Read a judgement under a criterion; `form`: "criterion", or a format of `rubric`. Never raises.

    Under a rubric's format a side's critique is its poor dimensions, or the rationale where no mark can be read.
    """
    if form != "criterion":
        return _from_rubric(rubric.parse(text, form))
    status, fields = _fields(text)
    return _judgement(status, fields)


def parse_direct(text: str, count: int) -> tuple[tuple[str, ...], CriterionJudgement]:
    """Read a direct judgement: the criteria that are legible, and the judgement with the status of the whole."""
    status, fields = _fields(text)
    split = sum(name.startswith("criterion") for name, _ in fields)
    head, tail = fields[:split], fields[split:]
    found = tuple(" ".join(value.split()) for _, value in head)
    if status == "ok" and any(not name.startswith("criterion") for name, _ in head):
        status = "wrong_fields"
    elif status == "ok":
        status = _count_status([name for name, _ in head], found, count)
    return tuple(c for c in found if normalise(c))[:count], _judgement(status, tail)


def _fields(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split a reply into its tagged fields; the status says whether all brackets close and nothing stands outside."""
    reply = re.sub(r"^\s*<think>.*?</think>", "", text, count=1, flags=re.DOTALL)
    if not reply.strip():
        return "empty", []
    fields, outside = _FIELD.findall(reply), _FIELD.sub("", reply)
    if _TAG.search(outside) or any(_TAG.search(value) for _, value in fields):
        return "unclosed", [(name, value) for name, value in fields if not _TAG.search(value)]
    return ("stray_text" if outside.strip() else "ok"), fields


def _count_status(names: list[str], found: Sequence[str], count: int) -> str:
    if not found:
        return "no_criteria"
    if any(not normalise(c) for c in found):
        return "empty_criterion"
    if names != [f"criterion {i}" for i in range(1, len(names) + 1)]:
        return "wrong_numbers"
    return "ok" if len(found) == count else "wrong_count"


def _judgement(status: str, fields: list[tuple[str, str]]) -> CriterionJudgement:
    said = {name: value.strip() for name, value in fields}
    scores = {s: int(v) for s in "AB" if re.fullmatch(r"10|[1-9]", v := said.get(f"score {s}", ""))}
    tag = rubric.parse(said.get("verdict", ""), "verdict")
    if status == "ok":
        status = _judgement_status([name for name, _ in fields], said, scores, tag)
    return CriterionJudgement(
        status, tag.verdict, scores.get("A"), scores.get("B"), said.get("critique A", ""), said.get("critique B", "")
    )


def _judgement_status(names: list[str], said: dict[str, str], scores: dict, tag: rubric.Parsed) -> str:
    if not (said.get("critique A") and said.get("critique B")):
        return "no_critique"
    if len(scores) < 2:
        return "bad_score"
    if tag.status != "ok" or not re.fullmatch(r"\[\[[^\[\]]+\]\]", said["verdict"]):
        return "several_verdicts" if tag.status == "several_verdicts" else "no_verdict"
    if tuple(names) != FIELDS:
        return "wrong_fields"
    return "ok" if scores["A"] == scores["B"] or rubric.ranking(*scores.values()) == tag.verdict else "score_mismatch"


def _from_rubric(parsed: rubric.Parsed) -> CriterionJudgement:
    def critique(side: str) -> str:
        marks = parsed.marks[side]
        poor = " ".join(d for d in DIMENSIONS if not marks.get(d, True)) or "nothing"
        return poor if marks else _TAG.sub("", parsed.reasoning).strip()

    sides = critique("A"), critique("B")
    return CriterionJudgement(parsed.status, parsed.verdict, parsed.score_a, parsed.score_b, *sides)


def render_criteria(criteria: Sequence[str]) -> str:
    """Write criteria in the form that `parse_criteria` reads."""
    return "\n".join(f"<criterion {i}>{c}</criterion {i}>" for i, c in enumerate(criteria, 1))


def render_judgement(judged: CriterionJudgement) -> str:
    """Write a judgement in the form that `parse_judgement` reads; raises ValueError where it would not be valid."""
    verdict = f"[[{_WRITTEN.get(judged.verdict or '', '')}]]"
    values = (judged.critique_a, judged.score_a, judged.critique_b, judged.score_b, verdict)
    text = "\n".join(f"<{name}>{value}</{name}>" for name, value in zip(FIELDS, values, strict=True))
    if (status := parse_judgement(text).status) != "ok":
        raise ValueError(f"this judgement cannot be written ({status}): {judged}")
    return text


def render_direct(criteria: Sequence[str], judged: CriterionJudgement) -> str:
    """Write criteria and the judgement under them in the form that `parse_direct` reads."""
    return f"{render_criteria(criteria)}\n{render_judgement(judged)}"


def note(judged: CriterionJudgement) -> str:
    """Write a judgement in one line a side, as the prompt for merging shows it."""
    a, b = f"A: {judged.critique_a} ({judged.score_a})", f"B: {judged.critique_b} ({judged.score_b})"
    return f"{a}\n{b}\n[[{_WRITTEN[judged.verdict or 'tie']}]]"


def vote(criteria: Sequence[str], judged: Sequence[CriterionJudgement]) -> CriterionJudgement:
    """Merge judgements, the most important first, without a model; "no_verdict" where none is valid.

    A tie abstains where anyone decides; the verdict is the commonest one (of equally common ones that of the earliest
    judgement). The scores are rounded means, or the mean of both where they would contradict the verdict. A side's
    critiques stand a line each, between the criterion's number and the score.
    """
    valid = [(i, j) for i, (_, j) in enumerate(zip(criteria, judged, strict=True), 1) if j.said]
    if not valid:
        return CriterionJudgement("no_verdict")
    said = [j.said for _, j in valid]
    verdict = Counter([v for v in said if v != "tie"] or said).most_common(1)[0][0]  # equal counts: first met
    marks = {s: [(i, getattr(j, f"critique_{s}"), getattr(j, f"score_{s}")) for i, j in valid] for s in "ab"}
    a, b = (_mean([score for *_, score in of]) for of in marks.values())
    if rubric.ranking(a, b) != verdict:
        a = b = _mean([a, b])
    critiques = ("\n".join(f"{i} {critique} {score}" for i, critique, score in of) for of in marks.values())
    return CriterionJudgement("ok", verdict, a, b, *critiques)


def _mean(scores: list[float]) -> int:
    return min(10, max(1, int(sum(scores) / len(scores) + 0.5)))
