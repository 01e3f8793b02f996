"""Best-of-N: ways to choose by hand and by property, tables, the referee, the command, the stage, the figures."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from tiny_parts import make_model, processor, save_untrained, text_part

from omnirepro.cli.main import main
from omnirepro.data import Judgement, Prompt, RowError, read_jsonl, text_of, write_jsonl
from omnirepro.judge import generative
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import load_params
from omnirepro.kit.run.files import atomic_write
from omnirepro.kit.scorecard import load_claims
from omnirepro.models.generation import Generated, LocalModel
from omnirepro.models.scalar import Scorer, save_scorer
from omnirepro.papers import judges as judges_module
from omnirepro.papers.best_of_n import chosen, report, stage
from omnirepro.papers.best_of_n.report import CHOICE_PLOTS, LINES
from omnirepro.search import Candidates, Chosen, Referee, choose, own_scores
from omnirepro.search import tournament as ways
from omnirepro.search.tournament import Match, knock_out, round_robin
from omnirepro.toyworld.language import compose, stated
from omnirepro.toyworld.tasks import World, make_prompts
from tests.conftest import ROOT

WORTHS = st.lists(st.integers(0, 6), min_size=1, max_size=9)


def perfect(worths):
    """Compare by hidden worths; equal ones tie. `worths` maps a prompt to a list."""

    def compare(matches):
        gaps = [worths[m.prompt][m.first] - worths[m.prompt][m.second] for m in matches]
        return ["A" if gap > 0 else "B" if gap < 0 else "tie" for gap in gaps]

    return compare


def coin(seed):
    """Compare at random, with ties and failures; the same match always ends alike."""

    def one(match):
        rng = np.random.default_rng([seed, match.first, match.second])
        return ["A", "B", "tie", None][rng.integers(4)]

    return lambda matches: [one(m) for m in matches]


def always_a(matches):
    return ["A"] * len(matches)


# ---- knock-out


def test_a_knock_out_by_hand():
    """Candidate 2 repeats 0, so it meets no one; 1 beats 0, 3 ties, 4 fails, 5 beats 1."""
    met, said = [], {1: 1, 3: "tie", 4: None, 5: 5}

    def compare(matches):
        met.extend(matches)
        out = []
        for m in matches:
            winner = said[max(m.first, m.second)]
            out.append({m.first: "A", m.second: "B"}.get(winner, winner))
        return out

    ladder = knock_out({"p": [0, 1, 0, 3, 4, 5]}, compare)["p"]
    assert ladder.leads == [0, 1, 1, 1, 1, 5]
    assert ladder.calls == [0, 1, 1, 2, 3, 4] and ladder.kept == [0, 0, 0, 1, 2, 2]
    assert ladder.lost == [0, 3, 4, 1]
    assert [{m.first, m.second} for m in met] == [{0, 1}, {1, 3}, {1, 4}, {1, 5}]


def test_the_released_seating_gives_the_incumbent_slot_a_and_the_default_tosses():
    seen = {"A": [], "random": []}
    forms = {f"p{i}": list(range(5)) for i in range(200)}
    for how, found in seen.items():

        def compare(matches, found=found):  # fmt: skip
            found.extend(matches)
            return [None] * len(matches)  # the incumbent always stays: it is candidate 0 throughout

        knock_out(forms, compare, how)
    assert all(m.first == 0 for m in seen["A"]) and len(seen["A"]) == 800
    share = np.mean([m.first == 0 for m in seen["random"]])
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(800), f"the incumbent is A in {share:.0%} of the matches"
    again = []
    knock_out(forms, lambda m: again.extend(m) or [None] * len(m))
    assert again == seen["random"], "the sides hang on the match, not on the call"
    with pytest.raises(ValueError, match="random, A"):
        knock_out(forms, always_a, "B")


def test_a_judge_that_always_says_a_never_changes_the_released_incumbent():
    forms = {f"p{i}": list(range(9)) for i in range(50)}
    released = knock_out(forms, always_a, "A")
    assert all(ladder.leads == [0] * 9 and ladder.kept[-1] == 8 for ladder in released.values())
    tossed = [ladder.leads[-1] for ladder in knock_out(forms, always_a).values()]
    assert len(set(tossed)) > 3


@given(WORTHS, st.sampled_from(ways.INCUMBENTS), st.integers(0, 5))
def test_a_perfect_judge_finds_the_best_of_every_prefix(worths, incumbent, seed):
    ladder = knock_out({"p": list(range(len(worths)))}, perfect({"p": worths}), incumbent, seed)["p"]
    for n in range(1, len(worths) + 1):
        assert worths[ladder.leads[n - 1]] == max(worths[:n])
    assert ladder.calls[-1] == len(worths) - 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(0, 9))
def test_a_smaller_n_is_a_knock_out_of_the_first_candidates(texts, seed):
    forms = ways.forms_of(texts)
    whole = knock_out({"p": forms}, coin(seed))["p"]
    for n in range(1, len(texts) + 1):
        part = knock_out({"p": forms[:n]}, coin(seed))["p"]
        assert part.leads == whole.leads[:n] and part.calls == whole.calls[:n]
    assert whole.calls[-1] == len(set(texts)) - 1


def test_prompts_are_judged_side_by_side_and_not_mixed_up():
    worths, calls = {"p": [1, 3, 2], "q": [5, 1], "r": [2]}, []

    def compare(matches):
        calls.append([m.prompt for m in matches])
        return perfect(worths)(matches)

    found = knock_out({name: list(range(len(row))) for name, row in worths.items()}, compare)
    assert {name: ladder.leads for name, ladder in found.items()} == {"p": [0, 1, 1], "q": [0, 0], "r": [0]}
    assert calls == [["p", "q"], ["p"]]


# ---- round robin


def test_two_candidates_by_hand():
    """One wins both matches: at the optimum 2 (1 - s(2x)) = s(x) - 1/2, the drawn game's pull, with s the sigmoid."""

    def sigmoid(x):  # fmt: skip
        return 1 / (1 + math.exp(-x))

    x = brentq(lambda x: 2 * (1 - sigmoid(2 * x)) - (sigmoid(x) - 0.5), 0, 5)
    found = ways.bradley_terry(np.array([[0.0, 2.0], [0.0, 0.0]]))
    assert found.tolist() == pytest.approx([x, -x], abs=1e-8)
    assert ways.bradley_terry(np.array([[0.0, 1.0], [1.0, 0.0]])).tolist() == pytest.approx([0, 0])
    assert ways.bradley_terry(np.zeros((1, 1))).tolist() == [0]


