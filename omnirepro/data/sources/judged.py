"""Training rows that are a whole judging prompt and its verdict, or a conversation with both responses.

Question and candidates are read back from the end of the prompt; everything else that was shown, and the released
verdict, stay in `meta["as_released"]`. A rationale may name the winner several times: a verdict's tag counts, else the
last sentence that names one, and the pair is marked ambiguous where an earlier sentence named another.

* UnifiedReward (HPD, Open-Image-Preferences, VideoDPO, EvalMuse): the question ends in `Text Caption: [...]` and the
  answer says which picture or film is better, or that both are equally good; a film is its frames, the first half those
  of film 1. For reinforcement `problem`, `solution`, `images`, which Text-2-Video-Human-Preferences has too.
* LLaVA-Critic's `conversations` with one `image` (its own release and UnifiedReward's copy), and ShareGPTVideo-DPO's
  with `images`, the frames of one film.
* R1-Reward-RL's `message`, a chat written as JSON text, with `question` and `answer`.
* Omni-Preference (Omni-RRM): the media's path that the prompt shows stays out of the pair's prompt. Rows for
  reinforcement have the verdict as `solution`, rows for SFT (`final_sft_data.jsonl`) as the chat's answer.
* OmniRewardData: `conversations` hold the criterion (system) and the question, `images` the question's; where chosen
  and rejected have one and the same text it is the prompt, and `images` hold both generations.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from omnirepro.data import Part, RowError, text_part
from omnirepro.data.sources.parts import cluster, media, shared
from omnirepro.data.sources.rows import Raw

Given = dict[str, Any]
_CAPTION = re.compile(r"Text Caption:\s*\[(.*)\]\s*\Z", re.DOTALL)
_BRACKETED = re.compile(
    r"Question: ?\[(.*?)\]\s*\n\s*(?:(?:Response|Answer) (?:1|A)|The first response): ?\[(.*?)\]\s*\n\s*"
    r"(?:(?:Response|Answer) (?:2|B)|The second response): ?\[(.*)\]",
    re.DOTALL,
)
_HEADED = re.compile(
    r"#+ *\[Question\]: *\n?(.*?)\s*\n#+ *\[Response 1\]: *\n?(.*?)\s*\n#+ *\[Response 2\]: *\n?"
    r"(.*?)\s*(?=\n#+ *\*\*Output Format|\Z)",
    re.DOTALL,
)
_CONTEXT = re.compile(
    r"### Context\s*\n(?:[ \t]*(?:Image|Video|Audio) file:[^\n]*\n)?[ \t]*Question:[ ]?(.*?)[ \t]*\n"
    r"[ \t]*Candidate A:[ ]?(.*?)[ \t]*\n[ \t]*Candidate B:[ ]?(.*)\Z",
    re.DOTALL,
)
_TAG = re.compile(r"<answer>\s*(.*?)\s*</answer>|The better response: ?\[(\w+)\]", re.DOTALL | re.IGNORECASE)
_SENTENCE = re.compile(
    r"\b(?:response|answer|image|video) ([12ab]) is (?:the )?better\b|\bthe (first|second) (?:response|answer) is "
    r"(?:the )?better\b|\bequally (good)\b",
    re.IGNORECASE,
)
_SIDES = {"1": "A", "a": "A", "first": "A", "2": "B", "b": "B", "second": "B", "good": "tie"}
_GENERATED = re.compile(r"\b(image|video) ([12]) is better|\bboth (image|video)s are equally good", re.IGNORECASE)


def _verdict(said: str) -> tuple[str, dict[str, bool]]:
    """Return the label that a released verdict stands for, and a mark where it is ambiguous."""
    tags = [next(filter(None, groups)) for groups in _TAG.findall(said)]
    scope = tags[-1] if tags else said
    if scope.strip().lower() in _SIDES:
        return _SIDES[scope.strip().lower()], {}
    named = [_SIDES[next(filter(None, groups)).lower()] for groups in _SENTENCE.findall(scope)]
    if not named:
        raise RowError(
            "no verdict such as 'Response 1 is better' or '[1]' in the answer; use the pairwise file, not the pointwise"
        )
    return named[-1], {"ambiguous": True} if len(set(named)) > 1 else {}


def _spoken(raw: Raw) -> tuple[str, str]:
    """Return what the user asks first and what the model answers first."""
    messages = raw.need("conversations", list)
    said = []
    for roles in (("human", "user"), ("gpt", "assistant")):
        found = [message["value"] for message in messages if message.get("from") in roles]
        if not found:
            raise RowError(f"field conversations: no message from {' or '.join(roles)}; get the file again")
        said.append(found[0])
    return said[0], said[1]


def _halves(raw: Raw) -> tuple[list[Part], list[Part]]:
    """Return both generations of `images`: the first half is of response 1."""
    parts = media("image", raw.need("images", list), raw)
    if not parts or len(parts) % 2:
        raise RowError(f"field images: {len(parts)} files are no two equal halves; get the file again")
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


def _generated(raw: Raw, asked: str, said: str, caption: re.Match[str]) -> Given:
    """Return a caption as prompt and the media that were generated from it, without verdict and task."""
    meta = {"as_released": [asked[: caption.start(1)], said]}
    return {"prompt": [text_part(caption[1])], "sides": _halves(raw), "cluster": cluster(caption[1]), "meta": meta}


def _answered(shown: list[Part], asked: str, said: str, pattern: re.Pattern[str]) -> Given:
    """Read question and both candidates back from a judging prompt about shown media."""
    found = pattern.search(asked)
    if not found:
        raise RowError("the prompt does not end in a question and two responses; use the pairwise file, not another")
    label, mark = _verdict(said)
    film = len(shown) > 1 or any(part.type == "video" for part in shown)
    return {
        "task": "TV2T" if film else "TI2T" if shown else "T2T",
        "prompt": [*shown, text_part(found[1])],
        "sides": ([text_part(found[2])], [text_part(found[3])]),
        "label": label,
        "meta": {"as_released": [asked[: found.start(1)], asked[found.end(3) :], said]} | mark,
    }


def unified_reward(raw: Raw) -> Iterator[Given]:
    """Read generated media about one caption, and the one verdict of the answer."""
    asked, said = _spoken(raw)
    caption = _CAPTION.search(asked)
    verdicts = {(kind or both).lower() + (side or "") for kind, side, both in _GENERATED.findall(said)}
    if not caption or len(verdicts) != 1:
        raise RowError(
            "field conversations: no 'Text Caption: [...]' at the end of the question, or not one verdict such as "
            "'Image 1 is better' in the answer; use a pairwise train_data.json of image or video generation"
        )
    verdict = verdicts.pop()
    label = {"1": "A", "2": "B"}.get(verdict[-1], "tie")
    yield _generated(raw, asked, said, caption) | {"task": "T2I" if "image" in verdict else "T2V", "label": label}


def llava_critic(raw: Raw) -> Iterator[Given]:
    """Read pairwise rows about one picture or the frames of one film."""
    asked, said = _spoken(raw)
    yield _about_media(raw, asked, said, "images" if raw.fields.get("images") else "image")


def _about_media(raw: Raw, asked: str, said: str, column: str) -> Given:
    shown = media("image", raw.need(column, str, list, dict), raw)
    given = _answered(shown, asked, said, _BRACKETED)
    film = re.search(r"\bvideo\b", given["meta"]["as_released"][0])
    return given | ({"task": "TV2T"} if film else {})


def unified_reward_rl(raw: Raw) -> Iterator[Given]:
    """Read UnifiedReward-Think's rows for GRPO: generated media, or two answers about shown media."""
    asked = raw.need("problem")
    said = raw.need("solution")
    caption = _CAPTION.search(asked)
    if not caption:
        yield _about_media(raw, asked, said, "images")
        return
    given = _generated(raw, asked, said, caption)
    label, mark = _verdict(said)
    film = len(given["sides"][0]) > 1 or "video" in said.lower()
    yield given | {"task": "T2V" if film else "T2I", "label": label, "meta": given["meta"] | mark}


