"""Families of models: what each makes of media equals the official processor and class; nothing is read from noise."""

import json
import re
import shutil
import warnings
from pathlib import Path

import checkpoints
import pytest
import torch
from golden_families import FPS, KINDS, SIDES, conversation, digest, positions_of

from omnirepro import load_judge
from omnirepro.cli.main import main
from omnirepro.data import MediaError, Pair, Part, Prompt, Response, text_part
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.models.device import best_device, resolve_device, resolve_dtype
from omnirepro.models.families import in_words
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.loading import ModelError, load
from omnirepro.models.processing import OmniProcessor
from omnirepro.models.scalar import Scorer
from omnirepro.models.towers import TOWERS
from omnirepro.train.common import LANGUAGE_LAYERS

GOLDEN = json.loads(Path(__file__).with_name("golden_families.json").read_text(encoding="utf-8"))
LAYOUTS = {"omni_full": "omni_thinker", "omni_legacy": "omni_thinker"} | {name: name for name in SIDES}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return {side: checkpoints.write_media(tmp_path_factory.mktemp("media"), side, FPS) for side in (56, 64)}


def chat_of(name, media):
    """The conversation of the golden file, as the kit has it."""
    kinds = KINDS.get(name, ("image", "video", "audio"))
    (turn,) = conversation(kinds)
    paths = media[SIDES[name]]
    parts = [
        Part(type="text", text=p["text"]) if p["type"] == "text" else Part(type=p["type"], path=str(paths[p["type"]]))
        for p in turn["content"]
    ]
    return [{"role": "user", "parts": parts}]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_positions_and_logits_equal_the_official_ones(folder_of, media, layout):
    name = LAYOUTS[layout]
    wanted = GOLDEN[name]
    model, processor = load(folder_of(layout), device="cpu")
    example = processor.encode(chat_of(name, media))
    assert example.ids == wanted["ids"]
    batch = processor.collate([example])
    batch.pop("labels")
    assert {key: value.tolist() for key, value in batch.items() if "grid_thw" in key} == {
        key: value for key, value in wanted["grids"].items() if "thw" in key
    }
    if wanted["positions"]:
        assert digest(positions_of(model, batch)[:, 0]) == wanted["positions"]
    with torch.no_grad():
        made = model(**batch).logits[0, -1, :12]
    assert torch.allclose(made, torch.tensor(wanted["logits"]), atol=1e-3), (made, wanted["logits"])


@pytest.mark.parametrize("name", SIDES)
def test_a_row_says_the_same_alone_and_in_a_batch_and_can_be_scored(folder_of, media, name):
    model, processor = load(folder_of(name), device="cpu")
    plain = [{"role": "user", "parts": [Part(type="text", text="what?")]}]
    answer = {"role": "assistant", "parts": [Part(type="text", text="yes")]}
    chats = [chat_of(name, media), plain, [*plain, answer], [*chat_of(name, media), answer]]
    chat = LocalModel(model, processor, name)
    short = Decoding(max_new_tokens=4)
    assert chat.complete(chats, short) == [chat.complete([one], short)[0] for one in chats]
    scorer = Scorer(model, processor)
    torch.nn.init.normal_(scorer.value, generator=torch.Generator().manual_seed(0))
    assert scorer.score(chats) == pytest.approx([scorer.score([one])[0] for one in chats], abs=1e-4)


@pytest.mark.parametrize("name", SIDES)
def test_a_processor_that_is_saved_reads_the_same_again(folder_of, media, name, tmp_path):
    model, processor = load(folder_of(name), device="cpu")
    processor.save_pretrained(tmp_path)
    again = OmniProcessor.from_pretrained(tmp_path, processor.family)
    assert again.encode(chat_of(name, media)).ids == GOLDEN[name]["ids"]
    assert again.vision == processor.vision and again.placeholder_ids == processor.placeholder_ids


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vl", "audio"), ("vl3", "audio"), ("audio2", "image"), ("audio2", "views3d"), ("smolvlm", "audio")],
)
def test_a_medium_that_a_family_does_not_read_is_named(folder_of, media, name, kind):
    _, processor = load(folder_of(name), device="cpu")
    part = Part(type=kind, path=str(media[56].get(kind, "v.png")))
    with pytest.raises(MediaError, match=f"{part.path}: this model reads text, .*drop the media"):
        processor.encode([{"role": "user", "parts": [part]}])


