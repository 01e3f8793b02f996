"""Parameters, manifests, skipping and interruption: laws 5 and 6, partly through real papermill runs."""

import errno
import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from omnirepro.data.progress import progress
from omnirepro.kit.run import ParameterError, RunError, atomic_write, load_params, open_run
from omnirepro.kit.run import display as run_display
from omnirepro.kit.run import files as run_files

ROOT = Path(__file__).resolve().parents[1]
BASE = """\
# How the work is computed.
device:
  # Threads of the CPU.
  threads: 0
# The first toy.
first:
  # Optimiser steps.
  steps: 10
  # Peak learning rate.
  lr: 1e-3
# The second toy.
second:
  # Number of pairs.
  pairs: 4
  # Tasks of the pairs.
  tasks: [x]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own with two stages, `01_first` and `02_second`; the working directory lies inside."""
    for folder in ("params/profiles", "params/runs", "notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "params/base.yaml").write_text(BASE)
    (tmp_path / "params/profiles/tiny.yaml").write_text("")
    (tmp_path / "params/profiles/quick.yaml").write_text("first: {steps: 2}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIREPRO_RESULTS", raising=False)
    return tmp_path


def train(run, calls=None):
    """Stand for a stage's work: read all parameters of its section, write one file."""
    section = run.section("first")
    run.write("model.txt", f"{section.steps} {section['lr']}")
    if calls is not None:
        calls.append(run.name)


def make_first(**kwargs):
    run = open_run("01_first", **kwargs)
    run.do(train)
    run.finish({"loss": 0.5})
    return run


# ---- parameters


def test_later_files_win_and_origin_is_known(project):
    (project / "params/runs/slow.yaml").write_text("profile: quick\noverrides: {first.steps: 50}\n")
    assert load_params("tiny")["first.steps"] == 10
    assert load_params("quick").origin("first.steps") == "profiles/quick.yaml"
    assert load_params("quick", run="slow-s3").section("first").steps == 50
    params = load_params("quick", "slow", '{"first.steps": 7}')
    assert (params["first.steps"], params.origin("first.steps")) == (7, "overrides")
    assert params.origin("second.pairs") == "base.yaml"


def test_a_profile_is_told_by_where_it_lies(project, tmp_path_factory):
    (project / "studies").mkdir()
    text = (project / "params/profiles/quick.yaml").read_text()
    for folder, told in (
        (project / "params/profiles", "profiles/mine.yaml"),
        (project / "studies", "studies/mine.yaml"),
        (tmp_path_factory.mktemp("away"), "mine.yaml"),
    ):
        (folder / "mine.yaml").write_text(text)
        assert load_params(str(folder / "mine.yaml")).origin("first.steps") == told


def test_scientific_notation_is_a_number(project):
    assert load_params()["first.lr"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"first.stepz": 1}, "first.steps"),
        ({"first": {"stepz": 1}}, "first.steps"),
        ({"steps": 1}, "first.steps"),
        ({"frist.steps": 1}, "first.steps"),
        ({"first": 3}, "it is a section"),
        ({"first.steps": "many"}, "str where base.yaml has 10"),
        ({"first.steps": 1.5}, "float"),
        ({"first.steps": True}, "bool where base.yaml has 10"),
        ({"first.steps": None}, "NoneType"),
        ({"second.tasks": ["a", 1]}, r"where base.yaml has \['x'\] \(list\[str\]\)"),
        ('{"first.steps": ', "not JSON"),
        ([1], "must map"),
    ],
)
def test_wrong_override_raises_and_names_the_remedy(project, overrides, said):
    with pytest.raises(ParameterError, match=said):
        load_params("tiny", overrides=overrides)


def test_unknown_key_in_a_file_unknown_profile_and_repeated_key(project):
    with pytest.raises(ParameterError, match="quick"):
        load_params("quik")
    (project / "params/profiles/quick.yaml").write_text("secnd: {pairs: 3}\n")
    with pytest.raises(ParameterError, match=r"profiles/quick.yaml.*second"):
        load_params("quick")
    (project / "params/runs/x.yaml").write_text("sede: 1\n")
    with pytest.raises(ParameterError, match="seed"):
        load_params("tiny", run="x")
    (project / "params/base.yaml").write_text(BASE + "  # Again.\n  pairs: 5\n")
    with pytest.raises(ParameterError, match="more than once"):
        load_params()


