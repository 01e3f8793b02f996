"""The embedded world, a supplier like any other: scenes with known facts, rendered to real media, a small language with
an oracle, free-form criteria with their truth, and the pre-training of a backbone that sees and speaks it.

Produces prompts, responses, pairs, criteria and truth as rows of `data`; nothing of the core knows that they are
synthetic.
"""
