"""Ablations of Omni-RRM's recipe (notebook 07): effects against the full recipe from frozen rows (`effects`), and the
tables behind its figures (`plots`).
"""
