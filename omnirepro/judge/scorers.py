"""One name for any scalar model that scores: `open_scorer`.

Consumes a name, or a mapping of modalities to names: the folder of a scorer or of the stage that trained it, or the
folder or hub id of a classifier with one label; produces a scalar judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnirepro.data import Prompt, Response
from omnirepro.data.files import lies_at
from omnirepro.data.schema import modality_of
from omnirepro.judge.scalar import ScalarJudge, load_scalar_judge, scorer_in
from omnirepro.models.generation import Progress
from omnirepro.models.loading import ModelError, gives_scores
from omnirepro.models.opening import served

Spec = str | Path | Mapping[str, str | Path]


@dataclass
class ByModality(ScalarJudge):
    """A scalar judge a modality of prompt and response together; "any" scores those that have none of their own.

    Scores of different models are never compared: both responses to a prompt must be of one modality.
    """

    scorers: dict[str, ScalarJudge] = field(default_factory=dict)

    def score(self, prompts: list[Prompt], responses: list[Response], progress: Progress | None = None) -> list[float]:
        """Score as `ScalarJudge.score`, each row by its modality's judge. Raises `ModelError` where it has none."""
        kinds = [modality_of([*p.parts, *r.parts]) for p, r in zip(prompts, responses, strict=True)]
        if lacking := sorted(set(kinds) - {*self.scorers}) if "any" not in self.scorers else []:
            raise ModelError(f"no scalar model is named for {', '.join(lacking)}: add it to the mapping, or any")
        found = [0.0] * len(kinds)
        for kind in dict.fromkeys(kinds):
            at = [i for i, other in enumerate(kinds) if other == kind]
            judge = self.scorers.get(kind, self.scorers.get("any"))
            some = judge.score([prompts[i] for i in at], [responses[i] for i in at], progress)
            for i, score in zip(at, some, strict=True):
                found[i] = score
        return found


def open_scorer(
    spec: Spec,
    batch_size: int = 64,
    device: str = "auto",
    dtype: str = "auto",
    media: Mapping[str, Any] | None = None,
    **kw: Any,
) -> ScalarJudge:
    """Open a scalar model; keywords are those of `load_scalar_judge`. A model that is named twice is opened once.

    `media` limits what of them is shown to a model that keeps no limits of its own (base.yaml's section). Raises
    `ModelError` where a name is a server's, or that of a model which writes text and gives no score.
    """
    how = {"batch_size": batch_size, "device": device, "dtype": dtype, "media": media}
    if isinstance(spec, Mapping):
        opened = {name: open_scorer(name, **how, **kw) for name in dict.fromkeys(spec.values())}
        scorers = {kind: opened[name] for kind, name in spec.items()}
        name = kw.get("name") or "+".join(dict.fromkeys(judge.name for judge in opened.values()))
        return ByModality(None, name, batch_size=batch_size, scorers=scorers)
    if not str(spec) or served(spec):
        named = f"{spec} is a server, and" if spec else "no model is named:"
        raise ModelError(f"{named} a scalar model has to be a scorer's folder, or a classifier's folder or hub id")
    spec = lies_at(str(spec))
    if not scorer_in(spec) and not gives_scores(spec):
        raise ModelError(f"{spec}: it writes text and gives no score; name a scorer, or a classifier with one label")
    return load_scalar_judge(spec, **how, **kw)
