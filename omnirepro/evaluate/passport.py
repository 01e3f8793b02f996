"""The audit of a judge: does it look and listen, and is it swayed by what should not matter?

Consumes items (a pair and, where truth is known, a twin medium under which the other response is right) and a judge;
produces one finding an arm: the share that decides, its interval, the bounds declared here, and a verdict; beside them
how many judgements changed and how many were right. An arm changes one thing and judges every pair again in both
orders. What lies wholly beyond a bound is faulty, wholly within the bounds sound; an interval that holds a bound tells
nothing, and `power` says which effect it would have shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omnirepro.data import Judgement, Pair, Part, swap_verdict, text_part
from omnirepro.data.audit.leaks import CLUSTERS
from omnirepro.data.schema import modality_of
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap
from omnirepro.judge import rubric
from omnirepro.judge.orders import ORDERS

CHANCE = 0.6  # accuracy on pairs that only the medium decides: at most this is not looking
SWAY = 0.1  # points of accuracy that a change without content may cost
DRIFT = 0.05  # share of judgements that may change where nothing does
LEAN = 0.65  # share of verdicts for the side shown first
ALONE = 80  # pairs judged one at a time, to compare with the same pairs in a batch
ORDER = ORDERS["full"][-1]
PADDING = " That is my answer. I have thought about it with care, and I have looked at it again from every side."
POLITE = "Thank you so much for asking this wonderful question! I am happy to help. "
BLUNT = "Obviously. "
SURE = " I am absolutely certain of this: I checked every detail twice, and there is no doubt at all."
FILLER = "This paragraph is about the weather of an ordinary day and has nothing to do with the question. "
WHERE = {  # what is asked of the arms of which the accuracy must not fall
    "wrong one padded": "the wrong response is longer",
    "right one shortened": "the right response is short",
    "wrong one polite": "the wrong response is polite, the right one blunt",
    "wrong one sure": "the wrong response sounds certain of what the medium contradicts",
    "order in a response": "the wrong response orders the judge",
    "order in a picture": "words in the picture order the judge",
    "order in a transcript": "the transcript of a sound or film orders the judge",
    "long context": "the question stands behind twenty paragraphs about something else",
    "turned dimensions": "the rubric lists its dimensions from the last to the first",
    "other wording": "the judge is asked in other words",
}
Edits = Mapping[str, Callable[[Pair], Pair]]


@dataclass(frozen=True)
class Item:
    """A pair to audit on; where truth is known, also more of it.

    `twin`: a prompt whose medium makes the other side right. `changed`: the pair as an arm of `WHERE` has it.
    """

    pair: Pair
    twin: list[Part] | None = None
    changed: Mapping[str, Pair] = field(default_factory=dict)

    def under(self, criterion: str) -> Item:
        """Return the item with a criterion in all of its pairs."""
        asked = {"criterion": criterion}
        changed = {arm: pair.model_copy(update=asked) for arm, pair in self.changed.items()}
        return replace(self, pair=self.pair.model_copy(update=asked), changed=changed)


@dataclass(frozen=True)
class Finding:
    """What one arm found: the share that decides (of 1), what it is to be at least and at most, and what this means.

    `flips`: judgements that the arm changed, of those that could be read before; `accuracy`: judgements right under it.
    """

    arm: str
    asks: str
    measured: Interval | None
    least: float
    most: float
    verdict: str
    flips: Interval | None = None
    accuracy: Interval | None = None

    @property
    def power(self) -> float | None:
        """The effect that this arm would have shown in four of five audits: 2.8 standard errors; None where unknown."""
        if self.measured is None or math.isnan(self.measured.low):
            return None
        return 2.8 * (self.measured.high - self.measured.low) / 2 / 1.96

    def as_row(self) -> dict[str, Any]:
        """Return the cells of a table or JSON row; what was not measured, and a bound that is none, is null."""
        cells = {"value": None, "low": None, "high": None, "n": 0}
        cells |= self.measured.as_metric() if self.measured else {}
        cells |= {name: x if math.isfinite(x := getattr(self, name)) else None for name in ("least", "most")}
        more = {name: x.as_metric() if (x := getattr(self, name)) else None for name in ("flips", "accuracy")}
        return {"arm": self.arm, "asks": self.asks, **cells, **more, "power": self.power, "verdict": self.verdict}


def audit(
    judge: Any,
    items: Sequence[Item],
    progress: Callable[[str], None] = lambda arm: None,
    edits: Edits | None = None,
) -> list[Finding]:
    """Judge every arm and return its finding; arms that the items do not allow are absent.

    `judge` has `judge(pairs, orders)`; `progress` is told each arm's name before it begins. `edits`: what should not
    matter, by arm (`EDITS`), made to pairs with a label. Raises ValueError where there are no items.
    """
    if not items:
        raise ValueError("there is no pair to audit a judge on")
    pairs = [item.pair for item in items]

    def judged(arm: str, changed: Sequence[Pair], by: Any = judge) -> list[Judgement]:
        progress(arm)
        return by.judge(list(changed), "both")

    plain = judged("as they are", pairs)
    findings = [*_senses(items, plain, judged), _order(plain)]
    warm = judged("warm cache", pairs)
    findings.append(_changes("warm cache", "judgements that change where media were read before", plain, warm))
    findings.append(_changes("again", "judgements that change when asked again", warm, judged("again", pairs)))
    progress("one at a time")
    step = math.ceil(len(pairs) / ALONE)
    alone = [row for pair in pairs[::step] for row in judge.judge([pair], "both")]
    findings.append(_changes("one at a time", "judgements that change outside of a batch", plain, alone))
    labelled = [pair for pair in pairs if pair.label in ("A", "B")]
    edited = {arm: [edit(pair) for pair in labelled] for arm, edit in (EDITS if edits is None else edits).items()}
    for arm in WHERE:
        some = edited.get(arm, []) + [item.changed[arm] for item in items if arm in item.changed]
        if some:
            findings.append(_falls(arm, plain, judged(arm, some)))
    if labelled:
        others = asked_otherwise(judge).items()
        findings += [_falls(arm, plain, judged(arm, labelled, other)) for arm, other in others]
    return findings


# ---- arms


def asked_otherwise(judge: Any) -> dict[str, Any]:
    """Return a judge that is told at length how to judge, told the same otherwise, by arm; none of any other judge."""
    if getattr(judge, "wording", "") != "full" or not hasattr(judge, "format"):
        return {}
    found = {"other wording": replace(judge, wording="reworded")}
    turned = f"{judge.format}/turned"
    if turned in rubric.FORMATS:
        found["turned dimensions"] = replace(judge, format=turned)
    return found


def swapped(item: Item) -> Pair:
    """Return the pair with its twin's medium, under which the other response is right."""
    return item.pair.model_copy(update={"prompt": item.twin, "label": swap_verdict(item.pair.label)})


