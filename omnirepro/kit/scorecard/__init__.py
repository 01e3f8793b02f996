"""The papers' claims beside a run's metrics.

`claims` (claims.yaml and its arithmetic), `verdicts` (the rule), `seeds` (several runs as one), `text`, `stage`.

Consumes results/claims.yaml and the metrics.json of a run's stages; produces one table of claims, one of checks.
"""

# ruff: noqa: F401 (what the package offers)
from omnirepro.kit.scorecard.claims import Book, Claim, ClaimsError, compute, load_claims
from omnirepro.kit.scorecard.seeds import METHOD, again, aggregate, combine
from omnirepro.kit.scorecard.text import PAPERS, agreed, count, to_markdown
from omnirepro.kit.scorecard.verdicts import (
    VERDICTS,
    agreement,
    build,
    checks,
    decide,
    effects,
    margin_of,
    read_metrics,
    verdicts,
)
