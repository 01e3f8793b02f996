"""Command line: `python -m omnirepro COMMAND`. A command is one function under `@command`; heavy imports stay inside.

Those about runs and their results are in `commands`. A function returns None or an exit status. Errors that name what
is wrong and what to do (of data, parameters, runs, models, servers) are printed without a traceback.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omnirepro.cli import summary
from omnirepro.cli.commands import COMMANDS, PROFILE, RUN, SEED, SET, arg, command
from omnirepro.cli.plan import Assumptions, plan
from omnirepro.data import MediaError, Pair, RowError, read_jsonl, write_jsonl
from omnirepro.data.files import home, try_out
from omnirepro.data.progress import progress
from omnirepro.data.schema import refuse_empty
from omnirepro.kit.run import ParameterError, RunError, load_params, open_run, project_root, results_root, run_name
from omnirepro.kit.run.reading import read_yaml

MODEL = arg("--model", required=True, help="stage folder, scorer, adapter, model, hub id, package, or URL#model")
CACHE = arg("--cache", help="sqlite file of a model's answers, none made again (default: OUT.answers.sqlite)")
ASKED = (
    arg("--endpoints", help="YAML file of the section `endpoints` in params/base.yaml: keys, prices, servers"),
    arg("--concurrency", type=int, help="requests to a server at a time (default: 8)"),
    arg("--budget", type=float, help="what a server's answers may cost, in the currency of its price (default: any)"),
    arg("--seconds", type=float, default=0.0, help="for how long the model is asked (default: to the end); resumes"),
    arg("--max-new-tokens", type=int, help="longest answer (default: what the format needs, or as it was trained)"),
)
SERVED = (CACHE, *ASKED)
READ = arg("--read", default="generate", help="generate (default), or by probabilities: choice, choice-after-rationale")
BATCH_SIZE = arg("--batch-size", type=int, default=64, help="judgements or scores made at a time (default: 64)")
_FORMAT = warnings.formatwarning
KINDS = ("image", "video", "audio", "text")
SCORES = ("eval-results", "every-eval-ever", "mmrb2")
FORMS = ("hub", "ms-swift", "llama-factory", *SCORES)
ASSUMED = [
    arg(f"--{f.name.replace('_', '-')}", type=type(f.default), default=f.default, **f.metadata)
    for f in fields(Assumptions)
]


def _column(text: str) -> tuple[str, str]:
    """Read `COLUMN=FIELD` of --column."""
    column, said, field = text.partition("=")
    if not said:
        raise argparse.ArgumentTypeError(f"{text}: write the column, = and the field that it is")
    return column, field


SOURCE = arg("--source", help="format of the data (default: guessed from its fields)")
ROOT = arg("--root", help="folder that the rows' media paths are relative to (default: the file's)")
COLUMNS = arg(
    "--column", action="append", default=[], type=_column, metavar="HERE=FIELD", help="field that a column is"
)


@command(
    "judge",
    arg("file", help="pairs or public data: a file, a folder, a hub id, or a source's name"),
    MODEL,
    *(SOURCE, ROOT, COLUMNS),
    arg("--out", required=True, help="file for the judgements, one JSON object a line"),
    arg("--orders", default="both", choices=("both", "AB", "BA"), help="orders in which each pair is shown"),
    arg("--criterion", help="criterion that replaces the pairs' own"),
    READ,
    arg(
        "--samples", type=int, default=1, help="judgements drawn of each pair and order, commonest counts (default: 1)"
    ),
    arg("--limit", type=int, default=0, help="first pairs that are judged (default: all)"),
    arg("--bad-rows", default="stop", choices=("stop", "drop"), help="at a row whose media cannot be read"),
    arg("--dry-run", action="store_true", help="tell tokens, seconds and money, and judge nothing"),
    BATCH_SIZE,
    *SERVED,
)
def judge_pairs(args: argparse.Namespace) -> None:
    """Judge the pairs of a file and write one row a pair and order."""
    from omnirepro.data.sources import load

    stop = args.bad_rows == "stop"
    with warnings.catch_warnings():
        if not stop:  # what is missing is told with all else that is unreadable
            warnings.filterwarnings("ignore", message=r"\d+ media files are missing")
        how = {"columns": dict(args.column), "check_media": stop, "limit": args.limit}
        pairs = list(load(args.file, args.source, args.root, **how))
    pairs = refuse_empty(pairs if stop else _readable(pairs), args.file)
    judge = _judge(args)
    if args.dry_run:
        from omnirepro.cli.judging import price

        print(price(judge, pairs, args.orders, args.criterion))
        return
    rows = judge.judge(pairs, args.orders, args.criterion, progress=progress("judging"))
    write_jsonl(args.out, rows)
    _tell_usage(judge)
    statuses = [row.status for row in rows]
    print(f"{len(rows)} judgements in {args.out}: {summary.counted(statuses)}")
    if masses := summary.mass(rows):
        print(masses)
    if table := summary.accuracy(rows, pairs):
        print(table)
    labelled = [row for row in rows if row.label]
    if args.orders == "both" and labelled and all("votes" in row.decoding for row in labelled):
        from omnirepro.evaluate import protocol

        print("accuracy by number of samples:", *summary.by_samples(protocol.by_samples(labelled)))
    if nothing := summary.none_read(statuses, args.out, summary.FORMLESS):
        print(nothing)


def _readable(pairs: list[Pair]) -> list[Pair]:
    """Return the pairs whose media can be read; says which others there are, and why."""
    from omnirepro.data.audit.check import unreadable

    found, _ = unreadable(pairs, progress("reading media"))
    bad = {name for one in found for name in one.rows}
    print(f"dropped: {len(bad)} of {len(pairs)} rows, whose media cannot be read", *(f"* {x}" for x in found), sep="\n")
    return [pair for pair in pairs if pair.id not in bad]


def _judge(args: argparse.Namespace, cached: bool = True) -> Any:
    """Load the judge that a command names, asked as its options say; a server's answers are kept where `cached`."""
    from omnirepro import load_judge
    from omnirepro.kit.run.training import share_media
    from omnirepro.models.endpoints import endpoint_options
    from omnirepro.models.opening import served

    given = read_yaml(Path(args.endpoints)) if args.endpoints else {}
    params = load_params(overrides={"endpoints": given.get("endpoints", given)})
    if cached and not served(args.model):
        share_media(params.section("media"))
    options = endpoint_options(
        params.section("endpoints"), args.cache or (f"{args.out}.answers.sqlite" if cached else None)
    )
    named = {name: getattr(args, name) for name in ("concurrency", "budget", "seconds", "cache")}
    options |= {name: value for name, value in named.items() if value is not None}
    if args.seconds and not cached and not served(args.model):
        raise RunError("--seconds: an audit keeps no answer of a loaded model and could not go on; leave it out")
    how = {name: getattr(args, name) for name in ("read", "samples") if name in args}
    how |= {"wording": "brief"} if getattr(args, "world", False) else {}  # which a base without settings knows as well
    judge = load_judge(args.model, batch_size=args.batch_size, endpoint=options, **how)
    if args.max_new_tokens and hasattr(judge, "decoding"):
        judge.decoding = replace(judge.decoding, max_new_tokens=args.max_new_tokens)
    if cached and not served(args.model) and not getattr(args, "dry_run", False):
        from omnirepro.cli.judging import kept

        kept(judge, options["cache"], args.model, args.seconds, args.batch_size)
    return judge


