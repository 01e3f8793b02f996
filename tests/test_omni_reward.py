"""Omni-Reward: free-form verdicts, levels, training data, criteria in conflict, and the stage with its commands."""

import json
import math
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_parts import make_model, processor, text_part, user

from omnirepro import load_judge
from omnirepro.data import Judgement, Label, Pair, Prompt, Response, read_jsonl, text_of
from omnirepro.data.sources.omni_rewardbench import read_bench
from omnirepro.judge import rubric, verdict
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import chat
from omnirepro.models.generation import Generated, LocalModel
from omnirepro.papers.omni_reward import free_form
from omnirepro.papers.omni_reward.metrics import omni_metrics
from omnirepro.papers.omni_reward.plots import REWARD_PLOTS
from omnirepro.papers.omni_reward.r1 import lessons, share_of
from omnirepro.reward import verdict_reward
from omnirepro.toyworld import training_pairs
from omnirepro.toyworld.bench import make_bench
from omnirepro.toyworld.criteria import BY_PHRASE, CRITERIA, TASKS, TEXT_TASKS, gold_of, training_phrasings
from omnirepro.toyworld.criteria.levels import Scale
from omnirepro.toyworld.facts import facts_of
from omnirepro.toyworld.pretraining.vocabulary import (
    LAYOUTS,
    QUESTIONS,
    level_chats,
    loss_on_levels,
    spoken,
)
from omnirepro.toyworld.turns import two_turns
from omnirepro.train.completion_loss import sparing_loss
from omnirepro.train.grpo import _reward_function
from omnirepro.train.shared_prefix import collate
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return make_bench(tmp_path_factory.mktemp("bench"), "train", 20, 0)


def simple(name="p", label="A", a="yes", b="no", criterion="is short"):
    sides = {"response_a": [text_part(a)], "response_b": [text_part(b)]}
    return Pair(id=name, task="T2T", prompt=[text_part("ask")], criterion=criterion, label=label, **sides)


class Canned:
    """A model that says what a function makes of the chat's text."""

    name = "canned"

    def __init__(self, answer):
        self.answer = answer

    def complete(self, chats, decoding, seed, progress=None):
        texts = [" ".join(text_of(m["parts"]) for m in chat) for chat in chats]
        return [Generated(self.answer(text), 1, True) for text in texts]


# ---- verdicts in words


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("A 5 B 2 [[A]]", "ok", "A"), ("[[B]]", "ok", "B"), ("no difference: [[C]]", "ok", "tie"),
        ("[[A]] or [[B]]", "several_verdicts", None), ("A is better", "no_verdict", None), ("", "empty", None),
        ("[[A]], so [[A]]", "ok", "A"),
    ],
)  # fmt: skip
def test_a_verdict_is_one_tag(text, status, said):
    for format in ("verdict", "verdict-direct"):
        assert (verdict.parse(text, format).status, verdict.parse(text, format).verdict) == (status, said)


def test_a_level_is_one_number_from_one_to_five():
    assert [verdict.parse(f"so [[{i}]]", "level").score_a for i in range(7)] == [None, 1, 2, 3, 4, 5, None]
    assert verdict.parse("[[2]] [[4]]", "level").status == "bad_score" and verdict.parse("", "level").status == "empty"


@pytest.mark.parametrize("said", ["A", "B", "tie"])
def test_reasons_bear_out_the_label_and_the_text_is_read_back(said):
    for levels in [(a, b) for a in verdict.LEVELS for b in verdict.LEVELS]:
        a, b = verdict.defend(said, levels)
        assert {a, b} <= set(verdict.LEVELS) and ("tie" if a == b else "A" if a > b else "B") == said
        if levels[0] != levels[1] and (levels[0] > levels[1]) == (said == "A") and said != "tie":
            assert (a, b) == levels, "levels that agree stay"
        assert verdict.parse(verdict.target(said, (a, b))).verdict == said


