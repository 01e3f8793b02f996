"""What is exported: a judge as a hub folder that works alone, data for other trainers, a judge as a policy's reward."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tiny_parts import make_model, pool_of, processor

from omnirepro import load_judge, reward_function
from omnirepro.cli.export.hub import write_hub_folder
from omnirepro.cli.export.recipes import write_recipes
from omnirepro.cli.main import main
from omnirepro.data import Judgement, Label, Pair, read_jsonl, text_part, write_jsonl
from omnirepro.judge import rubric
from omnirepro.judge.generative import Judge
from omnirepro.judge.scalar import ScalarJudge
from omnirepro.kit.run import RunError
from omnirepro.models.generation import Decoding, Generated, LocalModel
from omnirepro.models.loading import load as load_model
from omnirepro.models.scalar import Scorer
from omnirepro.reward import REWARDS
from omnirepro.toyworld.pretraining.trainer import make_pool

ROOT = Path(__file__).resolve().parents[1]
TRAINED = ROOT / "results" / "blessed" / "04_grpo"
trained = pytest.mark.skipif(not (TRAINED / "adapter").is_dir(), reason="needs the committed run")


# ---- a judge as a hub folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_hub_folder(TRAINED, tmp_path_factory.mktemp("hub") / "tiny-judge")


@trained
def test_the_folder_stands_alone_and_its_snippet_runs(folder, tmp_path):
    moved = folder.rename(tmp_path / folder.name)  # to where nothing else of the kit's results lies
    try:
        code = re.search(r"```python\n(.*?)```", (moved / "README.md").read_text(), re.DOTALL)[1]
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              env={"PYTHONPATH": str(ROOT), "PATH": "", "HF_HUB_OFFLINE": "1"})  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines() if line.startswith("example-")]
        assert [r[1] for r in rows] == ["AB", "BA"] * 4 and all(r[2] in rubric.STATUSES for r in rows)
        assert sum(r[2] == "ok" for r in rows) >= 4, "a trained judge writes legible judgements in every modality"
    finally:
        moved.rename(folder)


@trained
def test_the_exported_judge_says_what_the_original_says(folder):
    said = (("red", "blue"), ("one", "two big"))
    pairs = [
        Pair(id=a, task="text", prompt=[text_part("what?")], response_a=[text_part(a)], response_b=[text_part(b)])
        for a, b in said
    ]
    made, wanted = load_judge(folder), load_judge(TRAINED)
    assert [r.raw for r in made.judge(pairs)] == [r.raw for r in wanted.judge(pairs)]


@trained
def test_the_card_states_metrics_with_intervals_data_limits_and_origin(folder):
    text, metrics = (folder / "README.md").read_text(), json.loads((TRAINED / "metrics.json").read_text())
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "peft" and "base_model" not in front
    found = metrics["accuracy"]
    assert f"| accuracy | {found['value']:.3f} | {found['low']:.3f} to {found['high']:.3f} |" in text
    assert f"in {1 - metrics['consistency']['value']:.1%} of the pairs" in text
    for section in ("Data", "Metrics", "Limits", "Use", "Provenance"):
        assert f"\n## {section}\n" in text
    assert re.search(r"labels_\w+\.jsonl`: \d+ rows", text) and "Seed 0" in text
    assert str(ROOT) not in "".join(p.read_text() for p in folder.rglob("*.json*")) + text, "no path of this machine"


@trained
def test_an_export_overwrites_nothing_and_needs_an_adapter(folder, tmp_path):
    with pytest.raises(RunError, match="is not empty"):
        write_hub_folder(TRAINED, folder)
    with pytest.raises(RunError, match="no adapter here"):
        write_hub_folder(tmp_path, tmp_path / "to")
    assert main(["export", "--run", "blessed", "--stage", "03_sft", "--to", str(tmp_path / "cli")]) == 0
    assert (tmp_path / "cli" / "adapter_model.safetensors").is_file()


@trained
def test_a_card_names_a_profile_of_one_s_own_without_its_folder(tmp_path):
    shutil.copytree(TRAINED, tmp_path / "run/04_grpo")
    about = tmp_path / "run/04_grpo/manifest.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"profile": "/home/someone/mine.yaml"}))
    text = (write_hub_folder(tmp_path / "run/04_grpo", tmp_path / "to") / "README.md").read_text()
    assert "of profile mine.yaml on" in text and "someone" not in text


def test_a_released_base_stays_a_name(tmp_path):
    (tmp_path / "stage" / "adapter").mkdir(parents=True)
    named = {"base_model_name_or_path": "Qwen/Qwen2.5-Omni-7B"}
    (tmp_path / "stage" / "adapter" / "adapter_config.json").write_text(json.dumps(named))
    to = write_hub_folder(tmp_path / "stage", tmp_path / "to")
    text = (to / "README.md").read_text()
    assert "base_model: Qwen/Qwen2.5-Omni-7B" in text and not (to / "base").exists()
    assert "exported without measurements" in text and "drawn shapes" not in text


# ---- data and recipes


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the profile omni-7b up to its reconciled labels, about a picture, a film and a sound."""
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    pool = make_pool(tmp_path / "pool", "train", 1, 0)
    pairs, labels = [], []
    for i, (kind, verdict) in enumerate((("image", "A"), ("video", "B"), ("audio", "tie"))):
        ask = [pool[kind][0][1], text_part("what is the <image> of it?")]
        pairs.append(Pair(id=f"{kind}#0", task=kind, prompt=ask, response_a=[text_part(f"good {i}")],
                          response_b=[text_part(f"bad {i}")]))  # fmt: skip
        marks = dict.fromkeys(("fluency", "relevance", "accuracy", "reasoning", "safety"), True)
        scores = {"A": (9, 4), "B": (3, 8), "tie": (5, 5)}[verdict]
        labels.append(Label(pair_id=f"{kind}#0", verdict=verdict, score_a=scores[0], score_b=scores[1], marks_a=marks,
                            marks_b=marks, provenance="x"))  # fmt: skip
    base = tmp_path / "results" / "mine"
    write_jsonl(base / "01_synthesis" / "data" / "pairs_train.jsonl", pairs)
    for name in ("sft", "rl"):
        write_jsonl(base / "02_reconciliation" / f"labels_{name}.jsonl", labels)
    manifest = {"profile": "omni-7b", "seed": 0, "params": {}, "inputs": {}, "outputs": {}}
    (base / "02_reconciliation" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_rows(to, rows):
    """Placeholders and media must agree in kind and number, and every medium must be there."""
    for row in rows:
        said = "".join(m["content"] for m in row["messages"])
        for kind in ("image", "video", "audio"):
            assert said.count(f"<{kind}>") == len(row.get(f"{kind}s", []))
            assert all((to / path).is_file() for path in row.get(f"{kind}s", []))
        assert "< image>" in said, "a literal placeholder of the text is broken up"


def test_ms_swift_gets_rows_a_plugin_and_commands_with_the_profile_s_settings(run):
    to = write_recipes("mine", run / "swift", "ms-swift")
    sft, rl, preference = (lines(to / f"{n}.jsonl") for n in ("sft", "rl", "preference"))
    check_rows(to, [*sft, *rl, *preference])
    assert len(sft) == len(rl) == 3 and len(preference) == 2, "one order, as published; ties have no preference"
    assert all(rubric.parse(r["messages"][-1]["content"], "published").status == "ok" for r in sft)
    assert rl[1]["messages"][-1]["role"] == "user" and json.loads(rl[1]["solution"]) == {
        "score_A": 3, "score_B": 8, "better": "B"}  # fmt: skip
    assert preference[1]["messages"][-1]["content"] == "bad 1" and preference[1]["rejected_response"] == "good 1"
    options = parse_script(to / "grpo.sh")
    assert options[:3] == ["swift", "rlhf", "--rlhf_type"] and "--num_generations" in options
    assert options[options.index("--reward_weights") + 1 :][:3] == ["0.4", "0.4", "0.2"]
    sft_options = parse_script(to / "sft.sh")
    for name, value in (("learning_rate", "5e-06"), ("lora_rank", "8"), ("max_length", "3072"),
                        ("gradient_accumulation_steps", "96"), ("num_train_epochs", "2")):  # fmt: skip
        assert sft_options[sft_options.index(f"--{name}") + 1] == value
    assert subprocess.run(["sh", "-n", str(to / "grpo.sh")]).returncode == 0


def parse_script(path):
    return shlex.split(path.read_text().split("\n", 4)[4].replace("\\\n", " "))


def test_the_plugin_pays_what_the_kit_pays(run, monkeypatch):
    to, orms = write_recipes("mine", run / "swift", "ms-swift"), {}
    fake = type(sys)("swift.plugin")
    fake.ORM, fake.orms = object, orms
    monkeypatch.setitem(sys.modules, "swift.plugin", fake)
    monkeypatch.setitem(sys.modules, "swift", type(sys)("swift"))
    exec((to / "plugin.py").read_text(), {})
    text, gold = rubric.notation("Part 1: Fluency: A good B poor", 9, 4), {"score_A": 9, "score_B": 4, "better": "A"}
    assert set(orms) == {f"omnirepro_{name}" for name in REWARDS}
    for name, reward in REWARDS.items():
        assert orms[f"omnirepro_{name}"]()([text], solution=[json.dumps(gold)]) == [reward(text, gold)]


def test_llama_factory_gets_rows_an_index_and_recipes(run):
    to = write_recipes("mine", run / "factory", "llama-factory")
    info = json.loads((to / "dataset_info.json").read_text())
    for name in ("sft", "preference"):
        entry = info[f"omnirepro_{name}"]
        rows = lines(to / entry["file_name"])
        check_rows(to, rows)
        assert all(set(entry["columns"].values()) <= set(row) for row in rows)
        roles = {m[entry["tags"]["role_tag"]] for row in rows for m in row["messages"]}
        assert roles <= {entry["tags"][t] for t in ("user_tag", "assistant_tag", "system_tag")}
    assert info["omnirepro_preference"]["ranking"] and rows[0]["chosen"] == {"role": "assistant", "content": "good 0"}
    recipe = yaml.safe_load((to / "sft.yaml").read_text())
    assert (recipe["learning_rate"], recipe["cutoff_len"], recipe["lora_target"]) == (5e-6, 3072, "all")
    assert yaml.safe_load((to / "reward_model.yaml").read_text())["stage"] == "rm"


@pytest.mark.parametrize("form", ["ms-swift", "llama-factory"])
def test_preferences_keep_turns_and_criteria_and_generated_media_are_counted_out(run, form, capsys):
    base = run / "results" / "mine"
    pairs = read_jsonl(base / "01_synthesis" / "data" / "pairs_train.jsonl", Pair)
    said = [(0, "user", "a <image> first?"), (0, "assistant", "yes"), (1, "user", "and then?")]
    pairs[0].prompt = [pairs[0].prompt[0], *(text_part(text, role=role, turn=turn) for turn, role, text in said)]
    pairs[0].criterion = "be short"
    pairs[1].response_a = [pairs[0].prompt[0]]
    write_jsonl(base / "01_synthesis" / "data" / "pairs_train.jsonl", pairs)
    to = write_recipes("mine", run / form, form)
    (row,) = lines(to / "preference.jsonl")
    turns = [(message["role"], message["content"]) for message in row["messages"]][:4]
    assert "be short" in turns[0][1] and [role for role, _ in turns] == ["system", "user", "assistant", "user"]
    assert turns[1][1] == "<image>a < image> first?" and turns[3][1] == "and then?" and len(row["images"]) == 1
    assert "1 pairs of generated media have no preference row" in capsys.readouterr().out
    assert any("be short" in json.dumps(x) for x in lines(to / "sft.jsonl"))


def test_a_run_without_labels_and_a_full_folder_are_refused(run, capsys):
    assert main(["export", "--form", "ms-swift", "--run", "none", "--to", str(run / "x")]) == 1
    assert "no finished 02_reconciliation" in capsys.readouterr().err
    with pytest.raises(RunError, match="not empty"):
        write_recipes("mine", run / "results", "ms-swift")


# ---- a judge as the reward of a policy


class Fixed:
    """A chat model that prefers the longer answer and says so in the published form."""

    name = "longer"

    def complete(self, chats, decoding, seed=0, progress=None):
        self.asked = len(chats)
        return [Generated(self._judge(chat), 1, True) for chat in chats]

    def _judge(self, chat):
        said = "".join(p.text or "" for p in chat[-1]["parts"])
        a, b = re.search(r"\nA: (.*)\nB: (.*)\njudge", said, re.DOTALL).groups()
        scores = (9, 3) if len(a) > len(b) else (3, 9) if len(b) > len(a) else (5, 5)
        return rubric.notation("Part 1", *scores)


def test_completions_of_a_prompt_are_compared_in_a_ring_and_both_orders():
    model = Fixed()
    paid = reward_function(Judge(model))
    said = ["a", "aaa", "aa", "b", "b", "lonely"]
    prompts = ["q one"] * 3 + ["q two"] * 2 + ["q three"]
    assert paid(prompts=prompts, completions=said) == [0.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert model.asked == 2 * (3 + 1), "three comparisons and one, each in both orders"
    chats = [[{"role": "user", "content": p}] for p in prompts]
    replies = [[{"role": "assistant", "content": c}] for c in said]
    assert paid(prompts=chats, completions=replies) == [0.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match="give the column `parts`"):
        paid(prompts=[[{"role": "user", "content": [{"type": "image"}]}]], completions=["x"])


def test_a_scalar_judge_scores_each_completion_with_its_media_and_criterion(tmp_path):
    class Scores:
        def score(self, chats, batch_size, progress):
            self.chats = chats
            return [float(len(chat[-1]["parts"][0].text)) for chat in chats]

    scorer = Scores()
    paid = reward_function(ScalarJudge(scorer, "length"))
    shown = [{"type": "image", "path": str(tmp_path / "x.png"), "sha256": "0"}, {"type": "text", "text": "q"}]
    assert paid(prompts=["q", "q"], completions=["a", "bbb"], parts=[shown, shown], criterion=["be short"] * 2) == [
        1,
        3,
    ]
    assert [p.type for p in scorer.chats[0][1]["parts"]] == ["image", "text"]
    assert "be short" in scorer.chats[0][0]["parts"][0].text


@pytest.fixture(scope="module")
def real_rows(tmp_path_factory):
    """Columns of rows as TRL hands them on: a picture twice, a film, a sound and a conversation, with criteria."""
    folder = tmp_path_factory.mktemp("rows")
    pool = pool_of(folder, 1)
    words = {"type": "text", "text": "What is shown?"}
    shown = {
        kind: [part.model_dump(exclude_none=True) for part in parts] for kind, parts in pool.items() if kind != "text"
    }
    said = {"system": "Be kind.", "user": "What is it?", "assistant": "A cup."}
    turns = [
        *({"role": role, "content": text} for role, text in said.items()),
        {"role": "user", "content": "Which colour?"},
    ]
    media = [[*shown[kind][:1], words] for kind in (*["image"] * 4, *["video"] * 2, *["audio"] * 2)]
    return {
        "prompts": ["What is shown?"] * 8 + [turns] * 2,
        "parts": [*media, None, None],
        "criterion": ["is short", "is short", "is true", "is true", *[None] * 4, "is kind", "is kind"],
        "completions": ["A red cup.", "A cup."] * 4
        + [[{"role": "assistant", "content": text}] for text in ("Red.", "No.")],
    }


def test_an_untrained_judge_pays_for_pictures_films_sounds_and_turns(real_rows):
    """Real models on real files: a scalar judge, and a judge of pairs whose answers cannot be read."""
    model, reader = make_model(), processor()
    local = LocalModel(model, reader, "mute", 8)
    assert reward_function(Judge(local, decoding=Decoding(4)))(**real_rows) == [0.5] * 10
    scorer = Scorer(model, reader)
    torch.nn.init.normal_(scorer.value, generator=torch.Generator().manual_seed(0))
    scores = reward_function(ScalarJudge(scorer, "scalar"))(**real_rows)
    assert len(scores) == 10 and len({round(score, 6) for score in scores}) > 5


def test_rows_of_one_picture_under_two_criteria_are_two_groups_and_turns_stay_turns(real_rows):
    class Seen(Fixed):
        def complete(self, chats, decoding, seed=0, progress=None):
            self.chats = chats
            return super().complete(chats, decoding, seed, progress)

    model = Seen()
    assert reward_function(Judge(model))(**real_rows) == [1.0, 0.0] * 5
    assert model.asked == 2 * 5, "one comparison a group, in both orders"
    kinds = [[part.type for turn in chat for part in turn["parts"] if part.type != "text"] for chat in model.chats]
    assert kinds == [[kind] for kind in ("image",) * 4 + ("video",) * 2 + ("audio",) * 2] + [[], []]
    said = ["".join(part.text or "" for turn in chat for part in turn["parts"]) for chat in model.chats]
    assert all("is short" in text for text in said[:2]) and all("is true" in text for text in said[2:4])
    assert "criterion" not in said[4] and all(
        word in said[8] for word in ("Be kind.", "A cup.", "Which colour?", "is kind")
    )


def test_a_tie_earns_half_and_so_does_a_verdict_in_one_order_alone():
    class First(Fixed):
        """Prefers what it sees first, so that both orders contradict each other."""

        def _judge(self, chat):
            return rubric.notation("Part 1", 9, 3)

    assert reward_function(Judge(First()))(prompts=["q"] * 3, completions=["a", "bb", "ccc"]) == [0.5] * 3
    alike = reward_function(Judge(Fixed()))(prompts=["q"] * 3, completions=["aa", "bb", "c"])
    assert alike == [0.75, 0.75, 0.0], "a tie with one and a win over the other"


CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 2}}}
WITH_TOOLS = [
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
    {"role": "tool", "name": "look", "content": "a cup"},
    {"role": "assistant", "content": "It is a cup."},
]


