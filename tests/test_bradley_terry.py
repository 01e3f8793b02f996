"""The scalar reward model: its likelihoods, scores that depend on their own row alone, training, resume, files."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_parts import make_model, pool_of, processor, save_untrained, text_part, user
from torch.nn.functional import softmax

from omnirepro.data import Label, Pair, Part, Prompt, Response
from omnirepro.evaluate import protocol
from omnirepro.judge.scalar import ScalarJudge, chat, load_scalar_judge, redraw, scorer_in, verdict
from omnirepro.judge.verdict import LEVEL_STARTS
from omnirepro.kit.run import ParameterError, open_run
from omnirepro.models.generation import LocalModel
from omnirepro.models.loading import ModelError, load
from omnirepro.models.processing import keep_settings
from omnirepro.models.scalar import HEAD, Scorer, load_scorer, save_scorer
from omnirepro.papers.omni_reward import stage
from omnirepro.train import bradley_terry
from omnirepro.train.bradley_terry import encode_pairs, make_trainer, train_bradley_terry
from omnirepro.train.pair_trainer import PairTrainer, preference_loss

MODALITIES = ("image", "video", "audio", "text")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Media parts of each kind; views3d is a picture by another name."""
    found = pool_of(tmp_path_factory.mktemp("pool"), 4)
    return found | {"views3d": [p.model_copy(update={"type": "views3d"}) for p in found["image"]]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("base") / "strong")


@pytest.fixture
def scorer():
    """An untrained backbone with a head that tells things apart."""
    scorer = Scorer(make_model(), processor())
    torch.manual_seed(1)
    torch.nn.init.normal_(scorer.value)
    return scorer.eval()


@pytest.fixture(scope="module")
def chats(parts):
    """Every medium in prompts and in responses, with and without criterion, of many lengths."""
    asked, out = text_part("make it"), []
    for i, m in enumerate((*MODALITIES, "views3d")):
        out.append(chat([parts[m][0], text_part("\nwhat is it?" * (i + 1))], [text_part("a ring")], "be short"))
        out.append(chat([asked], [parts[m][1]], "it is a red ring" * i or None))
    several = [parts["image"][2], text_part("and"), parts["audio"][2], parts["video"][2]]
    return [*out, chat([*several, asked], [parts["image"][3], parts["audio"][3], text_part("here")])]


# ---- likelihoods


