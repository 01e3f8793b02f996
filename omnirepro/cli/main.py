"""Command line: `python -m omnirepro COMMAND`. A command is one function under `@command`; its imports stay inside.

Those about runs and their results are in `commands`. A function returns None or an exit status. An expected error (a
class of `_expected`) is printed without a traceback.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields

from omnirepro.cli.commands import COMMANDS, RUN_ARGUMENTS, arg, command


@command(
    "judge",
    arg("file", help="pairs, one JSON object a line"),
    arg("--model", required=True, help="stage folder, adapter, model folder, hub id, package, or http://host/v1#model"),
    arg("--out", required=True, help="file for the judgements, one JSON object a line"),
    arg("--orders", default="both", choices=("both", "AB", "BA"), help="orders in which each pair is shown"),
    arg("--criterion", help="criterion that replaces the pairs' own"),
    arg("--batch-size", type=int, default=64, help="judgements made at a time"),
    arg("--cache", help="sqlite file of a server's answers: what is in it is not asked, nor paid, again"),
    arg("--concurrency", type=int, default=8, help="requests to a server at a time (default: 8)"),
)
def judge_pairs(args: argparse.Namespace) -> None:
    """Judge the pairs of a file and write one row a pair and order."""
    from omnirepro import load_judge
    from omnirepro.data import Pair, read_jsonl, write_jsonl
    from omnirepro.data.progress import progress

    pairs = read_jsonl(args.file, Pair, check_media=True)
    endpoint = {"cache": args.cache, "concurrency": args.concurrency}
    judge = load_judge(args.model, batch_size=args.batch_size, endpoint=endpoint)
    rows = judge.judge(pairs, args.orders, args.criterion, progress=progress("judging"))
    write_jsonl(args.out, rows)
    if usage := getattr(getattr(judge, "chat", None), "usage", None):
        print(usage)
    print(f"{len(rows)} judgements in {args.out}; {sum(row.verdict is None for row in rows)} without a verdict")


@command(
    "score",
    arg("file", help="prompts with one response each (id, prompt, response, criterion?), one JSON object a line"),
    arg("--model", required=True, help="stage folder, scorer, adapter, model folder, hub id, package, or URL#model"),
    arg("--out", required=True, help="file for the scores, one JSON object a line"),
    arg("--criterion", help="criterion in words that replaces the rows' own"),
    arg("--batch-size", type=int, default=64, help="responses scored at a time"),
)
def score_responses(args: argparse.Namespace) -> None:
    """Score the responses of a file, each by itself, under a criterion in words."""
    from omnirepro import load_judge
    from omnirepro.data import read_jsonl, write_jsonl
    from omnirepro.data.progress import progress
    from omnirepro.judge.scalar import Answered, score_rows

    rows = read_jsonl(args.file, Answered, check_media=True)
    scored = score_rows(load_judge(args.model, batch_size=args.batch_size), rows, args.criterion, progress("scoring"))
    write_jsonl(args.out, scored)
    print(f"{len(scored)} scores in {args.out}; {sum(row.score is None for row in scored)} could not be read")


@command(
    "train-scalar",
    arg("data", nargs="+", help="preferences: pair files, public files or folders, hub ids, or names of sources"),
    arg("--model", required=True, help="model to start from: model folder, hub id or package"),
    arg("--test", nargs="*", default=[], help="more such data, tested on alone"),
    arg("--held-out", type=float, default=0.25, help="share of the prompts held out of training (default: 0.25)"),
    arg("--limit", type=int, default=0, help="pairs of each test set, by whole prompts (default: all)"),
    arg("--beside", nargs="*", default=[], help="generative judges to ask for a bare verdict on the same pairs"),
    arg("--set", action="append", default=[], metavar="KEY=VALUE", help="override, such as bradley_terry.steps=50"),
    *RUN_ARGUMENTS,
)
def train_scalar(args: argparse.Namespace) -> None:
    """Train a scalar reward model on preferences and test it on held-out prompts and other data; resumes."""
    from omnirepro.cli import preferences
    from omnirepro.kit.report.execution import setting
    from omnirepro.kit.run import open_run

    overrides = dict(setting(text) for text in args.set)
    run = open_run(preferences.STAGE, args.profile, args.run, None, args.seed, overrides)
    train, sets = preferences.prepare(run, args.model, args.data, args.test, args.held_out, args.limit, args.beside)
    run.do(preferences.train_and_test, args.model, train, sets, args.beside)
    found = preferences.preference_metrics(run.path())
    run.finish(found)
    print(*(f"{name}: {value} (n = {value.n})" for name, value in found.items()), sep="\n")
    print(f"the scorer and its rows lie in {run.dir}")


@command(
    "best-of-n",
    arg("file", help="prompts with candidates (id, prompt, candidates, criterion?), one JSON object a line"),
    arg("--model", required=True, help="stage folder, adapter, scorer, model folder, hub id, package, or URL#model"),
    arg("--out", required=True, help="file for ranks, strengths and reasons, one JSON object a line"),
    arg("--how", default="knockout", choices=("knockout", "round-robin", "scalar"), help="way to choose"),
    arg("--incumbent", default="random", choices=("random", "A"), help="side of the leader (released code: A)"),
)
def choose_best(args: argparse.Namespace) -> None:
    """Choose the best of N candidates for every prompt of a file, with ranks and the judge's reasons."""
    from omnirepro import load_judge
    from omnirepro.data import write_jsonl
    from omnirepro.data.progress import progress
    from omnirepro.search import choose, read_candidates

    rows = read_candidates(args.file)
    found = choose(load_judge(args.model), rows, args.how, args.incumbent, progress=progress("choosing"))
    write_jsonl(args.out, found)
    print(f"{len(found)} choices in {args.out}; {sum(row.failed for row in found)} judgements could not be read")