def test_a_completion_with_tools_is_scored_in_turns_and_no_result_is_the_policys():
    class Scores:
        def score(self, chats, batch_size, progress):
            self.chats = chats
            return [0.5] * len(chats)

    scorer = Scores()
    paid = reward_function(ScalarJudge(scorer, "any"))
    told = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
    bare = [{"role": "assistant", "tool_calls": [CALL]}, *WITH_TOOLS[1:]]
    silent = [[{"role": "assistant", "content": None}], [{"role": "assistant"}], []]
    assert paid(prompts=[told] * 6, completions=[WITH_TOOLS, bare, *silent, "A cup."]) == [0.5] * 6
    told = [[(m["role"], "".join(p.text for p in m["parts"])) for m in chat] for chat in scorer.chats]
    call = f"[tool call] {json.dumps(CALL)}"
    opening = [("system", "Be brief."), ("user", "What is it?")]
    rest = [("user", "[tool result of look] a cup"), ("assistant", "It is a cup.")]
    assert told == [
        [*opening, ("assistant", f"Let me see.\n{call}"), *rest],
        [*opening, ("assistant", call), *rest],
        [*opening, ("assistant", "")],
        [*opening, ("assistant", "A cup.")],
    ]


def test_completions_with_tools_are_compared_with_their_speakers():
    class Heard(Fixed):
        def _judge(self, chat):
            self.said = "".join(p.text or "" for p in chat[-1]["parts"])
            return super()._judge(chat)

    model = Heard()
    assert reward_function(Judge(model))(prompts=["What?"] * 2, completions=[WITH_TOOLS, "x"]) == [1.0, 0.0]
    assert "\nuser: [tool result of look] a cup\nassistant: It is a cup.\njudge" in model.said


