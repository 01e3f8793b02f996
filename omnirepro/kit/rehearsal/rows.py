"""Rows of released data sets in their exact public formats, with small pictures, films and sounds of their own.

Consumes the cards that a profile names and `rows.yaml`; produces, for each card, files where it looks for them: parquet
for a set of the hub, JSON, JSON Lines or CSV for one that was downloaded.
"""

from __future__ import annotations

import io
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from omnirepro.data import RowError
from omnirepro.data.sources.cards import Card

FORMATS = Path(__file__).with_name("rows.yaml")
SUFFIX = {"image": ".jpg", "video": ".mp4", "audio": ".wav"}
_THINGS = ("cup", "boat", "lamp", "horse", "violin", "ladder", "bridge")
_COLOURS = ("red", "green", "white", "blue", "golden")


def write_set(card: Card, place: Path, count: int, hub: bool) -> None:
    """Write about `count` rows of a card's set below `place`; `hub`: as a repository of the hub, else as downloaded.

    A downloaded folder holds the media that its rows name, below the card's root. Raises `RowError` where `rows.yaml`
    does not know the format.
    """
    known = templates(card)
    each = max(2, count // len(known))
    for config, template in known.items():
        if hub:
            file = place / (config or "data") / f"{card.split or 'train'}-00000-of-00001.parquet"
        elif place.suffix:
            file = place
        else:
            file = place / named(config, card)
        root = place if hub else root_of(card, place)
        made = [Writer(f"{card.name}/{config}", number, root, hub).value(template) for number in range(1, each + 1)]
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, made)


def templates(card: Card) -> dict[str, Any]:
    """Return configuration -> row of a card's set: its own, else its format's; several where it names none of them."""
    known = yaml.safe_load(FORMATS.read_text(encoding="utf-8"))
    for name in (card.name, card.source or ""):
        if name in known:
            return {card.config or "": known[name]}
        several = {key.partition("/")[2]: row for key, row in known.items() if key.startswith(f"{name}/")}
        if several := {key: row for key, row in several.items() if card.config in (None, key)}:
            return several
    raise RowError(f"{card.name}: {FORMATS.name} of the rehearsal has no row of {card.source or 'it'}: add one")


def named(config: str, card: Card) -> Path:
    """Return the name of a downloaded set's file in its folder, by which the card finds it."""
    if card.source == "omni-rewardbench":
        return Path(f"{config}_preferences.json")
    return Path(config) / f"{card.split or 'rows'}.jsonl"


def root_of(card: Card, place: Path) -> Path:
    """Return the folder of a set's media: that of the card, else of its file."""
    return Path(card.root) if card.root else place.parent if place.suffix else place


class Writer:
    """What makes a row of a template; a medium of it is drawn from the set's name, so that no two sets share one."""

    def __init__(self, name: str, number: int, root: Path, hub: bool) -> None:
        self.name = name
        self.root = root
        self.hub = hub
        self.drawn = 0
        self.number = number
        thing = _THINGS[number % len(_THINGS)]
        colour = _COLOURS[number % len(_COLOURS)]
        self.words = {
            "n": str(number),
            "q": f"What stands in place {number} of {name.strip('/')}?",
            "good": f"It is a {colour} {thing}, because its {colour} side can be seen at place {number}.",
            "bad": f"Something, perhaps a {thing}.",
            "worse": f"I cannot say {number}.",
        }

    def value(self, template: Any) -> Any:
        """Fill a template; `rows.yaml` says what its keys mean."""
        if isinstance(template, str):
            for key, word in self.words.items():
                template = template.replace(f"{{{key}}}", word)
            return template
        if isinstance(template, list):
            return [self.value(item) for item in template]
        if not isinstance(template, dict):
            return template
        if template.keys() == {"choose"}:
            return self.value(template["choose"][(self.number - 1) % len(template["choose"])])
        if template.keys() == {"json"}:
            return json.dumps(self.value(template["json"]))
        if len(template) == 1 and (kind := next(iter(template))) in SUFFIX and isinstance(template[kind], str):
            return self._medium(kind, template[kind])
        return {key: self.value(held) for key, held in template.items()}

    def _medium(self, kind: str, folder: str) -> dict[str, Any] | str:
        self.drawn += 1
        name = f"{self.number}-{self.drawn}{SUFFIX[kind]}"
        data = medium(kind, zlib.crc32(f"{self.name}/{name}".encode()))
        if folder == "embedded" and self.hub:
            return {"bytes": data, "path": name}
        where = (
            Path(f"{kind}s" if folder == "embedded" else folder) / f"{self.name.replace('/', '-').strip('-')}-{name}"
        )
        file = self.root / where
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return where.as_posix()


@cache
def medium(kind: str, seed: int) -> bytes:
    """Return a small JPEG, a film of half a second in H.264, or a sound of as long, drawn from a seed."""
    from PIL import Image
    from scipy.io import wavfile

    from omnirepro.toyworld.scenes import write_mp4

    rng = np.random.default_rng(seed)
    rows, columns = np.indices((56, 84))
    slopes = rng.integers(1, 6, (3, 2))
    picture = np.stack([rows * a + columns * b for a, b in slopes], -1).astype(np.uint8)
    picture[8:40, 10 + seed % 40 :][:, :24] = rng.integers(0, 256, 3)
    out = io.BytesIO()
    if kind == "image":
        Image.fromarray(picture).save(out, "JPEG", quality=90)
    elif kind == "video":
        write_mp4(out, np.stack([np.roll(picture, 7 * at, axis=1) for at in range(4)]), fps=8)
    else:
        time = np.arange(8_000) / 16_000
        pitch = 200 + seed % 1_000
        wavfile.write(out, 16_000, (np.sin(2 * np.pi * (pitch + 100 * time) * time) * 9_000).astype(np.int16))
    return out.getvalue()


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows by the suffix of their file."""
    if file.suffix == ".parquet":
        _write_parquet(file, rows)
    elif file.suffix == ".csv":
        import pandas as pd

        pd.DataFrame(rows).to_csv(file, index=False)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as the hub has them: a medium is a column of its own kind, which a reader would decode."""
    from datasets import Audio, Dataset, Image

    table = Dataset.from_list(rows)
    for name, value in rows[0].items():
        if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
            table = table.cast_column(name, Audio() if value["path"].endswith(SUFFIX["audio"]) else Image())
    table.to_parquet(file)


def describe(repository: Path) -> None:
    """Write the page of a repository of the hub that names the files of each configuration and split."""
    found: dict[str, list[dict[str, str]]] = {}
    for file in sorted(repository.rglob("*.parquet")):
        split = file.name.removesuffix("-00000-of-00001.parquet")
        config = "default" if file.parent.name == "data" else file.parent.name
        found.setdefault(config, []).append({"split": split, "path": file.relative_to(repository).as_posix()})
    head = {"configs": [{"config_name": name, "data_files": files} for name, files in found.items()]}
    (repository / "README.md").write_text(f"---\n{yaml.safe_dump(head)}---\n", encoding="utf-8")
