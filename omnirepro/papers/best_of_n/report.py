"""Figures, tables and metrics of notebook 08 from the stage's saved files alone (Best-of-N).

Consumes `choices.csv` (a row a prompt, N, way and judge), `candidates.csv`, `scores.csv` and `predictions.jsonl`;
produces tidy frames and name -> interval. What had no judge at this profile has no line and no metric. "The judge" of
a metric's name is the GRPO judge by knock-out with the incumbent on a random side, at the largest N.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.data import READ, stored
from omnirepro.kit import figures
from omnirepro.kit.report.tables import judgements
from omnirepro.papers.best_of_n.chosen import at, curve, gain, mean, overoptimisation
from omnirepro.papers.comparisons import Metrics, Side, compare

KNOCK_OUT = "knock-out"
AS_A = "knock-out, incumbent as A"
ROBIN = "round robin"
OWN = "own score"
SCALAR = "scalar model"
SEARCH = "criteria search"
VOTE = "self-consistency"
LINES = {
    ("oracle", ""): "oracle",
    (KNOCK_OUT, "grpo"): "GRPO judge, knock-out",
    (ROBIN, "grpo"): "GRPO judge, round robin",
    (OWN, "grpo"): "GRPO judge, own score",
    (KNOCK_OUT, "sft"): "SFT judge, knock-out",
    (OWN, "sft"): "SFT judge, own score",
    (KNOCK_OUT, "base"): "base judge, knock-out",
    (SCALAR, "scalar"): "scalar model",
    (SEARCH, "sft"): "criteria search, SFT",
    (SEARCH, "dpo"): "criteria search, DPO",
    (VOTE, ""): VOTE,
    ("longest", ""): "longest",
    ("random", ""): "random",
}
JUDGED = [line for line in LINES if line[1]]
PLAIN = [(VOTE, ""), ("longest", ""), ("random", "")]
MEASURES = {"right": "right answers (%)", "score": "true score of the chosen answer (0-10)"}


def choices(folder: Path) -> pd.DataFrame:
    return pd.read_csv(stored(folder / "choices.csv"), keep_default_na=True).fillna({"judge": ""})


def curves(folder: Path, lines: list[tuple[str, str]]) -> pd.DataFrame:
    """Return (panel, line, n, calls, value, low, high) of some ways, a panel a measure; absent ways have no line."""
    parts = []
    for measure, panel in MEASURES.items():
        table = curve(choices(folder), measure).set_index(["way", "judge"])
        parts += [table.loc[[key]].assign(panel=panel, line=LINES[key]) for key in lines if key in table.index]
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


def at_most(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the choices of every way that there is, at its largest N."""
    table = choices(folder)
    yield from ((name, part) for key, name in LINES.items() if len(part := at(table, *key)))


def choice_table(folder: Path) -> pd.DataFrame:
    """Return each way at its largest N: right answers (%), true score, and judgements a prompt."""
    rows = []
    for name, part in at_most(folder):
        shown = {"right": f"{mean(part):.1%}", "score": f"{mean(part, 'score'):.2f}"}
        rows.append({"way": name, "N": int(part["n"].iloc[0])} | shown | {"calls": round(part["calls"].mean(), 1)})
    return pd.DataFrame(rows).set_index("way")


def choice_metrics(folder: Path) -> Metrics:
    """Return the metrics of the stage: levels at the largest N, paired differences (share right, and `_points`), costs.

    A difference is absent where one of its sides is.
    """
    table = choices(folder)
    found: Metrics = {}
    for name, part in at_most(folder):
        slug = name.replace(",", "").replace(" ", "_").replace("-", "_").lower()
        found |= {f"accuracy_{slug}": mean(part), f"score_{slug}": mean(part, "score")}
        found[f"calls_{slug}"] = float(part["calls"].mean())
    found["accuracy_one_sample"] = mean(at(table, "random", n=1))
    for name, a, b in compared(table):
        found |= compare([(name, a, b)], partial(at, table), gain)
        found |= compare([(f"{name}_points", a, b)], partial(at, table), partial(gain, measure="score"))
    judge = at(table, KNOCK_OUT, "grpo")
    voted = at(table, VOTE)
    found |= {f"judge_minus_self_consistency_{task}": gain(part, voted) for task, part in judge.groupby("task")}
    fixed, free = (at(table, way, "grpo").dropna(subset="kept") for way in (AS_A, KNOCK_OUT))
    if len(fixed) and len(free):
        found |= {"incumbent_kept_as_a": mean(fixed, "kept"), "incumbent_kept_random_side": mean(free, "kept")}
        found["incumbent_kept_as_a_minus_random_side"] = gain(fixed, free, "kept")
    return found | last_doubling(table) | valid_shares(folder)


