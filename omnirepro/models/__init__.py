"""Models: the embedded backbone, loading, processing of media, generation and endpoints."""


def __getattr__(name: str):
    """Offer `models.load` without importing torch when the package is imported."""
    if name == "load":
        from omnirepro.models.loading import load

        return load
    raise AttributeError(f"module 'omnirepro.models' has no attribute {name!r}")
