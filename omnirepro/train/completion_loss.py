"""The loss on the tokens of answers alone, without computing what no answer reads.

Consumes batches of encoded conversations; produces the mean cross-entropy in nats a token. Answers are a fifth of all
tokens, so the vocabulary's head and most of the last layer are spared for the others; the loss and every gradient stay
what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}  # of a decoder that can be spared


class OnAnswers:
    """Mixed into a Trainer: its loss is that of the answers, a mean over the tokens of all passes and processes."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        answers = (inputs["labels"][:, 1:] != -100).sum()
        whole = model is self.model and not self.args.gradient_checkpointing
        loss = (sparing_loss if whole else answer_loss)(model, inputs)
        if num_items_in_batch is None:
            return loss
        return loss * answers / num_items_in_batch * self.accelerator.num_processes


def answer_loss(model, batch: dict):
    """Return the mean cross-entropy of the answers' tokens, a fifth of all; they alone pass the vocabulary's head.

    Any batch will do, with a mask of its own too, and a model within the wrapper of several processes.
    """
    import torch

    following = _following(batch.pop("labels"))
    answered = following != -100
    head = getattr(model, "module", model).get_output_embeddings()
    with _hooked([head.register_forward_pre_hook(_picking(answered))]):
        logits = model(**batch, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float(), following[answered])


def sparing_loss(model, batch: dict):
    """Return `answer_loss` in less time, for rows padded on the right; not with recomputed activations or a wrapper.

    Of the last layer, the part behind its attention is computed for the answers' tokens alone, zeros stand elsewhere.
    Padding needs no mask: it stands behind every token that is learned, and the causal mask hides what is behind.
    """
    answered = _following(batch["labels"]) != -100
    layer = list(getattr(model.get_decoder(), "layers", [None]))[-1]
    if layer is None or {n for n, _ in layer.named_children()} != LAYER or not hasattr(layer.mlp, "down_proj"):
        return answer_loss(model, batch)  # a decoder of another build

    def spread(_, inputs, output):
        whole = output.new_zeros(*answered.shape, output.shape[-1])
        whole[answered] = output
        return whole

    attended = layer.self_attn.o_proj
    hooks = [m.register_forward_pre_hook(_picking(answered)) for m in (attended, layer.post_attention_layernorm)]
    hooks += [module.register_forward_hook(spread) for module in (attended, layer.mlp)]
    with _hooked(hooks):
        padding = "attention_mask" if batch["attention_mask"].ndim == 2 else None
        return answer_loss(model, {k: v for k, v in batch.items() if k != padding})


def _following(labels):
    """Return the label that each token is to predict, (B, L)."""
    import torch

    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100)


def _picking(answered):
    return lambda _, inputs: (inputs[0][answered],)


@contextmanager
def _hooked(hooks: Iterable) -> Iterator[None]:
    """Remove hooks at the end, whatever happens."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
