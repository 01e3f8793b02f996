"""Any OpenAI-compatible server as a model, chats in and completions out: vLLM, `transformers serve`, a hosted service.

With vLLM, for example (one medium of each kind in the prompt, one in each candidate):

    vllm serve Qwen/Qwen2.5-Omni-7B --port 8000 --limit-mm-per-prompt '{"image": 3, "video": 3, "audio": 3}'
    python -m omnirepro judge pairs.jsonl --model http://localhost:8000/v1#Qwen/Qwen2.5-Omni-7B \\
        --out rows.jsonl --cache answers.sqlite --concurrency 64

Requests run `concurrency` at a time. What may pass (timeouts, 408, 409, 429, 5xx, broken connections, answers that are
not JSON or hold no completion) is tried again by the openai client, with exponential back-off or after the time that
the server names; `timeout` bounds a whole attempt, so that an answer which drips in cannot hang. Every attempt carries
the same Idempotency-Key: a server that honours it charges once even where an answer was lost on the way; for others
`usage.lost` says how many may have been charged again. An answer is on disk before anything else happens to it: a run
that breaks off pays nothing twice.

Servers differ: a field that one refuses is left out or renamed and a film is sent as pictures, once that has helped,
and its words are told once. No answer is invented: a refusal, a filtered answer and one that was cut before it began
have a status in place of a text and are not kept, and neither ends a run, nor does a request that the server refuses
while it answers others. A wrong key or model, a server that refuses everything, and what fails after its retries raise.
A `budget` is kept by what answers have cost, and by the most that those under way can cost.

Text travels as text, media whole and base64-encoded in the parts that the API defines: pictures as PNG, JPEG, GIF or
WebP, sounds as WAV or MP3; other formats are converted without loss, by what the file holds and not by its name. A film
travels whole (vLLM's `video_url`), or as `frames` JPEG pictures, evenly spaced, for servers that take no films. Nothing
is cut: the published audio script sends the first 100 characters.

What a server makes of a request is its own affair: `transformers serve` leaves media out without a word where its
model reads text only, and samples only where the model's own generation settings say so.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import os
import queue
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import openai
from pydantic import BaseModel, ValidationError

from omnirepro.data import MediaError, Part, media, reworded, text_part
from omnirepro.data.files import RunError, lies_at
from omnirepro.models import replies
from omnirepro.models.cache import Store, key_of
from omnirepro.models.chats import literal
from omnirepro.models.generation import Decoding, Generated, Progress

# httpx or httpx2, whichever the openai client stands on
httpx = import_module(openai.DefaultAsyncHttpxClient.__base__.__module__.partition(".")[0])
_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
KEY = "OPENAI_API_KEY"
FRAMES = 8  # pictures in place of a film, for a server that turned out to take none
MOST_OPTIONS = 20  # log-probabilities that OpenAI's own servers return at most
# Fields of a request that asks how likely words are to go on from a start: OpenAI's, then vLLM's and SGLang's.
CHOOSING = {
    "logprobs": True,
    "top_logprobs": MOST_OPTIONS,
    "continue_final_message": True,
    "add_generation_prompt": False,
}
LISTED = 20  # models that an error names
PATIENCE = 8  # requests that a server may refuse before it has answered any
_OF_THE_ROW = {400, 413, 422}  # about this request; the others are about key, model, account or server
_OF_ALL = {401, 402, 404, 429}
_INSTEAD = {
    "max_tokens": "takes max_completion_tokens in place of max_tokens",
    "temperature": "takes no temperature; it draws answers at its own",
    "top_p": "takes no top_p; it draws answers from its own nucleus",
    "top_k": "takes no top_k; it draws answers from all tokens",
    "seed": "takes no seed; a second run may answer otherwise",
    "response_format": "takes no JSON schema; answers are not constrained",
    "continue_final_message": "knows no continue_final_message; the start of an answer is sent as the last message",
    "add_generation_prompt": "knows no add_generation_prompt; the start of an answer is sent as the last message",
    "logprobs": "takes no logprobs; no verdict can be read by its probability",
    "video_url": f"takes no films; each is sent as {FRAMES} pictures",
    "system": "takes no system message; its text stands before the first question",
}


_BROKEN = (
    "texts hold what models may take for control tokens, such as <|im_start|>: each is sent with a mark of no width "
    "(U+200B) inside"
)


@dataclass
class Usage:
    """What was asked and paid. `lost`: attempts of which no answer came back, though the server may have worked.

    `cost` is in the currency of `price`, the price of a million prompt tokens and of a million completion tokens;
    `unkept` is the part of it that bought no answer in the cache. `withheld`: replies that held no answer; `untold`:
    replies without the number of their tokens, which are in neither tokens nor cost.
    """

    price: tuple[float, float] = (0.0, 0.0)
    answered: int = 0
    withheld: int = 0
    untold: int = 0
    cached: int = 0
    retried: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest: int = 0
    unkept: float = 0.0

    @property
    def cost(self) -> float:
        return self.price_of(self.prompt_tokens, self.completion_tokens)

    def price_of(self, prompt: float, completion: float) -> float:
        """Return what so many tokens of the prompt and of the completion cost."""
        return (prompt * self.price[0] + completion * self.price[1]) / 1e6

    def __str__(self) -> str:
        took = []
        if self.prompt_tokens or self.completion_tokens or not self.untold:
            took.append(f"{self.prompt_tokens} + {self.completion_tokens} tokens, cost {self.cost:.4f}")
        if self.untold:
            took.append(f"tokens not told by {self.untold} answers")
        return (
            f"{self.answered} answers ({', and '.join(took)}), "
            f"{self.withheld} without one, {self.cached} from the cache, {self.retried} retries, {self.lost} answers "
            "lost on the way"
        )


class Server(BaseModel, extra="forbid"):
    """How one server differs from the others: an entry of `endpoints.servers`.

    `key` names the environment variable with its key; `price` is that of a million prompt tokens and a million
    completion tokens; where `temperature` or `seed` is false, the field is not sent; `rate` is how many tokens of one
    answer it writes in a second, by which times are estimated.
    """

    key: str = KEY
    price: tuple[float, float] = (0.0, 0.0)
    frames: int | None = None
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True
    rate: float = 60.0


@dataclass
class EndpointModel:
    """A model on a server. `url` ends in /v1; the environment variable that `key` names holds the server's key.

    `cache`: a sqlite file of answers, from which a run that broke off goes on. `schema`: a JSON schema that the answer
    must have. `frames`: send films as so many pictures (0: whole). `budget`: what all answers of the cache may cost
    together, in the currency of the price (0: any sum); `seconds`: for how long requests are sent, from the first
    on (0: any time). `rate`: tokens a second of an answer. `refused`: fields that are not sent,
    with the server's words.
    """

    url: str
    name: str
    concurrency: int = 4
    retries: int = 4
    timeout: float = 120.0
    cache: str | Path | None = None
    schema: dict[str, Any] | None = None
    frames: int = 0
    budget: float = 0.0
    seconds: float = 0.0
    rate: float = Server.model_fields["rate"].default
    key: str = KEY
    refused: dict[str, str] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage, compare=False)
    works: bool = field(default=False, compare=False)  # it has answered something
    broken: bool = field(default=False, compare=False)  # it was told that texts hold what may be control tokens
    compared: bool = field(default=False, compare=False)  # its tokens with and without media
    until: float = field(default=math.inf, compare=False)  # when its seconds are over

    def complete(
        self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress: Progress | None = None
    ) -> list[Generated]:
        """Complete chats in order, `concurrency` at a time; one that gets no answer has a `failure` instead.

        Raises openai.OpenAIError after the last retry, `MediaError` where a file cannot be read, and `RunError` before
        the budget is passed. Then, or when interrupted, no further request is sent, and the answers under way are
        waited for and stored.
        """
        return self._ask(chats, decoding, seed, progress)

    def choose(
        self, chats: list[list[dict]], begun: list[str], options: list[str], progress: Progress | None = None
    ) -> list[list[float]]:
        """Return the log-probability of each option, in nats, as what follows `begun[i]`, the start of answer i.

        An option that is not among the likeliest tokens of which the server tells counts as the last of them, and one
        of several tokens as its first: upper bounds. Raises `RunError` where the server tells none, at its first
        reply, or does not go on from a start.
        """
        begun_by = [[{"role": "assistant", "parts": [text_part(text)]}] for text in begun]
        asked = [[*chat, *start] for chat, start in zip(chats, begun_by, strict=True)]
        made = self._ask(asked, Decoding(max_new_tokens=1), progress=progress, more=CHOOSING, read=self._with_chances)
        return [self._chances(answer, options) for answer in made]

    def _with_chances(self, body: dict) -> Generated:
        return self._told(replies.likely(body))

    def _told(self, made: Generated) -> Generated:
        """Return a reply that tells log-probabilities. Raises `RunError` for one that does not."""
        if made.text:
            return made
        raise RunError(
            f"{self.url}: {self.name} returns no log-probabilities ({made.reason or 'logprobs is empty'}); "
            "choose by them with a model that is loaded, or a server such as vLLM"
        )

    def _chances(self, made: Generated, options: list[str]) -> list[float]:
        found = json.loads(self._told(made).text)
        chances = [replies.chance_of(option, found, options) for option in options]
        if not any(chance is not None for chance in chances):
            raise RunError(
                f"{self.url}: none of {', '.join(options)} is likely to go on from the start of the answer (but "
                f"{', '.join(list(found)[:3])}): the server does not continue answers; load the model, or use vLLM"
            )
        return [min(found.values()) if chance is None else chance for chance in chances]

    def _ask(
        self,
        chats: list[list[dict]],
        decoding: Decoding,
        seed: int = 0,
        progress: Progress | None = None,
        **how: Any,
    ) -> list[Generated]:
        started = time.monotonic()
        shown = [literal_chat(chat) for chat in chats]
        if any(here is not asked for here, asked in zip(shown, chats, strict=True)) and not self.broken:
            self.broken = True
            warnings.warn(f"{self.url}: {_BROKEN}", stacklevel=3)
        out = [Generated("", 0, False)] * len(chats)
        done: queue.SimpleQueue[tuple[int, Generated] | None] = queue.SimpleQueue()
        batch = _Batch(self, decoding, seed, done.put, **how)
        with ThreadPoolExecutor(1) as pool:  # a loop of its own: a notebook's thread has one already
            job = pool.submit(lambda: asyncio.run(batch.run(shown)))
            try:
                for count, (i, made) in enumerate(iter(done.get, None), 1):
                    out[i] = made
                    if progress:
                        progress(count, len(chats), time.monotonic() - started)
                job.result()
            finally:
                batch.stop.set()
        return out

    def options(self, decoding: Decoding, seed: int) -> dict[str, Any]:
        """Return the fields that a request is meant to have, all but its messages; see `sent`."""
        fields: dict[str, Any] = {
            "model": self.name,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed,
        }
        if decoding.top_k:
            fields["top_k"] = decoding.top_k  # not OpenAI's own, but vLLM's
        if self.schema:
            shape = {"name": "answer", "schema": self.schema, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": shape}
        return fields

    def fields(self, decoding: Decoding, seed: int, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return `options`; with `more`, these in place of the schema."""
        fields = self.options(decoding, seed)
        if more:
            fields.pop("response_format", None)
        return fields | dict(more or {})

    def key_for(self, chat: list[dict], decoding: Decoding, seed: int, more: Mapping[str, Any] | None = None) -> str:
        """Return the key of a request's answer in the cache."""
        return key_of(self.url, literal_chat(chat), [self.fields(decoding, seed, more), self.frames])

    def learn(self, refused: Mapping[str, str]) -> None:
        """Keep which fields a server does not take, and tell those that are new with its words."""
        for name in [name for name in refused if name not in self.refused]:
            warnings.warn(f"{self.url} {_INSTEAD[name]} ({refused[name]})", stacklevel=2)
        self.refused.update(refused)


