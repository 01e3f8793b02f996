"""The meta-reward: how much a criterion is worth, from scores alone (GRM-Omni, Section 2, Equation 1).

Consumes a verdict and the scalar model's scores of two responses before and after their refinement; produces one number
a criterion, and an order of criteria. Scores are logits: only differences within one prompt and one scalar model mean
something, so values are never pooled over prompts or compared between scalar models, and thresholds are quantiles.

Convention: j = 0 says that the generative judge finds response 1 (A) better, so that response 2 is the rejected one.
It is the reading under which the paper's text and all four cases agree; exchanging the responses then changes nothing.

What is wrong with Equation 1 as published (hence the variants):
1. It is silent on equal refined scores and on a missing verdict. Here: 0 (the limit of cases 2 and 4), and NaN, which
   keeps its index; the authors' code appends nothing in both events, so that later criteria move up one place.
2. It jumps: the better a criterion repairs the rejected response the more it earns, until that response overtakes the
   preferred one; there it falls from its largest value to about 0 (`discontinuity`). The paper calls it smooth.
3. A consistent criterion whose refinement harms the rejected response earns less than 0, and ranks below a
   contradicted one: the sign does not tell consistency.
4. A contradicted criterion is worth more the *smaller* the contradiction; the paper says the reverse.
5. Consistency is tested on refined scores alone. The preferred response's original score never enters, and a wrong
   verdict passes where refinement turns the order around.
6. Cases 1 and 3 measure a gain within a response, cases 2 and 4 a gap between responses, on one scale.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import pandas as pd

Verdict01 = Literal[0, 1, "tie"] | None
J_OF = {"A": 0, "B": 1, "tie": "tie", None: None}


class Sides(NamedTuple):
    """Scores turned so that w is the response that the judge prefers, l the other; s original, r refined (logits)."""

    s_w: float
    s_l: float
    r_w: float
    r_l: float
    key: str = ""


def _published(t: Sides) -> float:
    """Equation 1; 0 where the refined scores are equal."""
    if t.r_w > t.r_l:
        return t.r_l - t.s_l  # Eq. 1, case 1 (j = 0) and case 3 (j = 1): gain of the rejected response
    return t.r_w - t.r_l  # Eq. 1, case 2 (j = 0) and case 4 (j = 1): contradicted, never positive


def _lexicographic(t: Sides) -> float:
    """Consistent criteria first, in (0, 2), contradicted ones in (-2, -1); Equation 1 orders each group."""
    value = _published(t)
    side = (t.r_w > t.r_l) - (t.r_w < t.r_l)
    return side + value / (1 + abs(value))


def _random(t: Sides) -> float:
    """A number in [0, 1) that is drawn by the key alone."""
    return int.from_bytes(hashlib.sha256(t.key.encode()).digest()[:6], "big") / 2**48


VARIANTS: dict[str, Callable[[Sides], float]] = {
    "published": _published,
    "lexicographic": _lexicographic,
    # the gain of the rejected response, up to the gap that is left: continuous; at a refined tie at most 0
    "clipped": lambda t: min(t.r_l - t.s_l, t.r_w - t.r_l),
    # Equation 1 with consistency, and the contradiction's size, read off the original scores
    "original_scores": lambda t: t.r_l - t.s_l if t.s_w > t.s_l else t.s_w - t.s_l,
    # sum of both responses' gains, whatever the verdict (a line of the authors' code that is commented out)
    "both_improvements": lambda t: (t.r_w - t.s_w) + (t.r_l - t.s_l),
    "random": _random,
    # the scalar model's own margin for the verdict, without any refinement; its sigmoid gives the same order
    "margin": lambda t: t.s_w - t.s_l,
}
SCORED = tuple(name for name in VARIANTS if name != "random")  # variants that read the original scores
REFINED = tuple(name for name in SCORED if name != "margin")  # variants that read the refined scores as well


def meta_reward(
    j: Verdict01,
    s1: float | None,
    s2: float | None,
    r1: float | None,
    r2: float | None,
    variant: str = "published",
    key: str = "",
) -> float:
    """Return the meta-reward of one criterion, in logits of the scalar model (GRM-Omni, Equation 1).

    j: 0 where the judge prefers response 1, 1 where it prefers response 2, "tie", or None for a missing verdict.
    s1, s2: scores of the original responses; r1, r2: of the refined ones; `key` names the draw of "random". A tie of
    the judge earns 0 whatever the scores (under "random" its draw). A missing verdict, or else a missing or infinite
    score that the variant reads, gives NaN. Raises ValueError on another j or an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    if j is None or (isinstance(j, float) and math.isnan(j)):
        return math.nan
    if j not in (0, 1, "tie"):
        raise ValueError(f'j is 0, 1, "tie" or None, not {j!r}')
    if j == "tie" and variant in SCORED:
        return 0.0
    read = (s1, s2, r1, r2) if variant in REFINED else (s1, s2) if variant in SCORED else ()
    if any(x is None or not math.isfinite(x) for x in read):
        return math.nan
    return float(VARIANTS[variant](Sides(s1, s2, r1, r2, key) if j == 0 else Sides(s2, s1, r2, r1, key)))


def meta_rewards(
    verdicts: Sequence[str | None],
    scores: tuple[float | None, float | None],
    refined: Sequence[tuple[float | None, float | None]],
    variant: str = "published",
    key: str = "",
) -> list[float]:
    """Return one meta-reward a criterion of one pair, at the criterion's own index; failures are NaN.

    verdicts: "A" | "B" | "tie" | None a criterion; scores: (A, B) of the originals; refined: (A, B) a criterion.
    `key` (the pair's id and a seed, say) makes the draws of "random" differ between pairs. Raises ValueError where
    the lists differ in length.
    """
    both = enumerate(zip(verdicts, refined, strict=True))
    return [meta_reward(J_OF[v], *scores, *r, variant=variant, key=f"{key}/{i}") for i, (v, r) in both]


def rank(values: Sequence[float]) -> list[int]:
    """Return indices, largest value first; equal values keep their order, NaN comes last."""
    return sorted(range(len(values)), key=lambda i: (math.isnan(values[i]), -values[i], i))


def discontinuity(
    s1: float = 5.0,
    s2: float = 3.0,
    r1: float = 6.0,
    span: float = 3.0,
    steps: int = 120,
    variants: Sequence[str] = ("published", "lexicographic", "clipped"),
) -> pd.DataFrame:
    """Return (refined_margin, r2, variant, consistent, s_meta): a verdict for response 1 while r2 alone moves.

    refined_margin = r1 - r2 runs from -span to span logits and leaves out 0, on whose two sides the
    published values differ by r1 - s2. `consistent` separates the two branches, so that a line does not join them.
    """
    margins = [side * span * i / steps for side in (-1, 1) for i in range(1, steps + 1)]
    margins += [side * span * 1e-6 for side in (-1, 1)]
    rows = []
    for variant in variants:
        for m in sorted(margins):
            value = meta_reward(0, s1, s2, r1, r1 - m, variant)
            about = {"refined_margin": m, "r2": r1 - m, "variant": variant, "consistent": m > 0}
            rows.append(about | {"s_meta": value})
    return pd.DataFrame(rows)
