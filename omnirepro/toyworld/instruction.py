"""Criterion-instruction data: a writer proposes criterion and label, three verifiers vote (Omni-Reward, Section 3.1).

Consumes existing pairs; produces the proposals that every verifier labels as the writer did, and the others with the
reason. Writer and verifiers are callables, so that models can take their places; the ones here are the world's truth
seen through documented slips. What misleads all of them alike, such as a halo, no vote can remove.

Departure: the paper's writer is GPT-4o, its verifiers GPT-4o-mini, Qwen2.5-VL-7B and Gemma-3-12B, with errors unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from omnirepro.data import Pair, Verdict, swap_verdict
from omnirepro.judge.rubric import ranking
from omnirepro.toyworld.criteria import BY_PHRASE, criteria_for, gold_of
from omnirepro.toyworld.nouns import pick

Proposal = tuple[str, Verdict]
Writer = Callable[[Pair], Proposal]
Verifier = Callable[[Pair], Verdict | None]


@dataclass(frozen=True)
class Labeller:
    """The world's truth through slips, as chances a pair; deterministic for responses, criterion, name and seed.

    `wrong`: any other verdict (in `weak` tasks three times as often); `halo`: takes the side that is better without a
    criterion; `decides`: the same, where the truth is a tie; `first`: prefers the response shown first; `silent`: gives
    none. Pairs that invite a halo or a decision do so for every labeller: who is more prone errs where the others do.
    """

    name: str
    seed: int = 0
    wrong: float = 0.0
    decides: float = 0.0
    halo: float = 0.0
    first: float = 0.0
    silent: float = 0.0
    weak: tuple[str, ...] = ()

    def __call__(self, pair: Pair) -> Verdict | None:
        """Label a pair under its criterion; None is a verdict that could not be read."""
        truth = gold_of(pair)
        preferred = ranking(pair.meta["score_a"], pair.meta["score_b"])
        key = f"{pair.cluster} {pair.meta['group']} {pair.criterion}"
        own = np.random.default_rng([self.seed, *f"{self.name} {key}".encode()])
        silent, first, wrong = own.random(3)
        halo, decides = np.random.default_rng([*key.encode()]).random(2)
        if silent < self.silent:
            return None
        if first < self.first:
            return "A"
        if halo < self.halo and preferred != "tie" or truth == "tie" and decides < self.decides:
            return "A" if preferred == "A" else "B"
        if wrong < self.wrong * (3 if pair.task in self.weak else 1):
            return pick(own, sorted({"A", "B", "tie"} - {truth}))
        return truth


@dataclass(frozen=True)
class WorldWriter:
    """Proposes a seen criterion in words of the training split, other than the pair's own, with a label.

    It looks for one under which it finds a difference, and for one without in a share `ties` of the pairs.
    """

    label: Labeller
    ties: float = 0.2

    def __call__(self, pair: Pair) -> Proposal:
        rng = np.random.default_rng([self.label.seed, *f"writes {pair.id}".encode()])
        own = BY_PHRASE.get(pair.criterion or "")
        tied = rng.random() < self.ties
        pool = [c for c in criteria_for(pair.task, held_out="") if c is not own]
        for at in rng.permutation(len(pool)):
            criterion = pick(rng, pool[at].wordings("train"))
            label = self.label(pair.model_copy(update={"criterion": criterion})) or "tie"
            if (label == "tie") == tied:
                break
        return criterion, label


def world_writer(seed: int = 0) -> WorldWriter:
    """Return the writer: one label in ten wrong, one true tie in six decided, some halo."""
    return WorldWriter(Labeller("writer", seed, wrong=0.1, decides=0.15, halo=0.08))


def world_verifiers(seed: int = 0) -> dict[str, Labeller]:
    """Return three verifiers: one good, one weak in sound and films, one drawn to the first response."""
    deaf = {"wrong": 0.08, "decides": 0.15, "halo": 0.08, "weak": ("TA2T", "T2A", "TV2T", "T2V")}
    hasty = {"wrong": 0.08, "decides": 0.2, "halo": 0.1, "first": 0.08, "silent": 0.03}
    slips = {"even": {"wrong": 0.06, "decides": 0.05, "halo": 0.03}, "deaf": deaf, "hasty": hasty}
    return {name: Labeller(name, seed, **chances) for name, chances in slips.items()}


@dataclass(frozen=True)
class Rejected:
    """A proposal that was not kept, with the reason and every vote."""

    pair: Pair
    reason: str
    votes: dict[str, Verdict | None]


@dataclass(frozen=True)
class Instruction:
    """Proposals, each a pair with the proposed criterion and label: `kept` and `dropped` partition them."""

    kept: list[Pair]
    dropped: list[Rejected]

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(d.reason for d in self.dropped))


def propose_criteria(pairs: list[Pair], writer: Writer, verifiers: Mapping[str, Verifier]) -> Instruction:
    """Let the writer propose one criterion a pair and keep it where every verifier agrees with its label.

    Verifiers see the pair without a label, and each in an order drawn from pair and verifier, so that a leaning to the
    first response favours no label. Raises ValueError where there is no verifier.
    """
    if not verifiers:
        raise ValueError("no verifier: every proposal would be kept unseen; pass at least one")
    kept = []
    dropped = []
    for pair in pairs:
        criterion, label = writer(pair)
        about = dict(pair.meta or {})
        if known := BY_PHRASE.get(criterion):
            about |= {"criterion": known.name, "family": known.family, "unseen": bool(known.held_out)}
            about |= {"wording": known.phrasings.index(criterion)}
        changes = {"id": f"{pair.id}+c", "criterion": criterion, "label": None, "meta": about or None}
        asked = pair.model_copy(update=changes)
        votes = {}
        for name, verifier in verifiers.items():
            swapped = np.random.default_rng([*f"{name} {asked.id}".encode()]).random() < 0.5
            votes[name] = swap_verdict(verifier(asked.swap())) if swapped else verifier(asked)
        proposed = asked.model_copy(update={"label": label})
        against = sum(vote != label for vote in votes.values())
        if None in votes.values():
            dropped.append(Rejected(proposed, "a verifier gave no verdict", votes))
        elif against:
            dropped.append(Rejected(proposed, f"{against} of {len(votes)} verifiers disagree", votes))
        else:
            kept.append(proposed)
    assert len(kept) + len(dropped) == len(pairs), "a proposal was lost: kept and dropped must add up"
    return Instruction(kept, dropped)


def correctness(outcome: Instruction) -> list[dict]:
    """Return a row a proposal: pair_id, cluster, task, label, kept and correct (the label is the world's truth).

    The mean of `correct` is the writer's precision, and over kept rows that of the data.
    """
    rows = []
    for pair, kept in [*((p, True) for p in outcome.kept), *((d.pair, False) for d in outcome.dropped)]:
        row = {"pair_id": pair.id, "cluster": pair.cluster_id, "task": pair.task, "label": pair.label, "kept": kept}
        rows.append(row | {"correct": int(pair.label == gold_of(pair))})
    return rows
