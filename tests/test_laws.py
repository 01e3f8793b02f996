"""The laws of the repository that can be read off its files: imports, weight, cells, outline, parameters, size."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import nbformat
import pytest
import size

from omnirepro.kit.run import READS, STAGES
from omnirepro.kit.run.parameters import flatten
from omnirepro.kit.run.reading import RUN_FILE_KEYS, descriptions, meaning_of, read_run_file, read_yaml
from omnirepro.kit.run.stages import MINUTES, SHARED, section_of, upstream

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "omnirepro"
MODULES = size.modules_of(PACKAGE)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# A package imports itself and what stands before it. The first seven are the core.
ORDER = (
    *("data", "models", "judge", "reward", "evaluate", "search", "train"),
    *("toyworld", "kit", "papers", "cli"),
)
EARLIER_NAMES = {"schema", "rubric", "meta", "labels"}  # import names that keep working; nothing here uses them
PURE = (
    *("data/", "reward/", "evaluate/", "judge/rubric", "judge/__init__", "models/__init__", "models/device"),
    *("kit/", "papers/omni_rrm/", "schema", "rubric", "meta", "labels/", "__init__"),
)
HEAVY = ("torch", "transformers", "trl")
OUTLINE = ("Inputs", "The idea", "Run", "Check", "Result", "Reading")
NAMES = {"profile", "run", "base", "seed", "overrides"}
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Code lines of the core and of all, characters of all, and bounds of the median function in code lines.
MOST_CORE_LINES = 9_900
MOST_LINES = 23_200
MOST_CHARACTERS = 1_115_000
MEDIAN = (6, 15)
# Private functions that stay short and called once since they are formulas.
FORMULAS: set[str] = set()
ABSOLUTE = re.compile(r"^(/[A-Za-z][\w.-]*|~[/\\]|[A-Za-z]:[/\\])")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


# ---- 1. import law


def package_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Every name of omnirepro that a module imports, at its top or inside a function, as its dotted parts."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = [*start, *(node.module.split(".") if node.module else [])]
            names = [[*module, alias.name] for alias in node.names]
        else:
            continue
        yield from (name[1:] for name in names if name[0] == "omnirepro" and len(name) > 1)


@pytest.mark.parametrize("path", [p for p in MODULES if package_of(p) in ORDER], ids=name_of)
def test_import_law(path):
    own, earlier = package_of(path), [name[0] for name in imports(path) if name[0] in EARLIER_NAMES]
    later = [name[0] for name in imports(path) if name[0] in ORDER[ORDER.index(own) + 1 :] or name[0] == "__main__"]
    assert not later, f"{name_of(path)} imports {later[0]}, which stands behind {own}: pass it as an argument"
    assert not earlier, f"{name_of(path)} imports {earlier[0]}, an earlier name: import it from where it lies"


def test_every_module_lies_in_a_package_of_the_order():
    outside = {package_of(path) for path in MODULES} - {*ORDER, *EARLIER_NAMES, "__init__", "__main__"}
    assert not outside, f"{', '.join(sorted(outside))}: give each its place in ORDER"
    root = {name[0] for name in imports(PACKAGE / "__init__.py")} & {*ORDER, *EARLIER_NAMES}
    assert root == {"judge"}, "the package itself offers the judges alone"


@pytest.mark.parametrize("path", [p for p in MODULES if package_of(p) in EARLIER_NAMES], ids=name_of)
def test_an_earlier_name_is_a_docstring_and_an_import(path):
    first, *rest = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    assert [type(node) for node in rest] == ([] if path.name == "__init__.py" else [ast.ImportFrom])


def test_earlier_names_are_the_things_themselves():
    places = {"schema": "data", "rubric": "judge.rubric", "meta": "reward.meta"}
    places["labels.reconcile"] = "papers.omni_rrm.reconcile"
    for earlier, name in (
        ("schema", "Pair"),
        ("rubric", "parse"),
        ("meta", "meta_reward"),
        ("labels.reconcile", "reconcile"),
    ):
        found, made = (import_module(f"omnirepro.{place}") for place in (earlier, places[earlier]))
        assert getattr(found, name) is getattr(made, name)


def test_no_import_circle():
    """No module reaches itself through its imports, those inside functions included."""
    known = {".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): p for p in MODULES}
    graph = {}
    for name, path in known.items():
        found = (".".join(parts) for parts in imports(path))
        graph[name] = {x if x in known else x.rpartition(".")[0] for x in found} - {name, ""}
    while True:  # take away what imports nothing that is left, and what nothing that is left imports
        graph = {name: needed & graph.keys() for name, needed in graph.items()}
        wanted = set().union(*graph.values())
        left = {name: needed for name, needed in graph.items() if needed and name in wanted}
        if len(left) == len(graph):
            break
        graph = left
    assert not graph, f"these modules import one another: {graph}"


# ---- 2. weight law


def test_weight_law():
    paths = [path for path in MODULES if path.relative_to(PACKAGE).as_posix().startswith(PURE)]
    names = ["omnirepro", *(".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths)]
    code = f"""
