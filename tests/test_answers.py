"""Gold answers: what free answers state, and the sets of questions that bring them."""

import json

import pytest
from datasets import Dataset
from real_parts import write_media

from omnirepro.data import RowError
from omnirepro.data.sources.cards import card_of, prompts_of
from omnirepro.data.sources.questions import FORMS, asks, questions_of
from omnirepro.evaluate.answers import gold_form, is_right, kind_of, stated

ANIMALS = ["dog", "cat", "horse", "cow"]
LETTERS = [
    ("The answer is (B).", "B"),
    ("B) cat", "B"),
    ("Answer: b", "B"),
    ("I think A is wrong, so C", "C"),
    (r"\boxed{D}", "D"),
    (r"$\boxed{\text{(B)}}$", "B"),
    ("<think>It may be A. The answer is A.</think>\nC", "C"),
    ("Looks like A. The answer is A.</think>The answer is D", "D"),
    ("<think>the answer is B", None),
    ("[THINK]The answer is A.[/THINK]So B", "B"),
    ("<|channel|>analysis<|message|>So A.<|end|><|channel|>final<|message|>D", "D"),
    ("The answer is A.</reasoning>B", "B"),
    ("It is clear. <reflection>Or is the answer A?</reflection> B", "B"),
    ("◁think▷the answer is B", None),
    ("b", "B"),
    ("(c)", "C"),
    ("**B**", "B"),
    ("**Answer:** **C. horse**", "C"),
    ("Option B", "B"),
    ("option (b)", "B"),
    ("B is correct because A is a dog.", "B"),
    ("(D) is the right answer", "D"),
    ("Not A.", None),
    ("A, B and C are wrong, leaving D.", "D"),
    ("The answer isn't C; it's D.", "D"),
    ("The answer is not A but B.", "B"),
    ("A: dog\nB: cat\nC: horse\nD: cow\nAnswer: B", "B"),
    ("A) dog\nB) cat\nC) horse\nD) cow", None),
    ("Step 1: eliminate A. Step 2: eliminate B. Therefore C.", "C"),
    ('```json\n{"answer": "C"}\n```', "C"),
    ("<answer>(C) horse</answer>", "C"),
    ("The answer is 'B'", "B"),
    ("The answer is A or B.", None),
    ("It could be A or B, but I would say B.", "B"),
    ("B\n\nExplanation: A is wrong because it barks.", "B"),
    ("A dog is running.", None),
    ("The answer is a cat.", None),
    ("The answer is A because it barks.", "A"),
    ("I think it is a dog, so A.", "A"),
    ("答案是B", "B"),
    ("Ｂ", "B"),
    ("Both A and C are correct.", None),
    ("Answer: A, C", None),
    ("I would go with option D, although B is tempting.", "D"),
    ("Vitamin C is shown.", None),
    ("The answer is A. Wait, no: the answer is B.", "B"),
    ("None of the above.", None),
    ("", None),
    ("I don't know.", None),
    ("Answer: E", None),
    ("[[B]]", "B"),
    ("Rather than A, choose B.", "B"),
    (r"Therefore, the correct option is $\mathbf{D}$.", "D"),
    ("A seems right at first, but B is the correct answer.", "B"),
    ("(B) cat. (A) is not correct since dogs bark.", "B"),
    ("B: the animal is a cat", "B"),
    ("- B", "B"),
]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_a_letter_is_read_out_of_free_words_or_not_at_all(text, letter):
    assert stated(text, "letter", ANIMALS) == letter
    assert is_right(stated(text, "letter", ANIMALS), ["B"], "letter", ANIMALS) == (letter == "B")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It is the wind", "C"),
        ("sound of wind", "B"),
        ("The Eiffel Tower.", "D"),
        ("A motorcycle", "A"),
        ("(B)", "B"),
        ("I hear a motorcycle and the wind", None),
        ("the answer is 'wind'", "C"),
        (r"\boxed{wind}", "C"),
        ("rain", None),
    ],
)
def test_a_choice_is_named_by_its_letter_or_its_text(text, letter):
    assert stated(text, "choice", ["motorcycle", "sound of wind", "wind", "the Eiffel tower"]) == letter


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The answer is 24/7.", ["24/7", "3.429"], True),
        ("3.429", ["3.43"], True),
        ("It is 1,234.5 m", ["1234.5"], True),
        (r"so x = \frac{24}{7}", ["24/7"], True),
        ("There are 3 dogs and 4 cats, so 7.", ["7"], True),
        ("3.2", ["3"], False),
        ("50%", ["50"], True),
        ("no number", ["3"], False),
        ("The answer is 42 apples out of 50", ["42"], True),
        ("-5", ["5"], False),
        ("<think>7</think>8", ["7"], False),
        ("$1,000", ["1000"], True),
    ],
)
def test_numbers_are_compared_as_numbers(text, gold, right):
    assert kind_of("auto", gold) == "number" and is_right(stated(text, "number"), gold, "number") == right