def _tell_usage(judge: Any) -> None:
    """Print what a server's answers took; of any other judge nothing."""
    if usage := getattr(getattr(judge, "chat", None), "usage", None):
        print(usage)


@command(
    "score",
    arg("file", help="prompts with one response each (id, prompt, response, criterion?), one JSON object a line"),
    MODEL,
    arg("--out", required=True, help="file for the scores, one JSON object a line"),
    arg("--criterion", help="criterion in words that replaces the rows' own"),
    BATCH_SIZE,
    *SERVED,
)
def score_responses(args: argparse.Namespace) -> None:
    """Score the responses of a file, each by itself, under a criterion in words."""
    from omnirepro.judge.scalar import Answered, score_rows

    rows = refuse_empty(read_jsonl(args.file, Answered, check_media=True, unique=True), args.file, "responses")
    judge = _judge(args)
    scored = score_rows(judge, rows, args.criterion, progress("scoring"))
    write_jsonl(args.out, scored)
    _tell_usage(judge)
    statuses = [row.status for row in scored]
    print(f"{len(scored)} scores in {args.out}: {summary.counted(statuses)}")
    if nothing := summary.none_read(statuses, args.out, summary.LEVELLESS):
        print(nothing)


@command(
    "train-scalar",
    arg("data", nargs="+", help="preferences: pair files, public files or folders, hub ids, or names of sources"),
    arg("--model", required=True, help="model to start from: model folder, hub id or package"),
    arg("--test", nargs="*", default=[], help="more such data, tested on alone"),
    ROOT,
    arg("--held-out", type=float, default=0.25, help="share of the prompts held out of training (default: 0.25)"),
    arg("--limit", type=int, default=0, help="pairs of each test set, by whole prompts (default: all)"),
    arg("--beside", nargs="*", default=[], help="generative judges, loaded or URL#model, to ask for a bare verdict"),
    *(SET, PROFILE, RUN, SEED),
)
def train_scalar(args: argparse.Namespace) -> None:
    """Train a scalar reward model on preferences and test it on held-out prompts and other data; resumes."""
    from omnirepro.cli import preferences
    from omnirepro.kit.report.execution import setting

    run = open_run(preferences.STAGE, args.profile, args.run, None, args.seed, dict(map(setting, args.set)))
    chosen = (args.data, args.test, args.held_out, args.limit, args.beside, args.root)
    train, sets = preferences.prepare(run, args.model, *chosen)
    run.do(preferences.train_and_test, args.model, train, sets, args.beside)
    found = preferences.preference_metrics(run.path())
    run.finish(found)
    print(*(preferences.told(name, value) for name, value in found.items()), sep="\n")
    print(f"the scorer and its rows lie in {run.dir}")


