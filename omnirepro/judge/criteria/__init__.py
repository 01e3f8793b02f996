"""Criteria that models write: prompts (`prompts`), strict parsing (`parsing`), and who answers (`roles`).

Consumes pairs; produces criteria, judgements under a criterion, refined responses and scores, each with the name of
the rule that a reply broke (GRM-Omni, Sections 2 and 3.2, Figures 13 to 16).

Departures from the paper:
1. The wording is the kit's own, every tag is closed, and the number of criteria a call is a parameter (the paper's
   Figure 13 demands ten, its text three and then seven, its appendix sixty).
2. A judgement may find both responses equal, because the kit's tasks have ties; Figure 14 allows A or B alone.
3. Scores stand in their own tags and must not contradict the verdict; where they are equal, any verdict may stand.
4. Duplicates, equal after normalisation, are removed from what was written.
5. A response that is or holds media cannot be rewritten in words: it stays as it is, and so do its scores.
"""

from omnirepro.judge.criteria.parsing import (
    STATUSES,
    CriterionJudgement,
    distinct,
    normalise,
    note,
    parse_criteria,
    parse_direct,
    parse_judgement,
    render_criteria,
    render_direct,
    render_judgement,
    vote,
)
from omnirepro.judge.criteria.prompts import Task, fragments, messages
from omnirepro.judge.criteria.roles import Answer, DisRM, GenRM, Policy, Role

__all__ = [
    "STATUSES",
    "Answer",
    "CriterionJudgement",
    "DisRM",
    "GenRM",
    "Policy",
    "Role",
    "Task",
    "distinct",
    "fragments",
    "messages",
    "normalise",
    "note",
    "parse_criteria",
    "parse_direct",
    "parse_judgement",
    "render_criteria",
    "render_direct",
    "render_judgement",
    "vote",
]
