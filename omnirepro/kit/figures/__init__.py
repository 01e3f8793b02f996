"""DataFrame -> matplotlib Figure; touches no model, and no file but through `save`.

Consumes tidy frames (the columns stand in each docstring; rates and shares are fractions, drawn as per cent);
produces Figures in one theme. Intervals whose bounds are missing are drawn without a bar.
"""

from omnirepro.kit.figures.ablations import forest, label_noise, trained_on
from omnirepro.kit.figures.best_of_n import chosen
from omnirepro.kit.figures.data import agreement, gap, kappa, reconciliation, scores
from omnirepro.kit.figures.judges import accuracy, loss_curve, policy_range, position, statuses
from omnirepro.kit.figures.meta_reward import cost, curves, effects, faults, jump, ranges
from omnirepro.kit.figures.omni_reward import reliability, scaling, shift, task_heat, tie_threshold, transfer
from omnirepro.kit.figures.style import csv, save, theme
from omnirepro.kit.figures.training import course, dead_groups, probes

__all__ = [
    "accuracy",
    "agreement",
    "chosen",
    "cost",
    "course",
    "csv",
    "curves",
    "dead_groups",
    "effects",
    "faults",
    "forest",
    "gap",
    "jump",
    "kappa",
    "label_noise",
    "loss_curve",
    "policy_range",
    "position",
    "probes",
    "ranges",
    "reconciliation",
    "reliability",
    "save",
    "scaling",
    "scores",
    "shift",
    "statuses",
    "task_heat",
    "theme",
    "tie_threshold",
    "trained_on",
    "transfer",
]
