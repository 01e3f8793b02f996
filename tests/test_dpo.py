"""DPO on mixed media through TRL, the lessons before it, the preferences that feed it, and answers kept by content."""

import copy
import math
import sqlite3
from dataclasses import asdict, replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_parts import make_model, processor, save_untrained, text_part
from transformers import TrainerCallback

from omnirepro.data import MediaError, Pair, Part
from omnirepro.judge import criteria, rubric
from omnirepro.judge.criteria import CriterionJudgement, GenRM, Task, forced, judge_by
from omnirepro.judge.generative import load_judge
from omnirepro.kit.run import ParameterError, RunError, open_run
from omnirepro.models.cache import CachedChat, CachedScores, Store, key_of
from omnirepro.models.generation import Decoding, Generated, LocalModel
from omnirepro.models.loading import load
from omnirepro.models.processing import OmniProcessor
from omnirepro.papers.grm_omni import roles
from omnirepro.papers.grm_omni.found_examples import examples_of
from omnirepro.papers.grm_omni.role_examples import lessons
from omnirepro.search import CriteriaSearch
from omnirepro.search.selection import RULES, Preference, select
from omnirepro.search.trace import Trace, Trajectory, values
from omnirepro.toyworld.criteria.composed import truth_under
from omnirepro.toyworld.preferences import make_preferences
from omnirepro.toyworld.pretraining.vocabulary import extend_tokens
from omnirepro.train import dpo
from omnirepro.train.muon import MuonAndAdamW
from omnirepro.train.tuning import open_model

SECTION = {
    "tune": "whole", "lora_rank": 4, "lora_alpha": 8, "schedule": "constant", "warmup": 0.0, "max_length": 640,
    "gradient_checkpointing": False, "save_every": 100, "sft_steps": 2, "sft_batch": 4, "sft_accumulate": 1,
    "sft_lr": 0.002, "sft_optimizer": "muon", "dpo_steps": 8, "dpo_batch": 4, "dpo_accumulate": 2, "dpo_lr": 0.0005,
    "dpo_beta": 0.5, "max_new_tokens": 12,
}  # fmt: skip


class FakeRun:
    """What the trainings ask of a run."""

    seed, device, dtype, launcher = 0, "cpu", "float32", ""

    def __init__(self, folder, **changes):
        self.folder, self.values = folder, SECTION | changes

    def own(self, name):
        """Return the parameters of one training, under their common names."""
        self.name = name
        return self.values | {key: self.values[own] for key, own in roles.TRAININGS[name].items()}

    @property
    def checkpoint_dir(self):
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        return self.folder / "checkpoints"

    def write(self, name, content):
        path = self.folder / name
        if callable(content):
            path.mkdir(exist_ok=True)
            content(path)
        else:
            path.write_text(content)
        return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_preferences(tmp_path_factory.mktemp("pairs"), "train", 6, 0)


# ---- lessons


def test_lessons_ask_as_the_roles_are_asked_and_answer_what_is_true(pairs):
    seen = set()
    for chat in (c for lesson in lessons(pairs, 200, 0, ("T2T",), verdicts=0.3) for c in lesson):
        asked, answer = "".join(p.text or "" for p in chat[-2]["parts"]), chat[-1]["parts"][0].text
        kind = asked.rsplit("\n", 1)[-1].split()[0]
        media = any(p.type != "text" for p in chat[-2]["parts"])
        seen.add((kind, media))
        assert not media or asked.endswith("\nverdict."), "media are taught their verdict alone"
        if asked.endswith("judge."):
            assert criteria.parse_direct(answer, 3)[1].status == "ok"
        elif kind == "judge":
            assert criteria.parse_judgement(answer).status == "ok"
        elif kind == "write":
            count = int(asked.rsplit(" ", 2)[-2])
            status, found = criteria.parse_criteria(answer, count)
            assert status == "ok" and len(criteria.distinct(found)) == count
        elif kind == "verdict.":
            assert rubric.parse(answer, "verdict").verdict in ("A", "B")
    assert {k for k, _ in seen} >= {"write", "judge", "fix", "verdict."}


