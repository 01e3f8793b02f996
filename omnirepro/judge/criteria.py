"""Criteria that models write: what the roles are asked, what their replies say, and who answers (GRM-Omni).

Consumes pairs; produces criteria, judgements under a criterion, refined responses and scores, each with the name of
the rule that a reply broke, and frozen rows of direct judgements (GRM-Omni, Sections 2 and 3.2, Figures 13 to 16).

Six questions, in other words than the paper's:

- write: criteria that tell two responses apart and repeat none that is known (Figure 13)
- judge: critique, score and verdict under one criterion (Figure 14)
- refine: one response, changed only where its critique says so (Figure 15)
- direct: criteria and the judgement under them in one reply (Figure 16), the form that is trained and deployed
- merge: one direct judgement out of several judgements under one criterion each (Section 3.2)
- verdict: the verdict alone, the form in which media are taught (prompt switching, Section 3.3)

`brief` wordings are for a model that is trained on these forms (the embedded one), `full` ones for a model that never
saw them. In brief ones everything that is asked stands behind the responses, where a small model can look back with a
criterion in mind (the paper has it first, and so have the full ones).

The forms of replies: `<criterion 1>Name: explanation</criterion 1>` and so on; `<critique A>`, `<score A>`,
`<critique B>`, `<score B>`, `<verdict>[[A]]</verdict>`; a direct judgement is the first followed by the second.
Thoughts that a model writes before its reply, and a fence of code around it, are not part of it. Nothing is repaired:
what is legible is kept beside the name of the first broken rule.

Who answers: GenRM (writes criteria, judges, merges), policy (refines), DisRM (scores). A chat role stands on anything
that completes chats (embedded, local, hub, GGUF or endpoint), the scorer on any scalar judge; so each can be wrapped
(with a cache, say) without a change here. No role reads a label, and none knows the world.

Departures from the paper:
1. The wording is the kit's own, every tag is closed, and the number of criteria a call is a parameter (the paper's
   Figure 13 demands ten, its text three and then seven, its appendix sixty).
2. A judgement may find both responses equal, because the kit's tasks have ties; Figure 14 allows A or B alone.
3. Scores stand in their own tags and must not contradict the verdict; where they are equal, any verdict may stand.
4. Duplicates, equal after normalisation, are removed from what was written.
5. A response that is or holds media cannot be rewritten in words: it stays as it is, and so do its scores.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol

from omnirepro.data import DIMENSIONS, READ, Judgement, Pair, Part, Response, text_part
from omnirepro.judge import rubric, speech
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ORDERS, ScalarJudge
from omnirepro.judge.verdict import likeliest
from omnirepro.models.generation import Chat, Decoding, Generated, LocalModel, Progress

FIELDS = ("critique A", "score A", "critique B", "score B", "verdict")
STATUSES = (
    "ok", "empty", "unclosed", "stray_text", "no_criteria", "wrong_numbers", "wrong_count", "empty_criterion",
    "wrong_fields", "no_critique", "bad_score", "no_verdict", "several_verdicts", "score_mismatch", "unfinished",
)  # fmt: skip
_NAME = r"criterion \d+|critique [AB]|score [AB]|verdict"
_FIELD = re.compile(rf"<({_NAME})>(.*?)</\1>", re.DOTALL)
_TAG = re.compile(rf"</?(?:{_NAME}|think)>")
_MERGED = rf"{speech.BRIEF}|{speech.FULL}|\d+"  # headings of prompts that merge: brief ones number their criteria
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
        """The verdict where the judgement was read: a failed one counts as a missing verdict."""
        return self.verdict if self.status in READ else None


def normalise(criterion: str) -> str:
    """Reduce a criterion to its words: compatibility forms, case, punctuation and spaces do not count."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", criterion).casefold()))


