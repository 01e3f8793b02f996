"""The command line: `main` parses it and has the commands about pairs and judges, `commands` those about runs; what
they call and nobody else needs lies beside them: `plan`, `preferences` (train-scalar) and `export`.
"""
