"""The verdict from token probabilities, and from several samples: a judge that says how sure it is.

Consumes pairs and a generative judge; produces frozen rows with `probability`. A model goes on from the start of an
answer that leads to its verdict, and the log-probabilities of the words A and B there are its scores, in nats:
"choice" asks right behind the prompt, one pass a pair and order and no token written; "choice-after-rationale" behind
what the judge wrote up to its verdict. p(A) is averaged over the displayed orders, so that no side's place counts, and
both rows of a pair are the same but for what each order said (`decoding`: `shown`, p(A) of that order, and `mass`, the
probability that both words had together: near 0 the model would have written something else).

A tie is a difference of scores of at most the judge's `threshold`, as with scalar judges; `evaluate.ties` fits it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from omnirepro.data import READ, Judgement, Pair, commonest, swap_verdict
from omnirepro.data.files import RunError
from omnirepro.judge import verdict
from omnirepro.judge.rubric import Parsed
from omnirepro.judge.scalar import ORDERS, freeze_scores
from omnirepro.models.generation import Generated, Progress

READS = ("generate", "choice", "choice-after-rationale")
OPENINGS = {"rubric": '{"better": "', "verdict": "[["}
WORDS = ["A", "B"]


def check(read: str, format: str, samples: int, temperature: float) -> None:
    """Raise `RunError` where a judge cannot be read in a way, or has nothing to sample."""
    if read not in READS:
        raise RunError(f"judge.read: {read!r} is no way to read a judge; one of {', '.join(READS)}")
    if read != "generate" and format == "level":
        raise RunError("judge.read: a level has no verdict between A and B to choose; use another format, or generate")
    if samples < 1 or (samples > 1 and read == "choice"):
        raise RunError(
            f"samples: {samples} of a judge read by {read!r}; a choice is computed once, samples are written"
        )
    if samples > 1 and temperature <= 0:
        raise RunError(f"samples: {samples} at temperature 0 are one; set a temperature above 0")


def choices(
    judge: Any,
    pairs: list[Pair],
    orders: str = "both",
    progress: Progress | None = None,
    written: list[Generated] | None = None,
) -> list[Judgement]:
    """Judge pairs by the probabilities of both verdicts; a row a pair and order, pair by pair.

    `written`: the judgements behind whose rationales is asked, pair by pair, where the judge has written them already.
    """
    format = verdict.format_of(judge.format)
    asked = [(pair, order) for pair in pairs for order in ORDERS[orders]]
    chats = [judge.messages(*each) for each in asked]
    if judge.read == "choice":
        written = [Generated(OPENINGS[format.kind], 0, True)] * len(asked)
    elif written is None:
        chats = [chat for chat in chats for _ in range(judge.samples)]
        written = judge.chat.complete(chats, judge.decoding, judge.seed, progress)
    sound = [i for i, out in enumerate(written) if not out.failure]
    begun = [verdict.begun_by(written[i].text, format.kind) for i in sound]
    chances = judge.chat.choose([chats[i] for i in sound], begun, WORDS, progress)
    found = {i: some for i, some in zip(sound, chances, strict=True) if not math.isnan(sum(some))}
    too_long = {i for i in sound if i not in found}
    written = [Generated("", 0, False, "too_long") if i in too_long else out for i, out in enumerate(written)]
    about = {"model": judge.name, "kind": format.kind, "seed": judge.seed}
    how = {"read": judge.read, "threshold": judge.threshold, "samples": judge.samples}
    how |= {} if judge.read == "choice" else asdict(judge.decoding)
    rows = []
    each = len(ORDERS[orders]) * judge.samples
    for start, pair in zip(range(0, len(written), each), pairs, strict=True):
        shown = [order for order in ORDERS[orders] for _ in range(judge.samples)]
        made = written[start : start + each]
        read = [found.get(i) for i in range(start, start + each)]
        rows += _of_pair(pair, orders, shown, made, read, about | {"decoding": how})
    return rows


def _of_pair(
    pair: Pair, orders: str, shown: list[str], made: list[Generated], read: list[Any], about: dict[str, Any]
) -> list[Judgement]:
    """Return a pair's rows: the verdict of all readings together, and beside it what each order's own said."""
    turned = [c if c is None or order == "AB" else c[::-1] for c, order in zip(read, shown, strict=True)]
    sides = [_share(c) for c in turned if c is not None]
    if not sides:
        failed = Parsed(next(out.failure for out in made))
        return [Judgement.of(pair, o, failed, raw=made[shown.index(o)].reason, **about) for o in ORDERS[orders]]
    a, b = (_log_mean([side[i] for side in sides]) for i in (0, 1))
    out = []
    for row in freeze_scores(pair, orders, a, b, about["decoding"]["threshold"], probability=math.exp(a), **about):
        own = [i for i, order in enumerate(shown) if order == row.order]
        known = [turned[i] for i in own if turned[i] is not None]
        said = {"shown": math.exp(_log_mean([_share(c)[0] for c in known])) if known else None}
        said["mass"] = sum(math.exp(x) for c in known for x in c) / len(known) if known else None
        raw = "" if about["decoding"]["read"] == "choice" else made[own[0]].text
        tokens = sum(made[i].tokens + 1 for i in own)
        out.append(row.model_copy(update={"raw": raw, "tokens": tokens, "decoding": row.decoding | said}))
    return out


def _share(chances: list[float]) -> tuple[float, float]:
    """Return the logarithms of A's and B's shares of the probability that both have."""
    total = _log_mean(chances) + math.log(2)
    return chances[0] - total, chances[1] - total


def _log_mean(values: list[float]) -> float:
    """Return log(mean(exp(values))) without overflow."""
    most = max(values)
    return most + math.log(sum(math.exp(x - most) for x in values) / len(values))


def voted(samples: list[Parsed]) -> tuple[Parsed, list[str]]:
    """Return what several samples of one judgement say together, and the verdict of each that can be read.

    The verdict is the commonest, a tie where two are; scores are means. Where none can be read the first one stands.
    """
    sound = [one for one in samples if one.status in READ and one.verdict]
    if not sound:
        return samples[0], []
    votes = [one.verdict for one in sound]
    scored = [(one.score_a, one.score_b) for one in sound if one.score_a is not None and one.score_b is not None]
    a, b = (sum(side) / len(scored) for side in zip(*scored, strict=True)) if scored else (None, None)
    return Parsed("ok", commonest(votes), a, b, sound[0].reasoning), votes


def vote(pair: Pair, order: str, samples: list[Parsed], made: list[Generated], about: dict[str, Any]) -> Judgement:
    """Return the row of several samples; `decoding` keeps their verdicts, `probability` is A's share (a tie: half)."""
    said, votes = voted(samples)
    votes = votes if order == "AB" else [swap_verdict(one) for one in votes]
    row = Judgement.of(pair, order, said, raw=made[0].text or made[0].reason, **about)
    share = sum({"A": 1.0, "tie": 0.5, "B": 0.0}[one] for one in votes) / len(votes) if votes else None
    kept = row.decoding | {"samples": len(samples), "votes": votes}
    tokens = sum(one.tokens for one in made)
    return row.model_copy(update={"probability": share, "tokens": tokens, "decoding": kept})
