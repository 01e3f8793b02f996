"""The nouns of the kit (`nouns`) and their JSON Lines form (`files`).

A pair row holds: id, task, prompt [parts], response_a [parts], response_b [parts], criterion?,
label? ("A"|"B"|"tie"), margin?, source?, cluster?, meta?
"""

from omnirepro.schema.files import iter_jsonl, open_rows, read_jsonl, stored, write_jsonl
from omnirepro.schema.nouns import (
    DIMENSIONS,
    Judgement,
    Label,
    MediaError,
    Order,
    Pair,
    Part,
    Prompt,
    Response,
    Row,
    RowError,
    Verdict,
    sha256_file,
    swap_verdict,
    text_of,
)

__all__ = [
    "DIMENSIONS",
    "Judgement",
    "Label",
    "MediaError",
    "Order",
    "Pair",
    "Part",
    "Prompt",
    "Response",
    "Row",
    "RowError",
    "Verdict",
    "iter_jsonl",
    "open_rows",
    "read_jsonl",
    "sha256_file",
    "stored",
    "swap_verdict",
    "text_of",
    "write_jsonl",
]
