"""What gives labels away is found where it was planted, and nowhere else; the command says it in words."""

import json
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_endpoint_load import serve  # noqa: F401 (a fixture)

from omnirepro.cli.main import main
from omnirepro.data import Pair, Part, write_jsonl
from omnirepro.data.audit.check import facts, report
from omnirepro.data.audit.leaks import audit
from omnirepro.data.sources import load
from omnirepro.evaluate.statistics import clustered_bootstrap

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def text(value):
    return [Part(type="text", text=value)]


def pair(i, label, a="yes", b="no!", **fields):
    a, b = (text(x) if isinstance(x, str) else x for x in (a, b))
    return Pair(id=str(i), task="t", prompt=text(f"q {i}"), response_a=a, response_b=b, label=label, **fields)


def coins(n, seed=0, p=0.5):
    rng = random.Random(seed)
    return ["A" if rng.random() < p else "B" for _ in range(n)]


def findings(pairs):
    return {(f.feature, f.rule.split(",")[-1].strip()): f for f in audit(pairs, clustered_bootstrap)}


def leaks(pairs):
    return {f.feature for f in audit(pairs, clustered_bootstrap) if f.leak}


def media(folder, kind, name, amount):
    """Write a picture of `amount` columns or a sound of `amount` samples."""
    import soundfile

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "image":
        Image.fromarray(np.zeros((4, amount, 3), np.uint8)).save(path)
    else:
        soundfile.write(path, np.zeros(amount), 16000)
    return [Part(type=kind, path=str(path))]


def test_a_constant_label_scores_100_per_cent():
    pairs = [pair(i, "A") for i in range(40)]
    found = findings(pairs)["constant label", "constant A"]
    assert found.leak and found.interval.value == 1.0
    assert found.sentence.startswith("constant A scores 100.0 % of 40 decided pairs, above the 50 % of chance")
    assert leaks(pairs) == {"constant label"}, "repeating the row before is no second leak where it must be right"
    assert leaks([pair(i, "B") for i in range(40)]) == {"constant label"}


def test_nothing_is_found_in_noise():
    false = 0
    for seed in range(40):
        rng = random.Random(seed)
        texts = [("x" * rng.randint(1, 50), "y" * rng.randint(1, 50)) for _ in range(120)]
        false += bool(leaks([pair(i, g, *t) for i, (g, t) in enumerate(zip(coins(120, seed), texts, strict=True))]))
    assert false <= 5, "the family-wise rate is 5 % of 40"


def test_a_sorted_file_and_an_alternating_one_are_found():
    assert leaks([pair(i, "A" if i < 60 else "B") for i in range(120)]) == {"position"}
    alternating = [pair(i, "AB"[i % 2]) for i in range(120)]
    assert leaks(alternating) == {"position"}
    assert findings(alternating)["position", "as the row before"].interval.value == 0
    assert leaks([pair(i, g) for i, g in enumerate(coins(400, p=0.8))]) == {"constant label"}, "unbalanced, not sorted"


def test_length_is_found_whichever_side_is_better():
    long_wins = [pair(i, g, *(("xxx", "y") if g == "A" else ("x", "yyy"))) for i, g in enumerate(coins(60))]
    found = findings(long_wins)["length", "the longer response"]
    assert found.leak and found.interval.value == 1.0 and (found.differ, found.where) == (60, 1.0)
    swapped = findings([p.swap() for p in long_wins])["length", "the longer response"]
    assert swapped.interval == found.interval, "a feature of the responses follows a swap"
    equal = [pair(i, g, "same", "also") for i, g in enumerate(coins(60))]
    assert ("length", "the longer response") not in findings(equal)


def test_a_threshold_is_fitted_on_other_prompts():
    """Longer wins up to 20 characters of difference, shorter beyond: the sign rule sees little."""
    pairs, rng = [], random.Random(0)
    for i, g in enumerate(coins(300)):
        much = rng.random() < 0.5
        better, worse = ("x" * 10, "y" * 60) if much else ("x" * 30, "y" * 20)
        pairs.append(pair(i, g, *((better, worse) if g == "A" else (worse, better))))
    found = findings(pairs)
    assert found["length", "fitted threshold"].interval.value == 1.0
    assert 0.4 < found["length", "the longer response"].interval.value < 0.6
    noise = [p.model_copy(update={"label": g}) for p, g in zip(pairs, coins(300, 1), strict=True)]
    assert findings(noise)["length", "fitted threshold"].interval.value < 0.6, "fitted and scored on different folds"


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_media_size_and_frames_are_found(tmp_path, kind):
    pairs = []
    for i, g in enumerate(coins(40)):
        suffix = {"image": "png", "audio": "wav"}[kind]
        better, worse = (media(tmp_path, kind, f"{i}-{n}.{suffix}", n * 400 + i) for n in (2, 1))
        pairs.append(pair(i, g, *((better, worse) if g == "A" else (worse, better))))
    assert {"image": {"media size", "media pixels"}, "audio": {"media size", "frame count"}}[kind] <= leaks(pairs)
    assert "length" not in leaks(pairs)


