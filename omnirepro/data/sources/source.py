"""What a format of public data is: a field map (`formats.yaml`) and, where a row says more than fields can, a hook.

Two facts are marked in a pair's `meta` where the official score needs them: `all_of` names a group in which every pair
must be right (best-of-N), `weight` counts a pair more than once. `meta["section"]` is the published group above `task`,
`cluster` what pairs that are not independent share.
"""

from __future__ import annotations

import math
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from omnirepro.data import Pair, Part, text_part
from omnirepro.data.sources.parts import cluster, media, shared
from omnirepro.data.sources.rows import Raw

Hook = Callable[[Raw], Iterable[dict[str, Any] | Pair]]
KINDS: dict[str, Callable[[Any], bool]] = {
    "any": lambda value: True,
    "text": lambda value: isinstance(value, str),
    "list": lambda value: isinstance(value, list),
    "said": lambda value: (
        isinstance(value, str | dict)
        or (isinstance(value, list) and all(isinstance(message, dict) for message in value))
    ),
}


@dataclass(frozen=True)
class Source:
    """One public data set; `formats.yaml` says what its attributes mean.

    `hook` yields, for each pair of a row, the fields of `Pair` that the map cannot fill (both responses as `sides`,
    `meta` is added to), or the pair itself.
    """

    name: str
    fields: dict[str, str]
    citation: str
    licence: str = "not known to the kit; read the data's own card"
    aggregation: str = "training set; the papers report no accuracy on it"
    hub: str | None = None
    config: str | None = None
    split: str = "train"
    ranked: bool = False
    without: tuple[str, ...] = ()
    id: str = ""
    task: str | dict[str, dict[str, str]] = ""
    prompt: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    label: dict[str, dict[Any, str]] = field(default_factory=dict)
    cluster: str | list[str] = ""
    names: dict[str, str] = field(default_factory=dict)
    rename: dict[str, str] = field(default_factory=dict)
    used: tuple[str, ...] = ()
    hook: str = ""
    gather: str = ""
    distinct: bool = False

    def matches(self, row: dict[str, Any]) -> bool:
        """Tell whether a row's fields are those of this source."""

        def fits(value: Any, kind: str) -> bool:
            return KINDS[kind](value) if kind in KINDS else re.search(kind, str(value)) is not None

        found = all(name in row and fits(row[name], kind) for name, kind in self.fields.items())
        return found and not any(name in row for name in self.without)

    @cached_property
    def _hook(self) -> Hook | None:
        return pkgutil.resolve_name(f"{__package__}.{self.hook}") if self.hook else None

    def gathered(self, rows: Iterator[Raw]) -> Iterator[Raw]:
        """Bring rows together where a pair is made of several."""
        return pkgutil.resolve_name(f"{__package__}.{self.gather}")(rows) if self.gather else rows

    def read(self, raw: Raw) -> Iterator[Pair]:
        """Yield the pairs of a row; `meta` names the group that it stood in. Raises `RowError` naming field and remedy.

        What JSON has no value for is kept in `meta` as null (NaN) or as its text (a date).
        """
        for given in self._hook(raw) if self._hook else ({},):
            pair = given if isinstance(given, Pair) else self._pair(raw, **given)
            meta = ({"group": raw.group} if raw.group else {}) | (pair.meta or {})
            yield pair.model_copy(update={"meta": _plain(meta)}) if meta else pair

    def _pair(
        self,
        raw: Raw,
        prompt: list[Part] | None = None,
        sides: tuple[list[Part], list[Part]] | None = None,
        meta: dict[str, Any] | None = None,
        **given: Any,
    ) -> Pair:
        """Make a pair of what the hook has given and, for the rest, of the mapped fields."""
        prompt = prompt or [part for spec in self.prompt for part in _parts(spec, raw)]
        a, b = sides or (_parts(spec, raw) for spec in self.sides)
        used = {self.id.rstrip("?"), *self.used, *(_fields(spec)[0] for spec in (*self.prompt, *self.sides))}
        mapped: dict[str, Any] = {"task": self.task, "source": self.name, "label": "A" if self.ranked else None}
        for name, tasks in self.task.items() if isinstance(self.task, dict) else ():
            value = raw.need(name).lower()
            mapped["task"] = next((task for start, task in tasks.items() if value.startswith(start)), tasks["*"])
        if self.id.endswith("?") or not self.id:
            mapped["id"] = str(raw.fields.get(self.id[:-1], raw.number))
        else:
            mapped["id"] = str(raw.need(self.id, str, int))
        for name, labels in self.label.items():
            mapped["label"] = raw.choose(name, labels)
            if "*" not in labels or mapped["label"]:
                used.add(name)
        if isinstance(self.cluster, list):
            mapped["cluster"] = cluster(*(raw.need(name) for name in self.cluster))
        else:
            mapped["cluster"] = shared([p for p in prompt if p.type != "text" and self.cluster == "media"] or prompt)
        kept = raw.rest(*used, **self.rename)
        for key, name in self.names.items():  # copies are named by content, so the released names are kept
            value = raw.fields.get(name)
            if isinstance(value, dict) and value.get("path"):
                kept[key] = value["path"]
            elif isinstance(value, str) and "://" in value:
                kept[key] = value
        return Pair(**mapped | given, prompt=prompt, response_a=a, response_b=b, meta=kept | (meta or {}) or None)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(name): _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _fields(spec: str) -> list[str]:
    return spec.rpartition(":")[2].rstrip("?").split("|")


def _parts(spec: str, raw: Raw) -> list[Part]:
    """Return the parts that a field of the map holds, see `formats.yaml`."""
    kind = spec.rpartition(":")[0]
    name = next((name for name in _fields(spec) if raw.fields.get(name)), _fields(spec)[-1])
    if spec.endswith("?") and name not in raw.fields:
        return []
    if not kind:
        return [text_part(raw.need(name))]
    return media(kind.rstrip("*"), raw.need(name, *((str, list) if kind.endswith("*") else (dict, str))), raw)
