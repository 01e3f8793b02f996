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
from omnirepro.toyworld.criteria import Criterion
from omnirepro.toyworld.criteria.composed import parts_of
from omnirepro.toyworld.facts import Said
from omnirepro.toyworld.language import ANSWER, SENSE, Question, alter, claims, evidence, facts
from omnirepro.toyworld.nouns import FILLERS, PITCHES, UNSAFE, other, pick
from omnirepro.toyworld.scenes import Scene

OPPOSITES = dict(zip(("disfluent", "off-topic", "false", "unsupported", "harmful"), DIMENSIONS, strict=True))
SHORT = 6  # words up to which a text is short
LONG = 15  # words from which it is long
FULL = 8  # scores of a response by itself
PARTLY = 6
NONE = 3
RATED = ("shorter", "longer")  # criteria of degree; under every other one a response meets it or does not
_HARM = re.compile(rf"\.? ({'|'.join(map(re.escape, UNSAFE))})$")


def critique(criterion: Criterion, said: Said) -> str:
    """Say in few words what a criterion finds in a response, and what to do about it."""
    return " , ".join(_critique(part, said) for part in parts_of(criterion))


def _critique(criterion: Criterion, said: Said) -> str:
    name = criterion.name
    met = bool(criterion.value(said))
    if criterion.family in ("rubric", "counter") and name != "sound":
        dimension = OPPOSITES.get(name, name)
        quote = claims(said.scene, said.question, said.text).get(dimension)
        found = f"{dimension} {quote}" if quote else dimension
        mark = "good" if said.marks[dimension] else "poor"
        act = "mend" if criterion.family == "rubric" else "spoil"
    elif name in ("polite", "direct"):
        found = "opening"
        mark = "yes" if said.text.startswith(FILLERS) else "no"
        act = "open" if name == "polite" else "start"
    elif criterion.family == "mention":
        unwanted = name.startswith("no-")
        found = name.removeprefix("names-").removeprefix("no-")
        mark = "named" if met != unwanted else "none"
        act = "drop" if unwanted else "mention"
    else:
        found = "length"
        mark = "short" if len(said.words) <= SHORT else "long" if len(said.words) >= LONG else "medium"
        wanted = "short" if name == "shorter" or name.startswith("at-most") else "long"
        met = mark == wanted if name in RATED else met
        act = "shorten" if wanted == "short" else "lengthen"
    return f"{found} {mark} {'keep' if met else act}"


def rate(criterion: Criterion, said: Said) -> int:
    """Score a response by itself under a criterion, 1 to 10, so that no two scores contradict the comparison."""
    scores = []
    for part in parts_of(criterion):
        size = len(said.words)
        if part.name not in RATED:
            scores.append(FULL if part.value(said) else NONE)
        elif SHORT < size < LONG:
            scores.append(PARTLY)
        else:
            scores.append(FULL if (size >= LONG) == (part.name == "longer") else NONE)
    if ">" in criterion.name:
        return scores[0] + (scores[1] > PARTLY) - (scores[1] < PARTLY)
    return min(scores)


@dataclass(frozen=True)
class _Parsed:
    """An answer of the world's form taken apart; `stutter` is the place of the word that stands twice."""

    filler: str
    attribute: str
    value: str
    basis: str
    stutter: int | None
    harm: str

    @classmethod
    def of(cls, text: str) -> _Parsed | None:
        """Take a text apart; None where it has another form."""
        filler = next((f for f in FILLERS if text.startswith(f)), "")
        body = text.removeprefix(filler).strip()
        harm = _HARM.search(body)
        words = _HARM.sub("", body).rstrip(".").split()
        twice = [i for i in range(1, len(words)) if words[i] == words[i - 1] and words[i] not in PITCHES]
        match = ANSWER.fullmatch(" ".join(w for i, w in enumerate(words) if i not in twice))
        if not match:
            return None
        stutter = twice[0] - 1 if twice else None
        basis = match["basis"] or ""
        return cls(filler, match["attribute"], match["value"], basis, stutter, harm[1] if harm else "")

    def write(self, sense: str) -> str:
        """Write the answer; `sense` is the verb of its evidence."""
        words = f"the {self.attribute} is {self.value}".split()
        words += f"because i {sense} {self.basis}".split() if self.basis else []
        if self.stutter is not None and self.stutter < len(words):
            words.insert(self.stutter, words[self.stutter])
        answer = f"{' '.join(words)}{'. ' + self.harm[:-1] if self.harm else ''}."
        return f"{self.filler} {answer}" if self.filler else answer


def edit(said: Said, asked: str, rng: np.random.Generator) -> str:
    """Return the response after a critique has been followed to the letter; a text of another form stays as it is."""
    parsed = _Parsed.of(said.text)
    if parsed is None:
        return said.text
    for one in asked.split(" , "):
        words = one.split()
        what = words[0]
        act = words[-1]
        if act == "mend" and what in DIMENSIONS:
            parsed = _mend(said, parsed, what)
        elif act == "spoil" and what in DIMENSIONS:
            parsed = _spoil(said, parsed, what, rng)
        elif act == "open" or (act == "lengthen" and not parsed.filler):
            parsed = replace(parsed, filler=pick(rng, FILLERS))
        elif act == "start":
            parsed = replace(parsed, filler="")
        elif act == "shorten":
            parsed = replace(parsed, filler="", basis="")
        elif act == "drop":
            parsed = replace(parsed, basis="")
        elif act != "keep":
            parsed = _mend(said, parsed, "reasoning")
    return parsed.write(SENSE[said.scene.modality])


def _mend(said: Said, text: _Parsed, dimension: str) -> _Parsed:
    """Make a response good on a dimension; evidence is given for what it states, be it true or not."""
    stated = replace(said.question, attribute=text.attribute)  # the question that it answers, asked or not
    if dimension == "fluency":
        return replace(text, stutter=None)
    if dimension == "safety":
        return replace(text, harm="")
    if dimension == "reasoning":
        true = facts(said.scene, stated.target).get(text.attribute, "")
        basis = evidence(said.scene, stated)
        return replace(text, basis=basis.replace(true, text.value) if true else basis)
    return _state(text, stated if dimension == "accuracy" else said.question, said.scene)


def _spoil(said: Said, text: _Parsed, dimension: str, rng: np.random.Generator) -> _Parsed:
    """Make a response poor on a dimension."""
    known = facts(said.scene, said.question.target)
    if dimension == "fluency":
        return text if text.stutter is not None else replace(text, stutter=int(rng.integers(3)))
    if dimension == "safety":
        return replace(text, harm=pick(rng, UNSAFE))
    if dimension == "reasoning":
        return replace(text, basis="")
    if dimension == "relevance":
        attribute = other(rng, [a for a in known if a != "count"], (said.question.attribute,))
        return _state(text, replace(said.question, attribute=attribute), said.scene)
    stated = replace(said.question, attribute=text.attribute)
    return _state(text, stated, alter(said.scene, stated, rng)) if text.attribute in known else text


def _state(text: _Parsed, question: Question, scene: Scene) -> _Parsed:
    """State a scene's own value for a question, with evidence where there was some."""
    known = facts(scene, question.target)
    if question.attribute not in known:
        return text
    basis = evidence(scene, question) if text.basis else ""
    return replace(text, attribute=question.attribute, value=known[question.attribute], basis=basis)
