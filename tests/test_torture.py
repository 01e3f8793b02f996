"""The quick trials of `torture.py`."""

import torture


def test_hostile_answers_raise_nothing_and_two_verdicts_are_none():
    assert "1,000 answers" in torture.try_hostile_answers(1000)


def test_no_row_shows_a_model_what_lies_outside_of_its_folder(tmp_path):
    torture.try_escapes(tmp_path)


def test_bombs_are_refused_within_bounded_memory(tmp_path):
    torture.try_bombs(tmp_path, 16, 1 << 20)


def test_every_broken_file_is_named_with_its_row(tmp_path):
    torture.try_broken_files(tmp_path)


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    torture.try_full_disk(tmp_path)
    (tmp_path / "limited").mkdir()
    torture.try_limited_files(tmp_path / "limited", tmp_path / "pairs.jsonl")
