"""What a free answer states, and whether that is the gold answer: an option's letter, a choice, a number, a text.

Consumes the text of an answer as a model wrote it, thoughts, boxes and talk included; produces what it states in one
canonical form (so that answers can be counted in a vote), or None where that cannot be told: such an answer is wrong.
What an answer commits to (a box, an answer's tag or key, "the answer is B", "so C") stands before what it begins with,
and that before what it mentions once; letters that it rejects do not count, and two that it leaves open are none.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase as LETTERS

from omnirepro.judge.rubric import CLOSED, OPENED, THOUGHT

MATCHES = ("auto", "letter", "choice", "number", "exact")
FEW = 10  # letters that count where the choices are not known

_ENDED = re.compile(rf"{CLOSED.pattern}|</(?:thought|reasoning)>", re.IGNORECASE)
_LATEX = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|bm|rm|bf)\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"\*\*|__|`+|\$|\\[()\[\]]|\\,|\\!")
_COMMITTED = re.compile(
    r"\\boxed\s*\{(?P<box>(?:[^{}]|\{[^{}]*\})*)\}|<answer>\s*(?P<tag>.*?)\s*(?:</answer>|\Z)"
    r"|[\"'](?:final[_ ])?(?:answer|choice|option)[\"']\s*:\s*[\"']?(?P<key>[^\"'\n}]*)",
    re.DOTALL | re.IGNORECASE,
)
_OPEN = r"[\s(\[{\"'“‘<:*_-]{0,4}"
_CLOSED = r"(?!\w|['’]\w)"
_FILL = (
    r"(?:(?:it|that|is|must|be|the|option|choice|letter|answer|only|just|with|for|would|should|likely|most"
    r"|clearly|probably|definitely|therefore|actually|indeed|simply)\b[\s:]*){0,5}"
)
_KEYWORD = r"(?:\b(?:answer|choice|option|solution|pick|guess|selection)(?!s)\b|答案|选项)"
_BETWEEN = r"(?:(?!\b[A-Z]\b|choices|options)[^.\n;!?]){0,40}?"
_SAYS = (
    rf"{_KEYWORD}{_BETWEEN}(?:\b(?:is|be|was)\b|[:=：]|→|->|⇒|是|为)\s*{_FILL}{_OPEN}(?P<letter>[A-Za-z]){_CLOSED}",
    r"\b(?:choose|chose|pick|picked|select|selected|go(?:ing)? with|went with|opt for|settle on|vote for|say"
    r"|leaves|leaving|left with|it['’]s|it is|it must be|so|therefore|thus|hence|conclude)\b[\s,:]*"
    rf"{_FILL}{_OPEN}(?P<letter>[A-Za-z]){_CLOSED}",
    rf"(?:∴|=>|⇒|因此|所以|故|选)[选择\s]*{_OPEN}(?P<letter>[A-Z])(?![A-Za-z])",
    r"(?<![\w'’])(?P<letter>[A-Z])\W{0,3}(?:\([^)]{0,60}\)\s*)?\b(?:is|was|seems|appears|looks|sounds|must be|would be)"
    r"\s+(?:to be\s+)?(?:(?:the|a|most|clearly|definitely|probably|indeed|my|only|final|best|more|very)\s+){0,3}"
    r"(?:correct|right|answer|best|true|likely|choice|one|option)\b",
)
_SAID = [re.compile(pattern, re.IGNORECASE if "[A-Za-z]" in pattern else 0) for pattern in _SAYS]
_ALONE = re.compile(r"^[\W_]*(?P<letter>[A-Za-z])[\W_]*$", re.MULTILINE)
_BEGUN = re.compile(r"^[\W_]*(?P<letter>[A-Za-z])(?:[).:\]}]|\s*[-–—,]\s)", re.MULTILINE)
_MENTIONED = re.compile(
    r"[(\[](?P<letter>[A-Za-z])[)\]]"
    r"|(?:(?:^|[.,;:!?\n—–-])\s*|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Ee]ither|[Bb]oth|[Bb]ut|[Oo]nly|[Jj]ust|[Dd]efinitely|[Pp]robably"
    rf"|[Mm]aybe|[Nn]or|[Nn]ot|[Oo]r|[Aa]nd)\s+)(?P<bare>[A-Z]){_CLOSED}"
)
_REJECTED = re.compile(
    r"(?:\bnot|n['’]t|\bnever|\bneither|\bnor|\brather than|\binstead of|\bunlike|\beliminat\w*|\brul\w* out"
    r"|\bexclud\w*|\breject\w*)(?:\s+be)?(?:\s+(?:the|option|choice|answer|letter))*[\W_]*$",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"^[)\]}.\"'”’]*(?:\s*\([^)]{0,60}\))?\s*(?:(?:is|are|was|would be|must be|seems|looks|can be|has been)"
    r"\s+(?:\w+\s+){0,2}?(?:wrong|incorrect|false|ruled|eliminated|impossible|excluded|out|not)\b"
    r"|(?:isn|wasn|doesn|can|couldn|won)['’]?t\b|cannot\b)",
    re.IGNORECASE,
)
_MORE = re.compile(rf"^[)\]}}\"'”’]*\s*(?:,|/|&|\bor\b|\band\b)\s*(?:option\s+|choice\s+)?[(\[\"']*([A-Z]){_CLOSED}")
_AND = re.compile(r"(?<!\w)[A-Z][)\]]?\s*(?:/|&|\bor\b|\band\b)\s*[(\[]?$")
# What follows a letter A; after the article "a" stands a thing.
_AFTER_A = re.compile(
    r"[^\w\s]|\s*$|\s*\n|\s+(?:is|was|are|seems|looks|would|could|can|must|has|does|because|since|and|or|but|as|which|it|for"
    r"|due|over|not|best|instead|rather)\b|\s+[^\w\s]"
)
# What stands behind "answer is" or "answer:", to the end of its line or sentence.
_ANSWER_IS = re.compile(r"\banswer\b[^.\n;!?:=]{0,40}?(?:\bis\b|[:=：])\s*(.+?)(?:\.(?!\d)|\n|\Z)", re.IGNORECASE)
_NUMBER = re.compile(r"[-−+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")
_FRACTION = re.compile(
    rf"\\[dt]?frac\s*\{{({_NUMBER.pattern})\}}\s*\{{({_NUMBER.pattern})\}}|({_NUMBER.pattern})\s*/\s*({_NUMBER.pattern})"
)


def kind_of(match: str, gold: Sequence[str], choices: Sequence[str] = ()) -> str:
    """Return how an answer is compared with the gold answers: `match` itself, or what "auto" stands for there.

    Choices where there are any; else a letter, a number or a text, as the gold answers are.
    """
    if match != "auto":
        return match
    if choices:
        return "choice"
    if gold and all(re.fullmatch(r"\W*[A-J]\W*", text) for text in gold):
        return "letter"
    numbers = [_NUMBER.fullmatch(text.strip(" $%")) or _FRACTION.fullmatch(text.strip()) for text in gold]
    return "number" if gold and all(numbers) else "exact"


def is_right(said: str | None, gold: Sequence[str], kind: str, choices: Sequence[str] = ()) -> bool:
    """Tell whether what an answer states (of `stated`, of the same kind) is one of the gold answers."""
    if said is None:
        return False
    if kind == "number":
        return any(_equal(float(said), text) for text in gold)
    return said in {gold_form(text, kind, choices) for text in gold}


def gold_form(gold: str, kind: str, choices: Sequence[str] = ()) -> str | None:
    """Return a gold answer in the canonical form; None where it is no letter, no choice or no number.

    A choice is named by its letter, its text, or, where it is neither, its number from 0.
    """
    text = gold.strip()
    if kind in ("number", "exact"):
        return stated(text, kind)
    texts = [_folded(choice) for choice in choices]
    if (letter := re.fullmatch(r"\W*([A-Za-z])\W*", text)) and letter[1].upper() in _letters(choices):
        return letter[1].upper()
    if _folded(text) in texts:
        return LETTERS[texts.index(_folded(text))]
    if text.isdigit() and int(text) < len(choices):
        return LETTERS[int(text)]
    return stated(text, kind, choices)


def stated(text: str, kind: str, choices: Sequence[str] = ()) -> str | None:
    """Return what an answer states: a capital letter ("letter", "choice"), a number's or a text's plain form, or None.

    `kind` is one of `MATCHES` but "auto"; of the kind "choice" an answer may also name a choice by its text.
    """
    said = _plain(text)
    found = list(_COMMITTED.finditer(said))
    last = found[-1] if found else None
    committed = next((x for x in last.group("box", "tag", "key") if x is not None), "") if last else None
    if kind in ("letter", "choice"):
        return _letter(said, committed, choices, by_text=kind == "choice")
    told = committed if committed is not None else next(reversed(_ANSWER_IS.findall(said)), None)
    if kind == "number":
        return _number(said if told is None else told, last=told is None)
    return _folded(told or said) or None


def _plain(text: str) -> str:
    """Return an answer without thoughts and markup, its wide and styled letters as plain ones."""
    *_, text = _ENDED.split(THOUGHT.sub("", text))  # what is closed alone was opened by the prompt
    text, *_ = OPENED.split(text)
    text = unicodedata.normalize("NFKC", text)
    while (fewer := _LATEX.sub(r"\1", text)) != text:
        text = fewer
    return _MARKUP.sub("", text).strip()


def _letters(choices: Sequence[str]) -> str:
    return LETTERS[: len(choices) or FEW]


def _letter(said: str, committed: str | None, choices: Sequence[str], by_text: bool) -> str | None:
    if committed is not None:
        whole = re.fullmatch(r"\W*([A-Za-z])\W*", committed)
        if whole and whole[1].upper() in _letters(choices):
            return whole[1].upper()
        return _letter(committed, None, choices, by_text)
    for patterns, unique in ((_SAID, False), ([_ALONE], True), ([_BEGUN], True)):
        letters = _found(said, patterns, choices)
        if letters and not unique:
            return None if letters[-1] == "?" else letters[-1]
        if len(set(letters)) == 1:
            return letters[0] if letters[0] != "?" else None
    named = _choice(said, choices) if by_text else None
    if named:
        return named
    letters = _found(said, [_MENTIONED], choices)
    return letters[0] if len(set(letters)) == 1 and letters[0] != "?" else None


def _found(said: str, patterns: Sequence[re.Pattern], choices: Sequence[str]) -> list[str]:
    """Return the letters that patterns find, in their order, without words and rejected ones; "?": one of several."""
    found = []
    for match in (match for pattern in patterns for match in pattern.finditer(said)):
        group = "letter" if match["letter"] else "bare"
        at, end = match.span(group)
        letter = match[group]
        after = said[end:]
        if not _is_letter(letter, after, choices) or _REJECTED.search(said[:at]) or _WRONG.match(after):
            continue
        more = _MORE.match(after)
        rest = after[more.end() :] if more else ""
        several = bool(more and _is_letter(more[1], rest, choices) and not _WRONG.match(rest)) or _AND.search(said[:at])
        found.append((at, "?" if several and patterns != [_MENTIONED] else letter.upper()))
    return [letter for _, letter in sorted(found)]


def _is_letter(letter: str, after: str, choices: Sequence[str]) -> bool:
    """Tell a choice's letter from the article "a" and the pronoun "I", by what follows."""
    word = letter in "aA" and not _AFTER_A.match(after)
    word |= letter in "iI" and not re.match(r"[).:\]]|\s*$", after)
    return not word and letter.upper() in _letters(choices)


