"""Verdicts by token probabilities: words in their place, both orders, servers, samples, one pass for what is shared."""

import json
import math
from dataclasses import replace

import checkpoints
import numpy as np
import pytest
import torch
from golden_families import KINDS, SIDES
from PIL import Image
from test_servers import answered, client, refused, serve  # noqa: F401 (a fixture)
from tiny_parts import make_model, processor, text_part, user
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from omnirepro import load_judge
from omnirepro.cli.main import main
from omnirepro.data import Judgement, Pair, Part, read_jsonl, write_jsonl
from omnirepro.data.files import RunError
from omnirepro.evaluate import calibration, protocol
from omnirepro.judge import choice, rubric, verdict
from omnirepro.judge.generative import Judge
from omnirepro.judge.rubric import Parsed
from omnirepro.judge.scalar import redraw
from omnirepro.models import generation
from omnirepro.models.chats import Chats
from omnirepro.models.generation import Decoding, Generated, LocalModel, alike, words_after
from omnirepro.models.loading import load
from omnirepro.papers.omni_rrm.metrics import choice_metrics, sft_metrics
from omnirepro.papers.omni_rrm.plots import accuracies, reliability


def pair(name, a="a red ring", b="a blue cross", media=(), question="what is it?", label="A"):
    return Pair(id=name, task="text", prompt=[*media, text_part(question)], response_a=[text_part(a)],
                response_b=[text_part(b)], label=label, margin=3)  # fmt: skip


@pytest.fixture(scope="module")
def chat():
    return LocalModel(make_model(), processor(), "m", 4)


def next_chances(model, known, ids, features=()):
    """The log-probabilities of the next token, by one plain pass."""
    batch = known.collate([type(known.encode([user("x")]))(ids, [], list(features))])
    batch.pop("labels")
    with torch.no_grad():
        return model(**batch).logits[0, -1].log_softmax(-1)


# ---- words in their place


