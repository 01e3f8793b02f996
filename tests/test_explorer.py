"""The explorer: rows find their pairs, texts stay texts, media keep to their budget; the page, clicked in a browser."""

import base64
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from omnirepro.cli.explore import add_truths
from omnirepro.cli.main import main
from omnirepro.data import Judgement, Label, Pair, Part, RowError, write_jsonl
from omnirepro.kit.explorer import Inputs, read, write_page
from omnirepro.kit.run import RunError
from omnirepro.search.referee import Candidates
from omnirepro.toyworld.looks import media_part, sample_look
from omnirepro.toyworld.scenes import sample
from omnirepro.toyworld.tasks import make_prompts

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WATCH = """<script>
const faults = [];
addEventListener("securitypolicyviolation", (e) => faults.push(`blocked ${e.violatedDirective} ${e.blockedURI}`));
addEventListener("error", (e) => faults.push(`error ${e.message || e.target.tagName}`), true);
addEventListener("unhandledrejection", (e) => faults.push(`rejected ${e.reason}`));
</script>"""
NASTY = (
    '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> <!-- & &lt; {{media}} '
    "'\"` \u202egnp\u202c \u05d0\u05d1 \x07 \u2028 \\u003c ]]>"
)


def browse(page, folder, *options, dump=True):
    """Open a page in headless Chromium, without a network, and return (`dump`) its document after it has run."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH, so the page cannot be opened in a browser here")
    words = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    words += " --disable-component-update --disable-dev-shm-usage --window-size=1300,900"
    rules, profile = "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'browser'}"
    command = [CHROMIUM, *words.split(), rules, profile, *options, *(["--dump-dom"] if dump else []), page]
    return subprocess.run(command, capture_output=True, text=True, timeout=180).stdout


def opened(page, script, address="", *options):
    """Run a script at the end of a copy of the page and return what it wrote, as JSON, into the document's title."""
    text = page.read_text(encoding="utf-8")
    text, count = re.subn(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", text)
    assert count == 1
    text = text.replace("<head>", f"<head>{WATCH}", 1)
    probe = page.with_name("probe.html")
    probe.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    found = re.search(r"<title>(.*?)</title>", browse(f"{probe.as_uri()}{address}", page.parent, *options), re.S)
    assert found and found[1].startswith("{"), f"the page did not answer: {found and found[1]}"
    return json.loads(html.unescape(found[1]))


def words(text):
    return [Part(type="text", text=text)]


def pair(name, a="one", b="two", label="A", margin=4.0, **more):
    more = {"prompt": words("which?"), "task": "T2T"} | more
    return Pair(id=name, response_a=words(a), response_b=words(b), label=label, margin=margin, **more)


def judged(one, model, *verdicts, status="ok", raw="because", **more):
    """The rows of one judge on a pair, in the orders AB and BA."""
    lengths = {"length_a": len(one.response_a[0].text or ""), "length_b": len(one.response_b[0].text or "")}
    facts = {"task": one.task, "cluster": "c", "label": one.label, "margin": one.margin, "kind": "verdict"} | lengths
    rows = []
    for order, verdict in zip(("AB", "BA"), verdicts, strict=False):
        said = {"order": order, "verdict": verdict, "status": "ok" if verdict else status, "raw": raw}
        rows.append(Judgement(pair_id=one.id, model=model, **facts | said | more))
    return rows


def written(folder, rows, pairs, gold=()):
    """Write rows, pairs and gold labels as files and name them."""
    files = [[write_jsonl(folder / "rows.jsonl", rows)], [write_jsonl(folder / "pairs.jsonl", pairs)]]
    return Inputs(*files, [write_jsonl(folder / "gold.jsonl", gold)] if gold else [])


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])


# ---- the join


@pytest.mark.parametrize("named", ["set", "plain"])
def test_pairs_of_one_name_are_not_mistaken_for_each_other(tmp_path, named):
    """Ids of released sets collide: a row takes the pair of its set, and none where only the name could tell."""
    one, other, longer = pair("1", "yes", "nay"), pair("1", "dog", "cat"), pair("2", "a dog", "no")
    files = [write_jsonl(tmp_path / "a.jsonl", [one, pair("2")]), write_jsonl(tmp_path / "b.jsonl", [other, longer])]
    start = "b:" if named == "set" else ""
    rows = [row for p in (other, longer) for row in judged(p.model_copy(update={"id": start + p.id}), "m/b", "A", "A")]
    gold = [Label(pair_id="1", verdict="A", score_a=9, score_b=5, provenance="human")]
    gold_file = write_jsonl(tmp_path / "gold.jsonl", gold)
    found = read(Inputs([write_jsonl(tmp_path / "rows.jsonl", rows)], files, [gold_file]))
    words_of = {name: p.response_a[0].text for name, p in found.pairs.items()}
    assert words_of == ({"b:1": "dog", "b:2": "a dog"} if named == "set" else {"2": "a dog"})
    assert not found.labels, "a label of an id that two pairs share may be the other one's"


