"""The labelling stage: two teachers, every rule, and what the world's truth says of each.

Consumes the synthesis stage's training pairs; produces both teachers' labels, the kept labels of the chosen rule
(divided between SFT and GRPO), the dropped pairs with their reasons, and a table of rules with coverage and precision.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from omnirepro.data import Label, Pair, read_jsonl, text_of, write_jsonl
from omnirepro.judge.rubric import ranking
from omnirepro.kit.run import ParameterError, Run
from omnirepro.papers.omni_rrm.reconcile import RULES, divide, reconcile
from omnirepro.papers.omni_rrm.synthesis import Origin
from omnirepro.papers.omni_rrm.teachers import ErrorProfile, OracleTeacher
from omnirepro.toyworld.language import claims, seen
from omnirepro.toyworld.tasks import Truth, World


def world_teachers(run: Run, world: World, strong: dict[str, str]) -> list[OracleTeacher]:
    """Make the two teachers of the section `reconciliation` over a world; `strong` names the strong side of a pair.

    Raises ParameterError on an unknown `order` of the candidates.
    """
    p = run.section("reconciliation")
    if p["order"] not in ("random", "fixed"):
        raise ParameterError(f"reconciliation.order {p['order']!r} is neither random nor fixed")
    first = {pair: int(side == "A") for pair, side in strong.items() if p["order"] == "fixed"}  # the weak side
    biases = {k: p[k] for k in ("weak_factor", "position", "verbosity", "flip")} | {"seed": run.seed}
    profiles = [ErrorProfile(p[f"noise_{i + 1}"], p["weak_modality"][i], **biases) for i in (0, 1)]

    def evidence(prompt: str):
        return seen(*world.truths[prompt])

    def quote(prompt: str, text: str):
        return claims(*world.truths[prompt], text)

    return [
        OracleTeacher(f"teacher-{i}", world.assess, evidence, quote, profile, first)
        for i, profile in enumerate(profiles, 1)
    ]


def label_pairs(run: Run, data: Path) -> None:
    """Label the training pairs with both teachers, reconcile, and write labels, drops and the rules' table."""
    pairs = read_jsonl(data / "pairs_train.jsonl", Pair)
    origins = {o.pair_id: o.strong for o in read_jsonl(data / "origins_train.jsonl", Origin)}
    world = World.from_rows(read_jsonl(data / "truths_train.jsonl", Truth))
    first, second = (teacher.label(pairs) for teacher in world_teachers(run, world, origins))
    p = run.section("reconciliation")
    outcome = reconcile(first, second, p["rule"])
    for part, labels in zip(("sft", "rl"), divide(outcome.kept, p["rl_share"]), strict=True):
        run.write(f"labels_{part}.jsonl", lambda path, labels=labels: write_jsonl(path, labels))
    run.write("teacher-1.jsonl", lambda path: write_jsonl(path, first))
    run.write("teacher-2.jsonl", lambda path: write_jsonl(path, second))
    dropped = [{"pair_id": d.pair_id, "reason": d.reason} for d in outcome.dropped]
    run.write("dropped.jsonl", "".join(json.dumps(d) + "\n" for d in dropped))
    truth = {}
    for pair in pairs:
        sides = (text_of(response) for response in (pair.response_a, pair.response_b))
        truth[pair.id] = ranking(*(world.assess(pair.id.split("#")[0], text).score for text in sides))
    run.write("rules.csv", correctness(pairs, truth, origins, first, second).to_csv(index=False))


def correctness(
    pairs: list[Pair], truth: dict[str, str], origins: dict[str, str], first: list[Label], second: list[Label]
) -> pd.DataFrame:
    """Return one row a rule and kept pair: rule, pair_id, cluster, task, correct (1: the label is the truth).

    The rule "strong wins" labels every pair by its generator, without a teacher.
    """
    known = {p.id: p for p in pairs}
    outcomes = {rule: reconcile(first, second, rule).kept for rule in RULES}
    verdicts = {rule: {label.pair_id: label.verdict for label in kept} for rule, kept in outcomes.items()}
    rows = []
    for rule, labels in (verdicts | {"strong wins": origins}).items():
        for pair_id, verdict in labels.items():
            pair = known[pair_id]
            rows.append((rule, pair_id, pair.cluster_id, pair.task, int(verdict == truth[pair_id])))
    return pd.DataFrame(rows, columns=["rule", "pair_id", "cluster", "task", "correct"])