def tokenizer_with(*merges):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate([*letters, *map("".join, merges)])}
    inner = Tokenizer(BPE(vocabulary, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@pytest.mark.parametrize(
    ("merges", "begun", "wanted"),
    [
        ((), "[[", (["[", "["], [["A"], ["B"]])),
        ([("[", "A")], "[[", (["["], [["[A"], ["[", "B"]])),
        ([("[", "A"), ("[", "B")], "[[", (["["], [["[A"], ["[B"]])),
        ([("[", "[")], "[[", (["[["], [["A"], ["B"]])),
    ],
)
def test_a_word_is_what_the_tokenizer_makes_of_it_behind_the_start(merges, begun, wanted):
    tokenizer = tokenizer_with(*merges)
    start, words = words_after(Chats(tokenizer, {}).plain, begun, ["A", "B"])
    assert tokenizer.convert_ids_to_tokens(start) == wanted[0]
    assert [tokenizer.convert_ids_to_tokens(word) for word in words] == wanted[1]


def test_words_of_one_beginning_and_of_several_tokens_keep_a_token_of_their_own():
    tokenizer = tokenizer_with(("A", "B"))
    start, words = words_after(Chats(tokenizer, {}).plain, "say ", ["x", "xy"])
    assert tokenizer.decode(start) == "say " and [tokenizer.decode(word) for word in words] == ["x", "xy"]
    with pytest.raises(ValueError, match="same tokens"):
        words_after(Chats(tokenizer, {}).plain, "", ["A", "A"])


def test_a_word_of_several_tokens_has_the_probability_of_them_all(chat):
    known = chat.processor
    options = ["A", "neither of both", "nothing"]
    asked = [[user("which?")], [user("and which of these ", "two?")]]
    for message, found in zip(asked, chat.choose(asked, ["[[", "so: "], options), strict=True):
        begun = "[[" if message is asked[0] else "so: "
        ids = known.encode(message).ids
        for option, chance in zip(options, found, strict=True):
            whole = known.tokenizer(begun + option, add_special_tokens=False)["input_ids"]
            alone, _ = words_after(known.chats.plain, begun, options)
            steps = range(len(alone), len(whole))
            told = sum(next_chances(chat.model, known, ids + whole[:at])[whole[at]].item() for at in steps)
            assert chance == pytest.approx(told, abs=1e-4)
        assert len(whole) > 1


def test_what_a_model_wrote_is_no_control_where_words_follow_it(chat):
    known = chat.processor
    begun = "it says <|im_end|> and <|IMAGE|> [["
    start, words = words_after(known.chats.plain, begun, ["A", "B"])
    assert known.tokenizer.decode(start) == begun and not {*start} & {*known.chats.control}
    assert known.placeholder_ids["image"] not in start
    (found,) = chat.choose([[user("which?")]], [begun], ["A", "B"])
    chances = next_chances(chat.model, known, known.encode([user("which?")]).ids + start)
    assert found == pytest.approx([chances[word[0]].item() for word in words], abs=1e-4)


# ---- a judge that is read by its probabilities


@pytest.mark.parametrize("format", ["rationale-first", "published", "scores-only", "verdict", "verdict-direct"])
def test_the_verdict_is_the_mean_of_both_orders_probabilities(chat, format):
    judge = Judge(chat, format, read="choice")
    one = pair("p")
    ab, ba = judge.judge([one])
    shares = []
    for order in ("AB", "BA"):
        shown = rubric.messages(one.displayed(order)) if ab.kind == "rubric" else None
        from omnirepro.judge import verdict

        shown = shown or verdict.messages(one.displayed(order), "brief", format)
        begun = '{"better": "' if ab.kind == "rubric" else "[["
        start, ((a,), (b,)) = words_after(chat.processor.chats.plain, begun, ["A", "B"])
        chances = next_chances(chat.model, chat.processor, chat.processor.encode(shown).ids + start)
        first = math.exp(chances[a]) / (math.exp(chances[a]) + math.exp(chances[b]))
        shares.append(first if order == "AB" else 1 - first)
    assert ab.probability == pytest.approx(sum(shares) / 2, abs=1e-5) == ba.probability
    assert [row.decoding["shown"] for row in (ab, ba)] == pytest.approx(shares, abs=1e-5)
    assert ab.score_a == pytest.approx(math.log(ab.probability)) and 0 < ab.decoding["mass"] < 1
    assert ab.verdict == ba.verdict == ("A" if ab.probability > 0.5 else "B") and ab.status == "ok"
    assert (ab.tokens, ab.raw, ab.order, ba.order) == (1, "", "AB", "BA")


def test_a_swapped_pair_has_the_other_probability_and_one_order_its_own(chat):
    judge = Judge(chat, read="choice")
    one = pair("p")
    there, back = judge.judge([one])[0], judge.judge([one.swap()])[0]
    assert there.probability == pytest.approx(1 - back.probability, abs=1e-6)
    (single,) = judge.judge([one], orders="BA")
    assert single.probability == pytest.approx(judge.judge([one])[1].decoding["shown"], abs=1e-6)
    assert judge.judge([pair("q", b="a red ring")])[0].verdict == "tie", "the same answer twice"


def test_ties_follow_a_threshold_as_a_scalar_judges(chat):
    pairs = [pair(str(i), b=b) for i, b in enumerate(("a blue cross", "a red ring that turns", "no", "ring"))]
    plain = Judge(chat, read="choice").judge(pairs)
    sizes = sorted(abs(row.score_a - row.score_b) for row in plain[::2])
    limit = (sizes[1] + sizes[2]) / 2
    tied = Judge(chat, read="choice", threshold=limit).judge(pairs)
    assert [row.verdict for row in tied] == [redraw(row, limit).verdict for row in plain]
    assert sum(row.verdict == "tie" for row in tied) == 4 and not any(row.verdict == "tie" for row in plain)


class Writer:
    """A chat that writes given texts, and of which the word A is likelier the more of it was written."""

    name = "w"

    def __init__(self, *texts):
        self.texts, self.begun = texts, []

    def complete(self, chats, decoding, seed=0, progress=None):
        made = [self.texts[i % len(self.texts)] for i in range(len(chats))]
        return [text if isinstance(text, Generated) else Generated(text, 7, True) for text in made]

    def choose(self, chats, begun, options, progress=None):
        self.begun += begun
        return [[-float(len(start)), -1.0] for start in begun]


def test_behind_a_rationale_the_choice_stands_where_the_verdict_stood():
    said = rubric.notation("seen: it", 7, 3)
    writer = Writer(said, "no notation at all")
    ab, ba = Judge(writer, read="choice-after-rationale").judge([pair("p")])
    assert writer.begun[0] == said.split('"A"')[0] + '"' and writer.begun[1] == 'no notation at all"better": "'
    assert ab.raw == said and ab.tokens == 8 and ab.status == ba.status == "ok", "a text without verdict chooses too"
    tagged = Writer("A 4 B 2 [[A]]")
    Judge(tagged, "verdict", read="choice-after-rationale").judge([pair("p")], orders="AB")
    assert tagged.begun == ["A 4 B 2 [["]


@pytest.mark.parametrize(
    ("format", "before", "behind"),
    [
        ("verdict", "<think>first [[B]], or not</think> A is right [[", "A]]"),
        ("verdict", "It has a matrix [[1, 2], [3, 4]], and B none: [[", " equal ]]"),
        ("verdict", "A it is [[", "A"),
        ("verdict", "As [[1]] says, B has none: [[", "A or B]]\n"),
        ("verdict", "<think>so it is [[", "A]]</think> as I said"),
        ("rationale-first", '{"reasoning": "<think>x</think>","score_A":7,"score_B":3,"better":"', 'A"}'),
        ("rationale-first", '<think>say "better": "B"?</think>{\n  "better" : "', 'A",\n'),
    ],
)
def test_the_choice_stands_where_the_verdict_of_the_answer_stood(format, before, behind):
    writer = Writer(before + behind)
    rows = Judge(writer, format, read="choice-after-rationale").judge([pair("p")], orders="AB")
    assert writer.begun == [before]
    if format == "verdict":
        writer.choose = lambda chats, begun, options: writer.begun.extend(begun) or [[-1.0, -2.0, -3.0]]
        assert verdict.forced(Judge(writer, format), [pair("p")], rows)[0].verdict == "A"
        assert writer.begun == [before] * 2, "R1 is forced in the same place"


def test_what_a_server_withheld_is_no_choice():
    gone = Generated("", 0, False, "refused", "by policy")
    rows = Judge(Writer(gone), read="choice-after-rationale").judge([pair("p")])
    assert [(r.status, r.verdict, r.probability, r.raw) for r in rows] == [("refused", None, None, "by policy")] * 2
    ab, ba = Judge(Writer(gone, "x"), read="choice-after-rationale").judge([pair("p")])
    assert ab.status == ba.status == "ok" and ab.decoding["shown"] is None and ba.decoding["shown"] == ba.probability


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"read": "chioce"}, "chioce.* one of generate, choice"),
        ({"read": "choice", "format": "level"}, "no verdict between A and B"),
        ({"samples": 3}, "temperature"),
        ({"samples": 0}, "samples: 0"),
        ({"read": "choice", "samples": 2}, "computed once"),
    ],
)
def test_ways_that_do_not_fit_are_named(how, said):
    with pytest.raises(RunError, match=said):
        Judge(Writer("x"), **how)