def _choice(said: str, choices: Sequence[str]) -> str | None:
    """Return the letter of the one choice whose text an answer is or holds; one inside another's does not count."""
    folded = _folded(said)
    texts = [_folded(choice) for choice in choices]
    if folded in texts:
        return LETTERS[texts.index(folded)]
    held = [text for text in texts if text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", folded)]
    held = [text for text in held if not any(text != other and text in other for other in held)]
    return LETTERS[texts.index(held[0])] if len(set(held)) == 1 and texts.count(held[0]) == 1 else None


def _folded(text: str) -> str:
    """Return a text without case, spaces that differ, and punctuation around it."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"^[^\w$\\(-]+|[^\w)%}°]+$", "", words)


def _number(said: str, last: bool) -> str | None:
    """Return the first number of a text, or the last: a fraction as its value, a percentage as its per cent."""
    found = []
    for match in _FRACTION.finditer(said):
        above, below = (_float(group) for group in match.groups() if group is not None)
        found.append((match.start(), above / below if below else math.nan))
    rest = _FRACTION.sub(lambda m: " " * len(m[0]), said)
    found += [(m.start(), _float(m[0])) for m in _NUMBER.finditer(rest)]
    found = [value for _, value in sorted(found) if math.isfinite(value)]
    return repr(found[-1 if last else 0]) if found else None


def _float(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _equal(value: float, gold: str) -> bool:
    """Tell whether a number is the gold one: equal to six digits, or rounded as the gold one is."""
    wanted = stated(gold, "number")
    if wanted is None:
        return False
    decimals = len(gold.strip(" $%").partition(".")[2]) if re.fullmatch(r"\W*[\d,]+\.\d+\W*", gold) else 0
    close = math.isclose(value, float(wanted), rel_tol=1e-6, abs_tol=1e-9)
    return close or (decimals > 0 and round(value, decimals) == round(float(wanted), decimals))
