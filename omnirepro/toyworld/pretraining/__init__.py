"""Pre-training of the embedded backbone: the tiny omni model (`tiny`), its training from nothing (`backbone`,
`trainer`, `loop`) on skills that compare nothing (`skills`), encoders around a released language model (`graft`,
`encoders`), and criteria in words for later stages (`vocabulary`). `curriculum.yaml` says what is taught when.
"""
