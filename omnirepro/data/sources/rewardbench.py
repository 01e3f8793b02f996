"""RewardBench (v1, split `filtered`) and PPE's best-of-K correctness sets: verifiable or curated text pairs.

RewardBench: a section is the mean over its subsets weighted by published counts, in which math-prm counts 984 although
447 rows exist; `meta["weight"]` carries that. PPE: one row holds 32 responses and the pairs of them that were drawn;
each becomes a pair labelled by `scores`, so a prompt is a cluster of pairs. The other responses are in no pair.
"""

from __future__ import annotations

from collections.abc import Iterator

from omnirepro.data import Pair, RowError
from omnirepro.data.sources.parts import answer, cluster, text
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, texts

SECTIONS = {
    "Chat": "alpacaeval-easy alpacaeval-length alpacaeval-hard mt-bench-easy mt-bench-med",
    "Chat Hard": "mt-bench-hard llmbar-natural llmbar-adver-neighbor llmbar-adver-GPTInst llmbar-adver-GPTOut "
    "llmbar-adver-manual",
    "Safety": "refusals-dangerous refusals-offensive xstest-should-refuse xstest-should-respond donotanswer",
    "Reasoning": "math-prm hep-cpp hep-go hep-java hep-js hep-python hep-rust",
}
_SECTION = {subset: section for section, subsets in SECTIONS.items() for subset in subsets.split()}
_WEIGHT = {"math-prm": 984 / 447}


def _rewardbench(raw: Raw) -> Iterator[Pair]:
    subset, prompt = raw.need("subset"), raw.need("prompt")
    meta = raw.rest(
        "prompt", "chosen", "rejected", "subset", "id", chosen_model="model_a", rejected_model="model_b"
    ) | {"section": _SECTION.get(subset, "other")}
    yield Pair(
        id=str(raw.need("id", int, str)), task=subset, prompt=[text(prompt)], response_a=answer(raw.need("chosen")),
        response_b=answer(raw.need("rejected")), label="A", source="rewardbench", cluster=cluster(prompt),
        meta=meta | ({"weight": _WEIGHT[subset]} if subset in _WEIGHT else {}),
    )  # fmt: skip


def _ppe(raw: Raw) -> Iterator[Pair]:
    scores, name, prompt = raw.need("scores", list), raw.need("question_id", str, int), raw.need("prompt")
    used = [f for f in raw.fields if f.startswith("response_")]
    meta = raw.rest(*used, "scores", "prompt", "question_id", "sampled_conflict_pairs", "conflict_pairs")
    for i, j in raw.need("sampled_conflict_pairs", list):
        if not 0 <= min(i, j) <= max(i, j) < len(scores) or scores[i] == scores[j]:
            raise RowError(f"field sampled_conflict_pairs: {[i, j]} is no pair of unequal scores; get the file again")
        yield Pair(
            id=f"{name}/{i}-{j}", task=raw.fields.get("type") or "correctness", prompt=[text(prompt)],
            response_a=answer(raw.need(f"response_{i + 1}")), response_b=answer(raw.need(f"response_{j + 1}")),
            label="A" if scores[i] > scores[j] else "B", source="ppe", cluster=str(name),
            meta=meta | {"index_a": i, "index_b": j},
        )  # fmt: skip


SOURCES = (
    Source(
        "rewardbench", ("prompt", "chosen", "rejected", "subset", "id"), _rewardbench, "ODC-BY",
        "Lambert et al. 2024, arXiv:2403.13787",
        "mean of four sections; a section is the mean of its subsets weighted by published counts (meta.weight)",
        hub="allenai/reward-bench", split="filtered", ranked=True, accepts=texts("prompt", "chosen", "rejected"),
    ),
    Source(
        "ppe", ("question_id", "prompt", "scores", "sampled_conflict_pairs", "response_1"), _ppe, UNSTATED,
        "Frick et al. 2024, arXiv:2410.14872", "accuracy over sampled_conflict_pairs (micro)",
        hub="lmarena-ai/PPE-MATH-Best-of-K",
    ),
)  # fmt: skip
