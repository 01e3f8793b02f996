"""The report of `python -m omnirepro data check`: what a set of pairs holds, and what gives its labels away."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from omnirepro.data import MediaError, Pair, Part, Prompt, RowError, media
from omnirepro.data.audit.features import FEATURES
from omnirepro.data.audit.leaks import CLUSTERS, Bootstrap, Finding, audit
from omnirepro.data.jsonl import check_part
from omnirepro.data.sources.loading import SOURCES, addresses, missing_media
from omnirepro.data.sources.parts import group
from omnirepro.data.sources.questions import Asked
from omnirepro.data.splits import words_of

SHARED = "rows of another split"
LEAKS = ("constant label", "position", *FEATURES, "file name", "system", SHARED)
_FILE = re.compile(r"[\w./-]+\.(?:png|jpe?g|webp|gif|mp4|webm|avi|wav|mp3|flac)\b", re.IGNORECASE)
_READ = {"audio": media.load_audio, "video": media.load_video}  # all else is a picture


@dataclass(frozen=True)
class Unreadable:
    """A medium that nothing can read: the ids of the rows that show it, and why, which names file and remedy."""

    part: Part
    rows: list[str]
    reason: str

    def __str__(self) -> str:
        more = f" and {len(self.rows) - 1} more" if len(self.rows) > 1 else ""
        return f"row {self.rows[0]}{more}: {self.reason}"


def report(pairs: Sequence[Pair], bootstrap: Bootstrap, findings: Sequence[Finding] | None = None) -> str:
    """Return counts, terms, audits and a plain sentence for each leak, as text; `findings` where `audit` was called."""
    if not pairs:
        return "no pairs"
    blocks = ["\n".join(f"{name:<18}{value}" for name, value in facts(pairs).items())]
    findings = audit(pairs, bootstrap) if findings is None else findings
    if not findings:
        return "\n\n".join([*blocks, "no decided pair: nothing to audit"])
    blocks.append(_table(findings))
    silent = [name for name in (*FEATURES, "file name", "system") if name not in {f.feature for f in findings}]
    if silent:
        reason = "absent, unreadable, or equal on both sides of every decided pair"
        blocks.append(f"not told by {', '.join(silent)}: {reason}")
    return "\n\n".join([*blocks, _verdict(pairs, findings)])


def leaking(pairs: Sequence[Pair], findings: Sequence[Finding]) -> list[str]:
    """Return the features that leak, but for the constant label of a source whose format names the better response."""
    source = SOURCES.get((pairs[0].source or "").lower())
    by_format = {"constant label"} if source and source.ranked else set()
    return list(dict.fromkeys(f.feature for f in findings if f.leak and f.feature not in by_format))


def refuse_leaks(path: str, found: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise `RowError` where a set leaks by a feature that is not allowed, or where one is allowed that is none."""
    if unknown := [name for name in allowed if name not in LEAKS]:
        raise RowError(f"--allow {unknown[0]}: no such leak; one of {', '.join(LEAKS)}")
    if left := [name for name in found if name not in allowed]:
        known = " ".join(f'--allow "{name}"' for name in left)
        raise RowError(f"{path} leaks by {', '.join(left)}: mend the rows, or let pass what is known with {known}")


def overlap(pairs: Sequence[Pair | Prompt], others: Sequence[Pair | Prompt], called: str = "pairs") -> tuple[str, bool]:
    """Say what a set shares with another split: media by their bytes, wherever they stand, and prompts by content.

    `called` is what the rows of the set are. Returns the text, and whether anything is shared.
    """
    seen = [_shared_content(row) for row in others]
    media = set().union(*(found for found, _ in seen))
    asked = {prompt for _, prompt in seen}
    here = [_shared_content(pair) for pair in pairs]
    files = set().union(*(found & media for found, _ in here))
    with_media = sum(bool(found & media) for found, _ in here)
    prompts = sum(prompt in asked for _, prompt in here)
    said = f"shared with it     {len(files)} media in {with_media} {called}, and the prompts of {prompts} {called}"
    leak = "\nleaks: results on one would be inflated by training on the other; take the shared rows out of one"
    shared = bool(files or prompts)
    return said + leak * shared, shared


def unreadable(rows: Sequence[Pair | Prompt], report: Callable[..., None]) -> tuple[list[Unreadable], int]:
    """Decode every medium once; return those that are missing, changed or cannot be read, and how many there are.

    `report(done, total, seconds)` is told how far this is.
    """
    uses: dict[tuple, tuple[Part, dict[str, None]]] = {}
    for row in rows:
        for part in row.parts if isinstance(row, Prompt) else [*row.prompt, *row.response_a, *row.response_b]:
            if part.type != "text":
                uses.setdefault((part.path, part.type, part.sha256), (part, {}))[1][row.id] = None
    found = []
    start = time.monotonic()
    for done, (part, names) in enumerate(uses.values(), 1):
        try:
            check_part(part)
            _READ.get(part.type, media.load_image)(part.path)
        except MediaError as error:
            found.append(Unreadable(part, list(names), str(error)))
        report(done, len(uses), time.monotonic() - start)
    return found, len(uses)


def readable(rows: Sequence[Pair | Prompt], report: Callable[..., None]) -> str:
    """Say how many media can be read, and of each that is there and cannot its row, file, reason and remedy."""
    found, count = unreadable(rows, report)
    there = [one for one in found if os.path.exists(one.part.path)]
    said = f"{len(there)} of {count}" if there else "none"
    return "\n".join([f"{'unreadable media':<18}{said}", *(f"* {one}" for one in there)])


