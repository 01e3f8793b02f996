"""Parameters: `params/base.yaml` < profile < run file < overrides, with the origin and every read recorded.

A key that base.yaml does not have, or a value of another type, raises before any work. Keys are written with dots:
`sft.steps` is the key `steps` of the section `sft`.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from omnirepro.data.files import YAML
from omnirepro.kit.run.files import project_root
from omnirepro.kit.run.reading import (
    ParameterError,
    nearest,
    parse_overrides,
    read_run_file,
    read_yaml,
    run_file,
    unknown,
)
from omnirepro.kit.run.stages import STAGES

# Texts, or a mapping of modalities to texts.
BY_MODALITY = ("synthesis.strong", "synthesis.weak", "meta_reward_dpo.disrm")
NUMBER_OR_FILE = ("best_of_n.candidates",)  # a whole number, or the path of a file


def flatten(values: Mapping[str, Any], prefix: str = "", whole: Container[str] = ()) -> dict[str, Any]:
    """Turn nested mappings (keys may hold dots already) into one level of dotted keys.

    A mapping stays a value where it is empty inside a section, or where its key is one of `whole`.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in (*BY_MODALITY, *whole) and (value or not prefix):
            flat |= flatten(value, f"{name}.", whole)
        else:
            flat[name] = value
    return flat


