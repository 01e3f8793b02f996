"""One judge for teachers, reward models and evaluation.

Consumes pairs; produces one frozen `Judgement` row a pair and displayed order, verdict and scores in the pair's own
frame, raw text kept. The judge never sees labels, sources or generators.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from omnirepro.data import Judgement, Pair, Prompt, Response
from omnirepro.judge import choice, rubric, verdict
from omnirepro.judge.scalar import ORDERS, ScalarJudge, load_scalar_judge, scorer_in
from omnirepro.models.generation import Chat, Decoding, Generated, Progress
from omnirepro.models.opening import adapter_in, open_chat, served

# The longest answer of a model that was not trained here, in tokens, by format; any other one gives reasons at length.
LIMITS = {"verdict": 512, "verdict-direct": 64, "level": 64, "scores-only": 128}
LONGEST = 1024
SAMPLING = 0.7  # temperature of several samples, where a judge has none of its own


class Scaling(Protocol):
    """A way to spend more compute on each pair."""

    def run(self, judge: Judge, pairs: list[Pair]) -> list[Judgement]: ...


@dataclass
class Judge:
    """A generative judge: a model with a judgement format, a wording and a decoding.

    `read`: by the verdict that it writes ("generate"), or by the probabilities of both ("choice"; see `judge.choice`,
    and there `threshold`). `samples`: judgements drawn for each pair and order, of which the commonest verdict counts.
    `examples`: turns of other pairs and their judgements that are shown before each pair.
    Raises `RunError` where these do not fit each other.
    """

    chat: Chat
    format: str = "rationale-first"
    wording: str = "brief"
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0
    read: str = "generate"
    threshold: float = 0.0
    samples: int = 1
    examples: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        choice.check(self.read, self.format, self.samples, self.decoding.temperature)

    @property
    def name(self) -> str:
        return self.chat.name

    def messages(self, pair: Pair, order: str) -> list[dict]:
        """Return the chat that asks for a judgement of a pair, displayed in an order, behind the judge's examples."""
        asked = verdict.messages(pair.displayed(order), self.wording, self.format)
        return [*asked[:-1], *self.examples, asked[-1]]

    def judge(
        self,
        pairs: Iterable[Pair],
        orders: str = "both",
        criterion: str | None = None,
        scaling: Scaling | None = None,
        progress: Progress | None = None,
    ) -> list[Judgement]:
        """Judge every pair in the given orders ("both", "AB" or "BA"); rows come pair by pair.

        `criterion` replaces each pair's own. `scaling` is any object with `run(judge, pairs)`,
        which has its own orders.
        """
        pairs = [p.model_copy(update={"criterion": criterion}) if criterion else p for p in pairs]
        if scaling is not None:
            return scaling.run(self, pairs)
        if self.read != "generate":
            return choice.choices(self, pairs, orders, progress)
        format = verdict.format_of(self.format)
        asked = [(pair, order) for pair in pairs for order in ORDERS[orders]]
        chats = [self.messages(*each) for each in asked]

        def parsed(out: Generated) -> rubric.Parsed:
            return rubric.concluded(format.read(out.text), out)

        about = {"model": self.name, "kind": format.kind, "decoding": asdict(self.decoding), "seed": self.seed}
        if self.samples > 1:
            drawn = [chat for chat in chats for _ in range(self.samples)]
            made = self.chat.complete(drawn, self.decoding, self.seed, progress)
            several = [made[i : i + self.samples] for i in range(0, len(made), self.samples)]
            both = zip(asked, several, strict=True)
            return [choice.vote(*at, [parsed(one) for one in some], some, about) for at, some in both]
        made = self.chat.complete(chats, self.decoding, self.seed, progress)
        return [
            Judgement.of(pair, order, parsed(out), raw=out.text or out.reason, tokens=out.tokens, **about)
            for (pair, order), out in zip(asked, made, strict=True)
        ]

    def score(self, prompts: list[Prompt], responses: list[Response], progress: Progress | None = None) -> list[float]:
        """Give `responses[i]` its level, 1 to 5, as the answer to `prompts[i]` under that prompt's criterion.

        NaN where no level could be read. Raises ValueError where the lists differ in length.
        """
        found = [parsed.score_a for parsed, _ in self.levels(prompts, responses, progress)]
        return [math.nan if level is None else level for level in found]

    def levels(
        self, prompts: list[Prompt], responses: list[Response], progress: Progress | None = None
    ) -> list[tuple[rubric.Parsed, Generated]]:
        """Return what `score` reads of each response, its status with it, and the completion that it was read from."""
        asked = zip(prompts, responses, strict=True)
        chats = [verdict.ask_level(p.parts, r.parts, p.criterion, self.wording) for p, r in asked]
        held = getattr(self.chat, "schema", None)  # a server's, to another format
        made = (replace(self.chat, schema=None) if held else self.chat).complete(
            chats, self.decoding, self.seed, progress
        )
        return [(rubric.concluded(verdict.read(out.text, "level"), out), out) for out in made]


