"""The audit finds each planted fault by its arm, and clears a judge without one."""

import math
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from omnirepro.cli.audit import audit_judge
from omnirepro.data import Judgement, Pair, text_of, text_part
from omnirepro.data.files import RunError
from omnirepro.evaluate.passport import ORDER, PADDING, Item, audit, exact
from omnirepro.judge import rubric
from omnirepro.judge.orders import ORDERS
from omnirepro.judge.rubric import Parsed
from omnirepro.judge.verdict import messages
from omnirepro.kit.report import card
from omnirepro.toyworld.known_truth import known_truth
from omnirepro.train.curriculum import with_orders


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return known_truth(tmp_path_factory.mktemp("truth"), 40, 0)


class Sound:
    """A judge that knows what each medium shows, asks nothing else, and calls a tie where there is no medium."""

    def __init__(self, items):
        self.truth = {}
        for item in items:
            sides = {"A": text_of(item.pair.response_a), "B": text_of(item.pair.response_b)}
            other = {"A": "B", "B": "A"}[item.pair.label]
            self.truth[item.twin[0].path] = sides[other]
            for pair in (item.pair, *item.changed.values()):
                self.truth[next(part.path for part in pair.prompt if part.path)] = sides[item.pair.label]

    def seen(self, pair):
        """The true answer of the pair's medium; None where it cannot be told."""
        return next((self.truth[part.path] for part in pair.prompt if part.path), None)

    def verdict(self, pair, order):
        true = self.seen(pair)
        if true is None:
            return "tie"
        said = text_of(pair.response_a).lower()
        core = true.lower().removeprefix("it is ").removeprefix("there are ")
        return "A" if core in said else "B"

    def judge(self, pairs, orders="both"):
        return [self.row(pair, order, pairs) for pair in pairs for order in ("AB", "BA")]

    def row(self, pair, order, batch):
        said = self.verdict(pair.displayed(order), order)
        return Judgement.of(pair, order, Parsed("ok", said), model="stub", kind="verdict")


class Unsensing(Sound):
    """Does not get media of some kinds, and guesses there by the words alone."""

    kinds = ()

    def verdict(self, pair, order):
        if any(part.type in self.kinds for part in pair.prompt):
            return "A" if text_of(pair.response_a) < text_of(pair.response_b) else "B"
        return super().verdict(pair, order)


class WordsAlone(Sound):
    """Looks at no prompt at all."""

    def verdict(self, pair, order):
        return "A" if text_of(pair.response_a) < text_of(pair.response_b) else "B"


class Deaf(Unsensing):
    kinds = ("audio",)


class Blind(Unsensing):
    kinds = ("image", "video")


class LosesMediaOnHit(Unsensing):
    """Keeps features by the pair, and where it finds them gives the model none."""

    def __init__(self, items):
        super().__init__(items)
        self.known = set()

    def judge(self, pairs, orders="both"):
        names = {tuple(p.path for p in pair.prompt) for pair in pairs}
        self.kinds = ("image", "video", "audio") if names & self.known else ()
        self.known |= names
        return super().judge(pairs, orders)


class FirstPicker(Sound):
    def verdict(self, pair, order):
        return "A"


class LengthLover(Sound):
    def verdict(self, pair, order):
        a, b = len(text_of(pair.response_a)), len(text_of(pair.response_b))
        return super().verdict(pair, order) if abs(a - b) < len(PADDING) else "A" if a > b else "B"


class Obedient(Sound):
    def verdict(self, pair, order):
        ordered = [side for side in "ab" if ORDER in text_of(getattr(pair, f"response_{side}"))]
        return ordered[0].upper() if ordered else super().verdict(pair, order)


class ReadsPictures(Sound):
    """Obeys what stands in a picture."""

    def verdict(self, pair, order):
        said = super().verdict(pair, order)
        return {"A": "B", "B": "A"}[said] if "ordering" in str(pair.prompt[0].path) else said


class ReadsTranscripts(Sound):
    """Obeys what a transcript says."""

    def verdict(self, pair, order):
        said = super().verdict(pair, order)
        return {"A": "B", "B": "A"}[said] if "Transcript" in text_of(pair.prompt) else said


