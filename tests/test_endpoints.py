"""Endpoints: a real `transformers serve` process on loopback as judge and teacher, and a server that fails."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import base64
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import wave
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from loopback import JsonHandler
from test_loading import ask, smollm2

from omnirepro import load_judge
from omnirepro.data import Label, MediaError, Pair, Part
from omnirepro.judge import rubric
from omnirepro.models.endpoints import EndpointModel, to_message
from omnirepro.models.generation import Decoding
from omnirepro.papers.omni_rrm.reconcile import RULES, reconcile
from omnirepro.papers.omni_rrm.teachers import JudgeTeacher

START_SECONDS = 120


def text(words):
    return [Part(type="text", text=words)]


PAIRS = [
    Pair(id="sky#0", task="text", prompt=text("Why is the sky blue?"), response_a=text("Air scatters blue light most."),
         response_b=text("Because."), label="A"),
    Pair(id="sum#0", task="text", prompt=text("What is 2 + 3?"), response_a=text("6"), response_b=text("5"), label="B"),
    Pair(id="sea#0", task="text", prompt=text("Name an ocean."), response_a=text("Pacific"), response_b=text("Oslo")),
]  # fmt: skip


# ---- a real server


@contextmanager
def child(command, log, **kwargs):
    """Run a child process that never outlives the block."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **kwargs)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def wait_until_healthy(url, process, log):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    tail = Path(log).read_text(errors="replace")[-2000:]
    pytest.fail(f"transformers serve did not answer within {START_SECONDS} s (exit code {process.poll()}):\n{tail}")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Serve SmolLM2 from a local folder on a free loopback port; the value is the judge's address."""
    for package in ("fastapi", "uvicorn"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"transformers serve needs the package {package}: pip install -e .[dev]")
    chat, log = smollm2(), tmp_path_factory.mktemp("served") / "server.log"
    folder = log.parent
    chat.model.save_pretrained(folder / "smollm2")
    chat.processor.save_pretrained(folder / "smollm2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    program = shutil.which("transformers", path=str(Path(sys.executable).parent))
    command = [program, "serve", "smollm2", "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    try:
        with child(command, log, cwd=folder, env=offline) as process:
            wait_until_healthy(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1#smollm2"
    finally:
        shutil.rmtree(folder / "smollm2")


@pytest.fixture
def judge(server):
    return load_judge(server, decoding={"max_new_tokens": 40})


def test_served_and_loaded_model_give_the_same_greedy_answer(judge):
    questions, decoding = ask("What is the capital of France?", "How many legs has a dog?"), Decoding(16)
    seen = []
    served = judge.chat.complete(questions, decoding, progress=lambda *now: seen.append(now[:2]))
    assert [m.text for m in served] == [m.text for m in smollm2().complete(questions, decoding)]
    assert "Paris" in served[0].text and served[0].finished and served[0].tokens > 0 and seen == [(1, 2), (2, 2)]


def test_a_cut_answer_says_so(judge):
    (made,) = judge.chat.complete(ask("Tell me a long story."), Decoding(4))
    assert made.text and not made.finished and made.tokens == 4


def test_judge_over_an_endpoint_keeps_honest_rows(judge):
    rows = judge.judge(PAIRS[:2])
    assert [(r.pair_id, r.order) for r in rows] == [(p.id, o) for p in PAIRS[:2] for o in ("AB", "BA")]
    for row in rows:
        parsed = rubric.parse(row.raw, judge.format)
        assert row.raw and row.status == ("cut" if row.tokens == 40 else parsed.status) and row.model == "smollm2"
        assert (row.verdict is None) == (parsed.verdict is None)


def test_teacher_over_an_endpoint_labels_every_pair_and_invents_none(judge):
    teacher = JudgeTeacher("served", judge, rubric.parse)
    labels = teacher.label(PAIRS)
    rows = {row.pair_id: row for row in teacher.rows}
    assert [label.pair_id for label in labels] == [p.id for p in PAIRS] and set(rows) == {p.id for p in PAIRS}
    for label in labels:
        row = rows[label.pair_id]
        legible = row.verdict is not None
        assert row.raw and label.provenance == f"served:{row.status}"
        assert label.confidence == float(legible) and label.verdict == (row.verdict or "tie")
    other = [Label(pair_id=p.id, verdict="A", score_a=9, score_b=2, confidence=1.0, provenance="x") for p in PAIRS]
    unreadable = {label.pair_id for label in labels if not label.confidence}
    assert unreadable, "40 tokens are too few for a whole judgement: at least one must have been unreadable"
    for rule in set(RULES) - {"none"}:
        assert not unreadable & {kept.pair_id for kept in reconcile(labels, other, rule).kept}


def test_a_model_that_the_server_does_not_have_is_an_error(server):
    from openai import OpenAIError

    with pytest.raises(OpenAIError) as refused:
        EndpointModel(server.partition("#")[0], "another", retries=0).complete(ask("hi"), Decoding(1))
    assert "requested 'another'" in refused.value.__notes__[0], "the server's own words must reach the reader"


# ---- media travel whole


def media_file(folder, kind):
    """Write a small real file of a kind."""
    from PIL import Image

    path = folder / {"image": "a.PNG", "views3d": "v.jpg", "audio": "a.wav", "video": "a.mp4"}[kind]
    if kind == "audio":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 16_000, 0, "NONE", ""))
            sound.writeframes(np.arange(1600, dtype="<i2").tobytes())
    elif kind == "video":
        import av

        with av.open(str(path), "w") as film:
            stream = film.add_stream("mpeg4", rate=4, width=32, height=32, pix_fmt="yuv420p")
            for shade in (0, 128):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8), format="rgb24")
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
    else:
        Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "key", "head"),
    [
        ("image", "image_url", "data:image/png;base64"),
        ("views3d", "image_url", "data:image/jpeg;base64"),
        ("video", "video_url", "data:video/mp4;base64"),
        ("audio", "input_audio", "wav"),
    ],
)
def test_media_are_sent_whole(kind, key, head, tmp_path):
    path = media_file(tmp_path, kind)
    parts = [Part(type=kind, path=str(path)), Part(type="text", text="What is this?")]
    sent, words = to_message({"role": "user", "parts": parts})["content"]
    assert sent["type"] == key and words == {"type": "text", "text": "What is this?"}
    before, data = (sent[key]["format"], sent[key]["data"]) if kind == "audio" else sent[key]["url"].split(",")
    assert before == head and base64.b64decode(data, validate=True) == path.read_bytes()


