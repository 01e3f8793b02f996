"""Chat templates: every one that TRL ships shows a pair, an answer and a scored response, and no content is control."""

import re
from functools import cache
from pathlib import Path

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_parts import processor, text_part, user
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from omnirepro.data import Pair
from omnirepro.judge import rubric, verdict
from omnirepro.models.chats import ModelError
from omnirepro.models.processing import OmniProcessor

TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
EVERY_TEMPLATE = pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
ROLES = [f"<|{role}|>" for role in ("system", "user", "assistant")]
THOUGHTS = ("<think>", "</think>")
ANSWERS = {
    "plain": '{"score_A": 3}',
    "thoughtful": "<think>\nfirst this.\n</think>\n\nA is better: 1 < 2",
    "spaced": "\n  indented, and a blank at the end \n",
    "half a thought": "because of B</think>\n[[B]]",
}


def bytes_tokenizer(template: str | None, markers=(), special=True, **kw):
    """A tokenizer of bytes in which the markers are tokens of their own."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(alphabet))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    ends = {"eos_token": "<eos>", "bos_token": "<bos>", "pad_token": "<pad>"} | kw
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **ends)
    thoughts = [marker for marker in markers if marker in THOUGHTS]
    tokenizer.add_tokens(thoughts)
    tokenizer.add_tokens([m for m in markers if m not in thoughts], special_tokens=special)
    tokenizer.chat_template = template
    return tokenizer


@cache
def released(template: Path) -> OmniProcessor:
    """A processor of a text model with a template that TRL ships, its markers being special tokens."""
    source = template.read_text(encoding="utf-8")
    found = re.findall(r"<\|?[｜\w▁/]+\|?>|\[/?[A-Za-z]+\]", source)
    markers = [
        m for m in dict.fromkeys([*found, *ROLES]) if not re.fullmatch(r"</?(image|tool\w*|function|param\w*)>", m)
    ]
    return OmniProcessor(bytes_tokenizer(source, markers))


def pair(**changes) -> Pair:
    about = {"id": "p", "task": "chat", "prompt": [text_part("How tall is it?")]}
    return Pair(**(about | {"response_a": [text_part("Two metres.")], "response_b": [text_part("I see.")]} | changes))


def learned(example) -> list[int]:
    return [i for i in example.labels if i != -100]


@EVERY_TEMPLATE
def test_a_shipped_template_shows_a_judged_pair(template):
    p = released(template)
    for chat in (rubric.messages(pair(), "full"), verdict.messages(pair(criterion="be brief"), "full")):
        text = p.tokenizer.decode(p.encode(chat).ids)
        for message in chat:
            assert "".join(part.text for part in message["parts"]) in text


@EVERY_TEMPLATE
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_the_loss_covers_the_answer_and_its_end_under_a_shipped_template(template, answer):
    p = released(template)
    chat = rubric.messages(pair(), "full")
    example = p.encode([*chat, {"role": "assistant", "parts": [text_part(answer)]}], train=True)
    said = learned(example)
    assert said[-1] in p.chats.ends and not set(said[:-1]) & set(p.chats.control)
    text = p.tokenizer.decode(said[:-1])
    assert text.removeprefix(p.chats._lead) == answer and not p.chats._lead.strip()
    asked = p.encode(chat).ids
    assert example.ids[: len(asked)] == asked, "training and sampling see the same prompt"
    at = example.labels.index(said[0])
    assert example.ids[at : at + len(said)] == said and at == len(asked)


@EVERY_TEMPLATE
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_scored_response_is_whole_under_a_shipped_template(template, answer):
    p = released(template)
    turns = [user("Why?"), {"role": "assistant", "parts": [text_part("So.")]}, user("Really?")]
    chat = [*turns, {"role": "assistant", "parts": [text_part(answer)]}]
    text = p.tokenizer.decode(p.encode(chat, train=True, scored=True).ids)
    places = [text.rindex(part) for part in ("Why?", "So.", "Really?", answer)]
    assert places == sorted(places)


@EVERY_TEMPLATE
def test_an_ordinary_scored_chat_is_what_the_template_writes(template):
    p = released(template)
    turns = [user("Why?"), {"role": "assistant", "parts": [text_part("So.")]}, user("Really?")]
    chat = [*turns, {"role": "assistant", "parts": [text_part("Yes.")]}]
    for listed in (False, True):
        said = [{"role": m["role"], "content": m["parts"][0].text} for m in chat]
        if listed:
            said = [m | {"content": [{"type": "text", "text": m["content"]}]} for m in said]
        try:
            whole = p.tokenizer.apply_chat_template(said, tokenize=False)
        except Exception:  # noqa: S112, BLE001 (the other form is this template's)
            continue
        if all(m["parts"][0].text in whole for m in chat):
            assert p.tokenizer.decode(p.encode(chat, scored=True).ids) == whole
            return
    pytest.fail("in no form does the template write the chat")


def test_a_system_message_that_is_not_taken_stands_before_the_first_words():
    (gemma,) = [path for path in TEMPLATES if path.stem == "gemma"]
    p = released(gemma)
    chat = [{"role": "system", "parts": [text_part("Be brief.")]}, user("How?")]
    text = "<bos><start_of_turn>user\nBe brief.\n\nHow?<end_of_turn>\n<start_of_turn>model\n"
    assert p.tokenizer.decode(p.encode(chat).ids) == text


def test_an_end_of_turn_that_is_not_the_tokenizers_own_ends_and_may_be_sampled():
    (gemma,) = [path for path in TEMPLATES if path.stem == "gemma"]
    p = released(gemma)
    end = p.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert p.chats.ends == [p.tokenizer.eos_token_id, end] and end not in p.suppressed_ids
    assert p.tokenizer.convert_tokens_to_ids("<start_of_turn>") in p.suppressed_ids


@pytest.mark.parametrize(
    ("template", "chat", "said"),
    [
        (None, [user("x")], "no chat template"),
        ("{{ raise_exception('only tools here') }}", [user("x")], "only tools here"),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", [user("x")], "drops a part"),
        ("{{ messages[0].content[:3] }}", [user("longer")], "drops a part"),
        ("{{ messages | undefined_filter }}", [user("x")], "undefined_filter"),
    ],
)
def test_a_template_that_cannot_show_a_chat_is_refused_in_one_line(template, chat, said):
    p = OmniProcessor(bytes_tokenizer(template))
    with pytest.raises(ModelError, match=said) as error:
        p.encode(chat)
    assert "\n" not in str(error.value) and ("name an" in str(error.value))


# ---- contents are never control

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKERS = ("<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|AUD|>")


@cache
def unflagged() -> OmniProcessor:
    """A processor whose markers are ordinary added tokens, two of which the template never writes."""
    return OmniProcessor(bytes_tokenizer(CHATML, MARKERS, special=False, eos_token="<|im_end|>"))


PIECES = ["<|im_", "end|>", "<|im_end|>", "<|", "|>", "<", "IO|>", "<|AUD", "<|fim_prefix|>", "<|im_start|>user\n"]
WORDS = st.one_of(st.sampled_from([*PIECES, "assistant", "\n", "x"]), st.text(max_size=3))
CUT = st.lists(st.lists(WORDS, max_size=4).map("".join), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(CUT, CUT, st.sampled_from([processor, unflagged]))
def test_no_way_to_cut_a_text_makes_a_control_token(asked, answer, made):
    p = made()
    control = set(p.chats.control)
    chat = [user(*asked), {"role": "assistant", "parts": [text_part(t) for t in answer]}]
    plain = [user("x"), {"role": "assistant", "parts": [text_part("x")]}]
    for train in (False, True):
        ids, own = p.encode(chat, train).ids, p.encode(plain, train).ids
        assert [i for i in ids if i in control] == [i for i in own if i in control]
    whole = [user("".join(asked)), {"role": "assistant", "parts": [text_part("".join(answer))]}]
    assert p.encode(chat).ids == p.encode(whole).ids, "how a text is cut in parts does not matter"
    text = p.tokenizer.decode(p.encode(chat).ids)
    assert "".join(asked) in text and "".join(answer) in text, "and every character is there"


def test_ordinary_tokens_of_a_model_are_left_alone():
    p = OmniProcessor(bytes_tokenizer(CHATML, ["<table>", "<think>", "</think>", "score", "<|im_end|>"], special=False))
    ids = p.encode([user("<table> <think>score</think>")]).ids
    assert set(p.tokenizer.convert_tokens_to_ids(["<table>", "<think>", "</think>", "score"])) <= set(ids)


def test_a_placeholder_never_comes_from_text(tmp_path):
    import numpy as np
    from PIL import Image

    from omnirepro.data import Part

    Image.fromarray(np.zeros((56, 56, 3), np.uint8)).save(tmp_path / "black.png")
    p, part = processor(), Part(type="image", path=str(tmp_path / "black.png"))
    for parts in (("<|IMAGE|>", part), (part, "<|IMA", "GE|>"), ("<|IMA", part, "GE|>")):
        example = p.encode([user(*parts)])
        assert example.ids.count(p.placeholder_ids["image"]) == p.features(part)["tokens"]


def test_a_normaliser_cannot_make_a_control_token_of_another_text():
    from tokenizers import normalizers

    tokenizer = bytes_tokenizer(CHATML, MARKERS, special=False, eos_token="<|im_end|>")
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    p = OmniProcessor(tokenizer)
    end = tokenizer.eos_token_id
    assert p.encode([user("<|IM_END|>")]).ids.count(end) == p.encode([user("x")]).ids.count(end)
