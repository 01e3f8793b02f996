"""Others' files of judgements: reward-bench's, written from frozen rows and read as such, and those of MMRB2, written.

reward-bench (allenai/reward-bench, v1) has two files a model: accuracies by subset (`eval-set`), and columns of equal
length for each item (`eval-set-scores`): `id`, `subset`, `text_chosen`, `text_rejected`, `results` (1, 0, or 0.5 for a
tie) and, for scalar models, `scores_chosen` and `scores_rejected`.

`results` is the mean over both orders here, so 0.5 may also mean that the orders disagree. A file does not say in which
order a pair was shown: what is read stands in both orders alike, and says nothing about position.

Multimodal RewardBench 2 (facebookresearch/MMRB2) keeps what was said in each order, as it was displayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from omnirepro.data import Judgement, Pair, RowError, text_of, turns
from omnirepro.evaluate.protocol import pairs as by_pair
from omnirepro.evaluate.rows import Rows, frame

COLUMNS = ("id", "subset", "text_chosen", "text_rejected", "results")
_SAID = {1: "A", 0: "B", 0.5: "tie"}


def write_results(rows: Rows, pairs: Sequence[Pair], model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a judge's `eval-set` and `eval-set-scores` contents for decided pairs; a failed verdict earns 0.5.

    Raises ValueError where a decided pair was not judged in both orders.
    """
    data = frame(rows)
    earned = by_pair(data, policy="half", tie_policy="half").set_index("pair_id")["credit"]
    decided = [p for p in pairs if p.label in ("A", "B")]
    if lacking := [p.id for p in decided if p.id not in earned.index]:
        raise ValueError(f"{len(lacking)} pairs were not judged, such as {lacking[0]}")
    kind = "Seq. Classifier" if set(data.get("kind", [])) == {"scalar"} else "Generative RM"
    columns: dict[str, Any] = {name: [] for name in COLUMNS}
    for p in decided:
        better, worse = (p.response_a, p.response_b) if p.label == "A" else (p.response_b, p.response_a)
        columns["id"].append(p.id)
        columns["subset"].append(p.task)
        for name, side in (("text_chosen", better), ("text_rejected", worse)):
            said = (*turns(p.prompt), *turns(side, "assistant"))
            columns[name].append([{"role": turn["role"], "content": text_of(turn["parts"])} for turn in said])
        columns["results"].append(float(earned[p.id]))
    if kind == "Seq. Classifier":
        first = data.groupby("pair_id")[["score_a", "score_b"]].first()
        for name, sides in (("scores_chosen", "ab"), ("scores_rejected", "ba")):
            columns[name] = [float(first.loc[p.id, f"score_{sides[p.label == 'B']}"]) for p in decided]
    head = {"model": model, "model_type": kind, "chat_template": None}
    means = pd.Series(columns["results"], dtype=float).groupby(pd.Series(columns["subset"], dtype=object)).mean()
    return head | means.to_dict(), columns | head


def mmrb2_results(rows: Rows) -> dict[str, Any]:
    """Return a judge's verdicts by pair id, `forward` and `reverse`, as its scorer reads them: the latter is unturned.

    What could not be read has no judgement, which the scorer leaves out. Raises ValueError on rows of several seeds.
    """
    data = frame(rows)
    if (seeds := data["seed"].nunique()) > 1:
        raise ValueError(f"rows of {seeds} seeds; the format holds one: select it")
    made: dict[str, Any] = {name: {"forward": [], "reverse": []} for name in dict.fromkeys(data["pair_id"])}
    for row in data.itertuples():
        said = {"judgement": row.shown, "evaluator": row.model, "metadata": {"status": row.status}}
        made[row.pair_id]["forward" if row.order == "AB" else "reverse"].append(said)
    return made


def read_results(content: Any) -> list[Judgement]:
    """Return the rows of an `eval-set-scores` file: A is the chosen side, in both orders. Raises `RowError`."""
    if not isinstance(content, dict):
        raise RowError("not a per-item result file of reward-bench")
    if lacking := [c for c in COLUMNS if not isinstance(content.get(c), list)]:
        raise RowError(f"not a per-item result file of reward-bench: a list is missing for {', '.join(lacking)}")
    if len({len(content[c]) for c in COLUMNS}) != 1:
        raise RowError("the columns of the result file differ in length; get it again")
    rows: list[Judgement] = []
    for i, (name, subset, chosen, rejected, result) in enumerate(zip(*(content[c] for c in COLUMNS), strict=True)):
        if result not in list(_SAID):
            raise RowError(f"results[{i}]: {result!r} is none of 0, 0.5, 1")
        about: dict[str, Any] = {"pair_id": str(name), "task": str(subset), "cluster": str(name), "label": "A"}
        about |= {"kind": "verdict", "model": str(content.get("model", "")), "decoding": {"orders": "not stated"}}
        about |= {"length_a": len(_last(chosen)), "length_b": len(_last(rejected))}
        row = Judgement(order="AB", status="ok", verdict=_SAID[result], **about)
        if isinstance(content.get("scores_chosen"), list):
            scores = {"score_a": content["scores_chosen"][i], "score_b": content["scores_rejected"][i]}
            row = row.model_copy(update=scores | {"kind": "scalar"})
        rows += [row, row.model_copy(update={"order": "BA"})]
    return rows


def _last(said: Any) -> str:
    """Return the answer of a transcript, which is a text or a chat."""
    return said if isinstance(said, str) else str(said[-1].get("content", "")) if said else ""
