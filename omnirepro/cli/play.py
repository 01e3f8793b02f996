"""Play: a local page on which one judges a pair of one's own, live.

Consumes a judge; serves one page (`play.html`) on 127.0.0.1, where one picks a scene of the embedded world or brings a
file and writes two answers. Media lie in a temporary folder under names made here; a request can name no path.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import secrets
import signal
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from omnirepro.data import MediaError, Pair, Part, RowError, text_part
from omnirepro.data.media import load_audio, load_image, load_video
from omnirepro.kit.run.files import RunError, relative, results_root
from omnirepro.models.opening import adapter_in
from omnirepro.toyworld.language import Question, assess, compose, questions
from omnirepro.toyworld.looks import Look, media_part
from omnirepro.toyworld.nouns import MODALITIES, NOUNS
from omnirepro.toyworld.scenes import Scene
from omnirepro.toyworld.tasks import MODALITIES as KINDS
from omnirepro.toyworld.tasks import sample_scene

HOST = "127.0.0.1"
LARGEST = 20_000_000  # bytes of a file
LONGEST = 4_000  # characters of a question, an answer or a text that is brought
KEPT = 20  # media at a time; the oldest ones go
TINY = 20_000_000  # parameters below which a model knows the embedded world's words alone
STAGES = ("04_grpo", "03_sft")
# An answer that is offered, and what `compose` is to get wrong in it.
OFFERED = {
    "right": (),
    "wrong": ("accuracy",),
    "right, for a wrong reason": ("evidence",),
    "without a reason": ("reasoning",),
    "about something else": ("relevance",),
    "with a word twice": ("fluency",),
    "asking for harm": ("safety",),
}
READERS = {"image": load_image, "video": load_video, "audio": load_audio}
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


def judge_of(run: str) -> Path:
    """Return the folder of a run's judge, after GRPO or else after SFT. Raises `RunError` where it has none."""
    folders = [results_root() / run / stage for stage in STAGES]
    found = next((folder for folder in folders if adapter_in(folder)), None)
    if found is None:
        raise RunError(
            f"{relative(results_root() / run)}: no trained judge in 04_grpo or 03_sft; train one with make reproduce "
            "(python -m omnirepro reproduce), or name one with --judge"
        )
    return found


@dataclass
class Medium:
    """What a question is about; `scene` where it is the embedded world's, so that the truth is known."""

    part: Part
    scene: Scene | None = None


@dataclass
class Play:
    """A judge and the media that are on the page, by their ids; `folder` holds their files."""

    judge: Any
    name: str
    folder: Path
    media: dict[str, Medium] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def about(self) -> dict[str, Any]:
        """Return who judges, the words that the tiny judge knows by kind of medium, and the limits of a file."""
        model = getattr(getattr(self.judge, "chat", None), "model", None)
        size = sum(weight.numel() for weight in model.parameters()) if hasattr(model, "parameters") else 0
        words = {
            kind: {attribute: [*NOUNS[nouns]] for attribute, nouns in MODALITIES[kind].attributes.items()}
            for kind in KINDS
        }
        asked = {kind: [text for _, _, text in MODALITIES[kind].questions] for kind in KINDS}
        known = {"words": words, "questions": asked, "largest": LARGEST, "longest": LONGEST}
        return {"judge": self.name, "parameters": size, "tiny": 0 < size < TINY} | known

    def draw(self, kind: str) -> dict[str, Any]:
        """Draw a scene of the test split and return it with its questions and, for each, answers to choose from."""
        if kind not in KINDS:
            raise RowError(f"no kind of scene is called {kind[:40]!r}; there are {', '.join(KINDS)}")
        with self.lock:
            scene = sample_scene(kind, "test", self.rng)
            part = media_part(scene, Look(), self.folder / secrets.token_hex(8), self.rng)
            offered = [{"text": q.text, "answers": self._answers(scene, q)} for q in questions(scene)]
        return self._keep(Medium(part, scene)) | {"questions": offered}

    def _answers(self, scene: Scene, question: Question) -> dict[str, str]:
        """Write an answer of each kind that is offered."""
        return {name: compose(scene, question, defects, self.rng) for name, defects in OFFERED.items()}

    def bring(self, name: str, data: bytes) -> dict[str, Any]:
        """Take a file in; its name says whether it is a picture, film, sound or text. Raises `MediaError`."""
        kind = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
        if kind == "text":
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise MediaError(f"{name}: no UTF-8 text; save it as UTF-8") from error
            return self._keep(Medium(Part(type="text", text=_short(text, name))))
        if kind not in READERS:
            raise MediaError(f"{name}: its ending is none of a picture, film, sound or text; rename or convert it")
        path = self.folder / f"{secrets.token_hex(8)}{mimetypes.guess_extension(mimetypes.guess_type(name)[0]) or ''}"
        path.write_bytes(data)
        try:
            kind = "video" if path.suffix == ".gif" else kind
            READERS[kind](path)
        except MediaError as error:
            path.unlink()
            reason = str(error).replace(str(path), name).partition(";")[0]
            raise MediaError(f"{reason}; bring another file") from error
        return self._keep(Medium(Part(type=kind, path=str(path))))

    def _keep(self, medium: Medium) -> dict[str, Any]:
        """Remember a medium, forget the oldest one beyond `KEPT`, and say what the page shows of it."""
        name = secrets.token_hex(8)
        with self.lock:
            self.media[name] = medium
            if len(self.media) > KEPT:
                oldest = self.media.pop(next(iter(self.media))).part
                if oldest.path:
                    Path(oldest.path).unlink(missing_ok=True)
        part = medium.part
        return {"id": name, "kind": part.type, "text": part.text, "picture": Path(part.path or "").suffix == ".gif"}

    def ask(self, name: str, question: str, first: str, second: str) -> dict[str, Any]:
        """Judge two answers to a question about a medium in both orders; with the world's truth where it is known.

        Raises `RowError` for a medium that is not here, and for an empty or overlong text.
        """
        medium = self.media.get(name)
        if medium is None:
            raise RowError("this medium is no longer here; pick or bring it again")
        question, first, second = (
            _short(text, what) for what, text in (("question", question), ("answer 1", first), ("answer 2", second))
        )
        asked = text_part(("\n" if medium.part.type == "text" else "") + question)
        answers = {"response_a": [text_part(first)], "response_b": [text_part(second)]}
        pair = Pair(id="played", task=medium.part.type, prompt=[medium.part, asked], cluster="played", **answers)
        with self.lock:
            start = perf_counter()
            rows = self.judge.judge([pair])
            seconds = perf_counter() - start
        shown = {"order", "said", "score_a", "score_b", "status", "raw"}
        told = [{key: getattr(row, key) for key in shown} for row in rows]
        known = next((q for q in questions(medium.scene) if q.text == question), None) if medium.scene else None
        truths = [assess(medium.scene, known, text) for text in (first, second)] if known else []
        found = [{"score": truth.score, "marks": truth.marks} for truth in truths]
        return {"rows": told, "seconds": seconds, "truth": found}


