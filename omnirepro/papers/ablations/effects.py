"""Notebook 07 from frozen rows: every arm's pairs in one table, effects against the full recipe, and metrics.

Consumes the forks of a run (omnirepro/kit/run/arms.py) and the run's own judges; produces `arms.csv` (a row an arm) and
`pairs.csv` (a row an arm, training seed and test pair), from which all else is computed, and what `known` writes of the
labels and samples behind them. An effect is paired by test
pair and training seed. Two judges are no fork: `untuned` is the backbone before fine-tuning, `sft-whole` and
`grpo-whole` are the run's own judges at their whole counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from omnirepro.data import READ, stored
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import UNKNOWN, Interval
from omnirepro.kit.report.tables import predictions
from omnirepro.kit.run import Fork, Run, RunError, forks_of, known_arms, rows_of
from omnirepro.papers.ablations.known import known
from omnirepro.papers.comparisons import difference, mean

OWN = {
    "untuned": ("03_sft", "base", "recipe", "the backbone before any tuning", ""),
    "sft-whole": ("03_sft", "sft", "recipe", "fine-tuning alone, at its whole count", "grpo-whole"),
    "grpo-whole": ("04_grpo", "grpo", "recipe", "the run's own judge", ""),
}
WITHOUT = {"-no-filter": "filter_gain", "-no-rationale": "rationale_gain"}  # end of an arm that lacks it -> the gain
BIASED = "planted bias"  # the question of the arms whose labels prefer the longer answer
TURNED = ("no-rationale", "one-teacher", "no-filter")  # arms that a claim sets the full recipe against
BY_TASK = ("modalities", "curriculum")  # questions whose effects are also told by modality
KEPT = {
    "flip": "reconciliation.flip",
    "rule": "reconciliation.rule",
    "shared": "reconciliation.shared",
    "verbosity": "reconciliation.verbosity",
    "curriculum": "sft.curriculum",
    "share": "sft.share",
    "format": "judge.format",
}


def gather(run: Run) -> None:
    """Read the frozen rows of the run and of every finished fork, and write `arms.csv` and `pairs.csv`."""
    arms: dict[str, dict[str, Any]] = {}
    pairs = []
    for name, (stage, model, question, change, reference) in OWN.items():
        rows = predictions(run.input(stage, "predictions.jsonl").parent)
        own = rows[rows["model"] == model]
        if own.empty:  # a run on top of another does not judge with the untuned backbone again
            continue
        steps = 0 if name == "untuned" else run.params[f"{stage[3:]}.steps"]
        arms[name] = {"arm": name, "question": question, "change": change, "reference": reference, "steps": steps}
        codes = rows["seed"].rank(method="dense").astype(int) - 1
        pairs.append(by_pair(own.assign(seed=codes), name))
    forks = forks_of(run.params, run.name, run.seed)
    for fork in forks:
        if path := rows_of(run, fork):
            arms.setdefault(fork.arm.name, _told(fork, run.params.profile))
            rows = predictions(path.parent)
            last = rows["model"] == {"03_sft": "sft", "04_grpo": "grpo"}[fork.arm.stages[-1]]
            pairs.append(by_pair(rows[last].assign(seed=fork.index), fork.arm.name))
    run.write("pairs.csv", pd.concat(pairs, ignore_index=True).to_csv(index=False))
    run.write("arms.csv", pd.DataFrame(list(arms.values())).to_csv(index=False))
    known(run, forks)


def _told(fork: Fork, profile: str) -> dict[str, Any]:
    """Return the row of an arm: what it changes, and what the figures need to know of it."""
    params = fork.params(profile)
    arm = fork.arm
    told = {"arm": arm.name, "question": arm.question, "change": arm.change}
    told["reference"] = "" if arm.name == arm.reference else arm.reference
    told["steps"] = params.peek(f"{arm.stages[-1][3:]}.steps")
    told["modalities"] = "+".join(params.peek("sft.modalities")) or "all"
    return told | {name: params.peek(key) for name, key in KEPT.items()}


def by_pair(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return a row a test pair: credit over both orders, shares of valid and tied judgements, tokens a judgement.

    `longer`: how far the verdicts bend to the longer answer from the gold label: from -1 to 1, NaN where lengths are
    equal or nothing was said.
    """
    sides = {"A": 1.0, "B": -1.0, "tie": 0.0}
    ahead = np.sign(rows["length_a"] - rows["length_b"]).replace(0, np.nan)
    bent = ahead * (rows["verdict"].map(sides) - rows["label"].map(sides)) / 2
    flags = rows.assign(valid=rows["status"].isin(READ), tied=rows["verdict"] == "tie", longer=bent)
    means = flags.groupby(["pair_id", "seed"])[["valid", "tied", "tokens", "longer"]].mean()
    table = protocol.pairs(rows).join(means, on=["pair_id", "seed"])
    columns = ["seed", "pair_id", "task", "cluster", "stratum", "credit", "valid", "tied", "tokens", "longer"]
    return table[columns].assign(arm=arm)[["arm", *columns]]


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return arms and pairs as `gather` wrote them."""
    arms = pd.read_csv(folder / "arms.csv", keep_default_na=False).set_index("arm")
    return arms, pd.read_csv(stored(folder / "pairs.csv"), dtype={"cluster": str})


def absent(folder: Path) -> list[str]:
    """Return the arms of params/runs/ of which no finished fork was found."""
    return sorted(set(known_arms()) - set(read(folder)[0].index))


def effect(pairs: pd.DataFrame, arm: str, reference: str, what: str = "credit") -> Interval | None:
    """Return the mean of `what` of an arm less that of its reference; None where either has no pairs.

    Paired by test pair and training seed; one seed stands beside each of several. Only seeds that both sides have
    count; unknown where they share none. Raises `RunError` where the two saw different test pairs.
    """
    a, b = (pairs[pairs["arm"] == name] for name in (arm, reference))
    if a.empty or b.empty:
        return None
    if set(a["pair_id"]) != set(b["pair_id"]):
        raise RunError(f"{arm} and {reference} were tested on different pairs; run both on one base run")
    return difference(a, b, what)


def bend(pairs: pd.DataFrame, arm: str) -> Interval:
    """Return how far an arm's verdicts bend to the longer answer; unknown where all answers are equally long."""
    told = pairs[pairs["arm"] == arm].dropna(subset="longer")
    return mean(told, "longer") if len(told) else UNKNOWN


