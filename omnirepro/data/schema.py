"""The nouns: parts, prompts, responses, pairs, labels and judgements. In memory every media path is absolute."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from omnirepro.data.files import file_digest

Verdict = Literal["A", "B", "tie"]
Order = Literal["AB", "BA"]
DIMENSIONS = ("fluency", "relevance", "accuracy", "reasoning", "safety")
LETTERS = {"text": "T", "image": "I", "video": "V", "audio": "A", "views3d": "3D"}
# Statuses of judgements that were read; all but the first name what had to be taken off before.
READ = ("ok", "thought", "fenced", "listed")
_SWAPPED = {"A": "B", "B": "A", "tie": "tie", None: None}


class RowError(ValueError):
    """A row of a file cannot be used; the message names file, line, field and remedy."""


class MediaError(ValueError):
    """A media file is missing, changed or unreadable; the message names it and the remedy."""


class Row(BaseModel):
    """Base of everything that is stored as a line of JSON; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Part(Row):
    """One piece of content: text, or a media file. A 3D object is a picture of its rendered views."""

    type: Literal["text", "image", "video", "audio", "views3d"]
    text: str | None = None
    path: str | None = None
    sha256: str | None = None
    role: Literal["system", "user", "assistant"] = "user"
    turn: int = 0

    @model_validator(mode="after")
    def _has_content(self) -> Part:
        if self.type == "text" and self.text is None and self.path is None:
            raise ValueError("a text part needs 'text' (or 'path' to a text file)")
        if self.type != "text" and not self.path:
            raise ValueError(f"a part of type {self.type} needs 'path'")
        return self

    def fingerprint(self) -> str:
        """Content identity: the text itself, or the file's sha256."""
        return self.text or "" if self.type == "text" else self.sha256 or sha256_file(self.path)


def modality_of(parts: Iterable[Part]) -> str:
    """Return the kinds of media among parts, joined by "+" where there are several; "text" where there is none."""
    return "+".join(sorted({part.type for part in parts} - {"text"})) or "text"


