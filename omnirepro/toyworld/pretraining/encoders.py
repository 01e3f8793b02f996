"""An omni model around a released language model: towers that speak its words, then reading what they say.

Consumes a language model of the Llama family and scenes of the embedded world; produces `strong`, a Thinker of its
weights. First the towers alone learn, without the language model, to give for each tile of a picture, pair of frames
or beep the sum of its own embeddings of the words that name what is there. Then LoRA on the language model learns from
captions and one-word answers to read these sums, and is merged.

Departure from released omni models, which train towers through the language model: at its size that is beyond a CPU.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import numpy as np

from omnirepro.data import Part, media
from omnirepro.models.loading import point_to
from omnirepro.models.processing import OmniProcessor, collate_media, limits_in
from omnirepro.models.towers import remember
from omnirepro.toyworld.looks import TURNS
from omnirepro.toyworld.nouns import COLORS, PLACES
from omnirepro.toyworld.pretraining import skills
from omnirepro.toyworld.pretraining.gate import gate
from omnirepro.toyworld.pretraining.graft import graft
from omnirepro.toyworld.pretraining.loop import Pretrainer
from omnirepro.toyworld.pretraining.trainer import Pool, Trainer, loss_table, rendered, save
from omnirepro.toyworld.scenes import APART, BEEP, RATE, SIDE, Scene
from omnirepro.train.common import lora
from omnirepro.train.run import Run

SEEN = ("image", "video", "audio", "views3d")
TOWERS = (("image", "views3d"), ("video",), ("audio",))  # what is encoded together
EACH = 16  # scenes of each in a step of the towers
TURNS_OF = {"caption": dict.fromkeys(SEEN, 1), "short": dict.fromkeys((*SEEN, "text"), 1)}  # conversations in turn
TOKEN = 0.04  # seconds of sound


def words(scene: Scene, part: Part) -> list[str]:
    """Return what each token of a medium is to say, in the order of its tokens; "" where nothing is.

    A solid's sides are named where they show most: a sum has no order, and one token could not tell whose color is
    whose. A beep is named at its middle.
    """
    if scene.modality == "image":
        said = {place: f"{color} {shape} {place}" for color, shape, place in scene.objects}
        return [said.get(place, "") for place in PLACES]
    if scene.modality == "views3d":
        solid = "{thickness} {color} {shape}".format(**scene.named(0))
        return [f"{scene.extra[0]} sides" if abs(turn) > 40 else solid for turn in TURNS]
    if scene.modality == "video":
        return _words_of_film(scene, media.load_video(part.path)[0])
    wave = abs(media.load_audio(part.path))
    start = np.flatnonzero(wave > 0.3 * wave.max())[0] / RATE
    said = [""] * round(len(wave) / RATE / TOKEN)
    for i, pitch in enumerate(scene.objects):
        said[int((start + APART * i + BEEP / 2) / TOKEN)] = f"{pitch} {scene.extra[0]}"
    return said


def _words_of_film(scene: Scene, frames: np.ndarray) -> list[str]:
    """Name an object in the tiles where most of it lies; each pair of frames (T, H, W, 3) by itself.

    A pixel is an object's where it has its color, as bright as it would be beside the others.
    """
    names = [f"{' '.join(scene.objects[0])} moving {' '.join(scene.extra)}", f"still {' '.join(scene.objects[1])}"]
    colors = [np.asarray(COLORS[color]) for color, _ in scene.objects]
    norms = [np.linalg.norm(color) for color in colors]
    said = []
    for pair in frames.reshape(-1, 2, SIDE, SIDE, 3):
        lengths = np.linalg.norm(pair.astype(float), axis=-1)
        shares = []
        for color, norm in zip(colors, norms, strict=True):
            alike = pair @ color / (lengths * norm + 1e-6) > 0.97
            covered = (alike & (lengths > 0.8 * lengths.max() * norm / max(norms))).mean(0)
            shares.append(covered.reshape(2, SIDE // 2, 2, SIDE // 2).sum((1, 3)).ravel())
        tiles = np.stack(shares)
        where = tiles >= 0.4 * tiles.sum(1, keepdims=True)
        said += [" ".join(n for n, there in zip(names, tile, strict=True) if there) for tile in where.T]
    return said


def graft_backbone(run: Run) -> None:
    """Make the omni model and write it with the towers' errors, its losses and what it answers at the gate."""
    from peft import get_peft_model

    p = run.section("backbone")
    with rendered(run) as (pool, held_out):
        model, processor = graft(p["core"])
        processor.limit(limits_in(run.section("media")))
        model.to(run.device)
        errors = TowerTrainer(model, processor, pool, run).fit(p["tower_steps"], "towers")
        tuned = get_peft_model(remember(model), lora({"lora_rank": p["core_rank"], "lora_alpha": 4 * p["core_rank"]}))
        reader = ReadingTrainer(tuned, processor, pool, run, p["steps"], p["core_lr"], early=1.0)
        losses = reader.fit(p["steps"], "reading")
        model = tuned.merge_and_unload()
        run.write("gate.csv", gate(model, processor, held_out, run.seed).to_csv(index=False))
    run.write("strong", lambda f: save(model, processor, f))
    for name in ("generator", "weak"):
        run.write(name, lambda f: point_to("../strong", f))
    run.write("towers.csv", loss_table({"towers": errors}))
    run.write("loss.csv", loss_table({"reading": losses}))


