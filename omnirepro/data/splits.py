"""Splits that share no content: a picture, film, sound or text, or a declared cluster, belongs to one of them.

Consumes prompts; produces the group of each (those that share content, directly or through others) and its split, and
raises where splits overlap.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from omnirepro.data.files import RunError
from omnirepro.data.schema import Prompt, text_of


def content_of(prompt: Prompt) -> set[str]:
    """Return what no two splits may share: every medium by its bytes, the text where there is none, the cluster."""
    shared = {part.fingerprint() for part in prompt.parts if part.type != "text"}
    if not shared:
        words = " ".join(text_of(prompt.parts).split()).casefold()
        shared = {hashlib.sha256(words.encode()).hexdigest()}
    return shared | ({f"cluster {prompt.cluster}"} if prompt.cluster else set())


def content_groups(prompts: Sequence[Prompt]) -> list[str]:
    """Return the group of each prompt: equal for those that share content, directly or through others."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = [sorted(content_of(prompt)) for prompt in prompts]
    for first, *others in keys:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    return [root(first) for first, *_ in keys]


def divided(groups: Sequence[str], shares: Mapping[str, float], rest: str = "train") -> dict[str, str]:
    """Return the split of each group: in the order of a hash, each split of `shares` takes whole groups to its share.

    A share above 0 is at least one group, while there are any; what is left is `rest`'s.
    """
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: hashlib.sha256(group.encode()).digest())
    found = {}
    for split, share in shares.items():
        wanted = max(1, round(share * len(groups))) if share else 0
        while order and wanted > 0:
            found[order[0]] = split
            wanted -= sizes[order.pop(0)]
    return found | dict.fromkeys(order, rest)


def check_disjoint(splits: Mapping[str, Sequence[Prompt]]) -> dict[str, int]:
    """Return the number of prompts in each split; raises `RunError` where two share content or a cluster."""
    owner: dict[str, str] = {}
    for name, prompts in splits.items():
        for key in {key for prompt in prompts for key in content_of(prompt) | {prompt.fingerprint()}}:
            other = owner.setdefault(key, name)
            if other != name:
                raise RunError(
                    f"splits {other} and {name} share a prompt: results on {name} would be inflated; draw other "
                    "prompts: run notebook 01 with another seed, or take the shared rows out of one of them"
                )
    return {name: len(prompts) for name, prompts in splits.items()}