# ---- several samples


def test_the_commonest_sample_counts_and_all_are_kept():
    warm = Decoding(temperature=1.0)
    writer = Writer("[[A]]", "[[B]]", "[[A]]", "[[C]]", "nothing", "[[B]]")
    ab, ba = Judge(writer, "verdict", decoding=warm, samples=3).judge([pair("p")])
    assert (ab.verdict, ab.probability, ab.decoding["votes"]) == ("A", pytest.approx(2 / 3), ["A", "B", "A"])
    assert (ba.verdict, ba.decoding["votes"], ba.probability) == ("tie", ["tie", "A"], 0.75), "B as displayed is A"
    assert ab.tokens == 21 and ab.decoding["samples"] == 3
    (none,) = Judge(Writer("?"), "verdict", decoding=warm, samples=2).judge([pair("p")], orders="AB")
    assert (none.status, none.probability, none.decoding["votes"]) == ("no_verdict", None, [])
    scored, _ = choice.voted([Parsed("ok", "A", 8, 2), Parsed("ok", "A", 6, 4), Parsed("empty")])
    assert (scored.score_a, scored.score_b) == (7, 3)


def test_samples_of_one_prompt_are_those_that_it_has_without_sharing(chat, monkeypatch):
    monkeypatch.setattr(generation, "WORTH", 4)
    drawn = [[user("what is it, and what does it do?")]] * 6 + [[user("a")]]
    warm = Decoding(8, temperature=1.0)
    assert replace(chat, share=True).complete(drawn, warm, 3) == chat.complete(drawn, warm, 3)