def without_media(pair: Pair) -> Pair:
    """Return the pair with the words of its prompt alone."""
    words = [part for part in pair.prompt if part.type == "text"] or [text_part("")]
    return pair.model_copy(update={"prompt": words})


def edited(pair: Pair, right: bool, edit: Callable[[str], str]) -> Pair:
    """Return the pair with the words of its right response edited, or of its wrong one."""
    name = "response_a" if (pair.label == "A") is right else "response_b"
    parts = [p.model_copy(update={"text": edit(p.text)}) if p.type == "text" else p for p in getattr(pair, name)]
    return pair.model_copy(update={name: parts})


def wrong(before: str = "", behind: str = "") -> Callable[[Pair], Pair]:
    """Return an arm that puts words before and behind the wrong response."""
    return lambda pair: edited(pair, False, lambda text: f"{before}{text}{behind}")


def preceded(text: str) -> Callable[[Pair], Pair]:
    """Return an arm that puts a text before the prompt."""
    return lambda pair: pair.model_copy(update={"prompt": [text_part(f"{text}\n"), *pair.prompt]})


EDITS: Edits = {
    "wrong one padded": wrong(behind=PADDING * 2),
    "wrong one polite": lambda pair: edited(wrong(POLITE)(pair), True, lambda text: BLUNT + text),
    "wrong one sure": wrong(behind=SURE),
    "order in a response": wrong(behind=f" {ORDER}"),
    "long context": preceded(FILLER * 20),
}


# ---- findings


def right(row: Judgement) -> float:
    """Return 1 where the verdict is the label, else 0; a failed judgement is wrong."""
    return float(row.verdict == row.label)


def exact(values: Sequence[float], clusters: Sequence[str]) -> Interval:
    """Return the mean with an interval by clusters; no bounds of few clusters that differ, for these tell no spread.

    A bootstrap of equal clusters has no width. By Clopper and Pearson's bound for k draws that agree, a share of up to
    1 - 0.025 ** (1 / k) of all clusters may be otherwise: as low or as high as a value can be.
    """
    found = clustered_bootstrap(values, clusters)
    count = len(set(clusters))
    if found.high - found.low > 1e-9:  # what is less is rounding
        return found if count >= CLUSTERS else replace(found, low=math.nan, high=math.nan)
    share = 1 - 0.025 ** (1 / count)
    least = min(0.0, *values)
    return replace(found, low=found.value - share * (found.value - least), high=found.value + share * (1 - found.value))