import importlib, sys
for name in {[name.removesuffix(".__init__") for name in names]}:
    importlib.import_module(name)
    heavy = [module for module in {HEAVY} if module in sys.modules]
    assert not heavy, f"importing {{name}} loads {{heavy[0]}}: import it inside the function that needs it"
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr.strip().splitlines()[-1]


# ---- 3. cell law


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def check_cell(source):
    """Return what is wrong with a code cell, or an empty text."""
    if len(source.splitlines()) > 10:
        return "has more than 10 lines"
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return "is not plain Python (no ! and no %)"
    if any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in nodes):
        return "defines something; it belongs into the library"
    if any(isinstance(node, ast.Assert) for node in nodes):
        return "asserts: a weak result is a Check (papers/checks.py), a broken one raises RunError in the library"
    if any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "open" for n in nodes):
        return "opens a file; use the run"
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "holds an absolute path" if any(ABSOLUTE.match(text) for text in texts) else ""


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def f():\n    pass", "defines"),
        ("class A: pass", "defines"),
        ("assert 1 > 0", "asserts"),
        ("run.check(sft_checks(metrics))", ""),
        ("!ls", "plain Python"),
        ("open('x')", "opens"),
        ("p = '/data/x'", "absolute"),
        ("p = '~/x'", "absolute"),
        ("1\n" * 11, "10 lines"),
        ("run.write('x', 'a / b')", ""),
    ],
)
def test_cell_law_notices(source, wrong):
    assert wrong in check_cell(source) and bool(wrong) == bool(check_cell(source))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_cell_law(path):
    for number, cell in enumerate(cells(path), 1):
        assert not (wrong := check_cell(cell.source)), f"{name_of(path)}: code cell {number} {wrong}:\n{cell.source}"
        assert not cell.outputs and cell.execution_count is None, f"{name_of(path)} is not stripped: use nbstripout"


# ---- 4. outline law


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_outline_law(path):
    book = nbformat.read(path, as_version=4).cells
    assert path.stem in STAGES, f"{path.stem} is not in DEPENDS of omnirepro/kit/run/stages.py"
    first = book[0]
    assert first.cell_type == "markdown" and first.source.startswith("# "), "the first cell is the title"
    assert "?" in first.source, "the first cell asks the notebook's question"
    for column in ("reads", "writes", "minutes", "paper"):
        assert re.search(rf"\|[^|\n]*{column}", first.source, re.I), f"the table of the first cell lacks {column}"
    found = re.findall(r"^## +(?:\d+\.? *)?(.+?) *$", "\n".join(c.source for c in cells(path, "markdown")), re.M)
    assert [title for title in found if title in OUTLINE] == list(OUTLINE), f"the sections are {found}"
    minutes = ", ".join(f"{profile} {number:g}" for profile, number in MINUTES[path.stem].items())
    one = {f"{number:g}" for number in MINUTES[path.stem].values()}
    assert f"| {minutes}" in first.source or f"| {'/'.join(one)} |" in first.source, f"its minutes are {minutes}"
    check_code_outline(path.stem, [cell for cell in book if cell.cell_type == "code"])
    assert book[-1].cell_type == "markdown" and "](" in book[-1].source, "the last cell links to the next notebook"
    asked = re.search(r"\brun\.check\(|\brequire_\w+\(", by_section(book)["Check"])
    assert asked, "Check calls run.check(...) with functions of papers/checks.py, or one that is named require_..."
    assert len(re.findall(r"\brun\.do\(", by_section(book)["Run"])) <= 1, "Run is one call"