@trained
def test_a_trained_judge_pays_a_policy_in_trl(tmp_path):
    """The backbone as the policy, two steps on questions about a sentence; the reward is one line."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    backbone = TRAINED.parent / "00_backbone"
    policy, omni = load_model(backbone / "strong", "cpu", "float32")
    sample = read_jsonl(TRAINED.parent / "01_synthesis" / "sample" / "pairs.jsonl", Pair)
    asked = ["".join(p.text for p in pair.prompt) for pair in sample if pair.task == "text"][:2]
    prompts = [[{"role": "user", "content": text}] for text in asked]
    before = {k: v.detach().clone() for k, v in policy.named_parameters()}
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=reward_function(TRAINED),
        args=GRPOConfig(
            output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=16, num_generations=8,
            max_completion_length=24, use_cpu=True, temperature=3.0,
            report_to=[], disable_tqdm=True, learning_rate=1e-3,
            logging_steps=1, save_strategy="no", bf16=False, gradient_checkpointing=False, seed=0,
        ),
        train_dataset=Dataset.from_dict({"prompt": prompts * 8}),
        processing_class=omni.tokenizer,
    )  # fmt: skip
    trainer.train()
    logged = [h for h in trainer.state.log_history if "reward" in h]
    assert len(logged) == 2 and max(h["reward_std"] for h in logged) > 0.05, "the judge must tell the answers apart"
    assert all(h["reward"] == pytest.approx(0.5) for h in logged), "rewards are relative to the group"
    assert any((before[k] != v.detach()).any() for k, v in policy.named_parameters()), "the policy must have moved"


# ---- a run's scores on benchmarks, as others publish them

TEXT, SHARE = {"type": "string", "minLength": 1}, {"type": "number", "minimum": 0, "maximum": 1}
DOUBT = {
    "type": "object",
    "required": ["num_samples"],
    "properties": {"confidence_interval": {"type": "object", "required": ["lower", "upper"],
                                           "properties": {"lower": SHARE, "upper": SHARE, "confidence_level": SHARE}},
                   "num_samples": {"type": "integer"}},
}  # fmt: skip
SOURCED = {"oneOf": [
    {"required": ["dataset_name", "source_type"], "properties": {"source_type": {"const": "other"}}},
    {"required": ["dataset_name", "source_type", "hf_repo"],
     "properties": {"source_type": {"const": "hf_dataset"}, "samples_number": {"type": "integer"}}},
]}  # fmt: skip
# What the common schema of results (evaleval/every_eval_ever, 0.2.2) asks of a file without judges of its own.
COMMON = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info",
                 "eval_library", "evaluation_results"],
    "properties": {
        "schema_version": {"const": "0.2.2"}, "evaluation_id": TEXT, "evaluation_timestamp": TEXT,
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": {
            "required": ["source_type", "source_organization_name", "evaluator_relationship"],
            "properties": {
                "source_type": {"enum": ["documentation", "evaluation_run"]}, "source_organization_name": TEXT,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]}}},
        "eval_library": {"required": ["name", "version"], "properties": {"name": TEXT, "version": TEXT}},
        "model_info": {"required": ["name", "id"], "properties": {"name": TEXT, "id": TEXT}},
        "evaluation_results": {"type": "array", "minItems": 1, "items": {
            "required": ["evaluation_name", "source_data", "metric_config", "score_details"],
            "properties": {
                "evaluation_name": TEXT, "source_data": SOURCED,
                "metric_config": {
                    "required": ["lower_is_better", "score_type", "min_score", "max_score"],
                    "properties": {"lower_is_better": {"type": "boolean"}, "score_type": {"const": "continuous"},
                                   "min_score": {"type": "number"}, "max_score": {"type": "number"}}},
                "score_details": {"required": ["score"], "properties": {"score": SHARE, "uncertainty": DOUBT}}}}},
    },
}  # fmt: skip


class Wavering:
    """A judge without a model: right in one order; in the other right, tied, unread or wrong, by the pair's number."""

    def judge(self, pairs, progress=None):
        rows = []
        for number, pair in enumerate(pairs):
            other = [pair.label, "tie", None, "AB"[pair.label == "A"]][number % 4]
            for order, said in (("AB", pair.label), ("BA", other)):
                parsed = rubric.Parsed("ok" if said else "no_verdict", said)
                rows.append(Judgement.of(pair, order, parsed, kind="verdict", model="m", seed=0))
        return rows


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """A finished notebook 09: two tasks of Multimodal RewardBench 2, and a set of the hub read from its folder."""
    from PIL import Image

    from omnirepro.kit.run import open_run
    from omnirepro.papers import judges as opening
    from omnirepro.papers.benchmarks import stage
    from omnirepro.papers.benchmarks.report import benchmark_metrics

    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(opening, "load_judge", lambda *args, **kw: Wavering())
    folder = tmp_path / "MMRB2"
    (folder / "images").mkdir(parents=True)
    for task, each in (("t2i", 5), ("reasoning", 6)):
        pairs = []
        for i in range(each):
            Image.new("RGB", (4, 4), (i, 9, 9)).save(folder / f"images/{task}{i}.png")
            side = {"model_name": "m", "response_content": [["image", f"images/{task}{i}.png"]]}
            pairs.append({"id": f"{task}_{i}", "prompt_content": [["text", f"draw {i}"]], "response_a": side,
                          "response_b": side, "chosen": "AB"[i % 2], "human_annotations": [5, 6]})  # fmt: skip
        (folder / f"{task}.json").write_text(json.dumps({"pairs": pairs}))
    rows = [{"pair_id": str(i), "source": "mmlu-pro-law", "question": f"q{i}", "response_A": "a", "response_B": "b",
             "label": "A>B"} for i in range(6)]  # fmt: skip
    (tmp_path / "gpt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"benchmarks.data": [str(folder), str(tmp_path / "gpt.jsonl")], "benchmarks.judges": ["org/big"],
             "benchmarks.embedded": False}  # fmt: skip

    def made(run="mine", **more):
        opened = open_run("09_benchmarks", "smoke", run, overrides=asked | more)
        opened.do(lambda run: stage.judge_sets(run, {}))
        opened.finish(benchmark_metrics(opened.path()))
        return opened.path()

    return made


