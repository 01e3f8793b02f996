"""DataFrame -> matplotlib Figure; touches no model, and no file but through `save`.

Consumes tidy frames (the columns stand in each docstring; rates and shares are fractions, drawn as per cent);
produces Figures in one theme. Intervals whose bounds are missing are drawn without a bar.
"""

from omnirepro.figures.data import agreement, gap, kappa, reconciliation, scores
from omnirepro.figures.judges import accuracy, loss_curve, policy_range, position, statuses
from omnirepro.figures.style import csv, save, theme
from omnirepro.figures.training import course, dead_groups, probes

__all__ = [
    "accuracy",
    "agreement",
    "course",
    "csv",
    "dead_groups",
    "gap",
    "kappa",
    "loss_curve",
    "policy_range",
    "position",
    "probes",
    "reconciliation",
    "save",
    "scores",
    "statuses",
    "theme",
]