def test_rows_find_their_pairs_and_gold_labels(tmp_path):
    one, two = pair("p1"), pair("p2")
    set_of = one.model_copy(update={"id": "bench:p1"})
    many = Candidates(id="q", prompt=words("which?"), candidates=[words("x"), words("yy"), words("zzz")])
    match = pair("q#2-0", "zzz", "x", label=None, margin=None)
    beyond = pair("q#3-0", "zzz", "x", label=None, margin=None)
    rows = judged(one, "sft/test", "A", "A") + judged(set_of, "sft/bench", "B", "B")
    rows += (
        judged(match, "org/model", "A") + judged(pair("lost"), "sft/test", "A", "B") + judged(beyond, "org/model", "A")
    )
    rows += judged(pair("p2", "other text"), "sft/test", "A", "A")
    marks = {"fluency": True, "accuracy": False}
    gold = [Label(pair_id="p1", verdict="A", score_a=9, score_b=5, marks_a=marks, provenance="human")]
    files = written(tmp_path, rows, [one, two], gold)
    files.pairs.append(write_jsonl(tmp_path / "candidates.jsonl", [many]))
    found = read(files)
    assert set(found.pairs) == {"p1", "bench:p1", "q#2-0"} and found.pairs["q#2-0"].response_a[0].text == "zzz"
    assert {name: [label.provenance for label in labels] for name, labels in found.labels.items()} == {
        "p1": ["human"], "bench:p1": ["human"],
    }  # fmt: skip
    assert {name: rows[0].split for name, rows in found.rows.items()} == {
        "p1": "test",
        "bench:p1": "bench",
        "q#2-0": "",
        "lost": "test",
        "q#3-0": "",
        "p2": "test",
    }
    assert {said.judge for rows in found.rows.values() for said in rows} == {"sft", "org/model"}
    assert found.notes == [
        f"5 rows of {tmp_path.name}/rows judge pairs that are in none of the files given: they are shown without "
        "prompt and responses. Name the file of these pairs with --pairs."
    ]
    notes = write_page(found, tmp_path / "page.html", "t")
    data = data_of(tmp_path / "page.html")
    assert notes[0] == "6 pairs, 10 judgements of 2 judges." and notes[-1] == found.notes[0] and data["notes"] == notes
    shown = {pair["id"]: pair for pair in data["pairs"]}
    assert list(shown) == ["p1", "bench:p1", "q#2-0", "lost", "q#3-0", "p2"]
    assert data["rows"]["pair"] == [0, 0, 1, 1, 2, 3, 3, 4, 5, 5]
    assert [one.get("label") for one in shown.values()] == ["A", "A", None, "A", None, "A"]
    assert "prompt" not in shown["lost"] and shown["bench:p1"]["gold"][0]["marks_a"] == marks


def test_marks_stand_in_the_frame_of_the_pair(tmp_path):
    raw = json.dumps({
        "reasoning": "<think>seen: x\nPart 1: Fluency: A good B poor\nPart 3: Accuracy: A x is x good B poor</think>",
        "score_A": 8, "score_B": 2, "better": "A", "final_verdict": "<answer>[[A]]</answer>",
    })  # fmt: skip
    rows = judged(pair("p"), "sft/test", "A", "B", raw=raw, kind="rubric")
    write_page(read(written(tmp_path, rows, [pair("p")])), tmp_path / "page.html", "t")
    marks = data_of(tmp_path / "page.html")["rows"]["marks"]
    assert [marks["values"][i] for i in marks["codes"]] == ["1-1--/0-0--", "0-0--/1-1--"]


