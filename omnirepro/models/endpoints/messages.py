"""A chat as the API expects it: text as text, media whole and base64-encoded in the parts that the API defines.

Pictures travel as PNG, JPEG, GIF or WebP and sounds as WAV or MP3; other formats are converted without loss, by what
the file holds and not by its name. A film travels whole (vLLM's `video_url`), or as `frames` JPEG pictures, evenly
spaced, for servers that take no films. Nothing is cut: the published audio script sends the first 100 characters.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

from omnirepro.data import MediaError, Part

_PICTURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


def to_message(message: dict, frames: int = 0) -> dict:
    """Write a message for the API: plain text where there is only text, else content parts.

    `frames`: send a film as at most so many pictures (0: whole). Raises `MediaError` where a file cannot be read.
    """
    if all(p.type == "text" for p in message["parts"]):
        return {"role": message["role"], "content": "".join(p.text or "" for p in message["parts"])}
    return {"role": message["role"], "content": [piece for p in message["parts"] for piece in _content(p, frames)]}


def _content(part: Part, frames: int) -> list[dict]:
    if part.type == "text":
        return [{"type": "text", "text": part.text or ""}]
    path = Path(part.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be sent ({error.strerror}); restore the file or remove the row") from error
    if part.type == "audio":
        data, kind = _sound(path, data)
        return [{"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}]
    if part.type == "video" and not frames:
        return [_url("video", path.suffix[1:].lower() or "mp4", data)]
    if part.type == "video":
        return [_url("image", "jpeg", picture) for picture in _frames(path, frames)]
    return [_url("image", *_picture(path, data))]


def _url(kind: str, form: str, data: bytes) -> dict:
    url = f"data:{kind}/{form};base64,{base64.b64encode(data).decode()}"
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


def _picture(path: Path, data: bytes) -> tuple[str, bytes]:
    known = next((kind for magic, kind in _PICTURES.items() if data.startswith(magic)), None)
    if known is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        known = "webp"
    return (known, data) if known else ("png", _encoded(_loaded(path), "PNG"))


def _loaded(path: Path):
    from omnirepro.data.media import load_image

    return load_image(path)


def _sound(path: Path, data: bytes) -> tuple[bytes, str]:
    if data[:4] == b"RIFF":
        return data, "wav"
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] >= b"\xe0"):
        return data, "mp3"
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(data))
    except (OSError, RuntimeError) as error:
        raise MediaError(f"{path}: cannot be sent as sound ({error}); convert it to WAV") from error
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_24")
    return buffer.getvalue(), "wav"


def _frames(path: Path, most: int) -> list[bytes]:
    from omnirepro.data.media import load_video

    return [_encoded(frame, "JPEG") for frame in load_video(path, max_frames=most)[0][:most]]


def _encoded(pixels, form: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()
