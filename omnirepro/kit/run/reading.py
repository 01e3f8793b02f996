"""Reading of parameter files: YAML of params/, run files, overrides, and the sentence above every key."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from omnirepro.kit.run.files import project_root

RUN_FILE_KEYS = {"profile", "run", "base", "seed", "overrides"}


class ParameterError(ValueError):
    """A parameter is unknown, misspelt, of the wrong type or never read; the message names the remedy."""


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise ParameterError(f"line {node.start_mark.line + 1}: the key {repeated.pop()!r} stands more than once")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping; an empty file is an empty mapping. Raises `ParameterError` where it is not one."""
    try:
        value = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ParameterError) as error:
        raise ParameterError(f"params/{path.parent.name}/{path.name}: {error}") from None
    if not isinstance(value or {}, dict):
        raise ParameterError(f"params/{path.parent.name}/{path.name}: not a mapping of keys to values")
    return value or {}


@lru_cache
def _parsed(text: str) -> Any:
    """Parse YAML once: a batch of ablations resolves the same files a hundred times."""
    return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known name that resembles `word` most; a word without a section is compared with last parts."""
    known = list(known)
    if "." not in word:
        ends = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
        return next((ends[x] for x in difflib.get_close_matches(word, ends, 1, cutoff=0.0)), "(none)")
    return next(iter(difflib.get_close_matches(word, known, 1, cutoff=0.0)), "(none)")


def unknown(key: str, known: Iterable[str], origin: str) -> ParameterError:
    """Return the error for a key that `origin` used and nobody knows."""
    known = list(known)
    inside = [k for k in known if k.startswith(f"{key}.")]
    hint = f"it is a section, with {', '.join(inside)}" if inside else f"the nearest known one is {nearest(key, known)}"
    return ParameterError(f"unknown parameter {key!r} (from {origin}): {hint}")


def run_file(run: str | None) -> Path | None:
    """Return `params/runs/<run>.yaml`, or None where there is none.

    Of a fork `<run>+<arm>` the arm's name counts, and a seed's suffix is left off.
    """
    arm = run.rpartition("+")[2] if run else ""
    names = [arm, re.sub(r"-s\d+$", "", arm)] if arm else []
    files = (project_root() / "params" / "runs" / f"{name}.yaml" for name in names)
    return next((file for file in files if file.is_file()), None)


def read_run_file(path: Path) -> dict[str, Any]:
    """Read a run file (papermill parameters of one run); raises `ParameterError` on a key that is none."""
    values = read_yaml(path)
    for key in values:
        if key not in RUN_FILE_KEYS:
            raise unknown(key, RUN_FILE_KEYS, f"runs/{path.name}")
    return values


def parse_overrides(overrides: Any) -> dict[str, Any]:
    """Accept a mapping or JSON text of one (as `papermill -p overrides '{"sft.steps": 5}'` passes it)."""
    if isinstance(overrides, str):
        try:
            overrides = json.loads(overrides or "{}")
        except json.JSONDecodeError as error:
            raise ParameterError(f"overrides are not JSON ({error.msg}); write '{{\"sft.steps\": 5}}'") from None
    if not isinstance(overrides or {}, Mapping):
        raise ParameterError(f"overrides must map dotted keys to values, not be {type(overrides).__name__}")
    return dict(overrides or {})


def meaning_of(key: str, found: Mapping[str, str]) -> str:
    """Return the sentence on a key; the entries of a nested mapping share the one above the mapping."""
    while "." in key and not found.get(key):
        key = key.rpartition(".")[0]
    return found.get(key, "") if "." in key else ""


def descriptions(path: Path | None = None) -> dict[str, str]:
    """Return dotted key -> the comment above it in base.yaml."""
    path = path or project_root() / "params" / "base.yaml"
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"^(\s*)([A-Za-z_]\w*)\s*:", line)
        if match:
            stack = [level for level in stack if level[0] < len(match[1])] + [(len(match[1]), match[2])]
            found[".".join(name for _, name in stack)] = " ".join(comment)
        is_comment = line.lstrip().startswith("#")
        comment = [*comment, line.lstrip(" #").rstrip()] if is_comment else []
    return found
