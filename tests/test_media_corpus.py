"""Media as the field has them: every container that PyAV and Pillow write here, whole, cut off, turned, transparent."""

import gc
import struct
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from omnirepro.data import MediaError
from omnirepro.data import media as read
from omnirepro.data.media import RATE, has_sound, load_audio, load_image, load_video

SIDE = 64
MILLISECOND = Fraction(1, 1000)
CODECS = {  # container: codec of its film, of its sound, pixel format
    "mp4": ("libx264", "aac", "yuv420p"),
    "mov": ("libx264", "aac", "yuv420p"),
    "mkv": ("libx264", "libopus", "yuv420p"),
    "webm": ("libvpx-vp9", "libopus", "yuv420p"),
    "avi": ("mpeg4", "libmp3lame", "yuv420p"),
    "flv": ("flv", "libmp3lame", "yuv420p"),
    "ts": ("libx264", "aac", "yuv420p"),
    "3gp": ("libx264", "aac", "yuv420p"),
    "mpg": ("mpeg2video", "mp2", "yuv420p"),
}
SOUNDS = {
    **{"m4a": "aac", "aac": "aac", "opus": "libopus", "mp3": "libmp3lame", "mka": "libopus", "weba": "libopus"},
    **{"flac": "flac", "ac3": "ac3", "mp2": "mp2", "caf": "pcm_s16le", "aiff": "pcm_s16be", "wav": "pcm_s16le"},
    **{"au": "pcm_s16be", "tta": "tta", "wv": "wavpack", "w64": "pcm_s16le"},
}
FORMATS = {"weba": "webm", "m4a": "ipod"}
MARKED = ("m4a", "opus", "mp3", "mka", "weba", "flac", "caf", "aiff", "wav", "au", "tta", "wv")  # state their length


def greys(n):
    """Frames that grow lighter, told from one another by their mean."""
    return [np.full((SIDE, SIDE, 3), 10 + 230 * i // max(1, n - 1), np.uint8) for i in range(n)]


def textured(n):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(n)]


def sing(out, track, seconds, pitch=440.0):
    rate = track.rate
    wave = (0.4 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)).astype(np.float32)
    sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    sound.rate = rate
    size = track.codec_context.frame_size or 0
    fit = av.AudioResampler(format=track.format, layout=track.layout, rate=rate, frame_size=size)
    for piece in [*fit.resample(sound), *fit.resample(None), None]:
        out.mux(track.encode(piece))


def write_film(path, frames, rate=25, stamps=None, sound=True):
    """Encode frames; `stamps` are their times in milliseconds, where they are not evenly spaced."""
    codec, voice, pixels = CODECS[path.suffix[1:]]
    with av.open(str(path), "w") as out:
        track = out.add_stream(codec, rate=rate)
        track.width = track.height = SIDE
        track.pix_fmt = pixels
        heard = out.add_stream(voice, rate=48_000 if voice == "libopus" else 44_100, layout="mono") if sound else None
        if stamps:
            track.codec_context.time_base = MILLISECOND
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if stamps:
                frame.pts = stamps[i]
                frame.time_base = MILLISECOND
            out.mux(track.encode(frame))
        out.mux(track.encode())
        if heard:
            sing(out, heard, len(frames) / rate)
    return path


def write_sound(path, seconds=1.0):
    kind = path.suffix[1:]
    codec = SOUNDS[kind]
    with av.open(str(path), "w", format=FORMATS.get(kind)) as out:
        sing(out, out.add_stream(codec, rate=48_000 if codec == "libopus" else 44_100, layout="mono"), seconds)
    return path


def pitch_of(samples):
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


