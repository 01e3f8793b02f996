"""The report of `python -m omnirepro data check`: what a set of pairs holds, and what gives its labels away."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from omnirepro.data import Pair, Part
from omnirepro.data.audit.features import FEATURES
from omnirepro.data.audit.leaks import CLUSTERS, Bootstrap, Finding, audit
from omnirepro.data.sources.loading import SOURCES, missing_media
from omnirepro.data.sources.parts import group

_FILE = re.compile(r"[\w./-]+\.(?:png|jpe?g|webp|gif|mp4|webm|avi|wav|mp3|flac)\b", re.IGNORECASE)


def report(pairs: Sequence[Pair], bootstrap: Bootstrap) -> str:
    """Return counts, terms, audits and a plain sentence for each leak, as text."""
    if not pairs:
        return "no pairs"
    findings = audit(pairs, bootstrap)
    silent = [name for name in (*FEATURES, "file name") if name not in {f.feature for f in findings}]
    blocks = ["\n".join(f"{name:<18}{value}" for name, value in facts(pairs).items())]
    if findings:
        blocks += [_table(findings), *([_silence(silent)] if silent else []), _verdict(pairs, findings)]
    else:
        blocks.append("no decided pair: nothing to audit")
    return "\n\n".join(blocks)


def facts(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return counts and terms, one line each."""
    labels, tasks = Counter(p.label or "none" for p in pairs), Counter(p.task for p in pairs)
    missing = missing_media(pairs)
    source = SOURCES.get((pairs[0].source or "").lower())
    out = {
        "pairs": f"{len(pairs)} in {len({group(p) for p in pairs})} clusters",
        "tasks": ", ".join(f"{t} {n}" for t, n in tasks.most_common(8)) + (", ..." if len(tasks) > 8 else ""),
        "labels": ", ".join(f"{k} {labels[k]} ({labels[k] / len(pairs):.1%})" for k in ("A", "B") if labels[k]),
        "ties": f"{labels['tie']} ({labels['tie'] / len(pairs):.1%})",
        "unlabelled": str(labels["none"]),
        "duplicates": _duplicates(pairs),
        "prompt as answer": _echoes(pairs),
        "missing media": f"{len(missing)}, such as {next(iter(missing))}" if missing else "none",
        "file names": _shown_names(pairs),
    }
    terms = {"licence": source.licence, "cite": source.citation, "official score": source.aggregation} if source else {}
    return out | terms


def _duplicates(pairs: Sequence[Pair]) -> str:
    """Count pairs that occur again, in either order; contradicting ones among them; and pairs of equal responses."""
    first: dict[tuple, str | None] = {}
    again = against = 0
    for pair in pairs:
        one = (_key(pair.prompt), pair.criterion, _key(pair.response_a), _key(pair.response_b))
        other, swapped = (*one[:2], one[3], one[2]), pair.swap().label
        again += one in first or other in first
        against += first.get(one, pair.label) != pair.label or first.get(other, swapped) != swapped
        first.setdefault(one, pair.label)
    equal = sum(_key(p.response_a) == _key(p.response_b) and p.label in ("A", "B") for p in pairs)
    return f"{again} ({against} with another label); {equal} decided pairs of equal responses"


def _echoes(pairs: Sequence[Pair]) -> str:
    """Count pairs in which a response is a medium or text that the prompt shows, such as a test's own reference."""
    shown = ({_key([p])[0][2] for p in pair.prompt} for pair in pairs)
    sides = ({_key([p])[0][2] for p in (*pair.response_a, *pair.response_b)} for pair in pairs)
    return f"{sum(bool(a & b) for a, b in zip(shown, sides, strict=True))} pairs"


def _key(parts: Sequence[Part]) -> tuple:
    return tuple((p.role, p.turn, p.text if p.type == "text" else p.sha256 or p.path) for p in parts)


def _shown_names(pairs: Sequence[Pair]) -> str:
    shown = [m[0] for p in pairs for part in p.prompt if part.text and (m := _FILE.search(part.text))]
    return f"{len(shown)} prompts show one, such as {shown[0]}" if shown else "none in a prompt's text"


def _table(findings: Sequence[Finding]) -> str:
    rows = [("feature", "predictor", "accuracy [95 %]", "pairs", "where sides differ", "leak")]
    rows += [
        (f.feature, f.rule, str(f.interval), str(f.interval.n), f"{f.where * 100:.1f} % of {f.differ}",
         "yes" if f.leak else "") for f in findings
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * sum(widths, 2 * len(widths)), *lines[1:]])


def _silence(names: Sequence[str]) -> str:
    return f"not told by {', '.join(names)}: absent, unreadable, or equal on both sides of every decided pair"


def _strongest(findings: Sequence[Finding]) -> list[Finding]:
    """Keep of each feature the predictor farthest from chance."""
    best: dict[str, Finding] = {}
    for f in (f for f in findings if f.leak):
        if abs(f.interval.value - f.chance) > abs((o := best.get(f.feature, f)).interval.value - o.chance) or o is f:
            best[f.feature] = f
    return list(best.values())


def _verdict(pairs: Sequence[Pair], findings: Sequence[Finding]) -> str:
    said = [f"* {f.sentence}" for f in _strongest(findings)]
    source = SOURCES.get((pairs[0].source or "").lower())
    if source and source.ranked and any(f.feature == "constant label" and f.leak for f in findings):
        said.append(f"  ({source.name} names the better response, so A is the better by the format, not by accident)")
    if findings[0].clusters < CLUSTERS:
        return f"fewer than {CLUSTERS} clusters: too few to tell a leak from chance"
    return "\n".join(["leaks:", *said]) if said else "no predictor is significantly away from chance"