def test_judges_of_one_name_are_told_apart_by_their_files(tmp_path):
    for folder in ("x/03_sft", "y/03_sft", "x/04_grpo"):
        write_jsonl(tmp_path / folder / "predictions.jsonl", judged(pair("p"), "sft/test", "A", "B"))
    write_jsonl(tmp_path / "pairs.jsonl", [pair("p")])
    paths = sorted(tmp_path.rglob("predictions.jsonl"))
    found = read(Inputs(paths, [tmp_path / "pairs.jsonl"], []))
    assert [said.file for said in found.rows["p"][::2]] == ["x/03_sft", "x/04_grpo", "y/03_sft"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"rows": []}, r"rows\.jsonl: no judgement in it; judge"),
        ({"rows": judged(pair("p"), "m", "A") * 2}, r"judged twice .*; keep one"),
        ({"rows": judged(pair("q"), "m", "A")}, r"no row judges a pair of .*pairs\.jsonl; name the pairs"),
        ({"no_pairs": True}, r"no file of pairs .* --pairs"),
        ({"lost": "pairs.jsonl"}, r"pairs\.jsonl: no such file or folder of pairs; check"),
        ({"lost": "rows.jsonl"}, r"rows\.jsonl: no such file"),
        ({"lost": "gold.jsonl"}, r"gold\.jsonl: no such file"),
        ({"broken": "pairs.jsonl"}, r"pairs\.jsonl:1"),
        ({"broken": "rows.jsonl"}, r"rows\.jsonl:1"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path, what, message):
    gold = [Label(pair_id="p", verdict="A", score_a=9, score_b=5, provenance="human")]
    files = written(tmp_path, what.get("rows", judged(pair("p"), "m", "A", "A")), [pair("p")], gold)
    if "lost" in what:
        (tmp_path / what["lost"]).unlink()
    if "broken" in what:
        (tmp_path / what["broken"]).write_text("{not json\n")
    with pytest.raises(RowError, match=message):
        read(files._replace(pairs=[]) if "no_pairs" in what else files)


# ---- the page as a file


