"""What Best-of-N chose, by N and by way: tables of choices, their quality and their cost, with paired intervals.

Consumes candidates (a row each: prompt_id, task, cluster, place, form, text, answer, right, score) and what
`best_of_n` chose of them; produces a row a (prompt, n, way, judge): `right` (0 or 1) and `score` (0-10) by the world's
truth, `calls` to a judge, `kept` (share of matches that the incumbent survived) and `proxy` (what the judge itself
gives the choice). The N are nested: the first n of the same samples. Intervals are clustered by prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from omnirepro.evaluate.statistics import Interval
from omnirepro.papers import comparisons
from omnirepro.search.tournament import Compare, Forms, Ladder, highest, kl, longest, round_robin, vote

MEASURES = ("right", "score")
ABOUT = ["prompt_id", "task", "cluster"]


def sizes_up_to(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most` itself."""
    return sorted({*(2**i for i in range(most.bit_length())), most})


def of_ladders(ladders: Mapping[str, Ladder], sizes: Sequence[int], way: str, judge: str) -> pd.DataFrame:
    """Return the choices (prompt_id, n, way, judge, place, calls, kept) of knock-outs; of n, or of all where fewer."""
    rows = []
    for name, ladder in ladders.items():
        for n in sizes:
            last = min(n, len(ladder.leads)) - 1
            calls = ladder.calls[last]
            kept = ladder.kept[last] / calls if calls else np.nan
            rows.append((name, n, way, judge, ladder.leads[last], calls, kept))
    return pd.DataFrame(rows, columns=["prompt_id", "n", "way", "judge", "place", "calls", "kept"])


def of_round_robins(forms: Forms, compare: Compare, sizes: Sequence[int], judge: str) -> pd.DataFrame:
    """Return the choices of a round robin among the first n candidates alone, for every n."""
    rows = []
    for n in sizes:
        for name, strengths in round_robin({k: row[:n] for k, row in forms.items()}, compare).items():
            calls = len(strengths) * (len(strengths) - 1)
            rows.append((name, n, "round robin", judge, highest(strengths), calls))
    return pd.DataFrame(rows, columns=["prompt_id", "n", "way", "judge", "place", "calls"])


def of_scores(forms: Forms, scores: Mapping[str, Mapping[int, float]], sizes: Sequence[int], way: str, judge: str):
    """Return the choices by the highest score, with that score as `proxy`; `scores`: prompt -> candidate -> score."""
    rows = []
    for name, row in forms.items():
        for n in sizes:
            some = {form: scores[name][form] for form in set(row[:n])}
            place = highest(some)
            rows.append((name, n, way, judge, place, len(some), some[place]))
    return pd.DataFrame(rows, columns=["prompt_id", "n", "way", "judge", "place", "calls", "proxy"])


def without_a_judge(candidates: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """Return the choices of a vote over the answers (self-consistency) and of the longest candidate."""
    rows = []
    for name, part in candidates.groupby("prompt_id", sort=False):
        answers = [a if isinstance(a, str) else None for a in part["answer"]]
        texts = part["text"].fillna("").tolist()
        for n in sizes:
            rows.append((name, n, "self-consistency", "", vote(answers[:n]), 0))
            rows.append((name, n, "longest", "", longest(texts[:n]), 0))
    return pd.DataFrame(rows, columns=["prompt_id", "n", "way", "judge", "place", "calls"])


def bounds(candidates: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """Return what a random pick earns (its exact mean) and what the best pick would earn in each measure (oracle)."""
    out = []
    for n in sizes:
        some = candidates[candidates["place"] < n].groupby(ABOUT, sort=False)[list(MEASURES)]
        for way, found in (("random", some.mean()), ("oracle", some.max())):
            out.append(found.reset_index().assign(n=n, way=way, judge="", calls=0))
    return pd.concat(out, ignore_index=True)


def qualities(choices: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """Return choices with the quality of what was chosen."""
    known = candidates[[*ABOUT, "place", *MEASURES]]
    return choices.merge(known, on=["prompt_id", "place"], validate="many_to_one", how="left")


def curve(choices: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return (way, judge, n, calls, value, low, high): the mean of a measure by N, and its mean cost."""
    rows = []
    for (way, judge, n), part in choices.dropna(subset=measure).groupby(["way", "judge", "n"], sort=False):
        about = {"way": way, "judge": judge, "n": n, "calls": part["calls"].mean()}
        rows.append(about | mean(part, measure).as_row(count=False))
    return pd.DataFrame(rows)


def at(choices: pd.DataFrame, way: str, judge: str = "", n: int | None = None) -> pd.DataFrame:
    """Return the choices of one way and judge at one N (default: the largest that it has), a row a prompt."""
    some = choices[(choices["way"] == way) & (choices["judge"] == judge)]
    return some[some["n"] == (some["n"].max() if n is None else n)]


def mean(table: pd.DataFrame, measure: str = "right") -> Interval:
    """Return the mean of a measure, clustered by prompt."""
    return comparisons.mean(table, measure)


def gain(a: pd.DataFrame, b: pd.DataFrame, measure: str = "right") -> Interval:
    """Return the mean of a minus that of b over the prompts that both hold, paired; unknown where they share none."""
    return comparisons.difference(a, b, measure, on="prompt_id")


def overoptimisation(choices: pd.DataFrame, candidates: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return (way, judge, n, kl, line, value, low, high): proxy and true gain over one sample as N grows.

    In standard deviations of that quantity over all candidates, so that judges on any scale can be compared. `scores`
    has the columns judge, prompt_id, place and score: what each judge gives each distinct candidate.
    """
    rows = []
    for (way, judge), part in choices.dropna(subset="proxy").groupby(["way", "judge"], sort=False):
        own = scores[scores["judge"] == judge].rename(columns={"score": "proxy", "place": "form"})
        every = candidates.merge(own[["prompt_id", "form", "proxy"]], on=["prompt_id", "form"], how="left")
        for line, column in (("proxy: the judge's own score", "proxy"), ("truth: the world's score", "score")):
            centre = part["prompt_id"].map(every.groupby("prompt_id")[column].mean())
            spread = every[column].std()
            gained = (part[column] - centre) / (spread if spread > 0 else 1.0)
            for n, some in part.assign(gained=gained).dropna(subset="gained").groupby("n"):
                about = {"way": way, "judge": judge, "n": n, "kl": kl(n), "line": line}
                rows.append(about | mean(some, "gained").as_row(count=False))
    return pd.DataFrame(rows, columns=["way", "judge", "n", "kl", "line", "value", "low", "high"])