def distinct(criteria: Iterable[str], known: Iterable[str] = ()) -> list[str]:
    """Return the criteria, in order, that equal no earlier and no known one after normalisation."""
    seen = {normalise(c) for c in known}
    out = []
    for criterion in criteria:
        if (key := normalise(criterion)) and key not in seen:
            seen.add(key)
            out.append(criterion)
    return out


def parse_criteria(text: str, count: int) -> tuple[str, tuple[str, ...]]:
    """Read criteria; returns the status and those that are legible, at most `count`, duplicates included."""
    return _criteria(*_fields(text), count)


def parse_judgement(text: str, form: str = "criterion") -> CriterionJudgement:
    """Read a judgement under a criterion; `form`: "criterion", or a format of `rubric`. Never raises.

    Under a rubric's format a side's critique is its poor dimensions, or the rationale where no mark can be read.
    """
    if form != "criterion":
        return _from_rubric(rubric.read(text, form))
    return _judgement(*_fields(text))


def parse_direct(text: str, count: int) -> tuple[tuple[str, ...], CriterionJudgement]:
    """Read a direct judgement: the criteria that are legible, and the judgement with the status of the whole."""
    status, fields = _fields(text)
    split = sum(name.startswith("criterion") for name, _ in fields)
    status, legible = _criteria(status, fields[:split], count)
    return legible, _judgement(status, fields[split:])


