"""Rows on disk: what is written comes back, and every malformed row is an error that says where and what to do."""

import errno
import gzip
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro.data import (
    Judgement,
    Label,
    MediaError,
    Pair,
    Part,
    Prompt,
    Response,
    RowError,
    read_jsonl,
    sha256_file,
    swap_verdict,
    text_of,
    write_jsonl,
)
from omnirepro.data.files import RunError, atomic_write

QUICK = settings(max_examples=60, deadline=None)
NAMES = st.text(min_size=1, max_size=12)
TEXTS = st.builds(Part, type=st.just("text"), text=st.text(max_size=40), turn=st.integers(0, 3))
META = st.dictionaries(NAMES | NAMES.map(lambda k: k + "_a") | NAMES.map(lambda k: k + "_b"), st.integers() | st.text())
PAIRS = st.builds(
    Pair, id=NAMES, task=NAMES, prompt=st.lists(TEXTS, min_size=1, max_size=3),
    response_a=st.lists(TEXTS, min_size=1, max_size=2), response_b=st.lists(TEXTS, min_size=1, max_size=2),
    criterion=st.none() | st.text(), label=st.sampled_from(["A", "B", "tie", None]),
    margin=st.none() | st.floats(0, 10), meta=st.none() | META,
)  # fmt: skip


def text_part(text):
    return Part(type="text", text=text)


def make_pair(**kwargs):
    given_ = {"id": "p#0", "task": "t", "prompt": [text_part("q")]}
    return Pair(**given_ | {"response_a": [text_part("a")], "response_b": [text_part("b")]} | kwargs)


@pytest.fixture
def picture(tmp_path):
    """A medium below the rows' folder; its bytes do not matter here."""
    path = tmp_path / "data" / "media" / "one.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not looked at")
    return Part(type="image", path=str(path), sha256=sha256_file(path))


def rows_file(tmp_path, *lines):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n", encoding="utf-8")
    return path


GOOD = {
    "id": "p#0", "task": "t", "prompt": [{"type": "text", "text": "q"}],
    "response_a": [{"type": "text", "text": "a"}], "response_b": [{"type": "text", "text": "b"}],
}  # fmt: skip


@QUICK
@given(st.lists(PAIRS, max_size=4))
def test_pairs_come_back_as_written(tmp_path_factory, pairs):
    path = write_jsonl(tmp_path_factory.mktemp("rows") / "pairs.jsonl", pairs)
    assert read_jsonl(path, Pair) == pairs
    assert len(path.read_bytes().splitlines()) >= len(pairs), "one line a row"


@pytest.mark.parametrize(
    "row",
    [
        Prompt(id="x", task="t", parts=[text_part("ä\n\u2028q")], criterion="short", cluster="c"),
        Response(prompt_id="x", parts=[text_part("")], generator="m"),
        Label(pair_id="x", verdict="tie", score_a=3, score_b=3, marks_a={"safety": False}, provenance="t"),
        Judgement(pair_id="x", task="t", cluster="c", order="BA", model="m", kind="rubric", status="ok", verdict="A"),
    ],
)
def test_every_noun_comes_back(tmp_path, row):
    assert read_jsonl(write_jsonl(tmp_path / "rows.jsonl", [row, row]), type(row)) == [row, row]


def test_paths_are_relative_on_disk_and_absolute_in_memory(tmp_path, picture, monkeypatch):
    path = write_jsonl(tmp_path / "data" / "pairs.jsonl", [make_pair(prompt=[picture], response_a=[picture])])
    stored = json.loads(path.read_text())
    assert stored["prompt"][0]["path"] == stored["response_a"][0]["path"] == "media/one.png"
    assert str(tmp_path) not in path.read_text()
    assert picture.path == str(tmp_path / "data/media/one.png"), "writing must not change the rows in memory"
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "data", moved)
    row = read_jsonl(moved / "pairs.jsonl", Pair, check_media=True)[0]
    assert row.prompt[0].path == str(moved / "media/one.png") and row.prompt[0].sha256 == picture.sha256
    monkeypatch.chdir(moved)
    assert read_jsonl("pairs.jsonl", Pair) == [row], "a relative file name must give absolute media paths too"


