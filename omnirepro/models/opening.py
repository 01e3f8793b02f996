"""One name for any model that writes: `open_chat`.

Consumes a name (a spec): a hub id or folder, a package with GGUF, an adapter, the folder of a stage that trained one,
or a server `http://host:port/v1#model`; produces a `Chat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omnirepro.models.families import ModelError
from omnirepro.models.generation import Chat, LocalModel


def served(spec: str | Path) -> bool:
    """Whether a name is that of a server."""
    return str(spec).startswith(("http://", "https://"))


def adapter_in(spec: str | Path) -> Path | None:
    """Return the folder of the adapter that a name stands for, its own or its stage's; None where there is none."""
    places = (Path(spec) / "adapter", Path(spec))
    return next((folder for folder in places if (folder / "adapter_config.json").is_file()), None)


def names_of(specs: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return name -> spec: each named by the end of its path, or by as much of it as tells it from the others.

    Names count as alike where metrics and files would be: without case, "-" as "_". A spec that stands twice has one
    name. Raises `ModelError` where two cannot be told apart, or one from the names that are `taken`.
    """
    ends = {}
    for spec in specs:
        parts = [part for part in re.split("[/#]", spec) if part] or [spec]
        ends[spec] = ["-".join(parts[-n:]) for n in range(1, len(parts) + 1)]
    named = {_alike(name): "" for name in taken}
    names = {}
    for spec, own in ends.items():
        others = {_alike(end) for other, some in ends.items() if other != spec for end in some} | {*named}
        name = next((end for end in own if _alike(end) not in others), own[-1])
        if _alike(name) in named:
            twin = named[_alike(name)] or f"the run's own {name}"
            raise ModelError(f"judge {spec} would have the name of {twin}: name it by another path")
        named[_alike(name)] = spec
        names[name] = spec
    return names


def _alike(name: str) -> str:
    return re.sub(r"\W", "_", name.lower())


def open_chat(
    spec: str | Path,
    own: str | Path = "",
    batch_size: int = 256,
    device: str = "auto",
    dtype: str = "auto",
    endpoint: Mapping[str, Any] | None = None,
    media: Mapping[str, Any] | None = None,
) -> Chat:
    """Open a model to write; an empty name is `own`, the run's. `endpoint`: options of `open_endpoint`.

    `media` limits what of them is shown to a loaded model that keeps no limits of its own.

    Raises `ModelError` where nothing can be loaded.
    """
    from omnirepro.models.loading import ModelError, load

    name = str(spec or own)
    if not name:
        raise ModelError("no model is named: give a folder, a hub id, a package or http://host:port/v1#model")
    if served(name):
        from omnirepro.models.endpoints import open_endpoint

        return open_endpoint(name, **(endpoint or {}))
    folder = adapter_in(name)
    label = Path(name).name
    if folder and folder.name == "adapter":
        label = f"{folder.parent.parent.name}/{folder.parent.name}"
    return LocalModel(*load(folder or name, device, dtype, media=media), label, batch_size)
