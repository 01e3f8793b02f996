"""omnirepro: an auditable reproduction kit for omni-modal reward models."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Load the public entry points on first use, so that importing the package stays light."""
    if name == "load_judge":
        from omnirepro.judging import load_judge

        return load_judge
    if name == "reward_function":
        from omnirepro.export.policy import reward_function

        return reward_function
    raise AttributeError(f"module 'omnirepro' has no attribute {name!r}")
