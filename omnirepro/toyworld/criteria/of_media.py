"""Criteria for media responses: what was requested, edits, quality of the views, and how it looks or sounds."""

from __future__ import annotations

from functools import partial

from omnirepro.toyworld.criteria.criterion import Criterion, Value
from omnirepro.toyworld.facts import Made
from omnirepro.toyworld.looks import THICKNESS
from omnirepro.toyworld.scenes import PITCHES, PLACES


def _follows(aspect: str) -> Value:
    return lambda made: made.follows(aspect)


def _count(sign: int = 1) -> Value:
    return lambda made: sign * len(made.shown.objects)


def _light(sign: int = 1) -> Value:
    return lambda made: sign * made.look.light


def _size(sign: int = 1) -> Value:
    return lambda made: sign * made.look.size


def _extra(index: int, *words: str) -> Value:
    return lambda made: made.shown.extra[index] in words


def _showing(*words: str) -> Value:
    """Count the objects that have one of the words."""
    return lambda made: sum(not set(words).isdisjoint(o) for o in made.shown.objects)


def _levels(made: Made) -> list[int]:
    return [list(PITCHES).index(p) for p in made.shown.objects]


def _height(sign: int = 1) -> Value:
    return lambda made: sign * sum(_levels(made)) / len(_levels(made))


def _rise(sign: int = 1) -> Value:
    return lambda made: sign * (_levels(made)[-1] - _levels(made)[0])


def _in_row(row: int) -> Value:
    return _showing(*(place for place, at in PLACES.items() if at[0] == row))


LIT, SIZED, PICTURES = ("T2I", "T2V", "T23D", "TI2I"), ("T2I", "T23D", "TI2I"), ("T2I", "TI2I")
DRAWN = ("T2I", "T2V", "T23D")
_request, _edit = partial(Criterion, family="request"), partial(Criterion, family="edit", tasks=("TI2I",))
_quality, _style = partial(Criterion, family="quality", tasks=("T23D",)), partial(Criterion, family="style")
_new = partial(Criterion, family="style", held_out=True)

