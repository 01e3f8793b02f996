"""The papers' claims beside a run's metrics.

`claims` (nouns), `forms` (arithmetic on published numbers), `reading` (claims.yaml), `verdicts` (the rule), `seeds`
(several runs as one), `text`.

Consumes results/claims.yaml and the metrics.json of a run's stages; produces one table of claims, one of checks.
"""

from omnirepro.kit.scorecard.claims import Book, Claim, ClaimsError
from omnirepro.kit.scorecard.forms import compute
from omnirepro.kit.scorecard.reading import load_claims
from omnirepro.kit.scorecard.seeds import METHOD, aggregate, combine
from omnirepro.kit.scorecard.text import to_markdown
from omnirepro.kit.scorecard.verdicts import VERDICTS, build, checks, decide, read_metrics, verdicts

__all__ = [
    "METHOD",
    "VERDICTS",
    "Book",
    "Claim",
    "ClaimsError",
    "aggregate",
    "build",
    "checks",
    "combine",
    "compute",
    "decide",
    "load_claims",
    "read_metrics",
    "to_markdown",
    "verdicts",
]
