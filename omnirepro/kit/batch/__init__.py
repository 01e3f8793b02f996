"""The batch with its table: Snakemake as a child process (`engine`), one row a notebook (`table`), and what a reader is
told about a notebook that failed (`failures`).
"""
