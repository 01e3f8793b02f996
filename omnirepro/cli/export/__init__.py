"""What others can take away: a judge as a hub folder (`hub`), data and recipes for other trainers (`recipes`), and the
committed run (`blessed`).
"""


def __getattr__(name: str):
    """Load each part on first use: rewards for a policy need no hub folder, and neither needs torch to be imported."""
    parts = {"write_hub_folder": "hub", "write_recipes": "recipes", "bless": "blessed"}
    if name in parts:
        from importlib import import_module

        return getattr(import_module(f"omnirepro.cli.export.{parts[name]}"), name)
    raise AttributeError(f"module 'omnirepro.cli.export' has no attribute {name!r}")