def test_text_alone_is_sent_as_plain_text():
    assert to_message({"role": "user", "parts": text("a") + text("b")}) == {"role": "user", "content": "ab"}


def test_a_missing_file_is_named():
    parts = [Part(type="image", path="gone.png")]
    with pytest.raises(MediaError, match=r"gone\.png: cannot be sent"):
        to_message({"role": "user", "parts": parts})


# ---- a server that fails


class Faulty(JsonHandler):
    """Answer a chat by echoing its last message, after the failures planned for it; count every request."""

    wait = 10

    def do_POST(self):
        body = json.loads(self.asked())
        said = body["messages"][-1]["content"]
        with self.server.lock:
            count = self.server.requests[said] = self.server.requests.get(said, 0) + 1
        plan = self.server.plan(said)
        time.sleep(0.05 * (len(self.server.requests) % 3))  # answers come back in another order than asked
        if count <= len(plan):
            return self.answer(plan[count - 1], {"error": {"message": "planned failure"}})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"echo {said}"}}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"]}
        self.answer(200, head | {"choices": [] if said == "nothing" else [choice], "usage": usage})


@pytest.fixture
def faulty():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.requests, server.lock, server.plan = {}, threading.Lock(), lambda said: []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def endpoint(server, **kwargs):
    return EndpointModel(f"http://127.0.0.1:{server.server_port}/v1", "echo", timeout=10, **kwargs)


def test_failures_are_retried_and_order_is_kept(faulty):
    faulty.plan = lambda said: {0: [500, 429], 1: [503]}.get(int(said) % 4, [])
    names = [str(i) for i in range(12)]
    made = endpoint(faulty, concurrency=4).complete(ask(*names), Decoding(8))
    assert [m.text for m in made] == [f"echo {name}" for name in names]
    assert faulty.requests == {name: {0: 3, 1: 2}.get(int(name) % 4, 1) for name in names}


def test_after_the_last_retry_the_error_is_raised_and_the_rest_is_not_sent(faulty):
    from openai import InternalServerError

    faulty.plan = lambda said: [500] * 99 if said == "0" else []
    with pytest.raises(InternalServerError, match="planned failure"):
        endpoint(faulty, concurrency=1, retries=2).complete(ask(*map(str, range(50))), Decoding(8))
    assert faulty.requests["0"] == 3 and len(faulty.requests) < 10


def test_a_refused_request_is_not_repeated(faulty):
    from openai import BadRequestError

    faulty.plan = lambda said: [400]
    with pytest.raises(BadRequestError):
        endpoint(faulty).complete(ask("bad"), Decoding(8))
    assert faulty.requests == {"bad": 1}


def test_an_answer_without_a_completion_is_an_error(faulty):
    from openai import OpenAIError

    with pytest.raises(OpenAIError, match="no completion"):
        endpoint(faulty).complete(ask("nothing"), Decoding(8))


def test_a_server_that_is_gone_is_an_error():
    from openai import APIConnectionError

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gone = EndpointModel(f"http://127.0.0.1:{probe.getsockname()[1]}/v1", "x", retries=0, timeout=5)
        with pytest.raises(
            APIConnectionError, match="/v1: cannot be reached .*; start the server, or correct its addr"
        ):
            gone.complete(ask("hi"), Decoding(1))
