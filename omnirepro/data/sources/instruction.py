"""Text benchmarks of instruction following and correctness: LLMBar, JudgeBench, PandaLM.

PandaLM's gold is the majority of three annotators, each kept in `meta` (a tie is a vote for neither side); without a
majority a pair has no label. Six of its released responses are the boolean `true`, which lost its quotes on the way:
they are read as the text "True". LLMBar rows carry no group: it is the folder of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from omnirepro.data import Pair
from omnirepro.data.sources.parts import answer, cluster, text
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, texts

_ANNOTATORS = ("annotator1", "annotator2", "annotator3")
_DOMAINS = {
    "mmlu-pro": "knowledge", "livebench-reasoning": "reasoning", "livebench-math": "math", "livecodebench": "coding",
}  # fmt: skip


def _llmbar(raw: Raw) -> Iterator[Pair]:
    folders = Path(raw.file).parent.parts
    task = "/".join(folders[-2:] if "Adversarial" in folders[-2:-1] else folders[-1:]) or "LLMBar"
    yield Pair(
        id=f"{task}/{raw.number}", task=task, prompt=[text(raw.need("input"))],
        response_a=answer(raw.need("output_1")), response_b=answer(raw.need("output_2")),
        label=raw.choose("label", {1: "A", 2: "B"}), source="llmbar", cluster=cluster(raw.need("input")),
        meta=raw.rest("input", "output_1", "output_2", "label") | {"section": task.split("/")[0]},
    )  # fmt: skip


def _judgebench(raw: Raw) -> Iterator[Pair]:
    origin = raw.need("source")
    domain = next((d for prefix, d in _DOMAINS.items() if origin.startswith(prefix)), "other")
    used = ("pair_id", "question", "response_A", "response_B", "label", "source")
    yield Pair(
        id=raw.need("pair_id"), task=domain, prompt=[text(raw.need("question"))],
        response_a=answer(raw.need("response_A")), response_b=answer(raw.need("response_B")),
        label=raw.choose("label", {"A>B": "A", "B>A": "B", "A=B": "tie"}), source="judgebench",
        cluster=cluster(raw.need("question")), meta=raw.rest(*used) | {"origin": origin},
    )  # fmt: skip


def _pandalm(raw: Raw) -> Iterator[Pair]:
    votes = [raw.choose(name, {0: "tie", 1: "A", 2: "B"}) for name in _ANNOTATORS]
    (label, count), *_ = Counter(votes).most_common()
    extra = raw.fields.get("input") or ""
    prompt = [text(raw.need("instruction")), *([text(extra)] if extra else [])]
    used = ("idx", "instruction", "input", "response1", "response2", *_ANNOTATORS)
    votes_for = {f"votes_{side}": [v == side.upper() for v in votes] for side in "ab"}
    yield Pair(
        id=str(raw.need("idx", int, str)), task="T2T", prompt=prompt, response_a=answer(_text(raw, "response1")),
        response_b=answer(_text(raw, "response2")), label=label if count > 1 else None, source="pandalm",
        cluster=cluster(raw.need("instruction"), extra), meta=raw.rest(*used) | votes_for,
    )  # fmt: skip


def _text(raw: Raw, name: str) -> str:
    return str(raw.need(name, str, bool))


SOURCES = (
    Source(
        "llmbar", ("input", "output_1", "output_2", "label"), _llmbar, "MIT", "Zeng et al. 2023, arXiv:2310.07641",
        "accuracy within each group; Adversarial is the mean of its four groups",
        accepts=texts("input", "output_1", "output_2"),
    ),
    Source(
        "judgebench", ("pair_id", "question", "response_A", "response_B", "label", "source"), _judgebench, UNSTATED,
        "Tan et al. 2024, arXiv:2410.12784",
        "share of pairs where both orders together favour the gold; orders that disagree are not correct (micro)",
        hub="ScalerLab/JudgeBench", split="gpt",
    ),
    Source(
        "pandalm", ("idx", "instruction", "response1", "response2", *_ANNOTATORS), _pandalm, "Apache-2.0",
        "Wang et al. 2023, arXiv:2306.05087", "three-way accuracy against the majority of annotators, ties a class",
    ),
)  # fmt: skip
