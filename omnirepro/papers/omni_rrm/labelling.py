"""The labelling stage: two teachers or more, every rule, and what is known of the truth of each.

Consumes the synthesis stage's pairs; produces every teacher's labels (`teacher-N.jsonl`; a judge's judgements beside
them), the kept labels of the chosen rule (divided between SFT and GRPO), the dropped pairs with their reasons, and a
table of rules with coverage and, where the world or a given label tells it, precision. Held-out pairs without labels
are labelled by the same teachers and rule, and written anew with what was kept; what was not is dropped with its split.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pandas as pd

from omnirepro.data import Label, Pair, read_jsonl, text_of, write_jsonl
from omnirepro.judge.rubric import FORMATS, ranking
from omnirepro.kit.run import ParameterError, Run, require
from omnirepro.models.generation import Decoding
from omnirepro.papers.omni_rrm.reconcile import RULES, Dropped, Reconciled, divide, reconcile
from omnirepro.papers.omni_rrm.supply import counted, truth_of
from omnirepro.papers.omni_rrm.synthesis import Origin
from omnirepro.papers.omni_rrm.teachers import ByModality, ErrorProfile, JudgeTeacher, OracleTeacher, knowing, lenient
from omnirepro.toyworld.tasks import World
from omnirepro.train.curriculum import labels_of


def weak_first(strong: dict[str, str]) -> dict[str, int]:
    """Return the side that the weak generator wrote, by pair."""
    return {pair: int(side == "A") for pair, side in strong.items()}


def world_teachers(run: Run, world: World, strong: dict[str, str]) -> list[OracleTeacher]:
    """Make the two teachers of the section `reconciliation` over a world; `strong` names the strong side of a pair.

    Raises ParameterError on an unknown `order` of the candidates.
    """
    p = run.section("reconciliation")
    if p["order"] not in ("random", "fixed"):
        raise ParameterError(f"reconciliation.order {p['order']!r} is neither random nor fixed; both is for judges")
    first = weak_first(strong) if p["order"] == "fixed" else {}
    biases = {k: p[k] for k in ("weak_factor", "position", "verbosity", "flip", "shared")} | {"seed": run.seed}
    profiles = [ErrorProfile(p[f"noise_{i + 1}"], p["weak_modality"][i], **biases) for i in (0, 1)]
    return [knowing(world, f"teacher-{i}", profile, first) for i, profile in enumerate(profiles, 1)]


def teachers_of(run: Run, data: Path, split: str, strong: dict[str, str]) -> list[OracleTeacher | JudgeTeacher]:
    """Return who labels a split: judges of any kind where the parameters name them, else the world's two.

    Raises `ParameterError` where there are neither, or one judge alone.
    """
    p = run.section("reconciliation")
    if not p["teachers"]:
        world = truth_of(data, split)
        if world is None:
            raise ParameterError("reconciliation.teachers is empty, and there is no truth: name two models or more")
        return world_teachers(run, world, strong)
    if len(p["teachers"]) < 2 and p["rule"] != "first":
        raise ParameterError("reconciliation.teachers names one model: name two or more, or set the rule to first")
    from omnirepro.judge.generative import load_judge

    asked = run.section("judge")
    # Scores are what reconciles; verdicts alone do where nothing else is taught, and teachers are read by their choice.
    chosen = asked["format"] not in FORMATS and asked["read"] != "generate"
    format = asked["format"] if chosen or asked["format"] in FORMATS else "rationale-first"
    how = {"format": format, "wording": "full", "decoding": Decoding(p["max_new_tokens"]), "seed": run.seed}
    how["read"] = asked["read"] if chosen else "generate"
    order = {"both": p["order"] == "both", "first": weak_first(strong) if p["order"] == "fixed" else {}}
    place = {"seed": run.seed, "checkpoints": run.checkpoint_dir}

    def opened(number: int, spec: str | dict[str, str]) -> JudgeTeacher:
        specs = {"any": spec} if isinstance(spec, str) else spec
        if "any" not in specs:
            raise ParameterError(f"reconciliation.teachers: {spec} names no model for `any` other modality: add it")
        opening = partial(load_judge, endpoint=run.endpoint, **how)
        judge = ByModality({k: opening(v, asked["batch_size"], run.device, run.dtype) for k, v in specs.items()})
        return JudgeTeacher(f"teacher-{number}", judge, partial(lenient, format=format), **order, **place)

    return [opened(number, spec) for number, spec in enumerate(p["teachers"], 1)]


def label_pairs(run: Run, data: Path) -> None:
    """Label the pairs, reconcile, and write labels, drops and the rules' table; see the module."""
    p = run.section("reconciliation")
    pairs = read_jsonl(data / "pairs_train.jsonl", Pair)
    given = [pair for pair in pairs if pair.label and p["keep_given"]]
    asked = [pair for pair in pairs if not (pair.label and p["keep_given"])]
    origins = {o.pair_id: o.strong for o in read_jsonl(data / "origins_train.jsonl", Origin)}
    opinions = _opinions(run, data, "train", asked, origins) if asked else []
    outcome = reconciled(opinions, asked, p["rule"])
    own = given_labels(given, run.section("judge")["format"]) if given else []
    ready = reconcile(own, own, p["rule"])
    for part, labels in zip(("sft", "rl"), divide([*outcome.kept, *ready.kept], p["rl_share"]), strict=True):
        run.write(f"labels_{part}.jsonl", lambda path, labels=labels: write_jsonl(path, labels))
    for number, labels in enumerate(opinions, 1):
        run.write(f"teacher-{number}.jsonl", lambda path, labels=labels: write_jsonl(path, labels))
    dropped = [{"pair_id": d.pair_id, "reason": d.reason} for d in (*outcome.dropped, *ready.dropped)]
    truth = truths(asked, truth_of(data, "train"))
    run.write("rules.csv", correctness(asked, truth, origins, opinions).to_csv(index=False))
    for split in ("dev", "test"):
        lost = label_held_out(run, data, split)
        dropped += [{"pair_id": d.pair_id, "reason": d.reason, "split": split} for d in lost]
    run.write("dropped.jsonl", "".join(json.dumps(d) + "\n" for d in dropped))


