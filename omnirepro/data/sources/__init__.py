"""Public training sets and benchmarks as pairs. One module a family; `SOURCES` names them, `load` reads any of them."""

from omnirepro.data.sources.loading import SOURCES, detect, load, missing_media
from omnirepro.data.sources.source import Source

__all__ = ["SOURCES", "Source", "detect", "load", "missing_media"]