def test_texts_are_compared_without_case_and_marks_and_gold_answers_in_every_form():
    for text, right in (("Paris.", True), ("The answer is PARIS.", True), ("Paris, France", False), ("", False)):
        assert is_right(stated(text, "exact"), ["paris"], "exact") == right
    assert [gold_form(gold, "choice", ANIMALS) for gold in ("(b)", "Cat", "1", "B. cat", "none")] == [*"BBBB", None]
    assert (kind_of("auto", ["B"]), kind_of("auto", ["x"]), kind_of("auto", ["1"], ["1"])) == (
        "letter",
        "exact",
        "choice",
    )


# ---- questions as they are released


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path, **card):
    return list(questions_of(card_of({"path": str(path)} | card, path.parent)))


def test_mmmu_s_pictures_stand_where_its_marks_are(tmp_path):
    data = [(tmp_path / name).read_bytes() for name in write_media(tmp_path, ["image"] * 3)]
    pictures = {f"image_{i}": {"bytes": x, "path": None} for i, x in enumerate(data, 1)} | {"image_4": None}
    row = {
        "id": "validation_Art_1",
        "question": "Which <image 1> is it?",
        "options": "['<image 2>', '<image 3>', \"b'c\"]",
        "answer": "B",
        "question_type": "multiple-choice",
    } | pictures
    opened = row | {
        "id": "validation_Math_15",
        "question": "How fast? <image 1>",
        "options": "[]",
        "image_2": None,
        "image_3": None,
        "answer": "['24/7', '3.429']",
        "question_type": "open",
    }
    Dataset.from_list([row, opened]).to_parquet(tmp_path / "rows/validation.parquet")
    first, second = read(tmp_path / "rows/validation.parquet")
    assert [part.type for part in first.parts] == ["text", "image", "text", "image", "text", "image", "text"]
    assert first.parts[-1].text.startswith("\nC. b'c\nAnswer with the letter")
    assert (first.gold, first.choices, first.id) == (["B"], ["<image 2>", "<image 3>", "b'c"], "validation_Art_1")
    assert (second.gold, second.choices) == (["24/7", "3.429"], None) and kind_of("auto", second.gold) == "number"


def test_video_mme_and_both_avqa_name_their_files(tmp_path):
    names = write_media(tmp_path / "data", ["video", "image", "audio"])
    film = names[0].removesuffix(".mp4")
    mme = {"video_id": "1", "videoID": film, "question_id": "1-1", "question": "What?", "answer": "C",
           "options": ["A. Apples.", "B. Candles.", "C. Berries."]}  # fmt: skip
    (one,) = read(tmp_path / "mme.jsonl") if lines(tmp_path / "mme.jsonl", mme) else ()
    assert one.parts[0].path == str(tmp_path / "data" / names[0]) and one.choices == ["Apples.", "Candles.", "Berries."]
    assert (
        one.parts[1].text == "What?\nA. Apples.\nB. Candles.\nC. Berries.\nAnswer with the letter of the right choice."
    )
    r1 = {"problem_id": 0, "problem": "Who?", "options": ["A. dog", "B. cat"], "solution": "<answer>B</answer>",
          "path": {"image": f"data/{names[1]}", "audio": f"data/{names[2]}"}, "data_type": "image_audio"}  # fmt: skip
    lines(tmp_path / "r1.json", [r1])
    (two,) = read(tmp_path / "r1.json")
    assert [part.type for part in two.parts] == ["image", "audio", "text"] and (two.gold, two.task) == (
        ["B"],
        "audio+image",
    )
    avqa = {"id": 7, "video_name": film, "question_text": "Where?", "multi_choice": ["sea", "land"], "answer": 1}
    lines(tmp_path / "avqa.jsonl", avqa)
    (three,) = read(tmp_path / "avqa.jsonl")
    assert gold_form(three.gold[0], "choice", three.choices) == "B" and three.parts[0].type == "video"
    assert set(FORMS) >= {"mmmu", "video-mme", "avqa", "avqa-r1"}


