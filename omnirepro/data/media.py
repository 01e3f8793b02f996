"""Media files to arrays, and frames to patches: the one loader for the embedded world's files and for anyone's own.

Consumes a path; produces an RGB picture (H, W, 3) uint8, a film (T, H, W, 3) uint8 with its frame rate, or mono
samples (N,) float32 at 16 kHz. Pillow, PyAV and soundfile do the decoding; torchvision and librosa are not needed.
A film is decoded frame by frame, so that no more of it is in memory than is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from omnirepro.data import MediaError

RATE = 16_000
FEWEST = 4  # frames of a film that is looked at so often a second (FPS_MIN_FRAMES of qwen-omni-utils)
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
# Containers that state how long they are; of others FFmpeg guesses it.
STATED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf", "flv")
FAINT = 2.0**-16  # half a step of 16 bits
OGG_PAGE = 65_307  # most bytes of a page

Frames = Iterator[tuple[Fraction, Callable[[], np.ndarray]]]  # when a frame is shown, in seconds, and what makes it RGB


@contextmanager
def _reading(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a broken file into a `MediaError` that names the file."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:  # what decoders raise on foreign bytes is no closed list
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = said.splitlines()[0] if Path(path).exists() else "no such file"
        raise MediaError(
            f"{path}: cannot be read as a {kind} ({reason}); restore the file or remove the row"
        ) from error


# ---- pictures


def load_image(path: str | Path) -> np.ndarray:
    """Read a picture, or the first of an animation, upright and on white as RGB (H, W, 3) uint8.

    Raises `MediaError` where it is missing, corrupt, or so large that Pillow takes it for a decompression bomb.
    """
    from PIL import Image, ImageOps

    with _reading(path, "picture"), Image.open(path) as image:
        return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Any) -> np.ndarray:
    """Return a Pillow image of any mode as RGB; white is laid under what is transparent."""
    from PIL import Image

    if image.mode[0] in "IF":  # Pillow would clip what is above 255
        image = Image.fromarray(_greys(np.asarray(image), 65_535 if image.mode.startswith("I;16") else 0))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _greys(values: np.ndarray, white: float = 0) -> np.ndarray:
    """Scale greys of more than 8 bits to uint8; without a stated `white` it is the usual one that none exceeds."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    low = min(0.0, float(values.min()))
    high = float(values.max())
    usual = [1.0] * (values.dtype.kind == "f") + [255.0, 65_535.0, high]
    white = white or (high if low else next(top for top in usual if high <= top))
    return ((values - low) * (255 / (white - low or 1))).astype(np.uint8)


# ---- films


def load_video(path: str | Path, max_frames: int = 16, fps: float | None = None) -> tuple[np.ndarray, float]:
    """Read a film, or a picture that moves, as frames (T, H, W, 3) uint8, T even, and the rate of these frames (1/s).

    At most `max_frames` frames, those shown at evenly spaced times; with `fps`, an even number of about that many a
    second, four at least. An odd count repeats the last frame, because the vision tower takes frames in pairs. Frames
    are turned as the film's display matrix asks. Raises `MediaError` where missing, cut off or corrupt.
    """
    with _reading(path, "film"):
        _check_whole(path)
        times_of, decode = (_times_drawn, _drawn) if _is_animation(path) else (_times_filmed, _filmed)
        times, end = times_of(path)
        frames = _nearest(decode(path), _spread(times, end, max_frames, fps))
        rate = float(len(frames) / (end - times[0]))
        return np.stack(frames + frames[-1:] * (len(frames) % 2)), rate


