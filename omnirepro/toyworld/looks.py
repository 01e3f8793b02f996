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
from omnirepro.toyworld.nouns import COLORS, THICKNESS, pick
from omnirepro.toyworld.scenes import SIDE, Scene

TURNS = (-60.0, -20.0, 20.0, 60.0)
DIM = 0.6  # light of a dim picture
SOFT = 0.4  # loudness of a soft sound
SMALL = 0.62  # size of small objects
_STEPS = 32  # samples along a ray
_REACH = 1.45  # how far pixels and rays reach from the middle, in radii


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


def sample_look(modality: str, rng: np.random.Generator, plain: float, flawed: float = 0.0) -> Look:
    """Draw a look: light and size are plain with chance `plain` each, a solid's views odd or empty with `flawed`."""
    light, size = (1.0 if rng.random() < plain else low for low in (SOFT if modality == "audio" else DIM, SMALL))
    odd, empty = (bool(rng.random() < flawed) and modality == "views3d" for _ in range(2))
    return Look(light, size if modality in ("image", "views3d") else 1.0, odd, empty)


def media_part(scene: Scene, look: Look, stem: Path, rng: np.random.Generator) -> Part:
    """Render a scene with a look to its file and return the part that names it; a text is in the part, too."""
    made = render_look(scene, look, rng)
    path = scenes.save(scene, made, stem)
    text = {"text": made} if scene.modality == "text" else {}
    return Part(type=scene.modality, path=str(path), sha256=sha256_file(path), **text)


def render_look(scene: Scene, look: Look, rng: np.random.Generator) -> np.ndarray | str:
    """Render to pixels (H, W, 3) or (T, H, W, 3) uint8, or samples (N,) float32; a text has one look."""
    if scene.modality == "text":
        return scenes.passage(scene)
    made = _views(scene, look, rng) if scene.modality == "views3d" else scenes.render(scene, rng, look.size)
    return (made * look.light).astype(made.dtype) if look.light != 1.0 else made


def _views(solid: Scene, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Draw four turns of a solid, row by row, on a dark ground."""
    ((color, shape),) = solid.objects
    sides, thickness = solid.extra
    canvas = rng.uniform(10, 30) + rng.normal(0, 2, (SIDE, SIDE, 3))
    half = SIDE // 2
    light = rng.uniform(0.85, 1.0)
    changed = int(rng.integers(len(TURNS)))
    for i, turn in enumerate(TURNS):
        if look.empty and i == changed:
            continue
        odd = look.odd and i == (changed + 1) % len(TURNS)
        face = pick(rng, [c for c in COLORS if c not in (color, sides)]) if odd else color
        front, side = _cast(shape, THICKNESS[thickness], turn + rng.uniform(-6, 6), look.size)
        top = half * (i // 2)
        left = half * (i % 2)
        tile = canvas[top : top + half, left : left + half]
        tile *= 1 - (front + side)[..., None]
        tile += light * (np.multiply.outer(front, COLORS[face]) + 0.8 * np.multiply.outer(side, COLORS[sides]))
    return canvas.clip(0, 255).astype(np.uint8)


def _cast(shape: str, thick: float, turn: float, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Cast parallel rays at a solid turned by `turn` degrees; return the coverage (28, 28) of its faces and sides."""
    pixels = np.linspace(-_REACH, _REACH, SIDE) / size
    angle = np.deg2rad(turn)
    u, t = np.meshgrid(pixels, np.linspace(_REACH, -_REACH, _STEPS) / size, indexing="ij")
    x = abs(u * np.cos(angle) + t * np.sin(angle))[None]
    y = abs(pixels)[:, None, None]
    z = t * np.cos(angle) - u * np.sin(angle)
    if shape == "ring":  # the outlines have radius 1
        outline = (np.hypot(x, y) < 1) & (np.hypot(x, y) > 0.45)
    elif shape == "square":
        outline = np.maximum(x, y) < 0.85
    else:
        outline = ((x < 0.3) & (y < 1)) | ((y < 0.3) & (x < 1))
    inside = outline & (abs(z) < thick)
    hit = inside.any(axis=2)
    depth = abs(np.take_along_axis(np.broadcast_to(z, inside.shape), np.argmax(inside, axis=2)[..., None], 2)[..., 0])
    front = hit & (depth > thick - 2 * _REACH / _STEPS / size * np.cos(angle))
    return tuple(m.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)) for m in (front, hit & ~front))
