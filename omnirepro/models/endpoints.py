"""Any OpenAI-compatible server as a model: vLLM, `transformers serve`, a hosted service.

Consumes the same chats as a local model; produces completions in the same form. Media travel whole, base64-encoded,
in the parts that the API defines. A request that fails after its retries raises; no answer is invented.

What a server makes of a request is its own affair: `transformers serve` leaves media out without a word where its
model reads text only, and samples only where the model's own generation settings say so.
"""

from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from omnirepro.models.generation import Decoding, Generated
from omnirepro.schema import MediaError, Part


@dataclass
class EndpointModel:
    """A model on a server. `url` ends in /v1; the key comes from the environment variable OPENAI_API_KEY."""

    url: str
    name: str
    concurrency: int = 4
    retries: int = 4
    timeout: float = 120.0

    def complete(self, chats: list[list[dict]], decoding: Decoding, seed: int = 0, progress=None) -> list[Generated]:
        """Complete chats in order, `concurrency` at a time.

        Raises openai.OpenAIError after the last retry, and `MediaError` where a file cannot be read; requests that
        have not started by then are not sent.
        """
        import os

        from openai import OpenAI

        key = os.environ.get("OPENAI_API_KEY", "none")
        client = OpenAI(base_url=self.url, api_key=key, max_retries=self.retries, timeout=self.timeout)
        started, out = time.monotonic(), []
        with ThreadPoolExecutor(self.concurrency) as pool:
            jobs = [pool.submit(self._one, client, chat, decoding, seed + i) for i, chat in enumerate(chats)]
            try:
                for job in jobs:
                    out.append(job.result())
                    if progress:
                        progress(len(out), len(jobs), time.monotonic() - started)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return out

    def _one(self, client, chat: list[dict], decoding: Decoding, seed: int) -> Generated:
        from openai import APIStatusError, OpenAIError

        try:
            reply = client.chat.completions.create(
                model=self.name,
                messages=[to_message(m) for m in chat],
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=seed,
            )
        except APIStatusError as error:
            error.add_note(f"{self.url} said: {error.response.text[:500]}")
            raise
        if not reply.choices:
            raise OpenAIError(f"{self.url}: the server accepted the request but sent no completion; see its log")
        choice = reply.choices[0]
        tokens = reply.usage.completion_tokens if reply.usage else 0
        return Generated(choice.message.content or "", tokens, choice.finish_reason == "stop")


def to_message(message: dict) -> dict:
    """Write a message for the API: plain text where there is only text, else content parts."""
    if all(p.type == "text" for p in message["parts"]):
        return {"role": message["role"], "content": "".join(p.text or "" for p in message["parts"])}
    return {"role": message["role"], "content": [_content(p) for p in message["parts"]]}


def _content(part: Part) -> dict:
    if part.type == "text":
        return {"type": "text", "text": part.text or ""}
    path = Path(part.path)
    try:
        data = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise MediaError(f"{path}: cannot be sent ({error.strerror}); restore the file or remove the row") from error
    suffix = path.suffix[1:].lower()
    if part.type == "audio":
        return {"type": "input_audio", "input_audio": {"data": data, "format": suffix}}
    kind = "video" if part.type == "video" else "image"
    url = f"data:{kind}/{suffix.replace('jpg', 'jpeg')};base64,{data}"
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
