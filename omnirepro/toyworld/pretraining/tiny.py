"""The embedded backbone: a Qwen2.5-Omni Thinker of about 1.5 M parameters and its own tokenizer.

Produces an untrained `Qwen2_5OmniThinkerForConditionalGeneration` (same classes, forward and files as the 3B and 7B
checkpoints) and a byte-level tokenizer in which fixed fragments of the judgement are single tokens.

Departures from the released checkpoints: sizes; matrices start at normal(0, 0.04), since 0.02 does not learn at this
width; a terse chat template of one token a role.
"""

from __future__ import annotations

from collections.abc import Iterable

from omnirepro.toyworld.nouns import read

CONFIG = read("tiny.yaml")
ROLES = tuple(CONFIG["roles"])
SPECIAL = CONFIG["special"]
CHAT_TEMPLATE = CONFIG["chat_template"]
STD = CONFIG["text"]["initializer_range"]


def build_tokenizer(corpus: Iterable[str], fragments: Iterable[str], vocabulary: int = 768):
    """Train a byte-level BPE tokenizer on `corpus`, with each of `fragments` as one token.

    Any text is representable; digits stay single. Returns a `PreTrainedTokenizerFast` with the chat template.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(r" ?[\p{L}\-]+|\p{N}| ?[^\s\p{L}\p{N}]+|\s"), "isolated")
    whole_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, whole_bytes])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(corpus, trainer)
    bpe.add_special_tokens([*SPECIAL.values(), *ROLES])
    bpe.add_tokens([AddedToken(f, normalized=False) for f in fragments])
    return with_media_tokens(bpe, CHAT_TEMPLATE)


def with_media_tokens(backend, template: str):
    """Return a `PreTrainedTokenizerFast` around a backend, with the Thinker's special tokens and a chat template."""
    from transformers import PreTrainedTokenizerFast

    ends = {k: SPECIAL[k] for k in ("eos_token", "pad_token")}
    extra = {k: v for k, v in SPECIAL.items() if k not in ends}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, extra_special_tokens=extra, clean_up_tokenization_spaces=False, **ends
    )
    tokenizer.chat_template = template
    return tokenizer


def build_backbone(tokenizer, hidden: int = 128, layers: int = 3, mlp: int = 384, tower: int = 96, depth: int = 2):
    """Create the untrained Thinker for a tokenizer; widths in units, depths in layers."""
    from transformers import Qwen2_5OmniThinkerForConditionalGeneration

    text = CONFIG["text"] | {"vocab_size": len(tokenizer), "hidden_size": hidden, "num_hidden_layers": layers}
    text |= {"num_attention_heads": hidden // 32, "intermediate_size": mlp}
    model = Qwen2_5OmniThinkerForConditionalGeneration(configure(tokenizer, text, tower, depth))
    initialise(model, STD)
    return model


def configure(tokenizer, text: dict, tower: int, depth: int):
    """Return the Thinker's configuration for a language model's settings and towers of that width and depth."""
    from transformers import Qwen2_5OmniThinkerConfig

    ids = {}
    for name, token in SPECIAL.items():
        ids[f"{name.replace('_bos_', '_start_').replace('_eos_', '_end_')}_id"] = tokenizer.convert_tokens_to_ids(token)
    vision = CONFIG["vision"] | {"depth": depth, "hidden_size": tower, "intermediate_size": 2 * tower}
    vision |= {"out_hidden_size": text["hidden_size"], "fullatt_block_indexes": list(range(depth))}
    audio = CONFIG["audio"] | {"encoder_layers": depth, "d_model": tower, "encoder_ffn_dim": 2 * tower}
    audio["output_dim"] = text["hidden_size"]
    configs = {"vision_config": vision, "audio_config": audio, "text_config": text}
    return Qwen2_5OmniThinkerConfig(**configs, **ids, **CONFIG["thinker"])


def initialise(model, std: float) -> None:
    """Draw every matrix from normal(0, std), whose scale decides whether a narrow model learns; set how answers end."""
    import torch

    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "positional" not in name:
            torch.nn.init.normal_(weight, 0.0, std)
    for name in ("eos_token_id", "pad_token_id"):
        setattr(model.generation_config, name, getattr(model.config, name))