def test_the_loss_is_that_of_the_paper():
    margin = torch.tensor([0.0, 1.0, -2.0, 30.0])
    wanted = sum(math.log1p(math.exp(-m)) for m in margin.tolist()) / 4
    assert preference_loss(margin).item() == pytest.approx(wanted, abs=1e-6)
    assert preference_loss(torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_davidson_is_a_distribution_and_becomes_bradley_terry_without_ties():
    margin, decided, tied = torch.tensor([1.3]), torch.tensor([False]), torch.tensor([True])
    for nu in (0.2, 1.0, 3.0):
        tie = torch.tensor(nu).log()
        a, b, c = (
            math.exp(-preference_loss(m, t, tie).item())
            for m, t in ((margin, decided), (-margin, decided), (margin, tied))
        )
        p, q = math.exp(1.3), 1.0
        assert a + b + c == pytest.approx(1, abs=1e-5)
        assert a / b == pytest.approx(p / q, rel=1e-4) and c / a == pytest.approx(nu * math.sqrt(p * q) / p, rel=1e-4)
    never = preference_loss(margin, decided, torch.tensor(-40.0))
    assert never.item() == pytest.approx(preference_loss(margin).item(), abs=1e-6)


@pytest.mark.parametrize("log_weight", [-1.0, 0.0, 0.4, 1.5])
def test_the_learned_threshold_is_where_a_tie_stops_being_likeliest(log_weight):
    scorer = Scorer(make_model(), processor(), ties=True)
    scorer.tie.data.fill_(log_weight)
    for gap in torch.linspace(0, 5, 201).tolist():
        odds = softmax(torch.tensor([gap / 2, -gap / 2, log_weight]), 0)
        if abs(gap - scorer.tie_threshold) > 1e-3:
            assert (odds.argmax().item() == 2) == (gap < scorer.tie_threshold)
    assert Scorer(make_model(), processor()).tie_threshold == 0


# ---- scores


def test_a_score_is_the_head_on_the_last_token_of_the_chat_alone(scorer, chats):
    for turns, score in zip(chats, scorer.score(chats, batch_size=4), strict=True):
        example = processor().encode(turns, train=True)
        batch = processor().collate([example])
        batch.pop("labels")
        with torch.no_grad():
            states = make_model().model(**batch).last_hidden_state
        assert example.ids[-1] == processor().tokenizer.eos_token_id
        assert score == pytest.approx((states[0, -1] @ scorer.value).item(), abs=2e-4)


@pytest.mark.parametrize("tune", ["language-model", "lora"])
def test_at_step_0_a_scorer_reads_what_its_base_is_about_to_say(base, chats, tmp_path, monkeypatch, tune):
    """The slope of the base's own log-probabilities over the levels, by least squares, whatever way it is trained."""
    said = LocalModel(make_model(), processor(), "base", 4).choose(chats, ["[["] * len(chats), list("12345"))
    wanted = [np.polyfit(range(5), row, 1)[0] for row in said]
    assert np.ptp(wanted) > 1e-3, "else the test shows nothing"
    run = open_stage(monkeypatch, tmp_path, tune=tune)
    scorer = bradley_terry.make_scorer(run, run.section(), base, LEVEL_STARTS).eval()
    assert scorer.score(chats, 4) == pytest.approx(wanted, abs=2e-5)
    save_scorer(scorer, tmp_path / "scorer", base)
    assert load_scorer(tmp_path / "scorer", "cpu").score(chats, 4) == pytest.approx(wanted, abs=2e-5)
    with pytest.raises(ValueError, match="must be one token"):
        Scorer(make_model(), processor(), levels=["[[low", "[[a little higher"])


def test_scores_depend_neither_on_batch_nor_padding_nor_order(scorer, chats):
    wanted = scorer.score(chats, batch_size=1)
    assert max(wanted) - min(wanted) > 1, "else the test shows nothing"
    for size in (2, 5, 64):
        assert scorer.score(chats, size) == pytest.approx(wanted, abs=2e-4)
    assert scorer.score(chats[::-1], 5)[::-1] == pytest.approx(wanted, abs=2e-4)
    batch = scorer.collate([processor().encode(turns, train=True) for turns in chats])
    wider = {k: torch.nn.functional.pad(batch[k], (0, 9)) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert scorer(**batch | wider).tolist() == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("kind", [*MODALITIES, "views3d"])
def test_media_of_prompt_and_response_and_the_criterion_are_read(scorer, parts, kind):
    one, two = parts[kind][:2]
    asked, said = text_part("what is it?"), text_part("a ring")
    prompts = scorer.score([chat([one, asked], [said]), chat([two, asked], [said])])
    responses = scorer.score([chat([asked], [one]), chat([asked], [two])])
    criteria = scorer.score([chat([asked], [one], c) for c in ("be short", "be kind", None)])
    assert all(len({round(s, 3) for s in scores}) == len(scores) for scores in (prompts, responses, criteria))


def test_scoring_reports_and_leaves_the_model_as_it_was(scorer, chats):
    calls = []
    scorer.train()
    scorer.score(chats, 4, lambda done, total, seconds: calls.append((done, total)))
    assert scorer.training and calls == [(4, 11), (8, 11), (11, 11)]
    assert scorer.score([]) == []


def test_a_chat_has_the_criterion_in_its_system_message_and_keeps_turns():
    def part(text, role="user", turn=0):
        return Part(type="text", text=text, role=role, turn=turn)

    turns = chat([part("a"), part("b"), part("c", "assistant"), part("d", turn=1)], [part("e")], "be short")
    assert [(t["role"], [p.text for p in t["parts"]]) for t in turns] == [
        ("system", ["criterion: be short"]), ("user", ["a", "b"]), ("assistant", ["c"]), ("user", ["d"]),
        ("assistant", ["e"]),
    ]  # fmt: skip
    assert [p.text for p in chat([part("s", "system"), part("a")], [part("e")], "c")[0]["parts"]] == [
        "s", "\ncriterion: c",
    ]  # fmt: skip
    assert [t["role"] for t in chat([part("a")], [part("e")])] == ["user", "assistant"]


# ---- the judge


class Lengths:
    """Scores a chat by the length of its response, and counts what it was asked."""

    def __init__(self):
        self.asked = []

    def score(self, chats, batch_size, progress):
        self.asked += chats
        return [float(len(c[-1]["parts"][0].text)) for c in chats]


def words(name, a, b, label=None, criterion=None, prompt="say"):
    sides = {"response_a": [text_part(a)], "response_b": [text_part(b)]}
    return Pair(id=name, task="T2T", prompt=[text_part(prompt)], label=label, criterion=criterion, **sides)


def test_rows_are_scalar_frozen_and_fit_every_protocol():
    pairs = [words("1", "long one", "no", "A"), words("2", "no", "long one", "A"), words("3", "ab", "cd", "tie")]
    rows = ScalarJudge(Lengths(), "m", seed=3).judge(pairs)
    assert [(r.pair_id, r.order, r.verdict, r.score_a, r.score_b) for r in rows[::2]] == [
        ("1", "AB", "A", 8, 2), ("2", "AB", "B", 2, 8), ("3", "AB", "tie", 2, 2),
    ]  # fmt: skip
    assert {(r.kind, r.status, r.seed, r.decoding["threshold"]) for r in rows} == {("scalar", "ok", 3, 0.0)}
    found = protocol.metrics(rows)
    assert found["accuracy"]["value"] == pytest.approx(2 / 3) and found["consistency"]["value"] == 1
    assert found["always_a"]["value"] == pytest.approx(1 / 3), "half of the decided verdicts, whatever they are"
    assert [redraw(r, 6).verdict for r in rows] == ["tie"] * 6 and redraw(rows[0], 5.9).verdict == "A"
    assert redraw(rows[0], 6).decoding == {"threshold": 6} and rows[0].verdict == "A"


def test_each_response_to_a_prompt_is_scored_once_a_criterion():
    model = Lengths()
    judge = ScalarJudge(model, "m")
    judge.judge([words("1", "x", "yy"), words("2", "yy", "zzz"), words("3", "x", "yy", criterion="c")])
    assert len(model.asked) == 5
    asked = [Prompt(id=str(i), task="t", parts=[text_part("say")]) for i in range(3)]
    said = [Response(prompt_id=str(i), parts=[text_part(t)]) for i, t in enumerate(("x", "yy", "x"))]
    assert judge.score(asked, said) == [1, 2, 1] and len(model.asked) == 7
    with pytest.raises(ValueError):
        judge.score(asked, said[:2])


def test_a_criterion_replaces_the_pairs_own_and_orders_can_be_one():
    model = Lengths()
    (row,) = ScalarJudge(model, "m").judge([words("1", "x", "yy", criterion="old")], orders="BA", criterion="new")
    assert row.order == "BA" and row.verdict == "B" and row.shown == "A" and row.criterion == "new"
    assert all(turns[0]["parts"][0].text == "criterion: new" for turns in model.asked)


def test_a_score_that_is_no_number_is_a_named_failure():
    broken = type("Broken", (), {"score": lambda self, chats, *_: [math.nan] * len(chats)})()
    rows = ScalarJudge(broken, "m").judge([words("1", "x", "yy", "A")])
    assert {(r.status, r.verdict, r.score_a) for r in rows} == {("bad_score", None, None)}
    assert redraw(rows[0], 1.0) == rows[0]


def test_the_verdict_is_the_sign_outside_the_threshold():
    assert [verdict(*s) for s in ((1, 0), (0, 1), (1, 1), (2, 1, 1), (2.1, 1, 1))] == ["A", "B", "tie", "tie", "A"]


# ---- training


def polite(parts):
    """Eight pairs of all kinds: the better response is the one that says thanks, shows ring 0, or is shorter to say."""
    sides = [([text_part("thanks, a ring")], [text_part("steal it")])] * 5 + [
        ([parts["image"][0]], [parts["image"][1]])
    ]
    pairs, labels = [], []
    for i, (good, bad) in enumerate(sides):
        media = [parts[m][0] for m in (*MODALITIES, "views3d")][i : i + 1]
        a, b = (good, bad) if i % 2 else (bad, good)
        prompt = [*media, text_part(f"\nask {i}")]
        pairs.append(Pair(id=str(i), task="t", prompt=prompt, response_a=a, response_b=b, criterion="be kind"))
        said = {"verdict": "AB"[1 - i % 2], "score_a": 0, "score_b": 0, "provenance": "test"}
        labels.append(Label(pair_id=str(i), **said))
    return pairs, labels


SMALL = {"steps": 12, "batch": 6, "lr": 0.003, "save_every": 5, "schedule": "constant", "warmup": 0.0}


def open_stage(monkeypatch, folder, name="smoke", **changes):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(folder))
    values = SMALL | changes
    return open_run("05_bradley_terry", "smoke", name, overrides={f"bradley_terry.{k}": v for k, v in values.items()})


def train(run, base, pairs, labels):
    return train_bradley_terry(run, base, pairs, labels, run.section(), "brief")


@pytest.mark.usefixtures("no_half_precision")
@pytest.mark.parametrize("tune", ["language-model", "lora"])
def test_training_learns_and_is_saved_with_its_head(base, parts, tmp_path, monkeypatch, tune):
    pairs, labels = polite(parts)
    run = open_stage(monkeypatch, tmp_path, tune=tune, lr=0.003 if tune != "lora" else 0.006)
    folder = train(run, base, pairs, labels)
    losses = pd.read_csv(run.path("loss.csv"))
    assert losses["loss"].iloc[-1] < 0.4 and losses["accuracy"].iloc[-1] > 0.9 and losses["margin"].iloc[-1] > 0.5
    again = load_scorer(folder, "cpu")
    rows = ScalarJudge(again, "m", wording="brief").judge(pairs)  # as it was trained
    assert [r.verdict for r in rows[::2]] == [label.verdict for label in labels]
    before, after = make_model().state_dict(), again.backbone.state_dict()
    towers = [k for k in before if "visual" in k or "audio_tower" in k]
    prefix = "base_model.model." if tune == "lora" else ""
    assert len(towers) > 20 and all(torch.equal(before[k], after[prefix + k]) for k in towers), "encoders are frozen"
    assert bool((folder / "adapter_config.json").is_file()) == (tune == "lora") == any("lora" in k for k in after)
    kinds = {f.suffix for f in folder.iterdir()}
    assert (folder / HEAD).is_file() and not kinds & {".bin", ".pt", ".pth", ".pkl"}
    assert str(tmp_path) not in "".join(f.read_text() for f in folder.glob("*.json"))


def test_an_untrained_scorer_prefers_nothing(base, parts, tmp_path, monkeypatch):
    pairs, labels = polite(parts)
    run = open_stage(monkeypatch, tmp_path)
    scorer = bradley_terry.make_scorer(run, run.section(), base)
    trainer = make_trainer(run, run.section(), scorer, encode_pairs(scorer.encode, pairs, labels))
    trained = {n for n, w in scorer.named_parameters() if w.requires_grad}
    assert trained == {n for n, _ in scorer.named_parameters() if "language_model" in n} | {"value"}
    batch = trainer.data_collator([{"row": i} for i in range(6)])
    assert trainer.compute_loss(scorer, batch).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize(("some", "steps"), [(6, 4), (3, 2)])
def test_every_selection_is_passed_over_as_often(base, parts, tmp_path, monkeypatch, some, steps):
    pairs, labels = polite(parts)
    run = open_stage(monkeypatch, tmp_path, steps=0, epochs=2, batch=4)
    scorer = bradley_terry.make_scorer(run, run.section(), base)
    trainer = make_trainer(run, run.section(), scorer, encode_pairs(scorer.encode, pairs, labels[:some]))
    trainer.train()
    assert (trainer.state.global_step, trainer.state.epoch) == (steps, 2)


def test_parts_of_a_batch_add_up_to_the_whole(base, parts, tmp_path, monkeypatch):
    """The optimiser is plain SGD here: Adam would hide a wrong scale."""
    pairs, labels = polite(parts)
    values = []
    for accumulate in (1, 3):
        run = open_stage(monkeypatch, tmp_path / str(accumulate), accumulate=accumulate, steps=1)
        scorer = bradley_terry.make_scorer(run, run.section(), base)
        torch.nn.init.ones_(scorer.value)
        trainer = make_trainer(run, run.section(), scorer, encode_pairs(scorer.encode, pairs, labels))
        trainer.args.max_grad_norm = 0.0
        trainer.optimizer = torch.optim.SGD([w for w in scorer.parameters() if w.requires_grad], lr=0.1)
        trainer.train()
        values.append(scorer.value.detach())
    assert (values[0] - 1).abs().max() > 1e-3, "else the test shows nothing"
    assert torch.allclose(*values, atol=1e-5)


def test_resume_after_a_kill_is_as_if_nothing_happened(base, parts, tmp_path, monkeypatch):
    pairs, labels = polite(parts)

    def train_in(name):
        run = open_stage(monkeypatch, tmp_path, name, batch=3)
        return load_scorer(train(run, base, pairs, labels), "cpu"), pd.read_csv(run.path("loss.csv"))

    straight, wanted = train_in("straight")
    steps, step = [], PairTrainer.training_step

    def until_killed(self, *args, **kwargs):
        if len(steps) == 8:
            raise KeyboardInterrupt
        steps.append(1)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PairTrainer, "training_step", until_killed)
    with pytest.raises(KeyboardInterrupt):
        train_in("killed")
    folder = next((tmp_path / "killed").rglob("checkpoint-5"))
    frozen = [k for k in make_model().state_dict() if "visual" in k]
    weights = load_weights(folder / "trained.safetensors")
    assert "value" in weights and not any(k.endswith(tuple(frozen)) for k in weights), "what is trained and no more"
    monkeypatch.setattr(PairTrainer, "training_step", lambda *a, **k: (steps.append(1), step(*a, **k))[1])
    resumed, found = train_in("killed")
    assert len(steps) == 8 + 7, "it went on from step 5"
    assert torch.allclose(straight.value, resumed.value, atol=1e-5)
    assert found["loss"].tolist() == pytest.approx(wanted["loss"].tolist(), abs=1e-4)


