"""Pairs with media: VL- and Multimodal RewardBench, align-anything, ShareGPT-Video, GenAI-Bench, Rapidata, VideoDPO.

Groups are the official ones, read off the ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omnirepro.data import RowError, text_part
from omnirepro.data.sources.parts import media
from omnirepro.data.sources.rows import Raw

Given = dict[str, Any]


def vl_rewardbench(raw: Raw) -> Iterator[Given]:
    """Rank two responses."""
    responses = raw.need("response", list)
    ranking = raw.need("human_ranking", list)
    if len(responses) != 2 or sorted(ranking) != [0, 1]:
        raise RowError(f"field human_ranking: {ranking!r} does not rank two responses; use [0, 1] or [1, 0]")
    meta: Given = {"models": raw.fields["models"]} if "models" in raw.fields else {}
    if isinstance(models := meta.get("models"), list) and len(models) == 2:
        meta = {"model_a": models[0], "model_b": models[1]}
    yield {
        "sides": tuple([text_part(response)] for response in responses),
        "label": "A" if ranking == [0, 1] else "B",
        "meta": meta,
    }


def multimodal_rewardbench(raw: Raw) -> Iterator[Given]:
    """Split safety and reasoning as the official script does.

    `Text` is null as released, until the benchmark's own script has fetched the underlying data: an error here, not an
    empty prompt.
    """
    name = raw.need("ID").lower()
    task = raw.need("Category")
    if raw.need("Text", str, type(None)) is None:
        raise RowError("field Text: null as released; run the benchmark's 0_download_data.py, which fills it in")
    if task == "safety":
        task = "safety/bias" if name.startswith("pairs") else "safety/toxicity"
    elif task == "reasoning":
        task = "reasoning/math" if name.startswith("math") else "reasoning/coding"
    yield {"task": task}


def genai(raw: Raw) -> Iterator[Given]:
    """Keep of the vote what no swap changes, since the official score has four classes; "both bad" is a tie too."""
    vote = raw.fields.get("vote_type")
    yield {"meta": {"vote": vote} if vote in ("tievote", "bothbad_vote") else {}}


def sharegpt_video(raw: Raw) -> Iterator[Given]:
    """Cluster the questions about one film, whose ids are `film_number`."""
    yield {"cluster": str(raw.fields.get("id", raw.number)).rsplit("_", 1)[0]}


def rapidata(raw: Raw) -> Iterator[Given]:
    """Read three judgements a row, each a pair under its criterion; equal weights are a tie."""
    folder = next((folder for folder in ("videos", "Videos") if (raw.root / folder).is_dir()), None)
    paths = [raw.need(f"file_name{i}") for i in (1, 2)]
    films = [media("video", f"{folder}/{path.split('/')[-1]}" if folder else path, raw) for path in paths]
    for criterion in ("Preference", "Coherence", "Alignment"):
        a, b = (raw.need(f"weighted_results{i}_{criterion}", int, float) for i in (1, 2))
        yield {
            "id": f"{raw.number}/{criterion}",
            "sides": tuple(films),
            "criterion": criterion,
            "label": "tie" if a == b else "A" if a > b else "B",
            "meta": {"weight_a": a, "weight_b": b},
        }


def videodpo(raw: Raw) -> Iterator[Given]:
    """Find the films by their numbers; the folders name the winner, so a judge must never see a path."""
    if raw.fields.get("label", 0) != 0:
        raise RowError(f"field label: {raw.fields['label']!r}; VideoDPO always prefers video1 (0)")
    index = [raw.need(name, int) for name in ("video1", "video2")]
    names = [f"{'losevideos' if i % 2 else 'winvideos'}/{i // 2:06d}.mp4" for i in index]
    yield {"id": f"{index[0]}-{index[1]}", "sides": tuple(media("video", name, raw) for name in names)}
