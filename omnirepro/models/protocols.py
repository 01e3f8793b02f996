"""What a model is to all that uses it: something that completes chats, or something that scores them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from omnirepro.models.generation import Decoding, Generated


class Chat(Protocol):
    """A model that completes chats: local, or an endpoint."""

    name: str

    def complete(self, chats: list, decoding: Decoding, seed: int, progress: Callable | None) -> list[Generated]: ...


class Scores(Protocol):
    """A model that gives one number a chat."""

    def score(self, chats: list[list[dict]], batch_size: int, progress: Callable | None) -> list[float]: ...
