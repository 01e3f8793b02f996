"""One judge for teachers, reward models and evaluation.

Consumes pairs; produces one frozen `Judgement` row a pair and displayed order, verdict and scores in the pair's own
frame, raw text kept. The judge never sees labels, sources or generators.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omnirepro import rubric
from omnirepro.models.generation import Decoding, Generated, LocalModel
from omnirepro.schema import Judgement, Pair, swap_verdict, text_of
from omnirepro.scoring import ScalarJudge, load_scalar_judge, scorer_in

ORDERS = {"both": ("AB", "BA"), "AB": ("AB",), "BA": ("BA",)}


class Chat(Protocol):
    """A model that completes chats: local, or an endpoint."""

    name: str

    def complete(self, chats: list, decoding: Decoding, seed: int, progress: Callable | None) -> list[Generated]: ...


class Scaling(Protocol):
    """A way to spend more compute on each pair."""

    def run(self, judge: Judge, pairs: list[Pair]) -> list[Judgement]: ...


@dataclass
class Judge:
    """A generative judge: a model with a judgement format, a wording and a decoding."""

    chat: Chat
    format: str = "rationale-first"
    wording: str = "brief"
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0

    @property
    def name(self) -> str:
        return self.chat.name

    def judge(
        self,
        pairs: Iterable[Pair],
        orders: str = "both",
        criterion: str | None = None,
        scaling: Scaling | None = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> list[Judgement]:
        """Judge every pair in the given orders ("both", "AB" or "BA"); rows come pair by pair.

        `criterion` replaces each pair's own. `scaling` is any object with `run(judge, pairs)`.
        """
        pairs = [p.model_copy(update={"criterion": criterion}) if criterion else p for p in pairs]
        if scaling is not None:
            return scaling.run(self, pairs)
        shown = [(p, order, p if order == "AB" else p.swap()) for p in pairs for order in ORDERS[orders]]
        chats = [rubric.messages(display, self.wording, self.format) for _, _, display in shown]
        made = self.chat.complete(chats, self.decoding, self.seed, progress)
        return [self._row(pair, order, out) for (pair, order, _), out in zip(shown, made, strict=True)]

    def _row(self, pair: Pair, order: str, made: Generated) -> Judgement:
        parsed = rubric.parse(made.text, self.format)
        a, b = (parsed.score_a, parsed.score_b) if order == "AB" else (parsed.score_b, parsed.score_a)
        return Judgement(
            pair_id=pair.id, task=pair.task, cluster=pair.cluster_id, order=order, model=self.name, kind="rubric",
            status=parsed.status, verdict=parsed.verdict if order == "AB" else swap_verdict(parsed.verdict),
            score_a=a, score_b=b, label=pair.label, margin=pair.margin, criterion=pair.criterion,
            length_a=len(text_of(pair.response_a)), length_b=len(text_of(pair.response_b)),
            raw=made.text, tokens=made.tokens, decoding=asdict(self.decoding), seed=self.seed,
        )  # fmt: skip


def load_judge(
    path_or_name: str | Path, batch_size: int = 256, device: str = "auto", dtype: str = "auto", **kw: Any
) -> Judge | ScalarJudge:
    """Load a judge from a stage's folder, an adapter, a scorer, a model folder, a hub id, a GGUF package or a URL.

    A scorer (Bradley-Terry) gives a scalar judge. A URL has the form http://host:port/v1#model. Keyword arguments
    override the judge's stored settings (`format`, `wording`, `decoding`, `seed`). Raises `ModelError` where nothing
    can be loaded.
    """
    name = str(path_or_name)
    if name.startswith(("http://", "https://")):
        from omnirepro.models.endpoints import EndpointModel

        url, _, model = name.partition("#")
        return Judge(EndpointModel(url, model or "default"), **({"wording": "full"} | _settings(kw)))
    if scorer_in(name):
        return load_scalar_judge(name, batch_size, device, dtype, **kw)
    folder = _adapter_in(Path(name))
    from omnirepro.models.loading import load

    model, processor = load(folder or name, device, dtype)
    stored = folder and (folder / "judge.json")
    settings = json.loads(stored.read_text()) if stored and stored.is_file() else {"wording": "full"}
    label = (
        f"{folder.parent.parent.name}/{folder.parent.name}" if folder and folder.name == "adapter" else Path(name).name
    )
    return Judge(LocalModel(model, processor, label, batch_size), **_settings(settings | kw))


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    decoding = values.get("decoding")
    return values | ({"decoding": Decoding(**decoding)} if isinstance(decoding, dict) else {})


def _adapter_in(folder: Path) -> Path | None:
    """Find the adapter of a stage's folder or of the folder itself."""
    return next((f for f in (folder / "adapter", folder) if (f / "adapter_config.json").is_file()), None)


def save_settings(judge: Judge, folder: Path) -> None:
    """Write how a trained judge wants to be asked, beside its adapter."""
    settings = {"format": judge.format, "wording": judge.wording, "decoding": asdict(judge.decoding)}
    (Path(folder) / "judge.json").write_text(json.dumps(settings, indent=2) + "\n")
