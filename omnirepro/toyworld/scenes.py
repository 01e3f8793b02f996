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

COLORS = {
    "red": (230, 50, 45),
    "green": (50, 190, 70),
    "blue": (60, 100, 245),
    "yellow": (245, 220, 50),
    "white": (245, 245, 245),
    "purple": (180, 60, 200),
}
SHAPES = ("ring", "square", "cross")
PLACES = {"top-left": (0, 0), "top-right": (0, 1), "bottom-left": (1, 0), "bottom-right": (1, 1)}
MOTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
SPEEDS = {"slow": 4, "fast": 10}
THICKNESS = {"thin": 0.15, "thick": 0.5}  # of a solid, half of it, in units of its radius
PITCHES = {"low": 300.0, "mid": 800.0, "high": 2000.0}
TIMBRES = ("pure", "buzzy", "noisy")
NAMES = ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal")
THINGS = ("ball", "cup", "hat", "key", "lamp", "book", "coin", "drum")
SPOTS = ("park", "barn", "shop", "boat", "cave", "yard")
TIMES = ("dawn", "noon", "dusk", "night")
BEEP, APART = 0.13, 0.18  # seconds: a beep, and from the start of one to that of the next
SIDE, FRAMES, FPS, RATE, SECONDS = 56, 4, 4, 16_000, 0.8
SUFFIX = {"image": ".png", "video": ".mp4", "audio": ".wav", "text": ".txt"}


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


def scene_from(data: dict) -> Scene:
    """Rebuild a scene from its JSON form."""
    return Scene(
        data["modality"], tuple(o if isinstance(o, str) else tuple(o) for o in data["objects"]), tuple(data["extra"])
    )


def sample(modality: str, rng: np.random.Generator) -> Scene:
    """Draw the facts of one scene of a modality."""
    return {"image": _sample_image, "video": _sample_video, "audio": _sample_audio, "text": _sample_text}[modality](rng)


def _pick(rng: np.random.Generator, values) -> str:
    values = tuple(values)
    return values[int(rng.integers(len(values)))]


def _draw(rng: np.random.Generator, values, n: int) -> list[str]:
    values = tuple(values)
    return [values[i] for i in rng.permutation(len(values))[:n]]


def _sample_image(rng: np.random.Generator) -> Scene:
    n = int(rng.choice([1, 2], p=[0.35, 0.65]))
    colors, shapes = _draw(rng, COLORS, n), _draw(rng, SHAPES, n)
    places = sorted(_draw(rng, PLACES, n), key=list(PLACES).index)
    return Scene("image", tuple(zip(colors, shapes, places, strict=True)))


def _sample_video(rng: np.random.Generator) -> Scene:
    colors, shapes = _draw(rng, COLORS, 2), _draw(rng, SHAPES, 2)
    return Scene("video", tuple(zip(colors, shapes, strict=True)), (_pick(rng, MOTIONS), _pick(rng, SPEEDS)))


def _sample_audio(rng: np.random.Generator) -> Scene:
    n = int(rng.choice([1, 2, 3, 4], p=[0.08, 0.2, 0.32, 0.4]))
    return Scene("audio", tuple(_pick(rng, PITCHES) for _ in range(n)), (_pick(rng, TIMBRES),))


def _sample_text(rng: np.random.Generator) -> Scene:
    return Scene("text", (tuple(_pick(rng, values) for values in (NAMES, COLORS, THINGS, SPOTS, TIMES)),))


def count_scenes() -> dict[str, int]:
    """Count the distinct scenes of each modality (facts only, before jitter)."""
    c, s, p = len(COLORS), len(SHAPES), len(PLACES)
    image = sum(math.comb(p, n) * math.perm(c, n) * math.perm(s, n) for n in (1, 2))
    video = math.perm(c, 2) * math.perm(s, 2) * len(MOTIONS) * len(SPEEDS)
    audio = len(TIMBRES) * sum(len(PITCHES) ** n for n in (1, 2, 3, 4))
    text = math.prod(len(v) for v in (NAMES, COLORS, THINGS, SPOTS, TIMES))
    return {"image": image, "video": video, "audio": audio, "text": text}


def passage(scene: Scene) -> str:
    """State the facts of a text scene in a sentence."""
    name, color, thing, spot, time = scene.objects[0]
    return f"{name} has a {color} {thing} in the {spot} at {time}."


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray | str:
    """Render to pixels (H, W, 3) or (T, H, W, 3) uint8, samples (N,) float32 in [-1, 1], or text."""
    if scene.modality == "image":
        return _render_image(scene, rng)
    if scene.modality == "video":
        return _render_video(scene, rng)
    return _render_audio(scene, rng) if scene.modality == "audio" else passage(scene)


