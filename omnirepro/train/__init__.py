"""Trainings of judges: supervised (`sft`), by group-relative policy optimisation (`grpo`), on preferences of judgements
(`dpo`), and of a scalar model (`bradley_terry`), with what they share.

Consumes pairs with labels, parameters and a handle with seed and places (`run.Run`); produces an adapter, a model or a
scorer, and the training's curve. Every training goes on from its last checkpoint.
"""
