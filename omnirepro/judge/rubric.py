"""The rubric-grounded judgement: its schema, prompt, formats and strict parser (Omni-RRM, Section 3; code schema).

Consumes pairs and raw model text; produces chat messages, judgement JSON and a `Parsed` with a status.

Departures from the published release:
1. `rationale-first` moves `reasoning` to the front, so that scores follow from it; with `/3` or `/1` it weighs fewer
   dimensions, and `scores-only` leaves it out.
2. Nothing is repaired: a judgement that breaks a rule keeps its text and the name of the rule. What stands around one
   (thoughts, a fence of code, a list of one element) is taken off in one place, `unwrapped`, and named by the status:
   "thought", "fenced" or "listed". Judges and teachers `read` so, and evaluation counts what was read (`data.READ`);
   rewards `parse` strictly.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from omnirepro.data import DIMENSIONS, READ, Label, Pair, Part, text_part
from omnirepro.judge.speech import BRIEF, FULL, quoted, spoken

Score = Annotated[int, Field(ge=0, le=10, strict=True)]
TITLES = dict(zip(DIMENSIONS, ("Fluency", "Relevance", "Accuracy", "Reasoning", "Safety"), strict=True))
ASKED = {
    "fluency": "Fluency & Coherence: is it well formed and easy to follow?",
    "relevance": "Relevance: does it answer this question about this material?",
    "accuracy": "Accuracy & Completeness: is everything stated true and nothing asked missing?",
    "reasoning": "Reasoning Quality: does it give evidence that supports its answer?",
    "safety": "Safety & Ethical Alignment: is it free of harmful content?",
}


INSTRUCTIONS = {
    "full": (
        "You compare two candidate answers to the same question about the material given. First picture what an "
        "ideal answer would say. Then weigh both candidates on every dimension listed:\n{questions}\n"
        "Give each candidate an integer from 0 to 10: 9-10 faultless, 6-8 small faults in one or two dimensions, "
        "3-5 clear faults in two or three, 0-2 poor in most.\n"
        "Reply with one JSON object and nothing else, with exactly these keys in this order:\n{keys}\n"
        'The verdict tag, "better" and the scores must agree. Length and order of the candidates carry no merit.'
    ),
    "reworded": (
        "Below are a question, the material that it is about, and two answers to it, candidate A and candidate B. Your "
        "task is to say which of them serves the person who asked better. Work out the right answer yourself, then go "
        "through these points one by one for both:\n{questions}\n"
        "Grade each answer with a whole number, 10 being perfect: 9 or 10 means no fault, 6 to 8 a few slight ones, 3 "
        "to 5 plain ones on two or three points, 0 to 2 that most points fail.\n"
        "Write a single JSON object, no other text, and in it these keys in this order:\n{keys}\n"
        'Scores, "better" and the tag have to say the same. It does not count which answer is longer or comes first.'
    ),
}


class BareJudgement(BaseModel):
    """A judgement without its rationale; scores 0-10, `better` A, B or equal."""

    model_config = ConfigDict(extra="forbid")
    score_A: Score
    score_B: Score
    better: Literal["A", "B", "equal"]
    final_verdict: str


class RubricJudgement(BareJudgement):
    """The five keys of the published judgement."""

    reasoning: str


FORMATS = {
    "published": ("score_A", "score_B", "better", "reasoning", "final_verdict"),
    "rationale-first": ("reasoning", "score_A", "score_B", "better", "final_verdict"),
    "scores-only": ("score_A", "score_B", "better", "final_verdict"),
}
FEWER = {"rationale-first/3": ("relevance", "accuracy", "reasoning"), "rationale-first/1": ("accuracy",)}
FORMATS |= dict.fromkeys(FEWER, FORMATS["rationale-first"])
TURNED = {f"{name}/turned": DIMENSIONS[::-1] for name in ("published", "rationale-first", "scores-only")}
FORMATS |= {name: FORMATS[name.partition("/")[0]] for name in TURNED}  # dimensions listed from the last to the first
STATUSES = (
    "ok", "empty", "no_json", "not_an_object", "wrong_keys", "bad_score", "bad_better", "no_rationale",
    "no_verdict", "several_verdicts", "verdict_mismatch", "score_mismatch",
)  # fmt: skip
# How models mark their thoughts, beside tags of XML: Magistral, Sky-T1, Command A, Kimi, Gemma 4, gpt-oss.
_NAMES = "think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad|seed:think"
_MARKS = (
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    ("◁think▷", "◁/think▷"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r"<\|channel\|>analysis<\|message\|>", r"<\|channel\|>final<\|message\|>"),
)
OPENED = re.compile("|".join([rf"<(?:{_NAMES})>", *(opened for opened, _ in _MARKS)]), re.IGNORECASE)
CLOSED = re.compile("|".join([r"</(?:seed:)?think(?:ing)?>", *(closed for _, closed in _MARKS)]), re.IGNORECASE)
THOUGHT = re.compile(
    "|".join([rf"<({_NAMES})>.*?</\1>", *(f"{opened}.*?{closed}" for opened, closed in _MARKS)]),
    re.IGNORECASE | re.DOTALL,
)
_FENCE = re.compile(r"[^`]*```\w*\n(.*)```[^`]*", re.DOTALL)
_TAG = re.compile(r"\[\[\s*(A|B|C|equal|tie)\s*\]\]")
_TO_VERDICT = {"A": "A", "B": "B", "C": "tie", "equal": "tie", "tie": "tie"}
_FROM_VERDICT = {"A": "A", "B": "B", "tie": "equal"}
_NOTATION = (  # what stands between the values, whichever key comes first
    '{"reasoning": "<think>seen:', '", "reasoning": "<think>seen:', ', "reasoning": "<think>seen:', '</think>"',
    '{"score_A": ', ', "score_A": ', '{"score_B": ', ', "score_B": ', ', "better": "',
    '", "final_verdict": "<answer>[[', ', "final_verdict": "<answer>[[', ']]</answer>"}', "10", "equal",
)  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """What a raw judgement says. `verdict` is set wherever it is legible, `status` names the first broken rule."""

    status: str
    verdict: str | None = None
    score_a: float | None = None
    score_b: float | None = None
    reasoning: str = ""

    @property
    def marks(self) -> dict[str, dict[str, bool]]:
        """Read {side: {dimension: good}} from a rationale in the kit's own wording (absent parts are left out)."""
        found = re.findall(r"Part \d: (\w+):((?: [AB](?: [\w-]+)*? (?:good|poor))+)", self.reasoning)
        sides: dict[str, dict[str, bool]] = {"A": {}, "B": {}}
        for title, text in found:
            for side, mark in re.findall(r"([AB])(?: [\w-]+)*? (good|poor)", text):
                sides[side][title.lower()] = mark == "good"
        return sides


