"""A data set as one value: a path, a hub id with a number of rows (`owner/name#20000`), a mapping, or a card's name.

A card is what a path cannot say, as a YAML file: `NAME.yaml` in the folder of cards, or anywhere by its path. Its keys
are the fields of `Card`; a `path` and a `root` in it are relative to the card where they lie there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from omnirepro.data.files import YAML
from omnirepro.data.paths import locate
from omnirepro.data.schema import (
    MediaError,
    Pair,
    Part,
    Prompt,
    Row,
    RowError,
    first_wrong_field,
    modality_of,
    text_part,
)
from omnirepro.data.sources.loading import detect, load, media_store
from omnirepro.data.sources.parts import media
from omnirepro.data.sources.rows import Raw, files_of, hub_rows, read_rows

KINDS = ("image", "views3d", "video", "audio")


class Card(Row):
    """Where a data set lies and how it is read. `columns`: released field -> the name that it has here; `limit`: first
    rows that are taken (0: all); `task`: instead of the rows' own; `licence`: what allows its use."""

    path: str
    name: str = ""
    source: str | None = None
    root: str | None = None
    split: str | None = None
    config: str | None = None
    limit: int = Field(0, ge=0)
    columns: dict[str, str] = {}
    task: str = ""
    licence: str = ""

    @property
    def files(self) -> list[Path]:
        """The local files of its rows; none of a hub id."""
        return files_of(Path(self.path), self.split, self.config) if Path(self.path).exists() else []

    @property
    def how(self) -> dict[str, Any]:
        """What `load` is told beside the path."""
        told = {"source": self.source, "root": self.root, "split": self.split, "config": self.config}
        return told | ({"columns": self.columns} if self.columns else {})


def card_of(value: str | Mapping[str, Any], cards: Path, root: str = "") -> Card:
    """Return the card of a value. `cards`: the folder of named ones; `root`: that of media, where a card names none.

    Raises `RowError` where the value is neither a text nor a card, or a card's file is not there or says more.
    """
    text = value if isinstance(value, str) else ""
    file = Path(text) if Path(text).suffix in YAML else cards / f"{text}.yaml"
    numbered = re.fullmatch(r"(.+)#(\d+)", text)
    if text and file.is_file():
        fields = _beside(yaml.safe_load(file.read_text(encoding="utf-8")), file)
    elif numbered and not Path(text).exists():
        fields = {"path": numbered[1], "limit": int(numbered[2])}
    else:
        fields = {"path": text} if text else value
    if file == Path(text) and not file.is_file():
        raise RowError(f"{text}: no such card; check the path")
    try:
        card = Card.model_validate(fields)
    except ValidationError as error:
        known = f"a card has: {', '.join(Card.model_fields)}"
        raise RowError(f"data set {text or value!r}: {first_wrong_field(error)}; {known}") from None
    name = card.name or (file.stem if text and file.is_file() else Path(card.path).name.split(".")[0])
    return card.model_copy(update={"name": name, "root": card.root or root or None})


def _beside(fields: Any, file: Path) -> Any:
    """Return a card's fields with path and root as they lie beside its file, where they do."""
    if not isinstance(fields, dict):
        raise RowError(f"{file}: not a card; write keys such as path: and source:")
    near = {key: file.parent / str(fields[key]) for key in ("path", "root") if fields.get(key)}
    return {"name": file.stem} | fields | {key: str(path) for key, path in near.items() if path.exists()}


def pairs_of(card: Card) -> Iterator[Pair]:
    """Stream a card's pairs. Raises `RowError` naming file, row and remedy."""
    for pair in islice(load(card.path, say=lambda text: None, **card.how), card.limit or None):
        yield pair.model_copy(update={"task": card.task}) if card.task else pair


def prompts_of(card: Card) -> Iterator[Prompt]:
    """Stream a card's prompts: those of its pairs, where its rows are pairs of a known format, else one a row.

    Such a row has `parts` (or `prompt`, a list of them), or a text `prompt` beside image, video or audio (one or a
    list); `id`, `task`, `criterion` and `cluster` where it says them. Raises `RowError` naming file, row and remedy.
    """
    store = media_store()
    if files := card.files:
        rows = chain.from_iterable(read_rows(f, Path(card.root or f.parent).absolute(), store) for f in files)
    else:
        rows = hub_rows(card.path, card.config, card.split or "train", store)
    first = next(rows, None)
    if first and (card.source or _known(first)):
        yield from (pair.prompt_of() for pair in pairs_of(card))
        return
    for raw in islice(chain([first] if first else [], rows), card.limit or None):
        try:
            yield _prompt(replace(raw, fields={card.columns.get(k, k): v for k, v in raw.fields.items()}), card)
        except ValidationError as error:
            raise RowError(f"{raw.where}: {first_wrong_field(error)}; remove the row") from None
        except (RowError, MediaError, OSError) as error:
            raise RowError(f"{raw.where}: {error}") from None


def _known(raw: Raw) -> bool:
    """Whether a row is a pair of a known format."""
    try:
        return bool(detect(raw.fields))
    except RowError:
        return False


def _prompt(raw: Raw, card: Card) -> Prompt:
    fields = raw.fields
    listed = fields.get("parts", fields.get("prompt"))
    if isinstance(listed, list):
        parts = [Part.model_validate(part) for part in listed]
        for part in parts:
            part.path = part.path and locate(part.path, raw.root)
            if part.type == "text" and part.text is None:
                part.text = Path(part.path).read_text(encoding="utf-8")
    else:
        shown = [(kind, fields.get(kind) or fields.get(f"{kind}s")) for kind in KINDS]
        parts = [part for kind, found in shown if found for part in media(kind, found, raw)]
        parts.append(text_part(raw.need("prompt")))
    said = {key: fields[key] for key in ("criterion", "cluster") if fields.get(key)}
    task = card.task or fields.get("task") or modality_of(parts)
    return Prompt(id=str(fields.get("id", raw.number)), task=task, parts=parts, **said)
