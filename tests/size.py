"""Size and density of the library: `python tests/size.py` prints the table, `--write` puts it into CONTRIBUTING.md.

`--dense [FOLDER ...]` lists instead what the laws of density in tests/test_laws.py forbid. Code lines are those that
hold a token other than a comment or a docstring; characters are those of code lines without their indentation. A
function's length is its code lines, its `def` among them.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "omnirepro"
GUIDE = ROOT / "CONTRIBUTING.md"
MARKED = re.compile(r"(<!-- size: begin -->\n).*?(<!-- size: end -->)", re.DOTALL)
CORE = ("data", "models", "judge", "reward", "evaluate", "search", "train")
OTHERS = ("kit", "toyworld", "papers", "cli")
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
ASSIGNMENT = (ast.Assign, ast.AnnAssign)
LITERAL = (ast.Tuple, ast.List, ast.Set, ast.Dict)


def modules_of(package: Path = PACKAGE) -> list[Path]:
    """Return the modules of a package in the order of their paths."""
    return sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)


# ---- size


@cache
def code_lines(text: str) -> set[int]:
    """Return the numbers of a module's lines that hold code: no blank, no comment, no docstring."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SKIPPED:
            found |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION)) and ast.get_docstring(node, clean=False) is not None:
            found -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


def package_of(path: Path) -> str:
    """Return the package of a module; what lies beside the packages is the root."""
    name = path.relative_to(PACKAGE).parts[0]
    return name if name in CORE + OTHERS else "root"


def table(modules: list[Path]) -> list[tuple[str, int, int, int]]:
    """Return (package, files, code lines, characters) of every package, of the core and of all."""
    rows = {}
    for path in modules:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        numbers = code_lines(text)
        one = (1, len(numbers), sum(len(lines[number - 1].strip()) for number in numbers))
        rows[package_of(path)] = tuple(map(sum, zip(rows.get(package_of(path), (0, 0, 0)), one, strict=True)))
    added = {"core": CORE, "all": (*CORE, *OTHERS, "root")}
    sums = {
        name: tuple(map(sum, zip(*(rows[x] for x in some if x in rows), strict=True))) for name, some in added.items()
    }
    names = [*CORE, "core", *OTHERS, "root", "all"]
    return [(name, *(rows | sums)[name]) for name in names if name in rows | sums]


def as_text(rows: list[tuple[str, int, int, int]]) -> str:
    """Return the table in Markdown."""
    lines = ["| package | files | code lines | characters |", "|---|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {name} | {f} | {c:,} | {n:,} |" for name, f, c, n in rows)])


def from_text(text: str) -> list[tuple[str, int, int, int]]:
    """Return the table that stands between the markers of a text, as `as_text` wrote it."""
    cells = re.findall(r"^\| (\w+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", MARKED.search(text)[0], re.MULTILINE)
    return [(name, *(int(n.replace(",", "")) for n in numbers)) for name, *numbers in cells]


# ---- density


def functions(tree: ast.Module, text: str) -> Iterator[tuple[ast.FunctionDef, int]]:
    """Yield every function of a module, methods and nested ones too, with its code lines."""
    lines = code_lines(text)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION):
            yield node, len(lines & set(range(node.lineno, node.end_lineno + 1)))


def median_function(modules: list[Path]) -> float:
    """Return the median length of all functions, in code lines."""
    texts = (path.read_text(encoding="utf-8") for path in modules)
    return statistics.median(length for text in texts for _, length in functions(ast.parse(text), text))


def small_helpers(text: str) -> list[tuple[int, str]]:
    """Return (line, name) of the private functions under five code lines that one call of their module names.

    Left out are methods, decorated functions, those that are handed on as values, and those whose docstring names an
    equation.
    """
    tree = ast.parse(text)
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return [
        (node.lineno, node.name)
        for node, length in functions(tree, text)
        if node in tree.body
        and node.name.startswith("_")
        and not node.name.startswith("__")
        and length < 5
        and node.name in called
        and names.count(node.name) == 1
        and not node.decorator_list
        and not re.search(r"\b[Ee]quations?\b", ast.get_docstring(node) or "")
    ]


def double_assignments(text: str) -> list[tuple[int, str]]:
    """Return (line, source) of the assignments of a tuple to a tuple; an exchange (`a, b = b, a`) is none."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Tuple)
            and isinstance(node.value, ast.Tuple)
        ):
            targets = sorted(map(ast.unparse, node.targets[0].elts))
            if targets != sorted(map(ast.unparse, node.value.elts)):
                found.append((node.lineno, ast.unparse(node)[:60]))
    return found


def unformatted_lines(text: str) -> list[tuple[int, str]]:
    """Return (line, source) of each `# fmt: skip` that is not in a data table.

    A data table is a literal tuple, list, set or dict that is assigned to a name of a module or class.
    """
    tables = [
        range(node.lineno, node.end_lineno + 1)
        for body in ast.walk(ast.parse(text))
        if isinstance(body, (ast.Module, ast.ClassDef))
        for node in body.body
        if isinstance(node, ASSIGNMENT) and isinstance(node.value, LITERAL)
    ]
    lines = enumerate(text.splitlines(), 1)
    return [
        (number, line.strip()[:60])
        for number, line in lines
        if "# fmt: skip" in line and not any(number in table for table in tables)
    ]


DENSITY = {
    "is called once: inline it": small_helpers,
    "binds several names: one assignment a line": double_assignments,
    "is kept from the formatter and no data table": unformatted_lines,
}


def dense(path: Path) -> list[str]:
    """Return one line for everything in a module that stands against density."""
    text = path.read_text(encoding="utf-8")
    where = path.relative_to(ROOT).as_posix()
    return [f"{where}:{line} {said!r} {why}" for why, find in DENSITY.items() for line, said in find(text)]


def main() -> None:
    """Print the table, write it into the guide, or list what is too dense."""
    modules = modules_of()
    if "--dense" in sys.argv:
        wanted = tuple(word for word in sys.argv[1:] if word != "--dense") or ("omnirepro",)
        modules = [path for path in modules if path.relative_to(ROOT).as_posix().startswith(wanted)]
        for path in modules:
            for line in dense(path):
                print(line)
    else:
        text = as_text(table(modules))
        print(text)
        if "--write" in sys.argv:
            guide = GUIDE.read_text(encoding="utf-8")
            GUIDE.write_text(MARKED.sub(lambda match: f"{match[1]}{text}\n{match[2]}", guide), encoding="utf-8")
    print(f"median function: {median_function(modules):g} code lines")


if __name__ == "__main__":
    main()
