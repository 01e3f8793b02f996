"""The stage of Best-of-N: sample, judge, freeze, choose in every way (Omni-RRM, Best-of-N; GRM-Omni, Section 4.4).

Consumes a generator, judges, test prompts and their truth, or questions with gold answers, or candidates that are
there already; produces `candidates.jsonl` (a row a prompt, the command's own format), `candidates.csv` (a row a
candidate with its truth), `predictions.jsonl` (each judgement as displayed, `pair_id` the match), `scores.csv` (what
judges give a candidate alone) and `choices.csv`, from which every figure and number is made. The truth is read before
any judge speaks, and no judge sees it.

Departures from the papers: (1) the embedded world's answers are sentences, so that a judge has more to weigh than an
option letter; an answer is right where it states the true value of what was asked; (2) judges see the choices of a
question, where the released prompt shows the question alone; (3) the base judge, which writes no judgement that can
be read, chooses the likelier of [[A]] and [[B]].
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from omnirepro.data import Judgement, Pair, Prompt, RowError, read_jsonl, text_of, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.data.sources.cards import Card
from omnirepro.data.sources.questions import questions_of
from omnirepro.evaluate.answers import MATCHES, gold_form, is_right, kind_of, stated
from omnirepro.judge.criteria import forced
from omnirepro.judge.generative import load_judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import Run
from omnirepro.models.generation import Decoding
from omnirepro.models.opening import names_of, open_chat, served
from omnirepro.models.processing import limits_in
from omnirepro.papers.best_of_n.chosen import (
    bounds,
    of_ladders,
    of_round_robins,
    of_scores,
    qualities,
    sizes_up_to,
    without_a_judge,
)
from omnirepro.papers.grm_omni.model_pool import open_judge, open_scalar
from omnirepro.papers.judges import opened
from omnirepro.papers.omni_rrm.supply import (
    SHARED,
    cards_from,
    counted,
    note_files,
    note_models,
    shared_with_training,
    truth_of,
    usable,
)
from omnirepro.papers.omni_rrm.synthesis import answer
from omnirepro.search import CriteriaSearch
from omnirepro.search.referee import Ask, Candidates, Referee, asking, own_scores
from omnirepro.search.tournament import frozen, knock_out
from omnirepro.toyworld import language
from omnirepro.toyworld.candidates import ABOUT
from omnirepro.toyworld.tasks import World

FINAL = "grpo"  # the run's judge that chooses in every way; so does each judge that is named
OWN_JUDGES = ("base", "sft", FINAL, "scalar", "dpo")
OWN_GENERATORS = ("weak", "generator", "strong")
SCORED = ["judge", "prompt_id", "place", "score"]
Known = dict[str, Candidates]


class Upstream(NamedTuple):
    """What stands upstream of the stage; what `best_of_n` names itself (data, generator, judges) may be missing."""

    generator: Path | str
    judges: dict[str, Path]
    data: Path | None
    scorer: Path | None
    searchers: dict[str, Path]


def upstream(run: Run) -> Upstream:
    """Return the run's own generator, judges, data and scalar model; nothing has to be there that is named elsewhere.

    Raises `RunError` where the embedded prompts are to be answered and something is missing.
    """
    p = run.section()
    given = cards_of(run)
    note_files(run, given)
    note_models(run, [*p["judges"], "" if p["generator"] in OWN_GENERATORS else p["generator"]])
    foreign = any(given.values())
    own = p["generator"] in OWN_GENERATORS and not isinstance(p["candidates"], str)
    data = None if foreign else run.input("01_synthesis", "data")
    generator = run.input("00_backbone", p["generator"]) if own else p["generator"]
    alone = bool(p["judges"])
    stages = {"sft": "03_sft", "grpo": "04_grpo"}
    tuned = {name: run.input(stage, "adapter", optional=alone) for name, stage in stages.items()}
    judges = {"base": run.input("00_backbone", "strong", optional=alone)} | tuned
    scorer = run.input("06_meta_reward_dpo", "scalar-better/scorer", optional=True)
    scorer = run.input("05_bradley_terry", "scorer", optional=True) if scorer is None else scorer
    thinkers = {name: run.input("06_meta_reward_dpo", name, optional=True) for name in ("sft", "dpo")}
    return Upstream(generator, _there(judges), data, scorer, _there(thinkers))


def cards_of(run: Run) -> dict[str, list[Card]]:
    """Return the cards of the data that `best_of_n` names: questions, and the file of answers where there is one."""
    p = run.section()
    named = {"data": p["data"], "candidates": [p["candidates"]] if isinstance(p["candidates"], str) else []}
    return cards_from(named, run.section("data")["root"] if any(named.values()) else "")


def _there(folders: dict[str, Path | None]) -> dict[str, Path]:
    return {name: folder for name, folder in folders.items() if folder}


def best_of_n(
    run: Run,
    generator: Path | str,
    judges: dict[str, Path],
    data: Path | None = None,
    scorer: Path | None = None,
    searchers: dict[str, Path] | None = None,
) -> None:
    """Let every judge choose among candidates, sampled or given; see the module for what is written.

    `judges` maps base, sft and grpo to folders; `scorer` is a scalar model's; `searchers` maps names to judges that
    write criteria. Those that are missing have no rows. `data`: folder of 01, whose first test prompts are answered
    where `best_of_n.data` names no questions.
    """
    p = run.section()
    named = names_of(p["judges"], taken=OWN_JUDGES)
    rows = candidates_of(run, generator, data)
    run.write("candidates.jsonl", lambda path: write_jsonl(path, rows))
    truth = truth_of(data, "test") if data else None
    table = assess(rows, truth) if truth else graded(rows, p["match"])
    run.write("candidates.csv", table.to_csv(index=False))
    known = {row.id: row for row in rows}
    sizes = sizes_up_to(max(len(row.candidates) for row in rows))
    found = Found([without_a_judge(table, sizes)])
    for name, folder in judges.items():
        ask_judge(run, name, folder, known, sizes, found)
    for name, spec in named.items():
        ask_judge(run, name, spec, known, sizes, found)
    if scorer:
        scalar = load_judge(scorer, run.section("judge")["batch_size"], run.device, run.dtype, name="scalar")
        found.score("scalar model", "scalar", known, own_scores(scalar, Referee(known, scalar.judge)), sizes)
    for name, folder in (searchers or {}).items():
        if truth:
            found.add(*search(run, name, folder, scorer, known))
    run.write("predictions.jsonl", lambda path: write_jsonl(path, found.judged))
    scores = pd.concat(found.scores, ignore_index=True) if found.scores else pd.DataFrame(columns=SCORED)
    run.write("scores.csv", scores.round(5).to_csv(index=False))
    choices = pd.concat([qualities(pd.concat(found.choices), table), bounds(table, sizes)], ignore_index=True)
    run.write("choices.csv", choices.round(5).to_csv(index=False))


def candidates_of(run: Run, generator: Path | str, data: Path | None) -> list[Candidates]:
    """Return the rows to choose from: those that are there, or what the generator answers to the questions."""
    p = run.section()
    cards = cards_of(run)
    asked, left = questions(run, cards["data"])
    if cards["candidates"]:
        return given_answers(cards["candidates"][0], asked, {name.partition(":")[2] for name in left})
    if not cards["data"]:
        asked = read_jsonl(data / "prompts_test.jsonl", Prompt)[: p["prompts"]]
    return sample(run, generator, asked)


def questions(run: Run, cards: list[Card]) -> tuple[list[Prompt], list[str]]:
    """Read data sets of questions; returns them, and the ids of those left out, as `data.bad_rows` lets, which is told.

    Raises `RowError` naming row and remedy.

    A question that shares its media, or a text without media, with 01's training split is a bad row as well.
    """
    key = "best_of_n.data"
    dropped: list[tuple[str, str]] = []
    asked: list[Prompt] = []
    drop = bool(cards) and run.section("data")["bad_rows"] == "drop"
    for card in cards:
        good, bad = usable(questions_of(card), card, key, drop)
        asked += good
        dropped += bad
    shared = shared_with_training(run, [question.bare() for question in asked]) if asked else {}
    if shared and not drop:
        raise RowError(
            f"{key}: {len(shared)} of {len(asked)} questions, such as {min(shared)}, {SHARED}: results would "
            "be inflated; take them out of one of both, or set data.bad_rows=drop"
        )
    dropped += [(name, SHARED) for name in shared]
    asked = [question for question in asked if question.id not in shared]
    if dropped:
        table = pd.DataFrame([(key, *about) for about in dropped], columns=["use", "id", "reason"])
        run.write("dropped.csv", table.to_csv(index=False))
        print(f"{key}, see dropped.csv: left out {counted(reason for _, reason in dropped)}", flush=True)
    if cards and not asked:
        raise RowError(f"{key}: no question is left, see dropped.csv; name other sets")
    return asked, [name for name, _ in dropped]


def given_answers(card: Card, asked: list[Prompt], left: Collection[str] = ()) -> list[Candidates]:
    """Return the answers of a file, to its own questions or, by their ids, to those of `asked`.

    Answers to questions that were `left` out are left out too.
    """
    path = card.path
    known = {question.id.partition(":")[2]: question for question in asked}
    if asked and len(known) < len(asked):
        raise RowError(f"best_of_n.candidates {path}: two sets of best_of_n.data share ids; name one set")
    rows = []
    for row in questions_of(card, answered=True):
        question = known.get(row.id) if asked else row
        if question is None and row.id in left:
            continue
        if question is None:
            raise RowError(
                f"{path}: row {row.id} answers no question of best_of_n.data; correct its id or name its set"
            )
        if not row.candidates:
            raise RowError(f"{path}: row {row.id} has no candidates; write a list of answers")
        if not asked and row.gold is None:
            raise RowError(f"{path}: row {row.id} has no gold answer; write prompt and gold, or name best_of_n.data")
        rows.append(_row(question, row.candidates))
    if len({row.id for row in rows}) < len(rows):
        raise RowError(f"{path}: two rows have one id; give each its own")
    return rows


def _row(question: Prompt, candidates: list) -> Candidates:
    kept = {name: getattr(question, name) for name in ("id", "task", "criterion", "cluster", "gold", "choices")}
    return Candidates(prompt=question.parts, candidates=candidates, **kept)


class Found:
    """What a stage gathers: choices, judgements, and scores of candidates alone."""

    def __init__(self, choices: list[pd.DataFrame]):
        self.choices = choices
        self.judged: list[Judgement] = []
        self.scores: list[pd.DataFrame] = []

    def add(self, choices: pd.DataFrame, referee: Referee) -> None:
        """Keep what was chosen, and the judgements that it was chosen by."""
        self.choices.append(choices)
        self.judged += referee.judged.values()

    def score(self, way: str, judge: str, known: Known, scores: dict[str, dict[int, float]], sizes: list[int]) -> None:
        """Keep a judge's scores of candidates alone, and what they choose."""
        self.choices.append(of_scores(_forms(known), scores, sizes, way, judge))
        rows = [(judge, name, form, score) for name, part in scores.items() for form, score in part.items()]
        self.scores.append(pd.DataFrame(rows, columns=SCORED))


