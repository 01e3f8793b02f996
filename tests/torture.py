"""Reliability, counted: kills, a full disk, hostile answers, broken files, a faulty server, escapes and bombs.

`python tests/torture.py` (minutes; `--kills N`, `--hostile N`) writes the table of docs/reliability.md. Each trial
raises AssertionError where it fails; the quick ones are also tests (`test_torture.py`).
"""

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow
import pytest
from test_endpoint_load import WAIT, Server, client, names
from test_loading import ask
from tiny_parts import text_part

from omnirepro.data import Judgement, Pair, RowError, jsonl, read_jsonl, sha256_file, write_jsonl
from omnirepro.data.sources import load
from omnirepro.judge import rubric, verdict
from omnirepro.models.endpoints import Usage
from omnirepro.models.generation import Decoding

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    "reasoning": "<think>Part 1: A is right, B is not.</think>", "score_A": 8, "score_B": 5, "better": "A",
    "final_verdict": "<answer>[[A]]</answer>",
}  # fmt: skip
SEEDS = [json.dumps(GOOD), "<think>so</think> <answer>[[B]]</answer>", "[[A]]", "[[C]]", "Score: 4", "```json\n{}\n```"]
PIECES = [
    *('{"better": "B"}', "[[A]]", "[[B]]", "[[C]]", "<answer>[[B]]</answer>", "</think>", "<think>", "```", "\0"),
    *("NaN", "1e999", "-1", "[" * 3000, '{"a":' * 3000, "\u202e", "ＡＢ", "<|im_end|>", "9" * 5000),
    *("\ud800", '"score_A": 9,', "null"),
]  # fmt: skip


def hostile(number, seed=0):
    """Yield answers of a judge that were cut, doubled, joined and littered, always the same ones."""
    rng = random.Random(seed)
    for _ in range(number):
        text = rng.choice(SEEDS)
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(text))
            text = rng.choice(
                (text[:at], text[at:], text + rng.choice(SEEDS), text[:at] + rng.choice(PIECES) + text[at:],
                 text[:at] + chr(rng.randrange(32, 0xD7FF)) + text[at + 1 :])
            )  # fmt: skip
        yield text


def try_hostile_answers(number):
    """Read hostile answers in every format: no exception, and no verdict where two different ones are marked."""
    counts = Counter()
    formats = ("rationale-first", "scores-only", "verdict", "verdict-direct", "level")
    for text in hostile(number):
        for name in formats:
            found = verdict.format_of(name).read(text)
            counts[found.status] += 1
            assert found.verdict in ("A", "B", "tie", None)
            said = {word for word in "ABC" if f"[[{word}]]" in rubric.without_thoughts(text)[0]}
            doubled = name.startswith("verdict") and len(said) > 1
            assert not (doubled and found.status == "ok"), f"two verdicts were read as one: {text!r:.300}"
    return f"{number:,} answers x {len(formats)} formats: {', '.join(f'{n:,} {s}' for s, n in counts.most_common())}"


def pair(number=0, **fields):
    parts = {side: [text_part(f"{side} {number}")] for side in ("prompt", "response_a", "response_b")}
    return Pair(id=str(number), task="T2T", **(parts | fields))


def try_escapes(folder):
    """Read texts of rows from outside of their folder, by every way: each is refused with file and row."""
    (folder / "secret.txt").write_text("a key")
    data = folder / "data"
    data.mkdir()
    (data / "link.txt").symlink_to(folder / "secret.txt")
    (data / "folder").symlink_to(folder)
    os.mkfifo(data / "pipe")
    ways = ["../secret.txt", str(folder / "secret.txt"), "link.txt", "folder/secret.txt", "a/../../secret.txt"]
    ways += [
        f"file://{folder}/secret.txt",
        "..%2Fsecret.txt",
        "..\\secret.txt",
        "/dev/zero",
        "/proc/self/environ",
        "pipe",
    ]
    for kind in ("text", "image"):
        for way in ways if kind == "text" else ("/dev/zero", "pipe"):
            row = pair().model_dump(exclude_defaults=True) | {"prompt": [{"type": kind, "path": way}]}
            file = data / "pairs.jsonl"
            file.write_text(json.dumps(row) + "\n")
            for read in (partial(read_jsonl, kind=Pair), load):
                with pytest.raises(RowError, match=r"pairs\.jsonl:1: "):
                    list(read(file, check_media=True))
    return f"{len(ways)} ways out of the folder for texts, devices and pipes for media: all refused, file and row named"


