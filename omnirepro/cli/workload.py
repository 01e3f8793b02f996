"""What the notebooks of a profile do beside training: rows that a model reads and answers, locally or on a server.

Consumes the parameters and the cards of their data sets (`rows`, `limit`, `modality`, `gb`); produces one `Work` a
piece, with its hours and its price. A criteria search is counted at its full width. What no card counts is left out,
and `uncounted` names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnirepro.data.sources.cards import Card, card_of
from omnirepro.kit.run import ParameterError, Params, project_root
from omnirepro.models.endpoints import server_of
from omnirepro.models.opening import served

# Billions of parameters, encoders among them, by what a name holds; of any other model what its name says ("8B").
FAMILIES = {"Qwen2.5-Omni-7B": 8.9, "Qwen2.5-Omni-3B": 4.7, "Qwen2.5-VL-7B": 8.3, "Qwen2.5-VL-3B": 3.8,
            "Qwen2-Audio-7B": 8.4}  # fmt: skip
KEPT = 0.8  # share of the pairs that the teachers agree on (Omni-RRM: 41.0K of about 51K)
TEACHING = (2000, 500)  # tokens that a teacher reads and writes a pair (Omni-RRM: 204M and 51M in 102K calls)
DATA = (
    *("data.prompts", "data.pairs", "data.test", "bradley_terry.data", "bradley_terry.bench"),
    *("meta_reward_dpo.data", "best_of_n.data", "benchmarks.data"),
)


@dataclass(frozen=True)
class Work:
    """A piece of work: `rows` of which a model reads and writes so many tokens each, `batch` of them at a time.

    `seconds`, where they are known otherwise, are those of a training.
    """

    notebook: str
    what: str
    model: str
    rows: float
    read: float
    written: float = 0.0
    batch: int = 1
    seconds: float | None = None

    @property
    def served(self) -> bool:
        return served(self.model)

    def hours(self, given: Any, params: Params) -> float:
        """Return its hours: of one GPU for a local model, since the notebooks answer in one process."""
        if self.seconds is not None:
            return self.seconds / 3600
        if self.served:
            rate = server_of(self.model, params["endpoints.servers"]).rate
            return self.rows * self.written / rate / params["endpoints.concurrency"] / 3600
        reading = self.rows * self.read * 2e9 * billions(self.model, params) / (given.reading * 1e12)
        return (reading + self.rows / self.batch * self.written * given.token_ms / 1000) / 3600

    def paid(self, params: Params) -> float:
        """Return the price of a server's tokens, in the currency of `endpoints.servers`."""
        if not self.served:
            return 0.0
        price = server_of(self.model, params["endpoints.servers"]).price
        return self.rows * (self.read * price[0] + self.written * price[1]) / 1e6

    def line(self, given: Any, params: Params) -> dict[str, str]:
        """Return its row of the table."""
        read = self.rows * self.read / 1e6
        written = self.rows * self.written / 1e6
        found = {
            "nb": self.notebook,
            "what": self.what,
            "model": self.model.split("/")[-1],
            "rows": f"{self.rows:,.0f}",
        }
        found |= {"M tokens read": f"{read:,.1f}", "M written": f"{written:,.1f}"}
        return found | {"hours": f"{self.hours(given, params):,.1f}", "price": f"{self.paid(params):,.2f}"}


def cards_in(params: Params, key: str) -> list[Card]:
    """Return the cards of a parameter that names data sets."""
    folder = project_root() / "params" / "data"
    return [card_of(value, folder, params["data.root"]) for value in params[key]]


def rows_of(cards: Iterable[Card]) -> Counter[str]:
    """Count the rows of cards by the modality of their prompts; where none is stated, under an empty name."""
    counts: Counter[str] = Counter()
    for card in cards:
        counts[card.modality] += min(card.limit or card.rows, card.rows or card.limit)
    return counts


def uncounted(params: Params) -> list[str]:
    """Name the data sets whose cards state neither rows nor a limit."""
    return sorted({card.name for key in DATA for card in cards_in(params, key) if not rows_of([card]).total()})


