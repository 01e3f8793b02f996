"""How soon the explorer's page answers: 6,500 pairs, two orders, three judges, from a file in headless Chromium."""

import random
import resource
import time

from bench import tell
from test_explorer import browse, opened

from omnirepro.data import Judgement, Pair, Part, write_jsonl
from omnirepro.kit.explorer import Inputs, read, write_page

PAIRS = 6_500
JUDGES = ("base", "sft", "grpo")
WORDS = "the red square left of a green ring moves slowly and then it stops because nobody holds it any more".split()
TELL = """
const rows = document.querySelectorAll(".row").length, count = document.getElementById("count").textContent;
document.title = JSON.stringify({ seconds: performance.now() / 1000, rows, count });
"""


def text(rng, words):
    return " ".join(rng.choices(WORDS, k=words))


def processor_seconds(page, folder):
    """Draw a page and return the processor time of all of the browser's processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    browse(page.as_uri(), folder, f"--screenshot={folder / 'page.png'}", dump=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_seconds_to_open(tmp_path):
    rng = random.Random(0)
    pairs, rows = [], []
    for number in range(PAIRS):
        prompt, a, b = (Part(type="text", text=f"{text(rng, k)} {number}") for k in (40, 60, 60))
        label = rng.choice("AB")
        one = Pair(id=f"pair-{number:05d}", task=rng.choice(("T2T", "TI2T")), prompt=[prompt], response_a=[a],
                   response_b=[b], label=label, margin=rng.randrange(1, 11))  # fmt: skip
        pairs.append(one)
        for judge in JUDGES:
            for order in ("AB", "BA"):
                verdict = rng.choice(("A", "B", "tie", None))
                rows.append(
                    Judgement(
                        pair_id=one.id, task=one.task, cluster=one.id, order=order, model=f"{judge}/test",
                        kind="verdict", status="ok" if verdict else "no_verdict", verdict=verdict, label=label,
                        margin=one.margin, raw=f"{text(rng, 70)} [[{verdict}]]", tokens=90,
                    )  # fmt: skip
                )  # fmt: skip
    files = Inputs([write_jsonl(tmp_path / "rows.jsonl", rows)], [write_jsonl(tmp_path / "pairs.jsonl", pairs)], [])
    start = time.perf_counter()
    write_page(read(files), tmp_path / "page.html", "bench")
    made = time.perf_counter() - start
    (tmp_path / "blank.html").write_text("<!doctype html><title>blank</title>")
    blank, whole = (processor_seconds(tmp_path / name, tmp_path) for name in ("blank.html", "page.html"))
    found = opened(tmp_path / "page.html", TELL)
    size = (tmp_path / "page.html").stat().st_size / 1e6
    told = f"{len(rows):,} rows, made in {made:.1f} s, {size:.1f} MB; {whole - blank:.2f} s of processor time"
    tell(f"explorer: open {PAIRS:,} pairs", found["seconds"], told, most=2, unit=" s")
    assert found["rows"] > 5 and found["count"].startswith("6,500 of 6,500 pairs")