def effects(folder: Path) -> pd.DataFrame:
    """Return (question, arm, change, reference, value, low, high, ...): every arm against its reference, by question.

    Beside it accuracy, shares of valid and tied judgements, tokens a judgement, steps and training seeds. A reference
    has a row without effect.
    """
    arms, pairs = read(folder)
    out = []
    for arm, told in arms.drop(index="untuned", errors="ignore").iterrows():
        own = pairs[pairs["arm"] == arm]
        found = effect(pairs, arm, told["reference"]) if told["reference"] else None
        row = {"arm": arm, "change": told["change"], "reference": told["reference"], "question": told["question"]}
        row |= found.as_row(count=False) if found else dict.fromkeys(("value", "low", "high"))
        row |= own[["credit", "valid", "tied", "tokens"]].mean().rename({"credit": "accuracy"}).to_dict()
        out.append(row | {"steps": int(told["steps"]), "seeds": own["seed"].nunique(), "n": len(own)})
    table = pd.DataFrame(out).astype({k: float for k in ("value", "low", "high")})
    order = list(dict.fromkeys(sorted(table["question"], key=lambda q: (q != "recipe", q))))
    return table.sort_values("question", key=lambda c: c.map(order.index), kind="stable").reset_index(drop=True)


def effects_shown(folder: Path) -> pd.DataFrame:
    """Return `effects` in words: per cent, points and tokens."""
    table = effects(folder)
    points = 100 * table[["value", "low", "high"]]
    gaps = [f"{v:+.1f} [{low:+.1f}, {high:+.1f}]" if v == v else "" for v, low, high in points.to_numpy()]
    shown = table[["question", "change", "reference", "steps", "seeds"]].assign(**{"effect (points)": gaps})
    for column in ("accuracy", "valid", "tied"):
        shown[f"{column} (%)"] = (100 * table[column]).round(1)
    return shown.assign(tokens=table["tokens"].round(1))


def known_metrics(folder: Path) -> dict[str, Interval]:
    """Return what `known` measured of labels and samples, as <measure>_<arm>; nothing where no truth is known."""
    path = stored(folder / "known.csv")
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    return {
        f"{row.measure}_{row.arm}".replace("-", "_"): Interval(row.value, row.low, row.high, int(row.n))
        for row in table.itertuples()
    }


def ablation_metrics(folder: Path) -> dict[str, Interval]:
    """Return every arm's effect, those by modality, and what the papers' claims ask for, by the claims' names."""
    arms, pairs = read(folder)
    found: dict[str, Interval | None] = {}

    def add(name: str, arm: str, reference: str, part: Any = slice(None), what: str = "credit") -> None:
        found[name.replace("-", "_")] = effect(pairs[part], arm, reference, what)

    for arm, told in arms[arms["reference"] != ""].iterrows():
        reference = told["reference"]
        add(f"{arm}_minus_{reference}", arm, reference)
        for task in pairs["task"].unique() if told["question"] in BY_TASK else ():
            add(f"{arm}_minus_{reference}_{task}", arm, reference, pairs["task"] == task)
        if told["question"] == "modalities":
            others = pairs["task"] != arm.replace("-only", "").replace("drop-", "")
            add(f"{arm}_minus_{reference}_others", arm, reference, others)
    for arm in TURNED:
        add(f"full_minus_{arm}", "full", arm)
    text = pairs["task"] == "text"
    add("tokens_full_minus_no_rationale", "full", "no-rationale", what="tokens")
    add("drop_text_minus_base_text", "drop-text", "untuned", text)
    add("text_only_minus_base_others", "text-only", "untuned", ~text)
    for arm in arms.index:
        for end, gain in WITHOUT.items():
            if arm.endswith(end):
                add(f"{gain}_{arm.removesuffix(end)}", arm.removesuffix(end), arm)
        before = arm.removesuffix("-grpo")
        if before != arm:
            add(f"grpo_gain_{before}", arm, before)
        if arms.loc[arm, "question"] == BIASED:
            reference = arms.loc[arm, "reference"]
            add(f"longer_{arm}_minus_{reference}", arm, reference, what="longer")
            if before != arm:
                add(f"longer_grpo_gain_{before}", arm, before, what="longer")
            found[f"longer_{arm}".replace("-", "_")] = bend(pairs, arm)
    return {name: value for name, value in found.items() if value is not None} | known_metrics(folder)
