"""Conversations to the text that a model reads, in which what people wrote can never act as control.

Consumes roles with their content, and a tokenizer's chat template; produces texts to be tokenised one by one. The
template never sees a content: it is rendered once for each shape of a conversation, with marks where contents stand,
and these are filled in afterwards. So no template can drop a thought, trim an answer or read a tag in it.

Where a content spells a control token, alone or together with what stands beside it, the text is cut inside of that
token and both sides are tokenised alone: every character stays, and no control token arises. Control tokens are those
that are flagged special, and ordinary added tokens that the template writes or that have their form, `<|...|>`; tags of
thoughts and tools that are no special tokens are a model's own words. A server's tokens are not known here: `literal`
sets a mark of no width into whatever has the form of one, since most servers read those in contents as control.

Where an answer begins: as the template asks for one, without the thought that some open there or leave empty, since a
model's thoughts are its own. Training and sampling share that beginning. An answer that is `scored` stands as the
template itself writes a finished turn. Loss falls on the answer, with the blank that a template sets before it, and on
the first control token behind it; a template that ends no answer gets the token of the next turn, else the tokenizer's.

A template that takes no system message finds it before the user's first words, with an empty line between; messages of
one role in a row become one in the same way, where a template wants turns to alternate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from omnirepro.models.families import ModelError

Content = tuple[tuple[str, str], ...]  # (type, text); of a medium, what stands in place of the template's mark
Shape = tuple[tuple[str, tuple[str, ...]], ...]  # roles with the types of their contents

BEGIN = "\ue002"
END = "\ue003"
_MARK = re.compile(r"\ue000\d+\ue001|\ue002|\ue003")
_OPEN_THOUGHT = re.compile(r"<think>\s*$")
_THOUGHT = re.compile(r"<think>\s*(</think>\s*)?$")
_OWN_WORDS = re.compile(r"</?\w*(think|thought|reason|tool)\w*>")
_FORM = re.compile(r"<[|｜].+[|｜]>")
_TAG = re.compile(r"[<\[].+[>\]]")
# Control tokens of models in the field, and the signs of turns that some templates write as text.
_NAMES = (
    r"s|bos|eos|pad|unk|mask|cls|sep|image|video|audio|speech|img|box|quad|ref|sop|eop|extra_id_\d+|row_\d+_col_\d+"
    r"|(?:start|end)_of_\w+|\w+_soft_token|\w+_token_around_image|global-img|IMG_CONTEXT"
)
_ROLES = r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+|IMG(?:_BREAK|_END)?|(?:BEGIN_)?AUDIO|g?MASK|CLS|SEP|PAD|UNK"
_INSIDE = r"[^\s<>\u200b]{1,64}"
_FORMS = re.compile(rf"<[|｜]{_INSIDE}>|<{_INSIDE}[|｜]>|</?(?:{_NAMES})>|\[/?(?:{_ROLES})\]|<</?SYS>>")


def literal(text: str) -> str:
    """Return a text with a mark of no width (U+200B) inside of all that any model might take for a control token."""
    return _FORMS.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", text)


@dataclass
class Segment:
    """A text that is tokenised on its own; `answer` is the number of the message that it answers with, if any.

    `contents` are the spans of what people wrote.
    """

    text: str = ""
    answer: int | None = None
    contents: list[tuple[int, int]] = field(default_factory=list)


class Chats:
    """A tokenizer's chat template; `placeholders` maps types of media to the template's tokens for them."""

    def __init__(self, tokenizer, placeholders: dict[str, str], cache: int = 20_000):
        self.tokenizer = tokenizer
        self.placeholders = placeholders
        self._skeleton = lru_cache(cache)(self._make_skeleton)
        # questions and short answers come again and again
        self.tokens = lru_cache(cache)(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def name(self) -> str:
        return str(getattr(self.tokenizer, "name_or_path", "") or "this model")

    @cached_property
    def control(self) -> dict[int, str]:
        """Control tokens by id, in the order of their ids."""
        known = self.tokenizer
        named = dict(zip(known.all_special_ids, known.all_special_tokens, strict=True))
        template = known.chat_template if isinstance(known.chat_template, str) else ""
        written = template + "".join(self._seen)
        for i, token in known.added_tokens_decoder.items():
            text = str(token)
            marker = _FORM.fullmatch(text) or (_TAG.fullmatch(text) and text in written)
            if token.special or (marker and not _OWN_WORDS.fullmatch(text)):
                named[i] = text
        return dict(sorted(named.items()))

    @cached_property
    def ends(self) -> list[int]:
        """Ids that end an answer: the tokenizer's own, and the one that the template sets behind an answer."""
        ids = [self.tokenizer.eos_token_id, self.tokenizer.convert_tokens_to_ids(self._end) if self._end else None]
        return list(dict.fromkeys(i for i in ids if i is not None))

    def segments(
        self, messages: Sequence[tuple[str, Content]], train: bool = False, scored: bool = False
    ) -> Iterator[Segment]:
        """Yield the texts of a conversation in order; without `train` or `scored` an answer is asked for at its end.

        Raises `ModelError` where the template cannot show the messages.
        """
        merged = [(role, _merged(content)) for role, content in messages]
        shape = tuple((role, tuple(kind for kind, _ in content)) for role, content in merged)
        texts = [piece for _, content in merged for piece in content]
        role, content = merged[-1]
        own = role == "assistant" and content[:1] and content[0][1].lstrip().startswith("<think>")
        for segment in self._filled(self._skeleton(shape, train or scored, scored and not own), texts):
            yield from self._cut(segment)

    def plain(self, text: str) -> list[int]:
        """Return the tokens of a text of its own, in which none is a control token."""
        segments = self._cut(Segment(text, contents=[(0, len(text))]))
        return [token for segment in segments for token in self.tokens(segment.text)]

    def _filled(self, skeleton: list[str | int], texts: list[tuple[str, str]]) -> Iterator[Segment]:
        """Put contents into a skeleton, whose numbers stand for them; answers are segments of their own."""
        segment = Segment()
        answers = -1
        within = False
        for piece in skeleton:
            if segment.answer is not None and not within and not isinstance(piece, str):
                yield segment
                segment = Segment()
            if isinstance(piece, int):
                kind, text = texts[piece]
                if kind == "text":
                    segment.contents.append((len(segment.text), len(segment.text) + len(text)))
                segment.text += text
            elif piece == BEGIN:
                yield segment
                answers += 1
                segment = Segment(answer=answers)
                within = True
            elif piece == END:
                within = False
            elif segment.answer is not None and not within:  # what closes an answer goes with it, up to its end
                end = self._first_control(piece)
                segment.text += piece[:end]
                yield segment
                segment = Segment(piece[end:])
            else:
                segment.text += piece
        yield segment

    def _cut(self, segment: Segment) -> Iterator[Segment]:
        """Cut a segment inside every control token that a content has a part in."""
        at = 0
        begin = 0
        while found := self._controls.search(segment.text, at):
            at = found.start() + 1
            touched = [b for b, e in segment.contents if b < found.end() and found.start() < e]
            if touched:
                at = max(at, min(touched))
                yield from self._checked(segment.text[begin:at], segment.answer)
                begin = at
        if segment.text[begin:]:
            yield from self._checked(segment.text[begin:], segment.answer)

    def _checked(self, text: str, answer: int | None) -> Iterator[Segment]:
        """Yield a text whole, or letter by letter where the tokenizer's normaliser makes a control token of others."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None or backend.normalizer is None:
            yield Segment(text, answer)
            return
        own = self._controls.findall(text)
        whole = sum(i in self.control for i in self.tokens(text)) <= len(own)
        parts = [text] if whole else re.split(f"({self._controls.pattern})", text)
        for part in parts:
            for piece in [part] if whole or part in own else part:
                yield Segment(piece, answer)

    @cached_property
    def _controls(self) -> re.Pattern:
        tokens = sorted({*self.control.values(), *self.placeholders.values()}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, tokens)) or r"(?!)")

    def _first_control(self, text: str) -> int:
        """Return where the first control token of a text ends, 0 where there is none."""
        found = self._controls.search(text)
        return found.end() if found else 0

    # ---- the template, rendered with marks in place of contents

    def _make_skeleton(self, shape: Shape, answered: bool, as_written: bool) -> list[str | int]:
        """Return the template's own texts, the numbers of contents, and `BEGIN` and `END` around answers."""
        if not answered:
            text, lead, _ = self._asked(shape)
        elif shape[-1][0] != "assistant":
            text = self._render(shape)
            lead = self._lead
        else:
            asked, lead, whole = self._asked(shape[:-1], shape[-1])
            before, begin, rest = whole.rpartition(BEGIN)
            opened = before if as_written else asked
            rest = rest if as_written else lead + rest
            text = opened + begin + rest
            if not (as_written or self._first_control(rest.partition(END)[2])):
                text += self._end
        return self._pieces(shape, text, lead)

    def _pieces(self, shape: Shape, text: str, lead: str) -> list[str | int]:
        """Split a rendered text at its marks and placeholders; a blank that leads an answer goes with it."""
        if lead:
            text = text.replace(lead + BEGIN, BEGIN + lead)
        kinds = [kind for _, content in shape for kind in content]
        media = iter([i for i, kind in enumerate(kinds) if kind != "text"])
        marks = "|".join([_MARK.pattern, *map(re.escape, set(self.placeholders.values()))])
        pieces: list[str | int] = []
        for piece in re.split(f"({marks})", text):
            if piece.startswith("\ue000"):
                pieces.append(int(piece[1:-1]))
            elif piece in self.placeholders.values():
                pieces.append(next(media))
            elif piece:
                pieces.append(piece)
        return pieces

    def _asked(self, shape: Shape, answer: tuple[str, tuple[str, ...]] = ("assistant", ("text",))):
        """Return the conversation up to where an answer begins, the blank before it, and the whole with an answer."""
        asked = self._render(shape, opening=True)
        try:
            whole = self._render((*shape, answer))
        except ModelError:
            if shape[-1][0] != "assistant":
                raise
            return _OPEN_THOUGHT.sub("", asked), "", asked
        before = whole.rpartition(BEGIN)[0]
        opened = asked if before == asked else _OPEN_THOUGHT.sub("", asked)
        bare = before if before == asked else _THOUGHT.sub("", before)
        if bare.rstrip() == opened.rstrip():
            return opened, bare.removeprefix(opened), whole
        return bare, "", whole  # the template names a channel or a recipient behind what it asks with

    @cached_property
    def _seen(self) -> list[str]:
        """What the template writes around a question and its answer."""
        try:
            return _MARK.split(self._render((("user", ("text",)), ("assistant", ("text",))), opening=True))
        except ModelError:
            return []

    @cached_property
    def _lead(self) -> str:
        return self._asked((("user", ("text",)),))[1]

    @cached_property
    def _end(self) -> str:
        """The control token behind an answer, or what begins the next turn; "" where there is neither."""
        asked = (("user", ("text",)), ("assistant", ("text",)))
        for shape in (asked, (*asked, asked[0])):
            try:
                behind = self._render(shape).partition(END)[2].partition("\ue000")[0]
            except ModelError:
                continue
            if found := self._controls.search(behind):
                return found[0]
        return self.tokenizer.eos_token or ""

    def _render(self, shape: Shape, opening: bool = False) -> str:
        """Render a conversation with marks, in the first way in which the template shows every content once."""
        if self.tokenizer.chat_template is None:
            remedy = "name an instruction-tuned model, or put its chat_template.jinja into the folder"
            raise ModelError(f"{self.name}: its tokenizer has no chat template; {remedy}")
        chat = _marked(shape)
        reason = "it drops a part of them"
        media = [kind for _, kinds in shape for kind in kinds if kind != "text"]
        for written in (chat, _without_system(chat), _alternating(_without_system(chat))):
            for listed in (True,) if media else (False, True):
                try:
                    text = self.tokenizer.apply_chat_template(
                        [_message(*said, listed) for said in written], tokenize=False, add_generation_prompt=opening
                    )
                except Exception as error:  # a template is a program of its own
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    continue
                if self._shows(text, chat, media):
                    return text
        roles = ", ".join(role for role, _ in shape)
        remedy = "name another model, or serve this one and name its URL"
        raise ModelError(f"{self.name}: its chat template cannot show the messages {roles} ({reason}); {remedy}")

    def _shows(self, text: str, chat: list[tuple[str, list[tuple[str, str]]]], media: list[str]) -> bool:
        """Tell whether a rendered text has every mark once and in order, and a placeholder a medium."""
        texts = [said for _, content in chat for kind, said in content if kind == "text"]
        wanted = _MARK.findall("".join(texts))
        placeholders = [self.placeholders[kind] for kind in media]
        own = re.findall("|".join(map(re.escape, set(self.placeholders.values()))) or r"(?!)", text)
        return _MARK.findall(text) == wanted and own == placeholders