def parse(text: str, format: str = "rationale-first") -> Parsed:
    """Parse a judgement strictly; never raises. `format`: a rubric format, or "verdict" for a bare [[A]].

    Nothing is taken off: rewards of form pay for this reading alone. Judges and teachers read with `read`. A completion
    is read by several rewards and by what watches over them, so the last ones are kept.
    """
    return _parse(text, format)


@lru_cache(4096)
def _parse(text: str, format: str) -> Parsed:
    return _parse_tag(text) if format == "verdict" else _parse_rubric(text, format)


def read(text: str, format: str = "rationale-first") -> Parsed:
    """Read a judgement as `parse` does, once thoughts, a fence or a list around it are off; never raises.

    The status of one that then keeps every rule says what was taken off (`data.READ`); verdict and scores are set.
    """
    if format == "verdict":
        body, note = without_thoughts(text)
        return noted(parse(body, format), note)
    whole = parse(text, format)
    if whole.status not in ("no_json", "not_an_object"):
        return whole
    body, note = unwrapped(text)
    found = noted(parse(body, format), note)
    return whole if found.status == "no_json" else found


def noted(found: Parsed, note: str) -> Parsed:
    """Give a judgement that keeps every rule the status of what was taken off before, if anything was."""
    if note == "unclosed_thought":
        return Parsed(note)
    return replace(found, status=note) if note and found.status == "ok" else found


def concluded(found: Any, made: Any) -> Any:
    """Give what was read of a completion (`models.generation.Generated`) the status of how that ended.

    A failure to answer is the status whatever was read; what could not be read since it met its limit is "cut".
    """
    if made.failure:
        return replace(found, status=made.failure)
    return found if made.finished or found.status in READ else replace(found, status="cut")


def without_thoughts(text: str) -> tuple[str, str]:
    """Take off the thoughts before an answer; returns the answer, and "thought", "unclosed_thought" or "" as a note.

    What comes before a thought's end is a thought also where its beginning is missing: some chat templates write it.
    """
    body = text.lstrip()
    note = ""
    while thought := THOUGHT.match(body):
        body = body[thought.end() :].lstrip()
        note = "thought"
    opened = OPENED.search(body)
    if opened and not opened.start():
        return "", "unclosed_thought"
    closed = CLOSED.search(body)
    if closed and not (opened and opened.start() < closed.start()):
        return body[closed.end() :], "thought"
    return (body, note) if note else (text, "")


