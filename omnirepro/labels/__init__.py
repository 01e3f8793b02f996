"""An earlier place of the reconciliation of labels, `omnirepro.papers.omni_rrm.reconcile`; the name keeps working."""
