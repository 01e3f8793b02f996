"""The nine tasks: criteria decide, nothing else can; the released format loses nothing; votes filter proposals."""

import collections
import itertools
import json
import os

import numpy as np
import pytest

from omnirepro.data import Pair, Part, RowError, media, read_jsonl, sha256_file, swap_verdict, write_jsonl
from omnirepro.data.sources.omni_rewardbench import LAYOUT, read_bench, to_row, write_bench
from omnirepro.evaluate.statistics import clustered_bootstrap
from omnirepro.toyworld import looks
from omnirepro.toyworld.bench import make_bench, plan
from omnirepro.toyworld.candidates import draw_response, draw_subject
from omnirepro.toyworld.criteria import (
    BY_PHRASE,
    CRITERIA,
    MEDIA_TASKS,
    STRATA,
    TASKS,
    TEXT_TASKS,
    criteria_for,
    gold_of,
    stratum,
)
from omnirepro.toyworld.facts import Made, Said, facts_of
from omnirepro.toyworld.instruction import Labeller, correctness, propose_criteria, world_verifiers, world_writer
from omnirepro.toyworld.looks import Look
from omnirepro.toyworld.scenes import Scene
from omnirepro.toyworld.tasks import split_of

PER_TASK = {"train": 40, "dev": 20, "test": 60}

HELD_OUT = {name for name, criterion in CRITERIA.items() if criterion.held_out}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nine")
    return {split: make_bench(folder / split, split, n, 0) for split, n in PER_TASK.items()}


@pytest.fixture(scope="module")
def planned():
    """A few thousand rows as facts: (task, group number, group, row)."""
    return [
        (task, f"{task}{i}", group, row)
        for task in TASKS
        for i, group in enumerate(plan(task, "train", 140, 1))
        for row in group.asked
    ]


def all_pairs(made):
    return [pair for pairs in made.values() for pair in pairs]


# ---- criteria


def test_the_registry_is_large_enough_and_terse():
    assert len(CRITERIA) >= 40 and set(TASKS) == set(LAYOUT) and len(TASKS) == 9
    assert all(len(c.phrasings) == 3 for c in CRITERIA.values())
    assert max(len(phrase.split()) for phrase in BY_PHRASE) <= 12
    assert set(HELD_OUT) < set(CRITERIA)
    for task in TASKS:
        assert len(criteria_for(task, "test")) >= 3 and len(criteria_for(task, "")) >= 8, task
        assert len({c.relevant for c in criteria_for(task)}) == 2, f"{task}: criteria of one kind only"


@pytest.mark.parametrize("task", TASKS)
def test_every_criterion_can_prefer_either_side_and_tie(task):
    rng = np.random.default_rng(0)
    found = collections.defaultdict(set)
    for _ in range(150):
        subject = draw_subject(task, "train", rng)
        for a, b in itertools.combinations([draw_response(subject, rng) for _ in range(4)], 2):
            for c in criteria_for(task):
                verdict = c.truth(a, b)
                assert c.truth(b, a) == swap_verdict(verdict)
                found[c.name].add(verdict)
    assert set(found) == {c.name for c in criteria_for(task)}
    assert all(verdicts == {"A", "B", "tie"} for verdicts in found.values()), found


def picture(*objects, light=1.0, size=1.0, wanted=None, given=None):
    return Made(Scene("image", wanted or objects), Scene("image", objects), Look(light, size), given)


