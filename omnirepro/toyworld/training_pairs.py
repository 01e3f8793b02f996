"""What Omni-Reward's models are trained on in the embedded world: bare preferences and criterion-instruction data.

Consumes the training pairs of the nine tasks; produces labelled pairs, and named selections of them for the ablations
(Omni-Reward, Section 3 and Table 6). A bare preference is the world's own, without a criterion; the others are
proposals that every verifier agreed with, a tenth of them wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from omnirepro.data import Pair, Verdict, swap_verdict
from omnirepro.judge.rubric import ranking
from omnirepro.toyworld.criteria import TASKS

FAMILIES = {
    "text": ("T2T",),
    "image": ("TI2T", "T2I", "TI2I"),
    "video": ("TV2T", "T2V"),
    "audio": ("TA2T", "T2A"),
    "3d": ("T23D",),
}


def preference(pair: Pair) -> Verdict:
    """Return which response of a pair the world prefers where no criterion is given."""
    return ranking(pair.meta["score_a"], pair.meta["score_b"])


def bare(pairs: list[Pair]) -> list[Pair]:
    """Return the preference without a criterion of every two responses, once; ids end in +p."""
    once = {(p.task, p.meta["group"]): p for p in pairs}.values()
    return [p.model_copy(update={"id": f"{p.id}+p", "criterion": None, "label": preference(p)}) for p in once]


def contrary(pair: Pair) -> bool:
    """Tell whether a pair's label is the opposite of the world's own preference."""
    return {pair.label, preference(pair)} == {"A", "B"} and pair.criterion is not None


def _tasks(*tasks: str) -> Callable[[list[Pair]], list[Pair]]:
    return lambda pairs: [p for p in pairs if p.shape in tasks]


def _noisy(share: float) -> Callable[[list[Pair]], list[Pair]]:
    """Give a share of the decided pairs the other label, by a hash of their names: more noise holds less of it."""

    def mixed(pair: Pair) -> Pair:
        drawn = int(sha256(pair.id.encode()).hexdigest()[:8], 16) / 16**8
        return pair.model_copy(update={"label": swap_verdict(pair.label)}) if drawn < share else pair

    return lambda pairs: [mixed(pair) for pair in pairs]


def _countered(pairs: list[Pair]) -> list[Pair]:
    """Show each contrary pair twice, in the place of as many that agree."""
    against = [p for p in pairs if contrary(p)]
    agreeing = [p for p in pairs if p.criterion and p.label == preference(p)]
    dropped = {p.id for p in agreeing[: len(against)]}
    again = [p.model_copy(update={"id": f"{p.id}+2"}) for p in against[: len(dropped)]]
    return [p for p in pairs if p.id not in dropped] + again


BY_TRUTH = ("agreeing", "countered")  # selections that need the world's own preference
SELECTIONS: dict[str, Callable[[list[Pair]], list[Pair]]] = {
    "full": list,
    "davidson": list,  # the same pairs under a likelihood that learns from ties too
    "preference-only": lambda pairs: [p for p in pairs if p.criterion is None],
    "t2t-only": _tasks("T2T"),
    "ti2t-only": _tasks("TI2T"),
    "t2i-t2v-only": _tasks("T2I", "T2V"),
    "agreeing": lambda pairs: [p for p in pairs if not contrary(p)],
    "countered": _countered,
    **{f"noise-{percent}": _noisy(percent / 100) for percent in (10, 20, 30)},
    **{f"{name}-family": _tasks(*tasks) for name, tasks in FAMILIES.items()},
}
assert {t for tasks in FAMILIES.values() for t in tasks} == set(TASKS), "every task belongs to one family"
