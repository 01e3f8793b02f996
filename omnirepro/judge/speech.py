"""What people and models said, as a judge's prompt shows it: with speakers, and without a line that imitates a heading.

Consumes the parts of a prompt or a response, or a text; produces parts to stand between a prompt's own headings. A line
that reads as a heading, as a speaker or as a verdict is quoted with "> ", one that is quoted so already once more: what
was said can be told from the prompt's own words, and two different pairs never make one prompt.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from omnirepro.data import Part, reworded, text_part, turns

BRIEF = "a|b|criterion|known"
FULL = r"candidate [ab]|response [ab]|criterion|known criteria|judgement under criterion \d+"
REFINED = "answer|critique"
SPEAKERS = "system|user|assistant"
_BREAKS = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_BETWEEN = rf"(?:[^\w{_BREAKS}]|_)*"
# Unicode's default-ignorable code points, and control characters that neither break a line nor set a blank.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
_ALIKE = str.maketrans(  # Cyrillic and Greek letters that look like Latin ones of a heading, and other colons
    "АаΑαВΒСсԁЕеΕІіΙιЈјКкΚκӏМΜΝОоΟοРрΡρЅѕТΤυѵνԝУуΥ∶꞉ː։׃",
    "aaaabbccdeeeiiiijjkkkklmmnooooppppssttuvvwyyy:::::",
)


def spoken(parts: list[Part], headings: str = SPEAKERS, speaker: str = "user") -> list[Part]:
    """Return the parts of a side, a turn that is not its `speaker`'s first one behind the name of who speaks.

    `headings`: those of the prompt, as for `quoted`.
    """
    out: list[Part] = []
    for number, turn in enumerate(turns(parts, speaker)):
        if number or turn["role"] != speaker:
            out.append(text_part("\n" * bool(number) + f"{turn['role']}: "))
        out += shown(turn["parts"], headings)
    return out


def shown(parts: list[Part], headings: str) -> list[Part]:
    """Return parts whose texts are `quoted`; how a text is cut in parts does not matter."""
    return reworded(parts, lambda text: quoted(text, headings))


def quoted(text: str, headings: str) -> str:
    """Put "> " before every line that begins as one of the headings (a pattern), a speaker or a verdict does.

    Case, signs around a heading, and letters that are not seen or only look alike do not count.
    """
    pattern = _pattern(headings)
    if not pattern.search(_plain(text)):
        return text
    lines = re.split(f"(?<=[{_BREAKS}])", text)
    return "".join(f"> {line}" if pattern.match(_plain(line)) else line for line in lines)


@lru_cache
def _pattern(headings: str) -> re.Pattern:
    name = rf"(?:{headings.replace(' ', _BETWEEN)}|{SPEAKERS}){_BETWEEN}:"
    verdict = rf"\[\[{_BETWEEN}(?:[abc1-5]|equal|tie){_BETWEEN}\]\]"
    return re.compile(rf"(?:^|(?<=[{_BREAKS}])){_BETWEEN}(?:{name}|{verdict})", re.IGNORECASE)


def _plain(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ALIKE)
    return _UNSEEN.sub("", text)