# ---- one pass for what is shared


@pytest.mark.parametrize("name", [*SIDES, "text_model"])
@pytest.mark.parametrize("batch", [3, 9])
def test_a_shared_beginning_gives_the_logits_of_whole_prompts(folder_of, tmp_path, name, batch, monkeypatch):
    monkeypatch.setattr(generation, "WORTH", 16)
    files = checkpoints.write_media(tmp_path, SIDES.get(name, 56), 2)
    kinds = KINDS.get(name, ("image", "video", "audio")) if name in SIDES else ()
    media = [Part(type=kind, path=str(files[kind])) for kind in kinds]
    sides = [("this is the one", "x"), ("x", "this is the one"), ("x", "this is the one and more of it")]
    asked = [
        (media, "What is seen here and what does it do?"),
        (media[-1:], "Is this the end, or not? " * 3),
        ((), "Why?" * 9),
    ]
    chats = [[user(*shown, q, f" A: {a}", f" B: {b}")] for shown, q in asked for a, b in sides]
    model, known = load(folder_of(name), device="cpu")
    groups = alike([known.encode(chat) for chat in chats], known)
    alone = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    long = [[0, 1, 2, 3, 4, 5], [6, 7, 8]]  # a film's frames and their times are more than what both questions have
    assert [group.rows for group in groups] == (long if name == "smolvlm_film" else alone)
    plain, shared = (LocalModel(model, known, name, batch, share) for share in (False, True))
    options = ["A", "B", "neither one"]
    wanted, found = (np.array(m.choose(chats, ["[["] * 9, options)) for m in (plain, shared))
    assert np.abs(found - wanted).max() < 2e-5 and wanted.std() > 1
    short = Decoding(5)
    assert shared.complete(chats, short) == plain.complete(chats, short)


def test_a_beginning_with_another_picture_is_never_used_again(tmp_path, monkeypatch):
    """The canary: words and sizes are the same, only the pixels differ."""
    monkeypatch.setattr(generation, "WORTH", 4)
    model, known = make_model(), processor()
    for index, color in enumerate(((250, 0, 0), (0, 0, 250))):
        Image.new("RGB", (56, 56), color).save(tmp_path / f"{index}.png")
    red, blue = (Part(type="image", path=str(tmp_path / f"{i}.png")) for i in (0, 1))
    pairs = [pair(str(i), media=[part]) for i, part in enumerate((red, blue, red))]
    examples = [known.encode(rubric.messages(p.displayed(o))) for p in pairs for o in ("AB", "BA")]
    assert len({tuple(e.ids) for e in examples}) == 2, "else the words would tell"
    assert [group.rows for group in alike(examples, known)] == [[0, 1], [2, 3], [4, 5]]
    shared = Judge(LocalModel(model, known, "m", 64, share=True), read="choice")
    plain = Judge(LocalModel(make_model(), processor(), "m", 64), read="choice")
    found = [row.score_a for row in shared.judge(pairs)]
    assert found == pytest.approx([row.score_a for row in plain.judge(pairs)], abs=1e-5)
    assert found[0] == pytest.approx(found[4], abs=1e-5) and abs(found[0] - found[2]) > 1e-4
    Image.new("RGB", (56, 56), (0, 0, 250)).save(tmp_path / "0.png")
    replaced = shared.judge(pairs[:1])[0].score_a
    assert replaced == pytest.approx(found[2], abs=1e-5), "a file that was replaced is another picture"