def sent(options: Mapping[str, Any], refused: Mapping[str, str]) -> dict[str, Any]:
    """Return a request's fields as a server takes them, which refuses some."""
    fields = {name: value for name, value in options.items() if name not in refused}
    if "logprobs" in refused:
        fields.pop("top_logprobs", None)
    if "max_tokens" in refused:
        fields["max_completion_tokens"] = options["max_tokens"]
    return fields


def endpoint_options(section: Mapping[str, Any], answers: Path | str | None) -> dict[str, Any]:
    """Return the section `endpoints` of the parameters as options of `open_endpoint`; `answers`: file of the cache."""
    names = ("concurrency", "retries", "timeout", "frames", "budget", "servers")
    return {name: section[name] for name in names} | {"cache": answers if section["cache"] else None}


def server_of(spec: str, servers: Mapping[str, Any] | None = None) -> Server:
    """Return what `servers` says of the longest beginning of a server's name that it has, or what holds for any.

    `servers`: beginning of a URL, with or without model -> the fields of a `Server`. Raises `RunError` where an entry
    is wrong.
    """
    fits = [p for p in servers or () if spec == p or (spec.startswith(p) and (p[-1] in "/#" or spec[len(p)] in "/#"))]
    prefix = max(fits, key=len, default="")
    try:
        return Server.model_validate(servers[prefix] if fits else {})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, ("endpoints.servers", prefix, *wrong["loc"])))
        raise RunError(f"{where}: {wrong['msg']}; an entry has {', '.join(Server.model_fields)}") from None


