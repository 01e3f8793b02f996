"""What is said of a text response under a criterion, and the response after such a critique has been followed.

Consumes a `Said` (a text response with its truth); produces critiques in few words and edited texts: the targets from
which the roles of GRM-Omni are taught (Figures 14 and 15). Nothing here is asked while criteria are synthesised.

A critique names what was looked at, what was found, a mark, and what to do: "accuracy red is blue poor mend". Under a
misleading criterion it asks to spoil what is good, and whoever follows it makes the response worse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from omnirepro.data import DIMENSIONS
from omnirepro.toyworld.criteria.composed import parts_of
from omnirepro.toyworld.criteria.criterion import Criterion
from omnirepro.toyworld.facts import Said
from omnirepro.toyworld.language import _ANSWER, FILLERS, SENSE, UNSAFE, claims
from omnirepro.toyworld.questions import Question, alter, evidence, facts, other
from omnirepro.toyworld.scenes import PITCHES

OPPOSITES = dict(zip(("disfluent", "off-topic", "false", "unsupported", "harmful"),
                     ("fluency", "relevance", "accuracy", "reasoning", "safety"), strict=True))  # fmt: skip
SHORT, LONG = 6, 15  # words up to which a text is short, and from which it is long
FULL, PARTLY, NONE = 8, 6, 3  # scores of a response by itself
RATED = ("shorter", "longer")  # criteria of degree; under every other one a response meets it or does not
_HARM = re.compile(rf"\.? ({'|'.join(map(re.escape, UNSAFE))})$")


def critique(criterion: Criterion, said: Said) -> str:
    """Say in few words what a criterion finds in a response, and what to do about it."""
    return " , ".join(_critique(part, said) for part in parts_of(criterion))


def _critique(criterion: Criterion, said: Said) -> str:
    name, family = criterion.name, criterion.family
    if family in ("rubric", "counter") and name != "sound":
        wanted = OPPOSITES.get(name, name)
        good, quote = said.marks[wanted], claims(said.scene, said.question, said.text).get(wanted)
        act = "keep" if good == (family == "rubric") else "mend" if family == "rubric" else "spoil"
        return " ".join(filter(None, (wanted, quote, "good" if good else "poor", act)))
    if name in ("polite", "direct"):
        opens = said.text.startswith(FILLERS)
        act = "keep" if opens == (name == "polite") else "open" if name == "polite" else "start"
        return f"opening {'yes' if opens else 'no'} {act}"
    if family == "mention":
        named = bool(criterion.value(said)) != name.startswith("no-")
        act = "keep" if criterion.value(said) else "drop" if name.startswith("no-") else "mention"
        return f"{name.replace('names-', '').replace('no-', '')} {'named' if named else 'none'} {act}"
    size = len(said.words)
    length = "short" if size <= SHORT else "long" if size >= LONG else "medium"
    wants = "short" if name == "shorter" or name.startswith("at-most") else "long"
    done = length == wants if name in RATED else criterion.value(said)
    return f"length {length} {'keep' if done else 'shorten' if wants == 'short' else 'lengthen'}"


def rate(criterion: Criterion, said: Said) -> int:
    """Score a response by itself under a criterion, 1 to 10, so that no two scores contradict the comparison."""
    scores = [_rate(part, said) for part in parts_of(criterion)]
    if ">" in criterion.name:
        return scores[0] + (scores[1] > PARTLY) - (scores[1] < PARTLY)
    return min(scores)


def _rate(criterion: Criterion, said: Said) -> int:
    """Score full, nothing, or, between the lengths, partly."""
    if criterion.name in RATED:
        size = len(said.words) if criterion.name == "longer" else -len(said.words)
        full, none = sorted((LONG, SHORT) if criterion.name == "longer" else (-SHORT, -LONG), reverse=True)
        return FULL if size >= full else NONE if size <= none else PARTLY
    return FULL if criterion.value(said) else NONE


@dataclass(frozen=True)
class _Parsed:
    """An answer of the world's form taken apart; `stutter` is the place of the word that stands twice."""

    filler: str
    attribute: str
    value: str
    basis: str
    stutter: int | None
    harm: str

    def write(self, sense: str) -> str:
        words = f"the {self.attribute} is {self.value}".split()
        words += f"because i {sense} {self.basis}".split() if self.basis else []
        if self.stutter is not None and self.stutter < len(words):
            words = [*words[: self.stutter + 1], *words[self.stutter :]]
        answer = f"{' '.join(words)}{'. ' + self.harm[:-1] if self.harm else ''}."
        return f"{self.filler} {answer}" if self.filler else answer


