"""Limits of media: every key of the section changes what a model is shown, and is kept with what is trained."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from peft import LoraConfig, get_peft_model
from PIL import Image
from tiny_parts import make_model, processor, save_untrained, user

from omnirepro.data import MediaError, Part
from omnirepro.judge import load_judge
from omnirepro.judge.generative import Judge, save_settings
from omnirepro.kit.run.files import project_root
from omnirepro.kit.run.reading import read_yaml
from omnirepro.models.generation import LocalModel
from omnirepro.models.loading import ModelError, load, point_to, save_adapter
from omnirepro.models.processing import LIMITS, OmniProcessor, limits_in
from omnirepro.models.scalar import Scorer, load_scorer, save_scorer
from omnirepro.toyworld.scenes import write_mp4

ODD = {"max_frames": 6, "fps": 2.0, "max_pixels": 40_000}


@pytest.fixture
def media(tmp_path):
    Image.new("RGB", (300, 200), "green").save(tmp_path / "x.png")
    write_mp4(tmp_path / "x.mp4", np.zeros((40, 112, 112, 3), np.uint8), 8)
    soundfile.write(tmp_path / "x.wav", 0.1 * np.sin(np.arange(16_000 * 45) / 9), 16_000)
    kinds = {"image": "png", "video": "mp4", "audio": "wav"}
    return {kind: Part(type=kind, path=str(tmp_path / f"x.{suffix}")) for kind, suffix in kinds.items()}


def limited(**limits):
    return OmniProcessor(processor().tokenizer, limits=limits)


def test_the_section_has_the_processors_limits():
    section = limits_in(read_yaml(project_root() / "params/base.yaml")["media"])
    assert section == LIMITS and [type(v) for v in section.values()] == [type(v) for v in LIMITS.values()]


def test_every_limit_changes_what_is_shown(media):
    pixels = {"min_pixels": 110_000, "max_pixels": 20_000, "frame_min_pixels": 30_000, "frame_max_pixels": 6_000}
    plain = {kind: limited().features(part)["tokens"] for kind, part in media.items()}
    assert plain == {"image": 77, "video": 128, "audio": 1125}, "45 s of sound are heard whole"
    for key, value in pixels.items():
        kind = "video" if key.startswith("frame") else "image"
        grid = limited(**{key: value}).features(media[kind])[f"{kind}_grid_thw"]
        area = grid[1] * grid[2] * 14**2
        assert area >= value if "min" in key else area <= value, key
        assert grid[0] == (8 if kind == "video" else 1)
    assert limited(fps=2.0).features(media["video"])["video_grid_thw"][0] == 5
    assert limited(max_frames=6).features(media["video"])["video_second_per_grid"] == pytest.approx(5 / 3)
    with pytest.raises(MediaError, match=r"x\.wav.*longer than 40 s"):
        limited(max_seconds=40.0).features(media["audio"])
    both = limited(min_pixels=60_000)
    assert both.features(media["video"])["tokens"] > plain["video"], "frames take the pictures' limits"


def test_limits_that_contradict_or_are_unknown_are_refused():
    with pytest.raises(ValueError, match="set frame_min_pixels and frame_max_pixels both"):
        limited(frame_min_pixels=200_000)
    with pytest.raises(ValueError, match="no limit of media is named frames"):
        limited(frames=3)


def test_the_sound_track_of_a_film_follows_it(media, tmp_path):
    import av

    with av.open(str(tmp_path / "both.mp4"), "w") as out, av.open(media["video"].path) as film:
        track = out.add_stream_from_template(film.streams.video[0])
        voice = out.add_stream("aac", rate=16_000, layout="mono")
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
        wave = av.AudioFrame.from_ndarray(0.1 * np.sin(np.arange(16_384, dtype=np.float32) / 9)[None], "fltp", "mono")
        wave.rate = 16_000
        for piece in [*av.AudioResampler(format="fltp", frame_size=1024).resample(wave), None]:
            out.mux(voice.encode(piece))
    chat = [user(Part(type="video", path=str(tmp_path / "both.mp4")), "?")]
    assert len(limited().encode(chat).features) == 1
    film, sound = limited(audio_in_video=True).encode(chat).features
    assert "pixel_values_videos" in film and "input_features" in sound
    assert len(limited(audio_in_video=True).encode([user(media["video"])]).features) == 1, "it has no track"


def test_a_sound_is_heard_up_to_the_models_limit(tmp_path):
    p = OmniProcessor(processor().tokenizer, chunk_seconds=30)
    p.save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "x.wav", np.r_[np.zeros(16_000 * 30), np.ones(16_000)] * 0.1, 16_000)
    part = Part(type="audio", path=str(tmp_path / "x.wav"))
    again = OmniProcessor.from_pretrained(tmp_path / "model")
    with pytest.raises(MediaError, match=r"x\.wav.*longer than 30 s"):
        again.features(part)
    again.limit({"max_seconds": 300.0})
    with pytest.raises(MediaError, match="longer than 30 s"):
        again.features(part)
    assert limited().features(part)["tokens"] == 775


def as_hub(folder, cache, name="someone/omni"):
    """Lay a folder out as the hub's cache keeps a download of it."""
    place = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    return name