class ShortHater(Sound):
    """Takes an answer that is no sentence for wrong."""

    def verdict(self, pair, order):
        bare = [side for side in "AB" if len(text_of(getattr(pair, f"response_{side.lower()}")).split()) == 1]
        return {"A": "B", "B": "A"}[bare[0]] if bare else super().verdict(pair, order)


@dataclass
class Worded(Sound):
    """Is told at length how to judge, and judges otherwise where it is told so in one way."""

    items: list
    fault: tuple = ("", "")
    wording: str = "full"
    format: str = "published"

    def __post_init__(self):
        super().__init__(self.items)

    def verdict(self, pair, order):
        return (
            "A" if self.fault in (("wording", self.wording), ("format", self.format)) else super().verdict(pair, order)
        )


class Noisy(Sound):
    def __init__(self, items):
        super().__init__(items)
        self.rng = random.Random(0)

    def verdict(self, pair, order):
        said = super().verdict(pair, order)
        return said if self.rng.random() > 0.2 else self.rng.choice(["A", "B"])


class ReadsNeighbours(Sound):
    """Judges a pair with the medium of its neighbour in the batch, once in three pairs."""

    def row(self, pair, order, batch):
        at = next(i for i, p in enumerate(batch) if p is pair)
        if at % 3 == 0 and len(batch) > 1:
            return Judgement.of(pair, order, Parsed("ok", "A" if at % 2 else "tie"), model="stub", kind="verdict")
        return super().row(pair, order, batch)


def test_a_sound_judge_is_cleared(items):
    findings = audit(Sound(items), items)
    assert {f.verdict for f in findings} == {"sound"}, [f for f in findings if f.verdict != "sound"]
    assert card.overall(findings)[0] == "sound" and len(findings) == 17


@pytest.mark.parametrize(
    ("judge", "arms"),
    [
        (Deaf, {"audio: decides"}),
        (Blind, {"image: decides", "video: decides"}),
        (LosesMediaOnHit, {"warm cache"}),
        (FirstPicker, {"order"}),
        (LengthLover, {"wrong one padded"}),
        (Obedient, {"order in a response"}),
        (ReadsPictures, {"order in a picture"}),
        (ReadsTranscripts, {"order in a transcript"}),
        (ShortHater, {"right one shortened"}),
        (Noisy, {"again"}),
        (ReadsNeighbours, {"one at a time"}),
    ],
)
def test_each_planted_fault_is_found_by_its_arm(items, judge, arms):
    findings = audit(judge(items), items)
    found = {f.arm for f in findings if f.verdict == "faulty"}
    assert arms <= found, findings
    if judge not in (LosesMediaOnHit, FirstPicker, Noisy, ReadsNeighbours):
        assert found <= arms | {"wrong one sure"}, found


@pytest.mark.parametrize(
    ("fault", "arms"),
    [
        (("", ""), set()),
        (("wording", "reworded"), {"other wording"}),
        (("format", "published/turned"), {"turned dimensions"}),
    ],
)
def test_a_judge_that_is_told_how_is_told_otherwise_too(items, fault, arms):
    findings = audit(Worded(items, fault), items)
    assert {f.arm for f in findings if f.verdict == "faulty"} == arms
    assert {"other wording", "turned dimensions"} <= {f.arm for f in findings}
    assert "turned dimensions" not in {f.arm for f in audit(Worded(items, format="verdict"), items)}


def test_other_ways_to_ask_say_the_same():
    pair = Pair(id="1", task="t", prompt=[text_part("q")], response_a=[text_part("x")], response_b=[text_part("y")])
    asked = {
        (wording, format): messages(pair, wording, format)
        for wording in ("full", "reworded")
        for format in ("published", "published/turned", "verdict")
    }
    assert len({str(chat) for chat in asked.values()}) == 6
    assert len({str(chat[-1]) for (_, format), chat in asked.items() if format != "verdict"}) == 1, (
        "the pair is shown alike"
    )
    told = text_of(asked["reworded", "published/turned"][0]["parts"])
    assert told.index("5. Safety") < told.index("1. Fluency") and "Part 5: ... Part 1: ..." in told
    keys = [f'"{key}"' for key in rubric.FORMATS["published"]]
    assert sorted(keys, key=told.index) == keys
    said = rubric.notation("so", 8, 3, "published/turned")
    assert rubric.parse(said, "published/turned") == rubric.parse(said, "published")


