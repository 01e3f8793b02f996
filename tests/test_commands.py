"""What the commands on own data say: of files without rows, ties, what could not be read, and a server's models."""

import ast
import json
import math
import re

import pytest
from test_loading import ask
from test_servers import Handler, answered, refused, said_in, serve  # noqa: F401 (a fixture)

from omnirepro.cli.main import main
from omnirepro.data import READ, Judgement, read_jsonl
from omnirepro.data.files import RunError
from omnirepro.evaluate import protocol
from omnirepro.judge import criteria, rubric
from omnirepro.judge.scalar import Answered, score_rows
from omnirepro.models.endpoints import open_endpoint
from omnirepro.models.generation import Decoding
from omnirepro.search import Chosen
from tests.conftest import ROOT

# ---- files without rows

ONE = {"id": "1", "task": "t", "prompt": [{"type": "text", "text": "?"}], "label": "A",
       "response_a": [{"type": "text", "text": "yes"}], "response_b": [{"type": "text", "text": "no"}]}  # fmt: skip
NO_MODEL = ["--model", "/no/such/model"]  # to load it would be another error


@pytest.mark.parametrize("content", ["", "\n \n", "[]"])
@pytest.mark.parametrize(
    ("command", "called"),
    [
        (["judge", "{file}", *NO_MODEL, "--out", "{out}"], "pairs"),
        (["judge", "{file}", *NO_MODEL, "--out", "{out}", "--dry-run", "--orders", "AB"], "pairs"),
        (["score", "{file}", *NO_MODEL, "--out", "{out}"], "responses"),
        (["best-of-n", "{file}", *NO_MODEL, "--out", "{out}"], "candidates"),
        (["audit", "/no/such/model", "--pairs", "{file}", "--out", "{out}"], "pairs"),
        (["train-scalar", "{file}", *NO_MODEL], "pairs"),
        (["train-scalar", "{full}", *NO_MODEL, "--test", "{file}"], "pairs"),
        (["data", "check", "{full}", "--against", "{file}"], "rows"),
        (["data", "check", "{file}"], "pairs"),
    ],
)
def test_a_file_without_rows_is_one_line_before_a_model_is_loaded(command, called, content, tmp_path, capsys):
    if content == "[]" and command[0] in ("score", "best-of-n"):
        pytest.skip("these read one object a line, and a list is none")
    file = tmp_path / "empty.json"
    file.write_text(content)
    (tmp_path / "full.jsonl").write_text(json.dumps(ONE) + "\n")
    places = {"file": file, "out": tmp_path / "out", "full": tmp_path / "full.jsonl"}
    assert main([word.format(**places) for word in command]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: no {called} in {file}: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


# ---- how judgements ended

NAME = re.compile(r"[a-z]+(_[a-z]+)*")


def names_in(*trees):
    """The names that an expression can be, comparisons apart."""
    found = set()
    for tree in trees:
        branches = [tree.body, tree.orelse] if isinstance(tree, ast.IfExp) else getattr(tree, "values", [tree])
        for part in branches:
            if isinstance(part, ast.IfExp | ast.BoolOp):
                found |= names_in(part)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str) and NAME.fullmatch(part.value):
                found.add(part.value)
    return found


def statuses_in(path):
    """The statuses that a module's text gives: what makes a judgement, a failure of an answer, or a note of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            made = getattr(node.func, "id", "")
            place = {"Parsed": 0, "CriterionJudgement": 0, "noted": 1, "Generated": 3}.get(made)
            if place is not None:
                found |= names_in(*node.args[place : place + 1])
            found |= names_in(*(k.value for k in node.keywords if k.arg in ("status", "failure")))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("status", "note"):
            found |= names_in(node.value)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "names":
            found |= names_in(*getattr(node.value, "values", []))
        elif isinstance(node, ast.FunctionDef) and node.name in ("without_thoughts", "unwrapped"):
            returned = (r.value for r in ast.walk(node) if isinstance(r, ast.Return) and isinstance(r.value, ast.Tuple))
            found |= names_in(*(one.elts[1] for one in returned))
    return found


def test_the_page_lists_every_status_that_the_code_can_give():
    package = ROOT / "omnirepro"
    given = {*READ, *rubric.STATUSES, *criteria.STATUSES}
    for path in (*(package / "judge").glob("*.py"), package / "models/replies.py", package / "models/generation.py"):
        given |= statuses_in(path)
    assert {"cut", "too_long", "refused", "filtered", "listed", "unclosed_thought", "no_json"} <= given
    page = (ROOT / "docs/formats.md").read_text()
    listed = set(re.findall(r"`(\w+)`", page.partition("#### Statuses")[2].partition("\n### ")[0])) - {
        "kind",
        "criterion",
    }
    assert listed == given


GOOD = json.dumps(
    {"reasoning": "<think>Part 1: Fluency: A good B poor</think>", "score_A": 7, "score_B": 2, "better": "A",
     "final_verdict": "<answer>[[A]]</answer>"}
)  # fmt: skip


def asked_of(server, folder, *rows, command="judge", out="rows.jsonl", model="#m"):
    """A command on rows with a server's model; judgements are of one order."""
    path = folder / "rows-to-ask.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [command, str(path), "--model", f"{server.url}{model}", "--out", str(folder / out)]


