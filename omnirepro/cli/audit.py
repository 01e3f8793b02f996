"""The audit of any judge from the command line: items, arms, and the card's three files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnirepro.data.files import RunError, atomic_write
from omnirepro.evaluate.passport import Finding, Item, audit
from omnirepro.kit.report import card

EXIT = {"sound": 0, "not told": 0, "faulty": 2}


def audit_judge(
    judge: Any,
    name: str,
    out: Path,
    pairs: str | None,
    each: int,
    seed: int,
    everyday: bool,
    modalities: Sequence[str] = (),
    criterion: str | None = None,
) -> tuple[str, int]:
    """Audit a judge on known truth, and on a file's pairs where given; write page, JSON and Markdown beside each other.

    Returns what to say and the exit status: 2 where an arm is faulty. `each` known-truth pairs of every modality (of
    `modalities`, where named) are drawn; all pairs are judged by the `criterion`, where there is one. Raises `RunError`
    where there is no pair.
    """
    from omnirepro.data.sources import load
    from omnirepro.toyworld.known_truth import EDITS, MODALITIES, known_truth

    def found(items: list[Item]) -> list[Finding]:
        items = [item.under(criterion) for item in items] if criterion else items
        return audit(judge, items, _say, None if everyday else EDITS) if items else []

    with tempfile.TemporaryDirectory() as folder:
        known = known_truth(Path(folder), each, seed, everyday, modalities or MODALITIES) if each else []
        findings = found(known)
    own = [Item(pair) for pair in load(pairs)] if pairs else []
    findings += [replace(finding, arm=f"own: {finding.arm}") for finding in found(own)]
    if not findings:
        raise RunError("no pair to audit the judge on: give --each a number above 0, or --pairs a file that holds some")
    form = "everyday English" if everyday else "the embedded world's sentences (arms in other words left out)"
    about = [f"{each} known-truth pairs of {' and '.join(modalities) or 'each modality'} in {form}"]
    about += [f"own pairs: {Path(pairs).name}"] if pairs else []
    told = "; ".join([*about, *([f'judged by "{criterion}"'] if criterion else [])])
    verdict, summary = card.overall(findings)
    rows = {"judge": name, "verdict": verdict, "about": told, "findings": [f.as_row() for f in findings]}
    atomic_write(out, card.page(name, told, findings))
    atomic_write(out.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    atomic_write(out.with_suffix(".md"), card.section(name, told, findings))
    return f"{summary}\nwritten: {out}, {out.with_suffix('.json').name}, {out.with_suffix('.md').name}", EXIT[verdict]


def _say(arm: str) -> None:
    print(f"audit: {arm}", flush=True)
