"""Command line: `python -m omnirepro COMMAND`. A command is one function under `@command`; its imports stay inside.

A function returns None or an exit status. An expected error (a class of `_expected`) is printed without a traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

Command = Callable[[argparse.Namespace], int | None]
COMMANDS: dict[str, tuple[Command, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]]] = {}


def arg(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Describe one argument of a command, as for `ArgumentParser.add_argument`."""
    return names, options


def command(name: str, *arguments: tuple[tuple[str, ...], dict[str, Any]]) -> Callable[[Command], Command]:
    """Register a function as a command; the first line of its docstring is the help text."""

    def register(fn: Command) -> Command:
        COMMANDS[name] = fn, arguments
        return fn

    return register


RUN_ARGUMENTS = (
    arg("--profile", default="tiny", help="parameter profile (default: tiny)"),
    arg("--run", help="name of the run (default: the profile, with -s<seed> where the seed is not 0)"),
    arg("--seed", type=int, default=0, help="random seed (default: 0)"),
)


@command(
    "run",
    arg("notebook", help="number or name of the notebook, such as 03"),
    *RUN_ARGUMENTS,
    arg("--base", help="run to inherit finished stages from"),
    arg("--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as sft.steps=10 (repeatable)"),
)
def run_notebook(args: argparse.Namespace) -> None:
    """Execute one notebook into results/, with live progress."""
    from omnirepro.report import execute

    print(execute(args.notebook, args.profile, args.run, args.base, args.seed, args.set))


@command("report", *RUN_ARGUMENTS)
def report(args: argparse.Namespace) -> None:
    """Write the HTML report of a run and print its scorecard and where everything lies."""
    from omnirepro.report import build, summary
    from omnirepro.run import run_name

    name = args.run or run_name(args.profile, args.seed)
    build(name)
    print(summary(name))


@command("figures", *RUN_ARGUMENTS)
def redraw_figures(args: argparse.Namespace) -> None:
    """Draw every figure of a run (of `blessed` where there is no other) again from its saved rows, without a model."""
    from omnirepro.report import redraw
    from omnirepro.run import results_root, run_name

    own = run_name(args.profile, args.seed)
    for folder in redraw(args.run or (own if (results_root() / own).is_dir() else "blessed")):
        print(f"drawn again: {folder}")


@command(
    "judge",
    arg("file", help="pairs, one JSON object a line"),
    arg("--model", required=True, help="stage folder, adapter, model folder, hub id, package, or http://host/v1#model"),
    arg("--out", required=True, help="file for the judgements, one JSON object a line"),
    arg("--orders", default="both", choices=("both", "AB", "BA"), help="orders in which each pair is shown"),
    arg("--criterion", help="criterion that replaces the pairs' own"),
    arg("--batch-size", type=int, default=64, help="judgements made at a time"),
)
def judge_pairs(args: argparse.Namespace) -> None:
    """Judge the pairs of a file and write one row a pair and order."""
    from omnirepro import load_judge
    from omnirepro.run import progress
    from omnirepro.schema import Pair, read_jsonl, write_jsonl

    pairs = read_jsonl(args.file, Pair, check_media=True)
    judge = load_judge(args.model, batch_size=args.batch_size)
    rows = judge.judge(pairs, args.orders, args.criterion, progress=progress("judging"))
    write_jsonl(args.out, rows)
    failed = sum(row.verdict is None for row in rows)
    print(f"{len(rows)} judgements of {len(pairs)} pairs in {args.out}; {failed} without a verdict")


@command(
    "data",
    arg("action", choices=("check",), help="what to do: check counts, media, licence and leaks"),
    arg("path", help="pairs or public data: a file, a folder, a hub id, or a source's name"),
    arg("--source", help="format of the data (default: guessed from its fields)"),
    arg("--root", help="folder that the rows' media paths are relative to (default: the file's)"),
)
def check_data(args: argparse.Namespace) -> None:
    """Report what a preference data set holds and which features without content give its labels away."""
    from omnirepro.evaluate.statistics import clustered_bootstrap
    from omnirepro.sources import load
    from omnirepro.sources.check import report

    print(report(list(load(args.path, args.source, args.root)), clustered_bootstrap))


@command("tidy", arg("notebook", help="an executed notebook"))
def tidy(args: argparse.Namespace) -> None:
    """Take this machine's paths out of an executed notebook."""
    from pathlib import Path

    from omnirepro.report import tidy_notebook

    tidy_notebook(Path(args.notebook))


def parser() -> argparse.ArgumentParser:
    """Build the argument parser from the registered commands."""
    top = argparse.ArgumentParser(prog="python -m omnirepro", description="Omni-modal reward models, reproducibly.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (fn, arguments) in COMMANDS.items():
        text = (fn.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(name, help=text, description=text)
        for names, options in arguments:
            sub.add_argument(*names, **options)
    return top


def _expected() -> tuple[type[Exception], ...]:
    from omnirepro.models.loading import ModelError
    from omnirepro.run import ParameterError, RunError
    from omnirepro.schema import MediaError, RowError

    return ParameterError, RunError, RowError, MediaError, ModelError


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; a known error is one line on stderr and status 1."""
    args = parser().parse_args(argv)
    try:
        return COMMANDS[args.command][0](args) or 0
    except _expected() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
