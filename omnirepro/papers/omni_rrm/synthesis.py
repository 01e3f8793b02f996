"""Candidate pairs by capability contrast (Omni-RRM, Section 3.1).

Consumes prompts and two models; produces pairs in random order, without duplicates, whose generators are recorded
apart from the pairs. `gaps` measures with an oracle what the contrast achieved; no label comes from here.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS, Pair, Prompt, Response, Row, read_jsonl, text_of, text_part, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.rubric import ranking
from omnirepro.kit.run import Run, require
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.toyworld.language import compose
from omnirepro.toyworld.tasks import SPLITS, Truth, World, check_disjoint, make_prompts


class Origin(Row):
    """Which side of a pair the strong model wrote; kept from teachers and judges."""

    pair_id: str
    strong: str


def synthesize(run: Run, strong: Path | str, weak: Path | str) -> None:
    """Write the folder `data`: prompts with media, truths, pairs and origins of every split, and `candidates.csv`.

    Development and test pairs carry the oracle's label; those that it calls equal are left out and counted.
    """
    p = run.section("synthesis")
    world = run.section("world")
    sizes = {split: world[split] for split in SPLITS}

    def draw(folder: Path) -> None:
        for split, number in sizes.items():
            prompts, truths = make_prompts(folder / "media", split, number, run.seed, world["modalities"])
            write_jsonl(folder / f"prompts_{split}.jsonl", prompts)
            write_jsonl(folder / f"truths_{split}.jsonl", truths)

    run.write("data", draw)
    splits = {s: read_jsonl(run.path(f"data/prompts_{s}.jsonl"), Prompt) for s in sizes}
    check_disjoint(splits)
    decoding = Decoding(p["max_new_tokens"], p["temperature"], p["top_p"])
    worlds = {s: World.from_rows(read_jsonl(run.path(f"data/truths_{s}.jsonl"), Truth)) for s in sizes}
    answers: dict[str, dict[str, list[Response]]] = {}
    for name, folder in (("strong", strong), ("weak", weak)):
        if p["templates"]:
            answers[name] = _templates(worlds, splits, name, run.seed)
        else:
            answers[name] = _answers(run, folder, name, splits, decoding)
    counts = {}
    tables = []
    for split, prompts in splits.items():
        truth = worlds[split]
        pairs, origins, counts[split] = make_pairs(prompts, answers["strong"][split], answers["weak"][split], run.seed)
        tables.append(gaps(pairs, origins, truth.assess).assign(split=split))
        if split != "train":
            pairs = gold(pairs, truth.assess)
            counts[split] |= {"kept": len(pairs), "tied": counts[split]["kept"] - len(pairs)}
        lost = ", ".join(f"{n} {fate}" for fate, n in counts[split].items())
        todo = f"raise world.{split}, or train another backbone (notebook 00)"
        require(pairs, f"no {split} pair is left of {len(prompts)} prompts ({lost}): {todo}")
        write_jsonl(run.path(f"data/pairs_{split}.jsonl"), pairs)
        write_jsonl(run.path(f"data/origins_{split}.jsonl"), origins)
    run.write("sample", lambda folder: write_sample(folder, pairs))
    run.write("candidates.csv", pd.concat(tables).to_csv(index=False))
    run.write("counts.csv", pd.DataFrame(counts).T.fillna(0).astype(int).rename_axis("split").to_csv())


def write_sample(folder: Path, pairs: list[Pair], each: int = 4) -> Path:
    """Write `each` pairs of every task with copies of their media: a small set that can be given away."""
    tasks = sorted({p.task for p in pairs})
    chosen = []
    for pair in [p for task in tasks for p in [q for q in pairs if q.task == task][:each]]:
        pair = pair.model_copy(deep=True)
        for part in (p for p in pair.prompt if p.path):
            copy = folder / "media" / Path(part.path).name
            copy.parent.mkdir(parents=True, exist_ok=True)
            part.path = shutil.copyfile(part.path, copy).as_posix()
        chosen.append(pair)
    return write_jsonl(folder / "pairs.jsonl", chosen)


def _answers(
    run: Run, folder: Path | str, name: str, splits: dict[str, list[Prompt]], decoding: Decoding
) -> dict[str, list[Response]]:
    """Let a model, which is let go afterwards, answer the prompts of every split."""
    from omnirepro.models.loading import load

    chat = LocalModel(*load(folder, run.device, run.dtype), name)
    return {split: answer(run, chat, prompts, decoding, f"{name}-{split}") for split, prompts in splits.items()}


def _templates(worlds, splits: dict[str, list[Prompt]], name: str, seed: int) -> dict[str, list[Response]]:
    """Write answers without a model, spoiled rarely or often: for counts at which no model can be trained."""
    rng = np.random.default_rng([seed, *name.encode()])
    rate = {"strong": 0.05, "weak": 0.35}[name]
    found: dict[str, list[Response]] = {}
    for split, prompts in splits.items():
        found[split] = []
        for prompt in prompts:
            spoiled = [d for d in DIMENSIONS if rng.random() < rate]
            found[split].append(response_of(prompt, compose(*worlds[split].truths[prompt.id], spoiled, rng), name))
    return found


def answer(run: Run, chat: LocalModel, prompts: list[Prompt], decoding: Decoding, label: str) -> list[Response]:
    """Let a model answer every prompt once; answers are kept below the run's checkpoints, in chunks of name `label`."""
    report = progress(f"{chat.name} answers, {label}")

    def work(some: list[Prompt], at: int) -> list[Response]:
        chats = [[{"role": "user", "parts": p.parts}] for p in some]
        texts = [made.text.strip() for made in chat.complete(chats, decoding, run.seed + at, report)]
        return [response_of(p, text, chat.name) for p, text in zip(some, texts, strict=True)]

    return in_chunks(run.checkpoint_dir, label, prompts, work, Response)