def cut(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


# ---- every container


@pytest.mark.parametrize("kind", CODECS)
def test_a_film_of_any_container_is_read_with_its_sound(tmp_path, kind):
    path = write_film(tmp_path / f"one.{kind}", greys(30))
    frames, rate = load_video(path)
    light = frames.mean((1, 2, 3))
    assert len(frames) == 16 and rate == pytest.approx(16 / 1.2, rel=0.06)
    assert np.abs(light - np.linspace(10, 240, 16)).max() < 16, "spread over the whole film, in order"
    assert has_sound(path) and pitch_of(load_audio(path)) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("kind", [k for k in CODECS if k != "ts"])  # a transport stream has no end
def test_half_a_film_of_any_container_is_named(tmp_path, kind):
    path = cut(write_film(tmp_path / f"half.{kind}", textured(20)))
    for load in (load_video, load_audio):
        with pytest.raises(MediaError, match=rf"half\.{kind}: cannot be read as a .*; restore the file or"):
            load(path)


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sound_of_any_container_is_read(tmp_path, kind):
    samples = load_audio(write_sound(tmp_path / f"one.{kind}"))
    assert len(samples) == pytest.approx(RATE, rel=0.06) and pitch_of(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("kind", MARKED)
def test_half_a_sound_that_states_its_length_is_named(tmp_path, kind):
    with pytest.raises(MediaError, match=rf"half\.{kind}: cannot be read as a sound"):
        load_audio(cut(write_sound(tmp_path / f"half.{kind}", 3.0)))


def test_an_mp3_without_a_count_of_frames_is_read_behind_a_large_tag(tmp_path):
    path = tmp_path / "bare.mp3"
    with av.open(str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}) as out:
        sing(out, out.add_stream("libmp3lame", rate=44_100, layout="mono"), 3.0)
    size = bytes((90_000 >> shift) & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x04\x00\x00" + size + b"\0" * 90_000 + path.read_bytes())
    assert len(load_audio(path)) == pytest.approx(3 * RATE, rel=0.03)


def savable():
    Image.init()
    known = Image.registered_extensions()
    return sorted({e for e, f in known.items() if f in Image.SAVE and f not in ("PDF", "EPS", "PALM", "ICNS")})


@pytest.mark.parametrize("suffix", savable())
def test_a_picture_of_any_format_is_read_and_half_of_it_named(tmp_path, suffix):
    grey = Image.fromarray(np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8))
    path = tmp_path / f"one{suffix}"
    for mode in ("RGB", "L", "1"):
        try:
            grey.convert(mode).save(path)
            break
        except (OSError, ValueError, KeyError):
            continue
    else:
        pytest.skip("this build of Pillow does not write it")
    wanted = np.asarray(grey.convert(mode).convert("L"), float)
    found = load_image(path)
    assert found.shape == (SIDE, SIDE, 3) and np.abs(found.mean(2) - wanted).mean() < 3
    with pytest.raises(MediaError, match="one"):
        load_image(cut(path))


# ---- pictures


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_picture_is_read_upright(tmp_path, turn, suffix):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255
    stored = {
        **{1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]},
        **{5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2)},
        8: np.rot90(upright, -1),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"x.{suffix}", exif=exif)
    found = load_image(tmp_path / f"x.{suffix}").astype(int)
    assert found.shape == upright.shape and np.abs(found - upright).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "1"])
def test_white_is_laid_under_what_is_transparent(tmp_path, mode):
    if mode in ("RGBA", "LA", "P"):
        clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
        clear.paste((0, 0, 0, 255), (5, 5, 15, 15))
        clear.convert(mode).save(tmp_path / "x.png")
    else:  # one colour is declared to be transparent: black here, and the square is another
        value = {"L": 90, "RGB": (90, 90, 90), "1": 1}[mode]
        keyed = Image.new(mode, (20, 20), 0)
        keyed.paste(value, (5, 5, 15, 15))
        keyed.save(tmp_path / "x.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    found = load_image(tmp_path / "x.png")
    assert (found[0, 0] == 255).all() and (mode == "1" or (found[10, 10] < 100).all())


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1, 256, dtype=np.float32),
        np.linspace(0, 255, 256, dtype=np.float32),
        np.linspace(0, 65_535, 256).astype(np.int32),
        np.linspace(0, 2**31 - 1, 256).astype(np.int32),
        np.linspace(0, 65_535, 256).astype(np.uint16),
        np.linspace(-1, 1, 256, dtype=np.float32),
    ],
    ids=["unit", "bytes", "16 of 32 bits", "32 bits", "16 bits", "signed"],
)
def test_greys_of_any_depth_keep_their_ramp(tmp_path, values):
    Image.fromarray(values.reshape(16, 16)).save(tmp_path / "x.tif")
    assert np.abs(load_image(tmp_path / "x.tif")[..., 0].ravel() - np.arange(256.0)).max() <= 1


