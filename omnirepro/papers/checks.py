"""What each notebook asks of its results: readings against bounds (`Check`), and what must hold or ends the stage.

Consumes a stage's folder and its metrics; produces lists of `Check`. A function named require_... raises `RunError`
where the stage is broken, and so do the others where what they read is: rows lost, a leak, choices that the rows do
not give. Bounds were set before the results; they are the same in every profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import Pair, read_jsonl, stored
from omnirepro.data.sources.omni_rewardbench import read_bench
from omnirepro.kit.report.tables import reasons
from omnirepro.kit.run.checks import Check, is_known, require
from omnirepro.kit.run.files import relative
from omnirepro.kit.scorecard import VERDICTS
from omnirepro.papers.benchmarks.report import benchmarks_judged
from omnirepro.papers.best_of_n import stage
from omnirepro.papers.best_of_n.report import choices
from omnirepro.papers.omni_rrm.metrics import gate_table
from omnirepro.papers.omni_rrm.synthesis import differing
from omnirepro.toyworld.pretraining.gate import bounds_of, gate_shares

VALID_SFT = 0.95
VALID = 0.9
FEWEST_VALID = 0.5
POSITION = (0.45, 0.55)  # share of A among the decided verdicts as displayed, both orders judged
MOST_TIES = 0.9  # of the valid verdicts: a judge that says nothing else has collapsed
GOLD_TIES = (0.1, 0.3)  # of the test labels of 05
AGAIN = "delete {} and run the notebook again"
READABLE = "A judgement that cannot be read counts as wrong."

Metrics = Mapping[str, Any]


def backbone_checks(folder: Path, section: Mapping[str, Any]) -> list[Check]:
    """Return a check a figure of the gate, those of solids apart: only responses show them, no prompt does."""
    bounds = bounds_of(section)
    asks = {
        "fact": "A judge needs to perceive what it judges: held-out questions, one word.",
        "check": "A judge needs to tell an accurate response from another: balanced accuracy.",
        "winner": "A judge needs to name the winner of two scores, or that they are equal.",
    }
    shares = gate_shares(gate_table(folder))
    kinds = {name: name.split()[0] for name in shares.index if "views3d" not in name}
    return [Check(name, shares[name], bounds[kind], asks=asks[kind]) for name, kind in kinds.items()]


def synthesis_checks(folder: Path, least: float) -> list[Check]:
    """Return for each dimension in what share of the training pairs it differs, averaged over tasks.

    Nothing where no truth says what an answer's dimensions are.
    """
    if not stored(folder / "candidates.csv").is_file():
        return []
    shares = differences(folder).mean()
    asks = "A dimension on which pairs do not differ cannot be learnt from them."
    return [Check(f"{name} differs", share, least, asks=asks) for name, share in shares.items()]


def differences(folder: Path) -> pd.DataFrame:
    """Return in what share of the training pairs each dimension differs, by task; no rows where there is no truth."""
    if not stored(folder / "candidates.csv").is_file():
        return pd.DataFrame(index=pd.Index(["no truth is known of these prompts"], name="task"))
    table = pd.read_csv(stored(folder / "candidates.csv"))
    return differing(table[table["split"] == "train"])


def require_every_pair(folder: Path, data: Path) -> pd.DataFrame:
    """Return what became of the training pairs, by reason. Raises `RunError` where one is neither kept nor dropped."""
    table = reasons(folder)
    told = int(table["pairs"].sum())
    total = len(read_jsonl(data / "pairs_train.jsonl", Pair))
    again = AGAIN.format(relative(folder))
    require(told == total, f"{told} of {total} pairs are kept, or dropped with a reason: {again}")
    return table


def sft_checks(metrics: Metrics) -> list[Check]:
    """Return the checks of the tuned judge: it can be read, and leads the two judges that look at nothing."""
    lead = "Above 0 the judge reads more than {}, whatever prompts are drawn."
    found = [Check("valid judgements", value_of(metrics, "valid_share"), VALID_SFT, asks=READABLE)]
    for name, reads in (("longer wins", "the length of an answer"), ("always A", "the order of the answers")):
        low = value_of(metrics, f"sft_minus_{name.replace(' ', '_').lower()}", "low")
        found.append(Check(f"lower end of the lead over {name}", low, 0.0, asks=lead.format(reads), beyond=True))
    return found


def leads_within(metrics: Metrics) -> str:
    """Say in which modalities the tuned judge has no significant lead over a judge that looks at nothing."""
    names = [name for name in metrics if name.startswith(("minus_longer_wins_", "minus_always_a_"))]
    open_ = [name for name in names if not (value_of(metrics, name, "low") or 0.0) > 0]
    return f"no significant lead within: {', '.join(open_)}" if open_ else "significant leads in every modality"


def grpo_checks(metrics: Metrics) -> list[Check]:
    """Return the checks of the reinforced judge: still valid, on no side's part, and not collapsed."""
    valid, ties, always_a = (value_of(metrics, name) for name in ("valid_share", "tie_rate", "always_a"))
    decided = ties not in (None, 1) and always_a is not None
    first = always_a / (1 - ties) if decided else None
    side = "Both orders are judged, so that a judge without a favoured side says A in half of its decided verdicts."
    collapse = "Beyond it a judge has collapsed: what follows is measured, and means little."
    return [
        Check("valid judgements", valid, VALID, asks=READABLE),
        Check("least share of A", first, POSITION[0], asks=side),
        Check("largest share of A", first, POSITION[1], at_most=True, asks=side),
        Check("valid judgements without collapse", valid, FEWEST_VALID, asks=collapse),
        Check("ties without collapse", ties, MOST_TIES, at_most=True, asks=collapse),
    ]