def test_criteria_on_known_pictures():
    ring, cross = ("red", "ring", "top-left"), ("blue", "cross", "bottom-right")
    blue, moved = ("blue", "ring", "top-left"), ("red", "ring", "top-right")
    one, two, wanted = picture(ring), picture(ring, cross), (ring,)
    known = {
        "fewer-objects": (one, two, "A"), "more-objects": (one, two, "B"), "top": (one, two, "tie"),
        "bottom": (one, two, "B"), "rings": (one, two, "tie"), "cold": (one, two, "B"),
        "brighter": (picture(ring, light=0.6), one, "B"), "smaller": (picture(ring, size=0.6), one, "A"),
        "color": (picture(ring, wanted=wanted), picture(blue, wanted=wanted), "A"),
        "place": (picture(moved, wanted=wanted), picture(blue, wanted=wanted), "B"),
        "shape": (picture(moved, wanted=wanted), picture(blue, wanted=wanted), "tie"),
        "whole": (picture(ring, wanted=wanted), picture(ring, cross, wanted=wanted), "A"),
    }  # fmt: skip
    for name, (a, b, verdict) in known.items():
        assert CRITERIA[name].truth(a, b) == verdict, name
    given, edit = Scene("image", (ring, cross)), (blue, cross)
    right, spoiled = (picture(*o, wanted=edit, given=given) for o in (edit, (blue, ("blue", "square", "bottom-right"))))
    undone, dark = picture(ring, cross, wanted=edit, given=given), picture(*edit, wanted=edit, given=given, light=0.6)
    assert [m.edited for m in (right, spoiled, undone, dark)] == [1, 1, 0, 1]
    assert [m.kept for m in (right, spoiled, undone, dark)] == [0, -1, 0, -1]
    assert CRITERIA["exact"].truth(right, spoiled) == "A" and CRITERIA["kept"].truth(undone, spoiled) == "A"
    removal = {"wanted": (ring,), "given": given}
    assert picture(ring, **removal).edited == 1 and picture(ring, cross, **removal).edited == 0


# ---- pairs


def test_rows_say_what_they_are(made):
    for split, pairs in made.items():
        assert len(pairs) == PER_TASK[split] * 9 == len({p.id for p in pairs})
        for pair in pairs:
            files = [p for side in (pair.prompt, pair.response_a, pair.response_b) for p in side if p.path]
            assert len(files) <= 4 and all(p.sha256 == sha256_file(p.path) for p in files)
            assert pair.label == gold_of(pair) and BY_PHRASE[pair.criterion].name == pair.meta["criterion"]
            assert gold_of(pair.swap()) == swap_verdict(pair.label)
            a, b = facts_of(pair)
            assert (pair.meta["score_a"], pair.meta["score_b"]) == (a.score, b.score)
            assert isinstance(a, Said if pair.task in TEXT_TASKS else Made) and 0 <= b.score <= 10


def test_media_can_be_read_back(made):
    for task, kind in (("T2I", "image"), ("T23D", "views3d"), ("T2V", "video"), ("T2A", "audio"), ("TI2I", "image")):
        pair = next(p for p in made["dev"] if p.task == task)
        assert {p.type for p in (*pair.response_a, *pair.response_b)} == {kind}
        path = pair.response_a[0].path
        if kind == "video":
            assert media.load_video(path)[0].shape == (4, 56, 56, 3)
        elif kind == "audio":
            assert media.load_audio(path).shape == (12_800,)
        else:
            assert media.load_image(path).shape == (56, 56, 3)


@pytest.mark.parametrize("split", list(PER_TASK))
def test_labels_are_balanced_and_a_fifth_ties(made, split):
    for task in TASKS:
        labels = collections.Counter(p.label for p in made[split] if p.task == task)
        assert labels["A"] == labels["B"] == 2 * labels["tie"] == 0.4 * PER_TASK[split], (task, labels)


def test_the_same_responses_get_another_label_under_another_criterion(made):
    groups = collections.defaultdict(list)
    for pair in made["test"]:
        groups[pair.task, pair.meta["group"]].append(pair)
    for rows in groups.values():
        assert len(rows) == 2 and rows[0].response_a == rows[1].response_a and rows[0].response_b == rows[1].response_b
        assert rows[0].label != rows[1].label and rows[0].meta["criterion"] != rows[1].meta["criterion"]


