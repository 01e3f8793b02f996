"""An OpenAI-compatible server behind the interface that local models have: chats in, completions out.

Requests run `concurrency` at a time. What may pass (timeouts, 408, 409, 429, 5xx, broken connections, answers that are
not JSON or hold no completion) is tried again with exponential back-off, or after the time that the server names;
`timeout` bounds a whole attempt, so that an answer which drips in cannot hang. Every attempt carries the same
Idempotency-Key: a server that honours it charges once even where an answer was lost on the way; for others `usage.lost`
says how many may have been charged again. A request that fails after its retries raises; no answer is invented.

What a server makes of a request is its own affair: `transformers serve` leaves media out without a word where its
model reads text only, and samples only where the model's own generation settings say so.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tenacity
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from omnirepro.models.endpoints.messages import to_message
from omnirepro.models.endpoints.store import Store, Usage, key_of
from omnirepro.models.generation import Decoding, Generated

_Answer = tuple[Generated, int]  # with its prompt's tokens
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for


class LostAnswerError(OpenAIError):
    """No answer that can be used came back, though the server may have worked and charged for one."""


@dataclass
class EndpointModel:
    """A model on a server. `url` ends in /v1; the key comes from the environment variable OPENAI_API_KEY.

    `cache`: a sqlite file of answers, from which a run that broke off goes on. `schema`: a JSON schema that the answer
    must have, left out with a warning where the server refuses it. `frames`: send films as so many pictures (0: whole).
    """

    url: str
    name: str
    concurrency: int = 4
    retries: int = 4
    timeout: float = 120.0
    wait: float = 0.5
    cache: str | Path | None = None
    schema: dict[str, Any] | None = None
    frames: int = 0
    usage: Usage = field(default_factory=Usage, compare=False)

    def complete(self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats in order, `concurrency` at a time.

        Raises openai.OpenAIError after the last retry, and `MediaError` where a file cannot be read. Then, or when
        interrupted, no further request is sent, and the answers under way are waited for and stored.
        """
        started, out = time.monotonic(), [Generated("", 0, False)] * len(chats)
        done: queue.SimpleQueue[tuple[int, Generated] | None] = queue.SimpleQueue()
        batch = _Batch(self, decoding, seed, done.put)
        with ThreadPoolExecutor(1) as pool:  # a loop of its own: a notebook's thread has one already
            job = pool.submit(lambda: asyncio.run(batch.run(chats)))
            try:
                count = 0
                while (item := done.get()) is not None:
                    out[item[0]], count = item[1], count + 1
                    if progress:
                        progress(count, len(chats), time.monotonic() - started)
                job.result()
            finally:
                batch.stop.set()
        return out

    def body(self, chat: list[dict], decoding: Decoding, seed: int) -> dict[str, Any]:
        """Return the request of a chat, as JSON values."""
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [to_message(m, self.frames) for m in chat],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed,
        }
        if decoding.top_k:
            body["extra_body"] = {"top_k": decoding.top_k}  # not OpenAI's own, but vLLM's
        if self.schema:
            shape = {"name": "answer", "schema": self.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body


class _Batch:
    """One call of `complete`, inside its own event loop."""

    def __init__(self, model: EndpointModel, decoding: Decoding, seed: int, report: Callable[[Any], None]) -> None:
        self.model, self.decoding, self.seed, self.report = model, decoding, seed, report
        self.stop, self.failures = threading.Event(), []
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def halted(self) -> bool:
        """Tell whether a request has failed for good or the caller has gone: nothing more is sent."""
        return bool(self.failures) or self.stop.is_set()

    async def run(self, chats: list[list[dict]]) -> None:
        key, todo = os.environ.get("OPENAI_API_KEY", "none"), iter(enumerate(chats))
        client = AsyncOpenAI(base_url=self.model.url, api_key=key, max_retries=0, timeout=self.model.timeout)
        try:
            async with client:
                with closing(Store(self.model.cache)) as self.store:
                    await asyncio.gather(*(self._work(client, todo) for _ in range(self.model.concurrency)))
        finally:
            self.report(None)
        if self.failures:
            raise self.failures[0]

    async def _work(self, client: AsyncOpenAI, todo: Iterator[tuple[int, list[dict]]]) -> None:
        """Take one chat after another until none is left or one has failed."""
        for i, chat in todo:
            if self.halted():
                return
            try:
                made = await self._one(client, chat, self.seed + (i if self.decoding.temperature > 0 else 0))
            except Exception as error:
                self.failures.append(error)
                return
            self.report((i, made))

    async def _one(self, client: AsyncOpenAI, chat: list[dict], seed: int) -> Generated:
        model = self.model
        body = await asyncio.to_thread(model.body, chat, self.decoding, seed)
        key = key_of(model.url, body)
        async with self.locks[key]:  # equal requests under way are asked once
            if found := self.store.get(key):
                model.usage.cached += 1
                return found
            try:
                made, prompt_tokens = await _asked(model, client, body, key, self.halted)
            except APIStatusError as error:
                if "response_format" not in body or not _refuses_schema(error):
                    raise
            else:
                self.store.put(key, model.name, made, prompt_tokens)
                model.usage.paid(prompt_tokens, made.tokens)
                return made
        if model.schema:
            model.schema = None
            warnings.warn(f"{model.url} takes no JSON schema; answers are not constrained", stacklevel=2)
        return await self._one(client, chat, seed)


async def _asked(
    model: EndpointModel, client: AsyncOpenAI, body: dict[str, Any], key: str, halted: Callable[[], bool]
) -> _Answer:
    """Return the answer to one request, tried again where that may help.

    In a batch that was halted, only answers that were lost on the way are asked for again: they may have been paid.
    """

    lost = False

    def count(state: tenacity.RetryCallState) -> None:
        nonlocal lost
        model.usage.retried += 1
        lost |= not _refused(state)

    backoff = tenacity.wait_random_exponential(multiplier=model.wait, max=LONGEST_WAIT)
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_passes),
        stop=lambda s: s.attempt_number > model.retries or (halted() and not lost and _refused(s)),
        wait=lambda state: _named_wait(state.outcome.exception()) or backoff(state),
        before_sleep=count,
        reraise=True,
    ):
        with attempt:
            return await _attempt(model, client, body, key)
    raise AssertionError("tenacity returns or raises")