def test_reads_are_recorded_and_unknown_reads_name_the_nearest(project):
    params = load_params()
    section = params.section("first")
    assert dict(section) == {"steps": 10, "lr": 0.001} and "steps" in section and section.get("nothing", 3) == 3
    assert set(params.reads) == {"first.steps", "first.lr"}
    with pytest.raises(ParameterError, match="first.steps"):
        section.step  # noqa: B018
    with pytest.raises(ParameterError, match="second"):
        params.section("secnd")


def test_a_stage_of_the_river_reads_only_its_sections(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMNIREPRO_RESULTS", str(tmp_path))
    run = open_run("03_sft")
    with pytest.raises(ParameterError, match="stages.py"):
        run.params.section("scorecard")
    with pytest.raises(RunError, match="stages.py"):
        run.input("04_grpo", "x")


def test_override_that_no_code_read_raises_at_finish(project):
    run = open_run("01_first", overrides={"first.lr": 0.1, "second.pairs": 9})
    run.do(lambda run: run.write("x.txt", str(run.section("first").steps)))
    with pytest.raises(ParameterError, match=r"first\.lr .*no code"):
        run.finish({})
    assert not (run.dir / "manifest.json").exists()


def test_a_training_within_a_stage_has_its_own_files_seed_and_values_and_its_reads_count(project):
    def work(run):
        sub = run.sub("other", 5, first={"steps": 3})
        assert (sub.name, sub.seed, sub.device) == ("other", 5, "cpu") and sub.section("first").steps == 3
        assert sub.checkpoint_dir == run.checkpoint_dir / "other" and sub.checkpoint_dir.is_dir()
        assert sub.write("model.txt", "x") == run.path("other/model.txt")
        assert (
            run.sub("main", folder="").path("model.txt") == run.path("model.txt") and run.sub("main").seed == run.seed
        )
        assert set(run.params.reads) == {"device.threads", "device.device"}
        return sub.section("first").renamed({"rate": "lr"})

    (project / "params/base.yaml").write_text(BASE.replace("  threads: 0", "  threads: 0\n  # Where.\n  device: cpu"))
    run = open_run("01_first", overrides={"first.lr": 0.1})
    section = run.do(work)
    changed = run.params.section("first").changed({"lr": 0.2}).renamed({"rate": "lr"})
    assert changed["rate"] == changed["lr"] == 0.2, "a change counts under every name of its key"
    assert section["rate"] == 0.1 and set(run.params.reads) == {"device.threads", "device.device", "first.lr"}
    assert dict(section) == {"steps": 3, "lr": 0.1, "rate": 0.1} and "first.steps" not in run.params.reads
    for wrong in ({"stepz": 1}, {"pairs": 1}):
        with pytest.raises(ParameterError, match="first"):
            run.sub("other", first=wrong).section("first")
    run.finish({})
    assert open_run("01_first", overrides={"first.lr": 0.1, "first.steps": 7}).skipped
    with pytest.raises(ParameterError, match="no code of 01_first read it"):
        open_run("01_first", overrides={"first.lr": 0.1, "first.steps": 7}).finish({})


@pytest.mark.parametrize("values", [{"seed": "1"}, {"seed": -1}, {"run": "../up"}, {"run": "a/b"}, {"base": "tiny"}])
def test_wrong_notebook_parameters_raise(project, values):
    with pytest.raises(ParameterError):
        open_run("01_first", **values)


def test_run_names_and_a_cell_executed_twice(project):
    first = open_run("01_first", seed=2)
    assert first.name == "tiny-s2"
    assert open_run("01_first", run=first).name == "tiny"
    named = open_run("01_first", run="mine", seed=2)
    assert open_run("01_first", run=named, seed=2).name == "mine"


# ---- manifest and skipping


def test_manifest_is_last_and_holds_what_the_law_asks(project, monkeypatch):
    written = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (written.append(Path(b).name), replace(a, b)))
    run = make_first(seed=1)
    assert written == ["model.txt", "metrics.json", "manifest.json"]
    text = (run.dir / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["params"] == {"first.steps": 10, "first.lr": 0.001} and manifest["seed"] == 1
    assert set(manifest["outputs"]) == {"model.txt", "metrics.json"}
    assert {"packages", "commit", "device", "seconds", "peak_memory_gib", "inputs", "profile"} <= manifest.keys()
    assert str(project) not in text and str(Path.home()) + "/" not in text
    metrics = json.loads((run.dir / "metrics.json").read_text())
    assert metrics == {"loss": {"value": 0.5, "low": None, "high": None, "n": None, "seeds": None}}


def test_finished_stage_is_skipped_and_left_alone(project):
    before = (make_first().dir / "manifest.json").read_bytes()
    calls = []
    run = open_run("01_first")
    assert run.do(train, calls) is None and calls == [] and run.skipped
    run.write("model.txt", "something else")
    run.finish({"loss": 9.0})
    assert (run.dir / "manifest.json").read_bytes() == before
    assert run.path("model.txt").read_text() == "10 0.001"


def test_a_skipped_stage_leaves_a_value_for_readers_of_its_notebook(project, monkeypatch):
    import IPython.display

    from omnirepro.kit.report.pages import status_of

    def status(stage):
        shown = []
        with monkeypatch.context() as patched:
            patched.setattr(run_display, "notebook_shell", lambda: True)
            patched.setattr(IPython.display, "display", lambda page, metadata: shown.append(metadata))
            stage.do(train)
        outputs = [nbformat.v4.new_output("display_data", {"text/plain": ""}, metadata=one) for one in shown]
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("run.do(train)", outputs=outputs)])
        book.metadata["papermill"] = {"end_time": "2026-01-01", "exception": None}  # of a run before it was begun anew
        return status_of(book, {})

    assert status(open_run("01_first")) == "unfinished"
    make_first()
    assert status(open_run("01_first")) == "finished"


