"""The embedded world: the oracle finds exactly what was spoiled, files hold the facts, splits share nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirepro.data import DIMENSIONS, media
from omnirepro.data.files import RunError
from omnirepro.data.splits import check_disjoint
from omnirepro.toyworld import scenes
from omnirepro.toyworld.language import PENALTY, QUOTED, alter, assess, claims, compose, evidence, facts, questions
from omnirepro.toyworld.nouns import COLORS, FILLERS, HARMS, PLACES, SHAPES, UNSAFE, VALUES
from omnirepro.toyworld.scenes import count_scenes, observations, render, sample, save, scene_from
from omnirepro.toyworld.tasks import MODALITIES, SPLITS, Truth, World, make_prompts, split_of

QUICK = settings(max_examples=150, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
WORDS = sorted(
    {w for values in VALUES.values() for w in values}
    | {"the", "is", "because", "i", "see", "hear", "read", "a", "and", "still", "moving", "has", "in", "at", "go", "it"}
    | {*VALUES, *HARMS, *FILLERS, ".", ",", "?"}
)

QUOTABLE = {"none", *VALUES, *(v for values in VALUES.values() for v in values)}


def draw(modality, seed):
    """A scene, one of its questions and the generator that drew them."""
    rng = np.random.default_rng(seed)
    scene = sample(modality, rng)
    asked = questions(scene)
    return scene, asked[int(rng.integers(len(asked)))], rng


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MODALITIES), SEEDS, st.sets(st.sampled_from(DIMENSIONS)))
def test_the_oracle_finds_exactly_the_defects(modality, seed, defects):
    scene, question, rng = draw(modality, seed)
    found = assess(scene, question, text := compose(scene, question, defects, rng))
    assert {d for d, good in found.marks.items() if not good} == defects, text
    assert found.score == max(0, 10 - sum(PENALTY[d] for d in defects))
    quoted = claims(scene, question, text)
    said, true = quoted["accuracy"].split(" is ")
    assert true == facts(scene, question.target)[quoted["relevance"]]
    assert (quoted["relevance"] != question.attribute) == ("relevance" in defects)
    assert (said != true) == ("accuracy" in defects)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_question_has_a_faultless_answer_and_every_single_defect_shows(modality):
    for seed in range(25):
        scene, _, rng = draw(modality, seed)
        for question in questions(scene):
            for bad in ((), *((d,) for d in DIMENSIONS)):
                marks = assess(scene, question, compose(scene, question, bad, rng)).marks
                assert [d for d in DIMENSIONS if not marks[d]] == list(bad), (scene, question)


@pytest.mark.parametrize("modality", MODALITIES)
@given(seed=SEEDS)
@settings(max_examples=25, deadline=None)
def test_the_quote_for_accuracy_names_the_first_false_word_wherever_it_stands(modality, seed):
    scene, _, rng = draw(modality, seed)
    for question in questions(scene):
        for defect, spoiled in itertools.product(((), ("accuracy",), ("evidence",)), ((), ("fluency",), ("safety",))):
            text = compose(scene, question, {*defect, *spoiled}, rng)
            marks, quote = assess(scene, question, text).marks, claims(scene, question, text)["accuracy"]
            stated, true = quote.split(" is ")
            assert (stated == true) == marks["accuracy"] == (not defect), (text, quote)
            assert stated in text or stated == "none", "what is quoted stands in the response"
            assert all(marks[d] == (d not in spoiled) for d in DIMENSIONS if d != "accuracy"), text
            if defect == ("evidence",):
                answer = facts(scene, question.target)[question.attribute]
                assert f" is {answer} " in f"{text} ", "the answer itself is true"
                assert quote != f"{answer} is {answer}"


def test_scores_fall_into_the_bands_of_the_scale():
    assert sum(PENALTY.values()) > 10 and set(PENALTY) == set(DIMENSIONS)
    scene, question, rng = draw("image", 3)
    score = {
        bad: assess(scene, question, compose(scene, question, bad, rng)).score
        for n in range(6) for bad in itertools.combinations(DIMENSIONS, n)
    }  # fmt: skip
    assert score[()] == 10 and score[tuple(DIMENSIONS)] == 0
    assert all(5 <= s <= 9 for bad, s in score.items() if len(bad) == 1)
    assert all(s <= 7 for bad, s in score.items() if len(bad) == 2)
    for bad, other in itertools.product(score, repeat=2):
        assert score[bad] >= score[other] or not set(bad) < set(other), "one more defect never raises a score"


def check_any_text(scene, question, text):
    found = assess(scene, question, text)
    quoted = claims(scene, question, text)
    assert set(quoted) == set(QUOTED)
    assert all(word in QUOTABLE for quote in quoted.values() for word in quote.split(" is "))
    assert tuple(found.marks) == DIMENSIONS and set(map(type, found.marks.values())) == {bool}
    assert found == assess(scene, question, text) and 0 <= found.score <= 10
    return found


@QUICK
@given(st.sampled_from(MODALITIES), SEEDS, st.text())
def test_any_text_is_scored(modality, seed, text):
    check_any_text(*draw(modality, seed)[:2], text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(MODALITIES), SEEDS, st.sampled_from(sorted(VALUES)), st.sampled_from(WORDS), st.sampled_from(WORDS),
    st.sampled_from(("", " because i see ", " because i hear ")), st.lists(st.sampled_from(WORDS), max_size=7),
    st.booleans(),
)  # fmt: skip
def test_any_text_of_the_worlds_words_is_scored(modality, seed, attribute, value, filler, clause, words, grounded):
    scene, question, _ = draw(modality, seed)
    basis = evidence(scene, question) if grounded else " ".join(words)
    for text in (f"the {attribute} is {value}{clause}{basis}.", f"{filler} the {attribute} is {value} {basis}"):
        check_any_text(scene, question, text)


def test_a_value_of_the_wrong_kind_is_an_error_of_the_answer_only():
    scene = scenes.Scene("image", (("red", "ring", "top-left"),))
    count = questions(scene)[0]
    found = check_any_text(scene, count, "the count is red because i see a red ring top-left.")
    assert found.marks == {"fluency": True, "relevance": True, "accuracy": False, "reasoning": False, "safety": True}


@QUICK
@given(st.sampled_from(MODALITIES), SEEDS)
def test_an_alteration_changes_the_asked_fact(modality, seed):
    scene, question, rng = draw(modality, seed)
    changed = alter(scene, question, rng)
    assert facts(changed, question.target)[question.attribute] != facts(scene, question.target)[question.attribute]
    assert changed.modality == scene.modality and observations(changed) != observations(scene)


def test_empty_and_harmful_texts():
    scene, question, _ = draw("text", 1)
    assert check_any_text(scene, question, "").score == 0
    for text in UNSAFE:
        assert not assess(scene, question, f"{compose(scene, question)} {text}").marks["safety"]


def test_the_scenes_are_as_many_as_enumeration_finds():
    images = {
        tuple(zip(c, s, p, strict=True))
        for n in (1, 2)
        for p in itertools.combinations(PLACES, n)
        for c in itertools.permutations(COLORS, n)
        for s in itertools.permutations(SHAPES, n)
    }
    assert count_scenes()["image"] == len(images) == 1152
    rng = np.random.default_rng(0)
    assert {sample("image", rng).objects for _ in range(400)} <= images
    assert count_scenes()["audio"] == 3 * (3 + 9 + 27 + 81) and min(count_scenes().values()) > 300
    assert len({sample("audio", rng) for _ in range(8000)}) == count_scenes()["audio"]


@QUICK
@given(st.sampled_from(MODALITIES), SEEDS)
def test_a_scene_survives_json_and_belongs_to_one_split(modality, seed):
    scene, question, _ = draw(modality, seed)
    data = Truth(prompt_id="x", scene=vars(scene), question=vars(question))
    again = Truth.model_validate_json(data.model_dump_json())
    assert World.from_rows([again]).truths["x"] == (scene, question)
    assert scene_from(again.scene).key() == scene.key() and split_of(scene) in SPLITS


def test_the_splits_have_their_shares():
    assert sorted(b for buckets in SPLITS.values() for b in buckets) == list(range(100))
    rng = np.random.default_rng(0)
    drawn = [split_of(sample("text", rng)) for _ in range(4000)]
    assert abs(drawn.count("train") / 4000 - 0.7) < 0.03 and abs(drawn.count("dev") / 4000 - 0.1) < 0.03


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return {s: make_prompts(folder, s, 24, 0) for s in SPLITS}


def test_prompts_are_distinct_and_disjoint(made):
    prompts = {split: rows for split, (rows, _) in made.items()}
    assert check_disjoint(prompts) == {"train": 24, "dev": 24, "test": 24}
    assert [p.task for p in prompts["dev"]] == list(MODALITIES) * 6
    asked = [(str(t.scene), str(t.question)) for _, truths in made.values() for t in truths]
    assert len(set(asked)) == len(asked)


def test_a_shared_prompt_or_scene_is_refused(made):
    train, dev = made["train"][0], made["dev"][0]
    renamed = train[5].model_copy(update={"id": "other", "cluster": "elsewhere"})
    with pytest.raises(RunError, match="train and dev share"):
        check_disjoint({"train": train, "dev": [*dev, renamed]})
    same_scene = dev[0].model_copy(update={"id": "x", "cluster": train[0].cluster})
    with pytest.raises(RunError, match="train and dev share"):
        check_disjoint({"train": train, "dev": [same_scene]})


def test_prompts_depend_on_seed_and_split_only(made, tmp_path):
    again, truths = make_prompts(tmp_path, "dev", 8, 0)
    assert [p.fingerprint() for p in again] == [p.fingerprint() for p in made["dev"][0][:8]]
    assert truths == made["dev"][1][:8]
    assert [t.scene for t in make_prompts(tmp_path / "b", "dev", 8, 1)[1]] != [t.scene for t in truths]


@pytest.mark.parametrize("seed", range(4))
def test_files_hold_what_was_rendered(tmp_path, seed):
    rng = np.random.default_rng(seed)
    stored = {m: (made := render(s := sample(m, rng), rng), save(s, made, tmp_path / f"{m}{seed}")) for m in MODALITIES}
    assert (media.load_image(stored["image"][1]) == stored["image"][0]).all()
    frames, fps = media.load_video(stored["video"][1])
    assert frames.shape == stored["video"][0].shape == (4, 56, 56, 3) and fps == 4
    difference = abs(frames.astype(int) - stored["video"][0])
    assert difference.mean() < 6 and np.median(difference) <= 4, "near lossless but for the halved colour planes"
    samples = media.load_audio(stored["audio"][1])
    assert samples.shape == stored["audio"][0].shape == (12_800,) and samples.dtype == np.float32
    assert abs(samples - stored["audio"][0]).max() < 1e-4
    assert stored["text"][1].read_text(encoding="utf-8").strip() == stored["text"][0]


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_equal_facts_look_different(modality):
    scene, _, rng = draw(modality, 5)
    first, second = render(scene, rng), render(scene, rng)
    assert first.shape == second.shape and first.dtype == second.dtype and (first != second).mean() > 0.1


def test_the_mover_moves_as_stated():
    rng = np.random.default_rng(0)
    for motion, (dy, dx) in scenes.MOTIONS.items():
        paths = {}
        for speed, step in scenes.SPEEDS.items():
            scene = scenes.Scene("video", (("white", "square"), ("red", "ring")), (motion, speed))
            white = render(scene, rng).min(axis=-1) > 150
            y, x = (np.array([np.argwhere(f).mean(axis=0) for f in white])).T
            paths[speed] = (np.diff(y).mean(), np.diff(x).mean())
            assert paths[speed] == pytest.approx((dy * step, dx * step), abs=0.6)
