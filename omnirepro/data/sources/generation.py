"""Pairs of generated media: GenAI-Bench (image, edition, video), Rapidata text-to-video, VideoDPO, align-anything.

A vote "both bad" is a tie, as a tie vote is; the vote stays in `meta`, because the official score has four classes.
Rapidata holds three judgements a row, each of which becomes a pair under its criterion; equal weights are a tie.
VideoDPO's folders name the winner, so a judge must never see a path: the audit says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources.parts import Medium, answer, cluster, medium, released, shared, text
from omnirepro.data.sources.ranked import UNSTATED
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source

_VOTES = {"leftvote": "A", "rightvote": "B", "tievote": "tie", "bothbad_vote": "tie"}
_FOUR = "accuracy over four votes (left, right, tie, both bad; random 25 %); without ties: the decided votes only"
_GENAI = {"T2I": "image", "TI2I": "edition", "T2V": "video"}
_CRITERIA = ("Preference", "Coherence", "Alignment")
_CHOICE = {1: "A", 2: "B"}


def _genai(task: str, kind: Medium, left: str, right: str, asked: str) -> Callable[[Raw], Iterator[Pair]]:
    def read(raw: Raw) -> Iterator[Pair]:
        before = [medium("image", raw.need("source_image", dict, str), raw)] if task == "TI2I" else []
        prompt = [*before, text(raw.need(asked))]
        a, b = (medium(kind, raw.need(side, dict, str), raw) for side in (left, right))
        meta = raw.rest(left, right, asked, "source_image", left_model="model_a", right_model="model_b")
        yield Pair(
            id=str(raw.number), task=task, prompt=prompt, response_a=[a], response_b=[b],
            label=raw.choose("vote_type", _VOTES), source=f"genai-bench-{_GENAI[task]}", cluster=shared(prompt),
            meta=_swappable(meta) | _named(raw, left, right),
        )  # fmt: skip

    return read


def _swappable(meta: dict[str, Any]) -> dict[str, Any]:
    """Keep of the vote what no swap changes: left and right votes follow the label."""
    vote = meta.pop("vote_type", None)
    return meta | ({"vote": vote} if vote in ("tievote", "bothbad_vote") else {})


def _named(raw: Raw, left: str, right: str) -> dict[str, Any]:
    """Keep the released names of media, by side; a film's is its address."""
    sides = {"path_a": raw.fields[left], "path_b": raw.fields[right]}
    addresses = {k: v for k, v in sides.items() if isinstance(v, str)}
    return released(source_path=raw.fields.get("source_image"), **sides) | addresses


def _rapidata(raw: Raw) -> Iterator[Pair]:
    films = [_film(raw, f"file_name{i}") for i in (1, 2)]
    prompt = raw.need("prompt")
    weights = [[f"weighted_results{i}_{c}" for i in (1, 2)] for c in _CRITERIA]
    meta = raw.rest("prompt", *(name for pair in weights for name in pair), file_name1="path_a", file_name2="path_b")
    for criterion, names in zip(_CRITERIA, weights, strict=True):
        a, b = (raw.need(name, int, float) for name in names)
        yield Pair(
            id=f"{raw.number}/{criterion}", task="T2V", prompt=[text(prompt)], response_a=[films[0]],
            response_b=[films[1]], criterion=criterion, label="tie" if a == b else "A" if a > b else "B",
            source="rapidata-t2v", cluster=cluster(prompt), meta=meta | {"weight_a": a, "weight_b": b},
        )  # fmt: skip


def _film(raw: Raw, name: str) -> Part:
    path = raw.need(name)
    folder = next((f for f in ("videos", "Videos") if (raw.root / f).is_dir()), None)
    return medium("video", f"{folder}/{path.split('/')[-1]}" if folder else path, raw)