def _spread(times: list[Fraction], end: Fraction, max_frames: int, fps: float | None) -> list[Fraction]:
    """Choose when a film is looked at: at every one of its frames' times, or at evenly spaced ones."""
    count = len(times)
    if fps:
        count = max(FEWEST, int(round(float(end - times[0]) * fps, 1)) // 2 * 2)
    count = min(count, max(2, max_frames - max_frames % 2), len(times))
    if count == len(times):
        return times
    return [times[0] + (times[-1] - times[0]) * Fraction(i, count - 1) for i in range(count)]


def _nearest(frames: Frames, wanted: list[Fraction]) -> list[np.ndarray]:
    """Return the frame nearest to each of the `wanted` times, one decoded frame in memory beside them."""
    found: list[np.ndarray] = []
    before = None
    for time, picture in frames:
        while len(found) < len(wanted) and time >= (at := wanted[len(found)]):
            earlier = before is not None and at - before[0] < time - at
            found.append(before[1]() if earlier else picture())
        before = time, picture
    if before is None:
        raise ValueError("it holds no frame")
    if wanted[-1] - before[0] > (wanted[-1] - wanted[0]) / 10:
        raise ValueError(f"its frames end at {float(before[0]):.1f} of {float(wanted[-1]):.1f} s")
    return found + [before[1]() for _ in wanted[len(found) :]]


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a film or sound with PyAV; by its bytes, for FFmpeg would take some names for addresses or patterns."""
    import av

    with open(path, "rb") as file, av.open(file, metadata_errors="replace") as container:
        yield container


def _packets(container: Any) -> Iterator[Any]:
    """Yield the packets of every track. Raises ValueError where they end before the time that the container states."""
    spans = []
    for packet in container.demux():
        if packet.is_corrupt:
            raise ValueError("it is cut off or damaged")
        if packet.dts is not None:
            start = packet.dts * packet.time_base
            spans.append((start, start + (packet.duration or 0) * packet.time_base))
        yield packet
    stated = Fraction(container.duration or 0, 1_000_000) if container.format.name in STATED else 0
    told = max(end for _, end in spans) - min(start for start, _ in spans) if spans else 0
    if told < stated * Fraction(9, 10) - Fraction(1, 10):
        raise ValueError(f"it is cut off: {float(told):.1f} of {float(stated):.1f} s")


def _film_track(container: Any) -> Any:
    """Return the first video track that is no cover picture. Raises ValueError where there is none, or a bomb."""
    from av.stream import Disposition
    from PIL import Image

    track = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
    if track is None:
        raise ValueError("it holds no film")
    if Image.MAX_IMAGE_PIXELS and track.width * track.height > 2 * Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"its frames have {track.width} x {track.height} pixels")
    return track


def _stamp(shown: Any, number: int, track: Any) -> Fraction:
    """Return when a frame or packet is shown, in seconds; without a stored time, by its number and the film's rate."""
    ticks = shown.dts if shown.pts is None else shown.pts
    return number / Fraction(track.average_rate or 1) if ticks is None else ticks * Fraction(shown.time_base)


def _times_filmed(path: str | Path) -> tuple[list[Fraction], Fraction]:
    """Return when each frame of a film is shown, and when the last one ends, without decoding any."""
    with _opened(path) as container:
        track = _film_track(container)
        shown: dict[Fraction, Fraction] = {}
        for packet in _packets(container):
            if packet.stream_index == track.index and packet.size and not packet.is_discard:
                lasts = (packet.duration or 0) * Fraction(packet.time_base or 0)
                shown[_stamp(packet, len(shown), track)] = lasts
        times = sorted(shown)
        if not times:
            raise ValueError("it holds no frame")
        return times, times[-1] + (shown[times[-1]] or 1 / Fraction(track.average_rate or 1))


def _filmed(path: str | Path) -> Frames:
    """Decode a film, frame by frame."""
    from av.video.reformatter import VideoReformatter

    with _opened(path) as container:
        track = _film_track(container)
        convert = partial(VideoReformatter().reformat, width=track.width, height=track.height)
        for number, frame in enumerate(container.decode(track)):
            yield _stamp(frame, number, track), partial(_upright, frame, convert)


def _upright(frame: Any, convert: Callable) -> np.ndarray:
    """Turn a decoded frame to RGB as it is to be seen. `convert` is one for a film: each would set up its own."""
    from PIL import Image

    if frame.is_corrupt:
        raise ValueError("a frame is damaged")
    if any(c.is_alpha for c in frame.format.components):
        pixels = _rgb(Image.fromarray(convert(frame, format="rgba").to_ndarray()))
    else:
        pixels = convert(frame, format="rgb24").to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90))