def try_bombs(folder, mib=64, longest=1 << 22):
    """Unpack rows far longer than the bound, in every packing: an error with file and row, and little memory."""
    before, jsonl.LONGEST = jsonl.LONGEST, longest
    start = '{"id": "0", "task": "T2T", "prompt": "'
    forms = {".jsonl": start, ".json": "[" + start, ".csv": "id,prompt\n0,"}
    try:
        for packing, codec in ((".gz", "gzip"), (".zst", "zstd"), (".bz2", "bz2"), (".lz4", "lz4")):
            for form, head in forms.items():
                file = folder / f"bomb{form}{packing}"
                with pyarrow.CompressedOutputStream(str(file), codec) as out:
                    out.write(head.encode())
                    for _ in range(mib):
                        out.write(b"a" * (1 << 20))
                held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                with pytest.raises(RowError, match=rf"{file.name}:\d: "):
                    list(load(file))
                if form == ".jsonl" and packing == ".gz":
                    with pytest.raises(RowError, match="a row of more than"):
                        read_jsonl(file, Pair)
                more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) >> 10
                assert more < 60 + (longest >> 17), f"{file.name}: {more} MiB more"
    finally:
        jsonl.LONGEST = before
    return (
        f"rows of {mib} MiB in {len(forms) * 4} packed forms under a bound of {longest >> 20} MiB: all refused by row"
    )


def try_broken_files(folder):
    """Damage a file of pairs in every kind of way: each error names file and, where rows are read, the row."""
    good = [json.dumps(pair(i).model_dump(exclude_defaults=True)) for i in range(3)]
    kinds = {
        "cut": "\n".join(good)[:-20], "not json": f"{good[0]}\nA is better\n", "null byte": f"{good[0]}\n\0\n",
        "a list": f"{good[0]}\n[1]\n", "lone surrogate": f"{good[0]}\n" + good[1].replace("prompt 1", "\\ud800"),
        "deep": good[0] + "\n" + "[" * 100_000, "same id": f"{good[0]}\n{good[0]}", "a number": f"{good[0]}\n7\n",
        "unknown field": f"{good[0]}\n" + good[1].replace('"task"', '"tusk"'), "web page": "<html></html>",
    }  # fmt: skip
    bytes_of = {name: text.encode() for name, text in kinds.items()}
    bytes_of |= {"utf-16": good[0].encode("utf-16"), "latin-1": b'{"id": "\xe9"}', "zip": b"PK\x03\x04rest"}
    for name, content in bytes_of.items():
        file = folder / f"{name}.jsonl"
        file.write_bytes(content)
        with pytest.raises(RowError) as error:
            read_jsonl(file, Pair, unique=True)
        assert f"{file}:" in str(error.value) and str(error.value).split(f"{file}:")[1][0].isdigit(), error.value
        with pytest.raises(RowError, match=name):
            list(load(file))
    packed = gzip.compress("\n".join(good * 50).encode())
    for name, content in {"cut.jsonl.gz": packed[:-12], "no.jsonl.gz": b"plain", "no.parquet": b"PAR1"}.items():
        (folder / name).write_bytes(content)
        with pytest.raises(RowError, match=name):
            list(load(folder / name))
    return f"{len(bytes_of) + 3} kinds of broken files: each named, with the row where rows are read"


# Mounts a disk of 200 kB, seen by this command alone, judges onto it, gives it room and judges again.
SMALL_DISK = """
room="$1"; shift
mount -t tmpfs -o size=200k tmpfs "$room" || exit 99
"$@"; echo "status $?: $(ls -A "$room" | tr '\\n' ' ')"
mount -o remount,size=20m "$room"
"$@"; echo "status $?"
cp "$room"/rows.jsonl "$room".kept
"""