@command(
    "best-of-n",
    arg("file", help="prompts with candidates (id, prompt, candidates, criterion?), one JSON object a line"),
    MODEL,
    arg("--out", required=True, help="file for ranks, strengths and reasons, one JSON object a line"),
    arg("--how", default="knockout", choices=("knockout", "round-robin", "scalar"), help="way to choose"),
    arg("--incumbent", default="random", choices=("random", "A"), help="side of the leader (released code: A)"),
    BATCH_SIZE,
    *SERVED,
)
def choose_best(args: argparse.Namespace) -> None:
    """Choose the best of N candidates for every prompt of a file, with ranks and the judge's reasons."""
    from omnirepro.search import choose, read_candidates

    rows = refuse_empty(read_candidates(args.file), args.file, "candidates")
    judge = _judge(args)
    found = choose(judge, rows, args.how, args.incumbent, progress=progress("choosing"))
    write_jsonl(args.out, found)
    _tell_usage(judge)
    print(summary.choices(found, args.out))


@command(
    "data",
    arg("action", choices=("check",), help="what to do: check counts, media, licence and leaks"),
    arg("path", help="pairs, questions or public data: a file, a folder, a hub id, or a source's name"),
    *(SOURCE, ROOT, COLUMNS),
    arg("--against", help="another split: pairs, questions or prompts whose media and prompts it must not share"),
    arg("--licence", action="append", default=[], help="licence that is allowed; others are left out (repeatable)"),
    arg("--out", help="file for the pairs that were looked at, after --licence"),
    arg(
        "--allow",
        action="append",
        default=[],
        metavar="LEAK",
        help="leak, by its name, that is no error (repeatable)",
    ),
)
def check_data(args: argparse.Namespace) -> None:
    """Report what a preference data set holds and which features without content give its labels away: an error.

    Of questions with gold answers their number, and what they share with another split.
    """
    from omnirepro.data.audit.check import SHARED, allowed, leaking, overlap, readable, refuse_leaks, report
    from omnirepro.data.audit.leaks import audit
    from omnirepro.data.sources import load
    from omnirepro.data.sources.cards import card_of
    from omnirepro.data.sources.questions import asks, questions_of, rows_of
    from omnirepro.evaluate.statistics import clustered_bootstrap

    cards = project_root() / "params" / "data"
    card = card_of(args.path, cards, args.root or "")
    how = card.how | ({"columns": dict(args.column)} if args.column else {})
    others = refuse_empty(rows_of(card_of(args.against, cards)), args.against, "rows") if args.against else []

    def shares(rows: list[Any], called: str) -> bool:
        said, shared = overlap(rows, others, called)
        print(f"\nagainst            {args.against}", said, sep="\n")
        return shared

    named = card.model_copy(update=how | {"source": args.source or card.source})
    if asks(named):
        if args.licence or args.out:
            raise RowError(f"{args.path}: its rows are questions; --licence and --out are for pairs: leave them out")
        asked = list(questions_of(named))
        print(f"{'questions':<18}{len(asked)}, with gold answers")
        print(readable(asked, progress("reading media")))
        refuse_leaks(args.path, [SHARED] if args.against and shares(asked, "questions") else [], args.allow)
        return
    how |= {"source": args.source or card.source}
    pairs = refuse_empty(list(load(card.path, **how, limit=card.limit)), args.path)
    if args.licence:
        pairs, said = allowed(pairs, args.licence, card.licence)
        print(said)
        if not pairs:
            raise RowError(f"{args.path}: no pair is left; name one of its own licences with --licence")
    if args.out:
        write_jsonl(args.out, pairs)
    findings = audit(pairs, clustered_bootstrap)
    print(report(pairs, clustered_bootstrap, findings), readable(pairs, progress("reading media")), sep="\n\n")
    found = leaking(pairs, findings) + ([SHARED] if args.against and shares(pairs, "pairs") else [])
    refuse_leaks(args.path, found, args.allow)