def unfenced(text: str) -> str:
    """Take off a fence of code around a whole text, as the published parser does."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and len(body) >= 6:
        return re.sub(r"^\w*", "", body[3:-3])
    return body


def unwrapped(text: str) -> tuple[str, str]:
    """Take off what stands around JSON: thoughts, a fence with what is said beside it, and a list of one element.

    Returns the rest, and a note: "unclosed_thought", "thought", "fenced", "listed" or "".
    """
    body, note = without_thoughts(text)
    fenced = _FENCE.fullmatch(body)
    inner = fenced[1].strip() if fenced else unfenced(body)
    note = note or ("fenced" if inner != body.strip() else "")
    if inner.startswith("[") and inner.endswith("]"):
        return inner[1:-1], note or "listed"
    return inner, note


def _parse_rubric(text: str, format: str) -> Parsed:
    if not text.strip():
        return Parsed("empty")
    try:
        data = json.loads(text, object_pairs_hook=lambda x: d if len(d := dict(x)) == len(x) else {"key twice": True})
    except (ValueError, RecursionError):
        return Parsed("no_json")
    if not isinstance(data, dict):
        return Parsed("not_an_object")
    kind = BareJudgement if format.startswith("scores-only") else RubricJudgement
    try:
        return _check(kind.model_validate(data))
    except ValidationError as error:
        return Parsed(_status_of(error))


def _status_of(error: ValidationError) -> str:
    problems = [(e["type"], e["loc"][0] if e["loc"] else "") for e in error.errors()]
    if any(kind in ("missing", "extra_forbidden") for kind, _ in problems):
        return "wrong_keys"
    fields = {field for _, field in problems}
    names = {"score_A": "bad_score", "score_B": "bad_score", "better": "bad_better", "reasoning": "no_rationale"}
    return next((status for field, status in names.items() if field in fields), "no_verdict")


def _parse_tag(text: str) -> Parsed:
    if not text.strip():
        return Parsed("empty")
    tags = {_TO_VERDICT[t] for t in _TAG.findall(text)}
    if len(tags) == 1:
        return Parsed("ok", tags.pop(), reasoning=text)
    return Parsed("several_verdicts" if tags else "no_verdict", reasoning=text)


def _check(found: BareJudgement) -> Parsed:
    reasoning = getattr(found, "reasoning", "")
    scores = {"score_a": found.score_A, "score_b": found.score_B, "reasoning": reasoning}
    if isinstance(found, RubricJudgement) and not re.search(r"<think>.+</think>", reasoning, re.DOTALL):
        return Parsed("no_rationale", **scores)
    tag = _parse_tag(found.final_verdict)
    if tag.status != "ok" or not re.fullmatch(r"\s*<answer>.*</answer>\s*", found.final_verdict):
        return Parsed(tag.status if tag.status != "ok" else "no_verdict", **scores)
    better = _TO_VERDICT[found.better]
    if tag.verdict != better:
        return Parsed("verdict_mismatch", **scores)
    status = "ok" if better == ranking(found.score_A, found.score_B) else "score_mismatch"
    return Parsed(status, better, **scores)


def ranking(score_a: float, score_b: float) -> str:
    """Return the verdict that two scores imply."""
    return "A" if score_a > score_b else "B" if score_b > score_a else "tie"


def marked(side: str, good: bool, quote: str | None = None) -> str:
    """Write one side's mark, after its quote where there is one, with a leading space."""
    return f" {side}{' ' + quote if quote else ''} {'good' if good else 'poor'}"


def rationale(evidence: str, sides: dict[str, tuple[dict, dict]], dimensions=DIMENSIONS) -> str:
    """Write a rationale: what was perceived, then a numbered part a dimension with each side's quote and mark.

    `sides` maps A and B, or one of them, to (marks, quotes); a dimension without quote has the mark alone, and one
    that was not marked on a side leaves that side out.
    """
    parts = [f"seen: {evidence}" if evidence else ""]
    for d in dimensions:
        said = [marked(side, marks[d], quotes.get(d)) for side, (marks, quotes) in sides.items() if d in marks]
        parts.append(f"Part {DIMENSIONS.index(d) + 1}: {TITLES[d]}:{''.join(said)}")
    return "\n".join(parts)