def test_a_failed_match_says_nothing_and_a_tie_is_half_a_win():
    tied = round_robin({"p": [0, 1]}, lambda matches: ["tie"] * len(matches))["p"]
    lost = round_robin({"p": [0, 1]}, lambda matches: [None] * len(matches))["p"]
    assert tied == lost == {0: 0.0, 1: 0.0}
    half = round_robin({"p": [0, 1]}, lambda matches: ["A", None])["p"]
    assert half[0] > 0 > half[1] and half[0] == pytest.approx(-half[1])
    biased = round_robin({"p": [0, 1, 2]}, always_a)["p"]
    assert list(biased.values()) == pytest.approx([0, 0, 0]), "both orders cancel a love of slot A"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=2, max_size=7, unique=True), st.randoms(), st.integers(0, 9))
def test_strengths_do_not_hang_on_the_order_of_the_candidates(names, random, seed):
    shuffled = random.sample(names, len(names))

    def by_name(order):
        def compare(matches):
            return coin(seed)([Match(m.prompt, order[m.first], order[m.second]) for m in matches])

        found = round_robin({"p": list(range(len(order)))}, compare)["p"]
        return {name: found[i] for i, name in enumerate(order)}

    one, two = by_name(names), by_name(shuffled)
    assert {k: pytest.approx(v, abs=1e-6) for k, v in one.items()} == two
    assert sum(one.values()) == pytest.approx(0, abs=3)


@settings(max_examples=40, deadline=None)
@given(WORTHS)
def test_a_perfect_judge_orders_by_worth(worths):
    asked = []

    def compare(matches):
        asked.extend(matches)
        return perfect({"p": worths})(matches)

    found = round_robin({"p": list(range(len(worths)))}, compare)["p"]
    assert worths[ways.highest(found)] == max(worths)
    for i, a in enumerate(worths):
        assert all((found[i] > found[j]) == (a > b) for j, b in enumerate(worths) if abs(found[i] - found[j]) > 1e-6)
    assert len(asked) == len(worths) * (len(worths) - 1) and len(set(asked)) == len(asked)


