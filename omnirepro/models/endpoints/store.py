"""What an endpoint has answered, in one sqlite file, and what that cost.

An answer is stored, and on disk, before anything else happens to it: a run that breaks off pays nothing twice when it
is started again. The key of an answer is the sha256 of server and request, media included.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnirepro.models.generation import Generated

_TABLE = """create table if not exists answers (
    key text primary key, model text, text text, tokens integer, finished integer, prompt_tokens integer, at real)"""


@dataclass
class Usage:
    """What was asked and paid. `lost`: attempts of which no answer came back, though the server may have worked.

    `cost` is in the currency of `price`, the price of a million prompt tokens and of a million completion tokens.
    """

    price: tuple[float, float] = (0.0, 0.0)
    answered: int = 0
    cached: int = 0
    retried: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def cost(self) -> float:
        return (self.prompt_tokens * self.price[0] + self.completion_tokens * self.price[1]) / 1e6

    def paid(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one answer."""
        self.answered += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def __str__(self) -> str:
        return (
            f"{self.answered} answers ({self.prompt_tokens} + {self.completion_tokens} tokens, cost {self.cost:.4f}), "
            f"{self.cached} from the cache, {self.retried} retries, {self.lost} answers lost on the way"
        )


class Store:
    """Answers by key; kept in memory where `path` is None. One object serves one thread."""

    def __init__(self, path: str | Path | None) -> None:
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._data = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=60)
        self._data.execute("pragma journal_mode=wal")
        self._data.execute(_TABLE)

    def get(self, key: str) -> Generated | None:
        """Return the answer of a key."""
        row = self._data.execute("select text, tokens, finished from answers where key = ?", (key,)).fetchone()
        return row and Generated(row[0], row[1], bool(row[2]))

    def put(self, key: str, model: str, made: Generated, prompt_tokens: int) -> None:
        """Write an answer; it is on disk when this returns."""
        row = (key, model, made.text, made.tokens, made.finished, prompt_tokens, time.time())
        self._data.execute("insert or replace into answers values (?, ?, ?, ?, ?, ?, ?)", row)

    def close(self) -> None:
        self._data.close()


def key_of(url: str, body: dict[str, Any]) -> str:
    """Return the name of a request: equal for equal requests to one server."""
    return hashlib.sha256(json.dumps([url, body], sort_keys=True).encode()).hexdigest()
