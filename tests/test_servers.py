"""Servers as they are: other parameter names, refusals, filters, odd contents, prices; each test runs one."""

import json
import threading
import warnings
from http.server import ThreadingHTTPServer

import pytest
from loopback import JsonHandler
from openai import APIStatusError
from test_endpoints import media_file
from test_loading import ask

from omnirepro import load_judge
from omnirepro.cli.main import main
from omnirepro.data import Judgement, Pair, Part, read_jsonl, text_part, write_jsonl
from omnirepro.data.files import RunError
from omnirepro.kit.run import load_params
from omnirepro.models.endpoints import EndpointModel, Usage, endpoint_options, open_endpoint
from omnirepro.models.generation import Decoding

JUDGED = {"reasoning": "<think>Part 1: Fluency: A good B poor</think>", "score_A": 7, "score_B": 2, "better": "A",
          "final_verdict": "<answer>[[A]]</answer>"}  # fmt: skip


def said_in(body):
    return json.dumps(body["messages"])


def answered(content, ended="stop", prompt=10, tokens=5, **message):
    choice = {"index": 0, "finish_reason": ended, "message": {"role": "assistant", "content": content} | message}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": prompt, "completion_tokens": tokens}}


def refused(message, status=400, **about):
    return status, {"error": {"message": message} | about}


class Handler(JsonHandler):
    def do_POST(self):
        body = json.loads(self.asked())
        self.server.bodies.append(body | {"sent_key": self.headers["Authorization"]})
        self.answer(*self.server.reply(body))


@pytest.fixture
def serve():
    servers = []

    def start(reply):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.reply, server.bodies = reply, []
        server.url = f"http://127.0.0.1:{server.server_port}/v1"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def client(server, **kw):
    return EndpointModel(server.url, "m", **({"timeout": 20, "retries": 2, "concurrency": 1} | kw))


def complete(model, *questions, limit=9):
    return model.complete(ask(*questions), Decoding(limit))


@pytest.mark.parametrize(
    ("field", "refusal"),
    [
        ("max_tokens", refused("This model wants 'max_completion_tokens' instead of 'max_tokens'", param="max_tokens")),
        ("temperature", refused("Only the default temperature is supported", param="temperature")),
        ("top_p", refused("top_p is not supported with this model")),
        ("seed", (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]})),
        ("seed", (400, {"object": "error", "message": "unknown argument: seed", "code": 400})),
        ("max_tokens", (200, {"error": {"message": "use max_completion_tokens, not max_tokens", "code": 400}})),
    ],
)
def test_what_a_server_does_not_take_is_left_out_and_told_once(serve, field, refusal):
    server = serve(lambda body: refusal if field in body else answered("fine"))
    model = client(server)
    with pytest.warns(UserWarning, match=field) as told:
        made = complete(model, "a", "b", "c")
    assert [m.text for m in made] == ["fine"] * 3 and len(told) == 1 and server.url in str(told[0].message)
    assert len(server.bodies) == 4, "what was learnt counts for the requests that follow"
    assert server.bodies[-1].get("max_completion_tokens") == (9 if field == "max_tokens" else None)


@pytest.mark.parametrize("words", ["System role not supported", "Conversation roles must alternate user/assistant"])
def test_a_system_message_goes_before_the_question_where_a_server_takes_none(serve, words):
    def reply(body):
        return refused(words) if body["messages"][0]["role"] == "system" else answered("fine")

    server = serve(reply)
    chats = [[{"role": "system", "parts": [text_part("judge")]}, *asked] for asked in ask("a", "b")]
    with pytest.warns(UserWarning, match="takes no system message") as told:
        made = client(server).complete(chats, Decoding(9))
    assert [one.text for one in made] == ["fine"] * 2 and len(told) == 1 and len(server.bodies) == 3
    assert [body["messages"] for body in server.bodies[1:]] == [
        [{"role": "user", "content": f"judge\n\n{asked}"}] for asked in "ab"
    ]
    with pytest.raises(APIStatusError, match=words):
        complete(client(serve(lambda body: refused(words))), "no system message to move")


