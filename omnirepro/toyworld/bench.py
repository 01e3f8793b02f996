"""The nine tasks of Omni-Reward (Section 2) in the embedded world: pairs, each with a free-form criterion in words.

Produces `Pair` rows with media on disk: prompt, two responses, criterion, label A | B | tie, cluster by scene. Any two
responses are asked about twice, under criteria whose labels differ, so that only the criterion can tell the two rows
apart. In three groups of five the verdict flips, in two of five one criterion ties: A, B and tie are 40, 40 and 20 %.

Departures from Omni-RewardBench: criteria come from a registry whose truth is known (`toyworld.criteria`) instead of
three annotators; a third of the rows of test and dev ask criteria that no other split asks, and only the test uses the
last phrasing of the others.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from omnirepro.data import Pair, Part, Verdict, text_part
from omnirepro.toyworld.candidates import ABOUT, Subject, draw_response, draw_subject
from omnirepro.toyworld.criteria import TASKS, Criterion, criteria_for
from omnirepro.toyworld.facts import Facts, Said, store
from omnirepro.toyworld.looks import Look, media_part

LABELS = ("A B", "tie A", "B A", "tie B", "A B", "B A", "A tie", "A B", "B tie", "B A")  # of ten groups, in turn
UNSEEN_EVERY = 3  # every third group of dev and test asks criteria of its split alone
RIVALS = 8  # responses drawn, of which every two may become a pair
TRIES = 6  # draws of criteria for these responses
PATIENCE = 40  # draws of responses to one subject
BANDS = (-30, -16, -6, 0, 1, 7, 17, 31)  # differences of length, in characters, that count as alike


@dataclass(frozen=True)
class Group:
    """Two responses to one subject, and two criteria with their labels."""

    subject: Subject
    a: Facts
    b: Facts
    asked: tuple[tuple[Criterion, int, Verdict], ...]


def make_bench(folder: Path, split: str, per_task: int, seed: int, tasks: tuple[str, ...] = TASKS) -> list[Pair]:
    """Write the media of `per_task` pairs a task below `folder`/media_data and return the pairs, task by task.

    `split` is train, dev or test; scenes belong to it alone. File names are hashes of seed and counters.
    """
    pairs = []
    for task in tasks:
        rng = np.random.default_rng([seed, *f"{split} {task}".encode()])
        rows: list[Pair] = []
        for number, group in enumerate(plan(task, split, -(-per_task // 2), seed)):
            keys = (f"{seed} {split} {number} {part}" for part in ("prompt", "one", "two"))
            stems = [Path(folder) / "media_data" / task / sha256(key.encode()).hexdigest()[:16] for key in keys]
            parts = render(group.subject, (group.a, group.b), stems, rng)
            for criterion, wording, label in group.asked:
                about = {"criterion": criterion.name, "family": criterion.family, "unseen": bool(criterion.held_out)}
                about |= {"wording": wording, "group": number}
                asked = {"criterion": criterion.phrasings[wording], "label": label}
                rows.append(make_pair(group.subject, (group.a, group.b), parts, about, id="", **asked))
        order = rng.permutation(per_task)
        pairs += [rows[j].model_copy(update={"id": f"{task}-{split}-{i:05d}"}) for i, j in enumerate(order)]
    return pairs


def plan(task: str, split: str, groups: int, seed: int) -> Iterator[Group]:
    """Yield groups as facts, without rendering anything: the same ones that `make_bench` renders."""
    rng = np.random.default_rng([seed, *f"plan {split} {task}".encode()])
    used = Counter()
    for i in range(groups):
        own = split if split != "train" and i % UNSEEN_EVERY == UNSEEN_EVERY - 1 else ""
        labels = tuple(LABELS[i % len(LABELS)].split())
        group = _group(task, split, labels, criteria_for(task, own), used, rng)
        used.update((criterion.name, label == "tie") for criterion, _, label in group.asked)
        yield group


def _group(task: str, split: str, labels: tuple, pool: list[Criterion], used: Counter, rng) -> Group:
    """Draw a subject and how two responses to it contrast in bulk, then criteria until some responses fit the labels.

    Drawn first, prompt, length, brightness, size and number are independent of the labels: no rule on them can score.
    Criteria that were `used` least with such a label come first: neither can a rule on the criterion's words.
    """
    for attempt in itertools.count():
        if attempt % PATIENCE == 0:
            subject = draw_subject(task, split, rng)
            target = contrast(draw_response(subject, rng), draw_response(subject, rng))
        rivals = itertools.permutations([draw_response(subject, rng) for _ in range(RIVALS)], 2)
        fitting = [(a, b) for a, b in rivals if contrast(a, b) == target]
        for _ in range(TRIES if fitting else 0):
            first, second = _criteria(pool, labels, used, 0.5 + attempt / 6, rng)
            for a, b in fitting:
                if first.truth(a, b) == labels[0] and second.truth(a, b) == labels[1]:
                    words = [int(rng.integers(len(c.wordings(split)))) for c in (first, second)]
                    return Group(subject, a, b, tuple(zip((first, second), words, labels, strict=True)))


def _criteria(pool: list[Criterion], labels: tuple, used: Counter, slack: float, rng) -> list[Criterion]:
    """Choose a criterion a label, mostly one that had such a label least often; the tie, being rarer, chooses first."""
    chosen: dict[int, Criterion] = {}
    for at in sorted(range(len(labels)), key=lambda i: labels[i] != "tie"):
        free = [c for c in pool if c not in chosen.values()]
        noise = rng.exponential(slack, len(free))
        loads = [used[c.name, labels[at] == "tie"] + x for c, x in zip(free, noise, strict=True)]
        chosen[at] = free[int(np.argmin(loads))]
    return [chosen[i] for i in range(len(labels))]


def contrast(a: Facts, b: Facts) -> tuple[int, ...]:
    """Return how two responses differ in what a rule without a criterion could use: length, or light, size, number."""
    if isinstance(a, Said):
        return (int(np.digitize(len(a.text) - len(b.text), BANDS)),)
    bulks = [(made.look.light, made.look.size, len(made.shown.objects), made.look.empty) for made in (a, b)]
    return tuple(int(np.sign(x - y)) for x, y in zip(*bulks, strict=True))


def render(
    subject: Subject, responses: tuple[Facts, Facts], stems: list[Path], rng: np.random.Generator
) -> list[list[Part]]:
    """Render prompt and responses, media to `stems`; return the parts of the prompt, of A and of B."""
    prompt = [text_part(subject.text)]
    if ABOUT.get(subject.task, "text") != "text":
        prompt.insert(0, media_part(subject.source, Look(), stems[0], rng))
    sides = [
        text_part(facts.text) if isinstance(facts, Said) else media_part(facts.shown, facts.look, stem, rng)
        for facts, stem in zip(responses, stems[1:], strict=True)
    ]
    return [prompt, sides[:1], sides[1:]]


def make_pair(
    subject: Subject, responses: tuple[Facts, Facts], parts: list[list[Part]], about: dict[str, Any], **fields: Any
) -> Pair:
    """Make the row of two rendered responses; `about`, both scores and all facts become its `meta`."""
    a, b = responses
    meta = about | {"score_a": a.score, "score_b": b.score} | store(a, b)
    shown = dict(zip(("prompt", "response_a", "response_b"), parts, strict=True))
    cluster = subject.source.key()[:12]
    return Pair(task=subject.task, source="world", cluster=cluster, meta=meta, **shown, **fields)
