"""Any OpenAI-compatible server as a model, chats in and completions out: vLLM, `transformers serve`, a hosted service.

With vLLM, for example (one medium of each kind in the prompt, one in each candidate):

    vllm serve Qwen/Qwen2.5-Omni-7B --port 8000 --limit-mm-per-prompt '{"image": 3, "video": 3, "audio": 3}'
    python -m omnirepro judge pairs.jsonl --model http://localhost:8000/v1#Qwen/Qwen2.5-Omni-7B \\
        --out rows.jsonl --cache answers.sqlite --concurrency 64

Requests run `concurrency` at a time. What may pass (timeouts, 408, 409, 429, 5xx, broken connections, answers that are
not JSON or hold no completion) is tried again by the openai client, with exponential back-off or after the time that
the server names; `timeout` bounds a whole attempt, so that an answer which drips in cannot hang. Every attempt carries
the same Idempotency-Key: a server that honours it charges once even where an answer was lost on the way; for others
`usage.lost` says how many may have been charged again. A request that fails after its retries raises; no answer is
invented. An answer is on disk before anything else happens to it: a run that breaks off pays nothing twice.

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
import os
import queue
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import openai

from omnirepro.data import MediaError, Part, media
from omnirepro.models.cache import Store, key_of
from omnirepro.models.generation import Decoding, Generated, Progress

# httpx or httpx2, whichever the openai client stands on
httpx = import_module(openai.DefaultAsyncHttpxClient.__base__.__module__.partition(".")[0])
_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


@dataclass
class Usage:
    """What was asked and paid. `lost`: attempts of which no answer came back, though the server may have worked.

    `cost` is in the currency of `price`, the price of a million prompt tokens and of a million completion tokens.
    """

    price: tuple[float, float] = (0.0, 0.0)
    answered: int = 0
    cached: int = 0
    retried: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def cost(self) -> float:
        return (self.prompt_tokens * self.price[0] + self.completion_tokens * self.price[1]) / 1e6

    def __str__(self) -> str:
        return (
            f"{self.answered} answers ({self.prompt_tokens} + {self.completion_tokens} tokens, cost {self.cost:.4f}), "
            f"{self.cached} from the cache, {self.retried} retries, {self.lost} answers lost on the way"
        )


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
    cache: str | Path | None = None
    schema: dict[str, Any] | None = None
    frames: int = 0
    usage: Usage = field(default_factory=Usage, compare=False)

    def complete(
        self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress: Progress | None = None
    ) -> list[Generated]:
        """Complete chats in order, `concurrency` at a time.

        Raises openai.OpenAIError after the last retry, and `MediaError` where a file cannot be read. Then, or when
        interrupted, no further request is sent, and the answers under way are waited for and stored.
        """
        started = time.monotonic()
        out = [Generated("", 0, False)] * len(chats)
        done: queue.SimpleQueue[tuple[int, Generated] | None] = queue.SimpleQueue()
        batch = _Batch(self, decoding, seed, done.put)
        with ThreadPoolExecutor(1) as pool:  # a loop of its own: a notebook's thread has one already
            job = pool.submit(lambda: asyncio.run(batch.run(chats)))
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
        """Return a request's fields, all but its messages."""
        fields: dict[str, Any] = {
            "model": self.name,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "seed": seed,
        }
        if decoding.top_k:
            fields["extra_body"] = {"top_k": decoding.top_k}  # not OpenAI's own, but vLLM's
        if self.schema:
            shape = {"name": "answer", "schema": self.schema, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": shape}
        return fields


class _Batch:
    """One call of `complete`, inside its own event loop."""

    def __init__(self, model: EndpointModel, decoding: Decoding, seed: int, report: Callable[[Any], None]) -> None:
        self.model = model
        self.decoding = decoding
        self.seed = seed
        self.report = report
        self.stop = threading.Event()
        self.failures: list[Exception] = []
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def halted(self) -> bool:
        """Tell whether a request has failed for good or the caller has gone: nothing more is sent."""
        return bool(self.failures) or self.stop.is_set()

    async def run(self, chats: list[list[dict]]) -> None:
        model = self.model
        todo = iter(enumerate(chats))
        client = openai.AsyncOpenAI(
            base_url=model.url,
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            max_retries=model.retries,
            timeout=model.timeout,
            http_client=_Attempts(model, self.halted),
        )
        try:
            async with client:
                with Store(model.cache) as self.store:
                    await asyncio.gather(*(self._work(client, todo) for _ in range(model.concurrency)))
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
            except Exception as error:
                self.failures.append(error)
                return
            self.report((i, made))

    async def _one(self, client: openai.AsyncOpenAI, chat: list[dict], seed: int) -> Generated:
        """Return the answer to one chat, from the store where it is known; asked again without a refused schema."""
        model = self.model
        options = model.options(self.decoding, seed)
        key = await asyncio.to_thread(key_of, model.url, chat, [options, model.frames])
        async with self.locks[key]:  # equal requests under way are asked once
            if found := self.store.get([key]).get(key):
                model.usage.cached += 1
                return Generated(found["text"], found["tokens"], found["finished"])
            messages = await asyncio.to_thread(lambda: [to_message(m, model.frames) for m in chat])
            try:
                reply = await client.chat.completions.create(
                    **options, messages=messages, extra_headers={"Idempotency-Key": key}
                )
            except openai.APIConnectionError as error:
                message = f"{model.url}: {error.__cause__ or error}"
                raise openai.APIConnectionError(message=message, request=error.request) from error
            except openai.APIStatusError as error:
                error.add_note(f"{model.url} said: {error.response.text[:500]}")
                words = ("response_format", "json_schema", "guided")
                known = error.status_code in (400, 422, 501) and any(word in error.response.text for word in words)
                if "response_format" not in options or not known:
                    raise
            else:
                used = reply.usage
                choice = reply.choices[0]
                tokens = used.completion_tokens if used else 0
                made = Generated(choice.message.content or "", tokens, choice.finish_reason == "stop")
                asked = {"model": model.name, "prompt_tokens": used.prompt_tokens if used else 0, "at": time.time()}
                self.store.put({key: asdict(made) | asked})
                model.usage.answered += 1
                model.usage.prompt_tokens += asked["prompt_tokens"]
                model.usage.completion_tokens += tokens
                return made
        if model.schema:
            model.schema = None
            warnings.warn(f"{model.url} takes no JSON schema; answers are not constrained", stacklevel=2)
        return await self._one(client, chat, seed)


class _Attempts(openai.DefaultAsyncHttpxClient):
    """The HTTP client below the API's client, which tries again what is raised here: it sees every single attempt.

    An answer that is not whole in time, and a success that holds no completion, are lost answers, as one that a broken
    connection took. In a batch that was halted only those are asked for again: they may have been paid.
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
            if response.is_success:
                response.json()["choices"][0]["message"].get("content")
            elif self.halted() and key not in self.lost:
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
    if data[:4] == b"RIFF":
        return data, "wav"
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] >= b"\xe0"):
        return data, "mp3"
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(data))
    except (OSError, RuntimeError) as error:
        raise MediaError(f"{path}: cannot be sent as sound ({error}); convert it to WAV") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_24")
    return buffer.getvalue(), "wav"


def _encoded(pixels: Any, form: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()
