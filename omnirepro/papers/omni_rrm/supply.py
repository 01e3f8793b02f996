"""Who supplies prompts, pairs and labels: the section `data`, and where it names nothing the embedded world.

Produces one folder, whoever supplied: `prompts_<split>.jsonl`; from the world also their media and
`truths_<split>.jsonl`; from elsewhere `given_<split>.jsonl` (pairs that need no generator), `sources.csv` and
`dropped.csv`. Later stages look for truth there and do not ask where it came from. Media from elsewhere stay where
they lie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import MediaError, Pair, Prompt, RowError, read_jsonl, sha256_file, write_jsonl
from omnirepro.data.audit.check import licence_of
from omnirepro.data.files import lies_at
from omnirepro.data.sources.cards import Card, card_of, pairs_of, prompts_of
from omnirepro.data.splits import check_disjoint, content_groups, content_of, divided
from omnirepro.kit.run import Run, project_root
from omnirepro.toyworld.tasks import SPLITS, Truth, World, write_world

GIVEN = {"prompts": "data.prompts", "pairs": "data.pairs", "test": "data.test"}  # use of a data set -> parameter

SHARED = "shares content with the training split of 01"


def cards_of(run: Run, named: Mapping[str, str] = GIVEN) -> dict[str, list[Card]]:
    """Return the cards that parameters name, by their use; their files are recorded as inputs of the stage."""
    values = {use: run.section(parameter.split(".")[0])[parameter.split(".")[1]] for use, parameter in named.items()}
    found = cards_from(values, run.section("data")["root"])
    note_files(run, found)
    return found


def cards_from(values: Mapping[str, Iterable[Any]], root: str) -> dict[str, list[Card]]:
    """Return the cards of values as `card_of` reads them, by their use; a name that stands twice is numbered."""
    folder = project_root() / "params" / "data"
    found = {use: [card_of(value, folder, root) for value in some] for use, some in values.items()}
    names: Counter[str] = Counter()
    for card in (card for cards in found.values() for card in cards):
        names[card.name] += 1
        card.name += f"-{names[card.name]}" if names[card.name] > 1 else ""
    return found


def note_files(run: Run, given: Mapping[str, Iterable[Card]]) -> None:
    """Record the files of cards as inputs of the stage, so that other rows in them mean other work."""
    for card in (card for cards in given.values() for card in cards):
        for number, file in enumerate(card.files, 1):
            run.note(f"given/{card.name}/{number}-{file.name}", file)


def note_models(run: Run, specs: Iterable[str | Mapping[str, str]]) -> None:
    """Record the folders of named models as inputs of the stage, so that one that is trained again means other work.

    A mapping names one a modality. Of a stage's folder its adapter or scorer is recorded.
    """
    named = [model for spec in specs for model in (spec.values() if isinstance(spec, Mapping) else [spec])]
    for number, spec in enumerate(filter(None, named), 1):
        place = Path(lies_at(spec))
        if place.exists():
            folder = next(folder for folder in (place / "adapter", place / "scorer", place) if folder.exists())
            run.note(f"given/models/{number}-{place.name}", folder)


def sources_shown(run: Run, named: Mapping[str, str] = GIVEN) -> pd.DataFrame:
    """Return who supplies what (use, name, licence, rows at most), and record the files as the stage's inputs."""
    cards = [(use, card) for use, some in cards_of(run, named).items() for card in some]
    rows = [(use, card.name, card.licence or "not stated", card.limit or "all") for use, card in cards]
    count = sum(run.section("world")[split] for split in SPLITS) if named is GIVEN else "as many as the section says"
    world = [(next(iter(named)), "the embedded world", "as the run that made it", count)]
    return pd.DataFrame(rows or world, columns=["use", "name", "licence", "rows"])


def draw(run: Run, folder: Path) -> None:
    """Write prompts, and what comes with them, of every split; see the module. Raises where splits share content."""
    given = cards_of(run)
    if any(given.values()):
        _write_given(run, given, folder)
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


def shared_with_training(run: Run, asked: Iterable[Prompt]) -> dict[str, None]:
    """Return the ids of prompts whose content stands in the training split of notebook 01, where there is one."""
    data = run.input("01_synthesis", "data", optional=True)
    if not data:
        return {}
    trained = [*prompts_in(data, "train"), *(pair.prompt_of() for pair in given_in(data, "train"))]
    known = set().union(*map(content_of, trained))
    return {prompt.id: None for prompt in asked if content_of(prompt) & known}


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


@dataclass
class Given:
    """What data sets hold: rows by use, the content group of each row by its id, and the rows that were left out."""

    cards: dict[str, list[Card]]
    rows: dict[str, list[Any]]
    groups: dict[str, str]
    dropped: list[tuple[str, str, str]]

    def of_split(self, use: str, split: Mapping[str, str], name: str) -> list[Any]:
        """Return the rows of a use whose group `split` puts into the split `name`, with their group as cluster."""
        rows = [row for row in self.rows[use] if split[self.groups[row.id]] == name]
        return [row.model_copy(update={"cluster": self.groups[row.id]}) for row in rows]

    def write_tables(self, folder: Path) -> None:
        """Write `dropped.csv`, a row left out a line, and `sources.csv`."""
        for use in self.cards if self.dropped else ():
            if reasons := counted(reason for of, _, reason in self.dropped if of == use):
                print(f"{use}: left out {reasons}", flush=True)
        pd.DataFrame(self.dropped, columns=["use", "id", "reason"]).to_csv(folder / "dropped.csv", index=False)
        facts = [(use, card.name, card.source or "", card.licence) for use, some in self.cards.items() for card in some]
        pd.DataFrame(facts, columns=["use", "name", "source", "licence"]).to_csv(folder / "sources.csv", index=False)