class Prompt(Row):
    """What a model is asked: ordered parts, the task's name and, where given, a free-form criterion.

    Where the right answer is known: `gold`, any of which is right, and the `choices` that the parts show.
    """

    id: str
    task: str
    parts: list[Part] = Field(min_length=1)
    criterion: str | None = None
    cluster: str | None = None
    gold: list[str] | None = None
    choices: list[str] | None = None

    @property
    def modality(self) -> str:
        """Of what its parts are, whatever the task is called."""
        return modality_of(self.parts)

    def fingerprint(self) -> str:
        """sha256 of the content alone (task, parts, criterion): equal for equal prompts with other ids."""
        content = [self.task, self.criterion, [[p.type, p.role, p.turn, p.fingerprint()] for p in self.parts]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Response(Row):
    """One candidate answer; its parts may be text or media. `generator` stays hidden from every judge.

    Of one that was not given, `failure` is the status that says why ("refused", "cut"), `reason` the words of a server.
    """

    prompt_id: str
    parts: list[Part] = Field(min_length=1)
    generator: str | None = None
    failure: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        return text_of(self.parts)


class Pair(Row):
    """A prompt with two responses and, where known, which is preferred under the criterion."""

    id: str
    task: str
    prompt: list[Part] = Field(min_length=1)
    response_a: list[Part] = Field(min_length=1)
    response_b: list[Part] = Field(min_length=1)
    criterion: str | None = None
    label: Verdict | None = None
    margin: FiniteFloat | None = None
    source: str | None = None
    cluster: str | None = None
    meta: dict[str, Any] | None = None

    def swap(self) -> Pair:
        """Return the same pair with the sides exchanged; `swap().swap()` equals the original."""
        ends = {"_a": "_b", "_b": "_a"}
        meta = self.meta and {k[:-2] + ends.get(k[-2:], k[-2:]): v for k, v in self.meta.items()}
        sides = {"response_a": self.response_b, "response_b": self.response_a}
        return self.model_copy(update=sides | {"label": swap_verdict(self.label), "meta": meta})

    def displayed(self, order: str) -> Pair:
        """Return the pair as a judge sees it in an order, "AB" or "BA"."""
        return self if order == "AB" else self.swap()

    @property
    def modality(self) -> str:
        """Of what its prompt and responses are, whatever the task is called."""
        return modality_of([*self.prompt, *self.response_a, *self.response_b])

    @property
    def shape(self) -> str:
        """Which kinds of parts are asked and answered, in the letters of Omni-Reward's nine tasks: "TI2T", "T23D"."""
        asked = {part.type for part in self.prompt}
        answered = {part.type for part in (*self.response_a, *self.response_b)}
        said = answered - {"text"} or {"text"}
        return "2".join("".join(LETTERS[kind] for kind in LETTERS if kind in some) for some in (asked, said))

    def prompt_of(self) -> Prompt:
        return Prompt(id=self.id, task=self.task, parts=self.prompt, criterion=self.criterion, cluster=self.cluster)

    @property
    def cluster_id(self) -> str:
        """What intervals are clustered by: the declared cluster, else the prompt's content."""
        return self.cluster or self.prompt_of().fingerprint()


class Label(Row):
    """One labeller's opinion on a pair, in the pair's own frame (A is `response_a`).

    A free-text `rationale` names the candidates as they were `shown` (BA: exchanged); marks and quotes do not.
    """

    pair_id: str
    verdict: Verdict
    score_a: float
    score_b: float
    marks_a: dict[str, bool] | None = None
    marks_b: dict[str, bool] | None = None
    quotes_a: dict[str, str] | None = None
    quotes_b: dict[str, str] | None = None
    evidence: str = ""
    rationale: str | None = None
    shown: Order = "AB"
    confidence: float | None = None
    provenance: str

    def swap(self) -> Label:
        """Return the label of the swapped pair."""
        update = {"verdict": swap_verdict(self.verdict)}
        for name in ("score", "marks", "quotes"):
            update |= {f"{name}_a": getattr(self, f"{name}_b"), f"{name}_b": getattr(self, f"{name}_a")}
        return self.model_copy(update=update)

    def displayed(self, order: str) -> Label:
        """Return the label of the pair as displayed in an order, "AB" or "BA"."""
        return self if order == "AB" else self.swap()

    @property
    def margin(self) -> float:
        """|score_a - score_b| in points of the 0-10 scale."""
        return abs(self.score_a - self.score_b)


class Judgement(Row):
    """One frozen judgement of one pair in one displayed order; verdict and scores in the pair's own frame.

    `probability`: that A is the better one, of A and B, where the judge was read by it.
    """

    pair_id: str
    task: str
    cluster: str
    order: Order
    model: str
    kind: Literal["rubric", "verdict", "criterion", "scalar"]
    status: str
    verdict: Verdict | None = None
    score_a: float | None = None
    score_b: float | None = None
    probability: float | None = Field(default=None, ge=0, le=1)
    label: Verdict | None = None
    margin: float | None = None
    length_a: int = 0
    length_b: int = 0
    criterion: str | None = None
    raw: str = ""
    tokens: int = 0
    decoding: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, pair: Pair, order: str, parsed: Any, **fields: Any) -> Judgement:
        """Freeze what was read of a pair as displayed (status, verdict, score_a, score_b), turned to its own frame.

        `fields`: model, kind, raw and so on; they replace what the pair says.
        """
        straight = order == "AB"
        known = {
            "pair_id": pair.id,
            "task": pair.task,
            "cluster": pair.cluster_id,
            "order": order,
            "status": parsed.status,
            "verdict": parsed.verdict if straight else swap_verdict(parsed.verdict),
            "score_a": parsed.score_a if straight else parsed.score_b,
            "score_b": parsed.score_b if straight else parsed.score_a,
            "label": pair.label,
            "margin": pair.margin,
            "length_a": len(text_of(pair.response_a)),
            "length_b": len(text_of(pair.response_b)),
            "criterion": pair.criterion,
        }
        return cls(**(known | fields))

    @property
    def said(self) -> Verdict | None:
        """The verdict where the judgement was read: a failed one counts as a missing verdict."""
        return self.verdict if self.status in READ else None

    @property
    def shown(self) -> Verdict | None:
        """The verdict as the judge saw the sides: position bias is read from this one."""
        return self.verdict if self.order == "AB" else swap_verdict(self.verdict)


