"""Figures, tables and metrics of notebook 08 from the stage's saved files alone (Best-of-N).

Consumes `choices.csv` (a row a prompt, N, way and judge), `candidates.csv`, `scores.csv` and `predictions.jsonl`;
produces tidy frames and name -> interval. What had no judge at this profile has no line and no metric. "The judge" of
a metric's name is the GRPO judge by knock-out with the incumbent on a random side, at the largest N.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import stored
from omnirepro.kit import figures
from omnirepro.kit.report.tables import judgements
from omnirepro.papers.best_of_n.chosen import at, curve, gain, mean, overoptimisation

KNOCK_OUT, AS_A, ROBIN, OWN = "knock-out", "knock-out, incumbent as A", "round robin", "own score"
SCALAR, SEARCH, VOTE = "scalar model", "criteria search", "self-consistency"
LINES = {
    ("oracle", ""): "oracle", (KNOCK_OUT, "grpo"): "GRPO judge, knock-out", (ROBIN, "grpo"): "GRPO judge, round robin",
    (OWN, "grpo"): "GRPO judge, own score", (KNOCK_OUT, "sft"): "SFT judge, knock-out",
    (OWN, "sft"): "SFT judge, own score", (KNOCK_OUT, "base"): "base judge, knock-out",
    (SCALAR, "scalar"): "scalar model", (SEARCH, "sft"): "criteria search, SFT",
    (SEARCH, "dpo"): "criteria search, DPO", (VOTE, ""): VOTE, ("longest", ""): "longest", ("random", ""): "random",
}  # fmt: skip
JUDGED = [line for line in LINES if line[1]]
PLAIN = [(VOTE, ""), ("longest", ""), ("random", "")]
MEASURES = {"right": "right answers (%)", "score": "true score of the chosen answer (0-10)"}
Metrics = dict[str, Any]


def choices(folder: Path) -> pd.DataFrame:
    return pd.read_csv(stored(folder / "choices.csv"), keep_default_na=True).fillna({"judge": ""})


def curves(folder: Path, lines: list[tuple[str, str]], measures: dict[str, str] = MEASURES) -> pd.DataFrame:
    """Return (panel, line, n, calls, value, low, high) of some ways, a panel a measure; absent ways have no line."""
    parts = []
    for measure, panel in measures.items():
        table = curve(choices(folder), measure)
        keys = list(zip(table["way"], table["judge"], strict=True))
        named = table.assign(panel=panel, line=[LINES.get(key, key[0]) for key in keys], key=keys)
        parts += [named[named["key"] == key] for key in lines]
    return pd.concat(parts, ignore_index=True)[["panel", "line", "n", "calls", "value", "low", "high"]]


def ways(folder: Path) -> pd.DataFrame:
    """Return `curves` of the final judge's ways to choose, beside the choices without a judge."""
    return curves(folder, [("oracle", ""), (KNOCK_OUT, "grpo"), (ROBIN, "grpo"), (OWN, "grpo"), *PLAIN])


def judges(folder: Path) -> pd.DataFrame:
    """Return `curves` of every judge by its usual way: knock-out, the scalar model's score, a search for criteria."""
    return curves(folder, [line for line in JUDGED if line[0] in (KNOCK_OUT, SCALAR, SEARCH)] + [("random", "")])


def calls(folder: Path) -> pd.DataFrame:
    """Return `curves` of each way to ask a judge, with a vote, which asks none, at its largest N."""
    table = curves(folder, [line for line in JUDGED if line[1] not in ("base", "sft")] + [(VOTE, "")])
    free = table["line"] == VOTE
    return table[~free | (table["n"] == table.loc[free, "n"].max())]


def incumbents(folder: Path) -> pd.DataFrame:
    """Return what the incumbent's side does (panel, line, n, ...): right answers, and matches that it survives."""
    table = choices(folder)
    known = {KNOCK_OUT: "incumbent on a random side", AS_A: "incumbent always A (as released)"}
    panels = {"right": MEASURES["right"], "kept": "matches that the incumbent survives (%)"}
    some = table[(table["judge"] == "grpo") & table["way"].isin(known)]
    parts = [curve(some, measure).assign(panel=panel) for measure, panel in panels.items()]
    return pd.concat(parts, ignore_index=True).assign(line=lambda t: t["way"].map(known)).drop(columns="way")


def proxies(folder: Path) -> pd.DataFrame:
    """Return proxy and true gain over one sample by KL (panel, line, kl, n, value, low, high), a panel a judge."""
    candidates, scores = (pd.read_csv(stored(folder / f"{name}.csv")) for name in ("candidates", "scores"))
    table = overoptimisation(choices(folder), candidates, scores)
    named = [f"gain by {LINES[key]} (SD)" for key in zip(table["way"], table["judge"], strict=True)]
    return table.assign(panel=named).drop(columns=["way", "judge"])


