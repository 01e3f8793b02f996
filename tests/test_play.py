"""Play: the page's requests over HTTP with a real tiny judge, what is refused, what is left; the page in a browser."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import numpy as np
import peft
import pytest
import soundfile
from PIL import Image
from test_explorer import browse
from tiny_parts import save_untrained

from omnirepro import load_judge
from omnirepro.cli import play
from omnirepro.cli.main import main
from omnirepro.models.loading import load
from omnirepro.models.processing import keep_settings
from omnirepro.toyworld.scenes import write_mp4

ROOT = Path(__file__).resolve().parents[1]
QUESTION = {"question": "what color is it?", "first": "the color is red.", "second": "it is blue."}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose SFT stage holds an adapter of an untrained model."""
    folder = tmp_path_factory.mktemp("results")
    base = save_untrained(folder / "tiny/00_backbone/strong")
    model, _ = load(base, "cpu")
    about = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, about).save_pretrained(folder / "tiny/03_sft/adapter")
    keep_settings(folder / "tiny/03_sft/adapter", wording="brief", decoding={"max_new_tokens": 24})
    return folder / "tiny"


@pytest.fixture(scope="module")
def server(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    made = play.Play(load_judge(run / "03_sft"), "tiny/03_sft", folder, rng=np.random.default_rng(0))
    with play.open_server(made) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


def asked(server, path, body=None, method="", **headers):
    """Send a request and return its status, its head and its body, read where it is JSON."""
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    body = json.dumps(body) if isinstance(body, dict) else body
    connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    kind = answer.headers["Content-Type"]
    connection.close()
    return answer.status, kind, json.loads(said) if kind == "application/json" else said


def picture(kind="PNG", **more):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, kind, **more)
    return file.getvalue()


def film():
    file = io.BytesIO()
    write_mp4(file, np.zeros((4, 56, 56, 3), np.uint8))
    return file.getvalue()


def sound():
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(8_000) / 5), 16_000, format="WAV")
    return file.getvalue()


def test_the_page_and_what_it_says_of_the_judge(server):
    status, kind, page = asked(server, "/")
    assert status == 200 and kind.startswith("text/html") and b"no open English" in page and b"photographs" in page
    assert not re.search(rb"(src|href)=[\"']?(https?:)?//|@import", page)
    about = asked(server, "/about")[2]
    assert about["judge"] == "tiny/03_sft" and about["tiny"] and about["parameters"] > 10_000
    assert set(about["words"]) == set(play.KINDS) and "purple" in about["words"]["image"]["color"]


@pytest.mark.parametrize("kind", play.KINDS)
def test_a_scene_of_each_kind_is_judged_in_both_orders(server, kind):
    status, _, scene = asked(server, "/scene", {"kind": kind})
    assert status == 200 and scene["kind"] == kind
    if kind == "text":
        assert scene["text"] and asked(server, f"/media/{scene['id']}")[0] == 404
    else:
        status, form, data = asked(server, f"/media/{scene['id']}")
        assert status == 200 and form.startswith(kind) and len(data) > 100
    question = scene["questions"][0]
    answers = {"first": question["answers"]["right"], "second": question["answers"]["wrong"]}
    status, _, found = asked(server, "/judge", {"id": scene["id"], "question": question["text"], **answers})
    assert status == 200 and [row["order"] for row in found["rows"]] == ["AB", "BA"]
    assert all(row["status"] and row["raw"] for row in found["rows"]) and found["seconds"] > 0
    right, wrong = found["truth"]
    assert right["score"] == 10 > wrong["score"] and all(right["marks"].values()) and not wrong["marks"]["accuracy"]


def test_what_the_page_shows_is_what_the_judge_said(server, run):
    """The rows are those of `Judge.judge` on the same pair: scores and verdict stand in the pair's frame."""
    scene = asked(server, "/scene", {"kind": "image"})[2]
    found = asked(server, "/judge", {"id": scene["id"], **QUESTION, "second": "the count is two."})[2]
    part = server.play.media[scene["id"]].part
    answers = [[play.text_part(text)] for text in (QUESTION["first"], "the count is two.")]
    prompt = [part, play.text_part(QUESTION["question"])]
    pair = play.Pair(id="p", task="image", prompt=prompt, response_a=answers[0], response_b=answers[1])
    rows = server.play.judge.judge([pair])
    assert [row["raw"] for row in found["rows"]] == [row.raw for row in rows] and found["truth"] == []


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("a photograph.png", picture, "image"),
        ("../../p.JPG", lambda: picture("JPEG"), "image"),
        ("moves.gif", lambda: picture("GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))] * 3), "video"),
        ("film.mp4", film, "video"),
        ("söund.wav", sound, "audio"),
        ("words.txt", lambda: b"eve has a red cup.\n", "text"),
    ],
)
def test_a_file_is_brought_and_judged(server, name, make, kind):
    status, _, brought = asked(server, f"/file?name={quote(name)}", make())
    assert status == 200 and brought["kind"] == kind
    part = server.play.media[brought["id"]].part
    assert part.path is None or Path(part.path).parent == server.play.folder
    status, _, found = asked(server, "/judge", {"id": brought["id"], **QUESTION})
    assert status == 200 and len(found["rows"]) == 2 and found["truth"] == []
    if kind != "text":
        assert asked(server, f"/media/{brought['id']}")[2] == make()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"no picture", r"^a\.png: .*; bring another file$"),
        ("a.mp4", b"\0" * 99, r"^a\.mp4: .*; bring another file$"),
        ("a.wav", b"RIFF", r"^a\.wav: .*; bring another file$"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"^a\.svg: .*bring another file$"),
        ("a.txt", b"\xff\xfe\x00", r"UTF-8"),
        ("a.txt", b"x" * 5_000, r"5,000 characters"),
        ("a.txt", b"  ", r"nothing is written"),
        ("a.zip", b"PK", r"rename or convert"),
        ("a", b"", r"rename or convert"),
        ("", b"", r"rename or convert"),
    ],
)
def test_a_bad_file_is_refused_and_not_kept(server, name, data, said):
    before = sorted(server.play.folder.iterdir())
    status, _, answer = asked(server, f"/file?name={quote(name)}", data)
    assert status == 400 and re.search(said, answer["error"]) and str(server.play.folder) not in answer["error"]
    assert sorted(server.play.folder.iterdir()) == before