def of(question, **changed):
    return ONE | {"id": question, "prompt": [{"type": "text", "text": question}]} | changed


def test_the_summary_tells_what_was_read_from_what_was_not(serve, tmp_path, capsys):  # noqa: F811
    def reply(body):
        said = said_in(body)
        if "wrapped" in said:
            return answered(f"```json\n{GOOD}\n```")
        mismatch = GOOD.replace('"score_A": 7', '"score_A": 1')
        return refused("flagged by moderation") if "bad" in said else answered(mismatch if "odd" in said else GOOD)

    rows = [of("plain"), of("wrapped"), of("wrapped too"), of("odd"), of("bad")]
    assert main([*asked_of(serve(reply), tmp_path, *rows), "--orders", "AB"]) == 0
    assert {r.pair_id: r.verdict for r in read_jsonl(tmp_path / "rows.jsonl", Judgement)}["odd"] == "A"
    said = capsys.readouterr().out
    assert "5 judgements in" in said and ": 3 read (2 fenced, 1 ok), 2 unreadable (" in said
    assert "1 score_mismatch" in said and "1 refused" in said and "none of" not in said


@pytest.mark.parametrize(("ended", "remedy"), [("stop", "--read choice"), ("length", "raise --max-new-tokens")])
def test_the_last_line_says_what_to_do_where_nothing_was_read(serve, tmp_path, capsys, ended, remedy):  # noqa: F811
    server = serve(lambda body: answered("I prefer the first one", ended))
    assert main(asked_of(server, tmp_path, of("one"), of("two"))) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"none of {tmp_path / 'rows.jsonl'} could be read: ") and remedy in last


# ---- the mass of a choice


def chances(**of_words):
    status, made = answered("A")
    likely = [{"token": token, "logprob": math.log(share)} for token, share in of_words.items()]
    made["choices"][0]["logprobs"] = {"content": [likely[0] | {"top_logprobs": likely}]}
    return status, made


