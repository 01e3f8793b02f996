"""An omni model around a released language model: towers that speak its words, then reading what they say.

Consumes a language model of the Llama family and scenes of the embedded world; produces `strong`, a Thinker of its
weights. First the towers alone learn, without the language model, to give for each tile of a picture, pair of frames
or beep the sum of its own embeddings of the words that name what is there. Then LoRA on the language model learns from
captions and one-word answers to read these sums, and is merged.

Departure from released omni models, which train towers through the language model: at its size that is beyond a CPU.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from omnirepro.data import Part, media
from omnirepro.kit.run import Run
from omnirepro.models.loading import point_to
from omnirepro.models.processing import OmniProcessor, collate_media
from omnirepro.models.towers import remember
from omnirepro.toyworld.looks import TURNS
from omnirepro.toyworld.pretraining.gate import gate
from omnirepro.toyworld.pretraining.graft import graft
from omnirepro.toyworld.pretraining.loop import Pretrainer
from omnirepro.toyworld.pretraining.trainer import Pool, Trainer, loss_table, rendered, save
from omnirepro.toyworld.scenes import APART, BEEP, COLORS, PLACES, RATE, SIDE, Scene
from omnirepro.train.common import LANGUAGE_LAYERS

SEEN = ("image", "video", "audio", "views3d")
TOWERS = (("image", "views3d"), ("video",), ("audio",))  # what is encoded together
EACH = 16  # scenes of each in a step of the towers
READING = {"caption": 0.5, "short": 0.5}  # shares of the batches
SHARES = {"caption": dict.fromkeys(SEEN, 1), "short": dict.fromkeys((*SEEN, "text"), 1)}  # of conversations in turn
TOKEN = 0.04  # seconds of sound


def words(scene: Scene, part: Part) -> list[str]:
    """Return what each token of a medium is to say, in the order of its tokens; "" where nothing is."""
    return {"image": _image, "video": _video, "audio": _audio, "views3d": _solid}[scene.modality](scene, part)


def _image(scene: Scene, part: Part) -> list[str]:
    said = {place: f"{color} {shape} {place}" for color, shape, place in scene.objects}
    return [said.get(place, "") for place in PLACES]


def _solid(scene: Scene, part: Part) -> list[str]:
    """Name the sides where they show most: a sum has no order, and one token could not tell whose color is whose."""
    ((color, shape),), (side, thickness) = scene.objects, scene.extra
    return [f"{side} sides" if abs(turn) > 40 else f"{thickness} {color} {shape}" for turn in TURNS]


def _video(scene: Scene, part: Part) -> list[str]:
    """Name an object where most of it lies; each pair of frames by itself."""
    frames, _ = media.load_video(part.path)
    names = [f"{' '.join(scene.objects[0])} moving {' '.join(scene.extra)}", f"still {' '.join(scene.objects[1])}"]
    said = []
    for pair in frames.reshape(-1, 2, SIDE, SIDE, 3):
        tiles = np.stack([_tiles(mask) for mask in _covered(pair, [color for color, _ in scene.objects])])
        where = tiles >= 0.4 * tiles.sum(1, keepdims=True)
        said += [" ".join(n for n, there in zip(names, tile, strict=True) if there) for tile in where.T]
    return said


def _covered(frames: np.ndarray, colors: list[str]) -> list[np.ndarray]:
    """Return for each color the share (H, W) of the frames in which a pixel has it, as bright as beside the others."""
    lengths, wanted = np.linalg.norm(frames.astype(float), axis=-1), [np.asarray(COLORS[color]) for color in colors]
    norms = [np.linalg.norm(color) for color in wanted]
    least = [0.8 * lengths.max() * norm / max(norms) for norm in norms]
    alike = [frames @ color / (lengths * norm + 1e-6) > 0.97 for color, norm in zip(wanted, norms, strict=True)]
    return [(same & (lengths > bright)).mean(0) for same, bright in zip(alike, least, strict=True)]


def _tiles(mask: np.ndarray) -> np.ndarray:
    return mask.reshape(2, SIDE // 2, 2, SIDE // 2).sum((1, 3)).ravel()


def _audio(scene: Scene, part: Part) -> list[str]:
    """Name a beep at its middle."""
    wave = abs(media.load_audio(part.path))
    start = np.flatnonzero(wave > 0.3 * wave.max())[0] / RATE
    said = [""] * round(len(wave) / RATE / TOKEN)
    for i, pitch in enumerate(scene.objects):
        said[int((start + APART * i + BEEP / 2) / TOKEN)] = f"{pitch} {scene.extra[0]}"
    return said


def graft_backbone(run: Run) -> None:
    """Make the omni model and write it with the towers' errors, its losses and what it answers at the gate."""
    from peft import LoraConfig, get_peft_model

    p = run.section("backbone")
    with rendered(run) as (pool, held_out):
        model, processor = graft(p["core"])
        model.to(run.device)
        errors = TowerTrainer(model, processor, pool, run).fit(p["tower_steps"], "towers")
        lora = LoraConfig(r=p["core_rank"], lora_alpha=4 * p["core_rank"], target_modules=LANGUAGE_LAYERS)
        tuned = get_peft_model(remember(model), lora)
        reader = ReadingTrainer(tuned, processor, pool, run, p["steps"], p["core_lr"])
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

    def __init__(self, model, processor: OmniProcessor, pool: Pool, run: Run):
        import torch

        p, towers = run.section("backbone"), {"visual": model.model.visual, "audio_tower": model.model.audio_tower}
        super().__init__(torch.nn.ModuleDict(towers), processor, run, p["tower_steps"], p["lr"])
        self.thinker, self.pool = model, {kind: [(part, words(s, part)) for s, part in pool[kind]] for kind in SEEN}
        table = model.get_input_embeddings().weight.detach()
        self.scale = table.std()
        self.said = lru_cache(None)(lambda text: table[self._ids(text)].sum(0))

    def _ids(self, text: str) -> list[int]:
        return self.processor.tokenizer(f" {text}", add_special_tokens=False).input_ids if text else []

    def _loss(self, step: int):
        rng = np.random.default_rng([self.run.seed, step, 5])
        shown = [self.pool[kind][int(i)] for kind in SEEN for i in rng.integers(len(self.pool[kind]), size=EACH)]
        return sum(self._error([row for row in shown if row[0].type in kinds]) for kinds in TOWERS) / len(TOWERS)

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

    shares = SHARES

    def _optimizers(self, trained: dict) -> list:
        import torch

        return [torch.optim.AdamW(trained.values(), lr=self.lr, weight_decay=0.0)]

    def _phase(self, rng: np.random.Generator, step: int) -> str:
        return str(rng.choice(tuple(READING), p=tuple(READING.values())))