def _shape_mask(shape: str, y: float, x: float, r: float) -> np.ndarray:
    """Return coverage (SIDE, SIDE) in [0, 1] of a shape at (y, x) with radius r pixels, edge one pixel soft."""
    ys, xs = np.mgrid[:SIDE, :SIDE] + 0.5
    dy, dx = ys - y, xs - x
    distance = {
        "ring": lambda: abs(np.hypot(dy, dx) - 0.72 * r) - 0.28 * r,
        "square": lambda: np.maximum(abs(dy), abs(dx)) - 0.85 * r,
        "cross": lambda: np.minimum(
            np.maximum(abs(dy) - r, abs(dx) - r / 3.2), np.maximum(abs(dx) - r, abs(dy) - r / 3.2)
        ),
    }[shape]()
    return np.clip(0.5 - distance, 0, 1)


def paint(canvas: np.ndarray, color: str, shape: str, y: float, x: float, r: float, light: float) -> None:
    mask = _shape_mask(shape, y, x, r)[..., None]
    canvas[:] = canvas * (1 - mask) + np.asarray(COLORS[color]) * light * mask


def draw_ground(rng: np.random.Generator, tiles=tuple(PLACES)) -> np.ndarray:
    """Return a dark ground with tiles at the given places: lower ones are greener, right ones bluer.

    The tint tells places apart where the language model's rotary positions, made for large pictures, cannot.
    """
    canvas, half = rng.uniform(10, 30) + rng.normal(0, 2, (SIDE, SIDE, 3)), SIDE // 2
    for row, column in (PLACES[place] for place in tiles):
        tint = (20, 20 + 70 * row, 20 + 70 * column)
        canvas[half * row : half * (row + 1), half * column : half * (column + 1)] += tint
    return canvas


def _render_image(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Lay each object on its tile; were empty places tinted too, a place could be told without finding its object."""
    canvas = draw_ground(rng, [place for _, _, place in scene.objects])
    for color, shape, place in scene.objects:
        row, column = PLACES[place]
        y, x = 14 + 28 * row + rng.uniform(-2, 2), 14 + 28 * column + rng.uniform(-2, 2)
        paint(canvas, color, shape, y, x, rng.uniform(10, 12), rng.uniform(0.85, 1.0))
    return canvas.clip(0, 255).astype(np.uint8)


def _render_video(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Move the first object along one half of the picture while the second stands in the other half."""
    (mover, still), (motion, speed) = scene.objects, scene.extra
    dy, dx = MOTIONS[motion]
    lane, other = rng.permutation([14, 42]) + rng.uniform(-2, 2, 2)
    rest = rng.choice([14, 42]) + rng.uniform(-3, 3)
    base, radius, light = draw_ground(rng), rng.uniform(10, 12), rng.uniform(0.85, 1.0)
    start = 28 + rng.uniform(-3, 3)
    frames = []
    for t in range(FRAMES):
        frame, travelled = base.copy(), start + (dy + dx) * SPEEDS[speed] * (t - (FRAMES - 1) / 2)
        paint(frame, *still, *((other, rest) if dx else (rest, other)), radius, light)
        paint(frame, *mover, *((lane, travelled) if dx else (travelled, lane)), radius, light)
        frames.append(frame)
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def _render_audio(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    wave = rng.normal(0, 0.004, int(RATE * SECONDS))
    time, (timbre,) = np.arange(int(BEEP * RATE)) / RATE, scene.extra
    start = rng.uniform(0.02, 0.06)
    for i, pitch in enumerate(scene.objects):
        phase = 2 * np.pi * PITCHES[pitch] * rng.uniform(0.94, 1.06) * time
        tone = np.sin(phase)
        if timbre == "buzzy":
            tone = np.sign(tone) * 0.6
        elif timbre == "noisy":
            tone = 0.6 * tone + rng.normal(0, 0.25, len(time))
        at = int((start + APART * i) * RATE)
        wave[at : at + len(time)] += 0.4 * rng.uniform(0.8, 1.0) * tone * np.hanning(len(time)) ** 0.5
    return wave.clip(-1, 1).astype(np.float32)


def save(scene: Scene, media: np.ndarray | str, stem: Path) -> Path:
    """Write rendered media beside `stem` with the modality's suffix and return the path."""
    path = stem.with_suffix(SUFFIX[scene.modality])
    path.parent.mkdir(parents=True, exist_ok=True)
    if scene.modality == "image":
        from PIL import Image

        Image.fromarray(media).save(path)
    elif scene.modality == "audio":
        import soundfile

        soundfile.write(path, media, RATE, subtype="PCM_16")
    elif scene.modality == "video":
        write_mp4(path, media)
    else:
        path.write_text(media + "\n", encoding="utf-8")
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