def only_model(url: str, key: str = KEY) -> str:
    """Return the one model that a server lists and say so; "default", and why, where its list cannot be had.

    Raises `RunError` that lists them where there are several.
    """
    secret = os.environ.get(key)
    try:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        reply = httpx.get(f"{lies_at(url).rstrip('/')}/models", headers=headers, timeout=10, follow_redirects=True)
        names = list(dict.fromkeys(str(one["id"]) for one in reply.raise_for_status().json()["data"]))
        why = "it lists none"
    except (httpx.HTTPError, httpx.InvalidURL, LookupError, TypeError, ValueError) as error:
        names = []
        why = " ".join(str(error).split())[:200] or type(error).__name__
    if len(names) > 1:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise RunError(f"{url}: name one of its models behind a #: {', '.join(names[:LISTED])}{more}")
    if names:
        print(f"{url}: no model is named; asking {names[0]}, its only one")
        return names[0]
    print(f"{url}: no model is named, and its models cannot be listed ({why}); asking for 'default'")
    return "default"


def open_endpoint(spec: str, servers: Mapping[str, Any] | None = None, **options: Any) -> EndpointModel:
    """Open `http://host:port/v1#model`, asked as `servers` says (`server_of`); `options`: those of `EndpointModel`.

    Without a model it is the server's only one (`only_model`).
    """
    url, _, name = spec.partition("#")
    name = name or only_model(url, server_of(url, servers).key)
    server = server_of(f"{url}#{name}", servers)
    known = {
        "temperature": server.temperature,
        "seed": server.seed,
        "max_tokens": server.max_tokens_name == "max_tokens",
    }
    options |= {
        "key": server.key,
        "rate": server.rate,
        "refused": {field: "as told" for field, taken in known.items() if not taken},
    }
    if server.frames is not None:
        options["frames"] = server.frames
    return EndpointModel(url, name, usage=Usage(price=server.price), **options)