def test_a_figure_drawn_anew_is_no_reason_to_do_a_stage_again(project):
    run = open_run("01_first")
    run.do(train, [])
    figure = run.write("figures/f.png", lambda p: p.write_bytes(b"old"))
    run.finish({})
    figure.write_bytes(b"new")
    assert open_run("01_first").skipped
    figure.unlink()
    assert open_run("01_first").skipped


@pytest.mark.parametrize("how", ["parameter", "seed", "lost", "changed", "no manifest", "corrupt manifest"])
def test_whatever_changed_the_stage_is_done_again(project, how):
    folder = make_first().dir
    options = {"parameter": {"overrides": {"first.steps": 3}}, "seed": {"seed": 1, "run": "tiny"}}.get(how, {})
    damage = {
        "lost": (folder / "model.txt").unlink,
        "changed": lambda: (folder / "model.txt").write_text("no"),
        "no manifest": (folder / "manifest.json").unlink,
        "corrupt manifest": lambda: (folder / "manifest.json").write_text('{"stage": "01'),
    }
    damage.get(how, lambda: None)()
    calls = []
    run = open_run("01_first", **options)
    run.do(train, calls)
    assert calls == ["tiny"]
    run.finish({})
    assert open_run("01_first", **options).skipped


def test_parameter_that_was_not_read_does_not_matter(project):
    make_first()
    assert open_run("01_first", overrides={"second.pairs": 8}).skipped


def test_outputs_of_other_parameters_do_not_survive(project):
    folder = make_first().dir
    atomic_write(folder / "old.txt", "left over")
    (folder / "notebook.ipynb").write_text("{}")
    run = make_first(overrides={"first.steps": 3})
    assert "old.txt" not in json.loads((run.dir / "manifest.json").read_text())["outputs"]
    assert (folder / "notebook.ipynb").exists() and not (folder / "old.txt").exists()


# ---- inputs and base


def use_first(run):
    run.write("pairs.txt", run.input("01_first", "model.txt").read_text() * run.section("second").pairs)


def make_second(**kwargs):
    run = open_run("02_second", **kwargs)
    run.do(use_first)
    run.finish({})
    return run


def test_missing_input_names_notebook_and_command(project):
    with pytest.raises(RunError, match=r"notebooks/01_first.ipynb first: python -m omnirepro run 01 --profile tiny"):
        open_run("02_second").input("01_first", "model.txt")


def test_unfinished_input_is_refused(project):
    open_run("01_first").do(train)
    with pytest.raises(RunError, match="not finished"):
        open_run("02_second").input("01_first", "model.txt")


def test_changed_input_is_noticed(project):
    make_first()
    run = make_second()
    assert json.loads((run.dir / "manifest.json").read_text())["inputs"].keys() == {"tiny/01_first/model.txt"}
    assert open_run("02_second").skipped
    (run.dir.parent / "01_first/model.txt").write_text("other")
    assert not open_run("02_second").skipped


def test_input_of_other_parameters_is_refused(project):
    make_first()
    with pytest.raises(RunError, match=r"first\.steps = 10, but here it is 3"):
        open_run("02_second", overrides={"first.steps": 3}).input("01_first", "model.txt")


