"""What the roles are asked: chats for writing criteria, judging, merging, direct judgement and refinement.

Consumes tasks; produces chats. `brief` wordings are for a model that is trained on these forms (the embedded one),
`full` ones for a model that never saw them. In brief ones everything that is asked stands behind the responses, where
a small model can look back with a criterion in mind (the paper has it first, and so have the full ones). Six questions
(GRM-Omni, Figures 13 to 16, in other words):

- write: criteria that tell two responses apart and repeat none that is known (Figure 13)
- judge: critique, score and verdict under one criterion (Figure 14)
- refine: one response, changed only where its critique says so (Figure 15)
- direct: criteria and the judgement under them in one reply (Figure 16), the form that is trained and deployed
- merge: one direct judgement out of several judgements under one criterion each (Section 3.2)
- verdict: the verdict alone, the form in which media are taught (prompt switching, Section 3.3)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from omnirepro.data import Pair, Part
from omnirepro.judge import rubric
from omnirepro.judge.criteria.parsing import FIELDS

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
    if task.kind == "judge" and form != "criterion":
        return rubric.messages(_under(task), wording, form)
    if wording == "brief":
        return [{"role": "user", "parts": [*_shown(task), *_asked(task)]}]
    if task.kind == "refine":
        return _refine(task)
    count = task.count or len(task.criteria)
    body = rubric.messages(_under(task) if task.kind == "judge" else task.pair, wording)[-1]["parts"]
    details = _details(task, wording)
    user = {"role": "user", "parts": [*body, *([_text(details)] if details else [])]}
    return [{"role": "system", "parts": [_text(FULL[task.kind].format(count=count))]}, user]


def _asked(task: Task) -> list[Part]:
    """Return what a brief question says, all of it behind the responses."""
    if task.kind == "refine":
        return [_text(f"\nfix {task.notes[0]}.")]
    named = _under(task).criterion if task.kind == "judge" else task.pair.criterion
    criterion = f"\ncriterion: {named}" if named else ""
    asked = BRIEF[task.kind].format(count=task.count or len(task.criteria))
    return [_text(criterion + _details(task, "brief") + asked)]


def _shown(task: Task) -> list[Part]:
    """Show the question and both responses, briefly; to refine one, that one alone: the other never helps."""
    if task.kind == "refine":
        return [*rubric._spoken(task.pair.prompt), _text(f"\n{task.side}: "), *task.parts]
    bare = task.pair.model_copy(update={"criterion": None})
    return rubric.messages(bare, "brief")[-1]["parts"][:-1]


def _under(task: Task) -> Pair:
    """Return the pair with the criterion to judge by behind its own."""
    both = [c for c in (task.pair.criterion, *task.criteria) if c]
    return task.pair.model_copy(update={"criterion": "; ".join(both)})


def _details(task: Task, wording: str) -> str:
    """Write what stands below the candidates: the known criteria, or the judgements to merge."""
    if task.kind == "write":
        known = task.criteria or ("none",)
        return "\nknown: " + "; ".join(known) if wording == "brief" else "\n\nKnown criteria:" + _list(known)
    lead = "\n" if wording == "brief" else "\n\nJudgement under criterion "
    notes = zip(task.criteria, task.notes, strict=task.kind == "merge")
    return "".join(f"{lead}{i}: {c}\n{note}" for i, (c, note) in enumerate(notes, 1))


def _list(lines: tuple[str, ...]) -> str:
    return "".join(f"\n- {line}" for line in lines)


def _refine(task: Task) -> list[dict]:
    (critique,) = task.notes
    tail = [_text("\n\nAnswer: "), *task.parts, _text(f"\n\nCritique: {critique}")]
    user = {"role": "user", "parts": [*rubric._spoken(task.pair.prompt), *tail]}
    return [{"role": "system", "parts": [_text(FULL["refine"])]}, user]


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


def _text(text: str) -> Part:
    return Part(type="text", text=text)
