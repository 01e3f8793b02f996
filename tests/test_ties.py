"""Tie thresholds and calibration of scalar judges, against values worked out by hand or by brute force."""

import math

import numpy as np
import pandas as pd
import pytest

from omnirepro.evaluate import calibration, protocol, ties
from omnirepro.evaluate.rows import with_ties


def rows(cases, task="t", seed=0, model="m", orders=("AB", "BA")):
    """Make rows of (gap, label) cases: equal scores in both orders, one cluster a pair."""
    return pd.DataFrame(
        [
            {
                "pair_id": f"{task}-{i}", "task": task, "cluster": f"{task}-{i}", "order": order, "model": model,
                "kind": "scalar", "status": "ok", "verdict": "A", "label": label, "score_a": gap + 5, "score_b": 5.0,
                "seed": seed,
            }
            for i, (gap, label) in enumerate(cases)
            for order in orders
        ]
    )  # fmt: skip


def simulated(n, seed, task="t", scale=1.0, run=0, noise=0.7):
    """A noisy judge of pairs of which about a third are gold ties."""
    rng = np.random.default_rng([seed, run, *task.encode()])
    truth = np.random.default_rng([seed, *task.encode()]).normal(size=n)
    gold = np.select([np.abs(truth) < 0.4, truth > 0], ["tie", "A"], "B")
    return rows(list(zip(scale * (truth + rng.normal(0, noise, n)), gold, strict=True)), task, run)


def best_by_force(data):
    """The best three-way accuracy over a fine grid of thresholds."""
    gap = (data["score_a"] - data["score_b"]).to_numpy()
    grid = np.unique(np.concatenate([[0], np.abs(gap), np.abs(gap) * (1 + 1e-9), np.abs(gap) * (1 - 1e-9)]))
    said = [np.select([np.abs(gap) <= t, gap > 0], ["tie", "A"], "B") for t in grid]
    return max((s == data["label"].to_numpy()).mean() for s in said)


def test_the_threshold_lies_midway_where_it_separates_and_is_zero_without_ties():
    data = rows([(0.1, "tie"), (-0.3, "tie"), (0.7, "A"), (-2.0, "B")])
    assert ties.fit(data).loc[(0, "t")] == pytest.approx(0.5)
    assert ties.fit(rows([(0.1, "A"), (-0.3, "B")])).item() == 0
    assert ties.fit(rows([(0.1, "tie"), (-0.3, "tie")])).item() == pytest.approx(0.3, abs=1e-9), (
        "the largest, inclusive"
    )
    assert ties.fit(rows([(0.0, "tie"), (1.0, "A")])).item() == 0, "equal scores tie at 0 already"


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_as_good_as_brute_force(seed):
    data = simulated(60, seed)
    fitted = ties.decide(data, ties.fit(data))
    assert with_ties(fitted).mean() == pytest.approx(best_by_force(data))


def test_verdicts_are_drawn_anew_and_the_rows_stay_frozen():
    data = rows([(0.1, "tie"), (-0.3, "B"), (0.7, "A")])
    before = data.copy()
    decided = ties.decide(data, 0.2)
    assert decided.drop_duplicates("pair_id")["verdict"].tolist() == ["tie", "B", "A"]
    assert ties.decide(data, 0.0)["verdict"].unique().tolist() == ["A", "B"]
    pd.testing.assert_frame_equal(data, before)
    swapped = data.assign(score_a=data["score_b"], score_b=data["score_a"], label=["tie", "tie", "A", "A", "B", "B"])
    assert ties.decide(swapped, 0.2)["verdict"].tolist() == ["tie", "tie", "A", "A", "B", "B"]
    assert protocol.metrics(decided)["consistency"]["value"] == 1


