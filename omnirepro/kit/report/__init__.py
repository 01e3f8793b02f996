"""Executed notebooks: making them, cleaning them, pairs as a reader sees them, the HTML report and the tables of docs/.

Consumes what finished stages left in their folders; no model is loaded.
"""

# ruff: noqa: F401 (what the package offers)
from omnirepro.kit.report.execution import execute, find_notebook, tidy_notebook
from omnirepro.kit.report.gallery import gallery, loss_page, one_of_each
from omnirepro.kit.report.pages import build
from omnirepro.kit.report.readme import write_tables
from omnirepro.kit.report.seeds import combine_seeds, combined_summary
from omnirepro.kit.report.summary import summary
from omnirepro.kit.report.tables import reasons
