"""TRL's GRPOTrainer for prompts with images, videos, audio and text mixed in one batch.

Stock TRL carries images alone, and rebuilds its inputs from them. Here a prompt of the dataset is a key into encoded
`Example`s; the completions carry their example's number through shuffling and splitting, and every forward pass
(policy, old policy, reference) takes the media of its own rows. Media are prepared with the batch, in the workers of
the data loader where there are some, and let go with the next one.

Towers that remember (models/towers.py) encode each medium once, not once a completion. The language model, too, reads
a prompt once for all its completions in a chunk, and gradients pass through that cache; not so with gradient
checkpointing, which allows no cache, nor on several processes, where shards are gathered by the wrapped forward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate.utils import gather_object
from transformers import DynamicCache
from trl import GRPOTrainer

from omnirepro.models.generation import last_logits
from omnirepro.models.processing import Example, OmniProcessor, collate_media


class OmniGRPOTrainer(GRPOTrainer):
    """GRPOTrainer over encoded examples: the dataset's column `prompt` holds keys of `examples`.

    `scored(step, prompts, texts, finished, rewards)` is called once a generated batch in every process, with the
    rows of all of them; `rewards` is (rows, reward functions). Placeholders and control tokens are never sampled.
    """

    def __init__(
        self, processor: OmniProcessor, examples: dict[str, Example], scored: Callable | None = None, *, args, **kwargs
    ):
        self.examples = list(examples.values())
        self.scored = scored
        self.number = {key: i for i, key in enumerate(examples)}
        self.batch: dict[int, Example] = {}  # the examples of the batch at work by their numbers, media prepared
        args.generation_kwargs = {"suppress_tokens": processor.suppressed_ids or None} | (args.generation_kwargs or {})
        super().__init__(args=args, processing_class=processor.tokenizer, **kwargs)
        self.data_collator = self._with_media

    def _with_media(self, rows: list[dict]) -> list[dict]:
        """Give every row its example with the media's arrays; rows of one prompt share it."""
        examples = {x["prompt"]: self.examples[self.number[x["prompt"]]] for x in rows}
        made = {key: Example(e.ids, e.labels, [dict(f) for f in e.features]) for key, e in examples.items()}
        return [x | {"example": made[x["prompt"]]} for x in rows]

    def _example(self, row: int) -> Example:
        return self.batch.get(row) or self.examples[row]

    def _tokenize_prompts(self, prompts: list[str]):
        examples = [self._example(self.number[p]) for p in prompts]
        return [e.ids for e in examples], None, collate_media([f for e in examples for f in e.features])

    def _generate_single_turn(self, *args, **kwargs):
        with last_logits(self.accelerator.unwrap_model(self.model)):
            return super()._generate_single_turn(*args, **kwargs)

    def _generate_and_score_completions(self, inputs):
        self.batch = {self.number[x["prompt"]]: x.pop("example") for x in inputs if "example" in x}
        self._rows = torch.tensor([self.number[x["prompt"]] for x in inputs], device=self.accelerator.device)
        return super()._generate_and_score_completions(inputs) | {"example_row": self._rows}

    def _compute_loss(self, model, inputs):
        self._rows = inputs["example_row"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        left = self._rows.tolist()
        alone = self.args.gradient_checkpointing or self.accelerator.num_processes > 1
        begin = input_ids.shape[1] - logits_to_keep - 1  # a prompt's last token predicts its completion's first

        def with_media(input_ids, **inputs):
            """Add the media of the next rows: TRL asks for its chunks in row order."""
            rows = left[: len(input_ids)]
            del left[: len(input_ids)]
            if alone:
                return model(input_ids=input_ids, **inputs, **self._media(rows))
            return self._with_shared_prompts(model, rows, begin, input_ids=input_ids, **inputs)

        score = super()._get_per_token_logps_and_entropies
        return score(with_media, input_ids, attention_mask, logits_to_keep, *args, **kwargs)

    def _with_shared_prompts(self, model, rows, begin, input_ids, attention_mask, labels, **inputs):
        """Score completions whose prompts, the columns before `begin`, are read once for all rows that share them."""
        number = {row: i for i, row in enumerate(dict.fromkeys(rows))}
        at = [rows.index(row) for row in number]
        back = [number[row] for row in rows]
        base = self.accelerator.unwrap_model(model)
        base = getattr(base, "get_base_model", lambda: base)().base_model
        cache = DynamicCache(config=base.config.get_text_config())
        prompts = {"input_ids": input_ids[at, :begin], "attention_mask": attention_mask[at, :begin]}
        base(**prompts, **self._media(number), past_key_values=cache, use_cache=True)
        cache.batch_select_indices(torch.tensor(back, device=input_ids.device))
        positions = None  # a text model counts on from its cache
        if getattr(base, "rope_deltas", None) is not None:  # the Thinker's prompts moved the count, each its own way
            positions = (attention_mask.cumsum(1)[:, begin:] - 1 + base.rope_deltas[back]).expand(3, -1, -1)
        inputs |= {"attention_mask": attention_mask, "position_ids": positions, "past_key_values": cache}
        return model(input_ids=input_ids[:, begin:], labels=labels[:, begin:], **inputs)

    def _media(self, rows) -> dict[str, torch.Tensor]:
        media = collate_media([f for row in rows for f in self._example(row).features])
        return {name: values.to(self.accelerator.device) for name, values in media.items()}

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        finished = [ids[-1] in self.eos_token_ids for ids in completion_ids_list]
        rows = gather_object(list(zip(prompts, completions, finished, strict=True)))
        if self.scored:
            self.scored(self.state.global_step, *map(list, zip(*rows, strict=True)), rewards.tolist())
        return rewards
