"""Commands about runs and their results: each one function under `@command`, whose heavy imports stay inside.

`main` adds those about pairs, judges and plans, and parses the command line.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omnirepro.kit.run import estimate, results_root, run_name, study_estimate
from omnirepro.kit.run.estimates import usable_cores

STOPPED = 130  # exit status of what was interrupted
Command = Callable[[argparse.Namespace], int | None]
Argument = tuple[tuple[str, ...], dict[str, Any]]
COMMANDS: dict[str, tuple[Command, tuple[Argument, ...]]] = {}


def arg(*names: str, **options: Any) -> Argument:
    """Describe one argument of a command, as for `ArgumentParser.add_argument`."""
    return names, options


def command(name: str, *arguments: Argument) -> Callable[[Command], Command]:
    """Register a function as a command; the first line of its docstring is the help text."""

    def register(fn: Command) -> Command:
        COMMANDS[name] = fn, arguments
        return fn

    return register


PROFILE = arg("--profile", default="tiny", help="parameter profile (default: tiny)")
RUN = arg("--run", help="name of the run (default: the profile, with -s<seed> where the seed is not 0)")
SEED = arg("--seed", type=int, default=0, help="random seed (default: 0)")
SEEDS = arg("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="seeds, one run each (default: 0)")
CORES = arg("--cores", type=int, default=0, help="CPU cores; each ablation takes one (default: all that may be used)")
BATCH = (
    *(PROFILE, SEEDS, CORES),
    arg("--notebooks", nargs="*", default=[], metavar="N", help="numbers of notebooks, such as 03 (default: all)"),
    arg("--arms", choices=("few", "all"), default="few", help="ablations of notebook 07 (default: the profile's few)"),
)
OPEN_SEALED = arg("--open-sealed", action="store_true", help="open the sealed seeds, once, for the final run")
KEEP_GOING = arg("--keep-going", action="store_true", help="go on with what does not need a notebook that failed")
SET = arg("--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as sft.steps=10 (repeatable)")


def _runs(args: argparse.Namespace) -> list[str]:
    return [args.run] if args.run else [run_name(args.profile, seed) for seed in args.seeds]


@command(
    "run",
    arg("notebook", help="number or name of the notebook, such as 03"),
    *(PROFILE, RUN, SEED),
    arg("--base", help="run to inherit finished stages from"),
    SET,
)
def run_notebook(args: argparse.Namespace) -> None:
    """Execute one notebook into results/, with live progress."""
    from omnirepro.kit.report import execute

    print(execute(args.notebook, args.profile, args.run, args.base, args.seed, args.set))


def _asked(args: argparse.Namespace) -> tuple[str, list[int], list[str], int, bool]:
    """Return what `BATCH` describes: profile, seeds, notebooks, cores, and whether every ablation is asked for."""
    words = " ".join(args.notebooks).replace(",", " ").split()
    return args.profile, args.seeds, words, args.cores or usable_cores(), args.arms == "all"


@command("batch", *BATCH, KEEP_GOING, OPEN_SEALED)
def batch(args: argparse.Namespace) -> int:
    """Run every notebook that is not up to date, with one table of what is done, runs and waits."""
    from omnirepro.kit.batch.engine import run_batch

    return run_batch(*_asked(args), args.keep_going, open_sealed=args.open_sealed)


@command("reproduce", *BATCH, KEEP_GOING, OPEN_SEALED)
def reproduce(args: argparse.Namespace) -> int:
    """Run every notebook that is not up to date, then write the report and print the scorecard (make reproduce)."""
    failed = batch(args)
    if not failed or (args.keep_going and failed != STOPPED):
        print()
        report(argparse.Namespace(profile=args.profile, run=None, seeds=args.seeds))
    return failed


@command("status", *BATCH)
def tell_status(args: argparse.Namespace) -> None:
    """Say what is done, stale, running, failed or not run, and what the batch would do next; nothing is run."""
    from omnirepro.kit.batch.status import status

    print(status(*_asked(args)))


@command("check-env")
def check_environment(args: argparse.Namespace) -> int:
    """Say what this machine has, and what will be slow or absent; exit status 1 if something needed is missing."""
    from omnirepro.cli.environment import check

    text, ready = check()
    print(text)
    return 0 if ready else 1


@command(
    "rehearse",
    arg("--profile", nargs="*", default=[], help="profiles of papers, by name or file (default: all six)"),
    arg("--notebooks", nargs="*", default=[], metavar="N", help="numbers of notebooks, such as 03 (default: all)"),
    CORES,
)
def rehearse_profiles(args: argparse.Namespace) -> int:
    """Run papers' profiles end to end, offline, against a miniature mirror of the hub; goes on where it stopped."""
    from omnirepro.kit.rehearsal import PROFILES, rehearse_each

    words = " ".join(args.notebooks).replace(",", " ").split()
    return rehearse_each(args.profile or PROFILES, args.cores or usable_cores(), words)


