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
from omnirepro.data.files import atomic_write

_FILES = {
    "image": "vl_rewardbench.parquet",
    "views3d": "vl_rewardbench.parquet",
    "video": "sharegpt_video.jsonl",
    "audio": "audio_hh_rlhf.jsonl",
    "text": "hh_rlhf_text.jsonl",
}
_COLUMNS = {"video": "video", "audio": "audio_prompt"}  # of the path, which is relative to the file


def write_released(pairs: Sequence[Pair], folder: Path) -> None:
    """Write decided pairs as public benchmark files. Raises `RowError` for a pair that no format holds."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for pair in pairs:
        kinds = [part.type for part in pair.prompt]
        kind = kinds[0]
        plain = all(part.type == "text" for part in (*pair.response_a, *pair.response_b))
        if pair.label not in ("A", "B") or not plain or kind not in _FILES or {*kinds[1:]} - {"text"}:
            raise RowError(f"{pair.id}: the benchmarks' files hold decided pairs of texts about one medium or none")
        rows.setdefault(_FILES[kind], []).append(_row(pair, kind, folder))
    for name, made in rows.items():
        if name.endswith(".parquet"):
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.Table.from_pylist(made)
            atomic_write(folder / name, lambda path, table=table: pyarrow.parquet.write_table(table, path))
        else:
            atomic_write(folder / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))


def restored(pair: Pair) -> Pair:
    """Give a pair that was read back its scene as cluster and its margin."""
    meta = dict(pair.meta or {})
    kept = {"cluster": meta.pop("scene", pair.cluster), "margin": meta.pop("margin", pair.margin)}
    return pair.model_copy(update=kept | {"meta": meta or None})


def _row(pair: Pair, kind: str, folder: Path) -> dict[str, Any]:
    """Return a pair as a row of its kind's file."""
    query = "".join(part.text or "" for part in pair.prompt if part.type == "text")
    answers = [text_of(pair.response_a), text_of(pair.response_b)]
    kept = {"scene": pair.cluster_id} | ({} if pair.margin is None else {"margin": pair.margin})
    if kind in ("image", "views3d"):
        picture = Path(pair.prompt[0].path or "")
        image = {"bytes": picture.read_bytes(), "path": picture.name}
        ranking = [0, 1] if pair.label == "A" else [1, 0]
        return {"id": pair.id, "query": query, "image": image, "response": answers, "human_ranking": ranking} | kept
    if kind == "text":
        asked = {"text_prompt": query}
    else:
        asked = {_COLUMNS[kind]: os.path.relpath(pair.prompt[0].path or "", folder), "query": query}
    label = "AB".index(pair.label or "")
    return {"id": pair.id, **asked, "answer_a": answers[0], "answer_b": answers[1], "label": label} | kept