def r1_reward(raw: Raw) -> Iterator[Given]:
    """Read a chat that is written as JSON text; a list of frames is a film as pictures."""
    try:
        content = [c for m in json.loads(raw.need("message")) if m["role"] == "user" for c in m["content"]]
    except (ValueError, KeyError, TypeError):
        raise RowError("field message: not a JSON chat of role and content; download the file again") from None
    shown: list[Part] = []
    for piece in content:
        value: Any = piece.get("image") or piece.get("video")
        if value:  # a list of frames is a film as pictures
            shown += media("video" if "video" in piece and isinstance(value, str) else "image", value, raw)
    said = raw.need("answer", list, str)
    asked = "".join(piece["text"] for piece in content if piece.get("type") == "text")
    given = _answered(shown, asked, "\n".join(said) if isinstance(said, list) else said, _HEADED)
    given["cluster"] = shared(shown or given["prompt"])
    given["meta"]["as_released"][-1] = str(said)
    if raw.fields.get("question"):
        given["prompt"] = [*shown, text_part(raw.fields["question"])]
    yield given


def omni_preference(raw: Raw) -> Iterator[Given]:
    """Read question, candidates and scores back from a judging prompt about one medium."""
    kinds = {"images": "image", "videos": "video", "audios": "audio"}
    column = next((name for name in kinds if raw.fields.get(name)), None)
    if not column:
        raise RowError(f"field {'|'.join(kinds)}: a row names one medium; the row has: {', '.join(raw.fields)}")
    messages = raw.need("messages", list)
    asked = next((m.get("content") for m in messages if isinstance(m, dict) and m.get("role") == "user"), None)
    found = _CONTEXT.search(asked) if isinstance(asked, str) else None
    if not found:
        raise RowError("field messages: no '### Context' with Question, Candidate A and B; get the file again")
    gold = _solution(raw, messages)
    shown = media(kinds[column], [_existing(path, raw) for path in raw.need(column, list)], raw)
    task = f"T{column[0].upper()}2T"
    headings = re.findall(r"(?m)^[ \t]*Candidate [AB]:", found[0])
    released = {"shown": asked[: found.start(1)]}
    released |= {k: v for k, v in gold.items() if k not in ("score_A", "score_B", "better")}
    meta = {"score_a": gold["score_A"], "score_b": gold["score_B"], "as_released": released}
    yield {
        "id": f"{task}/{raw.number}" if "solution" in raw.fields else f"{task}/sft/{raw.number}",
        "task": task,
        "prompt": [*shown, text_part(found[1])],
        "sides": ([text_part(found[2])], [text_part(found[3])]),
        "label": {"A": "A", "B": "B", "equal": "tie"}[gold["better"]],
        "margin": abs(gold["score_A"] - gold["score_B"]),
        "meta": meta | ({} if len(headings) == 2 else {"ambiguous": True}),
    }


