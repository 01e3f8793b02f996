"""What a judging takes is told before anything is asked, and a judging ends in time and goes on from there."""

import json
import re

import pytest
from test_endpoint_load import serve  # noqa: F401 (a fixture)
from test_media_corpus import write_sound
from tiny_parts import save_untrained, text_part

from omnirepro.cli.main import main
from omnirepro.data import Pair, Part, write_jsonl


def write_pairs(folder, count=6, prompt=()):
    pairs = [
        Pair(id=str(i), task="T2T", prompt=[*prompt, text_part("q")], response_a=[text_part("yes")],
             response_b=[text_part(f"no {i}")]) for i in range(count)
    ]  # fmt: skip
    return str(write_jsonl(folder / "pairs.jsonl", pairs))


def endpoints(folder, server, **entry):
    (folder / "endpoints.yaml").write_text(json.dumps({"servers": {server.url: entry}}))
    return ["--endpoints", str(folder / "endpoints.yaml")]


def test_a_servers_price_is_told_and_nothing_is_asked(serve, tmp_path, capsys):  # noqa: F811
    server = serve(fault=lambda said, count: "none")
    sound = Part(type="audio", path=str(write_sound(tmp_path / "a.wav")))
    words = ["judge", write_pairs(tmp_path, prompt=[sound]), "--model", f"{server.url}#echo"]
    words += ["--out", str(tmp_path / "rows.jsonl"), "--max-new-tokens", "50", "--concurrency", "2"]
    words += endpoints(tmp_path, server, price=[2, 1000], rate=10)
    assert main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "6 pairs, 12 judgements, 12 requests" in said and "12 to be made, 0 answers are kept" in said
    assert "at most 600 written" in said and "about 30 at most, at 10 tokens a second" in said
    shown = int(re.search(r"(\d+) of them media", said)[1])
    assert shown == 12 * round(shown / 12) and 10 < shown / 12 < 60, "25 tokens a second of sound in every request"
    assert 0.6 < float(re.search(r"money: about ([\d.]+)", said)[1]) < 0.7
    assert not server.asked and not (tmp_path / "rows.jsonl").exists()
    assert not (tmp_path / "rows.jsonl.answers.sqlite").exists()


@pytest.mark.parametrize("read", ["generate", "choice"])
def test_what_is_kept_costs_nothing_more(serve, tmp_path, capsys, read):  # noqa: F811
    server = serve(fault=lambda said, count: "none")
    words = ["judge", write_pairs(tmp_path), "--model", f"{server.url}#echo", "--out", str(tmp_path / "rows.jsonl")]
    words += [*endpoints(tmp_path, server, price=[1, 1]), "--read", read]
    if read == "generate":
        assert main([*words, "--limit", "2"]) == 0 and server.asked.total() == 4
        asked = 4
    else:  # this server tells no log-probabilities: nothing is kept
        assert main([*words, "--limit", "2"]) == 1
        asked = 0
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    assert f"{12 - asked} to be made, {asked} answers are kept" in capsys.readouterr().out


def test_a_servers_seconds_end_cleanly_and_the_rest_follows(serve, tmp_path, capsys):  # noqa: F811
    import time

    server = serve(fault=lambda said, count: time.sleep(0.1) or "none")
    words = ["judge", write_pairs(tmp_path, 20), "--model", f"{server.url}#echo", "--concurrency", "2"]
    words += ["--out", str(tmp_path / "rows.jsonl")]
    assert main([*words, "--seconds", "0.5"]) == 1
    said = capsys.readouterr().err
    done = int(re.search(r"the seconds are over: (\d+) answers are kept", said)[1])
    assert "run the same again" in said and 0 < done <= len(server.paid) <= done + 2 < 40
    assert not (tmp_path / "rows.jsonl").exists()
    assert main(words) == 0 and set(server.paid.values()) == {1} and len(server.paid) == 40


@pytest.mark.parametrize("read", ["generate", "choice"])
def test_a_loaded_models_price_is_measured_and_its_seconds_end(tmp_path, capsys, read):
    save_untrained(tmp_path / "model")
    words = ["judge", write_pairs(tmp_path), "--model", str(tmp_path / "model"), "--max-new-tokens", "4"]
    words += ["--batch-size", "1", "--read", read, "--out"]
    assert main([*words, str(tmp_path / "rows.jsonl"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"at most {12 * (1 if read == 'choice' else 4)} written" in said and "from 6 pairs that took" in said
    assert main([*words, str(tmp_path / "rows.jsonl"), "--seconds", "0.0001"]) == 1
    assert "the seconds are over" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "rows.jsonl")]) == 0 == main([*words, str(tmp_path / "other.jsonl")])
    assert (tmp_path / "rows.jsonl").read_bytes() == (tmp_path / "other.jsonl").read_bytes()


@pytest.mark.parametrize("read", ["generate", "choice-after-rationale"])
def test_seconds_are_refused_where_nothing_could_go_on(tmp_path, capsys, read):
    save_untrained(tmp_path / "model")
    words = ["judge", write_pairs(tmp_path), "--model", str(tmp_path / "model"), "--max-new-tokens", "4"]
    words += ["--out", str(tmp_path / "rows.jsonl"), "--samples", "2", "--read", read]
    assert main([*words, "--seconds", "60"]) == 1
    said = capsys.readouterr().err
    assert "--seconds: what a loaded model draws is not kept" in said and said.count("\n") == 1
    assert not (tmp_path / "rows.jsonl").exists()
    assert main(words) == 0


def test_an_audit_of_a_loaded_model_takes_no_seconds(tmp_path, capsys):
    save_untrained(tmp_path / "model")
    words = ["audit", str(tmp_path / "model"), "--each", "0", "--pairs", write_pairs(tmp_path)]
    assert main([*words, "--out", str(tmp_path / "card.html"), "--seconds", "60"]) == 1
    assert "--seconds: an audit keeps no answer" in capsys.readouterr().err
