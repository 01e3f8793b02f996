"""An earlier name of `omnirepro.data`, which keeps working: rows and their JSON Lines files."""

from omnirepro.data import *  # noqa: F403
