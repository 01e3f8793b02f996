"""Pairs with media: VL- and Multimodal RewardBench 1 and 2, EditReward-Bench, SpeechJudge, GenAI-Bench, VideoDPO, more.

Groups are the official ones, read off the ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from omnirepro.data import Part, RowError, text_part
from omnirepro.data.sources.parts import media
from omnirepro.data.sources.rows import Raw

Given = dict[str, Any]
MMRB2 = re.compile(r"(?<![^/])(t2i|edit|interleaved|reasoning)(?=[/.\[_-])")  # its tasks, in the names of files
MARK = re.compile(r"<image_\d+>")
NATURAL = (
    "Naturalness: which recording speaks the given text more as a person would, in rhythm, intonation and clarity?"
)


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


def mmrb2(raw: Raw) -> Iterator[Given]:
    """Read texts and pictures in the order in which they were written, on both sides as in the prompt.

    People's marks, 1 (B is much better) to 6 (A is), are kept from each side's own view.
    """
    if not raw.fields.keys() & {"prompt_content", "prompt_text"}:
        raise RowError("field prompt_content: missing, as in files of responses alone; run its build_from_hf.py")
    built = "prompt_content" in raw.fields
    shown = _listed if built else _marked
    meta: Given = {}
    for side in "ab" if built else "":
        held = raw.need(f"response_{side}", dict)
        named = {"model_name": "model"}
        meta |= {f"{named.get(key, key)}_{side}": held[key] for key in held.keys() - {"response_content"}}
    for name in ("prompt_source", "prompt_metadata", "human_annotations"):
        value = raw.fields.get(name)
        coded = value and isinstance(value, str) and name != "prompt_source"  # as JSON, on the hub
        meta |= {name: json.loads(value) if coded else value} if value else {}
    if isinstance(marks := meta.get("human_annotations"), list):
        del meta["human_annotations"]
        meta |= {"marks_a": marks, "marks_b": [7 - mark for mark in marks]}
    tasks = MMRB2.findall(raw.file)
    yield {
        "id": str(raw.need("pair_id" if "pair_id" in raw.fields else "id", str, int)),
        "task": tasks[-1] if tasks else "mmrb2",
        "prompt": shown(raw, "prompt"),
        "sides": (shown(raw, "response_a"), shown(raw, "response_b")),
        "meta": meta,
    }


def _listed(raw: Raw, name: str) -> list[Part]:
    """Return the parts of a list of [kind, text or path]."""
    field = "prompt_content" if name == "prompt" else name
    held = raw.need(field, list, dict)
    pieces = held if isinstance(held, list) else held.get("response_content")
    parts: list[Part] = []
    for piece in pieces if isinstance(pieces, list) else ():
        if not isinstance(piece, list) or len(piece) != 2 or piece[0] not in ("text", "image"):
            raise RowError(f"field {field}: {piece!r:.80} is no [text, ...] or [image, path]; correct the piece")
        parts += [text_part(str(piece[1]))] if piece[0] == "text" else media("image", piece[1], raw)
    if not parts:
        raise RowError(f"field {field}: nothing is said; build the benchmark again, or remove the row")
    return parts


def _marked(raw: Raw, name: str) -> list[Part]:
    """Return the parts of a text with marks `<image_1>` and of its pictures, in turn; what no mark shows comes last."""
    text = raw.need(f"{name}_text", str, type(None)) or ""
    left = media("image", raw.fields.get(f"{name}_images") or [], raw)
    parts: list[Part] = []
    at = 0
    for mark in MARK.finditer(text) if left else ():
        if left:
            parts += [*_said(text[at : mark.start()]), left.pop(0)]
            at = mark.end()
    parts += [*_said(text[at:]), *left]
    if not parts:
        raise RowError(f"field {name}_text: nothing is said; download the benchmark again, or remove the row")
    return parts


def _said(text: str) -> list[Part]:
    return [text_part(text.strip())] if text.strip() else []


def editreward_bench(raw: Raw) -> Iterator[Given]:
    """Read one comparison of two of an edit's candidates, whose letters the kind of comparison names (`AvsC`).

    An edit is judged right as a whole: the beginning of the id, as the official script groups them.
    """
    name = raw.need("id")
    kind = raw.need("comparison_type")
    ranking = raw.need("ranking")
    first, _, second = kind.partition("vs")
    orders = {f"{first}>{second}": "A", f"{second}<{first}": "A", f"{second}>{first}": "B", f"{first}<{second}": "B"}
    label = "tie" if ranking.startswith(f"{first}={second}") else orders.get(ranking.replace(" ", ""))
    if not second or label is None:
        raise RowError(f"field ranking: {ranking!r:.40} does not rank {kind!r:.20}; use A>B, B>A or A=B of its letters")
    size = str(raw.fields.get("dataset") or "2pair")
    edit = name.split("_")[0] if "_" in name else name[:10]
    group = {"all_of": f"{size}/{edit}"} if size != "2pair" else {}
    vote = {"vote": ranking} if label == "tie" else {}
    yield {"id": name, "task": f"TI2I/{size}", "label": label, "meta": group | vote}


def speechjudge(raw: Raw) -> Iterator[Given]:
    """Ask for naturalness alone, as raters were; a group is regular or expressive speech."""
    yield {"task": f"T2A/{raw.fields.get('subset') or 'all'}", "criterion": NATURAL}


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