class _Batch:
    """One call of `complete` or `choose`, inside its own event loop.

    `more`: fields of each request in place of the schema; `read` makes a `Generated` of a reply. Raises `RunError`
    where the key is not in the environment, and for a budget without a price.
    """

    def __init__(
        self,
        model: EndpointModel,
        decoding: Decoding,
        seed: int,
        report: Callable[[Any], None],
        more: dict[str, Any] | None = None,
        read: Callable[[dict], Generated] = replies.completion,
    ) -> None:
        self.model = model
        self.decoding = decoding
        self.seed = seed
        self.report = report
        self.more = more
        self.read = read
        self.secret = os.environ.get(model.key)
        if not self.secret and model.key != KEY:
            raise RunError(f"{model.url} needs a key, and the environment variable {model.key} is not set: export it")
        if model.budget and not any(model.usage.price):
            raise RunError(f"{model.url} has no price to keep a budget by: give its entry of endpoints.servers one")
        self.stop = threading.Event()
        self.failures: list[Exception] = []
        if model.seconds:
            model.until = min(model.until, time.monotonic() + model.seconds)
        self.refused: list[tuple[int, openai.APIStatusError, Generated]] = []
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def halted(self) -> bool:
        """Tell whether a request has failed for good or the caller has gone: nothing more is sent."""
        return bool(self.failures) or self.stop.is_set()

    async def run(self, chats: list[list[dict]]) -> None:
        model = self.model
        todo = iter(enumerate(chats))
        client = openai.AsyncOpenAI(
            base_url=lies_at(model.url),
            api_key=self.secret or "none",
            max_retries=model.retries,
            timeout=model.timeout,
            http_client=_Attempts(model, self.halted),
        )
        try:
            async with client:
                with Store(model.cache, until=model.until) as self.store:
                    self.purse = _Purse(model, self.store)
                    await asyncio.gather(*(self._work(client, todo) for _ in range(model.concurrency)))
            for i, error, made in self.refused:
                if not model.works:
                    raise error
                self.report((i, made))
        finally:
            self.report(None)
        if self.failures:
            raise self.failures[0]

    async def _work(self, client: openai.AsyncOpenAI, todo: Iterator[tuple[int, list[dict]]]) -> None:
        """Take one chat after another until none is left or one has failed."""
        for i, chat in todo:
            if self.halted():
                return
            try:
                made = await self._one(client, chat, self.seed + (i if self.decoding.temperature > 0 else 0))
            except openai.APIStatusError as error:
                self._refuse(i, error)
            except Exception as error:
                self.failures.append(error)
            else:
                self.report((i, made))

    def _refuse(self, i: int, error: openai.APIStatusError) -> None:
        """Take a refused request for a row without answer, or for what ends the run."""
        model = self.model
        said = replies.complaint(error.response.text)
        error.add_note(f"{model.url} said: {error.response.text[:500]}")
        error.args = (f"{model.url} answered {error.status_code}: {said.words or 'no words'}",)
        by_policy = 400 <= error.status_code < 500 and error.status_code not in _OF_ALL and said.policy
        model.works |= by_policy
        if by_policy or (said.words and error.status_code in _OF_THE_ROW):
            self.refused.append((i, error, replies.withheld(said)))
            model.usage.withheld += 1
            if model.works or len(self.refused) < PATIENCE:
                return
        self.failures.append(error)

    async def _one(self, client: openai.AsyncOpenAI, chat: list[dict], seed: int) -> Generated:
        """Return the answer to one chat, from the store where it is known; only an answer is stored."""
        model = self.model
        options = model.fields(self.decoding, seed, self.more)
        key = await asyncio.to_thread(model.key_for, chat, self.decoding, seed, self.more)
        async with self.locks[key]:  # equal requests under way are asked once
            if found := self.store.get([key]).get(key):
                model.usage.cached += 1
                model.works = True
                return Generated(found["text"], found["tokens"], found["finished"])
            body, about = await self._adapted(client, chat, options, key)
            made = self.read(body)
            answer = bool(made.text.strip()) and not made.failure
            if answer:
                self.store.put({key: asdict(made) | about})
            model.works = True
            model.usage.answered += answer
            model.usage.withheld += not answer
            model.usage.unkept += 0 if answer and model.cache else about["cost"]
            if (
                about["prompt_tokens"]
                and not model.compared
                and any(p.type != "text" for m in chat for p in m["parts"])
            ):
                model.compared = True
                await self._compare(client, chat, options, key, about["prompt_tokens"])
            return made

    async def _compare(
        self, client: openai.AsyncOpenAI, chat: list[dict], options: dict[str, Any], key: str, tokens: int
    ) -> None:
        """Ask the same without its media, once a model, and warn where that is as many tokens to the server."""
        bare = [m | {"parts": [p for p in m["parts"] if p.type == "text"]} for m in chat]
        try:
            _, about = await self._adapted(client, bare, options | {"max_tokens": 1}, f"{key}-bare")
        except openai.APIStatusError:
            return
        self.model.usage.unkept += about["cost"]
        if about["prompt_tokens"] >= tokens:
            said = f"counts {tokens} tokens for a prompt with its media and as many without"
            warnings.warn(f"{self.model.url} {said}: it seems to leave them out without a word", stacklevel=2)

    async def _adapted(
        self, client: openai.AsyncOpenAI, chat: list[dict], options: dict[str, Any], key: str
    ) -> tuple[dict, dict[str, Any]]:
        """Ask, and ask again without each field that is refused; what helped is kept for all requests.

        Returns the reply, and what is stored beside the answer: model, prompt_tokens, cost, at.
        """
        model = self.model
        refused = dict(model.refused)
        films = any(p.type == "video" for m in chat for p in m["parts"])
        while True:
            fields = sent(options, refused)
            frames = model.frames or FRAMES * ("video_url" in refused)
            turns = told_by_user(chat) if "system" in refused else chat
            try:
                found = await self._send(client, turns, fields, frames, "-".join([key, *refused]))
            except openai.APIStatusError as error:
                said = replies.complaint(error.response.text)
                also = {"video_url": films and not frames, "system": turns[0]["role"] == "system"}
                name = said.refused({*fields, *(field for field, there in also.items() if there)})
                if name is None or error.status_code not in (400, 422, 501):
                    raise
                refused[name] = said.words
            else:
                model.learn(refused)
                return found

    async def _send(
        self, client: openai.AsyncOpenAI, chat: list[dict], fields: dict[str, Any], frames: int, key: str
    ) -> tuple[dict, dict[str, Any]]:
        """Send one request within the budget and count what it costs; see `_adapted` for what is returned."""
        model = self.model
        usage = model.usage
        messages = await asyncio.to_thread(lambda: [to_message(m, frames) for m in chat])
        written = sum(len((p.text or "").encode()) for m in chat for p in m["parts"])
        most = usage.price_of(max(written / 2, usage.longest), self.decoding.max_new_tokens)
        async with self.purse.hold(most):
            try:
                reply = await client.chat.completions.with_raw_response.create(
                    model=model.name, messages=messages, extra_body=fields, extra_headers={"Idempotency-Key": key}
                )
            except openai.APIConnectionError as error:
                message = f"{model.url}: {_lost(error.__cause__ or error)}"
                raise openai.APIConnectionError(message=message, request=error.request) from error
            body = reply.http_response.json()
            used = body.get("usage") or {}
            prompt = used.get("prompt_tokens") or 0
            completion = used.get("completion_tokens") or 0
            told = None not in (used.get("prompt_tokens"), used.get("completion_tokens"))
            cost = usage.price_of(prompt, completion) if told else most
            usage.untold += not told
            usage.prompt_tokens += prompt
            usage.completion_tokens += completion
            usage.longest = max(usage.longest, prompt)
            self.purse.spent += cost
        return body, {"model": model.name, "prompt_tokens": prompt, "cost": cost, "at": time.time()}