def sample(run: Run, generator: Path | str, prompts: list[Prompt]) -> list[Candidates]:
    """Let the generator answer every prompt N times; the first n answers are the candidates of a smaller N."""
    p = run.section()
    batch_size = run.section("judge")["batch_size"]
    how = {"endpoint": run.endpoint} if served(generator) else {}
    if not isinstance(generator, Path):
        how["media"] = limits_in(run.section("media"))
    chat = open_chat(generator, "", batch_size, run.device, run.dtype, **how)
    decoding = Decoding(p["max_new_tokens"], p["temperature"], p["top_p"])
    repeated = [q for q in prompts for _ in range(p["candidates"])]
    said: dict[str, list] = {}
    for response in answer(run, chat, repeated, decoding, "candidates"):
        said.setdefault(response.prompt_id, []).append(response.parts)
    return [_row(q, said[q.id]) for q in prompts]


def graded(rows: list[Candidates], match: str) -> pd.DataFrame:
    """Return a row a candidate: what it states, and whether that is the gold answer; NaN where none is known.

    An answer of which nothing can be told is wrong, and `answer` is empty. There is no finer score than right or wrong.
    Raises `RowError` where a gold answer is none of the kind that `match` asks for.
    """
    if match not in MATCHES:
        raise RowError(f"best_of_n.match is {match!r}: use one of {', '.join(MATCHES)}")
    out = []
    for row in rows:
        gold = row.gold or []
        choices = row.choices or []
        kind = kind_of(match, gold, choices)
        if wrong := [text for text in gold if gold_form(text, kind, choices) is None]:
            why = f"the gold answer {wrong[0]!r} is no {kind}" + (f" of {len(choices)} choices" if choices else "")
            raise RowError(f"row {row.id}: {why}; correct it, or set best_of_n.match")
        for place, (form, parts) in enumerate(zip(row.forms(), row.candidates, strict=True)):
            text = text_of(parts)
            said = stated(text, kind, choices)
            about = {"prompt_id": row.id, "task": row.task, "cluster": row.cluster or row.id, "place": place}
            right = int(is_right(said, gold, kind, choices)) if gold else math.nan
            out.append(about | {"form": form, "text": text, "answer": said, "right": right, "score": math.nan})
    return pd.DataFrame(out)