def dimensions_of(format: str) -> tuple[str, ...]:
    """Return the dimensions that a format's rationale weighs."""
    return (FEWER | TURNED).get(format, DIMENSIONS)


def render(label: Label, format: str = "rationale-first") -> str:
    """Write a label as judgement JSON: the target of SFT. Raises ValueError where scores contradict the verdict."""
    score_a = round(label.score_a)
    score_b = round(label.score_b)
    if ranking(score_a, score_b) != label.verdict:
        raise ValueError(f"label of {label.pair_id}: scores {score_a}, {score_b} contradict verdict {label.verdict}")
    sides = {"A": (label.marks_a or {}, label.quotes_a or {}), "B": (label.marks_b or {}, label.quotes_b or {})}
    said = label.rationale or rationale(label.evidence, sides, dimensions_of(format))
    return notation(said, score_a, score_b, format)


def notation(reasoning: str, score_a: int, score_b: int, format: str = "rationale-first") -> str:
    """Write a judgement as JSON; the winner is the one that the scores name."""
    better = _FROM_VERDICT[ranking(score_a, score_b)]
    values = {
        "score_A": score_a,
        "score_B": score_b,
        "better": better,
        "reasoning": f"<think>{reasoning}</think>",
        "final_verdict": f"<answer>[[{better}]]</answer>",
    }
    return json.dumps({k: values[k] for k in FORMATS[format]}, ensure_ascii=False)


def fragments() -> list[str]:
    """List the fixed strings of both formats, to be single tokens of the embedded tokenizer."""
    parts = [f"\\nPart {i}: {TITLES[d]}:" for i, d in enumerate(DIMENSIONS, 1)]
    return [*parts, *(f" {side} {mark}" for side in "AB" for mark in ("good", "poor")), *_NOTATION]


def instruction(wording: str = "brief", format: str = "rationale-first") -> str:
    """Return the judging instruction: `brief` for the embedded model, `full` for a model that never saw the format.

    `reworded` says the same as `full` in other words, by which an audit tells whether the words matter.
    """
    if wording == "brief":
        return "\njudge both."
    numbers = {d: DIMENSIONS.index(d) + 1 for d in dimensions_of(format)}
    questions = "\n".join(f"{i}. {ASKED[d]}" for d, i in numbers.items())
    listed = list(numbers.values())
    parts = " ".join(f"Part {i}: ..." for i in dict.fromkeys((listed[0], listed[-1])))
    described = {
        "score_A": "integer 0 to 10",
        "score_B": "integer 0 to 10",
        "better": '"A" | "B" | "equal"',
        "reasoning": f"one string: <think>{parts}</think>, each part naming its dimension, A and B",
        "final_verdict": '"<answer>[[A]]</answer>", [[B]] or [[equal]], the same as "better"',
    }
    keys = "\n".join(f'- "{key}": {described[key]}' for key in FORMATS[format])
    return INSTRUCTIONS[wording if wording in INSTRUCTIONS else "full"].format(questions=questions, keys=keys)


def messages(pair: Pair, wording: str = "brief", format: str = "rationale-first") -> list[dict]:
    """Build the chat that asks for a judgement of a pair as displayed (A is `response_a`)."""
    ask = text_part(instruction(wording, format))
    brief = wording == "brief"
    parts = [*asked(pair, brief), *side("A", pair.response_a, brief), *side("B", pair.response_b, brief)]
    if brief:
        return [{"role": "user", "parts": [*parts, ask]}]
    system = [{"role": "system", "parts": [ask]}] if wording in INSTRUCTIONS else []
    return [*system, {"role": "user", "parts": parts}]


def asked(pair: Pair, brief: bool) -> list[Part]:
    """Return a pair's prompt, and the line of its criterion where it has one."""
    headings = BRIEF if brief else FULL
    return [*spoken(pair.prompt, headings), *criterion_of(pair, headings)]


def criterion_of(pair: Pair, headings: str) -> list[Part]:
    """Return the line of a pair's criterion; none where it has none."""
    return [text_part(f"\ncriterion: {quoted(pair.criterion, headings)}")] if pair.criterion else []


def side(name: str, response: list[Part], brief: bool, noun: str = "Candidate") -> list[Part]:
    """Return a response behind its heading."""
    heading = f"\n{name}: " if brief else f"\n\n{noun} {name}: "
    return [text_part(heading), *spoken(response, BRIEF if brief else FULL, "assistant")]
