"""Figures, tables and metrics of notebook 08 from the stage's saved files alone (Best-of-N).

Consumes `choices.csv` (a row a prompt, N, way and judge), `candidates.csv`, `scores.csv` and `predictions.jsonl`;
produces tidy frames and name -> interval. What had no judge at this profile has no line and no metric. "The judge" of
a metric's name is the GRPO judge by knock-out with the incumbent on a random side, at the largest N.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import comb
from pathlib import Path

import pandas as pd

from omnirepro.data import READ, stored
from omnirepro.kit import figures
from omnirepro.kit.report.tables import judgements
from omnirepro.papers.best_of_n.chosen import at, curve, gain, mean, overoptimisation, sizes_up_to
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
FINAL = "grpo"
CURVE = ["panel", "line", "n", "calls", "value", "low", "high"]
METRICS = {"right": "accuracy", "score": "score"}
SHOWN = {"right": ".1%", "score": ".2f"}
PLAIN = [(VOTE, ""), ("longest", ""), ("random", "")]
MEASURES = {"right": "right answers (%)", "score": "true score of the chosen answer (0-10)"}


def choices(folder: Path) -> pd.DataFrame:
    return pd.read_csv(stored(folder / "choices.csv"), keep_default_na=True).fillna({"judge": ""})


def lines_in(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (way, judge) -> its name in figures and tables: the known ones, then those of judges that were named."""
    found = dict.fromkeys(zip(table["way"], table["judge"], strict=True))
    return LINES | {key: f"{key[1]}, {key[0]}" for key in found if key not in LINES and key[1] and key[0] != AS_A}


def final_of(table: pd.DataFrame) -> str:
    """Return the judge that the metrics are about: the GRPO judge, else the first that was named."""
    judges = [name for name in table["judge"].unique() if name not in ("", "base", "sft", "dpo", "scalar")]
    return judges[0] if judges and FINAL not in judges else FINAL


def known_measures(table: pd.DataFrame) -> dict[str, str]:
    """Return the measures that are known of these answers: of gold answers the score is not, without them neither."""
    return {name: panel for name, panel in MEASURES.items() if table[name].notna().any()}


def curves(folder: Path, lines: list[tuple[str, str]]) -> pd.DataFrame:
    """Return (panel, line, n, calls, value, low, high) of some ways, a panel a measure; absent ways have no line."""
    parts = []
    every = choices(folder)
    asked = every.groupby(["way", "judge"])["prompt_id"].nunique()
    fewer = {key: f" ({n} of {asked.max()} prompts)" for key, n in asked.items() if n < asked.max()}
    names = {key: name + fewer.get(key, "") for key, name in lines_in(every).items()}
    for measure, panel in known_measures(every).items():
        table = curve(every, measure).set_index(["way", "judge"])
        parts += [table.loc[[key]].assign(panel=panel, line=names[key]) for key in lines if key in table.index]
    return pd.concat(parts, ignore_index=True)[CURVE] if parts else pd.DataFrame(columns=CURVE)


def ways(folder: Path) -> pd.DataFrame:
    """Return `curves` of the final judge's ways to choose, beside the choices without a judge."""
    judge = final_of(choices(folder))
    return curves(folder, [("oracle", ""), (KNOCK_OUT, judge), (ROBIN, judge), (OWN, judge), *PLAIN])


def judges(folder: Path) -> pd.DataFrame:
    """Return `curves` of every judge by its usual way: knock-out, the scalar model's score, a search for criteria."""
    lines = [line for line in lines_in(choices(folder)) if line[0] in (KNOCK_OUT, SCALAR, SEARCH)]
    return curves(folder, [*lines, ("random", "")])


def calls(folder: Path) -> pd.DataFrame:
    """Return `curves` of each way to ask a judge, with a vote, which asks none, at its largest N."""
    lines = [line for line in lines_in(choices(folder)) if line[1] not in ("", "base", "sft")]
    table = curves(folder, [*lines, (VOTE, "")])
    free = table["line"] == VOTE
    return table[~free | (table["n"] == table.loc[free, "n"].max())]


def incumbents(folder: Path) -> pd.DataFrame:
    """Return what the incumbent's side does (panel, line, n, ...): right answers, and matches that it survives."""
    table = choices(folder)
    known = {KNOCK_OUT: "incumbent on a random side", AS_A: "incumbent always A (as released)"}
    panels = {"right": MEASURES["right"], "kept": "matches that the incumbent survives (%)"}
    some = table[(table["judge"] == final_of(table)) & table["way"].isin(known)]
    shown = {measure: panel for measure, panel in panels.items() if some[measure].notna().any()}
    if not shown:
        return pd.DataFrame(columns=CURVE)
    parts = [curve(some, measure).assign(panel=panel) for measure, panel in shown.items()]
    return pd.concat(parts, ignore_index=True).assign(line=lambda t: t["way"].map(known)).drop(columns="way")


def proxies(folder: Path) -> pd.DataFrame:
    """Return proxy and true gain over one sample by KL (panel, line, kl, n, value, low, high), a panel a judge."""
    candidates, scores = (pd.read_csv(stored(folder / f"{name}.csv")) for name in ("candidates", "scores"))
    every = choices(folder)
    if not every["score"].notna().any():  # right or wrong is all that is known
        every, candidates = (rows.assign(score=rows["right"]) for rows in (every, candidates))
    table = overoptimisation(every, candidates, scores)
    names = lines_in(every)
    named = [names[key] for key in zip(table["way"], table["judge"], strict=True)]
    return table.assign(panel=named).drop(columns=["way", "judge"])