class _Purse:
    """What the answers of a cache have cost, and what the requests under way may cost at most."""

    def __init__(self, model: EndpointModel, store: Store) -> None:
        self.model = model
        self.store = store
        self.spent = store.total("cost") + model.usage.unkept
        self.held: list[float] = []
        self.changed = asyncio.Condition()

    def short(self, most: float) -> bool:
        budget = self.model.budget
        return bool(budget) and self.spent + sum(self.held) + most > budget

    @asynccontextmanager
    async def hold(self, most: float) -> AsyncIterator[None]:
        """Set money aside for a request; wait while others hold what it needs, and raise where nothing is left."""
        async with self.changed:
            await self.changed.wait_for(lambda: not self.held or not self.short(most))
            self.store.check_time(f"{self.model.url}: ")
            if self.short(most):
                kept = f"the answers are kept in {self.model.cache}; " if self.model.cache else ""
                raise RunError(
                    f"{self.model.url}: {self.spent:.4g} of the budget of {self.model.budget:g} are spent, and the "
                    f"next answer may cost {most:.4g}; {kept}raise the budget to go on"
                )
            self.held.append(most)
        try:
            yield
        finally:
            async with self.changed:
                self.held.remove(most)
                self.changed.notify_all()


class _Attempts(openai.DefaultAsyncHttpxClient):
    """The HTTP client below the API's client, which tries again what is raised here: it sees every single attempt.

    An answer that is not whole in time, and a success that holds no completion, are lost answers, as one that a broken
    connection took. In a batch that was halted only those are asked for again: they may have been paid. An error that
    comes as a success is given the status that fits it.
    """

    def __init__(self, model: EndpointModel, halted: Callable[[], bool]) -> None:
        super().__init__(timeout=model.timeout)
        self.model = model
        self.halted = halted
        self.lost: set[str] = set()

    async def send(self, request: Any, **kwargs: Any) -> Any:
        """Send a request once. Raises an error of the HTTP library also where the answer is late or no completion."""
        model = self.model
        key = request.headers.get("Idempotency-Key")
        model.usage.retried += request.headers.get("x-stainless-retry-count", "0") != "0"
        try:
            response = await asyncio.wait_for(super().send(request, **kwargs), model.timeout)
            if response.is_success and (status := replies.status_in(response.json())):
                response.status_code = status
            if not response.is_success and self.halted() and key not in self.lost:
                response.headers["x-should-retry"] = "false"
            return response
        except httpx.RequestError as error:
            lost = error
        except TimeoutError:
            lost = httpx.ReadTimeout(f"no whole answer within {model.timeout:g} s; raise timeout")
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            why = "the server accepted the request but sent no completion"
            lost = httpx.ReadError(f"{why} ({error!s:.200}); see its log")
        model.usage.lost += 1
        self.lost.add(key)
        raise lost


