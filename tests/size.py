"""Size and density of the library: `python tests/size.py` prints the table, `--dense` what stands against density.

Code lines are those that hold a token other than a comment or a docstring; characters are those of code lines without
their indentation. A function's length is its code lines, its `def` among them.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "omnirepro"
CORE = ("data", "models", "judge", "reward", "evaluate", "search", "train")
OTHERS = ("kit", "toyworld", "papers", "cli")
SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


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
        lines, numbers = text.splitlines(), code_lines(text)
        one = (1, len(numbers), sum(len(lines[number - 1].strip()) for number in numbers))
        rows[package_of(path)] = tuple(map(sum, zip(rows.get(package_of(path), (0, 0, 0)), one, strict=True)))
    added = {"core": CORE, "all": (*CORE, *OTHERS, "root")}
    sums = {
        name: tuple(map(sum, zip(*(rows[x] for x in some if x in rows), strict=True))) for name, some in added.items()
    }
    names = [*CORE, "core", *OTHERS, "root", "all"]
    return [(name, *(rows | sums)[name]) for name in names if name in rows | sums]


def functions(path: Path) -> Iterator[tuple[ast.FunctionDef, int]]:
    """Yield every function of a module with its code lines."""
    text = path.read_text(encoding="utf-8")
    lines = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION):
            yield node, len(lines & set(range(node.lineno, node.end_lineno + 1)))


def median_function(modules: list[Path]) -> float:
    """Return the median length of all functions, in code lines."""
    return statistics.median(length for path in modules for _, length in functions(path))


def small_helpers(path: Path) -> list[str]:
    """Return the private functions of a module, under five code lines, that one place of it names (no methods)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {id(node) for node in tree.body}
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for node, length in functions(path)
        if id(node) in own
        and node.name.startswith("_")
        and length < 5
        and used.count(node.name) == 1
        and not node.decorator_list
    ]


def dense_lines(path: Path) -> list[str]:
    """Return the lines that bind two names to two values, hold two statements, or are kept from the formatter."""
    text = path.read_text(encoding="utf-8")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno} binds several names"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
    ]
    lines = enumerate(text.splitlines(), 1)
    return found + [f"{path.relative_to(ROOT)}:{n} fmt: skip" for n, line in lines if "# fmt: skip" in line]


def main() -> None:
    modules = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
    if "--dense" in sys.argv:
        wanted = [word for word in sys.argv[1:] if word != "--dense"]
        some = [p for p in modules if not wanted or str(p.relative_to(ROOT)).startswith(tuple(wanted))]
        for path in some:
            print(
                *small_helpers(path),
                *dense_lines(path),
                sep="\n",
                end="\n" if small_helpers(path) + dense_lines(path) else "",
            )
        print(f"median function: {median_function(some):g} code lines")
        return
    print(f"{'package':<10} {'files':>5} {'code lines':>10} {'characters':>10}")
    for name, files, lines, characters in table(modules):
        print(f"{name:<10} {files:>5} {lines:>10,} {characters:>10,}")
    print(f"median function: {median_function(modules):g} code lines")


if __name__ == "__main__":
    main()