def at_most(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the choices of every way that there is, at its largest N."""
    table = choices(folder)
    yield from ((name, part) for key, name in lines_in(table).items() if len(part := at(table, *key)))


def choice_table(folder: Path) -> pd.DataFrame:
    """Return each way at its largest N: right answers (%), true score, and judgements a prompt."""
    rows = []
    for name, part in at_most(folder):
        shown = {name: format(mean(part, name), SHOWN[name]) for name in known_measures(part)}
        rows.append({"way": name, "N": int(part["n"].iloc[0])} | shown | {"calls": round(part["calls"].mean(), 1)})
    return pd.DataFrame(rows).set_index("way")


def choice_metrics(folder: Path) -> Metrics:
    """Return the metrics of the stage: levels at the largest N, paired differences (share right, and `_points`), costs.

    A difference is absent where one of its sides is.
    """
    table = choices(folder)
    final = final_of(table)
    known = known_measures(table)
    found: Metrics = {}
    for name, part in at_most(folder):
        slug = name.replace(",", "").replace(" ", "_").replace("-", "_").lower()
        found |= {f"{METRICS[measure]}_{slug}": mean(part, measure) for measure in known_measures(part)}
        found[f"calls_{slug}"] = float(part["calls"].mean())
    if not known:
        return found | valid_shares(folder)
    found["accuracy_one_sample"] = mean(at(table, "random", n=1))
    if "score" not in known:
        found |= of_gold_answers(folder)
    for name, a, b in compared(table, final):
        found |= compare([(name, a, b)], partial(at, table), gain)
        if "score" in known:
            found |= compare([(f"{name}_points", a, b)], partial(at, table), partial(gain, measure="score"))
    judge = at(table, KNOCK_OUT, final)
    voted = at(table, VOTE)
    found |= {f"judge_minus_self_consistency_{task}": gain(part, voted) for task, part in judge.groupby("task")}
    fixed, free = (at(table, way, final).dropna(subset="kept") for way in (AS_A, KNOCK_OUT))
    if len(fixed) and len(free):
        found |= {"incumbent_kept_as_a": mean(fixed, "kept"), "incumbent_kept_random_side": mean(free, "kept")}
        found["incumbent_kept_as_a_minus_random_side"] = gain(fixed, free, "kept")
    return found | last_doubling(table, final) | valid_shares(folder)


def of_gold_answers(folder: Path) -> Metrics:
    """Return what gold answers tell beside: the share of answers that say nothing legible, the first one, pass@n.

    pass@n: a prompt's chance that one of n of its N answers is right, without bias (Chen et al. 2021, Section 2.1).
    """
    table = pd.read_csv(stored(folder / "candidates.csv")).dropna(subset="right")
    told = table.assign(lost=table["answer"].isna().astype(float))
    found: Metrics = {"unreadable_answers": mean(told, "lost"), "accuracy_first": mean(table[table["place"] == 0])}
    counts = table.groupby(["prompt_id", "cluster"])["right"].agg(["sum", "size"]).astype(int).reset_index()
    for n in sizes_up_to(int(counts["size"].min())):
        missed = [comb(size - right, n) / comb(size, n) for right, size in counts[["sum", "size"]].to_numpy().tolist()]
        found[f"pass_at_{n}"] = mean(counts.assign(right=[1 - chance for chance in missed]))
    return found


def compared(table: pd.DataFrame, final: str = FINAL) -> list[tuple[str, Side, Side]]:
    """Return the comparisons (name, a, b), each side a way, its judge and its N where that is not the largest."""

    def largest(way: str, judge: str) -> int:
        sizes = at(table, way, judge)["n"]
        return int(sizes.max()) if len(sizes) else 0

    judge = (KNOCK_OUT, final)
    search = (SEARCH, "dpo")
    return [
        ("judge_minus_self_consistency", judge, VOTE),
        ("judge_minus_random", judge, "random"),
        ("judge_minus_longest", judge, "longest"),
        ("judge_minus_base_judge", judge, (KNOCK_OUT, "base")),
        ("judge_minus_sft_judge", judge, (KNOCK_OUT, "sft")),
        ("oracle_minus_judge", "oracle", judge),
        ("judge_most_minus_two_candidates", judge, (KNOCK_OUT, final, 2)),
        ("judge_minus_own_score", judge, (OWN, final)),
        ("incumbent_as_a_minus_random_side", (AS_A, final), judge),
        ("round_robin_minus_knock_out", (ROBIN, final), (KNOCK_OUT, final, largest(ROBIN, final))),
        ("judge_minus_scalar", judge, (SCALAR, "scalar")),
        ("criteria_search_minus_scalar", search, (SCALAR, "scalar", largest(*search))),
        ("criteria_search_dpo_minus_sft", search, (SEARCH, "sft")),
    ]


def last_doubling(table: pd.DataFrame, final: str = FINAL) -> Metrics:
    """Return, for each judge that scores candidates alone, what the last doubling of N adds to proxy and truth."""
    found: Metrics = {}
    truth = "score" if "score" in known_measures(table) else "right"
    for way, judge in ((OWN, final), (OWN, "sft"), (SCALAR, "scalar")):
        most = at(table, way, judge).dropna(subset="proxy")
        half = at(table, way, judge, int(most["n"].max()) // 2 or 1).dropna(subset="proxy") if len(most) else most
        if len(half):
            found[f"proxy_last_doubling_{judge}"] = gain(most, half, "proxy")
            found[f"truth_last_doubling_{judge}"] = gain(most, half, truth)
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
                                          ylabel="gain over one sample (SD)",
                                          title="Proxy and true gain as selection grows harder")),
    "incumbent": (incumbents, partial(by_n, title="What the incumbent's side does to a knock-out")),
}  # fmt: skip
