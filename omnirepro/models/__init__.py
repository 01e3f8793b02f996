"""Models: loading of any family, media and chats to tensors, generation, scores, servers, one cache of answers, and the
device they run on.

Consumes a model's name (folder, hub id, package with GGUF, URL) and chats; produces completions or scores. Importing
the package loads no torch.
"""


def __getattr__(name: str):
    """Offer `models.load` without importing torch when the package is imported."""
    if name == "load":
        from omnirepro.models.loading import load

        return load
    raise AttributeError(f"module 'omnirepro.models' has no attribute {name!r}")