# ---- the other ways, costs and frozen rows


def test_votes_lengths_scores_and_costs_by_hand():
    assert ways.forms_of(["a", "b", "a", "c", "b"]) == [0, 1, 0, 3, 1]
    assert ways.vote(["red", None, "blue", "blue"]) == 2 and ways.vote(["red", "blue"]) == 0
    assert ways.vote([None, None]) == 0 and ways.vote([None, "red"]) == 1
    assert ways.longest(["ab", "abc", "xyz"]) == 1
    assert ways.highest({0: 1.0, 2: 5.0, 4: 5.0}) == 2 and ways.highest({0: math.nan, 1: -9.0}) == 1
    assert ways.kl(1) == 0 and ways.kl(2) == pytest.approx(math.log(2) - 0.5)
    assert chosen.sizes_up_to(12) == [1, 2, 4, 8, 12] and chosen.sizes_up_to(8) == [1, 2, 4, 8]


def test_what_an_answer_states_needs_no_truth(tmp_path):
    _, truths = make_prompts(tmp_path, "dev", 8, 0)
    for scene, question in World.from_rows(truths).truths.values():
        said = compose(scene, question)
        assert stated(said) == stated(f"well, {said} go and burn it.") and stated(said).startswith(question.attribute)
    assert stated("no idea") is None


def test_frozen_rows_are_a_judge_and_a_match_never_judged_is_an_error():
    about = {"task": "T", "cluster": "p", "order": "AB", "model": "m", "kind": "rubric"}
    rows = [Judgement(pair_id="p#0-1", verdict="B", status="ok", **about)]
    rows.append(Judgement(pair_id="p#1-0", verdict="A", status="score_mismatch", **about))
    compare = ways.frozen(rows)
    assert compare([Match("p", 0, 1), Match("p", 1, 0)]) == ["B", None]
    with pytest.raises(KeyError, match="p#0-2"):
        compare([Match("p", 0, 2)])


# ---- tables