def test_a_picture_of_nans_and_a_bomb_are_named(tmp_path, monkeypatch):
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(MediaError, match=r"nan\.tif.*no numbers"):
        load_image(tmp_path / "nan.tif")
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    write_film(tmp_path / "bomb.mp4", greys(4))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for load, name in ((load_image, "bomb.png"), (load_video, "bomb.mp4")):
        with pytest.raises(MediaError, match=f"{name}.*pixels"):
            load(tmp_path / name)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_is_a_picture_and_a_film(tmp_path, suffix):
    steps = []
    for i in range(6):
        step = Image.new("RGBA", (SIDE, SIDE), (200, 0, 0, 0))
        step.paste((0, 0, 0, 255), (10 * i, 0, 10 * i + 10, SIDE))
        steps.append(step)
    times = [1000, 100, 100, 100, 100, 100]
    extra = (
        {"disposal": 2}
        if suffix == "gif"
        else {"disposal": 1}
        if suffix == "png"
        else {"lossless": True, "exact": True}
    )
    steps[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=steps[1:], duration=times, loop=0, **extra)
    assert load_image(tmp_path / f"x.{suffix}").shape == (SIDE, SIDE, 3)
    frames, rate = load_video(tmp_path / f"x.{suffix}")
    assert len(frames) == 6 and rate == pytest.approx(6 / 1.5)
    assert [int(f[5].mean(1).argmin()) // 10 for f in frames] == list(range(6)) and (frames[0][:, -1] == 255).all()


# ---- films


def test_frames_are_spread_over_time_where_their_rate_varies(tmp_path):
    stamps = [1000 * i for i in range(10)] + [10_000 + 1000 * i // 60 for i in range(60)]
    path = write_film(tmp_path / "x.mp4", greys(70), stamps=stamps, sound=False)
    frames, rate = load_video(path, max_frames=8)
    number = (frames.mean((1, 2, 3)) - 10) / 230 * 69
    assert (number < 11.5).sum() >= 7 and number[-1] > 67 and rate == pytest.approx(8 / 11, rel=0.05)
    assert len(load_video(path, max_frames=20, fps=1)[0]) == 10


@pytest.mark.parametrize(("n", "kept"), [(25, 4), (75, 4), (125, 4), (150, 6), (600, 20)])
def test_frames_a_second_are_even_and_four_at_least(tmp_path, n, kept):
    path = write_film(tmp_path / "x.mp4", greys(n), sound=False)
    frames, rate = load_video(path, max_frames=20, fps=1)
    assert len(frames) == kept and rate == pytest.approx(kept * 25 / n)


def test_no_more_of_a_film_is_in_memory_than_is_asked_for(tmp_path, monkeypatch):
    path = write_film(tmp_path / "x.mp4", greys(400), sound=False)
    alive = weakref.WeakSet()
    most = []
    upright = read._upright

    class Watched:
        def __init__(self, frame):
            self.frame = frame

        def __getattr__(self, name):
            return getattr(self.frame, name)

    def decoded(*args, before=read._filmed):
        for time, picture in before(*args):
            watched = Watched(picture.args[0])
            alive.add(watched)
            most.append(len(alive))
            yield time, lambda watched=watched, convert=picture.args[1]: upright(watched.frame, convert)
            del watched
            gc.collect(0)

    monkeypatch.setattr(read, "_filmed", decoded)
    assert len(load_video(path)[0]) == 16 and len(most) == 400 and max(most) <= 4


@pytest.mark.parametrize(("matrix", "turn"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_film_that_a_phone_turned_is_read_upright(tmp_path, matrix, turn):
    frames = [np.zeros((SIDE, SIDE, 3), np.uint8) for _ in range(4)]
    for frame in frames:
        frame[:32, :32] = 255
    path = write_film(tmp_path / "x.mp4", frames, sound=False)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert np.abs(load_video(path)[0][0].astype(int) - np.rot90(frames[0], turn)).mean() < 8


def test_a_cover_is_no_film_and_a_name_no_pattern(tmp_path):
    write_sound(tmp_path / "x.m4a")
    with pytest.raises(MediaError, match="it holds no film"):
        load_video(tmp_path / "x.m4a")
    odd = write_film(tmp_path / "x.mp4", greys(4)).rename(tmp_path / "a:b %03d.mp4")
    assert len(load_video(odd)[0]) == 4 and len(load_audio(odd))


# ---- sounds


def test_what_cannot_be_heard_is_named(tmp_path):
    wave = 0.3 * np.sin(np.arange(RATE) / 5)
    holed = wave.copy()
    holed[5000] = np.nan
    cases = {
        "nan": (holed, "no numbers"),
        "inf": (np.where(wave > 0.29, np.inf, wave), "no numbers"),
        "opposite": (np.stack([wave, -wave], 1), "cancel each other"),
        "silent": (np.zeros(RATE), "silent"),
        "none": (np.zeros(0), "shorter than"),
    }
    for name, (samples, said) in cases.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        with pytest.raises(MediaError, match=rf"{name}\.wav: .*{said}") as caught:
            load_audio(tmp_path / f"{name}.wav")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_a_sound_over_the_limit_is_an_error_that_names_both(tmp_path, kind):
    path = write_sound(tmp_path / f"long.{kind}", 3.0)
    assert len(load_audio(path, 3.5)) == pytest.approx(3 * RATE, rel=0.05)
    with pytest.raises(MediaError, match=rf"long\.{kind}: its sound is longer than 2 s"):
        load_audio(path, 2)