@pytest.mark.parametrize(
    ("shares", "median", "low", "warned"),
    [
        ([(0.001, 0.002), (0.004, 0.001), (0.5, 0.4)], "0.005", "2 of 3", True),
        ([(0.5, 0.4), (0.3, 0.2), (0.01, 0.02)], "0.5", "1 of 3", False),
    ],
)
@pytest.mark.parametrize("read", ["choice", "choice-after-rationale"])
def test_the_median_mass_is_told(serve, tmp_path, capsys, shares, median, low, warned, read):  # noqa: F811
    def reply(body):
        if not body.get("logprobs"):
            return answered(GOOD)
        number = next(i for i in range(3) if f"question {i}" in said_in(body))
        return chances(A=shares[number][0], B=shares[number][1], The=0.0005)

    rows = [of(f"question {i}", label=None) for i in range(3)]
    assert main([*asked_of(serve(reply), tmp_path, *rows), "--read", read, "--orders", "AB"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mass of A and B"))
    assert f"median {median}; below 0.1 in {low} rows" in line and ("Warning" in line) == warned


def test_what_was_written_has_no_mass(serve, tmp_path, capsys):  # noqa: F811
    assert main(asked_of(serve(lambda body: answered(GOOD)), tmp_path, of("one"))) == 0
    assert "mass of A and B" not in capsys.readouterr().out


# ---- how often the judge was right


def judgement(better):
    scores = {"A": (7, 2), "B": (2, 7), "equal": (5, 5)}[better]
    said = json.loads(GOOD) | {"score_A": scores[0], "score_B": scores[1], "better": better}
    return json.dumps(said | {"final_verdict": f"<answer>[[{better}]]</answer>"})


def knows(body):
    """Right about `known`, says A whatever is shown first of `first`, ties on `even`, and writes nothing of `mute`."""
    said = body["messages"][-1]["content"]
    if "mute" in said:
        return answered("no idea")
    yes_first = re.search(r"\b(yes|no)\b", said)[1] == "yes"
    better = "equal" if "even" in said else "A" if yes_first or "first" in said else "B"
    return answered(judgement(better))


def lines_of(said):
    return {line[:24].strip(): line[24:] for line in said.splitlines()}


ASKED = [of("known 1"), of("known 2"), of("first"), of("even"), of("mute"), of("bare", label=None)]


def test_labelled_pairs_have_a_table_of_accuracy_agreement_ties_and_failures(serve, tmp_path, capsys):  # noqa: F811
    assert main(asked_of(serve(knows), tmp_path, *ASKED)) == 0
    said = lines_of(capsys.readouterr().out)
    rows = [row for row in read_jsonl(tmp_path / "rows.jsonl", Judgement) if row.label]
    (whole,) = protocol.summarize(rows, "model").itertuples()
    assert whole.value == 0.5, "two of five are right in both orders, one in one"
    bounds = f"[{100 * whole.low:.1f}, {100 * whole.high:.1f}]"
    assert said["accuracy, both orders"] == f"50.0 % {bounds} of 5 labelled pairs"
    assert said["accuracy, shown AB"].startswith("60.0 % [") and said["accuracy, shown BA"].startswith("40.0 % [")
    assert said["orders agree"].startswith("75.0 % [") and said["orders agree"].endswith("of 4 pairs read in both")
    assert said["ties"] == "2 of 8 judgements that were read"
    assert said["unreadable"].startswith("2 of 10 judgements")


def test_one_order_has_no_agreement_and_pairs_without_labels_no_table(serve, tmp_path, capsys):  # noqa: F811
    server = serve(knows)
    assert main([*asked_of(server, tmp_path, *ASKED), "--orders", "BA"]) == 0
    said = lines_of(capsys.readouterr().out)
    assert said["accuracy, shown BA"].startswith("40.0 % [") and said["ties"] == "1 of 4 judgements that were read"
    assert not {"orders agree", "accuracy, both orders", "accuracy, shown AB"} & set(said)
    assert main(asked_of(server, tmp_path, ASKED[-1], out="bare.jsonl")) == 0
    assert "accuracy" not in capsys.readouterr().out


def test_a_judge_that_was_never_read_has_a_table_all_the_same(serve, tmp_path, capsys):  # noqa: F811
    assert main(asked_of(serve(lambda body: answered("?")), tmp_path, of("one"), of("two"))) == 0
    said = lines_of(capsys.readouterr().out)
    assert said["accuracy, both orders"].startswith("0.0 % [") and "n/a" in said["orders agree"]
    assert said["unreadable"].startswith("4 of 4") and said["ties"].startswith("0 of 0")


def test_a_benchmark_has_the_score_of_its_authors_too(serve, tmp_path, capsys):  # noqa: F811
    tasks = {"known 1": "a", "known 2": "a", "known 3": "a", "mute": "b"}
    rows = [of(question, task=task, source="omni-rewardbench") for question, task in tasks.items()]
    assert main(asked_of(serve(knows), tmp_path, *rows)) == 0
    said = lines_of(capsys.readouterr().out)
    assert said["accuracy, both orders"].startswith("75.0 %"), "pairs count alike"
    assert said["official score"].startswith("50.0 %"), "tasks count alike"
    assert said["official score"].endswith("of omni-rewardbench")


def test_samples_of_labelled_pairs_are_compared_where_others_have_no_label(serve, tmp_path, capsys):  # noqa: F811
    assert main([*asked_of(serve(knows), tmp_path, *ASKED), "--samples", "2"]) == 0
    assert "accuracy by number of samples: 1: 50.0% 2: 50.0% (+0.0%" in capsys.readouterr().out


# ---- levels


def alone(question):
    return {"id": question, "prompt": [{"type": "text", "text": question}], "response": [{"type": "text", "text": "x"}]}


def test_scores_carry_status_and_text(serve, tmp_path, capsys):  # noqa: F811
    def reply(body):
        said = body["messages"][-1]["content"]
        if "bad" in said:
            return refused("flagged by moderation")
        return answered({"plain": "[[4]]", "thought": "<think>well</think>[[2]]", "cut": "It is"}.get(
            next((name for name in ("plain", "thought", "cut") if name in said), ""), "I like it"),
            "length" if "cut" in said else "stop")  # fmt: skip

    names = ("plain", "thought", "cut", "bad", "mute")
    command = asked_of(serve(reply), tmp_path, *map(alone, names), command="score")
    assert main(command) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["id"], row["status"], row.get("score")) for row in rows] == [
        ("plain", "ok", 4), ("thought", "thought", 2), ("cut", "cut", None), ("bad", "refused", None),
        ("mute", "bad_score", None),
    ]  # fmt: skip
    assert [rows[i]["raw"] for i in (0, 2, 3, 4)] == ["[[4]]", "It is", "flagged by moderation", "I like it"]
    said = capsys.readouterr().out
    assert "5 scores in" in said and "2 read (1 ok, 1 thought), 3 unreadable (" in said and "none of" not in said