@command(
    "data",
    arg("action", choices=("check",), help="what to do: check counts, media, licence and leaks"),
    arg("path", help="pairs or public data: a file, a folder, a hub id, or a source's name"),
    arg("--source", help="format of the data (default: guessed from its fields)"),
    arg("--root", help="folder that the rows' media paths are relative to (default: the file's)"),
)
def check_data(args: argparse.Namespace) -> None:
    """Report what a preference data set holds and which features without content give its labels away."""
    from omnirepro.data.audit.check import report
    from omnirepro.data.sources import load
    from omnirepro.evaluate.statistics import clustered_bootstrap

    print(report(list(load(args.path, args.source, args.root)), clustered_bootstrap))


@command(
    "plan",
    arg("--profile", default="omni-7b", help="parameter profile (default: omni-7b)"),
    arg("--gpus", type=int, default=8, help="GPUs (default: 8)"),
    arg("--sft-rows", type=int, default=24_300, help="labelled pairs for SFT (default: Omni-Preference's)"),
    arg("--rl-rows", type=int, default=16_671, help="labelled pairs for GRPO (default: Omni-Preference's)"),
    arg("--prompt", type=int, default=1500, help="tokens of a prompt with its media"),
    arg("--answer", type=int, default=265, help="tokens of a judgement (default: the published mean)"),
    arg("--teraflops", type=float, default=120.0, help="throughput of a GPU in training, in TFLOP/s"),
    arg("--bandwidth", type=float, default=2000.0, help="memory bandwidth of a GPU, in GB/s"),
    arg("--zero", type=int, default=2, choices=(0, 1, 2, 3), help="ZeRO stage; 3 also stands for FSDP"),
)
def plan_run(args: argparse.Namespace) -> None:
    """Print steps, tokens, memory by part and time of SFT and GRPO with a real checkpoint."""
    from omnirepro.cli.plan import Assumptions, plan
    from omnirepro.kit.run import load_params

    given = {field.name: getattr(args, field.name) for field in fields(Assumptions)}
    print(plan(load_params(args.profile), Assumptions(**given)))


@command(
    "export",
    arg("--to", required=True, help="new folder"),
    arg("--form", default="hub", choices=("hub", "ms-swift", "llama-factory"),
        help="hub: the judge, to be uploaded; else data and recipes for another trainer (default: hub)"),
    arg("--stage", default="04_grpo", help="stage whose judge is exported (default: 04_grpo)"),
    *RUN_ARGUMENTS,
)  # fmt: skip
def export(args: argparse.Namespace) -> None:
    """Write a trained judge as a hub folder, or a run's data and recipes for ms-swift or LLaMA-Factory."""
    from omnirepro.cli.export import write_hub_folder, write_recipes
    from omnirepro.kit.run import results_root, run_name

    run = args.run or run_name(args.profile, args.seed)
    hub, judge = args.form == "hub", results_root() / run / args.stage
    print(f"written: {write_hub_folder(judge, args.to) if hub else write_recipes(run, args.to, args.form)}")


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
    from openai import OpenAIError

    from omnirepro.data import MediaError, RowError
    from omnirepro.kit.run import ParameterError, RunError
    from omnirepro.models.loading import ModelError

    return ParameterError, RunError, RowError, MediaError, ModelError, OpenAIError


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; a known error is one line on stderr and status 1."""
    args = parser().parse_args(argv)
    try:
        return COMMANDS[args.command][0](args) or 0
    except _expected() as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
