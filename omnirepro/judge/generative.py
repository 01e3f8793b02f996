"""One judge for teachers, reward models and evaluation.

Consumes pairs; produces one frozen `Judgement` row a pair and displayed order, verdict and scores in the pair's own
frame, raw text kept. The judge never sees labels, sources or generators.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from omnirepro.data import Judgement, Pair, Prompt, Response, swap_verdict, text_of
from omnirepro.judge import rubric, verdict
from omnirepro.judge.scalar import ORDERS, ScalarJudge, load_scalar_judge, scorer_in
from omnirepro.models.generation import Decoding, Generated, LocalModel
from omnirepro.models.protocols import Chat


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

        `criterion` replaces each pair's own. `scaling` is any object with `run(judge, pairs)`,
        which has its own orders.
        """
        pairs = [p.model_copy(update={"criterion": criterion}) if criterion else p for p in pairs]
        if scaling is not None:
            return scaling.run(self, pairs)
        shown = [(p, order, p if order == "AB" else p.swap()) for p in pairs for order in ORDERS[orders]]
        chats = [verdict.messages(display, self.wording, self.format) for _, _, display in shown]
        made = self.chat.complete(chats, self.decoding, self.seed, progress)
        return [self._row(pair, order, out) for (pair, order, _), out in zip(shown, made, strict=True)]

    def score(
        self,
        prompts: list[Prompt],
        responses: list[Response],
        progress: Callable[[int, int, float], None] | None = None,
    ) -> list[float]:
        """Give `responses[i]` its level, 1 to 5, as the answer to `prompts[i]` under that prompt's criterion.

        NaN where no level could be read. Raises ValueError where the lists differ in length.
        """
        asked = zip(prompts, responses, strict=True)
        chats = [verdict.ask_level(p.parts, r.parts, p.criterion, self.wording) for p, r in asked]
        made = self.chat.complete(chats, self.decoding, self.seed, progress)
        found = [verdict.parse(out.text, "level").score_a for out in made]
        return [math.nan if level is None else level for level in found]

    def _row(self, pair: Pair, order: str, made: Generated) -> Judgement:
        parsed = verdict.parse(made.text, self.format)
        kind = "rubric" if self.format in rubric.FORMATS else "verdict"
        a, b = (parsed.score_a, parsed.score_b) if order == "AB" else (parsed.score_b, parsed.score_a)
        return Judgement(
            pair_id=pair.id, task=pair.task, cluster=pair.cluster_id, order=order, model=self.name, kind=kind,
            status=parsed.status, verdict=parsed.verdict if order == "AB" else swap_verdict(parsed.verdict),
            score_a=a, score_b=b, label=pair.label, margin=pair.margin, criterion=pair.criterion,
            length_a=len(text_of(pair.response_a)), length_b=len(text_of(pair.response_b)),
            raw=made.text, tokens=made.tokens, decoding=asdict(self.decoding), seed=self.seed,
        )  # fmt: skip


def load_judge(
    path_or_name: str | Path, batch_size: int = 256, device: str = "auto", dtype: str = "auto", **kw: Any
) -> Judge | ScalarJudge:
    """Load a judge from a stage's folder, an adapter, a scorer, a model folder, a hub id, a GGUF package or a URL.

    A scorer (Bradley-Terry) gives a scalar judge. A URL has the form http://host:port/v1#model; `endpoint` holds
    options of `EndpointModel`, such as cache and concurrency. Keyword arguments override the judge's stored settings
    (`format`, `wording`, `decoding`, `seed`). Raises `ModelError` where nothing can be loaded.
    """
    name, options = str(path_or_name), kw.pop("endpoint", None) or {}
    if name.startswith(("http://", "https://")):
        return _served(name, options, kw)
    if scorer_in(name):
        return load_scalar_judge(name, batch_size, device, dtype, **kw)
    folder = _adapter_in(Path(name))
    from omnirepro.models.loading import load

    model, processor = load(folder or name, device, dtype)
    stored = (folder or Path(name)) / "judge.json"
    settings = json.loads(stored.read_text()) if stored.is_file() else {"wording": "full"}
    label = (
        f"{folder.parent.parent.name}/{folder.parent.name}" if folder and folder.name == "adapter" else Path(name).name
    )
    return Judge(LocalModel(model, processor, label, batch_size), **_settings(settings | kw))


def _served(name: str, options: dict[str, Any], kw: dict[str, Any]) -> Judge:
    """Return a judge on a server, whose answers are held to the keys of its format where the server can do that."""
    from omnirepro.models.endpoints import EndpointModel

    (url, _, model), format = name.partition("#"), kw.get("format", Judge.format)
    options = {"schema": _schema(format) if format in rubric.FORMATS else None} | options
    return Judge(EndpointModel(url, model or "default", **options), **({"wording": "full"} | _settings(kw)))


def _schema(format: str) -> dict[str, Any]:
    """Return the JSON schema of a rubric format, keys in its order."""
    schema, keys = rubric.RubricJudgement.model_json_schema(), rubric.FORMATS[format]
    return schema | {"properties": {k: schema["properties"][k] for k in keys}, "required": list(keys)}


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