def make_table(prompts=12, n=8, seed=0):
    """Candidates of random quality, with repetitions; the longer a text, the better."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(prompts):
        scores = rng.integers(0, 11, n)
        for place, form in enumerate(ways.forms_of(scores.tolist())):
            score = int(scores[place])
            rows.append({
                "prompt_id": f"p{i}", "task": ("image", "text")[i % 2], "cluster": f"c{i}", "place": place,
                "form": form, "text": "x" * score, "answer": None if score < 2 else f"v{score % 3}",
                "right": int(score > 5), "score": score,
            })  # fmt: skip
    return pd.DataFrame(rows)


def forms_in(table):
    return {name: part["form"].tolist() for name, part in table.groupby("prompt_id", sort=False)}


def scores_in(table):
    return {n: dict(zip(part["form"], part["score"], strict=True)) for n, part in table.groupby("prompt_id")}


def test_curves_and_gains_by_hand():
    table = pd.DataFrame({
        "prompt_id": ["p", "p", "q", "q"], "task": "text", "cluster": ["1", "1", "2", "2"], "place": [0, 1, 0, 1],
        "form": [0, 1, 0, 0], "text": ["a", "bb", "c", "c"], "answer": ["x", "y", None, None], "right": [0, 1, 0, 0],
        "score": [2, 8, 4, 4],
    })  # fmt: skip
    ladders = knock_out(forms_in(table), perfect({"p": [2, 8], "q": [4, 4]}))
    picks = chosen.of_ladders(ladders, [1, 2], "knock-out", "judge")
    found = pd.concat([chosen.qualities(picks, table), chosen.bounds(table, [1, 2])])
    levels = chosen.curve(found, "score").set_index(["way", "n"])
    assert levels["value"].to_dict() == {
        ("knock-out", 1): 3, ("knock-out", 2): 6, ("random", 1): 3, ("oracle", 1): 3, ("random", 2): 4.5,
        ("oracle", 2): 6,
    }  # fmt: skip
    assert levels.loc[("knock-out", 2), "calls"] == 0.5, "equal answers never meet"
    gained = chosen.gain(chosen.at(found, "knock-out", "judge"), chosen.at(found, "random"), "score")
    assert gained.value == 1.5 and gained.n == 2
    kept = chosen.at(found, "knock-out", "judge").set_index("prompt_id")["kept"]
    assert kept["p"] == 0 and math.isnan(kept["q"])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99))
def test_no_way_beats_the_oracle(seed):
    table = make_table(6, 5, seed)
    sizes, forms = chosen.sizes_up_to(5), forms_in(table)
    found = [
        chosen.of_ladders(knock_out(forms, coin(seed)), sizes, "knock-out", "coin"),
        chosen.of_round_robins(forms, coin(seed), sizes, "coin"),
        chosen.of_scores(forms, scores_in(table), sizes, "own score", "truth"),
        chosen.without_a_judge(table, sizes),
    ]
    every = pd.concat([chosen.qualities(pd.concat(found), table), chosen.bounds(table, sizes)])
    best = every[every["way"] == "oracle"].set_index(["prompt_id", "n"])
    for row in every.itertuples():
        for measure in chosen.MEASURES:
            assert getattr(row, measure) <= best.loc[(row.prompt_id, row.n), measure]
    true = every[every["way"] == "own score"]
    assert (true["score"].to_numpy() == best.loc[list(zip(true["prompt_id"], true["n"], strict=True)), "score"]).all()


def test_proxy_and_truth_part_where_the_proxy_is_noise():
    table = make_table(300, 8)
    rng = np.random.default_rng(1)
    noise = {n: {form: float(rng.normal()) for form in part} for n, part in scores_in(table).items()}
    sides = {"truth": {n: {k: float(v) for k, v in p.items()} for n, p in scores_in(table).items()}, "noise": noise}
    found, scores = [], []
    for judge, values in sides.items():
        found.append(chosen.of_scores(forms_in(table), values, [1, 2, 4, 8], "own score", judge))
        rows = [(judge, n, form, x) for n, part in values.items() for form, x in part.items()]
        scores.append(pd.DataFrame(rows, columns=["judge", "prompt_id", "place", "score"]))
    data = chosen.overoptimisation(chosen.qualities(pd.concat(found), table), table, pd.concat(scores))
    at = data[data["n"] == 8].assign(line=lambda t: t["line"].str[:5]).set_index(["judge", "line"])["value"]
    assert at["truth", "proxy"] == pytest.approx(at["truth", "truth"]) and at["truth", "truth"] > 1
    assert at["noise", "proxy"] > 1 and abs(at["noise", "truth"]) < 0.3
    one = data[data["n"] == 1]
    assert one["value"].abs().max() < 0.3 and set(one["kl"]) == {0.0}


# ---- the referee and `choose`


def row(name="q", *texts, **more):
    texts = texts or ("bad", "good", "bad", "best of all")
    candidates = [[text_part(t)] for t in texts]
    return Candidates(id=name, prompt=[text_part("what?")], candidates=candidates, **more)


class Lengths:
    """A chat that prefers the longer answer and says why."""

    name = "lengths"

    def __init__(self):
        self.asked = []

    def complete(self, chats, decoding, seed=0, progress=None):
        texts = ["".join(text_of([p]) for m in chat for p in m["parts"]) for chat in chats]
        self.asked += texts
        return [Generated(self._say(text), 5, True) for text in texts]

    def _say(self, text):
        a, b = (len(side.split("\n")[0]) for side in text.split("\nA: ")[1].split("\nB: "))
        better = "A" if a > b else "B" if b > a else "equal"
        said = {"reasoning": f"<think>{a} against {b}</think>", "score_A": min(a, 10), "score_B": min(b, 10)}
        return json.dumps(said | {"better": better, "final_verdict": f"<answer>[[{better}]]</answer>"})


class Scores:
    def score(self, chats, batch_size, progress=None):
        return [float(len(text_of(chat[-1]["parts"]))) for chat in chats]


def test_equal_matches_are_asked_once_and_kept_as_displayed():
    chat = Lengths()
    known = {"q": row()}
    referee = Referee(known, lambda pairs: Judge(chat).judge(pairs, "AB"))
    said = referee([Match("q", 0, 1), Match("q", 1, 0), Match("q", 0, 1)])
    assert said == ["B", "A", "B"] and len(chat.asked) == 2
    assert referee([Match("q", 1, 0)]) == ["A"] and len(chat.asked) == 2
    assert own_scores(Judge(chat), referee) == {"q": {0: 3.0, 1: 4.0, 3: 10.0}}, "beside itself, 0-10"


@pytest.mark.parametrize("how", ways.WAYS)
def test_choices_come_with_ranks_and_reasons(how):
    for judge in (Judge(Lengths()), ScalarJudge(Scores(), "scalar")):
        found = choose(judge, [row(), row("r", "only one")], how)[0]
        assert (found.best, found.how, found.model, found.failed) == (3, how, judge.name, 0)
        assert found.ranks[3] == 1 and found.ranks[0] == found.ranks[2] and max(found.ranks) == 3
        if how != "knockout":
            assert found.ranks == [3, 2, 3, 1] and found.strengths[3] == max(found.strengths)
        assert found.calls == {"knockout": 2, "round-robin": 6, "scalar": 3}[how]
        if isinstance(judge, Judge):
            assert all(" against " in c.reason and "think" not in c.reason for c in found.comparisons)
        assert (found.strengths is None) == (how == "knockout")


def test_a_judge_that_cannot_be_read_is_counted_and_leaves_the_first():
    class Mute(Lengths):
        def _say(self, text):
            return "hm"

    for how in ways.WAYS:
        found = choose(Judge(Mute()), [row()], how)[0]
        assert found.best == 0 and found.failed == found.calls > 0


def test_two_rows_of_one_id_and_an_unknown_way_are_errors():
    with pytest.raises(ValueError, match="repeat an id"):
        choose(Judge(Lengths()), [row(), row()])
    with pytest.raises(ValueError, match="knockout, round-robin, scalar"):
        choose(Judge(Lengths()), [row()], "best")


def test_media_of_candidates_are_relative_to_their_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"1")
    part = {"type": "audio", "path": str(tmp_path / "a.wav")}
    one = Candidates(id="m", prompt=[text_part("sing")], candidates=[[part], [part]])
    assert one.forms() == [0, 0]
    path = write_jsonl(tmp_path / "deep" / "rows.jsonl", [one])
    assert json.loads(path.read_text())["candidates"][0][0]["path"] == "../a.wav"
    assert read_jsonl(path, Candidates, check_media=True)[0] == one
    (tmp_path / "a.wav").unlink()
    with pytest.raises(RowError, match="rows.jsonl:1.*a.wav"):
        read_jsonl(path, Candidates, check_media=True)


# ---- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with an untrained model, which nobody can read."""
    return save_untrained(tmp_path_factory.mktemp("model"))


