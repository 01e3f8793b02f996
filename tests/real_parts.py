"""Parts of tests on data from elsewhere: media, servers that speak the chat API, and a notebook run cell by cell."""

import hashlib
import json
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import soundfile
from loopback import JsonHandler
from PIL import Image

from omnirepro.kit.rehearsal import servers
from omnirepro.toyworld.scenes import write_mp4

ROOT = Path(__file__).resolve().parents[1]


def execute(stage, until=None, **parameters):
    """Run the code cells of a real notebook in this process with papermill's parameters; returns its names.

    `until`: those before the first that says it.
    """
    book = nbformat.read(ROOT / "notebooks" / f"{stage}.ipynb", as_version=4)
    names = {}
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        if until and until in cell.source:
            break
        exec(compile(cell.source, stage, "exec"), names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= parameters
    return names


def write_media(folder, kinds):
    """Write one small medium a kind of `kinds`, all different, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(kinds))
    names = []
    for number, kind in enumerate(kinds):
        path = folder / f"{kind}-{number}.{ {'image': 'png', 'video': 'mp4', 'audio': 'wav'}[kind] }".replace(" ", "")
        if kind == "image":
            Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)).save(path)
        elif kind == "video":
            write_mp4(path, rng.integers(0, 256, (2, 56, 56, 3), dtype=np.uint8))
        else:
            soundfile.write(path, rng.normal(0, 0.1, 4000), 16_000)
        names.append(path.name)
    return names


def question(body):
    """Return the texts of a request's messages, joined, and the kinds of its media."""
    texts, kinds = [], []
    for message in body["messages"]:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            texts += [part["text"]] if part["type"] == "text" else []
            kinds += [] if part["type"] == "text" else [part["type"]]
    return "".join(texts), kinds


class Server:
    """What answers chats on loopback by a function of the request's body; `paid` counts equal requests."""

    def __init__(self, answer):
        self.paid = Counter()
        self.kinds = Counter()
        self.halt = None  # called with the number of requests before one is answered

    @contextmanager
    def running(self, answer):
        server = self

        class Handler(JsonHandler):
            def do_POST(self):
                raw = self.asked()
                body = json.loads(raw)
                if server.halt:
                    server.halt(server.paid.total())
                server.paid[hashlib.sha256(raw).hexdigest()] += 1
                server.kinds.update(question(body)[1])
                self.answer(200, servers.completion(body, answer(body)))

        with servers.serving(Handler) as self.url:
            yield self


@contextmanager
def serving(answer):
    """Serve a function of a request's body; yields the `Server`."""
    with Server(answer).running(answer) as server:
        yield server


def speaker(quality):
    """Return a generator whose answers tell its quality and hang on the question and the draw alone."""

    def answer(body):
        mark = hashlib.sha256(json.dumps([body["messages"], body["seed"], quality]).encode()).hexdigest()[:6]
        return f"{quality} answer {mark}"

    return answer


def teacher(better="good", wrap="{}", unsure=""):
    """Return a teacher that prefers the candidate which says `better`, and writes its judgement inside `wrap`."""

    def answer(body):
        text = question(body)[0]
        a = re.search(r"Candidate A: ?(.*?)\s*Candidate B:", text, re.DOTALL)[1]
        first = better in a
        scores = (8, 6) if first else (6, 8)
        winner = "AB"[not first]
        said = {"reasoning": "<think>seen both.</think>", "score_A": scores[0], "score_B": scores[1]}
        said |= {"better": winner, "final_verdict": f"<answer>[[{winner}]]</answer>"}
        return wrap.replace("{}", json.dumps(said))

    return answer
