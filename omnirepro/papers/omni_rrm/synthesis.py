"""Candidate pairs by capability contrast (Omni-RRM, Section 3.1).

Consumes prompts, whoever supplies them (`supply`), and two models of any kind; produces pairs in random order, without
duplicates, whose generators are recorded apart from the pairs, and passes on pairs that came as such. Where there is
truth, `gaps` measures with its oracle what the contrast achieved; no training label comes from here.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from omnirepro.data import DIMENSIONS, Pair, Prompt, Response, Row, text_of, text_part, turns, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.rubric import ranking
from omnirepro.kit.run import ParameterError, Run, own_generators, require
from omnirepro.models.generation import Chat, Decoding
from omnirepro.papers.omni_rrm.supply import draw, given_in, note_models, prompts_in, truth_of
from omnirepro.toyworld.language import compose
from omnirepro.toyworld.tasks import SPLITS, World

Splits = dict[str, list[Prompt]]
OTHER_DRAWS = 1 << 20  # what the weak generator adds to the seed where it is the strong one too


class Origin(Row):
    """Which side of a pair the strong model wrote; kept from teachers and judges."""

    pair_id: str
    strong: str


def generators(run: Run) -> tuple[Path | str, ...]:
    """Return the run's own strong and weak generator; an empty name of one that is not asked."""
    p = run.section()
    note_models(run, (p["strong"], p["weak"]))
    own = own_generators(run.params)
    return tuple(run.input("00_backbone", own[side]) if side in own else "" for side in ("strong", "weak"))


def synthesize(run: Run, strong: Path | str, weak: Path | str) -> None:
    """Write the folder `data`: what was supplied, with pairs and origins of every split; `counts.csv`.

    `strong` and `weak` answer where `synthesis.strong` and `synthesis.weak` name nobody. Where there is truth, also
    `candidates.csv`, and development and test pairs carry its label; those that it calls equal are counted out.
    """
    run.write("data", lambda folder: draw(run, folder))
    data = run.path("data")
    splits = {split: prompts_in(data, split) for split in SPLITS}
    worlds = {split: truth_of(data, split) for split in SPLITS}
    answers = answers_of(run, splits, worlds, {"strong": strong, "weak": weak})
    note_unanswered(data / "dropped.csv", answers)
    counts = {}
    tables = []
    for split, prompts in splits.items():
        truth = worlds[split]
        pairs, origins, counts[split] = make_pairs(prompts, answers["strong"][split], answers["weak"][split], run.seed)
        if truth:
            tables.append(gaps(pairs, origins, truth.assess).assign(split=split))
        if truth and split != "train":
            pairs = gold(pairs, truth.assess)
            counts[split] |= {"kept": len(pairs), "tied": counts[split]["kept"] - len(pairs)}
        if given := given_in(data, split):
            pairs += given
            counts[split]["given"] = len(given)
        lost = ", ".join(f"{n} {fate}" for fate, n in counts[split].items())
        todo = f"raise world.{split}, or train another backbone (notebook 00)"
        if not truth:
            todo = f"give data more rows, raise data.{split}_share, or name generators that differ"
        found = f"no {split} pair is left of {len(prompts)} prompts ({lost})"
        require(pairs or (split == "dev" and not prompts), f"{found}: {todo}")
        write_jsonl(data / f"pairs_{split}.jsonl", pairs)
        write_jsonl(data / f"origins_{split}.jsonl", origins)
    if tables:
        run.write("sample", lambda folder: write_sample(folder, pairs))  # what was drawn here can be given away
        run.write("candidates.csv", pd.concat(tables).to_csv(index=False))
    run.write("counts.csv", pd.DataFrame(counts).T.fillna(0).astype(int).rename_axis("split").to_csv())


def unanswered(response: Response) -> str:
    """Return the status of a response in words that is none; an empty text where there is one."""
    return "" if response.text else response.failure or "empty"


def note_unanswered(path: Path, answers: Mapping[str, Mapping[str, list[Response]]]) -> None:
    """Add a row to what supply left out for each prompt and generator without an answer, with the server's words."""
    rows = [
        ("prompts", response.prompt_id, response.reason or "no answer", split, name, unanswered(response))
        for name, splits in answers.items()
        for split, responses in splits.items()
        for response in responses
        if unanswered(response)
    ]
    if rows:
        before = [pd.read_csv(path)] if path.is_file() else []
        table = pd.DataFrame(rows, columns=["use", "id", "reason", "split", "generator", "status"])
        pd.concat([*before, table]).to_csv(path, index=False)


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


def answers_of(
    run: Run, splits: Splits, worlds: dict[str, World | None], own: dict[str, Path | str]
) -> dict[str, dict[str, list[Response]]]:
    """Return what each of the generators `own` (strong and weak, where the parameters name no others) answers.

    Raises `ParameterError` where templates are asked for and no scene is known that they could speak of.
    """
    p = run.section("synthesis")
    if p["templates"] and not all(worlds.values()):
        raise ParameterError("synthesis.templates speaks of the embedded world's scenes: set it to false beside data")
    if p["templates"]:
        return {name: _templates(worlds, splits, name, run.seed) for name in own}
    decoding = Decoding(p["max_new_tokens"], p["temperature"], p["top_p"])
    specs = {name: speakers(p[name] or str(model), splits, f"synthesis.{name}") for name, model in own.items()}
    return {name: _answers(run, specs, name, splits, decoding) for name in own}