def test_optional_input_that_appears_later_is_noticed(project):
    def look(run):
        path = run.input("01_first", "model.txt", optional=True)
        run.write("seen.txt", path.read_text() if path else "nothing")

    run = open_run("02_second")
    run.do(look)
    run.finish({})
    assert open_run("02_second").skipped
    make_first()
    assert not open_run("02_second").skipped


def test_base_run_serves_what_the_run_has_not(project):
    make_first()
    second = make_second(run="more", base="tiny", overrides={"second.pairs": 2})
    assert second.path("pairs.txt").read_text() == "10 0.001" * 2
    assert list(json.loads((second.dir / "manifest.json").read_text())["inputs"]) == ["tiny/01_first/model.txt"]
    same = open_run("01_first", run="more", base="tiny", overrides={"second.pairs": 2})
    assert same.skipped and same.path("model.txt").read_text() == "10 0.001"
    same.finish({})
    assert not (project / "results/more/01_first/manifest.json").exists()
    with pytest.raises(RunError, match="nearest one is tiny"):
        open_run("02_second", run="more", base="tinny")


def test_ablation_runs_again_only_what_differs(project):
    make_first()
    changed = {"first.steps": 3}
    with pytest.raises(RunError, match=r"run notebooks/01_first.ipynb first: .* --run abl --base tiny"):
        open_run("02_second", run="abl", base="tiny", overrides=changed).input("01_first", "model.txt")
    make_first(run="abl", base="tiny", overrides=changed)
    assert make_second(run="abl", base="tiny", overrides=changed).path("pairs.txt").read_text().startswith("3 ")
    assert (project / "results/tiny/01_first/model.txt").read_text() == "10 0.001"


# ---- interruption


def test_checkpoints_are_resumed_discarded_when_stale_and_removed_at_finish(project):
    run = open_run("01_first")
    (run.checkpoint_dir / "step-5").write_text("half")
    again = open_run("01_first")
    assert (again.checkpoint_dir / "step-5").read_text() == "half"
    other = open_run("01_first", overrides={"first.steps": 3})
    assert not list(other.checkpoint_dir.iterdir())
    assert not again._partial.exists()
    other.do(train)
    other.finish({})
    assert not (other.dir / ".partial").exists()


@pytest.mark.parametrize("where", ["write", "replace"])
def test_full_disk_leaves_no_half_file(project, monkeypatch, where):
    path = atomic_write(project / "results/x/data.txt", "old")

    def full(*args, **kwargs):
        if where == "write":
            Path(args[0]).touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "write":
        monkeypatch.setattr(Path, "write_text", full)
    else:
        monkeypatch.setattr(run_files.os, "replace", full)
    with pytest.raises(RunError, match="No space left on device"):
        atomic_write(path, "new")
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["data.txt"]


def test_full_disk_at_the_manifest_leaves_the_stage_unfinished(project, monkeypatch):
    run = open_run("01_first")
    run.do(train)
    replace = os.replace

    def full(source, target):
        if Path(target).name == "manifest.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(run_files.os, "replace", full)
    with pytest.raises(RunError, match=r"manifest\.json could not be written"):
        run.finish({})
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert not (run.dir / "manifest.json").exists() and not open_run("01_first").skipped


def test_writers_get_a_temporary_name_with_the_same_suffix(project):
    seen = []
    folder = open_run("01_first").write("adapter", lambda p: (seen.append(p.name), p.mkdir(), (p / "a").touch()))
    assert (folder / "a").is_file()
    open_run("01_first").write("figures/f.png", lambda p: (seen.append(p.suffix), p.write_bytes(b"")))
    assert seen == [".part-adapter", ".png"]
    with pytest.raises(ZeroDivisionError):
        atomic_write(folder / "b", lambda p: (p.write_text("half"), 1 / 0))
    assert [p.name for p in folder.iterdir()] == ["a"]


def test_metrics_that_json_cannot_hold(project):
    run = open_run("01_first")
    run.finish({"a": float("nan"), "b": {"value": 1, "verdict": "supported"}})
    metrics = json.loads((run.dir / "metrics.json").read_text())
    assert metrics["a"]["value"] is None and metrics["b"]["verdict"] == "supported"
    with pytest.raises(ValueError, match="'c' has no 'value'"):
        run.finish({"c": {"mean": 1}})


# ---- through papermill

CELLS = {
    "parameters": 'profile = "tiny"\nrun = None\nbase = None\nseed = 0\noverrides = {}',
    "open": "from omnirepro.kit.run import open_run, show\n"
    'run = open_run("01_first", profile, run, base, seed, overrides)',
    "idea": "import omnirepro.kit.run.files\nshow(omnirepro.kit.run.files.digest)",
    "do": "run.do(lambda run: run.write('model.txt', str(run.section('first').steps)))",
    "finish": "run.finish({'loss': 0.25})\nprint(run.dir)",
}


