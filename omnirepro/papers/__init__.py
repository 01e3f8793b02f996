"""What the papers do with the core: a folder a paper (`omni_rrm`, `omni_reward`, `grm_omni`), with its stages and the
tables, figures and metrics that it reports; and what they share: `ablations`, `best_of_n`, `benchmarks`.

A stage is called by a notebook with its run and reads the files of earlier stages; what is reported is computed anew
from a stage's saved files alone. `plots` is the table of all figures.
"""
