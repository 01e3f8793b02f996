"""Rewards of one judgement against its gold label: pure functions from text to numbers, and their weighted sums.

Consumes raw completions and gold labels in the DISPLAYED frame (`Label`, or a mapping with score_A, score_B, better);
produces numbers. `published` holds the three rewards of Omni-RRM, `own` those of the kit.

Departure: preset `calibrated` pays the verdict and guards it: a broken rule (contradictory scores, say) costs one and
a half points, scores near the gold earn at most a fifth. Under the published sum a right verdict with contradictory
scores (R_pref -1) earns less than a wrong one with fair scores (about -0.4), so a constant verdict between close
scores is safe; here the worst legible right judgement (-0.7) still earns more than the best wrong one (-0.8). With half
a point, a winner guessed against equal scores earned -0.5 on average and a tie -1: the judge learnt contradiction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import fsum

from omnirepro.judge.rubric import dimensions_of
from omnirepro.reward.own import (
    closeness_reward,
    consistency_reward,
    implied_winner,
    rationale_reward,
    swap_reward,
    verdict_reward,
)
from omnirepro.reward.published import (
    FORMAT_PARTS,
    Gold,
    format_parts,
    format_reward,
    preference_reward,
    read,
    rubric_reward,
    rubric_shares,
)

REWARDS: dict[str, Callable[[str, Gold], float]] = {
    "format": format_reward,
    "preference": preference_reward,
    "rubric": rubric_reward,
    "verdict": verdict_reward,
    "consistency": consistency_reward,
    "closeness": closeness_reward,
    "rationale": rationale_reward,
    "swap": swap_reward,
}
PRESETS: dict[str, dict[str, float]] = {
    "published": {"format": 0.4, "preference": 0.4, "rubric": 0.2},  # the training script
    "paper": {"preference": 0.5, "rubric": 0.3, "format": 0.2},  # the paper, as a third party quotes it
    "verdict": {"verdict": 1.0},
    "calibrated": {"verdict": 1.0, "consistency": 1.5, "closeness": 0.2},  # a departure
    "decisive": {"verdict": 1.0, "consistency": 2.0},  # another: no closeness, and contradiction never pays
    "swapped": {"verdict": 1.0, "consistency": 1.5, "swap": 0.5},  # against position bias, after MJ1
    "reasoned": {"verdict": 1.0, "consistency": 1.5, "rationale": 0.5},  # for verdicts that follow, after UniSRM
}


def weights_of(preset: str | Mapping[str, float]) -> Mapping[str, float]:
    """Return the weights of a preset, or those given; raises ValueError on an unknown preset or reward."""
    if isinstance(preset, str) and preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    weights = PRESETS[preset] if isinstance(preset, str) else preset
    if unknown := set(weights) - set(REWARDS):
        raise ValueError(f"no reward {min(unknown)!r}; there are {', '.join(REWARDS)}")
    return weights


def in_format(name: str, format: str) -> Callable[[str, Gold], float]:
    """Return a reward that reads judgements of a format: its verdict, scores, rules, and the dimensions it asks for.

    The other rewards know the published notation alone.
    """
    told = {
        "verdict": partial(verdict_reward, format=format),
        "consistency": partial(consistency_reward, format=format),
        "closeness": partial(closeness_reward, format=format),
        "swap": partial(swap_reward, format=format),
        "rubric": partial(rubric_reward, dimensions=dimensions_of(format)),
    }
    return told.get(name, REWARDS[name])


def score(
    text: str, gold: Gold, preset: str | Mapping[str, float] = "published", format: str = "rationale-first"
) -> dict[str, float]:
    """Return every reward of a text by name, and "total": the weighted sum of those that the preset names.

    All rewards are returned, whatever the preset, so that a run logs what it does not optimise too.
    """
    weights = weights_of(preset)
    parts = {name: in_format(name, format)(text, gold) for name in REWARDS}
    return parts | {"total": fsum(weight * parts[name] for name, weight in weights.items())}
