"""Ways to choose one of N candidate answers, and what each costs (Omni-RRM, Best-of-N; GRM-Omni, Figure 7).

Consumes, for each prompt, its candidates in the order in which they were sampled, and a function `compare` that says
who wins a list of matches: a judge, or rows that were frozen before (`frozen`). Produces choices and strengths. Nothing
here knows a model, so that one and the same procedure runs live and from rows.

A candidate that says the same as an earlier one is never compared: its number is the earlier one's (`forms_of`).

Departures: (1) the released knock-out shows the incumbent as A in every match; by default each match tosses for it, and
`incumbent="A"` keeps the released way; (2) the released code has no round robin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from omnirepro.evaluate.statistics import majority

INCUMBENTS = ("random", "A")
WAYS = ("knockout", "round-robin", "scalar")


class Match(NamedTuple):
    """Two candidates of one prompt as displayed: `first` as A, `second` as B."""

    prompt: str
    first: int
    second: int

    @property
    def id(self) -> str:
        return f"{self.prompt}#{self.first}-{self.second}"


Compare = Callable[[list[Match]], list[str | None]]  # the side that won as displayed, "tie", or None for a failure
Forms = Mapping[str, Sequence[int]]


@dataclass
class Ladder:
    """One prompt's knock-out, an entry a candidate: who leads after it, comparisons so far, and how many the
    incumbent survived; `lost` names the losers in the order in which they went out."""

    leads: list[int]
    calls: list[int] = field(default_factory=lambda: [0])
    kept: list[int] = field(default_factory=lambda: [0])
    lost: list[int] = field(default_factory=list)

    def climb(self, at: int, met: bool, beaten: bool) -> None:
        """Go on to candidate `at`: whether the leader `met` it in a match, and was `beaten`."""
        lead = self.leads[-1]
        self.leads.append(at if beaten else lead)
        self.calls.append(self.calls[-1] + met)
        self.kept.append(self.kept[-1] + (met and not beaten))
        if met:
            self.lost.append(lead if beaten else at)


def forms_of(texts: Sequence[Any]) -> list[int]:
    """Return for each candidate the number of the first one that says the same."""
    first: dict[Any, int] = {}
    return [first.setdefault(text, i) for i, text in enumerate(texts)]


def knock_out(forms: Forms, compare: Compare, incumbent: str = "random", seed: int = 0) -> dict[str, Ladder]:
    """Let each prompt's candidates challenge the leader in turn: at most N - 1 comparisons; all prompts side by side.

    A tie and a failed judgement leave the incumbent, as published. `leads[n - 1]` is what a knock-out of the first n
    candidates alone would choose. Raises ValueError on an unknown `incumbent`.
    """
    if incumbent not in INCUMBENTS:
        raise ValueError(f"incumbent {incumbent!r} is none of {', '.join(INCUMBENTS)}")
    ladders = {name: Ladder([0]) for name in forms}
    for at in range(1, max(map(len, forms.values()), default=0)):
        going = [name for name, row in forms.items() if at < len(row)]
        new = [name for name in going if forms[name][at] == at]
        matches = []
        for name in new:
            match = Match(name, ladders[name].leads[-1], at)
            tossed = incumbent == "random" and sha256(f"{seed} {match.id}".encode()).digest()[0] % 2
            matches.append(Match(name, at, match.first) if tossed else match)
        sides = compare(matches) if matches else []
        winners = {m.prompt: {"A": m.first, "B": m.second}.get(s or "") for m, s in zip(matches, sides, strict=True)}
        for name in going:
            ladders[name].climb(at, name in winners, winners.get(name) == at)
    return ladders


def round_robin(forms: Forms, compare: Compare) -> dict[str, dict[int, float]]:
    """Return each prompt's distinct candidates with their strengths, from every match in both orders.

    n (n - 1) comparisons of n distinct candidates. Strengths are log-odds against an average candidate of the prompt.
    """
    players = {name: sorted(set(row)) for name, row in forms.items()}
    matches = [Match(name, *two) for name, some in players.items() for two in permutations(some, 2)]
    wins = {name: np.zeros((len(some), len(some))) for name, some in players.items()}
    for (name, first, second), said in zip(matches, compare(matches) if matches else [], strict=True):
        i = players[name].index(first)
        j = players[name].index(second)
        won = {"A": 1.0, "B": 0.0, "tie": 0.5}.get(said or "")
        if won is not None:
            wins[name][i, j] += won
            wins[name][j, i] += 1 - won
    return {n: dict(zip(some, bradley_terry(wins[n]).tolist(), strict=True)) for n, some in players.items()}


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Return the strengths (n,), in logits, under which P(i beats j) = sigmoid(s_i - s_j) fits `wins` (n, n) best.

    `wins[i, j]` counts how often i beat j, a tie half for each. Everyone also draws one game against a player of
    strength 0 (Bradley & Terry 1952, with a prior), which keeps the strength of one who always wins finite.
    """
    games = wins + wins.T
    strength = np.zeros(len(wins))
    for _ in range(50):
        chance = 1 / (1 + np.exp(strength[None] - strength[:, None]))
        alone = 1 / (1 + np.exp(-strength))
        slope = wins.sum(1) - (games * chance).sum(1) + 0.5 - alone
        bend = games * chance * (1 - chance)
        hessian = np.diag(bend.sum(1) + alone * (1 - alone)) - bend
        step = np.linalg.solve(hessian, slope)
        strength = strength + step * min(1.0, 1.0 / max(np.abs(step).max(initial=0.0), 1e-12))  # a logit at most
        if np.abs(step).max(initial=0.0) < 1e-10:
            break
    return strength


def highest(scores: Mapping[int, float]) -> int:
    """Return the candidate of the highest score, the earliest of equal ones; one without a finite score loses."""
    return max(sorted(scores), key=lambda i: round(scores[i], 9) if math.isfinite(scores[i]) else -math.inf)


def vote(answers: Sequence[str | None]) -> int:
    """Return the first candidate that gives the commonest answer (self-consistency); the first where none is known."""
    said = majority(list(answers))
    return list(answers).index(said) if said is not None else 0


def longest(texts: Sequence[str]) -> int:
    """Return the candidate of the most characters, the earliest of equal ones."""
    return max(range(len(texts)), key=lambda i: (len(texts[i]), -i))


def frozen(rows: Iterable[Any]) -> Compare:
    """Return a `compare` that reads frozen judgements, each of one match as displayed (`pair_id` is the match's id).

    It raises KeyError for a match that was never judged.
    """
    said = {row.pair_id: row.said for row in rows}
    return lambda matches: [said[match.id] for match in matches]


def kl(n: float) -> float:
    """Return log n - (n - 1) / n: the KL divergence, in nats, of the best of n from one sample.

    Exact where no two samples are worth the same, else an upper bound.
    """
    return math.log(n) - (n - 1) / n