def test_a_film_is_shown_to_smolvlm_beside_a_picture_by_a_template_that_knows_no_films(folder_of, media):
    model, processor = load(folder_of("smolvlm"), device="cpu")
    tokenizer = processor.tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace("<video>", "")
    processor = OmniProcessor(tokenizer, processor.settings, family=processor.family)
    film, picture = (Part(type=kind, path=str(media[56][kind])) for kind in ("video", "image"))
    chat = [{"role": "user", "parts": [film, Part(type="text", text="and"), picture]}]
    example = processor.encode(chat)
    said = tokenizer.decode(example.ids)
    assert "User: You are provided the following series of four frames from a 0:00:02 [H:MM:SS] video.\n\n" in said
    shown = re.findall(r"\nFrame from (\d\d:\d\d):<fake_token_around_image><global-img>(?:<image>){4}<", said)
    assert shown == ["00:00", "00:00", "00:01", "00:01"] and said.count("<image>") == 4 * 4 + 5 * 4
    batch = processor.collate([example])
    assert batch["pixel_values"].shape == (1, 4 + 5, 3, 32, 32)
    batch.pop("labels")
    assert torch.isfinite(model(**batch).logits).all()
    assert [in_words(n) for n in (9, 16, 21, 64, 100, 117)] == [
        *("nine", "sixteen", "twenty-one", "sixty-four", "one hundred", "one hundred and seventeen")
    ]


def test_remembered_towers_are_those_that_are_known(folder_of, media):
    for name, known in {"omni_thinker": 2, "vl": 1, "vl3": 0, "audio2": 0, "smolvlm": 0, "omni3": 0}.items():
        model, processor = load(folder_of(name), device="cpu")
        batch = processor.collate([processor.encode(chat_of(name, media))])
        batch.pop("labels")
        with torch.no_grad():
            first, second = model(**batch).logits, model(**batch).logits
        assert torch.allclose(first, second, atol=1e-6)
        towers = [m for n, m in model.named_modules() if n.rpartition(".")[2] in TOWERS]
        assert towers and not any(p.requires_grad for tower in towers for p in tower.parameters())
        assert len([tower for tower in towers if getattr(tower, "remembered", None)]) == known, name


# ---- what the files lack


def altered(folder, tmp_path, change):
    """A copy of a folder whose tensors, by name, were changed."""
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "altered"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    change(weights)
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    return copy


LOST = {
    "omni_thinker": "model.layers.1.mlp.up_proj.weight",
    "omni_full": "thinker.audio_tower.conv1.bias",
    "omni3": "model.layers.0.mlp.experts.2.up_proj.weight",
    "vl": "visual.merger.mlp.0.weight",
    "vl3": "lm_head.weight",
    "audio2": "multi_modal_projector.linear.weight",
    "smolvlm": "model.connector.modality_projection.proj.weight",
    "text_model": "model.norm.weight",
    "reward_model": "score.weight",
}


@pytest.mark.parametrize("name", LOST)
def test_a_weight_that_the_files_lack_is_named(folder_of, tmp_path, name):
    def drop(weights):
        del weights[LOST[name]]

    with pytest.raises(ModelError, match="its files lack weights") as error:
        load_judge(altered(folder_of(name), tmp_path, drop), device="cpu")
    lost = LOST[name].removesuffix(".weight").split(".")[-1 if "experts" not in LOST[name] else 3]
    assert lost in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["omni_thinker", "omni3", "vl", "smolvlm", "text_model", "reward_model"])