def test_words_behind_a_smaller_batch_with_media_are_read_as_alone(tmp_path, monkeypatch):
    """Positions of media are of their own batch: a larger one of words alone took them for its own."""
    monkeypatch.setattr(generation, "WORTH", 4)
    Image.new("RGB", (56, 56), (250, 0, 0)).save(tmp_path / "0.png")
    pictured = [pair("0", media=[Part(type="image", path=str(tmp_path / "0.png"))])]
    words = [
        pair(str(i), question=f"{i} is a number: here are many words about it, and which one is it then?")
        for i in range(1, 6)
    ]
    both = Judge(LocalModel(make_model(), processor(), "m", 64, share=True), read="choice")
    both.judge(pictured)
    alone = Judge(LocalModel(make_model(), processor(), "m", 64, share=True), read="choice")
    wanted = [row.score_a for row in alone.judge(words)]
    assert [row.score_a for row in both.judge(words)] == pytest.approx(wanted, abs=1e-6)


def test_prompts_without_enough_in_common_are_read_whole(chat):
    examples = [chat.processor.encode([user(text)]) for text in ("a b c", "a b d", "x")]
    assert [group.rows for group in alike(examples, chat.processor)] == [[0], [1], [2]]
    asked = [[user(text)] for text in ("a b c", "a b d", "x")]
    assert replace(chat, share=True).choose(asked, [""] * 3, ["A", "B"]) == chat.choose(asked, [""] * 3, ["A", "B"])


# ---- servers and the command


def with_chances(*likely):
    status, made = answered("A")
    told = [{"token": token, "logprob": chance} for token, chance in likely]
    made["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": told}]}
    return status, made


def test_a_server_judges_by_its_log_probabilities(serve, tmp_path):  # noqa: F811
    def reply(body):
        first = "red ring" in json.dumps(body["messages"]).split("Candidate B")[0]
        return with_chances(("A", math.log(0.6 if first else 0.3)), ("B", math.log(0.2 if first else 0.6)))

    server = serve(reply)
    judge = load_judge(f"{server.url}#m", read="choice")
    ab, ba = judge.judge([pair("p")])
    assert [ab.decoding["shown"], ba.decoding["shown"]] == pytest.approx([3 / 4, 2 / 3])
    assert ab.probability == pytest.approx((3 / 4 + 2 / 3) / 2) and ab.decoding["mass"] == pytest.approx(0.8)
    assert all(body["messages"][-1] == {"role": "assistant", "content": '{"better": "'} for body in server.bodies)
    out = tmp_path / "rows.jsonl"
    command = [
        "judge",
        str(write_jsonl(tmp_path / "p.jsonl", [pair("p")])),
        "--model",
        f"{server.url}#m",
        "--out",
        str(out),
    ]
    assert main([*command, "--read", "choice"]) == 0
    assert [row.probability for row in read_jsonl(out, Judgement)] == pytest.approx([ab.probability] * 2)


def test_a_server_without_log_probabilities_is_one_error_at_its_first_reply(serve, tmp_path, capsys):  # noqa: F811
    server = serve(lambda body: answered("A"))
    asked = str(write_jsonl(tmp_path / "p.jsonl", [pair(str(i)) for i in range(20)]))
    command = [
        "judge",
        asked,
        "--model",
        f"{server.url}#m",
        "--out",
        str(tmp_path / "rows.jsonl"),
        "--concurrency",
        "1",
    ]
    assert main([*command, "--read", "choice"]) == 1
    error = capsys.readouterr().err
    assert f"{server.url}: m returns no log-probabilities" in error and "vLLM" in error
    assert error.count("error:") == 1 and len(server.bodies) < 4, "nothing more is paid"


@pytest.mark.parametrize("field", ["continue_final_message", "add_generation_prompt", "logprobs"])
def test_a_server_that_does_not_know_a_field_is_asked_without_it(serve, field):  # noqa: F811
    def reply(body):
        if field in body:
            return refused(f"Unrecognized request argument supplied: {field}")
        return with_chances(("A", -0.2), ("B", -2.0)) if "logprobs" in body else answered("A")

    model = client(serve(reply))
    with pytest.warns(UserWarning, match=field):
        if field == "logprobs":
            with pytest.raises(RunError, match="no log-probabilities"):
                model.choose([[user("q")]], ["[["], ["A", "B"])
        else:
            assert model.choose([[user("q")]], ["[["], ["A", "B"]) == [[-0.2, -2.0]]


