"""A server on loopback in the place of generators and teachers: it answers every question of the kit by plain rules.

It speaks the chat API of OpenAI. A judgement is well formed, and its verdict hangs on what both responses say, so that
teachers mostly agree; an answer to a prompt hangs on the model that is asked, the prompt and the seed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from omnirepro.judge import rubric

_BOTH = re.compile(r"(?:Candidate|Response) A: ?(.*?)\n\n(?:Candidate|Response) B: ?(.*)", re.DOTALL)
_COUNT = re.compile(r"exactly (\d+) criteria|judged under (\d+) criteria")
_OPTION = re.compile(r"(?m)^\(?([A-J])[.):]")


def answer(body: dict[str, Any]) -> str:
    """Return what is said to a request: a judgement in the form that is asked for, criteria, a revision, an answer."""
    system, said = (_texts(body, role) for role in ("system", "user"))
    if both := _BOTH.search(said):
        return _judged(system + said, *(points(side, body["model"]) for side in both.groups()))
    if "revise an answer" in system:
        return said.split("Answer: ")[-1].split("\n\nCritique: ")[0].strip() + " It is seen clearly."
    drawn = _draw(said, body["model"], body.get("seed"), body.get("temperature"))
    if letters := _OPTION.findall(said):
        return letters[drawn % len(letters)]
    return f"It is thing {drawn % 97}, because place {drawn % 89} shows it."[: 20 + drawn % 40]


def _texts(body: dict[str, Any], role: str) -> str:
    """Return the texts of all messages of a role, without their media."""
    texts = []
    for message in body["messages"]:
        content = message["content"] if message["role"] == role else []
        pieces = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts += [piece["text"] for piece in pieces if piece["type"] == "text"]
    return "".join(texts)


def _draw(*of: Any) -> int:
    return int(hashlib.sha256(json.dumps(of).encode()).hexdigest()[:6], 16)


def points(text: str, model: str) -> int:
    """Return a response's score, 1 to 10: reasons earn most, and each model has a small taste of its own."""
    taste = _draw(text.strip(), model) % 10 == 0
    return 3 + 4 * ("because" in text) + _draw(text.strip()) % 3 - taste


def _judged(asked: str, a: int, b: int) -> str:
    """Write the judgement that two scores imply, in the form that the question asks for."""
    verdict = rubric.ranking(a, b)
    count = next((int(next(filter(None, groups))) for groups in _COUNT.findall(asked)), 0)
    criteria = "\n".join(
        f"<criterion {i}>Point {i}: whether {'truth order evidence detail clarity'.split()[i % 5]} number {i} is there"
        f"</criterion {i}>"
        for i in range(1, count + 1)
    )
    tag = {"A": "[[A]]", "B": "[[B]]", "tie": "[[equal]]"}[verdict]
    judgement = (
        f"<critique A>A earns {a}</critique A>\n<score A>{a}</score A>\n<critique B>B earns {b}</critique B>\n"
        f"<score B>{b}</score B>\n<verdict>{tag}</verdict>"
    )
    if "score_A" in asked:
        format = "published" if asked.find('"score_A"') < asked.find('"reasoning"') else "rationale-first"
        return rubric.notation(f"Part 1: Fluency: A {a}, B {b}. Part 5: Safety: both safe.", a, b, format)
    if "<critique A>" in asked:
        return f"{criteria}\n{judgement}".strip()
    return criteria or tag


class JsonHandler(BaseHTTPRequestHandler):
    """A handler that reads and writes JSON, and says nothing of it."""

    protocol_version = "HTTP/1.1"

    def asked(self) -> bytes:
        """Return the body of the request."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def head(self, status: int, length: int) -> None:
        """Send what stands before a body of so many bytes."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status: int, data: Any) -> None:
        """Send a body: bytes as they are, anything else as JSON."""
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.head(status, len(data))
        self.wfile.write(data)

    def log_message(self, *said: Any) -> None:
        """Keep the terminal for the batch."""


class Handler(JsonHandler):
    """Answers a chat by `answer`."""

    def do_POST(self) -> None:
        body = json.loads(self.asked())
        reply = completion(body, answer(body))
        if body.get("logprobs"):
            words = [{"token": word, "logprob": -1.0 - at, "bytes": None} for at, word in enumerate(["A", "B", "C"])]
            reply["choices"][0]["logprobs"] = {"content": [words[0] | {"top_logprobs": words}]}
        self.answer(200, reply)


def completion(body: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the reply of the chat API to a request that is answered by a text; each of its parts counts 100 tokens."""
    contents = [message["content"] for message in body["messages"]]
    read = 100 * sum(1 if isinstance(content, str) else len(content) for content in contents)
    written = len(text.split())
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    made = {"id": "rehearsal", "object": "chat.completion", "created": 0, "model": body["model"]}
    return made | {"choices": [choice], "usage": usage}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *of: Any) -> None:
        """Say nothing of a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*of)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler] = Handler) -> Iterator[str]:
    """Serve on a free port of loopback; yields the address, which ends in /v1."""
    http = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