def compared(table: pd.DataFrame) -> list[tuple[str, Side, Side]]:
    """Return the comparisons (name, a, b), each side a way, its judge and its N where that is not the largest."""

    def largest(way: str, judge: str) -> int:
        sizes = at(table, way, judge)["n"]
        return int(sizes.max()) if len(sizes) else 0

    judge = (KNOCK_OUT, "grpo")
    search = (SEARCH, "dpo")
    return [
        ("judge_minus_self_consistency", judge, VOTE),
        ("judge_minus_random", judge, "random"),
        ("judge_minus_longest", judge, "longest"),
        ("judge_minus_base_judge", judge, (KNOCK_OUT, "base")),
        ("judge_minus_sft_judge", judge, (KNOCK_OUT, "sft")),
        ("oracle_minus_judge", "oracle", judge),
        ("judge_most_minus_two_candidates", judge, (KNOCK_OUT, "grpo", 2)),
        ("judge_minus_own_score", judge, (OWN, "grpo")),
        ("incumbent_as_a_minus_random_side", (AS_A, "grpo"), judge),
        ("round_robin_minus_knock_out", (ROBIN, "grpo"), (KNOCK_OUT, "grpo", largest(ROBIN, "grpo"))),
        ("judge_minus_scalar", judge, (SCALAR, "scalar")),
        ("criteria_search_minus_scalar", search, (SCALAR, "scalar", largest(*search))),
        ("criteria_search_dpo_minus_sft", search, (SEARCH, "sft")),
    ]


def last_doubling(table: pd.DataFrame) -> Metrics:
    """Return, for each judge that scores candidates alone, what the last doubling of N adds to proxy and truth."""
    found: Metrics = {}
    for way, judge in ((OWN, "grpo"), (OWN, "sft"), (SCALAR, "scalar")):
        most = at(table, way, judge).dropna(subset="proxy")
        half = at(table, way, judge, int(most["n"].max()) // 2 or 1).dropna(subset="proxy") if len(most) else most
        if len(half):
            found[f"proxy_last_doubling_{judge}"] = gain(most, half, "proxy")
            found[f"truth_last_doubling_{judge}"] = gain(most, half, "score")
    return found


def valid_shares(folder: Path) -> Metrics:
    """Return each judge's share of judgements that could be read; where all candidates are alike none is asked."""
    rows = [(r.model, r.cluster, r.status in READ) for r in judgements(folder)]
    table = pd.DataFrame(rows, columns=["model", "cluster", "valid"])
    return {f"valid_share_{model}": mean(part, "valid") for model, part in table.groupby("model")}


in_panels = partial(figures.curves, line="line", panel="panel", grey=("random",))
by_n = partial(in_panels, x="n", xlabel="candidates N", xscale="log", sharey=False)

CHOICE_PLOTS = {
    "ways": (ways, partial(by_n, title="What is chosen of N candidates, by way to choose")),
    "judges": (judges, partial(by_n, title="What is chosen of N candidates, by judge")),
    "calls": (calls, partial(in_panels, x="calls", xlabel="judgements a prompt (mean)", xscale="counts", sharey=False,
                               title="What is chosen, by the judgements spent")),
    "overoptimisation": (proxies, partial(in_panels, x="kl", xlabel="KL of best-of-N from one sample, at most (nats)",
                                          title="Proxy and true gain as selection grows harder")),
    "incumbent": (incumbents, partial(by_n, title="What the incumbent's side does to a knock-out")),
}  # fmt: skip
