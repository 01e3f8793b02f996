"""What the commands on own data say: of files without rows, ties, what could not be read, and a server's models."""

import json

import pytest

from omnirepro.cli.main import main

# ---- files without rows

ONE = {"id": "1", "task": "t", "prompt": [{"type": "text", "text": "?"}], "label": "A",
       "response_a": [{"type": "text", "text": "yes"}], "response_b": [{"type": "text", "text": "no"}]}  # fmt: skip
NO_MODEL = ["--model", "/no/such/model"]  # to load it would be another error


@pytest.mark.parametrize("content", ["", "\n \n", "[]"])
@pytest.mark.parametrize(
    ("command", "called"),
    [
        (["judge", "{file}", *NO_MODEL, "--out", "{out}"], "pairs"),
        (["judge", "{file}", *NO_MODEL, "--out", "{out}", "--dry-run", "--orders", "AB"], "pairs"),
        (["score", "{file}", *NO_MODEL, "--out", "{out}"], "responses"),
        (["best-of-n", "{file}", *NO_MODEL, "--out", "{out}"], "candidates"),
        (["audit", "/no/such/model", "--pairs", "{file}", "--out", "{out}"], "pairs"),
        (["train-scalar", "{file}", *NO_MODEL], "pairs"),
        (["train-scalar", "{full}", *NO_MODEL, "--test", "{file}"], "pairs"),
        (["data", "check", "{full}", "--against", "{file}"], "rows"),
    ],
)
def test_a_file_without_rows_is_one_line_before_a_model_is_loaded(command, called, content, tmp_path, capsys):
    if content == "[]" and command[0] in ("score", "best-of-n"):
        pytest.skip("these read one object a line, and a list is none")
    file = tmp_path / "empty.json"
    file.write_text(content)
    (tmp_path / "full.jsonl").write_text(json.dumps(ONE) + "\n")
    places = {"file": file, "out": tmp_path / "out", "full": tmp_path / "full.jsonl"}
    assert main([word.format(**places) for word in command]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: no {called} in {file}: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_check_of_a_file_without_pairs_says_so_as_it_says_other_findings(tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["data", "check", str(tmp_path / "empty.jsonl")]) == 0
    assert capsys.readouterr().out == f"no pairs in {tmp_path / 'empty.jsonl'}\n"
