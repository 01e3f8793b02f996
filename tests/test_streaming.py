"""Data larger than memory: rows encoded with their batch, media shared on disk, batches and memories bounded."""

import time

import numpy as np
import pytest
import torch
from tiny_parts import make_model, pool_of, processor, save_untrained, text_part, user

from omnirepro import load_judge
from omnirepro.cli.main import main
from omnirepro.data import Judgement, MediaError, Pair, Part, read_jsonl, write_jsonl
from omnirepro.data.files import RunError
from omnirepro.kit.run.parameters import load_params
from omnirepro.models import examples, generation
from omnirepro.models.cache import FeatureStore
from omnirepro.models.examples import Encoded, bytes_of
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.processing import OmniProcessor, collate_media
from omnirepro.train import common
from omnirepro.train.bradley_terry import encode_pairs, train_bradley_terry
from omnirepro.train.curriculum import labels_of
from omnirepro.train.grpo import show_pairs, train_grpo
from omnirepro.train.sft import train_sft

SAMPLED = Decoding(max_new_tokens=6, temperature=1.0)
KINDS = ("image", "video", "audio")
ASKED = {"format": "rationale-first", "wording": "brief", "max_new_tokens": 8}


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return pool_of(tmp_path_factory.mktemp("pool"), 4)


@pytest.fixture(scope="module")
def pairs(pool):
    found = [(kind, i, part) for kind in KINDS for i, part in enumerate(pool[kind])]
    return [pair_of(f"{kind}{i}", part, "AB"[i % 2]) for kind, i, part in found]


def pair_of(name, part, label="A"):
    sides = {"response_a": [text_part("a red ring")], "response_b": [text_part("two beeps, then none")]}
    return Pair(id=name, task=part.type, prompt=[part, text_part("what is it?")], label=label, **sides)


def missing(name):
    return pair_of(name, Part(type="video", path=f"/nowhere/{name}.mp4"))


class Here:
    """What a training asks of a run."""

    name, seed, device, dtype, launcher = "here", 0, "cpu", "float32", ""

    def __init__(self, folder, workers=0):
        self.folder, self.workers = folder, workers
        self.checkpoint_dir = folder / "checkpoints"
        self.checkpoint_dir.mkdir(parents=True)

    def path(self, name=""):
        return self.folder / name

    def write(self, name, content):
        path = self.folder / name
        if not callable(content):
            path.write_text(content)
            return path
        if not path.suffix:
            path.mkdir()
        content(path)
        return path


def section(name, **changes):
    values = load_params("smoke", "none", {}).values([name])
    return {key.split(".", 1)[1]: value for key, value in values.items()} | changes


# ---- examples hold ids and references


def test_an_example_holds_no_array_and_gives_the_same_batch(pool):
    made = OmniProcessor(processor().tokenizer, cache=1)  # forgets every medium with the next one
    parts = [pool[kind][0] for kind in KINDS]
    example = made.encode([user(*parts, "what?")])
    assert not any(hasattr(value, "nbytes") for medium in example.features for value in medium.held.values())
    wanted = collate_media([processor().features(part) for part in parts])
    found = collate_media(example.features)
    assert list(found) == list(wanted) and all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(made._features) == 1


def test_a_file_that_changed_behind_its_example_is_named(pool, tmp_path):
    import shutil

    path = tmp_path / "film.mp4"
    shutil.copy(pool["video"][0].path, path)
    made = OmniProcessor(processor().tokenizer, cache=1)
    example = made.encode([user(Part(type="video", path=str(path)))])
    made.features(pool["image"][0])
    made.vision |= {"min_pixels": 200_704, "max_pixels": 401_408}
    with pytest.raises(MediaError, match=r"film.mp4: it changed since"):
        collate_media(example.features)


def test_many_rows_begin_at_once_and_a_bad_one_is_named_with_its_batch(pairs, monkeypatch):
    monkeypatch.setattr(common, "LOOKED_AT", 0.2)
    rows = [pair.model_copy(update={"id": f"{pair.id}-{n}"}) for n in range(1500) for pair in pairs]
    rows.append(missing("last"))
    begun = time.monotonic()
    encoded = encode_pairs(processor().encode, rows, labels_of(rows), "drop", 512, "brief")
    assert time.monotonic() - begun < 10 and len(encoded) == len(rows)
    preferred, other, tied = encoded[1]
    assert not tied and preferred.ids != other.ids
    with pytest.raises(MediaError, match=r"pair last: /nowhere/last.mp4: .*no such file"):
        encoded[-1]


