"""Three test pairs that the notebooks follow from judge to judge: what each judge writes of them, beside the truth.

Consumes pairs and frozen judgements; produces a page. Which pairs they are depends on the judge after SFT alone, so
that every notebook after it shows the same three.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from omnirepro.data import Judgement, Label, Pair
from omnirepro.evaluate import protocol
from omnirepro.judge import rubric
from omnirepro.kit.report.gallery import gallery
from omnirepro.kit.run import Run
from omnirepro.kit.run.display import Page, table
from omnirepro.papers.omni_rrm.teachers import true_labels

JUDGES = {"base/test": "base", "sft/test": "SFT", "grpo/test": "GRPO"}
HEAD = ("judge", "verdict, scores of A : B", "with A and B exchanged", "rationale, as displayed first")


def three_pairs(pairs: Sequence[Pair], rows: Sequence[Judgement], judge: str = "sft/test") -> list[tuple[str, Pair]]:
    """Return why and which: the first easy pair, the first hard one, and the first that `judge` does not get right.

    Each is of a task that none before it has, where there is such a pair. The first pair that is left stands for a
    kind of which there is none.
    """
    judged = protocol.pairs([row for row in rows if row.model == judge]).set_index("pair_id")
    kinds = {
        "The first easy pair": judged["stratum"] == "easy",
        "The first hard pair": judged["stratum"] == "hard",
        "The first that SFT does not get right in both orders": judged["both"] == 0,
    }
    chosen: list[tuple[str, Pair]] = []
    for kind, fits in kinds.items():
        seen = [pair for _, pair in chosen]
        left = [pair for pair in pairs if pair not in seen and pair.id in fits.index]
        fitting = [pair for pair in left if fits[pair.id]]
        other = [pair for pair in fitting if pair.task not in {one.task for one in seen}]
        if left:
            chosen.append((kind if fitting else "Another pair", (other or fitting or left)[0]))
    return chosen


def follow(run: Run, pairs: Sequence[Pair], rows: Sequence[Judgement]) -> Page:
    """Show the three pairs with their media, and below each what the truth and every judge of `rows` says of it."""
    chosen = three_pairs(pairs, rows)
    truths = true_labels({pair.id: pair for _, pair in chosen}, [run.input("01_synthesis", "data")])
    format = run.section("judge")["format"]
    pages = []
    for kind, pair in chosen:
        said = {(row.model, row.order): row for row in reversed(rows) if row.pair_id == pair.id}  # the first seed's
        lines = [_true(pair, truths.get(pair.id))]
        for model in (model for model in JUDGES if (model, "AB") in said):
            first, second = (said[model, order] for order in ("AB", "BA"))
            reasoning = rubric.read(first.raw, format).reasoning or first.raw[:160]
            lines.append([JUDGES[model], _verdict(first), _verdict(second), _lines(reasoning)])
        heading = f"{kind} ({pair.task})"
        pages += [Page(f"<p><b>{escape(heading)}</b></p>", heading), gallery([pair]), table(HEAD, lines)]
    return Page("\n".join(page._repr_html_() for page in pages), "\n\n".join(map(repr, pages)))


def _true(pair: Pair, label: Label | None) -> list[str]:
    """Return the line of the truth: the label, and where the world knows it, scores and rationale."""
    if label is None:
        return ["<b>truth</b>", str(pair.label or "unknown"), "", ""]
    written = rubric.read(rubric.render(label))
    return ["<b>truth</b>", f"{label.verdict}, {label.score_a:g} : {label.score_b:g}", "", _lines(written.reasoning)]


def _verdict(row: Judgement) -> str:
    """Return verdict and scores in the pair's own frame, or why there are none."""
    if row.said is None:
        return f"none ({row.status})"
    return row.said if row.score_a is None else f"{row.said}, {row.score_a:g} : {row.score_b:g}"


def _lines(reasoning: str) -> str:
    """Return a rationale as HTML, a part of the rubric a line."""
    return "<br>".join(map(escape, reasoning.replace("<think>", "").replace("</think>", "").split("\n")))