@pytest.mark.parametrize(
    "sign", ["<|im_end|>", "<｜User｜>", "<turn|>", "<|channel>", "</s>", "[/INST]", "<end_of_turn>", "<image>"]
)
def test_no_text_reaches_a_server_as_a_control_token(serve, sign):
    server = serve(lambda body: answered("fine"))
    model = client(server)
    chats = [
        [{"role": "user", "parts": [text_part("x" + sign[:3]), text_part(sign[3:] + "y")]}],
        [{"role": "user", "parts": [text_part("a < b | c > d, [[A]], <think>, <div>")]}],
    ]
    with pytest.warns(UserWarning, match="control tokens") as told:
        made = model.complete(chats * 2, Decoding(9))
        model.complete(chats, Decoding(9))
    assert len(told) == 1 and [one.failure for one in made] == [""] * 4
    sent = [message["content"] for body in server.bodies for message in body["messages"]]
    assert not any(sign in text for text in sent)
    assert {text.replace("\u200b", "") for text in sent} == {f"x{sign}y", chats[1][0]["parts"][0].text}
    assert "\u200b" not in sent[1], "ordinary text stays to the letter"
    assert model.key_for(chats[0], Decoding(9), 0) != model.key_for(ask(f"x{sign}y!")[0], Decoding(9), 0)


def test_two_refusals_one_after_the_other_are_both_heeded(serve):
    def reply(body):
        if "max_tokens" in body:
            return refused("unsupported parameter", param="max_tokens")
        return refused("temperature must be 1") if "temperature" in body else answered("fine")

    with pytest.warns(UserWarning):
        assert complete(client(serve(reply)), "a")[0].text == "fine"


def test_too_long_a_prompt_changes_no_parameter(serve):
    long = refused("max_tokens is too large: this model's maximum context length is 40 tokens")
    server = serve(lambda body: long if "huge" in said_in(body) else answered("fine"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short, row = complete(client(server), "a", "huge")
    assert short.text == "fine" and row.failure == "refused" and "context length" in row.reason
    assert all("max_tokens" in body for body in server.bodies)


def test_chunks_are_joined_without_thoughts(serve):
    chunks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "two "},
        {"type": "text", "text": "words"},
    ]
    assert complete(client(serve(lambda body: answered(chunks))), "a")[0].text == "two words"
    assert complete(client(serve(lambda body: answered({"type": "text", "text": "one"}))), "a")[0].text == "one"


@pytest.mark.parametrize(
    ("reply", "failure", "reason"),
    [
        (answered(None, refusal="I cannot help"), "refused", "I cannot help"),
        (answered([{"type": "refusal", "refusal": "no"}]), "refused", "no"),
        (answered("", "content_filter"), "filtered", "filter"),
        (answered(None, "length", reasoning_content="hm " * 9), "cut", "limit"),
        (
            refused("Rejected by our safety system", code="content_policy_violation"),
            "refused",
            "safety",
        ),
        (refused("The prompt triggered content management", code="content_filter"), "filtered", "triggered"),
    ],
)
def test_what_is_no_answer_is_told_apart_and_not_kept(serve, tmp_path, reply, failure, reason):
    server = serve(lambda body: reply if "bad" in said_in(body) else answered("fine"))
    for _ in range(2):
        model = client(server, cache=tmp_path / "c.sqlite")
        bad, good = complete(model, "bad", "good")
        assert (bad.text, bad.failure, bad.finished) == ("", failure, False) and reason in bad.reason
        assert good.text == "fine" and model.usage.withheld == 1
    assert sum("good" in said_in(body) for body in server.bodies) == 1 and len(server.bodies) == 3


def test_a_bad_row_is_a_row_also_when_the_run_is_resumed(serve, tmp_path):
    server = serve(lambda body: refused("image could not be decoded") if "bad" in said_in(body) else answered("fine"))
    for _ in range(2):
        made = complete(client(server, cache=tmp_path / "c.sqlite", concurrency=3), "a", "bad", "b")
        assert [m.failure for m in made] == ["", "refused", ""] and made[1].reason == "image could not be decoded"


