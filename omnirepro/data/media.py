"""Media files to arrays, and frames to patches: the one loader for the embedded world's files and for anyone's own.

Consumes a path; produces an RGB picture (H, W, 3) uint8, a film (T, H, W, 3) uint8 with its frame rate, or mono
samples (N,) float32 at 16 kHz. Pillow, PyAV and soundfile do the decoding; torchvision and librosa are not needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnirepro.data import MediaError

RATE = 16_000


def load_image(path: str | Path) -> np.ndarray:
    """Read a picture as RGB (H, W, 3) uint8. Raises `MediaError` where it is missing or corrupt."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip 16 bits to white
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, "picture", error) from error


def load_video(path: str | Path, max_frames: int = 16, fps: float | None = None) -> tuple[np.ndarray, float]:
    """Read a film as frames (T, H, W, 3) uint8, T even, and the frame rate of what is returned (1/s).

    At most `max_frames` frames, evenly spaced; with `fps`, at most that many a second. An odd count repeats the
    last frame, because the vision tower takes frames in pairs. Raises `MediaError` where missing or corrupt.
    """
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 1)
            convert = av.video.reformatter.VideoReformatter().reformat  # else each frame sets up its own
            frames = [convert(f, format="rgb24").to_ndarray() for f in container.decode(stream)]
    except (OSError, IndexError, ValueError, av.error.FFmpegError) as error:
        raise _unreadable(path, "film", error) from error
    if not frames:
        raise _unreadable(path, "film", ValueError("it holds no frame"))
    wanted = len(frames) if fps is None else max(1, round(len(frames) / rate * fps))
    most = max(2, max_frames - max_frames % 2)
    keep = np.linspace(0, len(frames) - 1, min(wanted, most, len(frames))).round().astype(int)
    rate *= len(keep) / len(frames)
    keep = np.append(keep, keep[-1]) if len(keep) % 2 else keep
    return np.stack([frames[i] for i in keep]), rate


def load_audio(path: str | Path) -> np.ndarray:
    """Read sound as mono float32 (N,) at 16 kHz. Raises `MediaError` where it is missing or corrupt."""
    import soundfile

    try:
        _check_whole(path)
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreadable(path, "sound", error) from error
    mono = samples.mean(axis=1)
    if rate != RATE:
        from scipy.signal import resample_poly

        mono = resample_poly(mono, RATE, rate).astype(np.float32)
    if len(mono) < RATE // 20:
        raise _unreadable(path, "sound", ValueError("it is shorter than 0.05 s"))
    return mono


def _check_whole(path: str | Path) -> None:
    """Raise ValueError for a WAV file that was cut off, which its decoder would return short without a word."""
    with open(path, "rb") as file:
        head = file.read(8)
    stated = int.from_bytes(head[4:], "little") if head[:4] == b"RIFF" else 0
    if Path(path).stat().st_size < stated < 2**31 - 4096:  # recorders that stream state a larger size, or none
        raise ValueError(f"it is cut off: {Path(path).stat().st_size} of {stated + 8} bytes")


def _unreadable(path, kind: str, error: Exception) -> MediaError:
    reason = "no such file" if not Path(path).exists() else str(error).splitlines()[0] or type(error).__name__
    return MediaError(f"{path}: cannot be read as a {kind} ({reason}); restore the file or remove the row")


def to_patches(
    frames: np.ndarray, patch_size, temporal_patch_size, merge_size, min_pixels, max_pixels, image_mean, image_std
) -> tuple[np.ndarray, list[int]]:
    """Cut frames (T, H, W, 3) uint8 into the vision tower's rows (T' h w, 3 * t * p * p) and grid [T', h, w].

    Resizes to multiples of patch x merge within the pixel limits, normalises per channel, repeats a single frame,
    and orders patches by merge block, as the official Qwen2-VL image processor does.
    """
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    p = patch_size
    m = merge_size
    t = temporal_patch_size
    height, width = smart_resize(*frames.shape[1:3], p * m, min_pixels, max_pixels)
    if (height, width) != frames.shape[1:3]:
        frames = np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.BICUBIC)) for f in frames])
    if len(frames) % t:
        frames = np.concatenate([frames, np.repeat(frames[-1:], t - len(frames) % t, axis=0)])
    x = (frames / np.float32(255) - np.float32(image_mean)) / np.float32(image_std)
    grid = [len(x) // t, height // p, width // p]
    x = x.transpose(0, 3, 1, 2).reshape(grid[0], t, 3, grid[1] // m, m, p, grid[2] // m, m, p)
    x = x.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, 3 * t * p * p)
    return np.ascontiguousarray(x, dtype=np.float32), grid