def _lost(error: Exception) -> str:
    """Say why no answer came, and what to do about it."""
    said = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"cannot be reached ({said}); start the server, or correct its address"
    return said if ";" in said else f"{said}; see the server's log, and run the same again to go on"


def literal_chat(chat: list[dict]) -> list[dict]:
    """Return a chat in whose texts nothing can act as control (`chats.literal`); itself where nothing has to change."""
    shown = [message | {"parts": reworded(message["parts"], literal)} for message in chat]
    return chat if shown == chat else shown


def told_by_user(chat: list[dict]) -> list[dict]:
    """Set a leading system message before the parts of the turn behind it, with an empty line between."""
    if chat[0]["role"] != "system":
        return chat
    first, turn, *rest = chat
    return [turn | {"parts": [*first["parts"], text_part("\n\n"), *turn["parts"]]}, *rest]


def to_message(message: dict, frames: int = 0) -> dict:
    """Write a message for the API: plain text where there is only text, else content parts.

    `frames`: send a film as at most so many pictures (0: whole). Raises `MediaError` where a file cannot be read.
    """
    if all(p.type == "text" for p in message["parts"]):
        return {"role": message["role"], "content": "".join(p.text or "" for p in message["parts"])}
    return {"role": message["role"], "content": [piece for p in message["parts"] for piece in _content(p, frames)]}