def load_judge(
    path_or_name: str | Path, batch_size: int = 256, device: str = "auto", dtype: str = "auto", **kw: Any
) -> Judge | ScalarJudge:
    """Load a judge from a stage's folder, an adapter, a scorer, a model folder, a hub id, a GGUF package or a URL.

    A scorer (Bradley-Terry), or a classifier of the hub with one label, gives a scalar judge. A URL has the form
    http://host:port/v1#model; `endpoint` holds options of `open_endpoint`, such as servers, cache and concurrency;
    answers are held to the keys of the format where the server can do that. `media` limits what of them is shown to a
    model that keeps no limits of its own (base.yaml's section). Keyword arguments override the judge's stored settings
    (`format`, `wording`, `decoding`, `seed`); one without any may answer as long as its format needs. `read` and
    `samples` say how a generative judge is read; a scalar one has its scores. Raises `ModelError` where nothing can be
    loaded.
    """
    from omnirepro.models.loading import gives_scores

    name = str(path_or_name)
    endpoint = kw.pop("endpoint", None) or {}
    limits = kw.pop("media", None)
    asked = kw.get("format", Judge.format)
    settings: dict[str, Any] = {"wording": "full", "decoding": Decoding(LIMITS.get(asked, LONGEST))}
    if served(name):
        keys = rubric.FORMATS.get(asked)
        schema = rubric.RubricJudgement.model_json_schema()
        if keys:
            schema |= {"properties": {k: schema["properties"][k] for k in keys}, "required": list(keys)}
        endpoint = {"schema": schema if keys else None} | endpoint
    elif scorer_in(name) or gives_scores(name):
        kw = {key: value for key, value in kw.items() if key not in ("read", "samples")}
        return load_scalar_judge(name, batch_size, device, dtype, limits, **kw)
    else:
        from omnirepro.models.processing import kept_settings

        settings |= kept_settings(adapter_in(name) or name)
        settings.pop("media", None)
    chat = open_chat(name, "", batch_size, device, dtype, endpoint, limits)
    settings |= kw
    if isinstance(settings.get("decoding"), dict):
        settings["decoding"] = Decoding(**settings["decoding"])
    if settings.get("samples", 1) > 1 and not settings["decoding"].temperature:
        settings["decoding"] = replace(settings["decoding"], temperature=SAMPLING)
    judge = Judge(chat, **settings)
    if hasattr(chat, "share"):
        chat.share = judge.read != "generate" or judge.samples > 1
    return judge


def save_settings(judge: Judge, folder: Path) -> None:
    """Write how a trained judge wants to be asked, and what of media it was shown, beside its adapter."""
    from omnirepro.models.processing import keep_settings

    settings = {"format": judge.format, "wording": judge.wording, "decoding": asdict(judge.decoding)}
    keep_settings(folder, **settings, media=judge.chat.processor.limits)
