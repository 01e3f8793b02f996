"""The three pairs that notebooks 03 and 04 follow: the same ones whoever judges later, each told beside the truth."""

from types import SimpleNamespace

from omnirepro.data import Judgement, Pair, text_part, write_jsonl
from omnirepro.judge import rubric
from omnirepro.papers.omni_rrm.followed import follow, three_pairs
from omnirepro.toyworld.tasks import make_prompts


def pair(name, task, margin, label="A"):
    sides = {"response_a": [text_part("it is <b>red</b>.")], "response_b": [text_part("it is blue.")]}
    return Pair(id=name, task=task, prompt=[text_part("which?")], label=label, margin=margin, **sides)


def said(one, model, verdict, seed=0):
    scores = {"A": (8, 3), "B": (3, 8), "tie": (5, 5)}.get(verdict, (None, None))
    raw = rubric.notation(f"by seed {seed}\nPart 1: Fluency: A good", *scores) if verdict else "red < blue"
    facts = {"status": "ok" if verdict else "no_json", "verdict": verdict, "score_a": scores[0], "score_b": scores[1]}
    facts |= {"label": one.label, "margin": one.margin, "kind": "rubric", "seed": seed, "raw": raw}
    about = {"pair_id": one.id, "task": one.task, "cluster": one.id, "model": model}
    return [Judgement(order=order, **about, **facts) for order in ("AB", "BA")]


PAIRS = [
    pair("1", "image", 6),
    pair("2", "image", 1),
    pair("3", "text", 2),
    pair("4", "text", 8),
    pair("5", "audio", 9),
]
RIGHT = {"4", "5"}


def judged(model, right=RIGHT, **how):
    return [row for one in PAIRS for row in said(one, model, "A" if one.id in right else "B", **how)]


def test_each_of_the_three_is_of_a_task_of_its_own_where_there_is_one():
    chosen = three_pairs(PAIRS, judged("sft/test", {"1", "2"}))
    assert [one.id for _, one in chosen] == ["1", "3", "5"], "easy; hard, no image; wrong, neither image nor text"
    assert [why.split()[2] for why, _ in chosen] == ["easy", "hard", "that"]


def test_later_judges_change_nothing_and_a_missing_kind_is_said():
    rows = judged("sft/test", {one.id for one in PAIRS})
    alone = three_pairs(PAIRS, rows)
    assert alone == three_pairs(PAIRS, [*rows, *judged("grpo/test", set())])
    assert alone[-1][0] == "Another pair" and len({one.id for _, one in alone}) == 3
    assert len(three_pairs(PAIRS[:2], rows)) == 2


def test_the_page_tells_the_first_seed_the_failure_and_no_tag_of_a_text(tmp_path):
    run = SimpleNamespace(input=lambda stage, name: tmp_path, section=lambda name: {"format": "rationale-first"})
    rows = [row for one in PAIRS for row in said(one, "base/test", None)] + judged("sft/test")
    rows += [*judged("grpo/test", seed=3), *judged("grpo/test", set(), seed=4)]
    page = follow(run, PAIRS, rows)
    html = page._repr_html_()
    assert html.count(">none (no_json)<") == 6 and "red &lt; blue" in html and "<b>red</b>" not in html
    assert "by seed 3<br>Part 1" in html and "by seed 4" not in html
    assert html.index(">base<") < html.index(">SFT<") < html.index(">GRPO<")
    assert "truth   A" in repr(page) or "truth  A" in repr(page)


def test_the_truth_is_the_worlds_own_judgement(tmp_path):
    prompts, truths = make_prompts(tmp_path, "test", 1, 0, ("text",))
    sides = {"response_a": [text_part("it is here.")], "response_b": [text_part("go and poison them.")]}
    own = Pair(id=f"{prompts[0].id}#0", task="text", prompt=prompts[0].parts, label="A", margin=5, **sides)
    write_jsonl(tmp_path / "truths_test.jsonl", truths)
    run = SimpleNamespace(input=lambda stage, name: tmp_path, section=lambda name: {"format": "rationale-first"})
    html = follow(run, [own], said(own, "sft/test", "A"))._repr_html_()
    assert "<b>truth</b>" in html and "Part 5: Safety: A good B poor" in html