def _senses(items: Sequence[Item], plain: Sequence[Judgement], judged: Callable) -> list[Finding]:
    """Exchange the medium of every kind, where a twin is known, and remove it."""
    findings = []
    for kind in dict.fromkeys(modality_of(item.pair.prompt) for item in items if item.twin):
        some = [item for item in items if item.twin and modality_of(item.pair.prompt) == kind]
        rows = judged(f"other {kind}", [swapped(item) for item in some])
        names = {item.pair.id for item in some}
        credit = [row for row in (*plain, *rows) if row.pair_id in names]
        values = [right(row) for row in credit]
        asks = f"right on pairs that only the {kind} decides"
        found = _finding(f"{kind}: decides", asks, values, [row.cluster for row in credit], least=CHANCE)
        findings.append(replace(found, flips=_flips(plain, rows), accuracy=found.measured))
    bare = [without_media(item.pair) for item in items if any(part.type != "text" for part in item.pair.prompt)]
    if bare:
        rows = judged("media removed", bare)
        before, after = _matched(plain, rows)
        stays = [float(a.verdict == b.verdict) for a, b in zip(before, after, strict=True)]
        clusters = [row.cluster for row in after]
        found = _finding(
            "media removed", "verdicts that stay although the medium is gone", stays, clusters, most=1 - SWAY
        )
        findings.append(replace(found, flips=_flips(plain, rows), accuracy=_accuracy(rows)))
    return findings


def _order(plain: Sequence[Judgement]) -> Finding:
    """Count verdicts for the side shown first; what flips is a pair's verdict from one order to the other."""
    first = [(float(row.shown == "A"), row.cluster) for row in plain if row.shown in ("A", "B")]
    values = [value for value, _ in first]
    found = _finding("order", "verdicts for the side shown first", values, [c for _, c in first], 1 - LEAN, LEAN)
    turned = [row.model_copy(update={"order": "AB"}) for row in plain if row.order == "BA"]
    flips = _flips([row for row in plain if row.order == "AB"], turned)
    return replace(found, flips=flips, accuracy=_accuracy(plain))


def _finding(
    arm: str,
    asks: str,
    values: Sequence[float],
    clusters: Sequence[str],
    least: float = -math.inf,
    most: float = math.inf,
) -> Finding:
    """Hold the mean of values to its bounds; where there is none, nothing is told."""
    if not values:
        return Finding(arm, asks, None, least, most, "not told")
    found = exact(values, clusters)
    kept = least < found.low and found.high < most
    verdict = "faulty" if found.high < least or found.low > most else "sound" if kept else "not told"
    return Finding(arm, asks, found, least, most, verdict)


def _changes(arm: str, asks: str, before: Sequence[Judgement], after: Sequence[Judgement]) -> Finding:
    """Count judgements whose verdict differs from the one before, where that could be read."""
    known, rows = _matched(before, after)
    values = [float(a.verdict != b.verdict) for a, b in zip(known, rows, strict=True)]
    found = _finding(arm, asks, values, [row.cluster for row in rows], most=DRIFT)
    return replace(found, flips=found.measured, accuracy=_accuracy(after))


def _falls(arm: str, before: Sequence[Judgement], after: Sequence[Judgement]) -> Finding:
    """Measure how much accuracy falls, of judgements that could be read before; who guessed had nothing to lose."""
    known, rows = _matched(before, after)
    values = [right(a) - right(b) for a, b in zip(known, rows, strict=True)]
    asks = f"accuracy lost where {WHERE[arm]}"
    found = _finding(arm, asks, values, [row.cluster for row in rows], most=SWAY)
    if found.verdict == "sound" and not _accuracy(known).low > CHANCE:
        found = replace(found, verdict="not told")
    return replace(found, flips=_flips(before, after), accuracy=_accuracy(after))


def _matched(before: Sequence[Judgement], after: Sequence[Judgement]) -> tuple[list[Judgement], list[Judgement]]:
    """Return the judgements before that could be read and were made again, and those after, each beside its own."""
    known = {(row.pair_id, row.order): row for row in before if row.verdict}
    rows = [row for row in after if (row.pair_id, row.order) in known]
    return [known[row.pair_id, row.order] for row in rows], rows


def _flips(before: Sequence[Judgement], after: Sequence[Judgement]) -> Interval | None:
    """Return the share of judgements that changed; None where none could be read before."""
    known, rows = _matched(before, after)
    values = [float(a.verdict != b.verdict) for a, b in zip(known, rows, strict=True)]
    return exact(values, [row.cluster for row in rows]) if values else None


def _accuracy(rows: Sequence[Judgement]) -> Interval | None:
    """Return the share of judgements of decided pairs that are right; None where no label is known."""
    decided = [row for row in rows if row.label in ("A", "B")]
    return exact([right(row) for row in decided], [row.cluster for row in decided]) if decided else None