def assess(rows: list[Candidates], world: World) -> pd.DataFrame:
    """Return a row a candidate: what it states, whether that is the right answer, and its true score and marks.

    Right: the stated value is true (accuracy) and it is the one that was asked for (relevance).
    """
    out = []
    for row in rows:
        for place, (form, parts) in enumerate(zip(row.forms(), row.candidates, strict=True)):
            text = text_of(parts)
            found = world.assess(row.id, text)
            right = int(found.marks["accuracy"] and found.marks["relevance"])
            about = {"prompt_id": row.id, "task": row.task, "cluster": row.cluster or row.id, "place": place}
            truth = {"right": right, "score": found.score, **found.marks}
            out.append(about | {"form": form, "text": text, "answer": language.stated(text)} | truth)
    return pd.DataFrame(out)


def ask_judge(run: Run, name: str, source: Path | str, known: Known, sizes: list[int], found: Found) -> None:
    """Let one judge choose by knock-out; the final one also with the incumbent as A and by round robin.

    A tuned judge also scores each candidate beside itself, as it writes: probabilities of a verdict say nothing of one
    alone. A scalar model does nothing else.
    """
    forms = _forms(known)
    foreign = not isinstance(source, Path)
    judge = opened(run, source)
    if isinstance(judge, ScalarJudge):
        found.score("scalar model", name, known, own_scores(judge, Referee(known, judge.judge)), sizes)
        return
    if name == "base":

        def ask(pairs: list[Pair]) -> list[Judgement]:
            rows = forced(judge.chat, "base", pairs, run.section("judge")["wording"])
            return [row for row in rows if row.order == "AB"]

    else:
        ask = _named(name, asking(judge, progress(f"{name} compares")))

    referee = Referee(known, _kept(run, name, ask))
    choices = [of_ladders(knock_out(forms, referee, seed=run.seed), sizes, "knock-out", name)]
    if name == FINAL or foreign:
        fixed = knock_out(forms, referee, "A", run.seed)
        choices.append(of_ladders(fixed, sizes, "knock-out, incumbent as A", name))
        few = [n for n in sizes if n <= run.section()["round_robin"]]
        choices.append(of_round_robins(forms, referee, few, name))
    if name != "base":
        alone = referee
        if judge.read != "generate":
            judge = replace(judge, read="generate")
            alone = Referee(known, _kept(run, f"{name}-alone", _named(name, asking(judge, None))))
        found.score("own score", name, known, own_scores(judge, alone), sizes)
        referee.judged |= alone.judged
    found.add(pd.concat(choices), referee)
    print(f"{name}: {len(referee.judged)} judgements", flush=True)