def test_few_rows_are_looked_at_before_the_first_step(pairs):
    some = [*pairs, missing("gone")]
    for encode in (
        lambda: encode_pairs(processor().encode, some, labels_of(some)),
        lambda: show_pairs(some, labels_of(some), processor(), "brief", "rationale-first", True),
    ):
        with pytest.raises(MediaError, match=r"pair gone: "):
            encode()


def test_the_memory_of_rows_is_bounded():
    calls = []
    rows = Encoded(range(10), lambda row: calls.append(row) or row, remember=2)
    assert list(rows) == list(range(10)) and rows[-1] == 9 and rows[8] == 8 and len(calls) == 10
    assert rows[2:4] == [2, 3] and len(calls) == 12
    with pytest.raises(IndexError):
        rows[10]


@pytest.mark.parametrize("training", ["sft", "grpo", "bradley_terry"])
def test_workers_change_nothing(pairs, tmp_path, training):
    base = save_untrained(tmp_path / "base")
    labels = labels_of(pairs)
    made = []
    for workers in (0, 2):
        run = Here(tmp_path / f"{training}-{workers}", workers)
        if training == "bradley_terry":
            train_bradley_terry(run, base, pairs, labels, section("bradley_terry", steps=2, batch=4), "brief")
            made.append((run.folder / "scorer/model.safetensors").read_bytes())
            continue
        adapter = train_sft(run, base, pairs, labels, section("sft", steps=2, batch=4), ASKED)
        if training == "grpo":
            run = Here(tmp_path / f"grpo-{workers}-tuned", workers)
            adapter = train_grpo(run, adapter, pairs, labels, section("grpo", steps=2, pairs=2, group=2), ASKED)
        made.append((adapter / "adapter_model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_an_error_in_a_worker_is_one_line_that_names_the_row(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "LOOKED_AT", 0.0)
    rows = [*pairs, *(missing(f"gone{i}") for i in range(20))]
    with pytest.raises(MediaError) as caught:
        values = section("bradley_terry", steps=8, batch=4)
        train_bradley_terry(
            Here(tmp_path / "run", 1), save_untrained(tmp_path / "base"), rows, labels_of(rows), values, "brief"
        )
    assert str(caught.value).startswith("pair gone") and len(str(caught.value).splitlines()) == 1


# ---- generation


def counted(model):
    """Note the shape of what the head is given."""
    seen = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


@pytest.mark.parametrize("rows", [1, 2, 3, 12])
def test_the_head_reads_no_whole_prompt_and_the_logits_are_the_same(pool, rows):
    model, known = make_model(), processor()
    chats = [user(pool[KINDS[i % 3]][i % 4], "say " * 40) for i in range(rows)]
    batch = generation._prompts(model, known, [known.encode([chat]) for chat in chats])
    with torch.inference_mode():
        wanted = model(**batch).logits[:, -1]
        seen = counted(model)
        with generation.last_logits(model):
            # a product of another size may differ in its last bit, with more than one thread at least
            torch.testing.assert_close(model(**batch).logits[:, -1], wanted, rtol=0, atol=1e-5)
            shape = model(**batch).logits.shape
    assert shape[0] * shape[1] < 16 + rows < batch["input_ids"].numel() / 3
    assert model(**batch).logits.shape[1] == batch["input_ids"].shape[1] and len(seen) == 3, "the hook is gone again"


def test_batches_are_bounded_by_tokens(pool, monkeypatch):
    known, model = processor(), make_model()
    chats = [[user(pool["video"][i % 4], "say " * (1 + 5 * i))] for i in range(12)]
    chat = LocalModel(model, known, "m")
    wanted = chat.complete(chats, SAMPLED, 1)
    longest = max(len(known.encode(one).ids) for one in chats) + SAMPLED.max_new_tokens
    monkeypatch.setattr(generation, "tokens_at_once", lambda model: 3 * longest)
    sizes = []
    prompts = generation._prompts
    monkeypatch.setattr(generation, "_prompts", lambda *given: sizes.append(len(given[2])) or prompts(*given))
    assert chat.complete(chats, SAMPLED, 1) == wanted
    assert sizes[0] == 3 and sum(sizes) == 12 and len(sizes) > 2 and max(sizes) > 3, "shorter rows fill it with more"
    monkeypatch.setattr(generation, "tokens_at_once", lambda model: 1)
    sizes.clear()
    assert chat.complete(chats, SAMPLED, 1) == wanted and sizes == [1] * 12


def test_a_processor_that_writes_nothing_reads_small_batches_with_the_same_results(pool, monkeypatch):
    chat = LocalModel(make_model(), processor(), "m")
    chats = [[user(pool["video"][i % 4], "say " * (1 + 5 * i))] for i in range(12)]
    sizes = []
    prompts = generation._prompts
    monkeypatch.setattr(generation, "_prompts", lambda *given: sizes.append(len(given[2])) or prompts(*given))
    found = []
    for most in (1 << 20, 3 * (2 + max(len(chat.processor.encode(one).ids) for one in chats))):
        monkeypatch.setattr(generation, "READ_AT_ONCE", most)
        found.append(chat.choose(chats, ["[["] * 12, ["A", "B"]))
    assert sizes[:2] == [12, 3] and sum(sizes[1:]) == 12
    np.testing.assert_allclose(*found, atol=1e-5)
    assert chat.complete(chats, SAMPLED, 1) and sizes[-1] == 12, "one that writes has the batch that it was given"


def test_the_embedded_model_never_meets_the_bound_and_a_released_size_does():
    from transformers import Qwen2_5OmniThinkerConfig

    assert generation.tokens_at_once(make_model()) > 256 * 1024

    class Released:
        config, device, dtype = Qwen2_5OmniThinkerConfig(), torch.device("cpu"), torch.bfloat16

    assert 20_000 < generation.tokens_at_once(Released()) < 256 * 1400


def test_chats_are_completed_in_stretches_that_read_each_file_once(pool, monkeypatch):
    model = make_model()
    chats = [[user(pool[KINDS[i % 3]][i // 3 % 4], "what?")] for i in range(24)]
    wanted = LocalModel(model, processor(), "m").complete(chats, SAMPLED, 1)
    largest = max(bytes_of(processor().features(part)) for kind in KINDS for part in pool[kind])
    monkeypatch.setattr(examples, "STRETCH", 2 * largest)
    made = OmniProcessor(processor().tokenizer, cache=4 * largest)
    prepared, done = [], []
    prepare = made._prepare
    monkeypatch.setattr(made, "_prepare", lambda part: prepared.append(part.path) or prepare(part))
    progress = lambda *given: done.append(given[:2])  # noqa: E731
    assert LocalModel(model, made, "m").complete(chats, SAMPLED, 1, progress) == wanted
    assert len(prepared) <= 24 and made._features.bytes <= 4 * largest
    assert len(done) > 3 and done[-1] == (24, 24) and [n for n, _ in done] == sorted({n for n, _ in done})


# ---- features on disk


@pytest.fixture
def large(tmp_path):
    """A picture too large to be prepared anew at a whim."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (200, 220, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    return Part(type="image", path=str(tmp_path / "noise.png"))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(OmniProcessor, "store", FeatureStore(tmp_path / "media.sqlite"))
    return OmniProcessor.store


def another(monkeypatch, **kwargs):
    """Another process's processor; the list names the files that it prepares itself."""
    made, prepared = OmniProcessor(processor().tokenizer, **kwargs), []
    prepare = made._prepare
    monkeypatch.setattr(made, "_prepare", lambda part: prepared.append(part.path) or prepare(part))
    return made, prepared


def test_features_are_shared_by_content_and_settings(large, store, pool, tmp_path, monkeypatch):
    first, prepared = another(monkeypatch)
    wanted = first.features(large)
    first.features(pool["audio"][0])
    second, again = another(monkeypatch)
    found = second.features(large)
    assert len(prepared) == 2 and not again and list(found) == list(wanted)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted) and found["tokens"] == wanted["tokens"]
    assert store.path.is_file() and len(keys_of(store)) == 1, "small files are not kept"
    smaller, again = another(monkeypatch, vision={"max_pixels": 28_224})
    assert smaller.features(large)["tokens"] < wanted["tokens"] and len(again) == 1, "other settings, other features"
    made = []
    for _ in range(2):
        odd, again = another(monkeypatch)
        odd.settings = type("Family", (), {})()
        odd.settings.tokens = bytes_of  # a function, which has another address in every process
        odd.features(large)
        made += again
    assert len(made) == 1, "settings of any kind are said alike everywhere"
    from PIL import Image

    Image.open(large.path).rotate(180).save(large.path)
    turned, again = another(monkeypatch)
    assert not np.array_equal(turned.features(large)["pixel_values"], wanted["pixel_values"]) and len(again) == 1


def keys_of(store):
    with store:
        return {key: len(value) for key, value in store._base.execute("select key, value from answers")}


def test_the_store_is_bounded(large, tmp_path):
    one = {"tokens": 3, "pixel_values": np.ones((10, 25), np.float32)}
    store = FeatureStore(tmp_path / "bounded.sqlite", most=5000)
    for i in range(20):
        assert store.fetch(large, f"setting {i}", lambda: one)["tokens"] == 3
        assert sum(keys_of(store).values()) <= 5000
    assert 3 <= len(keys_of(store)) <= 4, "it stays full"


def test_a_store_that_mixes_media_is_found_out(large, store, tmp_path, monkeypatch):
    from PIL import Image

    other = Part(type="image", path=str(tmp_path / "other.png"))
    Image.open(large.path).rotate(180).save(other.path)
    first, _ = another(monkeypatch)
    first.features(large), first.features(other)
    for _ in range(40):
        another(monkeypatch)[0].features(large)  # a sound store stays silent
    with store:
        values = store._base.execute("select key, value from answers").fetchall()
    (a, of_a), (b, of_b) = values
    assert of_a != of_b
    with store, store._base:
        store._base.executemany("insert or replace into answers values (?, ?)", [(a, of_b), (b, of_a)])
    with pytest.raises(RunError, match=r"media.sqlite keeps other features of .*noise.png .*: delete it, run again"):
        for _ in range(store.canary):
            another(monkeypatch)[0].features(large)


def test_judging_prepares_a_large_file_once_and_for_all_commands_with_equal_chances(large, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(OmniProcessor, "store", None)
    prepared = []
    prepare = OmniProcessor._prepare
    monkeypatch.setattr(OmniProcessor, "_prepare", lambda self, part: prepared.append(part.path) or prepare(self, part))
    texts = {side: [Part(type="text", text=side)] for side in ("response_a", "response_b")}
    pairs = [Pair(id=f"{i}", task="image", prompt=[large, Part(type="text", text=f"question {i}?")], **texts)
             for i in range(3)]  # fmt: skip
    file, model = write_jsonl(tmp_path / "pairs.jsonl", pairs), save_untrained(tmp_path / "model")

    def chances(name):
        out = tmp_path / f"{name}.jsonl"
        assert main(["judge", str(file), "--model", str(model), "--read", "choice", "--out", str(out)]) == 0
        return [(row.pair_id, row.order, row.probability) for row in read_jsonl(out, Judgement)]

    cold, warm = chances("cold"), chances("warm")
    assert cold == warm and len(cold) == 6 and prepared == [large.path], "of another process's features too"
    assert (tmp_path / "results/.media.sqlite").is_file()
    own = load_judge(str(model), read="choice")
    monkeypatch.setattr(OmniProcessor, "store", None)
    bare = [(row.pair_id, row.order, row.probability) for row in own.judge(pairs)]
    assert bare == cold, "the same to the last bit without a store"


def test_a_store_that_is_broken_is_told_of_and_passed_over(large, tmp_path, monkeypatch):
    (tmp_path / "torn.sqlite").write_bytes(b"this is no database" * 200)
    monkeypatch.setattr(OmniProcessor, "store", FeatureStore(tmp_path / "torn.sqlite"))
    made, prepared = another(monkeypatch)
    with pytest.warns(RuntimeWarning, match=r"torn.sqlite: media are prepared anew"):
        assert made.features(large)["tokens"] > 0
    assert prepared == [large.path]


def test_a_run_keeps_media_below_its_results(large, tmp_path, monkeypatch):
    from omnirepro.kit.run import open_run

    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(OmniProcessor, "store", None)
    made, _ = another(monkeypatch)
    open_run("03_sft", "smoke", "kept").do(lambda run: made.features(large))
    assert (tmp_path / "results/.media.sqlite").is_file()
    open_run("03_sft", "smoke", "none", overrides={"media.cache_gb": 0}).do(lambda run: None)
    assert OmniProcessor.store is None
