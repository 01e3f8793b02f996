"""Scenes of the embedded world: sampled facts, rendered to real PNG, MP4, WAV or text.

Produces a `Scene` (modality and facts, the only truth there is) and its file. Images and frames are 56 x 56
RGB, films four frames at 4 per second in H.264, sounds 0.8 s of 16 kHz mono. Position, size, brightness, pitch
and noise are jittered per scene, so that two scenes with the same facts differ in their pixels and samples.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from omnirepro.toyworld.nouns import COLORS, MODALITIES, MOTIONS, NOUNS, PITCHES, PLACES, SHAPES, SPEEDS, TIMBRES, pick

BEEP = 0.13  # seconds
APART = 0.18  # seconds from the start of one beep to that of the next
SIDE = 56
FRAMES = 4
FPS = 4
RATE = 16_000
SECONDS = 0.8
SUFFIX = {"image": ".png", "views3d": ".png", "video": ".mp4", "audio": ".wav", "text": ".txt"}


@dataclass(frozen=True)
class Scene:
    """Facts of one prompt's medium.

    `objects`: image (color, shape, place) tuples; video (color, shape) of the mover, then of the still one;
    audio pitches in order; one text (name, color, thing, spot, time) tuple; one (color, shape) of a solid (views3d).
    `extra`: video (motion, speed), audio (timbre,), solid (color of the sides, thickness).
    """

    modality: str
    objects: tuple
    extra: tuple = ()

    def key(self) -> str:
        """sha256 of the facts: the unit by which splits are disjoint (jitter does not count)."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def named(self, index: int) -> dict[str, str]:
        """Map the attributes of an object, and those of the whole, to their values."""
        about = MODALITIES[self.modality]
        values = self.objects[index]
        own = zip(about.objects, (values,) if isinstance(values, str) else values, strict=True)
        return dict(own) | dict(zip(about.whole, self.extra, strict=True))


def scene_from(data: dict) -> Scene:
    """Rebuild a scene from its JSON form."""
    objects = tuple(o if isinstance(o, str) else tuple(o) for o in data["objects"])
    return Scene(data["modality"], objects, tuple(data["extra"]))


def sample(modality: str, rng: np.random.Generator) -> Scene:
    """Draw the facts of one scene of a modality."""

    def some(values, n: int) -> list[str]:
        values = tuple(values)
        return [values[i] for i in rng.permutation(len(values))[:n]]

    if modality == "image":
        n = int(rng.choice([1, 2], p=[0.35, 0.65]))
        colors = some(COLORS, n)
        shapes = some(SHAPES, n)
        places = sorted(some(PLACES, n), key=list(PLACES).index)
        return Scene("image", tuple(zip(colors, shapes, places, strict=True)))
    if modality == "video":
        colors = some(COLORS, 2)
        shapes = some(SHAPES, 2)
        return Scene("video", tuple(zip(colors, shapes, strict=True)), (pick(rng, MOTIONS), pick(rng, SPEEDS)))
    if modality == "audio":
        n = int(rng.choice([1, 2, 3, 4], p=[0.08, 0.2, 0.32, 0.4]))
        return Scene("audio", tuple(pick(rng, PITCHES) for _ in range(n)), (pick(rng, TIMBRES),))
    if modality == "views3d":
        color, sides = (list(COLORS)[int(i)] for i in rng.integers(len(COLORS), size=2))
        return Scene("views3d", ((color, pick(rng, SHAPES)),), (sides, pick(rng, NOUNS["thickness"])))
    return Scene("text", (tuple(pick(rng, NOUNS[values]) for values in MODALITIES["text"].objects.values()),))


def count_scenes() -> dict[str, int]:
    """Count the distinct scenes of each modality (facts only, before jitter)."""
    colors = len(COLORS)
    shapes = len(SHAPES)
    image = sum(math.comb(len(PLACES), n) * math.perm(colors, n) * math.perm(shapes, n) for n in (1, 2))
    video = math.perm(colors, 2) * math.perm(shapes, 2) * len(MOTIONS) * len(SPEEDS)
    audio = len(TIMBRES) * sum(len(PITCHES) ** n for n in (1, 2, 3, 4))
    text = math.prod(len(NOUNS[values]) for values in MODALITIES["text"].objects.values())
    return {"image": image, "video": video, "audio": audio, "text": text}


def observations(scene: Scene) -> list[str]:
    """State each object of the scene as evidence would name it; a sound's beeps are one observation."""
    sentences = MODALITIES[scene.modality].observed
    if scene.modality == "audio":
        return [sentences[0].format(pitch=" ".join(scene.objects), timbre=scene.extra[0])]
    return [sentences[-1 if i else 0].format(**scene.named(i)) for i in range(len(scene.objects))]


def passage(scene: Scene) -> str:
    """State the facts of a scene in a sentence; a text scene is nothing else."""
    return " and ".join(observations(scene)) + "."


def render(scene: Scene, rng: np.random.Generator, size: float = 1.0) -> np.ndarray | str:
    """Render to pixels (H, W, 3) or (T, H, W, 3) uint8, samples (N,) float32 in [-1, 1], or text.

    `size` scales the objects of a picture.
    """
    if scene.modality == "image":
        return _render_image(scene, rng, size)
    if scene.modality == "video":
        return _render_video(scene, rng)
    return _render_audio(scene, rng) if scene.modality == "audio" else passage(scene)