def test_scenes_and_held_out_criteria_belong_to_one_split(made):
    clusters = {split: {p.cluster for p in pairs} for split, pairs in made.items()}
    assert not any(clusters[a] & clusters[b] for a, b in itertools.combinations(clusters, 2))
    for split, task in itertools.product(PER_TASK, TASKS):
        for group in plan(task, split, 3, 5):
            assert split_of(group.subject.source) == split
    asked = {split: {p.criterion for p in pairs} for split, pairs in made.items()}
    seen = {phrase for c in CRITERIA.values() if not c.held_out for phrase in c.phrasings[:-1]}
    assert asked["train"] <= seen
    names = {}
    for split in ("dev", "test"):
        names[split] = {p.meta["criterion"] for p in made[split] if p.meta["unseen"]}
        assert {CRITERIA[name].held_out for name in names[split]} == {split}
        assert asked[split] - {w for name in names[split] for w in CRITERIA[name].phrasings} <= (
            seen if split == "dev" else seen | {c.phrasings[-1] for c in CRITERIA.values() if not c.held_out}
        )
    unseen = {split: sum(p.meta["unseen"] for p in pairs) for split, pairs in made.items()}
    assert unseen == {"train": 0, "dev": 6 * len(TASKS), "test": len(made["test"]) / 3}
    for task in TASKS:
        assert len(criteria_for(task, "dev")) >= 2 <= len(criteria_for(task, "test"))
    assert any(p.meta["wording"] == 2 for p in made["test"] if not p.meta["unseen"])


def test_every_criterion_in_words_is_of_one_stratum(made):
    words = {word for p in made["train"] for word in p.criterion.replace(",", "").split()} | {"and"}
    for phrase, criterion in BY_PHRASE.items():
        assert (stratum(phrase) == "seen") == (not criterion.held_out)
        if stratum(phrase) == "new word":
            assert set(phrase.split()) - words, "a word that no training pair's criterion holds"
        if stratum(phrase) == "opposite":
            (task, *_), facts = criterion.tasks, [facts_of(p) for p in made["test"] if p.task in criterion.tasks]
            taught = [
                c for c in criteria_for(task, "") if all(c.truth(a, b) == criterion.truth(b, a) for a, b in facts)
            ]
            assert taught, "a criterion that training asks orders all responses the other way round"
    found = {"names a place": "composed", "is smaller": "new word", "starts at once": "opposite", "is short": "seen"}
    assert {phrase: stratum(phrase) for phrase in found} == found
    assert {stratum(p.criterion) for p in made["test"]} == set(STRATA)
    with pytest.raises(KeyError):
        stratum("is nice")


def test_pairs_depend_on_seed_and_split_only(made, tmp_path):
    again = make_bench(tmp_path, "dev", 20, 0, ("T2T", "T23D"))
    before = [p for p in made["dev"] if p.task in ("T2T", "T23D")]
    key = lambda p: (p.id, p.criterion, p.label, p.response_a[0].fingerprint(), p.response_b[0].fingerprint())  # noqa: E731
    assert list(map(key, again)) == list(map(key, before))
    assert list(map(key, make_bench(tmp_path / "b", "dev", 20, 1, ("T2T",)))) != list(map(key, before[:20]))


# ---- leaks


def interval(hits, clusters):
    """99 % rather than 95: half a dozen probes ask, and none may fail by chance on other seeds."""
    found = clustered_bootstrap(np.asarray(hits, float), list(clusters), seed=0, level=0.99)
    return found.low, found.high


