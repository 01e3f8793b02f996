"""Who answers: GenRM (writes criteria, judges, merges), policy (refines), DisRM (scores); one method for all three.

Consumes tasks; produces one answer a task. A chat role stands on anything that completes chats (embedded, local, hub,
GGUF or endpoint), the scorer on any scalar judge; so each can be wrapped (with a cache, say) without a change here.
No role reads a label, and none knows the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from omnirepro.data import Response
from omnirepro.judge.criteria.parsing import parse_criteria, parse_direct, parse_judgement
from omnirepro.judge.criteria.prompts import Task, messages
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.models.generation import Decoding, Generated
from omnirepro.models.protocols import Chat

Progress = Callable[[int, int, float], None]


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
    """A role that a language model plays."""

    chat: Chat
    wording: str = "full"
    decoding: Decoding = field(default_factory=lambda: Decoding(max_new_tokens=1024))
    seed: int = 0
    form: str = "criterion"
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
        """Answer every task, in order, the criteria to write in one batch and the rest in another.

        Criteria are written at the temperature that the model names in `writing`, where it does. Raises ValueError on
        a kind that is another role's.
        """
        _check(self, tasks)
        answers: dict[int, Answer] = {}
        for written in (True, False):
            some = [i for i, task in enumerate(tasks) if (task.kind == "write") == written]
            chats = [messages(tasks[i], self.wording, self.form) for i in some]
            warmth = getattr(self.chat, "writing", None) if written else None
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
        sound = [x == x and abs(x) != float("inf") for x in scores]
        return [Answer("ok", x) if ok else Answer("bad_score", None) for x, ok in zip(scores, sound, strict=True)]


def read(task: Task, made: Generated, form: str = "criterion") -> Answer:
    """Parse the completion of a task strictly; a refinement that did not end by itself is "unfinished"."""
    if task.kind == "write":
        status, value = parse_criteria(made.text, task.count)
    elif task.kind in ("judge", "verdict"):
        value = parse_judgement(made.text, form if task.kind == "judge" else "verdict")
        status = value.status
    elif task.kind == "refine":
        value = made.text.split("</think>")[-1].strip()
        status = "empty" if not value else "ok" if made.finished else "unfinished"
    else:
        value = parse_direct(made.text, task.count or len(task.criteria))
        status = value[1].status
    return Answer(status, value, made.text, made.tokens)


def _check(role: Any, tasks: list[Task]) -> None:
    if other := {task.kind for task in tasks} - set(role.kinds):
        raise ValueError(f"{type(role).__name__} does {', '.join(role.kinds)}, not {', '.join(sorted(other))}")