def _shared_content(row: Pair | Prompt) -> tuple[set[str], tuple]:
    """Return the sha256 of every medium of a row, and its prompt: media, words without case and spaces, criterion."""
    asked = row.prompt if isinstance(row, Pair) else row.bare().parts if isinstance(row, Asked) else row.parts
    parts = asked if isinstance(row, Prompt) else [*asked, *row.response_a, *row.response_b]
    return {_bytes(p) for p in parts if p.type != "text"}, (
        *(_bytes(p) for p in asked if p.type != "text"),
        words_of(asked),
        row.criterion,
    )


def _bytes(part: Part) -> str:
    """Return a medium's sha256, and the path of one that is missing."""
    try:
        return part.fingerprint()
    except MediaError:
        return str(part.path)


def licence_of(row: Pair | Prompt, card: str = "") -> str:
    """Return the licence of a row: its own, that of its card, or that of its source; a prompt has no own."""
    meta = getattr(row, "meta", None) or {}
    known = SOURCES.get((getattr(row, "source", None) or "").lower())
    return str(meta.get("licence") or meta.get("license") or card or (known.licence if known else "not stated"))


def allowed(pairs: Sequence[Pair], licences: Sequence[str], card: str = "") -> tuple[list[Pair], str]:
    """Return the pairs whose licence is one of `licences` (without case), and how many have which other one."""
    names = {name.casefold() for name in licences}
    kept = [pair for pair in pairs if licence_of(pair, card).casefold() in names]
    left = Counter(x for pair in pairs if (x := licence_of(pair, card)).casefold() not in names)
    others = "".join(f"; left out: {count} under {name!r}" for name, count in left.most_common())
    return kept, f"licences           {len(kept)} of {len(pairs)} pairs are under {', '.join(licences)}{others}"


def facts(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return counts and terms, one line each."""
    labels = Counter(p.label or "none" for p in pairs)
    tasks = Counter(p.task for p in pairs)
    missing = missing_media(pairs)
    names = [found[0] for p in pairs for part in p.prompt if part.text and (found := _FILE.search(part.text))]
    echoes = 0  # a response is a medium or text that the prompt shows, such as a test's own reference
    for p in pairs:
        shown, made = ({content for *_, content in _content(s)} for s in (p.prompt, [*p.response_a, *p.response_b]))
        echoes += bool(shown & made)
    out = {
        "pairs": f"{len(pairs)} in {len({group(p) for p in pairs})} clusters",
        "tasks": ", ".join(f"{t} {n}" for t, n in tasks.most_common(8)) + (", ..." if len(tasks) > 8 else ""),
        "labels": ", ".join(f"{k} {labels[k]} ({labels[k] / len(pairs):.1%})" for k in ("A", "B") if labels[k]),
        "ties": f"{labels['tie']} ({labels['tie'] / len(pairs):.1%})",
        "unlabelled": str(labels["none"]),
        "duplicates": _duplicates(pairs),
        "prompt as answer": f"{echoes} pairs",
        "missing media": f"{len(missing)}, such as {next(iter(missing))}{addresses(missing)}" if missing else "none",
        "file names": f"{len(names)} prompts show one, such as {names[0]}" if names else "none in a prompt's text",
    }
    if source := SOURCES.get((pairs[0].source or "").lower()):
        out |= {"licence": source.licence, "cite": source.citation, "official score": source.aggregation}
    return out


def _duplicates(pairs: Sequence[Pair]) -> str:
    """Count pairs that occur again, in either order; contradicting ones among them; and pairs of equal responses."""
    first: dict[tuple, str | None] = {}
    again = against = equal = 0
    for pair in pairs:
        swapped = pair.swap()
        one, other = (
            (_content(p.prompt), p.criterion, _content(p.response_a), _content(p.response_b)) for p in (pair, swapped)
        )
        again += one in first or other in first
        against += first.get(one, pair.label) != pair.label or first.get(other, swapped.label) != swapped.label
        equal += one == other and pair.label in ("A", "B")
        first.setdefault(one, pair.label)
    return f"{again} ({against} with another label); {equal} decided pairs of equal responses"


def _content(parts: Sequence[Part]) -> tuple:
    return tuple((p.role, p.turn, p.text if p.type == "text" else p.sha256 or p.path) for p in parts)


def _table(findings: Sequence[Finding]) -> str:
    rows = [("feature", "predictor", "accuracy [95 %]", "pairs", "where sides differ", "leak")]
    for f in findings:
        where = f"{f.where * 100:.1f} % of {f.differ}"
        rows.append((f.feature, f.rule, str(f.interval), str(f.interval.n), where, "yes" if f.leak else ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * sum(widths, 2 * len(widths)), *lines[1:]])


def _verdict(pairs: Sequence[Pair], findings: Sequence[Finding]) -> str:
    """Say of each feature that leaks what its strongest predictor earns, the one farthest from chance."""
    if findings[0].clusters < CLUSTERS:
        return f"fewer than {CLUSTERS} clusters: too few to tell a leak from chance"
    leaks: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.leak:
            leaks.setdefault(finding.feature, []).append(finding)
    if not leaks:
        return "no predictor is significantly away from chance"
    strongest = [max(some, key=lambda f: abs(f.interval.value - f.chance)) for some in leaks.values()]
    said = ["leaks:", *(f"* {f.sentence}" for f in strongest)]
    source = SOURCES.get((pairs[0].source or "").lower())
    if source and source.ranked and "constant label" in leaks:
        said.append(f"  ({source.name} names the better response, so A is the better by the format, not by accident)")
    return "\n".join(said)
