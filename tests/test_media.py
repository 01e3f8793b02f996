"""Files to arrays: what cannot be read is an error that names the file; what can be read has the stated form."""

import io
import wave

import numpy as np
import pytest
import soundfile
from PIL import Image
from tiny_parts import processor

from omnirepro.data import MediaError, Part
from omnirepro.data.media import RATE, load_audio, load_image, load_video
from omnirepro.toyworld.scenes import write_mp4

LOADERS = {"png": load_image, "wav": load_audio, "mp4": load_video}


def film(n, side=56):
    """Frames (n, side, side, 3) that grow lighter, each of one colour, so that any frame can be told."""
    return np.stack([np.full((side, side, 3), 10 + 200 * i // max(1, n - 1), np.uint8) for i in range(n)])


def write(path, kind):
    """Write a medium of a kind, rich enough that half of its bytes cannot suffice."""
    rng = np.random.default_rng(0)
    if kind == "png":
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    elif kind == "wav":
        soundfile.write(path, rng.normal(0, 0.1, RATE), RATE)
    else:
        write_mp4(path, rng.integers(0, 256, (8, 56, 56, 3), dtype=np.uint8))
    return path


@pytest.fixture(params=LOADERS)
def medium(request, tmp_path):
    return request.param, write(tmp_path / f"one.{request.param}", request.param)


def test_the_files_used_here_are_readable(medium):
    kind, path = medium
    assert len(LOADERS[kind](path)) > 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"this is no medium",
        lambda data: data[: len(data) // 2],
        lambda data: data[:30],
        lambda data: b"\0" * len(data),
        lambda data: np.random.default_rng(1).bytes(len(data)),
    ],
    ids=["empty", "text", "half", "head", "zeros", "noise"],
)
def test_a_damaged_file_is_named(medium, damage):
    kind, path = medium
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match=rf"one\.{kind}: cannot be read as a .*restore the file or remove the row"):
        LOADERS[kind](path)


def test_a_missing_file_is_named(medium):
    kind, path = medium
    path.unlink()
    with pytest.raises(MediaError, match=rf"one\.{kind}: .*no such file"):
        LOADERS[kind](path)
    with pytest.raises(MediaError, match=rf"one\.{kind}"):
        processor().features(Part(type={"png": "image", "wav": "audio", "mp4": "video"}[kind], path=str(path)))


def test_a_folder_is_no_medium(tmp_path):
    for load in LOADERS.values():
        with pytest.raises(MediaError, match="cannot be read"):
            load(tmp_path)


def test_a_film_that_ends_early_is_an_error(tmp_path):
    """A file with its index in front can be opened although its pictures are cut off."""
    import av

    path, source = tmp_path / "front.mp4", write(tmp_path / "one.mp4", "mp4")
    with av.open(str(source)) as read, av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert load_video(path)[0].shape == (8, 56, 56, 3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "else the test shows nothing"
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match="front.mp4"):
        load_video(path)


def test_sound_in_a_video_file_and_the_reverse_are_errors(tmp_path):
    write(tmp_path / "a.wav", "wav").rename(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="a.mp4"):
        load_video(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="one.png"):
        load_audio(write(tmp_path / "one.png", "png"))


@pytest.mark.parametrize(("n", "kept"), [(1, 2), (2, 2), (3, 4), (4, 4), (5, 6), (16, 16), (17, 16), (40, 16)])
def test_frame_counts_are_even_and_limited(tmp_path, n, kept):
    write_mp4(tmp_path / "x.mp4", film(n), fps=8)
    frames, fps = load_video(tmp_path / "x.mp4")
    assert frames.shape == (kept, 56, 56, 3) and frames.dtype == np.uint8
    light = frames[:, 28, 28, 1].astype(int)
    assert light[0] == pytest.approx(10, abs=6) and (n == 1 or light[-1] == pytest.approx(210, abs=6)), "first and last"
    assert (np.diff(light) >= -2).all(), "in order"
    if n <= 16:
        assert fps == 8, "a film that is kept whole keeps its rate, a repeated last frame or not"
        assert n % 2 == 0 or (frames[-1] == frames[-2]).all()
    else:
        assert fps == pytest.approx(8 * 16 / n)


def test_frames_are_taken_at_the_asked_rate(tmp_path):
    write_mp4(tmp_path / "x.mp4", film(32), fps=8)
    frames, fps = load_video(tmp_path / "x.mp4", fps=2)
    assert len(frames) == 8 and fps == 2
    assert len(load_video(tmp_path / "x.mp4", max_frames=5)[0]) == 4, "never more than allowed"
    assert len(load_video(tmp_path / "x.mp4", fps=100)[0]) == 16


def tone(rate, seconds=0.5, pitch=1000.0):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_sound_of_any_rate_and_channels_becomes_mono_at_16_khz(tmp_path, rate):
    left = tone(rate)
    soundfile.write(tmp_path / "x.wav", np.stack([left, 0.5 * left], axis=1), rate)
    samples = load_audio(tmp_path / "x.wav")
    assert samples.dtype == np.float32 and samples.ndim == 1 and abs(len(samples) - RATE / 2) <= 1
    middle = slice(400, 7600)
    wanted = 0.75 * tone(RATE)[: len(samples)]
    assert np.abs(samples[middle] - wanted[middle]).max() < 0.01, "same pitch, same phase, mean of both channels"


def test_frequencies_above_the_limit_do_not_fold_back(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(44_100, pitch=12_000.0), 44_100)
    assert np.abs(load_audio(tmp_path / "x.wav")[400:-400]).max() < 0.02


def test_too_short_and_endless_sounds(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(RATE, 0.04), RATE)
    with pytest.raises(MediaError, match=r"x\.wav.*shorter than 0\.05 s"):
        load_audio(tmp_path / "x.wav")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((tone(RATE) * 32767).astype("<i2").tobytes())
    streamed = bytearray(buffer.getvalue())
    streamed[4:8] = streamed[40:44] = b"\xff" * 4
    (tmp_path / "s.wav").write_bytes(streamed)
    assert len(load_audio(tmp_path / "s.wav")) == RATE // 2, "a recorder's stream does not know its length"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_pictures_of_any_mode_become_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode).save(tmp_path / f"x.{suffix}")
    found = load_image(tmp_path / f"x.{suffix}")
    assert found.shape == (10, 20, 3) and found.dtype == np.uint8 and (found == 255).all()


def test_a_16_bit_picture_keeps_its_greys(tmp_path):
    Image.fromarray(np.linspace(0, 65_535, 256).reshape(16, 16).astype(np.uint16)).save(tmp_path / "x.png")
    found = load_image(tmp_path / "x.png")
    assert found.shape == (16, 16, 3) and np.abs(found[..., 0].ravel() - np.arange(256.0)).max() <= 1
