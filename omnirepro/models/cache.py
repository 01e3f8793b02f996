"""Answers kept by content in sqlite, so that no deterministic call is made twice, not even after a kill.

Wraps anything that completes chats, and anything that scores them; produces the same answers. The key is everything
that the answer hangs on: the model (`identity`, such as its files' sha256), the chat with its media's content, and
the decoding. A sampled completion is kept only where the model draws it `by_content`, so that it is deterministic too;
any other is passed on and never kept. Calls are made in groups of `size` and stored after
each, so that a kill loses one group at most.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnirepro.models.generation import Decoding, Generated
from omnirepro.models.protocols import Chat, Scores

Progress = Callable[[int, int, float], None]


@dataclass
class Store:
    """A table of answers in one file; `hits` and `calls` count what was found and what had to be made."""

    path: Path
    size: int = 512
    hits: int = 0
    calls: int = 0

    def answer(self, keys: Sequence[str], make: Callable[[list[int]], list[Any]]) -> list[Any]:
        """Return an answer a key; `make` gets the indices of those that are not known, each distinct key once."""
        with closing(sqlite3.connect(self.path)) as base:
            base.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT)")
            known = self._read(base, keys)
            missing = list({k: i for i, k in enumerate(keys) if k not in known}.values())
            self.hits, self.calls = self.hits + len(keys) - len(missing), self.calls + len(missing)
            for at in range(0, len(missing), self.size):
                some = missing[at : at + self.size]
                made = {keys[i]: value for i, value in zip(some, make(some), strict=True)}
                with base:  # one transaction a group: all of it is kept, or nothing
                    rows = [(k, json.dumps(v)) for k, v in made.items()]
                    base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
                known |= made
        return [known[key] for key in keys]

    @staticmethod
    def _read(base: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Any]:
        found = (base.execute("SELECT value FROM answers WHERE key = ?", (k,)).fetchone() for k in keys)
        return {k: json.loads(row[0]) for k, row in zip(keys, found, strict=True) if row}


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

        def make(some: list[int]) -> list[dict]:
            return [asdict(g) for g in self.chat.complete([chats[i] for i in some], decoding, seed, progress)]

        return [Generated(**value) for value in self.store.answer(keys, make)]


@dataclass
class CachedScores:
    """A model that scores chats, behind a store."""

    scorer: Scores
    store: Store
    identity: str

    def score(self, chats: list, batch_size: int = 64, progress: Progress | None = None) -> list[float]:
        """Score chats in order."""
        keys = [key_of(self.identity, chat, "score") for chat in chats]
        return self.store.answer(keys, lambda some: self.scorer.score([chats[i] for i in some], batch_size, progress))


def key_of(identity: str, chat: list[dict], how: Any) -> str:
    """Return the sha256 of a model's identity, a chat by its content (media by their bytes), and the way of asking."""
    said = [[m["role"], [[p.type, p.fingerprint()] for p in m["parts"]]] for m in chat]
    return hashlib.sha256(json.dumps([identity, said, how], sort_keys=True).encode()).hexdigest()