def test_a_judge_that_writes_no_levels_is_told_at_last(serve, tmp_path, capsys):  # noqa: F811
    command = asked_of(serve(lambda body: answered(GOOD)), tmp_path, alone("one"), alone("two"), command="score")
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert ": 0 read, 2 unreadable (2 bad_score)" in said[-2]
    assert said[-1].startswith(f"none of {tmp_path / 'rows.jsonl'} could be read: ")
    assert "levels" in said[-1] and "scorer" in said[-1]


def test_a_scorers_row_says_whether_it_is_a_number():
    class Some:
        name = "some"

        def score(self, prompts, responses, progress=None):
            return [0.5, math.nan]

    rows = [Answered(**alone("one")), Answered(**alone("two"))]
    found = score_rows(Some(), rows)
    assert [(row.status, row.score, row.raw) for row in found] == [("ok", 0.5, ""), ("bad_score", None, "")]


# ---- candidates that the judge does not tell apart


def choosing(name, *answers):
    candidates = [[{"type": "text", "text": text}] for text in answers]
    return {"id": name, "prompt": [{"type": "text", "text": "?"}], "candidates": candidates}


def by_worth(body):
    """Score the side by the digit that it holds."""
    a, b = re.findall(r"worth (\d)", body["messages"][-1]["content"])
    better = "equal" if a == b else "A" if a > b else "B"
    said = json.loads(GOOD) | {"score_A": int(a), "score_B": int(b), "better": better}
    return answered(json.dumps(said | {"final_verdict": f"<answer>[[{better}]]</answer>"}))


@pytest.mark.parametrize("how", ["scalar", "round-robin", "knockout"])
def test_ties_are_in_the_row_and_the_summary(serve, tmp_path, capsys, how):  # noqa: F811
    three = choosing("three", "worth 5, a", "worth 5, b", "worth 5, c")
    rows = [three, choosing("none", "worth 3", "worth 4", "worth 3"), choosing("same", "worth 6", "worth 6")]
    command = asked_of(serve(by_worth), tmp_path, *rows, command="best-of-n")
    assert main([*command, "--how", how]) == 0
    tied, apart, same = read_jsonl(tmp_path / "rows.jsonl", Chosen)
    assert (tied.best, tied.ranks[0]) == (0, 1) and sorted(tied.ranks) == [1, 2, 3], "the rule of choice stands"
    assert tied.ties == ([[0, 1], [0, 2]] if how == "knockout" else [[0, 1, 2]])
    assert apart.best == 1 and apart.ties == [] and same.ties == [], "equal texts are one candidate"
    said = capsys.readouterr().out
    assert "in 1 of 3 the best is tied" in said and "earliest" in said
    low = choosing("low", "worth 2", "worth 7, a", "worth 7, b", "worth 2, too")
    assert main([*asked_of(serve(by_worth), tmp_path, low, command="best-of-n", out="low.jsonl"), "--how", how]) == 0
    (found,) = read_jsonl(tmp_path / "low.jsonl", Chosen)
    assert found.best == 1 and found.ties == ([[1, 2]] if how == "knockout" else [[1, 2], [0, 3]])


