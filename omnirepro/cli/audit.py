"""The audit of any judge from the command line: items, arms, and the card's three files."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from omnirepro.data.files import RunError, atomic_write
from omnirepro.evaluate.passport import Item, audit
from omnirepro.kit.report import card

EXIT = {"sound": 0, "not told": 0, "faulty": 2}


def audit_judge(
    judge, name: str, out: Path, pairs: str | None, each: int, seed: int, everyday: bool
) -> tuple[str, int]:
    """Audit a judge on known truth, and on a file's pairs where given; write page, JSON and Markdown beside each other.

    Returns what to say and the exit status: 2 where an arm is faulty. Raises `RunError` where there is no pair.
    """
    from omnirepro.data.sources import load
    from omnirepro.toyworld.known_truth import PADDED, known_truth

    with tempfile.TemporaryDirectory() as folder:
        items = known_truth(Path(folder), each, seed, everyday) if each else []
        findings = audit(judge, items, _say, None if everyday else PADDED) if items else []
    own = [Item(pair) for pair in load(pairs)] if pairs else []
    if own:
        findings += [replace(finding, arm=f"own: {finding.arm}") for finding in audit(judge, own, _say)]
    if not findings:
        raise RunError("no pair to audit the judge on: give --each a number above 0, or --pairs a file that holds some")
    form = "everyday English" if everyday else "the embedded world's sentences (arms in other words left out)"
    about = f"{each} known-truth pairs of each modality in {form}" + (
        f"; own pairs: {Path(pairs).name}" if pairs else ""
    )
    verdict, summary = card.overall(findings)
    rows = {"judge": name, "verdict": verdict, "about": about, "findings": [f.as_row() for f in findings]}
    atomic_write(out, card.page(name, about, findings))
    atomic_write(out.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    atomic_write(out.with_suffix(".md"), card.section(name, about, findings))
    return f"{summary}\nwritten: {out}, {out.with_suffix('.json').name}, {out.with_suffix('.md').name}", EXIT[verdict]


def _say(arm: str) -> None:
    print(f"audit: {arm}", flush=True)
