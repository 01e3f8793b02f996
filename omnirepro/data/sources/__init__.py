"""Public training sets and benchmarks as pairs. `formats.yaml` describes them, `load` reads any."""

from omnirepro.data.sources.loading import SOURCES, detect, load, missing_media
from omnirepro.data.sources.source import Source
