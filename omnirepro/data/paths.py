"""Where the files that rows name lie: one set of rules for every reader of rows."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

from omnirepro.data.schema import MediaError

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_LONGEST = 1_024  # characters of a path; longer ones are the bytes of a medium, written as text
_FILE = re.compile(r"^file:(//(localhost)?(?=/))?", re.IGNORECASE)


def is_url(path: str | Path) -> bool:
    """Tell whether a row names something that no file system holds."""
    return _URL.match(str(path)) is not None


def locate(path: str, *roots: str | Path) -> str:
    """Return the absolute path of the file that a row names, looked for below `roots` in their order.

    A path may be absolute or relative, a `file:` address, have the separators of Windows, encoded characters (`%20`)
    or letters with accents in either form of Unicode; what is written comes before each of these readings. Releases
    carry the paths of the machine that wrote them: the longest tail that exists below a root is taken. Where nothing
    exists the path is as if below the first root, and an address stays as it is. Raises `MediaError` for a data URI.
    """
    if path[:5].lower() == "data:":
        raise MediaError(f"{path[:24]}...: a data URI; save it as a file and name its path")
    if len(path) > _LONGEST:
        raise MediaError(f"{path[:24]}...: {len(path):,} characters, no path; save the medium as a file and name it")
    readings = _readings(path)
    for reading in readings:
        if os.path.isabs(reading) and os.path.isfile(reading):
            return os.path.abspath(reading)
    for reading in readings:
        names = [name for name in reading.split("/") if name not in ("", ".")]
        for start in range(len(names)):
            for root in roots:
                if os.path.isfile(tail := os.path.join(root, *names[start:])):
                    return os.path.abspath(tail)
    return path if is_url(readings[0]) else os.path.abspath(os.path.join(roots[0], readings[0].replace("\\", "/")))


def _readings(path: str) -> list[str]:
    """Return what a written path may mean, the letter first."""
    bare = _FILE.sub("", path)
    plain = [bare, unquote(bare)]
    if is_url(bare):
        plain += [unquote(bare.split("?")[0].split("#")[0])]
    plain += [reading.replace("\\", "/") for reading in plain]
    forms = [unicodedata.normalize(form, reading) for form in ("NFC", "NFD") for reading in plain]
    return list(dict.fromkeys(plain + forms))
