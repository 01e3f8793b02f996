"""A scalar reward model from anyone's preferences (Bradley-Terry), tested beside baselines: no notebook, no world.

Consumes public data or pair files (whatever `sources.load` reads) and a model; produces the stage folder
`preferences_bradley_terry` of a run: `scorer`, `loss.csv`, `predictions.jsonl` (model name `judge/set` a row),
`counts.csv` and metrics. The section `bradley_terry` says how it is trained.

Training and held-out pairs share no prompt, and a training pair whose prompt stands in a test set is left out. Sides
are exchanged by a coin that hangs on the pair: several releases list the better response first. Without the published
18000 tokens a pair, pairs longer than `bradley_terry.max_length` are left out of training and tests and counted.
Gold ties are left out: this likelihood and this accuracy are about decided pairs.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from omnirepro.data import Judgement, Pair, Part, RowError, read_jsonl, write_jsonl
from omnirepro.data.schema import refuse_empty, refuse_repeat
from omnirepro.data.sources import SOURCES, load
from omnirepro.data.sources.parts import group, sample_clusters, shared
from omnirepro.evaluate import protocol
from omnirepro.evaluate.statistics import Interval, clustered_bootstrap, paired_bootstrap
from omnirepro.judge.generative import load_judge
from omnirepro.judge.rows import judge_split
from omnirepro.judge.scalar import chat, load_scalar_judge
from omnirepro.kit.run import Run
from omnirepro.models.generation import Decoding
from omnirepro.train.bradley_terry import train_bradley_terry
from omnirepro.train.curriculum import labels_of

STAGE = "preferences_bradley_terry"
Sets = dict[str, list[Pair]]
Names = Sequence[str]


def read_sets(data: Names, seed: int, root: str | None = None) -> Sets:
    """Read decided pairs, a set a source (LLMBar's sections apart), sides exchanged by coin, ids led by the set.

    Raises `RowError` where a file holds no pair, and where two of own pairs share an id; those of released sets are
    numbered.
    """
    sets: Sets = {}
    places: dict[str, str] = {}
    times: Counter[str] = Counter()
    for path in data:
        for pair in refuse_empty(list(load(path, root=root, sides=seed)), path):
            if pair.label in ("A", "B"):
                section = (pair.meta or {}).get("section")
                name = "-".join(filter(None, (pair.source or Path(path).stem, section))).lower()
                key = f"{name}:{pair.id}"
                times[key] += 1
                if times[key] > 1 and pair.source not in SOURCES:
                    refuse_repeat(key, str(path), places)
                places[key] = str(path)
                number = f"#{times[key]}" if times[key] > 1 else ""
                changed = {"id": key + number, "cluster": group(pair)}
                sets.setdefault(name, []).append(pair.model_copy(update=changed))
    return sets


def draw(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Return about `limit` pairs by whole prompts (0: all of them), prompts in the order of their hashes."""
    return sorted(sample_clusters(pairs, limit), key=lambda p: (_hash(p), p.id))


def divide(sets: Sets, share: float) -> tuple[list[Pair], Sets]:
    """Split every set by prompt: training pairs of all of them, and a held-out set each; `share` of the prompts."""
    held = {p.cluster for pairs in sets.values() for p in pairs if int(_hash(p)[-6:], 16) < share * 16**6}
    train = [p for pairs in sets.values() for p in pairs if p.cluster not in held]
    return train, {f"{name}-held-out": [p for p in pairs if p.cluster in held] for name, pairs in sets.items()}


def apart(train: Sequence[Pair], tests: Sets) -> list[Pair]:
    """Return the training pairs whose prompt, by its content, stands in no test set."""
    asked = {shared(p.prompt) for pairs in tests.values() for p in pairs}
    return [p for p in train if shared(p.prompt) not in asked]


def _hash(pair: Pair) -> str:
    return hashlib.sha256(f"{pair.cluster}".encode()).hexdigest()


def short(pairs: Sequence[Pair], processor: Any, limit: int) -> list[Pair]:
    """Return the pairs whose prompt makes at most `limit` tokens with either response."""

    def fits(pair: Pair, response: list[Part]) -> bool:
        return len(processor.encode(chat(pair.prompt, response, pair.criterion), scored=True).ids) <= limit

    return [pair for pair in pairs if fits(pair, pair.response_a) and fits(pair, pair.response_b)]


def prepare(
    run: Run,
    model: str,
    data: Names,
    tests: Names,
    held_out: float,
    limit: int,
    beside: Names = (),
    root: str | None = None,
) -> tuple[list[Pair], Sets]:
    """Read, split and filter; returns training pairs and test sets of at most about `limit` pairs each.

    Prints what was left out, and notes all of it as the stage's input, so that other data mean other work. Raises
    `RowError` where nothing is left to train on or to test.
    """
    from omnirepro.models.loading import load as load_model

    train, sets = divide(read_sets(data, run.seed, root), held_out)
    sets |= read_sets(tests, run.seed, root)
    _, processor = load_model(model, run.device, run.dtype)
    longest = run.section("bradley_terry")["max_length"]
    fitting = {name: short(pairs, processor, longest) for name, pairs in (sets | {"train": train}).items()}
    chosen = apart(fitting.pop("train"), sets)
    drawn = {name: draw(pairs, limit) for name, pairs in fitting.items() if pairs}
    print(f"train: {len(chosen)} of {len(train)} pairs (at most {longest} tokens, prompt in no test set)")
    for name, pairs in drawn.items():
        print(f"{name}: {len(pairs)} of {len(sets[name])} pairs (at most {longest} tokens, limit {limit or 'none'})")
    if not chosen or not drawn:
        raise RowError("no decided pair to train on or to test: raise bradley_terry.max_length, or change --held-out")
    with tempfile.TemporaryDirectory() as folder:
        given = write_jsonl(Path(folder) / "given.jsonl", [*chosen, *(p for ps in drawn.values() for p in ps)])
        run.note("/".join(["given", *(_short(name) for name in (model, *beside)), "pairs.jsonl"]), given)
    return chosen, drawn


def _short(name: str) -> str:
    return name.rstrip("/").split("/")[-1].split("#")[-1]


def train_and_test(run: Run, model: str, train: list[Pair], sets: Sets, beside: Names) -> None:
    """Train a scorer from `model`, score every set, and judge each with other models (a bare verdict) beside it."""
    asked = run.section("judge")
    how = (asked["batch_size"], run.device, run.dtype)
    p = run.section("bradley_terry")
    folder = train_bradley_terry(run, model, train, labels_of(train), p, asked["wording"])
    judges: dict[str, Any] = {"scorer": load_scalar_judge(folder, *how)}
    for name in beside:
        found = load_judge(name, *how, format="verdict-direct", wording="full", endpoint=run.endpoint)
        found.decoding = Decoding(max_new_tokens=8)
        judges[_short(name)] = found
    rows: list[Judgement] = []
    for name, judge in judges.items():
        for set_name, pairs in sets.items():
            rows += judge_split(judge, f"{name}/{set_name}", pairs, run.checkpoint_dir)
    sizes = [(name, len(pairs), len({p.cluster for p in pairs})) for name, pairs in ({"train": train} | sets).items()]
    run.write("counts.csv", pd.DataFrame(sizes, columns=["set", "pairs", "prompts"]).to_csv(index=False))
    run.write("predictions.jsonl", lambda path: write_jsonl(path, rows))


def told(name: str, value: Interval) -> str:
    """Return a metric as a line, with a word where its interval bounds nothing."""
    why = "" if value.low < value.high else "; of one prompt, or of prompts that all agree: this bounds nothing"
    return f"{name}: {value} (n = {value.n}){why}"


def preference_metrics(folder: Path) -> dict[str, Interval]:
    """Return each judge's accuracy on each set, that of longer-wins, and the scorer's paired gains over all others.

    Accuracy is the mean credit of both orders; a judgement that cannot be read, or that ties, is wrong.
    """

    def share(table: pd.DataFrame, column: str = "credit") -> Interval:
        return clustered_bootstrap(table[column].astype(float), table["cluster"])

    table = protocol.frame(read_jsonl(folder / "predictions.jsonl", Judgement))
    table[["judge", "set"]] = table["model"].str.split("/", n=1, expand=True)
    found: dict[str, Interval] = {}
    for name, rows in table.groupby("set", sort=False):
        scorer = rows[rows["judge"] == "scorer"]
        others = {judge: protocol.pairs(own) for judge, own in rows.groupby("judge")}
        mine = others.pop("scorer")
        found[f"{name}_scorer"] = share(mine)
        others["longer_wins"] = protocol.pairs(scorer, protocol.baseline(scorer, "longer-wins"))
        for judge, theirs in others.items():
            both = mine.merge(theirs[["pair_id", "credit"]], on="pair_id", suffixes=("", "_other"), validate="1:1")
            gain = paired_bootstrap(both["credit"], both["credit_other"], both["cluster"])
            found |= {f"{name}_{judge}": share(theirs), f"{name}_scorer_minus_{judge}": gain}
    generative = table[table["judge"] != "scorer"]
    return found | {f"{judge}_valid_share": share(own, "valid") for judge, own in generative.groupby("judge")}
