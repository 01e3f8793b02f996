"""Measurements on frozen judgement rows: the table and its credits (`rows`), accuracies under every reading of ties,
failures and orders (`protocol`), intervals and tests (`statistics`), tie thresholds, calibration, official scores.

Consumes rows alone, never a model; produces tables and intervals that are clustered by prompt.
"""
