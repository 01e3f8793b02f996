"""What servers say: the text of a completion, why there is none, and what they refuse of a request.

Consumes the bodies of HTTP answers of servers that follow OpenAI's format more or less; produces `Generated`s, and the
words of errors. Nothing here sends anything.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omnirepro.models.generation import Generated

_CUT = {"length", "max_tokens"}
_FILTERED = {"content_filter", "safety", "prohibited_content", "blocklist", "recitation", "sensitive"}
_PASSES = re.compile(
    r"overload|rate.?limit|time.?out|timed out|tempor|try again|unavailable|busy|capacity|too many", re.IGNORECASE
)
_POLICY = re.compile(
    r"content[ _-]?(policy|filter|management)|safety|moderation|flagged|inappropriate|inspection", re.IGNORECASE
)
_TOO_MUCH = re.compile(r"context|too (large|long|big|many)|exceed|at most|maximum", re.IGNORECASE)
_NAMES = {
    "max_tokens": r"max_tokens",
    "temperature": r"temperature",
    "top_p": r"top_p",
    "top_k": r"top_k",
    "seed": r"seed",
    "response_format": r"response_format|json_schema|guided(_json)?|structured outputs?",
    "continue_final_message": r"continue_final_message",
    "add_generation_prompt": r"add_generation_prompt",
    "logprobs": r"logprobs|log.?probabilities",
    "video_url": r"video_url|videos?",
    "system": r"(?i:system (?:role|message|prompt)s?|roles must alternate)",
}


@dataclass(frozen=True)
class Complaint:
    """What an error says: its words in one line, and the fields of the request that it names apart from them."""

    words: str
    fields: tuple[str, ...] = ()

    @property
    def policy(self) -> bool:
        """Whether the server's rules on content are the reason, which says nothing about other requests."""
        return bool(_POLICY.search(" ".join((self.words, *self.fields))))

    def refused(self, sent: Container[str]) -> str | None:
        """Return which of the fields that were sent the server does not take; too large a value is another matter."""
        for text in (" ".join(self.fields), self.words):
            for name, pattern in _NAMES.items():
                too_much = name == "max_tokens" and _TOO_MUCH.search(self.words)
                if name in sent and not too_much and re.search(rf"(?<![\w-])({pattern})(?![\w-])", text):
                    return name
        return None


def complaint(text: str) -> Complaint:
    """Read the body of an error: OpenAI's `error`, FastAPI's `detail`, a bare message, or any text."""
    try:
        body = json.loads(text)
    except ValueError:
        return Complaint(_line(text))
    for key in ("error", "detail"):
        body = body[key] if isinstance(body, dict) and body.get(key) else body
    words = []
    fields = []
    for one in body if isinstance(body, list) else [body]:
        known = one if isinstance(one, dict) else {"message": one}
        words.append(known.get("message") or known.get("msg") or (json.dumps(known) if known else ""))
        fields += [*(known.get("loc") or ()), known.get("param"), known.get("code")]
    return Complaint(_line("; ".join(map(str, words))), tuple(x for x in fields if isinstance(x, str)))


def status_in(body: Any) -> int | None:
    """Return the HTTP status that fits an error which came as a success; None where it holds a completion.

    Of a kind that passes: 503. Raises LookupError, TypeError or AttributeError where it holds neither.
    """
    error = body.get("error") or (body if body.get("object") == "error" else None)
    if not body.get("choices") and error:
        said = error if isinstance(error, dict) else {"message": error}
    elif "message" not in body["choices"][0] and body["choices"][0].get("error"):
        said = body["choices"][0]["error"]
    else:
        body["choices"][0]["message"].get("content")
        return None
    code = str(said.get("code") or "")
    if re.fullmatch(r"[45]\d\d", code):
        return int(code)
    return 503 if _PASSES.search(json.dumps(said)) else 400


def completion(body: dict) -> Generated:
    """Read a completion: its text without thoughts, whichever way its content is given, or why there is none."""
    choice = body["choices"][0]
    message = choice["message"]
    content = message.get("content") or []
    content = {"type": "text", "text": content} if isinstance(content, str) else content
    pieces = [content] if isinstance(content, dict) else content
    pieces = [{"type": "text", "text": piece} if isinstance(piece, str) else piece for piece in pieces]
    text = "".join(p.get("text") or "" for p in pieces if p.get("type") in ("text", "output_text"))
    declined = message.get("refusal") or "".join(p.get("refusal") or "" for p in pieces)
    tokens = (body.get("usage") or {}).get("completion_tokens") or 0
    ended = str(choice.get("finish_reason") or "stop").lower()
    if declined or ended == "refusal":
        return Generated("", tokens, False, "refused", declined or text)
    if ended in _FILTERED:
        return Generated("", tokens, False, "filtered", text or "taken out by the server's content filter")
    if ended in _CUT and not text.strip():
        return Generated("", tokens, False, "cut", "the limit of tokens was reached before the answer began")
    return Generated(text, tokens, ended not in _CUT)


def withheld(said: Complaint) -> Generated:
    """Return what stands for the answer to a request that a server refused, with its words."""
    status = "filtered" if re.search("filter", " ".join((said.words, *said.fields)), re.IGNORECASE) else "refused"
    return Generated("", 0, False, status, said.words)


def likely(body: dict) -> Generated:
    """Read the log-probabilities of a completion's first token as JSON, token -> nats; an empty text where none are."""
    content = (body["choices"][0].get("logprobs") or {}).get("content") or [{}]
    found: dict[str, float] = {}
    for entry in content[0].get("top_logprobs") or ():
        found.setdefault(entry["token"].strip(), entry["logprob"])
    return Generated(json.dumps(found) if found else "", 1, True)


def chance_of(option: str, found: Mapping[str, float], options: Sequence[str]) -> float | None:
    """Return the log-probability of an option among those of tokens; None where no token is about it.

    Tokens are about it that are the option with what closes it ("A", 'A"', "A]]"), or a beginning of it that no other
    option has.
    """
    others = [other for other in options if other != option]
    about = [
        chance
        for token, chance in found.items()
        if re.fullmatch(re.escape(option) + r"[^\w]*", token)
        or (token and option.startswith(token) and not any(other.startswith(token) for other in others))
    ]
    if len(about) < 2:
        return about[0] if about else None
    return math.log(sum(math.exp(chance) for chance in about))


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