def test_scores_of_mmrb2_are_what_its_scorer_makes_of_the_exported_judgements(scored, tmp_path, capsys):
    folder = scored()
    assert main(["export", "--run", "mine", "--form", "mmrb2", "--to", str(tmp_path / "out")]) == 0, capsys.readouterr()
    right = counted = 0
    for task in ("t2i", "reasoning"):
        said = json.loads((tmp_path / f"out/big/{task}.json").read_text())
        gold = {p["id"]: p["chosen"] for p in json.loads((tmp_path / f"MMRB2/{task}.json").read_text())["pairs"]}
        assert said.keys() == gold.keys() and all(entry.keys() == {"forward", "reverse"} for entry in said.values())
        for name, entry in said.items():
            turned = {"A": "B", "B": "A"}
            forward, reverse = (entry[order][0]["judgement"] for order in ("forward", "reverse"))
            verdicts = [one for one in (forward, turned.get(reverse, reverse)) if one]
            right += sum(one == gold[name] for one in verdicts)
            counted += len(verdicts)
    official = json.loads((folder / "metrics.json").read_text())["big_mmrb2_official"]
    assert official["value"] == pytest.approx(right / counted) and official["n"] == counted == 19


def test_results_for_the_hub_hold_whole_sets_that_it_has(scored, tmp_path, capsys):
    from huggingface_hub import parse_eval_result_entries

    scored()
    assert main(["export", "--run", "mine", "--form", "eval-results", "--to", str(tmp_path / "out")]) == 0
    (file,) = (tmp_path / "out").rglob("*.yaml")  # the hub has no rows in the form in which MMRB2 is built
    assert file.relative_to(tmp_path / "out").as_posix() == "big/.eval_results/judgebench.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert (entry.dataset_id, entry.task_id) == ("ScalerLab/JudgeBench", "default") and 0 < entry.value < 100
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+Z", entry.date) and "6 pairs" in entry.notes
    scored("part", **{"benchmarks.limit": 3})
    assert main(["export", "--run", "part", "--form", "eval-results", "--to", str(tmp_path / "part")]) == 1
    assert "benchmarks.limit is 3" in capsys.readouterr().err and not (tmp_path / "part").exists()