def response_of(prompt: Prompt, text: str, generator: str) -> Response:
    """Return a response in words to a prompt."""
    return Response(prompt_id=prompt.id, parts=[text_part(text)], generator=generator)


def make_pairs(
    prompts: list[Prompt], strong: list[Response], weak: list[Response], seed: int
) -> tuple[list[Pair], list[Origin], dict[str, int]]:
    """Pair the two answers to each prompt in random order; returns pairs, origins and counts.

    A pair with an empty answer or equal answers is left out and counted. `kept + equal + empty` is the input.
    """
    rng = np.random.default_rng([seed, 1])
    pairs = []
    origins = []
    counts = {"kept": 0, "equal": 0, "empty": 0}
    for prompt, good, poor in zip(prompts, strong, weak, strict=True):
        first = bool(rng.random() < 0.5)
        fate = "empty" if not (good.text and poor.text) else "equal" if good.text == poor.text else "kept"
        counts[fate] += 1
        if fate != "kept":
            continue
        a, b = (good, poor) if first else (poor, good)
        known = {"task": prompt.task, "criterion": prompt.criterion, "cluster": prompt.cluster}
        pair = Pair(id=f"{prompt.id}#0", prompt=prompt.parts, response_a=a.parts, response_b=b.parts, **known)
        pairs.append(pair)
        origins.append(Origin(pair_id=pair.id, strong="A" if first else "B"))
    assert sum(counts.values()) == len(prompts), "every prompt must be kept or counted out"
    return pairs, origins, counts


def gold(pairs: list[Pair], oracle: Callable) -> list[Pair]:
    """Label pairs by the oracle's scores, with their margin; pairs of equal score are left out."""
    labelled = []
    for pair in pairs:
        a, b = (oracle(pair.id.split("#")[0], text_of(r)).score for r in (pair.response_a, pair.response_b))
        if a != b:
            labelled.append(pair.model_copy(update={"label": ranking(a, b), "margin": float(abs(a - b))}))
    return labelled


def gaps(pairs: list[Pair], origins: list[Origin], oracle: Callable) -> pd.DataFrame:
    """Tabulate the oracle's view: one row a pair and generator with score, and each dimension's mark.

    `oracle(prompt_id, text)` returns marks and a score. Columns: pair_id, task, generator, score, <dimension>...
    """
    side = {o.pair_id: o.strong for o in origins}
    rows = []
    for pair in pairs:
        for name, parts in (("A", pair.response_a), ("B", pair.response_b)):
            found = oracle(pair.id.split("#")[0], text_of(parts))
            generator = "strong" if side[pair.id] == name else "weak"
            known = {"pair_id": pair.id, "task": pair.task, "generator": generator}
            rows.append(known | {"score": found.score, **found.marks})
    return pd.DataFrame(rows)


def differing(table: pd.DataFrame) -> pd.DataFrame:
    """Share of pairs, by task, in which each dimension's marks differ between the two candidates."""
    wide = table.pivot(index=["pair_id", "task"], columns="generator", values=list(DIMENSIONS))
    differs = {d: wide[d]["strong"] != wide[d]["weak"] for d in DIMENSIONS}
    return pd.DataFrame(differs).groupby("task").mean()