def swap_verdict(verdict: str | None) -> Any:
    """Exchange A and B; a tie and a missing verdict stay."""
    return _SWAPPED[verdict]


def commonest(verdicts: list[str]) -> Any:
    """Return the verdict that occurs most often, a tie where two do; None of none."""
    (first, most), *others = Counter(verdicts).most_common() or [(None, 0)]
    return "tie" if others and others[0][1] == most else first


def text_part(text: str, role: Literal["system", "user", "assistant"] = "user", turn: int = 0) -> Part:
    """Return a part that holds a text."""
    return Part(type="text", text=text, role=role, turn=turn)


def turns(parts: Iterable[Part], speaker: str = "user") -> list[dict[str, Any]]:
    """Return who says what, turn by turn, as messages of role and parts.

    `speaker`: "assistant" for a response, which is one turn of the assistant's where no part of it names one.
    """
    found = list(parts)
    if speaker == "assistant" and all(part.role == "user" for part in found):
        return [{"role": speaker, "parts": found}]
    grouped = groupby(found, key=lambda part: (part.turn, part.role))
    return [{"role": role, "parts": list(said)} for (_, role), said in grouped]


def reworded(parts: Iterable[Part], change: Callable[[str], str]) -> list[Part]:
    """Return parts whose texts are changed; texts that stand side by side are one, so how they are cut does not matter.

    Where nothing changes the parts stay as they are.
    """
    out: list[Part] = []
    for is_text, run in groupby(parts, key=lambda part: part.type == "text"):
        found = list(run)
        text = "".join(part.text or "" for part in found) if is_text else ""
        changed = change(text)
        out += found if changed == text else [text_part(changed)]
    return out


def text_of(parts: Iterable[Part]) -> str:
    """Join the text of the text parts with one space."""
    return " ".join(p.text or "" for p in parts if p.type == "text")


def first_wrong_field(error: ValidationError, kind: type[Row] = Pair) -> str:
    """Return field, reason, remedy and known fields, of the first field that a row's model, `kind`, refused."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "row"
    unknown = first["type"] == "extra_forbidden"
    remedy = "remove" if unknown else "add" if first["type"] == "missing" else "correct"
    known = f"a {kind.__name__} row has: {', '.join(kind.model_fields)}"
    if len(first["loc"]) > 2:
        known = f"a part has: {', '.join(Part.model_fields)}"
    return f"field {place}: {'not permitted' if unknown else first['msg']}; {remedy} the field; {known}"


def sha256_file(path: str | Path) -> str:
    """Return the hex sha256 of a file; raises `MediaError` where it is missing."""
    try:
        return file_digest(path)
    except (OSError, ValueError) as error:  # ValueError: no file system takes such a name
        if "://" in str(path):
            raise MediaError(f"{str(path)[:80]}: an address; save it as a file and name its path") from error
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: cannot be read ({why}); restore the file or correct its path") from error


def refuse_empty(rows: list[Any], where: str | Path, called: str = "pairs") -> list[Any]:
    """Return the rows of a file. Raises `RowError` naming the file where it holds none."""
    if not rows:
        raise RowError(f"no {called} in {where}: write some into it, or name another file")
    return rows


def refuse_repeat(name: str, where: str, seen: dict[str, str]) -> None:
    """Note in `seen` where an id stands. Raises `RowError` naming both places where it stands twice."""
    if (before := seen.setdefault(name, where)) is not where:
        raise RowError(f"{where}: the id {name!r} stands twice, first at {before}; give every row its own")
