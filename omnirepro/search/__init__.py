"""Criteria-based test-time scaling (`criteria_search`) and what it leaves behind (`trace`); GRM-Omni, Section 3.2.
And the choice of the best of N candidates: ways to choose (`tournament`), and a judge who is asked (`referee`).

Consumes a judge and pairs; produces judgement rows, or whole traces: every criterion with its judgement, refined
responses, scores and meta-reward, and what was spent by whom.

Departures, where the paper is silent:
1. The first judgement is the majority over the k initial criteria, each judged alone.
2. At inference, where there is no gold label, the search goes on where it is unsure (`CriteriaSearch.doubt`).
3. Both displayed orders are searched separately, so that position bias stays visible; a budget is that of one order.
"""

from omnirepro.search.criteria_search import CriteriaSearch, margin_quantile
from omnirepro.search.referee import Candidates, Chosen, Referee, choose, own_scores, read_candidates
from omnirepro.search.trace import Budget, Trace, Trajectory, rerank