def test_a_file_that_is_too_large_is_refused_before_it_is_read(server):
    connection = http.client.HTTPConnection(*server.server_address, timeout=20)
    connection.putrequest("POST", "/file?name=a.png")
    connection.putheader("Content-Length", str(play.LARGEST + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and "bring a smaller file" in json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/judge", {"id": "none", **QUESTION}, "pick or bring it again"),
        ("/judge", {"id": "none"}, "needs the texts"),
        ("/judge", {"id": ["x"], **QUESTION}, "needs the texts"),
        ("/judge", b"{", "needs the texts"),
        ("/judge", b"[]", "needs the texts"),
        ("/scene", {"kind": "smell"}, "there are image, video, audio, text"),
    ],
)
def test_a_bad_request_is_said(server, path, body, said):
    status, _, answer = asked(server, path, body)
    assert status == 400 and said in answer["error"]


@pytest.mark.parametrize(("first", "said"), [(" ", "answer 1: nothing"), ("x" * 4_001, "answer 1: 4,001 characters")])
def test_an_answer_that_is_empty_or_too_long_is_said(server, first, said):
    scene = asked(server, "/scene", {"kind": "text"})[2]
    status, _, answer = asked(server, "/judge", {"id": scene["id"], **QUESTION, "first": first})
    assert status == 400 and answer["error"].startswith(said)


def test_no_path_leaves_the_folder_and_no_other_site_gets_in(server):
    for path in ("/media/../../etc/passwd", "/media//etc/passwd", "/media/%2e%2e/x", "/play.py", "/..", "/media/"):
        assert asked(server, path)[0] == 404
    port = server.server_address[1]
    own = f"127.0.0.1:{port}"
    for headers in ({"Host": "evil.example"}, {"Host": own, "Origin": "http://evil.example"}, {"Host": "127.0.0.1:1"}):
        assert asked(server, "/about", **headers)[0] == 403
        assert asked(server, "/scene", {"kind": "text"}, **headers)[0] == 403
    assert asked(server, "/scene", {"kind": "text"}, Host=own, Origin=f"http://{own}")[0] == 200
    assert server.server_address[0] == "127.0.0.1"


def test_only_the_newest_media_are_kept(server):
    first = asked(server, "/scene", {"kind": "image"})[2]["id"]
    path = Path(server.play.media[first].part.path)
    for _ in range(play.KEPT):
        asked(server, "/scene", {"kind": "image"})
    assert not path.exists() and asked(server, f"/media/{first}")[0] == 404
    assert len(list(server.play.folder.iterdir())) <= play.KEPT


# ---- the command


def test_grpo_is_preferred_and_a_run_without_a_judge_is_said(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(run.parent))
    assert play.judge_of("tiny") == run / "03_sft"
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    for stage in ("03_sft", "04_grpo"):
        (tmp_path / "both" / stage / "adapter").mkdir(parents=True)
        (tmp_path / "both" / stage / "adapter/adapter_config.json").write_text("{}")
    assert play.judge_of("both").name == "04_grpo"
    assert main(["play", "--profile", "tiny"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "make reproduce" in said and "--judge" in said


def test_a_port_that_is_taken_is_said(server, run, monkeypatch, capsys):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(run.parent))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["play", "--port", str(server.server_address[1])]) == 1
    assert "--port" in capsys.readouterr().err
    assert main(["play", "--port", "99999"]) == 1 and "--port" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_at_the_end(run, tmp_path, how):
    command = [sys.executable, "-m", "omnirepro", "play", "--judge", str(run / "03_sft"), "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    line = process.stdout.readline()
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/scene", json.dumps({"kind": "image"}))
    assert connection.getresponse().status == 200
    assert [path for path in tmp_path.rglob("*.png")]
    process.send_signal(how)
    assert process.wait(30) == 0 and not list(tmp_path.glob("omnirepro-play-*"))


# ---- the page in a browser


def test_the_page_in_a_browser(server, tmp_path):
    """It draws a picture, fills in two answers, and judges them at one click; nothing is wider than the window."""
    page = (ROOT / "omnirepro/cli/play.html").read_text(encoding="utf-8")
    probe = """<script>
      const wait = setInterval(() => {
        if (document.title !== "asked" && !one("judge").disabled && one("first").value) {
          document.title = "asked";
          judge();
        }
        if (document.querySelectorAll(".order").length === 2) {
          clearInterval(wait);
          const fits = document.documentElement.scrollWidth <= innerWidth;
          const picture = document.querySelector("#medium img").naturalWidth;
          const truth = one("found").lastChild.textContent;
          document.title = JSON.stringify({ note: !one("note").hidden, picture, truth, fits });
        }
      }, 50);
    </script></body>"""
    patched = page.replace("</body>", probe).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", _instead(Path.read_bytes, patched))
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        document = browse(address, tmp_path, rules, "--virtual-time-budget=20000")
    found = json.loads(re.search(r"<title>(\{.*?\})</title>", document, re.S)[1])
    assert found["note"] and found["picture"] == 56 and found["fits"] and "answer 1 10" in found["truth"]


def _instead(read, page):
    return lambda path: page if path.name == "play.html" else read(path)
