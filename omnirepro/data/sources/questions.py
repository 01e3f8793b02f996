"""Questions with gold answers, and answers to choose from where there are any: MMMU, Video-MME, AVQA, anyone's own.

`questions.yaml` describes their fields. Consumes a card; produces prompts with `gold` and `choices` (`Asked`), whose
choices stand below the question under capital letters. Nothing is dropped: a row that cannot be used is an error with
its place and a remedy. A row may bring its `candidates` (of Omni-RRM's released files: `qwen_all_runs`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from string import ascii_uppercase as LETTERS
from typing import Any

import yaml

from omnirepro.data.schema import Pair, Part, Prompt, RowError, modality_of, text_part
from omnirepro.data.sources.cards import Card, is_pair, pairs_of, prompts_of, raw_rows, read_each, settled
from omnirepro.data.sources.loading import renamed
from omnirepro.data.sources.parts import media
from omnirepro.data.sources.rows import Raw
from omnirepro.data.sources.source import fits

ANSWERS = ("candidates", "qwen_all_runs")
FOLDERS = ("data", "video", "videos")  # of a release's films, below its root
SAY_LETTER = "Answer with the letter of the right choice."
SAY_WORDS = "Answer with a word, a number or a short phrase."
MARK = re.compile(r"<image (\d+)>")


class Asked(Prompt):
    """A question with its gold answers and, where they are there already, the answers to choose from.

    `question` is its text alone, without the choices and what to answer with: by it other sets may hold the question.
    """

    candidates: list[list[Part]] | None = None
    question: str | None = None

    def bare(self) -> Prompt:
        """Return the question as a prompt of its media and its text alone."""
        if self.question is None:
            return self
        parts = [*(part for part in self.parts if part.type != "text"), text_part(self.question)]
        return self.model_copy(update={"parts": parts})


@dataclass(frozen=True)
class Form:
    """How one set writes its questions; `questions.yaml` says what its attributes mean."""

    name: str
    fields: dict[str, str]
    text: str
    gold: str
    licence: str
    citation: str
    id: str = ""
    choices: str = ""
    media: dict[str, list[str]] = field(default_factory=dict)
    numbered: str = ""
    hub: str | None = None
    config: str | None = None
    split: str = "train"


CARDS = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
FORMS = {name: Form(name, **card) for name, card in CARDS.items()}


def questions_of(card: Card, answered: bool = False) -> Iterator[Asked]:
    """Stream a card's questions, by `source` or as their first row says; `answered`: rows of answers to known ones.

    Such a row needs no more than `id` and `candidates`. Raises `RowError` naming file, row and remedy.
    """
    known = FORMS.get(card.path) or FORMS.get(card.source or "")
    if known:
        here = {"path": known.hub if card.path == known.name else card.path}
        card = card.model_copy(
            update=here | {"config": card.config or known.config, "split": card.split or known.split}
        )
    rows = (_renamed(raw, card) for raw in raw_rows(card))
    first = next(rows, None)
    if first is None:
        raise RowError(f"{card.path}: no rows; check the path")
    form = known or _form(first, answered)
    yield from read_each(chain([first], rows), card, lambda raw, card: _question(raw, form, card))


def asks(card: Card) -> bool:
    """Whether a card's rows are questions with gold answers, as its name, `source` or first row says."""
    if {card.path, card.source} & {name for form in FORMS.values() for name in (form.name, form.hub) if name}:
        return True
    first = next(raw_rows(card), None) if card.files else None
    if first is None or is_pair(first := _renamed(first, card)):
        return False
    return any(fits(first.fields, form.fields) for form in FORMS.values())


def rows_of(card: Card) -> list[Pair] | list[Asked] | list[Prompt]:
    """Return a card's questions, its pairs, or its prompts where its rows are neither. Raises `RowError` as each."""
    if asks(card):
        return list(questions_of(card))
    try:
        return list(pairs_of(card))
    except RowError:
        return list(prompts_of(card))


def _renamed(raw: Raw, card: Card) -> Raw:
    """Return a row with its columns renamed, those that it has, and without what is null."""
    fields = {name: value for name, value in raw.fields.items() if value is not None}
    here = {column: name for column, name in card.columns.items() if {column, column.split(".")[0]} & fields.keys()}
    (raw,) = renamed([replace(raw, fields=fields)], here)
    return replace(raw, fields={name: value for name, value in raw.fields.items() if value is not None})