def test_a_row_without_gold_answer_is_named_with_its_remedy(tmp_path):
    path = lines(tmp_path / "bad.jsonl", {"prompt": "q", "gold": "A"}, {"prompt": "q"})
    with pytest.raises(RowError, match=r"bad.jsonl:2: field gold is missing"):
        read(tmp_path / "bad.jsonl")
    with pytest.raises(RowError, match="are no question with a gold answer; write prompt and gold"):
        read(tmp_path / "worse.jsonl") if lines(tmp_path / "worse.jsonl", {"text": "q"}) else None
    assert path
    lines(tmp_path / "mine.jsonl", {"frage": "q", "wahr": 7, "prompt": None})
    (found,) = read(tmp_path / "mine.jsonl", columns={"frage": "prompt", "wahr": "gold"})
    assert (found.gold, found.parts[0].text) == (["7"], "q")


def test_parts_of_a_question_are_settled_as_those_of_a_prompt(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/asked.txt").write_text("What is it?")
    (tmp_path / "secret.txt").write_text("x")
    said = [{"type": "text", "path": "asked.txt"}]
    row = {"gold": "cat", "prompt": said, "candidates": [said]}
    lines(tmp_path / "set/rows.jsonl", row)
    (found,) = read(tmp_path / "set/rows.jsonl")
    assert found.parts[0].text == found.candidates[0][0].text == "What is it?"
    lines(tmp_path / "set/rows.jsonl", row | {"prompt": [{"type": "text", "path": "../secret.txt"}]})
    with pytest.raises(RowError, match=r"rows.jsonl:1: .*secret.txt: a text outside of"):
        read(tmp_path / "set/rows.jsonl")


def test_columns_of_questions_may_lie_inside_another_and_keep_a_field_of_that_name(tmp_path):
    row = {"q": {"text": "Who?"}, "question": "a title", "truth": "cat", "options": None}
    lines(tmp_path / "rows.jsonl", row, row | {"q": {}})
    columns = {"q.text": "question", "truth": "answer", "choice": "options"}
    (found,) = read(tmp_path / "rows.jsonl", columns=columns, limit=1)
    assert found.parts[0].text.startswith("Who?\n") and (found.gold, found.choices) == (["cat"], None)
    with pytest.raises(RowError, match=r"^\S*rows.jsonl:2: columns: there is no q.text"):
        read(tmp_path / "rows.jsonl", columns=columns)


@pytest.mark.parametrize("place", ["rows/test", "rows", "", "data"])
def test_media_of_questions_and_prompts_lie_where_those_of_pairs_do(tmp_path, place):
    film, shot = write_media(tmp_path / "set" / place, ["video", "image"])
    mme = {"videoID": film.removesuffix(".mp4"), "question_id": "1-1", "question": "What?", "answer": "A",
           "options": ["A. x", "B. y"]}  # fmt: skip
    lines(tmp_path / "set/rows/test/mme.jsonl", mme)
    (asked,) = read(tmp_path / "set")
    assert asked.parts[0].path == str(tmp_path / "set" / place / film)
    lines(tmp_path / "set/rows/test/mme.jsonl", {"prompt": "q", "image": shot},
          {"prompt": [{"type": "image", "path": shot}]})  # fmt: skip
    if place != "data":
        paths = [row.parts[0].path for row in prompts_of(card_of(str(tmp_path / "set"), tmp_path))]
        assert paths == [str(tmp_path / "set" / place / shot)] * 2


def test_pairs_whose_columns_a_card_renames_are_no_questions(tmp_path):
    names = {"asked": "question", "truth": "answer"}
    row = {"asked": "q", "truth": ["<answer>2</answer>"], "chat": "[]"}
    path = lines(tmp_path / "rows.jsonl", row)
    assert asks(card_of({"path": path, "columns": names}, tmp_path))
    assert not asks(card_of({"path": path, "columns": names | {"chat": "message"}}, tmp_path))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"gold": "3", "choices": list("abc" * 9)}, "field choices: 27 choices, more than letters"),
        ({"gold": "3", "audio": {"array": [0.0, 0.5]}}, "not a row that can be read .KeyError 'sampling_rate'"),
        ({"audio": {"array": [0.0, 0.5], "sampling_rate": "fast"}}, "not a row that can be read .ValueError"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_whatever_it_breaks(tmp_path, row, why):
    path = lines(tmp_path / "rows.jsonl", {"prompt": "q"} | row)
    with pytest.raises(RowError, match=rf"rows.jsonl:1: {why}"):
        list((questions_of if "gold" in row else prompts_of)(card_of(path, tmp_path)))
