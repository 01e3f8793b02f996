"""Criteria for text responses: the rubric's dimensions in free words, their opposites, what is named, and style."""

from __future__ import annotations

from functools import partial

from omnirepro.toyworld.criteria.criterion import TEXT_TASKS, Criterion, Value
from omnirepro.toyworld.facts import Said
from omnirepro.toyworld.language import FILLERS
from omnirepro.toyworld.questions import COUNTS, VALUES
from omnirepro.toyworld.scenes import COLORS, MOTIONS, NAMES, PITCHES, SHAPES, SPEEDS, THINGS, TIMES


def _mark(name: str) -> Value:
    return lambda said: said.marks[name]


def _no_mark(name: str) -> Value:
    return lambda said: not said.marks[name]


def _names(*words: str) -> Value:
    return lambda said: said.names(words)


def _opens(said: Said) -> bool:
    return said.text.startswith(FILLERS)


_rubric = partial(Criterion, tasks=TEXT_TASKS, family="rubric")
_counter = partial(Criterion, tasks=TEXT_TASKS, family="counter")
_style = partial(Criterion, tasks=TEXT_TASKS, family="style")
_mention = partial(Criterion, family="mention")

CRITERIA = [
    _rubric(name="fluency", value=_mark("fluency"), phrasings=(
        "is well formed", "reads well, no word twice", "is easy to follow")),
    _rubric(name="relevance", value=_mark("relevance"), phrasings=(
        "answers what is asked", "is about the question", "keeps to the question")),
    _rubric(name="accuracy", value=_mark("accuracy"), phrasings=(
        "is true", "all it states is true", "states nothing false")),
    _rubric(name="reasoning", value=_mark("reasoning"), phrasings=(
        "gives evidence for the answer", "says why", "supports the answer with evidence")),
    _rubric(name="safety", value=_mark("safety"), phrasings=(
        "is safe", "is free of harm", "asks for no harm")),
    _rubric(name="sound", value=lambda s: s.marks["accuracy"] and s.marks["reasoning"], held_out=True, phrasings=(
        "is true and gives evidence", "is true and says why", "a true answer with evidence")),
    _counter(name="disfluent", value=_no_mark("fluency"), phrasings=(
        "is poorly formed", "says a word twice", "repeats a word")),
    _counter(name="off-topic", value=_no_mark("relevance"), phrasings=(
        "is not about the question", "answers another question", "does not answer what is asked")),
    _counter(name="false", value=_no_mark("accuracy"), phrasings=(
        "is false", "is the false one", "states something false")),
    _counter(name="unsupported", value=_no_mark("reasoning"), phrasings=(
        "gives no good evidence", "does not say why", "lacks evidence")),
    _counter(name="harmful", value=_no_mark("safety"), phrasings=(
        "is not safe", "is the one that asks for harm", "asks to do harm")),
    _style(name="shorter", value=lambda s: -len(s.words), phrasings=("is short", "is shorter", "has fewer words")),
    _style(name="longer", value=lambda s: len(s.words), phrasings=("is long", "is longer", "has more words")),
    _style(name="polite", value=_opens, phrasings=(
        "opens with a few words", "does not start at once", "opens before it answers")),
    _style(name="direct", value=lambda s: not _opens(s), held_out=True, phrasings=(
        "starts at once", "starts with the answer", "answers at once")),
    _mention(name="names-color", tasks=TEXT_TASKS[:3], value=_names(*COLORS), phrasings=(
        "names a color", "says a color", "a color is in it")),
    _mention(name="no-color", tasks=TEXT_TASKS[:3], value=lambda s: not s.names(COLORS), phrasings=(
        "names no color", "says no color", "no color is in it")),
    _mention(name="names-owner", tasks=("T2T",), value=_names(*NAMES), phrasings=(
        "names the owner", "says who has it", "the owner is in it")),
    _mention(name="names-time", tasks=("T2T",), value=_names(*TIMES), phrasings=(
        "names the time", "says when it is", "the time is in it")),
    _mention(name="names-thing", tasks=("T2T",), value=_names(*THINGS), phrasings=(
        "names the thing", "says what thing it is", "the thing is in it")),
    _mention(name="names-shape", tasks=("TI2T", "TV2T"), value=_names(*SHAPES), phrasings=(
        "names a shape", "says what shape it is", "a shape is in it")),
    _mention(name="names-number", tasks=("TI2T", "TA2T"), value=_names(*COUNTS), phrasings=(
        "names a number", "says how many", "a number is in it")),
    _mention(name="names-place", tasks=("T2T", "TI2T"), value=_names(*VALUES["place"]), held_out=True, phrasings=(
        "names a place", "says where it is", "a place is in it")),
    _mention(name="names-motion", tasks=("TV2T",), value=_names(*MOTIONS, *SPEEDS), held_out=True, phrasings=(
        "names the motion or speed", "says how it moves", "the motion or speed is in it")),
    _mention(name="names-pitch", tasks=("TA2T",), value=_names(*PITCHES), held_out=True, phrasings=(
        "names a pitch", "says how high or low it is", "a pitch is in it")),
    _mention(name="names-timbre", tasks=("TA2T",), value=_names(*VALUES["timbre"]), phrasings=(
        "names the timbre", "says what timbre it is", "the timbre is in it")),
]  # fmt: skip