def test_frames_of_films_are_counted(tmp_path):
    import av

    def film(name, frames):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            for _ in range(frames):
                picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return [Part(type="video", path=str(tmp_path / name))]

    long, short = film("1.mp4", 9), film("2.mp4", 4)
    pairs = [pair(i, g, *((short, long) if g == "A" else (long, short))) for i, g in enumerate(coins(30))]
    found = findings(pairs)["frame count", "the side with more frames"]
    assert found.leak and found.interval.value == 0 and "below the 50 % of chance" in found.sentence


def test_words_of_a_file_name_are_found_on_prompts_not_seen(tmp_path):
    pairs = []
    for i, g in enumerate(coins(60)):
        better, worse = (media(tmp_path, "image", f"{f}/{i:06d}.png", 4) for f in ("winvideos", "losevideos"))
        pairs.append(pair(i, g, *((better, worse) if g == "A" else (worse, better))))
    found = findings(pairs)["file name", "words of the path that won elsewhere"]
    assert found.leak and found.interval.value == 1.0 and "never show a path" in found.sentence
    plain = []
    for i, g in enumerate(coins(60)):
        a, b = (media(tmp_path, "image", f"media/{s}{i:06d}.png", 4) for s in "xy")
        plain.append(pair(i, g, a, b))
    assert leaks(plain) == set(), "a name that no other prompt has tells nothing"


