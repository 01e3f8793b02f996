"""Best-of-N (notebook 08): sample candidates, judge their matches once, choose in every way from the frozen rows
(`stage`), and what was chosen, with its quality and its cost (`chosen`, `report`).

How candidates are chosen stands in `search.tournament`, who compares them in `search.referee`.
"""