def omni_checks(folder: Path, metrics: Metrics) -> list[Check]:
    """Return the checks of the nine tasks: ties among the labels, what verification is worth, and R1's validity.

    Raises `RunError` where two splits share a scene.
    """
    bench = {split: read_bench(folder / "data" / split) for split in ("train", "dev", "test")}
    require_disjoint({split: {pair.cluster for pair in pairs} for split, pairs in bench.items()}, folder)
    ties = sum(pair.label == "tie" for pair in bench["test"]) / len(bench["test"])
    kept, proposed = (value_of(metrics, f"precision_{name}") for name in ("kept", "proposed"))
    balance = "With too few or too many ties one of the two protocols measures little."
    agreed = "What every verifier agreed with should be true more often than what was proposed."
    return [
        Check("least share of gold ties", ties, GOLD_TIES[0], asks=balance, beyond=True),
        Check("largest share of gold ties", ties, GOLD_TIES[1], at_most=True, asks=balance, beyond=True),
        Check("precision of kept criteria", kept, proposed if is_known(proposed) else 1.0, asks=agreed, beyond=True),
        Check("valid verdicts of R1", value_of(metrics, "r1_valid_share"), VALID, asks=READABLE),
    ]


def meta_checks(folder: Path, metrics: Metrics) -> list[Check]:
    """Return the checks of the judge that writes criteria. Raises `RunError` where training and test share a scene."""
    pairs = {s: read_jsonl(folder / f"data/pairs_{s}.jsonl", Pair) for s in ("train", "search", "dev", "test")}
    scenes = {split: {pair.cluster for pair in some} for split, some in pairs.items()}
    trained = scenes["train"] | scenes["search"]
    require_disjoint({"training": trained, "test": scenes["dev"] | scenes["test"]}, folder)
    return [Check("valid judgements of SFT", value_of(metrics, "valid_share_sft"), VALID, asks=READABLE)]


def require_shares(metrics: Metrics) -> None:
    """Raise `RunError` where a difference of two shares lies outside of -1 to 1; tokens are no shares."""
    values = {name: value_of(metrics, name) for name in metrics if not name.startswith("tokens")}
    wrong = [name for name, value in values.items() if is_known(value) and not -1 <= value <= 1]
    require(not wrong, f"no difference of two shares: {', '.join(wrong)}; run the arms and notebook 07 again")


