"""Picture-and-text benchmarks: VL-RewardBench and Multimodal RewardBench.

Groups are the official ones, read off the ids. In VL-RewardBench `hallucination_*` items belong to hallucination (one
public script lets them fall into general). Multimodal RewardBench is released without its questions: `Text` is null
until its own download script has fetched the underlying data, and that is an error here, not an empty prompt.
"""

from __future__ import annotations

from collections.abc import Iterator

from omnirepro.data import Pair, RowError
from omnirepro.data.sources.parts import answer, media, medium, released, shared, text
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, lists

_GROUPS = {
    "mathverse": "reasoning", "mmmu": "reasoning", "rlaif": "hallucination", "rlhf": "hallucination",
    "hallucination": "hallucination",
}  # fmt: skip


def _vl_rewardbench(raw: Raw) -> Iterator[Pair]:
    name, responses, ranking = raw.need("id"), raw.need("response", list), raw.need("human_ranking", list)
    if len(responses) != 2 or sorted(ranking) != [0, 1]:
        raise RowError(f"field human_ranking: {ranking!r} does not rank two responses; use [0, 1] or [1, 0]")
    prompt = [medium("image", raw.need("image", dict, str), raw), text(raw.need("query"))]
    meta = raw.rest("id", "query", "response", "image", "human_ranking")
    meta |= released(image_path=raw.fields["image"])
    if isinstance(models := meta.get("models"), list) and len(models) == 2:
        meta = {k: v for k, v in meta.items() if k != "models"} | dict(zip(("model_a", "model_b"), models, strict=True))
    yield Pair(
        id=name, task=next((g for p, g in _GROUPS.items() if name.lower().startswith(p)), "general"), prompt=prompt,
        response_a=answer(responses[0]), response_b=answer(responses[1]), label="A" if ranking == [0, 1] else "B",
        source="vl-rewardbench", cluster=shared(prompt), meta=meta,
    )  # fmt: skip


def _multimodal_rewardbench(raw: Raw) -> Iterator[Pair]:
    name, category = raw.need("ID"), raw.need("Category")
    if raw.need("Text", str, type(None)) is None:
        raise RowError("field Text: null as released; run the benchmark's 0_download_data.py, which fills it in")
    prompt = [*media("image", raw.need("Image", str, list), raw), text(raw.need("Text"))]
    yield Pair(
        id=name, task=_category(category, name), prompt=prompt, response_a=answer(raw.need("Output1")),
        response_b=answer(raw.need("Output2")), label=raw.choose("Better", {"Output1": "A", "Output2": "B"}),
        source="multimodal-rewardbench", cluster=shared(prompt),
        meta=raw.rest("ID", "Text", "Image", "Output1", "Output2", "Better"),
    )  # fmt: skip


def _category(category: str, name: str) -> str:
    """Split safety and reasoning as the official script does."""
    if category == "safety":
        return "safety/bias" if name.lower().startswith("pairs") else "safety/toxicity"
    if category == "reasoning":
        return "reasoning/math" if name.lower().startswith("math") else "reasoning/coding"
    return category


SOURCES = (
    Source(
        "vl-rewardbench", ("id", "query", "response", "image", "human_ranking"), _vl_rewardbench, "MIT",
        "Li et al. 2024, arXiv:2411.17451", "overall (micro) and macro, the mean of three groups",
        hub="MMInstruction/VL-RewardBench", split="test", accepts=lists("response", "human_ranking"),
    ),
    Source(
        "multimodal-rewardbench", ("ID", "Category", "Text", "Image", "Output1", "Output2", "Better"),
        _multimodal_rewardbench, "CC-BY-NC (each underlying data set has its own)",
        "Yasunaga et al. 2025, Multimodal RewardBench",
        "accuracy over all pairs and within each category; an unparsable verdict is a coin flip",
    ),
)  # fmt: skip
