"""Sealed seeds: a range that nobody has looked at, opened once for the final run of a profile.

results/sealed.yaml names the range and is the ledger of its one opening: profile, commit, date. Everything else is
chosen on other seeds, so that what these say was not chosen by it. An opening holds for the code that it was made
with: the same run may go on after a kill, another one may not begin.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from omnirepro.kit.run.files import RunError, atomic_write, project_root
from omnirepro.kit.run.reading import read_yaml
from omnirepro.kit.run.record import differs_since, git_commit

HEAD = """\
# Seeds that are sealed until the final run of a profile (omnirepro/kit/run/sealed.py), and their one opening.
# Commit this file with the results that the opening made: `make final`.
"""


def ledger() -> Path:
    """Return the file of the sealed range; a project without one has sealed nothing."""
    return project_root() / "results" / "sealed.yaml"


def check_sealed(profile: str, seeds: Iterable[int], opening: bool = False) -> None:
    """Refuse sealed seeds, but for the one opening that this profile and this code have made.

    `opening` makes it, by writing it down: the explicit flag of the final run. Raises `RunError` where the range is
    sealed, was opened by another profile or code, or the code to open it with is not committed.
    """
    book: dict[str, Any] = read_yaml(ledger()) if ledger().is_file() else {}
    if not set(book.get("seeds", ())) & set(seeds):
        return
    range_ = f"seeds {min(book['seeds'])} to {max(book['seeds'])}"
    if opened := book.get("opened"):
        if opened["profile"] == profile and not differs_since(opened["commit"]):
            return
        by = f"on {opened['date']} by the profile {opened['profile']} at commit {opened['commit'][:12]}"
        raise RunError(f"{range_} were opened {by}, and once is all: take other seeds (results/sealed.yaml)")
    if not opening:
        how = f"python -m omnirepro reproduce --profile {profile} --seeds {' '.join(map(str, book['seeds']))}"
        raise RunError(f"{range_} are sealed for one final run: take other seeds. That run is {how} --open-sealed")
    commit = git_commit()
    if not commit or differs_since(commit):
        raise RunError(f"{range_} are opened by committed code alone: commit first, then begin the final run")
    told = {
        "profile": profile,
        "commit": commit.removesuffix("-dirty"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    atomic_write(ledger(), HEAD + yaml.safe_dump({"seeds": book["seeds"], "opened": told}, sort_keys=False))