def try_full_disk(folder, number=400):
    """Judge onto a really full disk: one line of error, nothing half-written; with room again all is there, paid once.

    Where no disk can be mounted, a limit on the size of files takes its place.
    """
    room = folder / "room"
    room.mkdir()
    file = write_jsonl(folder / "pairs.jsonl", [pair(i) for i in range(number)])
    server = Server(fault=lambda said, count: "none")
    judging = [sys.executable, "-m", "omnirepro", "judge", str(file), "--model", f"{server.url}#echo"]
    words = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(room), *judging, "--out", str(room / "rows.jsonl")]
    try:
        ran = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    except FileNotFoundError:  # a system without unshare
        return try_limited_files(folder, file)
    finally:
        server.shutdown()
    if ran.returncode not in (0, 1) or "status" not in ran.stdout:
        return try_limited_files(folder, file)
    (first, last) = (line for line in ran.stdout.splitlines() if line.startswith("status"))
    (error,) = (line for line in ran.stderr.splitlines() if "error" in line)
    assert first.startswith("status 1: ") and last == "status 0", ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr and "rows.jsonl" in error, ran.stderr
    assert not {".part-rows.jsonl", "rows.jsonl"} & set(first.split()), "something was left half-written"
    rows = read_jsonl(folder / "room.kept", Judgement)
    assert len(rows) == 2 * number == len(server.paid)
    again = sum(n - 1 for n in server.paid.values())
    assert again <= 8, "more was paid twice than was on its way"
    return (
        f"a mounted disk of 200 kB: one line of error, nothing half-written; with room again all {len(rows)} rows, of "
        f"{len(server.paid)} answers {again} paid twice"
    )