def paint(canvas: np.ndarray, color: str, shape: str, y: float, x: float, r: float, light: float) -> None:
    """Paint a shape at (y, x) with radius `r` pixels over a canvas (SIDE, SIDE, 3); its edge is one pixel soft."""
    ys, xs = np.mgrid[:SIDE, :SIDE] + 0.5
    dy = abs(ys - y)
    dx = abs(xs - x)
    if shape == "ring":
        distance = abs(np.hypot(dy, dx) - 0.72 * r) - 0.28 * r
    elif shape == "square":
        distance = np.maximum(dy, dx) - 0.85 * r
    else:
        distance = np.minimum(np.maximum(dy - r, dx - r / 3.2), np.maximum(dx - r, dy - r / 3.2))
    covered = np.clip(0.5 - distance, 0, 1)[..., None]
    canvas[:] = canvas * (1 - covered) + np.asarray(COLORS[color]) * light * covered


def draw_ground(rng: np.random.Generator, tiles=tuple(PLACES)) -> np.ndarray:
    """Return a dark ground with tiles at the given places: lower ones are greener, right ones bluer.

    The tint tells places apart where the language model's rotary positions, made for large pictures, cannot.
    """
    canvas = rng.uniform(10, 30) + rng.normal(0, 2, (SIDE, SIDE, 3))
    half = SIDE // 2
    for row, column in (PLACES[place] for place in tiles):
        tint = (20, 20 + 70 * row, 20 + 70 * column)
        canvas[half * row : half * (row + 1), half * column : half * (column + 1)] += tint
    return canvas


def _render_image(scene: Scene, rng: np.random.Generator, size: float) -> np.ndarray:
    """Lay each object on its tile; were empty places tinted too, a place could be told without finding its object."""
    canvas = draw_ground(rng, [place for _, _, place in scene.objects])
    for color, shape, place in scene.objects:
        row, column = PLACES[place]
        y = 14 + 28 * row + rng.uniform(-2, 2)
        x = 14 + 28 * column + rng.uniform(-2, 2)
        paint(canvas, color, shape, y, x, size * rng.uniform(10, 12), rng.uniform(0.85, 1.0))
    return canvas.clip(0, 255).astype(np.uint8)


def _render_video(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Move the first object along one half of the picture while the second stands in the other half."""
    mover, still = scene.objects
    motion, speed = scene.extra
    dy, dx = MOTIONS[motion]
    lane, other = rng.permutation([14, 42]) + rng.uniform(-2, 2, 2)
    rest = rng.choice([14, 42]) + rng.uniform(-3, 3)
    base = draw_ground(rng)
    radius = rng.uniform(10, 12)
    light = rng.uniform(0.85, 1.0)
    start = 28 + rng.uniform(-3, 3)
    frames = []
    for t in range(FRAMES):
        frame = base.copy()
        travelled = start + (dy + dx) * SPEEDS[speed] * (t - (FRAMES - 1) / 2)
        paint(frame, *still, *((other, rest) if dx else (rest, other)), radius, light)
        paint(frame, *mover, *((lane, travelled) if dx else (travelled, lane)), radius, light)
        frames.append(frame)
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def _render_audio(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    wave = rng.normal(0, 0.004, int(RATE * SECONDS))
    time = np.arange(int(BEEP * RATE)) / RATE
    start = rng.uniform(0.02, 0.06)
    for i, pitch in enumerate(scene.objects):
        tone = np.sin(2 * np.pi * PITCHES[pitch] * rng.uniform(0.94, 1.06) * time)
        if scene.extra == ("buzzy",):
            tone = np.sign(tone) * 0.6
        elif scene.extra == ("noisy",):
            tone = 0.6 * tone + rng.normal(0, 0.25, len(time))
        at = int((start + APART * i) * RATE)
        wave[at : at + len(time)] += 0.4 * rng.uniform(0.8, 1.0) * tone * np.hanning(len(time)) ** 0.5
    return wave.clip(-1, 1).astype(np.float32)


def save(scene: Scene, media: np.ndarray | str, stem: Path) -> Path:
    """Write rendered media beside `stem` with the modality's suffix and return the path."""
    path = stem.with_suffix(SUFFIX[scene.modality])
    path.parent.mkdir(parents=True, exist_ok=True)
    if scene.modality == "audio":
        import soundfile

        soundfile.write(path, media, RATE, subtype="PCM_16")
    elif scene.modality == "video":
        write_mp4(path, media)
    elif scene.modality == "text":
        path.write_text(media + "\n", encoding="utf-8")
    else:
        from PIL import Image

        Image.fromarray(media).save(path)
    return path


def write_mp4(path, frames: np.ndarray, fps: int = FPS) -> None:
    """Encode frames (T, H, W, 3) uint8 as H.264, near lossless; `path` may be a file object."""
    import av

    with av.open(path if hasattr(path, "write") else str(path), "w", format="mp4") as out:
        options = {"crf": "8", "preset": "ultrafast", "threads": "1"}
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
