"""How media of chosen facts look and sound: brightness, loudness, size, and one solid seen from four angles.

Consumes a `Scene` and a `Look`; produces the media file. A picture, film or sound with the plain look is exactly what
`scenes.render` makes. Solids ("views3d") extrude the world's shapes; a ray caster draws them at four turns into the
four tiles of one 56 x 56 picture. Departure from the benchmark: its views are renders of generated meshes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnirepro.data import Part, sha256_file
from omnirepro.toyworld import scenes
from omnirepro.toyworld.scenes import COLORS, PLACES, SHAPES, SIDE, THICKNESS, Scene
from omnirepro.toyworld.tasks import split_of

TURNS = (-60.0, -20.0, 20.0, 60.0)
DIM, SOFT, SMALL = 0.6, 0.4, 0.62
_STEPS, _REACH = 32, 1.45


@dataclass(frozen=True)
class Look:
    """What a medium shows besides its facts.

    `light` scales brightness or loudness, `size` the objects; of a solid's views one may be `odd` (another color) or
    `empty`.
    """

    light: float = 1.0
    size: float = 1.0
    odd: bool = False
    empty: bool = False


def sample_solid(rng: np.random.Generator, split: str) -> Scene:
    """Draw a solid of the split: objects ((color, shape),), extra (color of the sides, thickness)."""
    while True:
        color, sides = (list(COLORS)[int(i)] for i in rng.integers(len(COLORS), size=2))
        shape, thickness = SHAPES[int(rng.integers(len(SHAPES)))], list(THICKNESS)[int(rng.integers(2))]
        solid = Scene("views3d", ((color, shape),), (sides, thickness))
        if split_of(solid) == split:
            return solid


def sample_look(modality: str, rng: np.random.Generator, plain: float, flawed: float = 0.0) -> Look:
    """Draw a look: light and size are plain with chance `plain` each, a solid's views odd or empty with `flawed`."""
    light, size = (1.0 if rng.random() < plain else low for low in (SOFT if modality == "audio" else DIM, SMALL))
    odd, empty = (bool(rng.random() < flawed) and modality == "views3d" for _ in range(2))
    return Look(light, size if modality in ("image", "views3d") else 1.0, odd, empty)


def media_part(scene: Scene, look: Look, stem: Path, rng: np.random.Generator) -> Part:
    """Render a scene with a look to its file and return the part that names it."""
    kind = "image" if scene.modality == "views3d" else scene.modality
    path = scenes.save(Scene(kind, ()), render_look(scene, look, rng), stem)
    return Part(type=scene.modality, path=str(path), sha256=sha256_file(path))


def render_look(scene: Scene, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Render to pixels (H, W, 3) or (T, H, W, 3) uint8, or samples (N,) float32."""
    if scene.modality == "views3d":
        made = _views(scene, look, rng)
    elif scene.modality == "image" and look.size != 1.0:
        made = _sized(scene, look.size, rng)
    else:
        made = scenes.render(scene, rng)
    return (made * look.light).astype(made.dtype) if look.light != 1.0 else made


def _sized(scene: Scene, size: float, rng: np.random.Generator) -> np.ndarray:
    """Paint a picture as `scenes` does, with scaled objects."""
    canvas = scenes.draw_ground(rng, [place for _, _, place in scene.objects])
    for color, shape, place in scene.objects:
        row, column = PLACES[place]
        y, x = 14 + 28 * row + rng.uniform(-2, 2), 14 + 28 * column + rng.uniform(-2, 2)
        scenes.paint(canvas, color, shape, y, x, size * rng.uniform(10, 12), rng.uniform(0.85, 1.0))
    return canvas.clip(0, 255).astype(np.uint8)


def _views(solid: Scene, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Draw four turns of a solid, row by row, on a dark ground."""
    ((color, shape),), (sides, thickness) = solid.objects, solid.extra
    canvas, half = rng.uniform(10, 30) + rng.normal(0, 2, (SIDE, SIDE, 3)), SIDE // 2
    light, changed = rng.uniform(0.85, 1.0), int(rng.integers(len(TURNS)))
    spare = [c for c in COLORS if c not in (color, sides)]
    for i, turn in enumerate(TURNS):
        if look.empty and i == changed:
            continue
        odd = look.odd and i == (changed + 1) % len(TURNS)
        face = spare[int(rng.integers(len(spare)))] if odd else color
        front, side = _cast(shape, THICKNESS[thickness], turn + rng.uniform(-6, 6), look.size)
        tile = canvas[half * (i // 2) :][:half, half * (i % 2) :][:, :half]
        tile *= 1 - (front + side)[..., None]
        tile += light * (np.multiply.outer(front, COLORS[face]) + 0.8 * np.multiply.outer(side, COLORS[sides]))
    return canvas.clip(0, 255).astype(np.uint8)


def _cast(shape: str, thick: float, turn: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Cast parallel rays at a solid turned by `turn` degrees; return the coverage (28, 28) of its faces and sides."""
    pixels, angle = np.linspace(-_REACH, _REACH, SIDE) / size, np.deg2rad(turn)
    u, t = np.meshgrid(pixels, np.linspace(_REACH, -_REACH, _STEPS) / size, indexing="ij")
    x, z = u * np.cos(angle) + t * np.sin(angle), t * np.cos(angle) - u * np.sin(angle)
    inside = _solid(shape, x[None], pixels[:, None, None]) & (abs(z) < thick)
    hit = inside.any(axis=2)
    depth = abs(np.take_along_axis(np.broadcast_to(z, inside.shape), np.argmax(inside, axis=2)[..., None], 2)[..., 0])
    front = hit & (depth > thick - 2 * _REACH / _STEPS / size * np.cos(angle))
    return tuple(m.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)) for m in (front, hit & ~front))


def _solid(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which points lie in the outline of a shape of radius 1."""
    x, y = abs(x), abs(y)
    if shape == "ring":
        return (np.hypot(x, y) < 1) & (np.hypot(x, y) > 0.45)
    return np.maximum(x, y) < 0.85 if shape == "square" else ((x < 0.3) & (y < 1)) | ((y < 0.3) & (x < 1))
