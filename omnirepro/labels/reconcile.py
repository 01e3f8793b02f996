"""An earlier name of `omnirepro.papers.omni_rrm.reconcile`, which keeps working."""

from omnirepro.papers.omni_rrm.reconcile import *  # noqa: F403
