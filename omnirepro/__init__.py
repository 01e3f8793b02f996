"""omnirepro: an auditable reproduction kit for omni-modal reward models.

The core judges, trains and measures, and knows of nothing else: `data`, `models`, `judge`, `reward`, `evaluate`,
`search`, `train`, each of which imports itself and those before it. Around it stand `kit` (parameters, runs, figures,
report, scorecard), `toyworld` (the embedded world), `papers` (a folder a paper) and `cli` (the commands).
`rubric`, `schema`, `meta` and `papers.omni_rrm.reconcile` are earlier import names that keep working.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    """Load the public entry points on first use, so that importing the package stays light."""
    if name == "load_judge":
        from omnirepro.judge.generative import load_judge

        return load_judge
    if name == "reward_function":
        from omnirepro.judge.reward_function import reward_function

        return reward_function
    raise AttributeError(f"module 'omnirepro' has no attribute {name!r}")