def _short(text: str, what: str) -> str:
    """Return a text of the page without the blanks around it. Raises `RowError` where it is empty or too long."""
    if not text.strip():
        raise RowError(f"{what}: nothing is written; write something")
    if len(text) > LONGEST:
        raise RowError(f"{what}: {len(text):,} characters are more than {LONGEST:,}; shorten it")
    return text.strip()


def _fields(body: bytes, *names: str) -> list[str]:
    """Return the texts of a request's fields. Raises `RowError` where one is missing or no text."""
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    found = [asked.get(name) for name in names] if isinstance(asked, dict) else [None]
    if not all(isinstance(text, str) for text in found):
        raise RowError(f"a request needs the texts {', '.join(names)}; load the page again")
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers the page's requests; those that another site made a browser send are refused."""

    timeout = 60  # seconds a connection may be silent

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of a request that was answered."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        medium = self.server.play.media.get(path.removeprefix("/media/"))
        if not self._own():
            self._tell(403, {"error": "this page is served to this machine alone"})
        elif path == "/":
            self._send(200, Path(__file__).with_name("play.html").read_bytes(), "text/html; charset=utf-8")
        elif path == "/about":
            self._tell(200, self.server.play.about())
        elif medium and medium.part.path and medium.part.type != "text":
            kind = mimetypes.guess_type(medium.part.path)[0] or "application/octet-stream"
            self._send(200, Path(medium.part.path).read_bytes(), kind)
        else:
            self._tell(404, {"error": "there is nothing of this name"})

    def do_POST(self) -> None:
        stated = self.headers.get("Content-Length", "")
        length = int(stated) if stated.isdecimal() else 0
        if not self._own():
            self._tell(403, {"error": "this page is served to this machine alone"})
        elif length > LARGEST:
            self._tell(
                413, {"error": f"{length / 1e6:,.1f} MB are more than {LARGEST / 1e6:.0f}; bring a smaller file"}
            )
        else:
            self._tell(*self._answer(self.rfile.read(length)))

    def _own(self) -> bool:
        """Whether a request was meant for this server and made by its own page."""
        host = self.headers.get("Host", "")
        port = self.server.server_address[1]
        return host in (f"{HOST}:{port}", f"localhost:{port}") and self.headers.get("Origin") in (
            None,
            f"http://{host}",
        )

    def _answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Do what is asked; return the status and what is said, also of what went wrong."""
        play = self.server.play
        url = urlsplit(self.path)
        try:
            if url.path == "/file":
                return 200, play.bring(Path(parse_qs(url.query).get("name", [""])[0]).name[-80:], body)
            if url.path == "/scene":
                return 200, play.draw(*_fields(body, "kind"))
            if url.path == "/judge":
                return 200, play.ask(*_fields(body, "id", "question", "first", "second"))
            return 404, {"error": "there is nothing of this name"}
        except (RowError, MediaError, RunError) as error:
            return 400, {"error": str(error).replace(f"{play.folder}/", "")}
        except Exception as error:  # a model's own error must not end the page; the terminal has the whole of it
            traceback.print_exc()
            return 500, {"error": f"the judge failed ({type(error).__name__}: {error}); the terminal says more"}

    def _tell(self, status: int, said: dict[str, Any]) -> None:
        self._send(status, json.dumps(said).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(body), "Content-Security-Policy": POLICY}
        headers |= {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        for name, value in headers.items():
            self.send_header(name, str(value))
        with contextlib.suppress(ConnectionError):  # the reader has left
            self.end_headers()
            self.wfile.write(body)


def open_server(play: Play, port: int = 0) -> ThreadingHTTPServer:
    """Open the page on a port of this machine's own (0: any free one). Raises `RunError` where it is taken."""
    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise RunError(f"port {port} cannot be opened ({error}); name another one with --port") from error
    server.play = play
    return server


def serve(spec: str, port: int) -> None:
    """Load a judge and serve the page until it is interrupted; then nothing that was brought is left."""
    from omnirepro import load_judge

    judge = load_judge(spec)
    name = relative(Path(spec).absolute()) if Path(spec).exists() else spec
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="omnirepro-play-") as folder:
        with open_server(Play(judge, name, Path(folder)), port) as server, contextlib.suppress(KeyboardInterrupt):
            print(f"{name} judges at http://{HOST}:{server.server_address[1]}/ (Ctrl-C ends)", flush=True)
            server.serve_forever()
