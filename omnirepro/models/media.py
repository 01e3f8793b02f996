"""Media files to arrays: the one loader for the embedded world's files and for anyone's own.

Consumes a path; produces an RGB picture (H, W, 3) uint8, a film (T, H, W, 3) uint8 with its frame rate, or mono
samples (N,) float32 at 16 kHz. Pillow, PyAV and soundfile do the decoding; torchvision and librosa are not needed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from omnirepro.schema import MediaError

RATE = 16_000


def load_image(path: str | Path) -> np.ndarray:
    """Read a picture as RGB (H, W, 3) uint8. Raises `MediaError` where it is missing or corrupt."""
    from PIL import Image

    try:
        with Image.open(path) as image:
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
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
    except (OSError, IndexError, ValueError, av.error.FFmpegError) as error:
        raise _unreadable(path, "film", error) from error
    if not frames:
        raise _unreadable(path, "film", ValueError("it holds no frame"))
    wanted = len(frames) if fps is None else max(1, round(len(frames) / rate * fps))
    keep = np.linspace(0, len(frames) - 1, min(wanted, max_frames, len(frames))).round().astype(int)
    keep = np.append(keep, keep[-1]) if len(keep) % 2 else keep
    return np.stack([frames[i] for i in keep]), rate * len(keep) / len(frames)


def load_audio(path: str | Path) -> np.ndarray:
    """Read sound as mono float32 (N,) at 16 kHz. Raises `MediaError` where it is missing or corrupt."""
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, "sound", error) from error
    mono = samples.mean(axis=1)
    if rate != RATE:
        from scipy.signal import resample_poly

        mono = resample_poly(mono, RATE, rate).astype(np.float32)
    if len(mono) < RATE // 20:
        raise _unreadable(path, "sound", ValueError("it is shorter than 0.05 s"))
    return mono


def _unreadable(path, kind: str, error: Exception) -> MediaError:
    reason = "no such file" if not Path(path).exists() else str(error).splitlines()[0] or type(error).__name__
    return MediaError(f"{path}: cannot be read as a {kind} ({reason}); restore the file or remove the row")
