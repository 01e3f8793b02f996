"""Judges of pairs: the rubric (`rubric`) and the free-form judgement (`verdict`), criteria in words (`criteria`), a
generative judge (`generative`) and a scalar one (`scalar`), and a judge as a policy's reward (`reward_function`).

Consumes pairs, or prompts with responses; produces one frozen judgement row a pair and displayed order, or scores.
Importing the package loads nothing: `load_judge`, `Judge` and `ScalarJudge` are found on first use.
"""


def __getattr__(name: str):
    """Offer the judges without importing what they need when the package is imported."""
    parts = {"load_judge": "generative", "Judge": "generative", "ScalarJudge": "scalar"}
    if name in parts:
        from importlib import import_module

        return getattr(import_module(f"omnirepro.judge.{parts[name]}"), name)
    raise AttributeError(f"module 'omnirepro.judge' has no attribute {name!r}")
