"""New words for an embedded model's tokenizer, whose first vocabulary covers the skills of notebook 00 alone."""

from __future__ import annotations

from collections.abc import Iterable

from omnirepro.models.processing import OmniProcessor


def spoken(texts: Iterable[str], shortest: int = 1) -> list[str]:
    """List the words of `texts` that have at least `shortest` letters, each with and without a space before it."""
    found = sorted({word.strip(",") for text in texts for word in text.split()})
    return [f"{lead}{word}" for word in found for lead in ("", " ") if len(word) >= shortest]


def extend_tokens(model, processor: OmniProcessor, tags: Iterable[str], words: Iterable[str] = ()) -> OmniProcessor:
    """Make each tag and word one token, the embeddings of `model` with it; returns a processor that knows them.

    Words are embedded as the mean of their former pieces; tags at random, since their means would hardly differ. Where
    a word is new at a line's start but was one piece behind a space, that form is added too, with the embedding it had:
    else the new word would be cut out of it, and the model would no longer read what it knows.
    """
    import torch
    from tokenizers import AddedToken

    tokenizer, tags, words = processor.tokenizer, list(tags), list(words)
    pieces = {w: tokenizer(w, add_special_tokens=False)["input_ids"] for w in dict.fromkeys([*tags, *words])}
    new = {w: ids for w, ids in pieces.items() if len(ids) > 1}
    new |= {w: pieces[w] for w in words if w.startswith(" ") and w.strip() in new}
    tokenizer.add_tokens([AddedToken(w, normalized=False) for w in new])
    table = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    known = set(tags)
    with torch.no_grad():
        for word, ids in new.items():
            made = torch.randn_like(table[0]) * table.std() if word in known else table[ids].mean(0)
            model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(word)] = made
    return OmniProcessor(tokenizer, processor.vision, processor.max_frames)