def load_weights(path):
    from safetensors.torch import load_file

    return load_file(path)


def test_ties_are_left_out_and_counted_or_learned_from(base, parts, tmp_path, monkeypatch, capsys):
    pairs, labels = polite(parts)
    half = [x.model_copy(update={"verdict": "tie"}) if i > 2 else x for i, x in enumerate(labels)]
    kept = encode_pairs(processor().encode, pairs, half)
    assert len(kept) == 3 and "3 of 6 labels are ties" in capsys.readouterr().out
    assert [tied for _, _, tied in encode_pairs(processor().encode, pairs, half, "davidson")] == [False] * 3 + [
        True
    ] * 3
    run = open_stage(monkeypatch, tmp_path, ties="davidson", steps=20, lr=0.01)
    folder = train(run, base, pairs, [x.model_copy(update={"verdict": "tie"}) for x in labels])
    judge = load_scalar_judge(folder, device="cpu")
    assert judge.scorer.tie.item() > 0.1 and judge.threshold == judge.scorer.tie_threshold > 0.2
    assert {r.verdict for r in judge.judge(pairs)} == {"tie"}
    losses = pd.read_csv(run.path("loss.csv"))["loss"]
    assert losses.iloc[0] <= math.log(3) and losses.iloc[-1] < losses.iloc[0]
    assert Scorer(make_model(), processor()).tie is None