def _solution(raw: Raw, messages: list[Any]) -> dict[str, Any]:
    """Return the verdict of a row: its solution, else the JSON of the chat's last answer."""
    name = "solution" if "solution" in raw.fields else "messages"
    try:
        told = raw.need("solution") if name == "solution" else messages[-1]["content"]
        gold = json.loads(told[told.index("{") : told.rindex("}") + 1])
        known = gold["better"] in ("A", "B", "equal")
        if known and all(isinstance(gold[k], int | float) for k in ("score_A", "score_B")):
            return gold
    except (ValueError, KeyError, TypeError):
        pass
    raise RowError(f"field {name}: not JSON with score_A, score_B and better (A, B, equal); remove the row")


def _existing(path: Any, raw: Raw) -> Any:
    """Return the one sound of the same name below the data's folder where the released path does not exist."""
    if not isinstance(path, str) or Path(media("audio", path, raw)[0].path).exists():
        return path
    same = _sounds(raw.root).get(_name(path), ())
    return same[0] if len(same) == 1 else path


@cache
def _sounds(root: Path) -> dict[str, tuple[str, ...]]:
    """Index files by a name without the differences between released rows and files (`&amp;`, `_` for a space)."""
    out: dict[str, tuple[str, ...]] = {}
    for path in root.rglob("*.wav"):
        out[_name(path.name)] = (*out.get(_name(path.name), ()), str(path.resolve()))
    return out


def _name(path: str) -> str:
    return html.unescape(path.split("/")[-1]).replace("_", " ").lower()


def omni_reward_data(raw: Raw) -> Iterator[Given]:
    """Read two answers to a question, or two generations of one prompt, under a criterion."""
    messages = raw.need("conversations", list)
    speakers = [m.get("from") for m in messages if m.get("from") != "system"]
    if not {*speakers} <= {"human", "user"}:
        raise RowError(f"field conversations: a turn of {', '.join(map(str, speakers))}; read it with sharegpt-ranking")
    given: Given = {"criterion": next((m["value"] for m in messages if m.get("from") == "system"), None)}
    sides = []
    for side in ("chosen", "rejected"):
        value = raw.need(side, dict).get("value")
        if not isinstance(value, str):
            raise RowError(f"field {side}.value is missing; a side is an object with from and value")
        sides.append([text_part(value)])
    if sides[0] == sides[1]:
        given |= {"prompt": sides[0], "sides": _halves(raw), "meta": {"conversations": messages}}
        given["task"] = "T2I" if len(given["sides"][0]) == 1 else "T2V"
    else:
        pictures = media("image", raw.fields.get("images") or [], raw)
        asked = [m["value"] for m in messages if m.get("from") in ("human", "user")]
        given["prompt"] = [*pictures, *(text_part(text, turn=turn) for turn, text in enumerate(asked))]
        given |= {"sides": tuple(sides), "task": "TI2T" if pictures else "T2T"}
    yield given