@pytest.mark.parametrize("odd", ["shape", "more"])
def test_weights_of_another_shape_or_with_no_place_are_named(folder_of, tmp_path, name, odd):
    def change(weights):
        key = next(key for key in weights if key.endswith("embed_tokens.weight"))
        if odd == "shape":
            weights[key] = weights[key][:, :32].clone()
        else:
            weights["v_head.summary.weight"] = torch.ones(1, 64)

    wanted = "another shape .*embed_tokens.weight" if odd == "shape" else "has no place for .*v_head.summary.weight"
    with pytest.raises(ModelError, match=wanted):
        load_judge(altered(folder_of(name), tmp_path, change), device="cpu")


def test_tied_weights_are_no_lack(tmp_path):
    from safetensors.torch import load_file

    made = checkpoints.make("text_model", tmp_path, tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model, _ = load(tmp_path, device="cpu")
    assert torch.equal(model.lm_head.weight, made.lm_head.weight)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("head", ["Model", "ForTokenClassification", "ForQuestionAnswering"])
def test_a_model_without_a_head_for_words_is_no_judge(tmp_path, head, tied):

    if head == "Model" and tied:
        pytest.skip("a base with tied embeddings is whole")
    checkpoints.make("text_model", tmp_path, head=head, tie_word_embeddings=tied) if head != "Model" else (
        checkpoints.make("text_model", tmp_path).model.save_pretrained(tmp_path)
    )
    with pytest.raises(ModelError, match="lack weights .*lm_head|has no place for .*(score|qa_outputs)"):
        load(tmp_path, device="cpu")


# ---- reward models of the hub


@pytest.mark.parametrize(
    ("kind", "own"),
    [("Qwen3", {}), ("Llama", {}), ("Llama", {"pad_token_id": None}), ("Gemma2", {"query_pre_attn_scalar": 32})],
)
def test_a_classifier_is_a_scalar_judge_that_scores_as_its_class_does(tmp_path, kind, own):
    model = checkpoints.make("reward_model", tmp_path, kind=kind, **own)
    judge = load_judge(tmp_path, device="cpu")
    assert isinstance(judge, ScalarJudge)
    asked = ["What is the time?", "Name a river."]
    answers = ["Noon.", "It is the Nile, which runs through eleven countries.", "No."]
    pairs = [(a, b) for a in asked for b in answers]
    prompts = [Prompt(id=str(i), task="T2T", parts=[text_part(a)]) for i, (a, _) in enumerate(pairs)]
    made = judge.score(prompts, [Response(prompt_id="0", parts=[text_part(b)]) for _, b in pairs])
    tokenizer = judge.scorer.processor.tokenizer
    for (question, answer), score in zip(pairs, made, strict=True):
        chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            assert score == pytest.approx(model(ids).logits.item(), abs=1e-5)
    assert len({round(x, 3) for x in made}) > 4


def test_the_commands_read_a_classifier(folder_of, tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    parts = {"prompt": [{"type": "text", "text": "Name a river."}], "response": [{"type": "text", "text": "The Nile."}]}
    rows.write_text(json.dumps({"id": "r"} | parts) + "\n")
    pairs = tmp_path / "pairs.jsonl"
    sides = {"response_a": parts["response"], "response_b": [{"type": "text", "text": "No."}]}
    pairs.write_text(json.dumps({"id": "p", "task": "T2T", "prompt": parts["prompt"]} | sides) + "\n")
    name = str(folder_of("reward_model"))
    assert main(["score", str(rows), "--model", name, "--out", str(tmp_path / "s.jsonl")]) in (None, 0)
    assert isinstance(json.loads((tmp_path / "s.jsonl").read_text())["score"], float)
    assert main(["judge", str(pairs), "--model", name, "--out", str(tmp_path / "j.jsonl")]) in (None, 0)
    judged = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [row["order"] for row in judged] == ["AB", "BA"] and {row["status"] for row in judged} == {"ok"}
    assert {row["kind"] for row in judged} == {"scalar"}


def test_a_classifier_is_opened_as_what_it_is(folder_of, tmp_path):
    with pytest.raises(ModelError, match="scores answers and writes none; .*load_judge"):
        load(folder_of("reward_model"), device="cpu")
    with pytest.raises(ModelError, match="Qwen3ForSequenceClassification gives 5 numbers"):
        checkpoints.make("reward_model", tmp_path, num_labels=5)
        load_judge(tmp_path, device="cpu")


# ---- what cannot be opened, and files of other kinds


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["MiniCPMO"], "model_type": "minicpmo", "auto_map": {"AutoConfig": "code.Config"}},
        {"architectures": ["OwnRewardModel"], "model_type": "llama", "auto_map": {"AutoModel": "code.OwnRewardModel"}},
    ],
)
def test_what_needs_remote_code_is_refused_with_the_remedy(tmp_path, config):
    (tmp_path / "code.py").write_text("raise SystemExit('remote code ran')")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{config['architectures'][0]} needs code from its files.*serve it behind"):
        load_judge(tmp_path, device="cpu")


