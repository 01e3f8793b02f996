"""Who supplies prompts, pairs and labels: the section `data`, and where it names nothing the embedded world.

Produces one folder, whoever supplied: `prompts_<split>.jsonl`; from the world also their media and
`truths_<split>.jsonl`; from elsewhere `given_<split>.jsonl` (pairs that need no generator), `sources.csv` and
`dropped.csv`. Later stages look for truth there and do not ask where it came from. Media from elsewhere stay where
they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import MediaError, Pair, Prompt, RowError, read_jsonl, sha256_file, write_jsonl
from omnirepro.data.sources.cards import Card, card_of, pairs_of, prompts_of
from omnirepro.data.splits import check_disjoint, content_groups, divided
from omnirepro.kit.run import Run, project_root
from omnirepro.toyworld.tasks import SPLITS, Truth, World, write_world

GIVEN = ("prompts", "pairs", "test")


def cards_of(run: Run) -> dict[str, list[Card]]:
    """Return the cards that the section `data` names, by key; their files are recorded as inputs of the stage."""
    p = run.section("data")
    folder = project_root() / "params" / "data"
    found = {key: [card_of(value, folder, p["root"]) for value in p[key]] for key in GIVEN}
    names: Counter[str] = Counter()
    for card in (card for cards in found.values() for card in cards):
        names[card.name] += 1
        card.name += f"-{names[card.name]}" if names[card.name] > 1 else ""
        for number, file in enumerate(card.files, 1):
            run.note(f"given/{card.name}/{number}-{file.name}", file)
    return found


def sources_shown(run: Run) -> pd.DataFrame:
    """Return who supplies what (use, name, licence, rows at most), and record the files as the stage's inputs."""
    cards = [(key, card) for key, some in cards_of(run).items() for card in some]
    rows = [(key, card.name, card.licence or "not stated", card.limit or "all") for key, card in cards]
    world = [("prompts", "the embedded world", "as the run that made it", sum(run.section("world")[s] for s in SPLITS))]
    return pd.DataFrame(rows or world, columns=["use", "name", "licence", "rows"])


def draw(run: Run, folder: Path) -> None:
    """Write prompts, and what comes with them, of every split; see the module. Raises where splits share content."""
    given = cards_of(run)
    if any(given.values()):
        _write_given(run.section("data"), given, folder)
    else:
        world = run.section("world")
        write_world(folder, {split: world[split] for split in SPLITS}, run.seed, world["modalities"])
    given_too = {split: [pair.prompt_of() for pair in given_in(folder, split)] for split in SPLITS}
    check_disjoint({split: [*prompts_in(folder, split), *given_too[split]] for split in SPLITS})


def prompts_in(data: Path, split: str) -> list[Prompt]:
    """Return a split's prompts, whose answers are still to be written."""
    return read_jsonl(data / f"prompts_{split}.jsonl", Prompt)


def given_in(data: Path, split: str) -> list[Pair]:
    """Return a split's pairs that came as such; none of the embedded world."""
    path = data / f"given_{split}.jsonl"
    return read_jsonl(path, Pair) if path.is_file() else []


def truth_of(data: Path, split: str) -> World | None:
    """Return the truth behind a split's prompts, where there is any."""
    path = data / f"truths_{split}.jsonl"
    return World.from_rows(read_jsonl(path, Truth)) if path.is_file() else None


def read_splits(run: Run) -> dict[str, list[Pair]]:
    """Return the pairs of every split; those held out without labels as the teachers of notebook 02 labelled them."""
    data = run.input("01_synthesis", "data")
    named = {split: f"pairs_{split}.jsonl" for split in SPLITS}
    taught = {s: run.input("02_reconciliation", name, optional=True) for s, name in named.items() if s != "train"}
    return {split: read_jsonl(taught.get(split) or data / name, Pair) for split, name in named.items()}


def _write_given(p: Any, given: dict[str, list[Card]], folder: Path) -> None:
    """Read the cards, leave bad rows out (or stop at one), divide what is left by content, and write it."""
    kept: dict[str, list[Any]] = {key: [] for key in GIVEN}
    dropped: list[tuple[str, str, str]] = []
    for key, card in ((key, card) for key, cards in given.items() for card in cards):
        for row in _named(card, prompts_of(card) if key == "prompts" else pairs_of(card)):
            if reason := _unusable(row):
                if p["bad_rows"] != "drop":
                    raise RowError(f"data.{key} {card.name}: row {row.id}: {reason}; or set data.bad_rows=drop")
                dropped.append((key, row.id, reason))
            else:
                kept[key].append(row)
    prompts = [row if key == "prompts" else row.prompt_of() for key in GIVEN for row in kept[key]]
    groups = dict(zip((prompt.id for prompt in prompts), content_groups(prompts), strict=True))
    tested = {groups[row.id] for row in kept["test"]}
    left = [group for group in groups.values() if group not in tested]
    split = divided(left, {"test": 0.0 if kept["test"] else p["test_share"], "dev": p["dev_share"]})
    split |= dict.fromkeys(tested, "test")
    for key in ("prompts", "pairs"):
        shared = [row for row in kept[key] if groups[row.id] in tested]
        kept[key] = [row for row in kept[key] if groups[row.id] not in tested]
        dropped += [(key, row.id, "shares content with data.test") for row in shared]
    for name in SPLITS:
        here = {
            key: [row.model_copy(update={"cluster": groups[row.id]}) for row in rows if split[groups[row.id]] == name]
            for key, rows in kept.items()
        }
        write_jsonl(folder / f"prompts_{name}.jsonl", here["prompts"])
        write_jsonl(folder / f"given_{name}.jsonl", [*here["pairs"], *here["test"]])
    pd.DataFrame(dropped, columns=["use", "id", "reason"]).to_csv(folder / "dropped.csv", index=False)
    facts = [(key, card.name, card.source or "", card.licence) for key, cards in given.items() for card in cards]
    pd.DataFrame(facts, columns=["use", "name", "source", "licence"]).to_csv(folder / "sources.csv", index=False)


def _named(card: Card, rows: Iterator[Any]) -> Iterator[Any]:
    """Yield rows under ids that no other data set has, numbered where a set has one twice."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.id] += 1
        again = f"~{seen[row.id]}" if seen[row.id] > 1 else ""
        yield row.model_copy(update={"id": f"{card.name}:{row.id}{again}"})


def _unusable(row: Prompt | Pair) -> str:
    """Give every medium of a row its sha256, by which content is told apart; return why that cannot be."""
    sides = row.parts if isinstance(row, Prompt) else [*row.prompt, *row.response_a, *row.response_b]
    try:
        for part in (part for part in sides if part.type != "text"):
            part.sha256 = sha256_file(part.path)
    except MediaError as error:
        return str(error)
    return ""
