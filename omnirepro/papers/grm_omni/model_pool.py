"""Who plays which role of GRM-Omni in a stage: models behind a cache, and scalar models, trained where none is given.

Consumes folders of models; produces roles. Answers are kept by content below the stage's checkpoints, so that a killed
synthesis or experiment goes on where it was, and a search that shares questions with an earlier one costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from omnirepro.data import Pair
from omnirepro.data.files import lies_at
from omnirepro.judge.generative import Judge, load_judge
from omnirepro.judge.scalar import ScalarJudge, scorer_in
from omnirepro.judge.scorers import ByModality, open_scorer
from omnirepro.kit.run import ParameterError, Run
from omnirepro.kit.run.files import digest
from omnirepro.models.cache import CachedChat, CachedScores, Store, key_of
from omnirepro.models.examples import Encoded
from omnirepro.models.generation import Chat, Decoding, Generated, LocalModel, generate
from omnirepro.models.loading import gives_scores, load
from omnirepro.models.opening import served
from omnirepro.models.processing import limits_in
from omnirepro.papers.grm_omni.roles import SECTION
from omnirepro.papers.grm_omni.stub_judge import StubJudge
from omnirepro.train.bradley_terry import train_bradley_terry
from omnirepro.train.curriculum import labels_of

SCALARS = {"better": "better_steps", "worse": "worse_steps"}  # the scalar models, and the parameters they differ in


@dataclass
class Writer(LocalModel):
    """A local model that writes criteria at a temperature: each draw hangs on its own question, not on its batch.

    Greedy writing would give nearly every pair the same criteria, best first, and leave a ranking nothing to do.
    """

    writing: float = 0.0
    by_content: ClassVar[bool] = True

    def complete(self, chats: list, decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats in order; equal chats get equal completions."""
        if decoding.temperature == 0:
            return super().complete(chats, decoding, seed, progress)
        examples = Encoded(chats, self.processor.encode)
        draws = [int(key_of("", chat, seed)[:15], 16) for chat in chats]
        return generate(self.model, self.processor, examples, decoding, seed, self.batch_size, progress, draws)


@dataclass
class Served:
    """A server's model under the name of its rows; criteria are written at the temperature `writing`."""

    chat: Chat
    name: str
    writing: float

    def complete(self, chats: list, decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats in order; answers are kept as the section `endpoints` says."""
        return self.chat.complete(chats, decoding, seed, progress)


def train_scalar(run: Run, base: Path | str, name: str, pairs: list[Pair]) -> Path:
    """Train the scalar model `name` of `SCALARS` by the pairs' labels; returns its folder `scorer`."""
    p = run.section(SECTION)
    sub = run.sub(f"scalar-{name}", bradley_terry={"steps": p[SCALARS[name]], "lr": p["scalar_lr"]})
    wording = run.section("judge")["wording"]
    return train_bradley_terry(sub, base, pairs, labels_of(pairs), sub.section("bradley_terry"), wording)


def open_judge(run: Run, folder: Path | str, name: str) -> Judge:
    """Load a model as a greedy judge whose answers are kept; `name` is that of its rows.

    A path is that of a model of this run, asked as it was taught; a text names any other model (`open_named`).
    """
    if isinstance(folder, str):
        return open_named(run, folder, name)
    p = run.section(SECTION)
    asked = run.section("judge")
    if p["templates"]:
        chat = StubJudge(name)
    else:
        local = Writer(*load(folder, run.device, run.dtype), name, asked["batch_size"], writing=p["writing"])
        chat = CachedChat(local, store(run), identity(folder))
    decoding = Decoding(max_new_tokens=p["max_new_tokens"])
    return Judge(chat, wording=asked["wording"], decoding=decoding, seed=run.seed)


def open_named(run: Run, spec: str, name: str) -> Judge:
    """Open the model that a parameter names, local or on a server, in the full wording unless it keeps another.

    Raises `ParameterError` where it gives scores and writes nothing.
    """
    p = run.section(SECTION)
    batch_size = run.section("judge")["batch_size"]
    asked = {"format": "verdict-direct", "decoding": Decoding(p["max_new_tokens"]), "seed": run.seed}
    opened = {"endpoint": run.endpoint, "media": limits_in(run.section("media"))}
    if not served(spec) and (scorer_in(spec) or gives_scores(spec)):
        raise ParameterError(f"{spec} gives scores and writes nothing: name it in {SECTION}.disrm")
    judge = load_judge(spec, batch_size, run.device, run.dtype, **asked, **opened)
    if isinstance(judge.chat, LocalModel):
        writer = Writer(judge.chat.model, judge.chat.processor, name, batch_size, writing=p["writing"])
        judge.chat = CachedChat(writer, store(run), identity(spec))
    else:
        judge.chat = Served(judge.chat, name, p["writing"])
    return judge


def open_scalar(run: Run, spec: Path | str | Mapping[str, Path | str], name: str) -> ScalarJudge:
    """Open a scalar model, or one a modality, whose scores are kept."""
    how = {"media": limits_in(run.section("media")), "name": name}
    judge = open_scorer(spec, run.section("judge")["batch_size"], run.device, run.dtype, **how)
    if isinstance(judge, ByModality):
        judge.scorers = {kind: kept(run, judge.scorers[kind], one) for kind, one in spec.items()}
        return judge
    return kept(run, judge, spec)


def kept(run: Run, judge: ScalarJudge, spec: Path | str) -> ScalarJudge:
    """Let a scalar judge's scores be kept by content."""
    if not isinstance(judge.scorer, CachedScores):
        judge.scorer = CachedScores(judge.scorer, store(run), identity(spec))
    return judge


def store(run: Run) -> Store:
    """Return the stage's store of answers."""
    return Store(run.checkpoint_dir / "answers.sqlite", run.section(SECTION)["group"])


def identity(folder: Path | str) -> str:
    """Name a model by its files, or by its name where it is none of ours."""
    place = Path(lies_at(str(folder)))
    return digest(place) if place.exists() else str(folder)