def test_what_a_judge_is_shown():
    pair = simple(a="first text", b="second text")
    for wording in ("brief", "full"):
        asked = {f: " ".join(text_of(m["parts"]) for m in verdict.messages(pair, wording, f)) for f in verdict.FORMATS}
        assert all("is short" in text and "first text" in text for text in asked.values())
        assert all(("second text" in text) == (format != "level") for format, text in asked.items())
        assert len(set(asked.values())) == len(asked) or wording == "full"
    assert "[[C]]" in verdict.instruction("verdict") and "[[5]]" in verdict.instruction("level")


def test_verdicts_come_back_in_the_pairs_own_frame():
    judge = Judge(Canned(lambda text: "[[A]]"), format="verdict")
    ab, ba = judge.judge([simple()])
    assert (ab.verdict, ba.verdict, ab.kind, ab.raw) == ("A", "B", "verdict", "[[A]]")
    assert judge.judge([simple()], criterion="is long")[0].criterion == "is long"


def test_one_response_at_a_time_ties_where_levels_are_equal():
    judge = Judge(Canned(lambda text: f"[[{3 if 'same' in text else 5 if 'good' in text else 1}]]"), format="level")
    pairs = [simple("1", a="good", b="bad"), simple("2", a="same", b="same too"), simple("3", a="bad", b="good")]
    rows = judge.judge(pairs, scaling=verdict.Pointwise())
    assert [r.verdict for r in rows] == ["A", "A", "tie", "tie", "B", "B"] and rows[0].score_a == 5
    lost = Judge(Canned(lambda text: "hm"), format="level").judge(pairs, scaling=verdict.Pointwise())
    assert {(r.status, r.verdict) for r in lost} == {("bad_score", None)}
    prompts = [Prompt(id="x", task="t", parts=[text_part("ask")], criterion="is short")] * 2
    scores = judge.score(prompts, [Response(prompt_id="x", parts=[text_part(t)]) for t in ("good", "bad")])
    assert scores == [5.0, 1.0]