@pytest.fixture
def notebook(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, project / "notebooks/01_first.ipynb")
    return "notebooks/01_first.ipynb"


def papermill_run(notebook, **parameters):
    import papermill

    Path("results/out").mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(notebook, "results/out/notebook.ipynb", parameters, cwd=".", progress_bar=False)


def test_misspelt_papermill_names_raise_before_any_work(notebook, project):
    import papermill

    wrong = [({"sede": 3}, "did you mean seed"), ({"steps": 3}, r"overrides \{'first.steps': ...\}")]
    for parameters, said in wrong:
        with pytest.raises(papermill.PapermillExecutionError, match=said):
            papermill_run(notebook, **parameters)
    assert not (project / "results/tiny").exists()


def test_command_runs_a_notebook_and_leaves_no_machine_path(notebook, project, capsys):
    from omnirepro.cli.main import main

    assert main(["run", "1", "--profile", "quick", "--seed", "2", "--set", "first.steps=5"]) == 0
    assert "results/quick-s2/01_first/notebook.ipynb" in capsys.readouterr().out
    folder = project / "results/quick-s2/01_first"
    assert (folder / "model.txt").read_text() == "5"
    text = (folder / "notebook.ipynb").read_text()
    assert all(place not in text for place in (str(project), str(ROOT), sys.prefix))
    assert "results/quick-s2/01_first" in text and "Optimiser steps." in text
    assert main(["run", "1", "--set", "first.stepz=5"]) == 1
    assert "nearest known one is first.steps" in capsys.readouterr().err
    assert main(["run", "7"]) == 1
    assert "no notebook '7'" in capsys.readouterr().err


# ---- progress


def test_progress_is_kept_beside_the_open_stage_and_goes_with_its_end(project, capsys):
    run = open_run("01_first")
    kept = project / "results/tiny/01_first/.progress.json"
    report = progress("SFT", every=60)
    report(1, 4, 2.0, "loss 1.5")
    known = json.loads(kept.read_text())
    assert {k: known[k] for k in ("label", "done", "total", "note", "seconds_left")} == {
        "label": "SFT", "done": 1, "total": 4, "note": "loss 1.5", "seconds_left": 6.0
    }  # fmt: skip
    report(2, 4, 4.0)
    assert json.loads(kept.read_text())["done"] == 1, "about one file a second"
    report(4, 4, 8.0)
    assert json.loads(kept.read_text())["done"] == 4 and "SFT: 4/4, done in 8 s" in capsys.readouterr().out
    assert run_files.files_in(kept.parent) == [] and run_files.outputs_of(kept.parent) == {}
    with pytest.raises(RunError, match="01_first is missing"):
        open_run("02_second").input("01_first")
    open_run("01_first")
    assert not kept.exists(), "what an earlier attempt left"
    progress("SFT")(4, 4, 8.0)
    assert kept.exists()
    run.do(train)
    run.finish({"loss": 0.5})
    assert not kept.exists() and list(json.loads((run.dir / "manifest.json").read_text())["outputs"]) == [
        "metrics.json", "model.txt"
    ]  # fmt: skip
    progress("after the end")(1, 1, 1.0)
    assert not kept.exists()


def test_progress_that_cannot_be_kept_does_not_stop_the_work(project, capsys):
    open_run("01_first")
    (project / "results").write_text("where the folder should be")
    progress("SFT")(4, 4, 8.0)
    assert "SFT: 4/4" in capsys.readouterr().out


def test_the_copy_of_a_notebook_that_failed_is_no_result(notebook, project, capsys):
    from omnirepro.cli.main import main

    book = nbformat.read(project / notebook, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell("raise ValueError('too small')"))
    nbformat.write(book, project / notebook)
    assert main(["run", "1"]) == 1
    assert "ValueError: too small" in (said := capsys.readouterr().err) and "01_first/failed.ipynb" in said
    folder = project / "results/tiny/01_first"
    assert (folder / "failed.ipynb").is_file() and not (folder / "notebook.ipynb").exists()
    assert str(project) not in (folder / "failed.ipynb").read_text()
    book.cells.pop()
    nbformat.write(book, project / notebook)
    assert main(["run", "1"]) == 0
    assert (folder / "notebook.ipynb").is_file() and not (folder / "failed.ipynb").exists()
