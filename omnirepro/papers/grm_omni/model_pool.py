"""Who plays which role of GRM-Omni in a stage: models behind a cache, and scalar models, trained where none is given.

Consumes folders of models; produces roles. Answers are kept by content below the stage's checkpoints, so that a killed
synthesis or experiment goes on where it was, and a search that shares questions with an earlier one costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from omnirepro.data import Label, Pair
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge, load_scalar_judge
from omnirepro.kit.run import Run
from omnirepro.kit.run.files import digest
from omnirepro.models.cache import CachedChat, CachedScores, Store, key_of
from omnirepro.models.examples import Encoded
from omnirepro.models.generation import Decoding, Generated, LocalModel, generate
from omnirepro.models.loading import load
from omnirepro.papers.grm_omni.roles import SECTION
from omnirepro.papers.grm_omni.stub_judge import StubJudge
from omnirepro.train.bradley_terry import train_bradley_terry

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


def train_scalar(run: Run, base: Path | str, name: str, pairs: list[Pair]) -> Path:
    """Train the scalar model `name` of `SCALARS` by the world's own preference; returns its folder `scorer`."""
    labels = [
        Label(pair_id=p.id, verdict=p.label, score_a=p.meta["score_a"], score_b=p.meta["score_b"], provenance="world")
        for p in pairs
    ]
    sub = run.sub(f"scalar-{name}", bradley_terry={"steps": run.section(SECTION)[SCALARS[name]]})
    wording = run.section("judge")["wording"]
    return train_bradley_terry(sub, base, pairs, labels, sub.section("bradley_terry"), wording)


def open_judge(run: Run, folder: Path | str, name: str) -> Judge:
    """Load a tuned model as a greedy judge whose answers are kept; `name` is that of its rows."""
    p = run.section(SECTION)
    asked = run.section("judge")
    if p["templates"]:
        chat = StubJudge(name)
    else:
        local = Writer(*load(folder, run.device, run.dtype), name, asked["batch_size"], p["writing"])
        chat = CachedChat(local, store(run), identity(folder))
    decoding = Decoding(max_new_tokens=p["max_new_tokens"])
    return Judge(chat, wording=asked["wording"], decoding=decoding, seed=run.seed)


def open_scalar(run: Run, folder: Path | str, name: str) -> ScalarJudge:
    """Load a scalar model whose scores are kept."""
    judge = load_scalar_judge(folder, run.section("judge")["batch_size"], run.device, run.dtype, name=name)
    judge.scorer = CachedScores(judge.scorer, store(run), identity(folder))
    return judge


def store(run: Run) -> Store:
    """Return the stage's store of answers."""
    return Store(run.checkpoint_dir / "answers.sqlite", run.section(SECTION)["group"])


def identity(folder: Path | str) -> str:
    """Name a model by its files, or by its name where it is none of ours."""
    return digest(Path(folder)) if Path(folder).exists() else str(folder)
