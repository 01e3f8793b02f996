"""Score frozen judgement rows: `protocol` (orders, ties, failures, baselines) and `statistics` (intervals, tests)."""