@dataclass(eq=False, repr=False)
class Section(Mapping):
    """A part of the parameters with attribute and item access; `**section` passes all its keys on.

    Each read is recorded, under the key that it goes to.
    """

    _params: Params
    _prefix: str
    _changes: Mapping[str, Any] = field(default_factory=dict)
    _names: Mapping[str, str] = field(default_factory=dict)

    def changed(self, changes: Mapping[str, Any]) -> Section:
        """Return the section with other values for some keys, whose own are then not read."""
        for key in changes:
            if key not in self:
                raise unknown(f"{self._prefix}.{key}", self._params.keys(), "the code")
        return replace(self, _changes=self._changes | changes)

    def renamed(self, names: Mapping[str, str]) -> Section:
        """Return the section with further names for some keys: {"steps": "sft_steps"} lets `steps` be read."""
        return replace(self, _names=self._names | names)

    def parts(self) -> dict[str, Any]:
        """Return what makes it over other parameters; nothing counts as read."""
        return {"_prefix": self._prefix, "_changes": self._changes, "_names": self._names}

    def __getitem__(self, key: str) -> Any:
        own = self._names.get(key, key)
        for name in (key, own):
            if name in self._changes:
                return copy.deepcopy(self._changes[name])
        return self._params[f"{self._prefix}.{own}"]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        return self[key]

    def __iter__(self) -> Iterator[str]:
        start = f"{self._prefix}."
        own = (k[len(start) :].split(".")[0] for k in self._params.keys() if k.startswith(start))
        return iter(dict.fromkeys([*own, *self._names]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, key: object) -> bool:
        return key in list(iter(self))

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default

    def __repr__(self) -> str:
        return f"Section({self._prefix}: {', '.join(self) or 'empty'})"


class Params:
    """Resolved parameters by dotted key. Every read is recorded in `.reads`; `.origin(key)` is the file that set it.

    `notebooks`: the stages that the profile runs, in their order.
    """

    def __init__(self, base: Mapping[str, Any], profile: str = "", run: str | None = None):
        self.profile = profile
        self.run = run
        self.notebooks = STAGES
        self.sections = tuple(base)
        self.reads: dict[str, Any] = {}
        self.allowed: tuple[str, ...] | None = None
        self._base = flatten(base)
        self._values = dict(self._base)
        self._origins = dict.fromkeys(self._values, "base.yaml")

    def update(self, values: Mapping[str, Any], origin: str) -> None:
        """Set values on top; raises `ParameterError` on an unknown key or another type than the base's."""
        for section in values:
            if section.split(".")[0] not in self.sections and isinstance(values[section], Mapping):
                raise unknown(section, self.sections, origin)
        for key, value in flatten(values, whole=self._base).items():
            if key not in self._values:
                raise unknown(key, self._values, origin)
            self._values[key] = _typed(key, value, self._base[key], origin)
            self._origins[key] = origin

    def keys(self) -> list[str]:
        return list(self._values)

    def __getitem__(self, key: str) -> Any:
        self._permit(key)
        if key in self._values:
            self.reads[key] = self._values[key]
            return copy.deepcopy(self._values[key])
        if key in self.sections or any(name.startswith(f"{key}.") for name in self._values):
            return Section(self, key)
        raise unknown(key, [*self._values, *self.sections], "the code")

    def section(self, name: str) -> Section:
        """Return a section; raises `ParameterError` where there is none of that name."""
        self._permit(name)
        if isinstance(name, str) and name not in self._values and (name in self.sections or "." in name):
            return self[name]
        raise unknown(name, self.sections, "the code")

    def _permit(self, key: str) -> None:
        top = key.split(".")[0]
        if self.allowed is not None and top in self.sections and top not in self.allowed:
            allowed = ", ".join(self.allowed)
            raise ParameterError(
                f"this stage may read {allowed}, not {top}: add it to READS in omnirepro/kit/run/stages.py"
            )

    def peek(self, key: str) -> Any:
        """Return a value without recording a read."""
        return self._values.get(key)

    def values(self, sections: Iterable[str] | None = None) -> dict[str, Any]:
        """Return dotted key -> value of some sections (default: all), without recording a read."""
        wanted = self.sections if sections is None else tuple(sections)
        return {k: v for k, v in self._values.items() if k.split(".")[0] in wanted}

    def origin(self, key: str) -> str:
        """Return which file (or `overrides`) set a key."""
        return self._origins[key]


def _typed(key: str, value: Any, base: Any, origin: str) -> Any:
    """Check a value, and the entries of a list, by the base's type: a whole number does for a float, null for none."""
    kind = list[type(base[0])] if isinstance(base, list) and base else type(base)
    kind = str | dict[str, str] if key in BY_MODALITY else int | str if key in NUMBER_OR_FILE else kind
    try:
        return _checker(kind).validate_python(value, strict=True)
    except ValidationError:
        shown = kind.__name__ if isinstance(kind, type) else kind
        said = f"{value!r} is {type(value).__name__} where base.yaml has {base!r} ({shown})"
        raise ParameterError(f"parameter {key} (from {origin}): {said}") from None


_checker = cache(TypeAdapter)


def load_params(profile: str = "tiny", run: str | None = None, overrides: Any = None) -> Params:
    """Resolve the parameters of a run: base.yaml, then the profile, the run's file if there is one, the overrides.

    `profile`: a name in params/profiles/, or the path of a YAML file, which may lie anywhere.
    `overrides`: mapping with dotted or nested keys, or JSON text of one. Raises `ParameterError` on an unknown
    profile or key, naming the nearest known one.
    """
    params = Params(read_yaml(project_root() / "params" / "base.yaml"), profile, run)
    for file, values in _layers(profile):
        params.update(values, _told(file))
    if (own := run_file(run)) is not None:
        params.update(read_run_file(own).get("overrides") or {}, f"runs/{own.name}")
    params.update(parse_overrides(overrides), "overrides")
    params.notebooks = _stages(params.peek("profile.notebooks") or [])
    return params


def _told(file: Path) -> str:
    """Return the file of a profile as it is told: by its place in params/ or in the project, elsewhere by its name."""
    file = file.resolve()
    root = project_root().resolve()
    above = next((folder for folder in (root / "params", root) if file.is_relative_to(folder)), file.parent)
    return file.relative_to(above).as_posix()


def _layers(profile: str, above: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Return the files of a profile with their values, the one that it extends first.

    Raises `ParameterError` on an unknown profile, or one that extends itself.
    """
    folder = project_root() / "params" / "profiles"
    file = Path(profile) if Path(profile).suffix in YAML else folder / f"{profile}.yaml"
    if not file.is_file():
        profiles = sorted(path.stem for path in folder.glob("*.yaml"))
        hint = f"the nearest known one is {nearest(str(profile), profiles)} (of {', '.join(profiles)})"
        raise ParameterError(f"unknown profile {profile!r}: {hint}")
    if file in above:
        raise ParameterError(f"profile {file.name} extends itself: name another one there")
    values = read_yaml(file)
    beneath = flatten(values).get("profile.extends")
    return [*(_layers(beneath, (*above, file)) if beneath else []), (file, values)]


def _stages(names: list[str]) -> tuple[str, ...]:
    """Return the stages that are named (none: all), in their order. Raises `ParameterError` where one is not known."""
    for name in names:
        if name not in STAGES:
            said = f"the nearest is {nearest(str(name), STAGES)}"
            raise ParameterError(f"profile.notebooks: there is no notebook {name!r}: {said}")
    return tuple(stage for stage in STAGES if stage in names or not names)
