"""The embedded world's pairs in the files that public benchmarks have, so that their whole path can be walked offline.

Consumes pairs of one text, or of one medium and a question; produces a folder that `load` reads: pictures as
VL-RewardBench's parquet (embedded bytes), films as ShareGPT-Video's, sounds as Audio-HH-RLHF's and texts as HH-RLHF's
JSON Lines. Two columns that no release has, `scene` and `margin`, keep what intervals and difficulty are drawn by.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, RowError, text_of

_LINES = {"video": ("sharegpt_video.jsonl", "video"), "audio": ("audio_hh_rlhf.jsonl", "audio_prompt")}


def write_released(pairs: Sequence[Pair], folder: Path) -> None:
    """Write decided pairs as public benchmark files. Raises `RowError` for a pair that no format holds."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, list[Pair]] = {}
    for pair in pairs:
        kinds.setdefault(_kind(pair), []).append(pair)
    for kind, rows in kinds.items():
        if kind == "image":
            _parquet(folder / "vl_rewardbench.parquet", [_picture(p) for p in rows])
        elif kind == "text":
            _write(folder / "hh_rlhf_text.jsonl", [_line(p, {"text_prompt": "".join(_texts(p))}) for p in rows])
        else:
            name, column = _LINES[kind]
            shown = [{column: os.path.relpath(p.prompt[0].path, folder), "query": "".join(_texts(p))} for p in rows]
            _write(folder / name, [_line(p, columns) for p, columns in zip(rows, shown, strict=True)])


def restored(pair: Pair) -> Pair:
    """Give a pair that was read back its scene as cluster and its margin."""
    meta = dict(pair.meta or {})
    cluster, margin = meta.pop("scene", pair.cluster), meta.pop("margin", pair.margin)
    return pair.model_copy(update={"cluster": cluster, "margin": margin, "meta": meta or None})


def _kind(pair: Pair) -> str:
    kinds = [p.type for p in pair.prompt]
    media = [k for k in kinds if k != "text"]
    plain = all(p.type == "text" for side in (pair.response_a, pair.response_b) for p in side)
    if pair.label not in ("A", "B") or not plain or kinds != [*media[:1], *["text"] * (len(kinds) - len(media[:1]))]:
        raise RowError(f"{pair.id}: the benchmarks' files hold decided pairs of texts about one medium or none")
    return "image" if media == ["views3d"] else (*media, "text")[0]


def _texts(pair: Pair) -> list[str]:
    return [p.text or "" for p in pair.prompt if p.type == "text"]


def _kept(pair: Pair) -> dict[str, Any]:
    return {"scene": pair.cluster_id} | ({} if pair.margin is None else {"margin": pair.margin})


def _line(pair: Pair, prompt: dict[str, str]) -> dict[str, Any]:
    answers = {"answer_a": text_of(pair.response_a), "answer_b": text_of(pair.response_b)}
    return {"id": pair.id, **prompt, **answers, "label": "AB".index(pair.label or ""), **_kept(pair)}


def _picture(pair: Pair) -> dict[str, Any]:
    image = {"bytes": Path(pair.prompt[0].path or "").read_bytes(), "path": Path(pair.prompt[0].path or "").name}
    return {
        "id": pair.id, "query": "".join(_texts(pair)), "image": image,
        "response": [text_of(pair.response_a), text_of(pair.response_b)],
        "human_ranking": [0, 1] if pair.label == "A" else [1, 0], **_kept(pair),
    }  # fmt: skip


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
