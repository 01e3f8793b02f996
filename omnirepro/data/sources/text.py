"""Pairs of texts: HH-RLHF, Skywork-Reward-Preference, RewardBench 1 and 2, RM-Bench, PPE, RMB, LLMBar and others.

Sets that name a better and a worse response have the better one first, so A is always preferred as read;
`load(..., sides=seed)` exchanges half of the pairs, and judging in both orders needs no exchange. Dialogues are split
where they part: what both share is the prompt, and a response that goes on for several turns keeps them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from omnirepro.data import RowError, text_part
from omnirepro.data.sources.parts import cluster, conversation, parted
from omnirepro.data.sources.rows import Raw

Given = dict[str, Any]
SECTIONS = {
    "Chat": "alpacaeval-easy alpacaeval-length alpacaeval-hard mt-bench-easy mt-bench-med",
    "Chat Hard": "mt-bench-hard llmbar-natural llmbar-adver-neighbor llmbar-adver-GPTInst llmbar-adver-GPTOut "
    "llmbar-adver-manual",
    "Safety": "refusals-dangerous refusals-offensive xstest-should-refuse xstest-should-respond donotanswer",
    "Reasoning": "math-prm hep-cpp hep-go hep-java hep-js hep-python hep-rust",
}
_SECTION = {subset: section for section, subsets in SECTIONS.items() for subset in subsets.split()}
_WEIGHT = {"math-prm": 984 / 447}
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


def dialogues(raw: Raw) -> Iterator[Given]:
    """Read two dialogues: lists of messages, or HH-RLHF's transcripts."""
    both = []
    for name in ("chosen", "rejected"):
        messages = raw.need(name, str, list)
        if isinstance(messages, str):
            head, *rest = _TURN.split(messages)
            if head or not rest:
                wanted = "does not begin with 'Human:' after an empty line; this is no HH-RLHF transcript"
                raise RowError(f"field {name}: {wanted}")
            turns = zip(rest[::2], rest[1::2], strict=True)
            messages = [{"role": role.lower(), "content": said} for role, said in turns]
        both.append(conversation(messages))
    yield parted(*both)


def rewardbench(raw: Raw) -> Iterator[Given]:
    """Name the section of a row's subset, and what the subset weighs.

    A section is the mean over its subsets weighted by published counts, in which math-prm counts 984 although 447 rows
    exist.
    """
    subset = raw.need("subset")
    weight = {"weight": _WEIGHT[subset]} if subset in _WEIGHT else {}
    yield {"task": subset, "meta": {"section": _SECTION.get(subset, "other")} | weight}


def rewardbench_2(raw: Raw) -> Iterator[Given]:
    """Read each right response beside each wrong one; a list counts as a whole (`all_of`).

    Of the subset Ties a question has two rows, `ref:7` and `tied:7`, which are one cluster.
    """
    name = str(raw.need("id", str, int))
    subset = raw.need("subset")
    good, bad = (_texts(raw, side) for side in ("chosen", "rejected"))
    models = raw.fields.get("models") or []
    for i, j in product(range(len(good)), range(len(bad))):
        named = {"model_a": models[i], "model_b": models[len(good) + j]} if len(models) == len(good) + len(bad) else {}
        question = {"cluster": f"ties/{name.rpartition(':')[2]}"} if ":" in name else {}
        yield question | {
            "id": f"{name}/{i}-{j}",
            "task": subset,
            "sides": ([text_part(good[i])], [text_part(bad[j])]),
            "meta": named | {"section": subset, "all_of": name},
        }


def rm_bench(raw: Raw) -> Iterator[Given]:
    """Read each style of the better response beside each of the worse: concise, detailed, detailed with markdown.

    A pair is hard where the worse one has the richer style, easy where the better one has it, else normal.
    """
    good, bad = (_texts(raw, side) for side in ("chosen", "rejected"))
    if not len(good) == len(bad) == 3:
        raise RowError(f"field chosen and rejected: {len(good)} and {len(bad)} texts, not three styles; get it again")
    domain = raw.need("domain")
    name = raw.need("id", str, int)
    for i, j in product(range(3), range(3)):
        level = "hard" if i < j else "easy" if i > j else "normal"
        yield {
            "id": f"{name}/{i}-{j}",
            "task": f"{domain}/{level}",
            "sides": ([text_part(good[i])], [text_part(bad[j])]),
            "meta": {"section": domain.split("-")[0], "style_a": i, "style_b": j},
        }


