"""The registry of free-form criteria, each with its truth: `CRITERIA` by name, `BY_PHRASE` by any of their phrasings.

Consumes the facts of two responses; produces A, B or tie. Used for the nine tasks' pairs, for criterion-instruction
data, and as the pool from which criteria are drawn at test time (Omni-Reward, Sections 2 and 3.1; GRM-Omni).
`criteria.yaml` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter

from omnirepro.data import Pair, Verdict
from omnirepro.toyworld.facts import Facts, facts_of
from omnirepro.toyworld.nouns import FILLERS, NOUNS, read

TEXT_TASKS = ("T2T", "TI2T", "TV2T", "TA2T")
MEDIA_TASKS = ("T2I", "T2V", "T2A", "T23D", "TI2I")
TASKS = (*TEXT_TASKS, *MEDIA_TASKS)
SHOWN = {"I": "image", "3D": "image", "V": "video", "A": "audio"}  # letters of a task -> modality of the world
RELEVANT = ("rubric", "request", "edit", "quality")
Value = Callable[[Facts], float]


@dataclass(frozen=True)
class Criterion:
    """A criterion: where it applies, the number of a response that decides it, and how it may be put in words.

    `family`: rubric (a dimension of the rubric), counter (its opposite), mention, style, request, edit or quality.
    `held_out`: the one split that asks it, dev or test; empty where all do.
    """

    name: str
    tasks: tuple[str, ...]
    family: str
    value: Value
    phrasings: tuple[str, ...]
    held_out: str = ""

    @property
    def relevant(self) -> bool:
        """Whether the criterion bears on what the world prefers where none is given."""
        return self.family in RELEVANT

    def truth(self, a: Facts, b: Facts) -> Verdict:
        """Return the response with the larger value, or a tie where the values are equal."""
        gap = float(self.value(a)) - float(self.value(b))
        if abs(gap) < 1e-9:
            return "tie"
        return "A" if gap > 0 else "B"

    def wordings(self, split: str) -> tuple[str, ...]:
        """Return the phrasings that a split may use: the test, or the split it is held for, all; others all but one."""
        return self.phrasings if split in ("test", self.held_out) else self.phrasings[:-1]


def tasks_of(modalities: Iterable[str]) -> tuple[str, ...]:
    """Return the tasks that ask and answer in these modalities, and in text: a model of text alone has one."""
    absent = [letter for letter, modality in SHOWN.items() if modality not in modalities]
    return tuple(task for task in TASKS if not any(letter in task for letter in absent))


MEASURES: dict[str, Callable[..., float]] = {
    "mark": lambda said, dimension: said.marks[dimension],
    "words": lambda said: len(said.words),
    "opens": lambda said: said.text.startswith(FILLERS),
    "at-most": lambda said, number: len(said.words) <= int(number),
    "names": lambda said, *words: any(not set(NOUNS.get(w, (w,))).isdisjoint(said.words) for w in words),
    "follows": lambda made, aspect: made.follows(aspect),
    "objects": lambda made: len(made.shown.objects),
    "showing": lambda made, *words: sum(not set(words).isdisjoint(o) for o in made.shown.objects),
    "extra": lambda made, *words: not set(words).isdisjoint(made.shown.extra),
    "plain": lambda made: made.shown.objects[0][0] == made.shown.extra[0],
    "height": lambda made: sum(made.pitches) / len(made.pitches),
    "rise": lambda made: made.pitches[-1] - made.pitches[0],
}


def measure(text: str) -> Value:
    """Read a measure: a name of `MEASURES` with its arguments, or what facts know of themselves, such as look.light.

    "not" or a minus may stand before it, and "and" between several.
    """
    if " and " in text:
        parts = [measure(part) for part in text.split(" and ")]
        return lambda facts: all(part(facts) for part in parts)
    name, *arguments = text.removeprefix("not ").removeprefix("-").split()
    function = MEASURES.get(name) or attrgetter(name)
    if text.startswith("not "):
        return lambda facts: not function(facts, *arguments)
    sign = -1 if text.startswith("-") else 1
    return lambda facts: sign * function(facts, *arguments)


LISTED = read("criteria.yaml")
CRITERIA: dict[str, Criterion] = {}
BY_PHRASE: dict[str, Criterion] = {}
for _row in LISTED["registry"]:
    _lists = {key: tuple(_row[key]) for key in ("tasks", "phrasings")}
    _made = Criterion(**_row | _lists | {"value": measure(_row["value"])})
    assert _made.name not in CRITERIA, f"two criteria share the name {_made.name}"
    assert BY_PHRASE.keys().isdisjoint(_made.phrasings), f"{_made.name} shares a phrasing with another criterion"
    CRITERIA[_made.name] = _made
    BY_PHRASE |= dict.fromkeys(_made.phrasings, _made)


def criteria_for(task: str, held_out: str | None = None) -> list[Criterion]:
    """List the criteria of a task; `held_out` keeps only a split's own, or those that all ask ("")."""
    return [c for c in CRITERIA.values() if task in c.tasks and held_out in (None, c.held_out)]


def training_phrasings() -> list[str]:
    """List the phrasings of criteria that training may ask."""
    return [words for c in CRITERIA.values() if not c.held_out for words in c.wordings("train")]


TAUGHT = {word.strip(",") for words in training_phrasings() for word in words.split()} | {"and"}  # joins scenes' facts
OPPOSITES = {f"{sign}{c['value']}" for c in LISTED["registry"] if "held_out" not in c for sign in ("not ", "-")}
STRATA = ("seen", "composed", "opposite", "new word")


def stratum(words: str) -> str:
    """Say what training tells of a criterion in words, as one of `STRATA`.

    "seen": it asked the criterion, if in other words. Of an unseen one, "new word": a word of it stands in no training
    criterion; "opposite": all do, and one that training asked means the contrary, so that its words mislead;
    "composed": known words, put together anew. Raises KeyError for words that are no known criterion.
    """
    criterion = BY_PHRASE[words]
    if not criterion.held_out:
        return "seen"
    if not TAUGHT.issuperset(words.replace(",", "").split()):
        return "new word"
    listed = next(c["value"] for c in LISTED["registry"] if c["name"] == criterion.name)
    return "opposite" if listed in OPPOSITES else "composed"


def gold_of(pair: Pair) -> Verdict:
    """Return the truth of a pair of the world under its criterion in words.

    Raises KeyError for words that are no known criterion, or for a pair that stores no facts.
    """
    return BY_PHRASE[pair.criterion].truth(*facts_of(pair))