def counted(reasons: Iterable[str]) -> str:
    """Say how many rows were left out for each reason."""
    return ", ".join(f"{n} ({reason})" for reason, n in Counter(reasons).items())


def read_given(
    run: Run, given: dict[str, list[Card]], named: Mapping[str, str] = GIVEN, sides: int | None = None
) -> Given:
    """Read cards, leave bad rows out (or stop at one), and rows that share content with those of the use "test".

    Of other uses a row is bad as well whose licence `data.licences` does not name. With `sides`, a seed, pairs are to
    be learnt from: their sides are exchanged by a coin, and those without a label are left out.
    """
    drop = run.section("data")["bad_rows"] == "drop"
    licences = run.section("data")["licences"]
    kept: dict[str, list[Any]] = {use: [] for use in given}
    dropped: list[tuple[str, str, str]] = []
    for use, card in ((use, card) for use, cards in given.items() for card in cards):
        rows = prompts_of(card) if use == "prompts" else pairs_of(card, sides)
        good, bad = usable(rows, card, named[use], drop, licences if use != "test" else ())
        bad += [(row.id, "no label") for row in good if sides is not None and row.label is None]
        kept[use] += [row for row in good if sides is None or row.label is not None]
        dropped += [(use, *about) for about in bad]
    prompts = [row if use == "prompts" else row.prompt_of() for use in kept for row in kept[use]]
    groups = dict(zip((prompt.id for prompt in prompts), content_groups(prompts), strict=True))
    tested = {groups[row.id] for row in kept.get("test", ())}
    for use in (use for use in kept if use != "test"):
        shared = [row for row in kept[use] if groups[row.id] in tested]
        kept[use] = [row for row in kept[use] if groups[row.id] not in tested]
        dropped += [(use, row.id, f"shares content with {named['test']}") for row in shared]
    return Given(given, kept, groups, dropped)


def held_out(run: Run, given: Given) -> dict[str, str]:
    """Return the split of each group: test where `test` names it, else by the shares of the section `data`."""
    p = run.section("data")
    tested = {given.groups[row.id] for row in given.rows["test"]}
    left = [group for group in given.groups.values() if group not in tested]
    shares = {"test": 0.0 if tested else p["test_share"], "dev": p["dev_share"]}
    return divided(left, shares) | dict.fromkeys(tested, "test")


def _write_given(run: Run, cards: dict[str, list[Card]], folder: Path) -> None:
    """Read the cards, divide what is left by content, and write it."""
    given = read_given(run, cards)
    split = held_out(run, given)
    for name in SPLITS:
        here = {use: given.of_split(use, split, name) for use in GIVEN}
        write_jsonl(folder / f"prompts_{name}.jsonl", here["prompts"])
        write_jsonl(folder / f"given_{name}.jsonl", [*here["pairs"], *here["test"]])
    given.write_tables(folder)


def usable(
    rows: Iterator[Any], card: Card, key: str, drop: bool, licences: Collection[str] = ()
) -> tuple[list[Any], list[tuple[str, str]]]:
    """Return a set's rows under ids of their own, their media with their sha256, and (id, reason) of those left out.

    A row is left out whose media cannot be read, or whose licence is none of `licences`, where there are any; where not
    to `drop` that raises `RowError`, which names `key`.
    """
    kept = []
    dropped = []
    for row in _named(card, rows):
        if not (reason := _unusable(row, card, licences)):
            kept.append(row)
        elif drop:
            dropped.append((row.id, reason))
        else:
            raise RowError(f"{key} {card.name}: row {row.id}: {reason}; or set data.bad_rows=drop")
    return kept, dropped


def _named(card: Card, rows: Iterator[Any]) -> Iterator[Any]:
    """Yield rows under ids that no other data set has, numbered where a set has one twice."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.id] += 1
        again = f"~{seen[row.id]}" if seen[row.id] > 1 else ""
        yield row.model_copy(update={"id": f"{card.name}:{row.id}{again}"})


def _unusable(row: Prompt | Pair, card: Card, licences: Collection[str]) -> str:
    """Give every medium of a row its sha256, by which content is told apart; return why the row cannot be taken."""
    licence = licence_of(row, card.licence)
    if licences and licence.casefold() not in map(str.casefold, licences):
        return f"its licence, {licence!r}, is none of data.licences: name it there, or leave the set out"
    sides = row.parts if isinstance(row, Prompt) else [*row.prompt, *row.response_a, *row.response_b]
    try:
        for part in (part for part in sides if part.type != "text"):
            part.sha256 = sha256_file(part.path)
    except MediaError as error:
        return str(error)
    return ""
