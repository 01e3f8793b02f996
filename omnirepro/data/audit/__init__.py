"""Audits of preference data: what a set of pairs holds (`check`), and what a judge that understands nothing could score
on it by one feature (`leaks`, `features`).

Consumes pairs of any source; produces findings with intervals, and the report of `python -m omnirepro data check`.
"""