def _texts(raw: Raw, name: str) -> list[str]:
    texts = raw.need(name, list)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise RowError(f"field {name}: a list of texts expected; get the file again")
    return texts


def ppe(raw: Raw) -> Iterator[Given]:
    """Read the pairs that were drawn of a row's 32 responses, labelled by `scores`; a prompt is a cluster of pairs.

    The other responses are in no pair.
    """
    scores = raw.need("scores", list)
    name = raw.need("question_id", str, int)
    for i, j in raw.need("sampled_conflict_pairs", list):
        if not 0 <= min(i, j) <= max(i, j) < len(scores) or scores[i] == scores[j]:
            raise RowError(f"field sampled_conflict_pairs: {[i, j]} is no pair of unequal scores; get the file again")
        yield {
            "id": f"{name}/{i}-{j}",
            "task": raw.fields.get("type") or "correctness",
            "sides": tuple([text_part(raw.need(f"response_{k + 1}"))] for k in (i, j)),
            "label": "A" if scores[i] > scores[j] else "B",
            "cluster": str(name),
            "meta": {"index_a": i, "index_b": j},
        }


def rmb_pairwise(raw: Raw) -> Iterator[Given]:
    """Read a better and a worse response."""
    yield _rmb(raw, raw.need("chosen", dict), raw.need("reject", dict))


def rmb_best_of_n(raw: Raw) -> Iterator[Given]:
    """Read a list as pairs of its best with each loser; it counts only if all of them are right (`all_of`)."""
    name = str(raw.need("bon_uid", str, int))
    losers = raw.need("loser_list", list)
    if not losers:
        raise RowError("field loser_list: empty; remove the row")
    for number, loser in enumerate(losers, 1):
        given = _rmb(raw, raw.need("bon_best", dict), loser)
        yield given | {"id": f"{name}/{number}", "meta": given["meta"] | {"all_of": name}}


def _rmb(raw: Raw, better: dict[str, Any], worse: dict[str, Any]) -> Given:
    """Read what both shapes share; goal and scenario are those of `Pairwise_set/Helpfulness/Chat/Discussion`."""
    messages = raw.need("conversation_input", list)
    path = raw.need("category_path")
    prompt = conversation(messages)
    names = [name for name in path.split("/") if not name.endswith("_set")] or [path]
    meta: Given = {"section": names[0], "languages": [m.get("language") for m in messages]}
    for side, response in (("a", better), ("b", worse)):
        if not isinstance(response.get("answer"), str):
            raise RowError("field answer of a response is missing; a response has: llm_name, answer")
        meta |= {f"{'model' if k == 'llm_name' else k}_{side}": v for k, v in response.items() if k != "answer"}
    sides = tuple([text_part(response["answer"])] for response in (better, worse))
    return {"task": "/".join(names[:2]), "prompt": prompt, "sides": sides, "meta": meta}


def llmbar(raw: Raw) -> Iterator[Given]:
    """Take the group from the file's folder: rows carry none."""
    folders = Path(raw.file).parent.parts
    task = "/".join(folders[-2:] if "Adversarial" in folders[-2:-1] else folders[-1:]) or "LLMBar"
    yield {"id": f"{task}/{raw.number}", "task": task, "meta": {"section": task.split("/")[0]}}


def pandalm(raw: Raw) -> Iterator[Given]:
    """Label by the majority of three annotators, else not; each is kept in `meta` (a tie is a vote for neither side).

    Six released responses are the boolean `true`, which lost its quotes on the way: they are read as the text "True".
    """
    votes = [raw.choose(f"annotator{i}", {0: "tie", 1: "A", 2: "B"}) for i in (1, 2, 3)]
    (label, count), *_ = Counter(votes).most_common()
    asked = [raw.need("instruction"), raw.fields.get("input") or ""]
    yield {
        "prompt": [text_part(text) for i, text in enumerate(asked) if text or i == 0],
        "sides": tuple([text_part(str(raw.need(f"response{i}", str, bool)))] for i in (1, 2)),
        "label": label if count > 1 else None,
        "cluster": cluster(*asked),
        "meta": {f"votes_{side}": [vote == side.upper() for vote in votes] for side in "ab"},
    }