def search(run: Run, name: str, folder: Path, scorer: Path | None, known: Known) -> tuple[pd.DataFrame, Referee]:
    """Choose by knock-out with a search for criteria in every match, on prompts of the tasks that 06 thinks about."""
    p = run.section()
    q = run.section("meta_reward_dpo")
    tasks = {ABOUT.get(task) for task in q["thinking"]}
    some = [row for row in known.values() if row.task in tasks][: p["search_prompts"]]
    few = {r.id: r.model_copy(update={"candidates": r.candidates[: p["search_candidates"]]}) for r in some}
    judge = open_judge(run, folder, f"search {name}")
    how = {key: q[key] for key in ("k", "n", "top", "variant", "per_call")}
    disrm = open_scalar(run, scorer, "scalar") if scorer else None
    scaling = CriteriaSearch(**how, disrm=disrm, compose="vote", orders="AB")
    referee = Referee(few, lambda pairs: judge.judge(pairs, scaling=scaling))
    ladders = knock_out(_forms(few), referee, seed=run.seed)
    return of_ladders(ladders, sizes_up_to(p["search_candidates"]), "criteria search", name), referee


def replay(folder: Path, seed: int = 0) -> bool:
    """Tell whether the frozen rows give the knock-outs of every judge again, as they were written."""
    known = {row.id: row for row in read_jsonl(folder / "candidates.jsonl", Candidates)}
    judged = read_jsonl(folder / "predictions.jsonl", Judgement)
    written = pd.read_csv(folder / "choices.csv")
    written = written[written["way"] == "knock-out"]
    again = []
    for name in written["judge"].unique():
        ladders = knock_out(_forms(known), frozen(row for row in judged if row.model == name), seed=seed)
        again.append(of_ladders(ladders, sorted(written["n"].unique()), "knock-out", name))
    key = ["prompt_id", "n", "judge"]
    both = pd.concat(again).merge(written, on=key, suffixes=("", "_written"), validate="one_to_one")
    return len(both) == len(written) and bool((both["place"] == both["place_written"]).all())


def _forms(known: Known) -> dict[str, list[int]]:
    return {name: row.forms() for name, row in known.items()}


def _named(name: str, ask: Ask) -> Ask:
    """Give rows the judge's name: a server is asked for its model by the chat's own."""
    return lambda pairs: [row.model_copy(update={"model": name}) for row in ask(pairs)]


def _kept(run: Run, name: str, ask: Ask) -> Ask:
    """Keep each round of judgements below the checkpoints: a killed stage asks again only what it had not heard."""
    rounds = count()

    def kept(pairs: list[Pair]) -> list[Judgement]:
        label = f"{name}-{next(rounds):04d}"
        return in_chunks(run.checkpoint_dir, label, pairs, lambda some, at: ask(some), Judgement, size=1024)

    return kept