def choice_checks(folder: Path, seed: int, metrics: Metrics) -> list[Check]:
    """Return the checks of the judges that choose: their judgements can be read.

    Raises `RunError` where the frozen rows do not give the choices that were written, or a choice beats the oracle.
    """
    again = AGAIN.format(relative(folder))
    require(stage.replay(folder, seed), f"the frozen judgements do not give the choices that were written: {again}")
    table = choices(folder)
    best = table[table["way"] == "oracle"][["prompt_id", "n", "right", "score"]]
    both = table.merge(best, on=["prompt_id", "n"], suffixes=("", "_best"))
    above = (both["score"] > both["score_best"]) | (both["right"] > both["right_best"])
    require(not above.any(), f"{int(above.sum())} choices are better than the best of their candidates: {again}")
    names = {"sft": "SFT", "grpo": "GRPO"}
    return [
        Check(f"valid judgements of {said}", value_of(metrics, f"valid_share_{name}"), VALID, asks=READABLE)
        for name, said in names.items()
    ]


def benchmark_checks(folder: Path) -> list[Check]:
    """Return the check that labels stand on both sides; the sets where they do not are named.

    Raises `RunError` where a judge has not judged every pair of a set once in each order.
    """
    rows = benchmarks_judged(folder)
    require_both_orders(rows, folder)
    sides = rows.groupby("set")["label"].agg(lambda labels: set(labels) >= {"A", "B"})
    alike = ", ".join(sides.index[~sides]) or "none"
    asks = f"Labels that are all alike measure the side, and only both orders together the judge. One-sided: {alike}."
    return [Check("sets with labels on both sides", sides.mean(), 1.0, asks=asks)]


def require_both_orders(rows: pd.DataFrame, folder: Path) -> None:
    """Raise `RunError` unless every judge has judged every pair of a set once in each order (set, judge, order)."""
    counts = rows.groupby(["set", "judge", "order"])["pair_id"].nunique().unstack("order", fill_value=0)
    counts = counts.reindex(columns=["AB", "BA"], fill_value=0)
    once = rows.groupby(["set", "judge"]).size() == counts.sum(axis=1)
    wrong = counts.index[(counts["AB"] != counts["BA"]) | ~once]
    names = ", ".join(f"{judge} on {name}" for name, judge in wrong)
    require(wrong.empty, f"not every pair was judged once in each order: {names}; {AGAIN.format(relative(folder))}")


def require_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many claims have each verdict. Raises `RunError` where a claim has none, or more than one."""
    wrong = table[table["claim"].duplicated(keep=False) | ~table["verdict"].isin(VERDICTS)]
    names = ", ".join(dict.fromkeys(wrong["claim"].astype(str)))
    require(
        wrong.empty, f"claims without exactly one verdict: {names}; mend results/claims.yaml, run notebook 10 again"
    )
    return table["verdict"].value_counts().to_frame("claims")


def require_disjoint(scenes: Mapping[str, Iterable[Any]], folder: Path) -> None:
    """Raise `RunError` where two of the named splits share a scene: what was learnt would be tested on itself."""
    sets = {name: set(some) for name, some in scenes.items()}
    for name, some in sets.items():
        for other in list(sets)[: list(sets).index(name)]:
            shared = sorted(map(str, some & sets[other]))
            again = AGAIN.format(relative(folder))
            require(not shared, f"{other} and {name} share {len(shared)} scenes, such as {shared[:1]}: {again}")


def value_of(metrics: Metrics, name: str, field: str = "value") -> float | None:
    """Return a number of a metric, which is a number, a mapping or an interval; None where there is none."""
    found = metrics.get(name)
    if isinstance(found, Mapping):
        return found.get(field)
    return getattr(found, field, None if field != "value" else found)
