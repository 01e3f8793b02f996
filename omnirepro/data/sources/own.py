"""The kit's own pairs, its flat relatives (texts as plain strings, media in one list), and Omni-RewardBench's rows.

Flat rows are those of derived sets such as a codec listening test or checked answers to picture problems: `prompt`,
`response_a`, `response_b` (text or one medium), `label`, `media` of the prompt, `meta`. Pairs about one medium are one
cluster, by which intervals are drawn. A listening test's signed mean difference (0-100) is stored by side, so that a
swap keeps it right, and its size, a tenth of it, is the margin in points of the 0-10 scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, RowError
from omnirepro.data.sources import omni_rewardbench
from omnirepro.data.sources.parts import answer, cluster, locate, medium, text
from omnirepro.data.sources.ranked import ACCURACY
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import Source, lists, texts

_LABELS = {"A": "A", "B": "B", "tie": "tie", None: None}


def _own(raw: Raw) -> Iterator[Pair]:
    pair = Pair.model_validate(raw.fields)
    for part in (*pair.prompt, *pair.response_a, *pair.response_b):
        part.path = part.path and locate(part.path, raw.root)
        if part.type == "text" and part.text is None and part.path:
            part.text = Path(part.path).read_text(encoding="utf-8")
    yield pair


def _flat(raw: Raw) -> Iterator[Pair]:
    shown = [medium(m["type"], m["path"], raw) for m in raw.need("media", list)]
    meta = dict(raw.need("meta", dict)) | {"media_roles": [m.get("role") for m in raw.fields["media"]]}
    difference = meta.pop("mean_diff", None)
    if difference is not None:
        meta |= {"mean_diff_a": difference, "mean_diff_b": -difference}
    used = ("id", "task", "prompt", "response_a", "response_b", "label", "media", "meta", "source")
    yield Pair(
        id=raw.need("id"), task=raw.need("task"), prompt=[*shown, text(raw.need("prompt"))],
        response_a=_side(raw, "response_a"), response_b=_side(raw, "response_b"),
        label=raw.choose("label", _LABELS), margin=None if difference is None else abs(difference) / 10,
        source=raw.need("source"), cluster=cluster([m["path"] for m in raw.fields["media"]] or raw.fields["prompt"]),
        meta=meta | raw.rest(*used),
    )  # fmt: skip


def _side(raw: Raw, name: str) -> list[Part]:
    value: Any = raw.need(name, str, dict)
    return answer(value) if isinstance(value, str) else [medium(value["type"], value["path"], raw)]


def _bench(raw: Raw) -> Iterator[Pair]:
    """Read a row whose task is named by its file, folder or hub configuration; embedded media become files."""
    named = {t: raw.file.rfind(name) for t, (name, *_) in omni_rewardbench.LAYOUT.items()}
    task = max(named, key=lambda t: named[t])
    if named[task] < 0:
        raise RowError(f"no task in the name of {raw.file}; keep <task>_preferences.json, or give config=text_to_image")
    made = omni_rewardbench.LAYOUT[task][2]
    kinds = {"image": "image", "audio": "audio", "response1": made, "response2": made}
    stored = {k: medium(kinds[k], v, raw).path for k, v in raw.fields.items() if k in kinds and isinstance(v, dict)}
    yield omni_rewardbench.from_row(raw.fields | stored, task, raw.root / omni_rewardbench.MEDIA)


def _flat_of(name: str) -> Callable[[dict[str, Any]], bool]:
    """Accept flat rows of one derived set; `flat-pairs` those of any other."""
    known = name != "flat-pairs"
    return lambda f: texts("prompt")(f) and lists("media")(f) and (f["source"] == name or not known)


SOURCES = (
    Source("omnirepro", ("id", "task", "prompt", "response_a", "response_b"), _own, "as the run that made it",
           "this kit", ACCURACY, accepts=lists("prompt", "response_a", "response_b")),
    *(
        Source(name, ("id", "source", "task", "prompt", "response_a", "response_b", "label", "media", "meta"), _flat,
               licence, citation, ACCURACY, accepts=_flat_of(name))
        for name, licence, citation in (
            ("codec_mushra", "CC-BY-4.0", "Stahl et al. 2024, doi:10.1109/ACCESS.2024.3482359"),
            ("mathvision", "MIT", "MATH-Vision"),
            ("flat-pairs", "see the LICENSE beside the file", "see the README beside the file"),
        )
    ),
    Source("omni-rewardbench", omni_rewardbench.FIELDS, _bench, "not known to the kit; read the data's own card",
           "Omni-Reward, Section 2", "mean over the tasks a model supports, with ties (three-way) and without",
           hub="HongbangYuan/OmniRewardBench", split="test"),
)  # fmt: skip