def test_every_seed_and_task_has_its_own_threshold():
    parts = [simulated(80, 1, t, s, run) for t, s, run in (("x", 1, 0), ("y", 10, 0), ("x", 100, 1), ("y", 1000, 1))]
    data = pd.concat(parts)
    fitted = ties.fit(data)
    assert fitted.index.tolist() == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]
    for part in parts:
        alone = ties.fit(part)
        assert fitted.loc[alone.index[0]] == alone.iloc[0]
    pooled = ties.fit(data, by_task=False)
    assert pooled.index.names == ["seed"] and len(pooled) == 2
    mixed = ties.decide(data.sample(frac=1, random_state=0), fitted)
    for part in parts:
        one = mixed[(mixed["task"] == part["task"].iloc[0]) & (mixed["seed"] == part["seed"].iloc[0])]
        wanted = ties.decide(part, ties.fit(part))
        assert one.sort_values(["pair_id", "order"])["verdict"].tolist() == wanted["verdict"].tolist()


def test_with_and_without_ties_by_hand():
    dev = rows([(0.1, "tie"), (0.9, "A")])  # threshold 0.5
    test = rows([(0.4, "A"), (0.2, "tie"), (-1.0, "B"), (0.0, "B"), (2.0, "tie")])
    found = ties.table(dev, test).set_index(["measure", "task"])["value"]
    assert found["with_ties", "t"] == pytest.approx(2 / 5), "0.2 and -1.0; 0.4 and 0.0 are called ties"
    assert found["oracle", "t"] == pytest.approx(3 / 5), "a threshold between 0.2 and 0.4 saves 0.4"
    assert found["optimism", "t"] == pytest.approx(1 / 5)
    assert found["without_ties", "t"] == pytest.approx(2 / 3), "of 0.4, -1.0 and 0.0; equal scores are wrong"


@pytest.mark.parametrize("by_task", [True, False])
def test_optimism_is_oracle_minus_dev_and_never_negative(by_task):
    sizes = [("x", 40, 0), ("y", 15, 0), ("x", 40, 1), ("y", 15, 1)]
    dev, test = (pd.concat([simulated(n, s, t, 1.0 + 2 * run, run) for t, n, run in sizes]) for s in (1, 2))
    found = ties.table(dev, test, by_task)
    wide = found.pivot(index="task", columns="measure", values="value")
    assert set(wide.index) == {"x", "y", "micro", "macro"}
    assert wide["optimism"].to_numpy() == pytest.approx((wide["oracle"] - wide["with_ties"]).to_numpy())
    part = found[found["measure"] == "optimism"].set_index("task")
    assert (part["low"] >= 0).all() and (part["value"] > 0).any() and (part["high"] > part["low"]).all()
    assert part["n"].to_dict() == {"x": 80, "y": 30, "micro": 110, "macro": 110}
    assert (part["value"] <= part["high"]).all()
    metrics = ties.metrics(dev, test, by_task)
    assert {"x_with_ties", "overall_without_ties", "overall_oracle", "micro_optimism"} <= set(metrics)
    assert metrics["overall_with_ties"]["value"] == pytest.approx(wide.loc["macro", "with_ties"])
    assert metrics["overall_with_ties"]["seeds"] == 2
    assert wide.loc["macro", "with_ties"] == pytest.approx(wide.loc[["x", "y"], "with_ties"].mean())


def test_the_optimism_interval_covers_what_is_expected():
    """Over repeated test sets of one judge with one dev threshold; the nominal 95 % is asked for roughly."""
    dev = simulated(60, 100)
    repeats = [ties.optimism(dev, simulated(120, s)).set_index("task").loc["t"] for s in range(40)]
    expected = np.mean([r["value"] for r in repeats])
    covered = np.mean([r["low"] <= expected <= r["high"] for r in repeats])
    assert expected > 0.005 and covered >= 0.75