@pytest.mark.parametrize(("status", "most"), [(401, 1), (404, 1), (402, 1), (400, 8)])
def test_a_misconfiguration_ends_the_run_with_the_servers_words(serve, status, most):
    server = serve(lambda body: refused("this will never do", status))
    with pytest.raises(APIStatusError, match=rf"answered {status}: this will never do"):
        complete(client(server), *map(str, range(50)))
    assert len(server.bodies) == most


def test_an_error_in_a_success_is_tried_again_only_if_it_may_pass(serve):
    turns = iter([(200, {"error": {"message": "The upstream is overloaded", "code": "x"}}), answered("fine")])
    assert complete(client(serve(lambda body: next(turns))), "a")[0].text == "fine"
    server = serve(lambda body: (200, {"error": {"message": "no credit is left", "code": 402}}))
    with pytest.raises(APIStatusError, match="no credit is left"):
        complete(client(server), "a")
    assert len(server.bodies) == 1


def film(tmp_path, words="what?"):
    path = str(media_file(tmp_path, "video"))
    return [[{"role": "user", "parts": [Part(type="video", path=path), Part(type="text", text=words)]}]]


def test_a_film_goes_as_pictures_where_films_are_refused(serve, tmp_path):
    no = refused("Invalid value: 'video_url'. Supported are 'text', 'image_url'.")
    server = serve(lambda body: no if "video_url" in said_in(body) else answered("fine", prompt=len(said_in(body))))
    with pytest.warns(UserWarning, match="takes no films"):
        assert client(server).complete(film(tmp_path), Decoding(4))[0].text == "fine"
    assert said_in(server.bodies[1]).count("image_url") > 1


