"""Omni-RRM: candidate pairs by capability contrast (`synthesis`, notebook 01), labels that two teachers agree on
(`teachers`, `reconcile`, `labelling`, notebook 02), supervised tuning of the judge (`supervised`, notebook 03) and its
reinforcement (`reinforcement`, notebook 04).

`label_quality`, `metrics` and `plots` say what the rows show.
"""