def to_get(params: Params) -> list[str]:
    """Name the data sets whose files are not there, and say how they are got."""
    cards = {card.name: card for key in DATA for card in cards_in(params, key)}
    return [f"{card.name}: {card.get}" for card in cards.values() if card.get and not Path(card.path).exists()]


def rows_for_training(params: Params, given: Any) -> tuple[float, float]:
    """Return the labelled pairs for SFT and GRPO: those of the profile's data that are kept, else the assumed ones."""
    rest = 1 - params["data.dev_share"] - (0 if params["data.test"] else params["data.test_share"])
    made, ready = (rows_of(cards_in(params, key)).total() * rest for key in ("data.prompts", "data.pairs"))
    kept = KEPT * made + (ready if params["reconciliation.keep_given"] else KEPT * ready)
    share = params["reconciliation.rl_share"]
    return (kept * (1 - share), kept * share) if kept else (given.sft_rows, given.rl_rows)


def billions(model: str, params: Params) -> float:
    """Return a model's size in billions of parameters; of one that is trained here, its backbone's.

    Raises `ParameterError` where nothing tells it.
    """
    name = params["backbone.model"] if not model or model.startswith("results/") else model
    if known := [size for family, size in FAMILIES.items() if family in name]:
        return known[0]
    if said := re.search(r"(\d+(?:\.\d+)?)[Bb]\b", name):
        return float(said[1])
    raise ParameterError(f"{name}: neither the plan's table of families nor the name tells its size in billions")


def disk(params: Params, done: Iterable[Work], trained: float) -> float:
    """Return GB of disk: local models in bfloat16, data sets as far as their cards tell, and what is `trained`."""
    models = {work.model or params["backbone.model"] for work in done if not work.served}
    files: dict[str, float] = {}
    for card in (card for key in DATA for card in cards_in(params, key)):
        files[card.path] = max(card.gb, files.get(card.path, 0.0))
    own = (model for model in models if not model.startswith("results/"))
    return 2 * sum(billions(model, params) for model in own) + sum(files.values()) + trained


def works(params: Params, given: Any) -> list[Work]:
    """Return every piece of work but the trainings, in the order of the notebooks that the profile runs."""
    return [work for stage in params.notebooks for work in _WORKS.get(stage, _none)(params, given) if work.rows]


def _none(params: Params, given: Any) -> Iterator[Work]:
    yield from ()


def _named(spec: Any, modality: str) -> str:
    return spec if isinstance(spec, str) else spec.get(modality, spec.get("any", ""))


def _synthesis(params: Params, given: Any) -> Iterator[Work]:
    """Both generators answer every prompt: a question with its medium is about half a judging prompt."""
    size = (given.prompt / 2, params["synthesis.max_new_tokens"] / 2, params["judge.batch_size"])
    for name in ("strong", "weak"):
        for modality, rows in rows_of(cards_in(params, "data.prompts")).items():
            model = _named(params[f"synthesis.{name}"], modality) or params["backbone.weak_model"] * (name == "weak")
            yield Work("01", f"{name} answers {modality}".strip(), model, rows, *size)


def _reconciliation(params: Params, given: Any) -> Iterator[Work]:
    orders = 2 if params["reconciliation.order"] == "both" else 1
    asked = rows_of(cards_in(params, "data.prompts"))
    asked += Counter() if params["reconciliation.keep_given"] else rows_of(cards_in(params, "data.pairs"))
    for number, spec in enumerate(params["reconciliation.teachers"], 1):
        for modality, rows in asked.items():
            what = f"teacher {number} labels {modality}".strip()
            yield Work("02", what, _named(spec, modality), rows * orders, *TEACHING, params["judge.batch_size"])


def _judged(params: Params, given: Any, notebook: str, what: str, model: str, rows: float) -> Work:
    return Work(notebook, what, model, rows, given.prompt, given.answer, params["judge.batch_size"])


def _sft(params: Params, given: Any) -> Iterator[Work]:
    """Base and tuned judge judge the test in both orders."""
    rows = 2 * rows_of(cards_in(params, "data.test")).total()
    yield from (_judged(params, given, "03", f"{name} judges the test", "", rows) for name in ("base", "sft"))


def _grpo(params: Params, given: Any) -> Iterator[Work]:
    rows = 2 * rows_of(cards_in(params, "data.test")).total() * len(params["grpo.seeds"])
    yield _judged(params, given, "04", "grpo judges the test", "", rows)


