"""The kit around the core: parameters, runs and manifests (`run`), pictures (`figures`), executed notebooks and pages
(`report`), and the papers' claims beside a run's metrics (`scorecard`).

It imports the core and knows neither the embedded world nor a paper: what they have to show, they hand over as rows,
tables and metrics.
"""