def test_every_arm_says_what_it_changed_and_what_was_right(items):
    rows = {f.arm: f for f in audit(Deaf(items), items)}
    deaf = rows["audio: decides"]
    assert deaf.flips.value < 0.2 and deaf.accuracy == deaf.measured, "the words are the same whatever is heard"
    assert rows["image: decides"].flips.value == 1 == rows["image: decides"].accuracy.value
    assert rows["wrong one padded"].flips.value == 0 < rows["wrong one padded"].accuracy.value < 1
    assert rows["order"].flips.value == 0 and rows["warm cache"].power > 0
    told = rows["audio: decides"].as_row()
    assert told["flips"]["n"] == 80 and told["accuracy"]["n"] == 160


def test_a_criterion_reaches_every_arm(items, tmp_path, monkeypatch):
    monkeypatch.setattr("omnirepro.toyworld.known_truth.known_truth", lambda *args: items)
    seen = []

    class Listening(Sound):
        def judge(self, pairs, orders="both"):
            seen.extend(pair.criterion for pair in pairs)
            return super().judge(pairs, orders)

    audit_judge(Listening(items), "x", tmp_path / "card.html", None, 40, 0, True, criterion="is true")
    assert set(seen) == {"is true"}
    assert "judged by &#34;is true&#34;" in (tmp_path / "card.html").read_text()


def test_pairs_that_train_hold_no_order_that_audits_use(items):
    pairs = [item.pair for item in items]
    assert with_orders(pairs, 0.0, "full") == pairs
    changed = [(p, q) for p, q in zip(pairs, with_orders(pairs, 0.5, "full"), strict=True) if p != q]
    assert 50 < len(changed) < 110 and all(p.label == q.label and p.prompt == q.prompt for p, q in changed)
    behind = [[text_of(getattr(q, f"response_{side}")).removeprefix(text_of(getattr(p, f"response_{side}")))
               for side in "ab"] for p, q in changed]  # fmt: skip
    assert all(sum(map(bool, both)) == 1 for both in behind), "in one response"
    assert {("".join(both)).strip() for both in behind} == set(ORDERS["full"][:-1]) and ORDER not in str(behind)
    right = sum(bool(both["AB".index(p.label)]) for (p, _), both in zip(changed, behind, strict=True))
    assert 0.3 < right / len(changed) < 0.7, "in the right one as often as in the wrong one"


def test_few_pairs_tell_nothing(items):
    findings = audit(Sound(items), items[:3])
    assert {f.verdict for f in findings} <= {"not told", "sound"} and any(f.verdict == "not told" for f in findings)
    assert exact([0.0] * 20, list(range(20))).high == pytest.approx(1 - 0.025 ** (1 / 20))


class Guessing(Sound):
    """Answers by a coin."""

    def __init__(self, items, seed):
        super().__init__(items)
        self.rng = random.Random(seed)

    def verdict(self, pair, order):
        return self.rng.choice("AB")


@pytest.mark.parametrize("seed", range(5))
def test_two_pairs_do_not_show_that_a_judge_does_not_look(items, seed):
    kinds = ("image", "video", "audio")
    few = [item for kind in kinds for item in [i for i in items if i.twin and i.pair.task == kind][:2]]
    findings = audit(Guessing(items, seed), few)
    assert {f.verdict for f in findings if f.arm.endswith("decides")} == {"not told"}, findings


def test_a_judge_that_guesses_is_not_sound_where_it_had_nothing_to_lose(items):
    findings = {f.arm: f.verdict for f in audit(WordsAlone(items), items)}
    assert {findings[arm] for arm in ("order in a response", "order in a transcript", "long context")} == {"not told"}
    assert findings["image: decides"] == "faulty" and findings["order"] == "sound"