def _videodpo(raw: Raw) -> Iterator[Pair]:
    if raw.fields.get("label", 0) != 0:
        raise RowError(f"field label: {raw.fields['label']!r}; VideoDPO always prefers video1 (0)")
    index = [raw.need(name, int) for name in ("video1", "video2")]
    names = [f"{'losevideos' if i % 2 else 'winvideos'}/{i // 2:06d}.mp4" for i in index]
    a, b = ([medium("video", name, raw)] for name in names)
    yield Pair(
        id=f"{index[0]}-{index[1]}", task="T2V", prompt=[text(raw.need("frame_caption"))], response_a=a, response_b=b,
        label="A", source="videodpo", cluster=cluster(raw.need("frame_caption")),
        meta=raw.rest("frame_caption", "label", video1="video_a", video2="video_b"),
    )  # fmt: skip


def _ta2t(raw: Raw) -> Iterator[Pair]:
    prompt = [medium("audio", raw.need("audio_path", dict, str), raw), text(raw.need("prompt"))]
    sides = (answer(raw.need(f"response_{i}")) for i in (1, 2))
    yield _aligned(raw, "TA2T", prompt, *sides, "overall_response", "audio_path")


def _t2a(raw: Raw) -> Iterator[Pair]:
    sides = ([medium("audio", raw.need(f"response_{i}", dict, str), raw)] for i in (1, 2))
    yield _aligned(raw, "T2A", [text(raw.need("prompt"))], *sides, "overall_audio")


def _aligned(raw: Raw, task: str, prompt: list[Part], a: list[Part], b: list[Part], gold: str, *used: str) -> Pair:
    """Other gold values than 1 and 2 are left unlabelled: the official loader filters them out."""
    value = raw.need(gold, object)
    names = {"path_a": raw.fields["response_1"], "path_b": raw.fields["response_2"]}
    meta = raw.rest("prompt", "response_1", "response_2", gold, *used)
    meta |= released(audio=raw.fields.get("audio_path"), **names)
    return Pair(
        id=str(raw.number), task=task, prompt=prompt, response_a=a, response_b=b, label=_CHOICE.get(value),
        source=f"align-anything-{task.lower()}", cluster=shared(prompt),
        meta=meta | ({} if value in _CHOICE else {gold: value}),
    )  # fmt: skip


SOURCES = (
    *(
        Source(f"genai-bench-{name}", (*fields, "vote_type"), _genai(*how), UNSTATED,
               "Jiang et al. 2024, arXiv:2406.04485", _FOUR, hub="TIGER-Lab/GenAI-Bench", config=config,
               split="test_v1")
        for name, config, fields, how in (
            ("image", "image_generation", ("prompt", "left_image", "right_image"),
             ("T2I", "image", "left_image", "right_image", "prompt")),
            ("edition", "image_edition", ("source_image", "instruct_prompt", "left_output_image", "right_output_image"),
             ("TI2I", "image", "left_output_image", "right_output_image", "instruct_prompt")),
            ("video", "video_generation", ("prompt", "left_video", "right_video"),
             ("T2V", "video", "left_video", "right_video", "prompt")),
        )
    ),
    Source("rapidata-t2v", ("prompt", "file_name1", "file_name2", "weighted_results1_Preference"), _rapidata,
           "Apache-2.0", "Rapidata, text-2-video-human-preferences", "training set; accuracy within each criterion",
           hub="Rapidata/text-2-video-human-preferences-pika2.2"),
    Source("videodpo", ("video1", "video2", "frame_caption"), _videodpo, UNSTATED, "Liu et al. 2024, arXiv:2412.14167",
           "training set; the papers report no accuracy on it", ranked=True),
    Source("align-anything-ta2t", ("prompt", "response_1", "response_2", "overall_response", "audio_path"), _ta2t,
           UNSTATED, "Ji et al. 2024, arXiv:2412.15838", "accuracy over pairs (micro)",
           hub="PKU-Alignment/align-anything", config="text-audio-to-text"),
    Source("align-anything-t2a", ("prompt", "response_1", "response_2", "overall_audio"), _t2a, UNSTATED,
           "Ji et al. 2024, arXiv:2412.15838", "accuracy over pairs (micro)", hub="PKU-Alignment/align-anything",
           config="text-to-audio"),
)  # fmt: skip