def _opinions(run: Run, data: Path, split: str, pairs: list[Pair], strong: dict[str, str]) -> list[list[Label]]:
    """Return every teacher's labels, and write the judgements of those that are judges."""
    found = []
    for number, teacher in enumerate(teachers_of(run, data, split, strong), 1):
        found.append(teacher.label(pairs))
        if rows := getattr(teacher, "rows", []):
            name = f"teacher-{number}.rows.jsonl" if split == "train" else f"teacher-{number}.{split}.rows.jsonl"
            run.write(name, lambda path, rows=rows: write_jsonl(path, rows))
    return found


def label_held_out(run: Run, data: Path, split: str) -> list[Dropped]:
    """Write a held-out split anew, where pairs of it came without labels: with those that the teachers agree on.

    Returns the others, and says how many they are and why.
    """
    pairs = read_jsonl(data / f"pairs_{split}.jsonl", Pair)
    asked = [pair for pair in pairs if pair.label is None]
    if not asked:
        return []
    origins = {o.pair_id: o.strong for o in read_jsonl(data / f"origins_{split}.jsonl", Origin)}
    opinions = _opinions(run, data, split, asked, origins)
    outcome = reconciled(opinions, [], run.section()["rule"])
    kept = {label.pair_id: label for label in outcome.kept}
    labelled = [pair for pair in pairs if pair.label]
    for pair in (pair for pair in asked if pair.id in kept):
        update = {"label": kept[pair.id].verdict, "margin": kept[pair.id].margin}
        labelled.append(pair.model_copy(update=update))
    why = counted(lost.reason for lost in outcome.dropped)
    found = f"the teachers agree on none of {len(asked)} {split} pairs, {why}"
    require(labelled or split == "dev", f"{found}: give data.test, or set reconciliation.rule to another")
    run.write(f"pairs_{split}.jsonl", lambda path: write_jsonl(path, labelled))
    if why:
        print(f"{split}: left out of {len(asked)} pairs without a label, see dropped.jsonl: {why}", flush=True)
    return outcome.dropped


def reconciled(opinions: list[list[Label]], pairs: list[Pair], rule: str) -> Reconciled:
    """Reconcile the teachers; where pairs came with labels, those too must agree."""
    if not opinions:
        return Reconciled(rule, [], [])
    second, *more = opinions[1:] or opinions  # one teacher is its own second
    outcome = reconcile(opinions[0], second, rule, *more)
    said = {pair.id: pair.label for pair in pairs if pair.label}
    against = [x for x in outcome.kept if said.get(x.pair_id, x.verdict) != x.verdict]
    ids = {label.pair_id for label in against}
    dropped = [Dropped(label.pair_id, "the given label conflicts", (label,)) for label in against]
    return Reconciled(rule, [x for x in outcome.kept if x.pair_id not in ids], [*outcome.dropped, *dropped])


def given_labels(pairs: list[Pair], format: str) -> list[Label]:
    """Return the labels that pairs came with: scores and rationale from `meta`, where it has them.

    Raises `RunError` where a judgement with scores is to be taught and none are known.
    """
    labels = labels_of(pairs)
    for number, pair in enumerate(pairs):
        meta = pair.meta or {}
        released = meta.get("as_released") if isinstance(meta.get("as_released"), dict) else {}
        known = {key: meta[key] for key in ("score_a", "score_b") if isinstance(meta.get(key), int | float)}
        todo = "name reconciliation.teachers and set keep_given to false, or set judge.format to verdict-direct"
        require(len(known) == 2 or format not in FORMATS, f"{pair.id} came with a label without scores: {todo}")
        reasons = meta.get("rationale") or released.get("reasoning") or ""
        said = {"rationale": reasons.replace("<think>", "").replace("</think>", "") or None}
        labels[number] = labels[number].model_copy(update=known | said | {"provenance": f"given by {pair.source}"})
    return labels


def truths(pairs: list[Pair], world: World | None) -> dict[str, str]:
    """Return the true winner of pairs, as far as it is known: the world's, or the label that a pair came with."""
    if world is None:
        return {pair.id: pair.label for pair in pairs if pair.label}
    found = {}
    for pair in pairs:
        sides = (text_of(response) for response in (pair.response_a, pair.response_b))
        found[pair.id] = ranking(*(world.assess(pair.id.split("#")[0], text).score for text in sides))
    return found


def correctness(
    pairs: list[Pair], truth: dict[str, str], origins: dict[str, str], opinions: list[list[Label]]
) -> pd.DataFrame:
    """Return one row a rule and kept pair: rule, pair_id, cluster, task, correct (1: the label is the truth; or empty).

    The rule "strong wins" labels every pair by its generator, without a teacher.
    """
    known = {p.id: p for p in pairs}
    verdicts = {}
    for rule in RULES if opinions else ():
        verdicts[rule] = {label.pair_id: label.verdict for label in reconciled(opinions, [], rule).kept}
    rows = []
    for rule, labels in (verdicts | {"strong wins": origins}).items():
        for pair_id, verdict in labels.items():
            pair = known[pair_id]
            correct = int(verdict == truth[pair_id]) if pair_id in truth else None
            rows.append((rule, pair_id, pair.cluster_id, pair.task, correct))
    return pd.DataFrame(rows, columns=["rule", "pair_id", "cluster", "task", "correct"])
