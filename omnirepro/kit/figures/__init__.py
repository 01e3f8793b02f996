"""DataFrame -> matplotlib Figure; touches no model, and no file but through `save`.

`style` (theme, saving), `forms` (curves, points, heat, bars, histogram), `judgements` (the forms of what
`evaluate.protocol` measures). Units stand in the labels: values of an axis in (%) or (points) are fractions.
"""

# ruff: noqa: F401 (what the package offers)
from omnirepro.kit.figures.forms import bars, curves, heat, histogram, points
from omnirepro.kit.figures.judgements import accuracy, loss, policy_range, position, statuses
from omnirepro.kit.figures.style import csv, png, save, theme