def probe(features, gold, groups):
    """Interval of the balanced accuracy of a logistic regression on the half of the groups it was not fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features = StandardScaler().fit_transform(np.asarray(features, float))
    gold, groups = np.asarray(gold), np.asarray(groups)
    names = np.unique(groups)
    later = np.isin(groups, np.random.default_rng(0).permutation(names)[: len(names) // 2])
    weights = LogisticRegression(class_weight="balanced").fit(features[~later], gold[~later])
    hits = weights.predict(features[later]) == gold[later]
    balance = np.where(gold[later], 0.5 / gold[later].mean(), 0.5 / (1 - gold[later].mean()))
    return interval(hits * balance, groups[later])


def test_the_probe_notices_a_leak():
    rng = np.random.default_rng(0)
    gold = rng.random(2000) < 0.5
    low, _ = probe(np.c_[gold + rng.normal(0, 4, 2000), rng.random(2000)], gold, np.arange(2000))
    assert low > 0.5


def words(facts):
    return facts.text if isinstance(facts, Said) else ""


def test_length_brightness_number_and_words_do_not_tell_the_label(planned):
    rows = [
        (len(words(g.a)) - len(words(g.b)), len(words(g.a).split()) - len(words(g.b).split()),
         *((len(g.a.shown.objects) - len(g.b.shown.objects), g.a.look.light - g.b.look.light,
            g.a.look.size - g.b.look.size) if isinstance(g.a, Made) else (0, 0, 0)),
         len(c.phrasings[w]), len(g.subject.text), label, number)
        for _, number, g, (c, w, label) in planned
    ]  # fmt: skip
    assert len(rows) == 9 * 280
    decided = [r for r in rows if r[-2] != "tie"]
    low, high = probe([r[:-2] for r in decided], [r[-2] == "A" for r in decided], [r[-1] for r in decided])
    assert low < 0.5 < high, f"A or B can be told without the content: {low:.3f}-{high:.3f}"
    plain = [[*map(abs, r[:-2])] for r in rows]
    low, high = probe(plain, [r[-2] == "tie" for r in rows], [r[-1] for r in rows])
    assert low < 0.5 < high, f"ties can be told without the content: {low:.3f}-{high:.3f}"


@pytest.mark.parametrize("column", range(2))
def test_longer_wins_at_chance(planned, column):
    """Both as characters and as words, over decided rows of the text tasks whose lengths differ."""
    size = (len, lambda text: len(text.split()))[column]
    rows = [
        ((size(g.a.text) > size(g.b.text)) == (label == "A"), number)
        for task, number, g, (_, _, label) in planned
        if task in TEXT_TASKS and label != "tie" and size(g.a.text) != size(g.b.text)
    ]
    low, high = interval(*zip(*rows, strict=True))
    assert low < 0.5 < high and len(rows) > 500


def test_ties_are_spread_over_the_criteria(planned):
    tied = collections.defaultdict(list)
    for task, _, _, (criterion, _, label) in planned:
        tied[task, criterion.name].append(label == "tie")
    shares = {key: round(float(np.mean(found)), 2) for key, found in tied.items()}
    assert 0.04 < min(shares.values()) and max(shares.values()) < 0.4, shares
    for task in TASKS:
        sizes = [len(found) for (t, _), found in tied.items() if t == task]
        assert max(sizes) < 2 * min(sizes), f"{task}: some criteria are asked far more often"


def test_files_names_sizes_and_places_do_not_tell_the_label(made):
    rows = []
    for pair in all_pairs(made):
        if pair.task in MEDIA_TASKS:
            a, b = pair.response_a[0].path, pair.response_b[0].path
            names = [int(os.path.basename(p)[:8], 16) / 2**32 for p in (a, b)]
            size = os.path.getsize(a) - os.path.getsize(b)
            place = int(pair.id.split("-")[-1])
            group = f"{pair.id.split('-')[1]} {pair.task} {pair.meta['group']}"
            rows.append((size / 1000, size > 0, names[0] - names[1], place, pair.label, group))
    assert len(rows) == 5 * sum(PER_TASK.values())
    decided = [r for r in rows if r[-2] != "tie"]
    low, high = probe([r[:-2] for r in decided], [r[-2] == "A" for r in decided], [r[-1] for r in decided])
    assert low < 0.5 < high, f"A or B can be told from files: {low:.3f}-{high:.3f}"
    larger = [((r[0] > 0) == (r[-2] == "A"), r[-1]) for r in decided if r[0]]
    low, high = interval(*zip(*larger, strict=True))
    assert low < 0.5 < high, f"the larger file wins or loses: {low:.3f}-{high:.3f}"
    sizes = {p.response_a[0].path: os.path.getsize(p.response_a[0].path) for p in all_pairs(made) if p.task == "T2A"}
    assert len(set(sizes.values())) == 1


# ---- looks


def test_solids_show_their_facts():
    thin, thick = (Scene("views3d", (("red", "square"),), ("blue", t)) for t in ("thin", "thick"))
    view = lambda solid, look: looks.render_look(solid, look, np.random.default_rng(2)).astype(int)  # noqa: E731
    blue = [((p[..., 2] > 120) & (p[..., 0] < 100)).sum() for p in (view(thin, Look()), view(thick, Look()))]
    assert blue[1] > 1.5 * blue[0] > 0, "the sides of a thick solid are larger"
    assert view(thick, Look(light=0.6)).mean() < 0.75 * view(thick, Look()).mean()
    shown = lambda look: (view(thick, look).max(axis=-1) > 100).sum()  # noqa: E731
    assert shown(Look(size=0.62)) < 0.6 * shown(Look())
    tiles = view(thick, Look(empty=True)).reshape(2, 28, 2, 28, 3).max(axis=(1, 3, 4))
    assert sorted((tiles > 100).ravel()) == [False, True, True, True]
    assert (view(thick, Look(odd=True)) != view(thick, Look())).any()


def test_looks_scale_light_and_loudness():
    for modality in ("image", "video", "audio"):
        scene = draw_subject(
            {"image": "T2I", "video": "T2V", "audio": "T2A"}[modality], "train", np.random.default_rng(1)
        ).scene
        plain, dim = (looks.render_look(scene, Look(light), np.random.default_rng(0)) for light in (1.0, 0.5))
        assert abs(dim.astype(float)).mean() == pytest.approx(abs(plain.astype(float)).mean() / 2, rel=0.03)


# ---- the released format


def test_pairs_survive_the_released_format(made, tmp_path):
    folder = tmp_path / "bench"
    files = write_bench(folder, made["dev"])
    assert {f.name for f in files} == {f"{stem}_preferences.json" for stem, _, _ in LAYOUT.values()}
    again = read_bench(folder)
    assert {p.id: p for p in again} == {p.id: p for p in made["dev"]}
    row = json.loads((folder / "text_to_image_preferences.json").read_text())[0]
    assert {"prompt", "response1", "response2", "criteria", "criteria_preference", "id"} < set(row)
    assert not os.path.isabs(row["response1"])
    assert read_jsonl(write_jsonl(tmp_path / "pairs.jsonl", again), Pair, check_media=True) == again


RELEASED = {
    "text_to_text": {"prompt": "p", "response1": "x", "response2": "y", "model1": "m", "model2": "n"},
    "text_image_to_text": {"prompt": "p", "image": None, "image_path": "i/1.jpg", "response1": "x", "response2": "y"},
    "text_to_3D": {
        "prompt": "p", "response1": "a.png", "response2": "b.png", "response1_path": "k", "response2_path": "l",
    },
    "text_image_to_image": {"prompt": "p", "image": "i/1.jpg", "response1": "a.png", "response2": "b.png", "note": [1]},
}  # fmt: skip


def test_released_rows_survive_the_pairs(tmp_path):
    rows = {}
    for stem, row in RELEASED.items():
        asked = {"criteria": "c", "criteria_preference": "response2"}
        rows[stem] = [row | asked | {"id": 7}, row | asked | {"id": 7, "criteria": "d", "criteria_preference": "tie"}]
        (tmp_path / f"{stem}_preferences.json").write_text(json.dumps(rows[stem]))
    pairs = read_bench(tmp_path)
    assert [p.id for p in pairs[:2]] == ["7", "7#2"] and pairs[0].cluster == pairs[1].cluster
    assert [p.label for p in pairs[:2]] == ["B", "tie"] and len(pairs) == 8
    back = write_bench(tmp_path / "x" / "..", pairs)
    assert {p.name.removesuffix("_preferences.json"): json.loads(p.read_text()) for p in back} == rows
    swapped = to_row(pairs[0].swap(), tmp_path / "media_data")
    assert swapped["model1"] == "n" and swapped["response1"] == "y" and swapped["criteria_preference"] == "response1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"criteria": ...}, "json:1: field criteria is missing"),
        ({"criteria_preference": "A"}, "use one of response1, response2, tie"),
        ({"prompt": 3}, "json:1: field prompt: str expected, not int"),
        ({"omnirepro": {}, "model1": "m"}, "field model1"),
        ({"omnirepro": {"clustr": "c"}, "model1": ..., "model2": ...}, "field omnirepro: clustr is unknown"),
    ],
)
def test_a_bad_released_row_is_named(tmp_path, change, message):
    row = RELEASED["text_to_text"] | {"criteria": "c", "criteria_preference": "tie", "id": "1"} | change
    row = {k: v for k, v in row.items() if v is not ...}
    (tmp_path / "text_to_text_preferences.json").write_text(json.dumps([row]))
    with pytest.raises(RowError, match=message):
        read_bench(tmp_path)


def test_what_the_format_cannot_hold_is_refused(made, tmp_path):
    pair = next(p for p in made["dev"] if p.task == "T2T")
    with pytest.raises(RowError, match="one turn of text"):
        to_row(pair.model_copy(update={"prompt": [*pair.prompt, Part(type="text", text="more", turn=1)]}), tmp_path)
    with pytest.raises(RowError, match="criterion and a label"):
        to_row(pair.model_copy(update={"label": None}), tmp_path)
    with pytest.raises(RowError, match="no task of the benchmark"):
        to_row(pair.model_copy(update={"task": "image"}), tmp_path)
    (tmp_path / "text_to_text_preferences.json").write_text("[]")
    with pytest.raises(RowError, match="text_to_text_preferences.json: no rows"):
        read_bench(tmp_path)
    (tmp_path / "text_to_text_preferences.json").unlink()
    with pytest.raises(RowError, match="no <task>_preferences.json"):
        read_bench(tmp_path / "nowhere")


# ---- criterion-instruction data


def test_votes_filter_what_the_writer_proposes(made):
    pairs = made["train"]
    outcome = propose_criteria(pairs, world_writer(), world_verifiers())
    assert len(outcome.kept) + len(outcome.dropped) == len(pairs) == sum(outcome.reasons.values()) + len(outcome.kept)
    assert set(outcome.reasons) <= {"a verifier gave no verdict", *(f"{n} of 3 verifiers disagree" for n in (1, 2, 3))}
    rows = correctness(outcome)
    written = np.mean([r["correct"] for r in rows])
    kept = np.mean([r["correct"] for r in rows if r["kept"]])
    assert 0.65 < written < 0.85 < kept < 1, "votes help, but errors that all share stay"
    assert not any(p.meta["unseen"] or BY_PHRASE[p.criterion].held_out for p in outcome.kept)
    assert outcome == propose_criteria(pairs, world_writer(), world_verifiers())


def test_faultless_labellers_keep_everything_and_contrary_ones_nothing(made):
    pairs = made["train"][:60]
    perfect = world_writer().__class__(Labeller("perfect"))
    kept = propose_criteria(pairs, perfect, {"same": Labeller("other")}).kept
    assert len(kept) == 60 and all(p.label == gold_of(p) for p in kept)
    assert all(p.criterion != q.criterion for p, q in zip(kept, pairs, strict=True))
    contrary = {"no": lambda pair: swap_verdict(gold_of(pair)), "mute": lambda pair: None}
    outcome = propose_criteria(pairs, perfect, contrary)
    assert not outcome.kept and outcome.reasons == {"a verifier gave no verdict": 60}
    with pytest.raises(ValueError, match="no verifier"):
        propose_criteria(pairs, perfect, {})


def test_verifiers_never_see_the_proposed_label(made):
    labels = []
    propose_criteria(made["train"][:5], lambda pair: ("is true", "A"), {"spy": lambda pair: labels.append(pair.label)})
    assert labels == [None] * 5