def test_an_interval_of_few_or_equal_clusters_is_not_narrow():
    equal = exact([0, 1, 0, 0] * 2, ["a"] * 4 + ["b"] * 4)
    assert (equal.value, equal.n) == (0.25, 8) and equal.low < 0.1 and equal.high > 0.8
    thirds = exact([0.0, 0.0, 1.0] * 7, [i // 3 for i in range(21)])
    assert thirds.low < 0.3 and thirds.high > 0.5, "equal but for rounding"
    near = exact([0, 0, 1, 0, 1, 1], ["a", "a", "b", "b", "c", "c"])
    assert near.value == 0.5 and math.isnan(near.low) and math.isnan(near.high)
    one = exact([0.0, 1.0], ["a", "a"])
    assert one.low < 0.05 and one.high > 0.95
    lost = exact([-1.0, 0.0] * 2, ["a", "a", "b", "b"])
    assert lost.low < -0.9 and lost.high > 0.7
    told = exact([float(i % 4 == 0) for i in range(40)], range(40))
    assert 0.1 < told.low < 0.25 < told.high < 0.4


def test_own_pairs_need_no_truth(items):
    bare = [Item(item.pair.model_copy(update={"label": None})) for item in items]
    arms = {f.arm for f in audit(Sound(items), bare)}
    assert arms == {"media removed", "order", "warm cache", "again", "one at a time"}
    assert next(f for f in audit(WordsAlone(items), bare) if f.arm == "media removed").verdict == "faulty"


def test_truth_is_in_the_medium_alone(items):
    for item in items:
        assert text_of([item.pair.prompt[1]]) == text_of([item.twin[1]]) and item.pair.prompt[0] != item.twin[0]
        assert text_of(item.pair.response_a) != text_of(item.pair.response_b)
    assert {len({i.pair.label for i in items if i.pair.task == task}) for task in ("image", "text")} == {2}


def test_the_card_is_written(items, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("omnirepro.toyworld.known_truth.known_truth", lambda *args: items)
    said, status = audit_judge(Deaf(items), "deaf <judge>", tmp_path / "card.html", None, 40, 0, True)
    assert status == 2 and said.startswith("Faulty: audio: decides")
    text = Path(tmp_path / "card.html").read_text()
    assert "deaf &lt;judge&gt;" in text and "<script" not in text and "src=" not in text
    assert "| audio: decides |" in (tmp_path / "card.md").read_text()
    assert '"verdict": "faulty"' in (tmp_path / "card.json").read_text()
    assert "audit: again" in capsys.readouterr().out


class Silent(Sound):
    """Writes nothing that can be read."""

    def row(self, pair, order, batch):
        return Judgement.of(pair, order, Parsed("no_json"), model="stub", kind="verdict")


def test_a_judge_that_cannot_be_read_is_not_sound_in_what_was_never_measured(items):
    found = {f.arm: f.verdict for f in audit(Silent(items), items)}
    assert {v for arm, v in found.items() if not arm.endswith("decides")} == {"not told"}
    assert {v for arm, v in found.items() if arm.endswith("decides")} == {"faulty"}


def test_bounds_say_which_way_they_hold(items):
    rows = {f.arm: card.written(f)["bound"] for f in audit(Sound(items), items)}
    assert (rows["audio: decides"], rows["order"], rows["again"]) == ("at least 60%", "35% to 65%", "at most 5%")
    (one,) = (f for f in audit(Sound(items), items[:1]) if f.arm == "again")
    assert one.verdict == "not told" and "nan" not in str(card.written(one)) and one.as_row()["least"] is None


def test_nothing_to_audit_on_is_no_clean_bill(items, tmp_path):
    with pytest.raises(ValueError, match="no pair to audit"):
        audit(Sound(items), [])
    with pytest.raises(RunError, match="no pair to audit the judge on"):
        audit_judge(Sound(items), "x", tmp_path / "card.html", None, 0, 0, True)
    assert not (tmp_path / "card.html").exists()