def _is_animation(path: str | Path) -> bool:
    """Whether a file is a picture that moves."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=ANIMATED) as image:
            return getattr(image, "n_frames", 1) > 1
    except UnidentifiedImageError:
        return False


def _drawn(path: str | Path) -> Frames:
    """Decode an animated picture: its frames, and when the last one ends."""
    from PIL import Image, ImageSequence

    with Image.open(path) as image:
        now = Fraction(0)
        for frame in ImageSequence.Iterator(image):
            pixels = _rgb(frame)
            yield now, lambda pixels=pixels: pixels
            now += Fraction(round(frame.info.get("duration", 0) or 100), 1000)  # browsers show a 0 for 0.1 s
        yield now, lambda: pixels


def _times_drawn(path: str | Path) -> tuple[list[Fraction], Fraction]:
    """Return when each frame of an animated picture is shown, and when the last one ends."""
    *times, end = [time for time, _ in _drawn(path)]
    return times, end


# ---- sounds


def load_audio(path: str | Path, max_seconds: float = 0.0) -> np.ndarray:
    """Read a sound, or the sound track of a film, as mono float32 (N,) at 16 kHz.

    Raises `MediaError` where it is missing, cut off, corrupt or silent, or longer than `max_seconds` (0: no limit).
    """
    with _reading(path, "sound"):
        _check_whole(path)
        samples, rate = read_sound(path, max_seconds)
        mono = _mono(samples)
        if rate != RATE:
            from scipy.signal import resample_poly

            mono = resample_poly(mono, RATE, rate).astype(np.float32)
        if len(mono) < RATE // 20:
            raise ValueError("it is shorter than 0.05 s")
        return mono


def check_film(path: str | Path) -> None:
    """Raise `MediaError` where a file is no film and no picture that moves, without decoding its frames."""
    with _reading(path, "film"):
        if not _is_animation(path):
            with _opened(path) as container:
                _film_track(container)


def measure(path: str | Path, kind: str) -> tuple[int, int, float]:
    """Return a medium's width and height (pixels) and length (s) by what its head says, 0 where it has none.

    Raises `MediaError` where it cannot be read.
    """
    from PIL import Image

    with _reading(path, kind):
        if kind != "audio" and (kind != "video" or _is_animation(path)):
            with Image.open(path) as image:
                return *image.size, getattr(image, "n_frames", 1) / 10
        with _opened(path) as container:
            seconds = float(container.duration or 0) / 1e6
            if kind == "audio":
                return 0, 0, seconds
            track = _film_track(container)
            return track.width, track.height, seconds


def has_sound(path: str | Path) -> bool:
    """Whether a film has a sound track."""
    with _reading(path, "film"), _opened(path) as container:
        return bool(container.streams.audio)


def read_sound(path: str | Path, max_seconds: float = 0.0) -> tuple[np.ndarray, int]:
    """Read a sound as stored: samples (N, channels) float32 and their rate (1/s), by soundfile or else by PyAV.

    Raises ValueError where it is cut off, `MediaError` where it is longer than `max_seconds` (0: no limit).
    """
    import soundfile

    try:
        file = soundfile.SoundFile(str(path))
    except (RuntimeError, TypeError):  # a container that libsndfile does not know, or a name that it takes for one
        return _heard(path, max_seconds)
    with file:
        _check_length(path, file.frames / file.samplerate, max_seconds)
        samples = file.read(dtype="float32", always_2d=True)
        if len(samples) < file.frames and (file.format != "MP3" or _counts_frames(path)):
            raise ValueError(f"it is cut off: {len(samples)} of {file.frames} samples")
        return samples, file.samplerate


def _counts_frames(path: str | Path) -> bool:
    """Whether an MP3 states, behind its tag, how many frames follow; of others their number is guessed."""
    with open(path, "rb") as file:
        tag = file.read(10)
        size = sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False))
        file.seek(10 + size if tag[:3] == b"ID3" else 0)
        first = file.read(200)
    return any(name in first for name in (b"Xing", b"Info", b"VBRI"))


def _heard(path: str | Path, max_seconds: float) -> tuple[np.ndarray, int]:
    """Decode the first sound track of any container with PyAV."""
    from av import AudioResampler

    with _opened(path) as container:
        if not container.streams.audio:
            raise ValueError("it holds no sound")
        track = container.streams.audio[0]
        convert = AudioResampler(format="fltp").resample
        pieces = []
        heard = 0
        for packet in _packets(container):
            decoded = packet.decode() if packet.stream_index == track.index else []
            pieces += [piece.to_ndarray() for frame in decoded for piece in convert(frame)]
            heard += sum(frame.samples for frame in decoded)
            _check_length(path, heard / track.rate, max_seconds)
        return np.concatenate(pieces, axis=1).T if pieces else np.zeros((0, 1), np.float32), track.rate


def _check_length(path: str | Path, seconds: float, limit: float) -> None:
    if limit and seconds > limit:
        raise MediaError(
            f"{path}: its sound is longer than {limit:g} s, the limit of the model or of media.max_seconds; shorten "
            "it, raise the limit where the model allows that, or remove the row"
        )


def _mono(samples: np.ndarray) -> np.ndarray:
    """Return the mean of the channels of (N, channels). Raises ValueError where nothing can be heard in it."""
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError("it holds samples that are no numbers")
    loudest = np.abs(samples).max(initial=0)
    if len(mono) and loudest < FAINT:
        raise ValueError("it is silent")
    if len(mono) and np.abs(mono).max() < loudest / 100:
        raise ValueError("its channels cancel each other to silence; keep one of them")
    return mono


def _check_whole(path: str | Path) -> None:
    """Raise ValueError for a file shorter than its head states, which decoders return short without a word."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        file.seek(max(0, size - OGG_PAGE))
        tail = file.read()
    if size < (stated := _stated_size(head)):
        raise ValueError(f"it is cut off: {size} of {stated} bytes")
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if head[:4] == b"OggS" and not (page[5] & 4 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])):
        raise ValueError("it is cut off: the page that ends an Ogg file is missing")


def _stated_size(head: bytes) -> int:
    """Return how many bytes a file has by its head; 0 where it does not say, or says more than there can be."""
    segment = head.find(b"\x18\x53\x80\x67\x01") + 5  # the one element of Matroska and WebM, its size in 7 bytes
    if head[:4] == b"\x1a\x45\xdf\xa3" and segment > 4:
        stated = segment + 7 + int.from_bytes(head[segment : segment + 7])
        return stated if stated < 2**56 else 0
    if head[:4] == b".snd":
        stated = int.from_bytes(head[4:8]) + int.from_bytes(head[8:12])
    else:
        order = {b"RIFF": "little", b"FORM": "big"}.get(head[:4])
        stated = 8 + int.from_bytes(head[4:8], order) if order else 0
    return stated if stated < 2**31 - 4096 else 0  # recorders that stream state a larger size


# ---- patches


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
