"""Omni-Reward: nine tasks under free-form criteria, Bradley-Terry and generative models (notebook 05).

`stage` makes data, models and frozen rows; `r1` tunes the generative judge; `free_form`, `tables`, `metrics` and
`plots` say what the rows show.
"""