def test_a_servers_tokens_may_hold_what_closes_a_word_or_a_part_of_it(serve):  # noqa: F811
    tokens = [("A]]", math.log(0.2)), (" A", math.log(0.1)), ("B", -2.0), ("equ", -3.0), ("Apple", -0.5), ("e", -9.0)]
    model = client(serve(lambda body: with_chances(*tokens)))
    (found,) = model.choose([[user("q")]], ["[["], ["A", "B", "equal"])
    assert found == pytest.approx([math.log(0.3), -2.0, math.log(math.exp(-3) + math.exp(-9))])


def test_the_command_reads_a_local_judge_and_names_a_wrong_way(tmp_path, capsys):
    folder = tmp_path / "model"
    make_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    out = tmp_path / "rows.jsonl"
    command = ["judge", str(write_jsonl(tmp_path / "p.jsonl", [pair("p"), pair("q", a="no")])), "--model", str(folder)]
    command += ["--out", str(out)]
    assert main([*command, "--read", "choice"]) == 0
    rows = read_jsonl(out, Judgement)
    assert len(rows) == 4 and all(0 < row.probability < 1 and row.status == "ok" for row in rows)
    assert main([*command, "--samples", "2", "--max-new-tokens", "4"]) == 0
    assert [row.decoding["samples"] for row in read_jsonl(out, Judgement)] == [2] * 4
    assert main([*command, "--read", "chioce"]) == 1
    assert "one of generate, choice" in capsys.readouterr().err


# ---- calibration, and what notebook 03 reports