def check_code_outline(stage, code):
    tagged = [i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [0], "the first code cell, and no other, is tagged parameters"
    statements = ast.parse(code[0].source).body
    assert {s.targets[0].id for s in statements if isinstance(s, ast.Assign)} == NAMES, f"parameters are {NAMES}"
    for statement in statements:
        ast.literal_eval(statement.value)  # plain literals only
    assert re.search(rf"run = open_run\(\s*[\"']{stage}[\"']", code[1].source), "the second code cell opens the run"
    assert "run.finish(" in code[-1].source, "the last code cell finishes the run"
    assert any(re.search(r"\bshow\(", cell.source) for cell in code), "show(fn) displays the idea's source"


def by_section(book):
    """Map each section's title to the source of its code cells."""
    title, sources = "", {}
    for cell in book:
        if cell.cell_type == "code":
            sources[title] = sources.get(title, "") + cell.source + "\n"
        elif match := re.match(r"## +(?:\d+\.? *)?(.+)", cell.source):
            title = match[1].strip()
    return {name: sources.get(name, "") for name in OUTLINE}


# ---- 5. parameter law


def test_base_has_every_key_once_with_a_sentence_above():
    base = read_yaml(ROOT / "params/base.yaml")
    meaning = descriptions(ROOT / "params/base.yaml")
    sentences = {section: meaning.get(section, "") for section in base}
    sentences |= {key: meaning_of(key, meaning) for key in flatten(base)}
    for key, sentence in sentences.items():
        assert sentence.endswith("."), f"{key} has no sentence (ending in a full stop) above it in base.yaml"
    sections = {*SHARED, *(section_of(stage) for stage in STAGES)}
    assert set(base) <= sections, f"sections are shared ones or notebooks: {set(base) - sections}"


@pytest.mark.parametrize("path", sorted((ROOT / "params/profiles").glob("*.yaml")), ids=name_of)
def test_profiles_hold_differences_only(path):
    base = flatten(read_yaml(ROOT / "params/base.yaml"))
    for key, value in flatten(read_yaml(path), whole=base).items():
        assert key in base, f"{name_of(path)}: {key} is not in base.yaml"
        assert value != base[key], f"{name_of(path)}: {key} says what base.yaml says"


@pytest.mark.parametrize("path", sorted((ROOT / "params/runs").glob("*.yaml")), ids=name_of)
def test_run_files_are_papermill_parameters(path):
    base = flatten(read_yaml(ROOT / "params/base.yaml"))
    values = read_run_file(path)
    assert set(flatten(values.get("overrides") or {})) <= set(base)
    assert (ROOT / "params/profiles" / f"{values.get('profile', 'tiny')}.yaml").is_file()


def test_notebook_parameters_and_river_agree():
    assert RUN_FILE_KEYS == NAMES and set(READS) == set(STAGES)
    for stage in STAGES:
        assert all(STAGES.index(other) < STAGES.index(stage) for other in upstream(stage))


# The modules that read a section of the parameters; a folder ends in a slash.
READERS = {
    "profile": ("kit/run/parameters.py",),
    "endpoints": ("models/endpoints.py",),
    "device": ("models/device.py", "kit/run/training.py"),
    "data": ("papers/omni_rrm/supply.py",),
    "world": ("papers/omni_rrm/supply.py", "toyworld/tasks.py"),
    "media": ("models/processing.py", "kit/run/training.py"),
    "backbone": ("toyworld/pretraining/", "papers/checks.py"),
    "synthesis": ("papers/omni_rrm/synthesis.py", "../notebooks/01_synthesis.ipynb"),
    "reconciliation": ("papers/omni_rrm/labelling.py",),
    "sft": ("train/sft.py", "train/curriculum.py", "train/common.py"),
    "grpo": ("train/grpo.py", "train/common.py", "papers/omni_rrm/reinforcement.py"),
    "bradley_terry": (
        *("train/bradley_terry.py", "train/common.py", "papers/omni_reward/stage.py"),
        "toyworld/pretraining/vocabulary.py",
    ),
    "meta_reward_dpo": ("papers/grm_omni/", "train/dpo.py", "train/tuning.py", "train/common.py"),
    "ablations": ("kit/run/arms.py",),
    "best_of_n": ("papers/best_of_n/stage.py", "../notebooks/08_best_of_n.ipynb"),
    "benchmarks": ("papers/benchmarks/stage.py",),
}


def read_by(source):
    """Return patterns of the keys that a module may read: its texts, and what it subscripts by a text made of parts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(re.escape(node.value))
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.JoinedStr):
            parts = node.slice.values
            found.add("".join(re.escape(x.value) if isinstance(x, ast.Constant) else r"\w+" for x in parts))
    return found


def unread(section, keys):
    """Return the keys of a section that no module reads; every module calls what it reads of `judge` by one name."""
    if section == "judge":
        text = "\n".join(path.read_text(encoding="utf-8") for path in MODULES)
        found = set(re.findall(r'(?:\basked|section\("judge"\))\["(\w+)"\]', text))
    else:
        found = set()
        for name in READERS.get(section, ()):
            path = PACKAGE / name
            for module in path.rglob("*.py") if path.is_dir() else [path]:
                text = module.read_text(encoding="utf-8")
                found |= set(re.findall(r"\w+", text)) if module.suffix == ".ipynb" else read_by(text)
    return [k for k in keys if not any(re.fullmatch(pattern, k) or pattern == rf"{section}\.{k}" for pattern in found)]


@pytest.mark.parametrize("section", list(read_yaml(ROOT / "params/base.yaml")))
def test_every_key_is_read_by_some_line_of_code(section):
    keys = read_yaml(ROOT / "params/base.yaml")[section]
    assert not (left := unread(section, keys)), f"{section}.{left[0]} is read by no code: read it or delete it"
    assert unread(section, ["orderz"]) == ["orderz"], "a key that nobody reads is noticed"
    assert section != "judge" or unread(section, ["orders"]), "what other sections have does not count"


# ---- size and density


def test_size_law():
    rows = {name: numbers for name, *numbers in size.table(MODULES)}
    assert rows["core"][1] <= MOST_CORE_LINES, f"the core has {rows['core'][1]:,} code lines: delete, or join twins"
    assert rows["all"][1] <= MOST_LINES, f"the library has {rows['all'][1]:,} code lines: delete, or join twins"
    assert rows["all"][2] <= MOST_CHARACTERS, f"the library has {rows['all'][2]:,} characters of code"


def test_functions_tell_their_story():
    median = size.median_function(MODULES)
    assert MEDIAN[0] <= median <= MEDIAN[1], f"half of the functions have at most {median:g} code lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_density_law(path):
    found = [line for line in size.dense(path) if not any(repr(name) in line for name in FORMULAS)]
    assert not found, "\n".join(["too dense:", *found])


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("def _f(x):\n    return x\n\ndef g():\n    return _f(1)", ["_f"]),
        ("def _f(x):\n    return x\n\ndef g():\n    return _f(1) + _f(2)", []),
        ("def _f(x):\n    return x\n\ndef g():\n    return map(_f, [1])", []),
        ('def _f(x):\n    """Return Equation 1."""\n    return x\n\ndef g():\n    return _f(1)', []),
        ("def _f(x):\n    a = 1\n    b = 2\n    c = 3\n    return a\n\ndef g():\n    return _f(1)", []),
        ("a, b = 1, 2", ["a, b = (1, 2)"]),
        ("a, b = b, a", []),
        ("a, b = f()", []),
        ("T = (\n  1,\n)  # fmt: skip", []),
        ("t = f(\n  1,\n)  # fmt: skip", [")  # fmt: skip"]),
        ("def f():\n    t = [\n  1]  # fmt: skip", ["1]  # fmt: skip"]),
    ],
)
def test_density_law_notices(source, wrong):
    assert [said for find in size.DENSITY.values() for _, said in find(source)] == wrong


def test_the_guide_holds_the_size():
    """Within two per cent, so that a small edit needs no new table."""
    now, written = ({name: n for name, _, *n in rows} for rows in (size.table(MODULES), size.from_text(GUIDE)))
    assert list(written) == list(now), "make size writes the table of CONTRIBUTING.md"
    for name, numbers in now.items():
        for there, here in zip(written[name], numbers, strict=True):
            assert abs(there - here) <= max(2, 0.02 * here), f"{name} has grown or shrunk: make size"


def test_the_guide_names_what_there_is():
    """Paths lie in the repository, the package or the committed run; dotted names can be imported."""
    known = (ROOT, PACKAGE, ROOT / "results/blessed")
    named = set(re.findall(r"`([\w./-]+)(?:\([\w=]*\))?`", GUIDE))
    paths = {name for name in named if "/" in name}
    names = {name for name in named if name.split(".")[0] in ORDER and "/" not in name}
    assert len(paths) > 15 and len(names) > 10
    assert not [path for path in paths if not any((folder / path).exists() for folder in known)]
    for name in names:
        resolve_name(f"omnirepro.{name}")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name_of(path)} has no docstring"