def _form(raw: Raw, answered: bool) -> Form | None:
    """Return the form of a row; None for answers alone."""
    if found := [form for form in FORMS.values() if fits(raw.fields, form.fields)]:
        return max(found, key=lambda form: len(form.fields))
    if answered and any(name in raw.fields for name in ANSWERS):
        return None
    raise RowError(
        f"{raw.where}: the fields {', '.join(raw.fields)[:200]} are no question with a gold answer; write prompt "
        f"and gold (choices, image, video, audio), or rename columns; the known forms are {', '.join(FORMS)}"
    )


def _question(raw: Raw, form: Form | None, card: Card) -> Asked:
    name = str(raw.fields.get(form.id if form else "id", raw.number))
    said = {key: raw.fields[key] for key in ("criterion", "cluster") if raw.fields.get(key)}
    known: dict[str, Any] = {"id": name, "task": card.task, **said, "candidates": _candidates(raw)}
    if form is None:
        return Asked(**known | {"task": card.task or "asked", "parts": [text_part("")]})
    choices = bare(_listed(raw.fields.get(form.choices, [])))
    if len(choices) > len(LETTERS):
        raise RowError(f"field {form.choices}: {len(choices)} choices, more than letters; ask without them")
    gold = [strip_tag(str(text)) for text in _listed(raw.need(form.gold, object), whole=True)]
    parts = _parts(raw, form, choices)
    asked = raw.fields[form.text]
    known["question"] = MARK.sub(" ", asked) if isinstance(asked, str) else None
    task = card.task or str(raw.fields.get("task") or modality_of(parts))
    return Asked(**known | {"task": task, "parts": parts, "gold": gold, "choices": choices or None})


def _parts(raw: Raw, form: Form, choices: list[str]) -> list[Part]:
    """Return the media, the question and its choices as a model is shown them."""
    asked = raw.need(form.text, str, list)
    if isinstance(asked, list):
        return [settled(part, raw) for part in asked]
    lines = [f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices)]
    wanted = SAY_LETTER if choices else SAY_WORDS if form.text != "prompt" else ""
    text = "\n".join(filter(None, [asked.strip(), *lines, wanted]))
    shown = [part for kind, names in form.media.items() for part in _media(kind, names, raw)]
    if not form.numbered:
        return [*shown, text_part(text)]
    pieces = MARK.split(text)
    parts = [text_part(pieces[0])] if pieces[0].strip() else []
    used = set()
    for number, words in zip(pieces[1::2], pieces[2::2], strict=True):
        parts += media("image", raw.need(form.numbered + number, dict, str), raw)
        used.add(form.numbered + number)
        parts += [text_part(words)] if words.strip() else []
    rest = [name for name in raw.fields if re.fullmatch(rf"{form.numbered}\d+", name) and name not in used]
    return [*(part for name in sorted(rest) for part in media("image", raw.fields[name], raw)), *parts]


def _media(kind: str, names: list[str], raw: Raw) -> list[Part]:
    """Return the media of the first field, or of the first name made of fields, that is there."""
    for name in names:
        value: Any = raw.fields
        if "{" in name:
            value = name.format(**raw.fields)
            above = (*raw.above, *(place / folder for place in (raw.root, *raw.above) for folder in FOLDERS))
            return media(kind, value, replace(raw, above=above))
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value:
            return media(kind, value, raw)
    return []


def _candidates(raw: Raw) -> list[list[Part]] | None:
    held = next((raw.need(name, list) for name in ANSWERS if name in raw.fields), None)
    if held is None:
        return None
    if not held:
        raise RowError("field candidates: an empty list; remove the row, or give it an answer")
    return [[text_part(str(x))] if not isinstance(x, list) else [settled(part, raw) for part in x] for x in held]


def _listed(value: Any, whole: bool = False) -> list[Any]:
    """Return a list as it is, or read from the text of one; `whole`: any other value is a list of one."""
    if isinstance(value, str) and re.fullmatch(r"\s*\[.*\]\s*", value, re.DOTALL):
        try:
            value = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError):
            value = [value]
    if isinstance(value, list):
        return value
    if whole:
        return [value]
    raise RowError(f"choices: a list expected, not {value!r:.60}; write them as a list")


def bare(choices: list[Any]) -> list[str]:
    """Return choices without the letters that they begin with, where each begins with its own."""
    texts = [str(choice).strip() for choice in choices]
    marked = [re.match(rf"\(?{LETTERS[i]}[.):]\s*", text) for i, text in enumerate(texts[: len(LETTERS)])]
    return [text[mark.end() :] for text, mark in zip(texts, marked, strict=False)] if all(marked) else texts


def strip_tag(gold: str) -> str:
    """Return a gold answer without the tag <answer> around it."""
    found = re.search(r"<answer>(.*?)</answer>", gold, re.DOTALL)
    return found[1].strip() if found else gold.strip()
