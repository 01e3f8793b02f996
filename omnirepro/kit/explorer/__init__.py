"""The explorer: one offline HTML page over frozen judgements of any judges, pair by pair.

Consumes judgement rows, the pairs that were judged and, where there are any, gold labels (`inputs`); produces a page
that needs no network and no server (`page`, with page.html, page.css and page.js beside it).
"""

from omnirepro.kit.explorer.inputs import Inputs, Judged, read, sources_of_run
from omnirepro.kit.explorer.page import page_file, write_page

__all__ = ["Inputs", "Judged", "page_file", "read", "sources_of_run", "write_page"]
