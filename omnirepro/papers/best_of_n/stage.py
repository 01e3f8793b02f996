"""The stage of Best-of-N: sample, judge, freeze, choose in every way (Omni-RRM, Best-of-N; GRM-Omni, Section 4.4).

Consumes a generator, the run's judges, test prompts and their truth; produces `candidates.jsonl` (a row a prompt, the
command's own format), `candidates.csv` (a row a candidate with its truth), `predictions.jsonl` (each judgement as
displayed, `pair_id` the match), `scores.csv` (what judges give a candidate alone) and `choices.csv`, from which every
figure and number is made. The truth is read before any judge speaks, and no judge sees it.

Departures from the papers: (1) the embedded world's answers are sentences, so that a judge has more to weigh than an
option letter; an answer is right where it states the true value of what was asked; (2) the base judge, which writes no
judgement that can be read, chooses the likelier of [[A]] and [[B]].
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pandas as pd

from omnirepro.data import Judgement, Pair, Prompt, read_jsonl, text_of, write_jsonl
from omnirepro.data.progress import progress
from omnirepro.data.resume import in_chunks
from omnirepro.judge.criteria import forced
from omnirepro.judge.generative import load_judge
from omnirepro.kit.run import Run
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import load
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
from omnirepro.papers.omni_rrm.synthesis import answer
from omnirepro.search import CriteriaSearch
from omnirepro.search.referee import Ask, Candidates, Referee, asking, own_scores
from omnirepro.search.tournament import frozen, knock_out
from omnirepro.toyworld.candidates import ABOUT
from omnirepro.toyworld.language import stated
from omnirepro.toyworld.tasks import Truth, World

FINAL = "grpo"  # the judge that chooses in every way
Known = dict[str, Candidates]


def best_of_n(
    run: Run,
    generator: Path,
    judges: dict[str, Path],
    data: Path,
    scorer: Path | None = None,
    searchers: dict[str, Path] | None = None,
) -> None:
    """Sample candidates to the first test prompts and let every judge choose; see the module for what is written.

    `judges` maps base, sft and grpo to folders; `scorer` is a scalar model's; `searchers` maps names to judges that
    write criteria. The last two may be missing: their rows are then left out.
    """
    p = run.section()
    world = World.from_rows(read_jsonl(data / "truths_test.jsonl", Truth))
    rows = sample(run, generator, read_jsonl(data / "prompts_test.jsonl", Prompt)[: p["prompts"]])
    run.write("candidates.jsonl", lambda path: write_jsonl(path, rows))
    table = assess(rows, world)
    run.write("candidates.csv", table.to_csv(index=False))
    known = {row.id: row for row in rows}
    sizes = sizes_up_to(p["candidates"])
    found = Found([without_a_judge(table, sizes)])
    for name, folder in judges.items():
        ask_judge(run, name, folder, known, sizes, found)
    if scorer:
        scalar = load_judge(scorer, run.section("judge")["batch_size"], run.device, run.dtype, name="scalar")
        found.score("scalar model", "scalar", known, own_scores(scalar, Referee(known, scalar.judge)), sizes)
    for name, folder in (searchers or {}).items():
        found.add(*search(run, name, folder, scorer, known))
    run.write("predictions.jsonl", lambda path: write_jsonl(path, found.judged))
    run.write("scores.csv", pd.concat(found.scores, ignore_index=True).round(5).to_csv(index=False))
    choices = pd.concat([qualities(pd.concat(found.choices), table), bounds(table, sizes)], ignore_index=True)
    run.write("choices.csv", choices.round(5).to_csv(index=False))


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
        self.scores.append(pd.DataFrame(rows, columns=["judge", "prompt_id", "place", "score"]))


def sample(run: Run, generator: Path, prompts: list[Prompt]) -> list[Candidates]:
    """Let the generator answer every prompt N times; the first n answers are the candidates of a smaller N."""
    p = run.section()
    chat = LocalModel(*load(generator, run.device, run.dtype), generator.name, run.section("judge")["batch_size"])
    decoding = Decoding(p["max_new_tokens"], p["temperature"], p["top_p"])
    repeated = [q for q in prompts for _ in range(p["candidates"])]
    said: dict[str, list] = {}
    for response in answer(run, chat, repeated, decoding, "candidates"):
        said.setdefault(response.prompt_id, []).append(response.parts)
    return [Candidates(id=q.id, task=q.task, prompt=q.parts, candidates=said[q.id], cluster=q.cluster) for q in prompts]


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
            out.append(about | {"form": form, "text": text, "answer": stated(text)} | truth)
    return pd.DataFrame(out)


def ask_judge(run: Run, name: str, folder: Path, known: Known, sizes: list[int], found: Found) -> None:
    """Let one judge choose by knock-out; the final one also with the incumbent as A and by round robin.

    A tuned judge also scores each candidate beside itself.
    """
    asked = run.section("judge")
    forms = _forms(known)
    judge = load_judge(folder, asked["batch_size"], run.device, run.dtype, seed=run.seed)
    if name == "base":

        def ask(pairs: list[Pair]) -> list[Judgement]:
            return [row for row in forced(judge.chat, "base", pairs, asked["wording"]) if row.order == "AB"]

    else:
        judge.decoding = Decoding(max_new_tokens=asked["max_new_tokens"])
        judge.chat.name = name
        ask = asking(judge, progress(f"{name} compares"))
    referee = Referee(known, _kept(run, name, ask))
    choices = [of_ladders(knock_out(forms, referee, seed=run.seed), sizes, "knock-out", name)]
    if name == FINAL:
        fixed = knock_out(forms, referee, "A", run.seed)
        choices.append(of_ladders(fixed, sizes, "knock-out, incumbent as A", name))
        few = [n for n in sizes if n <= run.section()["round_robin"]]
        choices.append(of_round_robins(forms, referee, few, name))
    if name != "base":
        found.score("own score", name, known, own_scores(judge, referee), sizes)
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


def _kept(run: Run, name: str, ask: Ask) -> Ask:
    """Keep each round of judgements below the checkpoints: a killed stage asks again only what it had not heard."""
    rounds = count()

    def kept(pairs: list[Pair]) -> list[Judgement]:
        label = f"{name}-{next(rounds):04d}"
        return in_chunks(run.checkpoint_dir, label, pairs, lambda some, at: ask(some), Judgement, size=1024)

    return kept