async def _attempt(model: EndpointModel, client: AsyncOpenAI, body: dict[str, Any], key: str) -> _Answer:
    """Send a request once. Raises OpenAIError, also where the answer is late, cut or no completion."""
    try:
        asked = client.chat.completions.create(**body, extra_headers={"Idempotency-Key": key})
        return _read(await asyncio.wait_for(asked, model.timeout))
    except APIStatusError as error:
        error.add_note(f"{model.url} said: {error.response.text[:500]}")
        raise
    except APIConnectionError:
        model.usage.lost += 1
        raise
    except TimeoutError:
        model.usage.lost += 1
        raise LostAnswerError(f"{model.url}: no whole answer within {model.timeout:g} s; raise timeout") from None
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        model.usage.lost += 1
        why = "the server accepted the request but sent no completion"
        raise LostAnswerError(f"{model.url}: {why} ({error!s:.200}); see its log") from error


def _read(reply: Any) -> _Answer:
    """Return the completion of a reply. Raises AttributeError, IndexError, TypeError where it holds none."""
    choice = reply.choices[0]
    used = reply.usage
    made = Generated(
        choice.message.content or "", used.completion_tokens if used else 0, choice.finish_reason == "stop"
    )
    return made, used.prompt_tokens if used else 0


def _refused(state: tenacity.RetryCallState) -> bool:
    return isinstance(state.outcome.exception(), APIStatusError)


def _passes(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, APIConnectionError | LostAnswerError)


def _named_wait(error: BaseException | None) -> float:
    """Return the seconds that a server asks to wait (0: none named)."""
    headers = error.response.headers if isinstance(error, APIStatusError) else {}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return min(max(float(headers[name]) * unit, 0.001), LONGEST_WAIT)
        except (KeyError, ValueError):  # absent, or a date
            continue
    return 0.0


def _refuses_schema(error: Exception) -> bool:
    """Tell whether a server refused a request because of its schema."""
    known = isinstance(error, APIStatusError) and error.status_code in (400, 422, 501)
    return known and any(word in error.response.text for word in ("response_format", "json_schema", "guided"))