def test_results_in_the_common_schema_are_valid_and_tell_where_each_set_is_from(scored, tmp_path):
    from jsonschema import Draft7Validator

    folder = scored()
    assert main(["export", "--run", "mine", "--form", "every-eval-ever", "--to", str(tmp_path / "out")]) == 0
    files = sorted((tmp_path / "out").rglob("*.json"))
    made = {path.relative_to(tmp_path / "out").parent.as_posix(): json.loads(path.read_text()) for path in files}
    assert sorted(made) == ["data/judgebench/org/big", "data/mmrb2/org/big"]
    for content in made.values():
        Draft7Validator(COMMON).validate(content)
        assert content["model_info"]["id"] == "org/big"
    (result,) = made["data/judgebench/org/big"]["evaluation_results"]
    assert result["source_data"]["hf_repo"] == "ScalerLab/JudgeBench"
    official = json.loads((folder / "metrics.json").read_text())["big_judgebench_official"]
    assert result["score_details"]["score"] == official["value"]
    assert result["score_details"]["uncertainty"]["confidence_interval"]["lower"] == official["low"]
    (result,) = made["data/mmrb2/org/big"]["evaluation_results"]
    assert (
        result["source_data"]["source_type"] == "other"
        and "order by order" in result["metric_config"]["evaluation_description"]
    )


@trained
def test_sets_of_the_embedded_world_are_never_given_out_as_those_whose_form_they_have(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    assert main(["export", "--run", "blessed", "--form", "every-eval-ever", "--to", str(tmp_path / "out")]) == 0
    made = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("*.json")]
    sources = [result["source_data"] for content in made for result in content["evaluation_results"]]
    assert len(sources) == 8 and all(one["dataset_name"].startswith("embedded-") for one in sources)
    assert {one["source_type"] for one in sources} == {"other"}
    for form in ("eval-results", "mmrb2"):
        assert main(["export", "--run", "blessed", "--form", form, "--to", str(tmp_path / form)]) == 1
        assert f"nothing here can be written as {form}" in capsys.readouterr().err and not (tmp_path / form).exists()
    assert main(["export", "--run", "none", "--form", "mmrb2", "--to", str(tmp_path / "none")]) == 1
    assert "no finished notebook 09" in capsys.readouterr().err