def _bradley_terry(params: Params, given: Any) -> Iterator[Work]:
    """Every scalar model scores both responses of the bench; R1 judges it in both orders."""
    p = params.section("bradley_terry")
    rows = 2 * rows_of(cards_in(params, "bradley_terry.bench")).total() * len(p["seeds"])
    models = 1 + len(p["arms"]) if p["scalar_models"] else 0
    yield Work("05", "scalar models score the bench", "", rows * models, given.prompt)
    yield _judged(params, given, "05", "R1 judges the bench", "", rows * len(p["r1_shares"]))


def _meta_reward(params: Params, given: Any) -> Iterator[Work]:
    """A search for each conversation of SFT and each preference of DPO and ++; the models so made judge the test.

    A search: criteria written and applied, both responses refined and scored. SFT learns from the model that `genrm`
    names; what is tuned then searches for itself.
    """
    p = params.section("meta_reward_dpo")
    tried = p["k"] + p["n"]
    steps = [p[f"{name}_steps"] for name in ("sft", "dpo", "plus")]
    own = "" if p["sft_steps"] else p["genrm"]
    for name, kind, judge in (("sft", "text", p["genrm"]), ("dpo", "text", own), ("plus", "image", own)):
        searched = p[f"{name}_steps"] * p[f"{name}_batch"]
        asked = (given.prompt, given.answer, params["judge.batch_size"])
        yield Work("06", f"{name}: criteria and verdicts", judge, searched * (3 + tried), *asked)
        yield Work("06", f"{name}: refined responses", p["policy"], searched * 2 * tried, *asked)
        yield Work("06", f"{name}: scores of both", _named(p["disrm"], kind), searched * 2 * (1 + tried), given.prompt)
    rows = 2 * rows_of(cards_in(params, "meta_reward_dpo.data")).total() * params["data.test_share"]
    yield _judged(params, given, "06", "base and tuned judges, the test", own, rows * (1 + sum(map(bool, steps))))


def _best_of_n(params: Params, given: Any) -> Iterator[Work]:
    """N answers; three judges compare by knock-out and alone, the last one also in other ways; letters soon repeat."""
    p = params.section("best_of_n")
    asked = rows_of(cards_in(params, "best_of_n.data")).total()
    if isinstance(p["candidates"], str):  # a file of answers, whose number no card tells
        return
    size = (given.prompt / 2, p["max_new_tokens"] / 2, params["judge.batch_size"])
    model = "" if p["generator"] in ("weak", "generator") else p["generator"]
    yield Work("08", "candidates", model, asked * p["candidates"], *size)
    different = min(p["candidates"], 4) if p["match"] == "letter" else p["candidates"]
    alone = {"base": 0, "sft": different, "grpo": 2 * different}
    for name, more in alone.items():
        yield _judged(params, given, "08", f"{name} chooses", "", asked * (different - 1 + more))


def _benchmarks(params: Params, given: Any) -> Iterator[Work]:
    """Every judge of the profile and of the run judges every set in both orders."""
    from omnirepro.models.opening import names_of
    from omnirepro.papers.benchmarks.stage import BASE, made_by

    limit = params["benchmarks.limit"]
    sizes = [rows_of([card]).total() for card in cards_in(params, "benchmarks.data")]
    rows = 2 * sum(min(size, limit or size) for size in sizes)
    judges = dict.fromkeys(made_by(params), "")
    named = names_of(params["benchmarks.judges"], taken=judges)
    for name, model in (judges | {n: "" if spec == BASE else spec for n, spec in named.items()}).items():
        yield _judged(params, given, "09", f"{name} judges {len(sizes)} sets", model, rows)


_WORKS: dict[str, Callable[[Params, Any], Iterator[Work]]] = {
    "01_synthesis": _synthesis,
    "02_reconciliation": _reconciliation,
    "03_sft": _sft,
    "04_grpo": _grpo,
    "05_bradley_terry": _bradley_terry,
    "06_meta_reward_dpo": _meta_reward,
    "08_best_of_n": _best_of_n,
    "09_benchmarks": _benchmarks,
}
