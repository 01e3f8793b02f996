"""Pairs and all that they are made of: rows (`schema`) and their JSON Lines form (`jsonl`), media to arrays (`media`),
public formats (`sources`), audits (`audit`), and long work over rows that is told (`progress`) and resumed (`resume`).

A pair row holds: id, task, prompt [parts], response_a [parts], response_b [parts], criterion?,
label? ("A"|"B"|"tie"), margin?, source?, cluster?, meta?
"""

from omnirepro.data.jsonl import iter_jsonl, open_rows, read_jsonl, stored, write_jsonl
from omnirepro.data.schema import (
    DIMENSIONS,
    READ,
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
    commonest,
    reworded,
    sha256_file,
    swap_verdict,
    text_of,
    text_part,
    turns,
)