def try_limited_files(folder, file):
    """Write rows beyond a limit on the size of files: an error, and the file from before stands."""
    program = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
    program += "from omnirepro.data import *; rows = read_jsonl(sys.argv[1], Pair); write_jsonl(sys.argv[2], rows)"
    out = folder / "out" / "rows.jsonl"
    write_jsonl(out, [pair()])
    before = out.read_bytes()
    ran = subprocess.run([sys.executable, "-c", program, str(file), str(out)], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode, "the limit was not met"
    assert [out.name] == os.listdir(out.parent) and out.read_bytes() == before
    return "no disk can be mounted here; files limited to 20 kB: an error, the file from before stands, nothing beside"


def tell_orders():
    """Say how many judgements orders to the judge flip before and after training on such pairs (results/audits)."""
    cards = {
        name: json.loads((ROOT / f"results/audits/{name}.json").read_text()) for name in ("not-injected", "injected")
    }
    said = []
    for arm in ("order in a response", "order in a transcript"):
        found = [next(f["flips"] for f in card["findings"] if f["arm"] == arm) for card in cards.values()]
        shares = (f"{100 * f['value']:.1f} [{100 * f['low']:.1f}, {100 * f['high']:.1f}] %" for f in found)
        said.append(f"{arm} {', '.join(shares)} of {found[0]['n']}")
    return f"judgements that an order flips, before and after training on such pairs: {'; '.join(said)}"


def try_faulty_server(folder, number=300):
    """Ask a server that fails in seven ways: every answer comes once, none is paid twice."""
    server = Server()
    usage = Usage(price=(2.0, 10.0))
    model = client(server, timeout=WAIT, cache=folder / "answers.sqlite", usage=usage)
    made = model.complete(ask(*names(number)), Decoding(8))
    server.shutdown()
    assert [m.text for m in made] == [f"echo {name}" for name in names(number)]
    assert len(server.paid) == number and set(server.paid.values()) == {1}
    return (
        f"{number} questions, {server.asked.total()} requests, {usage.lost} answers lost: none missing, none paid twice"
    )


def try_kills(folder, number, seconds=300):
    """Kill a judging over a server at evenly spread requests, each time go on: equal rows, nothing paid twice."""
    file = write_jsonl(folder / "pairs.jsonl", [pair(i) for i in range(30)])
    start = time.monotonic()
    whole = None
    done = 0
    paid = Counter()
    for point in [None, *(round(1 + i * 57 / max(number - 1, 1)) for i in range(number))]:
        if time.monotonic() - start > seconds:
            break
        server = Server(fault=lambda said, count: time.sleep(0.02) or "none")
        out = folder / f"kill-{point}" / "rows.jsonl"
        words = [
            sys.executable,
            "-m",
            "omnirepro",
            "judge",
            str(file),
            "--model",
            f"{server.url}#echo",
            "--out",
            str(out),
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
        if point:
            process = subprocess.Popen([*words, "--concurrency", "2"], **quiet)
            while len(server.paid) < point and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            process.wait()
            assert not [name for name in os.listdir(out.parent) if name == out.name], (
                "rows stood before they were whole"
            )
        subprocess.run([*words, "--concurrency", "2"], check=True, **quiet)
        server.shutdown()
        whole = whole or out.read_bytes()
        assert out.read_bytes() == whole and len(server.paid) == 60
        paid.update(server.paid.values())
        done += bool(point)
    assert set(paid) == {1}, "an answer was paid twice"
    return (
        f"{done} kill points over a judging of 60 requests: rows equal byte by byte, none of {paid.total()} paid twice"
    )


# Runs a stage in one process, which is killed at a training step where one is named. Encoders remember no medium: what
# they made within another batch differs in its last bit, and a killed process has forgotten it.
STAGE = """
import os, signal, sys
import transformers
from real_parts import execute
from omnirepro.models import examples, towers

class Nothing(examples.Latest):
    def keep(self, key, value):
        pass

towers.Latest = Nothing
stage, run, base, at = sys.argv[1:]
step, steps = transformers.Trainer.training_step, []

def counted(self, *args, **kwargs):
    steps.append(1)
    if len(steps) == int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)

transformers.Trainer.training_step = counted
execute(stage, profile="smoke", run=run, **({"base": base} if base else {}))
print("steps:", len(steps))
"""


def run_stage(results, stage, run, base="", at=0):
    """Run a stage of profile smoke, killed at the training step `at`; returns the steps of one that was not."""
    paths = {"OMNIREPRO_RESULTS": str(results), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    how = {"env": {**os.environ, **paths, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}, "cwd": ROOT}
    ran = subprocess.run(
        [sys.executable, "-c", STAGE, stage, run, base, str(at)], capture_output=True, text=True, **how
    )
    assert ran.returncode == (-signal.SIGKILL if at else 0), ran.stderr[-2000:]
    return 0 if at else int(ran.stdout.rsplit("steps: ", 1)[1])


def contents(folder):
    """Return the sha256 of every file that a stage wrote; figures are drawn of the others, a manifest has times."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    kept = {str(file.relative_to(folder)): file for file in files if "figures" not in file.parts}
    return {name: sha256_file(file) for name, file in kept.items() if name[0] != "." and name != "manifest.json"}


def try_killed_training(folder, points=4):
    """Kill SFT and GRPO (profile smoke) at steps before, between and after checkpoints, and go on: equal artefacts."""
    for stage in ("00_backbone", "01_synthesis", "02_reconciliation"):
        run_stage(folder, stage, "made")
    seen = []
    for stage in ("03_sft", "04_grpo"):
        whole = f"whole-{stage}"
        steps = run_stage(folder, stage, whole, "made")
        wanted = contents(folder / whole / stage)
        tried = sorted({round(1 + i * (steps - 1) / max(points - 1, 1)) for i in range(points)})
        for at in tried:
            killed = f"{whole}-killed-{at}"
            run_stage(folder, stage, killed, "made", at)
            went_on = run_stage(folder, stage, killed, "made")
            assert contents(folder / killed / stage) == wanted, f"{stage} killed at step {at}"
            assert went_on <= steps, "it began anew"
        shutil.copytree(folder / whole / stage, folder / "made" / stage)
        seen.append(f"{stage} at steps {', '.join(map(str, tried))} of {steps}, {len(wanted)} files")
    return (
        f"{'; '.join(seen)}: all equal byte by byte to those of a training that was not killed (encoders without their "
        "memory of earlier media, which differ in the last bit)"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300, help="for the kills, of which fewer are done if slow")
    args = parser.parse_args()
    trials = {
        "a process killed": lambda folder: try_kills(folder, args.kills, args.seconds),
        "a training killed": try_killed_training,
        "hostile answers": lambda folder: try_hostile_answers(args.hostile),
        "broken files": try_broken_files, "a full disk": try_full_disk, "a faulty server": try_faulty_server,
        "paths out of the data": try_escapes, "bombs": try_bombs,
        "orders to the judge": lambda folder: tell_orders(),
    }  # fmt: skip
    rows = ["| trial | what was seen | seconds |", "|---|---|---:|"]
    for name, trial in trials.items():
        with tempfile.TemporaryDirectory() as folder:
            begun = time.monotonic()
            seen = trial(Path(folder))
        rows.append(f"| {name} | {seen.replace(folder, '')} | {time.monotonic() - begun:.0f} |")
        print(rows[-1], flush=True)
    head = (
        "# Reliability, counted\n\n`make torture` (`tests/torture.py`) breaks things on purpose and writes this table. "
    )
    head += "A trial\nthat fails ends it with an error; the quick ones are tests as well.\n\n"
    (ROOT / "docs" / "reliability.md").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
