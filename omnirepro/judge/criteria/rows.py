"""Judgements asked of GenRM in one call, frozen as rows: directly with criteria, or the verdict alone.

Consumes pairs; produces one `Judgement` a pair and displayed order, in the pair's own frame. The criteria that were
written stand in the raw text. Media are judged by their verdict alone where they are taught so (`kinds`). A model that
was taught neither can be made to choose (`forced`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from omnirepro.data import Judgement, Pair, swap_verdict, text_of
from omnirepro.judge.criteria.parsing import CriterionJudgement
from omnirepro.judge.criteria.prompts import Task, messages
from omnirepro.judge.criteria.roles import Answer, GenRM, Progress
from omnirepro.judge.scalar import ORDERS
from omnirepro.models.generation import LocalModel

HIDDEN = dict.fromkeys(("label", "margin", "source", "meta"))


def judge_by(
    role: GenRM,
    pairs: list[Pair],
    kinds: str | Mapping[str, str],
    count: int = 3,
    orders: str = "both",
    progress: Progress | None = None,
) -> list[Judgement]:
    """Ask for one judgement a pair and order; `kinds` is "direct" or "verdict", or maps each task to one of them.

    `count` criteria are asked for in a direct judgement. No label reaches the role.
    """  # fmt: skip
    shown = [(p, order, p if order == "AB" else p.swap()) for p in pairs for order in ORDERS[orders]]
    asked = [kinds if isinstance(kinds, str) else kinds[p.task] for p, _, _ in shown]
    tasks = [
        Task(kind, display.model_copy(update=HIDDEN), count=count if kind == "direct" else 0)
        for kind, (_, _, display) in zip(asked, shown, strict=True)
    ]
    answers = role.answer(tasks, progress)
    return [_row(role, *about) for about in zip(asked, shown, answers, strict=True)]


def forced(chat: LocalModel, name: str, pairs: list[Pair], wording: str = "brief") -> list[Judgement]:
    """Judge by which verdict, A or B, a model finds likelier as its next word; it never fails and never ties."""
    shown = [(p, order, p if order == "AB" else p.swap()) for p in pairs for order in ORDERS["both"]]
    chats = [messages(Task("verdict", display.model_copy(update=HIDDEN)), wording) for _, _, display in shown]
    chances = chat.choose(chats, ["[["] * len(chats), ["A", "B"])
    role = GenRM(chat, wording)
    rows = []
    for about, (a, b) in zip(shown, chances, strict=True):
        judged = CriterionJudgement("ok", "A" if a >= b else "B", a, b)
        row = _row(role, "verdict", about, Answer("ok", judged, tokens=1))
        rows.append(row.model_copy(update={"model": name, "decoding": {"forced": ["A", "B"]}}))
    return rows


def _row(role: GenRM, kind: str, shown: tuple[Pair, str, Pair], answer: Answer) -> Judgement:
    pair, order, _ = shown
    judged = answer.value[1] if kind == "direct" else answer.value
    a, b = (judged.score_a, judged.score_b) if order == "AB" else (judged.score_b, judged.score_a)
    said = judged.verdict if order == "AB" else swap_verdict(judged.verdict)
    return Judgement(
        pair_id=pair.id, task=pair.task, cluster=pair.cluster_id, order=order, model=role.name,
        kind="criterion" if kind == "direct" else "verdict", status=answer.status,
        verdict=said, score_a=a, score_b=b, label=pair.label, margin=pair.margin,
        length_a=len(text_of(pair.response_a)), length_b=len(text_of(pair.response_b)), raw=answer.raw,
        tokens=answer.tokens, decoding=asdict(role.decoding), seed=role.seed,
    )  # fmt: skip