def _fields(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Split a reply into its tagged fields; the status says whether all brackets close and nothing stands outside."""
    reply, note = rubric.without_thoughts(text)
    if note == "unclosed_thought":
        return "unclosed", []
    reply = rubric.unfenced(reply)
    if not reply.strip():
        return "empty", []
    fields = _FIELD.findall(reply)
    outside = _FIELD.sub("", reply)
    if _TAG.search(outside) or any(_TAG.search(value) for _, value in fields):
        return "unclosed", [(name, value) for name, value in fields if not _TAG.search(value)]
    return ("stray_text" if outside.strip() else "ok"), fields


def _criteria(status: str, fields: list[tuple[str, str]], count: int) -> tuple[str, tuple[str, ...]]:
    """Read the criteria among fields that are to be criteria alone; the status is that of all unless it broke before.

    Returns the status and those that are legible, at most `count`, duplicates included.
    """
    names = [name for name, _ in fields]
    found = [" ".join(value.split()) for name, value in fields if name.startswith("criterion")]
    legible = [c for c in found if normalise(c)]
    if status == "ok" and len(found) < len(fields):
        status = "wrong_fields"
    elif status == "ok" and not found:
        status = "no_criteria"
    elif status == "ok" and len(legible) < len(found):
        status = "empty_criterion"
    elif status == "ok" and names != [f"criterion {i}" for i in range(1, len(names) + 1)]:
        status = "wrong_numbers"
    elif status == "ok" and len(found) != count:
        status = "wrong_count"
    return status, tuple(legible[:count])


def _judgement(status: str, fields: list[tuple[str, str]]) -> CriterionJudgement:
    """Read the fields of a judgement; where all was well before, the status names the first rule that they break."""
    said = {name: value.strip() for name, value in fields}
    critiques = [said.get("critique A", ""), said.get("critique B", "")]
    scores = [int(v) if re.fullmatch(r"10|[1-9]", v := said.get(f"score {s}", "")) else None for s in "AB"]
    tag = rubric.parse(said.get("verdict", ""), "verdict")
    alone = tag.status == "ok" and re.fullmatch(r"\[\[[^\[\]]+\]\]", said["verdict"])
    if status == "ok" and not all(critiques):
        status = "no_critique"
    elif status == "ok" and None in scores:
        status = "bad_score"
    elif status == "ok" and not alone:
        status = "several_verdicts" if tag.status == "several_verdicts" else "no_verdict"
    elif status == "ok" and tuple(name for name, _ in fields) != FIELDS:
        status = "wrong_fields"
    elif status == "ok" and scores[0] != scores[1] and rubric.ranking(*scores) != tag.verdict:
        status = "score_mismatch"
    return CriterionJudgement(status, tag.verdict, *scores, *critiques)


def _from_rubric(parsed: rubric.Parsed) -> CriterionJudgement:
    critiques = []
    for marks in parsed.marks.values():
        poor = " ".join(d for d in DIMENSIONS if not marks.get(d, True)) or "nothing"
        critiques.append(poor if marks else _TAG.sub("", parsed.reasoning).strip())
    return CriterionJudgement(parsed.status, parsed.verdict, parsed.score_a, parsed.score_b, *critiques)


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
    a, b = (speech.quoted(said, _MERGED) for said in (judged.critique_a, judged.critique_b))
    sides = f"A: {a} ({judged.score_a})\nB: {b} ({judged.score_b})"
    return f"{sides}\n[[{_WRITTEN[judged.verdict or 'tie']}]]"


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


# ---- questions

_CRITERION = "<criterion 1>Name: what is checked, and why it matters here</criterion 1>"
_JUDGEMENT = (
    "<critique A>what A does well under the criteria, what is wrong, what to change</critique A>\n"
    "<score A>an integer</score A>\n<critique B>the same for B</critique B>\n<score B>an integer</score B>\n"
    "<verdict>[[A]]</verdict>\n"
    "The verdict is [[A]], [[B]], or [[equal]] where neither meets the criteria better. A score of 1 means that the "
    "criteria are not met at all, 6 partly, 10 in full. No score may contradict the verdict."
)
_WRITE = (
    "Compare them and find where they differ in substance: in truth, evidence, completeness, order, clarity, style, or "
    "the use of the material. Turn the differences into exactly {count} criteria for this very case. A criterion tells "
    "another judge what to look at in both candidates; it never says who wins. None may repeat or overlap one that is "
    "listed as known."
)
FULL = {
    "write": "You set the criteria by which two candidate answers to one question are told apart. "
    f"{_WRITE}\nReply with the criteria alone, numbered from 1, each closed by its own tag:\n{_CRITERION}",
    "judge": "You judge two candidate answers to one question under the given criterion and under nothing else. Go "
    "through each candidate and quote what your opinion rests on. Prefer neither unless what it says gives a reason; "
    f"order and length give none.\nReply in this form and with nothing else:\n{_JUDGEMENT}",
    "direct": f"You judge two candidate answers to one question. {_WRITE} Then judge both candidates under all of "
    "your criteria, with quotes; order and length carry no merit.\nReply with the criteria, numbered from 1, and the "
    f"judgement, in this form and with nothing else:\n{_CRITERION}\n{_JUDGEMENT}",
    "merge": "Two candidate answers to one question were judged under {count} criteria, one at a time; the judgements "
    "follow, the most trusted first. Check each against the candidates, set aside what does not hold, and write the "
    "one judgement that they support together.\nReply with the {count} criteria in the order given, numbered from 1, "
    f"and the judgement, in this form and with nothing else:\n{_CRITERION}\n{_JUDGEMENT}",
    "verdict": "You judge two candidate answers to one question. Order and length carry no merit. Reply with the "
    "verdict alone: [[A]], [[B]], or [[equal]] where neither is better.",
    "refine": "You revise an answer to a question after a critique. Change what the critique names, as little as that "
    "needs, and leave every other word as it is; add nothing of your own. Reply with the whole revised answer alone.",
}
BRIEF = {
    "write": "\nwrite {count} criteria.",
    "judge": "\njudge by criterion.",
    "direct": "\nwrite {count} criteria, judge.",
    "merge": "\nmerge {count}.",
    "verdict": "\nverdict.",
}


@dataclass(frozen=True)
class Task:
    """One question to a role; A is the pair's `response_a`, as displayed. Which fields count hangs on `kind`.

    verdict: the pair alone; write: `count`, and `criteria` that are known; judge: `criteria` (one); direct: `count`;
    merge: `criteria` with their judgements as text in `notes`; refine: `side` and its critique in `notes`; score:
    `side`, or `response`.
    """

    kind: str
    pair: Pair
    criteria: tuple[str, ...] = ()
    count: int = 0
    side: str = ""
    notes: tuple[str, ...] = ()
    response: tuple[Part, ...] = ()

    @property
    def parts(self) -> list[Part]:
        """The response that is refined or scored."""
        return list(self.response) or (self.pair.response_a if self.side == "A" else self.pair.response_b)


def messages(task: Task, wording: str = "full", form: str = "criterion") -> list[dict]:
    """Build the chat of a task; with a format of `rubric` as `form`, "judge" is asked as rubric judges are.

    The pair's own criterion, where it has one, stands before the criterion that was written. Raises KeyError on a kind
    that is no question in words.
    """
    pair = task.pair
    if task.kind == "judge":
        both = [c for c in (pair.criterion, *task.criteria) if c]
        pair = pair.model_copy(update={"criterion": "; ".join(both)})
    if task.kind == "judge" and form != "criterion":
        return rubric.messages(pair, wording, form)
    if task.kind == "refine":
        return _refine(task, wording)
    count = task.count or len(task.criteria)
    details = _details(task, wording)
    if wording != "brief":
        body = rubric.messages(pair, wording)[-1]["parts"]
        user = {"role": "user", "parts": [*body, *([text_part(details)] if details else [])]}
        return [{"role": "system", "parts": [text_part(FULL[task.kind].format(count=count))]}, user]
    body = rubric.messages(pair.model_copy(update={"criterion": None}), "brief")[-1]["parts"][:-1]
    asked = [*rubric.criterion_of(pair, speech.BRIEF), text_part(details + BRIEF[task.kind].format(count=count))]
    return [{"role": "user", "parts": [*body, *asked]}]


def _details(task: Task, wording: str) -> str:
    """Write what stands below the candidates: the known criteria, or the judgements to merge."""
    brief = wording == "brief"
    headings = _MERGED if task.kind == "merge" else speech.BRIEF if brief else speech.FULL
    listed = [speech.quoted(criterion, headings) for criterion in task.criteria]
    if task.kind == "write":
        known = listed or ["none"]
        if brief:
            return "\nknown: " + "; ".join(known)
        return "\n\nKnown criteria:" + "".join(f"\n- {line}" for line in known)
    lead = "\n" if brief else "\n\nJudgement under criterion "
    notes = zip(listed, task.notes, strict=task.kind == "merge")
    return "".join(f"{lead}{i}: {c}\n{note}" for i, (c, note) in enumerate(notes, 1))


def _refine(task: Task, wording: str) -> list[dict]:
    """Show one response and its critique, and not the other: it never helps."""
    brief = wording == "brief"
    headings = speech.BRIEF if brief else speech.REFINED
    (critique,) = (speech.quoted(note, headings) for note in task.notes)
    question = speech.spoken(task.pair.prompt, headings)
    answer = speech.spoken(task.parts, headings, "assistant")
    if brief:
        tail = [text_part(f"\n{task.side}: "), *answer, text_part(f"\nfix {critique}.")]
        return [{"role": "user", "parts": [*question, *tail]}]
    tail = [text_part("\n\nAnswer: "), *answer, text_part(f"\n\nCritique: {critique}")]
    system = {"role": "system", "parts": [text_part(FULL["refine"])]}
    return [system, {"role": "user", "parts": [*question, *tail]}]


def fragments(most: int = 10) -> list[str]:
    """List the fixed strings of these forms, with up to `most` criteria a reply, for the embedded tokenizer.

    A tag that closes a field is one token with the one that opens the next.
    """
    between = [f"</{one}>\n<{then}>" for one, then in itertools.pairwise(FIELDS[:-1])]
    ends = [f"<{FIELDS[0]}>", *between, f"</{FIELDS[-2]}>\n<verdict>[[", "]]</verdict>"]
    numbered = [f"</criterion {i}>\n<criterion {i + 1}>" for i in range(1, most)]
    closing = [f"</criterion {i}>{then}" for i in range(1, most + 1) for then in ("", f"\n<{FIELDS[0]}>")]
    asked = ("write ", " criteria.", " criteria, judge.", "merge ", "known: ", "fix ", "criterion: ")
    asked = [text if text.startswith(" ") else f"\n{text}" for text in asked]
    return [*ends, "<criterion 1>", *numbered, *closing, *asked, BRIEF["judge"], BRIEF["verdict"], "[[", "]]"]


# ---- who answers


@dataclass(frozen=True)
class Answer:
    """The answer to a task: `status` "ok" or a failure, `value` by kind, raw text, tokens generated.

    write: tuple of criteria; judge and verdict: `CriterionJudgement`; direct and merge: (criteria,
    `CriterionJudgement`); refine: the response's text; score: float, in logits, or None.
    """

    status: str
    value: Any
    raw: str = ""
    tokens: int = 0


class Role(Protocol):
    """Anything that answers tasks; `limit` is the most tokens that one answer generates."""

    name: str
    limit: int

    def answer(self, tasks: list[Task], progress: Progress | None = None) -> list[Answer]: ...


@dataclass
class _ChatRole:
    """A role that a language model plays; `drawn` names the kinds of tasks that are answered at a temperature."""

    chat: Chat
    wording: str = "full"
    decoding: Decoding = field(default_factory=lambda: Decoding(max_new_tokens=1024))
    seed: int = 0
    form: str = "criterion"
    drawn: tuple[str, ...] = ("write",)
    kinds: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, judge: Judge, form: str = "criterion"):
        """Let a judge's model play this role, asked as the judge is."""
        return cls(judge.chat, judge.wording, judge.decoding, judge.seed, form)

    @property
    def name(self) -> str:
        return self.chat.name

    @property
    def limit(self) -> int:
        return self.decoding.max_new_tokens

    def answer(self, tasks: list[Task], progress: Progress | None = None) -> list[Answer]:
        """Answer every task, in order, those of the kinds `drawn` in one batch and the rest in another.

        The first are answered at the temperature that the model names in `writing`, where it does. Raises ValueError
        on a kind that is another role's.
        """
        _check(self, tasks)
        answers: dict[int, Answer] = {}
        for drawn in (True, False):
            some = [i for i, task in enumerate(tasks) if (task.kind in self.drawn) == drawn]
            chats = [messages(tasks[i], self.wording, self.form) for i in some]
            warmth = getattr(self.chat, "writing", None) if drawn else None
            decoding = self.decoding if warmth is None else replace(self.decoding, temperature=warmth)
            made = self.chat.complete(chats, decoding, self.seed, progress) if some else []
            answers |= {i: read(tasks[i], out, self.form) for i, out in zip(some, made, strict=True)}
        return [answers[i] for i in range(len(tasks))]


@dataclass
class GenRM(_ChatRole):
    """The generative reward model; `form` "criterion", or the `rubric` format in which it was trained to judge."""

    kinds: ClassVar[tuple[str, ...]] = ("write", "judge", "direct", "merge", "verdict")


@dataclass
class Policy(_ChatRole):
    """The model that refines one response after its critique."""

    kinds: ClassVar[tuple[str, ...]] = ("refine",)


@dataclass
class DisRM:
    """The scalar reward model; scores under the pair's own criterion only, never under one that was written."""

    judge: ScalarJudge
    limit: int = 0
    kinds: ClassVar[tuple[str, ...]] = ("score",)

    @property
    def name(self) -> str:
        return self.judge.name

    def answer(self, tasks: list[Task], progress: Progress | None = None) -> list[Answer]:
        """Score every task's response, in order. Raises ValueError on a kind that is another role's."""
        _check(self, tasks)
        if not tasks:
            return []
        responses = [Response(prompt_id=task.pair.id, parts=task.parts) for task in tasks]
        scores = self.judge.score([task.pair.prompt_of() for task in tasks], responses, progress)
        return [Answer("ok", x) if math.isfinite(x) else Answer("bad_score", None) for x in scores]


def read(task: Task, made: Generated, form: str = "criterion") -> Answer:
    """Parse the completion of a task strictly; a refinement that did not end by itself is "unfinished".

    What a server withheld keeps that status, and an empty value.
    """
    if task.kind == "write":
        status, value = parse_criteria(made.text, task.count)
    elif task.kind in ("judge", "verdict"):
        value = parse_judgement(made.text, form if task.kind == "judge" else "verdict")
        status = value.status
    elif task.kind == "refine":
        value, note = rubric.without_thoughts(made.text)
        value = value.strip()
        ended = "ok" if made.finished else "unfinished"
        status = ended if value else "unfinished" if note == "unclosed_thought" else "empty"
    else:
        value = parse_direct(made.text, task.count or len(task.criteria))
        status = value[1].status
    return Answer(made.failure or status, value, made.text or made.reason, made.tokens)


def _check(role: Any, tasks: list[Task]) -> None:
    if other := {task.kind for task in tasks} - set(role.kinds):
        raise ValueError(f"{type(role).__name__} does {', '.join(role.kinds)}, not {', '.join(sorted(other))}")


# ---- frozen rows


def judge_by(
    role: GenRM,
    pairs: list[Pair],
    kinds: str | Mapping[str, str],
    count: int = 3,
    orders: str = "both",
    progress: Progress | None = None,
) -> list[Judgement]:
    """Ask for one judgement a pair and order; `kinds` is "direct" or "verdict", or one a pair's id.

    `count` criteria are asked for in a direct judgement, and stand in the raw text. No label reaches the role. Media
    are judged by their verdict alone where they are taught so.
    """
    asked = [(p, order, kinds if isinstance(kinds, str) else kinds[p.id]) for p in pairs for order in ORDERS[orders]]
    tasks = [Task(kind, unlabelled(p, order), count=count if kind == "direct" else 0) for p, order, kind in asked]
    rows = []
    for (pair, order, kind), answer in zip(asked, role.answer(tasks, progress), strict=True):
        judged = answer.value[1] if kind == "direct" else answer.value
        about = {"model": role.name, "kind": "criterion" if kind == "direct" else "verdict", "criterion": None}
        made = {"raw": answer.raw, "tokens": answer.tokens, "decoding": asdict(role.decoding), "seed": role.seed}
        rows.append(Judgement.of(pair, order, judged, status=answer.status, **about, **made))
    return rows


def forced(chat: LocalModel, name: str, pairs: list[Pair], wording: str = "brief") -> list[Judgement]:
    """Judge by which verdict, A or B, a model finds likelier as its next word; it never fails and never ties.

    So a model that was taught none of these forms can be made to choose.
    """
    asked = [(pair, order) for pair in pairs for order in ORDERS["both"]]
    chats = [messages(Task("verdict", unlabelled(pair, order)), wording) for pair, order in asked]
    about = {"model": name, "kind": "verdict", "criterion": None, "tokens": 1, "decoding": {"forced": ["A", "B"]}}
    rows = [Judgement.of(pair, order, CriterionJudgement("ok"), **about) for pair, order in asked]
    return likeliest(chat, rows, chats, ["[["] * len(chats), ["A", "B"])


def unlabelled(pair: Pair, order: str) -> Pair:
    """Return a pair as displayed, without its label, margin, source and the world's notes: no role sees them."""
    return pair.displayed(order).model_copy(update=dict.fromkeys(("label", "margin", "source", "meta")))
