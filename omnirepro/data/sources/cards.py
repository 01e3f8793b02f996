"""A data set as one value: a path, a hub id or a card's name, with a number of rows (`owner/name#20000`) or without.

A card is what a path cannot say, as a YAML file: `NAME.yaml` in the folder of cards, or anywhere by its path. Its keys
are the fields of `Card`, as are those of a mapping; a `path` and a `root` in it are relative to the card where they lie
there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError

from omnirepro.data.files import YAML, lies_at
from omnirepro.data.jsonl import settle
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
from omnirepro.data.sources.loading import WRONG, detect, load, media_store, read_files, renamed
from omnirepro.data.sources.parts import MARKS, conversation, media
from omnirepro.data.sources.rows import Raw, files_of, hub_rows

P = TypeVar("P", bound=Prompt)
KINDS = ("image", "views3d", "video", "audio")


class Card(Row):
    """Where a data set lies and how it is read. `columns`: released field -> the name that it has here; `limit`: first
    rows that are taken (0: all); `task`: instead of the rows' own; `licence`: what allows its use; `get`: how a file
    or folder that is not there is got. What a plan counts on, where it is known: `rows`, `gb` (of files to download)
    and `modality` (of its prompts)."""

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
    get: str = ""
    rows: int = Field(0, ge=0)
    gb: float = Field(0.0, ge=0)
    modality: str = ""

    def there(self) -> Card:
        """Return the card itself. Raises `RowError` where its files are still to be got, in the card's own words."""
        if self.get and not Path(self.path).exists():
            raise RowError(f"{self.path} is not there: {self.get}")
        return self

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
    numbered = None if Path(text).exists() else re.fullmatch(r"(.+)#(\d+)", text)
    text = numbered[1] if numbered else text
    file = Path(text) if Path(text).suffix in YAML else cards / f"{text}.yaml"
    if text and file.is_file():
        fields = _beside(yaml.safe_load(file.read_text(encoding="utf-8")), file)
    else:
        fields = {"path": text} if text else value
    if numbered:
        fields |= {"limit": int(numbered[2])}
    if file == Path(text) and not file.is_file():
        raise RowError(f"{text}: no such card; check the path")
    try:
        card = Card.model_validate(fields)
    except ValidationError as error:
        raise RowError(f"data set {text or value!r}: {first_wrong_field(error, Card)}") from None
    name = card.name or (file.stem if text and file.is_file() else Path(card.path).name.split(".")[0])
    places = {"path": card.path, "root": card.root or root or ""}
    here = {key: lies_at(place) if place.startswith((".", "/")) else place for key, place in places.items()}
    return card.model_copy(update={"name": name, "path": here["path"], "root": here["root"] or None})


def _beside(fields: Any, file: Path) -> Any:
    """Return a card's fields with path and root as they lie beside its file, where they do."""
    if not isinstance(fields, dict):
        raise RowError(f"{file}: not a card; write keys such as path: and source:")
    near = {key: file.parent / str(fields[key]) for key in ("path", "root") if fields.get(key)}
    return {"name": file.stem} | fields | {key: str(path) for key, path in near.items() if path.exists()}


def pairs_of(card: Card, sides: int | None = None) -> Iterator[Pair]:
    """Stream a card's pairs, their sides exchanged by a coin where `sides`, a seed, is given.

    Raises `RowError` naming file, row and remedy.
    """
    told = {"limit": card.limit, "task": card.task or None}
    yield from load(card.there().path, say=lambda text: None, sides=sides, **told, **card.how)


def prompts_of(card: Card) -> Iterator[Prompt]:
    """Stream a card's prompts: those of its pairs, where its rows are pairs of a known format, else one a row.

    Such a row has `parts` (or `prompt`, a list of them), or a text `prompt` (or a conversation, of which the first
    question is taken) beside image, video or audio (one or a list); `id`, `task`, `criterion` and `cluster` where it
    says them. Raises `RowError` naming file, row and remedy.
    """
    rows = renamed(raw_rows(card), card.columns)
    first = next(rows, None)
    if first and (card.source or is_pair(first)):
        yield from (pair.prompt_of() for pair in pairs_of(card))
        return
    yield from read_each(chain([first] if first else [], rows), card, _prompt)


def read_each(rows: Iterable[Raw], card: Card, read: Callable[[Raw, Card], P]) -> Iterator[P]:
    """Yield what `read` makes of each row, of as many as the card takes. Raises `RowError` naming row and remedy."""
    for raw in islice(rows, card.limit or None):
        try:
            yield read(raw, card)
        except ValidationError as error:
            raise RowError(f"{raw.where}: {first_wrong_field(error, Prompt)}") from None
        except (RowError, MediaError, OSError) as error:
            raise RowError(f"{raw.where}: {error}") from None
        except WRONG as error:
            why = f"{type(error).__name__} {error}"[:200]
            raise RowError(f"{raw.where}: not a row that can be read ({why}); correct it or remove it") from None


def raw_rows(card: Card) -> Iterator[Raw]:
    """Stream a card's rows as they are written. Raises `RowError` where there are none to read."""
    store = media_store()
    if (top := Path(card.there().path)).exists():
        return chain.from_iterable(read_files(top, card.root, store, card.split, card.config))
    if card.path.count("/") != 1 or card.path.startswith((".", "/")):
        raise RowError(f"{card.path}: no such file or folder, and no hub id (owner/name); check the path")
    return hub_rows(card.path, card.config, card.split or "train", store)


def is_pair(raw: Raw) -> bool:
    """Whether a row is a pair of a known format."""
    try:
        return bool(detect(raw.fields))
    except RowError:
        return False


def settled(part: Any, raw: Raw) -> Part:
    """Return a part that a row writes out, its file found. Raises ValidationError or `MediaError` where it is none."""
    found = Part.model_validate(part)
    settle(found, raw.root, *raw.above)
    return found


def _prompt(raw: Raw, card: Card) -> Prompt:
    fields = raw.fields
    listed = fields.get("parts", fields.get("prompt"))
    if isinstance(listed, list):
        parts = [settled(part, raw) for part in listed]
    else:
        shown = [(kind, fields.get(kind) or fields.get(f"{kind}s")) for kind in KINDS]
        parts = [part for kind, found in shown if found for part in media(kind, found, raw)]
        parts.append(text_part(_question(raw)))
    said = {key: fields[key] for key in ("criterion", "cluster", "choices") if fields.get(key)}
    if fields.get("gold") is not None:
        said["gold"] = [str(x) for x in (fields["gold"] if isinstance(fields["gold"], list) else [fields["gold"]])]
    task = card.task or fields.get("task") or modality_of(parts)
    return Prompt(id=str(fields.get("id", raw.number)), task=task, parts=parts, **said)


def _question(raw: Raw) -> str:
    """Return the text of a row's `prompt`, or what a user first says in its conversation, without marks of media."""
    chat = raw.fields.get("conversations") or raw.fields.get("messages") or []
    if "prompt" in raw.fields or not chat:
        return raw.need("prompt")
    said = [part.text or "" for part in conversation(chat) if part.role == "user"]
    return MARKS.sub("", "".join(said[:1])).strip()