def _content(part: Part, frames: int) -> list[dict]:
    """Return the API's content parts of a part: one, or as many as there are pictures of a film."""
    if part.type == "text":
        return [{"type": "text", "text": part.text or ""}]
    path = Path(part.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be sent ({error.strerror}); restore the file or remove the row") from error
    if part.type == "audio":
        data, form = _sound(path, data)
        return [{"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}]
    kind = "image"
    if part.type == "video" and frames:
        sent = [("jpeg", _encoded(x, "JPEG")) for x in media.load_video(path, max_frames=frames)[0][:frames]]
    elif part.type == "video":
        kind = "video"
        media.check_film(path)
        sent = [(path.suffix[1:].lower() or "mp4", data)]
    else:
        form = next((form for magic, form in _PICTURES.items() if data.startswith(magic)), None)
        if form is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            form = "webp"
        sent = [(form, data) if form else ("png", _encoded(media.load_image(path), "PNG"))]
    urls = [f"data:{kind}/{form};base64,{base64.b64encode(data).decode()}" for form, data in sent]
    return [{"type": f"{kind}_url", f"{kind}_url": {"url": url}} for url in urls]


def _sound(path: Path, data: bytes) -> tuple[bytes, str]:
    """Return a sound as WAV or MP3 with its format, converted without loss where it is neither."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return data, "wav"
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] and data[1] & 0xE6 == 0xE2):  # layer III; AAC has none
        return data, "mp3"
    import soundfile

    try:
        samples, rate = media.read_sound(path)
    except Exception as error:  # what decoders raise on foreign bytes is no closed list
        raise MediaError(f"{path}: cannot be sent as sound ({error}); convert it to WAV") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_24")
    return buffer.getvalue(), "wav"


def _encoded(pixels: Any, form: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()