@command("report", PROFILE, RUN, SEEDS)
def report(args: argparse.Namespace) -> None:
    """Write the HTML report and the explorer of a run, print its scorecard; several seeds are also taken together."""
    from omnirepro.cli.explore import explore
    from omnirepro.data import RowError
    from omnirepro.kit.report import build, combine_seeds, combined_summary, summary
    from omnirepro.kit.run import RunError
    from omnirepro.papers.plots import draw_together

    names = _runs(args)
    for name in names:
        with contextlib.suppress(RunError, RowError):  # a run without judgements has a report all the same
            explore([], [], [], None, 40, name)
        build(name)
    if len(names) == 1:
        print(summary(names[0]))
    else:
        combine_seeds(args.profile, args.seeds, draw_together)
        print(combined_summary(args.profile))


@command(
    "explore",
    arg("rows", nargs="*", help="judgements of any judges, JSON Lines (.gz too); none: all of the run"),
    arg("--pairs", nargs="+", default=[], help="the pairs that were judged: pair files, or public files or folders"),
    arg("--gold", nargs="+", default=[], help="gold labels with their per-dimension marks, JSON Lines"),
    arg("--out", help="page (default: explorer.html, of a run in its folder)"),
    arg("--media-mb", type=float, default=40, help="megabytes of media to embed; the rest is linked (default: 40)"),
    *(PROFILE, RUN, SEED),
)
def explore_rows(args: argparse.Namespace) -> None:
    """Write one offline HTML page to look through judgements pair by pair, with media, filters and permalinks."""
    from omnirepro.cli.explore import explore

    run = args.run or run_name(args.profile, args.seed)
    path, said = explore(args.rows, args.pairs, args.gold, args.out, args.media_mb, run)
    print(*said, f"written: {path}", sep="\n")


@command(
    "play",
    arg("--judge", metavar="SPEC", help="any judge that load_judge opens (default: the run's, after GRPO or else SFT)"),
    arg("--port", type=int, default=8765, help="port on this machine; 0: any free one (default: 8765)"),
    *(PROFILE, RUN, SEED),
)
def play_with_judge(args: argparse.Namespace) -> None:
    """Open a local page: pick or bring a picture, sound, film or text, write two answers, see the judge's rationale."""
    from omnirepro.cli.play import judge_of, serve

    serve(args.judge or str(judge_of(args.run or run_name(args.profile, args.seed))), args.port)


@command("site", arg("--to", help="folder (default: site, in the run's)"), *(PROFILE, RUN, SEED))
def write_site(args: argparse.Namespace) -> None:
    """Write a small static site of the guides, a run's executed notebooks and its explorer; it works offline."""
    from omnirepro.cli.explore import explore
    from omnirepro.kit.report.site import build_site

    run = args.run or run_name(args.profile, args.seed)
    folder = Path(args.to or results_root() / run / "site").absolute()
    index, said = build_site(run, folder, lambda page: explore([], [], [], page, 40, run))
    print(*said, f"written: {index}", sep="\n")


@command("arms", PROFILE, RUN, SEED, CORES)
def list_arms(args: argparse.Namespace) -> None:
    """List the ablations of a run that are still to be run, and the minutes that they will take."""
    print(
        estimate(args.profile, args.run or run_name(args.profile, args.seed), args.seed, args.cores or usable_cores())
    )


@command("estimate", PROFILE, SEEDS, CORES)
def estimate_study(args: argparse.Namespace) -> None:
    """Say how many notebooks and ablations of a profile's seeds are still to be run, and about how long that takes."""
    print(study_estimate(args.profile, args.seeds, args.cores or usable_cores()))


@command("figures", PROFILE, RUN, SEEDS)
def redraw_figures(args: argparse.Namespace) -> None:
    """Draw every figure of a run (of `blessed` where there is no other) again from its saved rows, without a model."""
    from omnirepro.papers.plots import redraw

    names = _runs(args)
    if not args.run and not any((results_root() / name).is_dir() for name in names):
        names = ["blessed"]
    print(*(f"drawn again: {folder}" for name in names for folder in redraw(name)), sep="\n")


@command(
    "recompute",
    arg("name", help="a metric of metrics.json, or a claim of the scorecard"),
    arg("--run", default="blessed", help="name of the run (default: blessed)"),
)
def recompute_number(args: argparse.Namespace) -> int:
    """Compute a number of a run, or a claim's, again from frozen rows and compare; exit status 1 if it differs."""
    from omnirepro.cli.recompute import recompute

    text, agree = recompute(args.name, args.run)
    print(text)
    return 0 if agree else 1


@command("bless", PROFILE, RUN, SEEDS)
def bless_run(args: argparse.Namespace) -> None:
    """Put the small part of a finished run (with what several seeds say together) into results/blessed."""
    from omnirepro.cli.export.blessed import bless

    names = _runs(args)
    print(bless(names[0], args.profile if len(names) > 1 else None))


@command("readme")
def write_readme(args: argparse.Namespace) -> None:
    """Write the tables of docs/results.md and docs/scorecard.md from results/blessed."""
    from omnirepro.kit.report import write_tables

    print(*(f"written: {path}" for path in write_tables()), sep="\n")


@command("tidy", arg("notebook", help="an executed notebook"))
def tidy(args: argparse.Namespace) -> None:
    """Take this machine's paths out of an executed notebook."""
    from omnirepro.kit.report import tidy_notebook

    tidy_notebook(Path(args.notebook))