def test_pairs_of_one_prompt_do_not_count_as_many():
    """Ten prompts of thirty pairs each: what holds for a whole prompt is ten observations, not three hundred."""
    gold = [g for g in coins(10, 3, p=0.75) for _ in range(30)]
    one_prompt = [pair(i, g, cluster=str(i // 30)) for i, g in enumerate(gold)]
    apart = [pair(i, g) for i, g in enumerate(gold)]
    wide, narrow = (findings(x)["constant label", "constant A"].interval for x in (one_prompt, apart))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_few_clusters_and_no_labels_are_said_to_be_so():
    assert "too few to tell" in report([pair(i, "A") for i in range(5)], clustered_bootstrap)
    assert audit([pair(0, "tie"), pair(1, None)], clustered_bootstrap) == []
    assert "nothing to audit" in report([pair(0, "tie")], clustered_bootstrap)
    assert report([], clustered_bootstrap) == "no pairs"
    assert "no predictor is significantly away" in report(
        [pair(i, g) for i, g in enumerate(coins(60))], clustered_bootstrap
    )


def test_facts_count_ties_duplicates_and_missing_media():
    gone = [Part(type="image", path="/nowhere/one.png")]
    same = Pair(
        id="r", task="t", prompt=[*gone, *text("see one.png")], response_a=gone, response_b=text("z"), label="B"
    )
    pairs = [
        pair(0, "A"),
        pair(1, "tie"),
        pair(2, None),
        same,
        pair(0, "A").swap(),
        pair(0, "B"),
        pair(7, "A", "e", "e"),
    ]
    found = facts(pairs)
    assert found["pairs"] == "7 in 5 clusters" and found["ties"] == "1 (14.3%)" and found["unlabelled"] == "1"
    assert found["duplicates"] == "2 (1 with another label); 1 decided pairs of equal responses"
    turned = pair(0, "A").swap().model_copy(update={"label": "A"})
    assert facts([pair(0, "A"), turned])["duplicates"].startswith("1 (1 with another label)")
    assert found["missing media"] == "1, such as /nowhere/one.png"
    assert found["prompt as answer"] == "1 pairs" and found["file names"].startswith("1 prompts show one")


# ---- the command


def test_the_command_reports_and_fails_on_a_leak_or_a_malformed_file(tmp_path, capsys):
    path = write_jsonl(tmp_path / "pairs.jsonl", [pair(i, "A", source="sharegpt-video") for i in range(30)])
    assert main(["data", "check", str(path), "--allow", "constant label"]) == 0
    said = capsys.readouterr().out
    assert f"{path}: read as omnirepro" in said and "30 in 30 clusters" in said
    assert "none stated in its repository" in said and "constant A scores 100.0 % of 30 decided pairs" in said
    path.write_text(path.read_text() + "{broken\n")
    assert main(["data", "check", str(path)]) == 1
    assert f"{path}:31: not one JSON object" in capsys.readouterr().err
    assert main(["data", "check", str(path), "--source", "nonsense"]) == 1
    assert "no such source" in capsys.readouterr().err


def test_a_leak_is_an_error_unless_it_is_allowed_by_its_name(tmp_path, capsys):
    """Longer responses win, and the better one stands first: each leak must be let pass by itself."""
    path = write_jsonl(tmp_path / "pairs.jsonl", [pair(i, "A", "a longer one", "short") for i in range(40)])
    out = tmp_path / "kept.jsonl"
    assert main(["data", "check", str(path), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "constant A scores 100.0 %" in said.out and len(list(load(out, say=lambda _: None))) == 40, (
        "all is said first"
    )
    wanted = f"error: {path} leaks by constant label, length: mend the rows, or let pass what is known with "
    assert said.err == wanted + '--allow "constant label" --allow "length"\n'
    assert main(["data", "check", str(path), "--allow", "length"]) == 1
    assert "leaks by constant label:" in capsys.readouterr().err
    assert main(["data", "check", str(path), "--allow", "length", "--allow", "constant label"]) == 0
    assert main(["data", "check", str(path), "--allow", "lenght"]) == 1
    assert "--allow lenght: no such leak; one of constant label, position, length" in capsys.readouterr().err


def test_the_command_runs_as_documented(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [pair(i, g) for i, g in enumerate(coins(30))])
    command = [sys.executable, "-m", "omnirepro", "data", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and "no predictor is significantly away from chance" in done.stdout


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the small real data sets")
@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("codec_mushra", {"file name"}),
        ("mathvision_pairs", {"length"}),
        ("llmbar", {"length"}),
        ("pandalm", {"length", "position"}),
        ("hh_rlhf", {"constant label", "length"}),
    ],
)
def test_real_files_have_the_leaks_that_they_are_known_for(folder, found):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = list(load(REAL / folder, say=lambda text: None))
    assert leaks(pairs) == found
    if folder == "mathvision_pairs":
        longer = findings(pairs)["length", "the longer response"]
        assert (round(longer.where, 2), longer.differ) == (0.78, 204)


def test_knowing_only_the_system_that_wrote_an_answer_is_a_predictor():
    pairs = [
        pair(i, g, meta={"model_a": "big", "model_b": "small"} if g == "A" else {"model_a": "small", "model_b": "big"})
        for i, g in enumerate(coins(60))
    ]
    found = findings(pairs)["system", "the system that won elsewhere"]
    assert found.leak and found.interval.value == 1.0 and "may know the systems" in found.sentence
    noise = [p.model_copy(update={"label": g}) for p, g in zip(pairs, coins(60, 3), strict=True)]
    assert "system" not in leaks(noise)
    assert (
        "system" in report([pair(i, g) for i, g in enumerate(coins(20))], clustered_bootstrap).split("not told by")[1]
    )


def test_the_command_names_what_another_split_shares(tmp_path, capsys):
    one, two = (media(tmp_path, "image", f"{n}.png", n) for n in (3, 4))
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    copied = [Part(type="image", path=str(tmp_path / "copy.png"))]
    shown = [pair(i, "A").model_copy(update={"prompt": [*part, *text(f"q{i}")]}) for i, part in enumerate((one, two))]
    made = pair(7, "B").model_copy(update={"response_a": copied, "response_b": text("x")})
    write_jsonl(tmp_path / "test.jsonl", [*shown, pair(8, "A")])
    write_jsonl(tmp_path / "train.jsonl", [made])
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Q  8"}\n')
    assert main(["data", "check", str(tmp_path / "test.jsonl"), "--against", str(tmp_path / "train.jsonl")]) == 1
    assert "1 media in 1 pairs, and the prompts of 0 pairs" in capsys.readouterr().out
    asked = ["data", "check", str(tmp_path / "test.jsonl"), "--against", str(tmp_path / "prompts.jsonl")]
    assert main([*asked, "--allow", "rows of another split"]) == 0
    said = capsys.readouterr().out
    assert "0 media in 0 pairs, and the prompts of 1 pairs" in said and "leaks: results on one" in said


def test_licences_that_are_not_allowed_are_left_out_and_counted(tmp_path, capsys):
    rows = [pair(i, "A", meta={"license": "mit" if i % 2 else "CC-BY-NC"}) for i in range(5)]
    write_jsonl(tmp_path / "rows.jsonl", [*rows, pair(9, "B")])
    (tmp_path / "mine.yaml").write_text("path: rows.jsonl\nlicence: CC0\n")
    asked = ["data", "check", str(tmp_path / "mine.yaml"), "--licence", "MIT", "--licence", "CC0"]
    assert main([*asked, "--out", str(tmp_path / "kept.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "3 of 6 pairs are under MIT, CC0; left out: 3 under 'CC-BY-NC'" in said
    assert [p.id for p in load(tmp_path / "kept.jsonl", say=lambda _: None)] == ["1", "3", "9"]
    assert main(["data", "check", str(tmp_path / "mine.yaml"), "--licence", "GPL"]) == 1
    assert "mine.yaml: no pair is left; name one of its own licences" in capsys.readouterr().err


def test_questions_are_checked_against_another_split_by_media_and_their_bare_text(tmp_path, capsys):
    shown = media(tmp_path, "image", "3.png", 3)
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    asked = [
        {"id": "a", "prompt": "How many?", "image": "copy.png", "choices": ["2", "3"], "gold": "A"},
        {"id": "b", "prompt": "Q  8", "choices": ["2", "3"], "gold": "B"},
        {"id": "c", "prompt": "What else?", "gold": "7"},
    ]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    trained = [pair(1, "A").model_copy(update={"prompt": [*shown, *text("q1")]}), pair(8, "B")]
    write_jsonl(tmp_path / "train.jsonl", trained)
    names = [str(tmp_path / f"{name}.jsonl") for name in ("asked", "train")]
    shared = ["--allow", "rows of another split"]
    assert main(["data", "check", names[0], "--against", names[1]]) == 1
    capsys.readouterr()
    assert main(["data", "check", names[0], "--against", names[1], *shared]) == 0
    said = capsys.readouterr().out
    assert "questions         3" in said and "1 media in 1 questions, and the prompts of 1 questions" in said
    assert main(["data", "check", names[1], "--against", names[0], *shared]) == 0
    assert "1 media in 1 pairs, and the prompts of 1 pairs" in capsys.readouterr().out
    assert main(["data", "check", names[0], "--licence", "MIT"]) != 0
    assert "are for pairs" in capsys.readouterr().err


def broken_media(folder):
    """Write media of which each fails in a way of its own; returns the parts by name."""
    import soundfile

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "short.wav", np.ones(10) / 2, 16000)
    soundfile.write(folder / "heard.wav", rng.uniform(-0.5, 0.5, 16000), 16000)
    (folder / "film.mp4").write_bytes(b"no film")
    kinds = {"whole.jpg": "image", "half.jpg": "image", "silent.wav": "audio", "short.wav": "audio"}
    kinds |= {"heard.wav": "audio", "film.mp4": "video", "gone.png": "image", "half.jpg as views": "views3d"}
    parts = {name: Part(type=kind, path=str(folder / name.split()[0])) for name, kind in kinds.items()}
    return parts | {"sound as picture": Part(type="image", path=str(folder / "heard.wav"))}


def test_media_that_nothing_can_read_are_listed(tmp_path, capsys):
    parts = broken_media(tmp_path)
    pairs = [pair(n, "A").model_copy(update={"id": n, "prompt": [p, *text("q")]}) for n, p in parts.items()]
    pairs += [pair("again", "B").model_copy(update={"response_a": [parts["half.jpg"]]})]
    path = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["data", "check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "unreadable media  6 of 9" in said and "reading media: 9/9" in said
    for row, why in {
        "half.jpg and 1 more": r".*half\.jpg: cannot be read as a picture",
        "half.jpg as views": r".*half\.jpg: cannot be read as a picture",
        "silent.wav": r".*silent\.wav: .*it is silent",
        "short.wav": r".*short\.wav: .*shorter than",
        "film.mp4": r".*film\.mp4: cannot be read as a film",
        "sound as picture": r".*heard\.wav: cannot be read as a picture",
    }.items():
        assert re.search(rf"^\* row {row}: {why}", said, re.MULTILINE), row
    assert "1, such as" in said and "row gone.png" not in said, "missing media have their own line"
    write_jsonl(tmp_path / "good.jsonl", [p for p in pairs if p.id in ("whole.jpg", "heard.wav")])
    assert main(["data", "check", str(tmp_path / "good.jsonl")]) == 0
    assert "unreadable media  none" in capsys.readouterr().out


def test_a_judging_leaves_out_what_cannot_be_read(tmp_path, capsys, serve):  # noqa: F811
    parts = broken_media(tmp_path)
    del parts["whole.jpg"], parts["heard.wav"]  # this server takes text alone
    pairs = [pair(n, "A").model_copy(update={"id": n, "prompt": [p, *text("q")]}) for n, p in parts.items()]
    pairs.append(pair("words", "A"))
    server = serve(fault=lambda said, count: "none")
    words = ["judge", str(write_jsonl(tmp_path / "pairs.jsonl", pairs)), "--model", f"{server.url}#echo"]
    words += ["--out", str(tmp_path / "rows.jsonl")]
    assert main(words) == 1 and "gone.png" in capsys.readouterr().err
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*are missing")
        assert main([*words, "--bad-rows", "drop"]) == 0
    said = capsys.readouterr().out
    assert "dropped: 7 of 8 rows" in said and "* row gone.png: " in said and "* row silent.wav: " in said
    judged = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["pair_id"] for row in judged] == ["words", "words"]
