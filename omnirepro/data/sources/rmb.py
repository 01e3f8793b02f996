"""RMB: pairs, and best-of-N lists read as one pair of the best with each loser.

Official scores: the mean over goals (helpfulness, harmlessness) of pair accuracy, and of the share of lists whose best
response beats every loser. A list's pairs carry its name in `meta["all_of"]`: it counts only if all of them are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnirepro.data import Pair, RowError
from omnirepro.data.sources.parts import answer, conversation, shared
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source

_CITATION = "Zhou et al. 2024, arXiv:2410.09893"


def _pairwise(raw: Raw) -> Iterator[Pair]:
    better, worse = raw.need("chosen", dict), raw.need("reject", dict)
    yield _pair(raw, str(raw.need("pair_uid", str, int)), better, worse, {})


def _best_of_n(raw: Raw) -> Iterator[Pair]:
    name = str(raw.need("bon_uid", str, int))
    losers = raw.need("loser_list", list)
    if not losers:
        raise RowError("field loser_list: empty; remove the row")
    for number, loser in enumerate(losers, 1):
        yield _pair(raw, f"{name}/{number}", raw.need("bon_best", dict), loser, {"all_of": name})


def _pair(raw: Raw, name: str, better: dict[str, Any], worse: dict[str, Any], meta: dict[str, Any]) -> Pair:
    messages, path = raw.need("conversation_input", list), raw.need("category_path")
    prompt, (section, task) = conversation(messages), _category(path)
    languages = [m.get("language") for m in messages]
    used = ("conversation_input", "chosen", "reject", "bon_best", "loser_list", "pair_uid", "bon_uid")
    meta = raw.rest(*used) | meta | _sided(better, "a") | _sided(worse, "b")
    return Pair(
        id=name, task=task, prompt=prompt, response_a=answer(_answer(better)), response_b=answer(_answer(worse)),
        label="A", source="rmb-best-of-n" if "all_of" in meta else "rmb-pairwise", cluster=shared(prompt),
        meta=meta | {"section": section, "languages": languages},
    )  # fmt: skip


def _category(path: str) -> tuple[str, str]:
    """Return the goal and the scenario of `Pairwise_set/Helpfulness/Chat/Discussion`."""
    names = [n for n in path.split("/") if not n.endswith("_set")] or [path]
    return names[0], "/".join(names[:2])


def _answer(response: dict[str, Any]) -> str:
    if not isinstance(response.get("answer"), str):
        raise RowError("field answer of a response is missing; a response has: llm_name, answer")
    return response["answer"]


def _sided(response: dict[str, Any], side: str) -> dict[str, Any]:
    return {f"{'model' if k == 'llm_name' else k}_{side}": v for k, v in response.items() if k != "answer"}


SOURCES = (
    Source(
        "rmb-pairwise", ("pair_uid", "conversation_input", "chosen", "reject", "category_path"), _pairwise, UNSTATED,
        _CITATION, "pair accuracy within each goal (meta.section), then the mean of the goals", ranked=True,
    ),
    Source(
        "rmb-best-of-n", ("bon_uid", "conversation_input", "bon_best", "loser_list", "category_path"), _best_of_n,
        UNSTATED, _CITATION,
        "share of lists (meta.all_of) whose best beats all losers, within each goal, then the mean of the goals",
        ranked=True,
    ),
)  # fmt: skip