def test_the_curve_holds_the_best_threshold_and_ends_in_ties_alone():
    dev, test = simulated(300, 1), simulated(50, 2)
    found = ties.curve({"dev": dev, "test": test}, points=30)
    assert found.columns.tolist() == ["split", "seed", "threshold", "accuracy", "ties"]
    for split, data in (("dev", dev), ("test", test)):
        part = found[found["split"] == split]
        assert len(part) <= 31 and part["threshold"].is_monotonic_increasing and part["ties"].is_monotonic_increasing
        assert part["accuracy"].max() == pytest.approx(best_by_force(data))
        assert ties.fit(data).item() in part["threshold"].tolist()
        assert part["ties"].iloc[-1] == 1
        assert part["accuracy"].iloc[-1] == pytest.approx((data["label"] == "tie").mean())


def test_what_cannot_be_read_is_refused():
    data = rows([(0.1, "tie"), (0.9, "A")])
    with pytest.raises(ValueError, match="2 of 4 rows have no scores"):
        ties.fit(data.assign(score_a=[None, None, 1.0, 1.0]))
    with pytest.raises(ValueError, match="4 of 4 rows have no scores"):
        ties.fit(data.drop(columns="score_a"))
    with pytest.raises(ValueError, match="no gold label"):
        ties.fit(data.assign(label=None))
    with pytest.raises(ValueError, match="several models"):
        ties.fit(pd.concat([data, data.assign(model="other")]))
    with pytest.raises(ValueError, match="no threshold was fitted for {'seed': 0, 'task': 'other'}"):
        ties.decide(rows([(1, "A")], "other"), ties.fit(data))
    with pytest.raises(ValueError, match="must not be negative"):
        ties.decide(data, -1)


# ---- calibration


def test_confidence_is_the_sigmoid_of_the_margin_and_gold_ties_are_left_out():
    data = calibration.confidences(rows([(2.0, "A"), (-1.0, "A"), (0.0, "B"), (3.0, "tie")]))
    assert data["confidence"].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1)), 0.5])
    assert data["right"].tolist() == [1, 0, 0.5]


def test_reliability_and_ece_by_hand():
    data = pd.DataFrame(
        {"confidence": [0.5, 0.52, 0.95, 0.95, 1.0], "right": [1, 0, 1, 1, 0], "cluster": list("abcde"), "seed": 0}
    )
    found = calibration.reliability(data, bins=5)
    assert found[["bin_low", "bin_high"]].to_numpy().ravel() == pytest.approx([0.5, 0.6, 0.9, 1.0])
    assert found["n"].tolist() == [2, 3] and found["value"].tolist() == pytest.approx([0.5, 2 / 3])
    assert found["confidence"].tolist() == pytest.approx([0.51, 2.9 / 3])
    error = calibration.ece(data, bins=5)
    assert error.value == pytest.approx(2 / 5 * 0.01 + 3 / 5 * 0.3) and error.n == 5
    with pytest.raises(ValueError, match="between 0.5 and 1"):
        calibration.ece(data.assign(confidence=0.4))


@pytest.mark.parametrize(("scale", "low", "high"), [(1.0, 0.0, 0.04), (4.0, 0.1, 0.4), (0.2, 0.1, 0.4)])
def test_ece_tells_a_calibrated_judge_from_one_that_is_too_sure_or_too_timid(scale, low, high):
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, 3000)
    gold = np.where(rng.random(3000) < 1 / (1 + np.exp(-true)), "A", "B")
    data = calibration.confidences(rows(list(zip(scale * true, gold, strict=True)), orders=("AB",)))
    found = calibration.ece(data)
    assert low <= found.value <= high and found.low <= found.high


def test_seeds_are_drawn_whole():
    """Two runs that disagree wholly: the interval reaches from one to the other."""
    good, bad = (rows([(g, "A")] * 30, seed=s) for s, g in ((0, 3.0), (1, -3.0)))
    for i, part in enumerate((good, bad)):
        part["seed"] = i
    found = calibration.ece(calibration.confidences(pd.concat([good, bad])))
    assert found.seeds == 2 and found.high - found.low > 0.3