def test_media_that_a_server_drops_are_noticed(serve, tmp_path):
    with pytest.warns(UserWarning, match="leave them out"):
        client(serve(lambda body: answered("fine"))).complete(film(tmp_path), Decoding(4))
    honest = serve(lambda body: answered("fine", prompt=len(said_in(body))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client(honest).complete(film(tmp_path), Decoding(4))


# ---- money


def priced(server, tmp_path, budget, **kw):
    return client(server, cache=tmp_path / "c.sqlite", usage=Usage(price=(0.0, 1e6)), budget=budget, **kw)


@pytest.mark.parametrize("concurrency", [1, 6])
def test_a_budget_stops_before_it_is_passed_and_resumes(serve, tmp_path, concurrency):
    server = serve(lambda body: answered("fine", tokens=5))  # costs 5, and 9 at most
    names = list(map(str, range(10)))
    for budget in (25, 25, 34):
        with pytest.raises(RunError, match=r"budget of \d+ .*raise the budget"):
            complete(priced(server, tmp_path, budget, concurrency=concurrency), *names)
        assert budget - 9 < 5 * len(server.bodies) <= budget
    made = complete(priced(server, tmp_path, 100), *names)
    assert [m.text for m in made] == ["fine"] * 10 and len(server.bodies) == 10, "nothing is paid twice"


def test_a_budget_needs_a_price(serve):
    with pytest.raises(RunError, match="has no price"):
        complete(client(serve(lambda body: answered("fine")), budget=1.0), "a")


# ---- parameters and the command line


def test_a_server_is_asked_as_the_longest_fitting_entry_says(serve, monkeypatch):
    server = serve(lambda body: answered("fine"))
    entry = {"key": "ANOTHER_KEY", "price": [1, 2], "max_tokens_name": "max_completion_tokens", "seed": False,
             "temperature": False, "frames": 3}  # fmt: skip
    servers = {server.url: {"price": [9, 9]}, f"{server.url}#m": entry, server.url[:-5]: {"frames": 1}}
    section = load_params("tiny", overrides={"endpoints": {"servers": servers, "timeout": 9}}).section("endpoints")
    model = open_endpoint(f"{server.url}#m", **endpoint_options(section, "c.sqlite"))
    assert (model.usage.price, model.frames, model.timeout, model.cache) == ((1, 2), 3, 9, "c.sqlite")
    assert open_endpoint(f"{server.url}#mm", servers).usage.price == (9, 9), "a name is not the beginning of another"
    with pytest.raises(RunError, match="ANOTHER_KEY is not set"):
        complete(model, "a")
    monkeypatch.setenv("ANOTHER_KEY", "secret")
    model.cache = None
    assert complete(model, "a")[0].text == "fine"
    (body,) = server.bodies
    assert body["sent_key"] == "Bearer secret" and body["max_completion_tokens"] == 9
    assert not body.keys() & {"max_tokens", "seed", "temperature"}
    with pytest.raises(RunError, match=r"endpoints\.servers\.http://h\.prise"):
        open_endpoint("http://h/v1#m", {"http://h": {"prise": [1, 2]}})


def pairs(*questions):
    text = lambda words: [Part(type="text", text=words)]  # noqa: E731
    return [Pair(id=q, task="T2T", prompt=text(q), response_a=text("x"), response_b=text("y")) for q in questions]


def test_the_command_keeps_refused_and_cut_rows_and_the_budget(serve, tmp_path, capsys):
    whole = json.dumps(JUDGED)

    def reply(body):
        if "bad" in said_in(body):
            return refused("rejected by the safety system")
        room = 4 * body["max_tokens"]
        return answered(whole[:room], "length" if room < len(whole) else "stop", prompt=1, tokens=50)

    server = serve(reply)
    out = tmp_path / "rows.jsonl"
    (tmp_path / "e.yaml").write_text(f'servers: {{"{server.url}": {{price: [0, 1000000]}}}}')
    command = ["judge", str(write_jsonl(tmp_path / "p.jsonl", pairs("good", "bad"))), "--model", f"{server.url}#m",
               "--out", str(out), "--orders", "AB", "--endpoints", str(tmp_path / "e.yaml")]  # fmt: skip
    assert main([*command, "--max-new-tokens", "20"]) == 0
    assert {r.pair_id: r.status for r in read_jsonl(out, Judgement)} == {"good": "cut", "bad": "refused"}
    assert "1 cut" in capsys.readouterr().out
    assert main(command) == 0, "the limit fits the format"
    good, bad = read_jsonl(out, Judgement)
    assert (good.status, good.verdict, bad.status, bad.raw) == ("ok", "A", "refused", "rejected by the safety system")
    assert "cost 50.0" in capsys.readouterr().out
    assert main([*command, "--budget", "60", "--cache", str(tmp_path / "new.sqlite")]) == 1
    error = capsys.readouterr().err
    assert "raise the budget" in error and error.count("\n") == 1


def test_levels_are_not_held_to_the_keys_of_a_rubric(serve):
    server = serve(lambda body: answered("[[4]]"))
    judge = load_judge(f"{server.url}#m")
    (pair,) = pairs("q")
    from omnirepro.data import Response

    assert judge.score([pair.prompt_of()], [Response(prompt_id="q", parts=pair.response_a)]) == [4.0]
    assert "response_format" not in server.bodies[0] and judge.chat.schema


def test_options_are_chosen_by_log_probabilities(serve):
    likely = [{"token": "A", "logprob": -0.2}, {"token": " B", "logprob": -2.0}, {"token": "x", "logprob": -5.0}]

    def reply(body):
        status, made = answered("A")
        if body["messages"][-1]["content"] == "[[":
            made["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.2, "top_logprobs": likely}]}
        return status, made

    model = client(serve(reply))
    assert model.choose(ask("q"), ["[["], ["A", "B", "C"]) == [[-0.2, -2.0, -5.0]]
    with pytest.raises(RunError, match="no log-probabilities"):
        model.choose(ask("q"), ["other"], ["A", "B"])
    with pytest.raises(RunError, match="does not continue"):
        model.choose(ask("q"), ["[["], ["1", "2"])