def test_what_cannot_be_trained_is_refused_by_name(base, parts, tmp_path, monkeypatch):
    pairs, labels = polite(parts)
    pairs[3] = pairs[3].model_copy(update={"id": "the-long-one", "response_b": [text_part("word " * 200)]})
    labels[3] = labels[3].model_copy(update={"pair_id": "the-long-one"})
    run = open_stage(monkeypatch, tmp_path, max_length=120)
    with pytest.raises(ValueError, match=r"pair the-long-one .* over 120; raise bradley_terry.max_length"):
        train(run, base, pairs, labels)
    assert len(encode_pairs(processor().encode, pairs, labels, max_length=2000)) == len(labels)
    with pytest.raises(ValueError, match="no labelled pair"):
        encode_pairs(processor().encode, pairs, [])
    with pytest.raises(KeyError):
        encode_pairs(processor().encode, pairs[:2], labels)
    for key in ("ties", "tune"):
        with pytest.raises(ValueError, match=f"bradley_terry.{key} is 'all'; one of"):
            train(open_stage(monkeypatch, tmp_path, key, **{key: "all"}), base, pairs, labels)
    from test_models import adapted

    from omnirepro.models.loading import save_adapter

    save_adapter(adapted(make_model()), tmp_path / "adapter", base)
    with pytest.raises(ValueError, match="is an adapter"):
        train(open_stage(monkeypatch, tmp_path, "b"), tmp_path / "adapter", pairs, labels)


