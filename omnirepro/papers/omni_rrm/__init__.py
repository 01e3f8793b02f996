"""Omni-RRM: candidate pairs by capability contrast (`synthesis`, notebook 01), labels that two teachers agree on
(`teachers`, `reconcile`, `labelling`, notebook 02), reinforcement of the tuned judge (`reinforcement`, notebook 04).

Supervised tuning, notebook 03, is `train.sft` itself. `label_quality`, `metrics` and `plots` say what the rows show.
"""