def test_a_kind_that_writes_no_text_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(ModelError, match="no family is known for the model type 'vit'; serve it"):
        load_judge(tmp_path, device="cpu")


def test_tokenizer_and_config_must_mean_one_token(folder_of, tmp_path):
    copy = altered(folder_of("vl"), tmp_path, lambda weights: None)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"image_token_id": config["image_token_id"] + 1}))
    with pytest.raises(ModelError, match="image_pad.* of its tokenizer and .* of its config"):
        load(copy, device="cpu")


@pytest.mark.parametrize(("cuda", "mps", "wanted"), [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_auto_means_the_best_device_that_is_there(monkeypatch, cuda, mps, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    section = {"device": "auto", "dtype": "auto", "threads": 0}
    assert best_device() == resolve_device(section) == wanted
    assert resolve_dtype(section) == ("float32" if wanted == "cpu" else "bfloat16")
    assert resolve_device(section | {"device": "mps"}) == "mps"


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3"])
@pytest.mark.parametrize("given", ["file", "folder"])
def test_gguf_files_of_other_kinds_are_the_same_model(tmp_path, kind, given):
    own = {"head_dim": 128} if kind == "Qwen3" else {}  # of every released Qwen3; transformers reads no other from GGUF
    model = checkpoints.make("text_model", tmp_path / "plain", kind=kind, **own)
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf" / "tiny-f32.gguf"
    checkpoints.write_gguf(model, tmp_path / "plain", file)
    again, processor = load(file if given == "file" else file.parent, device="cpu")
    assert type(again) is type(model)
    chat = [{"role": "user", "parts": [text_part("what is the time?")]}]
    _, plain = load(tmp_path / "plain", device="cpu")
    assert processor.encode(chat).ids == plain.encode(chat).ids
    ids = torch.tensor([plain.encode(chat).ids])
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, model(ids).logits, atol=1e-4)


def test_a_folder_of_several_gguf_files_asks_for_one(tmp_path):
    for name in ("a-q4.gguf", "b-q8.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="several GGUF files; name one of a-q4.gguf, b-q8.gguf"):
        load_judge(tmp_path, device="cpu")
    with pytest.raises(ModelError, match="a-q4.gguf: no model could be loaded"):
        load_judge(tmp_path / "a-q4.gguf", device="cpu")


# ---- adapters of other trainers

LAYERS = "(o_proj|k_proj|q_proj|v_proj|gate_proj|up_proj|down_proj)"
TRAINERS = {
    "ms-swift": ("thinker.model.layers", rf"^(thinker\.model(?=\.).*\.{LAYERS})$"),
    "ms-swift, later layout": ("thinker.model.language_model.layers", rf"^(thinker.model(?=\.).*\.{LAYERS})$"),
    "LLaMA-Factory": ("model.layers", rf"^(?!.*(?:visual|audio_tower)).*(?:{LAYERS[1:-1]}).*"),
    "a list": ("thinker.model.layers", LAYERS[1:-1].split("|")),
    "all linear layers": ("model.language_model.layers", "all-linear"),
}


def adapter_of(base, folder, prefix, targets, **changes):
    """Write an adapter on the language model as a trainer names it; return the adapted model."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file

    model, _ = load(base, device="cpu")
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=LANGUAGE_LAYERS))
    for at, (name, weight) in enumerate(sorted(tuned.named_parameters())):
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(at))
    tuned.save_pretrained(folder)
    weights = load_file(folder / "adapter_model.safetensors")
    renamed = {key.replace("model.language_model.layers", prefix): value for key, value in weights.items()}
    save_file(renamed, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"target_modules": targets, "base_model_name_or_path": str(base)} | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return tuned.eval()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_adapter_of_another_trainer_is_read_whole(folder_of, tmp_path, trainer):
    tuned = adapter_of(folder_of("omni_full"), tmp_path, *TRAINERS[trainer])
    ids = torch.arange(12)[None]
    judge = load_judge(tmp_path, device="cpu")
    with torch.no_grad():
        assert torch.allclose(judge.chat.model(input_ids=ids).logits, tuned(input_ids=ids).logits, atol=1e-5)
        plain, _ = load(folder_of("omni_full"), device="cpu")
        assert (plain(input_ids=ids).logits - tuned(input_ids=ids).logits).abs().max() > 0.1
    places = {name.split(".lora_")[0] for name, _ in judge.chat.model.named_parameters() if ".lora_" in name}
    assert len(places) == 14 and all("language_model" in place for place in places)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefix": "decoder.blocks"}, "14 of its names find no place in its base, a Qwen2_5Omni.*decoder.blocks"),
        ({"task_type": "SEQ_CLS"}, "adapter of a classifier; merge it"),
        ({"r": 3}, "size mismatch"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(folder_of, tmp_path, change, message):
    change = dict(change)
    prefix = change.pop("prefix", "model.language_model.layers")
    adapter_of(folder_of("omni_full"), tmp_path, prefix, LANGUAGE_LAYERS, **change)
    with pytest.raises(ModelError, match=message):
        load(tmp_path, device="cpu")


def test_a_single_tensor_of_an_adapter_without_a_place_is_an_error(folder_of, tmp_path):
    from safetensors.torch import load_file, save_file

    adapter_of(folder_of("omni_full"), tmp_path, "model.layers", LANGUAGE_LAYERS)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    for more in (
        "base_model.model.score.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
    ):
        save_file(weights | {more: torch.ones(2)}, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ModelError, match="1 of its names find no place in its base"):
            load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("name", "how", "status"),
    [("text_model", {"read": "choice"}, "too_long"), ("reward_model", {}, "bad_score")],
)
def test_a_text_beyond_the_context_is_its_row_s_status_and_the_others_stand(folder_of, name, how, status):
    judge = load_judge(str(folder_of(name)), device="cpu", **how)
    sides = {"response_a": [text_part("yes")], "response_b": [text_part("no")]}
    asked = {"short": "what is this?", "long": "word " * 4000, "other": "is the"}
    pairs = [Pair(id=i, task="t", prompt=[text_part(words)], **sides) for i, words in asked.items()]
    alone = judge.judge([pairs[0], pairs[2]])
    model = judge.chat.model if hasattr(judge, "chat") else judge.scorer.backbone
    model.config.max_position_embeddings = 4000
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rows = judge.judge(pairs)
    assert [row.status for row in rows] == ["ok", "ok", status, status, "ok", "ok"] and rows[2].verdict is None
    assert [r.score_a for r in rows if r.status == "ok"] == pytest.approx([r.score_a for r in alone], abs=1e-5)
    said = [str(one.message) for one in told if "context of 4,000 tokens" in str(one.message)]
    why = "2 of 6 texts are longer than the model's context of 4,000 tokens: not scored"
    assert said == [why] * (name == "reward_model")