def test_sha256_is_of_the_content(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(MediaError, match="nowhere.*correct its path"):
        sha256_file(tmp_path / "nowhere")


def test_a_text_part_may_name_a_file(tmp_path):
    (tmp_path / "facts.txt").write_text("eve has a cup.", encoding="utf-8")
    path = rows_file(tmp_path, GOOD | {"prompt": [{"type": "text", "path": "facts.txt"}]})
    assert text_of(read_jsonl(path, Pair)[0].prompt) == "eve has a cup."
    (tmp_path / "facts.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RowError, match=r"rows\.jsonl:1: .*facts\.txt.*UTF-8"):
        read_jsonl(path, Pair)


@QUICK
@given(PAIRS)
def test_swap_is_an_involution(pair):
    other = pair.swap()
    assert other.swap() == pair
    assert (other.response_a, other.response_b) == (pair.response_b, pair.response_a)
    assert (other.prompt, other.id, other.margin) == (pair.prompt, pair.id, pair.margin)
    assert other.label == swap_verdict(pair.label)


def test_swap_exchanges_label_and_sided_keys():
    pair = make_pair(label="A", meta={"model_a": "x", "model_b": "y", "year": 1, "only_a": True})
    other = pair.swap()
    assert other.label == "B" and other.meta == {"model_b": "x", "model_a": "y", "year": 1, "only_b": True}
    assert make_pair(label="tie").swap().label == "tie"
    assert make_pair(label=None).swap().label is None


def test_shown_is_the_verdict_as_displayed():
    row = Judgement(pair_id="x", task="t", cluster="c", order="BA", model="m", kind="verdict", status="ok", verdict="A")
    assert row.shown == "B" and row.model_copy(update={"order": "AB"}).shown == "A"


def test_equal_content_has_equal_fingerprint(picture):
    first = Prompt(id="1", task="t", parts=[picture, text_part("q")], cluster="x")
    copy = picture.model_copy(update={"path": "/elsewhere/same.png"})
    assert first.fingerprint() == Prompt(id="2", task="t", parts=[copy, text_part("q")]).fingerprint()
    for other in (
        {"task": "u", "parts": first.parts}, {"task": "t", "parts": first.parts, "criterion": "short"},
        {"task": "t", "parts": first.parts[::-1]}, {"task": "t", "parts": [picture, text_part("r")]},
    ):  # fmt: skip
        assert Prompt(id="1", **other).fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps(GOOD)[:-9], r"not one JSON object.*remove the line or write it again"),
        ("[1, 2]", r"field row:.*a Pair row has: id, task"),
        (json.dumps(GOOD | {"colour": 1}), r"field colour: .*not permitted.*a Pair row has: id"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "task"}), r"field task: Field required; add the field"),
        (
            json.dumps(GOOD | {"prompt": [{"type": "text", "text": "q", "hue": 1}]}),
            r"field prompt\.0\.hue: not permitted; remove the field; a part has: type, text",
        ),
        (json.dumps(GOOD | {"label": "C"}), r"field label: .*'A'"),
        (json.dumps(GOOD | {"prompt": []}), r"field prompt: .*at least 1"),
        (json.dumps(GOOD | {"prompt": [{"type": "text"}]}), r"field prompt\.0: .*needs 'text'"),
        (json.dumps(GOOD | {"response_b": [{"type": "image"}]}), r"field response_b\.0: .*type image needs 'path'"),
        ('{"id": ' + "[" * 100_000, r"not one JSON object"),
    ],
)
def test_a_malformed_row_names_file_line_field_and_remedy(tmp_path, line, said):
    path = rows_file(tmp_path, GOOD, "", line)
    with pytest.raises(RowError, match=said) as caught:
        read_jsonl(path, Pair)
    assert str(caught.value).startswith(f"{path}:3: "), "the empty line counts as a line"


def test_a_truncated_last_line_is_an_error(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [make_pair(id=str(i)) for i in range(3)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RowError, match=rf"{path}:3: not one JSON object"):
        read_jsonl(path, Pair)


def test_bytes_that_are_no_utf8_are_an_error_with_the_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(RowError, match=rf"{path}:2: .*UTF-8"):
        read_jsonl(path, Pair)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RowError, match="none.jsonl: no such file; check the path"):
        read_jsonl(tmp_path / "none.jsonl", Pair)


def test_missing_and_changed_media_are_found_when_asked_for(tmp_path, picture):
    path = write_jsonl(tmp_path / "data" / "pairs.jsonl", [make_pair(), make_pair(prompt=[picture])])
    assert len(read_jsonl(path, Pair, check_media=True)) == 2
    medium = tmp_path / "data" / "media" / "one.png"
    medium.write_bytes(b"other content")
    assert len(read_jsonl(path, Pair)) == 2
    with pytest.raises(RowError, match=rf"{path}:2: .*one\.png: its content changed.*restore it"):
        read_jsonl(path, Pair, check_media=True)
    medium.unlink()
    with pytest.raises(RowError, match=rf"{path}:2: .*one\.png: cannot be read .*restore the file"):
        read_jsonl(path, Pair, check_media=True)


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\r", "\x1c"])
def test_ends_of_line_within_a_text_end_no_row(tmp_path, odd):
    """Valid JSON holds them raw; only a line feed ends a row."""
    from omnirepro.data.resume import in_chunks
    from omnirepro.search.referee import Candidates, read_candidates

    pairs = [make_pair(id=f"{n}{odd}x") for n in range(3)]
    for _ in range(2):
        assert in_chunks(tmp_path, "chunk", pairs, lambda some, at: list(some), Pair, size=2) == pairs
    words = [Part(type="text", text=f"one{odd}two")]
    rows = [Candidates(id=str(n), prompt=words, candidates=[words]) for n in range(3)]
    path = write_jsonl(tmp_path / "candidates.jsonl", rows)
    packed = path.with_name("candidates.jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_candidates(path) == read_candidates(packed) == rows
    write_jsonl(path, [*rows, rows[1]])
    with pytest.raises(RowError, match=rf"{path}:4: the id '1' stands twice"):
        read_candidates(path)


def test_what_a_content_cannot_read_is_not_blamed_on_the_disk(tmp_path):
    locked = OSError(errno.EACCES, "Permission denied", str(tmp_path / "source.jsonl"))

    def rows():
        yield make_pair()
        raise locked

    with pytest.raises(OSError, match="source.jsonl"):
        write_jsonl(tmp_path / "pairs.jsonl", rows())
    assert not list(tmp_path.iterdir())
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".part-pairs.jsonl"))

    def half(path):
        path.write_text("half")
        raise full

    with pytest.raises(RunError, match="pairs.jsonl could not be written .No space left"):
        atomic_write(tmp_path / "pairs.jsonl", half)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [make_pair()])

    def rows():
        yield make_pair(id="new")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_jsonl(path, rows())
    assert read_jsonl(path, Pair) == [make_pair()]