def test_a_stage_trains_scores_and_keeps_the_threshold_of_dev(base, parts, tmp_path, monkeypatch):
    pairs, labels = polite(parts)
    dev = [p.model_copy(update={"label": x.verdict}) for p, x in zip(pairs, labels, strict=True)]
    same = [p.model_copy(update={"id": f"{p.id}t", "response_a": p.response_b, "label": "tie"}) for p in pairs]
    run = open_stage(monkeypatch, tmp_path)
    data = stage.Data({"train": [], "dev": [*dev, *same], "test": dev}, dev, None)
    rows = stage.scalar_rows(run, base, "full", 0, data, dev, kept=True)
    assert [r.model for r in rows[:36]] == ["bt/dev"] * 24 + ["bt/test"] * 12
    judge = load_scalar_judge(run.dir, device="cpu")
    decided = [redraw(row, judge.threshold) for row in rows[:36]]
    assert all(r.verdict == r.label for r in decided), "the training pairs are easily told apart, and equal ones tie"
    assert judge.name == "smoke/05_bradley_terry" and 0 <= judge.threshold == decided[0].decoding["threshold"]
    assert [r.verdict for r in judge.judge(dev)] == [r.verdict for r in decided[24:]]
    other = stage.scalar_rows(run, base, "full", 1, data, dev, kept=False)
    assert len(other) == len(rows) and {r.seed for r in other} == {1}
    assert run.path("full-1/loss.csv").exists() and not run.path("full-1/scorer").exists(), "one scorer is kept"
    assert load_scalar_judge(run.dir, device="cpu", threshold=1e3).judge(dev)[0].verdict == "tie"