@command(
    "audit",
    arg("model", help="stage folder, scorer, adapter, model, hub id, package, or URL#model"),
    arg("--out", required=True, help="page for the card; .json and .md are written beside it"),
    arg("--pairs", help="own pairs to audit on as well: a pair file, or a public file or folder"),
    arg("--each", type=int, default=40, help="known-truth pairs of each modality; 0: none (default: 40)"),
    arg("--modality", action="append", default=[], choices=KINDS, help="of these alone (repeatable; default: all)"),
    arg("--world", action="store_true", help="ask in the embedded world's sentences, for judges trained on them"),
    arg("--criterion", help="criterion that all pairs are judged by"),
    READ,
    *(SEED, BATCH_SIZE, *ASKED),
    arg("--cache", help="sqlite file of a server's answers (default: none, for the arm that asks again must ask)"),
)
def audit_model(args: argparse.Namespace) -> int:
    """Find out whether a judge looks, listens and is swayed; writes a card, exit status 2 where it is faulty."""
    from omnirepro.cli.audit import audit_judge
    from omnirepro.data.sources import load

    if args.pairs:
        refuse_empty(list(load(args.pairs, say=lambda text: None, limit=1)), args.pairs)
    judge = _judge(args, cached=False)
    name = args.model
    if Path(name).exists():  # a card is given away: no folder of this machine
        name = judge.name if "/" in judge.name else "/".join(Path(name).resolve().parts[-2:])
    asked = (args.pairs, args.each, args.seed, not args.world, args.modality, args.criterion)
    said, status = audit_judge(judge, name, Path(args.out), *asked)
    print(said)
    return status


@command("plan", arg("--profile", default="omni-rrm-7b", help="parameter profile (default: omni-rrm-7b)"), *ASSUMED)
def plan_run(args: argparse.Namespace) -> None:
    """Print what a profile with a real checkpoint takes: steps, tokens, memory, disk, hours, prices, sets to be got."""
    given = {f.name: getattr(args, f.name) for f in fields(Assumptions)}
    print(plan(load_params(args.profile), Assumptions(**given)))


@command(
    "export",
    arg("--to", required=True, help="new folder"),
    arg(
        "--form",
        default="hub",
        choices=FORMS,
        help="hub: the judge; scores of 09 as these have them; else data and recipes for that trainer",
    ),
    arg("--stage", default="04_grpo", help="stage whose judge is exported (default: 04_grpo)"),
    *(PROFILE, RUN, SEED),
)
def export(args: argparse.Namespace) -> None:
    """Write a trained judge as a hub folder, a run's scores, or its data and recipes for ms-swift or LLaMA-Factory."""
    from omnirepro.cli.export.hub import write_hub_folder
    from omnirepro.cli.export.recipes import write_recipes
    from omnirepro.cli.export.results import write_scores

    run = args.run or run_name(args.profile, args.seed)
    if args.form == "hub":
        written = write_hub_folder(results_root() / run / args.stage, args.to)
    elif args.form in SCORES:
        written = write_scores(results_root() / run / "09_benchmarks", args.to, args.form)
    else:
        written = write_recipes(run, args.to, args.form)
    print(f"written: {written}")


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


def words_of(args: argparse.Namespace, but: str) -> list[str]:
    """Return every word of a command line, some of which name files, but for those of one option."""
    values = [value for name, value in vars(args).items() if name != but]
    lists = [value if isinstance(value, list) else [value] for value in values]
    return [word for words in lists for word in words if isinstance(word, str)]


def _plain(message: Warning | str, category: type[Warning], *place: Any) -> str:
    """Write a warning as commands write: those about a user's data and servers need no line of source."""
    return f"warning: {message}\n" if category is UserWarning else _FORMAT(message, category, *place)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status; an expected error is one line on stderr and status 1.

    Where its results are to lie is tried before any work.
    """
    args = parser().parse_args(argv)
    warnings.formatwarning = _plain
    home()
    try:
        for option in ("out", "cache"):
            if path := getattr(args, option, None):
                try_out(path, words_of(args, but=option))
        return COMMANDS[args.command][0](args) or 0
    except Exception as error:
        from openai import OpenAIError

        from omnirepro.models.loading import ModelError

        if not isinstance(error, (ParameterError, RunError, RowError, MediaError, ModelError, OpenAIError)):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