def choice_table(folder: Path) -> pd.DataFrame:
    """Return each way at its largest N: right answers (%), true score, and judgements a prompt."""
    table, rows = choices(folder), []
    for key, name in LINES.items():
        if (part := at(table, *key)).size:
            about = {"way": name, "N": int(part["n"].iloc[0]), "right": f"{mean(part):.1%}"}
            rows.append(about | {"score": f"{mean(part, 'score'):.2f}", "calls": round(part["calls"].mean(), 1)})
    return pd.DataFrame(rows).set_index("way")


def choice_metrics(folder: Path) -> Metrics:
    """Return the metrics of the stage: levels at the largest N, paired differences (share right, and `_points`), costs.

    A difference is absent where one of its sides is.
    """
    table, found = choices(folder), Metrics()
    for key, name in LINES.items():
        if (part := at(table, *key)).size:
            slug = name.replace(",", "").replace(" ", "_").replace("-", "_").lower()
            found |= {f"accuracy_{slug}": mean(part), f"score_{slug}": mean(part, "score")}
            found[f"calls_{slug}"] = float(part["calls"].mean())
    found["accuracy_one_sample"] = mean(at(table, "random", n=1))
    for name, (a, b) in _sides(table).items():
        if len(a) and len(b):
            found |= {name: gain(a, b), f"{name}_points": gain(a, b, "score")}
    return found | _by_modality(table) | _incumbent(table) | _proxies(table) | _valid(folder)


def _sides(table: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the two sides of each difference by its name."""
    of = partial(at, table)
    judge, robin, search = of(KNOCK_OUT, "grpo"), of(ROBIN, "grpo"), of(SEARCH, "dpo")
    fewer, searched = (int(part["n"].max()) if len(part) else 0 for part in (robin, search))
    return {
        "judge_minus_self_consistency": (judge, of(VOTE)),
        "judge_minus_random": (judge, of("random")),
        "judge_minus_longest": (judge, of("longest")),
        "judge_minus_base_judge": (judge, of(KNOCK_OUT, "base")),
        "judge_minus_sft_judge": (judge, of(KNOCK_OUT, "sft")),
        "oracle_minus_judge": (of("oracle"), judge),
        "judge_most_minus_two_candidates": (judge, of(KNOCK_OUT, "grpo", 2)),
        "judge_minus_own_score": (judge, of(OWN, "grpo")),
        "incumbent_as_a_minus_random_side": (of(AS_A, "grpo"), judge),
        "round_robin_minus_knock_out": (robin, of(KNOCK_OUT, "grpo", fewer)),
        "judge_minus_scalar": (judge, of(SCALAR, "scalar")),
        "criteria_search_minus_scalar": (search, of(SCALAR, "scalar", searched)),
        "criteria_search_dpo_minus_sft": (search, of(SEARCH, "sft")),
    }


def _by_modality(table: pd.DataFrame) -> Metrics:
    judge, voted = at(table, KNOCK_OUT, "grpo"), at(table, VOTE)
    return {f"judge_minus_self_consistency_{task}": gain(part, voted) for task, part in judge.groupby("task")}


def _incumbent(table: pd.DataFrame) -> Metrics:
    fixed, free = (at(table, way, "grpo").dropna(subset="kept") for way in (AS_A, KNOCK_OUT))
    if fixed.empty or free.empty:
        return {}
    found = {"incumbent_kept_as_a": mean(fixed, "kept"), "incumbent_kept_random_side": mean(free, "kept")}
    return found | {"incumbent_kept_as_a_minus_random_side": gain(fixed, free, "kept")}


def _proxies(table: pd.DataFrame) -> Metrics:
    """Return, for each judge that scores candidates alone, what the last doubling of N adds to proxy and truth."""
    found: Metrics = {}
    for way, judge in ((OWN, "grpo"), (OWN, "sft"), (SCALAR, "scalar")):
        most = at(table, way, judge).dropna(subset="proxy")
        half = at(table, way, judge, int(most["n"].max()) // 2 or 1).dropna(subset="proxy") if len(most) else most
        if len(half):
            names = {"proxy": "proxy_last_doubling", "score": "truth_last_doubling"}
            found |= {f"{name}_{judge}": gain(most, half, column) for column, name in names.items()}
    return found


def _valid(folder: Path) -> Metrics:
    """Return each judge's share of judgements that could be read; where all candidates are alike none is asked."""
    rows = pd.DataFrame(
        [(r.model, r.cluster, r.status == "ok") for r in judgements(folder)], columns=["model", "cluster", "valid"]
    )
    return {f"valid_share_{model}": mean(part, "valid") for model, part in rows.groupby("model")}


CHOICE_PLOTS = {
    "ways": (ways, figures.chosen),
    "judges": (judges, figures.chosen),
    "calls": (calls, lambda df: figures.chosen(df, "calls")),
    "overoptimisation": (proxies, lambda df: figures.chosen(df, "kl")),
    "incumbent": (incumbents, figures.chosen),
}