def test_the_command_chooses_from_anyones_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generative, "load_judge", lambda path, **how: Judge(Lengths()))
    path, out = write_jsonl(tmp_path / "in.jsonl", [row(), row("r", "yes", "no")]), tmp_path / "out.jsonl"
    assert main(["best-of-n", str(path), "--model", "m", "--out", str(out), "--how", "round-robin"]) == 0
    found = read_jsonl(out, Chosen)
    assert [(r.id, r.best) for r in found] == [("q", 3), ("r", 0)] and found[0].ranks == [3, 2, 3, 1]
    assert found[1].comparisons[0].reason == "3 against 2" and "2 choices" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        '{"id": "x", "prompt": [{"type": "text", "text": "?"}], "candidates": []}',
        '{"id": "x", "prompt": [{"type": "text", "text": "?"}], "candidates": [[]]}',
        '{"id": "q", "prompt": [{"type": "text", "text": "?"}], "candidates": [[{"type": "text", "text": "a"}]]}',
        '{"id": "x", "prompt": [{"type": "image", "path": "no.png"}], "candidates": [[{"type": "text", "text": "a"}]]}',
        '{"id": "x"',
        '{"id": "x"}',
    ],
)
def test_the_command_names_the_line_that_is_wrong(tmp_path, model, capsys, wrong):
    path, out = write_jsonl(tmp_path / "in.jsonl", [row()]), tmp_path / "out.jsonl"
    with path.open("a") as file:
        file.write(wrong + "\n")
    assert main(["best-of-n", str(path), "--model", str(model), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"{path}:2" in said and "Traceback" not in said and not out.exists()


def test_the_command_with_a_real_model(tmp_path, model):
    path, out = write_jsonl(tmp_path / "in.jsonl", [row("q", "a", "b", "a")]), tmp_path / "out.jsonl"
    assert main(["best-of-n", str(path), "--model", str(model), "--out", str(out)]) == 0
    (found,) = read_jsonl(out, Chosen)
    assert found.calls == 1 == found.failed and (found.best, found.ranks) == (0, [1, 2, 1])
    assert found.comparisons[0].status != "ok" and {found.comparisons[0].a, found.comparisons[0].b} == {0, 1}


# ---- the stage, through real models


P = {"prompts": 4, "candidates": 3, "round_robin": 2, "generator": "weak", "temperature": 1.0, "top_p": 1.0,
     "max_new_tokens": 6, "search_prompts": 1, "search_candidates": 2,
     "data": [], "match": "auto", "judges": []}  # fmt: skip
SEARCH = {"k": 1, "n": 1, "top": 1, "variant": "published", "per_call": 1, "thinking": ["T2T"], "templates": True,
          "max_new_tokens": 8, "writing": 1.0, "group": 4}  # fmt: skip


class FakeRun:
    seed, device, dtype = 0, "cpu", "float32"

    def __init__(self, folder):
        self.folder = folder

    def section(self, name="best_of_n"):
        judge = {"wording": "brief", "read": "generate", "batch_size": 8, "max_new_tokens": 4}
        named = {"best_of_n": P, "meta_reward_dpo": SEARCH, "media": load_params("smoke").section("media")}
        return named.get(name, judge)

    def path(self, name=""):
        return self.folder / name

    def write(self, name, content):
        return atomic_write(self.folder / name, content)

    @property
    def checkpoint_dir(self):
        (self.folder / ".partial").mkdir(parents=True, exist_ok=True)
        return self.folder / ".partial"


@pytest.fixture(scope="module")
def made(tmp_path_factory, model):
    """The folder of a stage whose roles are all played by untrained models, the criteria by a stand-in."""
    folder, data = tmp_path_factory.mktemp("stage"), tmp_path_factory.mktemp("data")
    prompts, truths = make_prompts(data / "media", "test", 4, 0)
    write_jsonl(data / "prompts_test.jsonl", prompts)
    write_jsonl(data / "truths_test.jsonl", truths)
    scorer = Scorer(make_model(), processor())
    torch.nn.init.normal_(scorer.value)
    (folder / "scorer").mkdir()
    save_scorer(scorer, folder / "scorer", model)
    judges = dict.fromkeys(("base", "sft", "grpo"), model)
    thinkers = {"sft": model, "dpo": model}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges_module, "load_judge", brief)
        stage.best_of_n(FakeRun(folder), model, judges, data, folder / "scorer", thinkers)
    return folder


def brief(path, *args, **kw):
    """Load a judge that is asked in few words: a folder without settings is asked in many."""
    return generative.load_judge(path, *args, **kw, **({} if path.name == "scorer" else {"wording": "brief"}))


def test_the_stage_freezes_rows_that_give_its_choices_again(made):
    assert stage.replay(made)
    rows = read_jsonl(made / "candidates.jsonl", Candidates, check_media=True)
    table, choices = pd.read_csv(made / "candidates.csv"), pd.read_csv(made / "choices.csv")
    assert [len(r.candidates) for r in rows] == [3] * 4 and len(table) == 12
    assert {r.task for r in rows} == {"image", "video", "audio", "text"}
    judged = read_jsonl(made / "predictions.jsonl", Judgement)
    assert {r.model for r in judged} == {"base", "sft", "grpo", "search sft", "search dpo"}
    names = [(r.model, r.pair_id) for r in judged]
    assert len(names) == len(set(names)) and {r.order for r in judged} == {"AB"}
    assert all(r.label is None for r in judged), "no truth reaches a judge"
    mute = choices[choices["way"].str.startswith("knock-out") & choices["judge"].isin(["sft", "grpo"])]
    assert (mute["place"] == 0).all(), "a judge that cannot be read leaves the first sample"
    searched = choices[choices["way"] == "criteria search"]
    assert set(searched["judge"]) == {"sft", "dpo"} and set(searched["task"]) == {"text"}
    scores = pd.read_csv(made / "scores.csv")
    assert scores.loc[scores["judge"] == "scalar", "score"].nunique() > 4


def test_a_killed_stage_samples_and_asks_nothing_twice(made, model, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was asked again")

    monkeypatch.setattr(LocalModel, "complete", refuse)
    monkeypatch.setattr(judges_module, "load_judge", brief)
    rows = read_jsonl(made / "candidates.jsonl", Candidates)
    prompts = [Prompt(id=r.id, task=r.task, parts=r.prompt, cluster=r.cluster) for r in rows]
    again = stage.sample(FakeRun(made), model, prompts)
    assert [r.candidates for r in again] == [r.candidates for r in rows]
    found = stage.Found([])
    stage.ask_judge(FakeRun(made), "sft", model, {r.id: r for r in rows}, [1, 2, 3], found)
    assert len(found.judged) == sum(r.model == "sft" for r in read_jsonl(made / "predictions.jsonl", Judgement))


def test_a_judge_is_read_as_the_run_says_and_scores_one_candidate_as_it_writes(made, model, monkeypatch, tmp_path):
    """Untrained weights write nothing that can be read, but have probabilities of A and B."""

    class Chosen(FakeRun):
        def section(self, name="best_of_n"):
            found = super().section(name)
            return found | {"read": "choice"} if name == "judge" else found

    monkeypatch.setattr(stage, "load_judge", brief)
    rows = {r.id: r for r in read_jsonl(made / "candidates.jsonl", Candidates)}
    found = stage.Found([])
    stage.ask_judge(Chosen(tmp_path), "sft", model, rows, [1, 2, 3], found)
    chosen = [row for row in found.judged if row.probability is not None]
    alone = [row for row in found.judged if row.probability is None]
    assert chosen and all(row.status == "ok" and row.decoding["read"] == "choice" for row in chosen)
    assert alone and all(row.status != "ok" for row in alone), "beside itself a candidate is scored by what is written"
    assert {row.model for row in found.judged} == {"sft"} and {row.order for row in found.judged} == {"AB"}
    names = [row.pair_id for row in found.judged]
    assert len(names) == len(set(names))


def test_metrics_name_the_claims_and_figures_come_from_the_files_alone(made):
    found = report.choice_metrics(made)
    book = load_claims(ROOT / "results/claims.yaml")
    claims = {c.tests.metric for c in book.claims.values() if c.tests and c.tests.stage == "08_best_of_n"}
    assert len(claims) >= 7 and claims <= set(found)
    assert {"incumbent_as_a_minus_random_side", "proxy_last_doubling_scalar"} <= set(found)
    assert found["oracle_minus_judge"].value >= 0 and found["valid_share_grpo"].value == 0
    assert found["judge_minus_sft_judge"].value == 0
    table = report.choice_table(made)
    assert table.loc["oracle", "N"] == 3 and set(table.index) == set(LINES.values())
    for rows, draw in CHOICE_PLOTS.values():
        figure = draw(rows(made))
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)


def test_what_the_run_does_not_have_is_left_out(made, tmp_path):
    choices = pd.read_csv(made / "choices.csv")
    gone = choices["way"].isin(["scalar model", "criteria search"])
    for name in ("candidates.csv", "scores.csv", "predictions.jsonl"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    choices[~gone].to_csv(tmp_path / "choices.csv", index=False)
    found = report.choice_metrics(tmp_path)
    assert not [name for name in found if "scalar" in name or "criteria" in name]
    tables = {name: rows(tmp_path) for name, (rows, _) in CHOICE_PLOTS.items()}
    assert {name for name, table in tables.items() if table.empty} == {"overoptimisation"}, "no score could be read"
    assert all(CHOICE_PLOTS[name][1](table).axes for name, table in tables.items() if len(table))


def test_a_frame_without_rows_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        CHOICE_PLOTS["ways"][1](pd.DataFrame(columns=["panel", "line", "n", "value", "low", "high"]))