@pytest.mark.parametrize("layout", ["released", "edges", "transformers 5"])
def test_a_hub_id_and_its_folder_have_the_same_limits(tmp_path, monkeypatch, layout):
    save_untrained(tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    config = json.loads(path.read_text()) | {"max_pixels": 12_845_056, "chunk_length": 120}
    if layout != "released":
        config["size"] = {"shortest_edge": config.pop("min_pixels"), "longest_edge": config.pop("max_pixels")}
    path.write_text(json.dumps(config))
    if layout == "transformers 5":
        sound = {"feature_extractor": {"chunk_length": config.pop("chunk_length")}}
        (tmp_path / "model" / "processor_config.json").write_text(json.dumps({"image_processor": config} | sound))
        path.unlink()
    (tmp_path / "model" / "judge.json").unlink()
    name = as_hub(tmp_path / "model", tmp_path / "cache")
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = [OmniProcessor.from_pretrained(m, cache_dir=tmp_path / "cache") for m in (tmp_path / "model", name)]
    for one in found:
        assert (one.vision["min_pixels"], one.vision["max_pixels"], one.chunk_seconds) == (3136, 12_845_056, 120)


def test_limits_are_kept_with_what_is_trained(tmp_path):
    base = save_untrained(tmp_path / "base")
    model, p = load(base, "cpu")
    assert p.limits == LIMITS
    p.limit(ODD)
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    save_adapter(tuned, tmp_path / "adapter", base)
    save_settings(Judge(LocalModel(tuned, p, "x"), wording="brief"), tmp_path / "adapter")
    save_scorer(Scorer(make_model(), p), tmp_path / "whole", base)
    assert load(tmp_path / "adapter", "cpu", media={"max_frames": 2})[1].limits == LIMITS | ODD
    judge = load_judge(tmp_path / "adapter", device="cpu")
    assert judge.chat.processor.limits == LIMITS | ODD and judge.wording == "brief"
    assert load_scorer(tmp_path / "whole", "cpu").processor.limits == LIMITS | ODD
    kept = json.loads((tmp_path / "adapter" / "judge.json").read_text())
    (tmp_path / "adapter" / "judge.json").write_text(json.dumps({k: v for k, v in kept.items() if k != "media"}))
    assert load(tmp_path / "adapter", "cpu")[1].limits == LIMITS, "an adapter without limits takes its base's"
    (tmp_path / "adapter" / "judge.json").write_text(json.dumps(kept | {"media": {"frames": 8}}))
    with pytest.raises(ModelError, match="adapter.*no limit of media is named frames"):
        load(tmp_path / "adapter", "cpu")


def test_a_pointer_gives_its_limits_to_all_that_is_opened_through_it(tmp_path):
    base = save_untrained(tmp_path / "base")
    (base / "judge.json").unlink()
    assert load(base, "cpu", media=ODD)[1].limits == LIMITS | ODD, "a model without limits takes those of the run"
    point_to(str(base), tmp_path / "strong", LIMITS | ODD)
    assert load(tmp_path / "strong", "cpu")[1].limits == LIMITS | ODD
    model, _ = load(tmp_path / "strong", "cpu")
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    save_adapter(tuned, tmp_path / "adapter", tmp_path / "strong")
    assert load(tmp_path / "adapter", "cpu")[1].limits == LIMITS | ODD
    assert load_judge(tmp_path / "strong", device="cpu").wording == "full"


@pytest.mark.parametrize("profile", ["omni-7b", "omni-3b"])
def test_published_profiles_show_films_as_published(profile):
    from omnirepro.kit.run.parameters import load_params

    params = load_params(profile)
    shown = limits_in(params.section("media"))
    assert (shown["fps"], shown["max_frames"], params["grpo.max_frames"]) == (1.0, 20, 8)
    p = limited(**shown)
    frames = np.zeros((2, 480, 854, 3), np.uint8)
    from omnirepro.data.media import to_patches

    grid = to_patches(frames, **p._pixels("frame_min_pixels", "frame_max_pixels"))[1]
    assert 0.9 * 100_352 <= grid[1] * grid[2] * 196 <= 105_369, "multiples of 28 on each side"
    assert shown["max_pixels"] == 131_072