def test_lessons_hang_on_the_seed(pairs):
    assert lessons(pairs, 10, 3) == lessons(pairs, 10, 3) != lessons(pairs, 10, 4)


def test_direct_lessons_hold_criteria_alone_that_decide_as_gold_does(pairs):
    texts = {p.response_a[0].text: p for p in pairs} | {p.response_b[0].text: p.swap() for p in pairs}

    def right(keep, what):
        shown = [c for lesson in lessons(pairs, 400, 1, verdicts=0.0, keep_right=keep) for c in lesson
                 if c[0]["parts"][-1].text.endswith("judge.")]  # fmt: skip
        found = []
        for asked, answer in shown:
            pair = texts[asked["parts"][-4].text]
            named, judged = criteria.parse_direct(answer["parts"][0].text, 3)
            said = [judged.verdict] if what == "verdicts" else [truth_under(pair, name) for name in named]
            found += [verdict == pair.label for verdict in said]
        return sum(found) / len(found)

    assert right(1.0, "criteria") == right(1.0, "verdicts") == 1
    assert right(0.0, "criteria") < right(0.0, "verdicts") < 0.75, "unfiltered, a third of the criteria end in a tie"


# ---- tokens and the optimizer


def test_new_tokens_keep_the_text_and_shorten_it():
    model, old = make_model(), processor()
    text = criteria.render_criteria(["is true", "is safe"])
    before = old.tokenizer(text)["input_ids"]
    new = extend_tokens(model, OmniProcessor(copy.deepcopy(old.tokenizer)), criteria.fragments(), [" evidence"])
    after = new.tokenizer(text)["input_ids"]
    assert len(after) < len(before) / 2 and new.tokenizer.decode(after) == text
    assert (
        model.get_input_embeddings().weight.shape[0] == len(new.tokenizer) == model.config.get_text_config().vocab_size
    )
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def test_muon_moves_every_weight_follows_a_schedule_and_resumes():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    optimizer = MuonAndAdamW(list(net.named_parameters()), 0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    before = [p.clone() for p in net.parameters()]
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    schedule.step()
    assert all((a != b).any() for a, b in zip(before, net.parameters(), strict=True))
    assert [part.param_groups[0]["lr"] for part in optimizer.parts] == pytest.approx([0.005, 0.0025])
    other = MuonAndAdamW(list(net.named_parameters()), 0.01)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == pytest.approx(0.005) and other.parts[0].state


# ---- DPO


def preference(pair, chosen="A", rejected="B"):
    return Preference(Task("verdict", pair), f"[[{chosen}]]", f"[[{rejected}]]", pair.id, "AB")


def test_batches_hold_chosen_then_rejected_with_their_media(pairs):
    some = [next(p for p in pairs if p.task == t) for t in ("T2T", "TI2T", "TV2T", "TA2T", "T2I")]
    encoded = dpo.encode(processor(), [preference(p) for p in some], "brief", 640)
    batch = dpo.collate(processor(), encoded)
    assert batch["input_ids"].shape[0] == 10 and "labels" not in batch
    half = batch["completion_mask"].sum(1)
    assert (half > 0).all() and {"pixel_values", "pixel_values_videos", "input_features"} <= set(batch)
    texts = [
        processor().tokenizer.decode(row[mask.bool()], skip_special_tokens=True)
        for row, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert texts == ["[[A]]"] * 5 + ["[[B]]"] * 5
    with pytest.raises(ValueError, match="max_length"):
        dpo.encode(processor(), [preference(some[0])], "brief", 10)


@pytest.mark.usefixtures("no_half_precision")
@pytest.mark.parametrize("tune", ["whole", "lora"])
def test_dpo_learns_to_prefer_the_chosen_on_mixed_media(base, pairs, tmp_path, tune):
    run = FakeRun(tmp_path, tune=tune, dpo_steps=6)
    some = [next(p for p in pairs if p.task == t) for t in ("T2T", "TI2T", "TV2T", "TA2T")]
    folder = dpo.train_dpo(run, base, [preference(p) for p in some], run.own("dpo"), "brief")
    course = pd.read_csv(tmp_path / "dpo-loss.csv")
    assert course["loss"].iloc[0] == pytest.approx(math.log(2), abs=1e-3), "the reference is the model before training"
    assert course["margin"].iloc[-1] > 0.1 and course["accuracy"].iloc[-1] == 1
    assert (folder / ("adapter_config.json" if tune == "lora" else "model.safetensors")).is_file()
    assert not (folder / "ref").exists()


def test_towers_stay_frozen_and_no_preference_is_refused(base, pairs, tmp_path):
    run = FakeRun(tmp_path)
    model, _ = open_model(run, base, run.own("dpo"))
    frozen = {n for n, w in model.named_parameters() if not w.requires_grad}
    assert frozen and all("visual" in n or "audio_tower" in n for n in frozen)
    with pytest.raises(ValueError, match="no preference"):
        dpo.train_dpo(run, base, [], run.own("dpo"), "brief")
    with pytest.raises(ValueError, match="tune"):
        open_model(run, base, run.own("dpo") | {"tune": "some"})


@pytest.mark.usefixtures("no_half_precision")
def test_roles_are_tuned_and_can_be_loaded(base, pairs, tmp_path):
    run = FakeRun(tmp_path)
    folder = roles.train_roles(run, base, lessons(pairs, 8, 0), run.own("sft"), "brief")
    model, made = load(folder, "cpu", "float32")
    assert made.tokenizer.convert_tokens_to_ids("<criterion 1>") not in (None, made.tokenizer.unk_token_id)
    assert model.get_input_embeddings().weight.shape[0] == len(made.tokenizer)


def test_an_override_that_no_training_of_the_stage_reads_is_refused(base, pairs, tmp_path, monkeypatch):
    """The model is tuned whole here, so that the rank of LoRA matters to nothing."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))

    def opened(name, **changes):
        overrides = {f"meta_reward_dpo.{key}": value for key, value in ({"sft_steps": 1} | changes).items()}
        return open_run("06_meta_reward_dpo", "smoke", name, overrides=overrides)

    def work(run):
        p = run.section().renamed(roles.TRAININGS["sft"])
        roles.train_roles(run.sub("sft", folder=""), base, lessons(pairs, 4, 0), p, "brief")

    run = opened("a", dpo_beta=0.3)
    run.do(work)
    with pytest.raises(ParameterError, match=r"meta_reward_dpo\.dpo_beta was overridden .* no code of 06"):
        run.finish({})
    run = opened("b")
    run.do(work)
    run.finish({})
    assert {"meta_reward_dpo.sft_lr", "meta_reward_dpo.tune"} <= run.params.reads.keys()
    assert opened("b", lora_rank=2).skipped and not opened("b", sft_lr=0.1).skipped


@pytest.mark.parametrize("tune", ["whole", "lora"])
@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_resume_after_a_kill_is_as_if_nothing_happened(base, pairs, tmp_path, monkeypatch, name, tune):
    """Killed two steps past a checkpoint, taken up again, and asked once more when it had ended."""

    def train(folder):
        folder.mkdir(exist_ok=True)
        run = FakeRun(folder, tune=tune, sft_steps=10, dpo_steps=10, save_every=5)
        if name == "dpo":
            return dpo.train_dpo(run, base, [preference(p) for p in pairs[:8]], run.own(name), "brief")
        return roles.train_roles(run, base, lessons(pairs, 40, 0), run.own(name), "brief")

    def die(self, args, state, *rest, **kwargs):
        if state.global_step == 7:
            raise KeyboardInterrupt

    wanted = train(tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(TrainerCallback, "on_step_begin", die)
        train(tmp_path / "killed")
    found, again = (load_file(next(train(tmp_path / "killed").glob("*model.safetensors"))) for _ in range(2))
    whole, start = load_file(next(wanted.glob("*model.safetensors"))), load_file(base / "model.safetensors")
    assert all(torch.allclose(whole[k], found[k], atol=1e-6) for k in whole), "it went on from other weights"
    assert all(torch.equal(found[k], again[k]) for k in found), "a training that had ended must not change"
    assert tune == "lora" or not torch.equal(whole["model.norm.weight"], start["model.norm.weight"])
    one, two = (pd.read_csv(tmp_path / run / f"{name}-loss.csv") for run in ("whole", "killed"))
    assert two["loss"].to_numpy() == pytest.approx(one["loss"].to_numpy(), abs=1e-5)


def test_a_tuned_judge_searches_criteria_as_a_library_call(base, pairs, tmp_path):
    run = FakeRun(tmp_path)
    judge = load_judge(roles.train_roles(run, base, lessons(pairs, 4, 0), run.own("sft"), "brief"))
    assert (judge.wording, judge.format, judge.decoding.max_new_tokens) == ("brief", "verdict-direct", 12)
    scaling = CriteriaSearch(k=3, n=7, top=3, variant="random")
    rows = judge.judge(pairs[:1], scaling=scaling)
    assert len(rows) == 2 and all(row.decoding["budget"] == asdict(scaling.budget(judge)) for row in rows)
    assert all(row.decoding["calls"]["genrm"] <= row.decoding["budget"]["calls"]["genrm"] for row in rows)


# ---- selection


def trace_of(said, metas, gold="A", order="AB"):
    """Build a trace whose i-th criterion said `said[i]` and is worth `metas[i]` (published: gain of the rejected)."""
    pair = Pair(id="p", task="T2T", prompt=[text_part("q")], response_a=[text_part("a")], response_b=[text_part("b")],
                label=gold)  # fmt: skip
    trace = Trace(pair, order, pair.model_copy(update={"label": None}), scores={"A": 0.0, "B": 0.0})
    for i, (verdict, meta) in enumerate(zip(said, metas, strict=True)):
        scores = {"A": (8, 3), "B": (3, 8)}.get(verdict, (6, 6))
        judged = CriterionJudgement("ok", verdict, *scores, f"x{i}", f"y{i}")
        judged = judged if verdict else replace(judged, status="no_verdict")
        refined = {"A": 100.0, "B": meta} if verdict == "A" else {"A": meta, "B": 100.0}
        trace.tried.append(Trajectory(f"c{i}", 0, judged, "", {}, refined))
    return trace


def test_the_papers_rule_takes_the_vote_of_the_best_where_it_is_right():
    trace = trace_of("BAABA", [9, 3, 5, 4, 1], gold="B")
    (row,) = select([trace], ["what the policy said"], "paper")
    found, judged = criteria.parse_direct(row.chosen, 3)
    assert found == ("c0", "c2", "c3") and judged.verdict == "B" and row.rejected == "what the policy said"


def test_the_papers_rule_drops_what_stays_wrong_or_is_too_little():
    assert not select([trace_of("BBA", [9, 8, 1])], ["x"], "paper")
    assert not select([trace_of(["A", "A", None], [3, 2, 1])], ["x"], "paper")
    (row,) = select([trace_of("ABA", [9, 8, 1])], ["x"], "paper")
    assert row.rejected == "x" and row.task.kind == "direct" and row.task.count == 3
    assert criteria.parse_direct(row.chosen, 3)[1].verdict == "A"
    (row,) = select([trace_of("BAB", [9, 8, 7], gold="A", order="BA")], ["x"], "paper")
    assert criteria.parse_direct(row.chosen, 3)[1].verdict == "B", "gold turns with the display"


def test_the_codes_rule_pairs_best_and_worst_and_ranks_criteria():
    rows = select([trace_of("BAA", [1, 5, 9])], ["x"], "code", spread_quantile=0.0)
    judge, write = rows
    assert (judge.task.kind, write.task.kind) == ("judge", "write")
    assert criteria.parse_judgement(judge.chosen).verdict == "A"
    assert criteria.parse_judgement(judge.rejected).verdict == "B"
    assert write.chosen == criteria.render_criteria(["c2", "c1", "c0"])
    assert write.rejected == criteria.render_criteria(["c0", "c1", "c2"])
    assert not select([trace_of("ABB", [1, 5, 9])], ["x"], "code", spread_quantile=0.0)


def test_thresholds_are_quantiles_and_the_bug_of_the_code_is_an_option():
    wide, narrow = trace_of("AB", [9, 0]), trace_of("AB", [2, 1])
    assert len(select([wide, narrow], ["x", "x"], "code", spread_quantile=0.5)) == 1
    shuffled = trace_of("BAB", [0, 9, 1])  # as written its spread is -1, sorted 9
    assert len(select([shuffled, narrow], ["x", "x"], "code", spread_quantile=0.5)) > 0
    bugged = select([shuffled, narrow], ["x", "x"], "code-unsorted", spread_quantile=0.5)
    assert all(row.chosen != select([shuffled], ["x"], "code", spread_quantile=0.0)[0].chosen for row in bugged)
    with pytest.raises(ValueError, match="rule"):
        select([], [], "best")
    assert RULES == ("paper", "shared", "code", "code-unsorted")


def test_the_shared_rule_keeps_the_policys_criteria_and_mends_the_judgement():
    trace = trace_of("ABA" + "B" * 4, [1, 2, 3, 9, 9, 9, 9])
    for tried in trace.tried[3:]:
        tried.round = 1
    own = criteria.render_direct(["c0", "c1", "c2"], CriterionJudgement("ok", "B", 3, 8, "x", "y"))
    (row,) = select([trace], [own], "shared")
    found, judged = criteria.parse_direct(row.chosen, 3)
    assert (row.rejected, found, judged.verdict) == (own, ("c0", "c1", "c2"), "A")
    assert row.chosen.split("<critique A>")[0] == row.rejected.split("<critique A>")[0] and row.task.count == 3
    other = criteria.render_direct(["c0", "c2", "c1"], CriterionJudgement("ok", "B", 3, 8, "x", "y"))
    assert not select([trace], [other], "shared"), "other criteria are not shared"
    trace.tried[2].round = 1
    assert not select([trace], [own.replace("c2", "c1")], "shared"), "a criterion that was written twice is one"
    assert not select([trace_of("BBA", [1, 2, 3])], [own], "shared"), "its criteria are no better one at a time"


def test_what_is_found_is_taught_by_criteria_that_judge_rightly_and_are_worth_it(pairs):
    trace = trace_of(["A", "B", "A", "tie", "A", None], [9, 8, 1, 7, 4, 6])
    for tried, worth in zip(trace.tried, values(trace, "published"), strict=True):
        tried.meta = worth
    asked = {task.kind: (task, answer) for task, answer in examples_of(trace, "published", 2, 2.0, 0)}
    assert set(asked) == {"direct", "write", "judge"}
    assert criteria.parse_direct(asked["direct"][1], 2)[0] == ("c0", "c4")
    assert criteria.parse_criteria(asked["write"][1], 2) == ("ok", ("c0", "c4")) and asked["write"][0].count == 2
    assert asked["judge"][0].criteria == ("c0",)
    assert "direct" not in {task.kind for task, _ in examples_of(trace, "published", 3, 2.0, 0)}, "two are not three"
    assert not list(examples_of(trace, "published", 2, 10.0, 0))


# ---- rows and the store


class Echo:
    name, by_content = "echo", False

    def __init__(self, fail_after=10**9):
        self.asked, self.fail_after = 0, fail_after

    def complete(self, chats, decoding, seed=0, progress=None):
        if self.asked + len(chats) > self.fail_after:
            raise KeyboardInterrupt
        self.asked += len(chats)
        return [Generated("[[A]]", 3, True) for _ in chats]


def test_rows_turn_with_the_display_and_hide_the_label(pairs):
    seen = []

    class Watcher(Echo):
        def complete(self, chats, decoding, seed=0, progress=None):
            seen.extend(chats)
            return super().complete(chats, decoding, seed, progress)

    rows = judge_by(GenRM(Watcher(), "brief"), pairs[:4], "verdict")
    assert [(r.order, r.verdict, r.shown) for r in rows[:2]] == [("AB", "A", "A"), ("BA", "B", "A")]
    assert all(r.kind == "verdict" and r.label == p.label for r, p in zip(rows[::2], pairs, strict=False))
    assert len(seen) == 8


def test_a_model_that_writes_no_verdict_can_be_made_to_choose(pairs):
    rows = forced(LocalModel(make_model(), processor(), "base", 8), "base/test", pairs[:5])
    assert len(rows) == 10 and all(r.status == "ok" and r.verdict in ("A", "B") for r in rows)
    assert all((r.score_a > r.score_b) == (r.verdict == "A") for r in rows) and rows[0].label == pairs[0].label


def chats(n):
    return [[{"role": "user", "parts": [text_part(f"question {i}")]}] for i in range(n)]


def test_answers_are_kept_by_content_and_a_kill_loses_one_group(tmp_path):
    killed = CachedChat(Echo(fail_after=20), Store(tmp_path / "a.sqlite", size=8), "model")
    with pytest.raises(KeyboardInterrupt):
        killed.complete(chats(40), Decoding(8))
    assert killed.chat.asked == 16
    again = CachedChat(Echo(), Store(tmp_path / "a.sqlite", size=8), "model")
    assert len(again.complete(chats(40), Decoding(8))) == 40 and again.chat.asked == 24
    again.complete(chats(40) + chats(40), Decoding(8))
    assert again.chat.asked == 24 and again.store.hits == 16 + 80


def test_only_what_is_deterministic_is_kept(tmp_path):
    cached = CachedChat(Echo(), Store(tmp_path / "a.sqlite"), "model")
    for _ in range(2):
        cached.complete(chats(3), Decoding(8, temperature=1.0))
    assert cached.chat.asked == 6 and not (tmp_path / "a.sqlite").exists()
    cached.chat.by_content = True
    for _ in range(2):
        cached.complete(chats(3), Decoding(8, temperature=1.0))
    assert cached.chat.asked == 9


def test_another_model_decoding_or_medium_is_another_question(tmp_path, pairs):
    (chat,) = chats(1)
    keys = {key_of("m", chat, "d"), key_of("n", chat, "d"), key_of("m", chat, "e"), key_of("m", chats(2)[1], "d")}
    media = [p.prompt for p in pairs if p.task == "TI2T"]
    contents = {parts[0].sha256 + parts[1].text for parts in media}
    keys |= {key_of("m", [{"role": "user", "parts": parts}], "d") for parts in media}
    assert len(keys) == 4 + len(contents) > 5


def test_a_medium_that_was_replaced_is_another_question(tmp_path):
    """A row may declare the sha256 of what lay there before: an answer about that must not come back."""
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    chat = [{"role": "user", "parts": [Part(type="image", path=str(path), sha256="0" * 64)]}]
    before = key_of("m", chat, "d")
    other = tmp_path / "b.png"
    other.write_bytes(b"one")
    copied = [{"role": "user", "parts": [Part(type="image", path=str(other))]}]
    assert key_of("m", copied, "d") == before, "the content counts, not where it lies"
    path.write_bytes(b"another")
    assert key_of("m", chat, "d") != before
    path.unlink()
    with pytest.raises(MediaError, match="a.png: cannot be read"):
        key_of("m", chat, "d")


def test_a_store_of_another_layout_is_named_and_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "a.sqlite") as base:
        base.execute("create table answers (key text primary key, model text, text text, tokens integer)")
        base.execute("insert into answers values ('k', 'm', 'paid', 3)")
    with pytest.raises(RunError, match="a.sqlite holds answers in another layout.*name a new file"):
        Store(tmp_path / "a.sqlite").answer(["k"], lambda some: ["new"])
    with sqlite3.connect(tmp_path / "a.sqlite") as base:
        assert base.execute("select text from answers").fetchall() == [("paid",)]


def test_scores_are_kept_too(tmp_path):
    scorer = SimpleNamespace(calls=0)

    def score(chats, batch_size, progress):
        scorer.calls += len(chats)
        return [0.1 * i for i in range(len(chats))]

    scorer.score = score
    cached = CachedScores(scorer, Store(tmp_path / "a.sqlite"), "s")
    assert cached.score(chats(3)) == cached.score(chats(3)) == [0.0, 0.1, 0.2] and scorer.calls == 3
