"""The endpoint client against a faulty server on loopback: nothing is lost, nothing is paid twice, and it goes on."""

import base64
import hashlib
import io
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from loopback import JsonHandler
from test_endpoints import media_file
from test_loading import ask

from omnirepro import load_judge
from omnirepro.data import MediaError, Part
from omnirepro.models.endpoints import EndpointModel, Usage, to_message
from omnirepro.models.generation import Decoding

FAULTS = ("429", "500", "cut", "garbage", "empty", "drip", "hang", "none", "none", "none")
LATE, WAIT = 5.0, 2.0  # seconds: how late an answer comes, and how long the client waits where faults are planned


def fault_of(said, count):
    """Return what goes wrong with the `count`-th attempt to ask something; the third always succeeds."""
    return FAULTS[hashlib.sha256(f"{said}/{count}".encode()).digest()[0] % len(FAULTS)] if count < 3 else "none"


class Server(ThreadingHTTPServer):
    """Answers `echo <text>` in 3 + 2 tokens. `paid` counts computed answers by request; one key is computed once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, fault=fault_of, honours_keys=True, refuse=lambda body: None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault, self.honours_keys, self.refuse = fault, honours_keys, refuse
        self.lock, self.asked, self.paid, self.kept = threading.Lock(), Counter(), Counter(), set()
        self.busy = self.most_busy = 0
        self.bodies = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def compute(self, said, key):
        with self.lock:
            if not (self.honours_keys and key in self.kept):
                self.paid[said] += 1
                self.kept.add(key)

    def handle_error(self, request, client_address):
        """A client that went away is part of the plan."""


class Handler(JsonHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.asked())
        said = body["messages"][-1]["content"]
        with server.lock:
            server.asked[said] += 1
            server.bodies.append(body)
            server.busy += 1
            server.most_busy = max(server.busy, server.most_busy)
            fault = server.fault(said, server.asked[said])
        try:
            refused = server.refuse(body)
            self.answer(*refused) if refused else self.act(fault, said, body)
        finally:
            with server.lock:
                server.busy -= 1

    def act(self, fault, said, body):
        if fault in ("429", "500"):
            return self.answer(int(fault), {"error": {"message": "planned"}})
        self.server.compute(said, self.headers["Idempotency-Key"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"echo {said}"}}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        reply = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "usage": usage}
        data = json.dumps(reply | {"choices": [] if fault == "empty" else [choice]}).encode()
        if fault == "garbage":
            return self.answer(200, data[: len(data) // 2])
        if fault in ("hang", "slow"):
            time.sleep(LATE if fault == "hang" else 0.05)
        if fault not in ("cut", "drip"):
            return self.answer(200, data)
        self.head(200, len(data))
        if fault == "cut":
            self.wfile.write(data[:20])
            self.wfile.flush()
            self.close_connection = True
            return self.connection.shutdown(2)
        for byte in data:  # each byte comes in time, the whole does not
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(LATE / 20)


@pytest.fixture
def serve():
    servers = []

    def start(**kwargs):
        servers.append(Server(**kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def client(server, **kwargs):
    return EndpointModel(server.url, "echo", **({"timeout": 60, "concurrency": 24, "retries": 8} | kwargs))


def names(count):
    return [f"question {i}" for i in range(count)]


def test_under_load_every_answer_comes_once_and_in_order(serve, tmp_path):
    server, asked = serve(), names(300)
    model = client(server, timeout=WAIT, cache=tmp_path / "answers.sqlite", usage=Usage(price=(2.0, 10.0)))
    seen = []
    made = model.complete(ask(*asked), Decoding(8), progress=lambda *now: seen.append(now[:2]))
    assert [m.text for m in made] == [f"echo {name}" for name in asked] and all(m.finished for m in made)
    planned = Counter(fault_of(said, n) for said, count in server.asked.items() for n in range(1, count + 1))
    assert set(planned) == set(FAULTS), "every fault must have happened"
    assert set(server.paid) == set(asked) and set(server.paid.values()) == {1}, "an answer was paid twice"
    assert seen == [(i, 300) for i in range(1, 301)]
    usage = model.usage
    assert (usage.answered, usage.prompt_tokens, usage.completion_tokens) == (300, 900, 600)
    assert usage.cost == pytest.approx((900 * 2 + 600 * 10) / 1e6) and "300 answers" in str(usage)
    lost = sum(planned[f] for f in ("cut", "garbage", "empty", "drip", "hang"))
    assert lost <= usage.lost <= usage.retried and usage.retried >= server.asked.total() - 300


def test_no_more_requests_are_open_at_once_than_allowed(serve):
    server = serve(fault=lambda said, count: "slow")
    client(server, concurrency=4).complete(ask(*names(40)), Decoding(8))
    assert 1 < server.most_busy <= 4


def test_what_is_in_the_cache_is_not_asked_again(serve, tmp_path):
    server = serve(fault=lambda said, count: "none")
    first = client(server, cache=tmp_path / "c.sqlite").complete(ask(*names(20)), Decoding(8))
    model = client(server, cache=tmp_path / "c.sqlite")
    assert model.complete(ask(*names(25)), Decoding(8))[:20] == first
    assert server.asked.total() == 25 and (model.usage.cached, model.usage.answered) == (20, 5)
    client(server, cache=tmp_path / "c.sqlite").complete(ask(*names(1)), Decoding(9))
    assert server.asked.total() == 26, "another decoding is another request"


def test_equal_greedy_requests_are_asked_once_and_samples_are_not(serve):
    server = serve(fault=lambda said, count: "none")
    assert [m.text for m in client(server).complete(ask("a", "a", "a"), Decoding(8))] == ["echo a"] * 3
    assert server.asked["a"] == 1
    client(server).complete(ask("a", "a", "a"), Decoding(8, temperature=1.0), seed=5)
    assert server.asked["a"] == 4 and sorted(b["seed"] for b in server.bodies[1:]) == [5, 6, 7]


def test_a_server_without_idempotency_may_charge_for_lost_answers_and_no_more(serve):
    server = serve(honours_keys=False)
    model = client(server, timeout=WAIT)
    model.complete(ask(*names(120)), Decoding(8))
    assert 120 < server.paid.total() <= 120 + model.usage.lost


def test_a_run_that_breaks_off_goes_on_where_it_stopped(serve, tmp_path):
    from openai import BadRequestError

    broken = serve(refuse=lambda body: (400, {}) if body["messages"][-1]["content"] == "question 40" else None)
    model = client(broken, cache=tmp_path / "c.sqlite", concurrency=8, timeout=WAIT)
    with pytest.raises(BadRequestError):
        model.complete(ask(*names(80)), Decoding(8))
    with sqlite3.connect(tmp_path / "c.sqlite") as data:
        stored = data.execute("select count(*) from answers").fetchone()[0]
    assert stored == model.usage.answered == len(broken.paid) < 80, "what was paid when it broke off must be kept"
    broken.refuse = lambda body: None
    made = client(broken, cache=tmp_path / "c.sqlite", timeout=WAIT).complete(ask(*names(80)), Decoding(8))
    assert [m.text for m in made] == [f"echo {n}" for n in names(80)] and set(broken.paid.values()) == {1}


def test_after_a_final_failure_no_other_request_is_tried_again(serve):
    from openai import BadRequestError

    refuse = lambda body: (400, {}) if body["messages"][-1]["content"] == "question 0" else None  # noqa: E731
    server = serve(refuse=refuse, fault=lambda said, count: time.sleep(0.1) or "500")
    with pytest.raises(BadRequestError):
        client(server, concurrency=8, retries=50).complete(ask(*names(40)), Decoding(8))
    assert server.asked.total() <= 16, "seven others were under way, and may have sent one more each"


PROGRAM = """
import sys
from omnirepro.models.endpoints import EndpointModel
from omnirepro.models.generation import Decoding
from omnirepro.data import Part
chats = [[{"role": "user", "parts": [Part(type="text", text=f"question {i}")]}] for i in range(60)]
EndpointModel(sys.argv[1], "echo", cache=sys.argv[2], concurrency=4).complete(chats, Decoding(8))
"""


def test_a_run_that_is_killed_goes_on_where_it_stopped(serve, tmp_path):
    server = serve(fault=lambda said, count: time.sleep(0.03) or "none")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(tmp_path / "c.sqlite")])
    deadline = time.monotonic() + 60
    while len(server.paid) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait(10)
    assert 10 <= len(server.paid) < 60, "killed in the middle"
    made = client(server, cache=tmp_path / "c.sqlite").complete(ask(*names(60)), Decoding(8))
    assert [m.text for m in made] == [f"echo {n}" for n in names(60)]
    assert set(server.paid.values()) == {1} and server.asked.total() <= 64, "at most those under way are asked again"


def test_an_interrupt_stores_what_is_under_way(serve, tmp_path):
    server = serve(fault=lambda said, count: "none")

    def stop(done, total, seconds):
        if done == 5:
            raise KeyboardInterrupt

    model = client(server, cache=tmp_path / "c.sqlite", concurrency=3)
    with pytest.raises(KeyboardInterrupt):
        model.complete(ask(*names(200)), Decoding(8), progress=stop)
    assert model.usage.answered == len(server.paid) < 200


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(serve):
    import asyncio

    server = serve(fault=lambda said, count: "none")

    async def cell():
        return client(server).complete(ask("a"), Decoding(8))

    assert asyncio.run(cell())[0].text == "echo a"


def test_the_command_line_goes_on_from_its_cache(serve, tmp_path, capsys):
    from omnirepro.cli.main import main
    from omnirepro.data import Pair, write_jsonl

    text = [Part(type="text", text="q")]
    pairs = [Pair(id=str(i), task="T2T", prompt=text, response_a=text, response_b=[Part(type="text", text=f"r{i}")])
             for i in range(3)]  # fmt: skip
    server, file = serve(fault=lambda said, count: "none"), write_jsonl(tmp_path / "pairs.jsonl", pairs)
    again = ["judge", str(file), "--model", f"{server.url}#echo", "--out", str(tmp_path / "rows.jsonl"),
             "--cache", str(tmp_path / "c.sqlite")]  # fmt: skip
    assert main(again) == 0 and "6 answers (18 + 12 tokens" in capsys.readouterr().out
    assert main(again) == 0 and "6 from the cache" in capsys.readouterr().out and server.asked.total() == 6


# ---- constrained decoding, sampling options, media


def test_a_schema_is_sent_where_it_is_taken_and_left_out_where_it_is_not(serve):
    schema = {"type": "object", "properties": {"better": {"enum": ["A", "B"]}}, "required": ["better"]}
    server = serve(fault=lambda said, count: "none")
    client(server, schema=schema).complete(ask("a"), Decoding(8))
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema
    refusal = (400, {"error": {"message": "response_format of type json_schema is not supported"}})
    server = serve(fault=lambda *a: "none", refuse=lambda body: refusal if "response_format" in body else None)
    with pytest.warns(UserWarning, match="takes no JSON schema"):
        made = client(server, schema=schema).complete(ask(*names(30)), Decoding(8))
    assert [m.text for m in made] == [f"echo {n}" for n in names(30)] and set(server.paid.values()) == {1}


def test_a_judge_over_an_endpoint_asks_for_its_own_keys_in_its_own_order(serve, tmp_path):
    server = serve(fault=lambda said, count: "none")
    judge = load_judge(f"{server.url}#echo", endpoint={"cache": tmp_path / "c.sqlite", "concurrency": 2})
    assert judge.chat.concurrency == 2 and judge.chat.cache
    schema = judge.chat.schema
    assert list(schema["properties"]) == ["reasoning", "score_A", "score_B", "better", "final_verdict"]
    assert schema["required"] == list(schema["properties"]) and schema["additionalProperties"] is False
    assert load_judge(f"{server.url}#echo", format="verdict").chat.schema is None


def test_top_k_is_sent_where_it_is_asked_for(serve):
    server = serve(fault=lambda said, count: "none")
    client(server).complete(ask("a"), Decoding(8, temperature=1.0, top_k=50))
    assert server.bodies[0]["top_k"] == 50


def test_other_formats_are_converted_by_what_they_hold(tmp_path):
    import soundfile
    from PIL import Image

    samples = np.linspace(-0.5, 0.5, 1600)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    pixels = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "named.img")
    parts = [Part(type="audio", path=str(tmp_path / "a.flac")), Part(type="image", path=str(tmp_path / "named.img"))]
    sound, picture = to_message({"role": "user", "parts": parts})["content"]
    back, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["input_audio"]["data"])))
    assert sound["input_audio"]["format"] == "wav" and rate == 16_000 and np.abs(back - samples).max() < 1e-4
    head, data = picture["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) == pixels).all()
    (tmp_path / "bad.ogg").write_bytes(b"nothing")
    with pytest.raises(MediaError, match="cannot be sent as sound"):
        to_message({"role": "user", "parts": [Part(type="audio", path=str(tmp_path / "bad.ogg"))]})


@pytest.mark.parametrize("name", ["a.m4a", "a.weba", "a.opus", "a.aac", "a.mka", "a.mp2", "a.aiff"])
def test_a_sound_of_any_container_is_sent_as_wav(tmp_path, name):
    import soundfile
    from test_media_corpus import write_sound

    part = Part(type="audio", path=str(write_sound(tmp_path / name)))
    (sent,) = to_message({"role": "user", "parts": [part]})["content"]
    back, rate = soundfile.read(io.BytesIO(base64.b64decode(sent["input_audio"]["data"])))
    assert sent["input_audio"]["format"] == "wav" and 0.9 < len(back) / rate < 1.2 and np.abs(back).max() > 0.01


def test_a_film_can_travel_as_pictures(tmp_path):
    from PIL import Image

    path = media_file(tmp_path, "video")
    sent = to_message({"role": "user", "parts": [Part(type="video", path=str(path))]}, frames=2)["content"]
    assert [s["type"] for s in sent] == ["image_url"] * 2
    shades = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(s["image_url"]["url"].split(",")[1])))).mean() for s in sent
    ]
    assert shades[0] < 30 < 100 < shades[1]