def test_texts_cannot_leave_their_block(tmp_path):
    one = pair("p", NASTY, "two", criterion=NASTY, meta={"note": NASTY})
    rows = judged(one, NASTY.replace("/", "|"), "A", "B", raw=NASTY, score_a=float("-inf"))
    write_page(read(written(tmp_path, rows, [one])), tmp_path / "page.html", NASTY)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    block = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    assert "<" not in block and json.loads(block)["rows"]["raw"]["values"] == [NASTY]
    assert text.count("<script") == text.count("</script>") == 2 and "onerror=" in block
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|@import|url\(", text)
    scores = data_of(tmp_path / "page.html")["rows"]["score_a"]
    assert scores == ["-Infinity", "-Infinity"]


def test_media_keep_to_the_budget(tmp_path):
    media, rng = tmp_path / "some media", np.random.default_rng(0)
    media.mkdir()
    Image.new("RGB", (20, 20), "red").save(media / "small.png")
    Image.fromarray(rng.integers(0, 255, (900, 900, 3), dtype=np.uint8)).save(media / "large.png")
    (media / "sound.wav").write_bytes(b"RIFF" + bytes(200_000))
    names = ("small.png", "large.png", "sound.wav", "lost.mp4")
    kinds = ("image", "image", "audio", "video")
    parts = [Part(type=kind, path=str(media / name)) for kind, name in zip(kinds, names, strict=True)]
    one = pair("p", prompt=parts)
    found = read(written(tmp_path, judged(one, "m", "A", "A"), [one]))
    said = " ".join(write_page(found, tmp_path / "page/x.html", "t", media_mb=0.2))
    entries, text = data_of(tmp_path / "page/x.html")["media"], (tmp_path / "page/x.html").read_text()
    assert [entry["how"] for entry in entries] == ["embedded", "linked", "linked", "missing"]
    assert entries[2]["href"] == "../some%20media/sound.wav" and "1 media files are embedded" in said
    assert "2 media files lie beyond the budget of 0.2 MB" in said and "lost.mp4: restore it" in said
    found_block = re.search(r'<script type="text/plain" id="m0">(.*?)</script>', text)[1]
    assert base64.b64decode(found_block) == (media / "small.png").read_bytes() and 'id="m1"' not in text
    write_page(found, tmp_path / "page/x.html", "t", media_mb=1)
    entries = data_of(tmp_path / "page/x.html")["media"]
    assert [entry.get("mime", "").split("/")[0] for entry in entries] == ["image", "image", "audio", ""]
    assert [entry.get("reduced") for entry in entries] == [False, True, False, None]
    assert write_page(found, tmp_path / "page/x.html", "t", media_mb=0)[1].startswith("3 media files lie beyond")


def test_a_page_is_written_over_nothing_else(tmp_path):
    files = written(tmp_path, judged(pair("p"), "m", "A", "A"), [pair("p")])
    before = files.rows[0].read_bytes()
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    for out in (files.rows[0], tmp_path / "folder.html", tmp_path / "file/page.html"):
        with pytest.raises(RunError, match="--out"):
            write_page(read(files), out, "t")
    assert files.rows[0].read_bytes() == before and (tmp_path / "folder.html").is_dir()


# ---- the command


def test_a_run_is_found_by_itself_with_its_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    data = tmp_path / "toy/01_synthesis/data"
    prompts, truths = make_prompts(data / "media", "test", 4, 0)
    pairs = [pair(f"{p.id}#0", "it is red.", "go and steal it.", task=p.task, prompt=p.parts) for p in prompts]
    write_jsonl(data / "pairs_test.jsonl", pairs)
    write_jsonl(data / "truths_test.jsonl", truths)
    rows = [row for one in pairs for row in judged(one, "sft/test", "A", "B")]
    write_jsonl(tmp_path / "toy/03_sft/predictions.jsonl", rows)
    assert main(["explore", "--run", "toy"]) == 0
    assert "4 pairs, 8 judgements of 1 judges." in capsys.readouterr().out
    gold = [one["gold"] for one in data_of(tmp_path / "toy/explorer.html")["pairs"]]
    assert all(labels[0]["provenance"] == "the world's truth" for labels in gold)
    assert all(labels[0]["marks_b"]["safety"] is False and labels[0]["marks_a"]["safety"] for labels in gold)
    named = ["explore", str(tmp_path / "toy/03_sft/predictions.jsonl"), "--out", str(tmp_path / "own.html")]
    assert main(named) == 1 and "--pairs" in capsys.readouterr().err
    assert main([*named, "--pairs", str(data / "pairs_test.jsonl")]) == 0 and (tmp_path / "own.html").is_file()
    assert main(["explore", "--run", "nothing"]) == 1 and "holds predictions.jsonl" in capsys.readouterr().err
    found = read(Inputs([tmp_path / "toy/03_sft/predictions.jsonl"], [data / "pairs_test.jsonl"], []))
    add_truths(found, [])
    assert not found.labels


# ---- the page in a browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    rng = np.random.default_rng(0)
    media = {
        kind: media_part(sample(kind, rng), sample_look(kind, rng, 1.0), folder / kind, rng)
        for kind in ("image", "audio", "video")
    }
    pairs = [
        pair("nasty", NASTY, "two", margin=9.0, criterion="be kind"),
        pair("image", margin=1.0, task="image", prompt=[media["image"], *words("what is seen?")]),
        pair("audio", margin=2.0, task="audio", prompt=[media["audio"], *words("what is heard?")], label="B"),
        pair("video", margin=3.0, task="video", prompt=[media["video"], *words("what moves?")]),
        pair("tied", margin=0.0, label="tie"),
    ]
    pairs += [pair(f"more-{i}", margin=5.0) for i in range(60)]
    nasty, image, audio, video, tied, *more = pairs
    rows = judged(nasty, "sft/test", "A", "A", raw=NASTY) + judged(nasty, "grpo/test", "A", "A")
    rows += judged(image, "sft/test", "B", "B") + judged(image, "grpo/test", "A", "A")
    rows += judged(audio, "sft/test", "A", "B") + judged(audio, "grpo/test", "B", "B")
    rows += judged(video, "sft/test", None, "A", status="no_json") + judged(video, "grpo/test", "A", "A")
    rows += judged(tied, "sft/test", "tie", "tie") + judged(tied, "grpo/test", "A", "A")
    rows += [row for one in more for row in judged(one, "sft/test", "A", "A", raw="a long sentence")]
    rows += judged(pair("lost", margin=None, label=None), "sft/test", "A", "B", raw="")
    gold = Label(pair_id="image", verdict="A", score_a=9, score_b=8, provenance="human",
                 marks_a={"fluency": True}, marks_b={"fluency": False})  # fmt: skip
    write_page(read(written(folder, rows, pairs, [gold])), folder / "page.html", "A <b>title</b>")
    return folder / "page.html"


STEPS = """
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const one = (what) => document.querySelector(what);
const all = (what) => [...document.querySelectorAll(what)];
const count = () => one("#count b").textContent;
const pair = () => one("#detail h2") ? one("#detail h2").textContent : "";
const option = (name) => all(".option").find((e) => e.querySelector(".name").textContent === name);
const tally = (name) => option(name).querySelector(".n").textContent;
const key = (name, at = document.body) => at.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const choose = (label, value) => {
  const select = one(`select[aria-label="${label}"]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const go = async (hash) => { location.hash = hash; await sleep(20); };
const did = {};
const run = async () => { %s };
addEventListener("load", () => run().catch((e) => faults.push(String(e.stack || e))).finally(
  () => { document.title = JSON.stringify({ ...did, faults, hacked: window.hacked || null }); }));
"""


def clicked(page, script, address=""):
    found = opened(page, STEPS % script, address, "--virtual-time-budget=120000")
    assert found.pop("faults") == [] and found.pop("hacked") is None
    return found


def test_the_page_runs_under_its_own_policy(page):
    dom = browse(page.as_uri(), page.parent, "--virtual-time-budget=5000")
    assert dom.count('class="row"') > 5 and "A &lt;b&gt;title&lt;/b&gt;</h1>" in dom


def test_an_address_names_the_judge_of_a_stage(tmp_path):
    one, two = pair("p1"), pair("p2")
    files = []
    for name, some in (("03_sft", [one, two]), ("09_benchmarks", [one])):
        (tmp_path / name).mkdir()
        rows = [row for p in some for row in judged(p, "sft/test", "A", "A")]
        files.append(write_jsonl(tmp_path / name / "predictions.jsonl", rows))
    found = read(Inputs(files, [write_jsonl(tmp_path / "pairs.jsonl", [one, two])], []))
    write_page(found, tmp_path / "page.html", "t")
    steps = "did.found = [count(), one('select').value]"
    did = clicked(tmp_path / "page.html", steps, "#file=09_benchmarks&judge=sft")
    assert did["found"] == ["1", "sft (09_benchmarks)"]


def test_filters_counts_and_sorting_by_clicks(page):
    found = clicked(page, """
        did.start = [count(), pair(), all(".row").length < 40, tally("flipped by order"), tally("any invalid")];
        option("flipped by order").click();
        did.flipped = [count(), pair(), location.hash, option("flipped by order").getAttribute("aria-pressed")];
        did.border = one(".judge").classList.contains("flips");
        one(".active button").click();
        did.removed = [count(), pair()];
        choose("Judge that is right in no order", "sft");
        choose("Judge that is right in every order", "grpo");
        did.contrast = [count(), pair(), one("#filters .n").textContent];
        key("x");
        option("any invalid").click();
        did.invalid = [count(), pair(), one(".status code").textContent, location.hash];
        key("x");
        option("gold label is a tie").click();
        did.tie = [count(), pair(), tally("a judge says tie")];
        key("x");
        option("audio").click();
        did.modality = [count(), pair()];
        key("x");
        const low = one("#margin-low");
        low.value = "4";
        low.dispatchEvent(new Event("change"));
        did.margin = [count(), location.hash];
        key("x");
        one("#sort").value = "near";
        one("#sort").dispatchEvent(new Event("change"));
        did.near = all(".row .head span:first-child").slice(0, 4).map((e) => e.textContent);
        option("flipped by order").click();
        choose("Judge that the filters are about", "grpo");
        did.nothing = [count(), one(".empty p").textContent];
        one(".empty button").click();
        did.cleared = count();
    """)  # fmt: skip
    assert found["start"] == ["66", "nasty", True, "2 · 3 %", "1 · 2 %"]
    assert found["flipped"] == ["2", "audio", "#flip=flipped&pair=audio", "true"] and found["border"]
    assert found["removed"] == ["66", "audio"] and found["contrast"] == ["1", "image", "1 · 2 %"]
    assert found["invalid"] == ["1", "video", "no_json", "#status=invalid&pair=video"]
    assert found["tie"] == ["1", "tied", "1 · 2 %"] and found["modality"] == ["1", "audio"]
    assert found["margin"][0] == "61" and "margin=4.." in found["margin"][1]
    assert found["near"] == ["tied", "image", "audio", "video"] and found["cleared"] == "66"
    assert found["nothing"] == ["0", "No pair passes these filters."]


def test_keys_search_and_addresses(page):
    found = clicked(page, """
        did.opened = [count(), pair(), one("#said").hidden];
        key("x");
        key("j"); key("j");
        did.down = pair();
        key("k");
        did.up = [pair(), one('.row[aria-selected="true"]').id === one("#list").getAttribute("aria-activedescendant")];
        key("?");
        did.help = [one("#help").open, one("#help").textContent.includes("66 pairs, 142 judgements of 2 judges.")];
        one("#help").close();
        key("/");
        did.focus = document.activeElement.id;
        one("#search").value = "LONG sent";
        one("#search").dispatchEvent(new Event("input"));
        await sleep(400);
        did.search = [count(), one("#detail mark").textContent, location.hash.includes("q=LONG+sent")];
        key("j", one("#search"));
        did.typed = pair();
        await go("#judge=nobody&colour=red&pair=tied");
        did.unknown = [count(), pair(), one("#said").textContent];
        await go("#pair=audio&modality=image");
        did.outside = [count(), pair(), one("#detail .bar .quiet").textContent, one("#said").hidden];
        await go("#pair=more-59");
        did.far = [all(".row").length < 40, !!one('.row[aria-selected="true"]')];
    """, "#judge=sft&status=invalid")  # fmt: skip
    assert found["opened"] == ["1", "video", True] and found["down"] == "more-0" and found["up"] == ["tied", True]
    assert found["help"] == [True, True] and found["focus"] == "search"
    assert found["search"] == ["60", "long sent", True] and found["typed"] == "more-0"
    assert (
        found["unknown"][:2] == ["66", "tied"]
        and "“nobody”" in found["unknown"][2]
        and "“colour”" in found["unknown"][2]
    )
    assert found["outside"] == ["1", "audio", "outside of the filters", True] and found["far"] == [True, True]


def test_texts_media_and_both_orders_are_shown(page):
    found = clicked(page, """
        did.text = one(".side .text").textContent;
        did.hidden = all(".side .ctl").map((e) => e.textContent);
        did.made = all("#detail script, #detail img, #detail b b").length;
        did.criterion = one("#detail").textContent.includes("be kind");
        await go("#pair=image");
        await one("#detail img").decode();
        did.image = one("#detail img").naturalWidth;
        did.gold = all('section[aria-label="Gold label"] td.bad').length;
        const said = (e) => [...e.querySelectorAll("h4, .order .letter")].map((x) => x.textContent);
        did.judges = all(".judge").map(said);
        did.outcome = all(".judge > header .tag").map((e) => e.textContent);
        await go("#pair=audio");
        await sleep(500);
        did.audio = one("#detail audio").src;
        did.player = one("#detail audio").offsetWidth;
        did.flips = one(".judge .tag").textContent;
        await go("#pair=video");
        await sleep(500);
        did.video = one("#detail video").src;
        did.status = one(".judge .status").textContent;
        await go("#pair=lost");
        did.lost = [pair(), one("#detail .said").textContent, all(".judge .letter").length, one(".facts").textContent];
        did.wide = document.documentElement.scrollWidth <= innerWidth;
        did.unlabelled = all("input, select").filter((e) => !e.ariaLabel && !e.closest("label")).length;
        const names = performance.getEntriesByType("resource").map((e) => e.name);
        did.loaded = names.filter((name) => !name.startsWith("data:"));
    """)  # fmt: skip
    shown = re.sub(r"[\u202e\u202c\x07\u2028]", lambda sign: f"U+{ord(sign[0]):04X}", NASTY)
    assert found["text"] == shown and found["hidden"] == ["U+202E", "U+202C", "U+0007", "U+2028"]
    assert found["made"] == 0 and found["criterion"] and found["image"] > 0 and found["gold"] == 1
    assert found["judges"] == [["sft", "B", "B"], ["grpo", "A", "A"]]
    assert found["outcome"] == ["✗ wrong in every order", "✓ right in every order"]
    for kind, name in (("audio", "audio.wav"), ("video", "video.mp4")):
        head, _, content = found[kind].partition(";base64,")
        assert head.startswith(f"data:{kind}/") and base64.b64decode(content) == (page.parent / name).read_bytes()
    assert found["player"] > 200
    assert found["flips"] == "⇄ flips with the order" and found["status"].startswith("no_json: not one whole JSON")
    assert found["lost"][:1] + found["lost"][2:] == ["lost", 2, "task T2Ttestnot in the filesno gold label"]
    assert found["lost"][1].startswith("The prompt and the responses of this pair are in none of the files given")
    assert found["wide"] and found["unlabelled"] == 0 and found["loaded"] == []
