"""Pre-flight and watch: what probes earn by hand, dead groups by counting, and collapses that are and are not there."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from omnirepro.data import DIMENSIONS, Label
from omnirepro.judge import rubric
from omnirepro.reward import PRESETS, REWARDS, format_parts, score
from omnirepro.reward.monitor import WINDOW, collapse, swap_consistency, watch
from omnirepro.reward.preflight import PROBES, dead_share, expected_dead, preflight_table, probe_table

GOOD = dict.fromkeys(DIMENSIONS, True)


def label(a, b, **changes):
    marks = {"marks_a": GOOD, "marks_b": GOOD}
    return Label(pair_id="p", verdict=rubric.ranking(a, b), score_a=a, score_b=b, provenance="t", **marks | changes)


BOTH = [label(9, 5), label(5, 9)]  # one pair in both displayed orders


# ---- probes


def test_every_probe_is_what_its_name_says():
    for gold in (*BOTH, label(6, 6), label(0, 0), label(10, 10), label(0, 10)):
        made = {name: probe(gold, "the prompt") for name, probe in PROBES.items()}
        parsed = {name: rubric.parse(text) for name, text in made.items()}
        assert parsed["gold judgement"].verdict == gold.verdict != parsed["mistaken judgement"].verdict
        for name in made:
            if name.startswith("always"):
                said = name.split()[1].rstrip(",")
                assert (parsed[name].status, parsed[name].verdict) == ("ok", said), name
            if name.endswith("against verdict"):
                assert parsed[name].status == "score_mismatch", name
                assert (parsed[name].verdict == gold.verdict) == name.startswith("gold"), name
        assert parsed["gold, several verdicts"].status == "several_verdicts"
        assert all(format_parts(made["gold, fenced"]).values())
        assert "good" not in made["gold, template rationale"] and made["copied input"] == "the prompt"
        assert parsed["gold, empty rationale"].status == "ok" and made["empty"] == "" and len(made["endless"]) > 20_000


def test_constant_probes_do_not_read_the_gold():
    for name in ("always A, 6:5", "always A, 10:0", "always B, 5:6", "always tie, 6:6", "empty", "endless"):
        assert len({PROBES[name](gold, "") for gold in (*BOTH, label(6, 6))}) == 1, name


def earned(table, preset, probe):
    return table.set_index(["preset", "probe"]).loc[(preset, probe)]


def test_probes_earn_what_the_formulas_say():
    table = probe_table(BOTH)
    # 6:5 is 3 + 0 off 9:5 and 1 + 4 off 5:9: R_pref is .6 + .4 x .7 = .88 and -.6 + .4 x .5 = -.4, mean .24
    assert earned(table, "published", "always A, 6:5")["reward"] == pytest.approx(0.4 + 0.4 * 0.24 + 0.2)
    # two verdicts lose tag and agreement: format .7, the rest full
    assert earned(table, "published", "gold, several verdicts")["reward"] == pytest.approx(0.4 * 0.7 + 0.4 + 0.2)
    # contradiction: R_pref -1
    assert earned(table, "published", "gold, scores against verdict")["reward"] == pytest.approx(0.2)
    assert earned(table, "calibrated", "always A, 6:5")["reward"] == pytest.approx(0.2 * (0.7 + 0.5) / 2)
    assert earned(table, "published", "empty")["reward"] == pytest.approx(-0.6)
    assert earned(table, "published", "gold, template rationale")["minus_gold"] == 0


def test_honest_judges_stand_between_gold_and_mistaken():
    table = probe_table(BOTH, accuracies=(0.7,), slips=(0.0, 0.5))
    for preset in PRESETS:
        gold, wrong = (earned(table, preset, name)["reward"] for name in ("gold judgement", "mistaken judgement"))
        assert earned(table, preset, "honest, 70 % right")["reward"] == pytest.approx(0.7 * gold + 0.3 * wrong)
        # These labels have no marks: their rationales imply no winner, and "reasoned" pays those that do.
        first = (table[table["preset"] == preset]["rank"].min(), earned(table, preset, "gold judgement")["rank"])
        assert first == (1, 1) or preset == "reasoned"
    # published: a contradiction earns .4 - .4 + .2 = .2, the mistaken 5:9 against 9:5 .4 + .4 (-.6 + .08) + .2 = .392
    half = 0.5 * 0.2 + 0.5 * (0.7 * 1 + 0.3 * 0.392)
    assert earned(table, "published", "honest, 70 % right, 50 % contradict")["reward"] == pytest.approx(half)


def test_a_constant_judge_outearns_an_honest_one_that_contradicts_itself_under_published_only():
    table = probe_table([label(8, 6), label(6, 8)], accuracies=(0.7,), slips=(0.0, 0.25))
    assert earned(table, "published", "always A, 6:5")["beats"] == "honest, 70 % right, 25 % contradict"
    assert earned(table, "calibrated", "always A, 6:5")["beats"] == ""
    assert earned(table, "published", "honest, 70 % right")["beats"] == ""


def test_probe_table_wants_labels():
    with pytest.raises(ValueError, match="no labels"):
        probe_table([])


# ---- pre-flight


def say(verdict, a, b, marks_a=GOOD, marks_b=GOOD):
    return rubric.render(label(a, b, marks_a=marks_a, marks_b=marks_b).model_copy(update={"verdict": verdict}))


def test_dead_share_counts_every_subset():
    rng = np.random.default_rng(0)
    values, groups = pd.Series(rng.integers(0, 2, 18).astype(float)), pd.Series([0] * 6 + [1] * 12)
    for size in (1, 2, 3, 7):
        by_hand = []
        for _, group in values.groupby(groups):
            drawn = [len(set(c)) == 1 for c in combinations(group, size)]
            by_hand += [np.mean(drawn)] if drawn else []
        assert dead_share(values, groups, size) == pytest.approx(np.mean(by_hand))
    assert np.isnan(dead_share(values, groups, 13))


def test_expected_dead_averages_over_the_prompts_own_accuracy():
    correct, prompts = pd.Series([1, 1, 1, 1, 1, 0, 1, 0]), pd.Series(list("aaaabbbb"))
    assert expected_dead(correct, prompts, 2) == pytest.approx((1 + 0.5) / 2)  # p = 1 and p = .5; not p = .75: .625
    assert expected_dead(correct, prompts, 8) == pytest.approx((1 + 2 / 256) / 2)


@pytest.fixture(scope="module")
def sampled():
    """Three prompts: always right, mixed, always wrong; 4 completions each."""
    right, wrong = say("A", 9, 5), say("B", 5, 9)
    texts = {"x": [right] * 4, "y": [right, right, wrong, wrong], "z": [wrong] * 4}
    rows = [{"prompt": p, "text": t, "correct": int(t == right)} for p, ts in texts.items() for t in ts]
    return pd.DataFrame(rows)


def test_preflight_measures_spread_and_correlation(sampled):
    table = preflight_table(sampled, dict.fromkeys("xyz", BOTH[0])).set_index(["kind", "name"])
    assert list(table.loc["reward"].index) == list(REWARDS) and list(table.loc["preset"].index) == list(PRESETS)
    verdict = table.loc[("reward", "verdict")]
    assert (verdict["mean"], verdict["sd"], verdict["correlation"]) == pytest.approx((0, 1, 1))
    # of the 6 pairs of y, two are dead (right right, wrong wrong); x and z are dead always
    assert verdict["dead_2"] == pytest.approx((1 + 2 / 6 + 1) / 3) and verdict["dead_4"] == pytest.approx(2 / 3)
    assert np.isnan(verdict["dead_8"])
    formula = table.loc[("formula", "p^G + (1-p)^G")]
    assert formula["mean"] == 0.5 and formula["dead_4"] == pytest.approx((1 + 0.125 + 1) / 3)
    flat = table.loc[("reward", "format")]
    assert flat["sd"] == 0 and flat["dead_4"] == 1 and np.isnan(flat["correlation"])
    by_hand = [score(t, BOTH[0], "published")["total"] for t in sampled["text"]]
    assert table.loc[("preset", "published"), "mean"] == pytest.approx(np.mean(by_hand))


def test_a_verdict_alone_is_paid_and_watched_in_its_own_format():
    texts = ["[[A]]", "[[B]]", "[[A]]", "neither"]
    rows = pd.DataFrame({"prompt": "x", "text": texts, "correct": [1, 0, 1, 0]})
    paid = preflight_table(rows, {"x": BOTH[0]}, format="verdict-direct").set_index(["kind", "name"])
    assert paid.loc[("reward", "verdict"), "sd"] > 0.9 and paid.loc[("reward", "verdict"), "dead_4"] == 0
    found = watch(pd.DataFrame([row("p", "AB", text) for text in texts]), "verdict-direct")
    assert (found["accuracy"], found["valid"], found["always_a"]) == pytest.approx((0.5, 0.75, 2 / 3))


def test_preflight_does_not_depend_on_the_order_of_rows(sampled):
    golds = dict.fromkeys("xyz", BOTH[0])
    pd.testing.assert_frame_equal(preflight_table(sampled[::-1], golds), preflight_table(sampled, golds))


def test_preflight_refuses_what_it_cannot_score(sampled):
    with pytest.raises(ValueError, match="no label for prompt z"):
        preflight_table(sampled, dict.fromkeys("xy", BOTH[0]))
    with pytest.raises(ValueError, match="lack the column correct"):
        preflight_table(sampled.drop(columns="correct"), {})
    with pytest.raises(ValueError, match="no completions"):
        preflight_table(sampled[:0], {})


# ---- watch


def row(pair, order, text, gold="A", total=1.0, finished=True, **more):
    return {"prompt": pair, "order": order, "text": text, "gold": gold, "total": total, "finished": finished} | more


def step(*rows):
    return watch(pd.DataFrame(rows))


A, B = say("A", 9, 5), say("B", 5, 9)


def test_watch_counts_by_hand():
    found = step(
        row("p", "AB", A, "A", 1.0, format=1.0, entropy=0.2),
        row("p", "AB", A, "A", 1.0, format=1.0, entropy=0.4),
        row("p", "BA", A, "B", 0.5, format=0.5, entropy=0.2),
        row("p", "BA", "endless", "B", -1.0, finished=False, format=0.0, entropy=0.4),
    )
    assert found["accuracy"] == 0.5 and found["valid"] == 0.75 and found["always_a"] == 1
    assert found["swap_consistency"] == 0, "A in both displayed orders are two opinions on the pair"
    assert found["clipped"] == 0.25 and found["dead_groups"] == 0.5 and found["margin"] == 4
    assert found["reward"] == pytest.approx(0.375) and found["reward_format"] == pytest.approx(0.625)
    assert found["entropy"] == pytest.approx(0.3) and "kl" not in found and "reward_preference" not in found


def test_accuracy_counts_as_evaluation_does():
    contradicting = json.dumps(json.loads(A) | {"score_A": 1})
    found = step(row("p", "AB", contradicting), row("p", "AB", A), row("p", "BA", B, "B"))
    assert found["accuracy"] == pytest.approx(2 / 3) and found["valid"] == pytest.approx(2 / 3)


def test_swap_consistency_needs_a_majority_in_both_orders():
    def said(*rows):
        return pd.DataFrame(rows, columns=["prompt", "order", "said"])

    agree = [("p", "AB", "A"), ("p", "AB", "A"), ("p", "AB", "B"), ("p", "BA", "B")]
    split = [("q", "AB", "A"), ("q", "AB", "B"), ("q", "BA", "B")]
    ties = [("r", "AB", "tie"), ("r", "BA", "tie")]
    assert swap_consistency(said(*agree)) == 1 and swap_consistency(said(*agree, *split, *ties)) == 1
    assert swap_consistency(said(*agree, ("s", "AB", "B"), ("s", "BA", "B"))) == 0.5
    assert np.isnan(swap_consistency(said(*split))) and np.isnan(swap_consistency(said()))


def test_rationale_agreement_reads_the_marks():
    poor = GOOD | {"accuracy": False}
    agreeing, contrary = say("A", 9, 5, GOOD, poor), say("B", 5, 9, GOOD, poor)
    undecided = say("A", 9, 5, GOOD | {"fluency": False}, poor)
    rows = [row("p", "AB", t) for t in (agreeing, contrary, undecided)]
    assert step(*rows)["rationale_agrees"] == 0.5
    weights = {d: 1 + (d == "accuracy") for d in DIMENSIONS}
    assert watch(pd.DataFrame(rows), weights=weights)["rationale_agrees"] == pytest.approx(2 / 3)


def test_a_step_without_one_valid_judgement_is_told_too():
    found = step(row("p", "AB", ""), row("p", "BA", "", "B"))
    assert found["valid"] == found["accuracy"] == 0 and np.isnan(found["always_a"])
    assert np.isnan(found["swap_consistency"]) and np.isnan(found["rationale_agrees"])


def test_watch_does_not_depend_on_the_order_of_rows():
    rows = [row(p, o, t, g, r) for p, o, t, g, r in (
        ("p", "AB", A, "A", 1.0), ("p", "BA", B, "B", 1.0), ("q", "AB", B, "A", 0.0), ("q", "BA", A, "B", 0.2),
        ("q", "AB", A, "A", 1.0), ("q", "BA", "", "B", -1.0),
    )]  # fmt: skip
    assert watch(pd.DataFrame(rows)) == watch(pd.DataFrame(rows[::-1]))


def test_watch_refuses_rows_that_lack_a_column():
    with pytest.raises(ValueError, match="lack the column gold"):
        watch(pd.DataFrame([row("p", "AB", A)]).drop(columns="gold"))
    with pytest.raises(ValueError, match="no rows"):
        watch(pd.DataFrame([row("p", "AB", A)])[:0])


# ---- collapse


def history(start, end=None, steps=3 * WINDOW, noise=0.0):
    """A run that moves in a line from one state to another, with noise on accuracy."""
    healthy = {"always_a": 0.5, "valid": 0.99, "dead_groups": 0.6, "accuracy": 0.7, "reward": 0.7, "entropy": 0.1}
    start = healthy | start
    end, rng = start | (end or {}), np.random.default_rng(0)
    line = [{k: start[k] + (end[k] - start[k]) * i / (steps - 1) for k in start} for i in range(steps)]
    return [s | {"accuracy": s["accuracy"] + noise * rng.normal()} for s in line]


def test_a_healthy_run_is_left_alone():
    assert collapse(history({}, noise=0.08)) is None
    assert collapse(history({}, {"accuracy": 0.8, "reward": 0.9, "entropy": 0.05}, noise=0.08)) is None
    assert collapse([]) is None


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"always_a": 1.0}, "of the displayed verdicts are A"),
        ({"always_a": 0.0}, "of the displayed verdicts are A"),
        ({"valid": 0.5}, "valid judgements fell"),
        ({"dead_groups": 1.1}, "of the groups are dead"),
        ({"entropy": -0.05}, "entropy vanished, 0.0767 -> "),
        ({"accuracy": 0.4, "reward": 0.8}, "accuracy fell 0.65 -> 0.45 while reward rose 0.72 -> 0.78"),
    ],
)
def test_each_collapse_is_named_alone(end, words):
    said = collapse(history({}, end))
    assert said.startswith(f"COLLAPSE at step {3 * WINDOW}") and words in said and ";" not in said


def test_the_parts_of_the_reward_that_rose_are_named():
    run = history(
        {"reward_preference": 0.5, "reward_format": 1.0}, {"accuracy": 0.4, "reward": 0.8, "reward_preference": 0.6}
    )
    assert "(risen: preference)" in collapse(run)


def test_a_fall_with_a_falling_reward_or_within_noise_is_no_hacking():
    assert collapse(history({}, {"accuracy": 0.4, "reward": 0.6})) is None
    small = {"accuracy": 0.62, "reward": 0.8}
    assert "accuracy fell" in collapse(history({}, small)) and collapse(history({}, small, noise=0.2)) is None


def test_nothing_is_said_before_a_window_and_drift_of_one_step_is_forgiven():
    drifted = history({"always_a": 1.0}, steps=WINDOW)
    assert collapse(drifted[:-1]) is None and "COLLAPSE" in collapse(drifted)
    assert collapse(history({}, steps=WINDOW - 1) + drifted[:1]) is None


def test_steps_without_a_value_do_not_count():
    run = history({}) + [{"always_a": float("nan"), "valid": 0.99}] * 3
    assert collapse(run) is None
    assert collapse([{"valid": 0.99}] * 2 * WINDOW) is None


def test_what_watch_returns_is_what_collapse_reads():
    rows = [row(p, o, A, "A" if o == "AB" else "B") for p in "pq" for o in ("AB", "BA")]
    said = collapse([step(*rows)] * WINDOW)
    assert "100% of the displayed verdicts are A" in said and "100% of the groups are dead" in said
    assert "accuracy" not in said