def drawn(model, temperature, count, seed=0):
    """Rows of a judge whose margins are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, margin in enumerate(rng.normal(0, 2, count)):
        label = "A" if rng.random() < 1 / (1 + math.exp(-margin)) else "B"
        one = pair(f"{i}", label=label, question=f"{i}?")
        scores = Parsed("ok", "A" if margin > 0 else "B", margin * temperature, 0.0)
        row = Judgement.of(one, "AB", scores, model=model, kind="rubric")
        rows += [row, row.model_copy(update={"order": "BA"})]
    return rows


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_the_temperature_that_was_planted_is_found_and_mends_the_error(temperature):
    dev, test = drawn("j", temperature, 1500), drawn("j", temperature, 1500, 1)
    fitted = calibration.fit_temperature(dev)
    assert fitted == pytest.approx(temperature, rel=0.15)
    before, after = (calibration.ece(calibration.confidences(test, t)).value for t in (1.0, fitted))
    assert after < 0.03 and (temperature == 1.0 or before > after + 0.03)


def test_notebook_03_compares_with_the_base_that_is_made_to_choose(tmp_path):
    names = {"base, forced choice": 1.0, "sft, choice": 3.0}
    rows = [
        r
        for model, t in names.items()
        for split, n in (("dev", 80), ("test", 60))
        for r in drawn(f"{model}/{split}", t, n)
    ]
    write_jsonl(tmp_path / "choices.jsonl", rows)
    right = [r.model_copy(update={"model": "sft/test", "verdict": r.label}) for r in drawn("x", 1.0, 60)]
    write_jsonl(tmp_path / "predictions.jsonl", right)
    found = choice_metrics(tmp_path, protocol.frame(right).assign(model="sft"))
    share = found["accuracy_base_forced"]["value"]
    assert found["sft_minus_base_forced"].value == pytest.approx(1 - share)
    assert found["temperature_sft_choice"] == pytest.approx(3 * found["temperature_base_forced"], rel=0.02)
    assert {"ece_base_forced", "ece_calibrated_sft_choice", "sft_choice_minus_sft"} <= found.keys()
    assert set(reliability(tmp_path)["model"]) == {*names, *(f"{name}, calibrated" for name in names)}
    assert {"base, forced choice", "sft"} <= set(accuracies(tmp_path)["judge"])
    (tmp_path / "choices.jsonl").unlink()
    assert choice_metrics(tmp_path, protocol.frame(right)) == {}


def test_notebook_03_compares_with_the_base_that_is_shown_examples(tmp_path):
    shown = [r.model_copy(update={"model": "base, shown examples/test"}) for r in drawn("x", 1.0, 60)]
    silent = [r.model_copy(update={"model": "base/test", "verdict": None, "status": "no_json"}) for r in shown]
    right = [r.model_copy(update={"model": "sft/test", "verdict": r.label}) for r in shown]
    write_jsonl(tmp_path / "predictions.jsonl", [*silent, *right, *shown])
    found = sft_metrics(tmp_path)
    share = sum(row.verdict == row.label for row in shown) / len(shown)
    assert found["sft_minus_base_shown"].value == pytest.approx(1 - share) and found["sft_minus_base"].value == 1
    assert found["valid_base_shown"]["value"] == 1 and found["valid_base"]["value"] == 0


def test_examples_stand_between_the_instruction_and_the_pair_and_are_read(chat):
    asked, other = pair("asked"), pair("other", label="B")
    turns = [*verdict.messages(other, "full", "verdict")[1:], {"role": "assistant", "parts": [text_part("[[B]]")]}]
    how = {"format": "verdict", "wording": "full", "read": "choice"}
    plain, shown = Judge(chat, **how), Judge(chat, **how, examples=turns)
    for order in ("AB", "BA"):
        first, *between, last = shown.messages(asked, order)
        assert [first, last] == plain.messages(asked, order) and between == turns
    chances = [[row.probability for row in judge.judge([asked])] for judge in (plain, shown)]
    assert chances[0] != chances[1]
    answers = [row.raw for row in Judge(chat, wording="full", examples=turns, decoding=Decoding(4)).judge([asked])]
    assert len(answers) == 2


def test_notebook_04_reports_the_same_of_its_own_judge_and_failed_judgements_have_no_part(tmp_path):
    rows = [r for split, n in (("dev", 80), ("test", 60)) for r in drawn(f"grpo, choice/{split}", 3.0, n)]
    failed = [row.model_copy(update={"pair_id": "cut", "status": "cut", "verdict": None, "score_a": None,
                                     "score_b": None, "cluster": "cut"}) for row in rows[:2]]  # fmt: skip
    write_jsonl(tmp_path / "choices.jsonl", [*failed, *rows])
    right = [r.model_copy(update={"model": "grpo", "verdict": r.label}) for r in drawn("x", 1.0, 60)]
    found = choice_metrics(tmp_path, protocol.frame(right), "grpo")
    assert set(found) == {"grpo_choice_minus_grpo", "accuracy_grpo_choice", "temperature_grpo_choice",
                          "ece_grpo_choice", "ece_calibrated_grpo_choice"}  # fmt: skip
    assert found["ece_grpo_choice"].value > found["ece_calibrated_grpo_choice"].value
    assert calibration.fit_temperature([*failed, *rows[:160]]) == calibration.fit_temperature(rows[:160])
    said, mended = calibration.before_and_after(failed, 2.0)
    assert said.empty and mended.empty
    assert set(reliability(tmp_path)["model"]) == {"grpo, choice", "grpo, choice, calibrated"}


def test_what_each_number_of_samples_would_have_said():
    votes = {"p": ["B", "A", "A", "A"], "q": ["B", "B", "A"]}
    rows = [
        Judgement.of(
            pair(name, question=name), order, Parsed("ok", "A"), model="m", kind="rubric", decoding={"votes": said}
        )
        for name, said in votes.items()
        for order in ("AB", "BA")
    ]
    table = protocol.by_samples(rows).set_index("samples")["value"]
    assert table.to_dict() == {1: 0.0, 2: 0.0, 4: 0.5}, "B; tie and B; A and B"
    gains = protocol.by_samples(rows).set_index("samples")
    assert gains["gain"].to_dict() == {1: 0.0, 2: 0.0, 4: 0.5}
    assert (gains["gain_low"] <= gains["gain"]).all() and gains.loc[4, "gain_high"] == 1.0