def speakers(spec: str | Mapping[str, str], splits: Splits, key: str) -> dict[str, str]:
    """Return modality -> model: one for all, or one each (`any` for those that are not named).

    Raises `ParameterError` where a modality of the prompts has none.
    """
    asked = sorted({prompt.modality for prompts in splits.values() for prompt in prompts})
    if isinstance(spec, str):
        return dict.fromkeys(asked, spec)
    if lacking := [modality for modality in asked if not spec.get(modality, spec.get("any"))]:
        raise ParameterError(f"{key} names no model for {', '.join(lacking)}: add it, or any")
    return {modality: spec.get(modality, spec.get("any", "")) for modality in asked}


def _answers(
    run: Run, specs: dict[str, dict[str, str]], name: str, splits: Splits, decoding: Decoding
) -> dict[str, list[Response]]:
    """Let the models of a generator, one after another, answer the prompts of every split."""
    found: dict[str, dict[str, Response]] = {split: {} for split in splits}
    for number, model in enumerate(dict.fromkeys(specs[name].values())):
        theirs = {s: [p for p in prompts if specs[name][p.modality] == model] for s, prompts in splits.items()}
        label = name if number == 0 else f"{name}-{number}"
        strong = {specs["strong"][prompt.modality] for prompts in theirs.values() for prompt in prompts}
        for split, made in _spoken(run, model, theirs, decoding, label, strong if name == "weak" else ()).items():
            found[split] |= {response.prompt_id: response for response in made}
    return {split: [found[split][prompt.id] for prompt in prompts] for split, prompts in splits.items()}


def _spoken(
    run: Run, model: str, splits: Splits, decoding: Decoding, label: str, beside: Collection[str]
) -> dict[str, list[Response]]:
    """Let a model, which is let go afterwards, answer; where one of `beside` is the same model, with other draws."""
    from omnirepro.models.loading import follow
    from omnirepro.models.opening import open_chat

    batch_size = run.section("judge")["batch_size"]
    chat = open_chat(model, "", batch_size, run.device, run.dtype, run.endpoint)
    seed = run.seed + (OTHER_DRAWS if follow(model) in map(follow, beside) else 0)
    return {s: answer(run, chat, prompts, decoding, f"{label}-{s}", seed) for s, prompts in splits.items()}


def _templates(worlds, splits: Splits, name: str, seed: int) -> dict[str, list[Response]]:
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


def answer(
    run: Run, chat: Chat, prompts: list[Prompt], decoding: Decoding, label: str, seed: int | None = None
) -> list[Response]:
    """Let a model answer every prompt once; answers are kept below the run's checkpoints, in chunks of name `label`.

    `seed` of the draws: the run's, where it is None.
    """
    report = progress(f"{chat.name} answers, {label}")
    first = run.seed if seed is None else seed

    def work(some: list[Prompt], at: int) -> list[Response]:
        chats = [turns(p.parts) for p in some]
        made = chat.complete(chats, decoding, first + at, report)
        why = [{"failure": one.failure, "reason": one.reason} for one in made]
        return [response_of(p, m.text.strip(), chat.name, **w) for p, m, w in zip(some, made, why, strict=True)]

    found = in_chunks(run.checkpoint_dir, label, prompts, work, Response)
    lost = [response for response in found if unanswered(response)]
    for status, count in Counter(map(unanswered, lost)).items():
        words = next(response.reason for response in lost if unanswered(response) == status)
        print(f"{label}: {count} of {len(found)} answers are {status}{words and f', the first: {words}'}", flush=True)
    return found


def response_of(prompt: Prompt, text: str, generator: str, **why: str) -> Response:
    """Return a response in words to a prompt; `why` there is none: failure and reason."""
    return Response(prompt_id=prompt.id, parts=[text_part(text)], generator=generator, **why)


def make_pairs(
    prompts: list[Prompt], strong: list[Response], weak: list[Response], seed: int
) -> tuple[list[Pair], list[Origin], dict[str, int]]:
    """Pair the two answers to each prompt in random order; returns pairs, origins and counts.

    A pair with equal answers, or without one of them, is left out and counted, the latter by its status ("empty" where
    nothing says why). The sum of the counts is the input.
    """
    rng = np.random.default_rng([seed, 1])
    pairs = []
    origins = []
    counts = {"kept": 0, "equal": 0, "empty": 0}
    for prompt, good, poor in zip(prompts, strong, weak, strict=True):
        first = bool(rng.random() < 0.5)
        fate = unanswered(good) or unanswered(poor) or ("equal" if good.text == poor.text else "kept")
        counts[fate] = counts.get(fate, 0) + 1
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
