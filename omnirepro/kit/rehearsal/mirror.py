"""The miniature mirror: what a profile names, models, data sets and servers, in a folder, and a map of where it lies.

Consumes a profile's parameters; produces `models/`, `hub/` and `data/` below the folder, and a map, which
OMNIREPRO_MIRROR may name. What is there already is not made again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from omnirepro.data import RowError
from omnirepro.data.files import atomic_write
from omnirepro.data.sources.cards import Card, card_of
from omnirepro.kit.rehearsal import rows
from omnirepro.kit.run import project_root
from omnirepro.kit.run.parameters import Params
from omnirepro.models.opening import served

FEWEST = 6  # rows of a data set
ROWS = 60  # of all data sets of a profile, as far as that leaves each the fewest
_NAME = re.compile(r"[A-Za-z][\w.-]*/[\w.-]+")
# Hub ids: the maker in `checkpoints`, its tokenizer's marks, rows of its embeddings, and what else it is told.
MODELS: tuple[tuple[str, str, str, int, dict[str, Any]], ...] = (
    ("Qwen/Qwen2.5-Omni-7B", "omni_full", "OMNI", 152_064, {}),
    ("Qwen/Qwen2.5-Omni-3B", "omni_full", "OMNI", 151_936, {}),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "vl", "VL", 152_064, {}),
    ("Qwen/Qwen2.5-VL-3B-Instruct", "vl", "VL", 151_936, {}),
    ("Qwen/Qwen2-Audio-7B-Instruct", "audio2", "OMNI", 156_032, {}),
    ("Skywork/Skywork-Reward-V2-Llama-3.1-8B", "reward_model", "VL", 152_064, {"kind": "Llama"}),
    ("Skywork/Skywork-Reward-V2-Qwen3-8B", "reward_model", "VL", 151_936, {"kind": "Qwen3"}),
)


def named_in(params: Params) -> Iterator[str]:
    """Yield every text of a profile's parameters, those inside lists and mappings, and the keys of these, too."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            for key, held in value.items():
                yield from (key, *texts(held))
        elif isinstance(value, list):
            for held in value:
                yield from texts(held)

    for value in params.values().values():
        yield from texts(value)


def cards_in(params: Params) -> list[Card]:
    """Return the data sets that a profile names, by the names of their cards or of the hub with a number of rows."""
    folder = project_root() / "params" / "data"
    found = dict.fromkeys(n for n in named_in(params) if (folder / f"{n}.yaml").is_file() or "#" in n and is_hub(n))
    return [card_of(name, folder) for name in found]


def is_hub(name: str) -> bool:
    """Tell whether a name has the form of one of the hub."""
    return _NAME.fullmatch(name.split("#")[0]) is not None and not name.startswith("results/")


def make(params: Params, folder: Path) -> dict[str, str]:
    """Make what a profile names and return the map: name -> place. Raises `RowError` for a model it cannot make."""
    places = {"./data": str(folder / "data"), "./results": str(folder.parent), "results": str(folder.parent)}
    cards = cards_in(params)
    each = max(FEWEST, ROWS // max(1, len(cards)))
    for card in cards:
        place = data_place(card, folder)
        hub = not local(card)
        if hub:
            places[card.path] = str(place)
        done = folder / ".made" / f"{card.name}-{card.config}-{card.split}"
        if not done.exists():
            mirrored = card.model_copy(update={"root": card.root and str(folder / card.root)})
            rows.write_set(mirrored, place, each, hub)
            if hub:
                rows.describe(place)
            atomic_write(done, "")
    known = {name: how for name, *how in MODELS}
    for name in dict.fromkeys(name for name in named_in(params) if is_hub(name) and name not in places):
        if name.split("#")[0] in places:
            continue
        if name not in known:
            raise RowError(
                f"{name}: the rehearsal makes no such model; add a line to MODELS in kit/rehearsal/mirror.py"
            )
        places[name] = str(folder / "models" / name)
        if not Path(places[name]).is_dir():
            atomic_write(Path(places[name]), lambda place, how=known[name]: _make_model(place, *how))
    return places


def data_place(card: Card, folder: Path) -> Path:
    """Return where a card's set lies in the mirror."""
    return folder / card.path if local(card) else folder / "hub" / card.path


def local(card: Card) -> bool:
    """Tell whether a card's set is one that was downloaded, not read from the hub."""
    return card.path.startswith((".", "/"))


def _make_model(place: Path, maker: str, marks: str, size: int, how: dict[str, Any]) -> None:
    """Write a tiny random checkpoint, in the floating-point type of releases."""
    import torch

    from omnirepro.kit.rehearsal import checkpoints
    from omnirepro.models.device import quiet

    quiet()
    place.mkdir(parents=True)
    ids = checkpoints.write_qwen_tokenizer(place, checkpoints.qwen_words(), getattr(checkpoints, marks))
    model = getattr(checkpoints, maker)(place, ids, size, **how)
    model.to(torch.bfloat16).save_pretrained(place)


def servers_in(params: Params) -> list[str]:
    """Return the addresses of the servers that a profile names, without their models."""
    named = (name.split("#")[0] for name in named_in(params) if served(name))
    return list(dict.fromkeys(named))


def write_map(file: Path, places: Mapping[str, str]) -> Path:
    """Write the map that OMNIREPRO_MIRROR names."""
    return atomic_write(file, yaml.safe_dump(dict(places)))
