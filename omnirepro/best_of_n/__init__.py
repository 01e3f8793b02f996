"""Best-of-N live (notebook 08 and the command): candidates as rows, a judge that compares them, and the stage.

Consumes prompts with candidates, and judges; produces choices with reasons, or the frozen rows of a whole experiment.
How candidates are chosen stands in `evaluate.best_of_n`, which knows no model.
"""

from omnirepro.best_of_n.candidates import Candidates, Chosen, read_candidates
from omnirepro.best_of_n.referee import Referee, choose, own_scores

__all__ = ["Candidates", "Chosen", "Referee", "choose", "own_scores", "read_candidates"]
