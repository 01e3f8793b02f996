"""An earlier name of `omnirepro.reward.meta`, which keeps working: the meta-reward of GRM-Omni."""

from omnirepro.reward.meta import *  # noqa: F403