@pytest.mark.parametrize("how", ["scalar", "knockout"])
def test_choices_of_what_cannot_be_read_are_told_at_last(serve, tmp_path, capsys, how):  # noqa: F811
    row = choosing("q", "yes", "no")
    command = asked_of(serve(lambda body: answered("hm")), tmp_path, row, command="best-of-n")
    assert main([*command, "--how", how]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "could not be read" in said[-2] and said[-1].startswith(f"none of {tmp_path / 'rows.jsonl'} could be read: ")


# ---- what a server does not tell


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": None}, {"total_tokens": 0}])
def test_tokens_that_a_server_does_not_tell_are_not_called_none(serve, tmp_path, capsys, usage):  # noqa: F811
    def reply(body):
        status, made = answered(GOOD, prompt=10, tokens=5)
        if "told" in said_in(body):
            return status, made
        return status, {"choices": made["choices"]} | ({} if usage is None else {"usage": usage})

    server = serve(reply)
    assert main(asked_of(server, tmp_path, of("one"), of("two"))) == 0
    said = capsys.readouterr().out
    assert "4 answers (tokens not told by 4 answers), " in said and "0 + 0 tokens" not in said
    assert main(asked_of(server, tmp_path, of("one more"), of("told"), out="other.jsonl")) == 0
    assert "4 answers (20 + 10 tokens, cost 0.0000, and tokens not told by 2 answers), " in capsys.readouterr().out
    assert main(asked_of(server, tmp_path, of("told"), out="third.jsonl")) == 0
    assert "2 answers (20 + 10 tokens, cost 0.0000), " in capsys.readouterr().out


def test_a_budget_counts_what_an_untold_answer_can_cost_at_most(serve, tmp_path):  # noqa: F811
    server = serve(lambda body: (200, {"choices": answered("yes")[1]["choices"], "usage": {"total_tokens": 3}}))
    servers = {server.url: {"price": [0, 100_000]}}
    model = open_endpoint(f"{server.url}#m", servers, budget=2.5, concurrency=1, cache=tmp_path / "c.sqlite")
    with pytest.raises(RunError, match="raise the budget"):
        model.complete(ask(*"abcdef"), Decoding(10))
    assert len(server.bodies) == 2, "an answer of 10 tokens may cost 1"


# ---- a server without a model's name


class Listing(Handler):
    """A server that has a list of its models, or something else in its place."""

    def do_GET(self):
        self.server.keys.append(self.headers["Authorization"])
        self.answer(*self.server.listing if self.path == "/v1/models" else (404, {}))


@pytest.fixture
def listing(serve):  # noqa: F811
    def start(*of):
        server = serve(lambda body: answered(GOOD))
        server.RequestHandlerClass = Listing
        server.listing, server.keys = of, []
        return server

    return start


def models(*names):
    return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def test_the_only_model_of_a_server_is_taken_and_told(listing, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "k1")
    server = listing(*models("org/only"))
    (tmp_path / "e.yaml").write_text(
        json.dumps(
            {
                "servers": {
                    server.url: {"key": "OTHER_KEY"},
                    f"{server.url}#org/only": {"key": "OTHER_KEY", "price": [7, 7]},
                }
            }
        )
    )
    command = asked_of(server, tmp_path, of("one"), model="")
    assert main([*command, "--endpoints", str(tmp_path / "e.yaml")]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if "org/only" in line and server.url in line]
    assert {body["model"] for body in server.bodies} == {"org/only"} and server.keys == ["Bearer k1"]
    assert {row.model for row in read_jsonl(tmp_path / "rows.jsonl", Judgement)} == {"org/only"}
    assert "cost 0.0002" in said, "the entry of the model that was found counts"


def test_several_models_are_one_line_that_lists_them(listing, tmp_path, capsys):
    server = listing(*models("small", "large"))
    assert main(asked_of(server, tmp_path, of("one"), model="")) == 1
    error = capsys.readouterr().err
    assert "small, large" in error and "#" in error and error.count("\n") == 1 and not server.bodies
    server.listing = models(*(f"model-{i:03}" for i in range(300)))
    assert main(asked_of(server, tmp_path, of("one"), model="")) == 1
    assert "model-019 and 280 more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "instead",
    [(404, {"error": "no"}), (401, {}), (200, {"data": []}), (200, {"data": None}), (200, ["x"]), (200, "ok")],
)
def test_without_a_list_of_models_the_default_is_asked_for_and_told(listing, tmp_path, capsys, instead):
    server = listing(*instead)
    assert main(asked_of(server, tmp_path, of("one"), model="")) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "'default'" in line)
    assert line.startswith(f"{server.url}: no model is named")
    assert {body["model"] for body in server.bodies} == {"default"}


def test_a_named_model_is_not_looked_up(listing, tmp_path):
    server = listing(*models("a", "b"))
    assert main(asked_of(server, tmp_path, of("one"), model="#c")) == 0
    assert not server.keys and server.bodies[0]["model"] == "c"