class TowerTrainer(Pretrainer):
    """Teaches both towers to say words: mean squared error to sums of the words' embeddings, in their variance."""

    sharing = nullcontext  # one pass after another

    def __init__(self, model, processor: OmniProcessor, pool: Pool, run: Run):
        import torch

        p = run.section("backbone")
        towers = {"visual": model.model.visual, "audio_tower": model.model.audio_tower}
        super().__init__(torch.nn.ModuleDict(towers), processor, run, p["tower_steps"], p["lr"])
        self.thinker = model
        self.pool = {kind: [(part, words(scene, part)) for scene, part in pool[kind]] for kind in SEEN}
        table = model.get_input_embeddings().weight.detach()
        self.scale = table.std()
        tokenizer = processor.tokenizer

        @cache
        def said(text: str):
            return table[tokenizer(f" {text}", add_special_tokens=False).input_ids if text else []].sum(0)

        self.said = said

    def _backward(self, step: int) -> float:
        rng = np.random.default_rng([self.run.seed, step, 5])
        shown = [self.pool[kind][int(i)] for kind in SEEN for i in rng.integers(len(self.pool[kind]), size=EACH)]
        self.model.train()
        self.model.zero_grad()
        errors = [self._error([row for row in shown if row[0].type in kinds]) for kinds in TOWERS]
        loss = sum(errors) / len(TOWERS)
        loss.backward()
        return loss.item()

    def _error(self, shown: list[tuple[Part, list[str]]]):
        """Return the mean squared error of one tower's tokens."""
        import torch

        media_ = collate_media([self.processor.features(part) for part, _ in shown])
        batch = {k: v.to(self.thinker.device) for k, v in media_.items() if k != "video_second_per_grid"}
        wanted = torch.stack([self.said(text) for _, said in shown for text in said])
        if "input_features" in batch:
            made = self.thinker.get_audio_features(**batch).last_hidden_state
        elif "pixel_values" in batch:
            made = torch.cat(self.thinker.get_image_features(**batch).pooler_output)
        else:
            made = torch.cat(self.thinker.get_video_features(**batch).pooler_output)
        return (((made - wanted) / self.scale) ** 2).mean()


class ReadingTrainer(Trainer):
    """Teaches LoRA matrices, with AdamW, captions and one-word answers."""

    turns = TURNS_OF
    first = skills.CURRICULUM["reading"]

    def _optimizers(self, trained: dict) -> list:
        import torch

        return [torch.optim.AdamW(trained.values(), lr=self.lr, weight_decay=0.0)]