def test_an_override_that_no_training_of_the_stage_reads_is_refused(base, parts, tmp_path, monkeypatch):
    """The language model is tuned whole here, so that the rank of LoRA matters to nothing."""
    pairs, labels = polite(parts)
    labelled = [p.model_copy(update={"label": x.verdict}) for p, x in zip(pairs, labels, strict=True)]
    data = stage.Data({"train": [], "dev": labelled, "test": labelled[:2]}, labelled, None)

    def work(run):
        stage.scalar_rows(run, base, "full", 0, data, labelled, kept=True)

    run = open_stage(monkeypatch, tmp_path, "a", steps=1, lora_rank=4)
    run.do(work)
    with pytest.raises(ParameterError, match=r"bradley_terry\.lora_rank was overridden .* no code of 05"):
        run.finish({})
    run = open_stage(monkeypatch, tmp_path, "b", steps=1)
    run.do(work)
    run.finish({})
    assert {"bradley_terry.lr", "bradley_terry.ties", "judge.wording"} <= run.params.reads.keys()
    assert open_stage(monkeypatch, tmp_path, "b", steps=1, lora_rank=4).skipped
    assert not open_stage(monkeypatch, tmp_path, "b", steps=2).skipped


# ---- files


@pytest.mark.parametrize("tune", ["language-model", "lora"])
def test_a_scorer_survives_a_move_with_its_base(base, scorer, chats, tmp_path, tune):
    if tune == "lora":
        from test_models import adapted

        scorer = Scorer(adapted(make_model()), processor(), ties=True)
        torch.nn.init.normal_(scorer.value)
        scorer.tie.data.fill_(0.3)
    wanted = scorer.score(chats)
    shutil.copytree(base, tmp_path / "run" / "base")
    folder = tmp_path / "run" / "stage" / "scorer"
    save_scorer(scorer, folder, tmp_path / "run" / "base")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "stage" / "scorer"
    again = load_scorer(folder, "cpu")
    assert again.score(chats) == pytest.approx(wanted, abs=1e-5) and not again.training
    assert again.tie_threshold == pytest.approx(0.6 if tune == "lora" else 0)
    assert scorer_in(folder) == scorer_in(folder.parent) == folder and scorer_in(tmp_path) is None
    keep_settings(folder, threshold=0.25)
    assert load_scalar_judge(folder.parent, device="cpu").threshold == 0.25
    kept = json.loads((folder / "judge.json").read_text())
    assert kept == {"media": scorer.processor.limits, "threshold": 0.25}