CRITERIA = [
    _request(name="color", tasks=DRAWN, value=_follows("color"), phrasings=(
        "the color is as asked", "has the right color", "is right in color")),
    _request(name="shape", tasks=DRAWN, value=_follows("shape"), phrasings=(
        "the shape is as asked", "has the right shape", "is right in shape")),
    _request(name="place", tasks=("T2I",), value=_follows("place"), phrasings=(
        "the place is as asked", "objects are in the right place", "is right in place")),
    _request(name="count", tasks=("T2I", "T2A"), value=_follows("count"), phrasings=(
        "the count is as asked", "has the right count", "there are as many as asked")),
    _request(name="motion", tasks=("T2V",), value=_follows("motion"), phrasings=(
        "the motion is as asked", "moves the right way", "it moves the way it was asked")),
    _request(name="speed", tasks=("T2V",), value=_follows("speed"), phrasings=(
        "the speed is as asked", "has the right speed", "moves as slow or fast as asked")),
    _request(name="still", tasks=("T2V",), value=_follows("still"), phrasings=(
        "the still one is as asked", "has the right still object", "what is still is right")),
    _request(name="first", tasks=("T2A",), value=_follows("first"), phrasings=(
        "the first pitch is as asked", "has the right first pitch", "starts with the right pitch")),
    _request(name="last", tasks=("T2A",), value=_follows("last"), phrasings=(
        "the last pitch is as asked", "has the right last pitch", "ends with the right pitch")),
    _request(name="timbre", tasks=("T2A",), value=_follows("timbre"), phrasings=(
        "the timbre is as asked", "has the right timbre", "is right in timbre")),
    _request(name="sides", tasks=("T23D",), value=_follows("sides"), phrasings=(
        "the color of the sides is as asked", "has the right sides", "the sides are right in color")),
    _request(name="thickness", tasks=("T23D",), value=_follows("thickness"), phrasings=(
        "is as thick or thin as asked", "has the right thickness", "the thickness is as asked")),
    _request(name="whole", tasks=(*DRAWN, "T2A"), value=lambda m: m.whole, held_out=True, phrasings=(
        "all is as asked", "is right in everything", "follows the whole request")),
    _edit(name="edited", value=lambda m: m.edited, phrasings=(
        "does what is asked", "makes the change", "the one thing asked is done")),
    _edit(name="kept", value=lambda m: m.kept, phrasings=(
        "keeps the rest", "changes nothing else", "leaves everything else as it is")),
    _edit(name="exact", value=lambda m: m.edited and m.kept == 0, held_out=True, phrasings=(
        "does what is asked and keeps the rest", "makes the change and nothing else", "only the one thing is changed")),
    _quality(name="consistent", value=lambda m: not m.look.odd, phrasings=(
        "is the same in every view", "no view has another color", "the views agree")),
    _quality(name="complete", value=lambda m: not m.look.empty, phrasings=(
        "every view is there", "no view is missing", "shows all views")),
    _style(name="brighter", tasks=LIT, value=_light(), phrasings=("is bright", "is brighter", "has more light")),
    _style(name="darker", tasks=LIT, value=_light(-1), phrasings=("is dark", "is darker", "has less light")),
    _style(name="larger", tasks=SIZED, value=_size(), phrasings=("is large", "is larger", "objects are bigger")),
    _new(name="smaller", tasks=SIZED, value=_size(-1), phrasings=("is small", "is smaller", "objects are smaller")),
    _style(name="more-objects", tasks=PICTURES, value=_count(), phrasings=(
        "has more objects", "there are more objects", "more objects are in it")),
    _style(name="fewer-objects", tasks=PICTURES, value=_count(-1), phrasings=(
        "has fewer objects", "there are fewer objects", "fewer objects are in it")),
    _style(name="more-beeps", tasks=("T2A",), value=_count(), phrasings=(
        "has more beeps", "there are more beeps", "more beeps are in it")),
    _style(name="fewer-beeps", tasks=("T2A",), value=_count(-1), phrasings=(
        "has fewer beeps", "there are fewer beeps", "fewer beeps are in it")),
    _style(name="faster", tasks=("T2V",), value=_extra(1, "fast"), phrasings=(
        "is fast", "moves fast", "the motion is fast")),
    _new(name="slower", tasks=("T2V",), value=_extra(1, "slow"), phrasings=(
        "is slow", "moves slow", "the motion is slow")),
    _style(name="sideways", tasks=("T2V",), value=_extra(0, "left", "right"), phrasings=(
        "moves left or right", "goes left or right", "the motion is left or right")),
    _new(name="upright", tasks=("T2V",), value=_extra(0, "up", "down"), phrasings=(
        "moves up or down", "goes up or down", "the motion is up or down")),
    _style(name="louder", tasks=("T2A",), value=_light(), phrasings=("is loud", "is louder", "has more sound")),
    _style(name="softer", tasks=("T2A",), value=_light(-1), phrasings=("is soft", "is softer", "has less sound")),
    _style(name="higher", tasks=("T2A",), value=_height(), phrasings=(
        "the pitch is high", "is higher in pitch", "has high beeps")),
    _new(name="lower", tasks=("T2A",), value=_height(-1), phrasings=(
        "the pitch is low", "is lower in pitch", "has low beeps")),
    _style(name="rising", tasks=("T2A",), value=_rise(), phrasings=(
        "the pitch goes up", "ends higher than it starts", "moves from low to high")),
    _new(name="falling", tasks=("T2A",), value=_rise(-1), phrasings=(
        "the pitch goes down", "ends lower than it starts", "moves from high to low")),
    _style(name="thicker", tasks=("T23D",), value=_extra(1, "thick"), phrasings=(
        "is thick", "is thicker", "the solid is thick")),
    _new(name="thinner", tasks=("T23D",), value=_extra(1, "thin"), phrasings=(
        "is thin", "is thinner", "the solid is thin")),
    _new(name="plain", tasks=("T23D",), value=lambda m: m.shown.objects[0][0] == m.shown.extra[0], phrasings=(
        "front and sides are one color", "the sides are the color of the front", "is of one color")),
    _style(name="rings", tasks=(*DRAWN, "TI2I"), value=_showing("ring"), phrasings=(
        "has a ring", "there is a ring", "a ring is in it")),
    _style(name="warm", tasks=SIZED, value=_showing("red", "yellow"), phrasings=(
        "has red or yellow", "there is red or yellow", "red or yellow is in it")),
    _style(name="cold", tasks=SIZED, value=_showing("blue", "green"), phrasings=(
        "has blue or green", "there is blue or green", "blue or green is in it")),
    _new(name="top", tasks=PICTURES, value=_in_row(0), phrasings=(
        "objects are at the top", "more objects are at the top", "the top has more in it")),
    _new(name="bottom", tasks=PICTURES, value=_in_row(1), phrasings=(
        "objects are at the bottom", "more objects are at the bottom", "the bottom has more in it")),
]  # fmt: skip
assert set(THICKNESS) == {"thin", "thick"}, "criteria name the thicknesses of solids in words"