def test_forced_verdicts_are_the_probabilities_of_the_tags_after_the_same_words():
    model, known = make_model(), processor()
    judge = Judge(LocalModel(model, known, "m", 3), format="verdict")
    pairs = [simple("1"), simple("2", a="a red ring", b="a blue cross and more")]
    rows = judge.judge(pairs)
    for row, forced in zip(rows, verdict.forced(judge, pairs, rows), strict=True):
        shown = {p.id: p for p in pairs}[row.pair_id]
        example = known.encode(verdict.messages(shown if row.order == "AB" else shown.swap()))
        example.ids += known.tokenizer(verdict.begun_by(row.raw, "verdict"), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            batch = known.collate([type(example)(example.ids, [-100] * len(example.ids), example.features)])
            batch.pop("labels")
            chances = model(**batch).logits[0, -1].log_softmax(-1)
        a, b, tie = (chances[known.tokenizer.convert_tokens_to_ids(t)].item() for t in "ABC")
        a, b = (a, b) if row.order == "AB" else (b, a)
        assert (forced.score_a, forced.score_b) == pytest.approx((a, b), abs=2e-4)
        assert forced.decoding["tie"] == pytest.approx(tie, abs=2e-4) and forced.status == "ok"
        assert forced.verdict == max((a, "A"), (b, "B"), (tie, "tie"))[1]
    levels = verdict.Pointwise(expected=True).run(judge, pairs)
    assert [r.score_a for r in levels[::2]] == [r.score_a for r in levels[1::2]] and 1 < levels[0].score_a < 5
    assert levels[0].score_a != levels[2].score_a and levels[0].verdict in "AB"
    with pytest.raises(ValueError, match="the same tokens"):
        judge.chat.choose([[user("x")]], [""], ["two words", "two words"])


def test_the_swap_reward_reads_the_other_order_of_the_batch():
    gold = Label(pair_id="p", verdict="A", score_a=9, score_b=4, provenance="t")
    named = {
        f"{pair} {order}": SimpleNamespace(pair_id=pair, order=order, label=gold)
        for pair in "pq"
        for order in ("AB", "BA")
    }
    keys = ["p AB", "p AB", "p AB", "p BA", "p BA", "p BA", "q AB"]
    texts = ["[[A]]", "[[A]]", "[[B]]", "[[B]]", "[[A]]", "nothing", "[[A]]"]
    # AB: A leads, B as seen from BA; in BA neither leads. The other order of q is not there.
    assert _reward_function("swap", named, "verdict")(keys, texts) == [0, 0, 0, 1, -1, -1, 0]
    assert _reward_function("verdict", named, "verdict")(keys[:3], texts[:3]) == [1, 1, -1]


def test_the_reward_reads_the_judges_format():
    gold = Label(pair_id="p", verdict="tie", score_a=0, score_b=0, provenance="t")
    shown = {"k": SimpleNamespace(label=gold)}
    texts = ["A 3 B 3 [[C]]", "[[A]]", "nothing"]
    assert _reward_function("verdict", shown, "verdict")(["k"] * 3, texts) == [1.0, -1.0, -1.0]
    assert [verdict_reward(t, gold) for t in texts] == [-1.0] * 3, "by default a judgement is JSON"


# ---- what is trained on


def test_levels_follow_the_criterion_and_use_the_whole_scale(bench):
    scale, seen = Scale.of(bench), set()
    for pair in bench:
        for criterion in CRITERIA.values():
            if pair.task not in criterion.tasks or criterion.held_out:
                continue
            a, b = facts_of(pair)
            levels = [scale.level(pair.task, criterion, f) for f in (a, b)]
            seen |= set(levels)
            truth = criterion.truth(a, b)
            assert (
                levels[0] == levels[1] if truth == "tie" else (levels[0] - levels[1]) * (1 if truth == "A" else -1) >= 0
            )
    assert seen == set(verdict.LEVELS)


def test_lessons_of_the_primer_compare_numbers_alone_and_never_ask_a_held_out_criterion(bench):
    scale, rng = Scale.of(bench), np.random.default_rng(0)
    allowed = {w for c in CRITERIA.values() if not c.held_out for w in c.wordings("train")}
    answers = set()
    for i in range(400):
        layout = tuple(LAYOUTS)[i % 3]
        chats = level_chats(bench[i % len(bench)], scale, layout, rng)
        if layout == "both":
            for turns in chats:
                a, b, tag = re.fullmatch(r"A (\d) B (\d) (.*)", text_of(turns[-1]["parts"])).groups()
                assert tag == verdict.TAGS[rubric.ranking(int(a), int(b))]
        said = ["\n".join(text_of(m["parts"]) for m in turns) for turns in chats]
        criteria = [line[11:].strip() for text in said for line in text.splitlines() if line.startswith("criterion: ")]
        assert len(criteria) == len(set(criteria)) == len(chats) == QUESTIONS and allowed.issuperset(criteria)
        assert layout == "both" or not any(tag in text for tag in verdict.TAGS.values() for text in said)
        answers |= {text_of(turns[-1]["parts"]) for turns in chats}
    assert {"[[1]]", "[[5]]"} <= answers and any(a.startswith("A ") for a in answers)


def test_only_words_that_training_asks_become_tokens():
    taught = {word.strip(",") for words in training_phrasings() for word in words.split()}
    unseen = {word.strip(",") for c in CRITERIA.values() for p in c.phrasings for word in p.split()} - taught
    assert unseen and not {word.strip() for word in spoken(training_phrasings())} & unseen


@pytest.mark.usefixtures("no_half_precision")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_primers_loss_is_that_of_the_plain_model(bench, layout):
    scale, rng, model = Scale.of(bench), np.random.default_rng(0), make_model()
    pairs = [next(pair for pair in bench if pair.task == task) for task in TASKS]
    rows = [[loss_on_levels(processor(), chat) for chat in level_chats(pair, scale, layout, rng)] for pair in pairs]
    alone = processor().collate([example for row in rows for example in row])
    batch = collate(processor(), rows)
    assert batch["input_ids"].numel() < alone["input_ids"].numel() / 2
    assert sparing_loss(model, batch).item() == pytest.approx(model(**alone).loss.item(), rel=1e-5)


def test_branches_share_all_media(bench):
    pair = next(p for p in bench if p.task == "T2I")
    asked = [[*verdict.messages(p), user("x") | {"role": "assistant"}] for p in (pair, pair.swap())]
    with pytest.raises(ValueError, match="share their media"):
        collate(processor(), [[processor().encode(chat, train=True) for chat in asked]])


def test_r1_learns_from_labels_in_both_orders(bench):
    pair = next(p for p in bench if p.label == "A")
    texts = [text_of(turns[-1]["parts"]) for turns in lessons(pair, Scale.of(bench))]
    assert [verdict.parse(t).verdict for t in texts] == ["A", "A", None, "B", "B", None]
    wrong = pair.model_copy(update={"label": "B"})
    assert verdict.parse(text_of(lessons(wrong, Scale.of(bench))[0][-1]["parts"])).verdict == "B", (
        "labels, not the truth"
    )
    small, large = (share_of(bench, share, 3) for share in (0.1, 0.5))
    assert len(small) == round(0.1 * len(bench)) and {p.id for p in small} <= {p.id for p in large}


def test_bare_preferences_have_no_criterion_and_each_two_responses_once(bench):
    bare = training_pairs.bare(bench)
    assert len(bare) == len({(p.task, p.meta["group"]) for p in bench}) and all(p.criterion is None for p in bare)
    for p in bare:
        a, b = p.meta["score_a"], p.meta["score_b"]
        assert p.label == ("A" if a > b else "B" if b > a else "tie")


def test_selections_hold_what_their_names_say(bench):
    pairs = [*training_pairs.bare(bench), *bench]
    chosen = {name: select(pairs) for name, select in training_pairs.SELECTIONS.items()}
    assert chosen["full"] == pairs and not any(p.criterion for p in chosen["preference-only"])
    assert {p.task for p in chosen["t2i-t2v-only"]} == {"T2I", "T2V"}
    assert any(map(training_pairs.contrary, pairs)) and not any(map(training_pairs.contrary, chosen["agreeing"]))
    assert len(chosen["countered"]) == len(pairs) and len({p.id for p in chosen["countered"]}) == len(pairs)
    count = [sum(map(training_pairs.contrary, chosen[n])) for n in ("full", "countered")]
    assert count[1] > 1.2 * count[0]
    held: set[str] = set()
    for percent in (10, 20, 30):
        noisy = chosen[f"noise-{percent}"]
        turned = {p.id for p, q in zip(pairs, noisy, strict=True) if p.label != q.label}
        decided = [p for p in pairs if p.label != "tie"]
        assert abs(len(turned) / len(decided) - percent / 100) < 0.05, "a tie has no other label"
        assert held < turned, "more noise holds less of it"
        held = turned
    families = [chosen[f"{name}-family"] for name in training_pairs.FAMILIES]
    assert sum(map(len, families)) == len(pairs) and {p.task for f in families for p in f} == set(TASKS)


def test_longer_conversations_end_in_the_same_question_and_keep_the_label(bench):
    for pair in [p for p in bench if p.task in TEXT_TASKS]:
        longer = two_turns(pair)
        assert longer.label == pair.label == gold_of(longer) and longer.response_a == pair.response_a
        turns = chat(longer.prompt, longer.response_a, longer.criterion)
        assert [m["role"] for m in turns] == ["system", "user", "assistant", "user", "assistant"]
        question = facts_of(pair)[0].question.text
        assert text_of(turns[3]["parts"]) == question and not text_of(turns[1]["parts"]).endswith(question)
        assert [p for p in longer.prompt if p.type != "text"] == [p for p in pair.prompt if p.type != "text"]
    with pytest.raises(ValueError, match="media|medium"):
        two_turns(next(p for p in bench if p.task == "T2I"))


# ---- what a criterion changes


def row(pair, verdict, label, order="AB", task="T2T", scores=(None, None), seed=0):
    return Judgement(
        pair_id=pair, task=task, cluster=pair, order=order, model="m", kind="verdict", status="ok", verdict=verdict,
        label=label, score_a=scores[0], score_b=scores[1], seed=seed,
    )  # fmt: skip


def both(pair, verdict, label, **more):
    return [row(pair, verdict, label, order, **more) for order in ("AB", "BA")]


def test_conflict_by_hand():
    bare = [
        *both("1", "A", "A"),
        *both("2", "A", "B"),
        *both("3", "B", "A"),
        *both("4", "tie", "A"),
        *both("6", "A", "tie"),
    ]
    bare += [row("5", "A", "A", "AB"), row("5", "B", "A", "BA")]
    said = [r for p, v, g in (("1", "A", "A"), ("2", "A", "B"), ("3", "A", "A")) for r in both(p, v, g)]
    said += [r for p, g in (("4", "A"), ("5", "A"), ("6", "tie")) for r in both(p, "A", g)]
    table = free_form.conflict(said, bare).set_index("pair_id")
    assert table["group"].to_dict() == {"1": "invariant", "2": "shifted", "3": "shifted"}
    assert table["credit"].to_dict() == {"1": 1.0, "2": 0.0, "3": 1.0}


def test_equal_scores_and_what_they_cost():
    rows = [
        *both("1", "A", "A", scores=(5, 1)),
        *both("2", "tie", "B", scores=(3, 3)),
        *both("3", "tie", "tie", scores=(2, 2)),
    ]
    assert free_form.equal_scores(rows)["credit"].tolist() == [0.0, 1.0]
    assert free_form.credits(rows, False)["credit"].tolist() == [1.0, 0.0]
    assert free_form.credits(rows, True)["credit"].tolist() == [1.0, 0.0, 1.0]
    assert free_form.halved(rows)["credit"].tolist() == [1.0, 0.5]
    pairwise = [*both("1", "A", "A"), *both("2", "B", "B"), *both("3", "A", "tie")]
    wanted = ((2 - 2) / 3 + (2 - 1) / 2) / 2  # mean of the gains with ties and without
    assert free_form.ways(pairwise, rows).value == pytest.approx(wanted)


def test_gain_repeats_a_single_seed_and_refuses_other_pairs():
    a = free_form.credits([r for s in (1, 2) for p in "xy" for r in both(p, "A", "A", seed=s)], True)
    b = free_form.credits([r for p, v in (("x", "A"), ("y", "B")) for r in both(p, v, "A")], True)
    assert free_form.gain(a, b).value == 0.5 and free_form.gain(a, b).seeds == 2
    with pytest.raises(ValueError, match="different pairs"):
        free_form.gain(a, b.head(1))


# ---- figures


def test_every_figure_draws():
    def table(**columns):
        return pd.DataFrame(columns)

    ends = {"low": 0.4, "high": 0.7, "n": 9}
    frames = {
        "tasks": table(protocol=["with", "with", "without"], model=["a", "b", "a"], task=["T2T"] * 3, value=0.5),
        "threshold": table(split=["dev", "dev", "test"], seed=0, threshold=[0, 1.0, 0], accuracy=[0.4, 0.5, 0.6]),
        "reliability": table(model=["a", "b"], confidence=[0.6, 0.9], value=[0.5, 0.8], **ends),
        "scaling": table(model=["a", "a"], share=[0.03, 1.0], value=[0.5, 0.6], **ends),
        "conflict": table(model=["a", "a"], group=["invariant", "shifted"], value=[0.8, 0.5], **ends),
        "transfer": table(selection=["s"] * 2, task=["T2T", "T2I"], value=[0.1, -0.1], **ends),
    }
    for name, data in frames.items():
        figure = REWARD_PLOTS[name][1](data)
        assert all(axes.get_xlabel() for axes in figure.axes if axes.get_label() != "<colorbar>")
        with pytest.raises(ValueError, match="no rows"):
            REWARD_PLOTS[name][1](data.head(0))


# ---- the notebook's stage, at the smallest counts


@pytest.fixture(scope="session")
def stage(smoke):
    return smoke / "05_bradley_terry"


def command(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "omnirepro", *map(str, words)]
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_stage_freezes_every_judgement(stage):
    bench = {s: read_bench(stage / "data" / s) for s in ("train", "dev", "test")}
    labels = {p.id: p.label for pairs in bench.values() for p in pairs}
    rows = read_jsonl(stage / "predictions.jsonl", Judgement)
    found = pd.DataFrame(
        [(r.model, r.pair_id, r.order, r.label) for r in rows], columns=["model", "pair", "order", "label"]
    )
    assert all(labels[r.pair] == r.label for r in found.itertuples())
    for model in ("bt/test", "r1/test", "r1-forced/test", "tuned-level/test", "base-pairs/test", "base/test"):
        part = found[found["model"] == model]
        assert len(part) == 2 * len(bench["test"]) and not part.duplicated(["pair", "order"]).any(), model
    assert len(found[found["model"] == "bt/dev"]) == 2 * len(bench["dev"])
    clusters = [{p.cluster for p in pairs} for pairs in bench.values()]
    assert not (clusters[0] & clusters[2] or clusters[1] & clusters[2])
    assert {p.criterion for p in bench["test"]} <= set(BY_PHRASE)


def test_metrics_name_every_task_under_both_protocols_and_the_claims(stage):
    found = json.loads((stage / "metrics.json").read_text())
    assert {
        f"{t}_{p}" for t in (*TASKS, "overall") for p in ("with_ties", "without_ties", "oracle", "optimism")
    } <= set(found)
    claims = "bt_minus_base_with_ties r1_minus_base_pairs_without_ties bt_minus_r1 pairwise_minus_pointwise"
    assert {*claims.split(), "shifted_minus_invariant"} <= set(found)
    assert found["overall_optimism"]["value"] >= 0
    again = {k: v if isinstance(v, dict) else v.as_metric() for k, v in omni_metrics(stage).items()}
    assert all(math.isclose(again[k]["value"], found[k]["value"]) for k in again if found[k]["value"] is not None)


def test_only_what_is_needed_later_is_kept(stage):
    assert (stage / "scorer/value_head.safetensors").is_file() and (stage / "r1/adapter/adapter_config.json").is_file()
    assert not list(stage.glob("preference-only-*/scorer")), "a scorer of an ablation is only scored with"


def test_two_lines_score_under_any_criterion_and_the_command_agrees(stage, tmp_path):
    pairs = read_bench(stage / "data/test")[::7]
    judge = load_judge(stage)
    sides = [(p, r) for p in pairs for r in (p.response_a, p.response_b)]
    prompts = [p.prompt_of().model_copy(update={"criterion": "is true"}) for p, _ in sides]
    scores = judge.score(prompts, [Response(prompt_id=p.id, parts=r) for p, r in sides])
    lines = [
        {"id": f"{i}", "prompt": [x.model_dump(exclude_none=True) for x in p.prompt], "response": [
            x.model_dump(exclude_none=True) for x in r]} for i, (p, r) in enumerate(sides)
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = (
        "score",
        tmp_path / "in.jsonl",
        "--model",
        stage,
        "--out",
        tmp_path / "out.jsonl",
        "--criterion",
        "is true",
    )
    done = command(*words)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [f["score"] for f in found] == pytest.approx(scores, abs=1e-3) and found[0]["criterion"] == "is true"
    (tmp_path / "in.jsonl").write_text(json.dumps(lines[0]) + "\n" + '{"id": "x", "prompt": []}\n')
    wrong = command(*words)
    assert wrong.returncode == 1 and f"{tmp_path / 'in.jsonl'}:2" in wrong.stderr and "Traceback" not in wrong.stderr


def test_the_judge_command_takes_a_criterion_and_reads_verdicts(stage, tmp_path):
    done = command(
        "judge", stage / "data/labelled.jsonl", "--model", stage / "r1", "--out", tmp_path / "rows.jsonl",
        "--criterion", "is short", "--orders", "AB",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_jsonl(tmp_path / "rows.jsonl", Judgement)
    assert {r.criterion for r in rows} == {"is short"} and {r.kind for r in rows} == {"verdict"}