def test_a_damaged_or_missing_scorer_is_named(base, scorer, tmp_path):
    folder = tmp_path / "scorer"
    save_scorer(scorer, folder, base)
    for damage in (lambda f: f.write_bytes(b"nonsense"), lambda f: f.unlink()):
        damage(folder / HEAD)
        with pytest.raises(ModelError, match="scorer"):
            load_scorer(folder, "cpu")
    from safetensors.torch import save_file

    save_file({"value": torch.zeros(5)}, folder / HEAD)
    with pytest.raises(ModelError, match="does not fit its backbone of width 64"):
        load_scorer(folder, "cpu")
    with pytest.raises(ModelError):
        load_scalar_judge(tmp_path / "nowhere")


def test_a_text_only_model_scores_too(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(processor().tokenizer), **sizes))
    model.save_pretrained(tmp_path / "llama")
    processor().save_pretrained(tmp_path / "llama")
    scorer = Scorer(*load(tmp_path / "llama", "cpu"))
    torch.nn.init.normal_(scorer.value)
    one, two = ([user("what?"), {"role": "assistant", "parts": [text_part(t)]}] for t in ("a", "bb bb bb"))
    assert scorer.score([one, two]) == pytest.approx([*scorer.score([one]), *scorer.score([two])], abs=1e-5)