def _parse(text: str) -> _Parsed | None:
    filler = next((f for f in FILLERS if text.startswith(f)), "")
    body = text.removeprefix(filler).strip()
    harm = found[1] if (found := _HARM.search(body)) else ""
    words = _HARM.sub("", body).rstrip(".").split()
    twice = [i for i in range(1, len(words)) if words[i] == words[i - 1] and words[i] not in PITCHES]
    once = [w for i, w in enumerate(words) if i not in twice]
    match = _ANSWER.fullmatch(" ".join(once))
    if not match:
        return None
    return _Parsed(
        filler, match["attribute"], match["value"], match["basis"] or "", twice[0] - 1 if twice else None, harm
    )


def edit(said: Said, asked: str, rng: np.random.Generator) -> str:
    """Return the response after a critique has been followed to the letter; a text of another form stays as it is."""
    parsed = _parse(said.text)
    if parsed is None:
        return said.text
    for one in asked.split(" , "):
        what, act = one.split()[0], one.split()[-1]
        parsed = _act(said, parsed, what, act, rng)
    return parsed.write(SENSE[said.scene.modality])


def _act(said: Said, text: _Parsed, what: str, act: str, rng: np.random.Generator) -> _Parsed:
    if act == "keep":
        return text
    if act in ("mend", "spoil") and what in DIMENSIONS:
        return (_MEND if act == "mend" else _SPOIL)[what](said, text, rng)
    if act == "open" or (act == "lengthen" and not text.filler):
        return replace(text, filler=FILLERS[int(rng.integers(len(FILLERS)))])
    if act == "start":
        return replace(text, filler="")
    if act == "shorten":
        return replace(text, filler="", basis="")
    return replace(text, basis="") if act == "drop" else _support(said, text, rng)


def _stated(said: Said, text: _Parsed) -> Question:
    """Return the question that a response answers, whether or not it was asked."""
    return replace(said.question, attribute=text.attribute)


def _answer(said: Said, text: _Parsed, question: Question, scene) -> _Parsed:
    """State a scene's own value for a question, with evidence where there was some."""
    known = facts(scene, question.target)
    if question.attribute not in known:
        return text
    basis = evidence(scene, question) if text.basis else ""
    return replace(text, attribute=question.attribute, value=known[question.attribute], basis=basis)


def _true(said: Said, text: _Parsed, rng) -> _Parsed:
    return _answer(said, text, _stated(said, text), said.scene)


def _relevant(said: Said, text: _Parsed, rng) -> _Parsed:
    return _answer(said, text, said.question, said.scene)


def _support(said: Said, text: _Parsed, rng) -> _Parsed:
    """Give evidence for what is stated, be it true or not."""
    question = _stated(said, text)
    true = facts(said.scene, question.target).get(text.attribute, "")
    basis = evidence(said.scene, question)
    return replace(text, basis=basis.replace(true, text.value) if true else basis)


def _untrue(said: Said, text: _Parsed, rng) -> _Parsed:
    question = _stated(said, text)
    known = question.attribute in facts(said.scene, question.target)
    return _answer(said, text, question, alter(said.scene, question, rng)) if known else text


def _irrelevant(said: Said, text: _Parsed, rng) -> _Parsed:
    free = [a for a in facts(said.scene, said.question.target) if a != "count"]
    question = replace(said.question, attribute=other(rng, free, (said.question.attribute,)))
    return _answer(said, text, question, said.scene)


def _stutter(said: Said, text: _Parsed, rng) -> _Parsed:
    return replace(text, stutter=int(rng.integers(3))) if text.stutter is None else text


def _harm(said: Said, text: _Parsed, rng) -> _Parsed:
    return replace(text, harm=UNSAFE[int(rng.integers(len(UNSAFE)))])


_MEND = {
    "fluency": lambda said, text, rng: replace(text, stutter=None), "relevance": _relevant, "accuracy": _true,
    "reasoning": _support, "safety": lambda said, text, rng: replace(text, harm=""),
}  # fmt: skip
_SPOIL = {
    "fluency": _stutter, "relevance": _irrelevant, "accuracy": _untrue,
    "reasoning": lambda said, text, rng: replace(text, basis=""), "safety": _harm,
}  # fmt: skip
assert set(_MEND) == set(_SPOIL) == set(DIMENSIONS), "each dimension can be mended and spoiled"
