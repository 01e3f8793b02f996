"""A judging from the command line: what it takes, told before it begins; kept as it goes on, and ended in time.

The price is that of the real requests: the judge is asked as it would be, with a model in place of its own that notes
what it is asked. A loaded model's tokens are counted by its own processor, its seconds are measured. A server counts by
rules of its own: here a token is 4 bytes of text, 28 x 28 pixels, two frames of a film a second, in pairs, or 0.04 s of
sound, as Qwen2.5-Omni has them, and its seconds follow from the stated `rate`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omnirepro.data import Pair, Part, media, text_part
from omnirepro.data.files import RunError
from omnirepro.kit.run.files import digest
from omnirepro.models.cache import CachedChat, CachedScores, Store
from omnirepro.models.endpoints import CHOOSING, EndpointModel
from omnirepro.models.generation import Decoding, Generated, Progress

COUNTED = 64  # chats, spread over all, whose tokens a loaded model's processor counts
MEASURED = 16  # pairs, spread over all, on which it is timed, where a first one promises a minute at most
MOST_PIXELS = {"image": 16_384, "views3d": 16_384, "video": 768}  # tokens of a picture or a frame, at most
SHOWN = 28 * 28  # pixels of a token


@dataclass
class Asked:
    """A model that notes what it is asked, and how many tokens it may write, and answers nothing."""

    name: str = ""
    chats: list[list[dict]] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    requests: list[tuple[Decoding, int, dict[str, Any] | None]] = field(default_factory=list)

    def complete(
        self, chats: list, decoding: Decoding, seed: int = 0, progress: Progress | None = None
    ) -> list[Generated]:
        """Note chats to complete."""
        self._note(chats, decoding, [seed + i * (decoding.temperature > 0) for i in range(len(chats))])
        return [Generated("", 0, True)] * len(chats)

    def choose(
        self, chats: list, begun: list[str], options: list[str], progress: Progress | None = None
    ) -> list[list[float]]:
        """Note chats of whose answers the next word is chosen."""
        starts = [[{"role": "assistant", "parts": [text_part(text)]}] for text in begun]
        both = zip(chats, starts, strict=True)
        self._note([[*chat, *start] for chat, start in both], Decoding(1), [0] * len(chats), CHOOSING)
        return [[0.0] * len(options)] * len(chats)

    def score(self, chats: list, batch_size: int = 64, progress: Progress | None = None) -> list[float]:
        """Note chats to score."""
        self._note(chats, Decoding(0), [0] * len(chats))
        return [0.0] * len(chats)

    def _note(self, chats: list, decoding: Decoding, seeds: list[int], more: dict[str, Any] | None = None) -> None:
        self.chats += chats
        self.written += [decoding.max_new_tokens] * len(chats)
        self.requests += [(decoding, seed, more) for seed in seeds]


def kept(judge: Any, cache: str | Path, spec: str, seconds: float, batch_size: int) -> None:
    """Keep what a loaded judge's model says in a file, from which a judging that was stopped or killed goes on.

    Raises `RunError` for `seconds` of a judge whose answers are drawn: these are not kept, and would begin anew.
    """
    if seconds and hasattr(judge, "decoding") and judge.decoding.temperature > 0:
        raise RunError("--seconds: what a loaded model draws is not kept and could not go on; leave it out")
    store = Store(cache, 4 * batch_size, time.monotonic() + seconds if seconds else math.inf)
    identity = digest(Path(spec)) if Path(spec).exists() else spec
    if hasattr(judge, "scorer"):
        judge.scorer = CachedScores(judge.scorer, store, identity)
    else:
        judge.chat = CachedChat(judge.chat, store, identity)


def price(judge: Any, pairs: list[Pair], orders: str = "both", criterion: str | None = None) -> str:
    """Return what judging pairs takes, in lines: tokens read and written, seconds, money. Nothing of it is judged."""
    asked = Asked(judge.name)
    scalar = hasattr(judge, "scorer")
    rows = replace(judge, **{"scorer" if scalar else "chat": asked}).judge(pairs, orders, criterion)
    model = judge.scorer if scalar else judge.chat
    lines = [f"{len(pairs):,} pairs, {len(rows):,} judgements, {len(asked.chats):,} requests to {judge.name}"]
    if isinstance(model, EndpointModel):
        lines += _served(model, asked)
    elif pairs:
        lines += _loaded(model.encode if scalar else model.processor.encode, asked)
        lines.append(_timed(lambda some: judge.judge(some, orders, criterion), pairs))
    return "\n".join(lines)


def _served(model: EndpointModel, asked: Asked) -> list[str]:
    """Return the lines of a server: of distinct requests that its cache cannot answer."""
    keys = [model.key_for(chat, *how) for chat, how in zip(asked.chats, asked.requests, strict=True)]
    distinct = {key: i for i, key in enumerate(keys)}
    known: dict[str, Any] = {}
    spent = 0.0
    if model.cache and Path(model.cache).exists():
        with Store(model.cache) as store:
            known = store.get(list(distinct))
            spent = store.total("cost")
    left = [i for key, i in distinct.items() if key not in known]
    parts = [part for i in left for message in asked.chats[i] for part in message["parts"]]
    texts = sum(len((part.text or "").encode()) for part in parts if part.type == "text") // 4
    shown = sum(tokens_of(part, model.frames) for part in parts if part.type != "text")
    written = sum(asked.written[i] for i in left)
    cost = model.usage.price_of(texts + shown, written)
    seconds = written / model.rate / model.concurrency
    priced = "no price is stated for it" if not any(model.usage.price) else f"about {cost:.4g} at most"
    priced += f", {spent:.4g} are spent" if spent else ""
    priced += f", of a budget of {model.budget:g}" if model.budget else ""
    return [
        f"requests: {len(left):,} to be made, {len(known):,} answers are kept",
        _tokens(texts + shown, shown, written),
        f"seconds: about {seconds:,.0f} at most, at {model.rate:g} tokens a second of each answer, "
        f"{model.concurrency} at a time",
        f"money: {priced}",
    ]


def tokens_of(part: Part, frames: int = 0) -> int:
    """Estimate the tokens of a medium from its head (see the module); `frames`: pictures in place of a film.

    Raises `MediaError` where it cannot be read.
    """
    width, height, seconds = media.measure(part.path, part.type)
    if part.type == "audio":
        return round(seconds * 25)
    picture = max(1, min(width * height // SHOWN, MOST_PIXELS["image" if frames else part.type]))
    return picture * (1 if part.type != "video" else frames or max(1, round(seconds)))


def _loaded(encode: Callable[[list[dict]], Any], asked: Asked) -> list[str]:
    """Return the lines of a loaded model, which counts tokens itself."""
    some = _spread(range(len(asked.chats)), COUNTED)
    examples = [encode(asked.chats[i]) for i in some]
    all_of_some = len(asked.chats) / len(some)
    read = round(sum(len(one.ids) for one in examples) * all_of_some)
    shown = round(sum(found["tokens"] for one in examples for found in one.features) * all_of_some)
    return [_tokens(read, shown, sum(asked.written)), "money: none, the model is loaded here"]


def _tokens(read: int, shown: int, written: int) -> str:
    return f"tokens: about {read:,} read, {shown:,} of them media; at most {written:,} written"


def _timed(judging: Callable[[list[Pair]], Any], pairs: list[Pair]) -> str:
    """Return the line of the time that judging takes, from that of a few pairs after a first one."""
    some = _spread(pairs, MEASURED)
    took = _seconds(judging, some[:1])
    if took * len(some) > 60:
        some = some[:1]
    else:
        took = _seconds(judging, some)
    return f"seconds: about {took / len(some) * len(pairs):,.0f}, from {len(some)} pairs that took {took:.2f} here"


def _seconds(judging: Callable[[list[Pair]], Any], pairs: list[Pair]) -> float:
    start = time.monotonic()
    judging(pairs)
    return time.monotonic() - start


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return at most so many items, evenly spaced."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]
