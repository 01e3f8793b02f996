"""Answers kept by content in sqlite, so that no deterministic call is made or paid twice, not even after a kill.

Wraps anything that completes chats, and anything that scores them; produces the same answers. The key is everything
that the answer depends on: the model (`identity`, such as its files' sha256, or a server's address), the chat with its
media's content, and the decoding. A sampled completion is kept only where the model draws it `by_content`, so that it
is deterministic too; any other is passed on and never kept. Calls are made in groups of `size` and stored after each,
so that a kill loses one group at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnirepro.data import Part, sha256_file
from omnirepro.data.files import RunError
from omnirepro.models.generation import Chat, Decoding, Generated, Progress, Scores


@dataclass
class Store:
    """Answers by key, JSON values, in one sqlite file; where `path` is None, in memory until the `with` block ends.

    Open inside one `with` block at a time. Raises `RunError` for a file of another layout, which is left as it is.

    `hits` and `calls` count what `answer` found and what had to be made; nothing is made after `until`, on the clock of
    `time.monotonic`.
    """

    path: Path | str | None
    size: int = 512
    until: float = math.inf
    hits: int = 0
    calls: int = 0

    dump = staticmethod(json.dumps)  # how a value is written, and read
    load = staticmethod(json.loads)

    def __enter__(self) -> Store:
        if self.path:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(self.path or ":memory:", timeout=60)
        with self._refused():
            self._base.execute("pragma journal_mode=wal")
            self._base.execute("create table if not exists answers (key text primary key, value text)")
        if [column for _, column, *_ in self._base.execute("pragma table_info(answers)")] != ["key", "value"]:
            self._base.close()
            raise RunError(f"{self.path} holds answers in another layout, of an earlier version; name a new file")
        return self

    def __exit__(self, *error: Any) -> None:
        self._base.close()

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Name file, reason and remedy where its disk refuses what is written inside the block, as a full one does."""
        try:
            yield
        except sqlite3.OperationalError as error:
            todo = "free space or mend it and run the same again: what is kept is not made or paid twice"
            raise RunError(f"{self.path} could not be written ({error}); {todo}") from error

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the answers that are known, by key."""
        found = (self._base.execute("select value from answers where key = ?", (key,)).fetchone() for key in keys)
        return {key: self.load(row[0]) for key, row in zip(keys, found, strict=True) if row}

    def total(self, field: str) -> float:
        """Return the sum of a number that the answers hold."""
        query = "select total(json_extract(value, ?)) from answers"
        return self._base.execute(query, (f"$.{field}",)).fetchone()[0]

    def said(self) -> str:
        """Say how many answers are kept and where."""
        if not self.path:
            return "no answer is kept"
        return f"{self._base.execute('select count(*) from answers').fetchone()[0]:,} answers are kept in {self.path}"

    def check_time(self, whose: str = "") -> None:
        """Raise `RunError` after `until`: what is kept, how to go on, and first `whose` answers are meant."""
        if time.monotonic() > self.until:
            raise RunError(f"{whose}the seconds are over: {self.said()}; run the same again to go on")

    def put(self, answers: dict[str, Any]) -> None:
        """Write answers in one transaction: when this returns all are on disk, when it raises `RunError` none is."""
        with self._refused(), self._base:
            rows = [(key, self.dump(value)) for key, value in answers.items()]
            self._base.executemany("insert or replace into answers values (?, ?)", rows)

    def answer(self, keys: Sequence[str], make: Callable[[list[int]], list[Any]]) -> list[Any]:
        """Return an answer a key; `make` gets the indices of those that are not known, each distinct key once.

        What has a `failure`, such as a refusal, is no answer and is not kept. Raises `RunError` where a group is still
        to be made after `until`.
        """
        with self:
            known = self.get(keys)
            missing = list({key: i for i, key in enumerate(keys) if key not in known}.values())
            self.hits += len(keys) - len(missing)
            self.calls += len(missing)
            for at in range(0, len(missing), self.size):
                self.check_time()
                some = missing[at : at + self.size]
                made = {keys[i]: value for i, value in zip(some, make(some), strict=True)}
                self.put({k: v for k, v in made.items() if not (isinstance(v, dict) and v.get("failure"))})
                known |= made
        return [known[key] for key in keys]


def _onward(progress: Progress | None, total: int) -> Progress | None:
    """Count the steps of a group on from those of the groups before it."""
    begun = time.monotonic()
    before = 0

    def report(done: int, of: int, seconds: float) -> None:
        nonlocal before
        progress(before + done, total, time.monotonic() - begun)
        before += of if done == of else 0

    return progress and report


def key_of(identity: str, chat: list[dict], how: Any) -> str:
    """Return the sha256 of a model's identity, a chat by its content (media by their bytes), and the way of asking.

    The bytes count that lie there now: a `sha256` that a row declares may be of a file that was replaced since.
    """
    content = [
        [m["role"], [[p.type, p.text if p.type == "text" else sha256_file(p.path)] for p in m["parts"]]] for m in chat
    ]
    return hashlib.sha256(json.dumps([identity, content, how], sort_keys=True).encode()).hexdigest()


def _with_arrays(features: dict[str, Any]) -> bytes:
    """Write numbers as a line of JSON and arrays, in their order, as safetensors behind it."""
    from safetensors.numpy import save

    arrays = {name: value for name, value in features.items() if hasattr(value, "nbytes")}
    others = {name: value for name, value in features.items() if name not in arrays}
    return json.dumps([list(features), others]).encode() + b"\n" + save(arrays)


def _of_bytes(content: bytes) -> dict[str, Any]:
    """Read what `_with_arrays` wrote."""
    from safetensors.numpy import load

    line, _, arrays = content.partition(b"\n")
    names, others = json.loads(line)
    found = others | load(arrays)
    return {name: found[name] for name in names}


@dataclass
class FeatureStore(Store):
    """Features of media by the files' content, shared by epochs, processes and runs: at most `most` bytes of them.

    Where more come, others go by lot: of data larger than the store every epoch then finds a share, while of those used
    last it would find none. A store that cannot be read or written is told of and passed over.

    Of the features that are found every 32nd are made once more: a store that lost or mixed media would make judges
    blind without a word.
    """

    most: int = 20 << 30
    canary: int = 32

    dump = staticmethod(_with_arrays)
    load = staticmethod(_of_bytes)

    def fetch(self, part: Part, how: str, make: Callable[[], dict]) -> dict[str, Any]:
        """Return the features of a file under the settings `how`; make and keep them where they are not known.

        Raises `RunError` where those that were kept are not those of the file.
        """
        key = key_of("features", [{"role": "", "parts": [part]}], how)
        found = self._tried(lambda: self.get([key])) or {}
        if key not in found:
            found = {key: make()}
            self._tried(lambda: self._keep(found))
            return found[key]
        self.hits += 1
        if self.hits % self.canary == 0 and _with_arrays(make()) != _with_arrays(found[key]):
            raise RunError(f"{self.path} keeps other features of {part.path} than are made of it: delete it, run again")
        return found[key]

    def _keep(self, found: dict[str, Any]) -> None:
        self.put(found)
        number, held = self._base.execute("select count(*), sum(length(value)) from answers").fetchone()
        if held > self.most:
            leave = -(-number * (held - self.most) // held)
            drawn = "select key from answers order by random() limit ?"
            with self._base:
                self._base.execute(f"delete from answers where key in ({drawn})", (leave,))

    def _tried(self, act: Callable[[], Any]) -> Any:
        try:
            with self:
                return act()
        except (sqlite3.Error, OSError, RunError) as error:
            warnings.warn(f"{self.path}: media are prepared anew ({error})", RuntimeWarning, stacklevel=2)
            return None


@dataclass
class CachedChat:
    """A model that completes chats, behind a store."""

    chat: Chat
    store: Store
    identity: str

    @property
    def name(self) -> str:
        return self.chat.name

    @property
    def writing(self) -> float | None:
        """The temperature at which the model writes criteria, where it names one."""
        return getattr(self.chat, "writing", None)

    def complete(
        self, chats: list, decoding: Decoding, seed: int = 0, progress: Progress | None = None
    ) -> list[Generated]:
        """Complete chats in order; what is sampled otherwise than by content is neither looked up nor kept."""
        if decoding.temperature > 0 and not getattr(self.chat, "by_content", False):
            return self.chat.complete(chats, decoding, seed, progress)
        drawn = seed if decoding.temperature > 0 else None
        keys = [key_of(self.identity, chat, [asdict(decoding), drawn]) for chat in chats]

        report = _onward(progress, len(keys))

        def make(some: list[int]) -> list[dict]:
            return [asdict(g) for g in self.chat.complete([chats[i] for i in some], decoding, seed, report)]

        return [Generated(**value) for value in self.store.answer(keys, make)]

    def choose(
        self, chats: list, begun: list[str], options: list[str], progress: Progress | None = None
    ) -> list[list[float]]:
        """Return the log-probability of each option as what follows `begun[i]`, the start of the answer to chat i."""
        both = zip(chats, begun, strict=True)
        keys = [key_of(self.identity, chat, ["choose", start, options]) for chat, start in both]

        report = _onward(progress, len(keys))

        def make(some: list[int]) -> list[list[float]]:
            return self.chat.choose([chats[i] for i in some], [begun[i] for i in some], options, report)

        return self.store.answer(keys, make)


@dataclass
class CachedScores:
    """A model that scores chats, behind a store."""

    scorer: Scores
    store: Store
    identity: str

    def score(self, chats: list, batch_size: int = 64, progress: Progress | None = None) -> list[float]:
        """Score chats in order."""
        keys = [key_of(self.identity, chat, "score") for chat in chats]
        report = _onward(progress, len(keys))
        return self.store.answer(keys, lambda some: self.scorer.score([chats[i] for i in some], batch_size, report))