def _merged(content: Content) -> Content:
    """Join texts that stand next to each other."""
    joined: list[tuple[str, str]] = []
    for kind, text in content:
        if joined and kind == joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return tuple(joined)


def _marked(shape: Shape) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return messages with a mark for every text, and marks around an assistant's content."""
    chat = []
    number = 0
    for role, kinds in shape:
        content = []
        for kind in kinds:
            content.append((kind, f"\ue000{number}\ue001" if kind == "text" else ""))
            number += 1
        if role == "assistant":
            content = list(_merged((("text", BEGIN), *content, ("text", END))))
        chat.append((role, content))
    return chat


def _without_system(chat: list) -> list:
    """Set leading system messages before the first user's content."""
    system = [content for role, content in chat if role == "system"]
    rest = [(role, list(content)) for role, content in chat if role != "system"]
    if not system or not rest or rest[0][0] != "user" or chat[0][0] != "system":
        return chat
    for content in reversed(system):
        rest[0] = ("user", list(_merged((*content, ("text", "\n\n"), *rest[0][1]))))
    return rest


def _alternating(chat: list) -> list:
    """Join messages of one role in a row."""
    joined: list = []
    for role, content in chat:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, list(_merged((*joined[-1][1], ("text", "\n\n"), *content))))
        else:
            joined.append((role, content))
    return joined


def _message(role: str, content: list, listed: bool) -> dict:
    """Write a message as templates take it, its content as a list of parts or as one text."""
    if listed:
        return {"role": role, "content": [{"type": kind, kind: text} for kind, text in content]}
    joined = "".join(text for _, text in content)
    return {"role": role, "content": joined}
