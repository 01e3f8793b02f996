"""GRM-Omni: criteria that a model writes, ranked by a meta-reward, searched at test time, learned by DPO (notebook 06).

`stage` is the whole stage; `roles` tunes one model for its roles on `role_examples`, `model_pool` opens the models
behind a cache, `experiments` measures; `ranking`, `metrics` and `plots` say what the rows show.
"""
